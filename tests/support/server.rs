//! Programs that the tests of audio systems need beside ours: servers and their clients.

use crate::until::process_ends;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A program that runs until it is ended; what it says is in a file. Ended when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it.
    ///
    /// # Panics
    /// If it is not installed.
    #[must_use]
    pub fn start(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).expect("a file in the test's folder");
        let errors = file.try_clone().expect("a descriptor");
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}; `.ci/setup tests` installs it"));
        Self { child, log: log.to_owned() }
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it can be signalled");
    }

    /// Kills it, which it can't prepare for.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it takes longer than a program of a test may.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        assert!(process_ends(self.pid(), limit), "it did not end in time: {self}");
        self.child.wait().expect("a status")
    }

    /// Waits for its end, which must be a good one.
    ///
    /// # Panics
    /// If not.
    pub fn succeeds(mut self, limit: Duration) {
        let status = self.wait(limit);
        assert!(status.success(), "{status}: {self}");
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // In order at first: a server that is asked to end takes its shared memory along.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if !process_ends(self.pid(), Duration::from_secs(5)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
