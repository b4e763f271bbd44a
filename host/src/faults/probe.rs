//! What goes into the plugin under test and what comes out of it, block by block, taken off the audio thread.
//!
//! For the pipeline under test. A [`Mouth`] before the plugin puts noise into each block, an [`Ear`] behind it
//! sends both the noise and the result through a queue, with how long the audio thread was held between the two.
//! Noise, because two blocks of it are never alike: a stale or shifted block is recognised. Nothing is judged here.

use crate::block::Block;
use crate::processor::{Processor, Turn};
use crate::queue::queue;
use crate::telemetry::PluginStats;
use rtrb::{Consumer, Producer};
use rustix::time::{ClockId, clock_gettime};
use shared::clock::now_ns;
use shared::format::Format;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Blocks that may wait to be listened to: a question to a hung worker may take this long, and more.
const BLOCKS: usize = 8192;
/// The noise keeps this far from silence and from full scale, so that a sample and its opposite differ.
const QUIETEST: f32 = 0.05;
const LOUDEST: f32 = 0.5;

/// One block as it went in and as it came out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Passage {
    /// When it went in and when it came out, in [`now_ns`].
    pub(super) entered_ns: u64,
    pub(super) at_ns: u64,
    /// How long the audio thread was held between the two ends: what it computed, and what it slept because it had
    /// asked to. Not the time in which it was ready to run and the machine ran something else, nor how late the machine
    /// woke it.
    pub(super) held_ns: u64,
    /// What of it the audio thread computed; on a virtual machine also what others did meanwhile on its processor.
    pub(super) computed_ns: u64,
    /// How late the machine woke the same thread for this block, by its timer alone: as late it may wake it at a
    /// deadline.
    pub(super) overslept_ns: u64,
}

/// The three ends of one listening post.
pub(super) struct Probe {
    pub(super) mouth: Mouth,
    pub(super) ear: Ear,
    pub(super) listener: Listener,
}

impl Probe {
    /// For blocks of this format; the noise follows from the seed.
    pub(super) fn new(format: Format, seed: u64) -> Self {
        // Both ends run in one callback: one block is under way at most.
        let (dry, dry_there) = queue(2 * format.samples(), 0.0);
        let (samples, heard) = queue(BLOCKS * 2 * format.samples(), 0.0);
        let (passages, passed) = queue(BLOCKS, Passage::default());
        let shared = Arc::new(Shared::default());
        let clock = Clock::new(format);
        let watch = Watch::default();
        let mouth = Mouth { noise: seed | 1, dry, shared: Arc::clone(&shared), watch, clock };
        let watch = Watch::default();
        let ear = Ear { dry: dry_there, samples, passages, shared: Arc::clone(&shared), watch };
        let block = vec![0.0; format.samples()];
        let listener =
            Listener { samples: heard, passages: passed, shared, dry: block.clone(), heard: block };
        Self { mouth, ear, listener }
    }
}

/// What the two ends on the audio thread tell each other and the listener.
#[derive(Debug, Default)]
struct Shared {
    entered_ns: AtomicU64,
    delayed_ns: AtomicU64,
    overslept_ns: AtomicU64,
    left_ns: AtomicU64,
    left_delayed_ns: AtomicU64,
    missed: AtomicU64,
    cpu_ns: AtomicU64,
    /// The plugin between the two ends, once it is known.
    plugin: OnceLock<Arc<PluginStats>>,
}

/// How long the audio thread was held, of the time that passed: `ready_ns` it could not run, `cpu_ns` it computed, it
/// had asked to sleep for `asked_ns`, and the machine let it sleep on for `overslept_ns` after that.
///
/// A kernel that is itself stopped while it switches to the thread calls the time in between computed: what was
/// overslept is left out by the clock on the wall too.
fn held_ns(passed_ns: u64, ready_ns: u64, cpu_ns: u64, asked_ns: u64, overslept_ns: u64) -> u64 {
    let slept_ns = passed_ns.saturating_sub(ready_ns).saturating_sub(cpu_ns);
    (cpu_ns + slept_ns.min(asked_ns)).min(passed_ns.saturating_sub(overslept_ns))
}

/// Processor time of the calling thread.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}

/// Reads how long its thread has been ready and not running.
///
/// It makes system calls, and its first look allocates: that is for a pipeline under test alone.
#[derive(Debug, Default)]
struct Watch(Option<File>);

impl Watch {
    /// In nanoseconds since the thread began; 0 where the kernel doesn't tell.
    fn delayed_ns(&mut self) -> u64 {
        if self.0.is_none() {
            self.0 = File::open("/proc/thread-self/schedstat").ok();
        }
        let mut text = [0; 96];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = std::str::from_utf8(&text[..read]).unwrap_or_default();
        text.split_whitespace().nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0)
    }
}

