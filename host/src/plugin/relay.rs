//! Plugins in a row that hand a block on to each other: from worker to worker, without the host in between.
//!
//! For chains and sections, on the audio thread. The host orders the block of all of them at once, wakes the first worker
//! and waits for the last: so many switches and one, instead of two for each. It goes from worker to worker only where
//! all is well. Nobody reads where a plugin that fails closed writes but the host, which goes between. Who has no worker,
//! has just lost a block, moves between modes or isn't joined to its neighbour (see [`Edge`]) is driven on its own, as a
//! [`Remote`] is outside of a relay, and so is every ramp.
//!
//! What is wrong in the middle is repaired within the block. A stage that is late or gone is given up at its own
//! deadline: what its policy says is put together here and supplied to the next stage, whose worker takes it instead.
//! A stage that fails has nothing to hand on: those after it say so without calling their plugins, and are asked
//! again. A stage whose worker has answered what nobody had given it yet is a liar and cut off. Where it says that it had
//! that from the one before, which has nothing any more, one of both lies and nobody can tell which: neither is blamed, and
//! from then on the host stands between them.
//!
//! What passes by unheard is looked up when it is needed: inputs and outputs of the last blocks still lie in the rings.

use super::edge::Edge;
use super::remote::{Asked, Remote, is_stale};
use super::spec::{Mode, Spin};
use crate::block::Block;
use crate::clock::now_ns as clock;
use crate::processor::{Processor, Seals, Turn};
#[cfg(test)]
use crate::recovery::simulation::time as simulation;
use crate::telemetry::Loss;
use shared::format::Format;
use shared::message::PluginKind;
use shared::ring::{Bounds, EdgeInput, Look, Scrubbed, Status, Taken, Wait, Waited};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

/// Blocks whose passage can be looked up: fewer than a ring has slots, beside the one under way.
const HISTORY: usize = 6;

/// Puts plugins in a row that are waited for into relays; everything else stays as it is.
pub(crate) fn join(format: Format, processors: Vec<Box<dyn Processor>>) -> Vec<Box<dyn Processor>> {
    let mut joined: Vec<Box<dyn Processor>> = Vec::with_capacity(processors.len());
    let mut row = Vec::new();
    for processor in processors {
        match remote(processor) {
            Ok(remote) => row.push(*remote),
            Err(other) => {
                joined.extend(relay(format, std::mem::take(&mut row)));
                joined.push(other);
            }
        }
    }
    joined.extend(relay(format, row));
    joined
}

/// The plugin that this is, if it is one that is waited for.
fn remote(processor: Box<dyn Processor>) -> Result<Box<Remote>, Box<dyn Processor>> {
    let any: &dyn Any = &*processor;
    if any.downcast_ref::<Remote>().is_none_or(|remote| remote.waits() == 0) {
        return Err(processor);
    }
    let any: Box<dyn Any> = processor;
    Ok(any.downcast().unwrap_or_else(|_| unreachable!("it was looked at above")))
}

fn relay(format: Format, mut row: Vec<Remote>) -> Option<Box<dyn Processor>> {
    match row.len() {
        0 | 1 => row.pop().map(|remote| Box::new(remote) as _),
        _ => Some(Box::new(Relay::new(format, row))),
    }
}

/// Plugins in a row.
#[derive(Debug)]
pub(crate) struct Relay {
    name: String,
    stages: Vec<Stage>,
    /// From each stage to the next.
    edges: Vec<Arc<Edge>>,
    scratch: Vec<f32>,
    block_frames: usize,
}

/// One plugin, and where it is with the present block and those before.
#[derive(Debug)]
struct Stage {
    remote: Remote,
    /// One of its blocks that had been missed has come.
    was_slow: bool,
    /// Stages behind it that are waited for.
    waiting_after: u32,
    asked: Option<Asked>,
    /// The present block's answer wakes the next worker, not us.
    hands_on: bool,
    /// A good answer to the present block has been seen, whatever stands there now.
    was_good: bool,
    /// Its concealer has heard the present block's input.
    has_heard: bool,
    /// Inputs that its concealer has not heard, oldest first: its own sequence, and the one before's.
    unheard: VecDeque<(u32, u32)>,
    /// There were more of them than that.
    has_missed: bool,
    /// The last answer that its concealer has not heard.
    unheard_answer: Option<u32>,
    /// What that was before the present block.
    unheard_before: Option<u32>,
}

