//! The streams of a pipeline, and the callbacks in which its chain runs.
//!
//! For opening. What a callback does here is all that happens on an audio thread outside the chain: frames to
//! blocks and back, and the time that each block has.

use super::devices::Devices;
use crate::backend::{Capture, Device, MOST_FRAMES, Playback, Stream, StreamEvent};
use crate::chain::Chain;
use crate::error::Result;
use crate::realtime::priority::Rank;
use crate::reblock::{FifoCounts, FrameWriter, InputReblock, OutputReblock};
use shared::format::Format;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

pub(super) type Fifo = Option<(FrameWriter, Arc<FifoCounts>)>;

/// Opens the streams, paused; the first one paces the chain.
pub(super) fn open_streams(
    devices: Devices,
    chain: Chain,
    frames: &Arc<AtomicU64>,
    events: &Sender<StreamEvent>,
    fifo: Fifo,
    rank: &Rank,
) -> Result<Vec<Stream>> {
    let frames = Arc::clone(frames);
    let [input, output] = [devices.input, devices.output].map(|settled| settled.map(|s| s.device));
    match (input, output) {
        (input, Some(output)) => {
            let pacing = open_output(output, chain, frames, events.clone(), rank.clone())?;
            let captured = input
                .zip(fifo)
                .map(|(input, (writer, _))| open_capture(input, writer, events.clone(), rank.clone()));
            Ok(std::iter::once(Ok(pacing)).chain(captured).collect::<Result<_>>()?)
        }
        (Some(input), None) => Ok(vec![open_input(input, chain, frames, events.clone(), rank.clone())?]),
        (None, None) => Ok(Vec::new()),
    }
}

/// Device news that don't allocate go through; the channel allocates only for a device that is lost.
fn tell(events: Sender<StreamEvent>) -> impl FnMut(StreamEvent) + Send + 'static {
    move |event| {
        if event != StreamEvent::Xrun {
            let _ = events.send(event);
        }
    }
}

fn open_output(
    device: Device,
    mut chain: Chain,
    frames: Arc<AtomicU64>,
    events: Sender<StreamEvent>,
    mut rank: Rank,
) -> Result<Stream> {
    let format = chain.format();
    let mut blocks = OutputReblock::new(format, device.channels(), MOST_FRAMES);
    let play = move |playback: &mut Playback<'_>| {
        rank.take();
        let needed = blocks.blocks_needed(playback.frames).max(1);
        let budget_ns = budget_ns(format, playback.frames, needed);
        blocks.fill(playback.samples, |samples| {
            run_block(&mut chain, samples, budget_ns, &frames);
        });
    };
    device.open_output(play, tell(events))
}

fn open_input(
    device: Device,
    mut chain: Chain,
    frames: Arc<AtomicU64>,
    events: Sender<StreamEvent>,
    mut rank: Rank,
) -> Result<Stream> {
    let format = chain.format();
    let mut blocks = InputReblock::new(format, device.channels(), MOST_FRAMES);
    let capture = move |capture: &Capture<'_>| {
        rank.take();
        let ready = blocks.blocks_ready(capture.frames).max(1);
        let budget_ns = budget_ns(format, capture.frames, ready);
        blocks.push(capture.samples, |samples| run_block(&mut chain, samples, budget_ns, &frames));
    };
    device.open_input(capture, tell(events))
}

fn open_capture(
    device: Device,
    mut writer: FrameWriter,
    events: Sender<StreamEvent>,
    mut rank: Rank,
) -> Result<Stream> {
    let capture = move |capture: &Capture<'_>| {
        rank.take();
        writer.write(capture.samples, capture.channels);
    };
    device.open_input(capture, tell(events))
}

/// The time that each of a callback's blocks has: a share of the callback's, never more than a block lasts.
fn budget_ns(format: Format, callback_frames: usize, blocks: usize) -> u64 {
    (format.frames_ns(callback_frames as u64) / blocks as u64).min(format.block_ns())
}

fn run_block(chain: &mut Chain, samples: &mut [f32], budget_ns: u64, frames: &AtomicU64) {
    chain.process_within(samples, budget_ns);
    let done = frames.load(Ordering::Relaxed) + chain.format().block_frames() as u64;
    frames.store(done, Ordering::Relaxed);
}
