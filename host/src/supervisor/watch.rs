//! The supervisor thread: starts every worker, hears all of them, and sees each one's end.
//!
//! One thread, as old as the supervisor, because a worker ends with the thread that started it. It sleeps until
//! something happens, gives each worker a bounded turn, and never waits for one of them: not for a message, not
//! for text, not for its end. What a worker may do wrong on the control socket ends here, with its death.

use super::bell::Bell;
use super::bounds::{Bounds, Excess};
use super::census::{Census, Kin};
use super::crowd::{Crowd, everybody};
use super::death::{Because, Ending, LastSaid};
use super::event::{Event, Reporter};
use super::gauge::Gauge;
use super::link::{Doom, Link};
use super::output::{Budget, Dropped, LAST_TURN, LastWords, Log, Pipe, TURN, Tail};
use super::pace::Pace;
use super::patience::{Sleeper, put_off};
use super::process::{self, Launched};
use super::stacks::Stacks;
use super::sweep::Sweep;
use super::warden::{self, Leftover, Warden};
use crate::level::Level;
use crate::realtime::priority;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shared::control::ControlError;
use shared::message::{Hello, LogSource, Notice, Say};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

/// Messages heard from one worker before another gets its turn, and from one that has ended.
const MESSAGES: usize = 32;
const LAST_MESSAGES: usize = 512;
/// How long a worker may live on without its control socket.
const DEAF_WITHIN: Duration = Duration::from_secs(1);
/// How long the workers that are left have, first to go and then to be gone, when the supervisor ends.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// A warden that was killed has a successor, so often.
const WARDENS_MAX: u32 = 5;
/// How long the thread sleeps at most while something is owed or due.
const TICK: Duration = Duration::from_millis(100);
/// A process whose parent has ended is found within so long.
const CENSUS_EVERY: Duration = Duration::from_secs(1);

/// What the thread is told to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Start a worker.
    Launch(Launch),
    /// Have this taken away if this process is killed.
    TakeAway(Leftover),
    /// Start no more, ask all workers to go, and end.
    Leave,
}

/// A worker to be started.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) name: Arc<str>,
    pub(super) python: PathBuf,
    pub(super) module: PathBuf,
    /// Nobody waits for it yet.
    pub(super) gently: bool,
    /// Where it may run; none is as the host may.
    pub(super) cores: Vec<usize>,
    pub(super) answer: SyncSender<io::Result<Arc<Link>>>,
}

/// The thread's own state.
#[derive(Debug)]
pub(super) struct Watch {
    commands: Receiver<Command>,
    bell: Bell,
    reporter: Arc<Reporter>,
    workers: Vec<Watched>,
    /// Begins the token of each of its workers.
    brood: String,
    launched: u64,
    /// The warden was to be started.
    is_appointed: bool,
    warden: Option<Warden>,
    /// How many there have been.
    wardens: u32,
    /// What is the warden's to take away.
    leftovers: Vec<Leftover>,
    sweep: Sweep,
    crowd: Crowd,
    /// When the crowd was looked at last.
    looked: Instant,
    census: Census,
    /// When it was taken last.
    counted: Instant,
    leaving: Option<Leaving>,
    /// How workers go that are as any other.
    pace: Pace,
}

#[derive(Debug)]
struct Leaving {
    until: Instant,
    killed: bool,
}

/// Which of a worker's descriptors is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Bell,
    Warden,
    Message(usize),
    Stdout(usize),
    Stderr(usize),
    End(usize),
}

impl Watch {
    pub(super) fn new(commands: Receiver<Command>, bell: Bell, reporter: Arc<Reporter>) -> Self {
        let brood = format!("{}-{}", std::process::id(), shared::clock::now_ns());
        Self {
            commands,
            bell,
            reporter,
            workers: Vec::new(),
            brood,
            launched: 0,
            is_appointed: false,
            warden: None,
            wardens: 0,
            leftovers: Vec::new(),
            pace: Pace::of_the_host(),
            sweep: Sweep::default(),
            crowd: Crowd::new(everybody()),
            looked: Instant::now(),
            census: Census::default(),
            counted: Instant::now(),
            leaving: None,
        }
    }

