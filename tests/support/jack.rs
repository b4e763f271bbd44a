//! A JACK server of a test's own, on no sound card, and clients that play into a program and record from it, are a card
//! for it, or keep everybody waiting.

use crate::server::Program;
use crate::until::DEADLINE;
use crate::wav::Wav;
use crate::workspace::{Folder, built};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A client that listens.
#[derive(Debug)]
pub struct Listening {
    client: Program,
    heard: PathBuf,
}

impl Listening {
    /// What it has heard, once it has heard all.
    ///
    /// # Panics
    /// If that takes too long.
    #[must_use]
    pub fn heard(self) -> Wav {
        self.client.succeeds(2 * DEADLINE);
        Wav::read(&self.heard)
    }
}

/// A server with the dummy driver, under a name of its own, so that tests can run side by side.
#[derive(Debug)]
pub struct Jack {
    name: String,
    period: u32,
    rate: u32,
    is_asynchronous: bool,
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
        Self::start_as(rate, period, false)
    }

    /// The same as `jackd` does it unasked: it plays a period later what its clients give it, and waits for none.
    ///
    /// # Panics
    /// As [`Jack::start`].
    #[must_use]
    pub fn start_asynchronous(rate: u32, period: u32) -> Self {
        Self::start_as(rate, period, true)
    }

    fn start_as(rate: u32, period: u32, is_asynchronous: bool) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("nda-{}-{number}", std::process::id());
        let mut jack = Self { name, period, rate, is_asynchronous, folder: Folder::new(), server: None };
        jack.start_again();
        jack
    }

    /// Starts it once more under its name, after [`Jack::kill`].
    ///
    /// # Panics
    /// As [`Jack::start`].
    pub fn start_again(&mut self) {
        let mut command = self.command("jackd");
        command.args(["-n", &self.name, "-r", "-t", "5000"]);
        if !self.is_asynchronous {
            // So that a busy machine makes the server late and not its clients lose blocks.
            command.arg("-S");
        }
        command.args(["-d", "dummy"]);
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
        self.pass_between(signal, &format!("cpal_client_{pid}_in"), &format!("cpal_client_{pid}_out"))
    }

    /// The same by way of ports whose names begin with `into` and `from`.
    ///
    /// # Panics
    /// As [`Jack::pass`].
    #[must_use]
    pub fn pass_between(&self, signal: &Wav, into: &str, from: &str) -> Wav {
        let [play, heard] = ["play.wav", "heard.wav"].map(|name| self.folder.file(name));
        signal.write(&play);
        let mut pass = self.command(built("jack-client"));
        pass.arg("pass").args([&play, &heard]);
        pass.args([into, from]);
        Program::start(pass, &self.folder.file("pass.log")).succeeds(2 * DEADLINE);
        Wav::read(&heard)
    }

    /// Joins ports whose names begin with `from` and `into`, as a cable does. Waits for them.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn join(&self, from: &str, into: &str) {
        let mut join = self.command(built("jack-client"));
        join.args(["join", from, into]);
        Program::start(join, &self.folder.file("join.log")).succeeds(DEADLINE);
    }

    /// Waits until no port is left whose name begins with `prefix`.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn wait_gone(&self, prefix: &str) {
        let mut gone = self.command(built("jack-client"));
        gone.args(["gone", prefix]);
        Program::start(gone, &self.folder.file("gone.log")).succeeds(DEADLINE);
    }

    /// Has a client listen to the only output of a program with this number for so many frames, as soon as it is there:
    /// that of a server too that is not running yet.
    #[must_use]
    pub fn listen(&self, pid: u32, frames: usize) -> Listening {
        let heard = self.folder.file("listened.wav");
        let mut listen = self.command(built("jack-client"));
        listen.arg("listen").arg(&heard).args([format!("cpal_client_{pid}_out"), frames.to_string()]);
        Listening { client: Program::start(listen, &self.folder.file("listen.log")), heard }
    }

    /// A stereo card whose output is joined with its input, for a program with this number, there until it is dropped.
    /// Frames take as long through it as the server says of its own. However often the program opens its ports, they are
    /// connected.
    #[must_use]
    pub fn card(&self, pid: u32) -> Program {
        let mut card = self.command(built("jack-client"));
        card.args(["card".to_owned(), format!("cpal_client_{pid}_out"), format!("cpal_client_{pid}_in")]);
        Program::start(card, &self.folder.file("card.log"))
    }

    /// A client that has nothing to do with any program and every so many cycles keeps the server waiting until that has had
    /// an xrun, for so long at most, until it is dropped.
    #[must_use]
    pub fn stalling_client(&self, cycles: u32, most: Duration) -> Program {
        let mut stall = self.command(built("jack-client"));
        stall.args(["stall".to_owned(), cycles.to_string(), most.as_millis().to_string()]);
        Program::start(stall, &self.folder.file("stall.log"))
    }
}
