//! The states of a plugin: when one is saved, what becomes of it, and who is given it.
//!
//! A part of [`Case`]. Which state is kept and which is trusted is decided by `snapshots`.

use super::{Case, Heir, nanos};
use crate::error::Result;
use crate::recovery::errand;
use crate::recovery::snapshots::Snapshot;
use crate::recovery::spares::Spares;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A save that takes long is repeated more rarely: it takes no more than this part of the time.
const SAVE_SHARE: u32 = 200;

#[derive(Debug)]
pub(super) struct Saving {
    /// The incarnation that has been asked for its state and has not answered.
    pub(super) of: Option<u32>,
    /// The incarnation that is being given one, as a twin; it may have taken over since. Whoever plays otherwise has no
    /// part in that.
    pub(super) to: Option<u32>,
    /// What that one had before.
    pub(super) before: Option<Snapshot>,
    /// Of the parameters, when it was asked for.
    pub(super) version: u64,
    pub(super) due_ns: u64,
    pub(super) failed: bool,
}

impl Saving {
    /// The first one is due then.
    pub(super) fn from(due_ns: u64) -> Self {
        Self { of: None, to: None, before: None, version: 0, due_ns, failed: false }
    }
}

impl Case {
    pub(super) fn saved(
        &mut self,
        incarnation: u32,
        state: Result<Option<Vec<u8>>>,
        took: Duration,
        now_ns: u64,
    ) {
        self.saving.of = None;
        self.patient.stats.set_saving(false);
        let pause = self.patient.spec.snapshot_every.max(took * SAVE_SHARE);
        self.saving.due_ns = now_ns.saturating_add(nanos(pause));
        let is_its = self.playing.as_ref().is_some_and(|playing| playing.incarnation == incarnation);
        match state {
            Ok(Some(state)) if is_its => {
                let bytes: Arc<[u8]> = state.into();
                self.saving.failed = false;
                if let Some(snapshot) = self.snapshots.take(bytes, self.saving.version, self.good_blocks()) {
                    self.give(snapshot);
                }
            }
            Ok(_) => {}
            // That of one that has died meanwhile is no news.
            Err(why) if !self.saving.failed && is_its && self.is_playing() => {
                self.saving.failed = true;
                self.tell(format!("the state of plugin {} can't be saved: {why}", self.patient.name));
            }
            Err(_) => {}
        }
    }

    /// Keeps a twin as the one that plays is. From now on this is the state that it has.
    pub(super) fn give(&mut self, snapshot: Snapshot) {
        let Some(heir) = self.heir.as_mut().filter(|_| self.saving.to.is_none()) else { return };
        let Some(twin) = self.patient.care.known().twin.clone() else { return };
        if heir.snapshot.as_ref().is_none_or(|has| has.number != snapshot.number) {
            let errand =
                errand::give(self.notes.clone(), twin, snapshot.clone(), Arc::clone(&self.patient.care));
            if errand.is_some() {
                self.saving.before = heir.snapshot.replace(snapshot);
                self.saving.to = Some(heir.incarnation);
            }
            self.errands.extend(errand);
        }
    }

    pub(super) fn given(&mut self, number: u64, result: &Result<bool>, spares: &mut Spares, now_ns: u64) {
        let (to, before) = (self.saving.to.take(), self.saving.before.take());
        if matches!(result, Ok(false)) {
            // It has taken over in the meantime, and plays on with what it had.
            if let Some(playing) = self.playing.as_mut().filter(|playing| Some(playing.incarnation) == to) {
                self.snapshots.restored(before.as_ref().map(|snapshot| snapshot.number));
                playing.snapshot = before;
            }
        } else if result.is_err() {
            self.snapshots.failed(number);
            self.disown(number, spares, now_ns);
        } else if let Some(snapshot) = self.snapshots.latest() {
            // There may be a newer one, which had to wait.
            self.give(snapshot);
        }
    }

    pub(super) fn save_if_due(&mut self, now_ns: u64) {
        let every = self.patient.spec.snapshot_every;
        let Some(playing) = self.playing.as_ref().filter(|playing| !playing.abandoned) else { return };
        let is_due = !every.is_zero() && self.saving.of.is_none() && now_ns >= self.saving.due_ns;
        if !is_due || !self.patient.spec.restart || !playing.worker.loaded().keeps_state {
            return;
        }
        // One that owes blocks may be about to hang: what is lost then is not lost for its state.
        let progress = self.patient.stats.progress();
        let owed = |of: &AtomicU64| of.load(Ordering::Relaxed);
        if owed(&progress.asked).wrapping_sub(owed(&progress.answered)) > 1 {
            return;
        }
        let worker = Arc::clone(&playing.worker);
        self.saving.version = self.patient.care.known().parameters.version;
        // Before it begins, so that no block is missed for it that is not seen to be.
        self.patient.stats.set_saving(true);
        let errand = errand::save(self.notes.clone(), playing.incarnation, worker);
        self.saving.of = errand.as_ref().map(|_| playing.incarnation);
        self.patient.stats.set_saving(errand.is_some());
        self.errands.extend(errand);
    }

    /// One that stands by with a state that is not to be used any more is of no use.
    pub(super) fn disown(&mut self, number: u64, spares: &mut Spares, now_ns: u64) {
        let has_it = |heir: &mut Heir| heir.snapshot.as_ref().is_some_and(|it| it.number == number);
        if let Some(heir) = self.heir.take_if(has_it) {
            self.dismiss(&heir);
            let steps = self.succession.failed(heir.incarnation, now_ns);
            self.carry_out(steps, spares, now_ns);
        }
    }
}
