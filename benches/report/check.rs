//! Whether a run is worse than one of before: by its ratios, never by its times.
//!
//! For `--check`. A ratio of two medians of one run says the same on a faster or a busier machine; a time does not.
//! Even so two runs differ, and a check that cries wolf is switched off. So a ratio has regressed when it is larger
//! than before by more than a limit, which is the larger of two:
//!
//! - 1.6. Below it lies what two runs of the same code were seen to differ by on a shared machine: the memory, the
//!   core and the neighbours that a process happens to get stay with it for the whole run, and no turn shows them. 2.5 where
//!   the baseline is of another processor or of other rights, since what a switch costs beside a call differs with them.
//! - What the turns show. Each of the four medians (the series and its partner, then and now) has a wobble: how far
//!   its turns' medians went from it, as a factor. They go their ways independently, so their logarithms add up by
//!   their squares. Where that is more than 3 the run was too restless for a ratio within it to say anything: it is told
//!   but not judged, as a limit wide enough would let everything pass under the name of a check. One that is worse by
//!   more than even that has regressed.
//!
//! A ratio that would be judged and that only one of the runs has is not checked, and so no check that was passed: a
//! series may have been lost, or the baseline may be older than one. It is excused where it had to be missing: one of the
//! runs was restricted (`--only`), or they are of different sets, or the machine of the run that lacks it could not
//! measure one of its two series.
//!
//! 99th percentiles are told and not judged: they are the machine's more than the code's. Not judged are also series
//! that the scheduler placed (one core or two is a factor of ten, by its mood), those with a load beside them, and
//! what does not belong to this project.

use super::json::Unreadable;
use super::model::{Cores, Machine, Run, Series, Variant, What};
use super::ratios::{self, Against, Ratio};
use super::words::{number, visible};
use std::fmt;

/// No ratio has regressed by less.
const LIMIT_MIN: f64 = 1.6;
/// On another machine.
const LIMIT_MIN_ELSEWHERE: f64 = 2.5;
/// So many ratios that one run lacks are told one by one.
const TOLD_MAX: usize = 8;
/// Where the turns ask for more, nothing can be said of what is within it.
const RESTLESS: f64 = 3.0;

/// What the comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No ratio that was judged is worse.
    Kept,
    /// At least one is.
    Regressed,
    /// None is, but at least one that would be judged is in one of the runs only.
    Unchecked,
    /// The machine was too restless, then or now, for any ratio to be judged: no regression, and no proof of none.
    TooRestless,
    /// The runs have nothing in common that could be judged: no check that was passed.
    NothingJudged,
}

impl Outcome {
    /// Whether the check is passed. What only says that the machine was busy must not fail who checks on shared ones.
    #[must_use]
    pub fn is_passed(self) -> bool {
        match self {
            Self::Kept | Self::TooRestless => true,
            Self::Regressed | Self::Unchecked | Self::NothingJudged => false,
        }
    }
}

/// What is said of one ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Within its limit.
    Kept,
    /// Beyond it.
    Regressed,
    /// The turns differ too much, then or now.
    Restless,
    /// Of a kind that is told only.
    Told,
}

/// One ratio in both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Whose ratio.
    pub variant: Variant,
    /// To what.
    pub against: Against,
    /// That of medians, before.
    pub old: f64,
    /// And now.
    pub new: f64,
    /// What it may be now.
    pub limit: f64,
    /// What is said of it.
    pub standing: Standing,
    /// That of the 99th percentiles, before and now, for information.
    pub p99: (f64, f64),
}

/// A ratio that would be judged, but that one of the runs lacks without an excuse.
#[derive(Debug, Clone, PartialEq)]
pub struct Unchecked {
    /// Whose ratio.
    pub variant: Variant,
    /// To what.
    pub against: Against,
    /// It is the new run that lacks it, not the baseline.
    pub is_lost: bool,
}

/// Two runs side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Ratios that both have, in the order of the new run.
    pub ratios: Vec<Compared>,
    /// Those that only one has and that should have been judged: first what the new run lacks.
    pub unchecked: Vec<Unchecked>,
    /// What differs between the runs besides, and what one of them lacks; a sentence each.
    pub notes: Vec<String>,
}

