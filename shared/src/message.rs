//! What host and worker say to each other on the control socket, and how it is encoded.
//!
//! The life of a worker, in messages: it says [`Hello`]; the host sends requests ([`Request`], numbered), the
//! worker answers each with a [`Reply`] of the same number, in order; in between it may send logs and failures
//! of blocks at any time, and says when it begins with what may take long ([`Notice`]). No message is recursive and none
//! holds elements of no size, so a decoder with a limit can't be made to use more memory than the message has bytes.

use crate::format::Format;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;

/// Longest message, in bytes.
pub const LIMIT: usize = 64 * 1024;
/// Longest text in a message (traceback, log), in bytes; longer ones are cut by the sender.
pub const TEXT_MAX: usize = 16 * 1024;
/// Longest state of a plugin that is saved or restored, in bytes.
pub const STATE_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a state in each message but the last.
pub const STATE_PART: usize = 48 * 1024;
/// Blocks that a worker drives itself for one request, at most: their times have to fit a message.
pub const DRIVE_MAX: u32 = 8000;

/// First word of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL`] of the worker module.
    pub protocol: u32,
    /// Version of the worker module.
    pub version: String,
    /// Version of the interpreter, such as `3.11.7`.
    pub python: String,
    /// Version of numpy.
    pub numpy: String,
}

/// From the host: a numbered request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Number that the reply carries too.
    pub id: u32,
    /// What is asked.
    pub body: Ask,
}

/// What a host asks of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Import the plugin file and create the instance. Answered by [`Answer::Loaded`].
    Load {
        /// Absolute path of the plugin file.
        file: String,
    },
    /// Take this format and the segments that come with this message, give the parameters, initialise
    /// (the first time), give them again. Answered by [`Answer::Configured`].
    Configure {
        /// Channels, block and rate.
        format: Format,
        /// Slots of the ring.
        slots: u32,
        /// Parameters in the order the user gave them.
        set: Vec<(String, String)>,
    },
    /// Blocks may be ordered that are made of another worker's answers from now on, whose segment comes with this
    /// message, and behind it the doorstep where this one is to say to that one that it sleeps: see
    /// [`crate::ring::WorkerEnd::attach`]. Answered by [`Answer::Done`].
    Attach {
        /// Of that worker's ring.
        format: Format,
        /// Slots of that ring.
        slots: u32,
        /// What orders call it.
        tag: u32,
    },
    /// The worker that takes this one's answers is another one from now on, whose doorstep comes with this message: see
    /// [`crate::ring::WorkerEnd::hand_to`]. It has been asked to attach itself before, and no block is ordered to go from
    /// this one to it before both have answered. Answered by [`Answer::Done`].
    HandTo,
    /// Call the plugin's `start` and process blocks. Answered by [`Answer::Done`].
    Start {
        /// Who decides from now on when Python's collector runs.
        gc: Gc,
    },
    /// Call the plugin with blocks of silence that nobody hears, if it runs and has been given no block yet. Answered by
    /// [`Answer::Done`], also if a block fails.
    WarmUp,
    /// Process no more blocks and call `stop`. Answered by [`Answer::Done`].
    Stop,
    /// Set a parameter, between two blocks if it runs. Answered by [`Answer::Set`].
    SetParameter {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
    },
    /// Read a parameter. Answered by [`Answer::Value`].
    GetParameter {
        /// Its name.
        key: String,
    },
    /// Call `save_state` and keep what it gives, or read on in what was kept. Answered by [`Answer::State`].
    SaveState {
        /// Bytes of it that the host has; 0 calls `save_state`.
        from: u64,
    },
    /// Put this part of a state to those before; `load_state` is called with the whole of it when there is no
    /// more. Answered by [`Answer::Done`]; by [`Answer::Played`], and not called, if it has been given blocks by then.
    LoadState {
        /// The next bytes of what `save_state` gave, at most [`STATE_PART`].
        part: Vec<u8>,
        /// More is to come.
        more: bool,
    },
    /// Process this many blocks, at most [`DRIVE_MAX`], as if a host gave them, but without one: for measuring what
    /// the plugin takes in its process alone. It has to run, and its blocks stay those that the host gave last.
    /// Answered by [`Answer::Driven`].
    Drive {
        /// How many.
        blocks: u32,
        /// From the beginning of one to that of the next, in nanoseconds; 0 is one after the other.
        every_ns: u64,
    },
    /// Call `stop` if it runs, `shutdown`, say [`Answer::Goodbye`] and exit.
    Shutdown,
}

