//! Why a block of a plugin was late.
//!
//! For whoever tells the user. Judges one miss from what the host and the worker have written down about it, and
//! counts. "Unknown" is a good answer, a wrong one is not: so a part of the time explains a miss only if it is at
//! least half of the time that the answer took, and if the answer would have been in time without it. Where parts
//! may overlap, the overlap counts for the one that can't be the plugin's fault: first for the run queue.
//!
//! | from | to | what |
//! |---|---|---|
//! | start of the turn | published | the host itself |
//! | published | end of the block before | that block, by what took most of its time |
//! | published | seen | waking up: by the notes, the run queue |
//! | seen | woken | waiting for the GIL |
//! | entered | left | the plugin's call: the collector, by the CPU time Python code, else page faults if any had to wait for a disk, else waiting |
//!
//! Only who has given up its processor has waited, for the GIL or for anything else: time without work that the kernel
//! says nothing of may be time that a hypervisor took away.
//!
//! The CPU time has in it what the kernel did for the code: memory that is touched for the first time, say.
//!
//! Of a worker that was not let run it is told apart whether its cgroup was throttled, where the kernel says so
//! ([`throttling`](super::throttling)). Where it does not, the run queue is what is named; so is it for real-time threads
//! that the kernel throttles, as it tells nobody which.
//!
//! A worker answers one block after the other. A block that waited behind one which was late itself waited for what that
//! one did: [`Attribution`] remembers those of the last blocks.
//!
//! Of a block during which the worker was seen to be stopped, by a signal, no time without work is called anything else;
//! what waited behind it is unknown.
//!
//! A block that could not be handed over, as too many had not been answered, has no time of its own: it was lost for what
//! the oldest of those was late for.
//!
//! The worker's numbers are untrusted: what can't be is unknown, and no number of it can do more than that.

use serde::Serialize;
use shared::ring::{Notes, Stamps};
use std::collections::VecDeque;
use std::fmt;

/// The oldest generation of Python's collector.
const GENERATION_MAX: u8 = 2;

/// A block whose answer was not there in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Miss {
    /// Which of the plugin's workers it was.
    pub(crate) incarnation: u32,
    /// How many blocks were lost by it: itself, and those that could not be handed over for it.
    pub(crate) blocks: u32,
    /// When the block's turn began for this plugin: when the host should have handed it over.
    pub(crate) turn_start_ns: u64,
    /// When the host handed it over.
    pub(crate) published_ns: u64,
    /// Until when the host wanted to wait; when it is pipelined, this means nothing.
    pub(crate) deadline_ns: u64,
    /// How long a block lasts.
    pub(crate) block_ns: u64,
    /// When the host came for the answer, or gave up waiting, and found none.
    pub(crate) taken_ns: u64,
    /// When the host read what the worker says: no stamp can be later.
    pub(crate) now_ns: u64,
    pub(crate) is_pipelined: bool,
    /// Others were waited for before in the same block: the time that they took is not the host's own.
    pub(crate) others_before: bool,
    /// `None` if the worker ended before it answered.
    pub(crate) stamps: Option<Stamps>,
    /// `None` if the worker took none.
    pub(crate) notes: Option<Notes>,
}

/// Why a block was late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The plugin's code used the time, or the kernel did for it.
    Code,
    /// The plugin's call took the time, but used no CPU: it slept or waited for a file, a lock, another thread, or
    /// for leave to run.
    Waiting,
    /// Python's collector used the time.
    Collector {
        /// The oldest generation that was collected, 0 to 2.
        generation: u8,
        us: u64,
    },
    /// Another thread of the plugin held the interpreter.
    Gil,
    /// Memory had to be read from disk.
    PageFaults,
    /// The worker could run and was not let.
    NotScheduled,
    /// The same, since its cgroup had used up its processor time.
    Throttled,
    /// The host handed the block over too late, or came too soon for the answer.
    HostLate,
    /// A signal had stopped the worker.
    Stopped,
    /// There was no worker.
    Dead,
    /// The worker hung: it never answered, and the host ended it.
    Hung,
    /// None of these, or nobody can tell.
    Unknown,
}

/// Late blocks whose time is remembered for those behind them: as many as a worker has under way at most.
const SPANS: usize = 64;

