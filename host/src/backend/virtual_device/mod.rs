//! The virtual device: an input and an output named "virtual" that need no sound card.
//!
//! For machines without a card, and for tests. It is a cpal custom host: whoever can play through cpal can play
//! through it, and [`super`] opens, converts and counts it like any card. It takes any rate, channel count and
//! buffer within the bounds of [`shared::format`], discards what it is given and hears silence, at the pace of
//! CLOCK_MONOTONIC. The time of callback `n` is `start + n * buffer / rate`, computed from `n` each time, so no
//! rounding adds up: an hour of callbacks takes an hour. A late callback is followed at once by those that fell
//! due meanwhile.
//!
//! Tests can let it run free of the clock, and have what it plays ([`VirtualHost::capturing`]).

mod capture;
mod data;
mod device;
mod metronome;
mod stream;
mod wait;

pub use capture::Played;
pub use device::VirtualDevice;
pub use stream::VirtualStream;

use capture::Lender;
use cpal::platform::CustomHost;
use cpal::traits::HostTrait;

/// The name and the stable id of the virtual device.
pub const NAME: &str = "virtual";
/// Frames per callback where none are asked for.
pub const DEFAULT_BUFFER: u32 = 512;

/// The audio system that has the virtual device.
#[derive(Debug, Clone, Default)]
pub struct VirtualHost {
    free_running: bool,
    lender: Lender,
}

impl VirtualHost {
    /// A host whose device keeps the pace of the clock, as a sound card does.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A host for tests, and what its output plays. Samples are kept for the first output stream at a time.
    #[must_use]
    pub fn capturing() -> (Self, Played) {
        let (lender, played) = capture::capture();
        (Self { free_running: false, lender }, played)
    }

    /// For tests: callbacks follow each other at once. A capture then loses nothing, as the stream waits for
    /// its reader.
    #[must_use]
    pub fn free_running(mut self) -> Self {
        self.free_running = true;
        self
    }
}

impl From<VirtualHost> for cpal::Host {
    fn from(host: VirtualHost) -> Self {
        CustomHost::from_host(host).into()
    }
}

impl HostTrait for VirtualHost {
    type Devices = std::iter::Once<VirtualDevice>;
    type Device = VirtualDevice;

    fn is_available() -> bool {
        true
    }

    fn devices(&self) -> Result<Self::Devices, cpal::Error> {
        Ok(std::iter::once(VirtualDevice::of(self)))
    }

    fn default_input_device(&self) -> Option<VirtualDevice> {
        Some(VirtualDevice::of(self))
    }

    fn default_output_device(&self) -> Option<VirtualDevice> {
        Some(VirtualDevice::of(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpal::traits::{DeviceTrait, StreamTrait};
    use cpal::{BufferSize, StreamConfig, StreamInstant};
    use std::sync::mpsc;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn any_code_on_cpal_plays_through_it_at_exact_times() {
        let (host, mut played) = VirtualHost::capturing();
        let device = cpal::Host::from(host.free_running()).default_output_device().unwrap();
        let config = StreamConfig { channels: 2, sample_rate: 44_100, buffer_size: BufferSize::Fixed(441) };
        let (sender, times) = mpsc::channel();
        let write = move |samples: &mut [f32], info: &cpal::OutputCallbackInfo| {
            samples.fill(0.25);
            let _ = sender.send(info.timestamp());
        };
        let stream = device.build_output_stream(config, write, |_| (), None).unwrap();
        assert_eq!(stream.buffer_size(), Ok(441));
        stream.play().unwrap();
        let mut samples = [0.0; 8820];
        assert_eq!(played.read(&mut samples, PATIENCE), 8820);
        assert!(samples.iter().all(|sample| *sample == 0.25));
        for index in 0..10 {
            let time = times.recv_timeout(PATIENCE).unwrap();
            assert_eq!(time.callback, StreamInstant::from_millis(10 * index));
            assert_eq!(time.playback, StreamInstant::from_millis(10 * (index + 1)));
        }
    }

    #[test]
    fn any_code_on_cpal_hears_silence_from_it() {
        let device = cpal::Host::from(VirtualHost::new()).default_input_device().unwrap();
        let config = StreamConfig { channels: 3, sample_rate: 8_000, buffer_size: BufferSize::Default };
        let (sender, heard) = mpsc::channel();
        let hear = move |samples: &[f32], _: &cpal::InputCallbackInfo| {
            let _ = sender.send(samples.to_vec());
        };
        let stream = device.build_input_stream(config, hear, |_| (), None).unwrap();
        stream.play().unwrap();
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), vec![0.0; 3 * DEFAULT_BUFFER as usize]);
    }
}
