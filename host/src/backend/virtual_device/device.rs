//! The virtual device as cpal asks for it: its name, its offers, and streams to and from it.
//!
//! One device with two directions, as a sound card is. An output and an input run on threads of their own and
//! know nothing of each other.

use super::stream::{Control, VirtualStream};
use super::{DEFAULT_BUFFER, NAME, VirtualHost, data};
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
}

/// All that [`shared::format`] allows; cpal wants each channel count told apart.
fn offers() -> std::vec::IntoIter<SupportedStreamConfigRange> {
    let offer = |channels| {
        let (slowest, fastest) = RATE.into_inner();
        SupportedStreamConfigRange::new(channels, slowest, fastest, buffers(), SampleFormat::F32)
    };
    let offers: Vec<_> = CHANNELS.filter_map(|channels| u16::try_from(channels).ok()).map(offer).collect();
    offers.into_iter()
}

fn buffers() -> SupportedBufferSize {
    SupportedBufferSize::Range { min: *BLOCK_FRAMES.start(), max: *BLOCK_FRAMES.end() }
}

fn default_config() -> SupportedStreamConfig {
    SupportedStreamConfig::new(DEFAULT_CHANNELS, DEFAULT_RATE, buffers(), SampleFormat::F32)
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

impl DeviceTrait for VirtualDevice {
    type SupportedInputConfigs = std::vec::IntoIter<SupportedStreamConfigRange>;
    type SupportedOutputConfigs = std::vec::IntoIter<SupportedStreamConfigRange>;
    type Stream = VirtualStream;

    fn description(&self) -> Result<DeviceDescription, cpal::Error> {
        let description = DeviceDescriptionBuilder::new(NAME).device_type(DeviceType::Virtual);
        Ok(description.direction(DeviceDirection::Duplex).build())
    }

    fn id(&self) -> Result<DeviceId, cpal::Error> {
        Ok(DeviceId::new(HostId::Custom, NAME))
    }

    fn supported_input_configs(&self) -> Result<Self::SupportedInputConfigs, cpal::Error> {
        Ok(offers())
    }

    fn supported_output_configs(&self) -> Result<Self::SupportedOutputConfigs, cpal::Error> {
        Ok(offers())
    }

    fn default_input_config(&self) -> Result<SupportedStreamConfig, cpal::Error> {
        Ok(default_config())
    }

    fn default_output_config(&self) -> Result<SupportedStreamConfig, cpal::Error> {
        Ok(default_config())
    }

    /// What was heard ends with the callback, so it began a buffer earlier; the first can't tell times before 0.
    fn build_input_stream_raw<D, E>(
        &self,
        config: StreamConfig,
        samples: SampleFormat,
        mut callback: D,
        on_error: E,
        _timeout: Option<Duration>,
    ) -> Result<VirtualStream, cpal::Error>
    where
        D: FnMut(&Data, &InputCallbackInfo) + Send + 'static,
        E: FnMut(cpal::Error) + Send + 'static,
    {
        let format = settle(config, samples)?;
        let length = Duration::from_nanos(format.block_ns());
        let mut silence = vec![0.0; format.samples()];
        let record = move |at, _: &Control| {
            let now = StreamInstant::ZERO + at;
            let capture = now.checked_sub(length).unwrap_or(StreamInstant::ZERO);
            let info = InputCallbackInfo::new(InputStreamTimestamp { callback: now, capture });
            data::lend(&mut silence, |data| callback(data, &info));
        };
        VirtualStream::open(format, self.host.free_running, record, on_error)
    }

    /// What is played would be heard when the callback after it is due.
    fn build_output_stream_raw<D, E>(
        &self,
        config: StreamConfig,
        samples: SampleFormat,
        mut callback: D,
        on_error: E,
        _timeout: Option<Duration>,
    ) -> Result<VirtualStream, cpal::Error>
    where
        D: FnMut(&mut Data, &OutputCallbackInfo) + Send + 'static,
        E: FnMut(cpal::Error) + Send + 'static,
    {
        let format = settle(config, samples)?;
        let length = Duration::from_nanos(format.block_ns());
        let mut buffer = vec![0.0; format.samples()];
        let mut lent = self.host.lender.lend();
        let lossless = self.host.free_running;
        let play = move |at, control: &Control| {
            let now = StreamInstant::ZERO + at;
            let info =
                OutputCallbackInfo::new(OutputStreamTimestamp { callback: now, playback: now + length });
            buffer.fill(0.0);
            data::lend(&mut buffer, |data| callback(data, &info));
            lent.play(&buffer, lossless.then_some(control));
        };
        VirtualStream::open(format, self.host.free_running, play, on_error)
    }
}

// cpal tells a custom host's devices apart by their ids, and there is only one.
impl PartialEq for VirtualDevice {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for VirtualDevice {}

impl Hash for VirtualDevice {
    fn hash<H: Hasher>(&self, state: &mut H) {
        NAME.hash(state);
    }
}

impl fmt::Display for VirtualDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
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
