//! The calls to one worker: who waits for which answer, and how every wait ends.
//!
//! Any thread may ask, several at once; the supervisor thread brings the answers, matched by their number, and
//! the news that the worker has ended, which answers everybody. No lock is held while anybody waits, and every
//! wait has a deadline, after which the worker is killed: a worker that is late once can't be trusted with the
//! order of its answers.

use super::bell::Bell;
use super::death::{Because, Death, Ending, LastSaid};
use super::pace::Pace;
use super::patience::Patience;
use super::process::Process;
use super::stat::Condition;
use crate::realtime::placement;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use shared::control::{Control, ControlError};
use shared::message::{Answer, Ask, CodecError, Failure, Hello, Request};
use shared::ring::HostWaker;
use std::collections::HashMap;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The number under which the hello is waited for; requests count from 1.
const HELLO: u32 = 0;
/// How long a killed process may take to disappear before nobody waits for it any more.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// How long a worker that hangs has to write down where. Most need 3 ms, and nobody waits for longer than they need; on
/// a busy machine some need far more.
const STACKS_WITHIN: Duration = Duration::from_millis(250);
/// The same for one that takes ever more of the machine meanwhile.
const STACKS_AT_ONCE: Duration = Duration::from_millis(15);

/// Where a worker stands, as far as its end is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its end is told to whoever asks it next.
    Quiet,
    /// It processes blocks: nobody may be asking, so its end is an event.
    Running,
    /// Its end is wanted.
    Leaving,
}

/// What is asked, and how long it may take.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    pub(crate) body: Ask,
    /// Descriptors that go with it.
    pub(crate) fds: &'a [BorrowedFd<'a>],
    pub(crate) limit: Duration,
    /// What it is doing if it is late: "still importing".
    pub(crate) doing: &'static str,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The plugin, or the way to it, failed.
    Failed(Failure),
    /// The worker has ended; also if it was ended for being late.
    Ended(Arc<Death>),
    /// The question is longer than a message can be.
    TooLong(CodecError),
    /// The operating system would not send it.
    Unsent(Errno),
}

#[derive(Debug)]
struct Call {
    deadline: Instant,
    /// Phase after a good answer.
    then: Option<Phase>,
    /// It is the request to go.
    is_last: bool,
    /// Whether the plugin's `save_state` or `load_state` is called for it.
    is_of_state: bool,
    /// The worker says that it is at that.
    is_at_state: bool,
    heard: Option<Heard>,
}

#[derive(Debug)]
enum Heard {
    Hello(Hello),
    Answer(Result<Answer, Failure>),
}

/// A worker that is to be killed when it has written down what it was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doom {
    /// When it was asked.
    pub(super) since: Instant,
    /// When it is killed at the latest.
    pub(super) until: Instant,
}

/// What runs when the worker is gone.
pub(crate) type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Hooks(Vec<Hook>);

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hooks", self.0.len())
    }
}

#[derive(Debug)]
struct State {
    name: Arc<str>,
    last: u32,
    calls: HashMap<u32, Call>,
    phase: Phase,
    /// Somebody else tells of its end.
    untold: bool,
    greeted: bool,
    answered_last: bool,
    waker: Option<HostWaker>,
    hooks: Hooks,
    because: Option<Because>,
    doom: Option<Doom>,
    memory_max: Option<u64>,
    ended: Option<Arc<Death>>,
}

