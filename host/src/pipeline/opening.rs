//! A pipeline being put together: source, elements, meter, recorders and sink, in the order in which blocks go.
//!
//! For opening. Once the streams are there it is done; nothing of it runs while the pipeline plays.

use super::baton::Baton;
use super::devices::{Devices, Settled};
use super::engine::Engine;
use super::knobs::Knobs;
use super::latency::Plan;
use super::plugins::Remotes;
use super::port::Port;
use super::streams::{End, Terms};
use super::{Around, Pipeline, Words};
use crate::audio_file::{AudioReader, WavWriter};
use crate::builtin::{Gain, Meter, Mute};
use crate::chain::{self, Chain, Delays};
use crate::config::{ElementSpec, FileSinkSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::disk::{self, PlayerThread, Progress, RecorderThread, Until};
use crate::edge::{
    AdaptedSink, AdaptedSource, CaptureCounts, CaptureQueue, ChannelMap, Clocks, FrameWriter, Handover,
    Quality, frame_fifo,
};
use crate::error::{Error, Kind, Result};
use crate::level::Level;
use crate::plugin::Remote;
use crate::processor::Processor;
use crate::realtime::Seat;
use crate::report::shown;
use crate::telemetry::PluginStats;
use shared::format::Format;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Rate and channels where neither the user nor a file says them.
const RATE: u32 = 48_000;
const CHANNELS: u32 = 2;

pub(super) fn source_file(
    spec: &PipelineSpec,
    note: &mut dyn FnMut(Level, String),
) -> Result<Option<AudioReader>> {
    let SourceSpec::File(file) = &spec.source else { return Ok(None) };
    let reader = AudioReader::open(&file.file)?;
    if let Some(warning) = reader.warning() {
        note(Level::Warning, format!("{}: {warning}", file.file.display()));
    }
    Ok(Some(reader))
}

pub(super) fn format_of(spec: &PipelineSpec, file: Option<&AudioReader>) -> Result<Format> {
    let file_rate = file.map(AudioReader::rate);
    let file_channels = file.map(AudioReader::channels);
    let channels = spec.channels.or(file_channels).unwrap_or(CHANNELS);
    let rate = spec.rate.or(file_rate).unwrap_or(RATE);
    Format::new(channels, spec.block_frames, rate)
        .map_err(|e| Error::new(Kind::Config, format!("the pipeline can't run: {e}")))
}

/// The pipeline with the rate and the channels that it has from its source file, for whoever gives it another source.
///
/// # Errors
/// Of kind `Input` or `Config`: the file can't be read, or nothing can run in its format.
pub(crate) fn with_format_of_source(spec: PipelineSpec) -> Result<PipelineSpec> {
    let Some(reader) = source_file(&spec, &mut |_, _| ())? else { return Ok(spec) };
    let format = format_of(&spec, Some(&reader))?;
    let channels = u32::try_from(format.channels()).ok();
    Ok(PipelineSpec { rate: Some(format.rate()), channels, ..spec })
}

/// A pipeline being put together.
pub(super) struct Opening<'a> {
    spec: &'a PipelineSpec,
    format: Format,
    devices: Devices,
    processors: Vec<Box<dyn Processor>>,
    knobs: Knobs,
    progress: Option<Arc<Progress>>,
    player: Option<PlayerThread>,
    /// What lies between two devices, and frames that there are to be.
    between: Between,
    capture: Option<Arc<CaptureCounts>>,
    fifo_frames: usize,
    /// What is heard first rises from silence.
    rising: bool,
}

/// What lies between an input and an output device beside the chain.
enum Between {
    Nothing,
    /// A queue before the chain, for the input to write.
    Before(FrameWriter),
    /// One behind it, for the output to read.
    Behind(Chain),
}

impl<'a> Opening<'a> {
    pub(super) fn new(spec: &'a PipelineSpec, format: Format, devices: Devices) -> Self {
        Self {
            spec,
            format,
            devices,
            processors: Vec::new(),
            knobs: Knobs::default(),
            progress: None,
            player: None,
            between: Between::Nothing,
            capture: None,
            fifo_frames: 0,
            rising: false,
        }
    }

