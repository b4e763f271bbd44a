//! Why the figures of a run can't be trusted, a sentence each, with the figure that says so.
//!
//! For measuring, which reads the machine's state before and after and hands both in. A doubt changes no figure
//! and fails nothing; whoever compares with other runs should have none.

use super::machine::clock_mhz;
use super::model::{Machine, Series, What};
use super::words::whole_us;
use std::fs::read_to_string;

/// More than so much work at the start was not ours.
const LOAD_MAX: f64 = 0.5;
/// A share of stolen time that shows in a 99.9th percentile.
const STOLEN_MAX: f64 = 0.001;
/// Another clock by more than this makes other times.
const CLOCK_CHANGE_MAX: f64 = 0.05;
/// A longest block so many times p99.9 is not the hand-off's.
const OUTLIER: f64 = 10.0;
/// Turns whose medians differ by more than this did not measure the same thing.
const TURNS_MAX: f64 = 1.5;
/// So many blocks for a p99.9 that is not just the longest.
pub(super) const BLOCKS_MIN: u64 = 1000;

/// How busy the machine was up to a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// Ticks of all processors.
    pub all: u64,
    /// Those in which they worked for this machine.
    pub busy: u64,
    /// Those that a hypervisor gave to somebody else.
    pub stolen: u64,
    /// Processes that ran or wanted to, over the last minute.
    pub load: f64,
    /// The processor's clock, if known.
    pub clock_mhz: Option<f64>,
}

impl Reading {
    /// As it is now. What the kernel does not tell counts as nothing.
    #[must_use]
    pub fn now() -> Self {
        let file = |path| read_to_string(path).unwrap_or_default();
        let clock_mhz = clock_mhz(&file("/proc/cpuinfo"));
        Self { clock_mhz, ..Self::parse(&file("/proc/stat"), &file("/proc/loadavg")) }
    }

    /// From the texts of `/proc/stat` and `/proc/loadavg`.
    fn parse(stat: &str, loadavg: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        let at = |i: usize| ticks.get(i).copied().unwrap_or(0);
        let all = ticks.iter().sum();
        let load = loadavg.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
        Self { all, busy: all - at(3) - at(4) - at(7), stolen: at(7), load, clock_mhz: None }
    }

    /// The share of all time since `before` that was of this kind.
    #[must_use]
    pub fn share_since(&self, before: &Self, of: fn(&Self) -> u64) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        of(self).saturating_sub(of(before)) as f64 / all as f64
    }
}

/// All doubts about these series, measured on this machine between two readings.
#[must_use]
pub fn of(machine: &Machine, series: &[Series], before: &Reading, after: &Reading) -> Vec<String> {
    let told = [
        stolen(before, after),
        load(before),
        governor(machine),
        clock(before, after),
        clocksource(machine),
        too_few(series),
        turns(series),
        outliers(series),
        below_the_floor(series),
    ];
    told.into_iter().flatten().collect()
}

fn stolen(before: &Reading, after: &Reading) -> Option<String> {
    let stolen = after.share_since(before, |reading| reading.stolen);
    let told = || format!("the hypervisor took {:.2} % of the processor's time away", stolen * 100.0);
    (stolen > STOLEN_MAX).then(told)
}

fn load(before: &Reading) -> Option<String> {
    let told = || {
        format!("other work was going on, or a moment before: the load was {:.2} at the start", before.load)
    };
    (before.load >= LOAD_MAX).then(told)
}

fn governor(machine: &Machine) -> Option<String> {
    let governor = machine.governor.as_deref().filter(|governor| *governor != "performance")?;
    Some(format!(
        "the clock's governor is \"{governor}\", not \"performance\": times depend on what ran before"
    ))
}

fn clock(before: &Reading, after: &Reading) -> Option<String> {
    let (from, to) = (before.clock_mhz?, after.clock_mhz?);
    let told = || format!("the processor's clock went from {from:.0} to {to:.0} MHz in the meantime");
    ((to / from - 1.0).abs() > CLOCK_CHANGE_MAX).then(told)
}

fn clocksource(machine: &Machine) -> Option<String> {
    let source = machine.clocksource.as_str();
    let told =
        || format!("the clock source is \"{source}\": each look at the clock takes about a microsecond");
    ["hpet", "acpi_pm", "jiffies"].contains(&source).then(told)
}

fn too_few(series: &[Series]) -> Option<String> {
    let few = series.iter().filter(|series| series.times.count < BLOCKS_MIN);
    let least = few.clone().map(|series| series.times.count).min()?;
    Some(format!(
        "{} rest on fewer than {BLOCKS_MIN} blocks, down to {least}: too few for a p99.9",
        of_all(few.count(), series),
    ))
}

/// The largest median of a turn over the smallest, where there are several turns.
fn spread(series: &Series) -> Option<f64> {
    let turns = &series.turns_p50_ns;
    let (shortest, longest) = (turns.iter().min()?, turns.iter().max()?);
    Some(*longest as f64 / *(shortest.max(&1)) as f64)
}