/// Finds out why blocks were late, one plugin's in the order in which they were answered.
#[derive(Debug, Default)]
pub(crate) struct Attribution {
    /// Whose the spans are.
    incarnation: u32,
    spans: VecDeque<Span>,
    /// When the worker was last seen to be stopped.
    stopped_ns: u64,
}

/// What a worker did when a later block may have waited for it.
#[derive(Debug, Clone, Copy)]
struct Span {
    from_ns: u64,
    to_ns: u64,
    /// What took at least half of it.
    cause: Cause,
}

impl Attribution {
    /// The worker has been seen to be stopped.
    pub(crate) fn see_stopped(&mut self, now_ns: u64) {
        self.stopped_ns = now_ns;
    }

    /// Why this block was late.
    pub(crate) fn attribute(&mut self, miss: &Miss) -> Cause {
        let Some(stamps) = miss.stamps else { return Cause::Dead };
        if !is_possible(miss, &stamps) {
            return Cause::Unknown;
        }
        if miss.incarnation != self.incarnation {
            (self.incarnation, self.spans) = (miss.incarnation, VecDeque::new());
        }
        let cause = self.judge(miss, &stamps);
        if (miss.published_ns..stamps.left_ns).contains(&self.stopped_ns) {
            return cause.of_a_stopped();
        }
        self.remember(miss, &stamps);
        cause
    }

    fn judge(&self, miss: &Miss, stamps: &Stamps) -> Cause {
        let late_ns = stamps.left_ns.saturating_sub(miss.due_ns());
        if late_ns == 0 {
            // By its own word it was in time.
            return Cause::Unknown;
        }
        if miss.is_host_late(late_ns) {
            return if miss.others_before { Cause::Unknown } else { Cause::HostLate };
        }
        let took_ns = stamps.left_ns - miss.published_ns;
        let own = miss.notes.and_then(|notes| parts(stamps, &notes, took_ns)).unwrap_or_default();
        let behind = self.spans.iter().map(|span| span.cause.of_another()).map(|cause| (cause, 0));
        let explains = |cause: Cause| {
            let own_ns: u64 = own.iter().filter(|(it, _)| it.is_like(cause)).map(|(_, ns)| ns).sum();
            let ns = own_ns + self.behind_ns(miss, stamps, cause);
            ns >= took_ns.div_ceil(2) && ns >= late_ns
        };
        let part = own.iter().copied().chain(behind).find(|(cause, _)| explains(*cause));
        part.map_or(Cause::Unknown, |(cause, _)| cause)
    }

    /// How long the block waited for this, which was done for blocks before it.
    fn behind_ns(&self, miss: &Miss, stamps: &Stamps, cause: Cause) -> u64 {
        let common =
            |span: &Span| span.to_ns.min(stamps.seen_ns).saturating_sub(span.from_ns.max(miss.published_ns));
        self.spans.iter().filter(|span| span.cause.is_like(cause)).map(common).sum()
    }

    /// Keeps what took most of the time from when the worker was free for the block until it left it.
    fn remember(&mut self, miss: &Miss, stamps: &Stamps) {
        let free_ns = self.spans.back().map_or(0, |span| span.to_ns).max(miss.published_ns);
        let Some(notes) = miss.notes.filter(|_| free_ns <= stamps.seen_ns) else { return };
        let own_ns = stamps.left_ns - free_ns;
        let parts = parts(stamps, &notes, own_ns).unwrap_or_default();
        let Some((cause, _)) = parts.into_iter().find(|(_, ns)| *ns > 0 && *ns >= own_ns.div_ceil(2)) else {
            return;
        };
        if self.spans.len() == SPANS {
            self.spans.pop_front();
        }
        self.spans.push_back(Span { from_ns: free_ns, to_ns: stamps.left_ns, cause });
    }
}

impl Cause {
    /// Whether both are told as one.
    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// The same, if the worker's cgroup was throttled for so long at least while this block was under way: whoever was not
    /// let run for most of the time was throttled if it was for at least half of it.
    pub(crate) fn or_throttled(self, miss: &Miss, throttled_ns: u64) -> Self {
        let Some(stamps) = miss.stamps.filter(|_| self == Self::NotScheduled) else { return self };
        let took_ns = stamps.left_ns.saturating_sub(miss.published_ns);
        if throttled_ns >= took_ns.div_ceil(2).max(1) { Self::Throttled } else { self }
    }