/// Compares a run with one of before.
#[must_use]
pub fn against(baseline: &Run, run: &Run) -> Comparison {
    let (old, new) = (all_ratios(&baseline.series), all_ratios(&run.series));
    let least = if is_alike(&baseline.machine, &run.machine) { LIMIT_MIN } else { LIMIT_MIN_ELSEWHERE };
    let both = new.iter().filter_map(|new| Some(compare(&old[twin(new, &old)?], new, least)));
    let mut comparison =
        Comparison { ratios: both.collect(), unchecked: Vec::new(), notes: differences(baseline, run) };
    let may_differ = [baseline, run].iter().any(|run| !run.only.is_empty()) || baseline.quick != run.quick;
    let unmeasured = |run: &'_ Run, ratio: &Ratio<'_>| {
        may_differ || [ratio.of, ratio.partner].iter().any(|it| run.unmeasured.contains(&it.variant))
    };
    comparison.miss(&old, &new, true, |ratio| unmeasured(run, ratio));
    comparison.miss(&new, &old, false, |ratio| unmeasured(baseline, ratio));
    comparison
}

/// The same ratio of another run.
fn twin(of: &Ratio<'_>, among: &[Ratio<'_>]) -> Option<usize> {
    among.iter().position(|it| it.against == of.against && it.of.variant == of.of.variant)
}

/// Compares a run with a baseline's text.
///
/// # Errors
/// If the text is no run of this version.
pub fn against_text(baseline: &str, run: &Run) -> Result<Comparison, Unreadable> {
    Ok(against(&super::json::read(baseline)?, run))
}

fn all_ratios(series: &[Series]) -> Vec<Ratio<'_>> {
    series.iter().flat_map(|it| ratios::of(series, it)).collect()
}

fn compare(old: &Ratio<'_>, new: &Ratio<'_>, least: f64) -> Compared {
    let wobbles = [old.of, old.partner, new.of, new.partner].map(wobble);
    let spread = wobbles.iter().map(|wobble| wobble.ln().powi(2)).sum::<f64>().sqrt().exp();
    let limit = old.value * spread.max(least);
    let standing = match () {
        () if !is_judged(new) => Standing::Told,
        () if new.value > limit => Standing::Regressed,
        () if spread > RESTLESS => Standing::Restless,
        () => Standing::Kept,
    };
    Compared {
        variant: new.of.variant.clone(),
        against: new.against,
        old: old.value,
        new: new.value,
        limit,
        standing,
        p99: (old.p99(), new.p99()),
    }
}

/// The largest factor between a median and that of one of its turns, 1 where they agree.
fn wobble(series: &Series) -> f64 {
    let middle = series.times.p50_ns.max(1) as f64;
    let factor = |turn: &u64| {
        let turn = (*turn).max(1) as f64;
        (turn / middle).max(middle / turn)
    };
    series.turns_p50_ns.iter().map(factor).fold(1.0, f64::max)
}

fn is_judged(ratio: &Ratio<'_>) -> bool {
    let it = &ratio.of.variant;
    match it.what {
        What::Isolated => it.cores != Cores::Any && !it.loaded,
        What::InProcess => !it.loaded,
        _ => false,
    }
}

/// Whether a switch and a call cost about the same on both.
fn is_alike(old: &Machine, new: &Machine) -> bool {
    old.cpu == new.cpu && old.rights == new.rights
}