fn turns(series: &[Series]) -> Option<String> {
    let unsteady = series.iter().filter_map(|series| Some((spread(series)?, series)));
    let unsteady = unsteady.filter(|(spread, _)| *spread > TURNS_MAX);
    let (worst, which) = unsteady.clone().max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(format!(
        "in {} the medians of the turns differ by more than {TURNS_MAX}, most by {worst:.1} ({})",
        of_all(unsteady.count(), series),
        which.variant.name(),
    ))
}

fn outliers(series: &[Series]) -> Option<String> {
    let factor = |series: &Series| series.times.max_ns as f64 / series.times.p999_ns.max(1) as f64;
    let far = series.iter().filter(|series| factor(series) > OUTLIER);
    let worst = far.clone().max_by(|a, b| factor(a).total_cmp(&factor(b)))?;
    let (max, p999) = (whole_us(worst.times.max_ns), whole_us(worst.times.p999_ns));
    Some(format!(
        "in {} the longest block took more than {OUTLIER} times p99.9, in one {max} us against {p999} ({})",
        of_all(far.count(), series),
        worst.variant.name(),
    ))
}

/// What does more than the floor can't take less.
fn below_the_floor(series: &[Series]) -> Option<String> {
    let floor = |of: &Series| super::pairs::floor_of(series, &of.variant);
    let isolated = series.iter().filter(|series| series.variant.what == What::Isolated);
    let pairs = isolated.filter_map(|series| Some((series, floor(series)?)));
    let below = pairs.filter(|(series, floor)| series.times.p50_ns < floor.times.p50_ns);
    let (which, floor) = below.clone().next()?;
    Some(format!(
        "{} took less than the floor, which does less: they did not run alike ({}, {} us against {})",
        of_all(below.count(), series),
        which.variant.name(),
        whole_us(which.times.p50_ns),
        whole_us(floor.times.p50_ns),
    ))
}

fn of_all(count: usize, series: &[Series]) -> String {
    format!("{count} of {} series", series.len())
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{machine, series, variant};
    use super::*;

    fn doubts(series: &[Series]) -> Vec<String> {
        of(&machine(), series, &Reading::default(), &Reading::default())
    }

    fn floor() -> Series {
        series(variant(What::Floor, ""), 6_000)
    }

    #[test]
    fn a_quiet_machine_leaves_no_doubt() {
        assert_eq!(doubts(&[floor(), series(variant(What::Isolated, "echo"), 7_000)]), Vec::<String>::new());
    }

    #[test]
    fn stolen_and_busy_time_are_read_from_the_kernels_text() {
        let stat = "cpu  100 10 40 700 50 5 5 90\ncpu0 1 1 1 1\n";
        let reading = Reading::parse(stat, "1.45 0.80 0.20 2/100 4711\n");
        assert_eq!(reading, Reading { all: 1000, busy: 160, stolen: 90, load: 1.45, clock_mhz: None });
        assert_eq!(Reading::parse("", ""), Reading::default());
    }

    #[test]
    fn stolen_time_and_load_are_told_with_their_figure() {
        let before = Reading { all: 1000, stolen: 50, load: 1.45, ..Reading::default() };
        let after = Reading { all: 3000, stolen: 75, ..before };
        let told = of(&machine(), &[], &before, &after);
        assert!(told[0].contains("1.25 %"), "{told:?}");
        assert!(told[1].contains("1.45 at the start"), "{told:?}");
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn a_clock_that_moves_is_told() {
        let at = |mhz| Reading { clock_mhz: Some(mhz), ..Reading::default() };
        let powersave = Machine { governor: Some("powersave".into()), ..machine() };
        let told = of(&powersave, &[], &at(2000.0), &at(2900.0));
        assert!(told[0].contains("powersave") && told[1].contains("2000 to 2900 MHz"), "{told:?}");
        assert!(of(&machine(), &[], &at(2000.0), &at(2050.0)).is_empty());
        let slow = Machine { clocksource: "hpet".into(), ..machine() };
        assert!(of(&slow, &[], &at(1.0), &at(1.0))[0].contains("hpet"));
    }

    #[test]
    fn too_few_blocks_for_a_percentile_are_told() {
        let mut few = floor();
        few.times.count = 999;
        let told = doubts(&[few, floor()]);
        assert!(told[0].starts_with("1 of 2 series rest on fewer than 1000 blocks, down to 999"), "{told:?}");
    }

    #[test]
    fn turns_that_differ_are_told_with_the_series() {
        let mut unsteady = floor();
        unsteady.turns_p50_ns = vec![6_000, 12_000];
        let told = doubts(&[floor(), unsteady]);
        assert!(told[0].contains("1 of 2 series") && told[0].contains("most by 2.0 (floor"), "{told:?}");
    }

    #[test]
    fn one_block_that_took_far_too_long_is_told() {
        let mut far = floor();
        (far.times.p999_ns, far.times.max_ns) = (80_000, 4_440_000);
        let told = doubts(&[far]);
        assert!(told[0].contains("in one 4440 us against 80.0"), "{told:?}");
    }

    #[test]
    fn nothing_is_quicker_than_the_floor() {
        let told = doubts(&[floor(), series(variant(What::Isolated, "passthrough"), 5_000)]);
        assert!(told[0].contains("less than the floor"), "{told:?}");
    }
}
