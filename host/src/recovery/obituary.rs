//! The end of one worker that played: what is gathered of it, told to the user in one line, and kept for the
//! plugin's author.
//!
//! The pieces come one after the other: the death, the line with the last blocks, what was done about it. A process
//! that the kernel does not let go of is told without its death.

use super::absence::Return;
use super::failed_start::{Background, FailedStart};
use super::news::{News, Telling};
use super::{Patient, Released};
use crate::crash::{CrashReport, Timestamp};
use crate::error::plain;
use crate::level::Level;
use crate::plugin::cause::Cause;
use crate::plugin::line::Line;
use crate::plugin::worker::Worker;
use crate::supervisor::{Because, Death, Event, Teller};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// How long the news of a death waits for what was done about it, and for the last blocks.
pub(super) const WAIT_NS: u64 = 1_000_000_000;
/// How long it waits for the last blocks alone: an audio thread that runs has given them back by then.
const WAIT_FOR_LINE_NS: u64 = 200_000_000;

/// What is known of a worker that died.
#[derive(Debug)]
pub(super) struct Obituary {
    pub(super) incarnation: u32,
    pub(super) worker: Arc<Worker>,
    pub(super) at_ns: u64,
    pub(super) when: Timestamp,
    pub(super) good_blocks: u64,
    /// The state that it was given.
    pub(super) state: Option<Arc<[u8]>>,
    pub(super) line: Option<Line>,
    /// Its user wanted another one: it is no news that this one was ended, but that it ended otherwise is.
    pub(super) is_wanted: bool,
    /// What was done, in words, once that is known.
    pub(super) done: Option<String>,
    /// It was told before its process had ended.
    pub(super) is_told: bool,
}

impl Obituary {
    /// Whether there is nothing more to wait for.
    pub(super) fn is_whole(&self, now_ns: u64) -> bool {
        let waited_ns = now_ns.saturating_sub(self.at_ns);
        let has_line = self.line.is_some() || waited_ns >= WAIT_FOR_LINE_NS;
        self.has_ended() && (has_line && self.done.is_some() || waited_ns >= WAIT_NS)
    }

    /// Whether the kernel has let go of the process.
    pub(super) fn has_ended(&self) -> bool {
        self.worker.death().is_some()
    }

    /// Whether the kernel takes so long to let go of the process that it is told without that.
    pub(super) fn is_overdue(&self, now_ns: u64) -> bool {
        !self.is_told
            && !self.has_ended()
            && !self.is_as_wanted()
            && now_ns.saturating_sub(self.at_ns) >= WAIT_NS
    }

    /// Whether it was ended, or is being ended, because its user wanted it.
    pub(super) fn is_as_wanted(&self) -> bool {
        let because =
            self.worker.death().map_or_else(|| self.worker.because(), |death| death.because.clone());
        self.is_wanted && because == Some(Because::Unwanted)
    }

    /// Whether something of it is to be told that has not been.
    pub(super) fn is_news(&self) -> bool {
        !self.is_told && !self.is_as_wanted()
    }

    /// How the worker ended, as far as that is known.
    pub(super) fn how(&self) -> String {
        if let Some(death) = self.worker.death() {
            return death.to_string();
        }
        let how = self.worker.because().map_or_else(|| "ended".to_owned(), |because| because.to_string());
        format!("{how} (the kernel has not let go of its process yet)")
    }

    /// Why the last blocks were never answered, once that is known.
    pub(super) fn unanswered_cause(&self) -> Option<Cause> {
        let because = match self.worker.death() {
            Some(death) => death.because.clone(),
            None if self.is_told => self.worker.because(),
            None => return None,
        };
        Some(match because {
            Some(Because::Hung { stopped: true, .. }) => Cause::Stopped,
            // It may have looped or slept: nobody has measured.
            Some(Because::Hung { stopped: false, .. }) => Cause::Hung,
            _ => Cause::Dead,
        })
    }

    /// Tells of one whose process is still there. What it said, and its report, are told when it has ended.
    pub(super) fn tell_unended(&mut self, patient: &Patient, teller: &Teller) {
        self.is_told = true;
        // What happens from now on is news of its own.
        let done = self.done.get_or_insert_with(nothing_done);
        let done = std::mem::take(done);
        let text = format!("plugin {} {}; {done}", patient.name, self.how());
        self.done = Some(done);
        teller.tell(Event::Told { level: Level::Error, plugin: Arc::clone(&patient.name), text });
    }

    /// Tells it if it has ended, with a report if there is a folder for it; gives what waits for that.
    pub(super) fn publish(
        self,
        patient: &Patient,
        reports: Option<&Path>,
        teller: Teller,
    ) -> Option<Telling> {
        let death = self.worker.death().filter(|_| !self.is_as_wanted())?;
        let done = self.done.clone().unwrap_or_else(nothing_done);
        let place = place(&death.stderr, &patient.spec.file).map(|place| format!(", {place}"));
        let then = if self.is_told { "the kernel has let go of it now" } else { &done };
        let news = News {
            plugin: Arc::clone(&patient.name),
            sentence: format!("plugin {} {death}{}; {then}", patient.name, place.unwrap_or_default()),
            detail: death.stderr.clone(),
            remedy: String::new(),
        };
        let report = reports.map(|folder| (folder.to_owned(), self.report(patient, &death, done)));
        news.publish(report, teller)
    }

