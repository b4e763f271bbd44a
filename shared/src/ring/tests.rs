//! The ring between two threads, each with its own mapping of both segments, as two processes have them.

mod chain;

use super::*;
use crate::clock;
use crate::control::Handles;
use crate::format::Format;
use crate::layout::Layout;
use std::sync::atomic::AtomicBool;
use std::thread;

const FRAMES: usize = 32;
const FRAMES_U32: u32 = 32;
const SECOND: u64 = 1_000_000_000;
const GUARD: Scrub = Scrub::Guard { ceiling: f32::MAX };
static NEVER: AtomicBool = AtomicBool::new(false);

fn ends(slots: u32) -> (HostEnd, WorkerEnd) {
    let layout = Layout::new(Format::new(1, FRAMES_U32, 48_000).unwrap(), slots).unwrap();
    let (host, handles) = HostEnd::create(layout).unwrap();
    let worker = WorkerEnd::map(&handles, layout).unwrap();
    crate::segment::seal_written(&handles.reply).unwrap();
    (host, worker)
}

fn publish(host: &mut HostEnd, value: f32) -> std::result::Result<u32, Refused> {
    let seq = host.publish(|samples| samples.fill(value));
    host.notify();
    seq
}

/// Writes any word where the worker's answer to `seq` has its sequence, as a hostile worker can.
fn forge(worker: &WorkerEnd, seq: u32, word: u32) {
    worker.reply.slot(worker.layout.index(seq)).seq.store(word, Ordering::Release);
}

/// Answers one block with its samples negated; false if none came within ten seconds.
fn answer(worker: &mut WorkerEnd) -> bool {
    if worker.wait(clock::now_ns() + 10 * SECOND, &NEVER) != Wake::Block {
        return false;
    }
    worker.begin();
    worker.next_samples().iter_mut().for_each(|s| *s = -*s);
    worker.answer(Status::Good, Stamps::default(), Notes::default());
    true
}

fn take(host: &HostEnd, seq: u32) -> [f32; FRAMES] {
    let mut out = [f32::NAN; FRAMES];
    host.take(seq, &mut out, GUARD).unwrap();
    out
}

#[test]
fn a_block_comes_back_with_what_the_worker_made_of_it() {
    let (mut host, mut worker) = ends(2);
    let seq = publish(&mut host, 0.25).unwrap();
    assert!(!host.is_answered(seq));
    assert!(answer(&mut worker));
    assert_eq!(host.wait(seq, 0, &NEVER), Waited::Answered);
    assert_eq!(take(&host, seq), [-0.25; FRAMES]);
    assert_eq!(host.requested(seq), [0.25; FRAMES]);
}

#[test]
fn blocks_without_the_slots_own_buffers_are_counted_for_the_host() {
    let (mut host, mut worker) = ends(2);
    let (count, memory) = (host.worker_counts(), worker.memory());
    let counts = [false, true, true].map(|uncached| {
        let seq = publish(&mut host, 1.0).unwrap();
        if uncached {
            memory.count_uncached();
        }
        assert!(answer(&mut worker) && host.is_answered(seq));
        count.uncached_blocks()
    });
    assert_eq!(counts, [0, 1, 2]);
    drop((host, worker, memory));
    assert_eq!(count.uncached_blocks(), 2);
}

