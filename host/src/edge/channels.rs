//! Which channel becomes which.
//!
//! For everything that joins two channel counts. Where nobody says otherwise: as many to as many stay as they are,
//! mono goes to every channel, to mono goes the mean of all; else the first ones stay, a channel that the source
//! lacks is silent and one that the target lacks is dropped.

use crate::error::{Error, Kind, Result};

/// What one channel of the target gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    Silence,
    Channel(usize),
    /// The mean of all of the source's.
    Mean,
}

/// From so many channels to so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelMap {
    source: usize,
    target: Vec<Gets>,
}

impl ChannelMap {
    /// The map that is right for most.
    #[must_use]
    pub fn new(source: usize, target: usize) -> Self {
        let (source, target) = (source.max(1), target.max(1));
        let gets = |channel| match (source, target) {
            (1, _) => Gets::Channel(0),
            (_, 1) => Gets::Mean,
            _ if channel < source => Gets::Channel(channel),
            _ => Gets::Silence,
        };
        Self { source, target: (0..target).map(gets).collect() }
    }

    /// For each channel of the target the number, from 1, of the source's that it gets; 0 is silence. Channels of
    /// the target beyond the list are silent.
    ///
    /// # Errors
    /// Of kind `Config`: the list names a channel that the source lacks, or more channels than the target has.
    pub fn listed(source: usize, target: usize, list: &[u32]) -> Result<Self> {
        let wrong = |what: String, right: String| Err(Error::new(Kind::Config, what).remedy(right));
        if list.len() > target {
            let what = format!("the map is for {} channels, and there are {target}", list.len());
            return wrong(what, format!("let `map` have {target} numbers"));
        }
        if let Some(channel) = list.iter().find(|channel| **channel as usize > source) {
            let what = format!("the map names channel {channel}, and there are {source}");
            return wrong(what, format!("let `map` name channels 1 to {source}, or 0 for silence"));
        }
        let gets = |channel: &u32| (*channel as usize).checked_sub(1).map_or(Gets::Silence, Gets::Channel);
        let silent = std::iter::repeat_n(Gets::Silence, target - list.len());
        Ok(Self { source, target: list.iter().map(gets).chain(silent).collect() })
    }

    /// As the list says, or where there is none the map that is right for most.
    ///
    /// # Errors
    /// As of [`listed`](Self::listed).
    pub fn wanted(source: usize, target: usize, list: Option<&[u32]>) -> Result<Self> {
        list.map_or_else(|| Ok(Self::new(source, target)), |list| Self::listed(source, target, list))
    }

    /// Channels that the source of such a list is to have.
    pub(crate) fn source_of(list: &[u32]) -> u32 {
        list.iter().copied().max().unwrap_or(1).max(1)
    }

    /// Channels that the target of such a list is to have.
    pub(crate) fn target_of(list: &[u32]) -> u32 {
        u32::try_from(list.len()).unwrap_or(u32::MAX)
    }

    /// Channels that it takes.
    #[must_use]
    pub fn source(&self) -> usize {
        self.source
    }

    /// Channels that it gives.
    #[must_use]
    pub fn target(&self) -> usize {
        self.target.len()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.source == self.target.len()
            && self.target.iter().enumerate().all(|(channel, gets)| *gets == Gets::Channel(channel))
    }

    /// Planar block to interleaved frames: those of `block` from `from` on, as many as `frames` holds.
    ///
    /// # Real-time
    /// Yes, as all that follow.
    pub(crate) fn interleave(&self, block: &[f32], block_frames: usize, from: usize, frames: &mut [f32]) {
        let channels = self.target.len();
        let count = frames.len() / channels;
        let part = |channel: usize| &block[channel * block_frames + from..][..count];
        for (channel, gets) in self.target.iter().enumerate() {
            let target = frames.iter_mut().skip(channel).step_by(channels);
            match *gets {
                Gets::Silence => target.for_each(|to| *to = 0.0),
                Gets::Channel(source) => target.zip(part(source)).for_each(|(to, sample)| *to = *sample),
                Gets::Mean => target.enumerate().for_each(|(frame, to)| {
                    let all = (0..self.source).map(|source| block[source * block_frames + from + frame]);
                    *to = self.mean(all);
                }),
            }
        }
    }

