//! The virtual device: an input and an output named "virtual" that need no sound card.
//!
//! For machines without a card, and for tests. It is a cpal custom host: whoever can play through cpal can play
//! through it, and [`super`] opens, converts and counts it like any card. It takes any rate, channel count and
//! buffer within the bounds of [`shared::format`], discards what it is given and hears silence, at the pace of
//! CLOCK_MONOTONIC. The time of callback `n` is `start + n * buffer / rate`, computed from `n` each time, so no
//! rounding adds up: an hour of callbacks takes an hour. A late callback is followed at once by those that fell
//! due meanwhile.
//!
//! `virtual:NAME` is a cable ([`cable`]): what its output plays, its inputs hear, in the same process, bit by bit.
//! A device whose clock is to be off by so many `ppm` tells how the rest stands that.
//!
//! Tests can let it run free of the clock or in simulated time ([`VirtualHost::simulated`]), and have what it
//! plays ([`VirtualHost::capturing`]).

mod cable;
mod capture;
mod data;
mod device;
mod metronome;
mod presence;
mod simulation;
mod stream;
mod wait;

pub use capture::Played;
pub use device::VirtualDevice;
pub use presence::Presence;
pub use simulation::Simulation;
pub use stream::VirtualStream;

use cable::Cables;
use capture::Lender;
use cpal::platform::CustomHost;
use cpal::traits::HostTrait;
use metronome::Sizes;
use std::ops::RangeInclusive;
use std::sync::Arc;
use stream::Pace;

/// The name and the stable id of the virtual device.
pub const NAME: &str = "virtual";
/// Frames per callback where none are asked for.
pub const DEFAULT_BUFFER: u32 = 512;
/// By how many millionths its clock may be off.
pub const PPM: RangeInclusive<i32> = -10_000..=10_000;

/// The name of the cable that a device of this name is, if it is one.
#[must_use]
pub fn cable_name(device: &str) -> Option<&str> {
    let name = device.strip_prefix(NAME)?.strip_prefix(':')?.trim();
    (!name.is_empty()).then_some(name)
}

/// The audio system that has the virtual device.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    pace: Pace,
    sizes: Sizes,
    ppm: i32,
    cable: Option<Arc<str>>,
    cables: Cables,
    lender: Lender,
    inputs: Presence,
    outputs: Presence,
}

impl VirtualHost {
    /// A host whose device keeps the pace of the clock, as a sound card does, and whose cables reach all of this
    /// process.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pace: Pace::default(),
            sizes: Sizes::default(),
            ppm: 0,
            cable: None,
            cables: Cables::of_the_process(),
            lender: Lender::default(),
            inputs: Presence::default(),
            outputs: Presence::default(),
        }
    }

    /// A host for tests, and what its output plays. Samples are kept for the first output stream at a time.
    #[must_use]
    pub fn capturing() -> (Self, Played) {
        let (lender, played) = capture::capture();
        (Self { lender, cables: Cables::default(), ..Self::new() }, played)
    }

    /// A host for tests in simulated time: its streams call back only while the simulation is run, in the order in
    /// which they are due, on the thread that runs it. Its cables are its own; an input never waits for an output.
    #[must_use]
    pub fn simulated() -> (Self, Simulation) {
        let simulation = Simulation::default();
        let pace = Pace::Simulated(simulation.clone());
        (Self { pace, cables: Cables::default(), ..Self::new() }, simulation)
    }

    /// For tests: a handle by which its inputs come and go.
    #[must_use]
    pub fn inputs(&self) -> Presence {
        self.inputs.clone()
    }

    /// For tests: a handle by which its outputs come and go.
    #[must_use]
    pub fn outputs(&self) -> Presence {
        self.outputs.clone()
    }

    /// For tests: callbacks follow each other at once. A capture then loses nothing, as the stream waits for
    /// its reader; a cable does.
    #[must_use]
    pub fn free_running(mut self) -> Self {
        self.pace = Pace::Free;
        self
    }

    /// For tests: callbacks have up to so many frames more or fewer than the buffer, as PulseAudio's do.
    #[must_use]
    pub fn jittered(mut self, frames: u32) -> Self {
        self.sizes = Sizes::Jittered(frames);
        self
    }

    /// The same host, its device's clock fast by so many millionths, or slow. See [`PPM`].
    #[must_use]
    pub fn off_by(mut self, ppm: i32) -> Self {
        self.ppm = ppm;
        self.cables = self.cables.off_by(ppm);
        self
    }

    /// The same host, its device being the cable of this name.
    #[must_use]
    pub fn cable(mut self, name: &str) -> Self {
        self.cable = Some(name.into());
        self
    }

    /// By how many millionths its device's clock is off.
    pub(super) fn ppm(&self) -> i32 {
        self.ppm
    }

    /// Whether its device hears what is played.
    pub(super) fn is_cable(&self) -> bool {
        self.cable.is_some()
    }

    fn device_name(&self) -> String {
        self.cable.as_deref().map_or_else(|| NAME.to_owned(), |cable| format!("{NAME}:{cable}"))
    }
}

