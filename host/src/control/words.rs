//! What can be asked of a run, and what it answers: one line of JSON each.
//!
//! `{"do":"mute","pipeline":"tx","on":true}` is answered with `{"done":{"lines":["tx is mute"]}}` or
//! `{"refused":{"code":3,"kind":"config","why":"..."}}`. Nothing here says how it is done.

use crate::error::{Error, Kind};
use clap::{ArgAction, Subcommand};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a run is asked to do. Plugins are named `PIPELINE/PLUGIN`, or `PLUGIN` where there is one of that name.
///
/// These are the words of `nda ctl` too, and what is said of them here is its help.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Tell how every pipeline is doing
    Status {},
    /// Start a pipeline that has stopped, ended, or could not be started
    Start {
        /// The pipeline's name
        pipeline: String,
    },
    /// Stop a pipeline; its files are completed
    Stop {
        /// The pipeline's name
        pipeline: String,
    },
    /// Give a plugin a new worker, also one that was given up
    Restart {
        /// The plugin's name
        plugin: String,
    },
    /// Set a parameter, until the pipeline is started again
    Set {
        /// The plugin's name
        plugin: String,
        /// The parameter's name
        key: String,
        /// Its value; nda ctl reads - from standard input, so that nobody sees it in the list of processes
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Read a parameter
    Get {
        /// The plugin's name
        plugin: String,
        /// The parameter's name
        key: String,
    },
    /// Have what goes into a plugin heard in place of what comes out of it
    ///
    /// It comes as late as the plugin's output does, and without a click. The plugin gets the blocks all the same, and
    /// nobody waits for it. One that fails closed can't be bypassed.
    Bypass {
        /// The plugin's name
        plugin: String,
        /// on or off
        #[arg(value_name = "on|off", value_parser = on_or_off, action = ArgAction::Set)]
        on: bool,
    },
    /// Have a pipeline's sink, and the file that records it, get silence
    Mute {
        /// The pipeline's name
        pipeline: String,
        /// on or off
        #[arg(value_name = "on|off", value_parser = on_or_off, action = ArgAction::Set)]
        on: bool,
    },
    /// Read the configuration again and change only what differs
    ///
    /// A file with a fault changes nothing. Pipelines in which only `set` differs get the parameters; others that differ
    /// are stopped and started. SIGHUP does the same.
    Reload {},
}

/// Without values: one may be a key.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status {} => f.write_str("status"),
            Self::Start { pipeline } => write!(f, "start {pipeline}"),
            Self::Stop { pipeline } => write!(f, "stop {pipeline}"),
            Self::Restart { plugin } => write!(f, "restart {plugin}"),
            Self::Set { plugin, key, .. } => write!(f, "set {plugin} {key}"),
            Self::Get { plugin, key } => write!(f, "get {plugin} {key}"),
            Self::Bypass { plugin, on } => write!(f, "bypass {plugin} {on}"),
            Self::Mute { pipeline, on } => write!(f, "mute {pipeline} {on}"),
            Self::Reload {} => f.write_str("reload"),
        }
    }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it must be on or off".to_owned()),
    }
}

/// What a run answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done(Done),
    /// It is not, or not all of it.
    Refused(Refusal),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Done {
    /// In words.
    #[serde(default)]
    pub lines: Vec<String>,
    /// The parameter that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The parameter that was to be set is not set yet, but kept for a worker that comes, as nobody plays who could take it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// The status that was asked for, see [`RunStatus`](crate::run::RunStatus).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The exit code of `nda` for this kind of error.
    pub code: u8,
    /// What kind of thing failed.
    pub kind: Kind,
    /// What failed, why, and what to do about it.
    pub why: String,
}

impl Reply {
    /// It is done, which is this in words.
    pub fn done(line: impl Into<String>) -> Self {
        Self::Done(Done { lines: vec![line.into()], ..Done::default() })
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let kind = error.kind();
        Self { code: kind.exit_code(), kind, why: error.to_string() }
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        Self::Refused(Refusal::from(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Option<Request> {
        serde_json::from_str(line).ok()
    }

    #[test]
    fn a_request_reads_as_it_is_documented() {
        let mute = read(r#"{"do":"mute","pipeline":"tx","on":true}"#);
        assert_eq!(mute, Some(Request::Mute { pipeline: "tx".into(), on: true }));
        assert_eq!(read(r#"{"do":"status"}"#), Some(Request::Status {}));
        assert_eq!(serde_json::to_string(&Request::Reload {}).unwrap(), r#"{"do":"reload"}"#);
    }

    #[test]
    fn what_is_not_quite_a_request_is_none() {
        let lines = [
            "",
            "null",
            "{}",
            r#"{"do":"explode"}"#,
            r#"{"do":"mute","pipeline":"tx"}"#,
            r#"{"do":"mute","pipeline":"tx","on":1}"#,
            r#"{"do":"status","more":1}"#,
            r#"{"do":"stop","pipeline":["tx"]}"#,
            r#"{"do":"status"} {"do":"status"}"#,
        ];
        for line in lines {
            assert_eq!(read(line), None, "{line}");
        }
        assert_eq!(read(&"[".repeat(super::super::LINE_MAX)), None);
    }

    #[test]
    fn a_value_is_not_shown_where_requests_are() {
        let set = Request::Set { plugin: "tx/enc".into(), key: "key".into(), value: "secret".into() };
        assert_eq!(format!("{set:?}"), "set tx/enc key");
    }

    proptest! {
        #[test]
        fn any_text_is_a_request_or_none(text in any::<String>()) {
            let _ = read(&text);
        }
    }
}
