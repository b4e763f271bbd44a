//! The way out that asks nobody: ends the process at once with a reason that the host decodes.
//!
//! For the threads of a worker that must not wait for Python, destructors or exit handlers: the plugin may hold
//! all of them. A worker that was asked to go goes the ordinary way instead, through the interpreter's end.

// `_exit` has no safe wrapper.
#![allow(unsafe_code)]

use shared::exit::Exit;
use std::io::Write;

/// Ends the process at once.
pub fn leave(exit: Exit) -> ! {
    leave_with(exit as i32)
}

/// Ends the process at once, with a line on standard error that says why.
pub fn leave_saying(exit: Exit, why: &str) -> ! {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{why}");
    leave(exit)
}

/// Ends the process at once with a code that is not the worker's own.
pub fn leave_with(code: i32) -> ! {
    // SAFETY: ends the process without running anything in it; nothing is required of the caller.
    unsafe { nix::libc::_exit(code) }
}
