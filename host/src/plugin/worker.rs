//! The control half of one worker: what is asked of a plugin, and what its failures mean to the user.
//!
//! One incarnation: it is made by [`Supervisor::spawn`](crate::supervisor::Supervisor::spawn), and when its
//! process has ended every question is answered with how it ended. Audio doesn't pass here: [`Worker::configure`]
//! gives the ring for the audio thread. Any thread may ask, also several at once.

use super::autopsy::Remains;
use super::interpreter::{is_verdict, quoted, refusal};
use super::spec::PluginSpec;
use crate::crash::FileMark;
use crate::error::{Error, Kind, Result};
use crate::supervisor::gauge::memory_max;
use crate::supervisor::link::{Hook, Link, NoAnswer, Query};
use crate::supervisor::{Because, Condition, Death, Limits};
use rustix::io::Errno;
use shared::format::Format;
use shared::layout::{Layout, SLOTS_MAX};
use shared::message::{
    Answer, Ask, Configured, DRIVE_MAX, Failure, Gc, Hello, Loaded, STATE_MAX, STATE_PART, Stage, StatePart,
};
use shared::ring::HostEnd;
use shared::segment::{self, seal_written};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest sentence of a failure that is passed on: a worker may say anything.
const SENTENCE_MAX: usize = 1000;

/// How long a worker may take to be gone that said goodbye late.
const GONE_WITHIN: Duration = Duration::from_millis(250);

/// How long first calls with silence may take: a compiler may have to run.
const WARM_UP_WITHIN: Duration = Duration::from_secs(10);

/// How long a worker may at least take for the blocks that it drives itself: it can't be known how long one takes.
const DRIVE_WITHIN: Duration = Duration::from_secs(60);

/// What a worker was made of.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) name: Arc<str>,
    pub(crate) file: String,
    pub(crate) python: PathBuf,
    pub(crate) module: PathBuf,
}

/// One worker process with one plugin. Dropped without [`Worker::shutdown`], it is killed.
#[derive(Debug)]
pub struct Worker {
    asker: Asker,
    loaded: Loaded,
    gc: Gc,
    silent_warm_up: Option<bool>,
    answers: Mutex<Option<Answers>>,
}

/// The memory that a worker writes its answers to.
#[derive(Debug)]
struct Answers {
    fd: OwnedFd,
    layout: Layout,
}

/// A worker's process as it is owned: dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Held(pub(crate) Arc<Link>);

impl Deref for Held {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Asks one worker, and puts into words why there is no answer.
#[derive(Debug)]
struct Asker {
    link: Held,
    origin: Origin,
    hello: Hello,
    /// What the plugin calls itself, with its version, if it came so far; and whether it says that it fails open.
    title: Option<String>,
    is_open: bool,
    /// The plugin's file as it was just before it was loaded.
    file_mark: Option<FileMark>,
    limits: Limits,
}

impl Worker {
    /// Waits for the hello of a process just started, then for its plugin to be loaded.
    pub(crate) fn greet(link: Arc<Link>, origin: Origin, spec: &PluginSpec, limits: Limits) -> Result<Self> {
        let link = Held(link);
        let hello = greeting(&link, &origin.python, &origin.module, &limits)?;
        Self::load(link, hello, origin, spec, limits)
    }

    /// Has the plugin loaded by a worker that has said hello, which is its worker from now on.
    pub(crate) fn load(
        link: Held,
        hello: Hello,
        origin: Origin,
        spec: &PluginSpec,
        limits: Limits,
    ) -> Result<Self> {
        link.rename(Arc::clone(&origin.name));
        link.bound(spec.memory_max.unwrap_or_else(memory_max));
        // Whose blocks may take so long, may do so with everything.
        let other = limits.other.max(spec.hang_after.unwrap_or_default());
        let limits = Limits { other, ..limits };
        let file_mark = FileMark::of(Path::new(&origin.file)).ok();
        let mut asker = Asker { link, origin, hello, title: None, is_open: false, file_mark, limits };
        match asker.load() {
            Ok(loaded) => {
                (asker.title, asker.is_open) = (Some(title(&loaded)), !loaded.fail_closed);
                let (gc, silent_warm_up) = (spec.gc, spec.silent_warm_up);
                Ok(Self { asker, loaded, gc, silent_warm_up, answers: Mutex::default() })
            }
            Err(why) => {
                // What it is, is told; that it had to be killed too, is not worth a word.
                let _ = asker.go();
                Err(why)
            }
        }
    }