/// When blocks are due: the device is exact, and the earliest block is hardly late.
#[derive(Debug)]
struct Clock {
    format: Format,
    block: u64,
    epoch_ns: u64,
}

impl Clock {
    /// Later than this, the device has left callbacks out and begun anew.
    const LATEST_NS: u64 = 500_000_000;

    fn new(format: Format) -> Self {
        Self { format, block: 0, epoch_ns: u64::MAX }
    }

    /// How late the next block is that begins now, if the thread was back in time to be woken for it: after
    /// `free_ns`.
    fn late_ns(&mut self, start_ns: u64, free_ns: u64) -> u64 {
        let since_ns = self.format.frames_ns(self.block * self.format.block_frames() as u64);
        self.block += 1;
        let epoch_ns = start_ns.saturating_sub(since_ns);
        if epoch_ns > self.epoch_ns.saturating_add(Self::LATEST_NS) {
            self.epoch_ns = epoch_ns;
        }
        self.epoch_ns = self.epoch_ns.min(epoch_ns);
        let due_ns = self.epoch_ns + since_ns;
        if free_ns < due_ns { start_ns.saturating_sub(due_ns) } else { 0 }
    }
}

/// Puts noise into the block.
pub(super) struct Mouth {
    noise: u64,
    dry: Producer<f32>,
    shared: Arc<Shared>,
    watch: Watch,
    clock: Clock,
}

impl Mouth {
    /// Takes note of when it is, and of how late that is beside what the machine ran instead.
    fn enter(&mut self, start_ns: u64) {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let delayed_ns = self.watch.delayed_ns();
        let late_ns = self.clock.late_ns(start_ns, load(&self.shared.left_ns));
        let ready_ns = delayed_ns.saturating_sub(load(&self.shared.left_delayed_ns));
        self.shared.overslept_ns.store(late_ns.saturating_sub(ready_ns), Ordering::Relaxed);
        self.shared.delayed_ns.store(delayed_ns, Ordering::Relaxed);
        self.shared.entered_ns.store(now_ns(), Ordering::Relaxed);
        self.shared.cpu_ns.store(thread_cpu_ns(), Ordering::Relaxed);
    }

    fn next(&mut self) -> f32 {
        // xorshift: fast, and never the same for a very long time.
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        let part = (self.noise >> 40) as f32 / (1u64 << 24) as f32;
        let size = QUIETEST + part * (LOUDEST - QUIETEST);
        if self.noise & 1 == 0 { size } else { -size }
    }
}

impl Processor for Mouth {
    fn name(&self) -> &str {
        "mouth"
    }

    fn process(&mut self, block: &mut Block<'_>, turn: &Turn) {
        for sample in block.samples_mut() {
            *sample = self.next();
        }
        // There is room: the ear has taken the block before.
        let _ = self.dry.push_entire_slice(block.samples());
        self.enter(turn.start_ns);
    }
}

/// Sends on what went in and what came out.
pub(super) struct Ear {
    dry: Consumer<f32>,
    samples: Producer<f32>,
    passages: Producer<Passage>,
    shared: Arc<Shared>,
    watch: Watch,
}

impl Ear {
    fn leave(&mut self) -> Passage {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let cpu_ns = thread_cpu_ns().saturating_sub(load(&self.shared.cpu_ns));
        let (at_ns, delayed_ns) = (now_ns(), self.watch.delayed_ns());
        self.shared.left_ns.store(at_ns, Ordering::Relaxed);
        self.shared.left_delayed_ns.store(delayed_ns, Ordering::Relaxed);
        let entered_ns = load(&self.shared.entered_ns);
        let ready_ns = delayed_ns.saturating_sub(load(&self.shared.delayed_ns));
        let of_wait =
            |take: fn(&PluginStats) -> u64| self.shared.plugin.get().map_or(0, |plugin| take(plugin));
        let asked_ns = of_wait(PluginStats::take_asked_wait_ns);
        let overslept_ns = of_wait(PluginStats::take_overslept_ns);
        let held_ns = held_ns(at_ns.saturating_sub(entered_ns), ready_ns, cpu_ns, asked_ns, overslept_ns);
        Passage {
            entered_ns,
            at_ns,
            held_ns,
            computed_ns: cpu_ns,
            overslept_ns: overslept_ns.max(load(&self.shared.overslept_ns)),
        }
    }
}

