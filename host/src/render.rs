//! Rendering: the same chain offline, as fast as it goes, from a file into a file.
//!
//! One thread reads, hands blocks from worker to worker and writes; each worker has several blocks in flight,
//! so that it never waits for the hand-off. Every block is waited for, so the result doesn't depend on time: a
//! block that a plugin fails is replaced by its policy, a plugin that dies or hangs ends the render with an
//! error, a crash report and an output that is valid up to there. It does not take the plugins' latency away.

use crate::audio_file::{AudioReader, Bits, WavWriter};
use crate::block::Block;
use crate::builtin::{Gain, Meter};
use crate::config::ElementSpec;
use crate::crash::{self, CrashReport};
use crate::edge::ChannelMap;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::plugin::conceal::Concealer;
use crate::plugin::{Place, Plugin};
use crate::processor::{Processor, Turn};
use crate::report::RenderReport;
use crate::supervisor::{Because, Death, Event, Supervisor};
use crate::telemetry::Loss;
use shared::clock::now_ns;
use shared::format::Format;
use shared::layout::SLOTS_MAX;
use shared::message::PluginKind;
use shared::ring::{HostEnd, Scrub, Scrubbed, Status, Taken, Waited};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long one block of one plugin may take, if its own limit is no other, before the render is given up.
const BLOCK_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait at once, so that an interruption is noticed.
const WAIT_NS: u64 = 50_000_000;
/// How long it may take until all is known of the end of a worker that is gone: a hung one is given a quarter of a second
/// for its stacks, and one with much memory ends slowly.
const DEATH_WITHIN: Duration = Duration::from_secs(5);
/// And from then on until it has been told.
const TOLD_WITHIN: Duration = Duration::from_millis(100);
/// Memory for the blocks in flight of one plugin, in samples.
const FLIGHT_SAMPLES: usize = 256 * 1024;
/// Blocks between two times that the progress is told.
const PROGRESS_BLOCKS: u64 = 64;
/// Blocks read at most in one turn. Workers take fewer; without any a turn would be the whole file.
const TURN_BLOCKS: u64 = 64;

/// What to render.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderSpec {
    /// WAV or FLAC.
    pub input: PathBuf,
    /// WAV.
    pub output: PathBuf,
    /// What happens to the audio, in order.
    pub elements: Vec<ElementSpec>,
    /// Frames per block.
    pub block_frames: u32,
    /// Sample format of the output.
    pub bits: Bits,
    /// Where the report of a plugin goes that dies; `None` writes none.
    pub reports: Option<PathBuf>,
}

/// Renders. `progress` is told frames done and frames in all, if known, many times a second; `stop` ends it early.
/// Set while the plugins start, it ends the start, and the output is not touched.
///
/// # Errors
/// What could not be read, started or written. The output then holds what had been processed.
pub fn render(
    spec: &RenderSpec,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u64, Option<u64>),
    event: &mut dyn FnMut(&str),
) -> Result<RenderReport> {
    let began = Instant::now();
    let reader = AudioReader::open(&spec.input)?;
    let format = format_of(&reader, spec)?;
    let mut lines = Lines { all: Vec::new(), tell: event };
    if let Some(warning) = reader.warning() {
        lines.add(&format!("{}: {warning}", spec.input.display()));
    }
    let (supervisor, events) = Supervisor::new()?;
    spec.reports.iter().for_each(|folder| supervisor.report_to(folder));
    let mut stages = Vec::new();
    let started = supervisor.start_unless(stop, || start_all(&supervisor, spec, format, &mut stages));
    if stop.load(Ordering::Relaxed) {
        // They have been asked to go already: what they say of it is not worth a word.
        shut_down(plugins_of(stages));
        return Ok(interrupted(spec, format, began.elapsed(), lines.all));
    }
    let start_seconds = began.elapsed().as_secs_f64();
    stages.iter().flat_map(Stage::notes).for_each(|line| lines.add(line));
    let create = |()| WavWriter::create(&spec.output, reader.channels(), format.rate(), spec.bits);
    let writer = match started.and_then(create) {
        Ok(writer) => writer,
        Err(error) => return Err(give_up(stages, &mut lines, error)),
    };
    let began = Instant::now();
    let mut line = Line::new(reader, writer, stages, format, spec.reports.clone());
    let done = line.run(stop, progress, &mut |line| lines.add(line), &events);
    line.finish(done, spec, start_seconds, began, (lines, &events))
}

