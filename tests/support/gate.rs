//! A pipe that a plugin waits at, so that a test decides when its block is done.

use crate::workspace::Folder;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// A gate in a folder; shut until [`Gate::open`].
#[derive(Debug)]
pub struct Gate {
    path: PathBuf,
    pipe: File,
}

impl Gate {
    /// A gate called `gate`.
    ///
    /// # Panics
    /// If there can be no pipe in the folder.
    #[must_use]
    pub fn new(folder: &Folder) -> Self {
        let path = folder.file("gate");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let pipe = OpenOptions::new().read(true).write(true).open(&path).expect("both ends");
        Self { path, pipe }
    }

    /// Its path, for the plugin: whoever reads a byte there has passed.
    #[must_use]
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// What a plugin does to wait here, in Python.
    #[must_use]
    pub fn wait(&self) -> String {
        format!("open({:?}, 'rb', 0).read(1)", self.path())
    }

    /// Lets one block pass.
    ///
    /// # Panics
    /// If the pipe is gone.
    pub fn open(&self) {
        (&self.pipe).write_all(b".").expect("a byte into the pipe");
    }
}
