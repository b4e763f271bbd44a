//! Writes down the stacks of all threads: when the process crashes, and when the host asks with SIGUSR1.
//!
//! For a host that wants to know where a plugin hangs, and waits no longer than it must. Python's own `faulthandler` does
//! it, also while native code keeps the interpreter. Where they end is said by a handler that it calls when it is done.

// The handler of a signal.
#![allow(unsafe_code)]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use shared::STACKS_END;
use std::ffi::c_int;

/// Standard error.
const STDERR: c_int = 2;

/// From now on it does.
pub(crate) fn write_down(py: Python<'_>) -> PyResult<()> {
    say_where_they_end().map_err(|why| PyOSError::new_err(why.desc()))?;
    let faulthandler = py.import("faulthandler")?;
    faulthandler.call_method1("enable", (STDERR,))?;
    let (all_threads, chain) = (true, true);
    faulthandler.call_method1("register", (Signal::SIGUSR1 as c_int, STDERR, all_threads, chain))?;
    Ok(())
}

/// To be there before `faulthandler` is, which calls whoever was there before. From then on the flags are its own: a system
/// call that the signal interrupts is not restarted, which a worker that is asked has no time left to mind.
fn say_where_they_end() -> nix::Result<()> {
    let action = SigAction::new(SigHandler::Handler(say_end), SaFlags::empty(), SigSet::empty());
    // SAFETY: `say_end` makes one system call, write(2), and touches nothing else: a handler may do that at any time.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.map(drop)
}

extern "C" fn say_end(_: c_int) {
    // Not by the C library: what was interrupted may be about to read its `errno`. If it is lost, the host goes by the
    // silence.
    let _ = rustix::io::write(rustix::stdio::stderr(), STACKS_END.as_bytes());
}