/// What is told of a render that did not begin.
fn interrupted(spec: &RenderSpec, format: Format, start: Duration, events: Vec<String>) -> RenderReport {
    RenderReport {
        input: spec.input.clone(),
        output: spec.output.clone(),
        rate: format.rate(),
        channels: format.channels(),
        block_frames: format.block_frames(),
        frames: 0,
        start_seconds: start.as_secs_f64(),
        seconds: 0.0,
        times_real_time: 0.0,
        clipped: 0,
        plugin_frames: 0,
        plugins: Vec::new(),
        events,
        unwilling: Vec::new(),
        interrupted: true,
        written: false,
    }
}

/// What happened, kept for the report and told at once.
struct Lines<'a> {
    all: Vec<String>,
    tell: &'a mut dyn FnMut(&str),
}

impl Lines<'_> {
    fn add(&mut self, line: &str) {
        (self.tell)(line);
        self.all.push(line.to_owned());
    }
}

fn format_of(reader: &AudioReader, spec: &RenderSpec) -> Result<Format> {
    refuse_to_overwrite(spec)?;
    Format::new(reader.channels(), spec.block_frames, reader.rate())
        .map_err(|e| Error::new(Kind::Config, format!("{} can't be rendered: {e}", spec.input.display())))
}

/// The output must be none of the files that are read.
fn refuse_to_overwrite(spec: &RenderSpec) -> Result<()> {
    let plugins = spec.elements.iter().filter_map(|element| match element {
        ElementSpec::Plugin { spec, .. } => Some((&spec.file, "a plugin")),
        _ => None,
    });
    let mut read = std::iter::once((&spec.input, "the input")).chain(plugins);
    let output = Identity::of(&spec.output);
    match read.find(|(file, _)| Identity::of(file).is(&output)) {
        Some((file, what)) => {
            let what = format!("{} is {what} and the output", file.display());
            Err(Error::new(Kind::Config, what).remedy("write into another file"))
        }
        None => Ok(()),
    }
}

