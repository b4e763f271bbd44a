//! What a block cost this process, for the host to tell its user why it was late.
//!
//! [`Toll`] reads the counters that the kernel keeps of the main thread. That takes system calls, of a microsecond
//! together and several when the caches are cold, at a moment when the host may be about to run on the same core.
//! So most waits and all quick blocks go without: what quick blocks took at most is known by the clock, and is
//! subtracted. What can't be said for sure is left out: a number is what the block cost at least.
//!
//! [`Collections`] counts what Python's collector takes, in whichever thread it runs.

use nix::sys::resource::{UsageWho, getrusage};
use rustix::time::{ClockId, clock_gettime};
use shared::clock;
use shared::collected::Collected;
use shared::ring::Notes;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A block is slow if its answer takes longer than this part of its duration.
const SLOW: u64 = 8;
/// The counters are read again after quick blocks have taken this part of a block's duration together, those
/// of waits after this part has passed.
const RENEW: u64 = 16;
const RENEW_WAITS: u64 = 4;

/// The kernel's counters of one thread.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    at_ns: u64,
    cpu_ns: u64,
    delay_ns: u64,
}

/// The kernel's counters of what a thread had to wait for.
#[derive(Debug, Clone, Copy, Default)]
struct Waits {
    at_ns: u64,
    /// Page faults that had to wait for a disk.
    faults: u64,
    /// Times that it gave its processor up by itself.
    sleeps: u64,
    /// Of those at most so many, since, were to wait for a block.
    between: u64,
    /// The thread has done nothing since, but wait for a block.
    is_fresh: bool,
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
    waits: Waits,
    /// What quick blocks took since the reading, at most.
    others_ns: u64,
    /// Since when the thread has been awake; `None` while it sleeps.
    awake_ns: Option<u64>,
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
        self.read_waits();
        self.before = self.read();
        self.others_ns = 0;
        self.awake_ns = Some(self.before.at_ns);
    }

    /// To be called when the thread is about to sleep until a block comes. The time.
    pub fn rest(&mut self) -> u64 {
        let now_ns = clock::now_ns();
        self.others_ns += self.awake_ns.map_or(0, |awake_ns| now_ns.saturating_sub(awake_ns));
        if self.others_ns > self.block_ns / RENEW {
            self.begin();
        } else if now_ns.saturating_sub(self.waits.at_ns) > self.block_ns / RENEW_WAITS {
            self.read_waits();
        }
        self.awake_ns = None;
        now_ns
    }

    /// The thread has slept for so many times at most since it was about to.
    pub fn rise(&mut self, sleeps: u32) {
        self.waits.between += u64::from(sleeps);
    }

    /// What the block cost the thread that returned from it just now; nothing if it was quick.
    pub fn notes(&mut self, block: Passage) -> Notes {
        if block.left_ns.saturating_sub(block.published_ns) <= self.block_ns / SLOW {
            self.waits.is_fresh = false;
            self.awake_ns.get_or_insert(block.published_ns);
            return Notes::default();
        }
        let before_ns = self.awake_ns.map_or(0, |awake_ns| block.seen_ns.saturating_sub(awake_ns));
        let others_ns = self.others_ns + before_ns;
        let (before, waits) = (self.before, self.waits);
        self.begin();
        let most_ns = self.before.at_ns.saturating_sub(block.published_ns);
        let us = |before: u64, after: u64| {
            micros(after.saturating_sub(before).saturating_sub(others_ns).min(most_ns))
        };
        let (faults, sleeps) = if waits.is_fresh { self.waits.since(waits) } else { (0, 0) };
        Notes {
            cpu_us: us(before.cpu_ns, self.before.cpu_ns),
            delay_us: us(before.delay_ns, self.before.delay_ns),
            major_faults: u16::try_from(faults).unwrap_or(u16::MAX),
            slept: sleeps > 0,
            ..Notes::default()
        }
    }

    fn read(&self) -> Reading {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        Reading {
            cpu_ns: cpu.tv_sec.unsigned_abs() * 1_000_000_000 + cpu.tv_nsec.unsigned_abs(),
            delay_ns: self.schedule.as_ref().and_then(delay_ns).unwrap_or(0),
            at_ns: clock::now_ns(),
        }
    }

    fn read_waits(&mut self) {
        let usage = getrusage(UsageWho::RUSAGE_THREAD);
        let (faults, sleeps) =
            usage.map_or((0, 0), |it| (it.major_page_faults(), it.voluntary_context_switches()));
        self.waits = Waits {
            at_ns: clock::now_ns(),
            faults: faults.unsigned_abs(),
            sleeps: sleeps.unsigned_abs(),
            between: 0,
            is_fresh: true,
        };
    }
}