#[test]
fn a_host_without_an_answer_stops_waiting_at_its_deadline() {
    let (mut host, _worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    let deadline_ns = clock::now_ns() + 2_000_000;
    assert_eq!(host.wait(seq, deadline_ns, &NEVER), Waited::TimeOver);
    assert!(clock::now_ns() >= deadline_ns);
}

#[test]
fn a_full_ring_refuses_a_block_until_an_old_one_is_answered() {
    let (mut host, mut worker) = ends(4);
    let sequences: Vec<_> = (0..4).map(|i| publish(&mut host, i as f32).unwrap()).collect();
    assert_eq!(publish(&mut host, 4.0), Err(Refused::Full));
    assert!(answer(&mut worker));
    assert_eq!(host.next_seq(), 5);
    assert_eq!(publish(&mut host, 4.0), Ok(5));
    assert_eq!(publish(&mut host, 5.0), Err(Refused::Full));
    (1..5).for_each(|_| assert!(answer(&mut worker)));
    assert_eq!(take(&host, sequences[3]), [-3.0; FRAMES]);
    // The slot of the first has gone to another: its answer can't come any more.
    assert_eq!(host.look(sequences[0]), Look::NotYet);
    assert_eq!(host.look(host.next_seq()), Look::NotYet);
}

#[test]
fn a_late_answer_is_told_from_a_new_one_by_its_sequence() {
    let (mut host, mut worker) = ends(2);
    let late = publish(&mut host, 1.0).unwrap();
    assert_eq!(host.wait(late, clock::now_ns(), &NEVER), Waited::TimeOver);
    let new = publish(&mut host, 2.0).unwrap();
    assert!(answer(&mut worker));
    assert!(!host.is_answered(new));
    assert!(answer(&mut worker));
    assert_eq!(take(&host, new), [-2.0; FRAMES]);
}

#[test]
fn sequences_go_on_past_the_largest_number() {
    let (mut host, mut worker) = ends(4);
    (host.published.next, worker.next) = (u32::MAX - 5, u32::MAX - 5);
    for i in 0..12 {
        let seq = publish(&mut host, i as f32).unwrap();
        assert!(answer(&mut worker));
        assert_eq!(take(&host, seq), [-(i as f32); FRAMES]);
    }
    assert_eq!(host.next_seq(), 6);
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
    worker.answer(Status::Good, Stamps::default(), Notes::default());

    let mut out = [0.0; 17];
    // No ceiling, no limit but the largest number.
    for ceiling in [f32::MAX, f32::INFINITY, f32::NAN] {
        let taken = host.take(seq, &mut out, Scrub::Guard { ceiling }).unwrap();
        assert_eq!((taken.scrubbed.non_finite, taken.scrubbed.too_loud), (4 + 4 + 3, 0));
        assert!(out.iter().all(|s| s.is_finite()));
        assert_eq!((out[4], out[6]), (f32::MAX, 1e-40));
        assert_eq!(out[5].to_bits(), (-0.0f32).to_bits());
    }

    let taken = host.take(seq, &mut out, Scrub::Nothing).unwrap();
    assert_eq!((taken.scrubbed.non_finite, taken.scrubbed.too_loud), (0, 0));
    assert!((0..17).all(|i| out[i].to_bits() == odd[i % 7].to_bits()));
}

#[test]
fn in_place_of_samples_that_are_not_finite_there_is_a_line_without_a_step_and_the_ends_are_held() {
    const NAN: f32 = f32::NAN;
    let layout = Layout::new(Format::new(2, 16, 48_000).unwrap(), 2).unwrap();
    let (mut host, handles) = HostEnd::create(layout).unwrap();
    let mut worker = WorkerEnd::map(&handles, layout).unwrap();
    // Both channels, each of two halves.
    let mut scrubbed = |samples: [[[f32; 8]; 2]; 2]| {
        let seq = host.publish(|block| block.copy_from_slice(samples.as_flattened().as_flattened())).unwrap();
        worker.begin();
        worker.answer(Status::Good, Stamps::default(), Notes::default());
        let mut out = [9.0; 32];
        let taken = host.take(seq, &mut out, GUARD).unwrap().scrubbed;
        (out, (taken.non_finite, taken.is_open_before, taken.is_open_after))
    };
    let half = [0.5; 8];
    let whole = [half, half];
    let (out, found) = scrubbed([[[1.0, NAN, NAN, NAN, -1.0, NAN, 0.0, 1.0], half], whole]);
    assert_eq!(out[..8], [1.0, 0.5, 0.0, -0.5, -1.0, -0.5, 0.0, 1.0]);
    assert_eq!((&out[8..], found), (&[0.5; 24][..], (4, false, false)));
    let (out, found) = scrubbed([whole, [[NAN, NAN, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], half]]);
    assert_eq!(out[16..24], [3.0, 3.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], "not from the other channel");
    assert_eq!(found, (2, true, false));
    let (out, found) = scrubbed([[half, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, NAN, NAN]], whole]);
    assert_eq!((&out[13..16], found), (&[6.0; 3][..], (2, false, true)));
    let (out, found) = scrubbed([[[NAN; 8]; 2], whole]);
    assert_eq!((&out[..16], found), (&[0.0; 16][..], (16, true, true)));
}

