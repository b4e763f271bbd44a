//! A crash report: a folder for each death of a plugin, for the plugin's author.
//!
//! [`CrashReport`] is what is known of a death, [`write()`] puts it on disk, [`list`] and [`open`] find it again for
//! `nda replay`. Whoever noticed the death gathers it, and tells the user where it lies; nothing here watches a
//! worker.
//!
//! | file | what is in it |
//! |---|---|
//! | `report.txt` | all that matters, in words, on one screen |
//! | `report.json` | the same for programs, with a line for each of the last blocks |
//! | `traceback.txt`, `log.txt` | the Python traceback or stacks; the last lines that the plugin wrote |
//! | `in.wav`, `out.wav` | the last blocks as the plugin got them and as they came back, 32-bit floats |
//! | `parameters.json`, `state.bin` | what was set, with the values; the state that it was given |
//!
//! # Secrets
//! A replay needs what the plugin had: its parameters, its state, and what it got. So the folder is its owner's alone
//! (mode 0700, the files 0600), and what may be private is in files of its own. Of a plugin that fails closed, or that
//! did not come so far in its first start as to say whether it does, what it got, its state and the values of its
//! parameters are secrets, and nowhere in the folder: whoever replays it gives the values himself.
//!
//! `report.txt`, `report.json`, `traceback.txt` and `log.txt` hold no value of a parameter, no sample and no state,
//! unless the plugin itself wrote one into its messages. Those four can be shown to others; the rest should not be.
//!
//! Reports are written by a thread that may wait for the disk, never by the audio thread.

mod folder;
mod kept;
mod text;

pub(crate) use folder::{WRITTEN_WITHIN, write_in_time};
pub use folder::{unfinished_of_this_process, write};
pub use jiff::Timestamp;
pub use kept::{KEPT_MAX, Kept, list, open};

use crate::telemetry::{Counts, Percentiles};
use serde::{Deserialize, Serialize, Serializer};
use shared::format::Format;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The environment variable that says where reports go.
pub const REPORTS: &str = "NDA_REPORTS";

/// What is known of a plugin's death.
///
/// Serialised it has no secrets: of the parameters the names, of the audio which blocks there are, of the state its
/// length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrashReport {
    /// The plugin's name in the configuration.
    pub plugin: String,
    /// What it calls itself, with its version, if it came so far.
    pub title: Option<String>,
    /// Its file, from the root.
    #[serde(serialize_with = "path_text")]
    pub file: PathBuf,
    /// The file as it was just before it was loaded; `None` takes it as it is when the report is written.
    #[serde(skip)]
    pub loaded: Option<FileMark>,
    /// The interpreter, from the root.
    #[serde(serialize_with = "path_text")]
    pub python: PathBuf,
    /// The interpreter's version, if it came so far.
    pub python_version: Option<String>,
    /// The process that died, if there was one.
    pub pid: Option<u32>,
    /// `source`, `processor` or `sink`.
    pub kind: String,
    /// The format of its blocks.
    #[serde(serialize_with = "format_by_name")]
    pub format: Format,
    /// `same-block` or `pipelined`.
    pub mode: String,
    /// When it died. In JSON as RFC 3339, UTC.
    pub when: Timestamp,
    /// How it ended, in words without a subject: "was killed by SIGSEGV (a crash in native code)".
    pub ended: String,
    /// The exit code, if it ended itself.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Why the host ended it, in words, if it was the host.
    pub because: Option<String>,
    /// What was done about it, in words: "the spare took over after 3 blocks".
    pub done: String,
    /// Good blocks of this process.
    pub good_blocks: u64,
    /// What became of the plugin's blocks since the pipeline began, over all its processes.
    pub counts: Counts,
    /// Which process of the plugin this was, counted from 1.
    pub incarnation: u32,
    /// Parameters, key and value, in the order in which they were set; one that was set again has the last value.
    /// `None` is a value that nobody is to find here.
    #[serde(serialize_with = "keys")]
    pub parameters: Vec<(String, Option<String>)>,
    /// The last lines that it wrote or that were told of it, oldest first.
    #[serde(skip)]
    pub log: Vec<LogLine>,
    /// A Python traceback, or the stacks of its threads; may be empty.
    #[serde(skip)]
    pub traceback: String,
    /// Time in the plugin's own code, as its workers said.
    pub plugin_time: Percentiles,
    /// Time from handing a block over until the answer was seen.
    pub round_trip: Percentiles,
    /// When what happened to the last blocks, oldest first.
    pub stamps: Vec<BlockStamps>,
    /// Why blocks were missed, in words, and how many each.
    pub misses: Vec<(String, u64)>,
    /// The last blocks, oldest first.
    pub last_blocks: Vec<LastBlock>,
    /// The state that it was given by `load_state`, if it was.
    #[serde(rename = "state_bytes", serialize_with = "length")]
    pub state: Option<Vec<u8>>,
}

