//! Memory that bare processes share: a row of bells to wake each other by, and one block.
//!
//! What any hand-off through shared memory costs, before there is a ring, a sequence, a check or a Python. Each side
//! trusts the others completely, which nothing else in this project does.

// Memory is mapped here. Its samples are touched by plain accesses, each side in its turn: see `Block`.
#![allow(unsafe_code)]

use crate::measure::isolated::SPIN_NS;
use rustix::fs::{self, MemfdFlags};
use rustix::io::{Errno, Result};
use rustix::mm::{self, MapFlags, ProtFlags};
use rustix::thread::futex::{self, Flags};
use shared::clock::{now_ns, timespec};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Bells of a piece of memory: more than the longest chain has hand-overs.
pub const BELLS: usize = 32;
/// Whoever hears nothing for so long is on its own.
const PATIENCE_NS: u64 = 10_000_000_000;
/// A spinning side looks so often before it looks at the clock.
const LOOKS: u32 = 256;

/// The bells and the block.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    bells: &'static [Bell; BELLS],
    /// The block.
    pub block: Block,
}

/// Samples. Whoever touches them has heard a bell for that, and rings one afterwards: no two sides do at once.
#[derive(Debug, Clone, Copy)]
pub struct Block(&'static [AtomicU32]);

/// A number that counts up, on a cache line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
struct Bell {
    turn: AtomicU32,
    /// 1 while somebody sleeps on it.
    parked: AtomicU32,
}

fn bytes(samples: usize) -> usize {
    size_of::<[Bell; BELLS]>() + samples * size_of::<AtomicU32>()
}

/// A memory file for a block of so many samples, to be mapped by all sides.
///
/// # Errors
/// Of the operating system.
pub fn file(samples: usize) -> Result<OwnedFd> {
    let fd = fs::memfd_create(c"bare", MemfdFlags::CLOEXEC)?;
    fs::ftruncate(&fd, bytes(samples) as u64)?;
    Ok(fd)
}

/// Maps the file for as long as the process lives.
///
/// # Errors
/// Of the operating system; `INVAL` for a file of another length.
pub fn map(fd: impl AsFd, samples: usize) -> Result<Memory> {
    let bytes = bytes(samples);
    if usize::try_from(fs::fstat(&fd)?.st_size) != Ok(bytes) {
        return Err(Errno::INVAL);
    }
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
    // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
    let base = unsafe { mm::mmap(std::ptr::null_mut(), bytes, prot, flags, fd, 0) }?;
    let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
    // SAFETY: the mapping begins with the bells, is page-aligned and never unmapped; any bytes are good atomics, and
    // the other processes touch them through atomics too.
    let bells = unsafe { base.cast::<[Bell; BELLS]>().as_ref() };
    // SAFETY: `bytes` leaves room for the block behind the bells.
    let block = unsafe { base.add(size_of::<[Bell; BELLS]>()) };
    Ok(Memory { bells, block: Block::at(block, samples) })
}

impl Block {
    /// The block at this place, which has to be aligned to 4 bytes, long enough, mapped for good, and touched by
    /// nobody but through this: and by no two sides at once, who wait for a bell before and ring one after it.
    pub(super) fn at(place: NonNull<u8>, samples: usize) -> Self {
        assert!(place.cast::<AtomicU32>().is_aligned());
        // SAFETY: both callers map a block of this length at this place for as long as the process lives; atomics may
        // be shared with other processes.
        Self(unsafe { std::slice::from_raw_parts(place.as_ptr().cast(), samples) })
    }

    fn place(self) -> *mut f32 {
        self.0.as_ptr().cast::<f32>().cast_mut()
    }

    /// Puts the samples in.
    pub fn store(self, samples: &[f32]) {
        assert_eq!(samples.len(), self.0.len());
        // SAFETY: as many as the block has room for, which is mapped for good; it is this side's turn with it.
        unsafe { std::ptr::copy_nonoverlapping(samples.as_ptr(), self.place(), samples.len()) }
    }

    /// Takes the samples out.
    pub fn load(self, samples: &mut [f32]) {
        assert_eq!(samples.len(), self.0.len());
        // SAFETY: as many as the block has, which is mapped for good; it is this side's turn with it.
        unsafe { std::ptr::copy_nonoverlapping(self.place(), samples.as_mut_ptr(), samples.len()) }
    }

    /// Reads and writes every sample where it is.
    pub fn touch(self) {
        let as_it_is = std::hint::black_box(1.0);
        for i in 0..self.0.len() {
            // SAFETY: within the block.
            let sample = unsafe { self.place().add(i) };
            // SAFETY: mapped for good, any bits are a sample; it is this side's turn with it.
            let value = unsafe { sample.read() };
            // SAFETY: the same.
            unsafe { sample.write(value * as_it_is) }
        }
    }
}

impl Memory {
    /// Rings a bell with this turn.
    pub fn ring(&self, bell: usize, turn: u32) {
        let bell = &self.bells[bell];
        // SYNC: the block before the bell; Acquire in `Bell::has_rung`.
        bell.turn.store(turn, Ordering::Release);
        // SYNC: turn before parked here, parked before turn in `wait`.
        fence(Ordering::SeqCst);
        if bell.parked.load(Ordering::Relaxed) == 1 {
            let _ = futex::wake(&bell.turn, Flags::empty(), 1);
        }
    }

    /// Waits until a bell rings this turn, asleep; or, if it is to spin, first looks again and again.
    ///
    /// # Errors
    /// `TIMEDOUT` if nothing was heard for ten seconds.
    pub fn wait(&self, bell: usize, turn: u32, spins: bool) -> Result<()> {
        let bell = &self.bells[bell];
        if bell.has_rung(turn) || spins && bell.spin(turn) {
            return Ok(());
        }
        let deadline_ns = now_ns() + PATIENCE_NS;
        while now_ns() < deadline_ns {
            bell.parked.store(1, Ordering::Relaxed);
            // SYNC: parked before turn here, turn before parked in `ring`.
            fence(Ordering::SeqCst);
            let seen = bell.turn.load(Ordering::Acquire);
            if seen != turn {
                // Anything else than time over is a bell that has rung, or a signal: looked into below.
                let _ = futex::wait(&bell.turn, Flags::empty(), seen, Some(&timespec(PATIENCE_NS)));
            }
            bell.parked.store(0, Ordering::Relaxed);
            if bell.has_rung(turn) {
                return Ok(());
            }
        }
        Err(Errno::TIMEDOUT)
    }
}

impl Bell {
    fn has_rung(&self, turn: u32) -> bool {
        // SYNC: the bell before the block; Release in `ring`.
        self.turn.load(Ordering::Acquire) == turn
    }

    fn spin(&self, turn: u32) -> bool {
        let until_ns = now_ns() + u64::from(SPIN_NS);
        loop {
            for _ in 0..LOOKS {
                if self.has_rung(turn) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if now_ns() > until_ns {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_goes_in_and_comes_out_as_it_was_and_two_sides_meet_however_they_wait() {
        let fd = file(6).unwrap();
        let (here, there) = (map(&fd, 6).unwrap(), map(&fd, 6).unwrap());
        for (turn, spins) in [(1, false), (2, true)] {
            let peer = std::thread::spawn(move || {
                there.wait(0, turn, spins).unwrap();
                there.block.touch();
                there.ring(1, turn);
            });
            let sent = [0.5, -0.25, f32::MAX, f32::MIN_POSITIVE, -0.0, turn as f32];
            here.block.store(&sent);
            here.ring(0, turn);
            here.wait(1, turn, spins).unwrap();
            let mut got = [0.0; 6];
            here.block.load(&mut got);
            assert_eq!(got.map(f32::to_bits), sent.map(f32::to_bits));
            peer.join().unwrap();
        }
        assert_eq!(map(&fd, 8).unwrap_err(), Errno::INVAL);
    }
}
