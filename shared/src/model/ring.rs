//! A host and a worker: blocks are whole and their own, however late they are.

use super::*;
use loom::thread;

/// So many blocks one after the other, each waited for and taken.
fn one_by_one(slots: u32, blocks: u32, flaw: Option<Flaw>) {
    let (mut host, mut worker) = ends(slots, flaw);
    let working = thread::spawn(move || {
        (0..blocks).for_each(|_| worker.turn());
        worker
    });
    for i in 1..=blocks {
        let seq = host.publish(false, [10 * i; 2]).expect("the one before was answered");
        host.notify();
        if !host.has(Flaw::TakesAnything) {
            assert_eq!(host.wait(seq), Look::Answered);
        }
        assert_eq!(
            host.take(seq),
            Some((Status::Good, false, [10 * i + 1; 2])),
            "the answer to another block"
        );
    }
    let inputs: Vec<_> = (1..=blocks).map(|i| [10 * i; 2]).collect();
    assert_eq!(working.join().unwrap().inputs, inputs, "what the plugin was given");
}

/// All blocks that there is room for at once; then as many again as there is room for by then, without a wait. What
/// comes is taken when it comes.
fn late(slots: u32, flaw: Option<Flaw>) {
    let (mut host, mut worker) = ends(slots, flaw);
    let value = |seq: u32| [10 * seq; 2];
    for seq in 1..=slots {
        assert_eq!(host.publish(false, value(seq)), Ok(seq));
    }
    assert!(host.has(Flaw::NeverFull) || host.room() == Err(Refused::Full));
    // Two may be given it once it has begun.
    let working = thread::spawn(move || {
        for _ in 0..slots {
            worker.turn();
        }
        worker
    });
    host.notify();
    let more = host.publish(false, value(slots + 1));
    for seq in 1..=slots {
        if let Some((status, _, samples)) = host.take(seq) {
            assert_eq!((status, samples), (Status::Good, value(seq).map(|sample| sample + 1)), "block {seq}");
        }
    }
    let mut worker = working.join().unwrap();
    if let Ok(seq) = more {
        host.notify();
        worker.turn();
        assert_eq!(host.take(seq), Some((Status::Good, false, value(seq).map(|sample| sample + 1))));
    }
    let inputs: Vec<_> = (1..=slots + u32::from(more.is_ok())).map(value).collect();
    assert_eq!(worker.inputs, inputs, "what the plugin was given");
}

#[test]
fn each_answer_is_whole_and_to_its_own_block() {
    check(2, || one_by_one(1, 2, None));
    check(2, || one_by_one(2, 3, None));
}

#[test]
fn a_slot_is_not_used_again_before_its_block_is_answered_however_late_that_is() {
    check(3, || late(1, None));
    check(3, || late(2, None));
}

#[test]
fn a_block_that_is_seen_before_its_samples_is_seen_to_be() {
    for flaw in [Flaw::RequestRelaxed, Flaw::RequestEarly, Flaw::AnswerRelaxed] {
        let found = broken(3, move || one_by_one(1, 2, Some(flaw)));
        let is_wrong =
            found.contains("another block") || found.contains("was given") || found.contains("torn");
        assert!(is_wrong, "{flaw:?}: {found}");
    }
}

#[test]
fn a_stale_block_that_is_accepted_is_seen() {
    let found = broken(3, || one_by_one(1, 2, Some(Flaw::TakesAnything)));
    assert!(found.contains("the answer to another block"), "{found}");
}

#[test]
fn a_request_that_is_overwritten_before_its_answer_is_seen() {
    let found = broken(3, || late(1, Some(Flaw::NeverFull)));
    assert!(found.contains("was given") || found.contains("deadlock"), "{found}");
}
