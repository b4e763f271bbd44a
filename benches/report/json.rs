//! A run as a file, for programs and for later comparison.
//!
//! JSON, one series a line, so that a file of hundreds stays readable and a change shows in a diff. Read with
//! distrust: a file of another version, of another program or cut short is told as such.

use super::model::{Run, VERSION};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Write;

/// Why a file is no run that can be compared with.
#[derive(Debug)]
pub enum Unreadable {
    /// It is no JSON, or not all of it.
    Rubbish(serde_json::Error),
    /// It is JSON, but nothing that `--json` wrote.
    Other(serde_json::Error),
    /// It was written by an nda of another time.
    Version(u64),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rubbish(error) => write!(f, "this is no JSON: {error}; name a file that `--json` wrote")?,
            Self::Other(error) => {
                write!(f, "this is no run of the benchmark: {error}; name a file that `--json` wrote")?;
            }
            Self::Version(found) => {
                write!(f, "this run is of version {found}, and version {VERSION} is needed")?;
                write!(f, "; measure again with this nda and `--json`")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rubbish(error) | Self::Other(error) => Some(error),
            Self::Version(_) => None,
        }
    }
}

/// Writes the run.
///
/// # Errors
/// Of what it is written to.
pub fn write(run: &Run, mut to: impl Write) -> std::io::Result<()> {
    let head = Run { series: Vec::new(), ..run.clone() };
    let head = serde_json::to_string_pretty(&head)?;
    // The empty list is the last of its fields.
    let head = head.strip_suffix("[]\n}").unwrap_or(&head);
    writeln!(to, "{head}[")?;
    for (i, series) in run.series.iter().enumerate() {
        let comma = if i + 1 < run.series.len() { "," } else { "" };
        writeln!(to, "    {}{comma}", line(series)?)?;
    }
    writeln!(to, "  ]\n}}")
}

fn line<T: Serialize>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value)
}

/// Reads a run.
///
/// # Errors
/// If it is none of this version.
pub fn read(text: &str) -> Result<Run, Unreadable> {
    /// What any version has.
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(Unreadable::Rubbish)?;
    let Versioned { version } = Versioned::deserialize(&value).map_err(Unreadable::Other)?;
    if version != u64::from(VERSION) {
        return Err(Unreadable::Version(version));
    }
    Run::deserialize(value).map_err(Unreadable::Other)
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{run, whole};
    use super::*;

    fn text(run: &Run) -> String {
        let mut bytes = Vec::new();
        write(run, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for run in [whole(), run(Vec::new())] {
            assert_eq!(read(&text(&run)).unwrap(), run);
        }
    }

    #[test]
    fn each_series_has_a_line_of_its_own() {
        let run = whole();
        let text = text(&run);
        let lines = text.lines().filter(|line| line.trim_start().starts_with(r#"{"variant":"#));
        assert_eq!(lines.count(), run.series.len());
        assert!(text.starts_with("{\n  \"version\": 1,\n"), "{}", &text[..40]);
    }

    #[test]
    fn a_file_that_is_cut_short_is_told_with_its_place() {
        let text = text(&whole());
        let error = read(&text[..text.len() / 2]).unwrap_err().to_string();
        assert!(error.starts_with("this is no JSON: ") && error.contains("at line "), "{error}");
        assert!(read("").is_err() && read("\u{0}\u{1}").is_err());
    }

    #[test]
    fn a_file_of_another_version_says_both_and_what_to_do() {
        let error = read(&text(&whole()).replacen("\"version\": 1", "\"version\": 7", 1)).unwrap_err();
        let expected =
            "this run is of version 7, and version 1 is needed; measure again with this nda and `--json`";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn json_of_something_else_is_told() {
        for other in ["[]", "{}", "3", r#"{"version": 1}"#, r#"{"version": "one"}"#] {
            let error = read(other).unwrap_err().to_string();
            assert!(error.starts_with("this is no run of the benchmark: "), "{error}");
        }
    }
}
