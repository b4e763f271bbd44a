//! Configurations for `nda run`, written into a test's folder.

use crate::nda::{Running, command};
use crate::workspace::{Folder, python};
use std::path::{Path, PathBuf};

/// Writes a configuration whose plugins are run by the workspace's interpreter.
pub fn config(folder: &Folder, text: &str) -> PathBuf {
    folder.write("nda.toml", &format!("python = {:?}\n{text}", python()))
}

/// Starts `nda run` of a configuration, with a report on standard output.
#[must_use]
pub fn run(config: &Path, options: &[&str]) -> Running {
    let config = config.to_str().expect("paths of tests are text");
    let arguments = ["run", config, "--json", "-"].into_iter().chain(options.iter().copied());
    Running::start(command(arguments))
}
