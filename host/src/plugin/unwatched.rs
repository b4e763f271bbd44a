//! The end of a worker that recovery does not watch, in the first start of its plugin or in its last stop: the error
//! that its user gets names a report for the plugin's author.
//!
//! For whoever starts or ends a plugin. A plugin that only refuses or raises has not died, and what it said is in the
//! error; nor is it news how a worker ended that was not wanted any more.

use super::Place;
use super::spec::{Mode, PluginSpec};
use crate::crash::{self, CrashReport};
use crate::error::Error;
use crate::supervisor::Supervisor;
use shared::message::{Loaded, PluginKind};
use std::path::Path;

/// The error that a stop failed with. One that has left as it was asked to is nobody's news.
pub(super) fn stopped(why: Error, reports: Option<&Path>, report: impl FnOnce() -> CrashReport) -> Error {
    kept(why, reports, report)
}

/// The error that something failed with. If it was the worker's end, and that is news, it is in a report, with what
/// `report` knows.
fn kept(mut why: Error, reports: Option<&Path>, report: impl FnOnce() -> CrashReport) -> Error {
    let (Some(folder), Some(remains)) = (reports, why.take_remains()) else { return why };
    let Some(death) = remains.death.clone() else { return why };
    if death.is_as_wanted() {
        return why;
    }
    let report = remains.told_in(CrashReport { ended: death.to_string(), ..report() });
    why.and(&crash::write_in_time(folder, report))
}

/// A plugin that is started for the first time.
#[derive(Debug)]
pub(super) struct FirstStart<'a> {
    pub(super) supervisor: &'a Supervisor,
    pub(super) name: &'a str,
    pub(super) spec: &'a PluginSpec,
    pub(super) place: Place,
}

impl FirstStart<'_> {
    /// The error that it failed with. `loaded` is what the plugin said of itself, if it came so far.
    pub(super) fn failed(&self, why: Error, loaded: Option<&Loaded>) -> Error {
        // Asked for now: nowhere if all workers have been asked to go meanwhile.
        let reports = self.supervisor.reports();
        kept(why, reports.as_deref(), || self.report(loaded))
    }

    fn report(&self, loaded: Option<&Loaded>) -> CrashReport {
        let Self { name, spec, place, .. } = self;
        let kind = loaded.map(|loaded| loaded.kind).or(place.kind).unwrap_or(PluginKind::Processor);
        let is_open = !spec.fail_closed && loaded.is_some_and(|loaded| !loaded.fail_closed);
        let value = |value: &String| is_open.then(|| value.clone());
        CrashReport {
            kind: kind.to_string(),
            mode: spec.mode.unwrap_or(Mode::by_default(kind)).to_string(),
            done: "it was not started".into(),
            parameters: spec.set.iter().map(|(key, it)| (key.clone(), value(it))).collect(),
            ..CrashReport::about(name, &spec.file, place.format)
        }
    }
}
