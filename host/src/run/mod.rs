//! A run in real time: opens every pipeline, lets them play, tells an observer, does what it is asked, ends cleanly.
//!
//! For the command line and for programs that want the same. One thread, which never waits long; the audio runs on
//! the devices' threads. It ends when every source that ends has ended, when the time is over, or when it is told
//! to; a dead plugin or a lost device does not end it, nor does stopping pipelines by a request, as they may be
//! started again.

mod anew;
mod change;
mod contention;
mod job;
mod lane;
mod naming;
mod recordings;
mod reload;
mod requests;
mod start;
mod status;
mod told;

pub use status::{LaneStatus, RunStatus};

use crate::config::Config;
use crate::control::page::Page;
use crate::control::{Asked, Listener};
use crate::crash;
use crate::error::Result;
use crate::level::Level;
use crate::pipeline::Pipeline;
use crate::report::{EndedBy, PipelineStatus, RealTimeStatus, RunReport};
use crate::supervisor::{Event, Supervisor};
use lane::{Lane, Left};
use recordings::Recordings;
use reload::Reload;
use requests::Waiter;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use told::{Past, Told};

/// How often an observer is told how it goes.
const TELL: Duration = Duration::from_millis(100);
/// How often the end, and what is asked, are looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Is told how a run goes; for screens. Called about ten times a second, never on the audio thread.
pub trait Observer {
    /// At the start, before anything plays: a pipeline begins to be opened. How long that takes is for its plugins to say.
    fn opening(&mut self, _pipeline: &str) {}
    /// Something happened: one line, in words.
    fn event(&mut self, level: Level, line: &str);
    /// How every pipeline that plays is doing.
    fn status(&mut self, elapsed: Duration, pipelines: &[PipelineStatus]);
    /// Whether none plays and some ought to by now: told before [`Observer::status`], which knows only those that do play.
    fn owing(&mut self, _owing: bool) {}
    /// It ends now: pipelines are closed, which may take a while.
    fn ending(&mut self) {}
}

/// How a run is steered while it goes on.
#[derive(Debug, Default)]
pub struct Reins {
    /// The configuration's file, to be read again when that is asked for.
    pub file: Option<PathBuf>,
    /// Set, it is read again.
    pub reload: Arc<AtomicBool>,
    /// Where requests come from.
    pub listener: Option<Listener>,
    /// Where it tells how it is doing, ten times a second, to whoever looks.
    pub page: Option<Page>,
}

/// Runs the pipelines until every source has ended, `limit` is over or `stop` is set.
///
/// Set while the plugins start, `stop` ends the start: the report then holds no pipelines.
///
/// # Errors
/// What the start found: nothing runs then, and nothing is left behind.
pub fn run(
    config: &Config,
    limit: Option<Duration>,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunReport> {
    run_with(config, limit, stop, Reins::default(), observer)
}

/// As [`run`], steered by a control socket and by reading the configuration again. A pipeline that is started, stopped
/// or replaced meanwhile leaves the others' samples alone.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    config: &Config,
    limit: Option<Duration>,
    stop: &AtomicBool,
    reins: Reins,
    observer: &mut dyn Observer,
) -> Result<RunReport> {
    let (supervisor, events) = Supervisor::new()?;
    supervisor.report_to(reports_of(config));
    let socket = reins.listener.as_ref().and_then(Listener::own_path);
    socket
        .into_iter()
        .chain(reins.page.as_ref().map(Page::path))
        .for_each(|path| supervisor.leaves_behind(path));
    let mut told = Told::new(observer);
    let mut pipelines = Vec::new();
    let open = || start::open_all(config, &supervisor, stop, &mut told, &mut pipelines);
    let opened = supervisor.start_unless(stop, open);
    if stop.load(Ordering::Relaxed) {
        return Ok(start::interrupted(pipelines, told));
    }
    let real_time = pipelines.first().map(Pipeline::real_time);
    if let Some(real_time) = &real_time {
        // How it is, not something that happened: it does not count among the events.
        told.observer.event(Level::Info, &real_time.to_string());
    }
    let server = opened
        .and_then(|()| start::play_all(&mut pipelines))
        .and_then(|()| reins.listener.map(Listener::serve).transpose());
    let (server, asked) = match server {
        Ok(server) => server.unzip(),
        Err(error) => {
            start::give_up(pipelines, &mut told);
            return Err(error);
        }
    };
    supervisor.start_gently();
    let mut recordings = Recordings::default();
    config.pipelines.iter().for_each(|spec| recordings.add(spec));
    let lanes = config.pipelines.iter().cloned().zip(pipelines);
    let mut run = Run {
        lanes: lanes.map(|(spec, pipeline)| Lane::playing(spec, pipeline)).collect(),
        supervisor: Arc::new(supervisor),
        file: reins.file,
        reports: config.reports.clone(),
        socket: config.socket.clone(),
        page: reins.page,
        real_time,
        events,
        began: Instant::now(),
        asked,
        waiters: Vec::new(),
        reload: Reload::default(),
        recordings,
        left: BTreeMap::new(),
        news: channel(),
        past: Past::default(),
        told,
    };
    let ended_by = run.until_end(limit, stop, &reins.reload);
    run.told.observer.ending();
    let report = run.close(ended_by);
    // Whoever still waits is told that it is over.
    drop(server);
    Ok(report)
}

