//! A thing that several audio threads may work with, one at a time, handed on without a lock.
//!
//! For the streams of a pipeline: what belongs to the pipeline outlives any device, and whichever stream has the turn
//! works with it. A device that hangs and comes back when its turn is over finds that it may not. Who has the turn is
//! for one thread to say, the one that watches; nothing here decides it.

use crossbeam_utils::atomic::AtomicCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nobody's turn: the first claim has number 1.
const NOBODY: u64 = 0;
/// How often it is looked whether the last one has put it back.
const LOOK: Duration = Duration::from_millis(1);

/// The thing, in its place or in the hands of the stream that works with it just now.
pub struct Baton<T> {
    place: AtomicCell<Option<Box<T>>>,
    /// The number of the claim whose turn it is.
    turn: AtomicU64,
    /// How many claims there have been.
    claims: AtomicU64,
}

impl<T> fmt::Debug for Baton<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baton").field("turn", &self.turn).finish_non_exhaustive()
    }
}

impl<T: Send> Baton<T> {
    /// Nobody's turn yet.
    #[must_use]
    pub fn new(thing: T) -> Arc<Self> {
        const { assert!(AtomicCell::<Option<Box<T>>>::is_lock_free()) };
        let place = AtomicCell::new(Some(Box::new(thing)));
        Arc::new(Self { place, turn: AtomicU64::new(NOBODY), claims: AtomicU64::new(NOBODY) })
    }

    /// A claim for one more stream, whose turn it is not yet.
    #[must_use]
    pub fn claim(self: &Arc<Self>) -> Claim<T> {
        let number = self.claims.fetch_add(1, Ordering::Relaxed) + 1;
        Claim { baton: Arc::clone(self), number }
    }

    /// From now on it is the turn of the claim with this [number](Claim::number), and no other's. One that is at work
    /// ends its callback first.
    pub fn give_to(&self, number: u64) {
        self.turn.store(number, Ordering::Release);
    }

