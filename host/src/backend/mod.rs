//! The audio devices: which there are, and streams to and from them.
//!
//! For the pipelines, which hand in a callback on interleaved `f32` frames and never meet a device's sample
//! format, and for `nda devices`. The only module that knows cpal, whose next release changes its API: no cpal
//! type leaves it, but that [`VirtualHost`] is a cpal host to whoever wants one. The virtual device goes through
//! cpal like any other, so there is one way from a callback to a device. This does not re-block, resample or map
//! channels: a stream tells its device's channels and buffer, and [`crate::reblock`] does the rest.
//!
//! Non-finite samples never reach a device: they are replaced by silence and counted. Samples beyond full
//! scale are clamped where the device takes integers and left alone where it takes floats.

pub mod virtual_device;

use crate::error::{Error, Kind, Result};
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    ErrorKind, FromSample, HostId, SampleFormat, SizedSample, SupportedBufferSize, SupportedStreamConfigRange,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use virtual_device::VirtualHost;

/// The most frames that a callback gets at once; a device that wants more has it called again at once.
pub const MOST_FRAMES: usize = 8192;

/// How long an audio system may take to list its devices or to open one: PulseAudio starts a server first.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How long a device may take to start or pause, and ALSA to notice that one is gone which says nothing.
const CONTROL_LIMIT: Duration = Duration::from_secs(5);
/// How long dropping a stream may take: JACK has been seen to block for two minutes.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

// ---- Audio systems ----

type CpalResult<T> = std::result::Result<T, cpal::Error>;

/// An audio system: one of cpal's, or the one that has the virtual device, which is cpal's custom one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct System(HostId);

impl System {
    const VIRTUAL: Self = Self(HostId::Custom);

    /// Those of this machine, the virtual one last.
    fn all() -> Vec<Self> {
        let found = cpal::available_hosts().into_iter().map(Self);
        found.chain(std::iter::once(Self::VIRTUAL)).collect()
    }

    fn name(self) -> &'static str {
        if self == Self::VIRTUAL { virtual_device::NAME } else { self.0.name() }
    }

    fn host(self) -> CpalResult<cpal::Host> {
        if self == Self::VIRTUAL { Ok(VirtualHost::new().into()) } else { cpal::host_from_id(self.0) }
    }
}

/// The devices of an audio system.
struct Shelf {
    /// Those that the system lists.
    listed: Vec<cpal::Device>,
    /// The default ones that it doesn't list. They may not be there: only asking shows.
    unlisted: Vec<cpal::Device>,
    defaults: Defaults,
}

impl Shelf {
    fn of(host: &cpal::Host) -> CpalResult<Self> {
        let listed: Vec<_> = host.devices()?.collect();
        let defaults = Defaults::of(host);
        let mut unlisted: Vec<_> =
            [&defaults.output, &defaults.input].into_iter().flatten().cloned().collect();
        unlisted.dedup();
        unlisted.retain(|device| !listed.contains(device));
        Ok(Self { listed, unlisted, defaults })
    }

    /// Those that can be opened in this direction.
    fn able_to(self, direction: Direction) -> impl Iterator<Item = cpal::Device> {
        let offers = move |device: &cpal::Device| direction.configs(device).is_ok_and(|all| !all.is_empty());
        let listed = self.listed.into_iter().filter(move |device| direction.supports(device));
        self.unlisted.into_iter().filter(offers).chain(listed)
    }
}

/// The devices that are used if none is named; only one audio system has them.
struct Defaults {
    output: Option<cpal::Device>,
    input: Option<cpal::Device>,
}

impl Defaults {
    fn of(host: &cpal::Host) -> Self {
        if host.id() == cpal::default_host().id() {
            Self { output: host.default_output_device(), input: host.default_input_device() }
        } else {
            Self { output: None, input: None }
        }
    }
}

/// What the device is called in configurations, the same at the next start.
fn id_of(device: &cpal::Device) -> Option<String> {
    let id = device.id().ok()?;
    // cpal's word for the virtual device's system means nothing to a user.
    Some(if System(id.host()) == System::VIRTUAL { id.id().to_owned() } else { id.to_string() })
}

// ---- What there is ----

/// A device and what it offers.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceInfo {
    /// The name, of which [`DeviceChoice::Named`] takes any part.
    pub name: String,
    /// The same at the next start, where the audio system can tell.
    pub id: Option<String>,
    /// The audio system: `ALSA`, `JACK`, `virtual`...
    pub backend: String,
    /// False if it keeps no time: a stream to ALSA's `null` runs as fast as the machine can.
    pub keeps_time: bool,
    /// What it plays, if it does.
    pub output: Option<DirectionInfo>,
    /// What it records, if it does.
    pub input: Option<DirectionInfo>,
    /// Why it could not be asked.
    pub error: Option<String>,
}

/// What a device offers in one direction.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DirectionInfo {
    /// Used if no device is named.
    pub is_default: bool,
    /// What it can be opened with.
    pub configs: Vec<ConfigInfo>,
    /// What it is opened with by those who don't mind.
    pub default_config: Option<ConfigInfo>,
    /// Why it could not be asked.
    pub error: Option<String>,
}

/// Formats that a device offers together: any of the channels at any of the rates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigInfo {
    /// Channels per frame.
    pub channels: Span,
    /// Frames per second.
    pub rates: Vec<Span>,
    /// Sample formats, such as `f32`.
    pub formats: Vec<String>,
    /// Frames per callback, where the device tells.
    pub buffer_frames: Option<Span>,
}

/// From the smallest to the greatest, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The smallest.
    pub min: u32,
    /// The greatest.
    pub max: u32,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

impl DeviceInfo {
    fn unasked(backend: &str, error: &dyn fmt::Display) -> Self {
        Self {
            name: backend.to_owned(),
            id: None,
            backend: backend.to_owned(),
            keeps_time: true,
            output: None,
            input: None,
            error: Some(error.to_string()),
        }
    }

    fn opens(&self) -> bool {
        [&self.output, &self.input].into_iter().flatten().any(|direction| direction.error.is_none())
    }
}

/// Every device of every audio system that cpal finds, and the virtual one last. What can't be asked says so in
/// its `error`.
#[must_use]
pub fn devices() -> Vec<DeviceInfo> {
    let mut all = Vec::new();
    for system in System::all() {
        match within(OPEN_LIMIT, move || system_devices(system)) {
            Ok(devices) => all.extend(devices),
            Err(error) => all.push(DeviceInfo::unasked(system.name(), &error)),
        }
    }
    all
}

fn system_devices(system: System) -> Vec<DeviceInfo> {
    match system.host().and_then(|host| Shelf::of(&host)) {
        Ok(shelf) => {
            let info = |device| device_info(system.name(), device, &shelf.defaults);
            let unlisted = shelf.unlisted.iter().map(info).filter(DeviceInfo::opens);
            unlisted.chain(shelf.listed.iter().map(info)).collect()
        }
        Err(error) => vec![DeviceInfo::unasked(system.name(), &error)],
    }
}

