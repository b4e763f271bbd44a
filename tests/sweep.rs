//! A worker killed at every instruction boundary of its turn: its block is missing or whole, never torn, and
//! whoever waits for it is freed; also in the middle of a chain ([`row`]).
//!
//! A worker of this executable's own is stepped with ptrace, one instruction after the other, from before it
//! copies its request to after its answer has been published and the host woken: `WorkerEnd::begin`, a plugin
//! that negates, `WorkerEnd::answer`. At every boundary the host looks at what there is; then, for each boundary
//! that is killed at, a new worker on a new ring is stepped there and killed, and the host looks again.
//!
//! Swept is the code as this test was built. With `--release` that is the code that users run, and a worker is
//! killed at every boundary; without optimisation only at some (see [`swept`]). A system call is one
//! instruction: a kill inside the kernel is not tried.
//!
//! `cargo test --release -p tests --test sweep -- --nocapture --test-threads=1` prints what was found.

#[path = "sweep/row.rs"]
mod row;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, gettid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use shared::clock;
use shared::control::{Control, Handles};
use shared::format::Format;
use shared::layout::Layout;
use shared::ring::{HostEnd, Look, Notes, Scrub, Stamps, Status, Waited, WorkerEnd};
use shared::segment::seal_written;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};

/// The order of the publish path, told to the worker by this variable.
const ORDER: &str = "NDA_TEST_ORDER";
/// As `shared::ring` has it.
const AS_IT_IS: &str = "as it is";
/// The sequence before the samples: what a sweep must find.
const SEQUENCE_FIRST: &str = "sequence first";

/// The block before the one that is swept leaves its answer in the same slot.
const BEFORE: u32 = 1;
const SWEPT: u32 = 2;

/// The first block that meets what another one has left.
fn swept_seq(layout: Layout) -> u32 {
    layout.slots() + 1
}

const STAMPS_BEFORE: Stamps = Stamps { seen_ns: 10, woken_ns: 11, entered_ns: 12, left_ns: 13 };
const STAMPS: Stamps = Stamps { seen_ns: 20, woken_ns: 21, entered_ns: 22, left_ns: 23 };
const NOTES_BEFORE: Notes = Notes {
    cpu_us: 31,
    delay_us: 32,
    collector_us: 33,
    collector_generation: 1,
    major_faults: 35,
    slept: false,
};
const NOTES: Notes = Notes {
    cpu_us: 41,
    delay_us: 42,
    collector_us: 43,
    collector_generation: 2,
    major_faults: 45,
    slept: true,
};
/// How long a thread that nobody frees waits: far longer than anything takes.
const WATCHDOG_NS: u64 = 60_000_000_000;
/// Far more instructions than any turn has.
const BOUNDARIES_MAX: usize = 1_000_000;

/// One slot, so that each block meets what the one before has left; the least block there is, so that all of its
/// samples can be stepped through.
fn layout() -> Layout {
    Layout::new(Format::new(1, 16, 48_000).unwrap(), 1).unwrap()
}

fn request(seq: u32) -> impl Iterator<Item = f32> {
    (1_u16..).map(move |i| f32::from(i) + 100.0 * f32::from(u16::try_from(seq).unwrap()))
}

fn negate(samples: &mut [f32]) {
    samples.iter_mut().for_each(|sample| *sample = -*sample);
}

// The worker.

/// Not a test: what [`Worker::start`] runs, in a process of its own.
#[test]
fn play_the_worker() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let control = Control::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let (_, fds) = control.receive::<bool>().unwrap();
    let layout = if order == row::IN_A_ROW { row::layout() } else { layout() };
    let mut end = WorkerEnd::map(&Handles::from_fds(fds).unwrap(), layout).unwrap();
    if order == row::IN_A_ROW {
        let (_, before) = control.receive::<bool>().unwrap();
        end.attach(&before[0], layout, row::TAG, &before[1]).unwrap();
        let (_, next) = control.receive::<bool>().unwrap();
        end.hand_to(&next[0]).unwrap();
    }
    ptrace::traceme().unwrap();
    control.send(&gettid().as_raw()).unwrap();
    for _ in 1..swept_seq(layout) {
        end.begin();
        end.answer(Status::Failed, STAMPS_BEFORE, NOTES_BEFORE);
    }
    stop();
    if order == SEQUENCE_FIRST {
        answer_too_early(&mut end)
    } else {
        answer(&mut end)
    }
    stop();
}

