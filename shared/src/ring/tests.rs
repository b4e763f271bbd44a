//! The ring between two threads, each with its own mapping of both segments, as two processes have them.

use super::*;
use crate::format::Format;
use std::thread;

const FRAMES: usize = 32;
const FRAMES_U32: u32 = 32;
const SECOND: u64 = 1_000_000_000;
static NEVER: AtomicBool = AtomicBool::new(false);

fn ends(slots: u32) -> (HostEnd, WorkerEnd) {
    let layout = Layout::new(Format::new(1, FRAMES_U32, 48_000).unwrap(), slots).unwrap();
    let (host, handles) = HostEnd::create(layout).unwrap();
    let worker = WorkerEnd::map(&handles, layout).unwrap();
    crate::segment::seal_written(&handles.reply).unwrap();
    (host, worker)
}

fn publish(host: &mut HostEnd, value: f32) -> Option<u32> {
    let seq = host.publish(|samples| samples.fill(value));
    host.notify();
    seq
}

/// Answers one block with its samples negated; false if none came within ten seconds.
fn answer(worker: &mut WorkerEnd) -> bool {
    if worker.wait(clock::now_ns() + 10 * SECOND, &NEVER) != Wake::Block {
        return false;
    }
    worker.begin();
    worker.next_samples().iter_mut().for_each(|s| *s = -*s);
    worker.answer(Status::Good, Stamps::default());
    true
}

fn take(host: &HostEnd, seq: u32) -> [f32; FRAMES] {
    let mut out = [f32::NAN; FRAMES];
    host.take(seq, &mut out, Scrub::NonFinite).unwrap();
    out
}

#[test]
fn a_block_comes_back_with_what_the_worker_made_of_it() {
    let (mut host, mut worker) = ends(2);
    let seq = publish(&mut host, 0.25).unwrap();
    assert!(!host.is_answered(seq));
    assert!(answer(&mut worker));
    assert!(host.wait(seq, 0, &NEVER));
    assert_eq!(take(&host, seq), [-0.25; FRAMES]);
    assert_eq!(host.requested(seq), [0.25; FRAMES]);
}

#[test]
fn blocks_without_the_slots_own_buffers_are_counted_for_the_host() {
    let (mut host, mut worker) = ends(2);
    let (count, memory) = (host.uncached_blocks(), worker.memory());
    let counts = [false, true, true].map(|uncached| {
        let seq = publish(&mut host, 1.0).unwrap();
        if uncached {
            memory.count_uncached();
        }
        assert!(answer(&mut worker) && host.is_answered(seq));
        count.count()
    });
    assert_eq!(counts, [0, 1, 2]);
    drop((host, worker, memory));
    assert_eq!(count.count(), 2);
}

#[test]
fn a_host_without_an_answer_stops_waiting_at_its_deadline() {
    let (mut host, _worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    let deadline_ns = clock::now_ns() + 2_000_000;
    assert!(!host.wait(seq, deadline_ns, &NEVER));
    assert!(clock::now_ns() >= deadline_ns);
}

#[test]
fn a_full_ring_refuses_a_block_until_an_old_one_is_answered() {
    let (mut host, mut worker) = ends(4);
    let sequences: Vec<_> = (0..4).map(|i| publish(&mut host, i as f32).unwrap()).collect();
    assert_eq!(publish(&mut host, 4.0), None);
    assert!(answer(&mut worker));
    assert!(publish(&mut host, 4.0).is_some());
    assert_eq!(publish(&mut host, 5.0), None);
    (1..5).for_each(|_| assert!(answer(&mut worker)));
    assert_eq!(take(&host, sequences[3]), [-3.0; FRAMES]);
}

#[test]
fn a_late_answer_is_told_from_a_new_one_by_its_sequence() {
    let (mut host, mut worker) = ends(2);
    let late = publish(&mut host, 1.0).unwrap();
    assert!(!host.wait(late, clock::now_ns(), &NEVER));
    let new = publish(&mut host, 2.0).unwrap();
    assert!(answer(&mut worker));
    assert!(!host.is_answered(new));
    assert!(answer(&mut worker));
    assert_eq!(take(&host, new), [-2.0; FRAMES]);
}

#[test]
fn sequences_go_on_past_the_largest_number() {
    let (mut host, mut worker) = ends(4);
    (host.next, worker.next) = (u32::MAX - 5, u32::MAX - 5);
    for i in 0..12 {
        let seq = publish(&mut host, i as f32).unwrap();
        assert!(answer(&mut worker));
        assert_eq!(take(&host, seq), [-(i as f32); FRAMES]);
    }
    assert_eq!(host.next, 6);
}

#[test]
fn samples_that_are_not_finite_are_replaced_and_counted_or_pass_bit_by_bit() {
    let odd =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0xffc0_1234), f32::MAX, -0.0, 1e-40];
    let layout = Layout::new(Format::new(1, 17, 48_000).unwrap(), 2).unwrap();
    let (mut host, handles) = HostEnd::create(layout).unwrap();
    let mut worker = WorkerEnd::map(&handles, layout).unwrap();
    let seq = host.publish(|samples| (0..17).for_each(|i| samples[i] = odd[i % 7])).unwrap();
    worker.begin();
    worker.answer(Status::Good, Stamps::default());

    let mut out = [0.0; 17];
    let taken = host.take(seq, &mut out, Scrub::NonFinite).unwrap();
    assert_eq!(taken.non_finite, 4 + 4 + 3);
    assert!(out.iter().all(|s| s.is_finite()));
    assert_eq!((out[4], out[6]), (f32::MAX, 1e-40));

    let taken = host.take(seq, &mut out, Scrub::Nothing).unwrap();
    assert_eq!(taken.non_finite, 0);
    assert!((0..17).all(|i| out[i].to_bits() == odd[i % 7].to_bits()));
}

