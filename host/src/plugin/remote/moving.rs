//! How a plugin moves between modes by itself: from one stream of results into the other, within one block.
//!
//! For the audio half, on the audio thread. When it is time is decided in [`adapt`](super::super::adapt), how two streams
//! are mixed in [`conceal`](super::super::conceal). The block after the decision is processed in the old mode. If its
//! result is good and the new mode's for it is there too, it goes over from one to the other: to pipelined, that is the
//! answer of the burst before, which still lies in its slot; back, it is the answer to the block just handed over,
//! which is waited for as in the new mode. If one of them is missing, the new stream is joined to the last sample heard.

use super::super::adapt::Switch;
use super::super::spec::Mode;
use super::{Asked, Remote, is_stale};
use crate::block::Block;
use crate::telemetry::Loss;
use shared::ring::Status;
use std::sync::atomic::Ordering;

impl Remote {
    /// Keeps the last burst of blocks in case it is pipelined from the next one on.
    pub(in super::super) fn keep_for_later(&mut self, asked: Result<Asked, Loss>) {
        if self.terms.adapt {
            if self.under_way.len() == self.terms.burst as usize {
                self.under_way.pop_front();
            }
            self.under_way.push_back(asked);
        }
    }

    /// Moves with the next block, if it is time for it.
    pub(in super::super) fn adapt_to(
        &mut self,
        was_slow: bool,
        round_trip_ns: Option<u64>,
        patience_ns: u64,
    ) {
        self.moving = self.adapt.note(was_slow, round_trip_ns, patience_ns);
    }

    /// Whether its next block is the last one in its mode.
    pub(in super::super) fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    /// The block whose answer would be heard now if it were pipelined; to be asked before the present one is kept.
    pub(super) fn due_if_pipelined(&self) -> Option<Asked> {
        let is_moving = self.moving == Some(Switch::ToPipelined);
        let due = self.under_way.front().filter(|_| self.under_way.len() == self.terms.burst as usize)?;
        due.ok().filter(|_| is_moving)
    }

    /// Puts the answer to an earlier block beside the present one's result; false if it isn't there or not good. What it
    /// is like was counted when it was heard.
    pub(super) fn copy_other(&mut self, asked: Asked) -> bool {
        let Some(line) = self.line.as_ref().filter(|line| !line.cut) else { return false };
        let head = line.end.head(asked.seq);
        let is_good = head.is_some_and(|head| head.status == Status::Good && !is_stale(asked, &head));
        let taken =
            is_good.then(|| line.end.take(asked.seq, &mut self.other, self.terms.scrub).ok()).flatten();
        // The present block ends with what this one does.
        taken.inspect(|taken| self.concealer.mend(false, taken.scrubbed.is_open_after)).is_some()
    }

    /// Waits for the answer to the present block beside the earlier one's, and puts it there; false if it isn't good.
    pub(super) fn wait_for_other(&mut self, asked: Asked, deadline_ns: u64) -> bool {
        let noticed_ns = self.wait(asked, deadline_ns);
        let mut other = std::mem::take(&mut self.other);
        let taken = self.take(
            asked,
            asked.at_ns,
            noticed_ns,
            &mut Block::new(&mut other, self.format.block_frames()),
        );
        self.other = other;
        taken.is_ok()
    }

    /// The move that is under way is done with this block, which has been settled: it goes over into the other stream
    /// if that is there, and the dry signal is as late as that one.
    pub(super) fn complete_move(&mut self, switch: Switch, other_is_there: bool, block: &mut Block<'_>) {
        if other_is_there {
            self.concealer.fade(block, &Block::new(&mut self.other, self.format.block_frames()));
        } else {
            self.concealer.succeed();
        }
        if switch == Switch::ToPipelined && self.under_way.len() < self.terms.burst as usize {
            // A burst has become longer: the first results are still to come.
            self.concealer.break_off();
        }
        let burst_frames = self.terms.burst * u32::try_from(self.format.block_frames()).unwrap_or(u32::MAX);
        let (mode, added_frames) = match switch {
            Switch::ToPipelined => (Mode::Pipelined, burst_frames),
            Switch::ToSameBlock => (Mode::SameBlock, 0),
        };
        self.terms.mode = mode;
        self.concealer.realign(self.terms.own_latency_frames as usize + added_frames as usize);
        let progress = self.figures.stats.progress();
        progress.added_frames.store(added_frames, Ordering::Relaxed);
        // SYNC: moves; with Acquire in `recovery::case`: whoever sees the move sees where to.
        progress.moves.store(progress.moves.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}