#[test]
fn samples_above_the_ceiling_come_down_to_it_and_are_counted() {
    let above = 4.0f32.next_up();
    let samples = [above, -above, f32::MAX, f32::MIN, 4.0, -4.0, 0.5, -1e-40, f32::INFINITY];
    let layout = Layout::new(Format::new(1, 16, 48_000).unwrap(), 2).unwrap();
    let (mut host, handles) = HostEnd::create(layout).unwrap();
    let mut worker = WorkerEnd::map(&handles, layout).unwrap();
    let seq = host.publish(|block| block[..9].copy_from_slice(&samples)).unwrap();
    worker.begin();
    worker.answer(Status::Good, Stamps::default(), Notes::default());

    let mut out = [9.0; 16];
    let taken = host.take(seq, &mut out, Scrub::Guard { ceiling: 4.0 }).unwrap();
    assert_eq!((taken.scrubbed.non_finite, taken.scrubbed.too_loud), (1, 4));
    assert_eq!(out[..9], [4.0, -4.0, 4.0, -4.0, 4.0, -4.0, 0.5, -1e-40, -5e-41]);
    assert_eq!(out[9..], [0.0; 7]);
}

#[test]
fn stamps_and_notes_of_a_block_arrive_with_it() {
    let (mut host, mut worker) = ends(2);
    let stamps = Stamps { seen_ns: 1, woken_ns: 2, entered_ns: 3, left_ns: u64::MAX };
    let notes = Notes {
        cpu_us: 4,
        delay_us: 5,
        collector_us: u32::MAX,
        collector_generation: 2,
        major_faults: u16::MAX - 1,
        slept: true,
    };
    let seq = publish(&mut host, 1.0).unwrap();
    worker.begin();
    worker.answer(Status::Good, stamps, notes);
    let taken = host.take(seq, &mut [0.0; FRAMES], GUARD).unwrap();
    assert_eq!((taken.stamps, taken.notes), (stamps, notes));
    // Whatever stands there is some note, of a generation that exists.
    worker.reply.slot(worker.layout.index(seq)).notes[3].store(u32::MAX, Ordering::Relaxed);
    let notes = host.head(seq).unwrap().notes;
    assert_eq!((notes.collector_generation, notes.major_faults), (2, u16::MAX));
}

/// Every word but the two that an honest worker can have written is told as forged, in the first round of the
/// slots and later, also where sequences begin again.
#[test]
fn a_sequence_that_nobody_could_have_answered_is_forged() {
    for first in [1, u32::MAX - 9] {
        let (mut host, mut worker) = ends(4);
        (host.published.next, worker.next) = (first, first);
        for round in 0..4 {
            for _ in 0..4 {
                let seq = publish(&mut host, 1.0).unwrap();
                let before = if round == 0 { 0 } else { seq.wrapping_sub(4) };
                assert_eq!(host.look(seq), Look::NotYet);
                let others = [1, 2, 4, 8, 1 << 31].map(|step| seq.wrapping_add(step));
                let past = [1, 8, 12].map(|step| seq.wrapping_sub(step));
                for word in others.into_iter().chain(past).filter(|word| *word != before) {
                    forge(&worker, seq, word);
                    assert_eq!(host.look(seq), Look::Forged, "{word} for {seq}");
                    let in_time = clock::now_ns() + 10 * SECOND;
                    assert_eq!(host.wait(seq, in_time, &NEVER), Waited::Forged);
                    assert_eq!(host.take(seq, &mut [0.0; FRAMES], GUARD), Err(Torn));
                    assert_eq!(host.head(seq), None);
                }
                forge(&worker, seq, before);
                assert!(answer(&mut worker));
                assert_eq!(host.look(seq), Look::Answered);
            }
        }
    }
}

