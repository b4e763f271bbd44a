//! The fault table: figures of each kind, and whether the targets are kept.
//!
//! Plain data for people's screens and for `--json`; nothing here measures or prints.

use super::kinds::Kind;
use super::leftovers::Leftovers;
use super::rig::Past;
use super::tally::{Tally, ToGood};
use super::{BLOCK_FRAMES, Judged, RATE};
use crate::plugin::spec::{DEADLINE_DEFAULT, Standby};
use serde::Serialize;

/// After so long without an answer a worker is hung: the larger of 250 ms and 20 blocks.
const HANG_MS: f64 = 250.0;
/// Notes that are kept of each kind.
const NOTES: usize = 20;

/// All kinds that were injected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultTable {
    /// Faults of each kind.
    pub each: u32,
    /// What they followed from.
    pub seed: u64,
    /// What stood by: `none`, `spare` or `twin`.
    pub standby: &'static str,
    /// Frames per second.
    pub rate: u32,
    /// Frames per block.
    pub block_frames: u32,
    /// How long it took.
    pub seconds: f64,
    /// It was told to stop before all kinds were done.
    pub interrupted: bool,
    /// A row for each kind.
    pub rows: Vec<FaultRow>,
}

/// The middle and the largest of some figures; `None` if there are none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spread {
    /// Half of them are no larger.
    pub p50: f64,
    /// None is larger.
    pub max: f64,
}

impl Spread {
    /// Of these figures.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let max = *figures.last()?;
        Some(Self { p50: figures[(figures.len() - 1) / 2], max })
    }
}

/// One kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultRow {
    /// Which.
    pub kind: Kind,
    /// How many happened.
    pub injected: u32,
    /// How many of these were attacks for which the plugin had no right, so that nothing was attacked.
    pub untried: u32,
    /// After how many of them all was good again.
    pub survived: u32,
    /// How many happened to a plugin that fails closed.
    pub fail_closed: u32,
    /// Blocks that were not the plugin's, for each fault.
    pub replaced_blocks: Spread,
    /// From the fault to the first good block after it, in blocks, of the faults that were heard.
    pub to_good_blocks: Option<Spread>,
    /// The same in milliseconds.
    pub to_good_ms: Option<Spread>,
    /// Faults that ended the worker, killed by the host or by themselves.
    pub died: u32,
    /// How many of these ends have a crash report.
    pub reported: u32,
    /// How many of these reports say where the plugin's code was.
    pub with_stack: u32,
    /// From the fault to the end of the worker, in milliseconds, of those that died.
    pub to_end_ms: Option<Spread>,
    /// Longest time that an audio thread was held in the plugin's place in the chain, in milliseconds: what it
    /// computed, and what it slept because it had asked to.
    pub held_max_ms: f64,
    /// Blocks in which it was held for longer than its deadline.
    pub held_too_long: u64,
    /// How late the machine's timer woke either audio thread for a block, at most: it may be as late at a deadline, and
    /// is not counted as held.
    pub overslept_max_ms: f64,
    /// The longest that the neighbour's audio thread was held in a block of the control run, if there was one, in
    /// milliseconds: by a plugin that is well, and by the machine.
    pub control_held_max_ms: Option<f64>,
    /// What of such a time it computed, at most: hardly more than a few hundredths, but for what interrupts and a
    /// hypervisor do on its processor meanwhile. As much of what was held beyond a deadline is theirs.
    pub control_computed_max_ms: Option<f64>,
    /// Blocks that the neighbour played while these faults happened.
    pub neighbour_blocks: u64,
    /// How many of them it lost.
    pub neighbour_lost: u64,
    /// How many it lost in as many blocks without faults, if that was looked at.
    pub control_lost: Option<u64>,
    /// Blocks of either pipeline, from the first to the last, that were neither the plugin's nor what replaces them:
    /// torn, stale or noise.
    pub wrong_blocks: u64,
    /// Samples that told what a plugin was given that fails closed.
    pub plain_samples: u64,
    /// Blocks that could not be judged.
    pub unheard_blocks: u64,
    /// What was there afterwards and not before.
    pub leaks: Leftovers,
    /// What was said where a fault was not survived.
    pub notes: Vec<String>,
}

