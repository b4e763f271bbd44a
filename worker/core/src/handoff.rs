//! The hand-off at start: what the host handed over is taken, and this process ends when its host does.
//!
//! Called once, first of all, while the process has one thread that matters. Each step undoes something that a
//! plugin must not find: the control socket where `input()` would read it, descriptors of the host's, a core
//! dump that would fill the disk. The contract is `shared::boot`.

// Descriptors are taken over by number here, and `close_range` has no safe wrapper.
#![allow(unsafe_code)]

use nix::libc;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};
use rustix::process::{self, Pid, Resource, Rlimit, Signal};
use rustix::{io, stdio};
use shared::boot;
use shared::control::Control;
use shared::exit::Exit;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

/// Why this process can't become a worker.
#[derive(Debug)]
pub enum HandoffError {
    /// [`boot::HOST_PID`] is not set, or not to a process number.
    NoHost,
    /// The host ended before this process could ask to be told.
    Orphaned,
    /// Standard input is no control socket.
    NoSocket,
    /// The operating system refused this step.
    System(&'static str, Errno),
}

impl HandoffError {
    /// The exit code that tells the host.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Orphaned => Exit::Orphaned,
            _ => Exit::Boot,
        }
    }
}

impl fmt::Display for HandoffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost => write!(f, "{} is not set: nda_worker is started by nda only", boot::HOST_PID),
            Self::Orphaned => f.write_str("the host ended before its worker had started"),
            Self::NoSocket => {
                f.write_str("standard input is no control socket: nda_worker is started by nda only")
            }
            Self::System(step, e) => write!(f, "hand-off: {step}: {e}"),
        }
    }
}

impl std::error::Error for HandoffError {}

/// Takes the control socket and ties this process to its host.
///
/// # Errors
/// [`HandoffError`]; the process is then good for nothing but to leave with [`HandoffError::exit`].
pub fn take_over() -> Result<Control, HandoffError> {
    end_with_the_host()?;
    let socket = take_socket()?;
    close_all_but(&socket)?;
    never_wait_on_output()?;
    dump_no_core()?;
    Ok(Control::from_fd(socket))
}

fn step<T>(name: &'static str, done: io::Result<T>) -> Result<T, HandoffError> {
    done.map_err(|e| HandoffError::System(name, e))
}

/// Asks for SIGKILL at the host's end, then looks whether that came too late.
fn end_with_the_host() -> Result<(), HandoffError> {
    let host = std::env::var(boot::HOST_PID).ok().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    let host = host.ok_or(HandoffError::NoHost)?;
    step("death signal", process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    if process::getppid() == Some(host) { Ok(()) } else { Err(HandoffError::Orphaned) }
}

/// Moves the socket from descriptor 0 to one that closes on exec, with nothing to read left on 0.
fn take_socket() -> Result<OwnedFd, HandoffError> {
    if sockopt::socket_type(stdio::stdin()) != Ok(SocketType::SEQPACKET) {
        return Err(HandoffError::NoSocket);
    }
    let socket = step("control socket", io::fcntl_dupfd_cloexec(stdio::stdin(), 3))?;
    let null = step("/dev/null", fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?;
    step("standard input", stdio::dup2_stdin(&null))?;
    Ok(socket)
}

/// Closes whatever else was inherited. The interpreter has opened nothing yet that it keeps.
fn close_all_but(socket: &OwnedFd) -> Result<(), HandoffError> {
    let kept = socket.as_raw_fd().unsigned_abs();
    step("close_range", close_range(3, kept - 1))?;
    step("close_range", close_range(kept + 1, u32::MAX))
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // By number: the C library's function is younger than the system call.
    // SAFETY: at start nobody in this process owns a descriptor in the range; the socket is not in it.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    // A kernel or sandbox without it leaves the descriptors open, which harms only this worker.
    if closed == 0 || nix::errno::Errno::last() == nix::errno::Errno::ENOSYS {
        Ok(())
    } else {
        Err(Errno::INVAL)
    }
}

/// A pipe that is full must drop what the plugin prints, not hold up its audio.
fn never_wait_on_output() -> Result<(), HandoffError> {
    for fd in [stdio::stdout(), stdio::stderr()] {
        let flags = step("standard output", fs::fcntl_getfl(fd))?;
        step("standard output", fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK))?;
    }
    Ok(())
}

fn dump_no_core() -> Result<(), HandoffError> {
    step("core limit", process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }))
}
