//! The warden: a tiny process that cleans up behind the workers of a host that was killed.
//!
//! For the supervisor thread, which starts it before its first worker, or when the host has files that must go with
//! it. A worker ends with its host by itself, but not what a plugin put into a process group or session of its own;
//! if the host ends in order, it sees to those, and the warden just goes. The work is done by `warden.sh`.

use super::death::Ending;
use super::mark;
use super::process::Process;
use super::sweep;
use rustix::process::Pid;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BASH: &str = "/bin/bash";
/// Tells it what the marks of its brood begin with.
const MARKS: &str = "NDA_MARKS";

/// What of the host's own must not outlive it. No other process may ever use the name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    /// A file, or a folder with all that is in it.
    Path(PathBuf),
    /// All whose path begins like this.
    Beginning(PathBuf),
}

impl Leftover {
    /// As `warden.sh` reads it. A path that has more than one line can't be told.
    fn line(&self) -> Option<Vec<u8>> {
        let (kind, path) = match self {
            Self::Path(path) => (b"= ", path),
            Self::Beginning(path) => (b"* ", path),
        };
        let path = std::path::absolute(path).ok()?;
        let bytes = path.as_os_str().as_bytes();
        (!bytes.contains(&b'\n')).then(|| [kind, bytes, b"\n"].concat())
    }
}

/// The warden of one supervisor.
#[derive(Debug)]
pub(super) struct Warden {
    process: Process,
    /// The only write end of its standard input: closed by whatever ends this process.
    alive: File,
}

impl Warden {
    /// Starts the warden of the workers with tokens of this `brood`, which takes `leftovers` away as well.
    pub(super) fn start(brood: &str, leftovers: &[Leftover]) -> io::Result<Self> {
        let (theirs, alive) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // Nobody waits for one that does not read.
        rustix::io::ioctl_fionbio(&alive, true)?;
        let alive = File::from(alive);
        // Before it is there: a host that is killed in the next moment has said so.
        leftovers.iter().for_each(|leftover| tell(&alive, leftover));
        let child = shell()
            .args(["-c", include_str!("warden.sh"), "nda-warden", brood])
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A host that is itself a plugin's child: what ends that plugin must leave the warden its work.
            .env_remove(sweep::VARIABLE)
            .env(MARKS, mark::prefix(brood).to_string())
            // Ctrl-C is for the host.
            .process_group(0)
            .spawn()?;
        let process = Process::of(child)?;
        mark::take_off(process.raw_pid());
        Ok(Self { process, alive })
    }

    /// Has this taken away as well. One that has ended is missed by whoever watches it.
    pub(super) fn takes(&self, leftover: &Leftover) {
        tell(&self.alive, leftover);
    }

    /// The process, for as long as it has not been reaped.
    pub(super) fn pid(&self) -> Pid {
        self.process.raw_pid()
    }

    /// Readable when it has ended, which it should not do.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd()
    }

    /// How it ended.
    pub(super) fn reap(&self) -> Ending {
        self.process.reap()
    }

    /// Ends it: its work is done.
    pub(super) fn dismiss(self) {
        self.process.kill();
        self.process.wait();
    }
}

fn tell(mut warden: &File, leftover: &Leftover) {
    if let Some(line) = leftover.line() {
        let _ = warden.write_all(&line);
    }
}

/// One that can close any descriptor, if there is one: the host may have inherited some, which std passes on.
fn shell() -> Command {
    if Path::new(BASH).exists() {
        // Privileged: nothing of the user's, neither a start-up file nor a function, comes between.
        let mut bash = Command::new(BASH);
        bash.arg("-p");
        return bash;
    }
    Command::new("/bin/sh")
}

/// Why there is no warden, and what that means.
pub(super) fn missing(why: &str) -> String {
    format!(
        "if this host is killed, processes that plugins started may be left behind: the shell that would end \
         them {why}"
    )
}

/// That one was killed, and another one has taken its place.
pub(super) fn succeeded(how: Ending) -> String {
    let how = match how {
        Ending::Signal(signal) => format!("was killed by signal {signal}"),
        _ => "has ended".to_owned(),
    };
    format!(
        "the shell that would end what plugins leave behind, should this host be killed, {how}: there is another one"
    )
}

/// The same for one that ended.
pub(super) fn ended(how: Ending) -> String {
    match how {
        Ending::Code(3) => missing("finds no grep"),
        Ending::Code(code) => missing(&format!("ended with exit code {code}")),
        Ending::Signal(signal) => missing(&format!("was killed by signal {signal}")),
        Ending::Unknown => missing("ended"),
    }
}