/// What else is different: told, so that nobody takes a new machine for a regression or the other way round.
fn differences(baseline: &Run, run: &Run) -> Vec<String> {
    let (old, new) = (&baseline.machine, &run.machine);
    let of = |what: &str, of: fn(&Machine) -> String| {
        let (old, new) = (of(old), of(new));
        (old != new).then(|| format!("the baseline is of another {what}: {old}, now {new}"))
    };
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "none known".to_owned());
    let mut notes: Vec<String> = [
        of("processor", |machine| machine.cpu.clone()),
        of("number of cores", |machine| machine.cores.to_string()),
        of("kernel", |machine| machine.kernel.clone()),
        of("Python", |machine| machine.python.clone()),
        of("set of rights", |machine| machine.rights.clone()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if baseline.quick != run.quick {
        notes.push("one run is of the quick set, the other of the full one".to_owned());
    }
    if old.hypervisor != new.hypervisor {
        let (old, new) = (known(&old.hypervisor), known(&new.hypervisor));
        notes.push(format!("the baseline is of another hypervisor: {old}, now {new}"));
    }
    notes
}

impl Comparison {
    /// Takes note of the ratios that only one run has: those of them that are judged count, unless they are excused.
    fn miss(
        &mut self,
        has: &[Ratio<'_>],
        lacks: &[Ratio<'_>],
        is_lost: bool,
        is_excused: impl Fn(&Ratio<'_>) -> bool,
    ) {
        let alone = has.iter().filter(|it| twin(it, lacks).is_none());
        let (noted, unchecked): (Vec<&Ratio<'_>>, Vec<_>) =
            alone.partition(|it| !is_judged(it) || is_excused(it));
        self.unchecked.extend(unchecked.into_iter().map(|it| Unchecked {
            variant: it.of.variant.clone(),
            against: it.against,
            is_lost,
        }));
        let which = if is_lost { "in the baseline" } else { "in this run" };
        let told = noted.iter().take(TOLD_MAX);
        self.notes.extend(told.map(|it| format!("only {which}: {}, x {}", it.of.variant.name(), it.against)));
        let more = noted.len().saturating_sub(TOLD_MAX);
        self.notes.extend((more > 0).then(|| format!("only {which}: {more} ratios more")));
    }

    /// What it came to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let any = |standing| self.ratios.iter().any(|it| it.standing == standing);
        let is_any_judged = any(Standing::Kept) || any(Standing::Restless);
        match () {
            () if any(Standing::Regressed) => Outcome::Regressed,
            () if is_any_judged && !self.unchecked.is_empty() => Outcome::Unchecked,
            () if any(Standing::Kept) => Outcome::Kept,
            () if any(Standing::Restless) => Outcome::TooRestless,
            () => Outcome::NothingJudged,
        }
    }
}

/// The table of ratios, what differs besides, and what it came to, in lines of at most 110 characters where names
/// are not longer.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>8} {:>8} {:>8}  {:>17}", "before", "now", "limit", "p99 before, now")?;
        for it in &self.ratios {
            let [old, new, limit, p99_old, p99_new] =
                [it.old, it.new, it.limit, it.p99.0, it.p99.1].map(number);
            let limit = if it.standing == Standing::Told { "-".to_owned() } else { limit };
            writeln!(f, "{old:>8} {new:>8} {limit:>8}  {p99_old:>8} {p99_new:>8}  {}", it.standing)?;
            writeln!(f, "    x {}: {}", it.against, it.variant.name())?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {}", visible(note)))?;
        self.conclude(f)
    }
}

impl Comparison {
    fn conclude(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |standing| self.ratios.iter().filter(|it| it.standing == standing).count();
        let (kept, worse) = (count(Standing::Kept), count(Standing::Regressed));
        let unjudged = self.ratios.len() - kept - worse;
        self.tell_unchecked(f)?;
        match self.outcome() {
            Outcome::Kept => writeln!(f, "no regression: {kept} ratios kept, {unjudged} told only"),
            Outcome::Unchecked => {
                writeln!(
                    f,
                    "NOT ALL CHECKED: {} ratios are missing; {kept} kept, {unjudged} told only",
                    self.unchecked.len()
                )
            }
            Outcome::TooRestless | Outcome::NothingJudged => {
                writeln!(f, "NOTHING JUDGED: {}", self.why_nothing())
            }
            Outcome::Regressed => {
                writeln!(f, "REGRESSED: {worse} of {} ratios that were judged", kept + worse)?;
                let worse = self.ratios.iter().filter(|it| it.standing == Standing::Regressed);
                for it in worse {
                    let (old, new, limit) = (number(it.old), number(it.new), number(it.limit));
                    let what = format!("{} x {} after {old}, limit {limit}", new, it.against);
                    writeln!(f, "    {what}: {}", it.variant.name())?;
                }
                Ok(())
            }
        }
    }
}

impl Comparison {
    /// Each ratio that should have been judged and was not, and what to do about it.
    fn tell_unchecked(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in self.unchecked.iter().take(TOLD_MAX) {
            let lacks = if it.is_lost { "this run" } else { "the baseline" };
            writeln!(f, "MISSING in {lacks}: {}, x {}", it.variant.name(), it.against)?;
        }
        let more = self.unchecked.len().saturating_sub(TOLD_MAX);
        if more > 0 {
            writeln!(f, "MISSING: {more} ratios more")?;
        }
        if !self.unchecked.is_empty() {
            writeln!(
                f,
                "    where that is meant, make a new baseline with the same set: nda bench --json FILE"
            )?;
        }
        Ok(())
    }
}

impl Comparison {
    /// Why no ratio could be judged, and what to do about it.
    fn why_nothing(&self) -> String {
        let restless = self.ratios.iter().filter(|it| it.standing == Standing::Restless).count();
        let quieter = "run it again on a quieter machine";
        let like_it =
            "check a run of the same variants as the baseline's, or make a new one: nda bench --json FILE";
        match (self.ratios.len(), restless) {
            (0, _) => format!("the two runs have no ratio in common; {like_it}"),
            (all, 0) => {
                format!("the ratios that both runs have ({all}) are of kinds that are told only; {like_it}")
            }
            (_, restless) => {
                format!("the turns of {restless} ratios differ too much, then or now; {quieter}")
            }
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Regressed => "REGRESSED",
            Self::Restless => "too restless to judge",
            Self::Told => "told only",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{run, series, variant, whole};
    use super::*;
    use crate::measure::plan::{Wanted, plan};

    fn pair(isolated_ns: u64, floor_ns: u64) -> Run {
        let exact = |variant, p50_ns| {
            let mut it = series(variant, p50_ns);
            it.times.p50_ns = p50_ns;
            it.turns_p50_ns = vec![p50_ns; 5];
            it
        };
        run(vec![
            exact(variant(What::Isolated, "echo"), isolated_ns),
            exact(variant(What::Floor, ""), floor_ns),
        ])
    }

    #[test]
    fn a_run_is_no_worse_than_itself() {
        let comparison = against(&whole(), &whole());
        assert_eq!((comparison.outcome(), comparison.notes.len()), (Outcome::Kept, 0));
        assert!(comparison.ratios.len() > 30);
    }

    #[test]
    fn a_check_fails_if_something_is_worse_or_missing_or_nothing_could_ever_be_judged() {
        let passed = [Outcome::Kept, Outcome::TooRestless];
        let failed = [Outcome::Regressed, Outcome::Unchecked, Outcome::NothingJudged];
        assert_eq!((passed.map(Outcome::is_passed), failed.map(Outcome::is_passed)), ([true; 2], [false; 3]));
    }

    #[test]
    fn a_machine_that_is_ten_times_slower_is_no_regression() {
        let comparison = against(&pair(7_000, 6_000), &pair(70_000, 60_000));
        assert_eq!(comparison.outcome(), Outcome::Kept);
    }

    #[test]
    fn twice_the_ratio_is_a_regression_even_if_it_takes_less_time() {
        let comparison = against(&pair(70_000, 60_000), &pair(14_000, 6_000));
        assert_eq!(comparison.outcome(), Outcome::Regressed);
        let text = comparison.to_string();
        assert!(text.contains("2.33 x floor after 1.17, limit 1.87: isolated echo"), "{text}");
        assert_eq!(against(&pair(6_000, 6_000), &pair(9_500, 6_000)).outcome(), Outcome::Kept);
        assert_eq!(against(&pair(14_000, 6_000), &pair(7_000, 6_000)).outcome(), Outcome::Kept);
    }

    #[test]
    fn another_machine_is_allowed_more() {
        let (old, mut new) = (pair(6_000, 6_000), pair(14_000, 6_000));
        assert_eq!(against(&old, &new).outcome(), Outcome::Regressed);
        new.machine.cpu = "another".to_owned();
        assert_eq!(against(&old, &new).outcome(), Outcome::Kept);
        new.series[0].times.p50_ns = 16_000;
        new.series[0].turns_p50_ns = vec![16_000];
        assert_eq!(against(&old, &new).outcome(), Outcome::Regressed);
    }

    #[test]
    fn turns_that_differ_widen_the_limit_and_too_much_of_that_is_told() {
        let (old, mut new) = (pair(6_000, 6_000), pair(12_000, 6_000));
        new.series[0].turns_p50_ns = vec![6_000, 12_000, 12_000];
        let comparison = against(&old, &new);
        assert_eq!((comparison.outcome(), comparison.ratios[0].limit), (Outcome::Kept, 2.0));
        new.series[0].turns_p50_ns = vec![3_000, 12_000];
        let comparison = against(&old, &new);
        assert_eq!(comparison.ratios[0].standing, Standing::Restless);
        assert_eq!(comparison.outcome(), Outcome::TooRestless);
        assert!(comparison.to_string().ends_with("; run it again on a quieter machine\n"), "{comparison}");
        // What even that does not explain is worse on any machine.
        new.series[0].times.p50_ns = 60_000;
        new.series[0].turns_p50_ns = vec![15_000, 60_000];
        let comparison = against(&old, &new);
        assert_eq!((comparison.outcome(), comparison.ratios[0].limit), (Outcome::Regressed, 4.0));
    }

    #[test]
    fn a_restless_partner_counts_as_much_as_a_restless_series() {
        let (mut old, new) = (pair(6_000, 6_000), pair(12_000, 6_000));
        old.series[1].turns_p50_ns = vec![6_000, 12_600];
        assert_eq!(against(&old, &new).outcome(), Outcome::Kept);
    }

    #[test]
    fn a_long_tail_alone_is_told_and_no_regression() {
        let mut new = pair(7_000, 6_000);
        new.series[0].times.p99_ns = 9_000_000;
        let comparison = against(&pair(7_000, 6_000), &new);
        assert_eq!(comparison.outcome(), Outcome::Kept);
        assert!(comparison.ratios[0].p99.1 > 100.0);
    }

    #[test]
    fn what_the_scheduler_placed_is_told_only() {
        let anywhere = |mut run: Run| {
            run.series.iter_mut().for_each(|it| it.variant.cores = Cores::Any);
            run
        };
        let comparison = against(&anywhere(pair(6_000, 6_000)), &anywhere(pair(60_000, 6_000)));
        assert_eq!(comparison.ratios[0].standing, Standing::Told);
        assert_eq!(comparison.outcome(), Outcome::NothingJudged);
        assert!(
            comparison.to_string().contains("NOTHING JUDGED: the ratios that both runs have (1)"),
            "{comparison}"
        );
    }

    #[test]
    fn what_one_run_lacks_and_another_machine_are_told() {
        let (old, mut new) = (whole(), whole());
        new.machine.cpu = "another".into();
        new.series.retain(|it| it.variant.what != What::NoOp);
        let comparison = against(&old, &new);
        assert!(comparison.notes[0].ends_with("now another"), "{:?}", comparison.notes);
        let lacks = "in process passthrough, one process, 2 x 512 frames, back to back, x no-op";
        assert!(comparison.to_string().contains(&format!("MISSING in this run: {lacks}")), "{comparison}");
        assert_eq!(comparison.outcome(), Outcome::Unchecked);
        let swapped = against(&new, &old);
        assert_eq!(swapped.outcome(), Outcome::Unchecked);
        assert!(swapped.to_string().contains(&format!("MISSING in the baseline: {lacks}")), "{swapped}");
    }

    /// A run of the same set without its last series, which is judged.
    fn poorer() -> (Run, Run) {
        let whole = pair(7_000, 6_000);
        let mut more = whole.clone();
        let twice = Variant { chain: 2, ..variant(What::Isolated, "echo") };
        more.series.extend([
            series(twice.clone(), 14_000),
            series(Variant { what: What::Floor, plugin: String::new(), ..twice }, 9_000),
        ]);
        (more, whole)
    }

    #[test]
    fn a_ratio_that_is_lost_or_new_fails_the_check_though_all_others_are_kept() {
        let (more, less) = poorer();
        for (baseline, run, lacks) in [(&more, &less, "this run"), (&less, &more, "the baseline")] {
            let comparison = against(baseline, run);
            assert_eq!(comparison.outcome(), Outcome::Unchecked, "{comparison}");
            let told = format!(
                "MISSING in {lacks}: isolated echo, parked, one core, chain of 2, 2 x 512 frames, back to back, x floor"
            );
            assert!(comparison.to_string().contains(&told), "{comparison}");
            assert!(
                comparison
                    .to_string()
                    .ends_with("NOT ALL CHECKED: 1 ratios are missing; 1 kept, 0 told only\n"),
                "{comparison}"
            );
        }
    }

    #[test]
    fn a_worse_ratio_is_told_before_a_missing_one() {
        let (more, mut less) = poorer();
        less.series[0] = pair(70_000, 6_000).series.remove(0);
        assert_eq!(against(&more, &less).outcome(), Outcome::Regressed);
    }

    #[test]
    fn what_was_picked_is_not_held_against_what_was_not() {
        let (more, mut less) = poorer();
        less.only.push("chain-1".into());
        for (baseline, run) in [(&more, &less), (&less, &more)] {
            let comparison = against(baseline, run);
            assert_eq!((comparison.outcome(), comparison.notes.len()), (Outcome::Kept, 1), "{comparison}");
        }
        less.only.clear();
        less.quick = false;
        assert_eq!(against(&more, &less).outcome(), Outcome::Kept, "another set");
    }

    #[test]
    fn what_the_machine_could_not_measure_is_told_and_no_failure_on_its_side_alone() {
        let (more, mut less) = poorer();
        // The floor of it is enough: without that there is no ratio.
        less.unmeasured.push(more.series[3].variant.clone());
        assert_eq!(against(&more, &less).outcome(), Outcome::Kept);
        assert_eq!(against(&less, &more).outcome(), Outcome::Kept);
        let (mut more, less) = poorer();
        more.unmeasured.push(more.series[3].variant.clone());
        assert_eq!(against(&more, &less).outcome(), Outcome::Unchecked, "the one that lacks it could have");
    }

    #[test]
    fn a_ratio_of_a_kind_that_is_not_judged_may_come_and_go() {
        let (mut more, less) = poorer();
        more.series[2..].iter_mut().for_each(|it| it.variant.loaded = true);
        let comparison = against(&more, &less);
        assert_eq!((comparison.outcome(), comparison.notes.len()), (Outcome::Kept, 1), "{comparison}");
    }

    #[test]
    fn the_baseline_of_this_repository_has_every_ratio_of_the_quick_set_that_is_judged_and_no_other() {
        let baseline = super::super::json::read(include_str!("../baseline.json")).unwrap();
        let wanted = Wanted { quick: true, ..Wanted::default() };
        let now = plan(&wanted).into_iter().map(|entry| series(entry.variant, 5_000)).collect();
        let comparison = against(&baseline, &run(now));
        assert_eq!(comparison.unchecked, []);
    }

    #[test]
    fn a_run_that_lacks_most_of_the_baseline_is_told_in_few_lines() {
        let mut new = whole();
        new.series.drain(..60);
        let text = against(&whole(), &new).to_string();
        assert_eq!(text.lines().filter(|line| line.starts_with("MISSING")).count(), TOLD_MAX + 1, "{text}");
        new.quick = false;
        let notes = against(&whole(), &new).notes;
        assert_eq!(notes.len(), 1 + TOLD_MAX + 1, "{notes:?}");
        assert!(notes[0].contains("quick set") && notes[9].ends_with(" ratios more"), "{notes:?}");
    }

    #[test]
    fn runs_that_share_nothing_are_not_taken_for_good() {
        let comparison = against(&run(Vec::new()), &whole());
        assert_eq!(comparison.outcome(), Outcome::NothingJudged);
        assert!(comparison.to_string().contains("have no ratio in common; check a run of"), "{comparison}");
    }

    #[test]
    fn a_baseline_that_is_rubbish_is_told() {
        assert!(against_text("rubbish", &whole()).is_err());
    }
}