fn answer(end: &mut WorkerEnd) {
    end.begin();
    negate(end.next_samples());
    end.answer(Status::Good, STAMPS, NOTES);
}

fn answer_too_early(end: &mut WorkerEnd) {
    end.begin();
    end.answer(Status::Good, STAMPS, NOTES);
    // There is only one slot: the next block's is this one's.
    negate(end.next_samples());
}

/// A marker for whoever traces this thread.
fn stop() {
    raise(Signal::SIGSTOP).unwrap();
}

/// A worker whose thread is traced by the thread that started it; killed and reaped when dropped.
struct Worker {
    process: Child,
    thread: Pid,
}

impl Worker {
    /// A worker that has answered the block before, and stands at its first marker. In a chain it is joined to its
    /// neighbours.
    fn start(handles: &Handles, neighbours: Option<row::Neighbours<'_>>, order: &str) -> Self {
        let (control, theirs) = Control::pair().unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "play_the_worker", "--nocapture", "--test-threads=1"])
            .env(ORDER, order)
            .stdin(theirs.into_fd())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(control.try_send_fds(&true, &handles.as_fds()).unwrap());
        if let Some(row::Neighbours { before, next }) = neighbours {
            assert!(control.try_send_fds(&true, &before).unwrap());
            assert!(control.try_send_fds(&true, &[next]).unwrap());
        }
        // Not the process's first one: the test harness has that.
        let (thread, _) = control.receive().unwrap();
        let worker = Self { process, thread: Pid::from_raw(thread) };
        assert!(worker.stops_at(Signal::SIGSTOP));
        ptrace::setoptions(worker.thread, ptrace::Options::PTRACE_O_EXITKILL).unwrap();
        seal_written(&handles.reply).unwrap();
        worker
    }

    /// Waits until it stops; whether by this signal. The other is that of a step or of a marker.
    fn stops_at(&self, signal: Signal) -> bool {
        match self.change() {
            WaitStatus::Stopped(_, got @ (Signal::SIGTRAP | Signal::SIGSTOP)) => got == signal,
            other => panic!("the worker should have stopped: {other:?}"),
        }
    }

    /// What becomes of it.
    fn change(&self) -> WaitStatus {
        let until = clock::now_ns() + WATCHDOG_NS;
        loop {
            match waitpid(self.thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::StillAlive => assert!(clock::now_ns() < until, "the worker does not stop"),
                status => return status,
            }
            thread::yield_now();
        }
    }

    /// One instruction; false if that has brought it to its second marker.
    fn step(&self) -> bool {
        ptrace::step(self.thread, None).unwrap();
        self.stops_at(Signal::SIGTRAP)
    }

    /// So many instructions, all before its second marker.
    fn steps(&self, steps: usize) {
        assert!((0..steps).all(|_| self.step()), "its turn was longer before");
    }

    /// All that is left before its second marker.
    fn go_on(&self) {
        ptrace::cont(self.thread, None).unwrap();
        assert!(self.stops_at(Signal::SIGSTOP));
    }

    /// SIGKILL ends it where it stands; it is gone when this returns.
    fn kill(mut self) {
        self.process.kill().unwrap();
        assert!(matches!(self.change(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
        self.process.wait().unwrap();
    }
}

impl Drop for Worker {
    /// For a test that has failed; as if nothing were there if it has been killed.
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            let _ = waitpid(self.thread, Some(WaitPidFlag::__WALL));
            let _ = self.process.wait();
        }
    }
}

// The host.