impl Stage {
    fn new(remote: Remote) -> Self {
        Self {
            remote,
            was_slow: false,
            waiting_after: 0,
            asked: None,
            hands_on: false,
            was_good: false,
            has_heard: false,
            unheard: VecDeque::with_capacity(HISTORY + 1),
            has_missed: false,
            unheard_answer: None,
            unheard_before: None,
        }
    }

    /// Whether a good block of its can go to the next worker as it is.
    fn can_hand_on(&self) -> bool {
        self.can_be_ordered()
            && self.remote.terms.kind != PluginKind::Sink
            && self.remote.concealer.is_settled()
    }

    /// Whether it can be given a block that the host has not seen: no more of those can be looked up when it is lost.
    fn can_take_over(&self, block_frames: usize) -> bool {
        self.can_be_ordered()
            && self.remote.terms.kind != PluginKind::Source
            && self.remote.concealer.history_frames() <= HISTORY * block_frames
    }

    fn can_be_ordered(&self) -> bool {
        let is_waited_for = self.remote.terms.mode == Mode::SameBlock && !self.remote.is_bypassed;
        is_waited_for && !self.remote.is_moving() && self.remote.can_be_asked()
    }

    fn incarnation(&self) -> u32 {
        self.remote.line.as_ref().map_or(0, |line| line.incarnation)
    }

    fn look(&self) -> Look {
        let line = self.remote.line.as_ref().filter(|line| !line.cut);
        line.zip(self.asked).map_or(Look::NotYet, |(line, asked)| line.end.look(asked.seq))
    }

    fn head(&self) -> Option<Taken> {
        let line = self.remote.line.as_ref().filter(|line| !line.cut)?;
        line.end.head(self.asked?.seq)
    }

    fn is_cut(&self) -> bool {
        self.remote.line.as_ref().is_some_and(|line| line.cut)
    }

    fn is_over(&self) -> bool {
        self.remote.line.as_ref().is_none_or(|line| line.is_over())
    }

    /// What its answer to the present block says, if that is there and good.
    fn has_answered(&self) -> Option<Taken> {
        self.head().filter(|head| head.status == Status::Good)
    }
}

/// How a stage stands with the present block.
enum Standing {
    Pending,
    Good(Taken),
    Lost(Loss),
    /// It has been asked, but not called: it is to be asked again.
    Passed,
}

/// The stages that a block goes through from worker to worker.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: usize,
    last: usize,
    /// The one that the host has supplied with samples after all.
    supplied: Option<usize>,
}

impl Relay {
    fn new(format: Format, row: Vec<Remote>) -> Self {
        let names: Vec<_> = row.iter().map(Processor::name).collect();
        let name = names.join(" > ");
        let edges = row.windows(2).map(|pair| {
            let edge = Arc::new(Edge::default());
            // Where one works, what it got lies for a while, and whoever comes behind it could read that: it may be a
            // secret.
            let is_secret = pair[0].terms.plan.closed;
            if let (false, Some(up), Some(down)) = (is_secret, &pair[0].ward, &pair[1].ward) {
                up.join(down, Arc::clone(&edge));
            }
            edge
        });
        let edges = edges.collect();
        let stages = row.into_iter().map(Stage::new).collect();
        let (scratch, block_frames) = (vec![0.0; format.samples()], format.block_frames());
        Self { name, stages, edges, scratch, block_frames }
    }

    /// The turn of one stage.
    fn turn(&self, at: usize, turn: &Turn) -> Turn {
        Turn { waiting_after: turn.waiting_after + self.stages[at].waiting_after, ..*turn }
    }

