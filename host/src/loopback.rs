//! What a pipeline's latency is when it is measured: impulses sent through its sink that come back by its source.
//!
//! For `nda latency`. The sink has to be joined with the source: by a cable between two devices, or by a virtual cable,
//! which is one already. The pipeline is run as it is, with one processor more, the last before the sink: it hears what
//! has gone through everything, and plays an impulse in place of that. From one impulse to its return is all that a
//! pipeline adds, device, adaptation, mode and plugins, in frames of the device that paces it. When a card's input calls
//! back between two callbacks of its output is chance: from run to run it differs by up to a buffer; through a virtual
//! cable it doesn't. A plugin that makes something else of an impulse (an encryptor without its counterpart) can't be
//! measured so.

use crate::block::Block;
use crate::config::PipelineSpec;
use crate::error::{Error, Kind, Result};
use crate::level::Level;
use crate::pipeline::{Around, Pipeline};
use crate::processor::{Processor, Turn};
use crate::report::{Latency, Xruns};
use crate::supervisor::Supervisor;
use rtrb::{Consumer, Producer, RingBuffer};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How loud an impulse is: a single frame of this.
const IMPULSE: f32 = 0.5;
/// What is at least this loud has come back: converters spread an impulse over several frames.
const HEARD: f32 = 0.1;
/// Frames after the first loud one within which its peak is looked for.
const SPREAD_FRAMES: u64 = 32;
/// Silence before an impulse: what the one before left has gone by. A bit more each time, so that it meets the blocks
/// and buffers elsewhere.
const PAUSE_BLOCKS: u64 = 16;
const STEP_FRAMES: u64 = 37;
/// How often it is looked what has come back: the audio thread wakes nobody.
const LOOK: Duration = Duration::from_millis(5);
/// After so long an impulse is lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// A latency as it was computed and as it was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The pipeline's name.
    pub name: String,
    /// What it goes through, in words.
    pub through: String,
    /// Frames per second.
    pub rate: u32,
    /// What it was computed to be.
    pub computed: Latency,
    /// The same in frames.
    pub computed_frames: u64,
    /// Frames from each impulse to its return.
    pub measured_frames: Vec<u64>,
    /// Impulses that did not come back.
    pub lost: u32,
    /// What else happened meanwhile: an impulse that meets one of these takes longer or shorter than others.
    pub xruns: Xruns,
}