    /// One whose process is simulated: nothing can be asked of it.
    #[cfg(test)]
    pub(crate) fn simulated(link: Held, origin: Origin, hello: Hello, loaded: Loaded) -> Self {
        let (title, is_open) = (Some(title(&loaded)), !loaded.fail_closed);
        let (file_mark, limits) = (None, Limits::default());
        let asker = Asker { link, origin, hello, title, is_open, file_mark, limits };
        Self { asker, loaded, gc: Gc::default(), silent_warm_up: None, answers: Mutex::default() }
    }

    /// The plugin's name, as its spawner gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.asker.origin.name
    }

    /// The process number, for telling people; it may have ended since.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.asker.link.process.pid()
    }

    /// What the plugin said of itself.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Who decides when its collector runs.
    pub(crate) fn gc(&self) -> Gc {
        self.gc
    }

    /// What the worker said of itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.asker.hello
    }

    /// The plugin's file as it was just before it was loaded, if it could be read.
    pub(crate) fn file_mark(&self) -> Option<FileMark> {
        self.asker.file_mark.clone()
    }

    /// The interpreter that runs it.
    #[must_use]
    pub fn python(&self) -> &Path {
        &self.asker.origin.python
    }

    /// Up when the process is known to have ended. Then, not before, an audio thread that waits is woken: see
    /// [`HostEnd::wait`].
    #[must_use]
    pub fn gone(&self) -> Arc<AtomicBool> {
        Arc::clone(self.asker.link.gone())
    }

    /// Whether the process is known to have ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.asker.link.gone().load(Ordering::Acquire)
    }

    /// The worker module that it loaded.
    pub(crate) fn module(&self) -> &Path {
        &self.asker.origin.module
    }

    /// Has `hook` run by the supervisor's thread as soon as the process is known to have ended, before its remains
    /// are looked after; at once, here, if that is known already. It must not wait for anything.
    pub fn on_gone(&self, hook: Box<dyn FnOnce() + Send>) {
        let hook: Hook = hook;
        self.asker.link.on_gone(hook);
    }

    /// How it ended, when all is known about it: some time after [`Worker::gone`].
    #[must_use]
    pub fn death(&self) -> Option<Arc<Death>> {
        self.asker.link.ended()
    }

    /// What is known of it by now, for a report. If it is gone, waits for its end, but no longer than `limit`.
    pub(crate) fn remains(&self, limit: Duration) -> Remains {
        let death = if self.is_gone() { self.wait_death(limit) } else { self.death() };
        self.asker.remains(death)
    }

    /// Why the host ended it, or is about to, if it was the host.
    pub(crate) fn because(&self) -> Option<Because> {
        self.asker.link.because()
    }

    /// As [`Worker::death`], and waits for it, but no longer than `limit`.
    #[must_use]
    pub fn wait_death(&self, limit: Duration) -> Option<Arc<Death>> {
        self.asker.link.wait_end(limit)
    }

    /// Its death is no event from now on: whoever calls this tells of it.
    pub fn tells_no_death(&self) {
        self.asker.link.tell_no_death();
    }

    /// Gives the worker up, without waiting for anything: its ring is dead from now on and [`Worker::gone`] is up. It is
    /// asked for the stacks of its threads and killed when it has written them down, in a quarter of a second at the
    /// latest, in 15 ms if it takes ever more of the machine, or at once if a signal has stopped it. `why`, corrected in
    /// that case, and the stacks become part of its [`Death`]. The reason of a worker that was ending already stays its
    /// own.
    pub fn abandon(&self, why: Because) {
        self.asker.link.abandon(why);
    }

    /// What its process is doing, as the kernel says. Waits for nothing, but asks the kernel.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.asker.link.process.condition()
    }

    /// Whether it is saving or restoring its state, as it was asked to: until it has, it answers no block.
    pub(crate) fn is_at_state(&self) -> bool {
        self.asker.link.is_at_state()
    }

    /// Whether its process has begun to end, which is known long before it has ended if it has much memory. Then
    /// [`Worker::gone`] is up.
    #[must_use]
    pub fn is_exiting(&self) -> bool {
        self.asker.link.is_exiting()
    }

    /// Gives the plugin its format and parameters; it initialises itself if it has not done so before. The
    /// ring is for the audio thread, and good until the next call of this.
    ///
    /// # Errors
    /// [`Kind::Config`] if there can't be such a ring or the parameters are too long; [`Kind::Plugin`] if the
    /// plugin refuses, raises, hangs or crashes; [`Kind::System`] if there is no memory for the ring.
    pub fn configure(
        &self,
        format: Format,
        slots: u32,
        set: &[(String, String)],
    ) -> Result<(HostEnd, Configured)> {
        let layout = Layout::new(format, slots).ok_or_else(|| {
            let what = format!("{slots} slots: must be a power of two up to {SLOTS_MAX}");
            Error::new(Kind::Config, what)
        })?;
        let no_memory =
            |e| Error::new(Kind::System, format!("no memory for {}'s blocks", self.name())).source(e);
        let (end, handles) = HostEnd::create(layout).map_err(no_memory)?;
        let body = Ask::Configure { format, slots, set: set.to_vec() };
        let limit = self.asker.limits.configure;
        let doing = "still initialising";
        let query = Query { body, fds: &handles.as_fds(), limit, doing };
        let configured = match self.asker.link.ask(query) {
            Ok(Answer::Configured(configured)) => configured,
            Ok(other) => return Err(self.asker.wrong(&other, "initialising")),
            Err(why) => return Err(self.asker.error(why, "initialising")),
        };
        // It has mapped its segment: from now on nobody can map it writable or take pages out of it.
        seal_written(&handles.reply).map_err(|_| {
            self.asker.died(&self.asker.link.fail("it sealed the segment itself".into()), "initialising")
        })?;
        self.asker.link.set_waker(end.waker());
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Answers { fd: handles.reply, layout });
        Ok((end, configured))
    }

    /// Lets blocks be ordered of `next` that are made of this worker's answers, under this `tag`. It gets the memory
    /// that this one writes its answers to, which is sealed: it can only read there. And both get a new doorstep, on which
    /// that one says to this one that it sleeps. Until both have answered nothing may be ordered so: this one may look
    /// at the doorstep of whoever was there before. One pair at a time of this worker, so that it is not told of one that
    /// is there no more.
    ///
    /// # Errors
    /// [`Kind::Config`] if this one has no format yet; [`Kind::Plugin`] if either is busy for too long, has died, or
    /// can't be joined to another on this system; [`Kind::System`] if there is no memory or descriptor for that.
    pub(crate) fn hand_on_to(&self, next: &Self, tag: u32) -> Result<()> {
        let (doing, stage) = ("still joining", "joining it to another");
        let nothing_left =
            |e: Errno| Error::new(Kind::System, "nothing left for a hand-off between plugins").source(e);
        let doorstep = segment::doorstep().map_err(nothing_left)?;
        let (answers, layout) = self.answers()?;
        let body = Ask::Attach { format: layout.format(), slots: layout.slots(), tag };
        let fds = [answers.as_fd(), doorstep.as_fd()];
        next.asker.done_with(&fds, body, next.asker.limits.other, doing, stage)?;
        // It has mapped its doorstep: nobody else writes there, nor takes the page out, while this one looks at it.
        seal_written(&doorstep).map_err(|_| {
            next.asker.died(&next.asker.link.fail("it sealed the doorstep itself".into()), stage)
        })?;
        self.asker.done_with(&[doorstep.as_fd()], Ask::HandTo, self.asker.limits.other, doing, stage)
    }

    /// The memory that it writes its answers to.
    fn answers(&self) -> Result<(OwnedFd, Layout)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Answers { fd, layout }) = &*answers else {
            return Err(Error::new(Kind::Config, format!("{} has no format yet", self.name())));
        };
        let fd = fd.try_clone().map_err(|e| {
            Error::new(Kind::System, "no descriptor for a hand-off between plugins").source(e)
        })?;
        Ok((fd, *layout))
    }

    /// Calls the plugin's `start`; from then on it processes blocks, and its death is an event.
    ///
    /// # Errors
    /// [`Kind::Plugin`] if it refuses, raises, hangs or crashes.
    pub fn start(&self) -> Result<()> {
        self.begin()?;
        self.go_on();
        Ok(())
    }

    /// As [`Worker::start`], but it still lets others go first, until it [goes on](Self::go_on).
    pub(crate) fn begin(&self) -> Result<()> {
        self.asker.done(Ask::Start { gc: self.gc }, self.asker.limits.start, "still starting", "starting")
    }

    /// Has the plugin called with silence before its first block, if the user says so or, where he doesn't, `by_default`
    /// and the plugin allows it.
    ///
    /// # Errors
    /// [`Kind::Plugin`] if it hangs or crashes.
    pub(crate) fn warm_up(&self, by_default: bool) -> Result<()> {
        if !self.silent_warm_up.unwrap_or(by_default && self.loaded.silent_warm_up) {
            return Ok(());
        }
        let limit = self.asker.limits.start.min(WARM_UP_WITHIN);
        self.asker.done(Ask::WarmUp, limit, "still warming up", "warming up")
    }

    /// Lets it go before others, as one that plays or may at any time does.
    pub(crate) fn go_on(&self) {
        self.asker.link.play();
    }

    /// Lets it go as others do, until it [goes on](Self::go_on).
    pub(crate) fn give_way(&self) {
        self.asker.link.give_way();
    }

    /// Has something done by one that stands by, which gives way meanwhile to the one that plays.
    pub(crate) fn aside<T>(&self, deed: impl FnOnce(&Self) -> T) -> T {
        self.give_way();
        let done = deed(self);
        self.go_on();
        done
    }

    /// Calls the plugin's `stop`, after the block that it is at. It can be started again.
    ///
    /// # Errors
    /// [`Kind::Plugin`] if it raises, hangs or crashes.
    pub fn stop(&self) -> Result<()> {
        self.asker.done(Ask::Stop, self.asker.limits.other, "still stopping", "stopping")
    }

    /// Sets a parameter, between two blocks if it runs; whether the plugin accepted it.
    ///
    /// # Errors
    /// [`Kind::Plugin`] if it raises, hangs or crashes.
    pub fn set_parameter(&self, key: &str, value: &str) -> Result<bool> {
        let body = Ask::SetParameter { key: key.into(), value: value.into() };
        let stage = "setting a parameter";
        match self.asker.ask(body, self.asker.limits.other, "still setting a parameter", stage)? {
            Answer::Set { accepted } => Ok(accepted),
            other => Err(self.asker.wrong(&other, stage)),
        }
    }

    /// Reads a parameter.
    ///
    /// # Errors
    /// [`Kind::Plugin`] if it raises, hangs or crashes.
    pub fn get_parameter(&self, key: &str) -> Result<String> {
        let stage = "reading a parameter";
        let body = Ask::GetParameter { key: key.into() };
        match self.asker.ask(body, self.asker.limits.other, "still reading a parameter", stage)? {
            Answer::Value(value) => Ok(value),
            other => Err(self.asker.wrong(&other, stage)),
        }
    }

    /// The plugin's state; `None` if it offers none. It comes in parts, so nobody else may save meanwhile.
    ///
    /// # Errors
    /// [`Kind::Plugin`] if it raises, hangs or crashes, or if its state is longer than [`STATE_MAX`];
    /// [`Kind::Worker`] if what it sends is not as long as it says.
    pub fn save_state(&self) -> Result<Option<Vec<u8>>> {
        let (doing, stage) = ("still saving its state", "saving its state");
        let mut state = Vec::new();
        loop {
            let body = Ask::SaveState { from: state.len() as u64 };
            let StatePart { bytes, total } =
                match self.asker.ask(body, self.asker.limits.other, doing, stage)? {
                    Answer::State(Some(part)) => part,
                    Answer::State(None) if state.is_empty() => return Ok(None),
                    other => return Err(self.asker.wrong(&other, stage)),
                };
            let total = usize::try_from(total).unwrap_or(usize::MAX);
            // Exactly the part that is due: whatever it says, a worker can't keep us here nor fill our memory.
            if total > STATE_MAX
                || Some(bytes.len()) != total.checked_sub(state.len()).map(|n| n.min(STATE_PART))
            {
                let why = format!("it sent {} of {total} bytes at {}", bytes.len(), state.len());
                return Err(self.asker.died(&self.asker.link.fail(why), stage));
            }
            state.extend(bytes);
            if state.len() == total {
                return Ok(Some(state));
            }
        }
    }

    /// Gives the plugin a state that it saved before, in parts: nobody else may restore meanwhile. Whether it has it: one
    /// that has been given blocks by then plays on as it is.
    ///
    /// # Errors
    /// [`Kind::Plugin`] if it raises, hangs or crashes; [`Kind::Config`] if the state is longer than
    /// [`STATE_MAX`].
    pub fn load_state(&self, state: Vec<u8>) -> Result<bool> {
        let (doing, stage) = ("still restoring its state", "restoring its state");
        if state.len() > STATE_MAX {
            let what = format!("a state of {} bytes: at most {STATE_MAX} can be restored", state.len());
            return Err(Error::new(Kind::Config, what));
        }
        let mut rest = state.as_slice();
        loop {
            let (part, after) = rest.split_at(rest.len().min(STATE_PART));
            let body = Ask::LoadState { part: part.to_vec(), more: !after.is_empty() };
            match self.asker.ask(body, self.asker.limits.other, doing, stage)? {
                Answer::Done if after.is_empty() => return Ok(true),
                Answer::Done => rest = after,
                Answer::Played => return Ok(false),
                other => return Err(self.asker.wrong(&other, stage)),
            }
        }
    }

    /// Has the worker process blocks by itself, while nobody hands any over: what the plugin takes in its process
    /// alone, with the same buffers and the same checks, but no hand-over. The times of its blocks, in nanoseconds.
    ///
    /// Each is the block that the host gave last, or silence. `every` is from the beginning of one to that of the
    /// next; zero is one after the other. For measuring: the plugin can't tell these blocks from others.
    ///
    /// # Errors
    /// [`Kind::Config`] for more than [`DRIVE_MAX`] blocks; [`Kind::Plugin`] if it is not started, fails a block,
    /// hangs or crashes.
    pub fn drive(&self, blocks: u32, every: Duration) -> Result<Vec<u32>> {
        if blocks > DRIVE_MAX {
            let what = format!("{blocks} blocks: at most {DRIVE_MAX} can be driven at a time");
            return Err(Error::new(Kind::Config, what));
        }
        let stage = "driving itself";
        let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        let limit = self.asker.limits.other.saturating_add(every.saturating_mul(blocks)).max(DRIVE_WITHIN);
        let body = Ask::Drive { blocks, every_ns };
        match self.asker.ask(body, limit, "still driving itself", stage)? {
            Answer::Driven(times) if times.len() == blocks as usize => Ok(times),
            other => Err(self.asker.wrong(&other, stage)),
        }
    }

    /// Asks the worker to go, and waits until it is gone: it says goodbye within two seconds, or is killed.
    ///
    /// # Errors
    /// [`Kind::Plugin`] if it raised on the way or had to be killed; how it ended, if it was gone before.
    pub fn shutdown(&self) -> Result<()> {
        self.asker.go()
    }
}

