//! What a pipeline adds between source and sink, added up from what is known when it is opened and what its devices are
//! like now: one that comes back may have another buffer or another rate.
//!
//! For the status and the reports. Nothing is measured here: it is what device, adaptation, mode and plugins say.

use crate::chain::Delays;
use crate::edge::adaptation_frames;
use crate::report::Latency;
use shared::format::Format;

/// What is known when a pipeline is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) format: Format,
    /// What the chain delays by.
    pub(super) delays: Delays,
    /// Frames that lie between an input device and an output device.
    pub(super) queue_frames: usize,
    /// The source is a device.
    pub(super) is_captured: bool,
    /// It paces the pipeline though the sink is one too.
    pub(super) is_paced_by_source: bool,
}

/// What a device adds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Added {
    /// Its buffer, in its own frames.
    pub(super) buffer_frames: Option<u32>,
    /// Frames that lie in it.
    pub(super) device_frames: u32,
    /// Frames by which the conversion of its rate delays.
    pub(super) conversion_frames: f64,
}

impl Plan {
    /// The latency with these devices, the one that paces first; a capture queue that has grown by `grown` frames; and
    /// plugins that come `later` frames later than planned.
    pub(super) fn latency(&self, devices: &[Added], grown: u32, later: u32) -> Latency {
        let Self { format, delays: Delays { plugin_frames, chain_frames }, queue_frames, .. } = *self;
        let converted: f64 = devices.iter().map(|device| device.conversion_frames).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundred frames")]
        let conversion_frames = converted.round() as usize;
        // Converted frames come in numbers that vary.
        let pacing = devices.first().filter(|_| conversion_frames == 0);
        // An input's buffers become blocks where it calls for them, and lie in the queue as they come where it does not.
        let is_called_for = self.is_captured && (queue_frames == 0 || self.is_paced_by_source);
        let buffer_frames = pacing.and_then(|device| device.buffer_frames);
        let blocks = if is_called_for { adaptation_frames(format.block_frames(), buffer_frames) } else { 0 };
        let adaptation = blocks + queue_frames + grown as usize;
        let adaptation_frames = u32::try_from(adaptation + conversion_frames).unwrap_or(u32::MAX);
        let device_frames = devices.iter().map(|device| device.device_frames).sum();
        let mode_frames = chain_frames - plugin_frames + later;
        Latency { mode_frames, plugin_frames, adaptation_frames, device_frames, ..Latency::default() }
            .at(format.rate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latency_is_that_of_the_devices_as_they_are_and_of_the_queue_as_it_has_grown() {
        let format = Format::new(2, 128, 48_000).unwrap();
        let plan = Plan {
            format,
            delays: Delays { plugin_frames: 10, chain_frames: 138 },
            queue_frames: 384,
            is_captured: true,
            is_paced_by_source: false,
        };
        let device = |device_frames, conversion_frames| Added {
            buffer_frames: Some(128),
            device_frames,
            conversion_frames,
        };
        let before = plan.latency(&[device(128, 0.0), device(128, 0.0)], 0, 0);
        assert_eq!((before.adaptation_frames, before.device_frames, before.mode_frames), (384, 256, 128));
        let after = plan.latency(&[device(128, 0.0), device(4096, 70.4)], 3968, 128);
        assert_eq!((after.adaptation_frames, after.device_frames), (384 + 3968 + 70, 128 + 4096));
        assert_eq!((after.mode_frames, after.plugin_frames), (256, 10));
        let total = f64::from(138 + 128 + after.adaptation_frames + after.device_frames) / 48.0;
        assert!((after.total_ms - total).abs() < 1e-9, "{}", after.total_ms);
        let parts = [after.mode_ms, after.plugin_ms, after.adaptation_ms, after.device_ms];
        assert_eq!(parts, [256, 10, 4422, 4224].map(|frames| f64::from(frames) / 48.0));
    }
}
