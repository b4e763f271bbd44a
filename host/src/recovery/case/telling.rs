//! What the user is told of a plugin: why its blocks are late, that it moved, how it ended and what was done.
//!
//! A part of [`Case`]. One line for one thing, in the order in which things happened.

use super::Case;
use crate::error::Error;
use crate::level::Level;
use crate::plugin::cause::Cause;
use crate::recovery::failed_start::Background;
use crate::recovery::obituary::Obituary;
use crate::supervisor::Event;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How many more late blocks are worth a line, and how often there is one at most.
const TELL_LATE_BLOCKS: u64 = 10;
const TELL_LATE_NS: u64 = 10_000_000_000;
/// Ends that are remembered: late blocks are looked into soon after them.
const ENDS: usize = 16;

/// What has been told already.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) moves: u32,
    pub(super) late: u64,
    pub(super) late_at_ns: u64,
    /// Why it could not be started the last time.
    pub(super) not_started: String,
}

impl Case {
    pub(super) fn look_at_misses(&mut self, now_ns: u64) {
        if let Some(playing) = &self.playing {
            self.throttling.look(playing.worker.pid(), now_ns);
        }
        let mut known = self.patient.care.known();
        known.times.drain();
        while let Ok(miss) = self.patient.misses.pop() {
            let left_ns = miss.stamps.map_or(0, |stamps| stamps.left_ns);
            let throttled_ns = self.throttling.within_ns(miss.published_ns, left_ns);
            match self.attribution.attribute(&miss).or_throttled(&miss, throttled_ns) {
                Cause::Dead => {
                    *self.unanswered.entry(miss.incarnation).or_default() += u64::from(miss.blocks)
                }
                cause => known.causes.add(cause, miss.blocks.into()),
            }
        }
        for (incarnation, blocks) in std::mem::take(&mut self.unanswered) {
            match self.unanswered_cause(incarnation) {
                Some(cause) => known.causes.add(cause, blocks),
                None => {
                    self.unanswered.insert(incarnation, blocks);
                }
            }
        }
        let unexplained = self.patient.stats.unexplained();
        known.causes.add(Cause::Unknown, unexplained - std::mem::replace(&mut self.unexplained, unexplained));
        let counts = self.patient.stats.counts();
        let late = counts.late + counts.behind;
        let is_due = now_ns >= self.told.late_at_ns && late >= self.told.late + TELL_LATE_BLOCKS;
        let causes = is_due.then(|| known.causes.to_string());
        drop(known);
        if let Some(causes) = causes {
            (self.told.late, self.told.late_at_ns) = (late, now_ns.saturating_add(TELL_LATE_NS));
            self.tell(format!("plugin {} lost blocks, so far {causes}", self.patient.name));
        }
    }

    /// Why the last blocks of this incarnation were never answered, once that is known.
    fn unanswered_cause(&self, incarnation: u32) -> Option<Cause> {
        if let Some(obituary) = self.obituaries.iter().find(|obituary| obituary.incarnation == incarnation) {
            return obituary.unanswered_cause();
        }
        // The audio thread may have let go of one, or taken over an heir, of whose end nobody has heard yet.
        let plays = self.playing.as_ref().is_some_and(|playing| playing.incarnation == incarnation);
        if plays || self.heir.as_ref().is_some_and(|heir| heir.incarnation == incarnation) {
            return None;
        }
        let end = self.ends.iter().rev().find(|(ended, _)| *ended == incarnation);
        Some(end.map_or(Cause::Dead, |(_, cause)| *cause))
    }

    /// Whether that is why it could not be started the last time.
    pub(super) fn knows(&mut self, why: &Error) -> bool {
        let why = why.to_string();
        let is_known = why == self.told.not_started;
        self.told.not_started = why;
        is_known
    }

    pub(super) fn tell_moves(&mut self) {
        // SYNC: moves; with Release in `plugin::remote`.
        let moves = self.patient.stats.progress().moves.load(Ordering::Acquire);
        if moves == std::mem::replace(&mut self.told.moves, moves) {
            return;
        }
        let name = &self.patient.name;
        let text = match self.patient.stats.added_frames() {
            0 => format!(
                "plugin {name} was fast enough for long: it is same-block again, without added latency"
            ),
            frames => {
                let causes = self.patient.care.known().causes.to_string();
                format!(
                    "plugin {name} missed its deadline too often ({causes}): it is pipelined now, its output comes \
                     {frames} frames later"
                )
            }
        };
        self.tell(text);
    }

    /// Says what is done about the last death, as far as that is decided.
    pub(super) fn settle(&mut self, done: &str) {
        let policy = self.patient.policy;
        let words = format!("its blocks are replaced ({policy}), {done}");
        self.patient.care.known().down = Some(done.to_owned());
        let failed = self.failed_starts.last_mut().filter(|failed| failed.done.is_none());
        let is_told = failed.map(|failed| failed.done = Some(words.clone())).is_some();
        match self.obituaries.iter_mut().rev().find(|obituary| obituary.done.is_none()) {
            Some(obituary) => obituary.done = Some(words),
            None if is_told => {}
            None => self.tell(format!("plugin {}: {words}", self.patient.name)),
        }
    }

    /// Publishes the failed starts, and the obituaries that are whole.
    pub(in crate::recovery) fn report(&mut self, reports: Option<&Path>, now_ns: u64) {
        let now = Instant::now();
        self.tellings.retain(|telling| !telling.is_told(now));
        // What follows from a death is told after it.
        if self.tellings.is_empty() && !self.obituaries.iter().any(Obituary::is_news) {
            self.publish_failed_starts(reports);
            self.tell_afterwards();
        }
        self.publish(reports, |obituary| obituary.is_whole(now_ns));
        let teller = self.spawner.teller();
        for overdue in self.obituaries.iter_mut().filter(|obituary| obituary.is_overdue(now_ns)) {
            overdue.tell_unended(&self.patient, &teller);
            self.patient.care.known().last_death = Some(overdue.how());
        }
    }

    pub(super) fn publish(&mut self, reports: Option<&Path>, which: impl Fn(&Obituary) -> bool) {
        for obituary in self.obituaries.extract_if(.., |obituary| which(obituary)) {
            let cause = obituary.unanswered_cause().unwrap_or(Cause::Dead);
            self.ends.push_back((obituary.incarnation, cause));
            while self.ends.len() > ENDS {
                self.ends.pop_front();
            }
            if !obituary.is_as_wanted() {
                let mut known = self.patient.care.known();
                known.last_death = Some(obituary.how());
                // Others have been counted when they were gone.
                known.deaths += u64::from(obituary.is_wanted);
            }
            self.tellings.extend(obituary.publish(&self.patient, reports, self.spawner.teller()));
        }
    }

    pub(super) fn tell_afterwards(&mut self) {
        std::mem::take(&mut self.afterwards).into_iter().for_each(|text| self.tell(text));
    }

    pub(super) fn publish_failed_starts(&mut self, reports: Option<&Path>) {
        for failed in self.failed_starts.drain(..) {
            let background = Background::of(&self.patient, failed.incarnation);
            self.tellings.extend(failed.publish(background, reports, self.spawner.teller()));
        }
    }

    pub(super) fn tell(&self, text: String) {
        let plugin = Arc::clone(&self.patient.name);
        self.spawner.teller().tell(Event::Told { level: Level::Warning, plugin, text });
    }
}