    pub(super) fn build(
        mut self,
        reader: Option<AudioReader>,
        mut started: Remotes,
        around: Around,
        seat: Seat,
    ) -> Result<Pipeline> {
        self.rising = around.rising;
        self.add_source(reader, &mut started.remotes)?;
        self.processors.extend(around.before);
        self.add_elements(&mut started.remotes);
        self.processors.extend(around.behind);
        // Before the meter and whatever takes the audio: what is muted is neither shown, recorded nor played.
        self.processors.push(Box::new(self.knobs.take_mute(Mute::default())));
        let meter = Meter::new(self.format.channels());
        let meter_handle = meter.handle();
        self.processors.push(Box::new(meter));
        let plugin_frames: u32 = self.processors.iter().map(|p| p.latency_frames()).sum();
        let chain_latency = chain::latency_frames(&self.processors, self.format);
        let plugins = started.plugins.iter().map(|plugin| Arc::clone(plugin.stats())).collect();
        let behind_frames = Arc::new(AtomicU64::new(chain_latency.into()));
        // Its map may be refused, and then no file is to be replaced.
        let sink = match &self.spec.sink {
            SinkSpec::Plugin { name, map, .. } => {
                started.remotes.next().map(|remote| self.sink(name, remote, map.as_deref()))
            }
            _ => None,
        };
        let sink = sink.transpose()?;
        let recorders = self.add_recorders(&behind_frames, plugins)?;
        self.processors.extend(sink);
        if self.devices.are_paced_by_source() {
            self.add_handover()?;
        }
        let chain = Chain::new(self.format, std::mem::take(&mut self.processors))?;
        let section = chain.section_stats();
        if let Some(thread) = chain.section_thread() {
            seat.rank().give(Some(thread));
        }
        let words = self.words();
        let plan = Plan {
            format: self.format,
            delays: Delays { plugin_frames, chain_frames: chain_latency },
            queue_frames: self.fifo_frames,
            is_captured: matches!(self.spec.source, SourceSpec::Device(_)),
            is_paced_by_source: self.devices.are_paced_by_source(),
        };
        let engine = Engine::new(chain);
        let frames = engine.frames();
        let terms = Terms { format: self.format, rank: seat.rank().clone() };
        let ports = open_ports(self.devices, engine, self.between, &terms, self.rising)?;
        Ok(Pipeline {
            name: self.spec.name.clone(),
            format: self.format,
            words,
            plan,
            ports,
            plugins: started.plugins,
            knobs: self.knobs,
            section,
            progress: self.progress,
            player: self.player,
            recorders,
            behind_frames,
            meter: meter_handle,
            frames,
            capture: self.capture,
            highest: vec![0.0; self.format.channels()],
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
                let channels = (reader.channels() as usize, self.format.channels());
                let map = ChannelMap::wanted(channels.0, channels.1, file.map.as_deref())
                    .map_err(|why| why.about(&format!("source {}", shown(&file.file))))?;
                // Nobody waits for its thread.
                let quality = self.spec.resampling.unwrap_or(Quality::Best);
                let (player, thread, progress) =
                    disk::play(reader, file.repeat, self.format.rate(), map, quality)?;
                self.processors.push(Box::new(player));
                (self.player, self.progress) = (Some(thread), Some(progress));
            }
            (SourceSpec::Plugin { name, map, .. }, _) => {
                if let Some(remote) = remotes.next() {
                    let source = self.source(name, remote, map.as_deref())?;
                    self.processors.push(source);
                }
            }
            // The input device's callback brings the block itself.
            _ if self.devices.output.is_none() || self.devices.are_paced_by_source() => {}
            _ => self.add_capture()?,
        }
        Ok(())
    }

    /// Input and output are two devices' callbacks: frames go from one to the other through a queue.
    ///
    /// After `k` output callbacks of `F` frames the chain has taken at most `kF + B` frames in blocks of `B`; the
    /// input, with buffers of `G`, has brought at least `(k - 1)F - G` when the `k`th begins. What is missing is
    /// `F + G + B`: so much silence goes ahead.
    fn add_capture(&mut self) -> Result<()> {
        let (input, _) = self.buffers();
        let (writer, queue) = self.queue(input, 1)?;
        self.between = Between::Before(writer);
        self.processors.push(Box::new(queue));
        Ok(())
    }

