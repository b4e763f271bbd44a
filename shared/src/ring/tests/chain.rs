//! Two workers in a row, each a thread with its own mappings: the second takes the answers of the first.

use super::*;
use crate::futex;
use crate::layout::PARKED;
use crate::segment::{OwnDoorstep, doorstep, seal_written};
use crate::spin::Spin;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;

const TAG: u32 = 9;
const LONG: u64 = 10 * SECOND;

struct Row {
    first: (HostEnd, WorkerEnd),
    second: (HostEnd, WorkerEnd),
}

fn layout(frames: u32, slots: u32) -> Layout {
    Layout::new(Format::new(1, frames, 48_000).unwrap(), slots).unwrap()
}

fn ends_and_handles(slots: u32) -> (HostEnd, WorkerEnd, Handles) {
    let (host, handles) = HostEnd::create(layout(FRAMES_U32, slots)).unwrap();
    let worker = WorkerEnd::map(&handles, host.layout()).unwrap();
    (host, worker, handles)
}

/// Two that are joined.
fn row(slots: u32) -> Row {
    let (mut row, doorstep) = row_half_joined(slots);
    seal_written(&doorstep).unwrap();
    row.first.1.hand_to(doorstep).unwrap();
    row
}

/// The first has not been told of the second's doorstep, which is open still.
fn row_half_joined(slots: u32) -> (Row, OwnedFd) {
    let (host, worker, handles) = ends_and_handles(slots);
    let (second_host, mut second) = ends(slots);
    let doorstep = doorstep().unwrap();
    second.attach(&handles.reply, worker.layout(), TAG, &doorstep).unwrap();
    (Row { first: (host, worker), second: (second_host, second) }, doorstep)
}

fn input(seq: u32) -> EdgeInput {
    EdgeInput { seq, tag: TAG, scrub: Scrub::Guard { ceiling: 100_000.0 } }
}

/// Orders a block of this value from both and wakes the first.
fn order(first: &mut HostEnd, second: &mut HostEnd, value: f32) -> u32 {
    let given = first.publish_first(true, |samples| samples.fill(value)).unwrap();
    let seq = second.publish_edge(input(given), false).unwrap();
    first.notify();
    seq
}

/// One turn of a worker whose plugin is this.
fn work(worker: &mut WorkerEnd, plugin: impl Fn(f32) -> f32) -> Status {
    assert_eq!(worker.wait(clock::now_ns() + LONG, &NEVER), Wake::Block);
    let status = if worker.begin() { Status::Good } else { Status::Starved };
    worker.next_samples().iter_mut().for_each(|sample| *sample = plugin(*sample));
    worker.answer(status, Stamps::default(), Notes::default());
    status
}

fn add_half(sample: f32) -> f32 {
    sample + 0.5
}

fn wait_for(host: &HostEnd, seq: u32) -> Waited {
    let answered = || (host.look(seq) == Look::Answered).then_some(Waited::Answered);
    host.wait_for_chain(false, asleep(), answered).waited
}

/// Looks for so long, until a deadline so far away.
fn within(spin_ns: u64, time_ns: u64) -> Bounds {
    let from_ns = clock::now_ns();
    Bounds { from_ns, spin_ns, deadline_ns: from_ns + time_ns }
}

fn asleep() -> Bounds {
    within(0, LONG)
}

fn is_parked(header: &crate::layout::Header) -> bool {
    header.parked.load(Ordering::Relaxed) == PARKED
}

/// A lost wake-up would leave one of the three asleep until its ten seconds are over.
#[test]
fn blocks_go_from_worker_to_worker_and_the_last_wakes_the_host() {
    const BLOCKS: u16 = 20_000;
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row(2);
    thread::scope(|scope| {
        scope.spawn(|| (0..BLOCKS).for_each(|_| assert_eq!(work(&mut worker, |s| -s), Status::Good)));
        scope.spawn(|| (0..BLOCKS).for_each(|_| assert_eq!(work(&mut second, add_half), Status::Good)));
        for i in 0..BLOCKS {
            let seq = order(&mut host, &mut second_host, i.into());
            assert_eq!(wait_for(&second_host, seq), Waited::Answered, "block {i}");
            let mut out = [f32::NAN; FRAMES];
            let taken = second_host.take(seq, &mut out, GUARD).unwrap();
            assert_eq!((taken.status, taken.from_peer, taken.guarded), (Status::Good, true, 0));
            assert_eq!(out, [0.5 - f32::from(i); FRAMES]);
        }
    });
}