impl Asker {
    fn load(&self) -> Result<Loaded> {
        let body = Ask::Load { file: self.origin.file.clone() };
        match self.ask(body, self.limits.load, "still importing", "loading")? {
            Answer::Loaded(loaded) => Ok(loaded),
            other => Err(self.wrong(&other, "loading")),
        }
    }

    /// Asks the worker to go, and sees that it does.
    fn go(&self) -> Result<()> {
        let until = Instant::now() + self.limits.shutdown;
        self.link.leave();
        let asked = self.ask(Ask::Shutdown, self.limits.shutdown, "still stopping", "stopping");
        // Whoever said goodbye in time to a host that was asleep is given the time to go.
        self.wait_gone(until.saturating_duration_since(Instant::now()).max(GONE_WITHIN))?;
        match asked {
            Ok(Answer::Goodbye) => Ok(()),
            Ok(other) => Err(self.wrong(&other, "stopping")),
            Err(why) => Err(why),
        }
    }

    fn wait_gone(&self, limit: Duration) -> Result<()> {
        if self.link.wait_end(limit).is_some() {
            return Ok(());
        }
        let late = "it said goodbye and lives on".into();
        let death = self.link.kill_and_wait(Because::Late(late));
        Err(self.died(&death, "stopping"))
    }

    fn done(&self, body: Ask, limit: Duration, doing: &'static str, stage: &str) -> Result<()> {
        self.done_with(&[], body, limit, doing, stage)
    }

