//! The built program `nda`: run with a deadline, its exit code and all its words kept, nothing left behind.

use crate::leftovers;
use crate::until::{DEADLINE, process_ends};
use crate::wav::Wav;
use crate::workspace::{Folder, built, python};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// The program with these arguments, in an environment that names no interpreter. Crash reports go into a folder
/// `reports` beside the configuration, and the socket for `nda ctl` into another, never into the user's own.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(built("nda"));
    command.args(arguments).env_remove("VIRTUAL_ENV").env_remove("NDA_WORKER_MODULE");
    let config = command.get_args().map(Path::new).find(|path| path.extension() == Some("toml".as_ref()));
    let config = config.map_or_else(|| built("nda"), Path::to_owned);
    command.env("NDA_REPORTS", config.with_file_name("reports"));
    command.env("XDG_RUNTIME_DIR", config.parent().expect("a file lies in a folder"));
    command
}

/// The same command, started by another program: these words, with the command's own behind them.
#[must_use]
pub fn started_by(words: &[&str], command: &Command) -> Command {
    let [program, words @ ..] = words else { panic!("a program") };
    let mut by = Command::new(program);
    by.args(words).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => by.env(name, value),
            None => by.env_remove(name),
        };
    }
    by
}

/// The same command, which hears of SIGHUP also where the tests ignore it.
#[must_use]
pub fn hearing_hangups(command: &Command) -> Command {
    started_by(&["env", "--default-signal=HUP"], command)
}

/// Runs the program to its end.
pub fn nda<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Done {
    Running::start(command(arguments)).wait()
}

/// What became of a run of the program.
#[derive(Debug)]
pub struct Done {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Done {
    /// It ended with this code, in words and not in a panic.
    ///
    /// # Panics
    /// If not.
    pub fn ended_with(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self}");
        for text in [&self.stdout, &self.stderr] {
            assert!(!text.contains("panicked at"), "{self}");
        }
        self
    }

    /// It said this on standard error.
    ///
    /// # Panics
    /// If not.
    pub fn and_said(&self, words: &str) -> &Self {
        assert!(self.stderr.contains(words), "\"{words}\" is not in:\n{self}");
        self
    }

    /// It refused with this code and a message that names all of `culprits`, and said what to do about it.
    ///
    /// # Panics
    /// If not.
    pub fn refused(&self, code: i32, culprits: &[&str]) -> &Self {
        self.ended_with(code).and_said("nda: error: ");
        for culprit in culprits {
            self.and_said(culprit);
        }
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {self}"))
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "nda ended with {:?}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// The program while it runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: Vec<JoinHandle<String>>,
}

impl Running {
    /// Starts a command and collects what it says.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start(command: Command) -> Self {
        Self::start_reading(command, Stdio::null())
    }

    fn start_reading(mut command: Command, input: Stdio) -> Self {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let pipes = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        Self { child, output: vec![collect(pipes.0), collect(pipes.1)] }
    }

    /// Starts a command whose standard output nobody reads any more.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start_unread(mut command: Command) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("a pipe");
        Self { child, output: vec![collect(std::io::empty()), collect(stderr)] }
    }

    /// Starts a command in a session with a terminal of its own, of 24 lines, where its words go as a shell's `redirect`
    /// says, and collects what goes elsewhere; the terminal's other end as well: it hangs up when that is dropped.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start_at_terminal(command: &Command, redirect: &str) -> (Self, File) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("its other end");
        let name = ptsname(&ours, Vec::new()).expect("its name");
        let terminal = File::options().read(true).write(true).open(OsStr::from_bytes(name.to_bytes()));
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).expect("it has a size");
        let shell = format!("exec \"$@\" {redirect}");
        let words = ["setsid", "--ctty", "sh", "-c", &shell, "sh"];
        let command = started_by(&words, &hearing_hangups(command));
        let running = Self::start_reading(command, terminal.expect("it opens").into());
        (running, ours.into())
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

    /// Waits for its end, and that none of its workers outlives it.
    ///
    /// # Panics
    /// If it does not end, or leaves a process behind.
    #[must_use]
    pub fn wait(self) -> Done {
        self.wait_within(DEADLINE)
    }

    /// As [`Running::wait`], for what takes longer than a test commonly may.
    ///
    /// # Panics
    /// As [`Running::wait`].
    #[must_use]
    pub fn wait_within(self, limit: Duration) -> Done {
        let (pid, done) = self.wait_alone_within(limit);
        leftovers::assert_no_worker_of(pid);
        done
    }

    /// Waits for its end alone; its number too.
    ///
    /// # Panics
    /// If it does not end.
    #[must_use]
    pub fn wait_alone(self) -> (u32, Done) {
        self.wait_alone_within(DEADLINE)
    }

    fn wait_alone_within(mut self, limit: Duration) -> (u32, Done) {
        let pid = self.child.id();
        let in_time = process_ends(pid, limit);
        if !in_time {
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("a status");
        let mut texts = std::mem::take(&mut self.output).into_iter().map(|t| t.join().expect("a reader"));
        let (stdout, stderr) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
        let done = Done { code: status.code(), stdout, stderr };
        assert!(in_time, "it did not end in time: {done}");
        (pid, done)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind; one that did not has waited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A `nda render` being put together.
#[derive(Debug)]
pub struct Render {
    input: PathBuf,
    output: PathBuf,
    options: Vec<OsString>,
}

impl Render {
    /// From a file into `out.wav` of the folder.
    #[must_use]
    pub fn new(folder: &Folder, input: impl Into<PathBuf>) -> Self {
        Self { input: input.into(), output: folder.file("out.wav"), options: Vec::new() }
    }

    /// Into another file.
    #[must_use]
    pub fn into_file(mut self, output: impl Into<PathBuf>) -> Self {
        self.output = output.into();
        self
    }

    /// Through a plugin, run by the workspace's interpreter.
    #[must_use]
    pub fn plugin(self, file: impl AsRef<Path>) -> Self {
        self.plugin_of(file, &python())
    }

    /// Through a plugin, run by this interpreter.
    #[must_use]
    pub fn plugin_of(self, file: impl AsRef<Path>, python: &Path) -> Self {
        self.option("--plugin", file.as_ref()).option("--python", python)
    }

    /// A parameter of the plugin before.
    #[must_use]
    pub fn set(self, key: &str, value: &str) -> Self {
        self.option("--set", format!("{key}={value}"))
    }

    /// Any option.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.options.extend([OsString::from(name), value.as_ref().to_owned()]);
        self
    }

    /// Frames per block.
    #[must_use]
    pub fn block(self, frames: u32) -> Self {
        self.option("--block", frames.to_string())
    }

    /// The command. Crash reports go into a folder `reports` beside the input.
    #[must_use]
    pub fn command(&self) -> Command {
        let ends = [OsStr::new("render"), self.input.as_os_str(), self.output.as_os_str()];
        let mut command = command(ends.into_iter().chain(self.options.iter().map(OsString::as_os_str)));
        command.env("NDA_REPORTS", self.input.with_file_name("reports"));
        command
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Done {
        Running::start(self.command()).wait()
    }

    /// Runs it, which must succeed: the file it has written.
    #[must_use]
    pub fn heard(&self) -> Wav {
        self.run().ended_with(0);
        Wav::read(&self.output)
    }

    /// Runs it with a report.
    #[must_use]
    pub fn reported(self) -> (Done, Value) {
        let done = self.option("--json", "-").run();
        let report = done.json();
        (done, report)
    }
}
