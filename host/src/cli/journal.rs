//! Lines for systemd's journal, which brings the time and the name itself.
//!
//! For `nda run` as a service. systemd tells by `$JOURNAL_STREAM` that standard output or standard error is the
//! journal's; a line's level goes before it in angle brackets, as sd-daemon(3) has it. How each pipeline is doing, once a
//! second elsewhere, is left out: `nda ctl status` tells it when somebody asks.

use super::out::Out;
use crate::level::Level;
use crate::report::PipelineStatus;
use crate::run::Observer;
use rustix::fs::fstat;
use std::fmt::Write;
use std::os::fd::AsFd;
use std::time::Duration;

/// Whether this stream, standard output or standard error, goes to the journal.
pub(super) fn is_ours(stream: impl AsFd) -> bool {
    let told = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(stream).is_ok_and(|stat| told == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Tells a run to the journal.
pub(super) struct Journal<'a> {
    out: &'a mut Out,
    /// What matters less is left out.
    least: Level,
}

impl<'a> Journal<'a> {
    pub(super) fn new(out: &'a mut Out, least: Level) -> Self {
        Self { out, least }
    }
}

impl Observer for Journal<'_> {
    fn event(&mut self, level: Level, line: &str) {
        if level <= self.least {
            self.out.text(&lines(level, line));
        }
    }

    fn status(&mut self, _elapsed: Duration, _pipelines: &[PipelineStatus]) {}
}

/// What is to be written for an event: each of its lines with the level.
pub(super) fn lines(level: Level, event: &str) -> String {
    event.lines().fold(String::new(), |mut all, line| {
        // Writing into a string can't fail.
        let _ = writeln!(all, "<{}>{line}", level.syslog());
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated::{self, Shared};

    #[test]
    fn the_journal_is_told_what_matters_enough() {
        let output = Shared::default();
        let mut out = Out::catching(output.clone(), std::io::sink());
        let mut journal = Journal::new(&mut out, Level::Warning);
        journal.event(Level::Info, "playing");
        journal.event(Level::Warning, "late");
        journal.status(Duration::from_secs(5), &[fabricated::pipeline()]);
        assert_eq!(output.text(), "<4>late\n");
    }

    #[test]
    fn each_line_of_an_event_has_its_level() {
        assert_eq!(lines(Level::Error, "gain died\n    traceback"), "<3>gain died\n<3>    traceback\n");
        assert_eq!(lines(Level::Info, "playing"), "<6>playing\n");
    }
}