/// What its thread does while the worker is at work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Host {
    /// It sleeps before the worker begins.
    Parked,
    /// It goes to sleep when the worker stands where it will be killed.
    Arrives,
    /// It waits only when the worker is dead.
    Awake,
}

/// A thread that waits for what the worker does, as in [`HostEnd::wait`].
struct Waiting<'scope, T> {
    tid: rustix::thread::Pid,
    thread: ScopedJoinHandle<'scope, T>,
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Freed {
    waited: Waited,
    by_watchdog: bool,
}

impl Freed {
    const BY_THE_ANSWER: Self = Self { waited: Waited::Answered, by_watchdog: false };
}

impl<'scope, T: Send + 'scope> Waiting<'scope, T> {
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        core: usize,
        wait: impl FnOnce() -> T + Send + 'scope,
    ) -> Self {
        let (tell, told) = mpsc::channel();
        let thread = scope.spawn(move || {
            pin(core);
            tell.send(rustix::thread::gettid()).unwrap();
            wait()
        });
        Self { tid: told.recv().unwrap(), thread }
    }

    /// Waits until it sleeps on a bell, or has nothing to wait for.
    fn settle(&self) {
        let until = clock::now_ns() + WATCHDOG_NS;
        while !self.thread.is_finished() && !self.sleeps() {
            assert!(clock::now_ns() < until, "it neither sleeps nor returns");
            thread::yield_now();
        }
    }

    fn sleeps(&self) -> bool {
        let read = |file| std::fs::read_to_string(format!("/proc/self/task/{}/{file}", self.tid));
        // A shared futex with a deadline: the standard library's own are private.
        let (one, either) = (format!("{} 0x", libc::SYS_futex), format!("{} 0x", libc::SYS_futex_waitv));
        let in_wait = |call: String| {
            call.starts_with(&either) || call.starts_with(&one) && call.split(' ').nth(2) == Some("0x9")
        };
        read("syscall").is_ok_and(in_wait) && read("stat").is_ok_and(|stat| stat.contains(") S "))
    }

    fn freed(self) -> T {
        self.thread.join().unwrap()
    }
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).unwrap();
}

/// A ring whose swept block has been published to a worker that is about to answer it.
fn ring_and_worker(order: &str) -> (HostEnd, Worker) {
    let (mut end, handles) = HostEnd::create(layout()).unwrap();
    publish(&mut end, BEFORE);
    let worker = Worker::start(&handles, None, order);
    let before = Answer::of(BEFORE, |sample| sample, (Status::Failed, STAMPS_BEFORE, NOTES_BEFORE));
    assert_eq!(Answer::taken(&end, BEFORE), Some(before));
    publish(&mut end, SWEPT);
    (end, worker)
}

fn publish(end: &mut HostEnd, seq: u32) {
    let published =
        end.publish(|samples| samples.iter_mut().zip(request(seq)).for_each(|(to, from)| *to = from));
    assert_eq!(published, Ok(seq));
}

/// All that the host gets of a block.
#[derive(PartialEq, Debug)]
struct Answer {
    head: (Status, Stamps, Notes),
    samples: Vec<f32>,
}

impl Answer {
    fn of(seq: u32, plugin: impl Fn(f32) -> f32, head: (Status, Stamps, Notes)) -> Self {
        Self { head, samples: request(seq).take(layout().format().samples()).map(plugin).collect() }
    }

    fn taken(end: &HostEnd, seq: u32) -> Option<Self> {
        let mut samples = vec![f32::NAN; layout().format().samples()];
        let taken = end.take(seq, &mut samples, Scrub::Nothing).ok()?;
        Some(Self { head: (taken.status, taken.stamps, taken.notes), samples })
    }
}

/// What a dead worker has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Missing,
    Whole,
    Torn,
}

fn judge(end: &HostEnd) -> Left {
    let seq = swept_seq(end.layout());
    let whole = Answer::of(seq, |sample| -sample, (Status::Good, STAMPS, NOTES));
    match end.look(seq) {
        Look::NotYet => Left::Missing,
        Look::Answered if Answer::taken(end, seq) == Some(whole) => Left::Whole,
        // Or under a sequence that is nobody's.
        Look::Answered | Look::Forged => Left::Torn,
    }
}

