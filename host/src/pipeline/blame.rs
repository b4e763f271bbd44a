//! Whose doing it was that audio was not there when it was due: the device's, or that of this process.
//!
//! For the port of a device, with what is seen of its stream at each look. Decides only, and without a clock of its own. A
//! device that ran dry says so, whyever it did; a JACK server tells every client of every xrun, whoever of them was late.
//! And a callback that begins late may have been called late. So what a device tells waits for a while to be matched with
//! what is known of this process by itself:
//!
//! - A callback took too long: that is the host's, and so is what the device tells about that time.
//! - A callback began late, after this process was stopped or its thread waited for a processor: the same.
//! - A callback began late, and the device tells of an xrun, but nothing held this process up: that is the device's.
//! - A callback began late, and nothing else is known: the host's.
//!
//! A moment in which both were late is the host's alone: nobody can tell.

use crate::backend::Device;
use std::collections::VecDeque;
use std::ops::Add;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far apart what belongs together may be seen, and three periods more: a server tells at the end of a cycle, and a
/// thread of a client's hands it on that has no priority.
const TOGETHER: Duration = Duration::from_millis(100);
/// The usual time between two looks.
const TICK: Duration = Duration::from_millis(20);
/// Whoever looks is late by so much now and then, on a machine that is well.
const USUALLY_LATE: Duration = Duration::from_millis(20);

/// When this process was late last for one of the streams that share a server.
static AT_SERVERS: LazyLock<Last> = LazyLock::new(Last::default);

/// When something happened last.
type Last = Arc<Mutex<Option<Instant>>>;

/// Times that audio was not there when it was due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// By the device's own doing.
    pub(super) device: u64,
    /// By this process's.
    pub(super) host_late: u64,
}

impl Add for Counts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { device: self.device + other.device, host_late: self.host_late + other.host_late }
    }
}

/// What has been seen of a stream so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Xruns that its device told of.
    pub(super) told: u64,
    /// Callbacks that have ended.
    pub(super) callbacks: u64,
    /// Callbacks that took longer than their frames last.
    pub(super) long: u64,
    /// Callbacks that began late.
    pub(super) gaps: u64,
    /// How long after the one before the last of those began.
    pub(super) gap: Duration,
    /// What the device wants in one go lasts so long.
    pub(super) period: Duration,
    /// A callback has been under way for longer than that.
    pub(super) is_overdue: bool,
    /// How long its thread has waited for a processor.
    pub(super) waited: Duration,
    /// How long the thread that looks has.
    pub(super) looker_waited: Duration,
}

/// The judge of one stream.
#[derive(Debug)]
pub(super) struct Blame {
    /// When this process was late last, as far as this stream's device may tell of it; `None` where all that the device
    /// tells is its own.
    ours: Option<Last>,
    last: Option<(Instant, Seen)>,
    /// Not settled yet: when they were seen, and how many at once.
    told: VecDeque<(Instant, u64)>,
    gaps: VecDeque<(Instant, u64)>,
    told_last: Option<Instant>,
    /// When a callback began late last that the device had called late.
    called_late: Option<Instant>,
    /// When this process, or the stream's thread, was held up last, and for how long.
    held_up: Option<(Instant, Duration)>,
    counts: Counts,
}

impl Blame {
    /// Of a stream of this device. The virtual one has no cause but its own: its other end, or that it gives up time.
    pub(super) fn of(device: &Device) -> Self {
        let ours = (!device.is_virtual()).then(|| match device.is_told_of_others() {
            true => Arc::clone(&AT_SERVERS),
            false => Last::default(),
        });
        Self::among(ours)
    }

    fn among(ours: Option<Last>) -> Self {
        Self {
            ours,
            last: None,
            told: VecDeque::new(),
            gaps: VecDeque::new(),
            told_last: None,
            called_late: None,
            held_up: None,
            counts: Counts::default(),
        }
    }

