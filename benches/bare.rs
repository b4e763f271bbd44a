//! The floor: two processes, a page or two of shared memory and a futex in each direction, nothing else.
//!
//! What any hand-off of a block through shared memory costs on this machine, before there is a ring, a sequence,
//! a check, a clock or a Python. The peer reads and writes each sample of the block in place. It trusts its
//! other side completely, which nothing else in this project does.

// Memory is mapped here, and only here in this package; what is handed out holds nothing but atomics.
#![allow(unsafe_code)]

use rustix::fs::{self, MemfdFlags};
use rustix::io::{Errno, Result};
use rustix::mm::{self, MapFlags, ProtFlags};
use rustix::thread::futex::{self, Flags, Timespec};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Samples of a block: 2 x 512, kept two to a word.
pub const SAMPLES: usize = 1024;

/// A side that hears nothing for so long is on its own.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// The shared memory.
#[derive(Debug)]
#[repr(C)]
pub struct Shared {
    request: Bell,
    reply: Bell,
    block: [AtomicU64; SAMPLES / 2],
}

/// A number that counts up, on a cache line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
struct Bell(AtomicU32);

/// A memory file of the right length, to be mapped by both sides.
///
/// # Errors
/// Of the operating system.
pub fn file() -> Result<OwnedFd> {
    let fd = fs::memfd_create(c"bare", MemfdFlags::CLOEXEC)?;
    fs::ftruncate(&fd, size_of::<Shared>() as u64)?;
    Ok(fd)
}

/// Maps the file for as long as the process lives.
///
/// # Errors
/// Of the operating system; `INVAL` for a file of another length.
pub fn map(fd: impl AsFd) -> Result<&'static Shared> {
    let bytes = size_of::<Shared>();
    if usize::try_from(fs::fstat(&fd)?.st_size) != Ok(bytes) {
        return Err(Errno::INVAL);
    }
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
    // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
    let base = unsafe { mm::mmap(std::ptr::null_mut(), bytes, prot, flags, fd, 0) }?;
    let base = NonNull::new(base).ok_or(Errno::NOMEM)?;
    // SAFETY: the mapping is as long as a `Shared`, page-aligned, never unmapped, and any bytes are good
    // atomics; the other process touches it through atomics too.
    Ok(unsafe { base.cast().as_ref() })
}

impl Shared {
    /// The host's side: hands the samples over and takes them back. `turn` counts up from 1.
    ///
    /// # Errors
    /// `TIMEDOUT` if the peer is gone.
    pub fn exchange(&self, turn: u32, samples: &mut [f32]) -> Result<()> {
        for (word, pair) in self.block.iter().zip(samples.as_chunks::<2>().0) {
            let [low, high] = pair.map(|sample| u64::from(sample.to_bits()));
            word.store(high << 32 | low, Ordering::Relaxed);
        }
        self.request.ring(turn);
        self.reply.wait(turn)?;
        for (word, pair) in self.block.iter().zip(samples.as_chunks_mut::<2>().0) {
            let word = word.load(Ordering::Relaxed);
            #[allow(clippy::cast_possible_truncation)] // the two halves of a word
            let halves = [word as u32, (word >> 32) as u32];
            *pair = halves.map(f32::from_bits);
        }
        Ok(())
    }

    /// The peer's side: gives every block back, until no more come.
    pub fn serve(&self) {
        for turn in 1.. {
            if self.request.wait(turn).is_err() {
                return;
            }
            for word in &self.block {
                word.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            self.reply.ring(turn);
        }
    }
}

impl Bell {
    fn ring(&self, turn: u32) {
        // SYNC: the block before the bell; Acquire in `wait`.
        self.0.store(turn, Ordering::Release);
        let _ = futex::wake(&self.0, Flags::empty(), 1);
    }

    fn wait(&self, turn: u32) -> Result<()> {
        loop {
            // SYNC: the bell before the block; Release in `ring`.
            let seen = self.0.load(Ordering::Acquire);
            if seen == turn {
                return Ok(());
            }
            // Anything else is a bell that has rung, or a signal: looked into above.
            if futex::wait(&self.0, Flags::empty(), seen, Some(&PATIENCE)) == Err(Errno::TIMEDOUT) {
                return Err(Errno::TIMEDOUT);
            }
        }
    }
}
