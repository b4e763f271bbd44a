//! A JACK server of a test's own, on no sound card, and clients that play into a program and record from it, or
//! join its ends.

use crate::server::Program;
use crate::until::DEADLINE;
use crate::wav::Wav;
use crate::workspace::{Folder, built};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A server with the dummy driver, under a name of its own, so that tests can run side by side.
#[derive(Debug)]
pub struct Jack {
    name: String,
    period: u32,
    rate: u32,
    folder: Folder,
    server: Option<Program>,
}

impl Jack {
    /// Starts one whose periods have so many frames, and waits until it answers.
    ///
    /// # Panics
    /// If `jackd` is not installed or does not answer.
    #[must_use]
    pub fn start(rate: u32, period: u32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("nda-{}-{number}", std::process::id());
        let mut jack = Self { name, period, rate, folder: Folder::new(), server: None };
        jack.start_again();
        jack
    }

    /// Starts it once more under its name, after [`Jack::kill`].
    ///
    /// # Panics
    /// As [`Jack::start`].
    pub fn start_again(&mut self) {
        let mut command = self.command("jackd");
        // Synchronous, so that a busy machine makes the server late and not its clients lose blocks.
        command.args(["-n", &self.name, "-r", "-S", "-t", "5000", "-d", "dummy"]);
        command.args(["-r", &self.rate.to_string(), "-p", &self.period.to_string()]);
        self.server = Some(Program::start(command, &self.folder.file("jackd.log")));
        let mut wait = self.command(built("jack-client"));
        wait.arg("wait");
        Program::start(wait, &self.folder.file("wait.log")).succeeds(DEADLINE);
    }

    /// The same with periods of so many frames at another rate.
    ///
    /// # Panics
    /// As [`Jack::start`].
    pub fn start_again_with(&mut self, rate: u32, period: u32) {
        (self.rate, self.period) = (rate, period);
        self.start_again();
    }

    /// Has its periods be of so many frames while it runs.
    ///
    /// # Panics
    /// If it refuses.
    pub fn set_period(&mut self, period: u32) {
        self.period = period;
        let mut set = self.command(built("jack-client"));
        set.args(["period".to_owned(), period.to_string()]);
        Program::start(set, &self.folder.file("period.log")).succeeds(DEADLINE);
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.server.take().into_iter().for_each(Program::kill);
    }

    /// The server while it runs.
    ///
    /// # Panics
    /// If it was killed.
    #[must_use]
    pub fn server(&self) -> &Program {
        self.server.as_ref().expect("a server that runs")
    }

    /// A command that finds this server.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.tell(&mut command);
        command
    }

    /// Has a command find this server.
    pub fn tell(&self, command: &mut Command) {
        command.env("JACK_DEFAULT_SERVER", &self.name);
        command.env("JACK_NO_START_SERVER", "1").env("JACK_NO_AUDIO_RESERVATION", "1");
    }

    /// What a program with this number makes of a signal, and a second more, from the cycle on in which the signal
    /// begins. Waits for the program's ports.
    ///
    /// # Panics
    /// If that takes too long.
    #[must_use]
    pub fn pass(&self, signal: &Wav, pid: u32) -> Wav {
        let [play, heard] = ["play.wav", "heard.wav"].map(|name| self.folder.file(name));
        signal.write(&play);
        let mut pass = self.command(built("jack-client"));
        pass.arg("pass").args([&play, &heard]);
        pass.args([format!("cpal_client_{pid}_in"), format!("cpal_client_{pid}_out")]);
        Program::start(pass, &self.folder.file("pass.log")).succeeds(2 * DEADLINE);
        Wav::read(&heard)
    }

    /// A cable from the output of a program with this number to its input, there until it is dropped. However often
    /// the program opens its ports, they are joined.
    #[must_use]
    pub fn join(&self, pid: u32) -> Program {
        let mut join = self.command(built("jack-client"));
        join.args(["join".to_owned(), format!("cpal_client_{pid}_out"), format!("cpal_client_{pid}_in")]);
        Program::start(join, &self.folder.file("join.log"))
    }
}