    /// What has been settled so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The same as nothing more will be seen of the stream.
    pub(super) fn last_word(&mut self) -> Counts {
        if let Some((now, seen)) = self.last {
            self.settle(now, together(seen.period), Duration::ZERO);
        }
        self.counts
    }

    /// Looks at what is new.
    pub(super) fn look(&mut self, now: Instant, seen: Seen) {
        let before = self.last.replace((now, seen));
        let was = before.map(|(_, seen)| seen).unwrap_or_default();
        let (told, long, gaps) = (seen.told - was.told, seen.long - was.long, seen.gaps - was.gaps);
        self.counts.host_late += long;
        if self.ours.is_none() {
            self.counts = self.counts + Counts { device: told, host_late: gaps };
            return;
        }
        if long > 0 || seen.is_overdue {
            self.was_late(now);
        }
        if let Some((then, _)) = before {
            let stopped = stopped(now.saturating_duration_since(then), was, seen);
            self.hold_up(now, stopped.max(seen.waited.saturating_sub(was.waited)), seen.period);
        }
        if told > 0 {
            self.told.push_back((now, told));
            self.told_last = Some(now);
        }
        if gaps > 0 {
            self.gaps.push_back((now, gaps));
        }
        let together = together(seen.period);
        self.settle(now, together, together);
    }

    /// Nothing was held up for less than a period that anybody could have heard. The longest of what belongs together counts.
    fn hold_up(&mut self, now: Instant, length: Duration, period: Duration) {
        let is_over = |(then, known): (Instant, Duration)| {
            length >= known || now.saturating_duration_since(then) > together(period)
        };
        if length > period && self.held_up.is_none_or(is_over) {
            self.held_up = Some((now, length));
        }
    }

