//! The devices of a pipeline: found, tried and asked for their buffers before anything else is started, or else waited
//! for while the virtual device stands in.
//!
//! For opening a pipeline, and for opening a device of it again. The buffer has to be known first, because it decides
//! how many blocks one callback runs in a row, and so how far behind a pipelined plugin is. It opens no stream that is
//! kept.

use crate::backend::virtual_device::VirtualHost;
use crate::backend::{self, Device, DeviceChoice, StreamFormat};
use crate::config::{Clock, DeviceName, DeviceSpec, ElementSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::edge::{ChannelMap, Clocks, Quality, Side};
use crate::error::{Error, Kind, Result};
use crate::level::Level;
use crate::plugin::spec::{Mode, PluginSpec};
use shared::format::Format;

/// What a device's buffer is taken for that does not tell.
const UNTOLD_BUFFER_FRAMES: u32 = 2048;

/// A device that has been found to open, and the frames that one callback brings or takes.
#[derive(Debug)]
pub(super) struct Settled {
    /// It, or the virtual device in its place.
    pub(super) found: Found,
    /// Why it is not there yet.
    pub(super) missing: Option<Error>,
    /// The pipeline's frames that one callback brings or takes, at most.
    pub(super) buffer_frames: u32,
    /// How to find it again.
    pub(super) want: Want,
}

/// A device, not yet open, and what it is like seen from the pipeline.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) device: Device,
    pub(super) side: Side,
}

/// What frames lie in a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    Nothing,
    OneBuffer,
    /// As many as it says, and one buffer where it says nothing or less: no device does with less.
    WhatItSays,
}

impl Found {
    /// A virtual device has nothing behind its buffer; what is played into a cable is heard one buffer of its input later.
    pub(super) fn holding(&self, is_input: bool) -> Holding {
        match (self.device.is_virtual(), is_input && self.device.is_cable()) {
            (true, true) => Holding::OneBuffer,
            (true, false) => Holding::Nothing,
            (false, _) => Holding::WhatItSays,
        }
    }
}

/// A device as it is asked for, now and after it was lost.
#[derive(Debug, Clone)]
pub(super) struct Want {
    spec: DeviceSpec,
    is_input: bool,
    quality: Quality,
    /// What `virtual` means.
    virtual_host: Option<VirtualHost>,
    /// The device that was found first, unless it may be another one next time: what is meant for one device is not for
    /// another that fits the same name.
    known: Option<DeviceChoice>,
    /// What the pipeline is planned for, if it is.
    planned: Option<Planned>,
}

/// Frames at a time that a pipeline is planned for, and the most that it could be planned for as it is.
#[derive(Debug, Clone, Copy)]
struct Planned {
    frames: u32,
    most: u32,
}

/// The devices of a pipeline, not yet open. Without any the virtual device is its clock.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) input: Option<Settled>,
    pub(super) output: Option<Settled>,
    /// Which one's clock it is, if there are both.
    clock: Clock,
}

impl Devices {
    pub(super) fn settle(
        pipeline: &PipelineSpec,
        format: Format,
        virtual_host: Option<&VirtualHost>,
        note: &mut dyn FnMut(Level, String),
    ) -> Result<Self> {
        let mut settle = |device: &DeviceSpec, is_input| {
            let (spec, virtual_host) = (device.clone(), virtual_host.cloned());
            let (quality, known) = (pipeline.resampling.unwrap_or_default(), device.known.clone());
            settle(Want { spec, is_input, quality, virtual_host, known, planned: None }, format, note)
        };
        let input = match &pipeline.source {
            SourceSpec::Device(device) => Some(settle(device, true)?),
            _ => None,
        };
        let output = match &pipeline.sink {
            SinkSpec::Device(device) => Some(settle(device, false)?),
            _ if input.is_none() => Some(settle(&DeviceSpec::new("virtual"), false)?),
            _ => None,
        };
        let mut devices = Self { input, output, clock: pipeline.clock };
        // The burst of the one that paces is planned for, and so is what an output takes out of a queue.
        let Self { input, output, .. } = &mut devices;
        let input = if output.is_none() || pipeline.clock == Clock::Source { input.as_mut() } else { None };
        for one in output.as_mut().into_iter().chain(input).filter(|_| is_planned(pipeline)) {
            let frames = burst(one.buffer_frames, format) * block_frames(format);
            one.want.planned = Some(Planned { frames, most: frames });
        }
        Ok(devices)
    }

