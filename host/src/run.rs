//! A run in real time: opens every pipeline, lets them play, tells an observer, ends cleanly.
//!
//! For the command line and for programs that want the same. One thread, which may block; the audio runs on the
//! devices' threads. It ends when every source that ends has ended, when the time is over, or when it is told
//! to; a dead plugin or a lost device does not end it.

use crate::config::{Config, PipelineSpec};
use crate::crash;
use crate::error::{Error, Result};
use crate::level::Level;
use crate::pipeline::{Closed, Pipeline};
use crate::report::{EndedBy, PipelineStatus, RealTimeStatus, RunReport};
use crate::supervisor::{Event, Supervisor};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How often an observer is told how it goes.
const TELL: Duration = Duration::from_millis(100);
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// Lines kept for the report.
const LINES_MAX: usize = 1000;

/// Is told how a run goes; for screens. Called about ten times a second, never on the audio thread.
pub trait Observer {
    /// Something happened: one line, in words.
    fn event(&mut self, level: Level, line: &str);
    /// How every pipeline is doing.
    fn status(&mut self, elapsed: Duration, pipelines: &[PipelineStatus]);
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
    let (supervisor, events) = Supervisor::new()?;
    supervisor.report_to(config.reports.clone().unwrap_or_else(crash::default_dir));
    let mut told = Told { observer, lines: VecDeque::new() };
    let mut pipelines = Vec::new();
    let open = || open_all(config, &supervisor, stop, &mut told, &mut pipelines);
    let opened = supervisor.start_unless(stop, open);
    if stop.load(Ordering::Relaxed) {
        return Ok(interrupted(pipelines, told));
    }
    let real_time = pipelines.first().map(Pipeline::real_time);
    if let Some(real_time) = &real_time {
        // How it is, not something that happened: it does not count among the events.
        told.observer.event(Level::Info, &real_time.to_string());
    }
    if let Err(error) = opened.and_then(|()| pipelines.iter_mut().try_for_each(Pipeline::play)) {
        give_up(pipelines, &mut told);
        return Err(error);
    }
    let mut run = Run { pipelines, real_time, events, began: Instant::now(), told };
    let ended_by = run.until_end(limit, stop);
    Ok(run.close(ended_by))
}

/// What happened: told at once, kept for the report.
struct Told<'a> {
    observer: &'a mut dyn Observer,
    lines: VecDeque<String>,
}

impl Told<'_> {
    fn line(&mut self, level: Level, line: String) {
        self.observer.event(level, &line);
        self.lines.push_back(line);
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
        }
    }
}

/// Opens one pipeline after the other, no more of them once `stop` is set.
fn open_all(
    config: &Config,
    supervisor: &Supervisor,
    stop: &AtomicBool,
    told: &mut Told<'_>,
    opened: &mut Vec<Pipeline>,
) -> Result<()> {
    let several = config.pipelines.len() > 1;
    let mut open = |spec: &PipelineSpec| {
        let prefix = if several { format!("{}/", spec.name) } else { String::new() };
        Pipeline::open(spec, supervisor, &prefix, &mut |line| told.line(Level::Info, line))
    };
    // Who is bound to a core has it before those that can choose.
    let reserve = |spec: &PipelineSpec| supervisor.realtime().reserve(&spec.affinity);
    let _reserved: Vec<_> = config.pipelines.iter().filter_map(reserve).collect();
    for spec in config.pipelines.iter().take_while(|_| !stop.load(Ordering::Relaxed)) {
        opened.push(open(spec)?);
    }
    Ok(())
}

/// Closes the pipelines that had started when something else could not.
fn give_up(opened: Vec<Pipeline>, told: &mut Told<'_>) {
    let closed: Vec<_> = opened.into_iter().map(Pipeline::close).collect();
    let errors = closed.iter().flat_map(|closed| closed.files.iter().chain(&closed.plugins));
    errors.for_each(|error| told.line(Level::Error, error.to_string()));
}

/// What is told of a run that did not begin: its pipelines have not played and are closed again.
fn interrupted(opened: Vec<Pipeline>, mut told: Told<'_>) -> RunReport {
    // All plugins have been asked to go already: what theirs say of it is not worth a word.
    let closed: Vec<_> = opened.into_iter().map(Pipeline::close).collect();
    let damaged: Vec<_> = closed.iter().flat_map(|closed| &closed.files).map(ToString::to_string).collect();
    damaged.iter().for_each(|line| told.line(Level::Error, line.clone()));
    RunReport {
        ended_by: EndedBy::Signal,
        seconds: 0.0,
        real_time: None,
        pipelines: Vec::new(),
        events: told.lines.into(),
        damaged,
        unwilling: Vec::new(),
    }
}

struct Run<'a> {
    pipelines: Vec<Pipeline>,
    real_time: Option<RealTimeStatus>,
    events: Receiver<Event>,
    began: Instant,
    told: Told<'a>,
}

impl Run<'_> {
    fn until_end(&mut self, limit: Option<Duration>, stop: &AtomicBool) -> EndedBy {
        let mut tell_at = self.began;
        loop {
            self.take_news(LOOK);
            if Instant::now() >= tell_at {
                tell_at += TELL;
                let statuses: Vec<_> = self.pipelines.iter_mut().map(Pipeline::status).collect();
                self.told.observer.status(self.began.elapsed(), &statuses);
            }
            if let Some(ended_by) = self.end(limit, stop) {
                return ended_by;
            }
        }
    }

    fn end(&self, limit: Option<Duration>, stop: &AtomicBool) -> Option<EndedBy> {
        if stop.load(Ordering::Relaxed) {
            return Some(EndedBy::Signal);
        }
        if limit.is_some_and(|limit| self.began.elapsed() >= limit) {
            return Some(EndedBy::Time);
        }
        // A pipeline whose source has no end goes on until somebody ends it.
        self.pipelines.iter().all(Pipeline::has_ended).then_some(EndedBy::Source)
    }

    /// Waits a moment for something to happen and tells it.
    fn take_news(&mut self, wait: Duration) {
        if let Ok(event) = self.events.recv_timeout(wait) {
            self.take_event(&event);
            while let Ok(event) = self.events.try_recv() {
                self.take_event(&event);
            }
        }
        for pipeline in &mut self.pipelines {
            for line in pipeline.news() {
                self.told.line(Level::Warning, line);
            }
        }
    }

    fn take_event(&mut self, event: &Event) {
        self.told.line(event.level(), event.to_string());
    }

    fn close(mut self, ended_by: EndedBy) -> RunReport {
        let seconds = self.began.elapsed().as_secs_f64();
        self.pipelines.iter_mut().for_each(Pipeline::halt);
        self.take_news(Duration::ZERO);
        let pipelines: Vec<_> = self.pipelines.iter_mut().map(Pipeline::status).collect();
        let closed: Vec<_> = self.pipelines.drain(..).map(Pipeline::close).collect();
        // With the workers gone, all that they had to say is there.
        self.take_news(Duration::ZERO);
        let words = |errors: fn(&Closed) -> &Vec<Error>| -> Vec<String> {
            closed.iter().flat_map(errors).map(ToString::to_string).collect()
        };
        let damaged = words(|closed| &closed.files);
        let unwilling = words(|closed| &closed.plugins);
        damaged.iter().chain(&unwilling).for_each(|line| self.told.line(Level::Error, line.clone()));
        let (real_time, events) = (self.real_time, self.told.lines.into());
        RunReport { ended_by, seconds, real_time, pipelines, events, damaged, unwilling }
    }
}