#[test]
fn a_block_that_the_worker_takes_back_is_torn() {
    let (mut host, mut worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    assert!(answer(&mut worker));
    // What a hostile worker can do: change the sequence of an answer it has published.
    worker.reply.slot(worker.layout.index(seq)).seq.store(seq.wrapping_add(2), Ordering::Release);
    assert_eq!(host.take(seq, &mut [0.0; FRAMES], Scrub::NonFinite), Err(Torn));
    assert_eq!(host.head(seq), None);
}

#[test]
fn a_status_that_does_not_exist_is_a_failure() {
    let (mut host, mut worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    assert!(answer(&mut worker));
    worker.reply.slot(worker.layout.index(seq)).status.store(77, Ordering::Relaxed);
    assert_eq!(host.head(seq).unwrap().status, Status::Failed);
}

#[test]
fn a_waiting_host_is_freed_when_the_other_side_is_given_up() {
    let (mut host, _worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    let (gone, waker) = (AtomicBool::new(false), host.waker());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| host.wait(seq, clock::now_ns() + 3600 * SECOND, &gone));
        gone.store(true, Ordering::Relaxed);
        while !waiting.is_finished() {
            waker.wake();
            thread::yield_now();
        }
        assert!(!waiting.join().unwrap());
    });
}

#[test]
fn a_flood_of_wakes_without_an_answer_ends_the_wait_and_nothing_else() {
    let (mut host, _worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    let waker = host.waker();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| host.wait(seq, clock::now_ns() + 3600 * SECOND, &NEVER));
        while !waiting.is_finished() {
            waker.wake();
        }
        assert!(!waiting.join().unwrap());
    });
}

#[test]
fn an_idle_worker_is_interrupted() {
    let (host, mut worker) = ends(2);
    let (interrupt, waker) = (AtomicBool::new(false), worker.waker());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| worker.wait(clock::now_ns() + 3600 * SECOND, &interrupt));
        interrupt.store(true, Ordering::Release);
        while !waiting.is_finished() {
            waker.wake();
            thread::yield_now();
        }
        assert_eq!(waiting.join().unwrap(), Wake::Interrupted);
    });
    drop(host);
    assert_eq!(worker.wait(clock::now_ns(), &NEVER), Wake::Deadline);
    assert!(!answer_now(&mut worker));
}

fn answer_now(worker: &mut WorkerEnd) -> bool {
    worker.wait(0, &NEVER) == Wake::Block
}

/// A lost wake-up would leave both sides asleep until the ten seconds of `answer` are over.
#[test]
fn no_wake_up_is_lost_in_a_hundred_thousand_round_trips() {
    let (mut host, mut worker) = ends(2);
    const BLOCKS: u32 = 100_000;
    thread::scope(|scope| {
        let answering = scope.spawn(|| (0..BLOCKS).all(|_| answer(&mut worker)));
        for i in 0..BLOCKS {
            let seq = publish(&mut host, i as f32).unwrap();
            assert!(host.wait(seq, clock::now_ns() + 10 * SECOND, &NEVER), "block {i}");
            assert_eq!(take(&host, seq)[FRAMES - 1], -(i as f32));
        }
        assert!(answering.join().unwrap());
    });
}

#[test]
fn a_block_published_over_an_answer_that_was_not_taken_replaces_it() {
    let (mut host, mut worker) = ends(2);
    let untaken = publish(&mut host, 1.0).unwrap();
    (0..2).for_each(|_| {
        assert!(answer(&mut worker));
        assert!(publish(&mut host, 2.0).is_some());
    });
    assert!(answer(&mut worker));
    assert!(!host.is_answered(untaken));
}

/// As when rendering: several blocks under way, told in bundles, no more than there are slots to answer in.
#[test]
fn blocks_in_flight_come_back_in_order() {
    let (mut host, mut worker) = ends(16);
    const BLOCKS: u32 = 50_000;
    thread::scope(|scope| {
        let answering = scope.spawn(|| (0..BLOCKS).all(|_| answer(&mut worker)));
        let (mut sent, mut back) = (0, 0);
        while back < BLOCKS {
            while sent < BLOCKS && sent - back < 16 {
                assert!(host.publish(|samples| samples.fill(sent as f32)).is_some());
                sent += 1;
            }
            host.notify();
            assert!(host.wait(back + 1, clock::now_ns() + 10 * SECOND, &NEVER));
            while back < sent && host.is_answered(back + 1) {
                assert_eq!(take(&host, back + 1), [-(back as f32); FRAMES]);
                back += 1;
            }
        }
        assert!(answering.join().unwrap());
    });
}
