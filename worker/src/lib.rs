//! The worker: an extension module that a plugin's own Python interpreter loads, and that then runs the plugin.
//!
//! `shared/src/boot.py` loads it and calls [`main`], which returns when the host has said goodbye. One process,
//! one interpreter, one plugin. This crate is the part that touches Python:
//!
//! - [`interpreter`] makes the interpreter fit for a plugin: output that never waits, hooks, `base_plugin`;
//! - [`instance`] calls the plugin through its life, and [`blocks`] for each block ([`plugin`] joins the two);
//! - [`slots`] hands it shared memory as numpy arrays;
//! - [`warm_up`] makes the first calls before the first block;
//! - [`collector`] listens to the collector, and runs it;
//! - [`calls`] times bare calls, for `nda bench`;
//! - [`failure`] puts exceptions into words.
//!
//! All that needs no Python (hand-off, requests, the loop) is in `worker-core`, where it is tested.

mod blocks;
mod calls;
mod collector;
mod failure;
mod instance;
mod interpreter;
mod plugin;
mod slots;
mod stacks;
mod threads;
mod warm_up;

use collector::Collector;
use plugin::PythonPlugin;
use pyo3::prelude::*;
use shared::control::{Control, ControlError};
use shared::exit::Exit;
use shared::message::{Hello, Say};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use worker_core::handoff;
use worker_core::inbox::Inbox;
use worker_core::leave::{leave, leave_saying};
use worker_core::serve::serve;

/// The module that `boot.py` loads.
#[pymodule]
mod nda_worker {
    #[pymodule_export]
    use super::calls::time_calls;
    #[pymodule_export]
    use super::main;
}

/// Becomes a worker. Returns when the host has said goodbye, so that the interpreter ends in its ordinary way;
/// leaves the process at once in all other cases.
#[pyfunction]
fn main(py: Python<'_>) {
    // A panic that reached Python would be one exception among others. Its hook has said where it was.
    let exit = catch_unwind(AssertUnwindSafe(|| work(py))).unwrap_or(Exit::Panicked);
    if exit != Exit::Goodbye {
        leave(exit);
    }
}

/// How long the last words of a plugin may wait for room in a pipe that the host is just draining.
const LAST_WORDS_S: f64 = 0.5;
/// How long the interpreter may take to end. It waits for the plugin's threads, which may go on for ever.
const LAST_STEPS: Duration = Duration::from_secs(3);

fn work(py: Python<'_>) -> Exit {
    let control = match handoff::take_over() {
        Ok(control) => Arc::new(control),
        Err(e) => leave_saying(e.exit(), &e.to_string()),
    };
    let hello = match interpreter::prepare(py, &control) {
        Ok(hello) => hello,
        Err(e) => leave_saying(Exit::Boot, &format!("the interpreter can't be prepared: {e}")),
    };
    let inbox = Arc::new(Inbox::default());
    if introduce(hello, &control, &inbox).is_err() {
        return Exit::Orphaned;
    }
    let collector = Collector::listen(py).unwrap_or_else(|e| {
        leave_saying(Exit::Boot, &format!("the collector can't be listened to: {e}"));
    });
    let exit = serve(&mut PythonPlugin::new(py, collector), &inbox, &control);
    interpreter::flush(py, LAST_WORDS_S);
    match exit {
        Exit::Goodbye => end_in_time(),
        Exit::Protocol => {
            leave_saying(exit, "the host asked for something that makes no sense at this point")
        }
        _ => {}
    }
    exit
}

/// Sees to it that this process ends though the interpreter does not.
fn end_in_time() {
    let end = std::thread::Builder::new().name("nda-end".into());
    // Without it the host loses patience instead.
    let _ = end.spawn(|| {
        let _ = nix::sys::signal::SigSet::all().thread_block();
        std::thread::sleep(LAST_STEPS);
        leave(Exit::Goodbye)
    });
}

/// Says hello and starts to listen.
fn introduce(hello: Hello, control: &Arc<Control>, inbox: &Arc<Inbox>) -> Result<(), ControlError> {
    control.send(&Say::Hello(hello))?;
    let (control, inbox) = (Arc::clone(control), Arc::clone(inbox));
    let listener = std::thread::Builder::new().name("nda-control".into());
    if let Err(e) = listener.spawn(move || listen(&control, &inbox)) {
        leave_saying(Exit::Boot, &format!("no thread for the control socket: {e}"));
    }
    Ok(())
}

/// The receiving thread: it ends the process if the host is gone, wherever the main thread is.
fn listen(control: &Control, inbox: &Inbox) {
    // Signals are Python's, and Python handles them on the main thread.
    let _ = nix::sys::signal::SigSet::all().thread_block();
    let over = catch_unwind(AssertUnwindSafe(|| inbox.listen(control)));
    match over.unwrap_or_else(|_| leave(Exit::Panicked)) {
        // After goodbye the socket's end is expected, and the interpreter's end may take its time.
        ControlError::Closed if inbox.is_over() => {}
        ControlError::Closed => leave(Exit::Orphaned),
        e => leave_saying(Exit::Protocol, &e.to_string()),
    }
}