    /// The last stage that a block goes to from this one without us.
    fn reach(&self, first: usize) -> usize {
        let goes_on = |at: &usize| {
            let (up, down) = (&self.stages[*at], &self.stages[*at + 1]);
            up.can_hand_on()
                && down.can_take_over(self.block_frames)
                && self.edges[*at].joins(up.incarnation(), down.incarnation())
        };
        (first..self.edges.len()).take_while(goes_on).last().map_or(first, |at| at + 1)
    }

    // --- on its own ---

    fn drive(&mut self, at: usize, block: &mut Block<'_>, turn: &Turn) -> usize {
        self.catch_up(at);
        let turn = self.turn(at, turn);
        let Stage { remote, was_slow, .. } = &mut self.stages[at];
        let began_ns = clock();
        remote.run(block, &turn, *was_slow);
        remote.figures.stats.note_held(clock() - began_ns);
        at + 1
    }

    /// Lets a stage's concealer hear what it has missed while it was not needed.
    fn catch_up(&mut self, at: usize) {
        let (before, rest) = self.stages.split_at_mut(at);
        let (up, stage) = (before.last().map(|stage| &stage.remote), &mut rest[0]);
        let mut block = Block::new(&mut self.scratch, self.block_frames);
        if std::mem::take(&mut stage.has_missed) {
            stage.remote.concealer.forget_dry();
        }
        while let Some((own, input)) = stage.unheard.pop_front() {
            if up.is_some_and(|up| up.copy_answer(input, block.samples_mut())) {
                stage.remote.keep(own, block.samples());
            } else {
                block.samples_mut().fill(0.0);
            }
            stage.remote.concealer.hear(&block);
        }
        if let Some(own) = stage.unheard_answer.take()
            && stage.remote.copy_answer(own, block.samples_mut())
        {
            stage.remote.concealer.heard(&block);
        }
    }

    // --- from worker to worker ---

    /// Runs the stages of a span; the one to go on with.
    fn hand_on(&mut self, first: usize, last: usize, block: &mut Block<'_>, turn: &Turn) -> usize {
        if !self.stages[first].unheard.is_empty() {
            self.catch_up(first);
        }
        let mut span = self.order(Span { first, last, supplied: None }, block);
        // The time is looked at where it passes, not at each stage.
        let (mut at, mut since_ns, mut now_ns, mut floods) = (first, clock(), clock(), 0);
        while at <= span.last {
            let lost = match self.standing(at, &mut span) {
                Standing::Good(head) => {
                    self.stages[at].was_good = true;
                    self.finish(at, span, &head, now_ns, block, turn).err()
                }
                // Flooded by the last one, it is still this one's time.
                Standing::Pending if floods < 2 && now_ns < self.deadline_ns(at, turn) => {
                    let waited = self.wait(at, span, floods > 0, self.deadline_ns(at, turn));
                    floods += u32::from(waited == Waited::Flooded);
                    now_ns = clock();
                    continue;
                }
                Standing::Pending => Some(Loss::Late),
                Standing::Lost(loss) => Some(loss),
                Standing::Passed => {
                    self.ask_again(at, block);
                    return at;
                }
            };
            let until_ns = self.held_until_ns(at, lost, since_ns, now_ns);
            self.stages[at].remote.figures.stats.note_held(until_ns - since_ns);
            since_ns = until_ns;
            if let Some(loss) = lost {
                let goes_on = self.replace(at, &mut span, loss, block, turn);
                now_ns = clock();
                if !goes_on {
                    return at + 1;
                }
            }
            at += 1;
            floods = 0;
        }
        at
    }

    /// Puts the input of a stage into the block that has been passed over: the one before had nothing when it looked, or
    /// took its answer away while it did.
    fn ask_again(&mut self, at: usize, block: &mut Block<'_>) {
        if !self.stages[at].has_heard {
            return self.take_input(at, block);
        }
        let Stage { remote, asked, .. } = &mut self.stages[at];
        remote.copy_request(*asked, block);
        remote.concealer.hear_again();
    }