/// Who decides when Python's collector of cyclic garbage runs while a plugin processes blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gc {
    /// The worker, between two blocks: what was there at the start is set aside, Python's own collections are off.
    #[default]
    Host,
    /// Python, as in a process of its own: nothing is set aside and nothing collected by the worker.
    Python,
    /// Nobody: as [`Gc::Host`], but nothing is collected after the start.
    Off,
}

/// From the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Say {
    /// First of all.
    Hello(Hello),
    /// Answer to the request of this number.
    Reply(Reply),
    /// Something nobody asked for.
    Notice(Notice),
}

/// Answer to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Number of the request.
    pub id: u32,
    /// The answer, or what failed.
    pub body: Result<Answer, Failure>,
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The instance exists.
    Loaded(Loaded),
    /// Format taken, segments mapped, plugin initialised.
    Configured(Configured),
    /// Done; nothing to add.
    Done,
    /// It has been given blocks, and is not thrown back to an older state in the middle of them.
    Played,
    /// Whether the plugin accepted a parameter.
    Set {
        /// False if `set_parameter` returned false.
        accepted: bool,
    },
    /// A parameter's value.
    Value(String),
    /// The plugin's state, or a part of it; `None` if it offers no `save_state`.
    State(Option<StatePart>),
    /// How long each block took that the worker drove itself, in nanoseconds.
    Driven(Vec<u32>),
    /// The last message.
    Goodbye,
}

/// A part of a plugin's state: [`STATE_PART`] bytes, or what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePart {
    /// The bytes that follow those that the host has.
    pub bytes: Vec<u8>,
    /// Length of the whole state, at most [`STATE_MAX`].
    pub total: u64,
}

/// What kind of plugin it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginKind {
    /// Makes audio.
    Source,
    /// Changes audio.
    Processor,
    /// Takes audio.
    Sink,
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Processor => "processor",
            Self::Sink => "sink",
        })
    }
}

/// What a plugin says of itself (`get_info`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Source, processor or sink.
    pub kind: PluginKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who made it.
    pub author: String,
    /// What it does.
    pub description: String,
    /// It declares itself `fail_closed`.
    pub fail_closed: bool,
    /// It may be given silence before its first block: by its own word or, without one, as a processor.
    pub silent_warm_up: bool,
    /// It can save and restore its state: it has both `save_state` and `load_state`.
    pub keeps_state: bool,
}

/// What a plugin made of the format it was given, read back from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// Its sample rate, if it has one.
    pub rate: Option<u32>,
    /// Its channels, if it has them.
    pub channels: Option<u32>,
    /// `get_processing_latency`, in seconds, as the plugin said it: may be any number.
    pub latency_s: f64,
    /// Parameters it did not accept (returned false), by name.
    pub refused: Vec<String>,
    /// Why each block needs a fresh buffer instead of the cached ones, if it does.
    pub uncached: Option<String>,
}

/// Something went wrong in the plugin or on the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where in its life.
    pub stage: Stage,
    /// One sentence: what happened.
    pub message: String,
    /// Python traceback; empty if there is none.
    pub traceback: String,
}

/// Where in its life a plugin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Import, `create_plugin`, `get_info`.
    Load,
    /// Format, parameters, `initialize`.
    Configure,
    /// `start`.
    Start,
    /// A block.
    Block,
    /// `set_parameter`, `get_parameter`.
    Parameter,
    /// `save_state`, `load_state`.
    State,
    /// `stop`, `shutdown`.
    Stop,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "loading",
            Self::Configure => "initialising",
            Self::Start => "starting",
            Self::Block => "processing a block",
            Self::Parameter => "setting a parameter",
            Self::State => "saving or restoring its state",
            Self::Stop => "stopping",
        })
    }
}

