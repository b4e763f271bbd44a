//! What a block cost this process, for the host to tell its user why it was late.
//!
//! [`Toll`] reads the counters that the kernel keeps of the main thread: a system call each, some hundred
//! nanoseconds. So they are read only before the thread goes to sleep, a few times in the duration of a block at
//! most, and after blocks that were slow. A stream that is faster than real time goes without. What can't be said for
//! sure is left out: every number is what this block cost at least.
//!
//! [`Collections`] counts what Python's collector takes, in whichever thread it runs.

use nix::sys::resource::{UsageWho, getrusage};
use rustix::time::{ClockId, clock_gettime};
use shared::clock;
use shared::ring::Notes;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A block is slow if its answer takes longer than this part of its duration.
const SLOW: u64 = 8;
/// What a reading is based on is renewed after this part of a block's duration.
const RENEW: u64 = 4;

/// The kernel's counters of one thread.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    at_ns: u64,
    cpu_ns: u64,
    delay_ns: u64,
    major_faults: u64,
}

/// When a block was where.
#[derive(Debug, Clone, Copy)]
pub struct Passage {
    /// The host published it.
    pub published_ns: u64,
    /// This thread saw it.
    pub seen_ns: u64,
    /// The plugin returned.
    pub left_ns: u64,
}

/// Reads what the calling thread's blocks cost. To be used by one thread.
#[derive(Debug, Default)]
pub struct Toll {
    /// The scheduler's figures of this thread, if the kernel keeps them.
    schedule: Option<File>,
    block_ns: u64,
    before: Reading,
    /// This thread has done nothing since, but sleep.
    is_fresh: bool,
}

impl Toll {
    /// For blocks of this duration, of the calling thread.
    #[must_use]
    pub fn new(block_ns: u64) -> Self {
        let schedule = File::open("/proc/thread-self/schedstat").ok();
        Self { schedule, block_ns, ..Self::default() }
    }

    /// To be called when the thread has done something other than a block.
    pub fn begin(&mut self) {
        self.before = self.read();
        self.is_fresh = true;
    }

    /// To be called when the thread is about to sleep until a block comes.
    pub fn rest(&mut self) {
        if clock::now_ns().saturating_sub(self.before.at_ns) > self.block_ns / RENEW {
            self.begin();
        }
    }

    /// What the block cost the thread that returned from it just now; nothing if it was quick.
    pub fn notes(&mut self, block: Passage) -> Notes {
        if block.left_ns.saturating_sub(block.published_ns) <= self.block_ns / SLOW {
            self.is_fresh = false;
            return Notes::default();
        }
        let (before, was_fresh) = (self.before, self.is_fresh);
        self.begin();
        let after = self.before;
        // Blocks that were quick may have come between: they took no more than the time that passed.
        let others_ns = if was_fresh { 0 } else { block.seen_ns.saturating_sub(before.at_ns) };
        let most_ns = after.at_ns.saturating_sub(block.published_ns);
        let us = |before: u64, after: u64| {
            micros(after.saturating_sub(before).saturating_sub(others_ns).min(most_ns))
        };
        let faults = if was_fresh { after.major_faults.saturating_sub(before.major_faults) } else { 0 };
        Notes {
            cpu_us: us(before.cpu_ns, after.cpu_ns),
            delay_us: us(before.delay_ns, after.delay_ns),
            major_faults: u16::try_from(faults).unwrap_or(u16::MAX),
            ..Notes::default()
        }
    }

    fn read(&self) -> Reading {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let usage = getrusage(UsageWho::RUSAGE_THREAD);
        Reading {
            at_ns: clock::now_ns(),
            cpu_ns: cpu.tv_sec.unsigned_abs() * 1_000_000_000 + cpu.tv_nsec.unsigned_abs(),
            delay_ns: self.schedule.as_ref().and_then(delay_ns).unwrap_or(0),
            major_faults: usage.map_or(0, |usage| usage.major_page_faults().unsigned_abs()),
        }
    }
}

/// The second number: how long the thread was ready to run and did not.
fn delay_ns(schedule: &File) -> Option<u64> {
    // Three numbers of 20 digits at most.
    let mut text = [0; 64];
    let length = schedule.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..length]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn micros(ns: u64) -> u32 {
    u32::try_from(ns / 1000).unwrap_or(u32::MAX)
}

/// What the collector took since a block was seen. One collection runs at a time; any thread may run it.
#[derive(Debug, Default)]
pub struct Collections(Mutex<Collected>);

#[derive(Debug, Default)]
struct Collected {
    seen_ns: u64,
    began_ns: u64,
    ns: u64,
    generation: u8,
}

impl Collections {
    /// A collection begins.
    pub fn begin(&self, now_ns: u64) {
        self.lock().began_ns = now_ns;
    }

    /// It has ended. What it took before the block was seen is not the block's.
    pub fn end(&self, now_ns: u64, generation: u8) {
        let mut collected = self.lock();
        let since_ns = collected.began_ns.max(collected.seen_ns);
        collected.ns += now_ns.saturating_sub(since_ns);
        collected.generation = collected.generation.max(generation);
    }

