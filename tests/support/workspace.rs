//! Where things are: a folder for each test, the built files, the interpreter, the plugins that are shipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder of a test's own, gone at its end.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// An empty folder.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a folder is a deed, not a value")]
    pub fn new() -> Self {
        Self(TempDir::new().expect("room for temporary files"))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a text file.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, text).expect("a file in the test's folder");
        path
    }

    /// Writes a shell script that may be run.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let written = self.write(&format!("{name}.text"), &format!("#!/bin/sh\n{text}\n"));
        let path = self.file(name);
        install(&written, &path);
        path
    }
}

/// Copies a program so that it can be run at once.
///
/// Another process writes the copy. Were it this one, a child that another test is starting would hold the file
/// open for writing until its own program begins, and what is open for writing can't be run.
///
/// # Panics
/// If it can't be copied.
pub fn install(program: &Path, to: &Path) {
    let done = Command::new("install").args(["-D", "-m", "755"]).args([program, to]).output();
    let done = done.expect("install runs");
    assert!(done.status.success(), "{done:?}");
}

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace").to_owned()
}

/// The interpreter of the workspace's virtual environment.
///
/// # Panics
/// If it has not been made.
#[must_use]
pub fn python() -> PathBuf {
    let python = root().join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make test`", python.display());
    python
}

/// A plugin of `plugins_py`.
#[must_use]
pub fn shipped(name: &str) -> PathBuf {
    root().join("plugins_py").join(name)
}

/// The song that is shipped.
#[must_use]
pub fn song() -> PathBuf {
    root().join("examples/song.flac")
}

/// A file that the build has made beside the tests' own folder: the program, the worker module.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
    let file = profile.join(name);
    assert!(file.exists(), "{} is missing: run `make test`", file.display());
    file
}
