//! Interpreters that stand by: one for each Python that plugins use, warm but without a plugin.
//!
//! Whoever needs one takes it, and another is made in its place. None is made before somebody may need it.

use super::{Notes, errand};
use crate::error::Result;
use crate::supervisor::{Spare, Spawner};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// How long nobody tries again after one could not be made.
const RETRY_NS: u64 = 10_000_000_000;

#[derive(Debug)]
pub(super) struct Spares {
    spawner: Spawner,
    notes: Notes,
    kept: BTreeMap<PathBuf, Kept>,
    errands: Vec<JoinHandle<()>>,
}

/// What there is for one interpreter.
#[derive(Debug)]
struct Kept {
    module: PathBuf,
    spare: Option<Box<Spare>>,
    is_coming: bool,
    not_before_ns: u64,
    failed: bool,
}

impl Spares {
    pub(super) fn new(spawner: Spawner, notes: Notes) -> Self {
        Self { spawner, notes, kept: BTreeMap::new(), errands: Vec::new() }
    }

    /// From now on there is to be one for this interpreter.
    pub(super) fn keep(&mut self, python: &Path, module: &Path) {
        self.kept.entry(python.to_owned()).or_insert_with(|| Kept {
            module: module.to_owned(),
            spare: None,
            is_coming: false,
            not_before_ns: 0,
            failed: false,
        });
    }

    /// Takes the one there is.
    pub(super) fn take(&mut self, python: &Path) -> Option<Spare> {
        let spare = self.kept.get_mut(python)?.spare.take()?;
        (!spare.is_dead()).then_some(*spare)
    }

    /// One has been made, or not.
    pub(super) fn put(&mut self, python: PathBuf, spare: Result<Box<Spare>>) {
        if let Some(kept) = self.kept.get_mut(&python) {
            kept.is_coming = false;
            kept.failed = spare.is_err();
            kept.spare = spare.ok();
        }
    }

    /// Has those made that are missing.
    pub(super) fn look(&mut self, now_ns: u64) {
        self.errands.retain(|errand| !errand.is_finished());
        for (python, kept) in &mut self.kept {
            if kept.spare.as_ref().is_some_and(|spare| spare.is_dead()) {
                (kept.spare, kept.failed) = (None, true);
            }
            if std::mem::take(&mut kept.failed) {
                kept.not_before_ns = now_ns.saturating_add(RETRY_NS);
            }
            if kept.spare.is_none() && !kept.is_coming && now_ns >= kept.not_before_ns {
                let (spawner, notes) = (self.spawner.clone(), self.notes.clone());
                let errand = errand::warm(spawner, notes, python.clone(), kept.module.clone());
                kept.is_coming = errand.is_some();
                self.errands.extend(errand);
            }
        }
    }

    /// Lets all of them go, and waits for those that are being made.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        for errand in self.errands.drain(..) {
            let _ = errand.join();
        }
    }
}