/// Whether none plays and some ought to by now. While another plays they may fail and hang as they like: that one is not
/// ended for their devices.
fn owing(lanes: &mut [Lane], now: Instant) -> bool {
    let plays = lanes.iter().any(|lane| lane.pipeline().is_some() && !lane.is_over());
    // Each is asked, for its time to count.
    let are_overdue: Vec<_> = lanes.iter_mut().map(|lane| lane.is_overdue(now)).collect();
    !plays && are_overdue.contains(&true)
}

/// Where reports of plugins' deaths go.
fn reports_of(config: &Config) -> PathBuf {
    config.reports.clone().unwrap_or_else(crash::default_dir)
}

struct Run<'a> {
    /// In the order of the configuration.
    lanes: Vec<Lane>,
    supervisor: Arc<Supervisor>,
    file: Option<PathBuf>,
    /// As the configuration has them.
    reports: Option<PathBuf>,
    socket: Option<PathBuf>,
    page: Option<Page>,
    real_time: Option<RealTimeStatus>,
    events: Receiver<Event>,
    began: Instant,
    asked: Option<Receiver<Asked>>,
    waiters: Vec<Waiter>,
    reload: Reload,
    recordings: Recordings,
    /// Of pipelines that are gone, by their names.
    left: BTreeMap<String, Left>,
    /// What threads that ask plugins have done, in words.
    news: (Sender<String>, Receiver<String>),
    past: Past,
    told: Told<'a>,
}

