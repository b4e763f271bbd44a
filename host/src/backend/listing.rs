//! Which devices there are, and what they offer.
//!
//! For `nda devices`, as text and as JSON. What can't be asked says so in its place, so that one broken device
//! hides no other; no stream is opened for it.

use super::direction::Direction;
use super::span::{Span, buffer_span, union};
use super::system::{CpalResult, Defaults, Shelf, System, id_of};
use cpal::traits::DeviceTrait;
use cpal::{ErrorKind, SupportedStreamConfigRange};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A device and what it offers.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceInfo {
    /// The name, of which [`Named`](super::DeviceChoice::Named) takes any part.
    pub name: String,
    /// The same at the next start, where the audio system can tell.
    pub id: Option<String>,
    /// The audio system: `ALSA`, `JACK`, `virtual`...
    pub backend: String,
    /// False if it keeps no time: a stream to ALSA's `null` runs as fast as the machine can.
    pub keeps_time: bool,
    /// What it plays, if it does.
    pub output: Option<DirectionInfo>,
    /// What it records, if it does.
    pub input: Option<DirectionInfo>,
    /// Why it could not be asked.
    pub error: Option<String>,
    /// Why there is none of this audio system: its server isn't running. It has no directions then, and its name
    /// is the audio system's.
    pub absent: Option<String>,
}

/// What a device offers in one direction.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DirectionInfo {
    /// Used if no device is named.
    pub is_default: bool,
    /// What it can be opened with.
    pub configs: Vec<ConfigInfo>,
    /// What it is opened with by those who don't mind.
    pub default_config: Option<ConfigInfo>,
    /// Why it could not be asked.
    pub error: Option<String>,
}

/// Formats that a device offers together: any of the channels at any of the rates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigInfo {
    /// Channels per frame.
    pub channels: Span,
    /// Frames per second.
    pub rates: Vec<Span>,
    /// Sample formats, such as `f32`.
    pub formats: Vec<String>,
    /// Frames per callback, where the device tells.
    pub buffer_frames: Option<Span>,
}

impl DeviceInfo {
    fn unasked(backend: &str, error: &dyn fmt::Display) -> Self {
        Self { error: Some(error.to_string()), ..Self::none_of(backend) }
    }

    fn absent(backend: &str, why: &dyn fmt::Display) -> Self {
        Self { absent: Some(why.to_string()), ..Self::none_of(backend) }
    }

    fn none_of(backend: &str) -> Self {
        Self {
            name: backend.to_owned(),
            id: None,
            backend: backend.to_owned(),
            keeps_time: true,
            output: None,
            input: None,
            error: None,
            absent: None,
        }
    }

    fn opens(&self) -> bool {
        [&self.output, &self.input].into_iter().flatten().any(|direction| direction.error.is_none())
    }
}

/// Every device of every audio system that was built in, and the virtual one last. What can't be asked says so in
/// its `error`, and a system whose server isn't running in `absent`. All are asked at once, each for a few seconds
/// at most.
#[must_use]
pub fn devices() -> Vec<DeviceInfo> {
    let mut systems: Vec<_> = std::thread::scope(|scope| {
        let asked =
            System::all().into_iter().map(|system| (system, scope.spawn(move || system_devices(system))));
        let asked: Vec<_> = asked.collect();
        asked.into_iter().map(|(system, thread)| (system, thread.join().unwrap_or_default())).collect()
    });
    keep_the_default(&mut systems, |device| device.output.as_mut());
    keep_the_default(&mut systems, |device| device.input.as_mut());
    systems.into_iter().flat_map(|(_, devices)| devices).collect()
}

/// Each system has a default of its own; what is used if none is named is the first of these that can be asked.
fn keep_the_default(
    systems: &mut [(System, Vec<DeviceInfo>)],
    direction: impl Fn(&mut DeviceInfo) -> Option<&mut DirectionInfo>,
) {
    let order: Vec<_> = System::for_default().collect();
    let mut is_found = false;
    for (system, devices) in systems {
        for offer in devices.iter_mut().filter_map(&direction).filter(|offer| offer.is_default) {
            offer.is_default = !is_found && order.contains(system);
            is_found |= offer.is_default && offer.error.is_none();
        }
    }
}

fn system_devices(system: System) -> Vec<DeviceInfo> {
    match system.ask(move |host| on_shelf(system, &host)) {
        Ok(Ok(devices)) => devices,
        Ok(Err(error)) if error.kind() == ErrorKind::HostUnavailable => {
            vec![DeviceInfo::absent(system.name(), &error)]
        }
        Ok(Err(error)) => vec![DeviceInfo::unasked(system.name(), &error)],
        // Its first line: what to do about it stands in the list itself.
        Err(error) => {
            let error = error.to_string();
            vec![DeviceInfo::unasked(system.name(), &error.lines().next().unwrap_or_default())]
        }
    }
}

fn on_shelf(system: System, host: &cpal::Host) -> CpalResult<Vec<DeviceInfo>> {
    let shelf = Shelf::of(host)?;
    let info = |device| device_info(system.name(), device, &shelf.defaults);
    let unlisted = shelf.unlisted.iter().map(info).filter(DeviceInfo::opens);
    Ok(unlisted.chain(shelf.listed.iter().map(info)).collect())
}

