//! What can be asked of a run, and what it answers: one line of JSON each.
//!
//! `{"do":"mute","pipeline":"tx","on":true}` is answered with `{"done":{"lines":["tx is mute"]}}` or
//! `{"refused":{"code":3,"why":"..."}}`. Nothing here says how it is done.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a run is asked to do. Plugins are named `PIPELINE/PLUGIN`, or `PLUGIN` where there is one of that name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Tell how every pipeline is doing.
    Status {},
    /// Start a pipeline that does not play.
    Start {
        /// Its name.
        pipeline: String,
    },
    /// Stop a pipeline; its files are completed and its plugins ended.
    Stop {
        /// Its name.
        pipeline: String,
    },
    /// Give a plugin another worker, also one that was given up.
    Restart {
        /// Its name.
        plugin: String,
    },
    /// Set a parameter.
    Set {
        /// The plugin's name.
        plugin: String,
        /// The parameter's name.
        key: String,
        /// Its value.
        value: String,
    },
    /// Read a parameter.
    Get {
        /// The plugin's name.
        plugin: String,
        /// The parameter's name.
        key: String,
    },
    /// Have what goes into a plugin heard in place of what comes out of it, or no more.
    Bypass {
        /// Its name.
        plugin: String,
        /// Or off.
        on: bool,
    },
    /// Have a pipeline give silence, or no more.
    Mute {
        /// Its name.
        pipeline: String,
        /// Or off.
        on: bool,
    },
    /// Read the configuration again and change what differs.
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
    /// The status that was asked for, see [`RunStatus`](crate::run::RunStatus).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The exit code of `nda` for this kind of error.
    pub code: u8,
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
        Self { code: error.kind().exit_code(), why: error.to_string() }
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
