//! The worker that is killed stands in the middle of a chain: its block comes from the worker before it, and its answer
//! wakes the one after it, while the host waits for that one.
//!
//! The worker before and the one after are threads of this executable, as is the host, which does what it does when it
//! is told of a death: a missing block is supplied in its place, and who was to be woken by the dead is woken.

use super::*;
use shared::ring::{Bounds, EdgeInput, Wake};
use shared::segment::doorstep;

/// Told to the worker by [`ORDER`].
pub(super) const IN_A_ROW: &str = "in a row";
pub(super) const TAG: u32 = 5;
/// In the place of a block that is missing.
const INSTEAD: f32 = 0.25;
static NEVER: AtomicBool = AtomicBool::new(false);

/// Two slots, the least that a worker can be followed with; so the block that is swept is the third.
pub(super) fn layout() -> Layout {
    Layout::new(super::layout().format(), 2).unwrap()
}

/// What the worker that is swept gets of those beside it.
pub(super) struct Neighbours<'a> {
    /// The answers of the one before, and where it says to that one that it sleeps.
    pub(super) before: [BorrowedFd<'a>; 2],
    /// Where the one after it says so.
    pub(super) next: BorrowedFd<'a>,
}

struct Row {
    swept: HostEnd,
    last_host: HostEnd,
    last: WorkerEnd,
    worker: Worker,
}

fn ends() -> (HostEnd, WorkerEnd, Handles) {
    let (host, handles) = HostEnd::create(layout()).unwrap();
    let worker = WorkerEnd::map(&handles, layout()).unwrap();
    (host, worker, handles)
}

fn input(seq: u32) -> EdgeInput {
    EdgeInput { seq, tag: TAG, scrub: Scrub::Nothing }
}

/// A chain whose swept block has been answered by the first worker, and is about to be by the second.
fn row_and_worker() -> Row {
    let (mut first_host, mut first, first_handles) = ends();
    let (mut swept, handles) = HostEnd::create(layout()).unwrap();
    let (mut last_host, mut last, _) = ends();
    let (swepts_doorstep, lasts_doorstep) = (doorstep().unwrap(), doorstep().unwrap());
    first.hand_to(&swepts_doorstep).unwrap();
    last.attach(&handles.reply, layout(), TAG, &lasts_doorstep).unwrap();
    let mut order = |seq, swept: &mut HostEnd, last_host: &mut HostEnd| {
        let write =
            |samples: &mut [f32]| samples.iter_mut().zip(request(seq)).for_each(|(to, from)| *to = from);
        assert_eq!(first_host.publish_first(true, write), Ok(seq));
        assert_eq!(swept.publish_edge(input(seq), true), Ok(seq));
        assert_eq!(last_host.publish_edge(input(seq), false), Ok(seq));
        first_host.notify();
        turn(&mut first, clock::now_ns() + WATCHDOG_NS);
    };
    let third = swept_seq(layout());
    (1..third).for_each(|seq| order(seq, &mut swept, &mut last_host));
    let before = [first_handles.reply.as_fd(), swepts_doorstep.as_fd()];
    let neighbours = Neighbours { before, next: lasts_doorstep.as_fd() };
    let worker = Worker::start(&handles, Some(neighbours), IN_A_ROW);
    // Its answers to those before have failed.
    (1..third).for_each(|_| assert_eq!(turn(&mut last, clock::now_ns() + WATCHDOG_NS), Status::Starved));
    order(third, &mut swept, &mut last_host);
    Row { swept, last_host, last, worker }
}

/// One block, handed on as it is.
fn turn(worker: &mut WorkerEnd, until: u64) -> Status {
    if worker.wait(until, &NEVER) != Wake::Block {
        return Status::Failed;
    }
    let status = if worker.begin() { Status::Good } else { Status::Starved };
    worker.answer(status, Stamps::default(), Notes::default());
    status
}

/// Waits for the last worker, and repairs the chain if the one before it is `gone`.
fn wait_for_last(host: &mut HostEnd, swept: &HostEnd, gone: &AtomicBool, until: u64) -> Waited {
    let third = swept_seq(layout());
    let is_there = |host: &HostEnd| (host.look(third) == Look::Answered).then_some(Waited::Answered);
    let bounds = || Bounds::sleep(clock::now_ns(), until);
    let is_gone = || gone.load(Ordering::Acquire).then_some(Waited::GivenUp);
    let waited = host.wait_for_chain(false, bounds(), || is_there(host).or_else(is_gone)).waited;
    if waited != Waited::GivenUp {
        return waited;
    }
    // Whether it slept is nothing to us.
    let _ = match swept.look(third) {
        Look::NotYet => host.supply(third, |samples| samples.fill(INSTEAD)),
        Look::Answered | Look::Forged => host.notify(),
    };
    host.wait_for_chain(false, bounds(), || is_there(host)).waited
}

/// What the last worker was given.
fn got(last_host: &HostEnd) -> Left {
    let mut samples = [f32::NAN; 16];
    let taken = last_host.take(swept_seq(layout()), &mut samples, Scrub::Nothing);
    let Ok(taken) =
        taken.map_err(|_| ()).and_then(|taken| (taken.status == Status::Good).then_some(taken).ok_or(()))
    else {
        return Left::Torn;
    };
    let whole = request(swept_seq(layout())).take(16).map(|sample| -sample);
    match taken.from_peer {
        true if samples.iter().copied().eq(whole) => Left::Whole,
        false if samples == [INSTEAD; 16] => Left::Missing,
        _ => Left::Torn,
    }
}