/// However many there are in a row, and however quick the first is: it sees its block when all have theirs.
#[test]
fn the_first_of_a_chain_sees_its_block_when_the_host_says_so() {
    let Row { first: (mut host, worker), .. } = row(2);
    host.publish_first(true, |samples| samples.fill(1.0)).unwrap();
    assert!(!worker.is_requested());
    host.notify();
    assert!(worker.is_requested());
    let (mut alone, worker) = ends(2);
    alone.publish(|samples| samples.fill(1.0)).unwrap();
    assert!(worker.is_requested());
}

#[test]
fn a_worker_is_supplied_by_the_host_where_the_one_before_has_nothing_yet() {
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row(2);
    let seq = order(&mut host, &mut second_host, 1.0);
    assert!(!second.is_requested() && !second_host.has_samples(seq));
    second_host.supply(seq, |samples| samples.fill(5.0));
    assert!(second.is_requested() && second_host.has_samples(seq));
    assert_eq!(second_host.requested(seq), [5.0; FRAMES]);
    // Late.
    work(&mut worker, |s| -s);
    work(&mut second, add_half);
    assert!(!second_host.head(seq).unwrap().from_peer);
    assert_eq!(take(&second_host, seq), [5.5; FRAMES]);
    // And the next block is its own again.
    let seq = order(&mut host, &mut second_host, 2.0);
    work(&mut worker, |s| -s);
    work(&mut second, add_half);
    assert!(second_host.head(seq).unwrap().from_peer);
    assert_eq!(take(&second_host, seq), [-1.5; FRAMES]);
}

#[test]
fn a_sleeping_worker_is_woken_by_what_the_host_supplies() {
    let Row { first: (mut host, _worker), second: (mut second_host, mut second) } = row(2);
    let seq = order(&mut host, &mut second_host, 1.0);
    let header = second.memory().reply;
    thread::scope(|scope| {
        scope.spawn(|| work(&mut second, add_half));
        while !is_parked(header.header()) {
            thread::yield_now();
        }
        second_host.supply(seq, |samples| samples.fill(5.0));
        assert_eq!(wait_for(&second_host, seq), Waited::Answered);
        assert_eq!(take(&second_host, seq), [5.5; FRAMES]);
    });
}

#[test]
fn the_samples_of_a_block_from_a_worker_can_be_kept_for_later() {
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row(2);
    let seq = order(&mut host, &mut second_host, 1.0);
    work(&mut worker, |s| -s);
    work(&mut second, add_half);
    assert!(!second_host.has_samples(seq));
    second_host.keep(seq, |samples| samples.fill(-1.0));
    assert!(second_host.has_samples(seq));
    assert_eq!(second_host.requested(seq), [-1.0; FRAMES]);
    // The slot's next block has not been kept.
    let seqs = [0; 2].map(|_| {
        let seq = order(&mut host, &mut second_host, 1.0);
        work(&mut worker, |s| -s);
        work(&mut second, add_half);
        seq
    });
    assert_eq!(seqs.map(|seq| second_host.has_samples(seq)), [false; 2]);
}

#[test]
fn a_worker_has_nothing_to_work_on_if_the_one_before_fails_or_is_another_one() {
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row(4);
    let seq = order(&mut host, &mut second_host, 1.0);
    assert!(worker.begin());
    worker.answer(Status::Failed, Stamps::default(), Notes::default());
    assert_eq!(work(&mut second, add_half), Status::Starved);
    assert_eq!(second_host.head(seq).unwrap().status, Status::Starved);

    let other = EdgeInput { tag: TAG + 1, ..input(2) };
    host.publish_first(true, |samples| samples.fill(1.0)).unwrap();
    second_host.publish_edge(other, false).unwrap();
    host.notify();
    work(&mut worker, |s| -s);
    assert_eq!(work(&mut second, add_half), Status::Starved);
}