impl Waits {
    /// Faults since then, and sleeps other than those between blocks.
    fn since(&self, then: Self) -> (u64, u64) {
        let faults = self.faults.saturating_sub(then.faults);
        (faults, self.sleeps.saturating_sub(then.sleeps).saturating_sub(then.between))
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

/// What the collector took, since a block was seen and altogether. One collection runs at a time; any thread may
/// run it.
#[derive(Debug, Default)]
pub struct Collections {
    /// When the last block was seen.
    seen_ns: AtomicU64,
    /// How many have ended: nothing else is asked for as long as that is as it was.
    ended: AtomicU64,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// The block that time and generation are of.
    seen_ns: u64,
    began_ns: u64,
    ns: u64,
    generation: u8,
    is_playing: bool,
    is_scheduled: bool,
    all: Collected,
}

impl Collections {
    /// A collection begins.
    pub fn begin(&self, now_ns: u64) {
        self.lock().began_ns = now_ns;
    }

    /// It has ended. What it took before the block was seen is not the block's.
    pub fn end(&self, now_ns: u64, generation: u8) {
        let mut counted = self.lock();
        // SYNC: ended; with Acquire in `ended`.
        self.ended.fetch_add(1, Ordering::Release);
        let seen_ns = self.seen_ns.load(Ordering::Relaxed);
        if seen_ns != counted.seen_ns {
            (counted.seen_ns, counted.ns, counted.generation) = (seen_ns, 0, 0);
        }
        let since_ns = counted.began_ns.max(counted.seen_ns);
        counted.ns += now_ns.saturating_sub(since_ns);
        counted.generation = counted.generation.max(generation);
        if !counted.is_playing {
            return;
        }
        let took_ns = now_ns.saturating_sub(counted.began_ns);
        let scheduled = counted.is_scheduled;
        let all = &mut counted.all;
        all.ns += took_ns;
        all.longest_us = all.longest_us.max(micros(took_ns));
        let count = if generation == 0 { &mut all.young } else { &mut all.older };
        *count = count.saturating_add(1);
        all.unscheduled = all.unscheduled.saturating_add(u32::from(!scheduled));
    }

    /// The plugin processes blocks from now on, or does no more: until then no collection is anything to tell.
    pub fn play(&self, on: bool) {
        self.lock().is_playing = on;
    }

    /// Those that begin from now on are scheduled, or are not.
    pub fn schedule(&self, on: bool) {
        self.lock().is_scheduled = on;
    }

    /// All of them while it processed blocks.
    #[must_use]
    pub fn all(&self) -> Collected {
        self.lock().all
    }

    /// A block has been seen: counting of what it is delayed by begins.
    pub fn see(&self, seen_ns: u64) {
        self.seen_ns.store(seen_ns, Ordering::Relaxed);
    }

    /// How many have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        // SYNC: ended; with Release in `end`.
        self.ended.load(Ordering::Acquire)
    }

    /// Adds what was collected since to what the block cost.
    #[must_use]
    pub fn note(&self, notes: Notes) -> Notes {
        let counted = self.lock();
        if counted.seen_ns != self.seen_ns.load(Ordering::Relaxed) {
            return notes;
        }
        Notes { collector_us: micros(counted.ns), collector_generation: counted.generation, ..notes }
    }

    /// Held for a few nanoseconds, and whoever runs a collection holds the interpreter as well, for which the
    /// main thread would have to wait all the same.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Advice;
    use rustix::mm::{MapFlags, ProtFlags};
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
        let _ = toll.rest();
        let computed = block(&mut toll, || spin(20_000_000));
        assert!(computed.cpu_us >= 15_000 && !computed.slept, "{computed:?}");
        let slept = block(&mut toll, || thread::sleep(PAUSE));
        assert!(slept.cpu_us < 5_000 && slept.slept, "{slept:?}");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "sleeping is what is measured")]
    fn sleep_between_blocks_is_not_told_as_that_of_a_block() {
        let mut toll = Toll::new(BLOCK_NS);
        for (told, sleeps) in [(1, 1), (2, 2), (1, 2)] {
            toll.begin();
            let _ = toll.rest();
            (0..sleeps).for_each(|_| thread::sleep(Duration::from_millis(1)));
            toll.rise(told);
            let computed = block(&mut toll, || spin(20_000_000));
            assert_eq!(computed.slept, told < sleeps, "{computed:?}");
        }
        // After a quick block nobody can say.
        let _ = toll.rest();
        let now = clock::now_ns();
        let _ = toll.notes(Passage { published_ns: now, seen_ns: now, left_ns: now });
        assert!(!block(&mut toll, || thread::sleep(PAUSE)).slept);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "sleeping is what is measured")]
    fn what_came_before_a_block_is_not_told_as_its_cost() {
        let mut toll = Toll::new(BLOCK_NS);
        let quick = |toll: &mut Toll, work_ns| {
            let now = clock::now_ns();
            spin(work_ns);
            // As far as the stamps say.
            let notes = toll.notes(Passage { published_ns: now, seen_ns: now, left_ns: now });
            assert_eq!(notes, Notes::default());
        };
        for rests in [false, true] {
            toll.begin();
            let _ = toll.rest();
            quick(&mut toll, 20_000_000);
            if rests {
                let _ = toll.rest();
            }
            let slept = block(&mut toll, || thread::sleep(PAUSE));
            assert!(slept.cpu_us < 5_000, "{slept:?}");
            // After a slow one everything is known of the next.
            assert!(block(&mut toll, || spin(60_000_000)).cpu_us >= 15_000);
        }
        // Many that were really quick, and what they took does not hide what the slow one did.
        toll.begin();
        for _ in 0..100 {
            let _ = toll.rest();
            thread::sleep(Duration::from_micros(100));
            quick(&mut toll, 1000);
        }
        let _ = toll.rest();
        let computed = block(&mut toll, || spin(20_000_000));
        assert!(computed.cpu_us >= 15_000, "{computed:?}");
    }

    #[test]
    fn a_thread_that_rests_often_reads_the_counters_only_now_and_then() {
        let mut toll = Toll::new(3_600_000_000_000);
        toll.begin();
        let at_ns = (toll.before.at_ns, toll.waits.at_ns);
        (0..1000).for_each(|_| _ = toll.rest());
        assert_eq!((toll.before.at_ns, toll.waits.at_ns), at_ns);
        toll.block_ns = 0;
        toll.awake_ns = Some(at_ns.0);
        spin(1);
        let _ = toll.rest();
        assert!(toll.before.at_ns > at_ns.0 && toll.waits.at_ns > at_ns.1);
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

    /// A byte of a file that has to be read from the disk first; `None` where the file system keeps all it has.
    #[allow(unsafe_code, reason = "only what is mapped can fault")]
    fn on_disk() -> Option<&'static u8> {
        let path = std::env::temp_dir().join(format!("nda-toll-{}", std::process::id()));
        std::fs::write(&path, [7; 4096]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let (none, read) = (std::ptr::null_mut(), ProtFlags::READ);
        // SAFETY: a mapping of our own, that nobody writes to and that is never taken away.
        let page = unsafe { rustix::mm::mmap(none, 4096, read, MapFlags::PRIVATE, &file, 0) }.unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut is_here = 0;
        // SAFETY: it has one page, for which there is one byte.
        assert_eq!(unsafe { nix::libc::mincore(page, 4096, &raw mut is_here) }, 0);
        // SAFETY: the page is never taken away, and holds what was written.
        (is_here & 1 == 0).then(|| unsafe { &*page.cast() })
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a block has to be slow to be looked into")]
    fn a_fault_that_waits_for_the_disk_is_told_and_one_for_fresh_memory_is_not() {
        let Some(byte) = on_disk() else { return };
        let mut toll = Toll::new(BLOCK_NS);
        toll.begin();
        let _ = toll.rest();
        let fresh = block(&mut toll, || {
            std::hint::black_box(vec![1_u8; 1 << 20]);
            thread::sleep(PAUSE);
        });
        assert_eq!(fresh.major_faults, 0, "{fresh:?}");
        let read = block(&mut toll, || {
            assert_eq!(std::hint::black_box(*byte), 7);
            thread::sleep(PAUSE);
        });
        assert!(read.major_faults > 0, "{read:?}");
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

    #[test]
    fn all_collections_are_counted_by_generation_and_by_who_began_them() {
        let collections = Collections::default();
        let collect = |took_ns: u64, generation| {
            collections.begin(1_000_000);
            collections.see(1_500_000);
            collections.end(1_000_000 + took_ns, generation);
        };
        collect(8_000_000, 2);
        collections.play(true);
        collect(2_000_000, 0);
        collections.schedule(true);
        collect(5_000_000, 2);
        collect(1_000_000, 0);
        collections.schedule(false);
        collect(1_000_000, 1);
        collections.play(false);
        collect(1_000_000, 1);
        let all = Collected { ns: 9_000_000, longest_us: 5000, young: 2, older: 2, unscheduled: 2 };
        assert_eq!(collections.all(), all);
    }
}
