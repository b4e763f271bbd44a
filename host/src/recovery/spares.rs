//! Interpreters that stand by: one for each Python that plugins use, warm but without a plugin.
//!
//! Whoever needs one takes it, and another is made in its place. None is made before somebody may need it.

use super::{Notes, errand};
use crate::error::{Error, Result};
use crate::level::Level;
use crate::supervisor::{Event, Spare, Spawner};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// How long nobody tries again after one could not be made.
const RETRY_NS: u64 = 10_000_000_000;
/// How often it is looked whether one has been stopped.
const LOOK_NS: u64 = 1_000_000_000;

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
    /// When it is looked whether a signal has stopped it.
    due_ns: u64,
    failed: bool,
    /// It has been told that there is none.
    is_told: bool,
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
            due_ns: 0,
            failed: false,
            is_told: false,
        });
    }

    /// Takes the one there is.
    pub(super) fn take(&mut self, python: &Path) -> Option<Spare> {
        let spare = self.kept.get_mut(python)?.spare.take()?;
        // One that a signal has stopped would be waited for; it ends here.
        (!spare.is_dead() && !spare.is_stopped()).then_some(*spare)
    }

    /// One has been made, or not.
    pub(super) fn put(&mut self, python: PathBuf, spare: Result<Box<Spare>>) {
        if let Some(kept) = self.kept.get_mut(&python) {
            kept.is_coming = false;
            kept.failed = spare.is_err();
            match &spare {
                Ok(_) => kept.is_told = false,
                Err(_) if kept.is_told => {}
                Err(why) => {
                    kept.is_told = true;
                    let text = missing(&python, why);
                    self.spawner.teller().tell(Event::Told {
                        level: Level::Warning,
                        plugin: "".into(),
                        text,
                    });
                }
            }
            kept.spare = spare.ok();
        }
    }

    /// Has those made that are missing.
    pub(super) fn look(&mut self, now_ns: u64) {
        self.errands.retain(|errand| !errand.is_finished());
        for (python, kept) in &mut self.kept {
            let is_due = now_ns >= kept.due_ns;
            if is_due {
                kept.due_ns = now_ns.saturating_add(LOOK_NS);
            }
            if kept.spare.as_ref().is_some_and(|spare| spare.is_dead() || is_due && spare.is_stopped()) {
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

/// What is told when there is none, in one line.
fn missing(python: &Path, why: &Error) -> String {
    let why = why.to_string();
    let why = why.lines().next().unwrap_or_default();
    format!(
        "no spare of {} stands by: {why}; until one does, a plugin that fails is replaced by a worker that is started \
         from nothing, which takes longer",
        python.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::supervisor::simulated::Stage;
    use std::sync::mpsc::channel;

    #[test]
    fn a_spare_that_can_not_be_made_is_told_once_until_there_was_one_again() {
        let stage = Stage::new();
        let notes = Notes { orders: channel().0, patient: 0 };
        let mut spares = Spares::new(stage.spawner(), notes);
        let python = PathBuf::from("/no/python3");
        spares.keep(&python, Path::new("module"));
        let fail = |spares: &mut Spares| {
            spares.put(python.clone(), Err(Error::new(Kind::Interpreter, "it has no numpy")));
            stage.told()
        };
        let told = fail(&mut spares);
        let words = ["/no/python3", "it has no numpy", "from nothing"];
        assert!(told.len() == 1 && words.iter().all(|word| told[0].contains(word)), "{told:?}");
        assert_eq!(fail(&mut spares), [""; 0]);
        spares.put(python.clone(), Ok(Box::new(stage.puppet().spare(python.clone()))));
        assert_eq!(fail(&mut spares).len(), 1);
    }
}