    /// The same, if the worker was seen to be stopped while this block was under way.
    fn of_a_stopped(self) -> Self {
        match self {
            Self::Waiting | Self::Gil | Self::PageFaults | Self::NotScheduled | Self::Unknown => {
                Self::Stopped
            }
            other => other,
        }
    }

    /// As the cause of a block that waited for it: the collector's time is the other block's.
    fn of_another(self) -> Self {
        match self {
            Self::Collector { generation, .. } => Self::Collector { generation, us: 0 },
            other => other,
        }
    }
}

impl Miss {
    /// When the answer had to be there.
    fn due_ns(&self) -> u64 {
        if self.is_pipelined { self.taken_ns } else { self.deadline_ns }
    }

    /// Whether the host used up more than half of the time itself, and as much as the answer was late by.
    fn is_host_late(&self, late_ns: u64) -> bool {
        let (lost_ns, whole_ns) = if self.is_pipelined {
            let had_ns = self.taken_ns.saturating_sub(self.published_ns);
            (self.block_ns.saturating_sub(had_ns), self.block_ns)
        } else {
            let had_ns = self.deadline_ns.saturating_sub(self.turn_start_ns);
            (self.published_ns.saturating_sub(self.turn_start_ns), had_ns)
        };
        lost_ns > whole_ns / 2 && lost_ns >= late_ns
    }
}

/// Whether the worker can have done all this in this order.
fn is_possible(miss: &Miss, stamps: &Stamps) -> bool {
    let Stamps { seen_ns, woken_ns, entered_ns, left_ns } = *stamps;
    [miss.published_ns, seen_ns, woken_ns, entered_ns, left_ns, miss.now_ns].is_sorted()
}

/// The longest that a page is waited for, on a slow disk.
const FAULT_MAX_NS: u64 = 20_000_000;

/// What the time from handing over to leaving was used for. `None` if the notes can't be true.
fn parts(stamps: &Stamps, notes: &Notes, took_ns: u64) -> Option<Vec<(Cause, u64)>> {
    let [cpu_ns, delay_ns, collector_ns] =
        [notes.cpu_us, notes.delay_us, notes.collector_us].map(|us| u64::from(us) * 1000);
    let inside_ns = stamps.left_ns - stamps.entered_ns;
    let generation = notes.collector_generation;
    let is_possible = delay_ns <= took_ns && collector_ns <= inside_ns && generation <= GENERATION_MAX;
    if !is_possible {
        return None;
    }
    let asleep = |ns: u64| if notes.slept { ns } else { 0 };
    let gil_ns = asleep((stamps.woken_ns - stamps.seen_ns).saturating_sub(delay_ns));
    let rest_ns = inside_ns.saturating_sub(collector_ns).saturating_sub(delay_ns);
    let code_ns = cpu_ns.saturating_sub(collector_ns).min(rest_ns);
    // Whatever CPU time there was may have been spent here.
    let idle_ns = rest_ns.saturating_sub(cpu_ns);
    // With faults it may have waited for those, or for something else as well: what they can't have taken is not named.
    let faults_ns = idle_ns.min(u64::from(notes.major_faults) * FAULT_MAX_NS);
    let waiting_ns = if notes.major_faults > 0 { 0 } else { asleep(idle_ns) };
    let collector = Cause::Collector { generation, us: notes.collector_us.into() };
    Some(vec![
        (Cause::NotScheduled, delay_ns),
        (Cause::Gil, gil_ns),
        (collector, collector_ns.saturating_sub(delay_ns)),
        (Cause::PageFaults, faults_ns),
        (Cause::Code, code_ns),
        (Cause::Waiting, waiting_ns),
    ])
}

/// How often a plugin was late, or so far behind that a block could not be handed over, by cause; in words by `Display`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Causes {
    /// The plugin's code used the time, or the kernel did for it, as for memory that is touched for the first time.
    pub code: u64,
    /// The plugin's call took the time without using a CPU.
    pub waiting: u64,
    /// Python's collector used the time.
    pub collector: u64,
    /// Those of the collector by the oldest generation collected.
    pub collector_generations: [u64; 3],
    /// Time of the collector in these blocks, in microseconds.
    pub collector_us: u64,
    /// Another thread of the plugin held the interpreter.
    pub gil: u64,
    /// Memory had to be read from disk.
    pub page_faults: u64,
    /// The worker could run and was not let.
    pub not_scheduled: u64,
    /// The same, since its cgroup had used up its processor time.
    pub throttled: u64,
    /// The host was late itself.
    pub host_late: u64,
    /// A signal had stopped the worker.
    pub stopped: u64,
    /// There was no worker.
    pub dead: u64,
    /// The worker hung until the host ended it.
    pub hung: u64,
    /// Nobody can tell.
    pub unknown: u64,
}