    /// A block has been seen: counting begins.
    pub fn see(&self, seen_ns: u64) {
        let mut collected = self.lock();
        *collected = Collected { seen_ns, began_ns: collected.began_ns, ..Collected::default() };
    }

    /// Adds what was collected since to what the block cost.
    #[must_use]
    pub fn note(&self, notes: Notes) -> Notes {
        let collected = self.lock();
        Notes { collector_us: micros(collected.ns), collector_generation: collected.generation, ..notes }
    }

    /// Held for a few nanoseconds, and whoever runs a collection holds the interpreter as well, for which the
    /// main thread would have to wait all the same.
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    const BLOCK_NS: u64 = 8_000_000;
    const PAUSE: Duration = Duration::from_millis(20);

    fn cpu_ns() -> u64 {
        Toll::default().read().cpu_ns
    }

    fn spin(ns: u64) {
        let until = cpu_ns() + ns;
        while cpu_ns() < until {}
    }

    /// The notes of a block in which this thread does something.
    fn block(toll: &mut Toll, work: impl FnOnce()) -> Notes {
        let published_ns = clock::now_ns();
        work();
        toll.notes(Passage { published_ns, seen_ns: published_ns, left_ns: clock::now_ns() })
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "sleeping is what is measured")]
    fn a_thread_that_computes_is_told_from_one_that_sleeps() {
        let mut toll = Toll::new(BLOCK_NS);
        toll.begin();
        let computed = block(&mut toll, || spin(20_000_000));
        assert!(computed.cpu_us >= 20_000, "{computed:?}");
        let slept = block(&mut toll, || thread::sleep(PAUSE));
        assert!(slept.cpu_us < 5_000, "{slept:?}");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a pause long enough for a new reading")]
    fn what_came_before_a_block_is_not_told_as_its_cost() {
        let mut toll = Toll::new(BLOCK_NS);
        toll.begin();
        // Quick, as far as the stamps say, and nothing is read.
        let now = clock::now_ns();
        spin(20_000_000);
        let quick = toll.notes(Passage { published_ns: now, seen_ns: now, left_ns: now });
        assert_eq!(quick, Notes::default());
        let slow = block(&mut toll, || thread::sleep(PAUSE));
        assert!(slow.cpu_us < 5_000, "{slow:?}");
        // After a slow one everything is known of the next, and after a rest.
        assert!(block(&mut toll, || spin(20_000_000)).cpu_us >= 20_000);
        spin(20_000_000);
        toll.rest();
        let rested = block(&mut toll, || thread::sleep(PAUSE));
        assert!(rested.cpu_us < 5_000, "{rested:?}");
    }

    #[test]
    fn a_thread_that_rests_often_reads_the_counters_only_now_and_then() {
        let mut toll = Toll::new(3_600_000_000_000);
        toll.begin();
        let at_ns = toll.before.at_ns;
        (0..1000).for_each(|_| toll.rest());
        assert_eq!(toll.before.at_ns, at_ns);
        toll.block_ns = 0;
        while clock::now_ns() == at_ns {}
        toll.rest();
        assert_ne!(toll.before.at_ns, at_ns);
    }

    /// Two threads that both want the one processor they may run on.
    #[test]
    fn a_thread_that_waits_for_its_processor_knows_how_long() {
        // Not every kernel keeps these figures.
        if !std::path::Path::new("/proc/thread-self/schedstat").exists() {
            return;
        }
        let stop = AtomicBool::new(false);
        let everywhere = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|core| everywhere.is_set(*core)).unwrap();
        let pin = || {
            let mut one = CpuSet::new();
            one.set(first);
            sched_setaffinity(None, &one).unwrap();
        };
        let waited = thread::scope(|scope| {
            scope.spawn(|| {
                pin();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let waiting = scope.spawn(|| {
                pin();
                let mut toll = Toll::new(BLOCK_NS);
                toll.begin();
                block(&mut toll, || spin(100_000_000))
            });
            let waited = waiting.join();
            stop.store(true, Ordering::Relaxed);
            waited.unwrap()
        });
        assert!(waited.delay_us > 1000, "{waited:?}");
    }

    #[test]
    fn a_collection_counts_from_where_the_block_was_seen() {
        let collections = Collections::default();
        let noted = |collections: &Collections| {
            let notes = collections.note(Notes::default());
            (notes.collector_us, notes.collector_generation)
        };
        collections.begin(1_000_000);
        collections.end(2_000_000, 2);
        collections.begin(3_000_000);
        collections.see(4_000_000);
        assert_eq!(noted(&collections), (0, 0));
        collections.end(6_000_000, 1);
        assert_eq!(noted(&collections), (2000, 1));
        collections.begin(7_000_000);
        collections.end(7_005_000, 0);
        assert_eq!(noted(&collections), (2005, 1));
        collections.see(8_000_000);
        assert_eq!(noted(&collections), (0, 0));
    }
}
