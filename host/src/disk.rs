//! Files at both ends of a real-time chain: a processor that plays one, a processor that records one.
//!
//! A file that is played may have another rate and other channels than the pipeline: its thread converts them.
//! The audio thread only copies frames from or to a ring; a thread of its own reads or writes the file. When
//! the disk can't keep up, playing puts silence in and recording leaves frames out, and both count it. Not for
//! rendering, where the file may be waited for.

use crate::audio_file::{AudioReader, WavWriter};
use crate::block::Block;
use crate::edge::{ChannelMap, PushConverter, Quality};
use crate::error::{Error, Kind, Result};
use crate::processor::{Processor, Turn};
use crate::queue::queue;
use crate::telemetry::PluginStats;
use rtrb::{Consumer, Producer};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Seconds of audio between the audio thread and a file.
const RING_SECONDS: usize = 2;
/// Frames read or written at once.
const CHUNK_FRAMES: usize = 2048;
/// How long a file's thread pauses when there is nothing to do; the audio thread can't wake it, since that
/// would be a system call.
const PAUSE: Duration = Duration::from_millis(10);

/// How far the file of a source has been played. Written by the audio thread, but for `read` and `failed`.
#[derive(Debug, Default)]
pub struct Progress {
    /// The whole file is in the ring.
    read: AtomicBool,
    /// All of it has been played, and this many frames it was; 0 until then.
    end: AtomicU64,
    played: AtomicU64,
    underrun: AtomicU64,
    failed: OnceLock<String>,
}

impl Progress {
    /// Frames of the whole file, once all of it has been played.
    pub fn end(&self) -> Option<u64> {
        Some(self.end.load(Ordering::Acquire)).filter(|frames| *frames > 0)
    }

    /// Why the file could not be read to its end, if so: it has ended there then.
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Frames of silence put in because the file was not read in time.
    pub fn underrun_frames(&self) -> u64 {
        self.underrun.load(Ordering::Relaxed)
    }
}

/// Plays a file, then silence.
pub struct Player {
    frames: Consumer<f32>,
    channels: usize,
    map: ChannelMap,
    progress: Arc<Progress>,
}