    /// The same behind the chain. The input brings whole blocks, and the chain may take as long for them as they last:
    /// what the `k`th callback finds is at least `(k - 1)F - 2G`, if `G` frames come in one go.
    fn add_handover(&mut self) -> Result<()> {
        let block = self.format.block_frames();
        let input = self.devices.burst(self.format) as usize * block;
        let (writer, queue) = self.queue(input, 2)?;
        let burst_max = u32::try_from(queue.input_max() / block).unwrap_or(u32::MAX);
        self.between = Between::Behind(Chain::new(self.format, vec![Box::new(queue)])?);
        self.processors.push(Box::new(Handover::new(writer, self.format.samples(), burst_max)));
        Ok(())
    }

    /// How many frames the input brings and the output takes at a time.
    fn buffers(&self) -> (usize, usize) {
        let buffer = |settled: &Option<Settled>| settled.as_ref().map_or(0, |s| s.buffer_frames as usize);
        (buffer(&self.devices.input), buffer(&self.devices.output))
    }

    /// A queue into which so many frames come at a time, and which holds so many times as many beside what the output takes
    /// and a block. There is room for buffers that are half a second longer at each end.
    fn queue(&mut self, input: usize, input_buffers: usize) -> Result<(FrameWriter, CaptureQueue)> {
        let (_, output) = self.buffers();
        let frames = input_buffers * input + output + self.format.block_frames();
        let longer = (input_buffers + 2) * self.format.rate() as usize / 2;
        let capacity = frames + input + output + 2 * self.format.block_frames() + longer;
        let clocks = self.devices.clocks();
        // With one clock nothing breaks off in the beginning: silence is there until the input comes. What is to rise has
        // to be waited for instead: silence would have risen long before it.
        let silence = if clocks == Clocks::One && !self.rising { frames } else { 0 };
        let (writer, reader) = frame_fifo(self.format.channels(), capacity, silence);
        let queue = CaptureQueue::new(reader, self.format, frames, input, clocks)?;
        let queue = queue.holding(input_buffers).taken_by(output);
        let queue = if self.rising { queue.rising() } else { queue };
        self.fifo_frames = frames + queue.delay_frames() as usize;
        self.capture = Some(queue.counts());
        Ok((writer, queue))
    }

    /// How well a plugin's rate is converted.
    fn quality(&self) -> Quality {
        self.spec.resampling.unwrap_or_default()
    }

    /// A plugin as a source, adapted if it has a format of its own or its channels are mapped.
    fn source(&self, name: &str, remote: Remote, list: Option<&[u32]>) -> Result<Box<dyn Processor>> {
        let (own, format, remote) = (remote.format(), self.format, Box::new(remote));
        let map = ChannelMap::wanted(own.channels(), format.channels(), list)
            .map_err(|why| why.about(&format!("source {name}")))?;
        if own == format && map.is_identity() {
            return Ok(remote);
        }
        Ok(Box::new(AdaptedSource::new(remote, own, format, map, self.quality())?))
    }

    /// The same as a sink.
    fn sink(&self, name: &str, remote: Remote, list: Option<&[u32]>) -> Result<Box<dyn Processor>> {
        let (own, format, remote) = (remote.format(), self.format, Box::new(remote));
        let map = ChannelMap::wanted(format.channels(), own.channels(), list)
            .map_err(|why| why.about(&format!("sink {name}")))?;
        if own == format && map.is_identity() {
            return Ok(remote);
        }
        Ok(Box::new(AdaptedSink::new(remote, own, format, map, self.quality())?))
    }

    fn add_elements(&mut self, remotes: &mut impl Iterator<Item = Remote>) {
        for element in &self.spec.elements {
            let processor: Option<Box<dyn Processor>> = match element {
                ElementSpec::Plugin { .. } => remotes.next().map(|r| Box::new(r) as _),
                ElementSpec::Gain { db } => Some(Box::new(self.knobs.take_gain(Gain::new(*db)))),
                ElementSpec::Meter => Some(Box::new(Meter::new(self.format.channels()))),
            };
            self.processors.extend(processor);
        }
    }