    /// Takes the thing out for good, once whoever works with it has put it back; `None` if that takes longer than this.
    /// It may wait: not for audio threads.
    #[must_use]
    pub fn take_back(&self, within: Duration) -> Option<Box<T>> {
        self.give_to(NOBODY);
        let deadline = Instant::now() + within;
        loop {
            let taken = self.place.take();
            if taken.is_some() || Instant::now() >= deadline {
                return taken;
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// Works with the thing here, once whoever works with it has put it back, and puts it back too. It is nobody's turn
    /// from then on. `None` if it takes longer than this to get it; then it is nobody's turn either. As
    /// [`Baton::take_back`]: not for audio threads.
    pub fn between_turns<R>(&self, within: Duration, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut thing = self.take_back(within)?;
        let done = work(&mut thing);
        // There is only this one: nothing lies in its place that would be dropped here.
        self.place.store(Some(thing));
        Some(done)
    }

    fn is_turn_of(&self, number: u64) -> bool {
        self.turn.load(Ordering::Acquire) == number
    }
}

/// What a stream's callback has, to work with the thing while it is its turn.
#[derive(Debug)]
pub struct Claim<T> {
    baton: Arc<Baton<T>>,
    number: u64,
}

impl<T: Send> Claim<T> {
    /// What [`Baton::give_to`] calls it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Works with the thing. `None` if it is another's turn, or if the one before has not put it back yet.
    ///
    /// # Real-time
    /// Yes: two swaps of a word; it waits for nobody, and makes and frees nothing, whatever comes of it.
    pub fn with<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        if !self.baton.is_turn_of(self.number) {
            return None;
        }
        let mut thing = self.baton.place.take()?;
        // It may have been passed on between the two looks.
        let done = self.baton.is_turn_of(self.number).then(|| work(&mut thing));
        // There is only this one: nothing lies in its place that would be dropped here.
        self.baton.place.store(Some(thing));
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn only_the_claim_whose_turn_it_is_works_with_it() {
        let baton = Baton::new(0);
        let (mut first, mut second) = (baton.claim(), baton.claim());
        assert_eq!(first.with(|n| *n += 1), None, "nobody's turn");
        baton.give_to(first.number());
        assert_eq!((first.with(|n| *n += 1), second.with(|n| *n += 1)), (Some(()), None));
        baton.give_to(second.number());
        assert_eq!((first.with(|n| *n += 1), second.with(|n| *n += 1)), (None, Some(())));
        assert_eq!(baton.take_back(Duration::ZERO), Some(Box::new(2)));
        assert_eq!(second.with(|n| *n += 1), None, "taken back");
    }

    #[test]
    fn one_that_comes_while_the_one_before_is_at_work_goes_without() {
        let baton = Baton::new(0);
        let (mut first, mut second) = (baton.claim(), baton.claim());
        baton.give_to(first.number());
        let during = first.with(|_| {
            baton.give_to(second.number());
            (second.with(|_| ()), baton.take_back(Duration::ZERO))
        });
        assert_eq!(during, Some((None, None)));
        baton.give_to(second.number());
        assert_eq!(second.with(|n| *n), Some(0));
    }

    #[test]
    fn what_is_at_work_is_waited_for_when_it_is_taken_back() {
        let baton = Baton::new(0);
        let mut claim = baton.claim();
        baton.give_to(claim.number());
        let (inside, at_work) = std::sync::mpsc::channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            claim.with(|n| {
                inside.send(()).unwrap();
                let _ = held.recv_timeout(PATIENCE);
                *n = 7;
            })
        });
        at_work.recv_timeout(PATIENCE).unwrap();
        assert_eq!(baton.take_back(Duration::ZERO), None);
        release.send(()).unwrap();
        assert_eq!(baton.take_back(PATIENCE), Some(Box::new(7)));
        assert_eq!(worker.join().unwrap(), Some(()));
    }

    #[test]
    fn between_two_turns_it_is_worked_with_elsewhere_and_whoever_has_the_next_turn_finds_what_was_done() {
        let baton = Baton::new(1);
        let mut claim = baton.claim();
        baton.give_to(claim.number());
        let during = claim.with(|_| baton.between_turns(Duration::ZERO, |n| *n += 1));
        assert_eq!(during, Some(None), "it is at work");
        assert_eq!(claim.with(|n| *n), None, "nobody's turn");
        let mut meanwhile = None;
        let done = baton.between_turns(PATIENCE, |n| {
            baton.give_to(claim.number());
            meanwhile = claim.with(|_| ());
            *n += 1;
            *n
        });
        assert_eq!((done, meanwhile), (Some(2), None), "it is not in its place");
        assert_eq!(claim.with(|n| *n), Some(2));
    }

    #[test]
    fn threads_that_all_want_it_never_work_at_once_and_lose_nothing() {
        // Torn if two write at once.
        let baton = Baton::new([0u64; 8]);
        let enough = Arc::new(AtomicBool::new(false));
        let mut claims: Vec<_> = (0..4).map(|_| baton.claim()).collect();
        let numbers: Vec<_> = claims.iter().map(Claim::number).collect();
        let workers: Vec<_> = claims
            .drain(..)
            .map(|mut claim| {
                let enough = Arc::clone(&enough);
                std::thread::spawn(move || {
                    let mut done = 0;
                    while !enough.load(Ordering::Relaxed) {
                        let worked = claim.with(|words| {
                            assert!(words.iter().all(|word| *word == words[0]), "torn");
                            words.iter_mut().for_each(|word| *word += 1);
                        });
                        done += u64::from(worked.is_some());
                        // Whoever hands the turn on has to have a processor too.
                        std::thread::yield_now();
                    }
                    done
                })
            })
            .collect();
        for turn in 0..20_000 {
            baton.give_to(numbers[turn % numbers.len()]);
            std::thread::yield_now();
        }
        enough.store(true, Ordering::Relaxed);
        let done: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        assert_eq!(baton.take_back(PATIENCE), Some(Box::new([done; 8])));
    }
}