impl CrashReport {
    /// A report about a plugin's first process, of which nothing else is known.
    #[must_use]
    pub fn about(plugin: &str, file: &Path, format: Format) -> Self {
        Self {
            plugin: plugin.to_owned(),
            title: None,
            file: file.to_owned(),
            loaded: None,
            python: PathBuf::new(),
            python_version: None,
            pid: None,
            kind: String::new(),
            format,
            mode: String::new(),
            when: Timestamp::now(),
            ended: String::new(),
            exit_code: None,
            signal: None,
            because: None,
            done: String::new(),
            good_blocks: 0,
            counts: Counts::default(),
            incarnation: 1,
            parameters: Vec::new(),
            log: Vec::new(),
            traceback: String::new(),
            plugin_time: Percentiles::default(),
            round_trip: Percentiles::default(),
            stamps: Vec::new(),
            misses: Vec::new(),
            last_blocks: Vec::new(),
            state: None,
        }
    }
}

/// A line that a plugin wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from: `stdout`, `stderr`, `worker`.
    pub source: String,
    /// The line.
    pub text: String,
}

/// When what happened to a block, in nanoseconds of the monotonic clock; `None` if it did not happen.
///
/// What the worker stamped is its word alone, to be shown and not to be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BlockStamps {
    /// The block's sequence number.
    pub seq: u64,
    /// The host handed it over.
    pub handed_ns: u64,
    /// The worker saw it.
    pub seen_ns: Option<u64>,
    /// The worker's thread had the interpreter, which another thread may have kept until then.
    pub woken_ns: Option<u64>,
    /// The plugin's method was called.
    pub entered_ns: Option<u64>,
    /// The plugin's method came back.
    pub left_ns: Option<u64>,
}

/// One of the last blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastBlock {
    /// Its sequence number.
    pub seq: u64,
    /// What the plugin got, channel after channel; `None` for a source.
    #[serde(serialize_with = "is_there")]
    pub input: Option<Vec<f32>>,
    /// What it left, channel after channel; `None` without an answer, and for a sink.
    #[serde(serialize_with = "is_there")]
    pub output: Option<Vec<f32>>,
    /// Whether the plugin answered it, well or not.
    pub answered: bool,
}

/// By what a file is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Its length.
    pub bytes: u64,
    /// FNV-1a of its content, 64 bits in hexadecimal: tells an edit, not a forgery.
    pub fnv1a: String,
}

impl FileMark {
    /// The mark of a file as it is now.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of(file: &Path) -> io::Result<Self> {
        if !file.metadata()?.is_file() {
            // Whoever reads a pipe may wait for ever.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let content = std::fs::read(file)?;
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let hash = content.iter().fold(0xcbf2_9ce4_8422_2325, step);
        Ok(Self { bytes: content.len() as u64, fnv1a: format!("{hash:016x}") })
    }
}

/// Where reports go if nobody says otherwise: `$NDA_REPORTS`, else `$XDG_STATE_HOME/nda/reports`, else
/// `~/.local/state/nda/reports`, else a folder of this user's in the one for temporary files.
#[must_use]
pub fn default_dir() -> PathBuf {
    dir_by(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn dir_by(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let folder = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // What the user names may start at the current folder; the others may not, by their own rules.
    if let Some(named) = variable(REPORTS) {
        return std::path::absolute(&named).unwrap_or_else(|_| named.into());
    }
    if let Some(state) = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state"))) {
        return state.join("nda/reports");
    }
    let user = rustix::process::geteuid().as_raw();
    folder("TMPDIR").unwrap_or_else(|| "/tmp".into()).join(format!("nda-{user}/reports"))
}

/// Also a path that is not UTF-8: a report with a wrong letter is better than none.
fn path_text<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

fn format_by_name<S: Serializer>(format: &Format, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named {
        channels: usize,
        block_frames: usize,
        rate: u32,
    }
    let (channels, block_frames) = (format.channels(), format.block_frames());
    Named { channels, block_frames, rate: format.rate() }.serialize(to)
}

fn keys<S: Serializer>(parameters: &[(String, Option<String>)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(parameters.iter().map(|(key, _)| key))
}

// serde hands over a reference to the field.
#[allow(clippy::ref_option)]
fn is_there<S: Serializer>(samples: &Option<Vec<f32>>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bool(samples.is_some())
}

#[allow(clippy::ref_option)]
fn length<S: Serializer>(state: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    state.as_ref().map(Vec::len).serialize(to)
}

#[cfg(test)]
mod tests;