/// Those who sleep until the worker has answered, or somebody else lets them go on.
struct Both<'scope> {
    last: Waiting<'scope, Status>,
    host: Waiting<'scope, Waited>,
}

impl<'scope> Both<'scope> {
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        ends: (&'env mut HostEnd, &'env mut WorkerEnd),
        swept: &'env HostEnd,
        gone: &'env AtomicBool,
        core: usize,
    ) -> Self {
        let until = clock::now_ns() + WATCHDOG_NS;
        let (last_host, last) = ends;
        let last = Waiting::start(scope, core, move || turn(last, until));
        last.settle();
        let host = Waiting::start(scope, core, move || wait_for_last(last_host, swept, gone, until));
        host.settle();
        Self { last, host }
    }

    /// Whether both got away with the block answered.
    fn are_freed(self) -> bool {
        (self.last.freed(), self.host.freed()) == (Status::Good, Waited::Answered)
    }
}

impl Path<'_> {
    fn look_at_each_of_row(self) -> Vec<Left> {
        let Row { swept, worker, .. } = row_and_worker();
        let mut left = vec![judge(&swept)];
        while worker.step() {
            left.push(judge(&swept));
            assert!(left.len() < BOUNDARIES_MAX, "the turn does not end");
        }
        worker.kill();
        left
    }

    /// Kills a worker after this many instructions; what it leaves, what its successor has got, and whether that and
    /// the host got away.
    fn kill_in_row_after(self, steps: usize) -> (Left, Left, bool) {
        let Row { swept, mut last_host, mut last, worker } = row_and_worker();
        let (gone, waker) = (AtomicBool::new(false), swept.waker());
        let are_freed = thread::scope(|scope| {
            let ends = (&mut last_host, &mut last);
            let start = |ends| Both::start(scope, ends, &swept, &gone, self.host_core);
            let (mut both, mut ends) = (None, Some(ends));
            if self.host == Host::Parked {
                both = ends.take().map(start);
            }
            worker.steps(steps);
            if self.host == Host::Arrives {
                both = ends.take().map(start);
            }
            worker.kill();
            // As the supervisor does when it notices.
            gone.store(true, Ordering::Release);
            waker.wake();
            both.or_else(|| ends.take().map(start)).is_some_and(Both::are_freed)
        });
        (judge(&swept), got(&last_host), are_freed)
    }

    /// Lets the successor and the host fall asleep after this many instructions of a worker that then goes on.
    fn arrive_in_row_after(self, steps: usize) -> (Left, bool) {
        let Row { swept, mut last_host, mut last, worker } = row_and_worker();
        let are_freed = thread::scope(|scope| {
            worker.steps(steps);
            let both = Both::start(scope, (&mut last_host, &mut last), &swept, &NEVER, self.host_core);
            worker.go_on();
            let are_freed = both.are_freed();
            worker.kill();
            are_freed
        });
        (got(&last_host), are_freed)
    }

    fn sweep_row(self) -> Found {
        let looks = self.look_at_each_of_row();
        let mut found = Found { boundaries: looks.len(), ..Found::default() };
        found.torn_alive = looks.iter().filter(|left| **left == Left::Torn).count();
        for steps in swept(&looks) {
            let (left, got, are_freed) = self.kill_in_row_after(steps);
            assert_eq!(left, looks[steps], "the kill has changed something");
            assert!(got == left || !are_freed, "it left {left:?}, and the next one got {got:?}");
            found.count(left, !are_freed);
            // Each one that is blocked would take as long.
            if found.blocked > 0 {
                break;
            }
        }
        println!("{self}: {found}");
        found
    }
}

fn row_paths(hosts: [Host; 3], other_core: bool) -> impl Iterator<Item = Path<'static>> {
    paths(hosts, other_core).into_iter().map(|path| Path { order: IN_A_ROW, ..path })
}

fn missing_or_whole_in_a_row(other_core: bool) {
    for path in row_paths([Host::Parked, Host::Arrives, Host::Awake], other_core) {
        let found = on_core_of(path, Path::sweep_row);
        assert_eq!((found.torn_alive, found.torn, found.blocked), (0, 0, 0), "{path}: {found}");
        assert!(found.missing > 0 && found.whole > 0, "nothing was swept: {found}");
    }
}

#[test]
fn a_worker_killed_in_the_middle_of_a_chain_blocks_neither_the_next_one_nor_a_host_on_its_core() {
    missing_or_whole_in_a_row(false);
}

#[test]
fn a_worker_killed_in_the_middle_of_a_chain_blocks_neither_the_next_one_nor_a_host_on_another_core() {
    let (one, other) = two_cores();
    if one == other {
        println!("not swept: there is only one core here");
        return;
    }
    missing_or_whole_in_a_row(true);
}

#[test]
fn a_next_worker_that_falls_asleep_at_any_instruction_of_the_one_before_is_woken_by_its_answer() {
    for path in
        [false, true].into_iter().flat_map(|other_core| row_paths([Host::Awake; 3], other_core).take(1))
    {
        on_core_of(path, |path| {
            for steps in swept(&path.look_at_each_of_row()) {
                let found = path.arrive_in_row_after(steps);
                assert_eq!(found, (Left::Whole, true), "{path}: after {steps}");
            }
        });
    }
}