/// Something a worker says unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// Text that the plugin printed.
    Log(Log),
    /// A block failed for a new reason. The same reason again is only counted.
    BlockFailed {
        /// What happened.
        failure: Failure,
        /// Blocks that failed for this or another reason so far.
        count: u64,
    },
    /// A thread or a finaliser of the plugin raised.
    Unraisable(Failure),
    /// `save_state` or `load_state` is called now, as the host asked: no block is begun until the answer to that.
    AtState,
}

/// Text that the plugin wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Where it wrote to.
    pub source: LogSource,
    /// One or more lines.
    pub text: String,
}

/// Where a plugin wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogSource {
    /// `print`.
    Stdout,
    /// `sys.stderr`, warnings.
    Stderr,
    /// The worker itself.
    Worker,
}

/// A message that can't be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodecError {
    /// Longer than [`LIMIT`].
    TooLong,
    /// Not a message of this protocol.
    Malformed(String),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {LIMIT} bytes"),
            Self::Malformed(why) => write!(f, "not understood ({why})"),
        }
    }
}

impl std::error::Error for CodecError {}

/// The bytes of a message.
///
/// # Errors
/// [`CodecError::TooLong`] beyond [`LIMIT`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(message, bincode::config::standard())
        .map_err(|e| CodecError::Malformed(e.to_string()))?;
    if bytes.len() > LIMIT { Err(CodecError::TooLong) } else { Ok(bytes) }
}

/// The message in these bytes; bytes left over make it malformed.
///
/// # Errors
/// [`CodecError::Malformed`], whatever the bytes are: never a panic, never more memory than [`LIMIT`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (message, used) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|e| CodecError::Malformed(e.to_string()))?;
    if used == bytes.len() { Ok(message) } else { Err(CodecError::Malformed("bytes left over".into())) }
}

/// Cuts a text to [`TEXT_MAX`] bytes, keeping its end, where a traceback says what happened.
#[must_use]
pub fn cut(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let from = text.ceil_char_boundary(text.len() - TEXT_MAX);
    format!("[...]{}", &text[from..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_survives_the_journey() {
        let ask = Request {
            id: 7,
            body: Ask::Configure {
                format: Format::new(2, 256, 48_000).unwrap(),
                slots: 8,
                set: vec![("gain".into(), "0.5".into())],
            },
        };
        assert_eq!(decode::<Request>(&encode(&ask).unwrap()).unwrap(), ask);
    }

    #[test]
    fn a_part_of_a_state_fits_a_message_whatever_its_bytes_are() {
        let part = vec![0xff; STATE_PART];
        let answer = Answer::State(Some(StatePart { bytes: part.clone(), total: u64::MAX }));
        let reply = Say::Reply(Reply { id: u32::MAX, body: Ok(answer) });
        assert_eq!(decode::<Say>(&encode(&reply).unwrap()).unwrap(), reply);
        assert!(encode(&Request { id: u32::MAX, body: Ask::LoadState { part, more: true } }).is_ok());
    }

    #[test]
    fn the_times_of_all_blocks_that_can_be_driven_fit_a_message_however_long_they_were() {
        let times = vec![u32::MAX; DRIVE_MAX as usize];
        let reply = Say::Reply(Reply { id: u32::MAX, body: Ok(Answer::Driven(times)) });
        assert_eq!(decode::<Say>(&encode(&reply).unwrap()).unwrap(), reply);
    }

    #[test]
    fn a_format_out_of_bounds_is_refused_by_the_decoder() {
        let bytes = encode(&(65u32, 256u32, 48_000u32)).unwrap();
        assert!(matches!(decode::<Format>(&bytes), Err(CodecError::Malformed(_))));
    }

    #[test]
    fn a_length_that_claims_the_whole_memory_is_refused() {
        let mut bytes = encode(&LogSource::Stdout).unwrap();
        bytes.extend([253, 255, 255, 255, 255, 255, 255, 255, 127]);
        assert!(decode::<Log>(&bytes).is_err());
    }

    #[test]
    fn a_long_text_keeps_its_end() {
        let text = format!("{}the end", "é".repeat(TEXT_MAX));
        assert!(cut(&text).ends_with("the end") && cut(&text).len() <= TEXT_MAX + 5);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode::<Say>(&bytes);
            let _ = decode::<Request>(&bytes);
        }
    }
}