fn device_info(backend: &str, device: &cpal::Device, defaults: &Defaults) -> DeviceInfo {
    let id = id_of(device);
    let (name, error) = match device.description() {
        Ok(description) => (description.name().to_owned(), None),
        Err(error) => (id.clone().unwrap_or_else(|| backend.to_owned()), Some(error.to_string())),
    };
    let output = direction_info(Direction::Output, device, defaults.output.as_ref());
    let input = direction_info(Direction::Input, device, defaults.input.as_ref());
    // Most devices have one direction and answer a question about the other with an error.
    let (output, input) = match (output, input) {
        (Some(output), Some(input)) if output.error.is_none() && input.error.is_some() => {
            (Some(output), None)
        }
        (Some(output), Some(input)) if output.error.is_some() && input.error.is_none() => (None, Some(input)),
        both => both,
    };
    let keeps_time = id.as_deref() != Some("alsa:null");
    DeviceInfo { name, id, keeps_time, output, input, error, ..DeviceInfo::none_of(backend) }
}

fn direction_info(
    direction: Direction,
    device: &cpal::Device,
    default: Option<&cpal::Device>,
) -> Option<DirectionInfo> {
    let is_default = default == Some(device);
    match direction.configs(device) {
        Ok(ranges) if ranges.is_empty() => None,
        Ok(ranges) => {
            let default_config = direction.default_config(device).ok().map(|config| default_info(&config));
            Some(DirectionInfo { is_default, configs: merged(&ranges), default_config, error: None })
        }
        Err(error) if error.kind() == ErrorKind::UnsupportedOperation => None,
        Err(error) => {
            Some(DirectionInfo { is_default, error: Some(error.to_string()), ..DirectionInfo::default() })
        }
    }
}

fn default_info(config: &cpal::SupportedStreamConfig) -> ConfigInfo {
    let (channels, rate) = (u32::from(config.channels()), config.sample_rate());
    ConfigInfo {
        channels: Span { min: channels, max: channels },
        rates: vec![Span { min: rate, max: rate }],
        formats: vec![config.sample_format().to_string()],
        buffer_frames: buffer_span(*config.buffer_size()),
    }
}

/// What cpal tells for each channel count and sample format apart (1,832 times for ALSA's `null`), together.
fn merged(ranges: &[SupportedStreamConfigRange]) -> Vec<ConfigInfo> {
    let mut by_channels = BTreeMap::<u32, ConfigInfo>::new();
    for range in ranges {
        let channels = u32::from(range.channels());
        by_channels.entry(channels).or_insert_with(|| nothing_yet(channels)).add(range);
    }
    let mut all = Vec::<ConfigInfo>::new();
    for config in by_channels.into_values() {
        match all.last_mut() {
            Some(last) if last.goes_on_in(&config) => last.absorb(&config),
            _ => all.push(config),
        }
    }
    all
}

fn nothing_yet(channels: u32) -> ConfigInfo {
    let channels = Span { min: channels, max: channels };
    ConfigInfo { channels, rates: Vec::new(), formats: Vec::new(), buffer_frames: None }
}

impl ConfigInfo {
    fn add(&mut self, range: &SupportedStreamConfigRange) {
        let rates = Span { min: range.min_sample_rate(), max: range.max_sample_rate() };
        if let Err(place) = self.rates.binary_search(&rates) {
            self.rates.insert(place, rates);
        }
        let format = range.sample_format().to_string();
        if !self.formats.contains(&format) {
            self.formats.push(format);
        }
        self.buffer_frames = union(self.buffer_frames, buffer_span(*range.buffer_size()));
    }

    /// The buffer is not compared: ALSA's limit is in bytes, so it is another one for each channel count.
    fn goes_on_in(&self, next: &Self) -> bool {
        self.channels.max + 1 == next.channels.min && self.rates == next.rates && self.formats == next.formats
    }

    fn absorb(&mut self, next: &Self) {
        self.channels.max = next.channels.max;
        self.buffer_frames = union(self.buffer_frames, next.buffer_frames);
    }
}

#[cfg(test)]
mod tests {
    use super::super::span::spans;
    use super::*;
    use cpal::{SampleFormat, SupportedBufferSize};

    fn offer(channels: u16, rate: u32, samples: SampleFormat) -> SupportedStreamConfigRange {
        let buffer = SupportedBufferSize::Range { min: 32, max: 4096 };
        SupportedStreamConfigRange::new(channels, rate, rate, buffer, samples)
    }

    #[test]
    fn what_a_device_offers_is_told_together() {
        let mut offers = Vec::new();
        for samples in [SampleFormat::I16, SampleFormat::F32] {
            for channels in [1, 2, 3, 8] {
                offers.push(offer(channels, 44_100, samples));
                offers.push(offer(channels, 48_000, samples));
            }
        }
        let merged = merged(&offers);
        assert_eq!(merged.iter().map(|c| c.channels.to_string()).collect::<Vec<_>>(), ["1-3", "8"]);
        assert_eq!(merged[0].formats, ["i16", "f32"]);
        assert_eq!(spans(merged[0].rates.iter().copied()), "44100, 48000");
        assert_eq!(merged[0].buffer_frames, Some(Span { min: 32, max: 4096 }));
    }

    #[test]
    fn the_virtual_device_is_always_listed_last_in_both_directions() {
        let all = devices();
        let last = all.last().unwrap();
        assert_eq!(last.name, "virtual");
        assert!(last.output.is_some() && last.input.is_some() && last.error.is_none());
        assert!(serde_json::to_string(&all).unwrap().contains("\"keeps_time\":true"));
    }
}