/// The thread that reads the file of a [`Player`].
#[derive(Debug)]
pub struct PlayerThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Plays this file to a pipeline of this rate, again and again if it shall `repeat`; `map` is from the file's channels
/// to the pipeline's.
///
/// # Errors
/// The file can't be read, its rate not converted, or its thread not started.
pub fn play(
    reader: AudioReader,
    repeat: bool,
    rate: u32,
    map: ChannelMap,
    quality: Quality,
) -> Result<(Player, PlayerThread, Arc<Progress>)> {
    let channels = map.target();
    let (mut ring, frames) = queue(rate as usize * RING_SECONDS * channels, 0.0);
    let progress = Arc::new(Progress::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (read, stopped) = (Arc::clone(&progress), Arc::clone(&stop));
    let mut file = Reading::new(reader, repeat, rate, map, quality)?;
    // The first second is there before the audio starts.
    while ring.slots() > ring.buffer().capacity() / 2 && file.fill(&mut ring)? {}
    let work = move || {
        let result = file.read_all(&mut ring, &stopped);
        if let Err(error) = &result {
            let _ = read.failed.set(error.to_string());
        }
        read.read.store(true, Ordering::Release);
        result
    };
    let thread = spawn("nda-play", work)?;
    let map = ChannelMap::new(channels, channels);
    let player = Player { frames, channels, map, progress: Arc::clone(&progress) };
    Ok((player, PlayerThread { stop, thread: Some(thread) }, progress))
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let refused = |e| Error::new(Kind::System, "a thread for a file can't be started").source(e);
    thread::Builder::new().name(name.into()).spawn(work).map_err(refused)
}

/// A file being read, as frames of the pipeline.
struct Reading {
    reader: AudioReader,
    repeat: bool,
    map: ChannelMap,
    converter: Option<PushConverter>,
    /// Frames of the file that have been read, and whether that is all.
    read: u64,
    ended: bool,
    /// Frames of the pipeline that the conversion made ahead of the file's first one, yet to be left out.
    ahead: usize,
    /// Frames of the pipeline that are in the ring.
    given: u64,
    rates: (u64, u64),
    buffer: Vec<f32>,
    mapped: Vec<f32>,
}

impl Reading {
    fn new(reader: AudioReader, repeat: bool, rate: u32, map: ChannelMap, quality: Quality) -> Result<Self> {
        let channels = map.target();
        let converter = PushConverter::new(reader.rate(), rate, channels, quality)?;
        let rates = (u64::from(reader.rate()), u64::from(rate));
        let delay = quality.delay_s(reader.rate(), rate) * f64::from(rate);
        Ok(Self {
            buffer: vec![0.0; CHUNK_FRAMES * map.source()],
            mapped: vec![0.0; CHUNK_FRAMES * channels],
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "some hundred frames"
            )]
            ahead: delay.round() as usize,
            reader,
            repeat,
            map,
            converter,
            read: 0,
            ended: false,
            given: 0,
            rates,
        })
    }

    /// Samples of the pipeline that the next chunk makes, at most.
    fn most_samples(&self) -> usize {
        let frames = (CHUNK_FRAMES as u64 * self.rates.1).div_ceil(self.rates.0) + 16;
        usize::try_from(frames).unwrap_or(usize::MAX) * self.map.target()
    }

    fn read_all(&mut self, ring: &mut Producer<f32>, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            if ring.slots() < self.most_samples() {
                thread::park_timeout(PAUSE);
            } else if !self.fill(ring)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One chunk from the file to the ring; false if there is no more.
    fn fill(&mut self, ring: &mut Producer<f32>) -> Result<bool> {
        if self.ended {
            return Ok(self.give_the_rest(ring));
        }
        let frames = self.reader.read(&mut self.buffer)?;
        if frames > 0 {
            self.read += frames as u64;
            let mapped = &mut self.mapped[..frames * self.map.target()];
            self.map.remap(&self.buffer, mapped);
            self.give(ring, frames, u64::MAX);
        } else if self.repeat {
            self.reader.rewind()?;
        } else {
            self.ended = true;
        }
        Ok(true)
    }

    /// Silence behind the file brings out what is still in the converter; false once that is all there.
    fn give_the_rest(&mut self, ring: &mut Producer<f32>) -> bool {
        let end = (self.read * self.rates.1).div_ceil(self.rates.0);
        if self.converter.is_none() || self.given >= end {
            return false;
        }
        self.mapped.fill(0.0);
        self.give(ring, CHUNK_FRAMES, end);
        true
    }

    /// Frames that are mapped go into the ring, up to the pipeline's frame `end`.
    fn give(&mut self, ring: &mut Producer<f32>, frames: usize, end: u64) {
        let Self { converter, mapped, ahead, given, .. } = self;
        let channels = self.map.target();
        let mut put = |samples: &[f32]| {
            let skipped = (*ahead).min(samples.len() / channels);
            *ahead -= skipped;
            let wanted = usize::try_from(end - *given).unwrap_or(usize::MAX).saturating_mul(channels);
            let samples = &samples[skipped * channels..];
            // There is room: see `most_samples`.
            let _ = ring.push_entire_slice(&samples[..samples.len().min(wanted)]);
            *given += (samples.len().min(wanted) / channels) as u64;
        };
        let mapped = &mapped[..frames * channels];
        match converter {
            Some(converter) => converter.push(mapped, put),
            None => put(mapped),
        }
    }
}

impl PlayerThread {
    /// Stops reading; the error that ended the reading early, if one did.
    pub fn finish(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.thread().unpark();
        join(thread)?
    }
}

impl Drop for PlayerThread {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

fn join<T>(thread: JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|_| Error::new(Kind::System, "the thread of a file ended by a panic"))
}

impl Processor for Player {
    fn name(&self) -> &str {
        "file"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        // Asked before looking into the ring: what was read before is in it.
        let whole = self.progress.read.load(Ordering::Acquire);
        let block_frames = block.frames();
        let frames = block_frames.min(self.frames.slots() / self.channels);
        if let Ok(chunk) = self.frames.read_chunk(frames * self.channels) {
            let (first, second) = chunk.as_slices();
            // The ring's length is a whole number of frames, so no frame is cut in two.
            let cut = first.len() / self.channels;
            self.map.deinterleave(first, block.samples_mut(), block_frames, 0);
            self.map.deinterleave(second, block.samples_mut(), block_frames, cut);
            chunk.commit_all();
        }
        block.iter_mut().for_each(|channel| channel[frames..].fill(0.0));
        self.note(frames, block_frames, whole);
    }
}

impl Player {
    fn note(&self, frames: usize, block_frames: usize, whole: bool) {
        let progress = &self.progress;
        let played = progress.played.load(Ordering::Relaxed) + frames as u64;
        progress.played.store(played, Ordering::Relaxed);
        if frames == block_frames {
            return;
        }
        if whole {
            progress.end.store(played, Ordering::Release);
        } else {
            let missing = (block_frames - frames) as u64;
            progress.underrun.store(progress.underrun.load(Ordering::Relaxed) + missing, Ordering::Relaxed);
        }
    }
}