impl Measured {
    /// The one in the middle of those measured; `None` if none came back.
    #[must_use]
    pub fn median_frames(&self) -> Option<u64> {
        let mut sorted = self.measured_frames.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

/// Opens the pipeline, sends `impulses`, and waits for each. The source and the sink of `spec` are to be joined.
///
/// # Errors
/// As [`Pipeline::open`]; of kind `Device` if nothing came back.
pub fn measure(
    spec: &PipelineSpec,
    impulses: u32,
    stop: &AtomicBool,
    note: &mut dyn FnMut(Level, String),
) -> Result<Measured> {
    let (supervisor, _events) = Supervisor::new()?;
    let (probe, mut returns) = Probe::new(impulses);
    let around = Around { before: Vec::new(), behind: vec![Box::new(probe)], ..Around::default() };
    let mut pipeline = Pipeline::open_around(spec, &supervisor, "", around, note)?;
    pipeline.play()?;
    let deadline = Instant::now() + PATIENCE * (impulses + 1);
    while returns.heard.len() + (returns.lost as usize) < impulses as usize
        && Instant::now() < deadline
        && !stop.load(Ordering::Relaxed)
    {
        std::thread::park_timeout(LOOK);
        returns.take();
    }
    let status = pipeline.status();
    pipeline.close();
    if returns.heard.is_empty() && !stop.load(Ordering::Relaxed) {
        return Err(nothing_came_back(&status.sink, &status.source));
    }
    let latency = status.latency;
    let frames =
        [latency.mode_frames, latency.plugin_frames, latency.adaptation_frames, latency.device_frames];
    Ok(Measured {
        name: status.name,
        through: format!("{} to {}", status.sink, status.source),
        rate: status.rate,
        computed: latency,
        computed_frames: frames.into_iter().map(u64::from).sum(),
        measured_frames: returns.heard,
        lost: returns.lost,
        xruns: status.xruns,
    })
}

fn nothing_came_back(sink: &str, source: &str) -> Error {
    let what = format!("no impulse that was played to {sink} came back by {source}");
    Error::new(Kind::Device, what).remedy(
        "join the output with the input by a cable, and turn up both; a plugin that makes noise of its input needs its \
         counterpart behind it",
    )
}

/// What became of the impulses.
struct Returns {
    queue: Consumer<Option<u64>>,
    heard: Vec<u64>,
    lost: u32,
}

impl Returns {
    fn take(&mut self) {
        while let Ok(came_back) = self.queue.pop() {
            match came_back {
                Some(frames) => self.heard.push(frames),
                None => self.lost += 1,
            }
        }
    }
}

/// Sends impulses and counts frames until they return.
struct Probe {
    returns: Producer<Option<u64>>,
    left: u32,
    /// Frames so far.
    now: u64,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// An impulse goes out with this frame.
    Pause { until: u64 },
    /// It went out with this frame.
    Out { since: u64 },
    /// It is coming back; its loudest frame so far, and how loud that is.
    Back { since: u64, first: u64, peak: u64, level: f32 },
}

impl Probe {
    fn new(impulses: u32) -> (Self, Returns) {
        let (returns, queue) = RingBuffer::new(impulses.max(1) as usize);
        let state = State::Pause { until: 0 };
        (Self { returns, left: impulses, now: 0, state }, Returns { queue, heard: Vec::new(), lost: 0 })
    }

    /// Looks at the loudest channel of a frame.
    fn hear(&mut self, frame: u64, level: f32, patience_frames: u64) {
        match self.state {
            State::Out { since } if level >= HEARD => {
                self.state = State::Back { since, first: frame, peak: frame, level };
            }
            State::Out { since } if frame > since + patience_frames => self.settle(None, frame),
            State::Back { since, first, peak, .. } if frame > first + SPREAD_FRAMES => {
                self.settle(Some(peak - since), frame);
            }
            State::Back { since, first, level: highest, .. } if level > highest => {
                self.state = State::Back { since, first, peak: frame, level };
            }
            _ => {}
        }
    }

    fn settle(&mut self, came_back: Option<u64>, frame: u64) {
        // There is room for each: no more are sent.
        let _ = self.returns.push(came_back);
        self.left -= 1;
        self.state = State::Pause { until: frame };
    }
}

impl Processor for Probe {
    fn name(&self) -> &str {
        "impulses"
    }

    /// # Real-time
    /// Yes: no allocation, no lock, no wait.
    fn process(&mut self, block: &mut Block<'_>, turn: &Turn) {
        let frames = block.frames();
        let block_ns = turn.budget_ns.max(1);
        #[expect(clippy::cast_possible_truncation, reason = "some hundred thousand blocks")]
        let patience_blocks = (PATIENCE.as_nanos() as u64 / block_ns) as usize;
        for index in 0..frames {
            let level = block.iter().map(|channel| channel[index].abs()).fold(0.0, f32::max);
            self.hear(self.now + index as u64, level, (patience_blocks * frames) as u64);
        }
        block.samples_mut().fill(0.0);
        if let State::Pause { until } = self.state
            && self.left > 0
            && self.now >= until + PAUSE_BLOCKS * frames as u64
        {
            #[expect(clippy::cast_possible_truncation, reason = "less than a block")]
            let place = (u64::from(self.left) * STEP_FRAMES % frames as u64) as usize;
            block.iter_mut().for_each(|channel| channel[place] = IMPULSE);
            self.state = State::Out { since: self.now + place as u64 };
        }
        self.now += frames as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 64;

    /// What a probe hears of its own impulses after so many frames, spread and softened by `echo`.
    fn returns_after(frames: usize, echo: &[f32]) -> Returns {
        let (mut probe, mut returns) = Probe::new(4);
        let mut line = std::collections::VecDeque::from(vec![0.0; frames]);
        for _ in 0..400 {
            let mut samples: Vec<f32> = line.drain(..BLOCK).collect();
            let turn = Turn { waiting: 0, ..Turn::new(0, 1_333_333) };
            probe.process(&mut Block::new(&mut samples, BLOCK), &turn);
            line.extend(&samples);
            for place in line.len() - BLOCK..line.len() {
                if line[place] == IMPULSE {
                    let room = (line.len() - place).min(echo.len());
                    (0..room).for_each(|k| line[place + k] = IMPULSE * echo[k]);
                }
            }
        }
        returns.take();
        returns
    }

    #[test]
    fn an_impulse_is_timed_to_the_frame_wherever_it_meets_the_blocks() {
        for frames in [64, 65, 128, 1000] {
            assert_eq!(returns_after(frames, &[1.0]).heard, [frames as u64; 4], "{frames}");
        }
    }

    #[test]
    fn of_an_impulse_that_was_spread_the_peak_counts() {
        // Within the block that it was sent in, so that no echo is cut off.
        let heard = returns_after(256, &[0.3, 0.5, 0.9, 0.4]).heard;
        assert!(heard.contains(&258), "{heard:?}");
    }

    #[test]
    fn an_impulse_that_does_not_come_back_is_lost() {
        let (mut probe, mut returns) = Probe::new(2);
        let turn = Turn { waiting: 0, ..Turn::new(0, 1_333_333) };
        for _ in 0..10_000 {
            let mut samples = [0.0; BLOCK];
            probe.process(&mut Block::new(&mut samples, BLOCK), &turn);
        }
        returns.take();
        assert_eq!((returns.heard.len(), returns.lost), (0, 2));
    }
}