    /// Until when a stage held the audio thread, which waits for many at once: one that is good, until it had answered by
    /// its worker's word.
    fn held_until_ns(&self, at: usize, lost: Option<Loss>, since_ns: u64, now_ns: u64) -> u64 {
        let head = if lost.is_none() { self.stages[at].head() } else { None };
        head.map_or(now_ns, |head| head.stamps.left_ns.min(now_ns)).max(since_ns)
    }

    fn deadline_ns(&self, at: usize, turn: &Turn) -> u64 {
        self.turn(at, turn).deadline_ns(self.stages[at].remote.terms.deadline)
    }

    /// Orders the block of all stages and wakes the first. The span ends before one that can't be ordered.
    fn order(&mut self, mut span: Span, block: &Block<'_>) -> Span {
        let mut input: Option<EdgeInput> = None;
        for at in span.first..=span.last {
            let hands_on = at < span.last;
            let stage = &mut self.stages[at];
            stage.hands_on = hands_on;
            stage.was_good = false;
            stage.has_heard = input.is_none();
            let asked = match input {
                None => {
                    stage.remote.concealer.hear(block);
                    stage.remote.ask_first(hands_on, block)
                }
                Some(input) => stage.remote.ask_next(input, hands_on),
            };
            stage.asked = asked.ok();
            let Ok(asked) = asked else {
                // Its worker has just been found to lie: it is driven on its own, without one.
                span.last = at.saturating_sub(1).max(span.first);
                break;
            };
            let (tag, scrub) = (stage.incarnation(), stage.remote.terms.scrub);
            input = Some(EdgeInput { seq: asked.seq, tag, scrub });
        }
        self.stages[span.first].remote.notify();
        span
    }

    /// How the first stage that is not settled stands. A worker that answers before the one before it has no input
    /// that it could have answered to.
    fn standing(&mut self, at: usize, span: &mut Span) -> Standing {
        match self.stages[at].look() {
            Look::Answered => self.judge(at, *span),
            Look::Forged => Standing::Lost(self.stages[at].remote.cut()),
            Look::NotYet if self.stages[at].is_cut() => Standing::Lost(Loss::Forged),
            Look::NotYet if self.stages[at].is_over() => Standing::Lost(Loss::Gone),
            Look::NotYet => {
                let has_spoken = |i: &usize| self.stages[*i].look() != Look::NotYet;
                let is_excused = |head: Taken| head.status == Status::Starved || head.from_peer;
                let is_excused = |i: &usize| self.stages[*i].head().is_some_and(is_excused);
                // Who stands behind one that has been cut off may have believed it; and who has found nothing to work
                // on may have seen a word that was taken back: it is asked again.
                let mut others = (at + 1..=span.last).take_while(|i| !self.stages[*i].is_cut());
                // Between the two looks this one may have answered, and all after it.
                if let Some(liar) = others.find(|i| has_spoken(i) && !is_excused(i))
                    && !has_spoken(&at)
                {
                    self.stages[liar].remote.cut();
                }
                Standing::Pending
            }
        }
    }

    /// What an answer is worth.
    fn judge(&mut self, at: usize, span: Span) -> Standing {
        let Some(head) = self.stages[at].head() else { return Standing::Pending };
        let is_supplied = span.supplied == Some(at);
        if self.stages[at].asked.is_some_and(|asked| is_stale(asked, &head)) {
            return Standing::Lost(self.stages[at].remote.cut());
        }
        if at > span.first {
            // Who has been cut off may have answered all the same.
            let before = &self.stages[at - 1];
            // And who has answered may have taken it back since, or said then that it failed.
            let had_input = before.is_cut() || before.was_good || before.head().is_some();
            // Either from the one before, or from us, if we have given it something: nothing else can be.
            let is_possible =
                if head.from_peer { had_input } else { is_supplied || head.status != Status::Good };
            if !is_possible && head.from_peer {
                self.edges[at - 1].part(self.stages[at].incarnation());
                return Standing::Lost(Loss::Late);
            }
            if !is_possible {
                return Standing::Lost(self.stages[at].remote.cut());
            }
        }
        match head.status {
            Status::Good => Standing::Good(head),
            Status::Starved if at > span.first => Standing::Passed,
            Status::Failed | Status::Starved => Standing::Lost(Loss::Failed),
        }
    }