#[test]
fn a_worker_without_the_memory_of_the_one_before_has_nothing_to_work_on() {
    let (mut host, mut worker) = ends(2);
    host.publish_edge(input(1), false).unwrap();
    assert_eq!(work(&mut worker, add_half), Status::Starved);
}

#[test]
fn a_block_that_the_worker_before_may_be_overwriting_is_no_input() {
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row(2);
    order(&mut host, &mut second_host, 1.0);
    work(&mut worker, |s| -s);
    assert_eq!(second.wait(0, &NEVER), Wake::Block);
    // It answers one more, and what it does next is in the slot of the first answer.
    host.publish_first(true, |samples| samples.fill(2.0)).unwrap();
    host.notify();
    work(&mut worker, |s| -s);
    assert!(worker.reply.slot(1).seq.load(Ordering::Relaxed) == 1);
    assert_eq!(work(&mut second, add_half), Status::Starved);
}

#[test]
fn samples_of_the_worker_before_that_nobody_should_hear_are_replaced_and_counted() {
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row(2);
    let seq = order(&mut host, &mut second_host, 1.0);
    assert!(worker.begin());
    worker.next_samples()[..3].copy_from_slice(&[f32::NAN, f32::INFINITY, -1e9]);
    worker.answer(Status::Good, Stamps::default(), Notes::default());
    work(&mut second, |s| s);
    let mut out = [f32::NAN; FRAMES];
    let taken = second_host.take(seq, &mut out, GUARD).unwrap();
    assert_eq!((taken.from_peer, taken.guarded, taken.scrubbed.non_finite), (true, 3, 0));
    assert_eq!(out[..4], [-100_000.0, -100_000.0, -100_000.0, 1.0]);
}

#[test]
fn memory_of_another_format_or_length_or_of_one_slot_is_not_attached() {
    let (_, mut second) = ends(2);
    let mut attach = |frames, given, slots| {
        let (_host, handles) = HostEnd::create(layout(frames, given)).unwrap();
        second.attach(&handles.reply, layout(frames, slots), TAG, doorstep().unwrap())
    };
    assert_eq!(attach(FRAMES_U32, 4, 4), Ok(()));
    let refused = [attach(FRAMES_U32 / 2, 4, 4), attach(FRAMES_U32, 4, 2), attach(FRAMES_U32, 1, 1)];
    assert_eq!(refused, [Err(Errno::INVAL); 3]);
}

#[test]
fn what_is_no_doorstep_or_anothers_is_refused_and_all_stays_as_it_was() {
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row(2);
    let (_host, handles) = HostEnd::create(layout(FRAMES_U32, 2)).unwrap();
    let sealed = doorstep().unwrap();
    seal_written(&sealed).unwrap();
    let mut attach = |doorstep| second.attach(&handles.reply, layout(FRAMES_U32, 2), TAG, doorstep);
    assert_eq!((attach(&handles.request), attach(&sealed)), (Err(Errno::INVAL), Err(Errno::PERM)));
    assert_eq!(worker.hand_to(&handles.request), Err(Errno::INVAL));
    let seq = order(&mut host, &mut second_host, 1.0);
    work(&mut worker, |s| -s);
    work(&mut second, add_half);
    assert_eq!(take(&second_host, seq), [-0.5; FRAMES]);
}

/// How often the kernel is asked to wake somebody while the first works on its block, on this thread.
fn wakes_of(worker: &mut WorkerEnd) -> usize {
    let before = futex::calls::so_far();
    work(worker, |s| -s);
    futex::calls::so_far() - before
}

