//! Plugins that hand blocks on to each other: what the world knows of that, and how a whole row of them is judged.
//!
//! Nobody hears what goes by from worker to worker. It is known all the same, exactly: what each worker made of what is
//! written down, so is what each was called with, and the judge of one plugin says what its output had to be. The input of
//! each plugin is the output of the one before it.

use super::judge::{Deal, Judge, Truth, Verdict};
use super::tape::{Heard, Shared, Tape};
use super::time;
use super::world::{Happening, Join, World};
use crate::processor::Turn;
use shared::segment::{self, seal_written};
use std::os::fd::{AsFd, OwnedFd};

/// How often one tries again who can't take something yet.
const AGAIN_NS: u64 = 200_000;

/// How far back one looks for the order of a block that was handed on: who is later than that has been given up.
const ORDERS: usize = 100;

/// Blocks after which nothing is left of what a liar took away: more than are looked up in a ring.
const UNSURE: u32 = 12;

/// What a worker was called with.
#[derive(Debug)]
pub(super) struct Call {
    incarnation: u32,
    samples: Vec<f32>,
    /// It has been compared with what it had to be.
    is_checked: bool,
}

impl World {
    /// The audio thread has ordered a block.
    pub(super) fn ordered(&mut self, plugin: usize, incarnation: u32, seq: u32) {
        let Some(side) = self.sides.get(plugin) else { return };
        let block = side.tape.lock().unwrap().asked.len() - 1;
        self.orders_of.insert((plugin, incarnation, seq), block);
        let is_it = |actor: &&mut super::actor::Actor| {
            (actor.plugin, actor.incarnation) == (Some(plugin), incarnation)
        };
        if let Some(actor) = self.actors.iter_mut().find(is_it)
            && actor.hasty == Some(None)
        {
            actor.hasty = Some(Some(seq));
        }
    }

    /// The audio thread has made up its mind about a plugin's present block.
    pub(super) fn settled(&mut self, plugin: usize) {
        self.settled_ns = time::now_ns();
        let Some(side) = self.sides.get_mut(plugin) else { return };
        let block = side.tape.lock().unwrap().asked.len() - 1;
        if side.settled.insert(block, time::now_ns()).is_some() {
            self.wrong.push(format!("plugin {plugin} has settled block {block} twice"));
        }
    }

    /// A worker calls its plugin.
    pub(super) fn called(&mut self, number: usize, samples: Vec<f32>) {
        let actor = &mut self.actors[number];
        let (plugin, incarnation) = (actor.plugin.unwrap_or(0), actor.incarnation);
        let seq = actor.ring.as_ref().map_or(0, |ring| ring.next);
        let Some(block) = self.orders_of.get(&(plugin, incarnation, seq)).copied() else {
            return self.wrong.push(format!("plugin {plugin} is called for a block that nobody has ordered"));
        };
        actor.block = Some(block);
        let side = &mut self.sides[plugin];
        if side.is_first && side.tape.lock().unwrap().asked[block] != samples {
            self.wrong.push(format!("plugin {plugin} is called for block {block} with another one"));
        }
        let call = Call { incarnation, samples, is_checked: side.is_first };
        if let Some(before) = side.calls.insert(block, call) {
            let by = before.incarnation;
            self.wrong.push(format!(
                "plugin {plugin} is called twice for block {block}: by {by} and {incarnation}"
            ));
        }
    }

    pub(super) fn answer_in_haste(&mut self, number: usize) {
        let actor = &mut self.actors[number];
        let (Some(Some(seq)), Some(plugin)) = (actor.hasty, actor.plugin) else { return };
        let Some(block) = self.orders_of.get(&(plugin, actor.incarnation, seq)).copied() else { return };
        let truths = &mut self.sides[plugin].truths;
        if actor.answer_in_haste(block, time::now_ns(), &mut self.rng, truths) {
            self.trace(|| format!("a worker of plugin {plugin} answers block {block} in haste"));
            self.has_lied(number);
        }
    }

    /// From now on no word of this one's needs to be taken.
    pub(super) fn has_lied(&mut self, number: usize) {
        let actor = &self.actors[number];
        let (plugin, incarnation) = (actor.plugin.unwrap_or(0), actor.incarnation);
        self.liars.insert((plugin, incarnation));
        let its = self.sides[plugin].truths.values_mut().filter(|truth| truth.incarnation == incarnation);
        its.for_each(|truth| truth.spoilt = true);
    }

