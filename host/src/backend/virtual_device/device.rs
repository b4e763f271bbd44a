//! The virtual device as cpal asks for it: its name, its offers, and streams to and from it.
//!
//! One device with two directions, as a sound card is. An output and an input run on threads of their own and
//! know nothing of each other, unless there is a [cable](super::cable) between them.

use super::cable::{Gate, Listener, Plug};
use super::capture::Lent;
use super::metronome::Metronome;
use super::presence::Presence;
use super::stream::{Callback, Control, VirtualStream};
use super::{DEFAULT_BUFFER, VirtualHost, data};
use cpal::traits::DeviceTrait;
use cpal::{
    BufferSize, Data, DeviceDescription, DeviceDescriptionBuilder, DeviceDirection, DeviceId, DeviceType,
    ErrorKind, HostId, InputCallbackInfo, InputStreamTimestamp, OutputCallbackInfo, OutputStreamTimestamp,
    SampleFormat, StreamConfig, StreamInstant, SupportedBufferSize, SupportedStreamConfig,
    SupportedStreamConfigRange,
};
use shared::format::{BLOCK_FRAMES, CHANNELS, Format, FormatError, RATE};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// What it is opened with by those who don't mind.
const DEFAULT_CHANNELS: u16 = 2;
const DEFAULT_RATE: u32 = 48_000;

/// The virtual device.
#[derive(Debug, Clone)]
pub struct VirtualDevice {
    host: VirtualHost,
}

impl VirtualDevice {
    pub(super) fn of(host: &VirtualHost) -> Self {
        Self { host: host.clone() }
    }

    /// The channels and rate that it has because its cable is in use.
    fn carried(&self) -> Option<(u16, u32)> {
        self.host.cable.as_deref().and_then(|name| self.host.cables.carried(name))
    }

    /// All that [`shared::format`] allows, or what its cable carries; cpal wants each channel count told apart.
    fn offers(&self) -> std::vec::IntoIter<SupportedStreamConfigRange> {
        let offer = |channels, slowest, fastest| {
            SupportedStreamConfigRange::new(channels, slowest, fastest, buffers(), SampleFormat::F32)
        };
        let offers: Vec<_> = match self.carried() {
            Some((channels, rate)) => vec![offer(channels, rate, rate)],
            None => {
                let (slowest, fastest) = RATE.into_inner();
                let channels = CHANNELS.filter_map(|channels| u16::try_from(channels).ok());
                channels.map(|channels| offer(channels, slowest, fastest)).collect()
            }
        };
        offers.into_iter()
    }

    fn default_config(&self) -> SupportedStreamConfig {
        let (channels, rate) = self.carried().unwrap_or((DEFAULT_CHANNELS, DEFAULT_RATE));
        SupportedStreamConfig::new(channels, rate, buffers(), SampleFormat::F32)
    }

    fn open(
        &self,
        format: Format,
        presence: &Presence,
        callback: impl Callback + 'static,
        on_error: impl FnMut(cpal::Error) + Send + 'static,
    ) -> Result<VirtualStream, cpal::Error> {
        let host = &self.host;
        let metronome = Metronome::new(format, host.ppm, host.sizes);
        let buffer_frames = u32::try_from(format.block_frames()).unwrap_or(u32::MAX);
        VirtualStream::open(metronome, buffer_frames, &host.pace, presence, callback, on_error)
    }
}

fn buffers() -> SupportedBufferSize {
    SupportedBufferSize::Range { min: *BLOCK_FRAMES.start(), max: *BLOCK_FRAMES.end() }
}

/// The format of a stream, its block the device's buffer, or an error that says what there is.
fn settle(config: StreamConfig, samples: SampleFormat) -> Result<Format, cpal::Error> {
    let refusal = |what: String| cpal::Error::with_message(ErrorKind::UnsupportedConfig, what);
    if samples != SampleFormat::F32 {
        return Err(refusal(format!("samples are {samples}, must be {}", SampleFormat::F32)));
    }
    let buffer = match config.buffer_size {
        BufferSize::Fixed(frames) => frames,
        BufferSize::Default => DEFAULT_BUFFER,
    };
    Format::new(u32::from(config.channels), buffer, config.sample_rate).map_err(|e| match e {
        FormatError::BlockFrames(_) => refusal(e.to_string().replacen("block", "the buffer", 1)),
        other => refusal(other.to_string()),
    })
}