impl FaultRow {
    pub(super) fn new(
        kind: Kind,
        outcomes: &[Judged],
        neighbour: &Tally,
        control: Option<&Tally>,
        leaks: Leftovers,
        past: Past,
    ) -> Self {
        let count = |wanted: &dyn Fn(&Judged) -> bool| {
            u32::try_from(outcomes.iter().filter(|outcome| wanted(outcome)).count()).unwrap_or(u32::MAX)
        };
        let tallies = || outcomes.iter().map(|(_, outcome)| &outcome.tally);
        let to_good = |figure: &dyn Fn(ToGood) -> f64| {
            Spread::of(outcomes.iter().filter_map(|(_, outcome)| outcome.to_good.map(figure)).collect())
        };
        let longest =
            |ns: &dyn Fn(&Tally) -> u64| tallies().map(|tally| ns(tally) as f64 / 1e6).fold(0.0, f64::max);
        let to_end = outcomes.iter().filter_map(|(_, outcome)| outcome.gone_ns);
        Self {
            kind,
            injected: count(&|(_, outcome)| outcome.injected),
            untried: count(&|(_, outcome)| outcome.untried),
            survived: count(&|(_, outcome)| outcome.survived),
            fail_closed: count(&|(fail_closed, outcome)| *fail_closed && outcome.injected),
            replaced_blocks: Spread::of(tallies().map(|tally| tally.replaced as f64).collect())
                .unwrap_or_default(),
            to_good_blocks: to_good(&|to_good| to_good.blocks as f64),
            to_good_ms: to_good(&|to_good| to_good.ns as f64 / 1e6),
            died: count(&|(_, outcome)| outcome.gone_ns.is_some()),
            reported: count(&|(_, outcome)| outcome.report.is_some()),
            with_stack: count(&|(_, outcome)| outcome.report.is_some_and(|report| report.has_stack)),
            to_end_ms: Spread::of(to_end.map(|ns| ns as f64 / 1e6).collect()),
            held_max_ms: past.played.held_max_ns as f64 / 1e6,
            held_too_long: past.played.held_too_long,
            overslept_max_ms: longest(&|tally| tally.overslept_max_ns)
                .max(neighbour.overslept_max_ns as f64 / 1e6),
            control_held_max_ms: control.map(|control| control.held_max_ns as f64 / 1e6),
            control_computed_max_ms: control.map(|control| control.computed_max_ns as f64 / 1e6),
            neighbour_blocks: neighbour.blocks,
            neighbour_lost: neighbour.replaced,
            control_lost: control.map(|control| control.replaced),
            wrong_blocks: past.played.wrong,
            plain_samples: past.played.plain,
            unheard_blocks: past.unheard,
            leaks,
            notes: outcomes.iter().flat_map(|(_, outcome)| outcome.notes.clone()).take(NOTES).collect(),
        }
    }
}

/// Whether one target is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What was promised.
    pub target: &'static str,
    /// Whether it is kept.
    pub kept: bool,
    /// What was found.
    pub found: String,
}

impl FaultTable {
    /// Faults that happened.
    #[must_use]
    pub fn injected(&self) -> u32 {
        self.rows.iter().map(|row| row.injected).sum()
    }