    fn number_of(&self, (id, incarnation): (u64, u32)) -> Option<usize> {
        let plugin = usize::try_from(id - 1).unwrap();
        self.actors.iter().position(|actor| (actor.plugin, actor.incarnation) == (Some(plugin), incarnation))
    }

    /// Whoever this is, if nobody has given it up.
    fn living(&self, player: (u64, u32)) -> Option<usize> {
        let number = self.number_of(player)?;
        let actor = &self.actors[number];
        (actor.lives && !actor.doomed).then_some(number)
    }

    fn is_at_a_block(&self, number: usize) -> bool {
        self.actors[number].busy_ns.is_some() || self.actors[number].stuck
    }

    /// The second one's worker takes the memory of the first one's, between two blocks.
    pub(super) fn attached(&mut self, join: Join) {
        let (pair, sides) = (join.incarnations(), join.sides());
        match self.turns.get(&sides) {
            Some(others) if *others != pair => return self.after_ns(AGAIN_NS, Happening::Attached(join)),
            None if !join.joining.is_due(pair.0, pair.1) => return,
            _ => drop(self.turns.insert(sides, pair)),
        }
        let (Some(first), Some(second)) = (self.number_of(join.up), self.living(join.down)) else {
            return self.end_turn(&join);
        };
        if self.is_at_a_block(second) {
            return self.after_ns(AGAIN_NS, Happening::Attached(join));
        }
        let Some(ring) = &self.actors[first].ring else { return self.end_turn(&join) };
        let (memory, layout) = (ring.memory.as_fd().try_clone_to_owned().unwrap(), ring.end.layout());
        let doorstep = segment::doorstep().unwrap();
        if self.actors[second].attach(memory.as_fd(), layout, pair.0, doorstep.as_fd()).is_err() {
            return self.end_turn(&join);
        }
        seal_written(&doorstep).unwrap();
        self.trace(|| format!("{:?} takes blocks from {:?}", join.down, join.up));
        // Once in a while so late that the second one has been replaced meanwhile.
        let after_ns = self.rng.within(5_000, AGAIN_NS) * self.rng.one_of(&[1, 1, 1, 20, 2000]);
        self.after_ns(after_ns, Happening::Told { join, doorstep });
    }

    /// The first one's worker looks at the doorstep of the second one's from now on, between two blocks.
    pub(super) fn told(&mut self, join: Join, doorstep: OwnedFd) {
        let Some(first) = self.living(join.up) else { return self.end_turn(&join) };
        if self.is_at_a_block(first) {
            return self.after_ns(AGAIN_NS, Happening::Told { join, doorstep });
        }
        self.actors[first].hand_to(doorstep.as_fd(), join.down.1).unwrap();
        self.trace(|| format!("{:?} hands on to {:?}", join.up, join.down));
        let after_ns = self.rng.within(5_000, AGAIN_NS) * self.rng.one_of(&[1, 1, 20]);
        self.after_ns(after_ns, Happening::Joined(join));
    }

    pub(super) fn joined(&mut self, join: &Join) {
        let (up, down) = join.incarnations();
        join.joining.join(up, down);
        self.end_turn(join);
    }

    fn end_turn(&mut self, join: &Join) {
        self.turns.remove(&join.sides());
    }

    /// A worker has handed on a block: it has to look at the doorstep of the very one that waits for it, if that lives.
    pub(super) fn handed_on(&mut self, number: usize, block: usize) {
        let actor = &self.actors[number];
        let next = actor.plugin.unwrap_or(0) + 1;
        let of_next = self.orders_of.range((next, 0, 0)..(next + 1, 0, 0)).rev();
        let waits = of_next.take(ORDERS).find(|(_, ordered)| **ordered == block);
        let Some((&(_, incarnation, _), _)) = waits else { return };
        if actor.hands_to != Some(incarnation) && self.living((next as u64 + 1, incarnation)).is_some() {
            self.wrong.push(format!(
                "block {block} goes to incarnation {incarnation} of plugin {next} at the doorstep of {:?}",
                actor.hands_to
            ));
        }
    }
}

impl Join {
    fn incarnations(&self) -> (u32, u32) {
        (self.up.1, self.down.1)
    }

    fn sides(&self) -> (u64, u64) {
        (self.up.0, self.down.0)
    }
}

/// A row and the verdicts on it.
pub(super) struct Row {
    /// What came in.
    first: Shared,
    stages: Vec<Stage>,
    /// The part of a block that there is for waiting, unless that depends on the section's thread.
    deadline: Option<f32>,
    judged: usize,
    /// Answers that were given up, and taken all the same.
    pub(super) taken_back: u64,
}