impl Causes {
    /// Counts so many that had one cause, of which the collector's time is told once.
    pub(crate) fn add(&mut self, cause: Cause, blocks: u64) {
        let count = match cause {
            Cause::Code => &mut self.code,
            Cause::Waiting => &mut self.waiting,
            Cause::Collector { generation, us } => {
                let oldest = self.collector_generations.len() - 1;
                self.collector_generations[usize::from(generation).min(oldest)] += blocks;
                self.collector_us = self.collector_us.saturating_add(us);
                &mut self.collector
            }
            Cause::Gil => &mut self.gil,
            Cause::PageFaults => &mut self.page_faults,
            Cause::NotScheduled => &mut self.not_scheduled,
            Cause::Throttled => &mut self.throttled,
            Cause::HostLate => &mut self.host_late,
            Cause::Stopped => &mut self.stopped,
            Cause::Dead => &mut self.dead,
            Cause::Hung => &mut self.hung,
            Cause::Unknown => &mut self.unknown,
        };
        *count += blocks;
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.in_words().iter().map(|(n, _)| n).sum()
    }

    /// The cause that is most common, in words, and how often it was; unknown only if there is no other.
    #[must_use]
    pub fn most_common(&self) -> Option<(&'static str, u64)> {
        self.by_count().first().map(|(n, words)| (*words, *n))
    }