    /// The thread. Ends when it was told to and every worker is gone, or can't be made to go.
    pub(super) fn run(mut self) {
        priority::watch_over_workers();
        while !self.is_over() {
            let most = self.sleep_at_most();
            let sleeper = Sleeper::lie_down(Instant::now(), most.unwrap_or(Duration::MAX));
            for ready in self.sleep(most) {
                self.attend(ready);
            }
            let now = Instant::now();
            if let Some(overslept) = sleeper.overslept(now) {
                self.put_off(now, overslept);
            }
            self.tick(now);
            self.bury_the_dead();
            self.sweep.turn(now);
        }
        self.dismiss_warden();
    }

    /// Forgets those who have ended, but for what they may have left behind.
    fn bury_the_dead(&mut self) {
        let sweep = &mut self.sweep;
        self.workers.retain(|worker| {
            let is_ended = worker.link.is_ended();
            if is_ended {
                sweep.add(&worker.token);
            }
            !is_ended
        });
    }

    /// If somebody is left, the warden goes on when this thread's end has closed its standard input.
    fn dismiss_warden(&mut self) {
        if self.workers.is_empty()
            && self.sweep.is_done()
            && let Some(warden) = self.warden.take()
        {
            warden.dismiss();
        }
    }

    fn is_over(&self) -> bool {
        let too_late = |leaving: &Leaving| leaving.killed && Instant::now() >= leaving.until;
        let is_empty = self.workers.is_empty() && self.sweep.is_done();
        self.leaving.as_ref().is_some_and(|leaving| is_empty || too_late(leaving))
    }