// The sweep.

/// A way to publish, and where from and where to.
#[derive(Clone, Copy)]
struct Path<'a> {
    order: &'a str,
    worker_core: usize,
    host_core: usize,
    host: Host,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = if self.worker_core == self.host_core { "one core" } else { "two cores" };
        write!(f, "{}, {cores}, host {:?}", self.order, self.host)
    }
}

/// Counts of what was found.
#[derive(Default)]
struct Found {
    /// All there are, each looked at while the worker stood there.
    boundaries: usize,
    torn_alive: usize,
    missing: usize,
    whole: usize,
    torn: usize,
    blocked: usize,
}

impl Found {
    fn count(&mut self, left: Left, is_blocked: bool) {
        match left {
            Left::Missing => self.missing += 1,
            Left::Whole => self.whole += 1,
            Left::Torn => self.torn += 1,
        }
        self.blocked += usize::from(is_blocked);
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boundaries, torn_alive, missing, whole, torn, blocked } = self;
        let kills = missing + whole + torn;
        write!(f, "{boundaries} boundaries, {torn_alive} torn; {kills} kills: ")?;
        write!(f, "{missing} missing, {whole} whole, {torn} torn, {blocked} blocked")
    }
}

impl Path<'_> {
    fn wait<'scope, 'env>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        end: &'env HostEnd,
        gone: &'env AtomicBool,
    ) -> Waiting<'scope, Freed> {
        let waiting = Waiting::start(scope, self.host_core, move || {
            let until = clock::now_ns() + WATCHDOG_NS;
            let waited = end.wait(SWEPT, until, gone);
            Freed { waited, by_watchdog: clock::now_ns() >= until }
        });
        waiting.settle();
        waiting
    }

    /// Steps one worker through its turn; what it would leave at each boundary. A host that sleeps by then is woken
    /// by the answer alone.
    fn look_at_each(self) -> Vec<Left> {
        let (end, worker) = ring_and_worker(self.order);
        let gone = AtomicBool::new(false);
        thread::scope(|scope| {
            let parked = (self.host == Host::Parked).then(|| self.wait(scope, &end, &gone));
            let mut left = vec![judge(&end)];
            while worker.step() {
                left.push(judge(&end));
                assert!(left.len() < BOUNDARIES_MAX, "the turn does not end");
            }
            worker.kill();
            let freed = parked.map(Waiting::freed);
            assert!(freed.is_none_or(|freed| freed == Freed::BY_THE_ANSWER));
            left
        })
    }

    /// Kills a worker after this many instructions; what it leaves, and how the host's thread got away.
    fn kill_after(self, steps: usize) -> (Left, Freed) {
        let (end, worker) = ring_and_worker(self.order);
        let (gone, waker) = (AtomicBool::new(false), end.waker());
        thread::scope(|scope| {
            let parked = (self.host == Host::Parked).then(|| self.wait(scope, &end, &gone));
            worker.steps(steps);
            let arrived = (self.host == Host::Arrives).then(|| self.wait(scope, &end, &gone));
            worker.kill();
            // As the supervisor does when it notices.
            gone.store(true, Ordering::Release);
            waker.wake();
            let waiting = parked.or(arrived).unwrap_or_else(|| self.wait(scope, &end, &gone));
            let freed = waiting.freed();
            let left = judge(&end);
            let right = if left == Left::Missing { Waited::GivenUp } else { Waited::Answered };
            assert!(freed.waited == right || freed.by_watchdog, "{left:?}, and {freed:?}");
            (left, freed)
        })
    }

    /// Lets the host fall asleep after this many instructions of a worker that then goes on.
    fn arrive_after(self, steps: usize) -> Freed {
        let (end, worker) = ring_and_worker(self.order);
        let gone = AtomicBool::new(false);
        thread::scope(|scope| {
            worker.steps(steps);
            let waiting = self.wait(scope, &end, &gone);
            worker.go_on();
            let freed = waiting.freed();
            worker.kill();
            freed
        })
    }

    fn sweep(self) -> Found {
        let looks = self.look_at_each();
        let mut found = Found { boundaries: looks.len(), ..Found::default() };
        found.torn_alive = looks.iter().filter(|left| **left == Left::Torn).count();
        for steps in swept(&looks) {
            let (left, freed) = self.kill_after(steps);
            assert_eq!(left, looks[steps], "the kill has changed something");
            found.count(left, freed.by_watchdog);
            // Each one that is blocked would take as long.
            if found.blocked > 0 {
                break;
            }
        }
        println!("{self}: {found}");
        found
    }
}

