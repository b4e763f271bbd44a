//! A segment: anonymous shared memory that one process writes and the other only reads. A worker can't do otherwise; the
//! host maps what it waits on as if it wrote it. And a doorstep, which is a word between two workers under the same seals.
//!
//! The host makes both segments of a worker and hands the descriptors over. The seals make an attack by the
//! peer an `EPERM` for the peer instead of a `SIGBUS` for us: neither side can shrink or grow a segment, and
//! once the writer has mapped it nobody can map it writable again or punch holes in it. A segment is made for
//! one incarnation of a worker and never used again, a doorstep for one pair of them. Not for the audio thread: all of this allocates or waits.

// The one place that maps memory; what it hands out is atomics and raw sample pointers within the mapping.
#![allow(unsafe_code)]

use crate::layout::{Doorstep, Header, Layout, SlotHead};
use rustix::fs::{self, FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::{Errno, Result};
use rustix::mm::{self, MapFlags, ProtFlags};
use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

/// A mapping of a memory file, unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    base: NonNull<c_void>,
    bytes: usize,
    locked: bool,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached only through atomics and raw
// pointers whose users keep the ring's protocol (see `ring`).
unsafe impl Send for Mapping {}
// SAFETY: as above; through a shared reference only atomics can be touched.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: impl AsFd, bytes: usize, prot: ProtFlags) -> Result<Self> {
        // A mapping longer than its file would fault with SIGBUS on its last pages.
        if usize::try_from(fs::fstat(&fd)?.st_size) != Ok(bytes) {
            return Err(Errno::INVAL);
        }
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
        let base = unsafe { mm::mmap(std::ptr::null_mut(), bytes, prot, flags, fd, 0) }?;
        let base = NonNull::new(base).ok_or(Errno::NOMEM)?;
        // Best effort: without the right to lock, the pages are populated all the same.
        // SAFETY: the range is the mapping made above.
        let locked = unsafe { mm::mlock(base.as_ptr(), bytes) }.is_ok();
        Ok(Self { base, bytes, locked })
    }

    fn at(&self, offset: usize) -> NonNull<c_void> {
        debug_assert!(offset < self.bytes);
        // SAFETY: every offset is 0 or comes from the `Layout` that gave the length: it lies within the mapping.
        unsafe { self.base.byte_add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length; every borrow of it has ended.
        let unmapped = unsafe { mm::munmap(self.base.as_ptr(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

/// A segment as it is mapped, by whoever.
#[derive(Debug)]
struct Segment {
    mapping: Mapping,
    layout: Layout,
}

impl Segment {
    fn new(fd: impl AsFd, layout: Layout, prot: ProtFlags) -> Result<Self> {
        Ok(Self { mapping: Mapping::new(fd, layout.bytes(), prot)?, layout })
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping starts with a header, is page-aligned, and holds only atomics there.
        unsafe { self.mapping.at(0).cast().as_ref() }
    }

    fn slot(&self, index: usize) -> &SlotHead {
        assert!(index < self.layout.slots() as usize);
        // SAFETY: `layout` places a slot head (only atomics) at this offset, aligned to 64 bytes.
        unsafe { self.mapping.at(self.layout.slot_offset(index)).cast().as_ref() }
    }

    fn samples(&self, index: usize) -> NonNull<f32> {
        assert!(index < self.layout.slots() as usize);
        self.mapping.at(self.layout.samples_offset(index)).cast()
    }
}

/// A segment that this process writes and the peer can only read.
#[derive(Debug)]
pub struct OwnSegment(Segment);

/// A segment that the peer writes: whatever it holds may be wrong and may change at any instant.
#[derive(Debug)]
pub struct PeerSegment(Segment);

impl OwnSegment {
    /// Makes a segment that this process writes; the descriptor is for the peer, who can only read through it.
    ///
    /// # Errors
    /// Of the operating system: no memory, no descriptors.
    pub fn create(layout: Layout) -> Result<(Self, OwnedFd)> {
        let fd = memfd(c"nda-request", layout.bytes())?;
        let own = Self::map(&fd, layout)?;
        seal_written(&fd)?;
        Ok((own, fd))
    }

    /// Makes a segment that this thread writes, with the mapping of a peer that is another thread of this process.
    ///
    /// # Errors
    /// As [`OwnSegment::create`].
    pub(crate) fn create_for_thread(layout: Layout) -> Result<(Self, PeerSegment)> {
        let fd = memfd(c"nda-request", layout.bytes())?;
        let both = (Self::map(&fd, layout)?, PeerSegment::waited_on(&fd, layout)?);
        seal_written(&fd)?;
        Ok(both)
    }

    /// Maps a segment that the other side made for us to write.
    ///
    /// # Errors
    /// `EINVAL` if the length is not the layout's; `EPERM` if it was sealed already.
    pub fn map(fd: impl AsFd, layout: Layout) -> Result<Self> {
        Segment::new(fd, layout, ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    pub(crate) fn header(&self) -> &Header {
        self.0.header()
    }

    pub(crate) fn slot(&self, index: usize) -> &SlotHead {
        self.0.slot(index)
    }

    /// The samples of a slot, `layout.format().samples()` of them, in memory that only this process writes.
    pub(crate) fn samples(&self, index: usize) -> NonNull<f32> {
        self.0.samples(index)
    }

    /// Whether the pages are locked in memory, or only populated for want of the right to lock.
    pub(crate) fn is_locked(&self) -> bool {
        self.0.mapping.locked
    }
}

impl PeerSegment {
    /// Makes a segment for the peer to write. Once the peer has mapped it, [`seal_written`] must follow.
    ///
    /// # Errors
    /// Of the operating system: no memory, no descriptors.
    pub fn create(layout: Layout) -> Result<(Self, OwnedFd)> {
        let fd = memfd(c"nda-reply", layout.bytes())?;
        Ok((Self::waited_on(&fd, layout)?, fd))
    }

    /// Nobody writes here but the peer. But whoever waits on a word of a mapping that it may not write has the kernel look
    /// that up under a lock of its whole address space, which another thread may have for long.
    fn waited_on(fd: impl AsFd, layout: Layout) -> Result<Self> {
        Segment::new(fd, layout, ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    /// Maps a segment that the other side writes.
    ///
    /// # Errors
    /// `EINVAL` if the length is not the layout's.
    pub fn map(fd: impl AsFd, layout: Layout) -> Result<Self> {
        Segment::new(fd, layout, ProtFlags::READ).map(Self)
    }

    pub(crate) fn header(&self) -> &Header {
        self.0.header()
    }

    pub(crate) fn slot(&self, index: usize) -> &SlotHead {
        self.0.slot(index)
    }

    /// As [`OwnSegment::is_locked`].
    pub(crate) fn is_locked(&self) -> bool {
        self.0.mapping.locked
    }

    /// The samples of a slot, in memory that the peer may be writing to: only to be read as atomics, or, by a
    /// worker that trusts its host, between two sequences.
    pub(crate) fn samples(&self, index: usize) -> NonNull<f32> {
        self.0.samples(index)
    }
}

/// The doorstep of this process, which is its one writer: where it says to the worker before it that it sleeps.
#[derive(Debug)]
pub(crate) struct OwnDoorstep(Mapping);

/// The doorstep of the worker behind this one, which may hold anything: whoever says there that it is awake is not woken.
#[derive(Debug)]
pub(crate) struct PeerDoorstep(Mapping);

/// Makes a doorstep for two workers: the second one's to write, and the first one's to read. Once the second has mapped it,
/// [`seal_written`] must follow, before the first gets it.
///
/// # Errors
/// Of the operating system: no memory, no descriptors.
pub fn doorstep() -> Result<OwnedFd> {
    memfd(c"nda-doorstep", size_of::<Doorstep>())
}

impl OwnDoorstep {
    /// Maps the one that the host made for us to write.
    ///
    /// # Errors
    /// `EINVAL` if it has not the length of one; `EPERM` if it was sealed already.
    pub(crate) fn map(fd: impl AsFd) -> Result<Self> {
        Mapping::new(fd, size_of::<Doorstep>(), ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    pub(crate) fn words(&self) -> &Doorstep {
        doorstep_of(&self.0)
    }
}

impl PeerDoorstep {
    /// Maps the one that another worker writes.
    ///
    /// # Errors
    /// `EINVAL` if it has not the length of one.
    pub(crate) fn map(fd: impl AsFd) -> Result<Self> {
        Mapping::new(fd, size_of::<Doorstep>(), ProtFlags::READ).map(Self)
    }

    pub(crate) fn words(&self) -> &Doorstep {
        doorstep_of(&self.0)
    }
}

fn doorstep_of(mapping: &Mapping) -> &Doorstep {
    // SAFETY: the mapping is as long as this, page-aligned, and holds only atomics.
    unsafe { mapping.at(0).cast().as_ref() }
}

/// A zeroed memory file of this length, backed by real pages, that can't change its length any more.
fn memfd(name: &std::ffi::CStr, bytes: usize) -> Result<OwnedFd> {
    let fd = fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    // Real pages now: memory that runs out later would be a SIGBUS in the middle of a block.
    fs::fallocate(&fd, FallocateFlags::empty(), 0, bytes as u64)?;
    fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(fd)
}

/// Ends every way to write to a segment but the mappings that are there already.
///
/// # Errors
/// Of the operating system; `EPERM` if it was sealed before.
pub fn seal_written(fd: impl AsFd) -> Result<()> {
    fs::fcntl_add_seals(fd, SealFlags::FUTURE_WRITE | SealFlags::SEAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::layout::PARKED;
    use std::sync::atomic::Ordering;

    fn layout() -> Layout {
        Layout::new(Format::new(2, 64, 48_000).unwrap(), 4).unwrap()
    }

    #[test]
    fn a_peer_can_neither_write_nor_shrink_nor_punch_a_segment_it_was_handed() {
        let (_own, fd) = OwnSegment::create(layout()).unwrap();
        assert_eq!(OwnSegment::map(&fd, layout()).unwrap_err(), Errno::PERM);
        assert_eq!(fs::ftruncate(&fd, 0).unwrap_err(), Errno::PERM);
        assert_eq!(fs::ftruncate(&fd, 1 << 20).unwrap_err(), Errno::PERM);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(fs::fallocate(&fd, hole, 0, 4096).unwrap_err(), Errno::PERM);
        assert_eq!(rustix::io::write(&fd, b"x").unwrap_err(), Errno::PERM);
        assert_eq!(fs::fcntl_add_seals(&fd, SealFlags::WRITE).unwrap_err(), Errno::PERM);
    }

    #[test]
    fn a_segment_that_says_so_is_locked_by_the_kernels_own_word() {
        let (own, _fd) = OwnSegment::create(layout()).unwrap();
        let range = format!("{:x}-", own.0.mapping.base.addr());
        let all = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut of_it = all.lines().skip_while(|line| !line.starts_with(&range));
        let flags = of_it.find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
        assert_eq!(own.is_locked(), flags.split_whitespace().any(|flag| flag == "lo"), "{flags}");
    }

    #[test]
    fn a_segment_for_the_peer_takes_one_writer_and_is_then_closed() {
        let (_peer, fd) = PeerSegment::create(layout()).unwrap();
        let _writer = OwnSegment::map(&fd, layout()).unwrap();
        seal_written(&fd).unwrap();
        assert_eq!(OwnSegment::map(&fd, layout()).unwrap_err(), Errno::PERM);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(fs::fallocate(&fd, hole, 0, 4096).unwrap_err(), Errno::PERM);
    }

    /// What this process may do with the page at this address, as the kernel says: `rw-s`, `r--s`.
    fn rights_at(address: NonNull<c_void>) -> String {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let from = format!("{:x}-", address.as_ptr() as usize);
        let line = maps.lines().find(|line| line.starts_with(&from)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().to_owned()
    }

    #[test]
    fn a_host_waits_on_memory_that_it_may_write_and_a_worker_may_not_write_what_it_reads() {
        let (answers, _fd) = PeerSegment::create(layout()).unwrap();
        let (_own, of_a_thread) = OwnSegment::create_for_thread(layout()).unwrap();
        let (_own, fd) = OwnSegment::create(layout()).unwrap();
        let requests = PeerSegment::map(&fd, layout()).unwrap();
        let rights = [answers, of_a_thread, requests].map(|segment| rights_at(segment.0.mapping.base));
        assert_eq!(rights, ["rw-s", "rw-s", "r--s"]);
    }

    #[test]
    fn a_doorstep_has_one_writer_and_whoever_looks_at_it_can_neither_write_nor_shrink_it() {
        let fd = doorstep().unwrap();
        assert_eq!(fs::ftruncate(&fd, 0).unwrap_err(), Errno::PERM);
        assert_eq!(fs::ftruncate(&fd, 1 << 20).unwrap_err(), Errno::PERM);
        let own = OwnDoorstep::map(&fd).unwrap();
        seal_written(&fd).unwrap();
        let peer = PeerDoorstep::map(&fd).unwrap();
        assert_eq!(OwnDoorstep::map(&fd).unwrap_err(), Errno::PERM);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(fs::fallocate(&fd, hole, 0, 64).unwrap_err(), Errno::PERM);
        assert_eq!(rustix::io::write(&fd, b"x").unwrap_err(), Errno::PERM);
        assert_eq!([&own.0, &peer.0].map(|mapping| rights_at(mapping.base)), ["rw-s", "r--s"]);
        own.words().parked.store(PARKED, Ordering::Relaxed);
        assert_eq!(peer.words().parked.load(Ordering::Relaxed), PARKED);
    }

    #[test]
    fn memory_of_another_length_is_no_doorstep() {
        let (_own, fd) = OwnSegment::create(layout()).unwrap();
        let refused = (OwnDoorstep::map(&fd).unwrap_err(), PeerDoorstep::map(&fd).unwrap_err());
        assert_eq!(refused, (Errno::INVAL, Errno::INVAL));
    }

    #[test]
    fn a_descriptor_of_another_length_is_refused_before_it_could_fault() {
        let (_own, fd) = OwnSegment::create(layout()).unwrap();
        let longer = Layout::new(Format::new(2, 64, 48_000).unwrap(), 8).unwrap();
        assert_eq!(PeerSegment::map(&fd, longer).unwrap_err(), Errno::INVAL);
    }
}