    fn add_recorders(
        &mut self,
        latency_frames: &Arc<AtomicU64>,
        plugins: Vec<Arc<PluginStats>>,
    ) -> Result<Vec<(PathBuf, RecorderThread)>> {
        let sink = match &self.spec.sink {
            SinkSpec::File(file) => Some(("sink", file)),
            _ => None,
        };
        let until =
            Until { source: self.progress.clone(), latency_frames: Arc::clone(latency_frames), plugins };
        let record = self.spec.record.iter().map(|file| ("record", file));
        let files: Vec<_> = sink.into_iter().chain(record).collect();
        // All before the first file is replaced.
        let maps = files.iter().map(|(end, file)| self.map_of(end, file)).collect::<Result<Vec<_>>>()?;
        files
            .into_iter()
            .zip(maps)
            .map(|((_, file), map)| self.add_recorder(file, map, until.clone()))
            .collect()
    }

    fn file_channels(&self, spec: &FileSinkSpec) -> usize {
        spec.map.as_ref().map_or(self.format.channels(), Vec::len)
    }

    fn map_of(&self, end: &str, spec: &FileSinkSpec) -> Result<ChannelMap> {
        ChannelMap::wanted(self.format.channels(), self.file_channels(spec), spec.map.as_deref())
            .map_err(|why| why.about(&format!("{end} {}", shown(&spec.file))))
    }

    fn add_recorder(
        &mut self,
        spec: &FileSinkSpec,
        map: ChannelMap,
        until: Until,
    ) -> Result<(PathBuf, RecorderThread)> {
        let rate = self.format.rate();
        let file_channels = u32::try_from(self.file_channels(spec)).unwrap_or(u32::MAX);
        let writer = WavWriter::create(&spec.file, file_channels, rate, spec.bits)?;
        let (recorder, thread) = disk::record(writer, rate, map, until)?;
        self.processors.push(Box::new(recorder));
        Ok((spec.file.clone(), thread))
    }

    fn words(&self) -> Words {
        let source = match &self.spec.source {
            SourceSpec::File(file) => Some(shown(&file.file)),
            SourceSpec::Device(_) => None,
            SourceSpec::Plugin { name, .. } => Some(name.clone()),
        };
        let sink = match &self.spec.sink {
            SinkSpec::File(file) => Some(shown(&file.file)),
            SinkSpec::Device(_) => None,
            SinkSpec::Plugin { name, .. } => Some(name.clone()),
        };
        let record = self.spec.record.as_ref().map(|record| shown(&record.file));
        Words { source, sink, record, clock: String::new() }
    }
}

/// Opens the devices, paused; the first port paces the chain.
fn open_ports(
    devices: Devices,
    engine: Engine,
    between: Between,
    terms: &Terms,
    rising: bool,
) -> Result<Vec<Port>> {
    let engine = Baton::new(engine);
    let mut ends = Vec::new();
    match (devices.input, devices.output, between) {
        (Some(input), Some(output), Between::Behind(queue)) => {
            ends.push((input, End::Input(engine)));
            ends.push((output, End::Behind(Baton::new(Engine::new(queue)))));
        }
        (Some(input), Some(output), Between::Before(queue)) => {
            ends.push((output, End::Output(engine)));
            ends.push((input, End::Queue(Baton::new(queue))));
        }
        (_, Some(output), _) => ends.push((output, End::Output(engine))),
        (Some(input), None, _) => ends.push((input, End::Input(engine))),
        (None, None, _) => {}
    }
    let open = |(settled, end): (Settled, End)| {
        let Settled { found, missing, mut want, .. } = settled;
        want.can_be_planned_for(end.burst_max(), terms.format);
        match missing {
            None => {
                let playing = end.open(found, terms, rising)?;
                Ok(Port::new(end, want, terms.clone(), playing))
            }
            Some(why) => Port::missing(end, want, terms.clone(), found, &why),
        }
    };
    ends.into_iter().map(open).collect()
}
