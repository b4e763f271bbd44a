//! The one error type of the host: what failed, why, and what to do next.
//!
//! For callers of the library, who act on [`Error::kind`], and for the command line, which prints the rest
//! and turns the kind into an exit code. Never made on the audio thread: it allocates.

use crate::plugin::autopsy::Remains;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of thing failed, so that a caller can act on it. In JSON it is its name in small letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The configuration or an argument is wrong: correct it.
    Config,
    /// An input file is missing, unreadable or not audio: name another.
    Input,
    /// An output can't be written: free space, or name another place.
    Output,
    /// The plugin's own code is at fault: mend the plugin.
    Plugin,
    /// The Python interpreter is missing, too old or lacks numpy: choose or mend it.
    Interpreter,
    /// A device refuses the format, or can't be meant: choose another.
    Device,
    /// A device or its audio system is not there, in use, or does not answer: connect it, or try again later.
    Absent,
    /// A worker process died, fell silent or is just being replaced, through no fault of the plugin's own code: try again.
    Worker,
    /// There is no run to be steered, or it does not answer: start one, or name another.
    Control,
    /// The operating system refused something that should work.
    System,
}

impl Kind {
    /// The exit code of `nda` for an error of this kind (2 is a wrong command line, 9 a run with losses).
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::System => 1,
            Kind::Config => 3,
            Kind::Input => 4,
            Kind::Output => 5,
            Kind::Plugin => 6,
            Kind::Interpreter => 7,
            Kind::Device | Kind::Absent => 8,
            Kind::Worker => 10,
            Kind::Control => 11,
        }
    }
}

/// An error with its remedy.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    what: String,
    detail: Option<String>,
    remedy: Option<Box<Remedy>>,
    /// What a log has in place of all that, if it may hold a secret; the remedy has its own.
    discreet: Option<Box<str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Of the worker whose end it is.
    remains: Option<Box<Remains>>,
}

#[derive(Debug)]
struct Remedy {
    words: String,
    /// The same as others may read it, if that is something else.
    discreet: Option<String>,
}

/// The host's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of this kind; `what` names the culprit and says what failed and why, in one sentence.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        let (detail, remedy, discreet, source, remains) = (None, None, None, None, None);
        Self { kind, what: what.into(), detail, remedy, discreet, source, remains }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        self.remedied(remedy.into(), None)
    }

    /// Adds what the user can do about it, with something in it that may be a secret, and the same without that.
    #[must_use]
    pub(crate) fn private_remedy(self, remedy: impl Into<String>, discreet: impl Into<String>) -> Self {
        self.remedied(remedy.into(), Some(discreet.into()))
    }

    fn remedied(self, words: String, discreet: Option<String>) -> Self {
        Self { remedy: Some(Box::new(Remedy { words, discreet })), ..self }
    }

    /// What was said so far, and the detail and the error underneath, may hold a secret: a log has this sentence instead.
    #[must_use]
    pub(crate) fn private(self, discreet: impl Into<Box<str>>) -> Self {
        Self { discreet: Some(discreet.into()), ..self }
    }

    /// The error as it may stay in a log, where others than the one who asked read it: without what may be a secret.
    #[must_use]
    pub fn for_log(&self) -> String {
        let said = self.discreet.as_deref().map_or_else(|| self.said(), plain);
        said + &self.hint(|remedy| remedy.discreet.as_ref().unwrap_or(&remedy.words))
    }

    /// The same error without what may be a secret, whoever reads it.
    #[must_use]
    pub(crate) fn made_discreet(mut self) -> Self {
        if let Some(what) = self.discreet.take() {
            (self.what, self.detail, self.source) = (what.into(), None, None);
        }
        if let Some(remedy) = &mut self.remedy
            && let Some(words) = remedy.discreet.take()
        {
            remedy.words = words;
        }
        self
    }

    /// Adds text of several lines, such as a Python traceback.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Takes that text away, to be told elsewhere.
    pub(crate) fn take_detail(&mut self) -> Option<String> {
        self.detail.take()
    }

    /// It is the end of a worker, of which this is left.
    #[must_use]
    pub(crate) fn remains(self, remains: Remains) -> Self {
        Self { remains: Some(Box::new(remains)), ..self }
    }

    /// Takes away what is left of the worker whose end it is, if it is one's, for a report.
    pub(crate) fn take_remains(&mut self) -> Option<Box<Remains>> {
        self.remains.take()
    }

    /// Says before what failed and why what it is about, also in a log.
    #[must_use]
    pub(crate) fn about(self, what: &str) -> Self {
        let discreet = self.discreet.map(|discreet| format!("{what}: {discreet}").into());
        Self { what: format!("{what}: {}", self.what), discreet, ..self }
    }

    /// Adds to what failed and why, in the same sentence.
    #[must_use]
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.what.push_str(more);
        self
    }

    /// Adds the error underneath.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of thing failed.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn said(&self) -> String {
        let source = self.source.iter().map(|source| format!(": {source}"));
        let detail = self.detail.iter().flat_map(|detail| detail.trim_end().lines());
        let detail = detail.map(|line| format!("\n    {}", plain(line)));
        std::iter::once(plain(&self.what)).chain(source).chain(detail).collect()
    }

    fn hint(&self, told: impl Fn(&Remedy) -> &String) -> String {
        self.remedy.as_ref().map_or_else(String::new, |remedy| format!("\n  try: {}", told(remedy)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said())?;
        f.write_str(&self.hint(|remedy| &remedy.words))
    }
}

/// A plugin's words without control characters: they could steer the user's terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').collect()
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
