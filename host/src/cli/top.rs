//! `nda top`: how a run is doing, again and again, without asking it.
//!
//! For people who watch a run from another terminal, and for scripts. It reads the run's status page
//! ([`crate::control::page`]) and steers nothing.

use super::args::TopArgs;
use super::ctl::{chosen, status_text};
use super::out::Out;
use super::words;
use crate::control::page::{Look, find, look};
use crate::error::{Error, Kind, Result};
use ratatui::crossterm::terminal::size;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);
/// A run that has told nothing new for so long does not do well.
const SILENT: Duration = Duration::from_secs(1);
/// Puts the cursor into the upper left corner and wipes what is behind it.
const WIPE: &[u8] = b"\x1b[H\x1b[J";
/// What to do where no run is found.
const OTHERWISE: &str = "start one with `nda run CONFIG.toml`";

/// Shows how a run is doing until it has ended; once, where nobody sits in front of it.
pub(super) fn top(args: &TopArgs, out: &mut Out) -> Result<ExitCode> {
    let page = chosen(find(), args.run.as_deref(), OTHERWISE)?;
    while let Some(look) = look(&page)? {
        if args.json {
            out.data(format!("{}\n", status(&look)?).as_bytes());
            return Ok(ExitCode::SUCCESS);
        }
        if args.once || !out.is_screen() {
            out.text(&text(&look)?);
            return Ok(ExitCode::SUCCESS);
        }
        let (width, height) =
            size().map_or((usize::MAX, usize::MAX), |(width, height)| (width.into(), height.into()));
        // One that is just loading its plugins will tell soon.
        let text = text(&look).unwrap_or_else(|why| format!("{why}\n"));
        out.data(WIPE);
        out.text(&cut(&text, width, height));
        std::thread::sleep(EVERY);
    }
    out.text(&format!("{} has ended, or tells nothing any more\n", run_of(&page)));
    Ok(ExitCode::SUCCESS)
}

/// What the run has told.
fn status(look: &Look) -> Result<&str> {
    if look.status.is_empty() {
        let error = Error::new(Kind::Control, "the run has told nothing yet, or more than fits a page");
        return Err(error.remedy("wait until its plugins are loaded, or ask it: nda ctl status"));
    }
    Ok(&look.status)
}

fn text(look: &Look) -> Result<String> {
    let told = status_text(&mut serde_json::Deserializer::from_str(status(look)?))?;
    if look.age < SILENT {
        return Ok(told);
    }
    let silent = words::clock(look.age);
    Ok(format!("nothing new for {silent}: the run hangs, or is stopped; this is how it was\n{told}"))
}

/// As many lines as there are rows for, one of them for the cursor; long lines take several.
fn cut(text: &str, width: usize, height: usize) -> String {
    let rows = |line: &str| line.chars().count().div_ceil(width.max(1)).max(1);
    let room = height.saturating_sub(1).max(2);
    if text.lines().map(rows).sum::<usize>() <= room {
        return text.to_owned();
    }
    let mut taken = 0;
    let fits = |line: &&str| {
        taken += rows(line);
        taken < room
    };
    let kept: Vec<_> = text.lines().take_while(fits).collect();
    let more = words::plural((text.lines().count() - kept.len()) as u64, "more line");
    kept.into_iter()
        .chain([format!("and {more}: nda top --once").as_str()])
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The run's name and process, from its page's.
fn run_of(page: &Path) -> String {
    let name = page.file_stem().unwrap_or_default().to_string_lossy();
    let name = name.strip_prefix("nda-").unwrap_or(&name);
    name.rsplit_once('-').map_or_else(|| name.to_owned(), |(name, pid)| format!("{name} (process {pid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(seconds: u64) -> Look {
        let status = r#"{ "config": "live.toml", "pid": 42, "seconds": 61.5, "pipelines": [] }"#.to_owned();
        Look { status, age: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_run_that_tells_nothing_new_is_told_to_be_silent() {
        assert_eq!(text(&look(0)).unwrap(), "live.toml, process 42, for 01:01\n");
        let silent = text(&look(75)).unwrap();
        assert!(silent.starts_with("nothing new for 01:15: the run hangs, or is stopped"), "{silent}");
        assert!(silent.ends_with("live.toml, process 42, for 01:01\n"), "{silent}");
    }

    #[test]
    fn what_does_not_fit_the_screen_is_counted() {
        assert_eq!(cut("a\nb\nc\n", 80, 4), "a\nb\nc\n");
        assert_eq!(cut("a\nb\nc\nd\n", 80, 4), "a\nb\nand 2 more lines: nda top --once\n");
        assert_eq!(cut("a\nb\nc\n", 80, 0), "a\nand 2 more lines: nda top --once\n");
        assert_eq!(cut("long\nb\nc\n", 2, 4), "long\nand 2 more lines: nda top --once\n");
    }

    #[test]
    fn an_empty_page_is_told_with_what_to_do() {
        let error = text(&Look { status: String::new(), ..look(0) }).unwrap_err();
        assert!(error.to_string().contains("or ask it: nda ctl status"), "{error}");
    }

    #[test]
    fn a_run_is_named_after_its_page() {
        assert_eq!(run_of(Path::new("/dev/shm/nda-two-way-17.status")), "two-way (process 17)");
    }
}
