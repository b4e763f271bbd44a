//! `--json`: a report for programs, into a file or to standard output.
//!
//! For the commands. The file is opened before anything starts, so that an hour of audio is not followed by a
//! report that can't be written; it is emptied only when there is something to write.

use super::out::Out;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The form of what is written. It changes when a field changes its meaning or goes, not when one is added.
const FORMAT: u32 = 1;

/// A report, and what is to be known before its fields are read.
#[derive(Serialize)]
struct Document<'a, T> {
    format: u32,
    nda: &'static str,
    #[serde(flatten)]
    content: &'a T,
}

/// The document as text.
///
/// # Errors
/// If it can't be told in JSON: a path that is not UTF-8.
pub(super) fn document<T: Serialize>(content: &T) -> Result<String> {
    let document = Document { format: FORMAT, nda: env!("CARGO_PKG_VERSION"), content };
    let text = serde_json::to_string_pretty(&document)
        .map_err(|error| Error::new(Kind::Output, "the report can't be told in JSON").source(error))?;
    Ok(text + "\n")
}

/// Where the report goes.
#[derive(Debug)]
pub(super) enum JsonTarget {
    /// Nobody asked for it.
    Nowhere,
    /// `--json -`.
    Output,
    /// `--json FILE`.
    File(JsonFile),
}

/// An open file that waits for its report.
#[derive(Debug)]
pub(super) struct JsonFile {
    path: PathBuf,
    file: File,
    /// It was not there before: it goes again if there is nothing to write.
    unwanted: bool,
}

impl JsonTarget {
    /// Gets ready to write to `target`, which may not be one of `others`.
    ///
    /// # Errors
    /// Of kind [`Kind::Output`]: it can't be written, or is one of the files that the command works on.
    pub(super) fn open(target: Option<&Path>, others: &[&Path], out: &mut Out) -> Result<Self> {
        match target {
            None => Ok(Self::Nowhere),
            Some(path) if path == Path::new("-") => {
                out.leave_output_to_json();
                Ok(Self::Output)
            }
            Some(path) => JsonFile::open(path, others).map(Self::File),
        }
    }

    /// Writes the report.
    ///
    /// # Errors
    /// Of kind [`Kind::Output`]. What standard output refuses is told by [`Out::finish`].
    pub(super) fn write<T: Serialize>(self, content: &T, out: &mut Out) -> Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Output => {
                out.data(document(content)?.as_bytes());
                Ok(())
            }
            Self::File(file) => file.write(&document(content)?),
        }
    }
}

impl JsonFile {
    fn open(path: &Path, others: &[&Path]) -> Result<Self> {
        let wanted = Identity::of(path);
        if let Some(other) = others.iter().find(|other| Identity::of(other).is(&wanted)) {
            let what = format!("--json {} would replace {}", path.display(), other.display());
            return Err(Error::new(Kind::Output, what).remedy("name another file"));
        }
        let mut options = OpenOptions::new();
        options.write(true);
        let (opened, unwanted) = match options.clone().create_new(true).open(path) {
            // Also a dangling link, which the second try then follows.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                (options.create(true).open(path), false)
            }
            opened => (opened, true),
        };
        let file = opened.map_err(|error| refusal(path, error))?;
        Ok(Self { path: path.to_owned(), file, unwanted })
    }

    fn write(mut self, text: &str) -> Result<()> {
        let path = self.path.clone();
        self.unwanted = false;
        self.replace(text).map_err(|error| refusal(&path, error))
    }

    fn replace(&mut self, text: &str) -> std::io::Result<()> {
        // A pipe or a device has no length to cut.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(text.as_bytes()).or_else(|error| match error.kind() {
            ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })
    }
}

impl Drop for JsonFile {
    fn drop(&mut self) {
        if self.unwanted {
            // Nothing to tell: the empty file is all that was asked of us to leave.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn refusal(path: &Path, error: std::io::Error) -> Error {
    let what = format!("the report {} can't be written", path.display());
    Error::new(Kind::Output, what)
        .source(error)
        .remedy("name another file behind --json, or - for standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Content {
        seconds: f64,
    }

    fn open(path: &Path, others: &[&Path]) -> Result<JsonTarget> {
        JsonTarget::open(Some(path), others, &mut Out::catching(std::io::sink(), std::io::sink()))
    }

    fn write(target: JsonTarget) -> Result<()> {
        target.write(&Content { seconds: 0.5 }, &mut Out::catching(std::io::sink(), std::io::sink()))
    }

    #[test]
    fn a_document_says_its_format_and_version_first() {
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!("{{\n  \"format\": 1,\n  \"nda\": \"{version}\",\n  \"seconds\": 0.5\n}}\n");
        assert_eq!(document(&Content { seconds: 0.5 }).unwrap(), expected);
    }

    #[test]
    fn a_longer_report_of_before_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        std::fs::write(&path, "x".repeat(1000)).unwrap();
        write(open(&path, &[]).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), document(&Content { seconds: 0.5 }).unwrap());
    }

    #[test]
    fn without_a_report_a_file_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old.json"), folder.path().join("new.json"));
        std::fs::write(&old, "before").unwrap();
        drop(open(&old, &[]).unwrap());
        drop(open(&new, &[]).unwrap());
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "before");
        assert!(!new.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_at_once() {
        let error = open(Path::new("/no/such/folder/report.json"), &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Output);
    }

    #[test]
    fn a_report_does_not_replace_what_the_command_works_on() {
        let folder = tempfile::tempdir().unwrap();
        let (input, link) = (folder.path().join("in.wav"), folder.path().join("link.wav"));
        std::fs::write(&input, "audio").unwrap();
        std::os::unix::fs::symlink(&input, &link).unwrap();
        assert!(open(&link, &[&input]).is_err());
        assert!(open(&folder.path().join("out.wav"), &[&folder.path().join("out.wav")]).is_err());
    }
}
