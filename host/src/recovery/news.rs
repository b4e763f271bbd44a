//! A line about a worker that ended, which names the report if that is written in time.
//!
//! The report is written on a thread of its own, which may wait for the disk for ever: nobody waits for that thread. The
//! line is told when the report is there, or without it when it has waited long enough.

use crate::crash::{self, CrashReport, WRITTEN_WITHIN};
use crate::error::{Result, plain};
use crate::level::Level;
use crate::supervisor::{Event, Teller};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What is told of a worker that ended: one line, and more if there is no report to read it in.
#[derive(Debug)]
pub(super) struct News {
    pub(super) plugin: Arc<str>,
    pub(super) sentence: String,
    /// What it said last; in the report, if there is one.
    pub(super) detail: String,
    /// What to do, if that is known; a line of its own.
    pub(super) remedy: String,
}

impl News {
    /// Tells it: at once, or when its report is written, if there is to be one.
    pub(super) fn publish(self, report: Option<(PathBuf, CrashReport)>, teller: Teller) -> Option<Telling> {
        let Some((folder, report)) = report else {
            self.tell(&teller, "", Detail::Told);
            return None;
        };
        let until = Instant::now() + WRITTEN_WITHIN;
        let write = move |folder: &Path| crash::write(folder, &report);
        self.when_written(folder, until, write, teller)
    }

    /// Has the report written, and tells it then. Gives what is left to tell, if anything is.
    fn when_written(
        self,
        folder: PathBuf,
        until: Instant,
        write: impl FnOnce(&Path) -> Result<PathBuf> + Send + 'static,
        teller: Teller,
    ) -> Option<Telling> {
        let untold = Arc::new(Untold { news: Mutex::new(Some((self, teller))), told: Condvar::new() });
        let theirs = Arc::clone(&untold);
        let to = folder.clone();
        let work = move || match write(&to) {
            Ok(path) => theirs.tell(&format!("; report: {}", crate::report::shown(&path)), Detail::Kept),
            Err(why) => theirs.tell(&format!("; no report: {why}"), Detail::Told),
        };
        if let Err(why) = std::thread::Builder::new().name("nda-report".into()).spawn(work) {
            untold.tell(&format!("; no report: there is no thread to write it ({why})"), Detail::Told);
            return None;
        }
        Some(Telling { untold, folder, until })
    }

    fn tell(self, teller: &Teller, report: &str, detail: Detail) {
        let Self { plugin, sentence, detail: said, remedy } = self;
        let said = if detail == Detail::Told { indented(&said) } else { String::new() };
        let text = format!("{sentence}{report}{said}");
        let text = if remedy.is_empty() { text } else { format!("{text}\n{remedy}") };
        teller.tell(Event::Told { level: Level::Error, plugin, text });
    }
}

/// Where the details are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// In the report.
    Kept,
    /// Below the line.
    Told,
}

/// A line that waits for its report.
#[derive(Debug)]
pub(super) struct Telling {
    untold: Arc<Untold>,
    folder: PathBuf,
    until: Instant,
}

/// The line, until somebody tells it.
#[derive(Debug)]
struct Untold {
    news: Mutex<Option<(News, Teller)>>,
    told: Condvar,
}

impl Telling {
    /// Whether it has been told: it is, when it has waited long enough.
    pub(super) fn is_told(&self, now: Instant) -> bool {
        if now >= self.until {
            self.tell();
        }
        self.untold.news().is_none()
    }

    /// Waits until it is told, which is soon.
    pub(super) fn wait(self) {
        let mut news = self.untold.news();
        while news.is_some()
            && let left = self.until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            news = self.untold.told.wait_timeout(news, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(news);
        self.tell();
    }

    fn tell(&self) {
        // Not as `shown`, which asks the disk.
        let folder = self.folder.display();
        self.untold.tell(&format!("; its report is still being written to {folder}"), Detail::Told);
    }
}

impl Untold {
    /// Tells it, unless it was told before.
    fn tell(&self, report: &str, detail: Detail) {
        let mut news = self.news();
        if let Some((news, teller)) = news.take() {
            news.tell(&teller, report, detail);
        }
        // Still locked: who finds it gone may rely on its being told.
        self.told.notify_all();
    }

    fn news(&self) -> MutexGuard<'_, Option<(News, Teller)>> {
        // Whole after each statement.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("\n    {}", plain(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::simulated::Stage;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    const EVER: Duration = Duration::from_secs(3600);

    fn news() -> News {
        let text = str::to_owned;
        News { plugin: "p".into(), sentence: text("p died"), detail: text("stack"), remedy: text("fix it") }
    }

    /// News whose report is not written until the sender is used or dropped.
    fn blocked(stage: &Stage, within: Duration) -> (Sender<()>, Telling) {
        let (go, blocker) = channel();
        let write = move |folder: &Path| {
            let _ = blocker.recv();
            Ok(folder.join("it"))
        };
        let until = Instant::now() + within;
        let teller = stage.spawner().teller();
        (go, news().when_written("/no/folder".into(), until, write, teller).unwrap())
    }

    const STILL: &str = "p died; its report is still being written to /no/folder\n    stack\nfix it";

    #[test]
    fn a_line_waits_for_its_report_and_names_it() {
        let stage = Stage::new();
        let (go, telling) = blocked(&stage, EVER);
        assert!(!telling.is_told(Instant::now()) && stage.told().is_empty());
        go.send(()).unwrap();
        telling.wait();
        assert_eq!(stage.told(), ["p died; report: /no/folder/it\nfix it"]);
    }

    #[test]
    fn a_disk_that_does_not_answer_is_not_waited_for_and_the_line_told_once() {
        let stage = Stage::new();
        let (go, telling) = blocked(&stage, EVER);
        assert!(telling.is_told(Instant::now() + EVER));
        assert_eq!(stage.told(), [STILL]);
        drop(go);
        telling.wait();
        assert!(stage.told().is_empty());
    }

    #[test]
    fn whoever_closes_waits_no_longer_than_the_line_does() {
        let stage = Stage::new();
        let (_go, telling) = blocked(&stage, Duration::from_millis(20));
        telling.wait();
        assert_eq!(stage.told(), [STILL]);
    }

    #[test]
    fn without_a_folder_it_is_told_at_once() {
        let stage = Stage::new();
        assert!(news().publish(None, stage.spawner().teller()).is_none());
        assert_eq!(stage.told(), ["p died\n    stack\nfix it"]);
    }
}