    /// Whether the pipeline runs on its source's clock, with a queue for the sink behind it.
    pub(super) fn are_paced_by_source(&self) -> bool {
        self.clock == Clock::Source && self.input.is_some() && self.output.is_some()
    }

    /// Whether input and output can drift apart.
    pub(super) fn clocks(&self) -> Clocks {
        match (&self.input, &self.output) {
            (Some(input), Some(output)) if !input.shares_clock_with(output) => {
                Clocks::Two(input.want.quality)
            }
            _ => Clocks::One,
        }
    }

    /// How many blocks a callback of the device that paces the pipeline runs in a row, at most.
    pub(super) fn burst(&self, format: Format) -> u32 {
        let output = self.output.as_ref().filter(|_| !self.are_paced_by_source());
        output.or(self.input.as_ref()).map_or(1, |settled| burst(settled.buffer_frames, format))
    }
}

impl Settled {
    /// What stands in for a device says nothing of that one's clock.
    fn shares_clock_with(&self, other: &Self) -> bool {
        if self.missing.is_none() && other.missing.is_none() {
            return self.found.device.shares_clock_with(&other.found.device);
        }
        let (one, two) = (&self.want.spec, &other.want.spec);
        let are_virtual = one.name.is_virtual() && two.name.is_virtual();
        (are_virtual && one.ppm == two.ppm) || backend::share_a_clock(&self.want.name(), &other.want.name())
    }
}

/// Whether anything in a pipeline is made for so many frames at a time: the queue between two devices, and what plugins
/// make that are pipelined or may become so.
fn is_planned(pipeline: &PipelineSpec) -> bool {
    let may_be_pipelined =
        |plugin: &PluginSpec, usual: Mode| plugin.adapt || plugin.mode.unwrap_or(usual) == Mode::Pipelined;
    let is_element = |element: &ElementSpec| match element {
        ElementSpec::Plugin { spec, .. } => may_be_pipelined(spec, Mode::SameBlock),
        _ => false,
    };
    let is_end = match (&pipeline.source, &pipeline.sink) {
        (SourceSpec::Device(_), SinkSpec::Device(_)) => true,
        (_, SinkSpec::Plugin { spec, .. }) if may_be_pipelined(spec, Mode::Pipelined) => true,
        (SourceSpec::Plugin { spec, .. }, _) => may_be_pipelined(spec, Mode::SameBlock),
        _ => false,
    };
    is_end || pipeline.elements.iter().any(is_element)
}

fn block_frames(format: Format) -> u32 {
    u32::try_from(format.block_frames()).unwrap_or(u32::MAX)
}

fn burst(buffer_frames: u32, format: Format) -> u32 {
    buffer_frames.div_ceil(block_frames(format)).max(1)
}

/// Finds the device, and opens it once: some systems name a device that can't be opened, and only an open
/// stream knows its buffer.
fn settle(mut want: Want, format: Format, note: &mut dyn FnMut(Level, String)) -> Result<Settled> {
    let tried = want.find(format).and_then(|Found { device, .. }| {
        want.keep_to(device.known());
        backend::try_out(device)
    });
    match tried {
        Err(why) if want.spec.fallback_virtual && why.kind() == Kind::Absent => {
            let until = if want.is_input { "the input is silent" } else { "the virtual device plays" };
            note(Level::Warning, format!("{until} until it is there: {why}"));
            let found = stand_in(format, want.is_input)?;
            // If it has the rate and the buffer that it is asked for, and otherwise the pipeline's.
            let side = Side { device_rate: want.spec.rate.unwrap_or(format.rate()), ..found.side.clone() };
            let buffer = want.spec.buffer_frames.unwrap_or(block_frames(format));
            let buffer_frames = want.frames(&side, Some(buffer), format);
            Ok(Settled { found, buffer_frames, missing: Some(why), want })
        }
        Err(why) => Err(why),
        Ok(buffer) => {
            let found = want.find(format)?;
            if found.side.is_converted() {
                let (name, rate) = (found.device.name(), found.side.device_rate);
                let rates = format!("{rate} Hz and is converted: the pipeline has {} Hz", format.rate());
                note(Level::Info, format!("{name} runs at {rates}"));
            }
            let buffer_frames = want.frames(&found.side, buffer, format);
            Ok(Settled { found, buffer_frames, missing: None, want })
        }
    }
}