/// One incarnation of a worker, shared by its [`Worker`](crate::plugin::worker::Worker) and the supervisor.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) process: Process,
    pub(super) control: Control,
    bell: Bell,
    gone: Arc<AtomicBool>,
    /// How it is to go; not known of one that is none.
    pace: OnceLock<Pace>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Link {
    pub(super) fn new(name: Arc<str>, process: Process, control: Control, bell: Bell) -> Self {
        let hello = Call {
            deadline: Instant::now(),
            then: None,
            is_last: false,
            is_of_state: false,
            is_at_state: false,
            heard: None,
        };
        let state = State {
            name,
            last: HELLO,
            calls: HashMap::from([(HELLO, hello)]),
            phase: Phase::Quiet,
            untold: false,
            greeted: false,
            answered_last: false,
            waker: None,
            hooks: Hooks::default(),
            because: None,
            doom: None,
            memory_max: None,
            ended: None,
        };
        let gone = Arc::new(AtomicBool::new(false));
        let pace = OnceLock::new();
        Self { process, control, bell, gone, pace, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Reaps the process, which has ended, on a thread of its own: the kernel may be at it for long, with the memory of
    /// a large process and with what others are just reading of it in `/proc`. The bell rings when that is done.
    pub(super) fn reap(self: &Arc<Self>) -> Receiver<Ending> {
        let (send, receive) = sync_channel(1);
        let link = Arc::clone(self);
        let theirs = send.clone();
        let reap = move || {
            // Nobody listens any more if the supervisor's thread has ended.
            let _ = theirs.send(link.process.reap());
            link.bell.ring();
        };
        if std::thread::Builder::new().name("nda-reap".into()).spawn(reap).is_err() {
            let _ = send.send(self.process.reap());
            self.bell.ring();
        }
        receive
    }

    /// Keeps the worker, and all that it starts from now on, to these cores; none given is no change.
    pub(super) fn pin(&self, cores: &[usize]) {
        if !self.gone.load(Ordering::Acquire) {
            placement::pin(self.process.raw_pid(), cores);
        }
    }

    /// Lets a worker just started go after those that play; `gently`, after others too.
    pub(super) fn begin(&self, pace: Pace, gently: bool) {
        pace.begin(self.process.raw_pid(), gently);
        let _ = self.pace.set(pace);
    }

    /// Lets the worker go as any other that does not play, from now on.
    pub(crate) fn step_forward(&self) {
        if let Some(pace) = self.pace.get().filter(|_| !self.gone.load(Ordering::Acquire)) {
            pace.step_forward(self.process.raw_pid());
        }
    }

    /// Lets the worker go as one that plays.
    pub(crate) fn play(&self) {
        if let Some(pace) = self.pace.get().filter(|_| !self.gone.load(Ordering::Acquire)) {
            pace.play(self.process.raw_pid());
        }
    }

    /// Lets the worker go as others do that don't play, until it plays again.
    pub(crate) fn give_way(&self) {
        if let Some(pace) = self.pace.get().filter(|_| !self.gone.load(Ordering::Acquire)) {
            pace.give_way(self.process.raw_pid());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is whole after each statement: a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- for whoever asks ---

    /// Waits for the hello that the worker says first.
    pub(crate) fn hello(&self, limit: Duration) -> Result<Hello, Arc<Death>> {
        match self.wait_for(HELLO, limit, Patience::from_now(limit), "no hello") {
            Ok(Heard::Hello(hello)) => Ok(hello),
            Ok(Heard::Answer(_)) => Err(self.fail("an answer before its hello".into())),
            Err(death) => Err(death),
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&self, query: Query<'_>) -> Result<Answer, NoAnswer> {
        let Query { body, fds, limit, doing } = query;
        let (id, mut patience) = self.register(&body, limit).map_err(NoAnswer::Ended)?;
        if let Err(why) = self.send(&Request { id, body }, fds, &mut patience) {
            self.state().calls.remove(&id);
            return Err(why);
        }
        match self.wait_for(id, limit, patience, doing).map_err(NoAnswer::Ended)? {
            Heard::Answer(answer) => answer.map_err(NoAnswer::Failed),
            Heard::Hello(_) => Err(NoAnswer::Ended(self.fail("two hellos".into()))),
        }
    }

    /// Takes a number. A worker answers in order, so the time for an answer starts when those before are due,
    /// but for the request to leave, which is the last whatever happens.
    fn register(&self, body: &Ask, limit: Duration) -> Result<(u32, Patience), Arc<Death>> {
        let mut state = self.state();
        if let Some(death) = &state.ended {
            return Err(Arc::clone(death));
        }
        let now = Instant::now();
        let before = state.calls.values().map(|call| call.deadline).max().unwrap_or(now).max(now);
        let is_last = matches!(body, Ask::Shutdown);
        let from = if is_last { now } else { before };
        let then = match body {
            Ask::Start { .. } => Some(Phase::Running),
            Ask::Stop => Some(Phase::Quiet),
            _ => None,
        };
        state.last = state.last.checked_add(1).unwrap_or(HELLO + 1);
        let id = state.last;
        let is_of_state = matches!(body, Ask::SaveState { from: 0 } | Ask::LoadState { more: false, .. });
        let deadline = from + limit;
        let call = Call { deadline, then, is_last, is_of_state, is_at_state: false, heard: None };
        state.calls.insert(id, call);
        Ok((id, Patience::new(now, from + limit)))
    }

    /// Sends when the socket has room. That the peer is gone is left for the supervisor to find out and tell.
    fn send(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
        patience: &mut Patience,
    ) -> Result<(), NoAnswer> {
        loop {
            match self.control.try_send_fds(request, fds) {
                Ok(true) | Err(ControlError::Closed) => return Ok(()),
                Err(ControlError::Codec(why)) => return Err(NoAnswer::TooLong(why)),
                Err(ControlError::System(why)) => return Err(NoAnswer::Unsent(why)),
                Ok(false) if !self.wait_for_room(patience) => return Ok(()),
                Ok(false) => {}
            }
        }
    }

    /// Waits until the socket may have room; false if the worker ended or the time is over.
    fn wait_for_room(&self, patience: &mut Patience) -> bool {
        let Some(timeout) = patience.sleep(Instant::now()).and_then(|left| left.try_into().ok()) else {
            return false;
        };
        let mut fds = [
            PollFd::new(&self.control, PollFlags::OUT),
            PollFd::from_borrowed_fd(self.process.pidfd(), PollFlags::IN),
        ];
        let _ = poll(&mut fds, Some(&timeout));
        fds[1].revents().is_empty()
    }

    /// Waits for what is heard under a number. Late, the worker is killed, and its end is the answer.
    fn wait_for(
        &self,
        id: u32,
        limit: Duration,
        mut patience: Patience,
        doing: &str,
    ) -> Result<Heard, Arc<Death>> {
        let mut state = self.state();
        loop {
            if let Some(heard) = state.calls.get_mut(&id).and_then(|call| call.heard.take()) {
                state.calls.remove(&id);
                return Ok(heard);
            }
            if let Some(death) = &state.ended {
                return Err(Arc::clone(death));
            }
            let Some(sleep) = patience.sleep(Instant::now()) else {
                state.calls.remove(&id);
                drop(state);
                let late = format!("{doing} after {} s", limit.as_secs_f32());
                return Err(self.kill_late(late));
            };
            // Whoever asks next waits for this one's end first.
            state.calls.entry(id).and_modify(|call| call.deadline = patience.until());
            state = self.changed.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Kills a worker that broke the protocol; how it ended.
    pub(crate) fn fail(&self, how: String) -> Arc<Death> {
        self.kill_and_wait(Because::Hostile(how))
    }

    /// Lets a worker that hangs say where, then kills it.
    fn kill_late(&self, late: String) -> Arc<Death> {
        self.give_up(Because::Late(late), STACKS_WITHIN);
        self.wait_killed(STACKS_WITHIN + KILLED_WITHIN)
    }

    /// Has the worker killed as soon as it has written down what it is doing, without waiting for either. To the
    /// audio thread it is gone at once.
    pub(crate) fn abandon(&self, because: Because) {
        let patience = match because {
            Because::Memory { .. } | Because::Processes { .. } => STACKS_AT_ONCE,
            _ => STACKS_WITHIN,
        };
        self.give_up(because, patience);
    }

    fn give_up(&self, because: Because, patience: Duration) {
        let condition = self.process.condition();
        if condition.is_over() {
            // It ends by itself: the reason is its own.
            return self.say_gone();
        }
        let is_stopped = condition == Condition::Stopped;
        self.blame(if is_stopped { because.of_a_stopped() } else { because });
        if is_stopped {
            self.process.kill();
        } else if self.doom_within(patience) {
            self.process.ask_for_stacks();
        }
        self.say_gone();
    }

    /// False if that was decided before.
    fn doom_within(&self, patience: Duration) -> bool {
        let since = Instant::now();
        let mut state = self.state();
        let is_new = state.doom.is_none();
        state.doom.get_or_insert(Doom { since, until: since + patience });
        is_new
    }

    /// Whether the process has begun to end, though the supervisor may not have heard of it. It is gone then.
    pub(crate) fn is_exiting(&self) -> bool {
        let is_over = self.process.condition().is_over();
        if is_over {
            self.say_gone();
        }
        is_over
    }

    /// Tells the audio thread now, and has the supervisor's tell everybody else.
    fn say_gone(&self) {
        self.gone.store(true, Ordering::Release);
        self.wake();
        self.bell.ring();
    }

    fn wake(&self) {
        let waker = self.state().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn kill_and_wait(&self, because: Because) -> Arc<Death> {
        self.kill(because);
        self.wait_killed(KILLED_WITHIN)
    }

    fn wait_killed(&self, limit: Duration) -> Arc<Death> {
        self.wait_end(limit).unwrap_or_else(|| Arc::new(self.death(Ending::Unknown, LastSaid::default())))
    }

    /// Waits until the worker has ended and is reaped, but not for ever.
    pub(crate) fn wait_end(&self, limit: Duration) -> Option<Arc<Death>> {
        let mut patience = Patience::from_now(limit);
        let mut state = self.state();
        while state.ended.is_none()
            && let Some(sleep) = patience.sleep(Instant::now())
        {
            state = self.changed.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.ended.clone()
    }

    /// Kills the worker; the first reason given is the one that is told.
    pub(crate) fn kill(&self, because: Because) {
        self.blame(because);
        self.process.kill();
    }

    /// Kills a worker that nobody has any more, unless it is writing down its stacks and killed after that.
    pub(crate) fn let_go(&self) {
        self.leave();
        if self.doom().is_none() {
            self.kill(Because::Unwanted);
        }
    }

    /// Of a worker that has ended already, nobody made an end.
    fn blame(&self, because: Because) {
        let mut state = self.state();
        if !self.gone.load(Ordering::Acquire) {
            state.because.get_or_insert(because);
        }
    }

    /// Says that the end of the worker is wanted from now on. One that has ended already did so unasked.
    pub(crate) fn leave(&self) {
        let mut state = self.state();
        if !self.gone.load(Ordering::Acquire) {
            state.phase = Phase::Leaving;
        }
    }

    /// The name under which its words and its end are told.
    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.state().name)
    }

    /// It has a plugin from now on, which may use this much memory, in bytes.
    pub(crate) fn bound(&self, memory_max: u64) {
        self.state().memory_max = Some(memory_max);
    }

    /// How much memory it may use, if it has a plugin, and whether it processes blocks.
    pub(super) fn bounds(&self) -> Option<(u64, bool)> {
        let state = self.state();
        state.memory_max.map(|most| (most, state.phase == Phase::Running))
    }

    /// Tells of it under another name from now on.
    pub(crate) fn rename(&self, name: Arc<str>) {
        self.state().name = name;
    }

    /// Leaves it to somebody else to tell of its end.
    pub(crate) fn tell_no_death(&self) {
        self.state().untold = true;
    }

    /// Has `hook` run by the supervisor thread when the worker is gone; at once if it is.
    pub(crate) fn on_gone(&self, hook: Hook) {
        let mut state = self.state();
        // The flag goes up before the hooks are taken: seen down under the lock, they are not taken yet.
        if self.gone.load(Ordering::Acquire) {
            drop(state);
            return hook();
        }
        state.hooks.0.push(hook);
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<Arc<Death>> {
        self.state().ended.clone()
    }

    /// Whether it is saving or restoring its state, as it says, and as it was asked to and has not answered.
    pub(crate) fn is_at_state(&self) -> bool {
        self.state().calls.values().any(|call| call.is_at_state && call.heard.is_none())
    }

    /// Why the host ends it, if it does.
    pub(crate) fn because(&self) -> Option<Because> {
        self.state().because.clone()
    }

    /// Up when the process is known to have ended.
    pub(crate) fn gone(&self) -> &Arc<AtomicBool> {
        &self.gone
    }

    /// Whom to wake when the worker ends.
    pub(crate) fn set_waker(&self, waker: HostWaker) {
        self.state().waker = Some(waker);
    }

    // --- for the supervisor thread ---

    /// Brings the hello. Nobody may be waiting for it any more.
    pub(super) fn greeted(&self, hello: Hello) {
        self.state().greeted = true;
        self.hear(HELLO, Heard::Hello(hello));
    }

    /// Brings an answer; false if nobody waits for this number.
    pub(super) fn answered(&self, id: u32, answer: Result<Answer, Failure>) -> bool {
        id != HELLO && self.hear(id, Heard::Answer(answer))
    }

    /// It says that it begins to save or restore its state. Nobody but the host makes that so: without a request it is
    /// a word for nothing.
    pub(super) fn begins_with_state(&self) {
        let mut state = self.state();
        state.calls.values_mut().filter(|call| call.is_of_state).for_each(|call| call.is_at_state = true);
    }

    fn hear(&self, id: u32, heard: Heard) -> bool {
        let mut state = self.state();
        let Some(call) = state.calls.get_mut(&id).filter(|call| call.heard.is_none()) else {
            return false;
        };
        let good = matches!(heard, Heard::Answer(Ok(_)));
        let then = call.then.filter(|_| good);
        let is_last = call.is_last;
        call.heard = Some(heard);
        state.answered_last |= is_last;
        if let Some(phase) = then.filter(|_| state.phase != Phase::Leaving) {
            state.phase = phase;
        }
        self.changed.notify_all();
        true
    }

    /// Asks the worker to go without anybody waiting for its answer.
    pub(super) fn ask_to_go(&self) {
        self.leave();
        if let Ok((id, _)) = self.register(&Ask::Shutdown, Duration::ZERO) {
            // A socket without room, or closed: the deadline of the caller deals with it.
            let _ = self.control.try_send(&Request { id, body: Ask::Shutdown });
        }
    }

    /// Says that the process has ended, first of all to the audio thread.
    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
        self.wake();
        self.run_hooks();
    }

    /// Tells those who wanted to know that it is gone.
    pub(super) fn run_hooks(&self) {
        if self.gone.load(Ordering::Acquire) {
            let hooks = std::mem::take(&mut self.state().hooks);
            hooks.0.into_iter().for_each(|hook| hook());
        }
    }

    /// Whether it is to be killed when it has written down its stacks.
    pub(super) fn doom(&self) -> Option<Doom> {
        self.state().doom
    }

    /// Tells everybody how it ended; whether it is an event too.
    pub(super) fn end(&self, ending: Ending, said: LastSaid) -> (Arc<Death>, bool) {
        self.set_gone();
        let death = Arc::new(self.death(ending, said));
        let mut state = self.state();
        state.ended = Some(Arc::clone(&death));
        state.waker = None;
        self.changed.notify_all();
        (death, state.phase == Phase::Running && !state.untold)
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended().is_some()
    }

    fn death(&self, ending: Ending, said: LastSaid) -> Death {
        let LastSaid { stderr, log, failure } = said;
        let state = self.state();
        let (greeted, answered_last, because) = (state.greeted, state.answered_last, state.because.clone());
        Death { ending, greeted, answered_last, because, stderr, log, failure }
    }
}
