//! What the user asked for, checked: pipelines, their sources, elements and sinks.
//!
//! For whoever starts a pipeline, be it from a configuration, the command line or Rust code: the fields are
//! public and every type has a constructor with defaults. It holds wishes, not open files or devices.

use crate::audio_file::Bits;
use crate::backend::{DeviceChoice, virtual_device};
use crate::edge::Quality;
use crate::plugin::spec::{Lost, PluginSpec};
use crate::realtime::{Affinity, Power};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Frames per block where nothing else is said.
pub const BLOCK_DEFAULT: u32 = 256;
/// Gains that the built-in gain takes, in dB.
pub const GAIN_DB: RangeInclusive<f32> = -120.0..=60.0;

/// All that one configuration file asks for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// At least one, each with a name of its own, in the order of the file.
    pub pipelines: Vec<PipelineSpec>,
    /// The folder for crash reports, which needn't exist; `None` leaves it to whoever writes them.
    pub reports: Option<PathBuf>,
    /// The socket over which the run is steered; `off` is none, `None` leaves it to whoever runs.
    pub socket: Option<PathBuf>,
}

/// Whether the user has given a pipeline its name. No part of what the pipeline is: any two are equal.
#[derive(Debug, Clone, Copy)]
pub struct Named(pub bool);

impl PartialEq for Named {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// One pipeline: a source, elements in order, a sink.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineSpec {
    /// Its name in reports; unique in a [`Config`].
    pub name: String,
    /// Whether the user has called it so: a name that it got for its place in the file says nothing of which one it is.
    pub is_named: Named,
    /// Frames per second; `None` is the source file's, else 48000.
    pub rate: Option<u32>,
    /// Frames per block.
    pub block_frames: u32,
    /// Channels per frame; `None` is the source file's, else 2.
    pub channels: Option<u32>,
    /// Where the audio comes from.
    pub source: SourceSpec,
    /// What happens to it, in order.
    pub elements: Vec<ElementSpec>,
    /// Where it goes.
    pub sink: SinkSpec,
    /// A file that also gets what the sink gets.
    pub record: Option<FileSinkSpec>,
    /// Which cores it may use.
    pub affinity: Affinity,
    /// What idle processors are to do while it plays.
    pub power: Power,
    /// How well other rates are converted; `None` is the default quality, and the best for a file, which nobody waits for.
    pub resampling: Option<Quality>,
    /// Whose clock it runs on, where source and sink are devices.
    pub clock: Clock,
}

/// Whose clock a pipeline runs on. What comes from the other end, or goes there, is held to it by a queue, which corrects
/// samples where the two drift apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The sink's: what is corrected is what is processed.
    #[default]
    Sink,
    /// The source's: each frame is processed as it came, and the result corrected. For what must be whole, as encrypted
    /// audio is.
    Source,
}

impl PipelineSpec {
    /// A pipeline named `main` with no elements and every default.
    #[must_use]
    pub fn new(source: SourceSpec, sink: SinkSpec) -> Self {
        Self {
            name: "main".to_owned(),
            is_named: Named(false),
            rate: None,
            block_frames: BLOCK_DEFAULT,
            channels: None,
            source,
            elements: Vec::new(),
            sink,
            record: None,
            affinity: Affinity::default(),
            power: Power::default(),
            resampling: None,
            clock: Clock::default(),
        }
    }

    /// Appends an element. A Python plugin whose name is taken in this pipeline gets `-2`, `-3`, ... behind it.
    #[must_use]
    pub fn then(mut self, mut element: ElementSpec) -> Self {
        if let ElementSpec::Plugin { name, .. } = &mut element {
            *name = unique(name, &self.plugin_names());
        }
        self.elements.push(element);
        self
    }

    /// The names of its Python plugins: the source's, the elements', the sink's.
    #[must_use]
    pub fn plugin_names(&self) -> Vec<&str> {
        let source = match &self.source {
            SourceSpec::Plugin { name, .. } => Some(name),
            _ => None,
        };
        let sink = match &self.sink {
            SinkSpec::Plugin { name, .. } => Some(name),
            _ => None,
        };
        let elements = self.elements.iter().filter_map(|element| match element {
            ElementSpec::Plugin { name, .. } => Some(name),
            _ => None,
        });
        source.into_iter().chain(elements).chain(sink).map(String::as_str).collect()
    }
}

/// Where a pipeline's audio comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSpec {
    /// An audio file.
    File(FileSourceSpec),
    /// An input device.
    Device(DeviceSpec),
    /// A Python plugin that makes audio.
    Plugin {
        /// Its name in reports; unique in its pipeline.
        name: String,
        /// What was asked of it.
        spec: PluginSpec,
        /// For each of the pipeline's channels the plugin's, see [`DeviceSpec::map`].
        map: Option<Vec<u32>>,
    },
}

impl SourceSpec {
    /// An audio file, played once.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self::File(FileSourceSpec::new(file))
    }

    /// An input device, see [`DeviceName::new`].
    #[must_use]
    pub fn device(name: &str) -> Self {
        Self::Device(DeviceSpec::new(name))
    }

    /// A Python plugin named after its file; a lost block is silence.
    pub fn plugin(file: impl Into<PathBuf>) -> Self {
        let spec = end_plugin(file);
        Self::Plugin { name: plugin_name(&spec), spec, map: None }
    }
}

