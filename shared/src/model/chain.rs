//! A host and two workers in a row: a block goes from one to the other, and is repaired when it doesn't.

use super::*;
use loom::thread;

struct Chain {
    first: (Host, Worker),
    second: (Host, Worker),
}

fn chain(slots: u32, flaw: Option<Flaw>) -> Chain {
    let (mut first, mut second) = (ends(slots, flaw), ends(slots, flaw));
    let doorstep = Arc::<Doorstep>::default();
    second.1.before = Some(Arc::clone(&first.1.reply));
    second.1.doorstep = Some(Arc::clone(&doorstep));
    first.1.next_doorstep = Some(if flaw == Some(Flaw::LooksAtAnothers) { Arc::default() } else { doorstep });
    Chain { first, second }
}

/// The first has no doorstep to look at.
fn chain_without_a_doorstep(slots: u32) -> Chain {
    let mut chain = chain(slots, None);
    chain.first.1.next_doorstep = None;
    chain
}

const INPUT: Samples = [10; 2];
/// What the first plugin makes of it, and the second of that.
const BETWEEN: Samples = [11; 2];
const OUTPUT: Samples = [12; 2];
/// What the host supplies in the place of the first plugin's, and what the second makes of that.
const INSTEAD: Samples = [50; 2];
const OUTPUT_INSTEAD: Samples = [51; 2];

/// Orders a block of both.
fn order(first: &mut Host, second: &mut Host, samples: Samples) -> (u32, u32) {
    let a = first.publish(true, samples).expect("there is room");
    let b = second.publish_edge(a, false).expect("there is room");
    first.notify();
    (a, b)
}

/// So many blocks, each ordered of both and waited for at the second.
fn handed_on(blocks: u32, flaw: Option<Flaw>) {
    handed_on_in(chain(2, flaw), blocks);
}

fn handed_on_in(chain: Chain, blocks: u32) {
    let Chain { first: (mut host_a, mut a), second: (mut host_b, mut b) } = chain;
    let work_a = thread::spawn(move || (0..blocks).for_each(|_| a.turn()));
    let work_b = thread::spawn(move || (0..blocks).for_each(|_| b.turn()));
    for i in 1..=blocks {
        let (_, seq) = order(&mut host_a, &mut host_b, [10 * i; 2]);
        assert_eq!(host_b.wait(seq), Look::Answered);
        let expected = (Status::Good, true, [10 * i + 2; 2]);
        assert_eq!(host_b.take(seq), Some(expected), "what the second has made");
    }
    work_a.join().unwrap();
    work_b.join().unwrap();
}

/// The host gives the first up and supplies the second, which may have the late answer of the first by then.
fn supplied(flaw: Option<Flaw>) {
    let Chain { first: (mut host_a, mut a), second: (mut host_b, mut b) } = chain(2, flaw);
    let (_, seq) = order(&mut host_a, &mut host_b, INPUT);
    let work_a = thread::spawn(move || a.turn());
    let work_b = thread::spawn(move || {
        b.turn();
        b.inputs
    });
    assert!(!order::has_samples(host_b.request.slot(seq), seq));
    host_b.supply(seq, INSTEAD);
    assert!(order::has_samples(host_b.request.slot(seq), seq));
    assert_eq!(host_b.wait(seq), Look::Answered);
    let taken = host_b.take(seq);
    let right = [(Status::Good, true, OUTPUT), (Status::Good, false, OUTPUT_INSTEAD)];
    assert!(right.map(Some).contains(&taken), "what the second has made: {taken:?}");
    let inputs = work_b.join().unwrap();
    assert!(inputs == [BETWEEN] || inputs == [INSTEAD], "what the plugin was given: {inputs:?}");
    work_a.join().unwrap();
}

/// The first fails.
fn failed(flaw: Option<Flaw>) {
    let Chain { first: (mut host_a, mut a), second: (mut host_b, mut b) } = chain(2, flaw);
    let work_a = thread::spawn(move || {
        a.wait();
        a.finish(Status::Failed, false);
    });
    let work_b = thread::spawn(move || {
        b.turn();
        b.inputs
    });
    let (_, seq) = order(&mut host_a, &mut host_b, INPUT);
    assert_eq!(host_b.wait(seq), Look::Answered);
    assert!(matches!(host_b.take(seq), Some((Status::Starved, false, _))), "what the second has made");
    assert!(work_b.join().unwrap().is_empty(), "what the plugin was given");
    work_a.join().unwrap();
}

