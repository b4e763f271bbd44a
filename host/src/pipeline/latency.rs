//! What a pipeline adds between source and sink, added up when it is opened.
//!
//! For the status and the reports. Nothing is measured here: it is what device, adaptation, mode and plugins say.

use crate::edge::adaptation_frames;
use crate::report::Latency;
use shared::format::Format;

/// What the devices at a pipeline's ends add.
pub(super) struct Ends {
    /// Frames that lie between an input device and an output device.
    pub(super) queue_frames: usize,
    /// Frames by which conversions of rates delay.
    pub(super) conversion_frames: usize,
    /// Frames that lie in the devices.
    pub(super) device_frames: u32,
    /// The source is a device.
    pub(super) is_captured: bool,
}

pub(super) fn latency(
    format: Format,
    plugin_frames: u32,
    chain_latency: u32,
    buffers: &[Option<u32>],
    ends: &Ends,
) -> Latency {
    let Ends { queue_frames, conversion_frames, device_frames, is_captured } = *ends;
    // Converted frames come in numbers that vary.
    let buffer = buffers.first().copied().flatten().filter(|_| conversion_frames == 0);
    let adaptation = match (queue_frames, is_captured) {
        (0, true) => adaptation_frames(format.block_frames(), buffer),
        (frames, _) => frames,
    };
    let adaptation_frames = u32::try_from(adaptation + conversion_frames).unwrap_or(u32::MAX);
    let total = u64::from(chain_latency) + u64::from(adaptation_frames) + u64::from(device_frames);
    Latency {
        mode_frames: chain_latency - plugin_frames,
        plugin_frames,
        adaptation_frames,
        device_frames,
        total_ms: total as f64 * 1e3 / f64::from(format.rate()),
    }
}