/// An audio file to play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSourceSpec {
    /// The file: WAV or FLAC.
    pub file: PathBuf,
    /// Whether it starts again at its end (`loop` in the configuration).
    pub repeat: bool,
    /// For each of the pipeline's channels the file's, see [`DeviceSpec::map`].
    pub map: Option<Vec<u32>>,
}

impl FileSourceSpec {
    /// A file that is played once, with the channels that it has.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), repeat: false, map: None }
    }
}

/// What happens to the audio at one place of the chain.
#[derive(Debug, Clone, PartialEq)]
pub enum ElementSpec {
    /// A Python plugin in its own process.
    Plugin {
        /// Its name in reports; unique in its pipeline.
        name: String,
        /// What was asked of it.
        spec: PluginSpec,
    },
    /// The built-in gain.
    Gain {
        /// In dB, within [`GAIN_DB`].
        db: f32,
    },
    /// The built-in level meter.
    Meter,
}

impl ElementSpec {
    /// A Python plugin named after its file, with every default.
    pub fn plugin(file: impl Into<PathBuf>) -> Self {
        PluginSpec::new(file).into()
    }
}

impl From<PluginSpec> for ElementSpec {
    fn from(spec: PluginSpec) -> Self {
        Self::Plugin { name: plugin_name(&spec), spec }
    }
}

/// Where a pipeline's audio goes.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkSpec {
    /// A WAV file.
    File(FileSinkSpec),
    /// An output device.
    Device(DeviceSpec),
    /// A Python plugin that consumes audio.
    Plugin {
        /// Its name in reports; unique in its pipeline.
        name: String,
        /// What was asked of it.
        spec: PluginSpec,
        /// For each of the plugin's channels the pipeline's, see [`DeviceSpec::map`].
        map: Option<Vec<u32>>,
    },
}

impl SinkSpec {
    /// A WAV file of 32-bit float samples.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self::File(FileSinkSpec::new(file))
    }

    /// An output device, see [`DeviceName::new`].
    #[must_use]
    pub fn device(name: &str) -> Self {
        Self::Device(DeviceSpec::new(name))
    }

    /// A Python plugin named after its file; a lost block is silence.
    pub fn plugin(file: impl Into<PathBuf>) -> Self {
        let spec = end_plugin(file);
        Self::Plugin { name: plugin_name(&spec), spec, map: None }
    }
}

impl Default for SinkSpec {
    fn default() -> Self {
        Self::device("default")
    }
}

/// A WAV file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSinkSpec {
    /// The file; it is replaced if it exists.
    pub file: PathBuf,
    /// How a sample is written.
    pub bits: Bits,
    /// For each of the file's channels the pipeline's, see [`DeviceSpec::map`].
    pub map: Option<Vec<u32>>,
}

impl FileSinkSpec {
    /// A WAV file of 32-bit float samples, with the pipeline's channels.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), bits: Bits::default(), map: None }
    }
}

/// An audio device as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Which device.
    pub name: DeviceName,
    /// Frames in the device's own buffer; `None` leaves it to the back end.
    pub buffer_frames: Option<u32>,
    /// Whether the virtual device stands in if this one isn't there.
    pub fallback_virtual: bool,
    /// Its own frames per second; `None` is the pipeline's, or the nearest that it offers.
    pub rate: Option<u32>,
    /// Which channel becomes which, from 1; 0 is silence. For an input the device's channel for each of the pipeline's,
    /// for an output the pipeline's for each of the device's.
    pub map: Option<Vec<u32>>,
    /// By how many millionths the clock of a virtual device is fast.
    pub ppm: i32,
    /// The device that the name has meant before, to be had again and no other. No configuration sets it: it is for a
    /// pipeline that is opened anew.
    pub known: Option<DeviceChoice>,
}

impl DeviceSpec {
    /// A device with every default.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: DeviceName::new(name),
            buffer_frames: None,
            fallback_virtual: false,
            rate: None,
            map: None,
            ppm: 0,
            known: None,
        }
    }
}

/// Which device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceName {
    /// The system's default.
    Default,
    /// The built-in device that needs no sound card.
    Virtual,
    /// The virtual cable of this name: what its output plays, its inputs hear, within this process.
    Cable(String),
    /// The device of this name.
    Named(String),
}

impl DeviceName {
    /// `default`, `virtual`, `virtual:NAME`, or the name of a device.
    #[must_use]
    pub fn new(name: &str) -> Self {
        match name {
            "default" => Self::Default,
            "virtual" => Self::Virtual,
            _ => match virtual_device::cable_name(name) {
                Some(cable) => Self::Cable(cable.to_owned()),
                None => Self::Named(name.to_owned()),
            },
        }
    }

    /// Whether it is the built-in device, or a cable of it.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        matches!(self, Self::Virtual | Self::Cable(_))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Virtual => f.write_str(virtual_device::NAME),
            Self::Cable(name) => write!(f, "{}:{name}", virtual_device::NAME),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// A source or a sink has no dry signal to fall back to, so a lost block is silence.
fn end_plugin(file: impl Into<PathBuf>) -> PluginSpec {
    PluginSpec { lost: Lost::Mute, ..PluginSpec::new(file) }
}

/// The name a plugin has if it is given none: its file's, without `.py`.
pub(super) fn plugin_name(spec: &PluginSpec) -> String {
    spec.file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// `name`, or the first of `name-2`, `name-3`, ... that is not taken.
pub(super) fn unique(name: &str, taken: &[&str]) -> String {
    let numbered = (2_u32..).map(|n| format!("{name}-{n}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !taken.contains(&name.as_str())).unwrap_or_default()
}