    fn done_with(
        &self,
        fds: &[BorrowedFd<'_>],
        body: Ask,
        limit: Duration,
        doing: &'static str,
        stage: &str,
    ) -> Result<()> {
        match self.ask_query(Query { body, fds, limit, doing }, stage)? {
            Answer::Done => Ok(()),
            other => Err(self.wrong(&other, stage)),
        }
    }

    fn ask(&self, body: Ask, limit: Duration, doing: &'static str, stage: &str) -> Result<Answer> {
        self.ask_query(Query { body, fds: &[], limit, doing }, stage)
    }

    fn ask_query(&self, query: Query<'_>, stage: &str) -> Result<Answer> {
        self.link.ask(query).map_err(|why| self.error(why, stage))
    }

    fn remains(&self, death: Option<Arc<Death>>) -> Remains {
        Remains {
            pid: self.link.process.pid(),
            title: self.title.clone(),
            is_open: self.is_open,
            python: self.origin.python.clone(),
            python_version: Some(self.hello.python.clone()),
            file_mark: self.file_mark.clone(),
            death,
        }
    }

    fn subject(&self) -> String {
        format!("plugin {} ({})", self.origin.name, self.origin.file)
    }

    fn error(&self, why: NoAnswer, stage: &str) -> Error {
        match why {
            NoAnswer::Failed(failure) => self.failed(&failure),
            NoAnswer::Ended(death) => self.died(&death, stage),
            NoAnswer::TooLong(why) => {
                Error::new(Kind::Config, format!("what {} is given is too long", self.subject())).source(why)
            }
            NoAnswer::Unsent(why) => {
                Error::new(Kind::System, format!("can't talk to {}", self.subject())).source(why)
            }
        }
    }

    fn failed(&self, failure: &Failure) -> Error {
        let message = failure.message.trim();
        let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
        let sentence: String = first.chars().take(SENTENCE_MAX).collect();
        let what = format!("{} failed while {}: {sentence}", self.subject(), failure.stage);
        let detail = if failure.traceback.is_empty() { rest } else { &failure.traceback };
        let error = match failure.stage {
            Stage::Parameter => Error::new(Kind::Plugin, what).private(self.unsaid(failure.stage)),
            _ => Error::new(Kind::Plugin, what),
        };
        let error = if detail.is_empty() { error } else { error.detail(detail) };
        match missing_package(message) {
            Some(name) => error.remedy(format!(
                "{} -m pip install {name} (a guess: if {name} is a package and not a file of your own)",
                quoted(&self.origin.python)
            )),
            None => error,
        }
    }

    /// An exception about a parameter mostly repeats the value, and so may the source line in its traceback.
    fn unsaid(&self, stage: Stage) -> String {
        let reason =
            "the exception may hold the value, and is told to whoever asks with nda ctl or at a terminal";
        format!("{} failed while {stage}: {reason}", self.subject())
    }

    fn died(&self, death: &Arc<Death>, stage: &str) -> Error {
        let during = if death.because.is_none() { format!(" while {stage}") } else { String::new() };
        let error = Error::new(death.kind(), format!("{} {death}{during}", self.subject()));
        let error = error.remains(self.remains(Some(Arc::clone(death))));
        if death.stderr.is_empty() { error } else { error.detail(death.stderr.as_str()) }
    }

    /// A worker that gives an answer of the wrong kind is not to be asked again.
    fn wrong(&self, answer: &Answer, stage: &str) -> Error {
        let kind = match answer {
            Answer::Loaded(_) => "loaded",
            Answer::Configured(_) => "configured",
            Answer::Done => "done",
            Answer::Played => "played",
            Answer::Set { .. } => "set",
            Answer::Value(_) => "a value",
            Answer::State(_) => "a state",
            Answer::Driven(_) => "driven",
            Answer::Goodbye => "goodbye",
        };
        self.died(&self.link.fail(format!("it answered \"{kind}\" while {stage}")), stage)
    }
}

/// What a plugin calls itself, with its version.
pub(crate) fn title(loaded: &Loaded) -> String {
    format!("{} {}", loaded.name, loaded.version)
}

/// Waits for the hello of a process just started as a worker.
pub(crate) fn greeting(link: &Held, python: &Path, module: &Path, limits: &Limits) -> Result<Hello> {
    let hello = link.hello(limits.hello).map_err(|death| unheard(link, python, module, death))?;
    if hello.protocol == shared::PROTOCOL {
        return Ok(hello);
    }
    link.kill_and_wait(Because::Unwanted);
    Err(stranger(&hello, module))
}

/// It ended before its hello. An interpreter that found itself unfit has said so, and is no death.
fn unheard(link: &Held, python: &Path, module: &Path, death: Arc<Death>) -> Error {
    let why = refusal(python, module, &death);
    if is_verdict(&death) {
        return why;
    }
    let (pid, python) = (link.process.pid(), python.to_owned());
    let (title, python_version, file_mark, death) = (None, None, None, Some(death));
    why.remains(Remains { pid, title, is_open: false, python, python_version, file_mark, death })
}

fn stranger(hello: &Hello, module: &Path) -> Error {
    let what = format!(
        "the worker module {} is version {} (protocol {}), this host is version {} (protocol {})",
        module.display(),
        hello.version,
        hello.protocol,
        env!("CARGO_PKG_VERSION"),
        shared::PROTOCOL,
    );
    Error::new(Kind::Worker, what).remedy("build or install both from the same source")
}

/// The path of a plugin file from the root, as the worker gets it.
pub(crate) fn plugin_file(file: &Path) -> Result<String> {
    let shown = file.display();
    let refuse = |what: String| Error::new(Kind::Config, format!("plugin {shown} {what}"));
    let metadata = file.metadata().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            refuse("does not exist".into()).remedy("check the path and its spelling")
        }
        _ => refuse("can't be read".into()).source(e),
    })?;
    if metadata.is_dir() {
        return Err(refuse("is a folder; name the .py file in it".into()));
    }
    if file.extension().is_none_or(|extension| extension != "py") {
        return Err(refuse("is not a .py file".into()).remedy("name the file that has create_plugin"));
    }
    let path = from_root(file).map_err(|e| refuse("can't be read".into()).source(e))?;
    path.into_os_string().into_string().map_err(|_| refuse("has a path that is not UTF-8".into()))
}

