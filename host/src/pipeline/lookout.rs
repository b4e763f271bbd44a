//! When a device counts as lost, and when it is tried again.
//!
//! For a [`Port`](super::port), which does what is decided here. Nothing here opens anything or looks at a clock: it is
//! told the time, so that hours pass in a test as fast as it computes.

use std::time::{Duration, Instant};

/// Callbacks that stay away for longer than this, and than twice what the device wants in one go, mean one that hangs.
const QUIET: Duration = Duration::from_secs(1);
/// How long the first callback may take: PulseAudio's has been seen to take 1.8 s.
const FIRST_CALLBACK: Duration = Duration::from_secs(5);
/// So soon after it began to play no device has stopped: an idle sink of PulseAudio's asks for a buffer at once, and then for
/// nothing for 1.3 s.
const SETTLES: Duration = Duration::from_secs(3);
/// Of the time between two looks only so much counts: who looks so seldom was not awake, and the device may have slept
/// as well.
const LOOK_MAX: Duration = Duration::from_millis(100);
/// No device wants more than this in one go; one whose times all are the same only seems to.
const IN_ONE_GO: Duration = Duration::from_secs(5);
/// So many errors without a callback in between mean a device that gives nothing else any more, as ALSA's way to a dead
/// server does.
const ERRORS: u64 = 20;
/// After a loss it is tried again after this, then after twice as long, and so on.
const SHORTEST: Duration = Duration::from_millis(250);
/// But never after longer than this.
const LONGEST: Duration = Duration::from_secs(10);
/// A device that has played for so long is waited for from the shortest wait on again.
const FORGIVEN: Duration = Duration::from_secs(10);

/// How it stands with a device.
#[derive(Debug)]
pub(super) struct Lookout {
    state: State,
    /// The wait before the next try.
    wait: Duration,
    losses: u64,
}

/// What has been seen of a device's stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signs {
    pub(super) callbacks: u64,
    /// Errors that it went on after.
    pub(super) errors: u64,
    /// How long lasts what it wants in one go.
    pub(super) longest: Duration,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Not played yet.
    Idle,
    Open(Open),
    /// `next` is none while a try is under way.
    Lost {
        since: Instant,
        next: Option<Instant>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    looked: Instant,
    callbacks: u64,
    /// Errors when the last one was seen.
    errors: u64,
    /// How long there has been none.
    quiet: Duration,
}

impl Lookout {
    pub(super) fn new() -> Self {
        Self { state: State::Idle, wait: SHORTEST, losses: 0 }
    }

    /// The device plays from now on.
    pub(super) fn plays(&mut self, now: Instant) {
        let (callbacks, errors, quiet) = (0, 0, Duration::ZERO);
        self.state = State::Open(Open { since: now, looked: now, callbacks, errors, quiet });
    }

    /// Whether its callbacks have stopped, to be asked often.
    pub(super) fn has_stopped(&mut self, signs: Signs, now: Instant) -> bool {
        let State::Open(open) = &mut self.state else { return false };
        let passed = now.saturating_duration_since(open.looked).min(LOOK_MAX);
        if signs.callbacks == open.callbacks {
            open.quiet += passed;
        } else {
            (open.quiet, open.errors) = (Duration::ZERO, signs.errors);
        }
        (open.looked, open.callbacks) = (now, signs.callbacks);
        let limit =
            if signs.callbacks == 0 { FIRST_CALLBACK } else { QUIET.max(2 * signs.longest.min(IN_ONE_GO)) };
        let may_have_stopped = now.saturating_duration_since(open.since) >= SETTLES;
        (open.quiet > limit && may_have_stopped) || signs.errors - open.errors >= ERRORS
    }

    /// The device is lost.
    pub(super) fn lost(&mut self, now: Instant) {
        if let State::Open(open) = self.state
            && now.saturating_duration_since(open.since) >= FORGIVEN
        {
            self.wait = SHORTEST;
        }
        self.losses += 1;
        self.state = State::Lost { since: now, next: None };
        self.failed(now);
    }

    /// The device is not there in the beginning.
    pub(super) fn missing(&mut self, now: Instant) {
        self.state = State::Lost { since: now, next: None };
        self.failed(now);
    }

