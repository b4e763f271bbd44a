//! A pipeline in real time: source, chain and sink, running on the clock of a device.
//!
//! The sink's device paces the pipeline; without one the source's does; without either the virtual device. All
//! of the chain runs in that device's callback. This half, for the thread that watches, opens everything, tells
//! how it goes, and closes it in the order that keeps every file whole.

mod devices;

use crate::audio_file::{AudioReader, WavWriter};
use crate::backend::{Capture, Device, MOST_FRAMES, Playback, Stream, StreamEvent};
use crate::block::Block;
use crate::builtin::{Gain, Meter, MeterHandle, linear_to_db};
use crate::chain::{self, Chain};
use crate::config::{ElementSpec, FileSinkSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::disk::{self, PlayerThread, Progress, RecorderThread, Until};
use crate::error::{Error, Kind, Result};
use crate::plugin::spec::PluginSpec;
use crate::plugin::{Place, Plugin, Remote};
use crate::processor::{Processor, Turn};
use crate::realtime::Seat;
use crate::realtime::priority::Rank;
use crate::reblock::{
    self, FifoCounts, FrameReader, FrameWriter, InputReblock, OutputReblock, adaptation_frames,
};
use crate::report::{Latency, PipelineStatus, RealTimeStatus, shown};
use crate::supervisor::Supervisor;
use crate::telemetry::PluginStats;
use devices::{Devices, Settled};
use shared::format::Format;
use shared::message::PluginKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

/// Rate and channels where neither the user nor a file says them.
const RATE: u32 = 48_000;
const CHANNELS: u32 = 2;

/// A pipeline that is open: it plays until it is closed.
#[derive(Debug)]
pub struct Pipeline {
    name: String,
    format: Format,
    words: Words,
    latency: Latency,
    chain_latency_frames: u64,
    plugins: Vec<Plugin>,
    section: Option<Arc<PluginStats>>,
    progress: Option<Arc<Progress>>,
    player: Option<PlayerThread>,
    recorders: Vec<(PathBuf, RecorderThread)>,
    meter: MeterHandle,
    frames: Arc<AtomicU64>,
    fifo: Option<Arc<FifoCounts>>,
    streams: Vec<Stream>,
    events: Receiver<StreamEvent>,
    device_lost: bool,
    /// Each channel's peak of the whole run.
    highest: Vec<f32>,
    /// Of streams that have been stopped.
    xruns: u64,
    /// Failures of files that have been told.
    told: Vec<String>,
    seat: Seat,
}

/// What the ends and the clock are, in words.
#[derive(Debug, Clone)]
struct Words {
    source: String,
    sink: String,
    clock: String,
}

impl Pipeline {
    /// Opens files and devices and starts the plugins; nothing is heard yet. `prefix` goes before the plugins'
    /// names in messages; `note` is told what the user should know about the start.
    ///
    /// # Errors
    /// What can't be opened or started; nothing is left behind then.
    pub fn open(
        spec: &PipelineSpec,
        supervisor: &Supervisor,
        prefix: &str,
        note: &mut dyn FnMut(String),
    ) -> Result<Self> {
        Self::open_around(spec, supervisor, prefix, Around::default(), note)
    }

    /// As [`Pipeline::open`], with processors of the caller's own around the elements.
    ///
    /// # Errors
    /// As [`Pipeline::open`].
    pub fn open_around(
        spec: &PipelineSpec,
        supervisor: &Supervisor,
        prefix: &str,
        around: Around,
        note: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let reader = source_file(spec, note)?;
        let format = format_of(spec, reader.as_ref())?;
        let devices = Devices::settle(spec, format, note)?;
        let seat = supervisor.realtime().seat(&spec.affinity, spec.power)?;
        let place = Place { format, kind: None, burst: devices.burst(format) };
        let remotes = start_plugins(spec, supervisor, prefix, place, seat.cores())?;
        remotes.plugins.iter().flat_map(Plugin::notes).for_each(|line| note(line.clone()));
        Opening::new(spec, format, devices).build(reader, remotes, around, seat)
    }

    /// Begins to play.
    ///
    /// # Errors
    /// Of kind `Device`, if a device refuses.
    pub fn play(&self) -> Result<()> {
        // An input has something to give when the output begins to take.
        self.streams.iter().rev().try_for_each(Stream::play)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it gets of the machine.
    #[must_use]
    pub fn real_time(&self) -> RealTimeStatus {
        self.seat.status()
    }

    /// Its Python plugins, in the order of the chain.
    pub fn plugins_mut(&mut self) -> &mut [Plugin] {
        &mut self.plugins
    }

    /// Whether the source has ended and all of it has reached the sink.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let end = self.progress.as_ref().and_then(|progress| progress.end());
        let played = self.frames.load(Ordering::Relaxed);
        let recorded = self.recorders.iter().all(|(_, r)| r.recording().is_done());
        let latency = self.chain_latency_frames + u64::from(self.added_frames());
        end.is_some_and(|end| played >= end + latency) && recorded
    }

    /// Frames that it comes later than planned, because plugins were moved to pipelined.
    fn added_frames(&self) -> u32 {
        self.plugins.iter().map(|plugin| plugin.stats().added_frames()).sum()
    }

    /// Its latency as it is now.
    fn latency(&self) -> Latency {
        let added = self.added_frames();
        let added_ms = f64::from(added) * 1e3 / f64::from(self.format.rate());
        let Latency { mode_frames, total_ms, .. } = self.latency;
        Latency { mode_frames: mode_frames + added, total_ms: total_ms + added_ms, ..self.latency }
    }

    /// Whether the device that paces it is gone.
    #[must_use]
    pub fn has_lost_its_device(&self) -> bool {
        self.device_lost
    }

    /// What has happened to its devices, files and plugins' samples since this was asked last, in words.
    pub fn news(&mut self) -> Vec<String> {
        let mut news: Vec<_> = self.plugins.iter_mut().filter_map(Plugin::news).collect();
        for why in self.recorders.iter().filter_map(|(_, recorder)| recorder.recording().failure()) {
            if !self.told.iter().any(|told| told == why) {
                self.told.push(why.to_owned());
                news.push(format!("{}: {why}", self.name));
            }
        }
        for event in self.events.try_iter() {
            match event {
                StreamEvent::Xrun => {}
                StreamEvent::DeviceLost(why) => {
                    self.device_lost = true;
                    news.push(format!("{}: the device is gone ({why}); the pipeline has stopped", self.name));
                }
                StreamEvent::Other(what) => news.push(format!("{}: device: {what}", self.name)),
            }
        }
        news
    }

    /// How it is doing.
    pub fn status(&mut self) -> PipelineStatus {
        let fifo = |get: fn(&FifoCounts) -> u64| self.fifo.as_deref().map_or(0, get);
        let db = |peak: &f32| (*peak > 0.0).then(|| linear_to_db(*peak));
        let mut peaks = self.meter.take_peaks();
        for (highest, peak) in self.highest.iter_mut().zip(&peaks) {
            *highest = highest.max(*peak);
        }
        if self.streams.is_empty() {
            peaks.clone_from(&self.highest);
        }
        PipelineStatus {
            name: self.name.clone(),
            source: self.words.source.clone(),
            sink: self.words.sink.clone(),
            clock: self.words.clock.clone(),
            cores: self.seat.cores().to_vec(),
            fifo: self.seat.fifo(),
            rate: self.format.rate(),
            channels: self.format.channels(),
            block_frames: self.format.block_frames(),
            frames: self.frames.load(Ordering::Relaxed),
            latency: self.latency(),
            peaks_db: peaks.iter().map(db).collect(),
            xruns: self.xruns + self.streams.iter().map(Stream::xruns).sum::<u64>(),
            underrun_frames: self.progress.as_ref().map_or(0, |p| p.underrun_frames())
                + fifo(FifoCounts::underrun_frames),
            overrun_frames: self.recorders.iter().map(|(_, r)| r.recording().overrun_frames()).sum::<u64>()
                + fifo(FifoCounts::overrun_frames),
            section_lost: self.section.as_ref().map_or(0, |section| section.counts().lost()),
            plugins: self.plugins.iter_mut().map(Plugin::status).collect(),
            ended: self.has_ended(),
        }
    }

    /// Stops the devices: nothing is processed from now on, and [`Pipeline::status`] is final.
    pub fn halt(&mut self) {
        self.xruns += self.streams.iter().map(Stream::xruns).sum::<u64>();
        // The callbacks own the chain.
        self.streams.clear();
    }

    /// Stops the devices, completes the files, ends the workers; what went wrong with any of it.
    pub fn close(mut self) -> Closed {
        self.halt();
        let recorded = self.recorders.into_iter().filter_map(|(_, recorder)| recorder.finish().err());
        let mut files: Vec<_> = recorded.collect();
        files.extend(self.player.as_mut().and_then(|player| player.finish().err()));
        Closed { files, plugins: shut_down(self.plugins) }
    }
}

/// Processors of a program's own around a pipeline's elements. They run on the audio thread.
#[derive(Default)]
pub struct Around {
    /// Between the source and the first element.
    pub before: Vec<Box<dyn Processor>>,
    /// Between the last element and the sink.
    pub behind: Vec<Box<dyn Processor>>,
}

/// What went wrong when a pipeline was closed.
#[derive(Debug)]
pub struct Closed {
    /// Files that were not read or written to their end.
    pub files: Vec<Error>,
    /// Plugins whose `stop` or `shutdown` failed.
    pub plugins: Vec<Error>,
}

fn source_file(spec: &PipelineSpec, note: &mut dyn FnMut(String)) -> Result<Option<AudioReader>> {
    let SourceSpec::File(file) = &spec.source else { return Ok(None) };
    let reader = AudioReader::open(&file.file)?;
    if let Some(warning) = reader.warning() {
        note(format!("{}: {warning}", file.file.display()));
    }
    Ok(Some(reader))
}

fn format_of(spec: &PipelineSpec, file: Option<&AudioReader>) -> Result<Format> {
    let file_rate = file.map(AudioReader::rate);
    if let (Some(wanted), Some(is), SourceSpec::File(source)) = (spec.rate, file_rate, &spec.source)
        && wanted != is
    {
        let what = format!("{} is at {is} Hz, pipeline {} at {wanted} Hz", source.file.display(), spec.name);
        return Err(Error::new(Kind::Config, what).remedy(format!("set `rate = {is}`, or leave it out")));
    }
    let file_channels = file.map(AudioReader::channels);
    let channels = spec.channels.or(file_channels).unwrap_or(CHANNELS);
    let rate = spec.rate.or(file_rate).unwrap_or(RATE);
    Format::new(channels, spec.block_frames, rate)
        .map_err(|e| Error::new(Kind::Config, format!("pipeline {} can't run: {e}", spec.name)))
}

/// The audio halves of a pipeline's plugins, in the order of the chain.
struct Remotes {
    plugins: Vec<Plugin>,
    remotes: std::vec::IntoIter<Remote>,
}

/// Starts all plugins of a pipeline at once.
fn start_plugins(
    spec: &PipelineSpec,
    supervisor: &Supervisor,
    prefix: &str,
    place: Place,
    cores: &[usize],
) -> Result<Remotes> {
    let mut wanted: Vec<(&str, &PluginSpec, PluginKind)> = Vec::new();
    if let SourceSpec::Plugin { name, spec } = &spec.source {
        wanted.push((name, spec, PluginKind::Source));
    }
    for element in &spec.elements {
        if let ElementSpec::Plugin { name, spec } = element {
            wanted.push((name, spec, PluginKind::Processor));
        }
    }
    if let SinkSpec::Plugin { name, spec } = &spec.sink {
        wanted.push((name, spec, PluginKind::Sink));
    }
    let started: Vec<Result<_>> = std::thread::scope(|scope| {
        let start = |(name, spec, kind): (&str, &PluginSpec, _)| {
            let name = format!("{prefix}{name}");
            let spec = PluginSpec { cores: cores.to_vec(), ..spec.clone() };
            scope.spawn(move || Plugin::load_as(supervisor, &name, spec, Place { kind: Some(kind), ..place }))
        };
        let threads: Vec<_> = wanted.into_iter().map(start).collect();
        let panicked = |_| Err(Error::new(Kind::System, "starting a plugin panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut first_error = None;
    let (mut plugins, mut remotes) = (Vec::new(), Vec::new());
    for plugin in started {
        match plugin {
            Ok((plugin, remote)) => {
                plugins.push(plugin);
                remotes.push(remote);
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    if let Some(error) = first_error {
        // The others have started: they stop in order. What goes wrong with that comes after this error.
        shut_down(plugins);
        return Err(error);
    }
    Ok(Remotes { plugins, remotes: remotes.into_iter() })
}

/// Ends the plugins that are alive, side by side; those that would not stop in order.
fn shut_down(plugins: Vec<Plugin>) -> Vec<Error> {
    // A dead one's end has been told.
    let alive = plugins.into_iter().filter(|plugin| !plugin.is_dead());
    std::thread::scope(|scope| {
        let threads: Vec<_> = alive.map(|p| scope.spawn(|| p.shutdown())).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()?.err()).collect()
    })
}

/// A pipeline being put together.
struct Opening<'a> {
    spec: &'a PipelineSpec,
    format: Format,
    devices: Devices,
    processors: Vec<Box<dyn Processor>>,
    progress: Option<Arc<Progress>>,
    player: Option<PlayerThread>,
    fifo: Option<(FrameWriter, Arc<FifoCounts>)>,
    fifo_frames: usize,
}

impl<'a> Opening<'a> {
    fn new(spec: &'a PipelineSpec, format: Format, devices: Devices) -> Self {
        let processors = Vec::new();
        Self { spec, format, devices, processors, progress: None, player: None, fifo: None, fifo_frames: 0 }
    }

    fn build(
        mut self,
        reader: Option<AudioReader>,
        mut started: Remotes,
        around: Around,
        seat: Seat,
    ) -> Result<Pipeline> {
        self.add_source(reader, &mut started.remotes)?;
        self.processors.extend(around.before);
        self.add_elements(&mut started.remotes);
        self.processors.extend(around.behind);
        let meter = Meter::new(self.format.channels());
        let meter_handle = meter.handle();
        self.processors.push(Box::new(meter));
        let plugin_frames = self.processors.iter().map(|p| p.latency_frames()).sum();
        let chain_latency = chain::latency_frames(&self.processors, self.format);
        let plugins = started.plugins.iter().map(|plugin| Arc::clone(plugin.stats())).collect();
        let recorders = self.add_recorders(chain_latency, plugins)?;
        if let SinkSpec::Plugin { .. } = self.spec.sink
            && let Some(remote) = started.remotes.next()
        {
            self.processors.push(Box::new(remote));
        }
        let chain = Chain::new(self.format, std::mem::take(&mut self.processors))?;
        let section = chain.section_stats();
        if let Some(thread) = chain.section_thread() {
            seat.rank().give(Some(thread));
        }
        let frames = Arc::new(AtomicU64::new(0));
        let (sender, events) = mpsc::channel();
        let words = self.words();
        let fifo = self.fifo.as_ref().map(|(_, counts)| Arc::clone(counts));
        let has_real_device = self.devices.has_a_real_one();
        let is_captured = matches!(self.spec.source, SourceSpec::Device(_));
        let streams = open_streams(self.devices, chain, &frames, &sender, self.fifo, seat.rank())?;
        let latency = latency(
            self.format,
            plugin_frames,
            chain_latency,
            self.fifo_frames,
            &streams,
            has_real_device,
            is_captured,
        );
        let clock = clock_words(&streams, &words.clock, self.format);
        Ok(Pipeline {
            name: self.spec.name.clone(),
            format: self.format,
            words: Words { clock, ..words },
            latency,
            chain_latency_frames: chain_latency.into(),
            plugins: started.plugins,
            section,
            progress: self.progress,
            player: self.player,
            recorders,
            meter: meter_handle,
            frames,
            fifo,
            streams,
            events,
            device_lost: false,
            highest: vec![0.0; self.format.channels()],
            xruns: 0,
            told: Vec::new(),
            seat,
        })
    }

    fn add_source(
        &mut self,
        reader: Option<AudioReader>,
        remotes: &mut impl Iterator<Item = Remote>,
    ) -> Result<()> {
        match (&self.spec.source, reader) {
            (SourceSpec::File(file), Some(reader)) => {
                let (player, thread, progress) = disk::play(reader, file.repeat)?;
                self.processors.push(Box::new(player));
                (self.player, self.progress) = (Some(thread), Some(progress));
            }
            (SourceSpec::Plugin { .. }, _) => {
                self.processors.extend(remotes.next().map(|r| Box::new(r) as Box<dyn Processor>));
            }
            _ if self.devices.output.is_some() => self.add_capture(),
            // The input device's callback brings the block itself.
            _ => {}
        }
        Ok(())
    }

    /// Input and output are two devices' callbacks: frames go from one to the other through a queue.
    ///
    /// After `k` output callbacks of `F` frames the chain has taken at most `kF + B` frames in blocks of `B`; the
    /// input, with buffers of `G`, has brought at least `(k - 1)F - G` when the `k`th begins. What is missing is
    /// `F + G + B`: so much silence goes ahead.
    fn add_capture(&mut self) {
        let buffer = |settled: &Option<Settled>| settled.as_ref().map_or(0, |s| s.buffer_frames as usize);
        let buffers = buffer(&self.devices.input) + buffer(&self.devices.output);
        self.fifo_frames = buffers + self.format.block_frames();
        let capacity = self.format.rate() as usize + self.fifo_frames + buffers;
        let (writer, reader) = reblock::frame_fifo(self.format.channels(), capacity, self.fifo_frames);
        let counts = reader.counts();
        self.processors.push(Box::new(CaptureSource { frames: reader, ahead: Some(self.fifo_frames) }));
        self.fifo = Some((writer, counts));
    }

    fn add_elements(&mut self, remotes: &mut impl Iterator<Item = Remote>) {
        for element in &self.spec.elements {
            let processor: Option<Box<dyn Processor>> = match element {
                ElementSpec::Plugin { .. } => remotes.next().map(|r| Box::new(r) as _),
                ElementSpec::Gain { db } => Some(Box::new(Gain::new(*db))),
                ElementSpec::Meter => Some(Box::new(Meter::new(self.format.channels()))),
            };
            self.processors.extend(processor);
        }
    }

    fn add_recorders(
        &mut self,
        latency_frames: u32,
        plugins: Vec<Arc<PluginStats>>,
    ) -> Result<Vec<(PathBuf, RecorderThread)>> {
        let sink = match &self.spec.sink {
            SinkSpec::File(file) => Some(file),
            _ => None,
        };
        let until = Until { source: self.progress.clone(), latency_frames: latency_frames.into(), plugins };
        let files = sink.into_iter().chain(&self.spec.record);
        files.map(|file| self.add_recorder(file, until.clone())).collect()
    }

    fn add_recorder(&mut self, spec: &FileSinkSpec, until: Until) -> Result<(PathBuf, RecorderThread)> {
        let (channels, rate) = (self.format.channels(), self.format.rate());
        let writer =
            WavWriter::create(&spec.file, u32::try_from(channels).unwrap_or(u32::MAX), rate, spec.bits)?;
        let (recorder, thread) = disk::record(writer, rate, channels, until)?;
        self.processors.push(Box::new(recorder));
        Ok((spec.file.clone(), thread))
    }

    fn words(&self) -> Words {
        let device = |settled: &Option<Settled>| {
            settled.as_ref().map_or_else(String::new, |s| s.device.name().to_owned())
        };
        let source = match &self.spec.source {
            SourceSpec::File(file) => shown(&file.file),
            SourceSpec::Device(_) => device(&self.devices.input),
            SourceSpec::Plugin { name, .. } => name.clone(),
        };
        let sink = match &self.spec.sink {
            SinkSpec::File(file) => shown(&file.file),
            SinkSpec::Device(_) => device(&self.devices.output),
            SinkSpec::Plugin { name, .. } => name.clone(),
        };
        let sink = match &self.spec.record {
            Some(record) => format!("{sink} and {}", shown(&record.file)),
            None => sink,
        };
        let clock = if self.devices.output.is_some() { &self.devices.output } else { &self.devices.input };
        Words { source, sink, clock: device(clock) }
    }
}

fn latency(
    format: Format,
    plugin_frames: u32,
    chain_latency: u32,
    fifo_frames: usize,
    streams: &[Stream],
    has_real_device: bool,
    is_captured: bool,
) -> Latency {
    let buffer = streams.first().and_then(Stream::buffer_frames);
    let adaptation = match (fifo_frames, is_captured) {
        (0, true) => adaptation_frames(format.block_frames(), buffer),
        (frames, _) => frames,
    };
    let adaptation_frames = u32::try_from(adaptation).unwrap_or(u32::MAX);
    // The virtual device has no converter and no cable behind its buffer.
    let buffers = streams.iter().filter_map(Stream::buffer_frames).sum();
    let device_frames = if has_real_device { buffers } else { 0 };
    let total = u64::from(chain_latency) + u64::from(adaptation_frames) + u64::from(device_frames);
    Latency {
        mode_frames: chain_latency - plugin_frames,
        plugin_frames,
        adaptation_frames,
        device_frames,
        total_ms: total as f64 * 1e3 / f64::from(format.rate()),
    }
}

fn clock_words(streams: &[Stream], device: &str, format: Format) -> String {
    let buffer = streams.first().and_then(Stream::buffer_frames);
    match buffer {
        Some(frames) => format!("{device}, {frames} frames at {} Hz", format.rate()),
        None => format!("{device} at {} Hz", format.rate()),
    }
}

/// What an input device has brought, for a chain that runs in the output device's callback.
struct CaptureSource {
    frames: FrameReader,
    /// Frames that are to be in the queue when the first block is taken.
    ahead: Option<usize>,
}

impl Processor for CaptureSource {
    fn name(&self) -> &str {
        "input device"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        if let Some(ahead) = self.ahead.take() {
            // What the input brought before the output began would be heard late for ever.
            self.frames.skip(self.frames.level().saturating_sub(ahead));
        }
        self.frames.read(block.samples_mut());
    }
}

type Fifo = Option<(FrameWriter, Arc<FifoCounts>)>;

/// Opens the streams, paused; the first one paces the chain.
fn open_streams(
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