fn device_info(backend: &str, device: &cpal::Device, defaults: &Defaults) -> DeviceInfo {
    let id = id_of(device);
    let (name, error) = match device.description() {
        Ok(description) => (description.name().to_owned(), None),
        Err(error) => (id.clone().unwrap_or_else(|| backend.to_owned()), Some(error.to_string())),
    };
    let output = direction_info(Direction::Output, device, defaults.output.as_ref());
    let input = direction_info(Direction::Input, device, defaults.input.as_ref());
    // Most devices have one direction and answer a question about the other with an error.
    let (output, input) = match (output, input) {
        (Some(output), Some(input)) if output.error.is_none() && input.error.is_some() => {
            (Some(output), None)
        }
        (Some(output), Some(input)) if output.error.is_some() && input.error.is_none() => (None, Some(input)),
        both => both,
    };
    let keeps_time = id.as_deref() != Some("alsa:null");
    DeviceInfo { name, id, backend: backend.to_owned(), keeps_time, output, input, error }
}

fn direction_info(
    direction: Direction,
    device: &cpal::Device,
    default: Option<&cpal::Device>,
) -> Option<DirectionInfo> {
    let is_default = default == Some(device);
    match direction.configs(device) {
        Ok(ranges) if ranges.is_empty() => None,
        Ok(ranges) => {
            let default_config = direction.default_config(device).ok().map(|config| default_info(&config));
            Some(DirectionInfo { is_default, configs: merged(&ranges), default_config, error: None })
        }
        Err(error) if error.kind() == ErrorKind::UnsupportedOperation => None,
        Err(error) => {
            Some(DirectionInfo { is_default, error: Some(error.to_string()), ..DirectionInfo::default() })
        }
    }
}

fn default_info(config: &cpal::SupportedStreamConfig) -> ConfigInfo {
    let (channels, rate) = (u32::from(config.channels()), config.sample_rate());
    ConfigInfo {
        channels: Span { min: channels, max: channels },
        rates: vec![Span { min: rate, max: rate }],
        formats: vec![config.sample_format().to_string()],
        buffer_frames: buffer_span(*config.buffer_size()),
    }
}

fn buffer_span(size: SupportedBufferSize) -> Option<Span> {
    match size {
        SupportedBufferSize::Range { min, max } => Some(Span { min, max }),
        SupportedBufferSize::Unknown => None,
    }
}

/// What cpal tells for each channel count and sample format apart (1,832 times for ALSA's `null`), together.
fn merged(ranges: &[SupportedStreamConfigRange]) -> Vec<ConfigInfo> {
    let mut by_channels = BTreeMap::<u32, ConfigInfo>::new();
    for range in ranges {
        let channels = u32::from(range.channels());
        by_channels.entry(channels).or_insert_with(|| nothing_yet(channels)).add(range);
    }
    let mut all = Vec::<ConfigInfo>::new();
    for config in by_channels.into_values() {
        match all.last_mut() {
            Some(last) if last.goes_on_in(&config) => last.absorb(&config),
            _ => all.push(config),
        }
    }
    all
}

fn nothing_yet(channels: u32) -> ConfigInfo {
    let channels = Span { min: channels, max: channels };
    ConfigInfo { channels, rates: Vec::new(), formats: Vec::new(), buffer_frames: None }
}

impl ConfigInfo {
    fn add(&mut self, range: &SupportedStreamConfigRange) {
        let rates = Span { min: range.min_sample_rate(), max: range.max_sample_rate() };
        if let Err(place) = self.rates.binary_search(&rates) {
            self.rates.insert(place, rates);
        }
        let format = range.sample_format().to_string();
        if !self.formats.contains(&format) {
            self.formats.push(format);
        }
        self.buffer_frames = union(self.buffer_frames, buffer_span(*range.buffer_size()));
    }

    /// The buffer is not compared: ALSA's limit is in bytes, so it is another one for each channel count.
    fn goes_on_in(&self, next: &Self) -> bool {
        self.channels.max + 1 == next.channels.min && self.rates == next.rates && self.formats == next.formats
    }

    fn absorb(&mut self, next: &Self) {
        self.channels.max = next.channels.max;
        self.buffer_frames = union(self.buffer_frames, next.buffer_frames);
    }
}

fn union(a: Option<Span>, b: Option<Span>) -> Option<Span> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Span { min: a.min.min(b.min), max: a.max.max(b.max) }),
        (a, b) => a.or(b),
    }
}

// ---- Which one ----

/// The device that a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The system's default.
    Default,
    /// The built-in one that needs no sound card.
    Virtual,
    /// The only one with this in its name or id, in capitals or not; one with just this name or id comes first.
    Named(String),
}

impl From<&str> for DeviceChoice {
    fn from(name: &str) -> Self {
        match name {
            "default" => Self::Default,
            virtual_device::NAME => Self::Virtual,
            other => Self::Named(other.to_owned()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Output,
    Input,
}

impl Direction {
    fn configs(self, device: &cpal::Device) -> CpalResult<Vec<SupportedStreamConfigRange>> {
        match self {
            Self::Output => device.supported_output_configs().map(Iterator::collect),
            Self::Input => device.supported_input_configs().map(Iterator::collect),
        }
    }

    fn default_config(self, device: &cpal::Device) -> CpalResult<cpal::SupportedStreamConfig> {
        match self {
            Self::Output => device.default_output_config(),
            Self::Input => device.default_input_config(),
        }
    }

    fn default_device(self, host: &cpal::Host) -> Option<cpal::Device> {
        match self {
            Self::Output => host.default_output_device(),
            Self::Input => host.default_input_device(),
        }
    }

    fn supports(self, device: &cpal::Device) -> bool {
        match self {
            Self::Output => device.supports_output(),
            Self::Input => device.supports_input(),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Output => "output",
            Self::Input => "input",
        })
    }
}

/// A device by its names.
struct Candidate {
    name: String,
    id: String,
    device: cpal::Device,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == self.id { f.write_str(&self.name) } else { write!(f, "{} ({})", self.name, self.id) }
    }
}

fn candidates(direction: Direction) -> Vec<Candidate> {
    let hosts = System::all().into_iter().filter_map(|system| system.host().ok());
    let shelves = hosts.filter_map(|host| Shelf::of(&host).ok());
    let devices = shelves.flat_map(|shelf| shelf.able_to(direction));
    let candidate = |device: cpal::Device| Candidate {
        name: device.description().map(|d| d.name().to_owned()).unwrap_or_default(),
        id: id_of(&device).unwrap_or_default(),
        device,
    };
    devices.map(candidate).collect()
}

/// The only one that is called so, or the only one with this in its name or id.
fn pick(mut all: Vec<Candidate>, name: &str, direction: Direction) -> Result<Candidate> {
    let wanted = name.to_lowercase();
    let exact = |one: &Candidate| one.name.to_lowercase() == wanted || one.id.to_lowercase() == wanted;
    let partly = |one: &Candidate| {
        one.name.to_lowercase().contains(&wanted) || one.id.to_lowercase().contains(&wanted)
    };
    let places = |test: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
        all.iter().enumerate().filter(|(_, one)| test(one)).map(|(place, _)| place).collect()
    };
    let found = Some(places(&exact)).filter(|found| found.len() == 1).unwrap_or_else(|| places(&partly));
    match found[..] {
        [place] => Ok(all.swap_remove(place)),
        [] => Err(Error::new(Kind::Device, format!("no {direction} device has \"{name}\" in its name"))
            .detail(listed(all.iter()))
            .remedy("name one of these, or use device = \"virtual\"")),
        _ => Err(Error::new(
            Kind::Device,
            format!("several {direction} devices have \"{name}\" in their names"),
        )
        .detail(listed(found.iter().map(|place| &all[*place])))
        .remedy("name one of these in full, or by the id in brackets")),
    }
}

