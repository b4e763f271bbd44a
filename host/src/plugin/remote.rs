//! A processor that runs elsewhere: its audio half, on the audio thread.
//!
//! Elsewhere is a worker process with a Python plugin, or the thread of a pipelined section. This half hands
//! blocks over, takes results back, bounds every wait and replaces what is lost. It holds nothing that the other
//! side could corrupt, and forgets about a late result: the sequence tells it from a new one. When its line is over
//! it takes the next one that lies ready; starting workers and talking to them is not its business.

use super::SPARE_SLOTS;
use super::adapt::{Adapt, Switch};
use super::cause::Miss;
use super::conceal::{Concealer, Plan};
use super::line::{Line, Relief};
use super::spec::{DEADLINE_MAX, Mode, Spin};
use crate::block::Block;
use crate::clock::now_ns;
use crate::processor::{Processor, Seals, Turn};
use crate::recovery::Neighbour;
#[cfg(test)]
use crate::recovery::simulation::time as simulation;
use crate::telemetry::{Figures, Loss, Passage, PluginStats};
use shared::format::Format;
use shared::message::PluginKind;
use shared::ring::{Bounds, EdgeInput, HostEnd, Look, Notes, Refused, Scrub, Scrubbed, Status, Taken};
use shared::spin::Spinner;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How long a sink may take for the blocks that are left to it at the end.
const SINK_WAIT_NS: u64 = 1_000_000_000;

/// How a [`Remote`] meets its other side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) kind: PluginKind,
    pub(crate) mode: Mode,
    /// Blocks that one callback of the device runs in a row: so many blocks later a pipelined result is taken,
    /// as there is no time between them.
    pub(crate) burst: u32,
    pub(crate) deadline: f32,
    /// What is done to the samples of an answer.
    pub(crate) scrub: Scrub,
    pub(crate) spin: Spin,
    /// Whether it may change the mode by itself.
    pub(crate) adapt: bool,
    /// What the plugin says it delays by, without the mode's block.
    pub(crate) own_latency_frames: u32,
    pub(crate) plan: Plan,
}

#[cfg(test)]
impl Terms {
    /// Of a plugin that delays by nothing and is mute when it is lost.
    pub(crate) fn made(kind: PluginKind, mode: Mode, latency_max_frames: usize) -> Self {
        let lost = super::spec::Lost::Mute;
        Self {
            kind,
            mode,
            burst: 1,
            deadline: 0.5,
            scrub: Scrub::Nothing,
            spin: Spin::Off,
            adapt: true,
            own_latency_frames: 0,
            plan: Plan { lost, closed: false, ramp: true, latency_frames: 0, latency_max_frames },
        }
    }
}

/// The audio half of a plugin.
#[derive(Debug)]
pub struct Remote {
    name: String,
    format: Format,
    /// Of every line's ring.
    slots: u32,
    pub(super) line: Option<Line>,
    relief: Option<Relief>,
    pub(super) terms: Terms,
    pub(super) concealer: Concealer,
    adapt: Adapt,
    /// The move that the next block completes.
    moving: Option<Switch>,
    /// What would be heard of that block in the other mode.
    other: Vec<f32>,
    pub(super) spinner: Spinner,
    /// The user wants the dry signal heard, as of this block.
    pub(super) is_bypassed: bool,
    /// Who is told that it stands beside another, if anybody replaces its worker.
    pub(super) ward: Option<Neighbour>,
    /// The blocks handed over whose results are due later, if it is pipelined; the last ones, a burst of them, if it
    /// may become so.
    under_way: VecDeque<Result<Asked, Loss>>,
    /// Blocks handed over and not seen answered yet, at most one for each slot.
    open: VecDeque<Open>,
    pub(super) figures: Figures,
}

/// A block that was handed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) seq: u32,
    pub(super) at_ns: u64,
    written_ns: u64,
}

/// A block that may still be answered.
#[derive(Debug, Clone, Copy)]
struct Open {
    asked: Asked,
    /// It was not there when it was due, and has been replaced.
    missed: Option<Missed>,
    /// Nobody has waited for it, as the plugin is bypassed: it is counted when it is answered.
    is_unheard: bool,
}

