//! What becomes of a run: a table for people, files for programs and browsers, a comparison with one of before.

// What it has to say.
#![allow(clippy::print_stderr)]

use crate::args::Args;
use benches::Outcome;
use benches::report::check;
use benches::report::model::Run;
use benches::report::{self, json, page};
use host::error::{Error, Kind};
use std::fs::File;
use std::io::{BufWriter, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The exit code of a check that is not passed: it ran, and ratios are worse or missing, or none could be judged.
const NOT_PASSED: u8 = 9;
/// A line with every column, where there is no terminal to say how long it is.
const WIDTH: usize = 110;

/// Where it goes. Made before anything is measured, so that what can't be read or written is known by then.
pub(crate) struct Telling {
    json: Option<Output>,
    html: Option<Output>,
    baseline: Option<Run>,
    plugin: Option<String>,
}

/// A file, or standard output.
struct Output {
    path: PathBuf,
    file: Box<dyn Write>,
}

impl Telling {
    pub(crate) fn prepare(args: &Args) -> Outcome<Self> {
        Ok(Self {
            baseline: args.check.as_deref().map(baseline).transpose()?,
            json: args.json.as_deref().map(Output::open).transpose()?,
            html: args.html.as_deref().map(Output::open).transpose()?,
            plugin: args.wanted().plugin,
        })
    }

    /// Tells a run; how `nda bench` ends.
    pub(crate) fn tell(self, run: &Run) -> Outcome<ExitCode> {
        let taken = [&self.json, &self.html].into_iter().flatten().any(Output::is_standard);
        let mut people: Box<dyn Write> = if taken { Box::new(stderr()) } else { Box::new(stdout()) };
        report::tell(run, self.plugin.as_deref(), width(), &mut people)?;
        if let Some(output) = self.json {
            output.write(|to| json::write(run, to))?;
        }
        if let Some(output) = self.html {
            output.write(|to| page::write(run, to))?;
        }
        let Some(baseline) = self.baseline else { return Ok(ExitCode::SUCCESS) };
        let comparison = check::against(&baseline, run);
        write!(people, "\n{comparison}")?;
        Ok(if comparison.outcome().is_passed() { ExitCode::SUCCESS } else { NOT_PASSED.into() })
    }
}

impl Output {
    fn open(path: &Path) -> Outcome<Self> {
        let file: Box<dyn Write> = if path == Path::new("-") {
            Box::new(stdout())
        } else {
            Box::new(BufWriter::new(File::create(path).map_err(|why| unwritten(path, why))?))
        };
        Ok(Self { path: path.to_owned(), file })
    }

    fn is_standard(&self) -> bool {
        self.path == Path::new("-")
    }

    fn write(mut self, what: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Outcome {
        what(&mut self.file).and_then(|()| self.file.flush()).map_err(|why| unwritten(&self.path, why))?;
        Ok(())
    }
}

fn unwritten(path: &Path, why: std::io::Error) -> Error {
    Error::new(Kind::Output, format!("{} can't be written", path.display())).source(why)
}

fn baseline(path: &Path) -> Outcome<Run> {
    let unread = || Error::new(Kind::Input, format!("the baseline {} can't be read", path.display()));
    let text = std::fs::read_to_string(path).map_err(|why| unread().source(why))?;
    Ok(json::read(&text).map_err(|why| {
        unread().source(why.to_string()).remedy("make a new one: nda bench --quick --json FILE")
    })?)
}

/// Of the terminal.
fn width() -> usize {
    rustix::termios::tcgetwinsize(stdout()).map_or(WIDTH, |size| usize::from(size.ws_col).max(60))
}

/// Says what is going on.
pub(crate) fn progress(what: &str) {
    eprintln!("nda: {what}");
}

/// Says what failed.
pub(crate) fn error(why: &dyn std::error::Error) {
    eprintln!("nda: error: {why}");
}
