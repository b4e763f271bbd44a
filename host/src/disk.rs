//! Files at both ends of a real-time chain: a processor that plays one, a processor that records one.
//!
//! The audio thread only copies frames from or to a ring; a thread of its own reads or writes the file. When
//! the disk can't keep up, playing puts silence in and recording leaves frames out, and both count it. Not for
//! rendering, where the file may be waited for.

use crate::audio_file::{AudioReader, WavWriter};
use crate::block::Block;
use crate::error::{Error, Kind, Result};
use crate::processor::{Processor, Turn};
use crate::reblock::{deinterleave, interleave};
use crate::telemetry::PluginStats;
use rtrb::{Consumer, Producer, RingBuffer};
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

/// How far the file of a source has been played. Written by the audio thread, but for `read`.
#[derive(Debug, Default)]
pub struct Progress {
    /// The whole file is in the ring.
    read: AtomicBool,
    /// All of it has been played, and this many frames it was; 0 until then.
    end: AtomicU64,
    played: AtomicU64,
    underrun: AtomicU64,
}

impl Progress {
    /// Frames of the whole file, once all of it has been played.
    pub fn end(&self) -> Option<u64> {
        Some(self.end.load(Ordering::Acquire)).filter(|frames| *frames > 0)
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
    progress: Arc<Progress>,
}

/// The thread that reads the file of a [`Player`].
#[derive(Debug)]
pub struct PlayerThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Plays this file, again and again if it shall `repeat`.
pub fn play(mut reader: AudioReader, repeat: bool) -> Result<(Player, PlayerThread, Arc<Progress>)> {
    let channels = reader.channels() as usize;
    let (mut ring, frames) = RingBuffer::new(reader.rate() as usize * RING_SECONDS * channels);
    let progress = Arc::new(Progress::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (read, stopped) = (Arc::clone(&progress), Arc::clone(&stop));
    let mut buffer = vec![0.0; CHUNK_FRAMES * channels];
    // The first second is there before the audio starts.
    while ring.slots() > ring.buffer().capacity() / 2 && fill(&mut reader, &mut ring, &mut buffer)? {}
    let work = move || {
        let result = read_all(reader, repeat, &mut ring, &mut buffer, &stopped);
        read.read.store(true, Ordering::Release);
        result
    };
    let thread = spawn("nda-play", work)?;
    let player = Player { frames, channels, progress: Arc::clone(&progress) };
    Ok((player, PlayerThread { stop, thread: Some(thread) }, progress))
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let refused = |e| Error::new(Kind::System, "a thread for a file can't be started").source(e);
    thread::Builder::new().name(name.into()).spawn(work).map_err(refused)
}

fn read_all(
    mut reader: AudioReader,
    repeat: bool,
    ring: &mut Producer<f32>,
    buffer: &mut [f32],
    stop: &AtomicBool,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        if ring.slots() < buffer.len() {
            thread::park_timeout(PAUSE);
        } else if !fill(&mut reader, ring, buffer)? {
            if !repeat {
                return Ok(());
            }
            reader.rewind()?;
        }
    }
    Ok(())
}

/// One chunk from the file to the ring; false at the end of the file.
fn fill(reader: &mut AudioReader, ring: &mut Producer<f32>, buffer: &mut [f32]) -> Result<bool> {
    let frames = reader.read(buffer)?;
    let samples = &buffer[..frames * reader.channels() as usize];
    if let Ok(mut chunk) = ring.write_chunk(samples.len()) {
        let (first, second) = chunk.as_mut_slices();
        first.copy_from_slice(&samples[..first.len()]);
        second.copy_from_slice(&samples[first.len()..]);
        chunk.commit_all();
    }
    Ok(frames > 0)
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
            deinterleave(first, self.channels, block.samples_mut(), block_frames, 0);
            deinterleave(second, self.channels, block.samples_mut(), block_frames, cut);
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
    /// Frames that come out later than they went in.
    pub latency_frames: u64,
    /// The plugins that may come to delay by more while they run.
    pub plugins: Vec<Arc<PluginStats>>,
}

impl Until {
    fn frames(&self) -> u64 {
        let end = self.source.as_ref().and_then(|source| source.end());
        let added: u64 = self.plugins.iter().map(|plugin| u64::from(plugin.added_frames())).sum();
        end.map_or(u64::MAX, |frames| frames + self.latency_frames + added)
    }
}

/// Records what passes, and leaves it as it is.
pub struct Recorder {
    frames: Producer<f32>,
    channels: usize,
    recording: Arc<Recording>,
}

/// The thread that writes the file of a [`Recorder`].
#[derive(Debug)]
pub struct RecorderThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
    recording: Arc<Recording>,
}

/// Records into this file, which has the pipeline's rate and channels.
pub fn record(
    writer: WavWriter,
    rate: u32,
    channels: usize,
    until: Until,
) -> Result<(Recorder, RecorderThread)> {
    let (frames, ring) = RingBuffer::new(rate as usize * RING_SECONDS * channels);
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
    let recorder = Recorder { frames, channels, recording: Arc::clone(&recording) };
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
            interleave(block.samples(), frames, 0, first, self.channels);
            interleave(block.samples(), frames, cut, second, self.channels);
            chunk.commit_all();
        }
        if fits < frames {
            let lost = self.recording.overrun.load(Ordering::Relaxed) + (frames - fits) as u64;
            self.recording.overrun.store(lost, Ordering::Relaxed);
        }
    }
}