    /// Waits until something has come of the span, from this stage on or of it `alone`, or until the deadline.
    fn wait(&mut self, at: usize, span: Span, alone: bool, deadline_ns: u64) -> Waited {
        if at > span.first {
            // The one before has answered, but may have died before it woke this one, or never meant to.
            self.stages[at].remote.notify();
        }
        // A dead worker wakes nobody, nor does one that has spoken: the one before it hands on to us.
        let is_silent = |i: &usize| self.stages[*i].is_over() || self.stages[*i].look() != Look::NotYet;
        let silent = (at + 1..=span.last).find(is_silent);
        let target = if alone { at } else { silent.map_or(span.last, |silent| silent - 1) };
        let Stage { remote, hands_on, asked, .. } = &self.stages[target];
        let Some(line) = &remote.line else { return Waited::GivenUp };
        let mut spinner = remote.spinner;
        let is_here = |stage: &Stage| stage.remote.line.as_ref().is_some_and(|line| line.end.shares_core());
        let may_spin = remote.terms.spin != Spin::Off && !self.stages[at..=target].iter().any(is_here);
        let spin_ns = if may_spin { line.end.spin_ns(&mut spinner, remote.terms.spin) } else { 0 };
        let from_ns = clock();
        let until_ns = deadline_ns;
        let over = || {
            let is_answered = self.stages[target].look() != Look::NotYet;
            let is_over = || self.stages[at..=target].iter().any(Stage::is_over);
            (is_answered || is_over()).then_some(Waited::Answered)
        };
        #[cfg(test)]
        let deadline_ns = simulation::wait(deadline_ns, || over().is_some());
        let bounds = Bounds { from_ns, spin_ns, deadline_ns };
        let Wait { waited, overslept_ns } = line.end.wait_for_chain(*hands_on, bounds, over);
        let is_spoilt =
            asked.map_or(waited == Waited::Flooded, |it| line.end.is_spoilt(waited, it.seq, deadline_ns));
        let asked_ns = until_ns.saturating_sub(from_ns + spin_ns);
        self.stages[at].remote.figures.stats.note_wait(asked_ns, overslept_ns);
        spinner.learn(spin_ns, clock() - from_ns);
        self.stages[target].remote.spinner = spinner;
        if is_spoilt {
            self.stages[target].remote.figures.stats.count_flooded();
        }
        waited
    }

    /// A stage has done its block well, unless the last one's turns out to be none when it is taken.
    fn finish(
        &mut self,
        at: usize,
        span: Span,
        head: &Taken,
        now_ns: u64,
        block: &mut Block<'_>,
        turn: &Turn,
    ) -> Result<(), Loss> {
        let input_ns = self.input_ns(at, span, now_ns);
        let patience_ns = self.deadline_ns(at, turn).saturating_sub(input_ns);
        let input = if at > span.first { self.stages[at - 1].asked } else { None };
        let Some(asked) = self.stages[at].asked else { return Ok(()) };
        let is_guarded = at > span.first && head.guarded > 0;
        let scrubbed = if is_guarded { self.scrubbed(at - 1) } else { None };
        if let Some(scrubbed) = scrubbed {
            // What became of those samples is heard from the last one: if they were at an end of the block, it is joined
            // there.
            self.stages[span.last].remote.mend(scrubbed);
        }
        let stage = &mut self.stages[at];
        let took_ns = head.stamps.left_ns.saturating_sub(input_ns);
        if at == span.last {
            stage.remote.take_last(asked, input_ns, block)?;
            // What was heard last is this, not what went by before it.
            stage.unheard_answer = None;
        } else {
            stage.remote.pass_by(asked, input_ns, head);
            stage.unheard_before = stage.unheard_answer.replace(asked.seq);
        }
        stage.remote.keep_for_later(Ok(asked));
        if let Some(input) = input.filter(|_| !stage.has_heard) {
            stage.note_unheard(asked.seq, input.seq);
        }
        if head.from_peer {
            stage.remote.figures.stats.count_direct();
        }
        stage.remote.adapt_to(stage.was_slow, Some(took_ns), patience_ns);
        if at > span.first {
            self.settle_input(at, span, head, scrubbed, block);
        }
        Ok(())
    }

