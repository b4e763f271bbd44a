//! `nda bench`: becomes the program that measures.
//!
//! That is a program of its own, `nda-bench`, because what it compares with needs crates and raw memory that the host
//! must not have.

use super::args::BenchArgs;
use crate::error::{Error, Kind, Result};
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "nda-bench";

/// Replaces this process. Returns only if it can't.
pub(super) fn bench(args: &BenchArgs) -> Result<Infallible> {
    // Symbolic links resolved, as for the worker module.
    let executable = std::env::current_exe().and_then(|path| path.canonicalize());
    let program = beside(executable.as_deref().unwrap_or(Path::new(".")))?;
    let why = Command::new(&program).args(&args.words).exec();
    Err(Error::new(Kind::System, format!("{} can't be run", program.display())).source(why))
}

fn beside(executable: &Path) -> Result<PathBuf> {
    let program = executable.with_file_name(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    let what = format!("{} is missing, which does the measuring", program.display());
    Err(Error::new(Kind::System, what).remedy("cargo build --release -p benches, or make build"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_beside_this_one_or_it_is_said_how_to_build_it() {
        let folder = tempfile::tempdir().unwrap();
        let nda = folder.path().join("nda");
        let said = beside(&nda).unwrap_err().to_string();
        assert!(said.contains("nda-bench is missing") && said.contains("cargo build"), "{said}");
        std::fs::write(folder.path().join(PROGRAM), "").unwrap();
        assert_eq!(beside(&nda).unwrap(), folder.path().join(PROGRAM));
    }
}