    /// One for each target that the rows have something to say about.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let verdicts = [self.survival(), self.sound(), self.left_over(), self.held(), self.plain()];
        let others = [self.reports(), self.hung(), self.neighbour(), self.takeover()];
        verdicts.into_iter().chain(others.into_iter().flatten()).collect()
    }

    fn survival(&self) -> Verdict {
        let survived: u32 = self.rows.iter().map(|row| row.survived).sum();
        let wanted = self.each * u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        Verdict {
            target: "every fault is survived and mended",
            kept: survived == wanted,
            found: format!("{survived} of {wanted}"),
        }
    }

    fn sound(&self) -> Verdict {
        let wrong = self.sum(|row| row.wrong_blocks);
        let unheard = self.sum(|row| row.unheard_blocks);
        let unjudged = if unheard == 0 { String::new() } else { format!(", {unheard} not judged") };
        Verdict {
            target: "no wrong or torn block is played",
            kept: wrong + unheard == 0,
            found: format!("{wrong} in {} faults{unjudged}", self.injected()),
        }
    }

    fn left_over(&self) -> Verdict {
        let sum = |of: fn(&Leftovers) -> usize| self.sum(|row| of(&row.leaks) as u64);
        Verdict {
            target: "nothing is left behind",
            kept: sum(Leftovers::total) == 0,
            found: format!(
                "{} descriptors, {} maps, {} names, {} processes",
                sum(|left| left.descriptors),
                sum(|left| left.maps),
                sum(|left| left.shm),
                sum(|left| left.processes)
            ),
        }
    }

    /// Of what the machine does there is no allowance here: how late it wakes is not in what was held, what it computes
    /// on our processor is, as nobody tells that apart. The control run says how much that may be.
    fn held(&self) -> Verdict {
        let largest = |figure: fn(&FaultRow) -> f64| self.rows.iter().map(figure).fold(0.0, f64::max);
        let (held, overslept) = (largest(|row| row.held_max_ms), largest(|row| row.overslept_max_ms));
        let (deadline, too_long) = (deadline_ms(), self.sum(|row| row.held_too_long));
        let control =
            |figure: fn(&FaultRow) -> Option<f64>| self.rows.iter().filter_map(figure).reduce(f64::max);
        let (control_held, computed) =
            (control(|row| row.control_held_max_ms), control(|row| row.control_computed_max_ms));
        let without = control_held.zip(computed).map_or_else(String::new, |(held, computed)| {
            format!("; without faults {held:.2} ms at most, and {computed:.2} computed in a block")
        });
        Verdict {
            target: "the audio thread is held no longer than the deadline",
            kept: too_long == 0 && held <= deadline,
            found: format!(
                "longer in {too_long} blocks, {held:.2} ms at most, deadline {deadline:.2} ms{without}; beside that, \
                 the machine's timer is up to {overslept:.2} ms late"
            ),
        }
    }

    fn plain(&self) -> Verdict {
        let plain = self.sum(|row| row.plain_samples);
        let closed: u32 = self.rows.iter().map(|row| row.fail_closed).sum();
        Verdict {
            target: "a fail-closed plugin lets no plain sample through",
            kept: plain == 0,
            found: format!("{plain} samples in {closed} faults"),
        }
    }

    fn reports(&self) -> Option<Verdict> {
        let died: u32 = self.rows.iter().map(|row| row.died).sum();
        let reported: u32 = self.rows.iter().map(|row| row.reported).sum();
        (died > 0).then(|| Verdict {
            target: "every death leaves a report",
            kept: reported == died,
            found: format!("{reported} of {died}"),
        })
    }

    /// A worker is ended when its stacks have been asked for: by its end the host has what the report says of them.
    /// Each one counts, so it is the longest that is judged. The middle that is told is that of the slower kind.
    fn hung(&self) -> Option<Verdict> {
        let hung = || self.rows.iter().filter(|row| matches!(row.kind, Kind::Loop | Kind::LoopInC));
        let to_end = hung()
            .filter_map(|row| row.to_end_ms)
            .reduce(|a, b| Spread { p50: a.p50.max(b.p50), max: a.max.max(b.max) })?;
        let (died, with_stack) =
            hung().fold((0, 0), |(died, stacks), row| (died + row.died, stacks + row.with_stack));
        Some(Verdict {
            target: "a hung worker's stack is in its report within the hang limit and 20 ms",
            kept: with_stack == died && to_end.max <= HANG_MS + 20.0,
            found: format!(
                "{with_stack} of {died}, p50 {:.0} ms, max {:.0}, limit {HANG_MS}",
                to_end.p50, to_end.max
            ),
        })
    }

    fn neighbour(&self) -> Option<Verdict> {
        let control: u64 = self.rows.iter().map(|row| row.control_lost).sum::<Option<u64>>()?;
        let lost = self.sum(|row| row.neighbour_lost);
        (!self.rows.is_empty()).then(|| Verdict {
            target: "the neighbour loses no more than without faults",
            kept: lost <= control,
            found: format!("{lost} of {} blocks, {control} without", self.sum(|row| row.neighbour_blocks)),
        })
    }

    /// SIGKILL is the fault whose moment is known.
    fn takeover(&self) -> Option<Verdict> {
        let row = self.rows.iter().find(|row| row.kind == Kind::SigKill)?;
        let (blocks, ms) = (row.to_good_blocks?, row.to_good_ms?);
        let found =
            format!("p50 {} blocks and {:.1} ms, max {} and {:.1}", blocks.p50, ms.p50, blocks.max, ms.max);
        let (target, kept) = match self.standby {
            "twin" => (
                "SIGKILL to good audio with a twin: 2 blocks p50, 4 max",
                blocks.p50 <= 2.0 && blocks.max <= 4.0,
            ),
            "spare" => ("SIGKILL to good audio with a spare: under 30 ms, each", ms.max < 30.0),
            _ => ("SIGKILL to good audio without a standby: under 400 ms, each", ms.max < 400.0),
        };
        Some(Verdict { target, kept, found })
    }

    fn sum(&self, figure: impl Fn(&FaultRow) -> u64) -> u64 {
        self.rows.iter().map(figure).sum()
    }
}