#[test]
fn a_next_worker_that_is_awake_costs_no_system_call_and_one_that_sleeps_is_woken_by_one() {
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row(2);
    for _ in 0..20 {
        order(&mut host, &mut second_host, 1.0);
        assert_eq!(wakes_of(&mut worker), 0);
        work(&mut second, add_half);
        let seq = order(&mut host, &mut second_host, 2.0);
        let header = second.memory().reply;
        thread::scope(|scope| {
            scope.spawn(|| work(&mut second, add_half));
            while !is_parked(header.header()) {
                thread::yield_now();
            }
            assert_eq!(wakes_of(&mut worker), 1);
        });
        assert_eq!(take(&second_host, seq), [-1.5; FRAMES]);
    }
}

#[test]
fn a_worker_that_has_no_doorstep_to_look_at_wakes_whoever_may_sleep() {
    let (row, doorstep) = row_half_joined(2);
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row;
    order(&mut host, &mut second_host, 1.0);
    assert_eq!(wakes_of(&mut worker), 1);
    work(&mut second, add_half);
    worker.hand_to(doorstep).unwrap();
    order(&mut host, &mut second_host, 1.0);
    assert_eq!(wakes_of(&mut worker), 0);
}

#[test]
fn a_worker_looks_at_the_doorstep_of_the_one_that_it_was_told_of_last() {
    let (row, doorstep_before) = row_half_joined(2);
    let Row { first: (mut host, mut worker), second: (mut second_host, mut second) } = row;
    // It was killed in its sleep.
    let killed = OwnDoorstep::map(&doorstep_before).unwrap();
    killed.words().parked.store(PARKED, Ordering::Relaxed);
    worker.hand_to(doorstep_before).unwrap();
    order(&mut host, &mut second_host, 1.0);
    assert_eq!(wakes_of(&mut worker), 1);
    work(&mut second, add_half);
    worker.hand_to(doorstep().unwrap()).unwrap();
    order(&mut host, &mut second_host, 1.0);
    assert_eq!(wakes_of(&mut worker), 0);
}

/// The next one has been given up, and is dead or says so at least.
#[test]
fn a_host_that_waits_where_the_next_worker_would_is_woken_whatever_that_ones_doorstep_says() {
    let Row { first: (mut host, mut worker), .. } = row(2);
    for block in 0..200 {
        let seq = host.publish_first(true, |samples| samples.fill(1.0)).unwrap();
        host.notify();
        thread::scope(|scope| {
            let request = Arc::clone(&worker.request);
            let worker = &mut worker;
            scope.spawn(move || {
                while !is_parked(request.header()) {
                    thread::yield_now();
                }
                assert_eq!(wakes_of(worker), 1);
            });
            let answered = || (host.look(seq) == Look::Answered).then_some(Waited::Answered);
            let began_ns = clock::now_ns();
            let waited = host.wait_for_chain(true, asleep(), answered).waited;
            assert_eq!(waited, Waited::Answered, "block {block}");
            assert!(clock::now_ns() - began_ns < LONG, "block {block}: nobody woke it");
        });
    }
}

/// Each is asleep where the first rings: the second, which lives though the host has given it up, and the host.
#[test]
fn a_host_that_waits_where_the_next_worker_sleeps_is_woken_too() {
    const BLOCKS: u32 = 2_000;
    let Row { first: (mut host, mut worker), second: (_second_host, mut second) } = row(2);
    let (over, sleeper) = (AtomicBool::new(false), second.memory().reply);
    let waker = second.waker();
    let told = AtomicU32::new(0);
    thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            // It gives up when it was woken a thousand times.
            while second.wait(clock::now_ns() + LONG, &over) == Wake::Deadline {}
        });
        scope.spawn(|| {
            for i in 1..=BLOCKS {
                while told.load(Ordering::Acquire) < i
                    || !is_parked(sleeper.header())
                    || !is_parked(worker.request.header())
                {
                    thread::yield_now();
                }
                work(&mut worker, |s| -s);
            }
        });
        for i in 1..=BLOCKS {
            let seq = host.publish_first(true, |samples| samples.fill(1.0)).unwrap();
            host.notify();
            told.store(i, Ordering::Release);
            let answered = || (host.look(seq) == Look::Answered).then_some(Waited::Answered);
            let waited = host.wait_for_chain(true, asleep(), answered).waited;
            assert_eq!(waited, Waited::Answered, "block {i}");
        }
        over.store(true, Ordering::Release);
        while !sleeping.is_finished() {
            waker.wake();
            thread::yield_now();
        }
    });
}

