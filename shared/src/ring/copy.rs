//! Samples out of memory that another process may be changing, made fit to be heard on the way.
//!
//! For both ends of a ring. What is copied may be any bits: whether it is the block that was wanted is for the caller
//! to find, by the sequence before and after.

// Raw sample pointers from `segment` are read here.
#![allow(unsafe_code)]

use super::{Scrub, Scrubbed};
use std::ptr::NonNull;
#[cfg(not(target_arch = "x86_64"))]
use std::sync::atomic::{AtomicU32, Ordering};

/// Copies samples that the peer may be changing, as many as `out` has: by an instruction of the processor, of which the
/// compiler knows nothing, so that it can't take the peer's memory for memory that nobody else writes. Faster than
/// atomic words, a third for blocks of 512 frames (`cargo bench -p benches --bench ring`).
#[cfg(target_arch = "x86_64")]
pub(super) fn copy_untrusted(from: NonNull<f32>, out: &mut [f32]) {
    // SAFETY: `from` is a slot's samples, of which `take` has seen that `out` has as many (`begin` made it so), mapped
    // for as long as their segment lives; `out` is ours alone. The direction flag is clear between functions.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") size_of_val(out) => _,
            inout("rsi") from.as_ptr() => _,
            inout("rdi") out.as_mut_ptr() => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Copies samples that the peer may be changing, as many as `out` has, as relaxed atomic words.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn copy_untrusted(from: NonNull<f32>, out: &mut [f32]) {
    for (i, sample) in out.iter_mut().enumerate() {
        // SAFETY: sample `i` lies within the slot's samples: `take` has seen that `out` has as many, `begin` made it so.
        let word = unsafe { from.cast::<u32>().add(i) };
        // SAFETY: samples are aligned to 4 bytes; all accesses here are atomic.
        let bits = unsafe { AtomicU32::from_ptr(word.as_ptr()) }.load(Ordering::Relaxed);
        *sample = f32::from_bits(bits);
    }
}

/// Makes samples fit to be heard, if they are to be. Each channel has `frames` of them.
pub(super) fn scrub(samples: &mut [f32], frames: usize, scrub: Scrub) -> Scrubbed {
    let Scrub::Guard { ceiling } = scrub else { return Scrubbed::default() };
    let (non_finite, too_loud) = limit(samples, ceiling);
    let mut scrubbed = Scrubbed { non_finite, too_loud, ..Scrubbed::default() };
    if non_finite > 0 {
        for channel in samples.chunks_mut(frames) {
            let is_missing = |sample: Option<&f32>| sample.is_some_and(|sample| !sample.is_finite());
            scrubbed.is_open_before |= is_missing(channel.first());
            scrubbed.is_open_after |= is_missing(channel.last());
            bridge(channel);
        }
    }
    scrubbed
}

/// Limits samples that are too loud; how many were not finite, which are NaN then, and how many too loud. Without their
/// sign the bits of floats are in the order of their values, infinity and NaN last, so that whole numbers are compared,
/// without a branch: the loop is one of vector instructions, of the widest kind that the processor has (with the least
/// that every x86-64 has it takes four times as long).
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "x86_64+sse4.1"))]
fn limit(samples: &mut [f32], ceiling: f32) -> (u32, u32) {
    const SIGN: u32 = 1 << 31;
    const LARGEST: u32 = f32::MAX.to_bits();
    let ceiling = (ceiling.to_bits() & !SIGN).min(LARGEST);
    let (mut non_finite, mut above) = (0, 0);
    for sample in samples {
        let bits = sample.to_bits();
        let magnitude = bits & !SIGN;
        let is_finite = magnitude <= LARGEST;
        non_finite += u32::from(!is_finite);
        above += u32::from(magnitude > ceiling);
        let held = magnitude.min(ceiling) | bits & SIGN;
        *sample = if is_finite { f32::from_bits(held) } else { f32::NAN };
    }
    (non_finite, above - non_finite)
}

/// Puts a straight line from the sample before to the one after in the place of those of a channel that are not finite,
/// so that there is no step. At an end of the block, where one of the two is missing, the other one is held; without
/// either there is silence.
fn bridge(channel: &mut [f32]) {
    let mut at = 0;
    while let Some(from) = channel[at..].iter().position(|sample| !sample.is_finite()).map(|i| at + i) {
        let length = channel[from..].iter().position(|sample| sample.is_finite());
        let to = length.map_or(channel.len(), |length| from + length);
        let (before, after) = (from.checked_sub(1).map(|i| channel[i]), channel.get(to).copied());
        let (before, after) = (before.or(after).unwrap_or(0.0), after.or(before).unwrap_or(0.0));
        let loudest = before.abs().max(after.abs());
        let steps = (to - from + 1) as f32;
        for (i, sample) in channel[from..to].iter_mut().enumerate() {
            let way = (i + 1) as f32 / steps;
            // Two of the largest numbers there are may be rounded up to more than that.
            *sample = (before * (1.0 - way) + after * way).clamp(-loudest, loudest);
        }
        at = to;
    }
}