impl Want {
    /// The device, not yet open.
    pub(super) fn find(&self, format: Format) -> Result<Found> {
        let channels = match (&self.spec.map, self.is_input) {
            (Some(map), true) => ChannelMap::source_of(map),
            (Some(map), false) => ChannelMap::target_of(map),
            (None, _) => u32::try_from(format.channels()).unwrap_or(u32::MAX),
        };
        let (rate, buffer_frames) = (self.spec.rate.unwrap_or(format.rate()), self.buffer_frames(format));
        let device = self.device(StreamFormat { rate, channels, buffer_frames })?;
        Ok(Found { side: self.side(&device, format)?, device })
    }

    /// From now on it is this device, if the user means one and not whichever is the default.
    pub(super) fn keep_to(&mut self, known: Option<DeviceChoice>) {
        self.known = self.choice().filter(|choice| !choice.is_default()).and(known);
    }

    /// The device that it is to be, if it may not be another one.
    pub(super) fn known(&self) -> Option<DeviceChoice> {
        self.known.clone()
    }

    /// Whether the user wants a buffer of a certain length.
    pub(super) fn asks_for_a_buffer(&self) -> bool {
        self.spec.buffer_frames.is_some()
    }

    /// As the user calls it.
    pub(super) fn name(&self) -> String {
        self.spec.name.to_string()
    }

    /// What is asked for, if it is not a virtual device.
    fn choice(&self) -> Option<DeviceChoice> {
        match (&self.spec.name, &self.known) {
            (DeviceName::Virtual | DeviceName::Cable(_), _) => None,
            (_, Some(known)) => Some(known.clone()),
            (DeviceName::Default, None) => Some(DeviceChoice::Default),
            (DeviceName::Named(name), None) => Some(DeviceChoice::Named(name.clone())),
        }
    }

    fn device(&self, wanted: StreamFormat) -> Result<Device> {
        if let Some(choice) = self.choice() {
            return find(&choice, wanted, self.is_input);
        }
        let cable = match &self.spec.name {
            DeviceName::Cable(name) => Some(name),
            _ => None,
        };
        let host = self.virtual_host.clone().unwrap_or_default().off_by(self.spec.ppm);
        let host = cable.iter().fold(host, |host, name| host.cable(name));
        if self.is_input { host.input_device(wanted) } else { host.output_device(wanted) }
    }

    /// What the device is like, seen from the pipeline; an error if that is not what was asked for.
    fn side(&self, device: &Device, format: Format) -> Result<Side> {
        let device_rate = device.rate();
        if let Some(wanted) = self.spec.rate.filter(|wanted| *wanted != device_rate) {
            let what = format!("{} does not offer a rate of {wanted} Hz", device.name());
            return Err(Error::new(Kind::Device, what)
                .remedy(format!("leave `rate` out, or set it to {device_rate}, the nearest it offers")));
        }
        let (from, to) = if self.is_input {
            (device.channels(), format.channels())
        } else {
            (format.channels(), device.channels())
        };
        let map = ChannelMap::wanted(from, to, self.spec.map.as_deref()).map_err(|why| {
            why.about(&format!("{} {}", if self.is_input { "source" } else { "sink" }, self.name()))
        })?;
        Ok(Side { device_rate, rate: format.rate(), map, quality: self.quality })
    }

    /// Frames of the pipeline that the device brings or takes at a time, if it says that it has such a buffer.
    pub(super) fn frames(&self, side: &Side, buffer: Option<u32>, format: Format) -> u32 {
        // A conversion brings or takes a frame more at times.
        let frames = side.frames(self.told(buffer, format) as usize) + usize::from(side.is_converted());
        u32::try_from(frames).unwrap_or(u32::MAX)
    }

