//! How many times as long something takes as what it is measured against, within one run.
//!
//! For tables, pages and comparisons of runs: a ratio says the same on a slower machine, a time does not. Of medians
//! only; what is beyond them is the machine's more than the code's.

use super::model::{Series, What};
use super::pairs;
use std::fmt;

/// What a series is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Two bare processes with a futex.
    Floor,
    /// The same plugin in the worker's own runner; as often as the chain is long.
    InProcess,
    /// The call of a method that does nothing.
    NoOp,
    /// The same arithmetic in a plain numpy loop.
    PlainNumpy,
    /// pedalboard's gain.
    Pedalboard,
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "floor",
            Self::InProcess => "in process",
            Self::NoOp => "no-op call",
            Self::PlainNumpy => "plain numpy",
            Self::Pedalboard => "pedalboard",
        })
    }
}

/// One comparison of medians.
#[derive(Debug, Clone, Copy)]
pub struct Ratio<'a> {
    /// What took so long.
    pub of: &'a Series,
    /// What it is measured against.
    pub against: Against,
    /// Its partner.
    pub partner: &'a Series,
    /// The one's median over the other's.
    pub value: f64,
}

/// What this series is measured against.
#[must_use]
pub fn of<'a>(all: &'a [Series], series: &'a Series) -> Vec<Ratio<'a>> {
    let variant = &series.variant;
    let beside = |what| pairs::in_one_process(all, variant, what);
    let partners = match variant.what {
        What::Isolated => vec![
            (Against::Floor, pairs::floor_of(all, variant)),
            (Against::InProcess, beside(What::InProcess)),
            (Against::PlainNumpy, beside(What::PlainNumpy)),
            (Against::Pedalboard, beside(What::Pedalboard)),
        ],
        What::InProcess => vec![
            (Against::NoOp, pairs::no_op(all, variant)),
            (Against::PlainNumpy, beside(What::PlainNumpy)),
            (Against::Pedalboard, beside(What::Pedalboard)),
        ],
        What::RawSync | What::Eventfd | What::Pipe | What::UnixSocket => {
            vec![(Against::Floor, pairs::floor_of(all, variant))]
        }
        What::Floor | What::NoOp | What::PlainNumpy | What::Pedalboard => Vec::new(),
    };
    let ratio = |(against, partner): (Against, Option<&'a Series>)| ratio(series, against, partner?);
    partners.into_iter().filter_map(ratio).collect()
}

/// Nothing where the partner took no time at all.
fn ratio<'a>(of: &'a Series, against: Against, partner: &'a Series) -> Option<Ratio<'a>> {
    let ratio = Ratio { of, against, partner, value: 0.0 };
    (partner.times.p50_ns > 0).then(|| Ratio { value: ratio.between(|series| series.times.p50_ns), ..ratio })
}

impl Ratio<'_> {
    /// The same ratio of the 99th percentiles.
    #[must_use]
    pub fn p99(&self) -> f64 {
        self.between(|series| series.times.p99_ns)
    }

    fn between(&self, ns: impl Fn(&Series) -> u64) -> f64 {
        let plugins = pairs::times_of_chain(&self.of.variant, &self.partner.variant);
        let times = if self.against == Against::Floor { 1.0 } else { plugins };
        ns(self.of) as f64 / (ns(self.partner).max(1) as f64 * times)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{series, variant};
    use super::super::model::Variant;
    use super::*;

    #[test]
    fn an_isolated_series_is_measured_against_all_that_does_its_work() {
        let all = [
            series(variant(What::Isolated, "gain"), 9_000),
            series(variant(What::Floor, ""), 6_000),
            series(variant(What::InProcess, "gain"), 3_000),
            series(variant(What::PlainNumpy, "gain"), 2_000),
            series(variant(What::NoOp, ""), 100),
        ];
        let found = |i: usize| -> Vec<_> {
            of(&all, &all[i]).into_iter().map(|r| (r.against, (r.value * 10.0).round() / 10.0)).collect()
        };
        let p50 = |i: usize| all[i].times.p50_ns as f64;
        let near = |value: f64| (value * 10.0).round() / 10.0;
        assert_eq!(
            found(0),
            [
                (Against::Floor, near(p50(0) / p50(1))),
                (Against::InProcess, near(p50(0) / p50(2))),
                (Against::PlainNumpy, near(p50(0) / p50(3)))
            ]
        );
        assert_eq!(found(2)[0], (Against::NoOp, near(p50(2) / p50(4))));
        assert!(found(1).is_empty() && found(4).is_empty());
    }

    #[test]
    fn a_chain_is_measured_against_as_many_plugins_in_process() {
        let chain = Variant { chain: 4, ..variant(What::Isolated, "gain") };
        let all = [series(chain, 20_000), series(variant(What::InProcess, "gain"), 1_000)];
        let ratios = of(&all, &all[0]);
        let expected = all[0].times.p50_ns as f64 / (4.0 * all[1].times.p50_ns as f64);
        assert_eq!((ratios.len(), ratios[0].value), (1, expected));
    }

    #[test]
    fn nothing_is_divided_by_no_time() {
        let mut all =
            [series(variant(What::Isolated, "gain"), 9_000), series(variant(What::Floor, ""), 6_000)];
        all[1].times.p50_ns = 0;
        assert!(of(&all, &all[0]).is_empty());
    }
}
