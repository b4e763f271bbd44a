//! The judgement of the original system's specification on each series of a plugin.
//!
//! For tables and pages. "PASS when the mean is under 500 us, the standard deviation under 100 us and the maximum
//! under 1000 us, WARN up to 1000 us, FAIL above" is taken to mean, for each of the three figures: within its own
//! limit it passes, beyond that and up to 1000 us it warns, above 1000 us it fails; the worst of the three is the
//! series' own. So one block of more than 1 ms fails a series, as no figure is larger than its longest block.
//!
//! It speaks of one plugin: a chain is not judged, nor are bare processes.

use super::model::{Series, What};
use super::words::us;
use std::fmt;

/// Nothing may be above.
const FAIL_NS: f64 = 1e6;

/// From best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// All figures are under their limits.
    Pass,
    /// Some are not, but none is above 1000 us.
    Warn,
    /// One is above 1000 us.
    Fail,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

/// What is said of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement<'a> {
    /// The series.
    pub of: &'a Series,
    /// How good it is.
    pub grade: Grade,
    /// The figures that are not under their limits: "max 1812 us".
    pub reasons: Vec<String>,
}

/// A judgement on each series of one plugin, in the order of the series.
#[must_use]
pub fn of(series: &[Series]) -> Vec<Judgement<'_>> {
    let is_plugin =
        |it: &&Series| matches!(it.variant.what, What::Isolated | What::InProcess) && it.variant.chain == 1;
    series.iter().filter(is_plugin).map(judge).collect()
}

fn judge(of: &Series) -> Judgement<'_> {
    let figures = [
        ("mean", of.times.mean_ns, 500e3),
        ("deviation", of.times.deviation_ns, 100e3),
        ("max", of.times.max_ns as f64, 1000e3),
    ];
    let grade = |ns: f64, limit| match ns {
        _ if ns < limit => Grade::Pass,
        ..=FAIL_NS => Grade::Warn,
        _ => Grade::Fail,
    };
    let grades = figures.map(|(name, ns, limit)| (grade(ns, limit), format!("{name} {} us", us(ns))));
    let worst = grades.iter().map(|(grade, _)| *grade).max().unwrap_or(Grade::Pass);
    let reasons = grades.into_iter().filter(|(grade, _)| *grade > Grade::Pass).map(|(_, reason)| reason);
    Judgement { of, grade: worst, reasons: reasons.collect() }
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{series, variant};
    use super::super::model::Variant;
    use super::*;

    fn grade(mean_ns: f64, deviation_ns: f64, max_ns: u64) -> (Grade, String) {
        let mut one = series(variant(What::Isolated, "echo"), 7_000);
        (one.times.mean_ns, one.times.deviation_ns, one.times.max_ns) = (mean_ns, deviation_ns, max_ns);
        let all = [one];
        let judged = of(&all);
        (judged[0].grade, judged[0].reasons.join(", "))
    }

    #[test]
    fn all_three_figures_have_to_be_under_their_limits_to_pass() {
        assert_eq!(grade(499_999.0, 99_999.0, 999_999), (Grade::Pass, String::new()));
        assert_eq!(grade(500_000.0, 1.0, 900_000), (Grade::Warn, "mean 500 us".into()));
        assert_eq!(grade(10.0, 100_000.0, 900_000), (Grade::Warn, "deviation 100 us".into()));
    }

    #[test]
    fn up_to_1000_us_is_a_warning_and_above_a_failure() {
        assert_eq!(grade(10.0, 10.0, 1_000_000), (Grade::Warn, "max 1000 us".into()));
        assert_eq!(grade(10.0, 10.0, 1_812_000), (Grade::Fail, "max 1812 us".into()));
        assert_eq!(grade(600e3, 200e3, 2_000_000).0, Grade::Fail);
    }

    #[test]
    fn only_one_plugin_is_judged() {
        let chain = Variant { chain: 2, ..variant(What::Isolated, "echo") };
        let all = [
            series(chain, 1),
            series(variant(What::Floor, ""), 1),
            series(variant(What::InProcess, "echo"), 1),
        ];
        let judged: Vec<_> = of(&all).iter().map(|judged| judged.of.variant.what).collect();
        assert_eq!(judged, [What::InProcess]);
    }
}