    /// What the answer of a stage tells of the stage before.
    fn settle_input(
        &mut self,
        at: usize,
        span: Span,
        head: &Taken,
        scrubbed: Option<Scrubbed>,
        block: &mut Block<'_>,
    ) {
        // The worker says that it had to replace samples of the answer before: they are counted by us.
        if head.from_peer || scrubbed.is_some() {
            let Scrubbed { non_finite, too_loud, .. } = scrubbed.unwrap_or_default();
            self.stages[at - 1].remote.figures.stats.count_guarded(non_finite, too_loud);
        }
        if span.supplied == Some(at) && head.from_peer {
            // It has taken the late block of the one before after all: what was put in its place was not heard.
            self.take_back(at);
        }
        let got_supplied = span.supplied == Some(at) && !head.from_peer;
        if at == span.last && self.stages[at].remote.terms.kind == PluginKind::Sink && !got_supplied {
            // It gives nothing back: what comes after it gets what it got, which is in the block already if it is ours.
            self.take_input(at, block);
        }
    }

    /// Counts what had to be replaced in the answer of this stage.
    fn count_guarded(&mut self, at: usize) {
        if let Some(Scrubbed { non_finite, too_loud, .. }) = self.scrubbed(at) {
            self.stages[at].remote.figures.stats.count_guarded(non_finite, too_loud);
        }
    }

    /// What has to be replaced in the answer of this stage.
    fn scrubbed(&mut self, at: usize) -> Option<Scrubbed> {
        let Stage { remote, asked, .. } = &self.stages[at];
        let (line, asked) = (remote.line.as_ref()?, (*asked)?);
        let taken = line.end.take(asked.seq, &mut self.scratch, remote.terms.scrub).ok()?;
        Some(taken.scrubbed)
    }

    /// This stage has heard the answer of the one before it, not what was put in its place.
    fn take_back(&mut self, at: usize) {
        let [.., before, stage] = &mut self.stages[..=at] else { return };
        let mut block = Block::new(&mut self.scratch, self.block_frames);
        if let Some(asked) = before.asked.filter(|_| before.has_answered().is_some())
            && before.remote.copy_answer(asked.seq, block.samples_mut())
        {
            before.remote.concealer.heard(&block);
            stage.remote.concealer.hear_again();
            stage.remote.concealer.hear(&block);
        }
    }

    /// When the input of a stage was there: by the word of the worker before it, which is only used for statistics and
    /// for this stage's own mode.
    fn input_ns(&self, at: usize, span: Span, now_ns: u64) -> u64 {
        let published_ns = self.stages[at].asked.map_or(0, |asked| asked.at_ns);
        let before = (at > span.first).then(|| self.stages[at - 1].head()).flatten();
        before.map_or(0, |head| head.stamps.left_ns).clamp(published_ns, now_ns.max(published_ns))
    }

