//! How a sample is written: which bits stand for it in the file.
//!
//! For [`WavWriter`](super::WavWriter), and for whoever lets the user choose. It rounds and clips; it doesn't dither.

use std::str::FromStr;

/// How a sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bits {
    /// 16-bit integers.
    I16,
    /// 24-bit integers.
    I24,
    /// 32-bit floats: every sample bit for bit.
    #[default]
    F32,
}

impl FromStr for Bits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "16" => Ok(Self::I16),
            "24" => Ok(Self::I24),
            "32f" => Ok(Self::F32),
            _ => Err(format!("bits are {text}; they must be 16, 24 or 32f")),
        }
    }
}

impl Bits {
    /// Bytes of one sample.
    pub(super) fn bytes(self) -> u32 {
        match self {
            Bits::I16 => 2,
            Bits::I24 => 3,
            Bits::F32 => 4,
        }
    }

    /// Appends these samples to `bytes`, and says how many integers had to be clipped.
    pub(super) fn encode(self, samples: &[f32], bytes: &mut Vec<u8>) -> u64 {
        match self {
            Bits::I16 => put(samples, bytes, |sample| {
                let (value, clipped) = quantise::<16>(sample);
                let [a, b, ..] = value.to_le_bytes();
                ([a, b], clipped)
            }),
            Bits::I24 => put(samples, bytes, |sample| {
                let (value, clipped) = quantise::<24>(sample);
                let [a, b, c, _] = value.to_le_bytes();
                ([a, b, c], clipped)
            }),
            Bits::F32 => put(samples, bytes, |sample| (sample.to_le_bytes(), false)),
        }
    }
}

fn put<const N: usize>(samples: &[f32], bytes: &mut Vec<u8>, encode: impl Fn(f32) -> ([u8; N], bool)) -> u64 {
    let start = bytes.len();
    bytes.resize(start + samples.len() * N, 0);
    let (out, _) = bytes[start..].as_chunks_mut::<N>();
    let mut clipped = 0;
    for (out, sample) in out.iter_mut().zip(samples) {
        let (encoded, over) = encode(*sample);
        *out = encoded;
        clipped += u64::from(over);
    }
    clipped
}

/// The nearest integer of so many bits, ties to even; whether it had to be clipped. NaN is 0, clipped.
#[inline]
fn quantise<const BITS: u32>(sample: f32) -> (i32, bool) {
    // Adding this and taking it away again leaves a double rounded to a whole number, ties to even. It is
    // what `round_ties_even` does, without a call for each sample on processors that lack the instruction.
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    let top = f64::from((1_i32 << (BITS - 1)) - 1);
    let rounded = (f64::from(sample) * (top + 1.0) + WHOLE) - WHOLE;
    let within = rounded >= -top - 1.0 && rounded <= top;
    // The cast saturates and can't lose bits after the clamp.
    #[allow(clippy::cast_possible_truncation)]
    let value = rounded.clamp(-top - 1.0, top) as i32;
    (value, !within)
}