/// Folders resolved, but not the file: beside a link to a plugin is where its user wants things to be found.
fn from_root(file: &Path) -> std::io::Result<PathBuf> {
    let file = std::path::absolute(file)?;
    match (file.parent(), file.file_name()) {
        (Some(folder), Some(name)) => Ok(folder.canonicalize()?.join(name)),
        _ => Ok(file),
    }
}

/// The package that Python did not find.
fn missing_package(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("No module named '")?;
    let (name, _) = rest.split_once('\'')?;
    name.split('.').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_that_is_missing_is_the_first_part_of_the_module() {
        assert_eq!(missing_package("ModuleNotFoundError: No module named 'scipy.signal'"), Some("scipy"));
        assert_eq!(missing_package("No module named ''"), None);
        assert_eq!(missing_package("something else"), None);
    }

    #[test]
    fn beside_a_link_to_a_plugin_is_where_the_link_stands() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("a.py"), "").unwrap();
        std::os::unix::fs::symlink(real.join("a.py"), folder.path().join("b.py")).unwrap();
        std::os::unix::fs::symlink(&real, folder.path().join("link")).unwrap();
        let root = folder.path().canonicalize().unwrap();
        let path = |file: &str| PathBuf::from(plugin_file(&folder.path().join(file)).unwrap());
        assert_eq!(path("b.py"), root.join("b.py"));
        assert_eq!(path("link/a.py"), root.join("real/a.py"));
    }
}