/// Starts all places of the chain at once. Those that do start are in `stages`, also if one does not.
fn start_all(
    supervisor: &Supervisor,
    spec: &RenderSpec,
    format: Format,
    stages: &mut Vec<Stage>,
) -> Result<()> {
    let started: Vec<_> = std::thread::scope(|scope| {
        let start = |element| scope.spawn(move || Stage::start(supervisor, element, format));
        let threads: Vec<_> = spec.elements.iter().map(start).collect();
        let panicked = |_| Err(Error::new(Kind::System, "starting a plugin panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut failed = Ok(());
    for stage in started {
        match stage {
            Ok(stage) => stages.push(stage),
            // The first is told.
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    failed
}

/// One place of the chain.
enum Stage {
    /// In the host.
    Inline(Box<dyn Processor>),
    /// In a worker.
    Worker(Box<Flight>),
}

impl Stage {
    fn start(supervisor: &Supervisor, element: &ElementSpec, format: Format) -> Result<Self> {
        Ok(match element {
            ElementSpec::Gain { db } => Self::Inline(Box::new(Gain::new(*db))),
            ElementSpec::Meter => Self::Inline(Box::new(Meter::new(format.channels()))),
            ElementSpec::Plugin { name, spec } => {
                let slots = slots_for(format);
                let place = Place { format, kind: Some(PluginKind::Processor), burst: 1 };
                let (plugin, end) = Plugin::open(supervisor, name, spec.clone(), place, Some(slots))?;
                plugin.start(supervisor, place, false)?;
                let plan = plugin.plan(plugin.latency_frames() as usize);
                let concealer = Concealer::new(format, plan);
                Self::Worker(Box::new(Flight { plugin, end, concealer, oldest: 1, count: 0, told: true }))
            }
        })
    }

    /// What the user should know about how it was started.
    fn notes(&self) -> &[String] {
        match self {
            Self::Worker(flight) => flight.plugin.notes(),
            Self::Inline(_) => &[],
        }
    }
}

/// Lets the plugins of a render that can't go on stop in order; why it can't. A dead one's end is told by that.
fn give_up(stages: Vec<Stage>, lines: &mut Lines<'_>, why: Error) -> Error {
    let alive = plugins_of(stages).into_iter().filter(|plugin| !plugin.is_dead()).collect();
    shut_down(alive).iter().for_each(|error| lines.add(&error.to_string()));
    why
}

fn plugins_of(stages: Vec<Stage>) -> Vec<Plugin> {
    let plugin = |stage| match stage {
        Stage::Worker(flight) => Some(flight.plugin),
        Stage::Inline(_) => None,
    };
    stages.into_iter().filter_map(plugin).collect()
}

/// Stops plugins and lets them go, side by side; which of them failed to, and how.
fn shut_down(plugins: Vec<Plugin>) -> Vec<Error> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = plugins.into_iter().map(|plugin| scope.spawn(|| plugin.shutdown())).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()?.err()).collect()
    })
}

/// As many blocks in flight as fit a second-level cache, at least two.
fn slots_for(format: Format) -> u32 {
    let fit = u32::try_from(FLIGHT_SAMPLES / format.samples()).unwrap_or(SLOTS_MAX);
    1 << fit.clamp(2, SLOTS_MAX / 2).ilog2()
}

/// A plugin and its blocks in flight.
struct Flight {
    plugin: Plugin,
    end: HostEnd,
    concealer: Concealer,
    /// Sequence of the block that comes back next.
    oldest: u32,
    /// Blocks in flight.
    count: u32,
    /// The worker knows of all of them.
    told: bool,
}

impl Flight {
    /// Whether a block can be handed over without taking the slot of an answer that has not been taken: the
    /// ring itself asks only for the answer to be there.
    fn has_room(&self) -> bool {
        self.count < self.end.layout().slots()
    }

    fn hand_over(&mut self, block: &Block<'_>) {
        if self.end.publish(|samples| samples.copy_from_slice(block.samples())).is_ok() {
            self.count += 1;
            self.told = false;
        }
    }

    fn tell(&mut self) {
        if !self.told {
            self.end.notify();
            self.told = true;
        }
    }

    fn is_back(&self) -> bool {
        self.count > 0 && self.end.is_answered(self.oldest)
    }

    fn take(&mut self, block: &mut Block<'_>) {
        block.samples_mut().copy_from_slice(self.end.requested(self.oldest));
        self.concealer.hear(block);
        match self.result(block) {
            Ok(()) => {
                self.plugin.stats().count_good();
                self.concealer.pass(block);
            }
            Err(loss) => {
                self.plugin.stats().count_lost(loss);
                self.concealer.replace(block);
            }
        }
        self.oldest = self.oldest.wrapping_add(1);
        self.count -= 1;
    }

    fn report(&self, death: &Death, done: String) -> CrashReport {
        let subject = self.plugin.subject();
        let report = subject.death(&self.plugin.worker(), death, Some(&self.end), done);
        CrashReport { good_blocks: report.counts.good, ..report }
    }

    fn result(&mut self, block: &mut Block<'_>) -> std::result::Result<(), Loss> {
        let head = self.end.head(self.oldest).ok_or(Loss::Torn)?;
        if head.status != Status::Good {
            return Err(Loss::Failed);
        }
        self.plugin.time(head.stamps);
        let taken = answer(&self.end, self.oldest, block.samples_mut(), self.plugin.spec().scrub())?;
        let Scrubbed { non_finite, too_loud, is_open_before, is_open_after } = taken.scrubbed;
        self.plugin.stats().count_guarded(non_finite, too_loud);
        self.concealer.mend(is_open_before, is_open_after);
        Ok(())
    }
}

/// Takes an answer in place of the dry block. What was copied of one that changed meanwhile is not audio, and a
/// bypass would let it through: the dry block is put back, whose slot is ours until it is handed over again.
fn answer(end: &HostEnd, seq: u32, samples: &mut [f32], scrub: Scrub) -> std::result::Result<Taken, Loss> {
    end.take(seq, samples, scrub).map_err(|_| {
        samples.copy_from_slice(end.requested(seq));
        Loss::Torn
    })
}

/// The whole chain between two files.
struct Line {
    reader: AudioReader,
    writer: WavWriter,
    stages: Vec<Stage>,
    format: Format,
    frames_in: u64,
    frames_out: u64,
    whole: bool,
    map: ChannelMap,
    interleaved: Vec<f32>,
    planar: Vec<f32>,
    reports: Option<PathBuf>,
}

impl Line {
    fn new(
        reader: AudioReader,
        writer: WavWriter,
        stages: Vec<Stage>,
        format: Format,
        reports: Option<PathBuf>,
    ) -> Self {
        let samples = vec![0.0; format.samples()];
        Self {
            reader,
            writer,
            stages,
            format,
            frames_in: 0,
            frames_out: 0,
            whole: false,
            map: ChannelMap::new(format.channels(), format.channels()),
            interleaved: samples.clone(),
            planar: samples,
            reports,
        }
    }

    /// Moves blocks along until all are written; true if it was interrupted.
    fn run(
        &mut self,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(u64, Option<u64>),
        event: &mut dyn FnMut(&str),
        events: &Receiver<Event>,
    ) -> Result<bool> {
        let mut next_progress = 0;
        while !(self.whole && self.frames_out == self.frames_in) {
            if stop.load(Ordering::Relaxed) {
                return Ok(true);
            }
            let moved = self.advance()?;
            self.tell_all();
            if !moved {
                self.wait(stop, event, events)?;
            }
            if self.frames_out >= next_progress {
                progress(self.frames_out, self.reader.frames());
                self.tell_news(event, events);
                next_progress = self.frames_out + PROGRESS_BLOCKS * self.format.block_frames() as u64;
            }
        }
        self.tell_news(event, events);
        progress(self.frames_out, Some(self.frames_out));
        Ok(false)
    }

    /// Moves every block that can move one worker on, the last worker's first; whether one did.
    fn advance(&mut self) -> Result<bool> {
        let mut moved = false;
        for at in (0..self.stages.len()).rev() {
            while self.is_back(at) && self.has_room_after(at) {
                self.take(at);
                self.pass_on(at + 1)?;
                moved = true;
            }
        }
        for _ in 0..TURN_BLOCKS {
            if self.whole || !self.has_room_from(0) {
                break;
            }
            self.read()?;
            if !self.whole {
                self.pass_on(0)?;
                moved = true;
            }
        }
        Ok(moved)
    }

    fn flight(&mut self, at: usize) -> Option<&mut Flight> {
        match &mut self.stages[at] {
            Stage::Worker(flight) => Some(flight),
            Stage::Inline(_) => None,
        }
    }

    fn is_back(&mut self, at: usize) -> bool {
        self.flight(at).is_some_and(|flight| flight.is_back())
    }

    fn has_room_after(&self, at: usize) -> bool {
        self.has_room_from(at + 1)
    }

    /// Whether a block that enters the chain at this place finds a slot at the next worker.
    fn has_room_from(&self, at: usize) -> bool {
        let worker = self.stages[at..].iter().find_map(|stage| match stage {
            Stage::Worker(flight) => Some(flight.has_room()),
            Stage::Inline(_) => None,
        });
        // Without a worker ahead the block goes straight into the file: one at a time.
        worker.unwrap_or(true)
    }

    fn take(&mut self, at: usize) {
        let mut block = Block::new(&mut self.planar, self.format.block_frames());
        if let Stage::Worker(flight) = &mut self.stages[at] {
            flight.take(&mut block);
        }
    }

    /// The next block of the file, its last one filled up with silence.
    fn read(&mut self) -> Result<()> {
        let (frames, channels) = (self.format.block_frames(), self.format.channels());
        let mut got = 0;
        while got < frames {
            match self.reader.read(&mut self.interleaved[got * channels..])? {
                0 => break,
                n => got += n,
            }
        }
        self.whole = got == 0;
        self.interleaved[got * channels..].fill(0.0);
        self.frames_in += got as u64;
        self.map.deinterleave(&self.interleaved, &mut self.planar, frames, 0);
        Ok(())
    }

    /// Carries the block at hand through the inline stages from `at` on, to the next worker or into the file.
    fn pass_on(&mut self, at: usize) -> Result<()> {
        let mut block = Block::new(&mut self.planar, self.format.block_frames());
        for stage in &mut self.stages[at..] {
            match stage {
                Stage::Inline(processor) => processor.process(&mut block, &Turn::new(0, u64::MAX)),
                Stage::Worker(flight) => {
                    flight.hand_over(&block);
                    return Ok(());
                }
            }
        }
        self.write()
    }

    /// Writes the block at hand, without the silence that filled up the last one.
    fn write(&mut self) -> Result<()> {
        let (frames, channels) = (self.format.block_frames(), self.format.channels());
        let left = usize::try_from(self.frames_in - self.frames_out).unwrap_or(usize::MAX).min(frames);
        self.map.interleave(&self.planar, frames, 0, &mut self.interleaved);
        self.writer.write(&self.interleaved[..left * channels])?;
        self.frames_out += left as u64;
        Ok(())
    }

    fn tell_news(&mut self, event: &mut dyn FnMut(&str), events: &Receiver<Event>) {
        events.try_iter().for_each(|e| event(&e.to_string()));
        for stage in &mut self.stages {
            if let Stage::Worker(flight) = stage
                && let Some(line) = flight.plugin.news()
            {
                event(&line);
            }
        }
    }

    fn tell_all(&mut self) {
        for stage in &mut self.stages {
            if let Stage::Worker(flight) = stage {
                flight.tell();
            }
        }
    }

    /// Waits for the worker that is furthest along with a block in flight.
    fn wait(
        &mut self,
        stop: &AtomicBool,
        event: &mut dyn FnMut(&str),
        events: &Receiver<Event>,
    ) -> Result<()> {
        let flight = self.stages.iter_mut().rev().find_map(|stage| match stage {
            Stage::Worker(flight) if flight.count > 0 => Some(flight),
            _ => None,
        });
        let Some(flight) = flight else { return Ok(()) };
        let gone = flight.plugin.worker().gone();
        let (began, limit) = (Instant::now(), flight.plugin.spec().hang_after.unwrap_or(BLOCK_LIMIT));
        while flight.end.wait(flight.oldest, now_ns() + WAIT_NS, &gone) != Waited::Answered {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if began.elapsed() > limit {
                let for_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                flight.plugin.worker().abandon(Because::Hung { for_ms, stopped: false });
            }
            if gone.load(Ordering::Relaxed) {
                return Err(died(flight, self.reports.as_deref(), events, event));
            }
        }
        Ok(())
    }

    fn finish(
        self,
        done: Result<bool>,
        spec: &RenderSpec,
        start_seconds: f64,
        began: Instant,
        (mut lines, events): (Lines<'_>, &Receiver<Event>),
    ) -> Result<RenderReport> {
        let clipped = self.writer.clipped();
        let written = self.writer.finalize();
        let seconds = began.elapsed().as_secs_f64();
        let (interrupted, frames) = match done.and_then(|interrupted| Ok((interrupted, written?))) {
            Ok(done) => done,
            Err(error) => return Err(give_up(self.stages, &mut lines, error)),
        };
        let mut plugins = plugins_of(self.stages);
        let statuses = plugins.iter_mut().map(Plugin::status).collect();
        let plugin_frames = plugins.iter().map(Plugin::latency_frames).sum();
        let unwilling: Vec<_> = shut_down(plugins).iter().map(ToString::to_string).collect();
        // With the workers gone, all that they had to say is there.
        events.try_iter().for_each(|event| lines.add(&event.to_string()));
        unwilling.iter().for_each(|line| lines.add(line));
        let times_real_time = frames as f64 / f64::from(self.format.rate()) / seconds.max(1e-9);
        Ok(RenderReport {
            input: spec.input.clone(),
            output: spec.output.clone(),
            rate: self.format.rate(),
            channels: self.format.channels(),
            block_frames: self.format.block_frames(),
            frames,
            start_seconds,
            seconds,
            times_real_time,
            clipped,
            plugin_frames,
            plugins: statuses,
            events: lines.all,
            unwilling,
            interrupted,
            written: true,
        })
    }
}

/// What is told of a plugin that has ended, with its report.
fn died(
    flight: &Flight,
    reports: Option<&Path>,
    events: &Receiver<Event>,
    event: &mut dyn FnMut(&str),
) -> Error {
    let (plugin, worker) = (&flight.plugin, flight.plugin.worker());
    let death = worker.wait_death(DEATH_WITHIN);
    // What it said last, and its end, are told right after that. Others may talk on and on.
    let until = Instant::now() + TOLD_WITHIN;
    while let Ok(e) = events.recv_timeout(until.saturating_duration_since(Instant::now())) {
        event(&e.to_string());
    }
    let Some(death) = death else {
        let how =
            worker.because().map_or_else(|| "its worker ended".to_owned(), |because| because.to_string());
        return failed(plugin, Kind::Worker, &how);
    };
    let done = "the render was given up".to_owned();
    let keep = |folder| crash::write_in_time(folder, flight.report(&death, done));
    let kept = reports.map_or_else(String::new, keep);
    failed(plugin, death.kind(), &format!("{death}{kept}"))
}

fn failed(plugin: &Plugin, kind: Kind, how: &str) -> Error {
    let what = format!("plugin {} ({}): {how}", plugin.name(), plugin.spec().file.display());
    Error::new(kind, what).remedy("the output holds what had been processed; run the plugin's self-test")
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::layout::Layout;

    #[test]
    fn in_place_of_a_torn_answer_stands_the_dry_block() {
        let format = Format::new(1, 16, 48_000).unwrap();
        let (mut end, _handles) = HostEnd::create(Layout::new(format, 2).unwrap()).unwrap();
        let seq = end.publish(|samples| samples.fill(0.25)).unwrap();
        // Half of something that the worker wrote.
        let mut samples = [9.0; 16];
        assert_eq!(answer(&end, seq, &mut samples, Scrub::Nothing), Err(Loss::Torn));
        assert_eq!(samples, [0.25; 16]);
    }
}