    fn in_words(&self) -> [(u64, &'static str); 12] {
        [
            (self.code, "Python code slow"),
            (self.waiting, "waiting inside the plugin's call"),
            (self.collector, "collector"),
            (self.gil, "waiting for the GIL"),
            (self.page_faults, "page faults (disk)"),
            (self.not_scheduled, "not scheduled in time"),
            (self.throttled, "not scheduled in time (cgroup throttled)"),
            (self.host_late, "host late"),
            (self.stopped, "stopped"),
            (self.dead, "dead"),
            (self.hung, "hung"),
            (self.unknown, "unknown"),
        ]
    }

    /// Every cause and how often it was, in words.
    pub(crate) fn list(&self) -> impl Iterator<Item = (u64, &'static str)> {
        self.by_count().into_iter()
    }

    /// Those that occurred, the most common first, unknown last.
    fn by_count(&self) -> Vec<(u64, &'static str)> {
        let mut causes: Vec<_> = self.in_words().into_iter().filter(|(n, _)| *n > 0).collect();
        causes.sort_by_key(|(n, words)| (*words == "unknown", std::cmp::Reverse(*n)));
        causes
    }

    fn collected(&self) -> String {
        let counts = self.collector_generations.iter().enumerate();
        let generations: Vec<_> = counts.filter(|(_, n)| **n > 0).map(|(g, _)| g.to_string()).collect();
        let word = if generations.len() == 1 { "generation" } else { "generations" };
        format!("({word} {}, {} ms)", generations.join(" and "), self.collector_us.div_ceil(1000))
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = self.by_count();
        if causes.is_empty() {
            return write!(f, "none late");
        }
        write!(f, "{} not in time", self.total())?;
        for (n, (count, words)) in causes.iter().enumerate() {
            write!(f, "{} {count} {words}", if n == 0 { ":" } else { "," })?;
            if *words == "collector" {
                write!(f, " {}", self.collected())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of a block with nothing before it.
    fn attribute(miss: &Miss) -> Cause {
        Attribution::default().attribute(miss)
    }

    const MS: u64 = 1_000_000;
    /// When the turn of the blocks below began.
    const T: u64 = 1_000_000 * MS;

    /// A block of 4 ms that is waited for until the half of it, published at once, with stamps at these many
    /// microseconds after that.
    fn miss([seen, woken, entered, left]: [u64; 4], notes: Notes) -> Miss {
        let at = |us: u64| T + us * 1000;
        let stamps =
            Stamps { seen_ns: at(seen), woken_ns: at(woken), entered_ns: at(entered), left_ns: at(left) };
        Miss {
            turn_start_ns: T,
            published_ns: T,
            deadline_ns: T + 2 * MS,
            block_ns: 4 * MS,
            taken_ns: T + 2 * MS,
            now_ns: T + 1000 * MS,
            stamps: Some(stamps),
            notes: Some(notes),
            ..Miss::default()
        }
    }

    /// Of one that computed for so long, and slept as well.
    fn cpu(us: u64) -> Notes {
        Notes { cpu_us: u32::try_from(us).unwrap(), slept: true, ..Notes::default() }
    }

    #[test]
    fn each_cause_is_told_by_what_took_the_time() {
        let collecting = |collector_us| Notes { collector_us, collector_generation: 2, ..cpu(9900) };
        let table: &[([u64; 4], Notes, Cause)] = &[
            ([20, 25, 30, 10_000], cpu(9900), Cause::Code),
            ([20, 25, 30, 10_000], cpu(20), Cause::Waiting),
            ([20, 25, 30, 10_000], Notes { major_faults: 3, ..cpu(20) }, Cause::PageFaults),
            ([20, 25, 30, 10_000], Notes { major_faults: 3, ..cpu(9900) }, Cause::Code),
            ([20, 25, 30, 50_000], Notes { major_faults: 3, ..cpu(20) }, Cause::PageFaults),
            // Longer than one page can have taken.
            ([20, 25, 30, 50_000], Notes { major_faults: 1, ..cpu(20) }, Cause::Unknown),
            ([20, 25, 30, 10_000], Notes { delay_us: 9500, ..cpu(400) }, Cause::NotScheduled),
            ([9500, 9505, 9510, 10_000], Notes { delay_us: 9400, ..cpu(400) }, Cause::NotScheduled),
            ([20, 9500, 9505, 10_000], cpu(480), Cause::Gil),
            // It never slept: neither the plugin nor another thread kept it.
            ([20, 25, 30, 10_000], Notes { slept: false, ..cpu(20) }, Cause::Unknown),
            ([20, 9500, 9505, 10_000], Notes { slept: false, ..cpu(480) }, Cause::Unknown),
            ([20, 25, 30, 10_000], Notes { slept: false, ..cpu(9900) }, Cause::Code),
            ([20, 25, 30, 10_000], collecting(9000), Cause::Collector { generation: 2, us: 9000 }),
            ([20, 25, 30, 10_000], collecting(1000), Cause::Code),
            // It took long to wake up and nothing says why.
            ([9500, 9505, 9510, 10_000], cpu(400), Cause::Unknown),
        ];
        for (stamps, notes, cause) in table {
            assert_eq!(attribute(&miss(*stamps, *notes)), *cause, "{stamps:?} {notes:?}");
        }
    }

    #[test]
    fn while_it_was_stopped_it_waited_for_nothing_else_and_what_came_behind_is_unknown() {
        let (waits, computes) = (miss([20, 25, 30, 10_000], cpu(20)), miss([20, 25, 30, 10_000], cpu(9900)));
        let mut attribution = Attribution::default();
        attribution.see_stopped(T + 5 * MS);
        assert_eq!(attribution.attribute(&waits), Cause::Stopped);
        let behind = Miss {
            turn_start_ns: T + 6 * MS,
            published_ns: T + 6 * MS,
            deadline_ns: T + 8 * MS,
            ..miss([10_001, 10_002, 10_003, 10_004], cpu(1))
        };
        assert_eq!(attribution.attribute(&behind), Cause::Unknown);
        assert_eq!(attribution.attribute(&computes), Cause::Code);
        attribution.see_stopped(T + 10 * MS);
        assert_eq!(attribution.attribute(&waits), Cause::Waiting, "after it had left");
    }

    #[test]
    fn a_part_that_is_less_than_half_explains_nothing() {
        // A third each for the run queue, the GIL and the code.
        let notes = Notes { delay_us: 1000, ..cpu(1000) };
        assert_eq!(attribute(&miss([1000, 2000, 2000, 3000], notes)), Cause::Unknown);
        assert_eq!(attribute(&miss([0, 1500, 1500, 3000], cpu(1499))), Cause::Gil);
        assert_eq!(attribute(&miss([0, 1499, 1501, 3000], cpu(1499))), Cause::Unknown);
    }

    #[test]
    fn a_part_without_which_it_would_still_have_been_late_explains_nothing() {
        // 8 ms too late; the larger part is 6 ms of 10.
        assert_eq!(attribute(&miss([0, 4000, 4000, 10_000], cpu(6000))), Cause::Unknown);
        assert_eq!(attribute(&miss([0, 2000, 2000, 10_000], cpu(8000))), Cause::Code);
    }

    #[test]
    fn time_on_the_run_queue_is_not_held_against_the_plugin() {
        // It may have been anywhere within the wait for the GIL and the call.
        let notes = Notes { delay_us: 900, ..cpu(900) };
        assert_eq!(attribute(&miss([0, 0, 0, 2100], Notes { delay_us: 0, ..notes })), Cause::Waiting);
        assert_eq!(attribute(&miss([0, 0, 0, 2100], notes)), Cause::Unknown);
    }

    #[test]
    fn cpu_time_that_the_call_can_not_have_used_alone_is_not_taken_for_waiting() {
        // All of the CPU time may belong to the call: less than half of it is certainly idle.
        assert_eq!(attribute(&miss([0, 0, 0, 3000], cpu(1600))), Cause::Code);
        assert_eq!(attribute(&miss([900, 900, 900, 3000], cpu(1000))), Cause::Unknown);
    }

    #[test]
    fn a_host_that_hands_over_late_blames_itself() {
        let late = |us: u64, left: u64| {
            let mut miss = miss([us, us, us, left], cpu(left - us));
            miss.published_ns = T + us * 1000;
            attribute(&miss)
        };
        assert_eq!(late(1001, 2500), Cause::HostLate);
        assert_eq!(late(1000, 2500), Cause::Code, "half of the time was left");
        assert_eq!(late(1001, 3002), Cause::Code, "a whole wait would not have been enough");
    }

    #[test]
    fn a_host_that_waited_for_other_plugins_first_was_not_late_itself() {
        let mut miss = miss([1500, 1500, 1500, 2500], cpu(1000));
        miss.published_ns = T + 1500 * 1000;
        assert_eq!(attribute(&miss), Cause::HostLate);
        assert_eq!(attribute(&Miss { others_before: true, ..miss }), Cause::Unknown);
    }

    #[test]
    fn a_host_that_comes_too_soon_for_a_pipelined_result_blames_itself() {
        let taken = |us: u64, left: u64| {
            let mut miss = miss([0, 0, 0, left], cpu(left));
            miss.is_pipelined = true;
            miss.deadline_ns = 0;
            miss.taken_ns = T + us * 1000;
            attribute(&miss)
        };
        assert_eq!(taken(1999, 2500), Cause::HostLate);
        assert_eq!(taken(1999, 4001), Cause::Code, "a whole block would not have been enough");
        assert_eq!(taken(2000, 2500), Cause::Code, "it had half a block");
        assert_eq!(taken(4000, 4500), Cause::Code);
    }

    #[test]
    fn a_worker_that_ended_before_it_answered_was_dead() {
        let mut miss = miss([20, 25, 30, 10_000], cpu(9900));
        miss.stamps = None;
        assert_eq!(attribute(&miss), Cause::Dead);
    }

    /// One that was published this many microseconds later.
    fn later(miss: Miss, us: u64) -> Miss {
        let ns = us * 1000;
        let stamps = miss.stamps.map(|it| Stamps {
            seen_ns: it.seen_ns + ns,
            woken_ns: it.woken_ns + ns,
            entered_ns: it.entered_ns + ns,
            left_ns: it.left_ns + ns,
        });
        let [turn_start_ns, published_ns] = [miss.turn_start_ns + ns, miss.published_ns + ns];
        let [deadline_ns, taken_ns] = [miss.deadline_ns + ns, miss.taken_ns + ns];
        Miss { turn_start_ns, published_ns, deadline_ns, taken_ns, stamps, ..miss }
    }

    #[test]
    fn a_block_that_waited_behind_a_late_one_was_late_for_the_same_reason() {
        let slept = miss([20, 25, 30, 20_000], cpu(20));
        // Published 4 ms later, each is answered as soon as the one before is: quickly, so that nothing was measured.
        let behind = |n: u64| {
            let left = 20_000 + 100 * n - 4000 * n;
            later(Miss { notes: None, ..miss([left - 50, left - 50, left - 50, left], cpu(0)) }, 4000 * n)
        };
        let mut attribution = Attribution::default();
        let causes: Vec<_> =
            [slept, behind(1), behind(2), behind(3)].iter().map(|miss| attribution.attribute(miss)).collect();
        assert_eq!(causes, [Cause::Waiting; 4]);
        assert_eq!(attribute(&behind(1)), Cause::Unknown, "without the one before");
        let mut attribution = Attribution::default();
        attribution.attribute(&slept);
        let anothers = Miss { incarnation: 2, ..behind(1) };
        assert_eq!(
            attribution.attribute(&anothers),
            Cause::Unknown,
            "another worker had nothing to do with it"
        );
    }

    #[test]
    fn a_block_that_waited_less_than_it_took_itself_was_late_for_its_own_reason() {
        let slept = miss([20, 25, 30, 6000], cpu(20));
        let own = later(miss([2000, 2000, 2000, 9000], cpu(7000)), 4000);
        let mut attribution = Attribution::default();
        assert_eq!([slept, own].map(|miss| attribution.attribute(&miss)), [Cause::Waiting, Cause::Code]);
        // A third each is nobody's.
        let mut attribution = Attribution::default();
        let thirds = later(miss([2000, 4000, 4000, 6000], cpu(2000)), 4000);
        assert_eq!(
            [slept, thirds].map(|miss| attribution.attribute(&miss)),
            [Cause::Waiting, Cause::Unknown]
        );
    }

    #[test]
    fn what_kept_the_block_before_and_the_block_itself_counts_together() {
        let computed = miss([20, 25, 30, 6000], cpu(5900));
        let own = later(miss([2000, 2000, 2000, 4100], cpu(2100)), 4000);
        assert_eq!(attribute(&own), Cause::Code);
        let mixed = later(miss([2000, 3000, 3000, 5000], cpu(2000)), 4000);
        assert_eq!(attribute(&mixed), Cause::Unknown, "2 ms of 5 are no half");
        let mut attribution = Attribution::default();
        assert_eq!([computed, mixed].map(|miss| attribution.attribute(&miss)), [Cause::Code; 2]);
    }

    #[test]
    fn the_collectors_time_is_counted_once() {
        let notes = Notes { collector_us: 19_000, collector_generation: 2, ..cpu(19_500) };
        let collected = miss([20, 25, 30, 20_000], notes);
        let behind = later(Miss { notes: None, ..miss([16_000, 16_000, 16_000, 16_100], cpu(0)) }, 4000);
        let mut attribution = Attribution::default();
        let causes = [collected, behind].map(|miss| attribution.attribute(&miss));
        let [first, second] = [19_000, 0].map(|us| Cause::Collector { generation: 2, us });
        assert_eq!(causes, [first, second]);
    }

    #[test]
    fn who_was_not_let_run_was_throttled_if_its_cgroup_was_for_half_of_the_time() {
        let delayed = miss([20, 25, 30, 10_000], Notes { delay_us: 9500, ..cpu(400) });
        let told = |ns| attribute(&delayed).or_throttled(&delayed, ns);
        assert_eq!(
            [0, 4999, 5000].map(|us| told(us * 1000)),
            [Cause::NotScheduled, Cause::NotScheduled, Cause::Throttled]
        );
        let slow = miss([20, 25, 30, 10_000], cpu(9900));
        assert_eq!(attribute(&slow).or_throttled(&slow, 20 * MS), Cause::Code);
    }

    #[test]
    fn words_that_can_not_be_true_make_it_unknown() {
        let good = miss([20, 25, 30, 10_000], cpu(9900));
        assert_eq!(attribute(&good), Cause::Code);
        let stamps = good.stamps.unwrap();
        let told = |stamps: Stamps| attribute(&Miss { stamps: Some(stamps), ..good });
        let noted = |notes: Notes| attribute(&Miss { notes: Some(notes), ..good });
        assert_eq!(told(Stamps { seen_ns: T - 1, ..stamps }), Cause::Unknown);
        assert_eq!(told(Stamps { woken_ns: stamps.seen_ns - 1, ..stamps }), Cause::Unknown);
        assert_eq!(told(Stamps { entered_ns: stamps.left_ns + 1, ..stamps }), Cause::Unknown);
        assert_eq!(told(Stamps { left_ns: good.now_ns + 1, ..stamps }), Cause::Unknown);
        assert_eq!(told(Stamps { left_ns: good.deadline_ns, ..stamps }), Cause::Unknown, "it was in time");
        assert_eq!(noted(Notes { delay_us: 10_001, ..cpu(0) }), Cause::Unknown);
        assert_eq!(noted(Notes { collector_us: 9971, ..cpu(0) }), Cause::Unknown);
        assert_eq!(noted(Notes { collector_generation: 3, ..cpu(9900) }), Cause::Unknown);
        assert_eq!(attribute(&Miss { notes: None, ..good }), Cause::Unknown);
    }

    #[test]
    fn the_counts_are_told_in_words() {
        let mut causes = Causes::default();
        assert_eq!((causes.to_string().as_str(), causes.most_common()), ("none late", None));
        for _ in 0..2 {
            causes.add(Cause::Unknown, 1);
        }
        assert_eq!(causes.to_string(), "2 not in time: 2 unknown");
        causes.add(Cause::Collector { generation: 2, us: 20_400 }, 1);
        assert_eq!(causes.to_string(), "3 not in time: 1 collector (generation 2, 21 ms), 2 unknown");
        for _ in 0..9 {
            causes.add(Cause::Code, 1);
        }
        causes.add(Cause::Collector { generation: 0, us: 20_600 }, 1);
        let words = "13 not in time: 9 Python code slow, 2 collector (generations 0 and 2, 41 ms), 2 unknown";
        assert_eq!(causes.to_string(), words);
        assert_eq!(causes.most_common(), Some(("Python code slow", 9)));
        assert_eq!(causes.total(), 13);
    }

    /// Numbers that are near each other, and some that are not.
    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), T..T + 20 * MS, 0..20_000u64]
    }

    fn any_notes() -> impl Strategy<Value = Notes> {
        (proptest::array::uniform3(prop_oneof![any::<u32>(), 0..20_000u32]), any::<u8>(), any::<u16>())
            .prop_map(|([cpu_us, delay_us, collector_us], collector_generation, major_faults)| Notes {
                cpu_us,
                delay_us,
                collector_us,
                collector_generation,
                major_faults,
                slept: major_faults % 2 == 0,
            })
    }

    fn any_miss() -> impl Strategy<Value = Miss> {
        let host = (proptest::array::uniform6(word()), any::<bool>());
        let worker = (proptest::option::of(proptest::array::uniform4(word())), any_notes());
        (host, worker).prop_map(|((host, is_pipelined), (stamps, notes))| Miss {
            incarnation: 1,
            blocks: 1,
            others_before: false,
            turn_start_ns: host[0],
            published_ns: host[1],
            deadline_ns: host[2],
            block_ns: host[3],
            taken_ns: host[4],
            now_ns: host[5],
            is_pipelined,
            stamps: stamps.map(|[seen_ns, woken_ns, entered_ns, left_ns]| Stamps {
                seen_ns,
                woken_ns,
                entered_ns,
                left_ns,
            }),
            notes: Some(notes),
        })
    }

    proptest! {
        #[test]
        fn no_words_of_a_worker_can_do_more_than_be_wrong(misses in proptest::collection::vec(any_miss(), 1..50)) {
            let (mut causes, mut attribution) = (Causes::default(), Attribution::default());
            for miss in &misses {
                causes.add(attribution.attribute(miss), 1);
            }
            prop_assert_eq!(causes.total(), misses.len() as u64);
            let _ = causes.to_string();
        }

        #[test]
        fn a_cause_that_is_named_took_half_of_the_time_and_all_that_was_too_much(
            mut stamps in proptest::array::uniform4(0..20_000u64),
            notes in proptest::array::uniform3(0..20_000u32),
        ) {
            stamps.sort_unstable();
            let [cpu, delay, collector] = notes.map(u64::from);
            let [cpu_us, delay_us, collector_us] = notes;
            let notes = Notes { cpu_us, delay_us, collector_us, slept: true, ..Notes::default() };
            let [seen, woken, entered, left] = stamps;
            let inside = left - entered;
            let most = match attribute(&miss(stamps, notes)) {
                Cause::Code => inside.min(cpu),
                Cause::Waiting => inside.saturating_sub(cpu),
                Cause::Collector { .. } => collector,
                Cause::Gil => woken - seen,
                Cause::NotScheduled => delay,
                Cause::Unknown => return Ok(()),
                other => panic!("{other:?} without a reason"),
            };
            prop_assert!(2 * most >= left && most >= left - 2000 && left > 2000);
        }
    }
}