impl Default for VirtualHost {
    fn default() -> Self {
        Self::new()
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
    use std::time::{Duration, Instant};

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

    const MONO: StreamConfig =
        StreamConfig { channels: 1, sample_rate: 48_000, buffer_size: BufferSize::Fixed(480) };

    fn hearing(host: &VirtualHost) -> (VirtualStream, mpsc::Receiver<Vec<f32>>) {
        let (sender, heard) = mpsc::channel();
        let hear = move |samples: &[f32], _: &cpal::InputCallbackInfo| {
            let _ = sender.send(samples.to_vec());
        };
        let device = host.default_input_device().unwrap();
        let stream = device.build_input_stream(MONO, hear, |e| panic!("{e}"), None).unwrap();
        stream.play().unwrap();
        (stream, heard)
    }

    /// Plays 1, 2, 3, ...
    fn counting(host: &VirtualHost) -> VirtualStream {
        let mut next = 0.0;
        let write = move |samples: &mut [f32], _: &cpal::OutputCallbackInfo| {
            samples.iter_mut().for_each(|sample| {
                next += 1.0;
                *sample = next;
            });
        };
        let device = host.default_output_device().unwrap();
        let stream = device.build_output_stream(MONO, write, |e| panic!("{e}"), None).unwrap();
        stream.play().unwrap();
        stream
    }

    #[test]
    fn what_is_played_into_a_cable_is_heard_by_each_of_its_inputs_without_a_frame_lost() {
        let host = VirtualHost::new().cable("a test's");
        let inputs = [hearing(&host), hearing(&host)];
        let output = counting(&host);
        for (_, heard) in &inputs {
            let mut next = 1.0;
            while next < 9600.0 {
                for sample in heard.recv_timeout(PATIENCE).unwrap() {
                    assert!(sample == next || (next == 1.0 && sample == 0.0), "{sample} in place of {next}");
                    next += f32::from(sample == next);
                }
            }
        }
        drop(output);
        while inputs[0].1.recv_timeout(PATIENCE).unwrap() != vec![0.0; 480] {}
    }

    /// An input that has had so many callbacks when an output's first one begins hears it as many later and one.
    #[test]
    fn a_cable_has_the_same_lag_in_whichever_order_the_first_callbacks_come() {
        for round in 0..10 {
            let host = VirtualHost::new().cable("a test's lag");
            let before = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let (sender, heard) = mpsc::channel();
            let count = Arc::clone(&before);
            let hear = move |samples: &[f32], _: &cpal::InputCallbackInfo| {
                let _ = sender.send(samples[0]);
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            };
            let mut first = None;
            let (tell, had) = mpsc::channel();
            let write = move |samples: &mut [f32], _: &cpal::OutputCallbackInfo| {
                if first.is_none() {
                    let count = before.load(std::sync::atomic::Ordering::SeqCst);
                    let _ = tell.send(*first.insert(count));
                    // As a chain may that runs for the first time, for some of the input's buffers.
                    let until = Instant::now() + Duration::from_millis(5);
                    while Instant::now() < until {
                        std::hint::spin_loop();
                    }
                }
                samples.fill(1.0);
            };
            let config = StreamConfig { buffer_size: BufferSize::Fixed(48), ..MONO };
            let device = host.default_input_device().unwrap();
            let input = device.build_input_stream(config, hear, |_| (), None).unwrap();
            let output = device.build_output_stream(config, write, |_| (), None).unwrap();
            input.play().unwrap();
            output.play().unwrap();
            let had = had.recv_timeout(PATIENCE).unwrap();
            let silent = std::iter::from_fn(|| heard.recv_timeout(PATIENCE).ok())
                .take_while(|sample| *sample == 0.0)
                .count();
            assert_eq!(silent, had + 1, "in round {round}");
        }
    }

    #[test]
    fn in_simulated_time_a_cable_is_one_buffer_long_and_callbacks_come_when_they_are_due() {
        let (host, simulation) = VirtualHost::simulated();
        let host = host.cable("loop");
        let (_input, heard) = hearing(&host);
        let _output = counting(&host);
        assert!(heard.try_recv().is_err(), "time has passed by itself");
        simulation.run(Duration::from_millis(50));
        let heard = heard.try_iter().flatten().collect::<Vec<_>>();
        // Both are due at once; the input was opened first, so it hears nothing yet when it is called first.
        let silence = 2 * 480;
        let expected = (0..5 * 480).map(|n: u32| n.saturating_sub(silence - 1) as f32);
        assert_eq!(heard, expected.collect::<Vec<_>>());
    }

    #[test]
    fn an_hour_of_a_clock_that_is_off_has_so_many_callbacks_more() {
        let (host, simulation) = VirtualHost::simulated();
        let hosts = [host.clone(), host.clone().off_by(200), host.off_by(-200)];
        let inputs: Vec<_> = hosts.iter().map(hearing).collect();
        simulation.run(Duration::from_secs(3600));
        let callbacks = inputs.iter().map(|(_, heard)| heard.try_iter().count()).collect::<Vec<_>>();
        assert_eq!(callbacks, [360_000, 360_072, 359_928]);
    }

    #[test]
    fn a_paused_stream_of_a_simulation_stands_still() {
        let (host, simulation) = VirtualHost::simulated();
        let (input, heard) = hearing(&host);
        input.pause().unwrap();
        simulation.run(Duration::from_secs(1));
        assert_eq!(heard.try_iter().count(), 0);
        input.play().unwrap();
        simulation.run(Duration::from_secs(1));
        assert_eq!(heard.try_iter().count(), 100);
    }

    #[test]
    fn a_cable_offers_what_it_carries_while_it_is_in_use() {
        let (host, _simulation) = VirtualHost::simulated();
        let host = host.cable("a");
        let device = host.default_input_device().unwrap();
        assert!(device.supported_input_configs().unwrap().count() > 1);
        let _output = counting(&host);
        let offers: Vec<_> = device.supported_input_configs().unwrap().collect();
        assert_eq!(offers.len(), 1);
        assert_eq!((offers[0].channels(), offers[0].min_sample_rate()), (1, 48_000));
        assert_eq!(device.description().unwrap().name(), "virtual:a");
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
