//! The end of a worker in the first start of its plugin: the error that its user gets, and a report for its author.
//!
//! For whoever starts a plugin and may wait for the disk. Later starts are recovery's, which tells of them; a plugin that
//! only refuses or raises has not died, and what it said is in the error.

use super::Place;
use super::spec::{Mode, PluginSpec};
use crate::crash::{self, CrashReport};
use crate::error::Error;
use crate::report::shown;
use shared::message::{Loaded, PluginKind};
use std::path::PathBuf;

/// A plugin that is started for the first time.
#[derive(Debug)]
pub(super) struct FirstStart<'a> {
    pub(super) name: &'a str,
    pub(super) spec: &'a PluginSpec,
    pub(super) place: Place,
    /// Where reports go; `None` writes none.
    pub(super) reports: Option<PathBuf>,
}

impl FirstStart<'_> {
    /// The error that it failed with, which names the report if it was the worker's end. `loaded` is what the plugin said
    /// of itself, if it came so far.
    pub(super) fn failed(&self, mut why: Error, loaded: Option<&Loaded>) -> Error {
        let (Some(folder), Some(remains)) = (&self.reports, why.take_remains()) else { return why };
        let ended = remains.death.as_ref().map_or_else(|| "ended".to_owned(), ToString::to_string);
        let report = remains.told_in(self.report(ended, loaded));
        why.and(&match crash::write(folder, &report) {
            Ok(path) => format!("; report: {}", shown(&path)),
            Err(why) => format!("; no report: {why}"),
        })
    }

    fn report(&self, ended: String, loaded: Option<&Loaded>) -> CrashReport {
        let Self { name, spec, place, .. } = self;
        let kind = loaded.map(|loaded| loaded.kind).or(place.kind).unwrap_or(PluginKind::Processor);
        // One that has not said whether it fails closed may do so: then its key is nobody's.
        let is_open = !spec.fail_closed && loaded.is_some_and(|loaded| !loaded.fail_closed);
        let value = |value: &String| if is_open { value.clone() } else { String::new() };
        CrashReport {
            kind: kind.to_string(),
            mode: spec.mode.unwrap_or(Mode::by_default(kind)).to_string(),
            ended,
            done: "it was not started".into(),
            parameters: spec.set.iter().map(|(key, it)| (key.clone(), value(it))).collect(),
            ..CrashReport::about(name, &spec.file, place.format)
        }
    }
}