/// What an input stream's thread does.
struct Recording<D> {
    buffer: Vec<f32>,
    channels: usize,
    heard: Option<Listener>,
    patient: bool,
    callback: D,
    length: Duration,
}

impl<D: FnMut(&Data, &InputCallbackInfo) + Send> Callback for Recording<D> {
    /// What was heard ends with the callback, so it began a buffer earlier; the first can't tell times before 0.
    fn call(&mut self, at: Duration, frames: usize, control: &Control) -> bool {
        let now = StreamInstant::ZERO + at;
        let capture = now.checked_sub(self.length).unwrap_or(StreamInstant::ZERO);
        let info = InputCallbackInfo::new(InputStreamTimestamp { callback: now, capture });
        let samples = &mut self.buffer[..frames * self.channels];
        let gate = self.heard.as_ref().and_then(Listener::gate);
        let _passed = gate.as_deref().map(Gate::pass);
        let whole = match &mut self.heard {
            Some(heard) => heard.hear(samples, self.patient.then_some(control)),
            None => true,
        };
        data::lend(samples, |data| (self.callback)(data, &info));
        whole
    }

    fn hold(&mut self) {
        if let Some(heard) = &mut self.heard {
            heard.hold();
        }
    }
}

/// What an output stream's thread does.
struct Playing<D> {
    buffer: Vec<f32>,
    channels: usize,
    plug: Option<Plug>,
    lent: Lent,
    lossless: bool,
    callback: D,
    length: Duration,
}

impl<D: FnMut(&mut Data, &OutputCallbackInfo) + Send> Callback for Playing<D> {
    /// What is played would be heard when the callback after it is due.
    fn call(&mut self, at: Duration, frames: usize, control: &Control) -> bool {
        let now = StreamInstant::ZERO + at;
        let playback = now + self.length;
        let info = OutputCallbackInfo::new(OutputStreamTimestamp { callback: now, playback });
        let samples = &mut self.buffer[..frames * self.channels];
        samples.fill(0.0);
        let gate = self.plug.as_ref().and_then(Plug::gate);
        let closed = gate.as_deref().map(Gate::close);
        data::lend(samples, |data| (self.callback)(data, &info));
        if let Some(plug) = &mut self.plug {
            plug.play(samples);
        }
        drop(closed);
        self.lent.play(samples, self.lossless.then_some(control));
        true
    }

    fn hold(&mut self) {
        if let Some(plug) = &self.plug {
            plug.hold();
        }
    }
}

impl DeviceTrait for VirtualDevice {
    type SupportedInputConfigs = std::vec::IntoIter<SupportedStreamConfigRange>;
    type SupportedOutputConfigs = std::vec::IntoIter<SupportedStreamConfigRange>;
    type Stream = VirtualStream;

    fn description(&self) -> Result<DeviceDescription, cpal::Error> {
        let description =
            DeviceDescriptionBuilder::new(self.host.device_name()).device_type(DeviceType::Virtual);
        Ok(description.direction(DeviceDirection::Duplex).build())
    }

    fn id(&self) -> Result<DeviceId, cpal::Error> {
        Ok(DeviceId::new(HostId::Custom, self.host.device_name()))
    }

    fn supported_input_configs(&self) -> Result<Self::SupportedInputConfigs, cpal::Error> {
        Ok(self.offers())
    }

    fn supported_output_configs(&self) -> Result<Self::SupportedOutputConfigs, cpal::Error> {
        Ok(self.offers())
    }

    fn default_input_config(&self) -> Result<SupportedStreamConfig, cpal::Error> {
        Ok(self.default_config())
    }

    fn default_output_config(&self) -> Result<SupportedStreamConfig, cpal::Error> {
        Ok(self.default_config())
    }