/// When a block was missed.
#[derive(Debug, Clone, Copy)]
struct Missed {
    /// How many blocks were lost by it, see [`Miss`].
    blocks: u32,
    /// When its input was there for the worker.
    published_ns: u64,
    turn_start_ns: u64,
    deadline_ns: u64,
    at_ns: u64,
    /// Of the mode that it was missed in, which may be another one by now.
    is_pipelined: bool,
    others_before: bool,
    /// Its worker was saving its state: that says nothing of how fast the plugin is.
    was_saving: bool,
}

impl Remote {
    /// The audio half over `line`; when that is over, `relief` has the next one.
    pub(crate) fn new(
        name: String,
        line: Line,
        relief: Option<Relief>,
        terms: Terms,
        figures: Figures,
    ) -> Self {
        let layout = line.end.layout();
        let format = layout.format();
        let terms = Terms { adapt: terms.adapt && can_adapt(&terms), ..terms };
        let progress = figures.stats.progress();
        progress.incarnation.store(line.incarnation, Ordering::Relaxed);
        Self {
            name,
            format,
            slots: layout.slots(),
            concealer: Concealer::new(format, terms.plan),
            adapt: Adapt::new(format.block_ns(), terms.adapt),
            moving: None,
            other: vec![0.0; if terms.adapt { format.samples() } else { 0 }],
            spinner: Spinner::default(),
            is_bypassed: false,
            ward: None,
            // Full when the results of a burst and of one block more are due.
            under_way: VecDeque::with_capacity(terms.burst as usize + 1),
            open: VecDeque::with_capacity(layout.slots() as usize),
            line: Some(line),
            relief,
            terms,
            figures,
        }
    }

    /// Has this plugin's worker joined to its neighbour's whenever it stands beside one that can be.
    pub(crate) fn stand_beside(&mut self, ward: Neighbour) {
        self.ward = Some(ward);
    }

    /// What it counts.
    pub(crate) fn stats(&self) -> Arc<PluginStats> {
        Arc::clone(&self.figures.stats)
    }

    /// What is done about its lost blocks.
    #[cfg(test)]
    pub(crate) fn plan(&self) -> Plan {
        *self.concealer.plan()
    }

    // --- the line ---

    /// Lets go of a line that is over, and takes the next one if it lies ready. At a block edge only.
    pub(super) fn relieve(&mut self) {
        let Some(relief) = &mut self.relief else { return };
        relief.discard_dead();
        if self.line.as_ref().is_some_and(|line| !line.is_over()) {
            return;
        }
        if let Some(over) = self.line.take() {
            if let Err(kept) = relief.give_back(over) {
                self.line = Some(kept);
                return;
            }
            self.lose_what_is_open();
        }
        self.line = self.relief.as_mut().and_then(Relief::take);
        if self.line.is_some() {
            self.concealer.succeed();
            self.adapt.succeed();
        }
        let progress = self.figures.stats.progress();
        progress.unfit.store(0, Ordering::Relaxed);
        // SYNC: incarnation; with Acquire in `recovery::case`: what is counted from here on is this one's.
        progress.incarnation.store(self.line.as_ref().map_or(0, |line| line.incarnation), Ordering::Release);
    }

    /// What the line owed will not come any more.
    fn lose_what_is_open(&mut self) {
        // What was not even handed over is lost for another reason.
        self.under_way.iter_mut().filter(|due| due.is_ok()).for_each(|due| *due = Err(Loss::Gone));
        self.write_off(Loss::Gone);
    }

    /// Forgets the blocks that nobody will answer any more; a sink's are counted here.
    fn write_off(&mut self, loss: Loss) {
        while let Some(open) = self.open.pop_front() {
            if let Some(missed) = open.missed {
                self.look_into(missed, None);
            }
            if self.is_fed() {
                self.figures.stats.count_lost(loss);
                // The line is not over: the plugin is dropped, and nobody waits for what becomes of it.
                self.figures.stats.count_unexplained(u32::from(loss == Loss::Late));
            }
        }
        self.settle_progress();
    }

