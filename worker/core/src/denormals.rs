//! Denormal numbers off and on, for the calling thread.
//!
//! A filter that decays towards zero runs through numbers so small that some processors need a hundred times
//! as long for each. While blocks are processed they count as zero. Only then: libraries that measure the
//! floating-point unit when they are imported should find it as usual.

// The control register is reached by assembly only: the intrinsics are deprecated.
#![allow(unsafe_code)]

/// Switches treating denormal numbers as zero on or off, in this thread. Does nothing on machines unknown to it.
pub fn flush_to_zero(on: bool) {
    let bits = control();
    set_control(if on { bits | FLUSH } else { bits & !FLUSH });
}

/// Whether this thread treats denormal numbers as zero.
#[must_use]
pub fn is_flushing() -> bool {
    FLUSH != 0 && control() & FLUSH == FLUSH
}

#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    /// FTZ (results) and DAZ (operands) of MXCSR.
    pub(super) const FLUSH: u64 = 1 << 15 | 1 << 6;

    pub(super) fn control() -> u64 {
        let mut word = 0u32;
        // SAFETY: stores the 32 bits of MXCSR into `word`, nothing else.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        u64::from(word)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the register has 32 bits")]
    pub(super) fn set_control(bits: u64) {
        let word = bits as u32;
        // SAFETY: loads what `control` gave with FTZ and DAZ changed: defined bits of every x86-64 processor.
        // Rust assumes the default rounding and masks, which stay; results that would be denormal become zero.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    /// FZ of FPCR.
    pub(super) const FLUSH: u64 = 1 << 24;

    pub(super) fn control() -> u64 {
        let bits: u64;
        // SAFETY: reads FPCR.
        unsafe { asm!("mrs {}, fpcr", out(reg) bits, options(nomem, nostack, preserves_flags)) };
        bits
    }

    pub(super) fn set_control(bits: u64) {
        // SAFETY: writes what `control` gave with FZ changed; rounding and traps stay.
        unsafe { asm!("msr fpcr, {}", in(reg) bits, options(nomem, nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub(super) const FLUSH: u64 = 0;

    pub(super) fn control() -> u64 {
        0
    }

    pub(super) fn set_control(_bits: u64) {}
}

use register::{FLUSH, control, set_control};

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn a_number_too_small_to_be_normal_is_zero_while_flushing_and_only_then() {
        let half_of_the_smallest = || black_box(f32::MIN_POSITIVE) * black_box(0.5);
        assert!(!is_flushing() && half_of_the_smallest() > 0.0);
        flush_to_zero(true);
        let flushed = half_of_the_smallest();
        assert!(is_flushing());
        flush_to_zero(false);
        assert_eq!(flushed.to_bits(), 0);
        assert!(!is_flushing() && half_of_the_smallest() > 0.0);
    }
}
