//! Samples out of memory that another process may be changing, made fit to be heard on the way.
//!
//! For both ends of a ring. What is copied may be any bits: whether it is the block that was wanted is for the caller
//! to find, by the sequence before and after.

// Raw sample pointers from `segment` are read here.
#![allow(unsafe_code)]

use super::Scrub;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Copies samples that the peer may be changing, as many as `out` has, as relaxed atomic words, two samples at a time.
pub(super) fn copy_untrusted(from: NonNull<f32>, out: &mut [f32]) {
    let (pairs, rest) = out.as_chunks_mut::<2>();
    let odd = pairs.len() * 2;
    for (i, pair) in pairs.iter_mut().enumerate() {
        // SAFETY: pair `i` lies within the slot's samples: `take` checked `out`'s length against the layout, `begin` made it so.
        let word = unsafe { from.cast::<u64>().add(i) };
        // SAFETY: slots are aligned to 64 bytes, so each pair is aligned to 8; all accesses here are atomic.
        let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) }.load(Ordering::Relaxed);
        *pair = halves_of(word).map(f32::from_bits);
    }
    for (i, sample) in rest.iter_mut().enumerate() {
        // SAFETY: the odd last sample lies within the slot's samples, as above.
        let word = unsafe { from.cast::<u32>().add(odd + i) };
        // SAFETY: samples are aligned to 4 bytes; all accesses here are atomic.
        let bits = unsafe { AtomicU32::from_ptr(word.as_ptr()) }.load(Ordering::Relaxed);
        *sample = f32::from_bits(bits);
    }
}

/// The two 32-bit words of a 64-bit load, in memory order.
fn halves_of(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

/// Makes samples fit to be heard, if they are to be; how many were not finite, and how many too loud.
pub(super) fn scrub(samples: &mut [f32], scrub: Scrub) -> (u32, u32) {
    match scrub {
        Scrub::Guard { ceiling } => guard(samples, ceiling),
        Scrub::Nothing => (0, 0),
    }
}

/// Makes samples fit to be heard; how many were not finite and how many too loud. Without their sign the bits of
/// floats are in the order of their values, infinity and NaN last, so that whole numbers are compared, without a
/// branch: the loop is one of vector instructions, of the widest kind that the processor has (with the least that
/// every x86-64 has it takes four times as long).
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "x86_64+sse4.1"))]
fn guard(samples: &mut [f32], ceiling: f32) -> (u32, u32) {
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
        *sample = f32::from_bits(if is_finite { held } else { 0 });
    }
    (non_finite, above - non_finite)
}
