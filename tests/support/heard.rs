//! What a server's clients heard beside what they should have: where it lies, and how much of it is right.
//!
//! Sample for sample where a server promises that, and by likeness where it converts, or lets its streams drift.

use crate::wav::Wav;
use std::ops::Range;

/// How a recording compares with what was expected, sample for sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Frames that the recording is late.
    pub late_frames: usize,
    /// Frames of the expected ones that are there, in every channel.
    pub exact: usize,
    /// Frames that are silent instead.
    pub silent: usize,
    /// Frames that are softer, as where a gap begins and ends.
    pub faded: usize,
    /// All others.
    pub wrong: usize,
}

/// Frames that tell a place in noise from every other one.
const MARK: usize = 16;

/// Lays the recording beside what was expected, as late as most of it is. The expected sound must be noise, in no
/// place the same. `None` if nothing of it was heard.
#[must_use]
pub fn compare(heard: &Wav, expected: &Wav) -> Option<Heard> {
    let late_frames = lateness(&heard.channels[0], &expected.channels[0])?;
    let frame = |wav: &Wav, at: usize| -> Vec<f32> {
        wav.channels.iter().map(|channel| channel.get(at).copied().unwrap_or_default()).collect()
    };
    let mut all = Heard { late_frames, exact: 0, silent: 0, faded: 0, wrong: 0 };
    for at in 0..expected.frames() {
        let (is, should) = (frame(heard, at + late_frames), frame(expected, at));
        if is == should {
            all.exact += 1;
        } else if is.iter().all(|sample| *sample == 0.0) {
            all.silent += 1;
        } else if is.iter().zip(&should).all(|(is, should)| is * should >= 0.0 && is.abs() <= should.abs()) {
            all.faded += 1;
        } else {
            all.wrong += 1;
        }
    }
    Some(all)
}

/// How late most of a recording is, judged by marks in ten places.
fn lateness(heard: &[f32], expected: &[f32]) -> Option<usize> {
    let step = expected.len() / 11;
    let places = (1..=10).map(|n| n * step);
    let mut found: Vec<usize> = places
        .filter_map(|at| {
            let mark = &expected[at..at + MARK];
            heard.windows(MARK).position(|window| window == mark)?.checked_sub(at)
        })
        .collect();
    found.sort_unstable();
    found.get(found.len() / 2).copied()
}

/// How a recording resembles what was expected, piece by piece of 100 ms, each wherever it is the most alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeness {
    /// Pieces that were looked for.
    pub pieces: usize,
    /// Those that are there: alike to one in a hundred, and as loud.
    pub alike: usize,
}

const PIECE: usize = 4800;

/// Looks for one channel's pieces. The expected sound must be soft noise.
#[must_use]
pub fn likeness(heard: &[f32], expected: &[f32]) -> Likeness {
    let pieces = expected.chunks_exact(PIECE).enumerate().filter(|(_, piece)| energy(piece) > 0.0);
    let mut all = Likeness { pieces: 0, alike: 0 };
    // Where the piece before lay: the next one is mostly there too.
    let mut late = None;
    for (number, piece) in pieces {
        all.pieces += 1;
        let at = number * PIECE;
        let near = |late: &usize| best(heard, piece, (at + late).saturating_sub(8)..at + late + 9);
        let found = late.as_ref().and_then(near).filter(|found| found.is_alike());
        let found = found.or_else(|| anywhere(heard, piece)).filter(|found| found.is_alike());
        if let Some(found) = found {
            all.alike += 1;
            late = found.at.checked_sub(at);
        }
    }
    all
}

/// A place in a recording beside a piece.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    likeness: f32,
    gain: f32,
}

impl Place {
    fn is_alike(&self) -> bool {
        self.likeness > 0.99 && (0.97..1.03).contains(&self.gain)
    }
}

/// Soft noise is alike to itself for some samples: every sixteenth sample shows where to look closely.
fn anywhere(heard: &[f32], piece: &[f32]) -> Option<Place> {
    let thin = |samples: &[f32]| samples.iter().step_by(16).copied().collect::<Vec<_>>();
    let coarse = best(&thin(heard), &thin(piece), 0..heard.len() / 16)?.at * 16;
    best(heard, piece, coarse.saturating_sub(24)..coarse + 25)
}

fn best(heard: &[f32], piece: &[f32], places: Range<usize>) -> Option<Place> {
    let own = energy(piece);
    let place = |at: usize| {
        let there = heard.get(at..at + piece.len())?;
        let product: f32 = there.iter().zip(piece).map(|(a, b)| a * b).sum();
        let likeness = product / (own * energy(there)).sqrt().max(f32::MIN_POSITIVE);
        Some(Place { at, likeness, gain: product / own })
    };
    places.filter_map(place).max_by(|a, b| a.likeness.total_cmp(&b.likeness))
}

fn energy(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum()
}