/// How long the audio thread may wait for the plugin.
pub(super) fn deadline_ms() -> f64 {
    f64::from(BLOCK_FRAMES) * 1e3 / f64::from(RATE) * f64::from(DEADLINE_DEFAULT)
}

/// As the command line and the configuration name it.
pub(super) fn standby_name(standby: Standby) -> &'static str {
    match standby {
        Standby::None => "none",
        Standby::Spare => "spare",
        Standby::Twin => "twin",
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Outcome, Report};
    use super::super::tally::Played;
    use super::*;

    fn row(kind: Kind) -> FaultRow {
        let tally = Tally { blocks: 100, replaced: 3, ..Tally::default() };
        let to_good = Some(ToGood { ns: 8_000_000, blocks: 3 });
        let report = Some(Report { has_stack: true });
        let (gone_ns, notes) = (Some(255_000_000), Vec::new());
        let outcome = Outcome {
            injected: true,
            untried: false,
            survived: true,
            tally,
            to_good,
            gone_ns,
            report,
            notes,
        };
        let untried = Outcome { untried: true, ..outcome.clone() };
        let neighbour = Tally { blocks: 500, ..Tally::default() };
        let outcomes = [(false, untried), (true, outcome)];
        let past = Past { played: Played { held_max_ns: 1_300_000, ..Played::default() }, ..Past::default() };
        FaultRow::new(kind, &outcomes, &neighbour, Some(&neighbour), Leftovers::default(), past)
    }

    fn table(rows: Vec<FaultRow>) -> FaultTable {
        FaultTable {
            each: 2,
            seed: 1,
            standby: "spare",
            rate: RATE,
            block_frames: BLOCK_FRAMES,
            seconds: 1.0,
            interrupted: false,
            rows,
        }
    }

    fn broken(row: FaultRow) -> Vec<&'static str> {
        let verdicts = table(vec![row]).verdicts();
        verdicts.iter().filter(|verdict| !verdict.kept).map(|verdict| verdict.target).collect()
    }

    #[test]
    fn a_row_where_all_went_well_keeps_every_target() {
        let row = row(Kind::SigKill);
        assert_eq!((row.injected, row.untried, row.survived, row.fail_closed), (2, 1, 2, 1));
        assert_eq!(row.to_good_ms, Some(Spread { p50: 8.0, max: 8.0 }));
        assert_eq!(table(vec![row.clone()]).verdicts().len(), 8);
        assert_eq!(broken(row), [""; 0]);
    }

    #[test]
    fn how_long_the_audio_thread_was_held_without_faults_stands_beside_how_long_it_was_with_them() {
        let held = |row| table(vec![row]).verdicts().into_iter().find(|v| v.target.contains("held")).unwrap();
        let row = FaultRow {
            control_held_max_ms: Some(0.31),
            control_computed_max_ms: Some(0.052),
            ..row(Kind::Loop)
        };
        let found = held(row.clone()).found;
        assert!(found.contains("1.30 ms at most, deadline 1.33 ms; without faults 0.31 ms"), "{found}");
        assert!(found.contains("0.05 computed"), "{found}");
        let found = held(FaultRow { control_held_max_ms: None, ..row }).found;
        assert!(!found.contains("without faults"), "{found}");
    }

    #[test]
    fn dry_audio_is_a_leak_only_where_the_plugin_fails_closed() {
        assert_eq!(row(Kind::Segv).plain_samples, 0);
    }

    #[test]
    fn each_target_is_broken_by_its_own_figure() {
        let well = row(Kind::SigKill);
        let slow = Some(Spread { p50: 25.0, max: 30.0 });
        let leaks = Leftovers { maps: 1, ..Leftovers::default() };
        let late = Some(Spread { p50: 255.0, max: 271.0 });
        let hung = row(Kind::LoopInC);
        let cases: [(FaultRow, &str); 12] = [
            (FaultRow { survived: 1, ..well.clone() }, "survived"),
            (FaultRow { wrong_blocks: 1, ..well.clone() }, "torn"),
            (FaultRow { unheard_blocks: 1, ..well.clone() }, "torn"),
            (FaultRow { leaks, ..well.clone() }, "behind"),
            (FaultRow { held_too_long: 1, ..well.clone() }, "deadline"),
            (FaultRow { held_max_ms: 1.334, ..well.clone() }, "deadline"),
            (FaultRow { plain_samples: 1, ..well.clone() }, "plain sample"),
            (FaultRow { neighbour_lost: 1, ..well.clone() }, "neighbour"),
            (FaultRow { to_good_ms: slow, ..well.clone() }, "30 ms"),
            (FaultRow { reported: 1, ..well }, "leaves a report"),
            (FaultRow { to_end_ms: late, ..hung.clone() }, "hang limit"),
            (FaultRow { with_stack: 1, ..hung }, "hang limit"),
        ];
        for (row, words) in cases {
            let broken = broken(row);
            assert!(broken.len() == 1 && broken[0].contains(words), "{words}: {broken:?}");
        }
    }

    #[test]
    fn the_neighbour_may_lose_what_it_loses_without_faults_and_not_a_block_more() {
        let neighbour =
            |neighbour_lost| FaultRow { neighbour_lost, control_lost: Some(9), ..row(Kind::SigKill) };
        assert_eq!(broken(neighbour(9)), [""; 0]);
        assert_eq!(broken(neighbour(10)), ["the neighbour loses no more than without faults"]);
    }

    #[test]
    fn of_each_standby_the_slowest_takeover_is_held_against_its_own_target() {
        let blocks = |p50, max| Some(Spread { p50, max });
        let kept = |standby, to_good_blocks, max| {
            let to_good_ms = Some(Spread { p50: 1.0, max });
            let row = FaultRow { to_good_blocks, to_good_ms, ..row(Kind::SigKill) };
            let table = FaultTable { standby, ..table(vec![row]) };
            let verdict = table.verdicts().into_iter().find(|verdict| verdict.target.starts_with("SIGKILL"));
            verdict.unwrap().kept
        };
        assert_eq!([29.9, 30.0].map(|max| kept("spare", blocks(9.0, 12.0), max)), [true, false]);
        assert_eq!([399.9, 400.0].map(|max| kept("none", blocks(9.0, 150.0), max)), [true, false]);
        let twin =
            [(2.0, 4.0), (2.0, 5.0), (3.0, 4.0)].map(|(p50, max)| kept("twin", blocks(p50, max), 50.0));
        assert_eq!(twin, [true, false, false]);
    }

    #[test]
    fn a_spread_has_a_middle_and_a_maximum() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0, 9.0]), Some(Spread { p50: 2.0, max: 9.0 }));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