    /// The device's buffer, in its own frames, if it says that it has such a one.
    pub(super) fn told(&self, buffer: Option<u32>, format: Format) -> u32 {
        buffer.or(self.buffer_frames(format)).unwrap_or(UNTOLD_BUFFER_FRAMES)
    }

    /// The buffer that the device is asked for. The virtual device takes any: the block's size needs no adapting.
    fn buffer_frames(&self, format: Format) -> Option<u32> {
        self.spec.buffer_frames.or(self.spec.name.is_virtual().then(|| block_frames(format)))
    }

    /// The pipeline could be planned for so many blocks in a row.
    pub(super) fn can_be_planned_for(&mut self, burst_max: u32, format: Format) {
        if let Some(planned) = &mut self.planned {
            planned.most = planned.frames.max(burst_max.saturating_mul(block_frames(format)));
        }
    }

    /// For how many blocks in a row the pipeline has to be planned to have the device as it is: what pipelined plugins make
    /// comes just as many blocks later, and would not be there. `None` if it is.
    pub(super) fn outgrows(&self, side: &Side, buffer: Option<u32>, format: Format) -> Option<u32> {
        let frames = self.frames(side, buffer, format);
        self.planned.filter(|planned| frames > planned.frames).map(|_| burst(frames, format))
    }

    /// From now on it is planned for so many.
    pub(super) fn is_planned_for(&mut self, burst: u32, format: Format) {
        self.planned.iter_mut().for_each(|planned| planned.frames = burst * block_frames(format));
    }

    /// Whether a device, opened again or while it plays, takes no more frames at a time than the pipeline could be planned
    /// for.
    pub(super) fn check_buffer(&self, side: &Side, buffer: Option<u32>, format: Format) -> Result<()> {
        let Some(Planned { most, .. }) = self.planned else { return Ok(()) };
        if self.frames(side, buffer, format) <= most {
            return Ok(());
        }
        // In the device's frames, as its buffer is set in.
        let (is, most) = (self.told(buffer, format), most_buffer(side, most));
        let what = format!("its buffer has {is} frames now, and the pipeline was opened for {most} at most");
        Err(Error::new(Kind::Device, what)
            .remedy(format!("set `buffer = {most}`, or start the pipeline again")))
    }
}

/// The longest buffer of the device's that brings or takes no more than so many frames of the pipeline.
fn most_buffer(side: &Side, frames: u32) -> u32 {
    if !side.is_converted() {
        return frames;
    }
    let most = u64::from(frames.saturating_sub(1)) * u64::from(side.device_rate) / u64::from(side.rate);
    u32::try_from(most).unwrap_or(u32::MAX)
}

fn find(choice: &DeviceChoice, want: StreamFormat, is_input: bool) -> Result<Device> {
    if is_input { backend::input_device(choice, want) } else { backend::output_device(choice, want) }
}

/// A virtual device that paces a pipeline while its own is away, block by block.
pub(super) fn stand_in(format: Format, is_input: bool) -> Result<Found> {
    let (spec, quality) = (DeviceSpec::new("virtual"), Quality::default());
    Want { spec, is_input, quality, virtual_host: None, known: None, planned: None }.find(format)
}

#[cfg(test)]
mod tests {
    use super::super::{Baton, Engine, OutputCallback, QueueCallback};
    use super::*;
    use crate::chain::Chain;
    use crate::edge::{CaptureQueue, frame_fifo};
    use std::time::Duration;

    const BLOCK: u32 = 256;

    /// A pipeline's output, which takes so many frames at a time when it is opened.
    fn output(buffer_frames: u32) -> Want {
        let format = Format::new(2, BLOCK, 48_000).unwrap();
        let device = DeviceSpec { buffer_frames: Some(buffer_frames), ..DeviceSpec::new("virtual") };
        let spec = PipelineSpec::new(SourceSpec::file("in.wav"), SinkSpec::Device(device));
        want(&spec.then(PluginSpec::new("gain.py").into()), format)
    }