fn listed<'a>(devices: impl Iterator<Item = &'a Candidate>) -> String {
    devices.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

// ---- In which format ----

/// What a stream is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFormat {
    /// Frames per second; the device must offer it.
    pub rate: u32,
    /// Channels per frame; the device's nearest number is taken.
    pub channels: u32,
    /// Frames per callback, or what the device likes best.
    pub buffer_frames: Option<u32>,
}

/// What is chosen of a device's offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chosen {
    channels: u16,
    rate: u32,
    buffer: cpal::BufferSize,
    samples: SampleFormat,
}

fn choose(name: &str, offers: &[SupportedStreamConfigRange], want: StreamFormat) -> Result<Chosen> {
    let usable = |o: &SupportedStreamConfigRange| o.channels() > 0 && convertible(o.sample_format());
    let usable: Vec<_> = offers.iter().copied().filter(usable).collect();
    let fits = with_rate(name, &usable, want.rate)?;
    let fits = match want.buffer_frames {
        Some(frames) => with_buffer(name, &fits, frames)?,
        None => fits,
    };
    let offer = nearest(&fits, want.channels).ok_or_else(|| {
        Error::new(Kind::Device, format!("{name} offers no sample format that can be converted"))
            .remedy("choose another device: `nda devices` lists them")
    })?;
    Ok(Chosen {
        channels: offer.channels(),
        rate: want.rate,
        buffer: want.buffer_frames.map_or(cpal::BufferSize::Default, cpal::BufferSize::Fixed),
        samples: offer.sample_format(),
    })
}

/// Those that offer the rate; an error if there are offers and none does. The same goes for the buffer.
fn with_rate(
    name: &str,
    offers: &[SupportedStreamConfigRange],
    rate: u32,
) -> Result<Vec<SupportedStreamConfigRange>> {
    let fits: Vec<_> = offers.iter().copied().filter(|offer| offer.contains_rate(rate)).collect();
    if fits.is_empty() && !offers.is_empty() {
        let rates = offers.iter().map(|o| Span { min: o.min_sample_rate(), max: o.max_sample_rate() });
        return Err(not_offered(name, &format!("a rate of {rate} Hz"), &spans(rates), "rate"));
    }
    Ok(fits)
}

fn with_buffer(
    name: &str,
    offers: &[SupportedStreamConfigRange],
    frames: u32,
) -> Result<Vec<SupportedStreamConfigRange>> {
    let fits: Vec<_> = offers.iter().copied().filter(|offer| holds(offer, frames)).collect();
    if fits.is_empty() && !offers.is_empty() {
        let buffers = offers.iter().filter_map(|offer| buffer_span(*offer.buffer_size()));
        return Err(not_offered(name, &format!("a buffer of {frames} frames"), &spans(buffers), "buffer"));
    }
    Ok(fits)
}

fn not_offered(name: &str, what: &str, offered: &str, setting: &str) -> Error {
    Error::new(Kind::Device, format!("{name} does not offer {what}; it offers {offered}"))
        .remedy(format!("set {setting} to one of these, or choose another device"))
}

/// The one with the nearest number of channels, and of those the one with the best sample format.
fn nearest(offers: &[SupportedStreamConfigRange], channels: u32) -> Option<SupportedStreamConfigRange> {
    // Of two as near, the one with more: a silent channel too many is better than one that is lost.
    let distance = |offer: &SupportedStreamConfigRange| {
        let offered = u32::from(offer.channels());
        (offered.abs_diff(channels), offered < channels)
    };
    offers.iter().copied().min_by(|a, b| {
        let better_samples = || b.cmp_default_heuristics(a);
        distance(a).cmp(&distance(b)).then_with(better_samples)
    })
}

fn convertible(format: SampleFormat) -> bool {
    !matches!(format, SampleFormat::DsdU8 | SampleFormat::DsdU16 | SampleFormat::DsdU32)
}

fn holds(offer: &SupportedStreamConfigRange, frames: u32) -> bool {
    buffer_span(*offer.buffer_size()).is_none_or(|span| (span.min..=span.max).contains(&frames))
}

fn spans(all: impl Iterator<Item = Span>) -> String {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.dedup();
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

// ---- Streams ----

/// What an output callback is to fill: all of `samples`, which are silent when it begins.
#[derive(Debug)]
pub struct Playback<'a> {
    /// Interleaved.
    pub samples: &'a mut [f32],
    /// How many frames `samples` holds, at most [`MOST_FRAMES`]; it may vary from call to call.
    pub frames: usize,
    /// The device's channels.
    pub channels: usize,
    /// When the device called, on the stream's own clock.
    pub at: Duration,
    /// How long after `at` the first frame is heard, as far as the device knows.
    pub latency: Duration,
}

/// What an input callback gets.
#[derive(Debug)]
pub struct Capture<'a> {
    /// Interleaved.
    pub samples: &'a [f32],
    /// How many frames `samples` holds, at most [`MOST_FRAMES`]; it may vary from call to call.
    pub frames: usize,
    /// The device's channels.
    pub channels: usize,
    /// When the device called, on the stream's own clock.
    pub at: Duration,
    /// How long before `at` the first frame was recorded, as far as the device knows.
    pub latency: Duration,
}

/// What a running stream has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// Frames were lost because a callback came or ended too late.
    Xrun,
    /// The stream is over: the device is gone, or must be opened again.
    DeviceLost(String),
    /// Something to tell the user.
    Other(String),
}