    /// Whether it is to be tried again now; then it is, until [`Lookout::failed`] or [`Lookout::plays`].
    pub(super) fn is_to_be_tried(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Lost { next, .. } => next.take_if(|next| now >= *next).is_some(),
            _ => false,
        }
    }

    /// The try has failed: the next one comes later.
    pub(super) fn failed(&mut self, now: Instant) {
        if let State::Lost { next, .. } = &mut self.state {
            *next = Some(now + self.wait);
            self.wait = (2 * self.wait).min(LONGEST);
        }
    }

    /// Since when it is lost, if it is.
    pub(super) fn lost_since(&self) -> Option<Instant> {
        match self.state {
            State::Lost { since, .. } => Some(since),
            _ => None,
        }
    }

    /// When it is tried next, unless it is being tried.
    pub(super) fn next_try(&self) -> Option<Instant> {
        match self.state {
            State::Lost { next, .. } => next,
            _ => None,
        }
    }

    /// How often it was lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(20);
    const CALLBACK: Duration = Duration::from_millis(5);

    /// Looks again and again at a device that has called back so often: for how long until it counts as hung.
    fn until_stopped(lookout: &mut Lookout, callbacks: u64, longest: Duration, from: Instant) -> Duration {
        let mut now = from;
        while !lookout.has_stopped(Signs { callbacks, errors: 0, longest }, now) {
            now += LOOK;
            assert!(now - from < Duration::from_secs(60), "never");
        }
        now - from
    }

    fn called(callbacks: u64) -> Signs {
        Signs { callbacks, errors: 0, longest: CALLBACK }
    }

    fn playing(now: Instant) -> Lookout {
        let mut lookout = Lookout::new();
        lookout.plays(now);
        lookout
    }

    #[test]
    fn a_device_whose_callbacks_stop_for_a_second_is_lost() {
        let start = Instant::now();
        let mut lookout = playing(start);
        for n in 1..1000 {
            let now = start + LOOK * n;
            assert!(!lookout.has_stopped(called(n.into()), now));
        }
        let quiet = until_stopped(&mut lookout, 999, CALLBACK, start + LOOK * 999);
        assert_eq!(quiet, QUIET + LOOK);
    }

    #[test]
    fn a_device_that_takes_a_buffer_and_stands_still_for_a_while_before_it_really_begins_is_not_lost() {
        let start = Instant::now();
        let mut lookout = playing(start);
        for n in 1..149 {
            assert!(!lookout.has_stopped(called(2), start + LOOK * n));
        }
        assert!(lookout.has_stopped(called(2), start + SETTLES));
        assert!(!lookout.has_stopped(called(3), start + SETTLES + LOOK));
    }

    #[test]
    fn a_device_with_a_long_buffer_has_two_of_them_and_the_first_callback_five_seconds() {
        let start = Instant::now();
        let mut lookout = playing(start);
        lookout.has_stopped(Signs { longest: Duration::from_secs(2), ..called(1) }, start);
        assert_eq!(
            until_stopped(&mut lookout, 1, Duration::from_secs(2), start),
            Duration::from_secs(4) + LOOK
        );
        let mut lookout = playing(start);
        assert_eq!(until_stopped(&mut lookout, 0, Duration::ZERO, start), FIRST_CALLBACK + LOOK);
    }

    #[test]
    fn a_device_that_gives_nothing_but_errors_is_lost_before_the_second_is_over() {
        let start = Instant::now();
        let mut lookout = playing(start);
        let signs = |callbacks, errors| Signs { errors, ..called(callbacks) };
        assert!(!lookout.has_stopped(signs(1, 0), start));
        // Some with callbacks in between are the device's own affair.
        for n in 1..10 {
            assert!(!lookout.has_stopped(signs(1 + n, 15 * n), start));
        }
        assert!(!lookout.has_stopped(signs(10, 135 + ERRORS - 1), start));
        assert!(lookout.has_stopped(signs(10, 135 + ERRORS), start));
    }

    #[test]
    fn a_host_that_was_asleep_blames_no_device() {
        let start = Instant::now();
        let mut lookout = playing(start);
        assert!(!lookout.has_stopped(called(5), start));
        assert!(!lookout.has_stopped(called(5), start + Duration::from_secs(3600)));
        assert!(!lookout.has_stopped(called(6), start + Duration::from_secs(3601)));
    }

    #[test]
    fn what_is_not_open_can_not_stop() {
        let start = Instant::now();
        let mut lookout = Lookout::new();
        assert!(!lookout.has_stopped(called(0), start) && !lookout.is_to_be_tried(start));
        lookout.lost(start);
        assert!(!lookout.has_stopped(called(0), start + FIRST_CALLBACK * 2));
    }

    /// Each wait before a try, for as many tries that all fail at once.
    fn waits(lookout: &mut Lookout, mut now: Instant, tries: usize) -> Vec<u64> {
        let mut waits = Vec::new();
        while waits.len() < tries {
            let next = lookout.next_try().expect("it is lost");
            waits.push(u64::try_from((next - now).as_millis()).unwrap());
            assert!(!lookout.is_to_be_tried(next - Duration::from_millis(1)), "too early");
            assert!(lookout.is_to_be_tried(next), "not when due");
            assert!(!lookout.is_to_be_tried(next + LONGEST), "twice at once");
            now = next;
            lookout.failed(now);
        }
        waits
    }

    #[test]
    fn it_is_tried_after_a_quarter_of_a_second_then_ever_more_seldom_up_to_ten() {
        let start = Instant::now();
        let mut lookout = playing(start);
        lookout.lost(start);
        assert_eq!((lookout.lost_since(), lookout.losses()), (Some(start), 1));
        let expected = [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000];
        assert_eq!(waits(&mut lookout, start, 8), expected);
    }

    #[test]
    fn a_device_that_is_missing_in_the_beginning_is_tried_as_one_that_was_lost_and_was_not_lost() {
        let start = Instant::now();
        let mut lookout = Lookout::new();
        lookout.missing(start);
        assert_eq!((lookout.lost_since(), lookout.losses()), (Some(start), 0));
        assert_eq!(waits(&mut lookout, start, 3), [250, 500, 1_000]);
    }

    #[test]
    fn a_device_that_is_lost_again_at_once_is_not_tried_as_often_as_a_good_one() {
        let start = Instant::now();
        let mut lookout = playing(start);
        lookout.lost(start);
        waits(&mut lookout, start, 3);
        lookout.plays(start);
        assert_eq!((lookout.lost_since(), lookout.next_try()), (None, None));
        let soon = start + FORGIVEN - LOOK;
        lookout.lost(soon);
        assert_eq!(waits(&mut lookout, soon, 2), [4_000, 8_000]);
        lookout.plays(start);
        let later = start + FORGIVEN;
        lookout.lost(later);
        assert_eq!(waits(&mut lookout, later, 2), [250, 500]);
    }
}