/// The boundaries to kill at: all of them; in a build without optimisation, whose turn is twenty times as long, so many
/// and those around each change.
fn swept(looks: &[Left]) -> impl Iterator<Item = usize> {
    const UNOPTIMISED: usize = 12;
    let apart = if cfg!(debug_assertions) { looks.len() / UNOPTIMISED } else { 1 };
    let changes: Vec<usize> = (1..looks.len()).filter(|at| looks[*at] != looks[at - 1]).collect();
    (0..looks.len())
        .filter(move |at| at.is_multiple_of(apart) || changes.iter().any(|change| at.abs_diff(*change) < 4))
}

/// The first two cores there are for this test, the same twice if there is but one.
fn two_cores() -> (usize, usize) {
    let allowed = sched_getaffinity(None).unwrap();
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let first = cores.next().unwrap();
    (first, cores.next().unwrap_or(first))
}

/// The paths of the publish order as it is, on these cores.
fn paths(hosts: [Host; 3], other_core: bool) -> Vec<Path<'static>> {
    let (worker_core, other) = two_cores();
    let host_core = if other_core { other } else { worker_core };
    hosts.map(|host| Path { order: AS_IT_IS, worker_core, host_core, host }).into()
}

/// On a thread of its own, which stays on the worker's core: a step is quickest there.
fn on_core_of<T: Send>(path: Path<'static>, run: impl FnOnce(Path<'static>) -> T + Send) -> T {
    let run = || {
        pin(path.worker_core);
        run(path)
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn missing_or_whole(other_core: bool) {
    for path in paths([Host::Parked, Host::Arrives, Host::Awake], other_core) {
        let found = on_core_of(path, Path::sweep);
        assert_eq!((found.torn_alive, found.torn, found.blocked), (0, 0, 0), "{path}: {found}");
        assert!(found.missing > 0 && found.whole > 0, "nothing was swept: {found}");
    }
}

#[test]
fn a_worker_killed_at_any_instruction_leaves_its_block_missing_or_whole_for_a_host_on_its_core() {
    missing_or_whole(false);
}

#[test]
fn a_worker_killed_at_any_instruction_leaves_its_block_missing_or_whole_for_a_host_on_another_core() {
    let (one, other) = two_cores();
    if one == other {
        println!("not swept: there is only one core here");
        return;
    }
    missing_or_whole(true);
}

#[test]
fn a_host_that_falls_asleep_at_any_instruction_of_the_worker_is_woken_by_the_answer() {
    for other_core in [false, true] {
        let path = paths([Host::Awake; 3], other_core)[0];
        on_core_of(path, |path| {
            for steps in swept(&path.look_at_each()) {
                let freed = path.arrive_after(steps);
                assert_eq!(freed, Freed::BY_THE_ANSWER, "{path}: after {steps}");
            }
        });
    }
}

#[test]
fn a_sweep_finds_what_is_torn_when_the_sequence_is_stored_first() {
    let path = Path { order: SEQUENCE_FIRST, ..paths([Host::Awake; 3], false)[0] };
    let found = on_core_of(path, Path::sweep);
    assert!(found.missing > 0 && found.whole > 0 && found.torn > 0 && found.torn_alive > 0, "{found}");
}