    fn report(self, patient: &Patient, death: &Death, done: String) -> CrashReport {
        let end = self.line.as_ref().map(|line| &line.end);
        let state = self.state.as_deref().filter(|_| !patient.nature.is_closed);
        CrashReport {
            when: self.when,
            good_blocks: self.good_blocks,
            state: state.map(<[u8]>::to_vec),
            ..patient.subject(self.incarnation).death(&self.worker, death, end, done)
        }
    }
}

/// What is left to tell when a plugin is watched over no more.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) tellings: Vec<Telling>,
    pub(super) late: Option<Late>,
    /// The worker that its plugin has is no more, and is among those.
    pub(super) is_told: bool,
    /// Where reports go.
    pub(super) reports: Option<PathBuf>,
}

/// Deaths of which not all is known yet.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) obituaries: Vec<Obituary>,
    /// Those that never played.
    pub(super) falling: Vec<(u32, Arc<Worker>)>,
    pub(super) patient: Patient,
    pub(super) reports: Option<PathBuf>,
    pub(super) teller: Teller,
    pub(super) until: Instant,
}

impl Rest {
    /// Waits until all is told: as long as a worker is given to end and a report to be written, and no longer.
    pub(super) fn wait(self) -> Released {
        let Self { mut tellings, late, is_told, reports } = self;
        tellings.extend(late.into_iter().flat_map(Late::tell));
        tellings.into_iter().for_each(Telling::wait);
        Released { is_told, reports }
    }
}

impl Late {
    fn tell(self) -> Vec<Telling> {
        let Self { obituaries, falling, patient, reports, teller, until } = self;
        let left = || until.saturating_duration_since(Instant::now());
        let tell = |mut obituary: Obituary| {
            if obituary.worker.wait_death(left()).is_none() && !obituary.is_as_wanted() {
                obituary.tell_unended(&patient, &teller);
            }
            obituary.publish(&patient, reports.as_deref(), teller.clone())
        };
        let tell_fallen = |(incarnation, worker): (u32, Arc<Worker>)| {
            let fallen = FailedStart::of_one_that_fell(incarnation, &worker, left())?;
            fallen.publish(Background::of(&patient, incarnation), reports.as_deref(), teller.clone())
        };
        let told = obituaries.into_iter().filter_map(tell);
        told.chain(falling.into_iter().filter_map(tell_fallen)).collect()
    }
}

fn nothing_done() -> String {
    "nothing has taken its place yet".to_owned()
}

/// Where a worker was, by the stacks that it wrote down: "at echo.py:11 in process_audio". Of the thread that
/// crashed or was asked, the innermost call in the plugin's own file.
fn place(stderr: &str, file: &Path) -> Option<String> {
    let lines: Vec<&str> = stderr.lines().collect();
    let thread = lines.iter().rposition(|line| line.starts_with("Current thread "))?;
    let calls = lines[thread + 1..].iter().map_while(|line| line.strip_prefix("  File \""));
    let name = file.file_name()?.to_str()?;
    calls.filter_map(|call| call.split_once("\", line ")).find_map(|(path, rest)| {
        let (line, function) = rest.split_once(" in ")?;
        let line: u32 = line.parse().ok()?;
        let is_own = Path::new(path).file_name()? == name;
        is_own.then(|| plain(&format!("at {name}:{line} in {function}")))
    })
}

/// What was done, in words, when another worker plays.
pub(super) fn replaced(by: &str, back: Return, policy: &str) -> String {
    let Return { after_ns, replaced } = back;
    let blocks = if replaced == 1 { "block" } else { "blocks" };
    format!("{by} took over after {}, {replaced} {blocks} replaced ({policy})", span(after_ns))
}

/// `35 ms`, or `8.1 s` from a second on.
pub(super) fn span(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    if ms < 999.5 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn what_took_its_place_is_told_with_how_long_that_took() {
        let back = Return { after_ns: 4_400_000, replaced: 1 };
        assert_eq!(
            replaced("its twin", back, "mute"),
            "its twin took over after 4 ms, 1 block replaced (mute)"
        );
        assert_eq!([999_400_000, 999_600_000, 8_142_000_000].map(span), ["999 ms", "1.0 s", "8.1 s"]);
    }

    #[test]
    fn a_crash_is_told_with_the_place_in_the_plugins_own_file() {
        let stderr = "warming up\n\
                      Fatal Python error: Segmentation fault\n\
                      Thread 0x0000700000001000 (most recent call first):\n\
                      \x20 File \"/p/echo.py\", line 99 in read\n\
                      Current thread 0x0000700000002000 (most recent call first):\n\
                      \x20 File \"/lib/numpy/core.py\", line 7 in multiply\n\
                      \x20 File \"/p/echo.py\", line 11 in process_audio\n\
                      \x20 File \"<string>\", line 39 in <module>\n";
        assert_eq!(place(stderr, Path::new("x/echo.py")).unwrap(), "at echo.py:11 in process_audio");
        assert_eq!(place(stderr, Path::new("x/other.py")), None);
        assert_eq!(place("killed", Path::new("x/echo.py")), None);
    }
}
