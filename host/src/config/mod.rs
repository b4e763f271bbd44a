//! The TOML configuration of `nda run CONFIG.toml`, checked as a whole before anything starts.
//!
//! For the command line and for users of the library: [`load`] reads a file into a [`Config`] or says
//! everything that is wrong with it, each fault at its line and column. It starts nothing and opens no audio:
//! whether a file holds audio, a device exists or an interpreter is fit is found out by those who use them.
//!
//! ```toml
//! [[pipeline]]
//! source = "song.flac"
//! plugins = ["echo.py"]
//! sink = "default"
//! ```
//!
//! [`parse`] judges the text alone; [`check`] looks at the files it names as well.

mod ends;
mod files;
mod pipeline;
mod placement;
mod plugin;
mod reader;
mod recovery;
mod spec;

pub use spec::{
    BLOCK_DEFAULT, Clock, Config, DeviceName, DeviceSpec, ElementSpec, FileSinkSpec, FileSourceSpec, GAIN_DB,
    Named, PipelineSpec, SinkSpec, SourceSpec,
};

use crate::error::{Error, Kind, Result};
use files::FileUse;
use reader::Reader;
use std::fmt;
use std::path::Path;
use toml::de::DeTable;

/// One thing that is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong; what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Reads and checks the configuration in the file `path`; relative paths in it start at its folder.
///
/// # Errors
/// Of kind [`Kind::Config`]: the file can't be read, or its faults, all of them, one a line as
/// `FILE:LINE:COL: what is wrong; what would be right`.
pub fn load(path: &Path) -> Result<Config> {
    let bytes = read(path)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let checked = match std::str::from_utf8(&bytes) {
        Ok(text) => check(text, base),
        Err(error) => Err(vec![not_utf8(&bytes, error.valid_up_to())]),
    };
    checked.map_err(|faults| report(path, &faults))
}

/// Judges the text of a configuration whose relative paths start at `base`. Looks at no file.
///
/// # Errors
/// Every fault in the text, in the order of their places.
pub fn parse(text: &str, base: &Path) -> std::result::Result<Config, Vec<Fault>> {
    judge(text, base, |_, _| {})
}

/// As [`parse`], and looks at the files that the configuration names: what is read exists, what is written can
/// be, nothing is written over an input or written twice. The cores that it names are there and may be used.
///
/// # Errors
/// Every fault in the text and of its files, in the order of their places.
pub fn check(text: &str, base: &Path) -> std::result::Result<Config, Vec<Fault>> {
    judge(text, base, |reader, uses| {
        files::check(reader, uses);
        placement::check(reader);
    })
}

/// Walks the tree, lets `look` judge the files it names, and gathers the faults of both.
fn judge(
    text: &str,
    base: &Path,
    look: impl FnOnce(&mut Reader<'_>, &[FileUse]),
) -> std::result::Result<Config, Vec<Fault>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::new(text, base);
    for error in &errors {
        reader.syntax(error);
    }
    let config = pipeline::config(&mut reader, root.get_ref());
    let uses = reader.take_uses();
    look(&mut reader, &uses);
    let faults = reader.into_faults();
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

/// The file's bytes, or in plain words why not.
fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    if path.is_dir() {
        return Err(Error::new(Kind::Config, format!("{name} is a folder, not a configuration file"))
            .remedy(format!("name a file in it, such as {}", path.join("nda.toml").display())));
    }
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(Kind::Config, format!("there is no configuration file {name}"))
                .remedy("check the path; it is taken from the folder you are in")
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::new(Kind::Config, format!("the configuration file {name} may not be read"))
                .remedy(format!("chmod u+r {name}"))
        }
        _ => Error::new(Kind::Config, format!("the configuration file {name} can't be read")).source(error),
    })
}

fn not_utf8(bytes: &[u8], at: usize) -> Fault {
    let before = String::from_utf8_lossy(&bytes[..at]);
    let (line, column) = reader::place(&before, before.len());
    Fault { line, column, message: "this is not UTF-8 text; save the file as UTF-8".into() }
}

fn report(path: &Path, faults: &[Fault]) -> Error {
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        n => format!("{n} faults"),
    };
    let lines: Vec<String> = faults.iter().map(|fault| format!("{}:{fault}", path.display())).collect();
    Error::new(Kind::Config, format!("{} has {count}", path.display())).detail(lines.join("\n"))
}

#[cfg(test)]
mod tests;