impl Run<'_> {
    fn until_end(&mut self, limit: Option<Duration>, stop: &AtomicBool, reload: &AtomicBool) -> EndedBy {
        let mut tell_at = self.began;
        loop {
            self.take_news(LOOK);
            if reload.swap(false, Ordering::Relaxed) {
                self.reload.ask(None);
            }
            self.obey_all();
            self.tend_reload();
            self.tend_lanes();
            if Instant::now() >= tell_at {
                // What was not told while all stood still is not caught up with.
                tell_at = (tell_at + TELL).max(Instant::now());
                let statuses: Vec<_> = self.lanes.iter_mut().filter_map(Lane::look).cloned().collect();
                self.told.observer.owing(owing(&mut self.lanes, Instant::now()));
                self.told.observer.status(self.began.elapsed(), &statuses);
                self.show_status();
            }
            if let Some(ended_by) = self.end(limit, stop) {
                return ended_by;
            }
        }
    }

    /// Brings each pipeline a step nearer to what is wanted.
    fn tend_lanes(&mut self) {
        for lane in &mut self.lanes {
            lane.tend(&mut self.past, &mut self.recordings, &mut self.told);
        }
        self.left.extend(self.lanes.extract_if(.., |lane| lane.is_past()).filter_map(Lane::leave));
        for at in 0..self.lanes.len() {
            let lane = &self.lanes[at];
            // What is being stopped may have the device, the file or the core that this one wants.
            let waits = || self.lanes.iter().any(|other| other.keeps_back(&lane.spec));
            if lane.is_to_open() && !waits() {
                let prefix = start::prefix(lane.name(), self.lanes.len());
                self.lanes[at].open(&self.supervisor, prefix, &self.recordings, &mut self.told);
            }
        }
        self.answer_waiters();
    }

    fn end(&self, limit: Option<Duration>, stop: &AtomicBool) -> Option<EndedBy> {
        if stop.load(Ordering::Relaxed) {
            return Some(EndedBy::Signal);
        }
        if limit.is_some_and(|limit| self.began.elapsed() >= limit) {
            return Some(EndedBy::Time);
        }
        // A pipeline whose source has no end goes on until somebody ends it; one that was stopped may be started.
        self.lanes.iter().all(Lane::is_over).then_some(EndedBy::Source)
    }

    /// Waits a moment for something to happen and tells it.
    fn take_news(&mut self, wait: Duration) {
        if let Ok(event) = self.events.recv_timeout(wait) {
            self.take_event(&event);
            while let Ok(event) = self.events.try_recv() {
                self.take_event(&event);
            }
        }
        self.news.1.try_iter().for_each(|line| self.told.line(Level::Info, line));
        for lane in &mut self.lanes {
            for (level, line) in lane.news() {
                self.told.line(level, line);
            }
        }
    }

    fn take_event(&mut self, event: &Event) {
        self.told.line(event.level(), event.to_string());
    }

    fn close(mut self, ended_by: EndedBy) -> RunReport {
        let seconds = self.began.elapsed().as_secs_f64();
        // Nobody waits for anything any more, nor looks.
        (self.asked, self.waiters, self.page) = (None, Vec::new(), None);
        self.lanes.iter_mut().for_each(Lane::halt);
        self.take_news(Duration::ZERO);
        for lane in &mut self.lanes {
            lane.close(&mut self.past, &mut self.told);
        }
        // Those that are being opened: no plugin is waited for.
        self.supervisor.leave();
        self.lanes.drain(..).for_each(Lane::give_up);
        // With the workers gone, all that they had to say is there.
        self.take_news(Duration::ZERO);
        // Nor is anybody left whose end could come too late to be told.
        drop(self.supervisor);
        self.events.try_iter().for_each(|event| self.told.line(event.level(), event.to_string()));
        let (real_time, events) = (self.real_time, self.told.lines.into());
        let Past { pipelines, damaged, unwilling } = self.past;
        let (pipelines, specs) = pipelines.into_iter().unzip();
        let (damaged, unwilling) = (damaged.into(), unwilling.into());
        RunReport { ended_by, seconds, real_time, pipelines, specs, events, damaged, unwilling }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{CLIENTS, Request};
    use std::sync::mpsc::sync_channel;

    /// Hears everything, and says nothing.
    pub(super) struct Deaf;

    impl Observer for Deaf {
        fn event(&mut self, _level: Level, _line: &str) {}
        fn status(&mut self, _elapsed: Duration, _pipelines: &[PipelineStatus]) {}
    }

    /// A run of these pipelines.
    pub(super) fn run(lanes: Vec<Lane>, asked: Option<Receiver<Asked>>, observer: &mut Deaf) -> Run<'_> {
        let (supervisor, events) = Supervisor::new().unwrap();
        Run {
            lanes,
            supervisor: Arc::new(supervisor),
            file: None,
            reports: None,
            socket: None,
            page: None,
            real_time: None,
            events,
            began: Instant::now(),
            asked,
            waiters: Vec::new(),
            reload: Reload::default(),
            recordings: Recordings::default(),
            left: BTreeMap::new(),
            news: channel(),
            past: Past::default(),
            told: Told::new(observer),
        }
    }

    #[test]
    fn a_run_whose_time_is_over_ends_however_much_is_still_asked() {
        const REQUESTS: usize = 1000;
        let (asks, asked) = sync_channel(REQUESTS);
        let (reply, replies) = sync_channel(REQUESTS);
        for _ in 0..REQUESTS {
            asks.send(Asked { request: Request::Status {}, reply: reply.clone() }).unwrap();
        }
        let mut deaf = Deaf;
        let mut run = run(Vec::new(), Some(asked), &mut deaf);
        let (stop, reload) = Default::default();
        assert_eq!(run.until_end(Some(Duration::ZERO), &stop, &reload), EndedBy::Time);
        assert_eq!(replies.try_iter().count(), CLIENTS, "one thing for each client there may be");
    }
}