impl Processor for Ear {
    fn name(&self) -> &str {
        "ear"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        let passage = self.leave();
        let length = block.samples().len();
        let Ok(dry) = self.dry.read_chunk(length) else { return };
        if self.samples.slots() < 2 * length || self.passages.slots() == 0 {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        } else {
            let (first, second) = dry.as_slices();
            for part in [first, second, block.samples()] {
                let _ = self.samples.push_entire_slice(part);
            }
            let _ = self.passages.push(passage);
        }
        dry.commit_all();
    }
}

/// Takes the blocks from the queue.
pub(super) struct Listener {
    samples: Consumer<f32>,
    passages: Consumer<Passage>,
    shared: Arc<Shared>,
    dry: Vec<f32>,
    heard: Vec<f32>,
}

impl Listener {
    /// The next block if one has come: its times, what went in, what came out.
    pub(super) fn next(&mut self) -> Option<(Passage, &[f32], &[f32])> {
        // Pushed after its samples: they are there.
        let passage = self.passages.pop().ok()?;
        for block in [&mut self.dry, &mut self.heard] {
            self.samples.pop_entire_slice(block).ok()?;
        }
        Some((passage, &self.dry, &self.heard))
    }

    /// This is the plugin between the two ends.
    pub(super) fn follow(&self, plugin: &Arc<PluginStats>) {
        // Said once.
        let _ = self.shared.plugin.set(Arc::clone(plugin));
    }

    /// Blocks that nobody listened to in time.
    pub(super) fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_in_and_what_came_out_are_heard_in_pairs() {
        let format = Format::new(2, 16, 48_000).unwrap();
        let Probe { mut mouth, mut ear, mut listener } = Probe::new(format, 7);
        let mut played = Vec::new();
        for _ in 0..5 {
            let mut samples = [0.0; 32];
            let mut block = Block::new(&mut samples, 16);
            mouth.process(&mut block, &Turn::new(0, 0));
            block.samples_mut().iter_mut().for_each(|sample| *sample *= -1.0);
            ear.process(&mut block, &Turn::new(0, 0));
            played.push(samples);
        }
        for samples in &played {
            let (_, dry, heard) = listener.next().unwrap();
            assert_eq!(heard, samples);
            assert!(dry.iter().zip(heard).all(|(dry, heard)| *dry == -heard && heard.abs() >= QUIETEST));
        }
        assert!(listener.next().is_none() && listener.missed() == 0);
        assert_ne!(played[0], played[1]);
    }

    #[test]
    fn a_thread_is_held_by_what_it_computes_and_asked_to_sleep_and_not_by_a_late_machine() {
        // It asked for 1300 us at most. Answered after 200; woken 500 too late; not run for 800; computed for long.
        assert_eq!(held_ns(220, 0, 20, 1300, 0), 220);
        assert_eq!(held_ns(1820, 0, 20, 1300, 500), 1320);
        assert_eq!(held_ns(2120, 800, 20, 1300, 0), 1320);
        assert_eq!(held_ns(3000, 0, 2900, 1300, 0), 3000);
        assert_eq!(held_ns(4300, 0, 2900, 1300, 100), 4200);
        // Woken 500 too late, in which it is said to have computed.
        assert_eq!(held_ns(1820, 0, 520, 1300, 500), 1320);
        // One that asks for too much is found out.
        assert_eq!(held_ns(2520, 0, 20, 2600, 0), 2520);
    }

    #[test]
    fn a_block_is_late_beside_the_earliest_one_unless_the_one_before_took_its_time() {
        let mut clock = Clock::new(Format::new(1, 48, 48_000).unwrap());
        let late: Vec<_> = [(5_000, 0), (1_000_100, 9_000), (2_000_700, 9_000), (3_000_700, 3_000_600)]
            .into_iter()
            .map(|(start_ns, free_ns)| clock.late_ns(start_ns, free_ns))
            .collect();
        assert_eq!(late, [0, 0, 600, 0]);
    }

    #[test]
    fn blocks_that_nobody_listens_to_are_counted_and_none_is_cut_in_two() {
        let format = Format::new(1, 16, 48_000).unwrap();
        let Probe { mut mouth, mut ear, mut listener } = Probe::new(format, 7);
        for _ in 0..BLOCKS + 3 {
            let mut samples = [0.0; 16];
            let mut block = Block::new(&mut samples, 16);
            mouth.process(&mut block, &Turn::new(0, 0));
            ear.process(&mut block, &Turn::new(0, 0));
        }
        assert_eq!(listener.missed(), 3);
        while let Some((_, dry, heard)) = listener.next() {
            assert_eq!(dry, heard);
        }
    }
}