/// The first fails, and the host supplies the second, which has nothing by then or takes that; if it has nothing, it is
/// asked again.
fn failed_and_supplied(flaw: Option<Flaw>) {
    let Chain { first: (mut host_a, mut a), second: (mut host_b, mut b) } = chain(2, flaw);
    let (first, seq) = order(&mut host_a, &mut host_b, INPUT);
    a.wait();
    a.finish(Status::Failed, false);
    assert_eq!(host_a.look(first), Look::Answered);
    let work_b = thread::spawn(move || {
        b.turn();
        b
    });
    host_b.supply(seq, INSTEAD);
    assert_eq!(host_b.wait(seq), Look::Answered);
    let taken = host_b.take(seq).expect("it is answered");
    let mut b = work_b.join().unwrap();
    if taken.0 == Status::Starved {
        let again = host_b.publish(false, INSTEAD).expect("there is room");
        host_b.notify();
        b.turn();
        assert_eq!(host_b.take(again), Some((Status::Good, false, OUTPUT_INSTEAD)));
    } else {
        assert_eq!(taken, (Status::Good, false, OUTPUT_INSTEAD), "what the second has made");
    }
    assert_eq!(b.inputs, [INSTEAD], "what the plugin was given");
}

/// The first is given up with one block and late with it in the next, which both are asked for meanwhile.
fn late_into_the_next(flaw: Option<Flaw>) {
    let Chain { first: (mut host_a, mut a), second: (mut host_b, mut b) } = chain(2, flaw);
    let (_, given_up) = order(&mut host_a, &mut host_b, INPUT);
    host_b.supply(given_up, INSTEAD);
    let work_a = thread::spawn(move || (0..2).for_each(|_| a.turn()));
    let work_b = thread::spawn(move || {
        (0..2).for_each(|_| b.turn());
        b.inputs
    });
    let (_, seq) = order(&mut host_a, &mut host_b, [20; 2]);
    assert_eq!(host_b.wait(seq), Look::Answered);
    assert_eq!(host_b.look(given_up), Look::Answered);
    assert_eq!(host_b.take(seq), Some((Status::Good, true, [22; 2])), "what the second has made");
    let inputs = work_b.join().unwrap();
    assert!(
        inputs == [INSTEAD, [21; 2]] || inputs == [BETWEEN, [21; 2]],
        "what the plugin was given: {inputs:?}"
    );
    work_a.join().unwrap();
}

/// The second comes back when it has been given up long since: the first has answered two blocks more by then, or is
/// about to.
fn overtaken(flaw: Option<Flaw>) {
    let Chain { first: (mut host_a, mut a), second: (mut host_b, mut b) } = chain(2, flaw);
    let (_, seq) = order(&mut host_a, &mut host_b, INPUT);
    a.turn();
    // It has room for one more, and for the next when that is answered.
    host_a.publish(true, [20; 2]).expect("there is room");
    host_a.publish(true, [30; 2]).expect("there is room");
    host_a.notify();
    let work_a = thread::spawn(move || (0..2).for_each(|_| a.turn()));
    b.turn();
    assert!(b.inputs.is_empty() || b.inputs == [BETWEEN], "what the plugin was given: {:?}", b.inputs);
    assert_eq!(host_b.look(seq), Look::Answered);
    work_a.join().unwrap();
}

/// The host has given the second up and waits for the first, where that one's answer may wake the second, which lives.
fn both_asleep(flaw: Option<Flaw>) {
    let Chain { first: (mut host_a, mut a), second: (mut host_b, b) } = chain(2, flaw);
    let seq = host_a.publish(true, INPUT).expect("there is room");
    let work_a = thread::spawn(move || a.turn());
    // Nothing has been ordered of it: it only sleeps there, until it is ended.
    let sleeping = thread::spawn(move || b.wait());
    host_a.notify();
    assert_eq!(host_a.wait_at(&host_a.reply.header.next_bell, seq), Look::Answered);
    assert_eq!(host_a.take(seq), Some((Status::Good, false, BETWEEN)));
    work_a.join().unwrap();
    host_b.publish(false, INPUT).expect("there is room");
    host_b.notify();
    sleeping.join().unwrap();
}