    /// Nothing is owed: blocks that could not be handed over will never be answered.
    fn settle_progress(&self) {
        let progress = self.figures.stats.progress();
        progress.answered.store(progress.asked.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Nothing of a worker that lies is taken any more.
    pub(super) fn cut(&mut self) -> Loss {
        if let Some(line) = &mut self.line {
            line.cut = true;
            self.figures.stats.progress().liar.store(line.incarnation, Ordering::Relaxed);
        }
        Loss::Forged
    }

    // --- one block ---

    pub(super) fn run(&mut self, block: &mut Block<'_>, turn: &Turn, was_slow: bool) {
        self.concealer.hear(block);
        match self.terms.mode {
            Mode::SameBlock if self.is_bypassed => self.pass_dry(block),
            Mode::SameBlock => self.same_block(block, turn, was_slow),
            Mode::Pipelined if self.terms.kind == PluginKind::Sink => self.feed(block),
            Mode::Pipelined => self.pipelined(block, turn, was_slow),
        }
    }

    /// Hands the block over; fails if the other side is dead or so far behind that every slot is taken.
    fn ask(&mut self, block: &Block<'_>) -> Result<Asked, Loss> {
        let asked = self.ask_first(false, block)?;
        self.notify();
        Ok(asked)
    }

    /// As [`Remote::ask`], but does not wake the worker; whether its answer `hands_on` to the next one.
    pub(super) fn ask_first(&mut self, hands_on: bool, block: &Block<'_>) -> Result<Asked, Loss> {
        let is_source = self.terms.kind == PluginKind::Source;
        self.order(|end| {
            end.publish_first(hands_on, |samples| {
                if !is_source {
                    samples.copy_from_slice(block.samples());
                }
            })
        })
    }

    /// Orders a block that is made of another worker's answer.
    pub(super) fn ask_next(&mut self, input: EdgeInput, hands_on: bool) -> Result<Asked, Loss> {
        self.order(|end| end.publish_edge(input, hands_on))
    }

    fn order(&mut self, publish: impl FnOnce(&mut HostEnd) -> Result<u32, Refused>) -> Result<Asked, Loss> {
        let Some(line) = self.line.as_mut().filter(|line| !line.is_over()) else { return Err(Loss::Gone) };
        let progress = self.figures.stats.progress();
        progress.asked.store(progress.asked.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // An answer that has not been seen keeps its slot: its successor there would overwrite it.
        if self.open.len() >= line.end.layout().slots() as usize {
            return Err(Loss::Behind);
        }
        let at_ns = now_ns();
        match publish(&mut line.end) {
            Ok(seq) => {
                #[cfg(test)]
                simulation::ordered(&self.name, line.incarnation, seq);
                let asked = Asked { seq, at_ns, written_ns: line.end.published_ns(seq) };
                let is_unheard = self.is_bypassed && self.terms.mode == Mode::SameBlock;
                self.open.push_back(Open { asked, missed: None, is_unheard });
                Ok(asked)
            }
            // All that are not open were seen answered: a slot that is not free is an answer taken back.
            Err(Refused::Full | Refused::Forged) => Err(self.cut()),
        }
    }

    /// Wakes the worker.
    pub(super) fn notify(&mut self) {
        if self.line.as_mut().is_some_and(|line| line.end.notify()) {
            self.figures.stats.count_woken();
        }
    }

    /// Waits for the answer until the deadline, or until there will be none; the time then.
    fn wait(&mut self, asked: Asked, deadline_ns: u64) -> u64 {
        let Some(line) = &self.line else { return asked.at_ns };
        let until_ns = deadline_ns;
        #[cfg(test)]
        let deadline_ns =
            simulation::wait(deadline_ns, || line.is_over() || line.end.look(asked.seq) != Look::NotYet);
        let spin_ns = line.end.spin_ns(&mut self.spinner, self.terms.spin);
        // Without a look nothing but figures hangs on when it began.
        let from_ns = if spin_ns > 0 { now_ns() } else { asked.written_ns };
        let bounds = Bounds { from_ns, spin_ns, deadline_ns };
        let wait = line.end.look_and_wait(asked.seq, bounds, &line.gone);
        if line.end.is_spoilt(wait.waited, asked.seq, deadline_ns) {
            self.figures.stats.count_flooded();
        }
        let asked_ns = until_ns.saturating_sub(from_ns + spin_ns);
        self.figures.stats.note_wait(asked_ns, wait.overslept_ns);
        let to_ns = now_ns();
        self.spinner.learn(spin_ns, to_ns.saturating_sub(from_ns));
        to_ns
    }

    /// Puts the result into the block if it is there and good. The worker could begin at `input_ns`, and we looked at
    /// `noticed_ns`.
    fn take(
        &mut self,
        asked: Asked,
        input_ns: u64,
        noticed_ns: u64,
        block: &mut Block<'_>,
    ) -> Result<Taken, Loss> {
        let Some(line) = self.line.as_ref().filter(|line| !line.cut) else { return Err(Loss::Gone) };
        match line.end.look(asked.seq) {
            Look::Answered => {}
            Look::NotYet if line.is_over() => return Err(Loss::Gone),
            Look::NotYet => return Err(Loss::Late),
            Look::Forged => return Err(self.cut()),
        }
        let head = line.end.head(asked.seq).ok_or(Loss::Torn)?;
        if is_stale(asked, &head) {
            return Err(self.cut());
        }
        time(&mut self.figures, Asked { at_ns: input_ns, ..asked }, &head, noticed_ns);
        if head.status != Status::Good {
            return Err(Loss::Failed);
        }
        if self.terms.kind == PluginKind::Sink {
            return Ok(head);
        }
        #[cfg(test)]
        simulation::meddle();
        let taken = line.end.take(asked.seq, block.samples_mut(), self.terms.scrub).map_err(|_| {
            // What was copied is not audio; the dry block is still in its slot, which is ours.
            if self.terms.kind == PluginKind::Source {
                block.samples_mut().fill(0.0);
            } else {
                block.samples_mut().copy_from_slice(line.end.requested(asked.seq));
            }
            Loss::Torn
        })?;
        self.figures.stats.count_guarded(taken.scrubbed.non_finite, taken.scrubbed.too_loud);
        self.mend(taken.scrubbed);
        Ok(taken)
    }

    /// Samples of the present block were replaced, its own or those that it was made of.
    pub(super) fn mend(&mut self, scrubbed: Scrubbed) {
        // A sink gives nothing back that could be joined.
        if self.terms.kind != PluginKind::Sink {
            self.concealer.mend(scrubbed.is_open_before, scrubbed.is_open_after);
        }
    }

    fn settle(&mut self, result: Result<(), Loss>, block: &mut Block<'_>) {
        #[cfg(test)]
        simulation::settled(&self.name);
        match result {
            Ok(()) => self.figures.stats.count_good(),
            Err(loss) => self.lose_one(loss),
        }
        if self.terms.kind == PluginKind::Sink {
            return;
        }
        match result {
            Ok(()) => self.concealer.pass(block),
            Err(_) => self.concealer.replace(block),
        }
    }

    fn same_block(&mut self, block: &mut Block<'_>, turn: &Turn, was_slow: bool) {
        let deadline_ns = turn.deadline_ns(self.terms.deadline);
        let asked = self.ask(block);
        let other = self.due_if_pipelined();
        self.keep_for_later(asked);
        let mut noticed_ns = 0;
        let result = asked.and_then(|asked| {
            noticed_ns = self.wait(asked, deadline_ns);
            self.take(asked, asked.at_ns, noticed_ns, block)
        });
        if let (Ok(asked), Err(Loss::Late)) = (asked, &result) {
            self.note_missed(asked, turn, deadline_ns);
        }
        let round_trip_ns = asked.ok().filter(|_| result.is_ok()).map(|asked| noticed_ns - asked.at_ns);
        let patience_ns = asked.map_or(0, |asked| deadline_ns.saturating_sub(asked.at_ns));
        let other_is_there = result.is_ok() && other.is_some_and(|other| self.copy_other(other));
        self.settle(result.map(|_| ()), block);
        match self.moving.take() {
            Some(switch) => self.complete_move(switch, other_is_there, block),
            None => self.adapt_to(was_slow, round_trip_ns, patience_ns),
        }
    }

    fn pipelined(&mut self, block: &mut Block<'_>, turn: &Turn, was_slow: bool) {
        let asked = self.ask(block);
        self.under_way.push_back(asked);
        if self.under_way.len() <= self.terms.burst as usize {
            // The first results come a burst later, and so do those after a burst has become longer.
            return self.concealer.rest(block);
        }
        let due = self.under_way.pop_front().unwrap_or(Err(Loss::Behind));
        if self.is_bypassed {
            let is_good = |head: Taken| head.status == Status::Good;
            if due.ok().and_then(|due| self.answer_to(due)).is_some_and(is_good) {
                self.figures.stats.count_good();
            }
            return self.concealer.bypass(block);
        }
        let result = due.and_then(|due| self.take(due, due.at_ns, now_ns(), block));
        if let (Ok(due), Err(Loss::Late)) = (due, &result) {
            self.note_missed(due, turn, turn.start_ns);
        }
        // The worker's own words: they decide no more than its own mode.
        // A block of a burst waits for those before it, which it would not in the same block.
        let begins_ns = |due: Asked, seen_ns: u64| {
            if self.terms.burst > 1 { due.at_ns.max(seen_ns) } else { due.at_ns }
        };
        let round_trip_ns = due
            .ok()
            .zip(result.as_ref().ok())
            .map(|(due, taken)| taken.stamps.left_ns.saturating_sub(begins_ns(due, taken.stamps.seen_ns)));
        let deadline_ns = turn.deadline_ns(self.terms.deadline);
        let other = asked.ok().filter(|_| self.is_moving() && result.is_ok());
        let other_is_there = other.is_some_and(|other| self.wait_for_other(other, deadline_ns));
        self.settle(result.map(|_| ()), block);
        match self.moving.take() {
            Some(switch) => self.complete_move(switch, other_is_there, block),
            None => self.adapt_to(was_slow, round_trip_ns, deadline_ns - turn.start_ns),
        }
    }

    // --- bypassed ---

    /// Looks whether the user wants the dry signal heard. At a block edge only.
    pub(super) fn look_at_bypass(&mut self) {
        let is_bypassed = self.figures.stats.is_bypassed() && self.can_be_bypassed();
        if is_bypassed != self.is_bypassed {
            self.is_bypassed = is_bypassed;
            // Whatever was heard before: this is something else.
            self.concealer.succeed();
        }
    }

    fn can_be_bypassed(&self) -> bool {
        self.terms.kind == PluginKind::Processor && !self.terms.plan.closed
    }

    /// The dry signal is heard. The worker gets the block all the same, and nobody waits for it: so it is warm, its
    /// filters hold what was played, and the first block that is wanted of it again follows from those before.
    fn pass_dry(&mut self, block: &mut Block<'_>) {
        let asked = self.ask(block);
        self.keep_for_later(asked);
        self.concealer.bypass(block);
    }

    /// Hands over to a sink without waiting. An answer that comes late is as good: the audio has arrived.
    fn feed(&mut self, block: &Block<'_>) {
        if let Err(loss) = self.ask(block) {
            self.lose_one(loss);
        }
    }

    /// Whether it is a sink that is not waited for: its blocks are counted when they are answered.
    fn is_fed(&self) -> bool {
        self.terms.mode == Mode::Pipelined && self.terms.kind == PluginKind::Sink
    }

    // --- within a relay ---

    /// Whether the next block can be handed over.
    pub(super) fn can_be_asked(&self) -> bool {
        self.line.as_ref().is_some_and(|line| {
            !line.is_over() && self.open.len() < line.end.layout().slots() as usize && line.end.has_room()
        })
    }

    /// Copies an answer that was heard and is still in its slot; false if it isn't. A worker may have been cut off since.
    pub(super) fn copy_answer(&self, seq: u32, out: &mut [f32]) -> bool {
        self.line.as_ref().is_some_and(|line| line.end.take(seq, out, self.terms.scrub).is_ok())
    }

    /// Copies the samples that this one's worker was given for a block: silence, if they came from another and were not
    /// kept.
    pub(super) fn copy_request(&self, asked: Option<Asked>, block: &mut Block<'_>) {
        let (Some(line), Some(asked)) = (&self.line, asked) else { return };
        if line.end.has_samples(asked.seq) {
            block.samples_mut().copy_from_slice(line.end.requested(asked.seq));
        } else {
            block.samples_mut().fill(0.0);
        }
    }

    /// Keeps the samples of a block that this one's worker got from another, for a report of its end.
    pub(super) fn keep(&mut self, seq: u32, samples: &[f32]) {
        if let Some(line) = &mut self.line {
            line.end.keep(seq, |kept| kept.copy_from_slice(samples));
        }
    }

    /// Gives the worker samples for a block that it was to get from another.
    pub(super) fn supply(&mut self, asked: Option<Asked>, block: &Block<'_>) {
        if let (Some(line), Some(asked)) = (&mut self.line, asked)
            && line.end.supply(asked.seq, |samples| samples.copy_from_slice(block.samples()))
        {
            self.figures.stats.count_woken();
        }
    }

    /// Its block is good and goes on to the next worker.
    pub(super) fn pass_by(&mut self, asked: Asked, input_ns: u64, head: &Taken) {
        #[cfg(test)]
        simulation::settled(&self.name);
        // Nobody but the next worker waits for it.
        time(&mut self.figures, Asked { at_ns: input_ns, ..asked }, head, head.stamps.left_ns);
        self.figures.stats.count_good();
    }

    /// Its block is good and the last of those that went from worker to worker: puts the result into the block.
    pub(super) fn take_last(
        &mut self,
        asked: Asked,
        input_ns: u64,
        block: &mut Block<'_>,
    ) -> Result<(), Loss> {
        self.take(asked, input_ns, now_ns(), block)?;
        self.settle(Ok(()), block);
        Ok(())
    }

    /// Its block is lost, and the block holds its dry input.
    pub(super) fn lose(
        &mut self,
        asked: Option<Asked>,
        loss: Loss,
        input_ns: u64,
        turn: &Turn,
        deadline_ns: u64,
        block: &mut Block<'_>,
    ) {
        if let (Some(asked), Loss::Late) = (asked, loss) {
            self.note_missed(Asked { at_ns: input_ns, ..asked }, turn, deadline_ns);
        }
        self.settle(Err(loss), block);
    }

    /// Its block, which had [passed by](Remote::pass_by), is not to be had any more: its worker lies. The block holds its
    /// dry input.
    pub(super) fn lose_after_all(&mut self, block: &mut Block<'_>) {
        let loss = self.cut();
        self.figures.stats.count_lost_after_all(loss);
        self.concealer.replace(block);
    }

    // --- what comes late ---

    /// Takes note of what has been answered meanwhile; whether a block was that had been missed, while it was not saving.
    pub(super) fn acknowledge(&mut self) -> bool {
        let mut was_slow = false;
        let mut answered = 0;
        while let Some(Open { asked, missed, is_unheard }) = self.open.front().copied()
            && let Some(head) = self.answer_to(asked)
        {
            self.open.pop_front();
            answered += 1;
            if let Some(missed) = missed {
                was_slow |= !missed.was_saving;
                self.look_into(missed, Some(&head));
            }
            if is_unheard && head.status == Status::Good {
                self.figures.stats.count_good();
            }
            if self.is_fed() {
                time(&mut self.figures, asked, &head, now_ns());
                match head.status {
                    Status::Good => self.figures.stats.count_good(),
                    Status::Failed | Status::Starved => self.figures.stats.count_lost(Loss::Failed),
                }
            }
        }
        let progress = self.figures.stats.progress();
        progress.answered.store(progress.answered.load(Ordering::Relaxed) + answered, Ordering::Relaxed);
        if self.open.is_empty() {
            self.settle_progress();
        }
        was_slow
    }

    /// What the other side says of a block, if it has answered it.
    fn answer_to(&mut self, asked: Asked) -> Option<Taken> {
        let end = &self.line.as_ref().filter(|line| !line.cut)?.end;
        let (look, head) = (end.look(asked.seq), end.head(asked.seq));
        if look == Look::Forged || head.is_some_and(|head| is_stale(asked, &head)) {
            self.cut();
            return None;
        }
        head
    }

    fn lose_one(&mut self, loss: Loss) {
        self.figures.stats.count_lost(loss);
        if loss == Loss::Behind {
            self.blame_oldest();
        }
    }

    /// A block could not be handed over: that is the doing of the oldest one without an answer.
    fn blame_oldest(&mut self) {
        let is_full =
            self.line.as_ref().is_some_and(|line| self.open.len() >= line.end.layout().slots() as usize);
        let now_ns = now_ns();
        match self.open.front_mut() {
            Some(Open { missed: Some(missed), .. }) => missed.blocks += 1,
            // Nobody has waited for it, but now its slot was due.
            Some(Open { asked, missed, .. }) if is_full => {
                *missed = Some(Missed {
                    blocks: 1,
                    published_ns: asked.at_ns,
                    turn_start_ns: now_ns,
                    deadline_ns: now_ns,
                    at_ns: now_ns,
                    is_pipelined: true,
                    others_before: false,
                    was_saving: self.figures.stats.is_saving(),
                });
            }
            // It has come since the block was refused, which was heard of later.
            _ => self.figures.stats.count_unexplained(1),
        }
    }

    fn note_missed(&mut self, asked: Asked, turn: &Turn, deadline_ns: u64) {
        let is_pipelined = self.terms.mode == Mode::Pipelined;
        let missed = Missed {
            blocks: 1,
            published_ns: asked.at_ns,
            turn_start_ns: turn.start_ns,
            deadline_ns,
            at_ns: now_ns(),
            is_pipelined,
            others_before: turn.waiting > turn.waiting_after + u32::from(!is_pipelined),
            was_saving: self.figures.stats.is_saving(),
        };
        match self.open.iter_mut().find(|open| open.asked.seq == asked.seq) {
            Some(open) => {
                let before = open.missed.map_or(0, |before| before.blocks);
                open.missed = Some(Missed { blocks: before + 1, ..missed });
            }
            None => self.figures.stats.count_unexplained(1),
        }
    }

    /// Hands a missed block over to be looked into: with the answer that came late, or without one.
    fn look_into(&mut self, missed: Missed, head: Option<&Taken>) {
        self.figures.miss(Miss {
            incarnation: self.figures.stats.progress().incarnation.load(Ordering::Relaxed),
            blocks: missed.blocks,
            turn_start_ns: missed.turn_start_ns,
            published_ns: missed.published_ns,
            deadline_ns: missed.deadline_ns,
            block_ns: self.format.block_ns(),
            taken_ns: missed.at_ns,
            now_ns: now_ns(),
            is_pipelined: missed.is_pipelined,
            others_before: missed.others_before,
            stamps: head.map(|head| head.stamps),
            // All zero: not measured.
            notes: head.map(|head| head.notes).filter(|notes| *notes != Notes::default()),
        });
    }
}

/// Whether there is another mode to go to: a sink gives nothing back that could come later.
/// And what is not audio can't be joined where it moves.
fn can_adapt(terms: &Terms) -> bool {
    terms.mode == Mode::SameBlock && terms.kind != PluginKind::Sink && terms.plan.ramp
}

/// Whether an answer was finished, by the worker's own word, before it was asked for: it is an older one, under a
/// sequence that is owed and was not processed.
pub(super) fn is_stale(asked: Asked, head: &Taken) -> bool {
    head.stamps.left_ns < asked.at_ns
}

/// Takes note of when a block was where.
fn time(figures: &mut Figures, asked: Asked, head: &Taken, noticed_ns: u64) {
    let (asked_ns, written_ns) = (asked.at_ns, asked.written_ns);
    figures.timings.push(Passage { asked_ns, written_ns, stamps: head.stamps, noticed_ns });
}

/// A chain is dropped on a thread that may wait. A sink that is only a little behind gets what was handed over to
/// it before its worker is told to stop, so that what was played is recorded too, and every block is counted.
impl Drop for Remote {
    fn drop(&mut self) {
        if !self.is_fed() {
            return;
        }
        if let (Some(last), Some(line)) = (self.open.back(), &self.line) {
            let _ = line.end.wait(last.asked.seq, now_ns() + SINK_WAIT_NS, &line.gone);
            let _ = self.acknowledge();
        }
        let is_over = self.line.as_ref().is_none_or(Line::is_over);
        self.write_off(if is_over { Loss::Gone } else { Loss::Late });
    }
}

impl Remote {
    /// Whether anything of it is made for so many blocks in a row.
    fn depends_on_burst(&self) -> bool {
        self.terms.mode == Mode::Pipelined || self.terms.adapt
    }

    /// The format of its blocks: a source or a sink may have one of its own.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }
}

impl Processor for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn process(&mut self, block: &mut Block<'_>, turn: &Turn) {
        let began_ns = now_ns();
        // First: what the line has answered before its end is not forgotten with it.
        let was_slow = self.acknowledge();
        self.relieve();
        self.look_at_bypass();
        self.run(block, turn, was_slow);
        self.figures.stats.note_held(now_ns() - began_ns);
    }

    fn latency_frames(&self) -> u32 {
        // A sink's is behind what is told.
        if self.terms.kind == PluginKind::Sink { 0 } else { self.terms.own_latency_frames }
    }

    fn added_frames(&self) -> u32 {
        self.figures.stats.added_frames()
    }

    fn waits(&self) -> u32 {
        let is_waited_for = self.terms.mode == Mode::SameBlock || self.is_moving();
        u32::from(is_waited_for && !self.is_bypassed)
    }

    fn blocks_behind(&self) -> u32 {
        // A sink gives nothing back, so handing over without waiting adds no latency.
        let is_behind = self.terms.mode == Mode::Pipelined && self.terms.kind != PluginKind::Sink;
        // One that has moved there adds it.
        if is_behind && self.added_frames() == 0 { self.terms.burst } else { 0 }
    }

    fn burst_max(&self) -> u32 {
        let room = self.slots.saturating_sub(SPARE_SLOTS).max(self.terms.burst);
        if self.depends_on_burst() { room } else { u32::MAX }
    }

    fn replan(&mut self, burst: u32) {
        if !self.depends_on_burst() || burst <= self.terms.burst {
            return;
        }
        let block_frames = self.format.block_frames();
        let more = (burst - self.terms.burst) as usize * block_frames;
        self.terms.burst = burst;
        self.under_way.reserve(burst as usize + 1 - self.under_way.len());
        self.concealer.replan(more, self.terms.mode == Mode::Pipelined);
        if self.added_frames() > 0 {
            let added_frames = burst * u32::try_from(block_frames).unwrap_or(u32::MAX);
            self.figures.stats.progress().added_frames.store(added_frames, Ordering::Relaxed);
        }
    }

    fn enter_section(&mut self) {
        // The section's thread may wait within the block, and the section's latency is that of all.
        if self.blocks_behind() > 0 {
            self.terms.deadline = DEADLINE_MAX;
        }
        self.terms.mode = Mode::SameBlock;
        self.terms.adapt = false;
        self.adapt = Adapt::new(self.format.block_ns(), false);
        let latency_frames = self.terms.own_latency_frames as usize;
        self.terms.plan = Plan { latency_frames, latency_max_frames: latency_frames, ..self.terms.plan };
        self.concealer = Concealer::new(self.format, self.terms.plan);
    }

    fn seals(&self) -> Seals {
        let plan = self.concealer.plan();
        let audible = self.terms.kind != PluginKind::Sink;
        Seals {
            no_bypass: audible && (plan.closed || plan.lost != super::spec::Lost::Bypass),
            closed: audible && plan.closed,
            no_ramp: audible && !plan.ramp,
        }
    }
}

mod moving;
#[cfg(test)]
mod tests;