impl From<cpal::Error> for StreamEvent {
    fn from(error: cpal::Error) -> Self {
        match error.kind() {
            ErrorKind::Xrun => Self::Xrun,
            ErrorKind::DeviceNotAvailable | ErrorKind::StreamInvalidated => {
                Self::DeviceLost(error.to_string())
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

/// What happened to a stream so far.
#[derive(Debug, Default)]
struct Counts {
    xruns: AtomicU64,
    scrubbed: AtomicU64,
}

/// A device whose format is settled, to be opened. Lets a caller make its callback for the real channels.
pub struct Device {
    direction: Direction,
    name: String,
    device: cpal::Device,
    chosen: Chosen,
    is_default: bool,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} ch at {} Hz)", self.direction, self.name, self.chosen.channels, self.chosen.rate)
    }
}

/// Finds an output device and settles its format. Waits for the audio system, a few seconds at most.
pub fn output_device(which: &DeviceChoice, want: StreamFormat) -> Result<Device> {
    find(which, want, Direction::Output)
}

/// Finds an input device and settles its format. Waits for the audio system, a few seconds at most.
pub fn input_device(which: &DeviceChoice, want: StreamFormat) -> Result<Device> {
    find(which, want, Direction::Input)
}

/// Opens an output stream, paused. For callers that need not know the device's channels in advance; others
/// call [`output_device`] and [`Device::open_output`].
pub fn open_output(
    which: &DeviceChoice,
    want: StreamFormat,
    callback: impl FnMut(&mut Playback<'_>) + Send + 'static,
    on_error: impl FnMut(StreamEvent) + Send + 'static,
) -> Result<Stream> {
    output_device(which, want)?.open_output(callback, on_error)
}

/// Opens an input stream, paused; see [`open_output`].
pub fn open_input(
    which: &DeviceChoice,
    want: StreamFormat,
    callback: impl FnMut(&Capture<'_>) + Send + 'static,
    on_error: impl FnMut(StreamEvent) + Send + 'static,
) -> Result<Stream> {
    input_device(which, want)?.open_input(callback, on_error)
}

fn find(which: &DeviceChoice, want: StreamFormat, direction: Direction) -> Result<Device> {
    let which = which.clone();
    within(OPEN_LIMIT, move || match which {
        DeviceChoice::Virtual => default_of(&VirtualHost::new().into(), want, direction, false),
        DeviceChoice::Default => default_of(&cpal::default_host(), want, direction, true),
        DeviceChoice::Named(name) => {
            settle(pick(candidates(direction), &name, direction)?.device, want, direction, false)
        }
    })?
}

fn default_of(
    host: &cpal::Host,
    want: StreamFormat,
    direction: Direction,
    is_default: bool,
) -> Result<Device> {
    let device = direction.default_device(host).ok_or_else(|| no_card(direction))?;
    settle(device, want, direction, is_default)
}

fn settle(
    device: cpal::Device,
    want: StreamFormat,
    direction: Direction,
    is_default: bool,
) -> Result<Device> {
    let name = device.description().map_or_else(|_| "the device".to_owned(), |d| d.name().to_owned());
    let offers = direction.configs(&device).map_err(|e| refused(&name, direction, is_default, e))?;
    let chosen = choose(&name, &offers, want)?;
    Ok(Device { direction, name, device, chosen, is_default })
}

fn no_card(direction: Direction) -> Error {
    Error::new(Kind::Device, format!("no sound card was found, so there is no default {direction} device"))
        .remedy("use device = \"virtual\", or connect a sound card and look at `nda devices`")
}

fn refused(name: &str, direction: Direction, is_default: bool, error: cpal::Error) -> Error {
    let what = |text: &str| Error::new(Kind::Device, format!("the {direction} device {name} {text}"));
    let refusal = match error.kind() {
        // A machine without a card still has a default device, which fails like this.
        ErrorKind::DeviceNotAvailable if is_default => no_card(direction),
        ErrorKind::DeviceNotAvailable => what("is not there").remedy("look at `nda devices`"),
        ErrorKind::DeviceBusy => what("is in use").remedy("end the program that uses it, or choose another"),
        ErrorKind::PermissionDenied => {
            what("may not be used").remedy("join the group that may, often `audio`")
        }
        ErrorKind::UnsupportedConfig => what("refuses the format")
            .remedy("leave out the buffer, or look at `nda devices` for what it offers"),
        _ => what("can't be opened").remedy("choose another: `nda devices` lists them"),
    };
    refusal.source(error)
}

impl VirtualHost {
    /// This host's output device. Tests can so have what is played through it.
    pub fn output_device(&self, want: StreamFormat) -> Result<Device> {
        default_of(&self.clone().into(), want, Direction::Output, false)
    }

    /// This host's input device.
    pub fn input_device(&self, want: StreamFormat) -> Result<Device> {
        default_of(&self.clone().into(), want, Direction::Input, false)
    }
}

impl Device {
    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Channels that the stream will have: the wanted number, or the device's nearest.
    #[must_use]
    pub fn channels(&self) -> usize {
        usize::from(self.chosen.channels)
    }

    /// Opens the stream, paused. Waits for the device, a few seconds at most.
    ///
    /// # Real-time
    /// The callback runs on a thread of the device's and must keep to its rules; what is done around it neither
    /// allocates, locks nor waits. `on_error` may run on that thread too, and must not wait either; telling of an
    /// [`StreamEvent::Xrun`] allocates nothing, of the other events it does.
    pub fn open_output(
        self,
        callback: impl FnMut(&mut Playback<'_>) + Send + 'static,
        on_error: impl FnMut(StreamEvent) + Send + 'static,
    ) -> Result<Stream> {
        self.must_be(Direction::Output)?;
        let counts = Arc::new(Counts::default());
        let player = Player::new(callback, self.channels(), Arc::clone(&counts));
        let teller = Teller { on_error, counts: Arc::clone(&counts) };
        let chosen = self.chosen;
        let keeper = Keeper::open(move || {
            build_output(&self.device, chosen, player, teller).map_err(|e| self.refused(e))
        })?;
        Ok(Stream { keeper, chosen, counts })
    }

    /// Opens the stream, paused; see [`open_output`](Self::open_output).
    pub fn open_input(
        self,
        callback: impl FnMut(&Capture<'_>) + Send + 'static,
        on_error: impl FnMut(StreamEvent) + Send + 'static,
    ) -> Result<Stream> {
        self.must_be(Direction::Input)?;
        let counts = Arc::new(Counts::default());
        let recorder = Recorder::new(callback, self.channels());
        let teller = Teller { on_error, counts: Arc::clone(&counts) };
        let chosen = self.chosen;
        let keeper = Keeper::open(move || {
            build_input(&self.device, chosen, recorder, teller).map_err(|e| self.refused(e))
        })?;
        Ok(Stream { keeper, chosen, counts })
    }

    fn must_be(&self, direction: Direction) -> Result<()> {
        if self.direction == direction {
            return Ok(());
        }
        let what = format!("{} was found as an {} device, not for {direction}", self.name, self.direction);
        Err(Error::new(Kind::Device, what))
    }

    fn refused(&self, error: cpal::Error) -> Error {
        refused(&self.name, self.direction, self.is_default, error)
    }
}

// ---- On the device's thread ----

/// Between an output callback and the device: converts what the callback plays to the device's samples.
struct Player<C> {
    callback: C,
    scratch: Vec<f32>,
    channels: usize,
    counts: Arc<Counts>,
}

impl<C: FnMut(&mut Playback<'_>)> Player<C> {
    fn new(callback: C, channels: usize, counts: Arc<Counts>) -> Self {
        Self { callback, scratch: vec![0.0; MOST_FRAMES * channels], channels, counts }
    }

    fn play<T: SizedSample + FromSample<f32>>(&mut self, device: &mut [T], at: Duration, latency: Duration) {
        for part in device.chunks_mut(self.scratch.len()) {
            let samples = &mut self.scratch[..part.len()];
            samples.fill(0.0);
            let (frames, channels) = (part.len() / self.channels, self.channels);
            (self.callback)(&mut Playback { samples: &mut *samples, frames, channels, at, latency });
            let scrubbed = scrub(samples);
            if scrubbed > 0 {
                self.counts.scrubbed.fetch_add(scrubbed, Ordering::Relaxed);
            }
            to_device(samples, part);
        }
    }
}

/// Between the device and an input callback.
struct Recorder<C> {
    callback: C,
    scratch: Vec<f32>,
    channels: usize,
}

impl<C: FnMut(&Capture<'_>)> Recorder<C> {
    fn new(callback: C, channels: usize) -> Self {
        Self { callback, scratch: vec![0.0; MOST_FRAMES * channels], channels }
    }

    fn record<T: SizedSample>(&mut self, device: &[T], at: Duration, latency: Duration)
    where
        f32: FromSample<T>,
    {
        for part in device.chunks(self.scratch.len()) {
            let samples = &mut self.scratch[..part.len()];
            for (sample, from) in samples.iter_mut().zip(part) {
                *sample = f32::from_sample_(*from);
            }
            let (frames, channels) = (part.len() / self.channels, self.channels);
            (self.callback)(&Capture { samples, frames, channels, at, latency });
        }
    }
}

/// Replaces what is not finite by silence; returns how many samples that is.
fn scrub(samples: &mut [f32]) -> u64 {
    let mut scrubbed = 0;
    for sample in samples {
        if !sample.is_finite() {
            *sample = 0.0;
            scrubbed += 1;
        }
    }
    scrubbed
}

fn to_device<T: SizedSample + FromSample<f32>>(samples: &[f32], device: &mut [T]) {
    // The greatest sample below full scale: at 1.0 the conversion to 24 bits overflows.
    const TOP: f32 = 1.0 - f32::EPSILON / 2.0;
    let (low, high) = if T::FORMAT.is_float() { (f32::MIN, f32::MAX) } else { (-1.0, TOP) };
    for (to, sample) in device.iter_mut().zip(samples) {
        *to = T::from_sample_(sample.clamp(low, high));
    }
}

/// Between the device's errors and the caller's `on_error`.
struct Teller<E> {
    on_error: E,
    counts: Arc<Counts>,
}

impl<E: FnMut(StreamEvent)> Teller<E> {
    fn tell(&mut self, event: StreamEvent) {
        if event == StreamEvent::Xrun {
            self.counts.xruns.fetch_add(1, Ordering::Relaxed);
        }
        (self.on_error)(event);
    }
}

/// Calls a function that is generic over the device's samples.
macro_rules! for_samples {
    ($format:expr, $build:ident($($argument:expr),*)) => {
        match $format {
            SampleFormat::I8 => $build::<i8, _, _>($($argument),*),
            SampleFormat::I16 => $build::<i16, _, _>($($argument),*),
            SampleFormat::I24 => $build::<cpal::I24, _, _>($($argument),*),
            SampleFormat::I32 => $build::<i32, _, _>($($argument),*),
            SampleFormat::I64 => $build::<i64, _, _>($($argument),*),
            SampleFormat::U8 => $build::<u8, _, _>($($argument),*),
            SampleFormat::U16 => $build::<u16, _, _>($($argument),*),
            SampleFormat::U24 => $build::<cpal::U24, _, _>($($argument),*),
            SampleFormat::U32 => $build::<u32, _, _>($($argument),*),
            SampleFormat::U64 => $build::<u64, _, _>($($argument),*),
            SampleFormat::F32 => $build::<f32, _, _>($($argument),*),
            SampleFormat::F64 => $build::<f64, _, _>($($argument),*),
            _ => Err(cpal::Error::new(ErrorKind::UnsupportedConfig)),
        }
    };
}

fn build_output<C, E>(
    device: &cpal::Device,
    chosen: Chosen,
    player: Player<C>,
    teller: Teller<E>,
) -> CpalResult<cpal::Stream>
where
    C: FnMut(&mut Playback<'_>) + Send + 'static,
    E: FnMut(StreamEvent) + Send + 'static,
{
    for_samples!(chosen.samples, output_of(device, chosen, player, teller))
}

fn output_of<T, C, E>(
    device: &cpal::Device,
    chosen: Chosen,
    mut player: Player<C>,
    mut teller: Teller<E>,
) -> CpalResult<cpal::Stream>
where
    T: SizedSample + FromSample<f32>,
    C: FnMut(&mut Playback<'_>) + Send + 'static,
    E: FnMut(StreamEvent) + Send + 'static,
{
    device.build_output_stream(
        chosen.config(),
        move |samples: &mut [T], info: &cpal::OutputCallbackInfo| {
            let time = info.timestamp();
            player.play(samples, on_clock(time.callback), time.playback.duration_since(time.callback));
        },
        move |error| teller.tell(error.into()),
        Some(CONTROL_LIMIT),
    )
}

fn build_input<C, E>(
    device: &cpal::Device,
    chosen: Chosen,
    recorder: Recorder<C>,
    teller: Teller<E>,
) -> CpalResult<cpal::Stream>
where
    C: FnMut(&Capture<'_>) + Send + 'static,
    E: FnMut(StreamEvent) + Send + 'static,
{
    for_samples!(chosen.samples, input_of(device, chosen, recorder, teller))
}

fn input_of<T, C, E>(
    device: &cpal::Device,
    chosen: Chosen,
    mut recorder: Recorder<C>,
    mut teller: Teller<E>,
) -> CpalResult<cpal::Stream>
where
    T: SizedSample,
    f32: FromSample<T>,
    C: FnMut(&Capture<'_>) + Send + 'static,
    E: FnMut(StreamEvent) + Send + 'static,
{
    device.build_input_stream(
        chosen.config(),
        move |samples: &[T], info: &cpal::InputCallbackInfo| {
            let time = info.timestamp();
            recorder.record(samples, on_clock(time.callback), time.callback.duration_since(time.capture));
        },
        move |error| teller.tell(error.into()),
        Some(CONTROL_LIMIT),
    )
}

fn on_clock(instant: cpal::StreamInstant) -> Duration {
    instant.duration_since(cpal::StreamInstant::ZERO)
}

impl Chosen {
    fn config(self) -> cpal::StreamConfig {
        cpal::StreamConfig { channels: self.channels, sample_rate: self.rate, buffer_size: self.buffer }
    }
}

// ---- The owner's side ----

/// An open stream, paused at first. Dropping it stops the callbacks.
///
/// Only a thread of its own touches the device, so that a device which no longer answers holds up its owner for
/// a few seconds at most: [`play`](Self::play) and [`pause`](Self::pause) then fail, and a drop leaves the
/// thread behind with the device.
#[derive(Debug)]
pub struct Stream {
    keeper: Keeper,
    chosen: Chosen,
    counts: Arc<Counts>,
}

impl Stream {
    /// Begins or resumes the callbacks.
    pub fn play(&self) -> Result<()> {
        self.keeper.order(Order::Play)
    }

    /// Stops the callbacks until it plays again; a device that can't fails.
    pub fn pause(&self) -> Result<()> {
        self.keeper.order(Order::Pause)
    }

    /// The device's channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        usize::from(self.chosen.channels)
    }

    /// Frames per second.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.chosen.rate
    }

    /// Frames that the device takes or brings at a time, as far as it knows; callbacks may still vary.
    #[must_use]
    pub fn buffer_frames(&self) -> Option<u32> {
        self.keeper.buffer_frames
    }

    /// How often frames were lost because a callback came or ended too late.
    ///
    /// # Real-time
    /// Yes, as are the other counts.
    #[must_use]
    pub fn xruns(&self) -> u64 {
        self.counts.xruns.load(Ordering::Relaxed)
    }

    /// Samples that were not finite and were replaced by silence.
    #[must_use]
    pub fn scrubbed_samples(&self) -> u64 {
        self.counts.scrubbed.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Play,
    Pause,
}

/// The thread that opens, keeps and drops a stream of cpal's, and how to reach it.
#[derive(Debug)]
struct Keeper {
    /// None once it is to end.
    orders: Option<Sender<(Order, Sender<CpalResult<()>>)>>,
    /// Disconnected once it has.
    ended: Receiver<()>,
    buffer_frames: Option<u32>,
}

impl Keeper {
    fn open(open: impl FnOnce() -> Result<cpal::Stream> + Send + 'static) -> Result<Self> {
        let (orders, inbox) = mpsc::channel::<(Order, Sender<CpalResult<()>>)>();
        let (answer, opened) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        spawn(move || {
            // Moved in, to be dropped last: that tells the owner.
            let _end = end;
            match open() {
                Ok(stream) => {
                    // If the owner has given up, the orders end at once.
                    let _ = answer.send(Ok(stream.buffer_size().ok()));
                    drop(answer);
                    inbox.iter().for_each(|(order, reply)| obey(&stream, order, &reply));
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        })?;
        let buffer_frames = opened.recv_timeout(OPEN_LIMIT).map_err(|_| silent(OPEN_LIMIT))??;
        Ok(Self { orders: Some(orders), ended, buffer_frames })
    }

    fn order(&self, order: Order) -> Result<()> {
        let (reply, answer) = mpsc::channel();
        if let Some(orders) = &self.orders {
            orders.send((order, reply)).map_err(|_| silent(CONTROL_LIMIT))?;
        }
        let answer = answer.recv_timeout(CONTROL_LIMIT).map_err(|_| silent(CONTROL_LIMIT))?;
        answer.map_err(|e| {
            let verb = match order {
                Order::Play => "start",
                Order::Pause => "pause",
            };
            Error::new(Kind::Device, format!("the audio device would not {verb}")).source(e)
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        // A device that hangs is left to its thread: better a thread too many than an owner that hangs with it.
        let _: std::result::Result<(), RecvTimeoutError> = self.ended.recv_timeout(CLOSE_LIMIT);
    }
}

fn obey(stream: &cpal::Stream, order: Order, reply: &Sender<CpalResult<()>>) {
    let result = match order {
        Order::Play => stream.play(),
        Order::Pause => stream.pause(),
    };
    // An owner that has waited long enough no longer listens.
    let _ = reply.send(result);
}

/// Runs `work`, which asks an audio system, on a thread of its own.
fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let quiet = move || {
        hush_alsa();
        work();
    };
    let thread = std::thread::Builder::new().name("audio-device".into()).spawn(quiet);
    thread.map(drop).map_err(|e| Error::new(Kind::System, "the audio device got no thread").source(e))
}

/// Keeps ALSA from writing to stderr on this thread: what it says there in many lines, such as that there is no
/// card, the errors that cpal returns say in one. Whether that works or not, devices are asked the same way.
///
/// Each thread has its own handler, and the one that cpal calls back on keeps ALSA's: to give it another would
/// have to allocate in the callback.
fn hush_alsa() {
    // ALSA writes to a buffer instead, which goes with the thread.
    let _ = alsa::Output::local_error_handler();
}

/// What the audio system answers, if it does so in time; its thread is left behind if not.
fn within<T: Send + 'static>(limit: Duration, ask: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (sender, answer) = mpsc::channel();
    spawn(move || drop(sender.send(ask())))?;
    answer.recv_timeout(limit).map_err(|_| silent(limit))
}

fn silent(limit: Duration) -> Error {
    let what = format!("the audio system did not answer within {} s", limit.as_secs());
    Error::new(Kind::Device, what).remedy("restart it, or use device = \"virtual\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const STEREO: StreamFormat = StreamFormat { rate: 48_000, channels: 2, buffer_frames: None };

    fn offer(channels: u16, rates: (u32, u32), samples: SampleFormat) -> SupportedStreamConfigRange {
        let buffer = SupportedBufferSize::Range { min: 32, max: 4096 };
        SupportedStreamConfigRange::new(channels, rates.0, rates.1, buffer, samples)
    }

    fn candidate(name: &str, id: &str) -> Candidate {
        let device = cpal::Host::from(VirtualHost::new()).default_output_device().unwrap();
        Candidate { name: name.into(), id: id.into(), device }
    }

    fn shelf() -> Vec<Candidate> {
        vec![
            candidate("HDA Intel PCH, ALC257", "alsa:hw:0,0"),
            candidate("HDA Intel HDMI", "alsa:hw:1,3"),
            candidate("Scarlett", "alsa:hw:2,0"),
            candidate("Scarlett Solo", "alsa:hw:3,0"),
        ]
    }

    fn name_of(asked: &str) -> Result<String> {
        pick(shelf(), asked, Direction::Output).map(|device| device.name)
    }

    #[test]
    fn a_device_is_found_by_a_part_of_its_name_or_by_its_id() {
        assert_eq!(name_of("hdmi").unwrap(), "HDA Intel HDMI");
        assert_eq!(name_of("ALC257").unwrap(), "HDA Intel PCH, ALC257");
        assert_eq!(name_of("alsa:hw:3,0").unwrap(), "Scarlett Solo");
    }

    #[test]
    fn a_whole_name_comes_before_a_longer_one_that_contains_it() {
        assert_eq!(name_of("scarlett").unwrap(), "Scarlett");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_devices_there_are() {
        let error = name_of("theremin").unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        let text = error.to_string();
        assert!(text.contains("no output device has \"theremin\""), "{text}");
        assert!(shelf().iter().all(|device| text.contains(&device.name)), "{text}");
    }

    #[test]
    fn an_ambiguous_name_is_answered_with_the_devices_it_may_mean() {
        let error = name_of("intel").unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        let text = error.to_string();
        assert!(text.contains("ALC257") && text.contains("HDMI") && !text.contains("Scarlett"), "{text}");
    }

    #[test]
    fn opening_an_unknown_device_lists_the_virtual_one_too() {
        let which = DeviceChoice::from("no such device");
        let error = open_output(&which, STEREO, |_| (), |_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.to_string().contains("\n    virtual"), "{error}");
    }

    #[test]
    fn the_words_default_and_virtual_name_no_device() {
        assert_eq!(DeviceChoice::from("default"), DeviceChoice::Default);
        assert_eq!(DeviceChoice::from("virtual"), DeviceChoice::Virtual);
        assert_eq!(DeviceChoice::from("Scarlett"), DeviceChoice::Named("Scarlett".into()));
    }

    #[test]
    fn a_rate_that_the_device_lacks_is_answered_with_those_it_has() {
        let offers = [
            offer(2, (44_100, 44_100), SampleFormat::I16),
            offer(2, (96_000, 192_000), SampleFormat::I16),
            offer(1, (44_100, 44_100), SampleFormat::I16),
        ];
        let error = choose("Card", &offers, STEREO).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        let text = error.to_string();
        assert!(
            text.contains("Card does not offer a rate of 48000 Hz; it offers 44100, 96000-192000"),
            "{text}"
        );
        assert!(text.contains("set rate"), "{text}");
    }

    #[test]
    fn a_buffer_that_the_device_lacks_is_answered_with_those_it_has() {
        let offers = [offer(2, (48_000, 48_000), SampleFormat::I16)];
        let error = choose("Card", &offers, StreamFormat { buffer_frames: Some(8), ..STEREO }).unwrap_err();
        assert!(error.to_string().contains("a buffer of 8 frames; it offers 32-4096"), "{error}");
    }

    #[test]
    fn the_nearest_channel_count_is_taken_and_the_greater_of_two() {
        let offers = [1, 4, 8].map(|channels| offer(channels, (8_000, 96_000), SampleFormat::I16));
        let taken = |channels| choose("Card", &offers, StreamFormat { channels, ..STEREO }).unwrap().channels;
        assert_eq!([1, 2, 3, 4, 5, 6, 64].map(taken), [1, 1, 4, 4, 4, 8, 8]);
    }

    #[test]
    fn floats_are_preferred_and_bitstreams_are_never_taken() {
        let with = |formats: &[SampleFormat]| -> Vec<_> {
            formats.iter().map(|samples| offer(2, (48_000, 48_000), *samples)).collect()
        };
        let offers = with(&[SampleFormat::I16, SampleFormat::F32, SampleFormat::I32, SampleFormat::DsdU8]);
        assert_eq!(choose("Card", &offers, STEREO).unwrap().samples, SampleFormat::F32);
        let error = choose("Card", &with(&[SampleFormat::DsdU32]), STEREO).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
    }

    #[test]
    fn what_a_device_offers_is_told_together() {
        let mut offers = Vec::new();
        for samples in [SampleFormat::I16, SampleFormat::F32] {
            for channels in [1, 2, 3, 8] {
                offers.push(offer(channels, (44_100, 44_100), samples));
                offers.push(offer(channels, (48_000, 48_000), samples));
            }
        }
        let merged = merged(&offers);
        assert_eq!(merged.iter().map(|c| c.channels.to_string()).collect::<Vec<_>>(), ["1-3", "8"]);
        assert_eq!(merged[0].formats, ["i16", "f32"]);
        assert_eq!(spans(merged[0].rates.iter().copied()), "44100, 48000");
        assert_eq!(merged[0].buffer_frames, Some(Span { min: 32, max: 4096 }));
    }

    #[test]
    fn the_virtual_device_is_always_listed_last_in_both_directions() {
        let all = devices();
        let last = all.last().unwrap();
        assert_eq!(last.name, "virtual");
        assert!(last.output.is_some() && last.input.is_some() && last.error.is_none());
        assert!(serde_json::to_string(&all).unwrap().contains("\"keeps_time\":true"));
    }

    #[test]
    fn a_machine_without_a_card_is_told_what_to_use() {
        let default = Direction::Output.default_device(&cpal::default_host());
        if default.is_some_and(|device| Direction::Output.configs(&device).is_ok()) {
            return;
        }
        let error = open_output(&DeviceChoice::Default, STEREO, |_| (), |_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        let text = error.to_string();
        assert!(text.contains("no sound card was found") && text.contains("device = \"virtual\""), "{text}");
    }

    fn played<T: SizedSample + FromSample<f32>>(samples: &[f32]) -> (Vec<T>, u64) {
        let counts = Arc::new(Counts::default());
        let source = samples.to_vec();
        let callback = move |playback: &mut Playback<'_>| playback.samples.copy_from_slice(&source);
        let mut device = vec![T::EQUILIBRIUM; samples.len()];
        Player::new(callback, 1, Arc::clone(&counts)).play(&mut device, Duration::ZERO, Duration::ZERO);
        (device, counts.scrubbed.load(Ordering::Relaxed))
    }

    #[test]
    fn full_scale_and_beyond_fit_every_integer_format() {
        let loud = [0.0, 1.0, -1.0, 1e30, -1e30];
        assert_eq!(played::<i8>(&loud).0, [0, 127, -128, 127, -128]);
        assert_eq!(played::<i16>(&loud).0, [0, 32_767, -32_768, 32_767, -32_768]);
        assert_eq!(played::<u8>(&loud).0, [128, 255, 0, 255, 0]);
        assert_eq!(played::<u16>(&loud).0, [32_768, 65_535, 0, 65_535, 0]);
        let i24 = played::<cpal::I24>(&loud).0.iter().map(|sample| sample.inner()).collect::<Vec<_>>();
        assert_eq!(i24, [0, 8_388_607, -8_388_608, 8_388_607, -8_388_608]);
        let i32 = played::<i32>(&loud).0;
        assert!(i32[1] > 2_147_483_000 && i32[2] == i32::MIN && i32[3] == i32[1]);
    }

    #[test]
    fn floats_pass_unchanged() {
        let samples = [0.0, 0.1, -1.0, 1.5, 1e-30];
        assert_eq!(played::<f32>(&samples).0, samples);
        assert_eq!(played::<f64>(&samples).0, samples.map(f64::from));
    }

    #[test]
    fn what_is_not_finite_never_reaches_the_device_and_is_counted() {
        let broken = [f32::NAN, f32::INFINITY, 0.5, f32::NEG_INFINITY];
        assert_eq!(played::<f32>(&broken), (vec![0.0, 0.0, 0.5, 0.0], 3));
        assert_eq!(played::<i16>(&broken), (vec![0, 0, 16_384, 0], 3));
        assert_eq!(played::<u8>(&broken), (vec![128, 128, 192, 128], 3));
    }

    #[test]
    fn a_callback_longer_than_the_scratch_is_played_in_parts_of_whole_frames() {
        let mut sizes = Vec::new();
        let mut next = 0.0;
        let callback = |playback: &mut Playback<'_>| {
            assert_eq!((playback.channels, playback.samples.len()), (3, 3 * playback.frames));
            sizes.push(playback.frames);
            for sample in playback.samples.iter_mut() {
                *sample = next;
                next += 1.0;
            }
        };
        let mut device = vec![-1.0f32; 3 * (2 * MOST_FRAMES + 5)];
        let mut player = Player::new(callback, 3, Arc::default());
        player.play(&mut device, Duration::ZERO, Duration::ZERO);
        assert!(device.iter().enumerate().all(|(n, sample)| *sample == n as f32));
        assert_eq!(sizes, [MOST_FRAMES, MOST_FRAMES, 5]);
    }

    #[test]
    fn an_input_hears_every_format_as_floats() {
        let heard = std::cell::RefCell::new(Vec::new());
        let mut recorder = Recorder::new(
            |capture: &Capture<'_>| {
                assert_eq!((capture.channels, capture.frames), (2, 1));
                heard.borrow_mut().extend_from_slice(capture.samples);
            },
            2,
        );
        recorder.record(&[i16::MIN, 16_384], Duration::ZERO, Duration::ZERO);
        recorder.record(&[0u8, 128], Duration::ZERO, Duration::ZERO);
        recorder.record(&[0.25f64, -0.25], Duration::ZERO, Duration::ZERO);
        assert_eq!(*heard.borrow(), [-1.0, 0.5, -1.0, 0.0, 0.25, -0.25]);
    }

    #[test]
    fn a_callback_that_plays_nothing_is_silent() {
        let mut device = [1i16; 4];
        Player::new(|_: &mut Playback<'_>| (), 2, Arc::default()).play(
            &mut device,
            Duration::ZERO,
            Duration::ZERO,
        );
        assert_eq!(device, [0; 4]);
    }

    #[test]
    fn a_virtual_stream_plays_what_its_callback_writes() {
        let (host, mut played) = VirtualHost::capturing();
        let want = StreamFormat { buffer_frames: Some(64), channels: 3, ..STEREO };
        let device = host.free_running().output_device(want).unwrap();
        assert_eq!((device.channels(), device.name()), (3, "virtual"));
        let callback = |playback: &mut Playback<'_>| {
            assert_eq!((playback.frames, playback.channels), (64, 3));
            assert_eq!(playback.latency, Duration::from_nanos(1_333_333));
            playback.samples[0] = f32::NAN;
            playback.samples[1..].fill(0.5);
        };
        let stream = device.open_output(callback, |_| ()).unwrap();
        assert_eq!((stream.channels(), stream.rate(), stream.buffer_frames()), (3, 48_000, Some(64)));
        stream.play().unwrap();
        let mut samples = [1.0; 192];
        assert_eq!(played.read(&mut samples, PATIENCE), 192);
        assert_eq!(samples[0], 0.0);
        assert!(samples[1..].iter().all(|sample| *sample == 0.5));
        assert!(stream.scrubbed_samples() >= 1);
    }

    #[test]
    fn a_virtual_input_is_silent_and_tells_its_time() {
        let (sender, captures) = mpsc::channel();
        let callback = move |capture: &Capture<'_>| {
            let _ = sender.send((capture.samples.to_vec(), capture.at));
        };
        let want = StreamFormat { buffer_frames: Some(480), ..STEREO };
        let stream = open_input(&DeviceChoice::Virtual, want, callback, |_| ()).unwrap();
        stream.play().unwrap();
        for index in 0..5u64 {
            let expected = (vec![0.0; 960], Duration::from_millis(10 * index));
            assert_eq!(captures.recv_timeout(PATIENCE).unwrap(), expected);
        }
        stream.pause().unwrap();
    }

    #[test]
    fn an_input_device_is_not_opened_for_output() {
        let device = input_device(&DeviceChoice::Virtual, STEREO).unwrap();
        assert_eq!(device.open_output(|_| (), |_| ()).unwrap_err().kind(), Kind::Device);
    }

    #[test]
    fn dropping_a_stream_drops_its_callback() {
        let (sender, callbacks) = mpsc::channel::<()>();
        let callback = move |_: &mut Playback<'_>| sender.send(()).unwrap_or(());
        let want = StreamFormat { rate: 8_000, buffer_frames: Some(8192), ..STEREO };
        let stream = open_output(&DeviceChoice::Virtual, want, callback, |_| ()).unwrap();
        stream.play().unwrap();
        callbacks.recv_timeout(PATIENCE).unwrap();
        drop(stream);
        while callbacks.try_recv().is_ok() {}
        assert_eq!(callbacks.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn dropping_a_stream_whose_callback_hangs_leaves_it_behind() {
        let (release, held) = mpsc::channel::<()>();
        let (entered, inside) = mpsc::channel();
        let callback = move |_: &mut Playback<'_>| {
            let _ = entered.send(());
            let _ = held.recv();
        };
        let stream = open_output(&DeviceChoice::Virtual, STEREO, callback, |_| ()).unwrap();
        stream.play().unwrap();
        inside.recv_timeout(PATIENCE).unwrap();
        drop(stream);
        // Still in the callback, and let out only now.
        release.send(()).unwrap();
    }

    #[test]
    fn an_event_tells_what_the_stream_needs() {
        let event = |kind| StreamEvent::from(cpal::Error::with_message(kind, "text"));
        assert_eq!(event(ErrorKind::Xrun), StreamEvent::Xrun);
        assert_eq!(event(ErrorKind::DeviceNotAvailable), StreamEvent::DeviceLost("text".into()));
        assert_eq!(event(ErrorKind::StreamInvalidated), StreamEvent::DeviceLost("text".into()));
        assert_eq!(event(ErrorKind::RealtimeDenied), StreamEvent::Other("text".into()));
    }

    #[test]
    fn each_xrun_is_counted_and_told_and_nothing_else_is_one() {
        let counts = Arc::new(Counts::default());
        let mut events = Vec::new();
        let mut teller = Teller { on_error: |event| events.push(event), counts: Arc::clone(&counts) };
        for kind in [ErrorKind::Xrun, ErrorKind::RealtimeDenied, ErrorKind::Xrun] {
            teller.tell(cpal::Error::new(kind).into());
        }
        assert_eq!(events.iter().filter(|event| **event == StreamEvent::Xrun).count(), 2);
        assert_eq!((events.len(), counts.xruns.load(Ordering::Relaxed)), (3, 2));
    }

    /// ALSA's `null` is a real cpal device that is there without a card.
    #[test]
    fn a_cpal_device_calls_back_in_each_of_its_sample_formats() {
        let null = candidates(Direction::Output).into_iter().find(|one| one.id == "alsa:null");
        let Some(device) = null.map(|one| one.device) else { return };
        for samples in [SampleFormat::I16, SampleFormat::I24, SampleFormat::U8, SampleFormat::F64] {
            let (sender, calls) = mpsc::channel();
            let callback = move |playback: &mut Playback<'_>| {
                let _ = sender.send((playback.channels, playback.samples.len() / playback.frames));
            };
            let buffer = cpal::BufferSize::Fixed(256);
            let chosen = Chosen { channels: 2, rate: 48_000, buffer, samples };
            let (direction, name, device) = (Direction::Output, "null".to_owned(), device.clone());
            let device = Device { direction, name, device, chosen, is_default: false };
            let stream = device.open_output(callback, |_| ()).unwrap();
            stream.play().unwrap();
            assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), (2, 2), "{samples}");
        }
    }
}
