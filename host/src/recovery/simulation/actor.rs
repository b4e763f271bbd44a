//! A simulated worker: the real other end of a ring, and a script where a process would be.

use super::judge::{Truth, Truths};
use super::seed::{Fault, Rng};
use super::tape::Shared;
use crate::supervisor::simulated::Puppet;
use rustix::io::pwrite;
use shared::layout::{Header, Layout, SlotHead};
use shared::ring::{Notes, Stamps, Status, WorkerEnd};
use std::os::fd::OwnedFd;

/// One worker, from its start to its end.
#[derive(Debug)]
pub(super) struct Actor {
    /// Which plugin's; none for one that has no plugin yet.
    pub(super) plugin: Option<usize>,
    pub(super) incarnation: u32,
    pub(super) puppet: Puppet,
    pub(super) ring: Option<Ring>,
    /// Its process has not ended.
    pub(super) lives: bool,
    /// Somebody has seen that the host gave it up.
    pub(super) doomed: bool,
    /// When its end was known to the audio thread.
    pub(super) gone_ns: Option<u64>,
    /// Since when it is at a block.
    pub(super) busy_ns: Option<u64>,
    /// It will not answer.
    pub(super) stuck: bool,
    pub(super) lied: bool,
    pub(super) was_unfit: bool,
    /// Blocks more that are slow, not finite, too loud.
    pub(super) slow: u64,
    pub(super) not_finite: u64,
    pub(super) too_loud: u64,
}

/// Its end of a ring.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) end: WorkerEnd,
    /// The memory that it answers in, to be written as no worker should.
    pub(super) memory: OwnedFd,
    pub(super) next: u32,
    pub(super) tape: Shared,
    delayed: Vec<Vec<f32>>,
}

impl Actor {
    pub(super) fn new(plugin: Option<usize>, incarnation: u32, puppet: Puppet) -> Self {
        Self {
            plugin,
            incarnation,
            puppet,
            ring: None,
            lives: true,
            doomed: false,
            gone_ns: None,
            busy_ns: None,
            stuck: false,
            lied: false,
            was_unfit: false,
            slow: 0,
            not_finite: 0,
            too_loud: 0,
        }
    }

    /// Whether a block waits for it.
    pub(super) fn is_asked(&self) -> bool {
        let idle = self.lives && self.busy_ns.is_none() && !self.stuck;
        idle && self.ring.as_ref().is_some_and(|ring| ring.end.is_requested())
    }

    /// Whether blocks to come are slow or unfit of a fault that it had.
    pub(super) fn is_at_fault(&self) -> bool {
        self.lives && !self.doomed && self.slow + self.not_finite + self.too_loud > 0
    }

    /// How long the block takes; `None` if it is never answered.
    pub(super) fn begin(&mut self, fault: Option<Fault>, block_ns: u64, rng: &mut Rng) -> Option<u64> {
        match fault {
            Some(Fault::Hang | Fault::DieWithin) => self.stuck = true,
            Some(Fault::Stop) => {
                self.stuck = true;
                self.puppet.say('T');
            }
            Some(Fault::Late) => return Some(block_ns * rng.within(1, 60) / 2 + rng.within(0, block_ns)),
            Some(Fault::SlowFor) => self.slow = rng.within(5, 200),
            Some(Fault::NotFinite) => self.not_finite = rng.within(1, 60),
            Some(Fault::TooLoud) => self.too_loud = rng.within(1, 60),
            _ => {}
        }
        if self.stuck {
            return None;
        }
        if self.slow > 0 {
            self.slow -= 1;
            return Some(block_ns * rng.within(40, 130) / 100);
        }
        Some(block_ns * rng.within(1, 4) / 100)
    }

    /// Answers the block that it is at.
    pub(super) fn answer(
        &mut self,
        fault: Option<Fault>,
        own_latency: usize,
        now_ns: u64,
        truths: &mut Truths,
    ) {
        let Some(ring) = &mut self.ring else { return };
        ring.end.begin();
        let frames = ring.end.layout().format().block_frames();
        let tape = ring.tape.lock().unwrap();
        let samples = ring.end.next_samples();
        let block = tape.find(samples);
        drop(tape);
        delay(&mut ring.delayed, samples, frames, own_latency);
        if self.not_finite > 0 {
            self.not_finite -= 1;
            self.was_unfit = true;
            samples[7] = [f32::NAN, f32::INFINITY][usize::from(self.not_finite.is_multiple_of(2))];
        }
        if self.too_loud > 0 {
            self.too_loud -= 1;
            self.was_unfit = true;
            samples[9] = -1e9;
        }
        let good = fault != Some(Fault::Fail);
        let samples = samples.to_vec();
        let status = if good { Status::Good } else { Status::Failed };
        let began_ns = self.busy_ns.take().unwrap_or(now_ns);
        let stamps = Stamps { seen_ns: began_ns, woken_ns: began_ns, entered_ns: began_ns, left_ns: now_ns };
        ring.end.answer(status, stamps, Notes::default());
        ring.next = ring.next.wrapping_add(1);
        // A block that nobody asked for has no truth: whoever takes it for good is found out.
        if let Some(block) = block {
            let spoilt = self.lied;
            let truth = Truth { incarnation: self.incarnation, at_ns: now_ns, good, spoilt, samples };
            truths.insert(block, truth);
        }
    }

    /// Writes a sequence that nobody asked for: into the slot of the next block, of this one, or into any.
    pub(super) fn lie(&mut self, rng: &mut Rng) {
        let Some(ring) = &self.ring else { return };
        let slots = ring.end.layout().slots();
        let (next, any) = (ring.next, u32::try_from(rng.next() >> 32).unwrap());
        let (slot, word) = match rng.within(0, 5) {
            0 => (next, next.wrapping_add(slots)),
            // Asked for by now or not: what stands there is an older answer.
            1 => (next.wrapping_add(1), next.wrapping_add(1)),
            2 => (next, next.wrapping_sub(2 * slots)),
            3 => (next.wrapping_sub(1), any),
            _ => (any, any),
        };
        self.lied = true;
        ring.forge(slot, word);
    }

    /// The delay and the loss of its plugin: `-0.8` of what came `own_latency` frames before.
    pub(super) fn take_ring(&mut self, end: WorkerEnd, memory: OwnedFd, tape: Shared, own_latency: usize) {
        let delayed = vec![vec![0.0; own_latency]; end.layout().format().channels()];
        self.ring = Some(Ring { end, memory, next: 1, tape, delayed });
    }
}

fn delay(lines: &mut [Vec<f32>], samples: &mut [f32], frames: usize, own_latency: usize) {
    for (line, channel) in lines.iter_mut().zip(samples.chunks_exact_mut(frames)) {
        line.extend_from_slice(channel);
        channel.iter_mut().zip(line.iter()).for_each(|(out, dry)| *out = -0.8 * dry);
        line.drain(..line.len() - own_latency);
    }
}

impl Ring {
    /// Puts this word where the sequence of a slot's answer stands.
    pub(super) fn forge(&self, slot: u32, word: u32) {
        let layout: Layout = self.end.layout();
        let at = size_of::<Header>() + layout.index(slot) * size_of::<SlotHead>();
        pwrite(&self.memory, &word.to_ne_bytes(), at as u64).unwrap();
    }
}