    /// Interleaved frames to planar block: all of `frames`, to the frames of `block` from `from` on.
    pub(crate) fn deinterleave(&self, frames: &[f32], block: &mut [f32], block_frames: usize, from: usize) {
        let count = frames.len() / self.source;
        for (samples, gets) in block.chunks_exact_mut(block_frames).zip(&self.target) {
            let target = &mut samples[from..from + count];
            match *gets {
                Gets::Silence => target.fill(0.0),
                Gets::Channel(source) => {
                    let source = frames.iter().skip(source).step_by(self.source);
                    target.iter_mut().zip(source).for_each(|(to, sample)| *to = *sample);
                }
                Gets::Mean => {
                    let source = frames.chunks_exact(self.source);
                    let pairs = target.iter_mut().zip(source);
                    pairs.for_each(|(to, frame)| *to = self.mean(frame.iter().copied()));
                }
            }
        }
    }

    /// Interleaved frames to interleaved frames, as many as both hold.
    pub(crate) fn remap(&self, source: &[f32], target: &mut [f32]) {
        for (to, from) in target.chunks_exact_mut(self.target.len()).zip(source.chunks_exact(self.source)) {
            for (sample, gets) in to.iter_mut().zip(&self.target) {
                *sample = match *gets {
                    Gets::Silence => 0.0,
                    Gets::Channel(source) => from[source],
                    Gets::Mean => self.mean(from.iter().copied()),
                };
            }
        }
    }

    fn mean(&self, samples: impl Iterator<Item = f32>) -> f32 {
        samples.sum::<f32>() / self.source as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each channel of the target gets of a frame whose channels are 1, 2, 4, ...
    fn given(map: &ChannelMap) -> Vec<f32> {
        let source: Vec<f32> =
            (0..map.source()).map(|channel| 2f32.powi(i32::try_from(channel).unwrap())).collect();
        let mut target = vec![f32::NAN; map.target()];
        map.remap(&source, &mut target);
        let mut block = vec![f32::NAN; map.target()];
        map.deinterleave(&source, &mut block, 1, 0);
        assert_eq!(block, target);
        let mut frame = vec![f32::NAN; map.target()];
        map.interleave(&source, 1, 0, &mut frame);
        assert_eq!(frame, target);
        target
    }

    #[test]
    fn what_nobody_maps_is_mapped_as_most_would() {
        let given = |source, target| given(&ChannelMap::new(source, target));
        assert_eq!(given(2, 2), [1.0, 2.0]);
        assert_eq!(given(1, 3), [1.0, 1.0, 1.0]);
        assert_eq!(given(2, 1), [1.5]);
        assert_eq!(given(4, 1), [3.75]);
        assert_eq!(given(4, 2), [1.0, 2.0]);
        assert_eq!(given(2, 4), [1.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn a_list_says_for_each_channel_which_it_gets() {
        let map = ChannelMap::listed(3, 4, &[3, 0, 1]).unwrap();
        assert_eq!(given(&map), [4.0, 0.0, 1.0, 0.0]);
        assert!(ChannelMap::listed(2, 2, &[1, 2]).unwrap().is_identity());
        assert!(!ChannelMap::listed(2, 2, &[2, 1]).unwrap().is_identity());
    }

    #[test]
    fn a_list_that_names_what_is_not_there_is_refused_with_what_is() {
        let refusal = |source, target, list: &[u32]| {
            let error = ChannelMap::listed(source, target, list).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            error.to_string()
        };
        let said = refusal(2, 2, &[1, 3]);
        assert!(said.contains("names channel 3, and there are 2") && said.contains("1 to 2"), "{said}");
        let said = refusal(2, 1, &[1, 2]);
        assert!(said.contains("for 2 channels, and there are 1"), "{said}");
    }
}
