//! The hand-off that two crates offer: `raw_sync`'s event in a `shared_memory` segment.
//!
//! Measured because it is what one would reach for first. It is not used elsewhere: a peer killed at the wrong
//! instruction leaves the event's lock locked for good, its timeouts fail at once near the end of a second of the
//! clock on the wall, and whoever may open the segment by name can write anything into it.

// The crates' own functions take raw memory.
#![allow(unsafe_code)]

use super::memory::Block;
use crate::Outcome;
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use shared::clock::now_ns;
use shared_memory::{Shmem, ShmemConf};
use std::ptr::NonNull;
use std::time::Duration;

/// Where the second event and the block are. An event takes some 100 bytes.
const REPLY: usize = 1024;
const BLOCK: usize = 4096;

/// One wait, and all that are made before the other side is given up: each may fail without cause.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_NS: u64 = 10_000_000_000;

/// Two events and a block.
pub struct Events {
    given: Box<dyn EventImpl>,
    awaited: Box<dyn EventImpl>,
    /// Mapped as long as the segment below, and so not handed out.
    block: Block,
    segment: Shmem,
}

impl Events {
    /// Makes a segment: the first side.
    ///
    /// # Errors
    /// Of the crates.
    pub fn create(samples: usize) -> Outcome<Self> {
        let segment = ShmemConf::new().size(BLOCK + samples * size_of::<f32>()).create()?;
        let [request, reply, block] = places(&segment, samples)?;
        // SAFETY: an event takes less than `REPLY` bytes; the segment stays mapped as long as the event.
        let (given, _) = unsafe { Event::new(request.as_ptr(), true) }?;
        // SAFETY: as above, and the block begins behind it.
        let (awaited, _) = unsafe { Event::new(reply.as_ptr(), true) }?;
        Ok(Self { given, awaited, block: Block::at(block, samples), segment })
    }

    /// Opens the segment that another process made: the second side.
    ///
    /// # Errors
    /// Of the crates.
    pub fn open(name: &str, samples: usize) -> Outcome<Self> {
        let segment = ShmemConf::new().os_id(name).open()?;
        let [request, reply, block] = places(&segment, samples)?;
        // SAFETY: the first side has made an event here; the segment stays mapped as long as the event.
        let (awaited, _) = unsafe { Event::from_existing(request.as_ptr()) }?;
        // SAFETY: as above.
        let (given, _) = unsafe { Event::from_existing(reply.as_ptr()) }?;
        Ok(Self { given, awaited, block: Block::at(block, samples), segment })
    }

    /// What the other side opens it by.
    #[must_use]
    pub fn name(&self) -> &str {
        self.segment.get_os_id()
    }

    /// Takes the name away, so that it is not left behind however this process ends.
    pub fn forget_name(&self) {
        // It may be gone.
        let _ = rustix::shm::unlink(self.name());
    }

    /// The first side: hands the samples over and takes them back.
    ///
    /// # Errors
    /// If nothing came back for ten seconds.
    pub fn exchange(&self, samples: &mut [f32]) -> Outcome {
        self.block.store(samples);
        self.ring()?;
        self.wait()?;
        self.block.load(samples);
        Ok(())
    }

    /// The second side: gives one block back, if one comes.
    ///
    /// # Errors
    /// Of the crate.
    pub fn serve_one(&self) -> Outcome {
        if self.wait().is_ok() {
            self.block.touch();
            self.ring()?;
        }
        Ok(())
    }

    fn ring(&self) -> Outcome {
        self.given.set(EventState::Signaled).map_err(|e| e.to_string().into())
    }

    fn wait(&self) -> Outcome {
        let deadline_ns = now_ns() + PATIENCE_NS;
        while self.awaited.wait(Timeout::Val(PATIENCE)).is_err() {
            if now_ns() > deadline_ns {
                return Err("raw_sync: the other side does not answer".into());
            }
        }
        Ok(())
    }
}

/// Where the two events and the block are.
fn places(segment: &Shmem, samples: usize) -> Outcome<[NonNull<u8>; 3]> {
    if segment.len() < BLOCK + samples * size_of::<f32>() {
        return Err("a segment of another length".into());
    }
    let base = NonNull::new(segment.as_ptr()).ok_or("a segment at no address")?;
    // SAFETY: the segment is longer than this, as was just seen.
    let reply = unsafe { base.add(REPLY) };
    // SAFETY: as above.
    let block = unsafe { base.add(BLOCK) };
    Ok([base, reply, block])
}