struct Stage {
    judge: Judge,
    deal: Deal,
    /// Where what was counted is recorded.
    counted: Shared,
    /// What it was asked for and what was heard, as is found out.
    tape: Tape,
    outs: Vec<Option<Vec<f32>>>,
    /// A worker that broke the protocol may have taken away what was heard of it: what its blocks are joined to, and what
    /// those behind it remember, is not known until so many are good again.
    unsure: u32,
}

impl Row {
    pub(super) fn new(first: Shared, plugins: Vec<(Shared, Deal)>, deadline: Option<f32>) -> Self {
        let stage = |(counted, deal)| Stage {
            judge: Judge::new(deal),
            deal,
            counted,
            tape: Tape::default(),
            outs: Vec::new(),
            unsure: 0,
        };
        Self { first, stages: plugins.into_iter().map(stage).collect(), deadline, judged: 0, taken_back: 0 }
    }

    pub(super) fn judged(&self) -> usize {
        self.judged * self.stages.len()
    }

    /// Good blocks in a row of the one that has the fewest.
    pub(super) fn good_in_a_row(&self) -> u32 {
        self.stages.iter().map(|stage| stage.judge.good_in_a_row).min().unwrap_or(0)
    }

    /// Judges what has been heard since the last time.
    pub(super) fn judge(&mut self, world: &mut World) -> Verdict<()> {
        let heard = self.stages[0].counted.lock().unwrap().heard.len();
        while self.judged < heard {
            let mut input = self.first.lock().unwrap().asked[self.judged].clone();
            for at in 0..self.stages.len() {
                let block = self.judged;
                let said = |why| format!("plugin {at} of a row, block {block}: {why}");
                input = self.stage(at, input, world).map_err(said)?;
            }
            self.judged += 1;
        }
        self.check_calls(world)
    }

    /// What came out of one plugin that was given this.
    fn stage(&mut self, at: usize, input: Vec<f32>, world: &mut World) -> Verdict<Vec<f32>> {
        let (block, is_last) = (self.judged, at + 1 == self.stages.len());
        let mut heard = self.stages[at].counted.lock().unwrap().heard[block].clone();
        heard.at_ns = *world.sides[at].settled.get(&block).ok_or("nobody has settled it")?;
        if self.stages[at].deal.healthy && !world.sides[at].calls.contains_key(&block) {
            return Err("it was never called".into());
        }
        if self.deadline_ns(at).is_some_and(|deadline_ns| heard.at_ns > deadline_ns) {
            return Err(format!("it was waited for until {}", heard.at_ns));
        }
        let is_good = |at: usize| at < self.stages.len() && self.is_good(at);
        let (good, next_is_good) = (is_good(at), is_good(at + 1));
        if good && at > 0 && self.is_from_nowhere(at, world) {
            return Err("an answer to nothing was taken".into());
        }
        let unsure_before = self.stages[..at].iter().any(|stage| stage.unsure > 0);
        let liar = self.is_liar(at, &heard, world);
        let Stage { judge, tape, unsure, deal, .. } = &mut self.stages[at];
        tape.asked.push(input);
        let (before, after) = world.sides.split_at_mut(at + 1);
        let truths = &before[at].truths;
        let call = after.first_mut().and_then(|next| next.calls.get_mut(&block));
        let call = call.filter(|_| !is_last).map(|call| {
            call.is_checked = true;
            &call.samples
        });
        let known = heard.samples.clone().or_else(|| call.cloned());
        let was = judge.clone();
        tape.heard.push(Heard { samples: known.clone(), ..heard });
        let Err(why) = judge.judge(tape, truths) else {
            *unsure = match (liar, good && was.is_over()) {
                (true, _) => UNSURE,
                (_, true) => unsure.saturating_sub(1),
                _ => *unsure,
            };
            return Ok(self.out(at));
        };
        // Nothing of it was heard, or something else than it should.
        *judge = was;
        tape.unhear();
        judge.judge(tape, truths)?;
        let answer = truths.get(&block).filter(|truth| truth.good).map(|truth| judge.guarded(truth));
        let was_taken =
            |call: &Vec<f32>| !good && answer.as_ref().is_some_and(|answer| is_near(answer, call));
        if liar || *unsure > 0 || unsure_before {
            let known = known.unwrap_or_default();
            if deal.plan.closed
                && !good
                && !call.is_some_and(was_taken)
                && known.iter().any(|sample| *sample != 0.0)
            {
                return Err(why);
            }
            *unsure = UNSURE;
            judge.take_for(known);
        } else if call.is_some_and(was_taken) {
            if next_is_good {
                judge.take_back(known.unwrap_or_default());
                self.taken_back += 1;
            }
        } else {
            return Err(why);
        }
        Ok(self.out(at))
    }

