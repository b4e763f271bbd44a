//! What a pipeline adds between source and sink, added up when it is opened.
//!
//! For the status and the reports. Nothing is measured here: it is what device, adaptation, mode and plugins say.

use crate::reblock::adaptation_frames;
use crate::report::Latency;
use shared::format::Format;

pub(super) fn latency(
    format: Format,
    plugin_frames: u32,
    chain_latency: u32,
    fifo_frames: usize,
    buffers: &[Option<u32>],
    device_frames: u32,
    is_captured: bool,
) -> Latency {
    let buffer = buffers.first().copied().flatten();
    let adaptation = match (fifo_frames, is_captured) {
        (0, true) => adaptation_frames(format.block_frames(), buffer),
        (frames, _) => frames,
    };
    let adaptation_frames = u32::try_from(adaptation).unwrap_or(u32::MAX);
    let total = u64::from(chain_latency) + u64::from(adaptation_frames) + u64::from(device_frames);
    Latency {
        mode_frames: chain_latency - plugin_frames,
        plugin_frames,
        adaptation_frames,
        device_frames,
        total_ms: total as f64 * 1e3 / f64::from(format.rate()),
    }
}