#[test]
fn a_host_that_waits_for_a_chain_looks_up_when_any_worker_has_ended() {
    let Row { first: (host, _worker), second: (mut second_host, _second) } = row(2);
    second_host.publish_edge(input(1), false).unwrap();
    let (gone, waker) = (AtomicBool::new(false), host.waker());
    let over = || gone.load(Ordering::Relaxed).then_some(Waited::GivenUp);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| second_host.wait_for_chain(false, asleep(), over).waited);
        gone.store(true, Ordering::Relaxed);
        // Once, and not at the bell where it sleeps.
        waker.wake();
        assert_eq!(waiting.join().unwrap(), Waited::GivenUp);
    });
}

#[test]
fn a_host_that_looks_for_a_while_sees_an_answer_that_nobody_rings_for() {
    let (mut host, worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| host.look_and_wait(seq, within(LONG, LONG), &NEVER).waited);
        forge(&worker, seq, seq);
        while !waiting.is_finished() {
            assert!(!is_parked(worker.request.header()), "it does not look, but sleeps");
            thread::yield_now();
        }
        assert_eq!(waiting.join().unwrap(), Waited::Answered);
    });
}

#[test]
fn a_host_that_has_looked_in_vain_sleeps_until_its_deadline() {
    let (mut host, _worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    let bounds = within(1_000_000, 3_000_000);
    let Wait { waited, overslept_ns } = host.look_and_wait(seq, bounds, &NEVER);
    assert_eq!(waited, Waited::TimeOver);
    let passed_ns = clock::now_ns().checked_sub(bounds.deadline_ns).unwrap();
    assert!((1..=passed_ns).contains(&overslept_ns), "{overslept_ns} of {passed_ns}");
}

#[test]
fn what_is_computed_beyond_the_deadline_is_not_taken_for_sleep() {
    let (mut host, _worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    let over = (Waited::TimeOver, 0);
    let came = |wait: Wait| (wait.waited, wait.overslept_ns);
    let look_on = host.look_and_wait(seq, within(LONG, 100_000), &NEVER);
    assert_eq!(came(look_on), over, "it looks until the deadline");
    let too_late = host.look_and_wait(seq, within(0, 0), &NEVER);
    assert_eq!(came(too_late), over, "there is no time to sleep");
    let bounds = within(0, 100_000);
    let slow = || {
        while clock::now_ns() < bounds.deadline_ns + 100_000 {}
        None
    };
    let one_look = host.wait_for_chain(false, bounds, slow);
    assert_eq!(came(one_look), over, "one look takes longer than that");
}

#[test]
fn a_worker_looks_for_a_block_for_as_long_as_the_host_says() {
    let (mut host, mut worker) = ends(2);
    // Four seconds are the longest there are.
    host.let_worker_spin(Spin::For(u32::MAX - 1));
    host.publish_first(true, |samples| samples.fill(1.0)).unwrap();
    let (request, layout, reply) = (Arc::clone(&host.request), host.layout(), worker.memory().reply);
    // As from another processor.
    request.header().core.store(0, Ordering::Relaxed);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| worker.wait(clock::now_ns() + LONG, &NEVER));
        // Nobody rings.
        host.published.let_go(|seq| request.slot(layout.index(seq)));
        while !waiting.is_finished() {
            assert!(!is_parked(reply.header()), "it does not look, but sleeps");
            thread::yield_now();
        }
        assert_eq!(waiting.join().unwrap(), Wake::Block);
    });
}
