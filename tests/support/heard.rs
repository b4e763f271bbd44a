//! What a server's clients heard beside what they should have: where it lies, and how much of it is right.

use crate::wav::Wav;

/// How a recording compares with what was expected, sample for sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Frames that the recording is late.
    pub late_frames: usize,
    /// Frames of the expected ones that are there, in every channel.
    pub exact: usize,
    /// Frames that are silent instead.
    pub silent: usize,
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
    let mut all = Heard { late_frames, exact: 0, silent: 0, wrong: 0 };
    for at in 0..expected.frames() {
        let is = frame(heard, at + late_frames);
        if is == frame(expected, at) {
            all.exact += 1;
        } else if is.iter().all(|sample| *sample == 0.0) {
            all.silent += 1;
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
