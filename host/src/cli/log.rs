//! The log of a run that nobody watches: a file with the date, the level and the line, which can't fill the disk.
//!
//! For `nda run --log`. Beside what is shown, not instead of it. A file that grows to its limit becomes `FILE.1`, older
//! ones `FILE.2` and so on, the oldest goes. Never on the audio thread.

use super::levels::{Peaks, beside};
use super::out::clean;
use super::plain::status_line;
use crate::error::{Error, Kind, Result};
use crate::level::Level;
use crate::report::PipelineStatus;
use crate::run::Observer;
use jiff::Timestamp;
use std::fs::{File, OpenOptions, rename};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes after which a new file begins.
const FILE_BYTES: u64 = 8 << 20;
/// Files kept beside the one that is written.
const OLDER_FILES: usize = 4;
/// How often it says how each pipeline is doing, at the level `debug`.
const TELL: Duration = Duration::from_secs(1);

/// A log file.
pub(super) struct Log {
    file: Rotating,
    /// What matters less is left out.
    least: Level,
    told: Duration,
    peaks: Vec<Peaks>,
}

impl Log {
    /// Goes on with the file, or makes it.
    ///
    /// # Errors
    /// Of kind [`Kind::Output`], if it can't be written.
    pub(super) fn open(path: &Path, least: Level) -> Result<Self> {
        Self::bounded(path, least, FILE_BYTES)
    }

    fn bounded(path: &Path, least: Level, file_bytes: u64) -> Result<Self> {
        let refused = |why| {
            let what = format!("the log {} can't be written", path.display());
            Error::new(Kind::Output, what).source(why).remedy("name a file in a folder that you may write to")
        };
        let file = Rotating::open(path, file_bytes).map_err(refused)?;
        Ok(Self { file, least, told: Duration::ZERO, peaks: Vec::new() })
    }

    /// Writes it, if it matters enough. A disk that is full loses lines, nothing else.
    pub(super) fn line(&mut self, level: Level, line: &str) {
        if level <= self.least {
            let now = Timestamp::now();
            let _ = self.file.write(&format!("{now:.3} {level:<7} {}\n", clean(line)));
        }
    }
}

/// A file that becomes `FILE.1` when it is full, as `FILE.1` becomes `FILE.2`. Whatever somebody else does to any of
/// them, no more than lines are lost: crates that do this were found to panic then, on the thread that runs everything.
struct Rotating {
    path: PathBuf,
    file_bytes: u64,
    /// None, if it could not be made again: the next line tries.
    file: Option<File>,
}

impl Rotating {
    fn open(path: &Path, file_bytes: u64) -> io::Result<Self> {
        // Wherever the process goes from here.
        let path = std::path::absolute(path)?;
        let file = Some(append(&path)?);
        Ok(Self { path, file_bytes, file })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|file| self.is_full(file)) {
            self.file = None;
            self.rotate();
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => append(&self.path)?,
        };
        if self.is_full(&file) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.insert(file).write_all(line.as_bytes())
    }

    fn is_full(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|file| file.len() >= self.file_bytes)
    }

    /// Of two runs with one log both may do it: then one file is short. Where it can't be done, the file stays full.
    fn rotate(&self) {
        for older in (1..OLDER_FILES).rev() {
            let _ = rename(self.older(older), self.older(older + 1));
        }
        let _ = rename(&self.path, self.older(1));
    }

    fn older(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Observer for Log {
    fn event(&mut self, level: Level, line: &str) {
        self.line(level, line);
    }

    fn status(&mut self, elapsed: Duration, pipelines: &[PipelineStatus]) {
        if self.least < Level::Debug {
            return;
        }
        for (held, pipeline) in beside(&mut self.peaks, pipelines) {
            held.raise(&pipeline.peaks_db);
        }
        if elapsed >= self.told + TELL {
            self.told = elapsed;
            for (place, pipeline) in pipelines.iter().enumerate() {
                let line = status_line(pipeline, &self.peaks[place].take());
                self.line(Level::Debug, &line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_has_its_date_and_level_and_what_matters_less_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nda.log");
        let mut log = Log::open(&path, Level::Warning).unwrap();
        log.event(Level::Error, "plugin gain died");
        log.event(Level::Warning, "late\x1b[2J");
        log.event(Level::Info, "hello");
        log.status(TELL, &[fabricated::pipeline()]);
        let lines = lines(&path);
        assert_eq!(lines.len(), 2, "{lines:?}");
        let (date, rest) = lines[0].split_once(' ').unwrap();
        assert!(date.parse::<Timestamp>().is_ok(), "{date}");
        assert_eq!(rest, "error   plugin gain died");
        assert!(lines[1].ends_with("warning late\\u{1b}[2J"));
    }

    #[test]
    fn how_it_goes_is_told_once_a_second_if_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nda.log");
        let mut log = Log::open(&path, Level::Debug).unwrap();
        (0..=25).for_each(|tenth| log.status(TELL / 10 * tenth, &[fabricated::pipeline()]));
        let lines = lines(&path);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains(" debug   main  L -12.1 R -13.0 dB"), "{}", lines[0]);
    }

    #[test]
    fn a_log_goes_on_where_it_ended_and_what_it_takes_of_the_disk_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nda.log");
        Log::open(&path, Level::Info).unwrap().line(Level::Info, "the first run");
        let mut log = Log::bounded(&path, Level::Info, 1000).unwrap();
        log.line(Level::Info, "the second run");
        assert_eq!(lines(&path).len(), 2);
        (0..100).for_each(|n| log.line(Level::Info, &format!("{n} {}", "x".repeat(300))));
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(files.len(), OLDER_FILES + 1);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() < 1500));
        assert!(lines(&path).last().unwrap().contains(" 99 x"));
    }

    #[test]
    fn whatever_is_done_to_its_files_and_folder_only_lines_are_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/nda.log");
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        let mut log = Log::bounded(&path, Level::Info, 200).unwrap();
        let fill =
            |log: &mut Log| (0..20).for_each(|n| log.line(Level::Info, &format!("{n} {}", "x".repeat(50))));
        // Somebody else has made what this one would be renamed to, and a folder of the next name.
        std::fs::write(path.with_extension("log.1"), "not ours").unwrap();
        std::fs::create_dir(path.with_extension("log.2")).unwrap();
        fill(&mut log);
        let mut second = Log::bounded(&path, Level::Info, 200).unwrap();
        fill(&mut second);
        fill(&mut log);
        std::fs::remove_dir_all(folder.path().join("logs")).unwrap();
        fill(&mut log);
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        fill(&mut log);
        assert!(lines(&path).last().unwrap().contains(" 19 x"));
    }

    #[test]
    fn a_log_that_cannot_be_written_is_told_before_anything_starts() {
        let error = Log::open(Path::new("/no/folder/nda.log"), Level::Info).err().unwrap();
        assert_eq!(error.kind(), Kind::Output);
        assert!(error.to_string().contains("/no/folder/nda.log"), "{error}");
    }
}
