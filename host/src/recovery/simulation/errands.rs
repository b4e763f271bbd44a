//! Errands of a simulation: not run on threads, but kept until the world gets to them.

use super::super::Notes;
use super::super::errand::Replacement;
use super::super::joint::Joining;
use crate::plugin::worker::Worker;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What somebody was sent for.
#[derive(Debug)]
pub(in super::super) enum Errand {
    Prepare {
        notes: Notes,
        job: Box<Replacement>,
    },
    Warm {
        notes: Notes,
        python: PathBuf,
    },
    CatchUp {
        notes: Notes,
        incarnation: u32,
        twin: Arc<Worker>,
        version: u64,
    },
    Save {
        notes: Notes,
        incarnation: u32,
        worker: Arc<Worker>,
    },
    Give {
        notes: Notes,
        twin: Arc<Worker>,
        number: u64,
    },
    LookAtFile {
        notes: Notes,
        file: PathBuf,
        asked_ns: Option<u64>,
    },
    /// Two incarnations, each with whose they are.
    Join {
        up: (u64, u32),
        down: (u64, u32),
        joining: Arc<Joining>,
    },
}

thread_local! {
    static SENT: RefCell<Vec<Errand>> = const { RefCell::new(Vec::new()) };
}

/// Keeps it; the thread that it gives does nothing.
pub(in super::super) fn send(errand: Errand) -> Option<JoinHandle<()>> {
    SENT.with_borrow_mut(|sent| sent.push(errand));
    Some(std::thread::spawn(|| {}))
}

/// Those sent since the last time.
pub(super) fn sent() -> Vec<Errand> {
    SENT.take()
}
