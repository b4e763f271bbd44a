//! A replacement that failed or died before it played, while it was started or stood by: told to the user in one
//! line, and kept for the plugin's author in a report without blocks.

use super::Patient;
use super::errand::NotPrepared;
use super::news::{News, Telling};
use crate::crash::{CrashReport, Timestamp};
use crate::error::{Error, Kind};
use crate::plugin::autopsy::Remains;
use crate::plugin::worker::Worker;
use crate::supervisor::{Death, Teller};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A start that failed.
#[derive(Debug)]
pub(super) struct FailedStart {
    pub(super) incarnation: u32,
    pub(super) when: Timestamp,
    pub(super) why: Error,
    /// The same that was told the last time: not with its traceback again.
    pub(super) is_known: bool,
    /// It was ready, and died waiting for its turn.
    pub(super) stood_by: bool,
    pub(super) remains: Option<Box<Remains>>,
    /// The state that it failed to restore.
    pub(super) state: Option<Arc<[u8]>>,
    /// What was done about it, in words.
    pub(super) done: Option<String>,
}

/// What is known of the plugin without a look at any of its workers.
#[derive(Debug)]
pub(super) struct Background {
    plugin: Arc<str>,
    is_closed: bool,
    report: CrashReport,
}

impl Background {
    /// That of this incarnation, as it is now.
    pub(super) fn of(patient: &Patient, incarnation: u32) -> Self {
        let report = patient.subject(incarnation).report(String::new());
        Self { plugin: Arc::clone(&patient.name), is_closed: patient.nature.is_closed, report }
    }
}

impl FailedStart {
    /// The end of one that was ready, by what is left of it.
    pub(super) fn of_one_that_stood_by(incarnation: u32, remains: Box<Remains>) -> Self {
        let ended = remains.death.as_ref().map_or_else(|| "ended".to_owned(), ToString::to_string);
        Self {
            incarnation,
            when: Timestamp::now(),
            why: Error::new(Kind::Plugin, ended),
            is_known: false,
            stood_by: true,
            remains: Some(remains),
            state: None,
            done: None,
        }
    }

    /// The end of one that was ready, as its plugin is closed, waited for as long as `limit`; `None` if it had been asked
    /// to go.
    pub(super) fn of_one_that_fell(incarnation: u32, worker: &Worker, limit: Duration) -> Option<Self> {
        let remains = Box::new(worker.remains(limit));
        if remains.death.as_deref().is_some_and(Death::is_as_wanted) {
            return None;
        }
        let done = Some("its plugin was being closed".to_owned());
        Some(Self { done, ..Self::of_one_that_stood_by(incarnation, remains) })
    }

    /// The end of one that was still being made when nobody needed it any more, if it died by itself.
    pub(super) fn of_one_not_needed(incarnation: u32, failed: NotPrepared) -> Option<Self> {
        let NotPrepared { why, restoring, remains } = failed;
        let death = remains.as_ref()?.death.as_ref()?;
        if death.is_as_wanted() {
            return None;
        }
        let state = restoring.map(|snapshot| snapshot.bytes);
        let (when, done) = (Timestamp::now(), Some("nobody needed it any more".to_owned()));
        Some(Self { incarnation, when, why, is_known: false, stood_by: false, remains, state, done })
    }

    /// Tells it, with a report if there is a folder for it; gives what waits for that.
    pub(super) fn publish(
        self,
        background: Background,
        reports: Option<&Path>,
        teller: Teller,
    ) -> Option<Telling> {
        // Nobody has asked: both the line and the report may be read by others.
        let mut failed = Self { why: self.why.made_discreet(), ..self };
        let detail = failed.why.take_detail().unwrap_or_default();
        let said = failed.why.to_string();
        let (why, remedy) = said.split_once('\n').map_or((said.as_str(), ""), |(why, rest)| (why, rest));
        let ended = if failed.stood_by {
            format!("has lost the worker that stood by for it, which {why}")
        } else {
            format!("could not be started again: {why}")
        };
        let done = failed.done.take().unwrap_or_else(|| "it plays on, and is tried again later".to_owned());
        let news = News {
            plugin: Arc::clone(&background.plugin),
            sentence: format!("plugin {} {ended}; {done}", background.plugin),
            detail: if failed.is_known { String::new() } else { detail.clone() },
            remedy: if failed.is_known { String::new() } else { remedy.to_owned() },
        };
        let report =
            reports.map(|folder| (folder.to_owned(), failed.report(background, ended, done, detail)));
        news.publish(report, teller)
    }

    fn report(self, background: Background, ended: String, done: String, detail: String) -> CrashReport {
        // One that was loaded may say of itself what the one before did not: then what it was set to is a secret.
        let says_closed = |remains: &Remains| remains.title.is_some() && !remains.is_open;
        let is_open = !background.is_closed && !self.remains.as_deref().is_some_and(says_closed);
        let state = self.state.as_deref().filter(|_| is_open);
        let known = background.report;
        let parameters = known.parameters.into_iter().map(|(key, value)| (key, value.filter(|_| is_open)));
        let report = CrashReport {
            when: self.when,
            ended,
            done,
            traceback: detail,
            state: state.map(<[u8]>::to_vec),
            parameters: parameters.collect(),
            ..known
        };
        match self.remains {
            Some(remains) => remains.told_in(report),
            None => report,
        }
    }
}
