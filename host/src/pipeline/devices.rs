//! The devices of a pipeline: found, tried and asked for their buffers before anything else is started.
//!
//! For opening a pipeline. The buffer has to be known first, because it decides how many blocks one callback
//! runs in a row, and so how far behind a pipelined plugin is. It opens no stream that is kept.

use crate::backend::{self, Device, DeviceChoice, Stream, StreamFormat};
use crate::config::{DeviceName, DeviceSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::error::Result;
use shared::format::Format;

/// What a device's buffer is taken for that does not tell.
const UNTOLD_BUFFER_FRAMES: u32 = 2048;

/// A device that has been found to open, and the frames that one callback brings or takes.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) device: Device,
    pub(super) buffer_frames: u32,
}

/// The devices of a pipeline, not yet open. Without any the virtual device is its clock.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) input: Option<Settled>,
    pub(super) output: Option<Settled>,
}

impl Devices {
    pub(super) fn settle(spec: &PipelineSpec, format: Format, note: &mut dyn FnMut(String)) -> Result<Self> {
        let input = match &spec.source {
            SourceSpec::Device(device) => Some(settle(device, format, true, note)?),
            _ => None,
        };
        let output = match &spec.sink {
            SinkSpec::Device(device) => Some(settle(device, format, false, note)?),
            _ if input.is_none() => Some(settle(&DeviceSpec::new("virtual"), format, false, note)?),
            _ => None,
        };
        Ok(Self { input, output })
    }

    /// Frames that lie in the devices. A virtual device has no converter and nothing behind its buffer; what is
    /// played into a cable is heard one buffer of its input later.
    pub(super) fn latency_frames(&self) -> u32 {
        let counts =
            |end: &&Settled, is_input| !end.device.is_virtual() || (is_input && end.device.is_cable());
        let input = self.input.as_ref().filter(|end| counts(end, true));
        let output = self.output.as_ref().filter(|end| counts(end, false));
        input.into_iter().chain(output).map(|end| end.buffer_frames).sum()
    }

    /// How many blocks a callback of the device that paces the pipeline runs in a row, at most.
    pub(super) fn burst(&self, format: Format) -> u32 {
        let pacing = self.output.as_ref().or(self.input.as_ref());
        let block_frames = u32::try_from(format.block_frames()).unwrap_or(u32::MAX);
        pacing.map_or(1, |settled| settled.buffer_frames.div_ceil(block_frames).max(1))
    }
}

fn settle(
    spec: &DeviceSpec,
    format: Format,
    is_input: bool,
    note: &mut dyn FnMut(String),
) -> Result<Settled> {
    let choice = match &spec.name {
        DeviceName::Default => DeviceChoice::Default,
        DeviceName::Virtual if spec.ppm == 0 => DeviceChoice::Virtual,
        DeviceName::Virtual => DeviceChoice::VirtualWith { cable: None, ppm: spec.ppm },
        DeviceName::Cable(name) => DeviceChoice::VirtualWith { cable: Some(name.clone()), ppm: spec.ppm },
        DeviceName::Named(name) => DeviceChoice::Named(name.clone()),
    };
    let [channels, block] =
        [format.channels(), format.block_frames()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    // The virtual device takes any buffer: the block's size needs no adapting.
    let buffer_frames = spec.buffer_frames.or(spec.name.is_virtual().then_some(block));
    let want = StreamFormat { rate: format.rate(), channels, buffer_frames };
    match find(&choice, want, is_input) {
        Err(why) if spec.fallback_virtual => {
            note(format!("using the virtual device instead: {why}"));
            settle(&DeviceSpec::new("virtual"), format, is_input, note)
        }
        found => found,
    }
}

/// Finds the device, and opens it once: some systems name a device that can't be opened, and only an open
/// stream knows its buffer.
fn find(choice: &DeviceChoice, want: StreamFormat, is_input: bool) -> Result<Settled> {
    let find = if is_input { backend::input_device } else { backend::output_device };
    let device = find(choice, want)?;
    let tried: Stream =
        if is_input { device.open_input(|_| {}, |_| {}) } else { device.open_output(|_| {}, |_| {}) }?;
    let buffer_frames = tried.buffer_frames().or(want.buffer_frames).unwrap_or(UNTOLD_BUFFER_FRAMES);
    drop(tried);
    Ok(Settled { device: find(choice, want)?, buffer_frames })
}