    /// Settles what can be, and all that is older than `patience`.
    fn settle(&mut self, now: Instant, together: Duration, patience: Duration) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= patience;
        let gap = self.last.map_or(Duration::ZERO, |(_, seen)| seen.gap);
        for (at, count) in std::mem::take(&mut self.gaps) {
            if self.was_held_up(at, together, gap / 2) {
                self.counts.host_late += count;
                self.was_late(at);
            } else if is_near(self.told_last, at, together) {
                // It is told of as the device's, or as whoever's it was.
                self.called_late = Some(at);
            } else if is_old(at) {
                self.counts.host_late += count;
            } else {
                self.gaps.push_back((at, count));
            }
        }
        for (at, count) in std::mem::take(&mut self.told) {
            if is_near(self.ours_last(), at, together) {
                // That has been counted.
            } else if !is_old(at) {
                self.told.push_back((at, count));
            } else if self.was_held_up(at, together, Duration::ZERO)
                && !is_near(self.called_late, at, together)
            {
                // For so short a time that no callback was counted as late.
                self.counts.host_late += 1;
                self.was_late(at);
            } else {
                self.counts.device += count;
            }
        }
    }

    /// Whether something held this process up about that time, for so long at least.
    fn was_held_up(&self, at: Instant, together: Duration, least: Duration) -> bool {
        self.held_up.is_some_and(|(then, length)| apart(then, at) <= together && length >= least)
    }

    fn was_late(&self, at: Instant) {
        if let Some(ours) = &self.ours {
            let mut last = ours.lock().unwrap_or_else(PoisonError::into_inner);
            *last = (*last).max(Some(at));
        }
    }

    fn ours_last(&self) -> Option<Instant> {
        let ours = self.ours.as_ref()?;
        *ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long this process was stopped between two looks that came so far apart, as far as that can be told.
fn stopped(since: Duration, was: Seen, seen: Seen) -> Duration {
    // Whoever looks, and would have but for other programs, says nothing of the stream's thread.
    let excused = TICK + USUALLY_LATE + seen.looker_waited.saturating_sub(was.looker_waited);
    let unseen = since.saturating_sub(excused);
    let callbacks = u32::try_from(seen.callbacks - was.callbacks).unwrap_or(u32::MAX);
    let without = since.saturating_sub(seen.period.saturating_mul(callbacks));
    // Nor does whoever looks seldom, while callbacks went on for most of that time.
    if without < unseen / 2 { Duration::ZERO } else { unseen.min(without) }
}

/// How far apart what belongs together may be seen.
fn together(period: Duration) -> Duration {
    TOGETHER + 3 * period
}

fn is_near(one: Option<Instant>, other: Instant, together: Duration) -> bool {
    one.is_some_and(|one| apart(one, other) <= together)
}

fn apart(one: Instant, other: Instant) -> Duration {
    one.saturating_duration_since(other).max(other.saturating_duration_since(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(10);

    /// A stream that is looked at every 20 ms, or more seldom where whoever looks is held up.
    struct Stream {
        now: Instant,
        seen: Seen,
        blame: Blame,
    }

    impl Stream {
        fn among(ours: Option<&Last>) -> Self {
            let mut blame = Blame::among(ours.cloned());
            let (now, seen) = (Instant::now(), Seen { period: PERIOD, ..Seen::default() });
            blame.look(now, seen);
            Self { now, seen, blame }
        }

        fn alone() -> Self {
            Self::among(Some(&Last::default()))
        }

        /// The next look, so much later, at what has changed until then.
        fn look_after(&mut self, after: Duration, change: impl FnOnce(&mut Seen)) -> &mut Self {
            self.now += after;
            change(&mut self.seen);
            self.blame.look(self.now, self.seen);
            self
        }

        fn look(&mut self, change: impl FnOnce(&mut Seen)) -> &mut Self {
            self.look_after(TICK, change)
        }

        fn looks(&mut self, count: u32) -> &mut Self {
            for _ in 0..count {
                self.look(|_| ());
            }
            self
        }

        /// Of the device, and of the host, once all is settled.
        fn settled(&mut self) -> (u64, u64) {
            let Counts { device, host_late } = self.looks(20).blame.counts();
            assert_eq!(self.blame.last_word(), self.blame.counts(), "nothing is left");
            (device, host_late)
        }
    }

    fn began_late(seen: &mut Seen, after: Duration) {
        seen.gaps += 1;
        seen.gap = after;
    }

    #[test]
    fn what_a_device_tells_without_anything_of_ours_is_the_device_s() {
        assert_eq!(Stream::alone().look(|seen| seen.told += 2).settled(), (2, 0));
    }

    #[test]
    fn what_a_device_tells_waits_until_it_is_known_whose_it_was_and_no_longer_than_the_stream() {
        let mut stream = Stream::alone();
        stream.look(|seen| seen.told += 1).looks(2);
        assert_eq!(stream.blame.counts(), Counts::default());
        assert_eq!(stream.blame.last_word(), Counts { device: 1, host_late: 0 });
    }

    #[test]
    fn a_callback_that_takes_too_long_is_the_host_s_whether_the_device_tells_of_it_before_after_or_not() {
        let long = |seen: &mut Seen| seen.long += 1;
        let told = |seen: &mut Seen| seen.told += 3;
        assert_eq!(Stream::alone().look(long).settled(), (0, 1));
        assert_eq!(Stream::alone().look(long).looks(4).look(told).settled(), (0, 1));
        assert_eq!(Stream::alone().look(told).looks(4).look(long).settled(), (0, 1));
        assert_eq!(Stream::alone().look(long).looks(20).look(told).settled(), (3, 1), "long ago");
        assert_eq!(Stream::alone().look(told).looks(20).look(long).settled(), (3, 1), "long after");
    }

    #[test]
    fn what_a_device_tells_while_a_callback_is_overdue_is_the_host_s_however_long_that_takes() {
        let mut stream = Stream::alone();
        stream.look(|seen| (seen.is_overdue, seen.told) = (true, 1)).looks(50);
        stream.look(|seen| (seen.is_overdue, seen.long) = (false, 1));
        assert_eq!(stream.settled(), (0, 1));
    }

    #[test]
    fn a_callback_that_was_called_late_is_no_second_xrun_beside_the_one_that_the_device_tells_of() {
        let gap = |seen: &mut Seen| began_late(seen, 40 * PERIOD);
        let told = |seen: &mut Seen| seen.told += 1;
        assert_eq!(Stream::alone().look(gap).look(told).settled(), (1, 0));
        assert_eq!(Stream::alone().look(told).looks(3).look(gap).settled(), (1, 0));
        assert_eq!(Stream::alone().look(gap).settled(), (0, 1), "nobody else tells of it");
    }

    #[test]
    fn what_began_late_as_this_process_was_stopped_is_the_host_s_alone() {
        let gap = |seen: &mut Seen| began_late(seen, 40 * PERIOD);
        let told = |seen: &mut Seen| seen.told += 2;
        let stopped = |after| {
            let mut stream = Stream::alone();
            stream.look_after(after, |_| ()).look(told).look(gap);
            stream.settled()
        };
        assert_eq!(stopped(40 * PERIOD), (0, 1));
        let mut looked_late = Stream::alone();
        looked_late.look_after(40 * PERIOD, |seen| seen.looker_waited += 38 * PERIOD).look(told).look(gap);
        assert_eq!(looked_late.settled(), (2, 0), "only the thread that looks was");
        assert_eq!(stopped(10 * PERIOD), (2, 0), "for too short a time to have been the reason");
    }

    #[test]
    fn whoever_looks_seldom_while_callbacks_go_on_is_no_sign_that_this_process_was_stopped() {
        let seldom = |callbacks| {
            let mut stream = Stream::alone();
            stream.look_after(100 * PERIOD, |seen| {
                (seen.callbacks, seen.told) = (callbacks, 2);
                began_late(seen, 5 * PERIOD);
            });
            stream.settled()
        };
        assert_eq!(seldom(96), (2, 0));
        assert_eq!(seldom(40), (0, 1), "there were none for longer than that one was late");
    }

    #[test]
    fn what_began_late_as_its_thread_waited_for_a_processor_is_the_host_s_alone() {
        let mut stream = Stream::alone();
        stream.look(|seen| {
            seen.waited += 4 * PERIOD;
            began_late(seen, 5 * PERIOD);
        });
        assert_eq!(stream.look(|seen| seen.told += 2).settled(), (0, 1));
    }

    #[test]
    fn being_held_up_for_less_than_is_counted_as_late_is_the_host_s_if_the_device_tells_of_it() {
        let waited = |seen: &mut Seen| seen.waited += 3 * PERIOD / 2;
        assert_eq!(Stream::alone().look(waited).look(|seen| seen.told += 2).settled(), (0, 1));
        assert_eq!(Stream::alone().look(waited).settled(), (0, 0));
        let hardly = |seen: &mut Seen| seen.waited += PERIOD / 2;
        assert_eq!(Stream::alone().look(hardly).look(|seen| seen.told += 2).settled(), (2, 0));
    }

    #[test]
    fn what_a_server_tells_all_streams_of_this_process_is_counted_once_where_one_of_them_was_late() {
        let server = Last::default();
        let (mut late, mut other) = (Stream::among(Some(&server)), Stream::among(Some(&server)));
        late.look(|seen| seen.told += 1);
        other.look(|seen| {
            seen.told += 1;
            began_late(seen, 5 * PERIOD);
        });
        late.look(|seen| seen.long += 1);
        assert_eq!((late.settled(), other.settled()), ((0, 1), (0, 0)));
        let (mut late, mut card) = (Stream::alone(), Stream::alone());
        late.look(|seen| seen.long += 1);
        card.look(|seen| seen.told += 1);
        assert_eq!((late.settled(), card.settled()), ((0, 1), (1, 0)), "each has a device of its own");
    }

    #[test]
    fn what_the_virtual_device_tells_is_counted_at_once_beside_what_the_host_was_late_for() {
        let mut stream = Stream::among(None);
        stream.look(|seen| (seen.told, seen.long, seen.gaps) = (1, 2, 3));
        assert_eq!(stream.blame.counts(), Counts { device: 1, host_late: 5 });
    }
}
