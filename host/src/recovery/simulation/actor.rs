//! A simulated worker: the real other end of a ring, and a script where a process would be.

use super::judge::{Truth, Truths};
use super::seed::{Fault, Rng};
use crate::supervisor::simulated::Puppet;
use rustix::io::Errno;
use rustix::io::pwrite;
use shared::layout::{Header, Layout, SlotHead};
use shared::ring::{Notes, Stamps, Status, WorkerEnd};
use std::os::fd::{BorrowedFd, OwnedFd};

/// One worker, from its start to its end.
#[derive(Debug)]
pub(super) struct Actor {
    /// Which plugin's; none for one that has no plugin yet.
    pub(super) plugin: Option<usize>,
    pub(super) incarnation: u32,
    pub(super) puppet: Puppet,
    pub(super) ring: Option<Ring>,
    /// Which incarnation's doorstep it looks at when it hands on.
    pub(super) hands_to: Option<u32>,
    /// Its process has not ended.
    pub(super) lives: bool,
    /// Somebody has seen that the host gave it up.
    pub(super) doomed: bool,
    /// When its end was known to the audio thread.
    pub(super) gone_ns: Option<u64>,
    /// Since when it is at a block.
    pub(super) busy_ns: Option<u64>,
    /// The block that this is, if somebody asked for it.
    pub(super) block: Option<usize>,
    /// It answers the block of this sequence, or the next that it is asked for, before it has been given anything.
    pub(super) hasty: Option<Option<u32>>,
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
    is_starved: bool,
    delayed: Vec<Vec<f32>>,
}

impl Actor {
    pub(super) fn new(plugin: Option<usize>, incarnation: u32, puppet: Puppet) -> Self {
        Self {
            plugin,
            incarnation,
            puppet,
            ring: None,
            hands_to: None,
            lives: true,
            doomed: false,
            gone_ns: None,
            busy_ns: None,
            block: None,
            hasty: None,
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

    /// Whether blocks to come are slow, unfit or missing of a fault that it had.
    pub(super) fn is_at_fault(&self) -> bool {
        self.lives && !self.doomed && (self.stuck || self.slow + self.not_finite + self.too_loud > 0)
    }

    /// Takes what it is given for the block that comes next; nothing if the one before it has nothing to hand on.
    pub(super) fn take(&mut self) -> Option<Vec<f32>> {
        let ring = self.ring.as_mut()?;
        ring.is_starved = !ring.end.begin();
        (!ring.is_starved).then(|| ring.end.next_samples().to_vec())
    }

    /// Takes blocks from this other one from now on.
    pub(super) fn attach(
        &mut self,
        memory: BorrowedFd<'_>,
        layout: Layout,
        tag: u32,
        doorstep: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        self.ring.as_mut().map_or(Ok(()), |ring| ring.end.attach(memory, layout, tag, doorstep))
    }

    /// Looks at the doorstep of the other one's `incarnation` from now on.
    pub(super) fn hand_to(&mut self, doorstep: BorrowedFd<'_>, incarnation: u32) -> Result<(), Errno> {
        self.ring.as_mut().map_or(Ok(()), |ring| ring.end.hand_to(doorstep))?;
        self.hands_to = Some(incarnation);
        Ok(())
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
            Some(Fault::Hasty) => self.hasty = Some(None),
            _ => {}
        }
        if self.stuck {
            return None;
        }
        if self.ring.as_ref().is_some_and(|ring| ring.is_starved) {
            return Some(1_000);
        }
        if self.slow > 0 {
            self.slow -= 1;
            return Some(block_ns * rng.within(40, 130) / 100);
        }
        Some(block_ns * rng.within(1, 4) / 100)
    }

    /// Answers the block that it is at; whether it hands it on.
    pub(super) fn answer(
        &mut self,
        fault: Option<Fault>,
        own_latency: usize,
        now_ns: u64,
        truths: &mut Truths,
    ) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        if ring.is_starved {
            self.busy_ns = None;
            return ring.answer(Status::Starved, now_ns, now_ns);
        }
        let frames = ring.end.layout().format().block_frames();
        let samples = ring.end.next_samples();
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
        let hands_on = ring.answer(status, began_ns, now_ns);
        // A block that nobody asked for has no truth: whoever takes it for good is found out.
        if let Some(block) = self.block.take() {
            let spoilt = self.lied || fault == Some(Fault::OnTheEdge);
            let truth = Truth { incarnation: self.incarnation, at_ns: now_ns, good, spoilt, samples };
            truths.insert(block, truth);
        }
        hands_on
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

    /// Answers the next block, that is there for nobody yet, with noise or with no answer at all; whether it does.
    pub(super) fn answer_in_haste(
        &mut self,
        block: usize,
        now_ns: u64,
        rng: &mut Rng,
        truths: &mut Truths,
    ) -> bool {
        let is_idle = self.lives && self.busy_ns.is_none() && !self.stuck && !self.is_asked();
        let Some(ring) = self.ring.as_mut().filter(|ring| is_idle && self.hasty == Some(Some(ring.next)))
        else {
            return false;
        };
        (self.hasty, self.lied) = (None, true);
        if rng.once_in(2) {
            // A word that sends the one behind it away.
            ring.forge(ring.next, 0x5555_5555);
            return true;
        }
        let samples = ring.end.next_samples();
        samples.iter_mut().enumerate().for_each(|(i, sample)| *sample = 0.3 + 0.001 * (i % 13) as f32);
        let samples = samples.to_vec();
        ring.answer(Status::Good, now_ns, now_ns);
        let (incarnation, at_ns) = (self.incarnation, now_ns);
        truths.insert(block, Truth { incarnation, at_ns, good: true, spoilt: true, samples });
        true
    }

    /// The delay and the loss of its plugin: `-0.8` of what came `own_latency` frames before.
    pub(super) fn take_ring(&mut self, end: WorkerEnd, memory: OwnedFd, own_latency: usize) {
        let delayed = vec![vec![0.0; own_latency]; end.layout().format().channels()];
        self.ring = Some(Ring { end, memory, next: 1, is_starved: false, delayed });
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
    fn answer(&mut self, status: Status, began_ns: u64, left_ns: u64) -> bool {
        let stamps = Stamps { seen_ns: began_ns, woken_ns: began_ns, entered_ns: began_ns, left_ns };
        let hands_on = self.end.answer(status, stamps, Notes::default());
        self.next = self.next.wrapping_add(1);
        hands_on
    }

    /// Puts this word where the sequence of a slot's answer stands.
    pub(super) fn forge(&self, slot: u32, word: u32) {
        let layout: Layout = self.end.layout();
        let at = size_of::<Header>() + layout.index(slot) * size_of::<SlotHead>();
        pwrite(&self.memory, &word.to_ne_bytes(), at as u64).unwrap();
    }
}
