//! Who sleeps is woken, and nobody else.

use super::*;
use loom::thread;

/// One who waits for a number, and one who says it and rings.
#[derive(Default)]
struct Scene {
    sleeper: Header,
    ringer: Header,
    number: AtomicU32,
}

impl Scene {
    fn sleep_until(&self, number: u32, flaw: Option<Flaw>) {
        let ready = || (self.number.load(Ordering::Acquire) >= number).then_some(());
        match flaw {
            Some(flaw @ (Flaw::NoFenceInPark | Flaw::SaysLate)) => self.park_badly(flaw, ready),
            _ => {
                let bells = Bells::one(&self.ringer.bell);
                let sign = Sign::one(&self.sleeper);
                wait::park(sign, bells, DEADLINE_NS, ready).outcome.expect("no time is over");
            }
        }
    }

    fn park_badly(&self, flaw: Flaw, ready: impl Fn() -> Option<()>) {
        let is_late = flaw == Flaw::SaysLate;
        let bell = || Seen { word: &self.ringer.bell, value: self.ringer.bell.load(Ordering::Acquire) };
        loop {
            let (seen, done) = if is_late { (None, ready()) } else { (Some(bell()), None) };
            self.sleeper.parked.store(PARKED, Ordering::Relaxed);
            if is_late {
                fence(Ordering::SeqCst);
            }
            if done.or_else(|| if is_late { None } else { ready() }).is_none() {
                futex::wait(seen.unwrap_or_else(bell), DEADLINE_NS);
            }
            self.sleeper.parked.store(0, Ordering::Relaxed);
            if ready().is_some() {
                return;
            }
        }
    }

    fn say(&self, number: u32, flaw: Option<Flaw>) {
        self.number.store(number, Ordering::Release);
        match flaw {
            Some(flaw @ (Flaw::NoFenceInRing | Flaw::LooksBeforeItRings)) => self.ring_badly(flaw),
            _ => {
                wait::ring(&self.ringer, &self.sleeper);
            }
        }
    }

    fn ring_badly(&self, flaw: Flaw) {
        let sleeps = || self.sleeper.parked.load(Ordering::Relaxed) == PARKED;
        let early = flaw == Flaw::LooksBeforeItRings && sleeps();
        self.ringer.bell.store(self.ringer.bell.load(Ordering::Relaxed) + 1, Ordering::Release);
        let wakes = if flaw == Flaw::LooksBeforeItRings {
            fence(Ordering::SeqCst);
            early
        } else {
            sleeps()
        };
        if wakes {
            futex::wake(&self.ringer.bell);
        }
    }
}

/// One sleeps until it is told the last number; the other says them all.
fn numbers(last: u32, flaw: Option<Flaw>) {
    let scene = Arc::new(Scene::default());
    let ringer = Arc::clone(&scene);
    let ringing = thread::spawn(move || (1..=last).for_each(|number| ringer.say(number, flaw)));
    (1..=last).for_each(|number| scene.sleep_until(number, flaw));
    ringing.join().unwrap();
    assert!(futex::calls() <= last as usize, "the kernel is asked once for each number at most");
}

#[test]
fn who_waits_for_something_is_never_asleep_for_ever() {
    check(3, || numbers(1, None));
    check(2, || numbers(3, None));
}

#[test]
fn a_lost_wake_up_is_seen() {
    for flaw in [Flaw::NoFenceInPark, Flaw::SaysLate] {
        let found = broken(3, move || numbers(1, Some(flaw)));
        assert!(found.contains("deadlock"), "{flaw:?}: {found}");
    }
}

#[test]
fn a_wake_that_is_skipped_wrongly_is_seen() {
    for flaw in [Flaw::NoFenceInRing, Flaw::LooksBeforeItRings] {
        let found = broken(3, move || numbers(1, Some(flaw)));
        assert!(found.contains("deadlock"), "{flaw:?}: {found}");
    }
}

#[test]
fn the_kernel_is_not_asked_to_wake_who_is_awake() {
    check(3, || {
        let scene = Arc::new(Scene::default());
        let ringer = Arc::clone(&scene);
        let ringing = thread::spawn(move || ringer.say(1, None));
        // It looks, but does not sleep.
        let _ = wait::spin(BOUNDS, || (scene.number.load(Ordering::Acquire) > 0).then_some(()));
        ringing.join().unwrap();
        assert_eq!(futex::calls(), 0);
    });
}

#[test]
fn a_wake_without_cause_harms_nobody() {
    check(3, || {
        let scene = Arc::new(Scene::default());
        let (ringer, stranger) = (Arc::clone(&scene), Arc::clone(&scene));
        let ringing = thread::spawn(move || ringer.say(1, None));
        let waking = thread::spawn(move || wait::wake(&stranger.ringer));
        scene.sleep_until(1, None);
        ringing.join().unwrap();
        waking.join().unwrap();
    });
}

#[test]
fn who_is_roused_looks_at_what_was_said_before() {
    check(3, || {
        let scene = Arc::new(Scene::default());
        let rouser = Arc::clone(&scene);
        let rousing = thread::spawn(move || {
            rouser.number.store(1, Ordering::Release);
            wait::rouse(&rouser.sleeper, &rouser.ringer);
        });
        scene.sleep_until(1, None);
        rousing.join().unwrap();
    });
}
