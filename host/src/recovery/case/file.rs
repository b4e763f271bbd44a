//! The plugin's file: whether it is another one by now than was loaded. That has one tried again that was given up, forgives
//! deaths of what was there before, and keeps a twin from playing what its user has changed.
//!
//! A part of [`Case`]. Errands look at the file; here nobody waits for a disk. What the file imports is not looked at.

use super::Case;
use crate::recovery::errand::{self, Mark};
use crate::recovery::spares::Spares;

/// How often the file of a plugin that was given up is looked at.
const LOOK_NS: u64 = 1_000_000_000;
/// How long somebody who wants another worker waits for a disk that does not answer.
const ANSWER_NS: u64 = 1_000_000_000;

/// The file as it was when it was loaded last.
#[derive(Debug)]
pub(super) struct FileMark {
    /// Not known until somebody has come back from a look at it.
    mark: Option<Mark>,
    /// When it was loaded the time before.
    before: Option<Mark>,
    pub(super) is_looked_at: bool,
    due_ns: u64,
    /// Since when its user waits for another worker, if he does: a look goes before that.
    asked_ns: Option<u64>,
}

impl FileMark {
    pub(super) fn from(now_ns: u64) -> Self {
        Self { mark: None, before: None, is_looked_at: false, due_ns: now_ns, asked_ns: None }
    }
}

impl Case {
    /// Its user wants another worker, of the file as it is now. Where one stands by or is being made, the file is looked
    /// at first.
    pub(in crate::recovery) fn restart(&mut self, spares: &mut Spares, now_ns: u64) {
        let (notes, file) = (self.notes.clone(), self.patient.spec.file.clone());
        self.file.asked_ns = Some(now_ns);
        if self.heir.is_none() || !errand::look_at_file(notes, file, Some(now_ns)) {
            self.restart_with(true, spares, now_ns);
        }
    }

    fn restart_with(&mut self, heir_is_current: bool, spares: &mut Spares, now_ns: u64) {
        self.file.asked_ns = None;
        let steps = self.succession.restart(heir_is_current, now_ns);
        self.carry_out(steps, spares, now_ns);
    }

    /// As it is about to be loaded.
    pub(super) fn mark_file(&mut self) {
        // As it is before it is read: who changes it while it is, has changed it.
        self.file.before = self.file.mark.take().or(self.file.before);
        self.send_to_file();
    }

    pub(super) fn look_at_file(&mut self, spares: &mut Spares, now_ns: u64) {
        if self.file.asked_ns.is_some_and(|asked_ns| now_ns.saturating_sub(asked_ns) >= ANSWER_NS) {
            let name = &self.patient.name;
            self.tell(format!(
                "the file of plugin {name} can't be looked at, its disk does not answer: the worker that stands by takes \
                 over as it was loaded"
            ));
            self.restart_with(true, spares, now_ns);
        }
        if self.succession.waits_for_file() && now_ns >= self.file.due_ns {
            self.file.due_ns = now_ns.saturating_add(LOOK_NS);
            self.send_to_file();
        }
    }

    /// Has somebody look at the file: it may lie on a disk that does not answer.
    fn send_to_file(&mut self) {
        let (notes, file) = (self.notes.clone(), self.patient.spec.file.clone());
        self.file.is_looked_at = self.file.is_looked_at || errand::look_at_file(notes, file, None);
    }

    pub(super) fn seen(&mut self, mark: Mark, spares: &mut Spares, now_ns: u64) {
        self.file.is_looked_at = false;
        let before = self.file.before.filter(|_| self.file.mark.is_none());
        let known = *self.file.mark.get_or_insert(mark);
        if before.is_some_and(|before| mark.is_some() && mark != before) && !self.succession.waits_for_file()
        {
            // What was there died of itself: the deaths are no longer its.
            let steps = self.succession.file_changed(now_ns);
            self.carry_out(steps, spares, now_ns);
        } else if self.succession.waits_for_file() && mark.is_some() && mark != known {
            self.file.mark = Some(mark);
            self.tell(format!("the file of plugin {} has changed: it is started again", self.patient.name));
            let steps = self.succession.file_changed(now_ns);
            self.carry_out(steps, spares, now_ns);
        }
    }

    /// The file is like this, of which its user wants another worker.
    pub(super) fn seen_for_restart(&mut self, mark: Mark, asked_ns: u64, spares: &mut Spares, now_ns: u64) {
        if self.file.asked_ns != Some(asked_ns) {
            // He has asked again since, or the disk took too long.
            return;
        }
        // Without a file there is nothing better than what was loaded. What nobody has seen yet may have been any file.
        let is_current = mark.is_none() || self.file.mark == Some(mark);
        if !is_current && self.heir.is_some() && self.file.mark.is_some() {
            let name = &self.patient.name;
            self.tell(format!(
                "the file of plugin {name} has changed since the worker that stands by was loaded: another one is"
            ));
        }
        self.restart_with(is_current, spares, now_ns);
    }
}
