//! Peak levels made readable: held between two looks, and folded where channels are many.
//!
//! For the screen and the plain lines. It measures nothing: it gets the peaks of a pipeline's sink as they are.

use super::words;
use crate::builtin::louder;
use crate::report::PipelineStatus;

/// How fast a bar falls back, in dB a second: as quickly as studio meters do.
const FALL_DB: f32 = 20.0;
/// Below this a bar is empty.
pub(super) const FLOOR_DB: f32 = -60.0;

/// The level of one channel, or the loudest of several.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    /// Which: `L`, `3`, `1-8`.
    pub(super) label: String,
    /// In dB of full scale; `None` is silence.
    pub(super) db: Option<f32>,
}

/// Peaks of one pipeline over several looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Peaks(Vec<Option<f32>>);

impl Peaks {
    /// Keeps the louder of what was and what is.
    pub(super) fn raise(&mut self, peaks: &[Option<f32>]) {
        self.0.resize(peaks.len(), None);
        for (held, new) in self.0.iter_mut().zip(peaks) {
            *held = louder(*held, *new);
        }
    }

    /// As [`Peaks::raise`], after what was has fallen for so many seconds.
    pub(super) fn follow(&mut self, peaks: &[Option<f32>], seconds: f32) {
        for held in &mut self.0 {
            *held = held.map(|db| db - FALL_DB * seconds).filter(|db| *db > FLOOR_DB);
        }
        self.raise(peaks);
    }

    /// What was held; silence is held now.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// At most `rows` levels, neighbours folded into one where there are more channels.
    pub(super) fn fold(&self, rows: usize) -> Vec<Level> {
        let channels = self.0.len();
        let size = channels.div_ceil(rows.max(1)).max(1);
        let groups = self.0.chunks(size).enumerate();
        groups.map(|(index, group)| level(index * size, group, channels)).collect()
    }

    /// The loudest channel, counted from 0, with its level; `None` if all are silent.
    pub(super) fn loudest(&self) -> Option<(usize, f32)> {
        let loud = self.0.iter().enumerate().filter_map(|(index, db)| db.map(|db| (index, db)));
        loud.reduce(|a, b| if b.1 > a.1 { b } else { a })
    }

    /// Channels.
    pub(super) fn channels(&self) -> usize {
        self.0.len()
    }
}

/// Each pipeline with its peaks. Where there are others than before, what was held is let go.
pub(super) fn beside<'a>(
    peaks: &'a mut Vec<Peaks>,
    pipelines: &'a [PipelineStatus],
) -> impl Iterator<Item = (&'a mut Peaks, &'a PipelineStatus)> {
    if peaks.len() != pipelines.len() {
        peaks.clear();
    }
    peaks.resize_with(pipelines.len(), Peaks::default);
    peaks.iter_mut().zip(pipelines)
}

fn level(first: usize, group: &[Option<f32>], channels: usize) -> Level {
    let db = group.iter().copied().fold(None, louder);
    let label = match group.len() {
        1 => words::channel(first, channels),
        n => format!("{}-{}", first + 1, first + n),
    };
    Level { label, db }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;

    fn peaks(db: &[Option<f32>]) -> Peaks {
        Peaks(db.to_vec())
    }

    #[test]
    fn the_loudest_between_two_looks_counts() {
        let mut held = Peaks::default();
        held.raise(&[Some(-20.0), None]);
        held.raise(&[Some(-30.0), Some(-40.0)]);
        assert_eq!(held.take().0, [Some(-20.0), Some(-40.0)]);
        assert_eq!(held.channels(), 0);
    }

    #[test]
    fn a_bar_rises_at_once_and_falls_slowly() {
        let mut held = Peaks::default();
        held.follow(&[Some(-10.0)], 0.1);
        held.follow(&[None], 0.1);
        assert_eq!(held.0, [Some(-12.0)]);
        held.follow(&[None], 10.0);
        assert_eq!(held.0, [None]);
    }

    #[test]
    fn what_was_held_for_other_pipelines_is_let_go() {
        let (one, two) = ([fabricated::pipeline()], fabricated::two_pipelines());
        let mut held = Vec::new();
        // How many channels are held so far, of each.
        let mut raise = |pipelines: &[PipelineStatus]| -> Vec<usize> {
            let raised = beside(&mut held, pipelines).map(|(peaks, pipeline)| {
                let before = peaks.channels();
                peaks.raise(&pipeline.peaks_db);
                before
            });
            raised.collect()
        };
        assert_eq!([raise(&one), raise(&one), raise(&two), raise(&two)], [&[0][..], &[2], &[0, 0], &[2, 2]]);
    }

    #[test]
    fn many_channels_are_folded_and_the_loudest_of_a_group_shows() {
        let mut db = vec![None; 64];
        db[9] = Some(-3.0);
        let rows = peaks(&db).fold(8);
        assert_eq!(rows.len(), 8);
        assert_eq!(rows[0], Level { label: "1-8".into(), db: None });
        assert_eq!(rows[1], Level { label: "9-16".into(), db: Some(-3.0) });
        assert_eq!(peaks(&db).loudest(), Some((9, -3.0)));
    }

    #[test]
    fn few_channels_have_a_row_each() {
        let labels =
            |n: usize| peaks(&vec![None; n]).fold(8).into_iter().map(|l| l.label).collect::<Vec<_>>();
        assert_eq!(labels(1), ["1"]);
        assert_eq!(labels(2), ["L", "R"]);
        assert_eq!(labels(3), ["1", "2", "3"]);
        assert_eq!(labels(9), ["1-2", "3-4", "5-6", "7-8", "9"]);
    }
}