    /// Whether a worker's good answer can't be one: it has not been called, and had nothing that it could have worked on.
    fn is_from_nowhere(&self, at: usize, world: &World) -> bool {
        let block = self.judged;
        let in_time =
            self.stages[at].counted.lock().unwrap().heard[block.saturating_sub(1)].added_frames == 0;
        let before = self.stages[at - 1].tape.heard.iter().rev().take(2).map(|heard| heard.incarnation);
        let liar = before.into_iter().any(|incarnation| world.liars.contains(&(at - 1, incarnation)));
        in_time && !liar && !self.is_good(at - 1) && !world.sides[at].calls.contains_key(&block)
    }

    /// Moves between modes that went over from one result into the other.
    pub(super) fn faded(&self) -> u64 {
        self.stages.iter().map(|stage| stage.judge.faded).sum()
    }

    /// Until when a plugin may be waited for.
    fn deadline_ns(&self, at: usize) -> Option<u64> {
        let began_ns = self.first.lock().unwrap().began_ns[self.judged];
        let waits: Vec<_> =
            self.stages.iter().map(|stage| stage.deal.waits(&stage.counted, self.judged)).collect();
        let block_ns = self.stages[at].deal.format.block_ns();
        self.deadline.map(|fraction| deadline_ns(fraction, at, &waits, began_ns, block_ns))
    }

    fn out(&mut self, at: usize) -> Vec<f32> {
        let out = self.stages[at].judge.out.clone();
        let is_sure = !self.stages[..=at].iter().any(|stage| stage.unsure > 0);
        self.stages[at].outs.push(is_sure.then(|| out.clone()));
        out
    }

    /// Whether the block that is judged was counted as good.
    fn is_good(&self, at: usize) -> bool {
        let counted = self.stages[at].counted.lock().unwrap();
        let before = self.judged.checked_sub(1).map_or(0, |before| counted.heard[before].counts.good);
        counted.heard[self.judged].counts.good > before
    }

    fn is_liar(&self, at: usize, heard: &Heard, world: &World) -> bool {
        let before = self.stages[at].tape.heard.last().map_or(1, |heard| heard.incarnation);
        [before, heard.incarnation].iter().any(|incarnation| world.liars.contains(&(at, *incarnation)))
    }

    /// Those who were called late were called with the same.
    fn check_calls(&self, world: &mut World) -> Verdict<()> {
        for at in 1..self.stages.len() {
            let (before, rest) = world.sides.split_at_mut(at);
            let Stage { judge, outs, tape, .. } = &self.stages[at - 1];
            for (block, call) in rest[0].calls.iter_mut().rev().take(200).filter(|(_, call)| !call.is_checked)
            {
                let Some(out) = outs.get(*block) else { continue };
                call.is_checked = true;
                let Some(out) = out else { continue };
                let is_right = is_near(out, &call.samples)
                    || is_answer(judge, before[at - 1].truths.get(block), &call.samples)
                    || self.stages[..at].iter().any(|stage| stage.unsure > 0)
                    || world.liars.contains(&(at - 1, tape.heard[*block].incarnation))
                    || *block > 0 && world.liars.contains(&(at - 1, tape.heard[*block - 1].incarnation));
                if !is_right {
                    return Err(format!(
                        "plugin {at} was called late for block {block}, with something else"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Until when one of these plugins may be waited for, of which each waits for an answer or doesn't.
pub(super) fn deadline_ns(fraction: f32, at: usize, waits: &[bool], began_ns: u64, block_ns: u64) -> u64 {
    let count = |waits: &[bool]| u32::try_from(waits.iter().filter(|waits| **waits).count()).unwrap();
    let (waiting, waiting_after) = (count(waits), count(&waits[at + 1..]));
    Turn { waiting, waiting_after, ..Turn::new(began_ns, block_ns) }.deadline_ns(fraction)
}

fn is_near(out: &[f32], samples: &[f32]) -> bool {
    out.iter().zip(samples).all(|(out, sample)| (out - sample).abs() < 1e-5)
}

fn is_answer(judge: &Judge, truth: Option<&Truth>, samples: &[f32]) -> bool {
    truth.is_some_and(|truth| truth.good && is_near(&judge.guarded(truth), samples))
}