    fn want(spec: &PipelineSpec, format: Format) -> Want {
        Devices::settle(spec, format, None, &mut |_, _| {}).unwrap().output.unwrap().want
    }

    #[test]
    fn a_pipeline_in_which_nothing_is_planned_for_a_device_s_buffer_takes_it_back_with_any() {
        let format = Format::new(2, BLOCK, 48_000).unwrap();
        let file = || PipelineSpec::new(SourceSpec::file("in.wav"), SinkSpec::device("virtual"));
        let plugin = |mode, adapt| PluginSpec { mode, adapt, ..PluginSpec::new("gain.py") };
        let from = |spec| SourceSpec::Plugin { name: "source".into(), spec, map: None };
        let into = |spec| SinkSpec::Plugin { name: "sink".into(), spec, map: None };
        let (same_block, pipelined) = (Some(Mode::SameBlock), Some(Mode::Pipelined));
        for (is_planned, spec) in [
            (false, file()),
            (false, file().then(ElementSpec::Meter)),
            (false, file().then(plugin(same_block, false).into())),
            (false, file().then(plugin(None, false).into())),
            (true, file().then(plugin(None, true).into())),
            (true, file().then(plugin(pipelined, false).into())),
            (false, PipelineSpec { source: from(plugin(None, false)), ..file() }),
            (true, PipelineSpec { source: from(plugin(None, true)), ..file() }),
            (false, PipelineSpec { sink: into(plugin(same_block, false)), ..file() }),
            // A sink is pipelined unless it is said not to be.
            (true, PipelineSpec { sink: into(plugin(None, false)), ..file() }),
            (true, PipelineSpec { source: SourceSpec::device("virtual"), ..file() }),
        ] {
            let want = want(&spec, format);
            let side = Side::plain(48_000, ChannelMap::new(2, 2));
            assert_eq!(want.check_buffer(&side, Some(8 * BLOCK), format).is_err(), is_planned, "{spec:?}");
        }
    }

    #[test]
    fn a_device_that_takes_more_at_a_time_than_is_planned_for_is_not_taken_back() {
        let want = output(300);
        let format = Format::new(2, BLOCK, 48_000).unwrap();
        // Two blocks in a row are planned for, which are as long as so many frames of the device. A conversion may take
        // one more.
        for (device_rate, most) in [(48_000, 512), (96_000, 1022), (44_100, 469), (8_000, 85)] {
            let side = Side { device_rate, ..Side::plain(48_000, ChannelMap::new(2, 2)) };
            let check = |frames| want.check_buffer(&side, Some(frames), format);
            assert!([64, most - 1, most].into_iter().all(|frames| check(frames).is_ok()), "{device_rate}");
            let error = check(most + 1).unwrap_err();
            let text = error.to_string();
            assert!(
                error.kind() == Kind::Device && text.contains(&format!("{} frames now", most + 1)),
                "{text}"
            );
            assert!(text.contains(&format!("opened for {most} at most")), "{text}");
            assert!(text.contains(&format!("buffer = {most}`")), "{text}");
        }
    }

    #[test]
    fn a_pipeline_is_planned_anew_for_a_longer_buffer_as_far_as_there_is_room() {
        let format = Format::new(2, BLOCK, 48_000).unwrap();
        let side = Side::plain(48_000, ChannelMap::new(2, 2));
        let mut want = output(300);
        want.can_be_planned_for(4, format);
        let outgrows = |want: &Want, blocks| want.outgrows(&side, Some(blocks * BLOCK), format);
        let fits = |want: &Want, frames| want.check_buffer(&side, Some(frames), format).is_ok();
        assert_eq!([outgrows(&want, 2), outgrows(&want, 3), outgrows(&want, 4)], [None, Some(3), Some(4)]);
        assert!(fits(&want, 4 * BLOCK) && !fits(&want, 4 * BLOCK + 1));
        want.is_planned_for(3, format);
        assert_eq!([outgrows(&want, 3), outgrows(&want, 4)], [None, Some(4)]);
        assert!(fits(&want, 4 * BLOCK) && !fits(&want, 4 * BLOCK + 1));
        // No room for more takes nothing of what there is.
        want.can_be_planned_for(1, format);
        assert!(fits(&want, 3 * BLOCK) && !fits(&want, 3 * BLOCK + 1));
    }