/// How a recording goes.
#[derive(Debug, Default)]
pub struct Recording {
    overrun: AtomicU64,
    failed: OnceLock<String>,
    done: AtomicBool,
}

impl Recording {
    /// Frames that were not recorded because the file was not written in time.
    pub fn overrun_frames(&self) -> u64 {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Why the file can't be written any more, if so.
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// All that was to be recorded is in the file.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

/// Until where to record: the source's end, and the frames that the chain is behind it.
#[derive(Debug, Clone)]
pub struct Until {
    /// How far the source's file has been played, if it is one.
    pub source: Option<Arc<Progress>>,
    /// Frames that come out later than they went in: more of them, if a device takes or brings more at a time some day.
    pub latency_frames: Arc<AtomicU64>,
    /// The plugins that may come to delay by more while they run.
    pub plugins: Vec<Arc<PluginStats>>,
}

impl Until {
    fn frames(&self) -> u64 {
        let end = self.source.as_ref().and_then(|source| source.end());
        let added: u64 = self.plugins.iter().map(|plugin| u64::from(plugin.added_frames())).sum();
        end.map_or(u64::MAX, |frames| frames + self.latency_frames.load(Ordering::Relaxed) + added)
    }
}

/// Records what passes, and leaves it as it is.
pub struct Recorder {
    frames: Producer<f32>,
    channels: usize,
    map: ChannelMap,
    recording: Arc<Recording>,
}

/// The thread that writes the file of a [`Recorder`].
#[derive(Debug)]
pub struct RecorderThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
    recording: Arc<Recording>,
}

/// Records into this file, which has the pipeline's rate; `map` is from the pipeline's channels to the file's.
pub fn record(
    writer: WavWriter,
    rate: u32,
    map: ChannelMap,
    until: Until,
) -> Result<(Recorder, RecorderThread)> {
    let channels = map.target();
    let (frames, ring) = queue(rate as usize * RING_SECONDS * channels, 0.0);
    let recording = Arc::new(Recording::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (state, stopped) = (Arc::clone(&recording), Arc::clone(&stop));
    let work = move || {
        let result = write_all(writer, ring, channels, &until, &stopped, &state);
        if let Err(error) = &result {
            let _ = state.failed.set(error.to_string());
        }
        state.done.store(true, Ordering::Relaxed);
        result
    };
    let thread = spawn("nda-record", work)?;
    let recorder = Recorder { frames, channels, map, recording: Arc::clone(&recording) };
    Ok((recorder, RecorderThread { stop, thread: Some(thread), recording }))
}

fn write_all(
    mut writer: WavWriter,
    mut ring: Consumer<f32>,
    channels: usize,
    until: &Until,
    stop: &AtomicBool,
    recording: &Recording,
) -> Result<u64> {
    let mut written = 0;
    loop {
        // Asked before looking into the ring: what was recorded before is in it.
        let last = stop.load(Ordering::Acquire);
        let there = ring.slots() / channels;
        let limit = until.frames();
        recording.done.store(written >= limit, Ordering::Relaxed);
        if there == 0 {
            if last {
                return writer.finalize();
            }
            thread::park_timeout(PAUSE);
            continue;
        }
        let Ok(chunk) = ring.read_chunk(there.min(CHUNK_FRAMES) * channels) else { continue };
        let left =
            usize::try_from(limit.saturating_sub(written)).unwrap_or(usize::MAX).saturating_mul(channels);
        let (first, second) = chunk.as_slices();
        writer.write(&first[..first.len().min(left)])?;
        writer.write(&second[..second.len().min(left.saturating_sub(first.len()))])?;
        written += (chunk.len() / channels).min(left / channels) as u64;
        chunk.commit_all();
    }
}

impl RecorderThread {
    /// How the recording goes.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Writes what is still in the ring and completes the file; its frames.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return Ok(0) };
        thread.thread().unpark();
        join(thread)?
    }
}

impl Drop for RecorderThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Processor for Recorder {
    fn name(&self) -> &str {
        "record"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        let frames = block.frames();
        let fits = frames.min(self.frames.slots() / self.channels);
        if let Ok(mut chunk) = self.frames.write_chunk(fits * self.channels) {
            let (first, second) = chunk.as_mut_slices();
            let cut = first.len() / self.channels;
            self.map.interleave(block.samples(), frames, 0, first);
            self.map.interleave(block.samples(), frames, cut, second);
            chunk.commit_all();
        }
        if fits < frames {
            let lost = self.recording.overrun.load(Ordering::Relaxed) + (frames - fits) as u64;
            self.recording.overrun.store(lost, Ordering::Relaxed);
        }
    }
}