#[test]
fn no_block_is_published_into_a_slot_with_a_forged_answer() {
    let (mut host, mut worker) = ends(2);
    for seq in 1..=6u32 {
        // Answered before it was asked, then one long past and one that is to come.
        for word in [seq, seq.wrapping_sub(6), seq + 2] {
            let honest = seq.saturating_sub(2);
            if word != honest {
                forge(&worker, seq, word);
                assert_eq!(host.publish(|_| panic!("nothing is written")), Err(Refused::Forged), "{word}");
                assert!(!host.has_room());
                forge(&worker, seq, honest);
            }
        }
        assert_eq!(publish(&mut host, 1.0), Ok(seq));
        assert!(answer(&mut worker));
    }
}

#[test]
fn an_answer_that_was_there_before_the_question_is_never_taken() {
    let (mut host, mut worker) = ends(2);
    for _ in 0..2 {
        publish(&mut host, 1.0).unwrap();
        assert!(answer(&mut worker));
    }
    // The samples in the slot are those of block 1.
    forge(&worker, 3, 3);
    assert_eq!(host.look(3), Look::NotYet);
    assert_eq!(host.wait(3, 0, &NEVER), Waited::TimeOver);
    assert_eq!(host.take(3, &mut [0.0; FRAMES], GUARD), Err(Torn));
    assert_eq!(publish(&mut host, 2.0), Err(Refused::Forged));
}

#[test]
fn a_sequence_forged_during_the_wait_ends_it() {
    let (mut host, worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    let waker = host.waker();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| host.wait(seq, clock::now_ns() + 10 * SECOND, &NEVER));
        forge(&worker, seq, seq + 1);
        while !waiting.is_finished() {
            waker.wake();
            thread::yield_now();
        }
        assert_eq!(waiting.join().unwrap(), Waited::Forged);
    });
}

#[test]
fn a_block_that_the_worker_takes_back_is_torn() {
    let (mut host, mut worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    assert!(answer(&mut worker));
    forge(&worker, seq, seq.wrapping_add(2));
    assert_eq!(host.take(seq, &mut [0.0; FRAMES], GUARD), Err(Torn));
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
        assert_eq!(waiting.join().unwrap(), Waited::GivenUp);
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
        assert_eq!(waiting.join().unwrap(), Waited::Flooded);
    });
}

/// How the wait for an answer ends, with a stamp of this time, whose bell does not reach the host if that is moved away;
/// and whether it was spoilt.
fn moved(is_moved: bool, left_ns: u64) -> (Waited, bool) {
    let (mut host, mut worker) = ends(2);
    let seq = publish(&mut host, 1.0).unwrap();
    let deadline_ns = clock::now_ns() + SECOND;
    let waker = host.waker();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let waited = host.wait(seq, deadline_ns, &NEVER);
            (waited, host.is_spoilt(waited, seq, deadline_ns))
        });
        while is_moved && waker.requeue() == 0 {
            thread::yield_now();
        }
        worker.begin();
        worker.answer(Status::Good, Stamps { left_ns, ..Stamps::default() }, Notes::default());
        waiting.join().unwrap()
    })
}

#[test]
fn a_host_that_was_moved_to_where_no_bell_reaches_it_says_so_if_the_answer_was_early() {
    assert_eq!(moved(false, 0), (Waited::Answered, false));
    for left_ns in [0, u64::MAX] {
        // A thread that has just begun may be woken by the kernel for what it waited for before, and goes back to the bell.
        let told = (0..5).map(|_| moved(true, left_ns)).find(|(waited, _)| *waited != Waited::Answered);
        assert_eq!(told, Some((Waited::Unwoken, left_ns == 0)));
    }
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
            assert_eq!(host.wait(seq, clock::now_ns() + 10 * SECOND, &NEVER), Waited::Answered, "block {i}");
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
        assert!(publish(&mut host, 2.0).is_ok());
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
                assert!(host.publish(|samples| samples.fill(sent as f32)).is_ok());
                sent += 1;
            }
            host.notify();
            assert_eq!(host.wait(back + 1, clock::now_ns() + 10 * SECOND, &NEVER), Waited::Answered);
            while back < sent && host.is_answered(back + 1) {
                assert_eq!(take(&host, back + 1), [-(back as f32); FRAMES]);
                back += 1;
            }
        }
        assert!(answering.join().unwrap());
    });
}