    /// ALSA's `null` is a real device that needs no card.
    #[test]
    fn a_device_that_was_found_by_its_name_is_the_only_one_that_is_taken_from_then_on() {
        let format = Format::new(2, BLOCK, 48_000).unwrap();
        let spec = PipelineSpec::new(SourceSpec::file("in.wav"), SinkSpec::device("alsa:null"));
        let devices = Devices::settle(&spec, format, None, &mut |_, _| {}).unwrap();
        let Settled { found, want, .. } = devices.output.unwrap();
        assert!(want.known.is_some());
        assert_eq!(want.find(format).unwrap().device.known(), want.known);
        // Which one is the default is for the system to say.
        for name in ["default", "alsa:default"] {
            let mut default = Want { spec: DeviceSpec::new(name), known: None, ..want.clone() };
            default.keep_to(found.device.known());
            assert_eq!(default.known, None, "{name}");
        }
        // A pipeline that is opened anew has it again by its name and id, also where its name fits others.
        let again = DeviceSpec { known: want.known(), ..DeviceSpec::new("whatever fits") };
        let spec = PipelineSpec { sink: SinkSpec::Device(again), ..spec };
        let anew = Devices::settle(&spec, format, None, &mut |_, _| {}).unwrap().output.unwrap();
        assert_eq!((anew.want.known(), anew.found.device.known()), (want.known(), want.known()));
        // The name still fits a device, but not the one that was meant.
        let radio = DeviceChoice::Known { id: "alsa:hw:CARD=Radio,DEV=0".into(), name: "Radio".into() };
        let gone = Want { known: Some(radio), ..want };
        let text = gone.find(format).unwrap_err().to_string();
        assert!(text.contains("Radio (alsa:hw:CARD=Radio,DEV=0) is not there"), "{text}");
    }

    #[test]
    fn an_input_beside_an_output_may_bring_more_at_a_time_than_planned_and_has_no_gaps_once_that_is_seen() {
        const LONG: u32 = 4096;
        let (host, simulation) = VirtualHost::simulated();
        let format = Format::new(2, BLOCK, 48_000).unwrap();
        let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::device("virtual"));
        let devices = Devices::settle(&spec, format, Some(&host), &mut |_, _| {}).unwrap();
        let (input, output) = (devices.input.unwrap(), devices.output.unwrap());
        let planned = (input.buffer_frames + output.buffer_frames + BLOCK) as usize;
        let (writer, reader) = frame_fifo(2, 48_000, planned);
        let queue =
            CaptureQueue::new(reader, format, planned, input.buffer_frames as usize, Clocks::One).unwrap();
        let counts = queue.counts();
        // As after it was lost: the device is another one now.
        let mut want = input.want;
        want.spec.buffer_frames = Some(LONG);
        let found = want.find(format).unwrap();
        assert!(want.check_buffer(&found.side, Some(LONG), format).is_ok());
        let writer = Baton::new(writer);
        let claim = writer.claim();
        writer.give_to(claim.number());
        let mut record = QueueCallback::new(claim, format, found.side).unwrap();
        let engine = Baton::new(Engine::new(Chain::new(format, vec![Box::new(queue)]).unwrap()));
        let claim = engine.claim();
        engine.give_to(claim.number());
        let mut play = OutputCallback::new(claim, format, output.found.side, false).unwrap();
        let streams = [
            found.device.open_input(move |capture| record.record(capture), |_| ()).unwrap(),
            output.found.device.open_output(move |playback| play.play(playback), |_| ()).unwrap(),
        ];
        streams.iter().for_each(|stream| stream.play().unwrap());
        simulation.run(Duration::from_secs(1));
        let settled = (counts.gaps(), counts.underrun_frames(), counts.overrun_frames());
        assert!(settled.0 > 0, "nothing was to be learnt");
        simulation.run(Duration::from_secs(60));
        assert_eq!((counts.gaps(), counts.underrun_frames(), counts.overrun_frames()), settled);
        assert_eq!(counts.grown_frames(), LONG - BLOCK);
    }
}
