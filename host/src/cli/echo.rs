//! The terminal's echo, off while something is drawn on it.
//!
//! For the live screen and the progress bar. An echoed Enter at the last line, or `^C` behind a full one, scrolls
//! the terminal under what is drawn. Signals still come from the keyboard, and lines typed ahead still reach the
//! shell. Every way out turns the echo on again; if the process is killed, shells do.

use rustix::fd::BorrowedFd;
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

/// How the terminal was, while it is otherwise.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether the terminal listens to us. In the background it is the shell's: setting it, or asking it for its
/// cursor, would stop the process.
pub(super) fn is_ours() -> bool {
    with_terminal(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// Turns it off.
pub(super) fn off() {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if before.is_none() && is_ours() {
        // With the echo on the screen is less tidy, no more.
        *before = with_terminal(|terminal| quieten(terminal).ok().flatten());
    }
}

/// Turns it on again if [`off`] has turned it off. From any thread.
pub(super) fn on() {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = before.take().filter(|_| is_ours()) {
        // A terminal that is gone needs no echo.
        let _ = with_terminal(|terminal| tcsetattr(terminal, OptionalActions::Now, &before));
    }
}

/// How it was, if that was not quiet.
fn quieten(terminal: BorrowedFd<'_>) -> rustix::io::Result<Option<Termios>> {
    let now = tcgetattr(terminal)?;
    if !now.local_modes.contains(LocalModes::ECHO) {
        return Ok(None);
    }
    let mut quiet = now.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(terminal, OptionalActions::Now, &quiet)?;
    Ok(Some(now))
}

/// Standard output or, if that is redirected, standard error.
fn with_terminal<T>(use_it: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    if io::stdout().is_terminal() { use_it(io::stdout().as_fd()) } else { use_it(io::stderr().as_fd()) }
}