/// The host waits for the first, and the second is dead: what its doorstep says is what it said when it died.
fn next_is_dead(said: u32, flaw: Option<Flaw>) {
    let Chain { first: (mut host_a, mut a), second: (_, b) } = chain(2, flaw);
    b.doorstep.iter().for_each(|doorstep| doorstep.parked.store(said, Ordering::Relaxed));
    let seq = host_a.publish(true, INPUT).expect("there is room");
    let work_a = thread::spawn(move || a.turn());
    host_a.notify();
    assert_eq!(host_a.wait_at(&host_a.reply.header.next_bell, seq), Look::Answered);
    assert_eq!(host_a.take(seq), Some((Status::Good, false, BETWEEN)));
    work_a.join().unwrap();
}

/// The second is replaced, and both are told, the first while it may be at a block for the one that is dead; what is
/// ordered then goes from one to the other.
fn replaced(flaw: Option<Flaw>) {
    let Chain { first: (mut host_a, mut a), .. } = chain(2, flaw);
    let (mut host_b, mut b) = ends(2, flaw);
    let doorstep = Arc::<Doorstep>::default();
    b.before = Some(Arc::clone(&a.reply));
    b.doorstep = Some(Arc::clone(&doorstep));
    host_a.publish(true, INPUT).expect("there is room");
    host_a.notify();
    let told = Arc::new(AtomicU32::new(0));
    let tells = Arc::clone(&told);
    let work_a = thread::spawn(move || {
        a.turn();
        if flaw != Some(Flaw::LooksAtAnothers) {
            a.next_doorstep = Some(doorstep);
        }
        tells.store(1, Ordering::Release);
        a.turn();
    });
    let work_b = thread::spawn(move || b.turn());
    while told.load(Ordering::Acquire) == 0 {
        loom::thread::yield_now();
    }
    let (_, seq) = order(&mut host_a, &mut host_b, [20; 2]);
    assert_eq!(host_b.wait(seq), Look::Answered);
    assert_eq!(host_b.take(seq), Some((Status::Good, true, [22; 2])), "what the second has made");
    work_a.join().unwrap();
    work_b.join().unwrap();
}

/// The second looks for its block and does not sleep; the host waits for it.
fn second_is_awake() {
    let Chain { first: (mut host_a, mut a), second: (mut host_b, mut b) } = chain(2, None);
    let (_, seq) = order(&mut host_a, &mut host_b, INPUT);
    let work_a = thread::spawn(move || a.turn());
    let _ = b.supply();
    work_a.join().unwrap();
    assert_eq!(futex::calls(), 0, "nobody sleeps");
    b.turn();
    assert_eq!(host_b.take(seq), Some((Status::Good, true, OUTPUT)));
    assert_eq!(futex::calls(), 0, "nobody sleeps");
}

/// The first dies when it has answered, before it wakes anybody; the host is told so.
fn dead_before_it_rings(flaw: Option<Flaw>) {
    let Chain { first: (mut host_a, a), second: (mut host_b, mut b) } = chain(2, flaw);
    let (first, seq) = order(&mut host_a, &mut host_b, INPUT);
    let dying = thread::spawn(move || {
        a.wait();
        let input = a.request.read(1);
        a.reply.write(1, input.map(|sample| sample + 1));
        a.store_answer(Status::Good, false);
    });
    let work_b = thread::spawn(move || b.turn());
    dying.join().unwrap();
    assert_eq!(host_a.look(first), Look::Answered);
    if flaw != Some(Flaw::TrustsTheDead) {
        host_b.notify();
    }
    assert_eq!(host_b.wait(seq), Look::Answered);
    assert_eq!(host_b.take(seq), Some((Status::Good, true, OUTPUT)));
    work_b.join().unwrap();
}

fn assert_seen(found: &str, flaw: Flaw, signs: &[&str]) {
    assert!(signs.iter().any(|sign| found.contains(sign)), "{flaw:?}: {found}");
}

