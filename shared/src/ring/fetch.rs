//! Samples asked of the other processor's cache before they are needed.
//!
//! For whoever looks for a block or an answer in a loop: it has the time, and lines that lie in another processor's cache
//! take far longer one after the other, when they are copied, than all at once before. Nothing is read or written here,
//! and no address is wrong: a processor may leave undone what it is asked for.

// Instructions that the compiler has no word for.
#![allow(unsafe_code)]

use std::ptr::NonNull;

/// Bytes of a line of any processor's cache here, or a part of one.
const LINE: usize = 64;
/// No more than this at once: the rest would drive out what has just come.
const BYTES_MAX: usize = 16 << 10;

/// Asks for so many samples that are about to be written.
pub(super) fn to_write(samples: NonNull<f32>, count: usize) {
    each_line(samples, count, |line| {
        // SAFETY: it accesses nothing, whatever the address; without it the processor does nothing.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!("prfm pstl1keep, [{}]", in(reg) line, options(nostack, preserves_flags));
        }
    });
}

/// Asks for so many samples that are about to be read.
pub(super) fn to_read(samples: NonNull<f32>, count: usize) {
    each_line(samples, count, |line| {
        // SAFETY: it accesses nothing, whatever the address.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::asm!("prefetcht0 [{}]", in(reg) line, options(nostack, preserves_flags));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) line, options(nostack, preserves_flags));
        }
    });
}

fn each_line(samples: NonNull<f32>, count: usize, ask: impl Fn(*const u8)) {
    let bytes = (count * size_of::<f32>()).min(BYTES_MAX);
    let first = samples.as_ptr().cast::<u8>().cast_const();
    (0..bytes).step_by(LINE).for_each(|at| ask(first.wrapping_add(at)));
}
