//! A worker's process: started by `posix_spawn`, signalled through its pidfd, reaped without waiting.
//!
//! Starting and reaping are for the supervisor thread alone. It doesn't know what a worker says.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, Result, pread};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};
use shared::boot;
use shared::control::Control;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::death::Ending;
use super::mark;
use super::stat::{Condition, Stat};
use super::sweep;

/// Room in a worker's output pipes: its end doesn't block, so a burst must fit.
const PIPE_BYTES: usize = 256 * 1024;

/// What every worker's environment is given, besides the host's own.
///
/// One thread for numpy: its threads would fight with the audio for the cores. Memory once taken from the kernel
/// is kept. The last of malloc's numbers is needed because setting another one stops it from adapting: then each
/// temporary array beyond 128 KiB is a mapping of its own (2 MiB blocks, 300 times: 102,700 page faults and 384 ms
/// with the first two alone, 2,016 and 102 ms with none, 0 and 81 ms with all three).
const ENVIRONMENT: [(&str, &str); 6] = [
    ("OPENBLAS_NUM_THREADS", "1"),
    ("OMP_NUM_THREADS", "1"),
    ("MKL_NUM_THREADS", "1"),
    ("MALLOC_TRIM_THRESHOLD_", "268435456"),
    ("MALLOC_TOP_PAD_", "16777216"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
];

/// A process that was started and not reaped yet, or was: its pidfd stays safe to use either way.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    /// Stays that of this process, whoever gets its number next; `None` if there is no `/proc`.
    stat: Option<OwnedFd>,
}

/// A worker just started, with the host's ends of everything it was given.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) process: Process,
    pub(super) control: Control,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Starts `python` as a worker, as a child of the calling thread: when that thread ends, so does the worker. By
/// `token` it and whatever it starts are known.
pub(super) fn launch(python: &Path, module: &Path, token: &str) -> io::Result<Launched> {
    let (control, theirs) = Control::pair()?;
    let (stdout, out) = output_pipe()?;
    let (stderr, err) = output_pipe()?;
    // No `pre_exec`: with it std would fork, and copy the page tables of the whole host.
    let child = Command::new(python)
        .args(["-I", "-c", boot::SCRIPT])
        .arg(module)
        .stdin(Stdio::from(theirs.into_fd()))
        .stdout(Stdio::from(out))
        .stderr(Stdio::from(err))
        .envs(ENVIRONMENT)
        .env(sweep::VARIABLE, token)
        .env(boot::HOST_PID, std::process::id().to_string())
        // Ctrl-C is for the host, which then asks its workers to go; and a group can be killed as one.
        .process_group(0)
        .spawn()?;
    let process = Process::of(child)?;
    // It starts nothing before it has said hello.
    mark::put(process.pid, token);
    Ok(Launched { process, control, stdout, stderr })
}

fn open_stat(pid: Pid) -> Option<OwnedFd> {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// A pipe whose two ends don't block.
fn output_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Beyond a user's limit of pipe memory the pipe is as large as usual.
    let _ = fcntl_setpipe_size(&pipe.0, PIPE_BYTES);
    Ok(pipe)
}

impl Process {
    pub(super) fn of(mut child: Child) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { pid, pidfd, stat: open_stat(pid) }),
            Err(why) => {
                child.kill()?;
                child.wait()?;
                Err(why.into())
            }
        }
    }

    /// One that is none: `pidfd` leads nowhere, `stat` says what the kernel would.
    #[cfg(test)]
    pub(super) fn simulated(pidfd: OwnedFd, stat: OwnedFd) -> Self {
        // The number of nobody: the kernel gives none as high.
        let pid = Pid::from_raw(i32::MAX).unwrap_or_else(|| unreachable!());
        Self { pid, pidfd, stat: Some(stat) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The same as the kernel wants it. Nobody else has this number before the process is reaped.
    pub(super) fn raw_pid(&self) -> Pid {
        self.pid
    }

    /// Readable when the process has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Kills the process; nothing happens if it has ended. Its group follows when the supervisor sees the end.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Makes a worker that has said hello write the stacks of its threads to standard error, whatever it is
    /// doing. Anything else ends.
    pub(super) fn ask_for_stacks(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::USR1);
    }

    /// What the kernel says of it; `None` if it is reaped, or nothing can be known.
    pub(super) fn stat(&self) -> Option<Stat> {
        let mut line = [0; 1024];
        let length = pread(self.stat.as_ref()?, &mut line, 0).ok()?;
        Stat::parse(&line[..length])
    }

    /// What it is doing. A process that nothing can be known of is taken for one that runs.
    pub(crate) fn condition(&self) -> Condition {
        let unknown = if self.stat.is_some() { Condition::Gone } else { Condition::Running };
        self.stat().map_or(unknown, |stat| stat.condition)
    }

    /// Kills what the process left behind in its group. Only before it is reaped: until then nobody else can
    /// have its number.
    pub(super) fn kill_group(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Waits for its end and reaps it: for one that was killed and has little memory.
    pub(super) fn wait(&self) {
        let wait = || waitid(WaitId::PidFd(self.pidfd()), WaitIdOptions::EXITED);
        while wait().is_err_and(|why| why == Errno::INTR) {}
    }

    /// Reaps the process, which has ended: the kernel may take long over it.
    pub(super) fn reap(&self) -> Ending {
        loop {
            match waitid(WaitId::PidFd(self.pidfd()), WaitIdOptions::EXITED) {
                Ok(status) => return status.as_ref().map_or(Ending::Unknown, Ending::from),
                Err(Errno::INTR) => {}
                Err(_) => return Ending::Unknown,
            }
        }
    }
}