#[test]
fn a_block_goes_through_both_with_the_host_asleep() {
    check(3, || handed_on(1, None));
    check(1, || handed_on(2, None));
    check(1, || handed_on_in(chain_without_a_doorstep(2), 1));
}

#[test]
fn the_kernel_is_not_asked_to_wake_a_second_that_is_awake() {
    check(3, second_is_awake);
}

#[test]
fn a_second_that_is_replaced_is_woken_by_a_first_that_has_been_told_of_it() {
    check(2, || replaced(None));
}

#[test]
fn a_host_that_waits_for_the_first_is_woken_whatever_a_dead_second_has_said() {
    for said in [0, PARKED] {
        check(3, move || next_is_dead(said, None));
    }
}

#[test]
fn whichever_the_second_takes_of_a_late_answer_and_what_is_in_its_place_it_takes_it_whole_and_once() {
    check(2, || supplied(None));
}

#[test]
fn a_first_that_fails_starves_the_second() {
    check(3, || failed(None));
}

#[test]
fn a_second_that_is_starved_or_supplied_works_once() {
    check(3, || failed_and_supplied(None));
}

#[test]
fn a_late_answer_of_the_first_is_not_taken_for_the_next_one() {
    check(2, || late_into_the_next(None));
}

#[test]
fn a_second_that_is_overtaken_by_the_first_has_nothing_rather_than_a_torn_block() {
    check(3, || overtaken(None));
}

#[test]
fn a_host_that_waits_for_the_first_is_woken_beside_the_second() {
    check(2, || both_asleep(None));
}

#[test]
fn a_second_is_woken_by_the_host_if_the_first_died_before_it_could() {
    check(3, || dead_before_it_rings(None));
}

#[test]
fn a_hand_off_that_wakes_nobody_is_seen() {
    for flaw in [Flaw::FirstFirst, Flaw::OneBell] {
        assert_seen(&broken(3, move || handed_on(1, Some(flaw))), flaw, &["deadlock"]);
    }
    let flaw = Flaw::TrustsTheDead;
    assert_seen(&broken(3, move || dead_before_it_rings(Some(flaw))), flaw, &["deadlock"]);
    assert_seen(&broken(3, || both_asleep(Some(Flaw::WakesOne))), Flaw::WakesOne, &["deadlock"]);
}

#[test]
fn a_hand_off_that_skips_a_wake_wrongly_is_seen() {
    let flaws = [
        Flaw::NoFenceInHandOn,
        Flaw::LooksBeforeItHandsOn,
        Flaw::SaysLateOnItsDoorstep,
        Flaw::SaysNothingOnItsDoorstep,
        Flaw::LooksAtAnothers,
    ];
    for flaw in flaws {
        assert_seen(&broken(3, move || handed_on(1, Some(flaw))), flaw, &["deadlock"]);
    }
    let flaw = Flaw::LooksAtAnothers;
    assert_seen(&broken(2, move || replaced(Some(flaw))), flaw, &["deadlock"]);
    let flaw = Flaw::OverlooksTheHost;
    assert_seen(&broken(3, move || both_asleep(Some(flaw))), flaw, &["deadlock"]);
    assert_seen(&broken(3, move || next_is_dead(0, Some(flaw))), flaw, &["deadlock"]);
}

#[test]
fn a_stale_input_that_is_accepted_is_seen() {
    let flaw = Flaw::TakesAnyInput;
    assert_seen(&broken(3, move || handed_on(1, Some(flaw))), flaw, &["what the second has made"]);
}

#[test]
fn samples_that_come_after_their_word_are_seen() {
    for flaw in [Flaw::SuppliesEarly, Flaw::SuppliesRelaxed, Flaw::AnswerRelaxed] {
        let signs = ["what the second has made", "what the plugin was given"];
        assert_seen(&broken(3, move || supplied(Some(flaw))), flaw, &signs);
    }
}

#[test]
fn a_torn_input_that_is_accepted_is_seen() {
    for flaw in [Flaw::ComparesBeforeOnly, Flaw::ComparesOwnSlotOnly, Flaw::OverwritesEarly] {
        assert_seen(&broken(3, move || overtaken(Some(flaw))), flaw, &["what the plugin was given"]);
    }
}