    /// Waits until something happens; what did.
    fn sleep(&self, most: Option<Duration>) -> Vec<Ready> {
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        let mut which = vec![Ready::Bell];
        if let Some(warden) = &self.warden {
            fds.push(PollFd::from_borrowed_fd(warden.pidfd(), PollFlags::IN));
            which.push(Ready::Warden);
        }
        for (i, worker) in self.workers.iter().enumerate() {
            worker.watch(i, &mut fds, &mut which);
        }
        let timeout = most.and_then(|left| Timespec::try_from(left).ok());
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // A signal, or no memory for the moment.
            return Vec::new();
        }
        let ready = fds.iter().zip(which).filter(|(fd, _)| !fd.revents().is_empty());
        ready.map(|(_, which)| which).collect()
    }

    /// How long until something is to be done though nothing happens.
    fn sleep_at_most(&self) -> Option<Duration> {
        let now = Instant::now();
        let owes = self.leaving.is_some() || self.reporter.owes();
        let workers = self.workers.iter().filter_map(|worker| worker.due_in(now));
        workers.chain(owes.then_some(TICK)).chain(self.sweep.due_in(now)).min()
    }

    fn attend(&mut self, ready: Ready) {
        let reporter = &self.reporter;
        match ready {
            Ready::Bell => self.obey(),
            Ready::Warden => self.lose_warden(),
            Ready::Message(i) => self.workers[i].hear(MESSAGES, reporter),
            Ready::Stdout(i) => self.workers[i].drain(LogSource::Stdout, TURN, reporter),
            Ready::Stderr(i) => self.workers[i].drain(LogSource::Stderr, TURN, reporter),
            Ready::End(i) => self.workers[i].bury(reporter),
        }
    }

    /// Processes whose parents have ended are found by what they carry alone.
    fn look_at_crowd(&mut self, now: Instant) {
        let is_due = now.saturating_duration_since(self.looked) >= TICK;
        if !is_due || !self.workers.iter().any(Watched::is_measured) {
            return;
        }
        self.looked = now;
        let is_old = now.saturating_duration_since(self.counted) >= CENSUS_EVERY;
        if self.crowd.has_grown(everybody()) || is_old {
            self.counted = now;
            self.census.take(&self.brood);
            self.workers.iter_mut().for_each(|worker| worker.meet_kin(&self.census));
        }
    }

    /// Nobody is to blame for the time in which this process did not run.
    fn put_off(&mut self, now: Instant, overslept: Duration) {
        self.workers.iter_mut().for_each(|worker| worker.put_off(now, overslept));
        if let Some(leaving) = &mut self.leaving {
            leaving.until = put_off(leaving.until, now, overslept);
        }
    }

    /// What has to be looked after as time passes.
    fn tick(&mut self, now: Instant) {
        self.reporter.settle();
        self.look_at_crowd(now);
        for worker in &mut self.workers {
            worker.tick(now, &self.reporter);
        }
        if let Some(leaving) = self.leaving.as_mut().filter(|leaving| !leaving.killed && now >= leaving.until)
        {
            *leaving = Leaving { until: now + LEAVE_WITHIN, killed: true };
            self.workers.iter().for_each(|worker| worker.link.kill(Because::Unwanted));
        }
    }

    fn obey(&mut self) {
        self.bell.hear();
        loop {
            match self.commands.try_recv() {
                // Dropped unanswered: whoever waits for it is told that there will be none.
                Ok(Command::Launch(_)) if self.leaving.is_some() => {}
                Ok(Command::Launch(launch)) => self.launch(launch),
                Ok(Command::TakeAway(leftover)) => self.take_away(leftover),
                Ok(Command::Leave) => self.leave(),
                Err(TryRecvError::Disconnected) => return self.leave(),
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn take_away(&mut self, leftover: Leftover) {
        // A run says so with each reload.
        if self.leftovers.contains(&leftover) {
            return;
        }
        if let Some(warden) = &self.warden {
            warden.takes(&leftover);
        }
        self.leftovers.push(leftover);
        self.appoint_warden();
    }

    /// Before the first worker, so that none is ever without; or when there is something to take away. Once, unless
    /// it is lost.
    fn appoint_warden(&mut self) {
        if std::mem::replace(&mut self.is_appointed, true) {
            return;
        }
        match Warden::start(&self.brood, &self.leftovers) {
            Ok(warden) => {
                self.wardens += 1;
                self.pace.try_to_return(warden.pid());
                self.warden = Some(warden);
            }
            Err(why) => self.tell(warden::missing(&format!("can't be run ({why})"))),
        }
    }

    /// One that somebody has killed has a successor; one that has ended by itself would do so again.
    fn lose_warden(&mut self) {
        let Some(how) = self.warden.take().map(|warden| warden.reap()) else { return };
        if matches!(how, Ending::Signal(_)) && self.wardens < WARDENS_MAX && self.leaving.is_none() {
            self.is_appointed = false;
            self.appoint_warden();
        }
        self.tell(if self.warden.is_some() { warden::succeeded(how) } else { warden::ended(how) });
    }

    /// Tells something that is about no plugin.
    fn tell(&self, text: String) {
        self.reporter.owe(Event::Told { level: Level::Warning, plugin: "".into(), text });
    }

    fn launch(&mut self, launch: Launch) {
        let Launch { name, python, module, gently, cores, answer } = launch;
        self.appoint_warden();
        self.launched += 1;
        let token = format!("{}-{}", self.brood, self.launched);
        let link =
            process::launch(&python, &module, &token).map(|Launched { process, control, stdout, stderr }| {
                let link = Arc::new(Link::new(name, process, control, self.bell.clone()));
                link.pin(&cores);
                link.begin(self.pace, gently);
                self.workers.push(Watched::new(Arc::clone(&link), token, stdout, stderr));
                link
            });
        if let Err(unheard) = answer.send(link)
            && let Ok(link) = unheard.0
        {
            link.kill(Because::Unwanted);
        }
    }

    fn leave(&mut self) {
        if self.leaving.is_none() {
            self.leaving = Some(Leaving { until: Instant::now() + LEAVE_WITHIN, killed: false });
            self.workers.iter().for_each(|worker| worker.link.ask_to_go());
        }
    }
}

/// A worker as the thread sees it.
#[derive(Debug)]
struct Watched {
    link: Arc<Link>,
    /// What it and all that it started carry in their environment.
    token: String,
    stdout: Option<Pipe>,
    stderr: Option<Pipe>,
    tail: Tail,
    log: Log,
    /// The last failure that it reported, in words, with its traceback.
    failure: String,
    last_words: LastWords,
    budget: Budget,
    /// It has said hello; what it wrote before is for the one who waits for that.
    greeted: bool,
    /// How long it may live on, if it is not listened to any more.
    deaf: Option<Instant>,
    doomed: Option<Doom>,
    /// Killed, after it was asked for its stacks.
    executed: bool,
    stacks: Stacks,
    gauge: Option<Gauge>,
    /// What was found by its mark or token.
    kin: Vec<Kin>,
    bounds: Bounds,
    sampled: Instant,
    /// It was told that it takes too much processor time.
    is_greedy: bool,
    /// It has ended, and is being reaped.
    reaping: Option<Receiver<Ending>>,
}

impl Watched {
    fn new(link: Arc<Link>, token: String, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        Self {
            link,
            token,
            stdout: Some(Pipe::new(stdout)),
            stderr: Some(Pipe::new(stderr)),
            tail: Tail::default(),
            log: Log::default(),
            failure: String::new(),
            last_words: LastWords::default(),
            budget: Budget::new(Instant::now()),
            greeted: false,
            deaf: None,
            doomed: None,
            executed: false,
            stacks: Stacks::new(Instant::now()),
            gauge: None,
            kin: Vec::new(),
            bounds: Bounds::default(),
            sampled: Instant::now(),
            is_greedy: false,
            reaping: None,
        }
    }

    /// Messages before the end, so that the last words of a worker come before the news of its death.
    fn watch<'a>(&'a self, i: usize, fds: &mut Vec<PollFd<'a>>, which: &mut Vec<Ready>) {
        if self.reaping.is_some() {
            return;
        }
        let mut add = |fd, ready| {
            fds.push(fd);
            which.push(ready);
        };
        if self.deaf.is_none() {
            add(PollFd::new(&self.link.control, PollFlags::IN), Ready::Message(i));
        }
        if let Some(pipe) = &self.stdout {
            add(PollFd::new(&pipe.fd, PollFlags::IN), Ready::Stdout(i));
        }
        if let Some(pipe) = &self.stderr {
            add(PollFd::new(&pipe.fd, PollFlags::IN), Ready::Stderr(i));
        }
        add(PollFd::from_borrowed_fd(self.link.process.pidfd(), PollFlags::IN), Ready::End(i));
    }

    /// When something is to be done though nothing happens.
    fn due_in(&self, now: Instant) -> Option<Duration> {
        if self.reaping.is_some() {
            return None;
        }
        let soon =
            self.deaf.is_some() || self.budget.untold() != Dropped::default() || !self.last_words.is_empty();
        let kill = self
            .doomed
            .filter(|_| !self.executed)
            .map(|doom| self.kill_at(doom).saturating_duration_since(now));
        let sample =
            self.is_measured().then(|| TICK.saturating_sub(now.saturating_duration_since(self.sampled)));
        kill.into_iter().chain(soon.then_some(TICK)).chain(sample).min()
    }

    /// When one that was asked for its stacks is killed: when they are there, or its time is over.
    fn kill_at(&self, doom: Doom) -> Instant {
        self.stacks.awaited_until(doom.since, doom.until)
    }

    fn put_off(&mut self, now: Instant, overslept: Duration) {
        self.deaf = self.deaf.map(|until| put_off(until, now, overslept));
        if let Some(doom) = &mut self.doomed {
            doom.until = put_off(doom.until, now, overslept);
            self.stacks.put_off(now);
        }
    }

    fn tick(&mut self, now: Instant, reporter: &Reporter) {
        self.link.run_hooks();
        if self.reaping.is_some() {
            return self.end_if_reaped(reporter);
        }
        self.doom(now);
        self.measure(now, reporter);
        if self.deaf.is_some_and(|until| now > until) {
            self.link.kill(Because::Hostile("it closed its control socket and lives on".into()));
        }
        for line in self.last_words.overdue(now) {
            self.pass_on(LogSource::Stderr, line, reporter);
        }
        if let Some(dropped) = self.budget.renew(now) {
            self.tell(dropped, reporter);
        }
    }

    /// One without a plugin has nobody in it who could take too much.
    fn is_measured(&self) -> bool {
        self.doomed.is_none() && self.reaping.is_none() && self.link.bounds().is_some()
    }

    fn meet_kin(&mut self, census: &Census) {
        let own = self.link.process.pid().cast_signed();
        self.kin.clear();
        self.kin.extend(census.of(&self.token).iter().filter(|kin| kin.pid != own));
    }

    /// Looks at what it uses, ten times a second.
    fn measure(&mut self, now: Instant, reporter: &Reporter) {
        let Some((memory_max, runs)) = self.link.bounds() else { return };
        if self.doomed.is_some() || now.saturating_duration_since(self.sampled) < TICK {
            return;
        }
        self.sampled = now;
        if self.gauge.is_none() {
            self.gauge = Gauge::open(self.link.process.pid()).ok();
        }
        let read = |gauge: &mut Gauge| gauge.read(memory_max, &self.kin);
        let Some(sample) = self.gauge.as_mut().and_then(read) else { return };
        match self.bounds.judge(now, sample, memory_max, runs) {
            None => {}
            Some(Excess::Deadly(because)) => self.link.abandon(because),
            Some(Excess::Greedy(cores)) => self.restrain(cores, reporter),
        }
    }

    /// Lets it starve nobody else. Again each time, for what it has started since; told once.
    fn restrain(&mut self, cores: f64, reporter: &Reporter) {
        if let Some(gauge) = &mut self.gauge {
            gauge.lower();
        }
        if !std::mem::replace(&mut self.is_greedy, true) {
            let plugin = self.link.name();
            let text = format!(
                "plugin {plugin} took {cores:.1} processor cores beside its blocks for two seconds: its threads and \
                 processes but the one for its blocks have the lowest priority from now on"
            );
            reporter.owe(Event::Told { level: Level::Warning, plugin, text });
        }
    }

    /// Looks after one that was given up.
    fn doom(&mut self, now: Instant) {
        if self.doomed.is_none() {
            self.doomed = self.link.doom();
            self.doomed.inspect(|_| self.tail.expect_stacks());
        }
        let Some(doom) = self.doomed else { return };
        if !self.executed && now >= self.kill_at(doom) {
            self.executed = true;
            self.link.process.kill();
        }
    }

    fn tell(&mut self, dropped: Dropped, reporter: &Reporter) {
        let Dropped { bytes, events } = dropped;
        if !reporter.offer(Event::Dropped { plugin: self.link.name(), bytes, events }) {
            self.budget.retell(dropped);
        }
    }

    /// Takes messages, as many as there are up to `most`.
    fn hear(&mut self, most: usize, reporter: &Reporter) {
        for _ in 0..most {
            if self.deaf.is_some() {
                return;
            }
            match self.link.control.try_receive::<Say>() {
                Ok(None) => return,
                Ok(Some((say, fds))) if fds.is_empty() => self.take(say, reporter),
                Ok(Some(_)) => self.refuse("it sent descriptors".into()),
                Err(ControlError::Closed) => self.deaf = Some(Instant::now() + DEAF_WITHIN),
                Err(why) => self.refuse(why.to_string()),
            }
        }
    }

    /// Ends a worker that broke the protocol, and listens to it no more.
    fn refuse(&mut self, how: String) {
        self.deaf = Some(Instant::now() + DEAF_WITHIN);
        self.link.kill(Because::Hostile(how));
    }

    fn take(&mut self, say: Say, reporter: &Reporter) {
        match say {
            Say::Hello(_) if self.greeted => self.refuse("a second hello".into()),
            Say::Hello(hello) => self.greet(hello, reporter),
            _ if !self.greeted => self.refuse("no hello first".into()),
            Say::Reply(reply) => {
                if !self.link.answered(reply.id, reply.body) {
                    self.refuse(format!("an answer to request {}, which nobody made", reply.id));
                }
            }
            Say::Notice(notice) => self.note(notice, reporter),
        }
    }

    fn greet(&mut self, hello: Hello, reporter: &Reporter) {
        self.greeted = true;
        self.link.greeted(hello);
        let early = self.tail.text();
        if !early.is_empty() {
            self.pass_on(LogSource::Stderr, early, reporter);
        }
    }

    fn note(&mut self, notice: Notice, reporter: &Reporter) {
        let plugin = self.link.name();
        match notice {
            Notice::Log(log) => {
                let text = log.text.trim_end().to_owned();
                if log.source != LogSource::Stdout {
                    text.lines().for_each(|line| self.tail.push(line));
                }
                self.pass_on(log.source, text, reporter);
            }
            Notice::BlockFailed { failure, count } => {
                self.failure =
                    format!("block {count} that failed: {}\n{}", failure.message, failure.traceback);
                self.report(Event::BlockFailed { plugin, failure, count }, reporter);
            }
            Notice::Unraisable(failure) => {
                self.failure = format!("{}\n{}", failure.message, failure.traceback);
                self.report(Event::Unraisable { plugin, failure }, reporter);
            }
            Notice::AtState => self.link.begins_with_state(),
        }
    }

    fn report(&mut self, failure: Event, reporter: &Reporter) {
        if !self.budget.failure() || !reporter.offer(failure) {
            self.budget.drop(0);
        }
    }

    fn pass_on(&mut self, source: LogSource, text: String, reporter: &Reporter) {
        self.log.push(source, &text);
        let bytes = text.len();
        let plugin = self.link.name();
        if !self.budget.text(bytes) || !reporter.offer(Event::Log { plugin, source, text }) {
            self.budget.drop(bytes);
        }
    }

    /// Reads what it has written, up to `most` bytes.
    fn drain(&mut self, source: LogSource, most: usize, reporter: &Reporter) {
        let Some(mut pipe) = self.pipe(source).take() else { return };
        if pipe.drain(most, &mut |line| self.line(source, line, reporter)) {
            *self.pipe(source) = Some(pipe);
        } else {
            pipe.finish(&mut |line| self.line(source, line, reporter));
        }
    }

    fn pipe(&mut self, source: LogSource) -> &mut Option<Pipe> {
        if source == LogSource::Stdout { &mut self.stdout } else { &mut self.stderr }
    }

    fn line(&mut self, source: LogSource, line: String, reporter: &Reporter) {
        if source == LogSource::Stderr {
            if self.stacks.hear(&line, Instant::now()) {
                return;
            }
            self.tail.push(&line);
        }
        if self.greeted && source == LogSource::Stderr {
            self.err(line, reporter);
        } else if self.greeted {
            self.pass_on(source, line, reporter);
        }
    }

    /// A line on standard error. What is written on the way to its death is in the news of that.
    fn err(&mut self, line: String, reporter: &Reporter) {
        if self.link.doom().is_some() {
            return;
        }
        if let Some(line) = self.last_words.keep(line, Instant::now()) {
            self.pass_on(LogSource::Stderr, line, reporter);
        }
    }

    /// The process has ended. The audio thread first; then its last words, its group, its remains; then
    /// everybody who waits for it.
    fn bury(&mut self, reporter: &Reporter) {
        if self.reaping.is_some() {
            return;
        }
        self.link.set_gone();
        self.link.process.kill_group();
        self.hear(LAST_MESSAGES, reporter);
        for source in [LogSource::Stdout, LogSource::Stderr] {
            self.drain(source, LAST_TURN, reporter);
            // A child of the worker's that left its group may still hold the other end open.
            if let Some(mut pipe) = self.pipe(source).take() {
                pipe.finish(&mut |line| self.line(source, line, reporter));
            }
        }
        self.reaping = Some(self.link.reap());
    }

    /// Ends what there is of a worker that has been reaped.
    fn end_if_reaped(&mut self, reporter: &Reporter) {
        match self.reaping.as_ref().map(Receiver::try_recv) {
            Some(Ok(ending)) => self.end(ending, reporter),
            Some(Err(TryRecvError::Disconnected)) => self.end(Ending::Unknown, reporter),
            Some(Err(TryRecvError::Empty)) | None => {}
        }
    }

    fn last_said(&mut self) -> LastSaid {
        let failure = std::mem::take(&mut self.failure);
        LastSaid { stderr: self.tail.text(), log: self.log.take(), failure }
    }

    fn end(&mut self, ending: Ending, reporter: &Reporter) {
        let last_words = self.last_words.take();
        if !matches!(ending, Ending::Signal(_)) {
            last_words.into_iter().for_each(|line| self.pass_on(LogSource::Stderr, line, reporter));
        }
        let dropped = self.budget.untold();
        if dropped != Dropped::default() {
            self.tell(dropped, reporter);
        }
        let said = self.last_said();
        let (how, is_event) = self.link.end(ending, said);
        if is_event {
            reporter.owe(Event::Died { plugin: self.link.name(), how });
        }
    }
}

impl Drop for Watched {
    /// However the thread ends: nobody waits for a worker that nobody watches.
    fn drop(&mut self) {
        if !self.link.is_ended() {
            if self.reaping.is_none() {
                self.link.process.kill();
                self.link.process.kill_group();
            }
            let said = self.last_said();
            self.link.end(Ending::Unknown, said);
        }
    }
}