    /// Puts what its policy says in the place of a lost block and supplies the next stage with it; false if that one
    /// has to be asked again.
    fn replace(
        &mut self,
        at: usize,
        span: &mut Span,
        loss: Loss,
        block: &mut Block<'_>,
        turn: &Turn,
    ) -> bool {
        #[cfg(test)]
        simulation::preempted();
        self.catch_up(at);
        if !self.stages[at].has_heard {
            self.count_guarded(at - 1);
            self.take_input(at, block);
            let Stage { remote, asked, .. } = &mut self.stages[at];
            remote.concealer.hear(block);
            if let Some(asked) = asked {
                remote.keep(asked.seq, block.samples());
            }
        } else if at > span.first {
            let Stage { remote, asked, .. } = &self.stages[at];
            remote.copy_request(*asked, block);
        }
        let (turn, deadline_ns) = (self.turn(at, turn), self.deadline_ns(at, turn));
        let input_ns = self.input_ns(at, *span, clock());
        let stage = &mut self.stages[at];
        stage.remote.lose(stage.asked, loss, input_ns, &turn, deadline_ns, block);
        stage.remote.keep_for_later(stage.asked.ok_or(loss));
        stage.remote.adapt_to(stage.was_slow, None, deadline_ns.saturating_sub(input_ns));
        if at == span.last {
            return true;
        }
        self.catch_up(at + 1);
        let next = &mut self.stages[at + 1];
        if next.head().is_some_and(|head| head.status == Status::Starved) {
            return false;
        }
        next.remote.concealer.hear(block);
        next.has_heard = true;
        next.remote.supply(next.asked, block);
        span.supplied = Some(at + 1);
        true
    }

    /// A stage whose good answer was seen has taken it away before the next one had it: that block is lost like any
    /// other.
    fn lose_after_all(&mut self, at: usize, block: &mut Block<'_>) {
        let stage = &mut self.stages[at];
        stage.unheard_answer = stage.unheard_before.take();
        self.catch_up(at);
        let Stage { remote, asked, .. } = &mut self.stages[at];
        remote.copy_request(*asked, block);
        remote.lose_after_all(block);
    }

    /// The input of a stage that is not the first of its span: the good answer of the one before, or what its policy says
    /// if that is not there any more.
    fn take_input(&mut self, at: usize, block: &mut Block<'_>) {
        let before = &self.stages[at - 1];
        if !before.asked.is_some_and(|asked| before.remote.copy_answer(asked.seq, block.samples_mut())) {
            self.lose_after_all(at - 1, block);
        }
    }
}

impl Stage {
    fn note_unheard(&mut self, own: u32, input: u32) {
        if self.unheard.len() == HISTORY {
            self.unheard.pop_front();
            self.has_missed = true;
        }
        self.unheard.push_back((own, input));
    }
}

impl Processor for Relay {
    fn name(&self) -> &str {
        &self.name
    }

    fn process(&mut self, block: &mut Block<'_>, turn: &Turn) {
        let mut waiting_after = 0;
        for stage in self.stages.iter_mut().rev() {
            stage.waiting_after = waiting_after;
            waiting_after += stage.remote.waits();
            stage.was_slow = stage.remote.acknowledge();
            stage.asked = None;
        }
        if self.stages.iter().any(Stage::is_over) {
            // What lies in the ring of a worker that is over goes with it.
            (0..self.stages.len()).for_each(|at| self.catch_up(at));
        }
        for stage in &mut self.stages {
            stage.remote.relieve();
            stage.remote.look_at_bypass();
        }
        let mut at = 0;
        while at < self.stages.len() {
            let last = self.reach(at);
            at = if last == at { self.drive(at, block, turn) } else { self.hand_on(at, last, block, turn) };
        }
    }

    fn latency_frames(&self) -> u32 {
        self.stages.iter().map(|stage| stage.remote.latency_frames()).sum()
    }

    fn added_frames(&self) -> u32 {
        self.stages.iter().map(|stage| stage.remote.added_frames()).sum()
    }

    fn waits(&self) -> u32 {
        self.stages.iter().map(|stage| stage.remote.waits()).sum()
    }

    fn burst_max(&self) -> u32 {
        self.stages.iter().map(|stage| stage.remote.burst_max()).min().unwrap_or(u32::MAX)
    }

    fn replan(&mut self, burst: u32) {
        self.stages.iter_mut().for_each(|stage| stage.remote.replan(burst));
    }

    fn enter_section(&mut self) {
        self.stages.iter_mut().for_each(|stage| stage.remote.enter_section());
    }

    fn seals(&self) -> Seals {
        self.stages.iter().map(|stage| stage.remote.seals()).fold(Seals::default(), Seals::with)
    }
}

#[cfg(test)]
mod tests;