    fn build_input_stream_raw<D, E>(
        &self,
        config: StreamConfig,
        samples: SampleFormat,
        callback: D,
        on_error: E,
        _timeout: Option<Duration>,
    ) -> Result<VirtualStream, cpal::Error>
    where
        D: FnMut(&Data, &InputCallbackInfo) + Send + 'static,
        E: FnMut(cpal::Error) + Send + 'static,
    {
        self.host.inputs.check()?;
        let format = settle(config, samples)?;
        let heard = match &self.host.cable {
            Some(name) => Some(self.host.cables.listen(name, config.channels, config.sample_rate)?),
            None => None,
        };
        let beginning = heard.as_ref().map(Listener::beginning);
        let recording = Recording {
            buffer: vec![0.0; self.host.sizes.most(format) * format.channels()],
            channels: format.channels(),
            heard,
            patient: self.host.pace.is_the_clock(),
            callback,
            length: Duration::from_nanos(format.block_ns()),
        };
        Ok(self.open(format, &self.host.inputs, recording, on_error)?.hearing(beginning))
    }

    fn build_output_stream_raw<D, E>(
        &self,
        config: StreamConfig,
        samples: SampleFormat,
        callback: D,
        on_error: E,
        _timeout: Option<Duration>,
    ) -> Result<VirtualStream, cpal::Error>
    where
        D: FnMut(&mut Data, &OutputCallbackInfo) + Send + 'static,
        E: FnMut(cpal::Error) + Send + 'static,
    {
        self.host.outputs.check()?;
        let format = settle(config, samples)?;
        let plug = match &self.host.cable {
            Some(name) => Some(self.host.cables.plug(name, config.channels, config.sample_rate)?),
            None => None,
        };
        let playing = Playing {
            buffer: vec![0.0; self.host.sizes.most(format) * format.channels()],
            channels: format.channels(),
            plug,
            lent: self.host.lender.lend(),
            lossless: self.host.pace.is_free(),
            callback,
            length: Duration::from_nanos(format.block_ns()),
        };
        self.open(format, &self.host.outputs, playing, on_error)
    }
}

// cpal tells a custom host's devices apart by this.
impl PartialEq for VirtualDevice {
    fn eq(&self, other: &Self) -> bool {
        self.host.cable == other.host.cable
    }
}

impl Eq for VirtualDevice {}

impl Hash for VirtualDevice {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.host.cable.hash(state);
    }
}

impl fmt::Display for VirtualDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host.device_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(channels: u16, rate: u32, buffer: Option<u32>) -> StreamConfig {
        let buffer_size = buffer.map_or(BufferSize::Default, BufferSize::Fixed);
        StreamConfig { channels, sample_rate: rate, buffer_size }
    }

    #[test]
    fn a_format_out_of_bounds_is_refused_with_what_there_is() {
        let refusal = |config, samples| {
            let error = settle(config, samples).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedConfig);
            error.to_string()
        };
        let floats = SampleFormat::F32;
        assert_eq!(refusal(config(2, 48_000, Some(15)), floats), "the buffer is 15, must be 16 to 8192");
        assert_eq!(refusal(config(65, 48_000, None), floats), "channels is 65, must be 1 to 64");
        assert_eq!(refusal(config(2, 7_999, None), floats), "rate is 7999, must be 8000 to 192000");
        assert_eq!(refusal(config(2, 48_000, None), SampleFormat::I16), "samples are i16, must be f32");
    }

    #[test]
    fn every_corner_of_its_offers_can_be_opened() {
        let device = VirtualDevice::of(&VirtualHost::new());
        for offer in device.supported_output_configs().unwrap() {
            for rate in [offer.min_sample_rate(), offer.max_sample_rate()] {
                for buffer in [None, Some(*BLOCK_FRAMES.start()), Some(*BLOCK_FRAMES.end())] {
                    assert!(settle(config(offer.channels(), rate, buffer), offer.sample_format()).is_ok());
                }
            }
        }
        let default = device.default_output_config().unwrap();
        assert!(settle(default.config(), default.sample_format()).is_ok());
    }
}
