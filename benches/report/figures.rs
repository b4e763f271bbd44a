//! From many times to what is said of them.
//!
//! For measuring: a slice of nanoseconds or a histogram of them becomes [`Figures`]. Percentiles are those of
//! nearest rank: a time that was measured, never one between two. How many buckets a plot gets depends on how far
//! the times are apart, not on how many there are.

use super::model::Figures;
use hdrhistogram::Histogram;

/// Buckets of a doubling, as a power of two: 32, each 3 % wide at most.
const BUCKETS_LOG2: u32 = 5;

impl Figures {
    /// Of times in nanoseconds, in any order. Of none, all figures are 0.
    #[must_use]
    pub fn of(times_ns: &[u64]) -> Self {
        let mut sorted = times_ns.to_vec();
        sorted.sort_unstable();
        Self::of_counted(&sorted.into_iter().map(|time| (time, 1)).collect::<Vec<_>>())
    }

    /// Of a histogram of nanoseconds, as precise as that is.
    #[must_use]
    pub fn of_histogram(times_ns: &Histogram<u64>) -> Self {
        let longest = times_ns.max();
        let counted = times_ns.iter_recorded();
        let counted = counted.map(|v| (v.value_iterated_to().min(longest), v.count_at_value()));
        Self::of_counted(&counted.collect::<Vec<_>>())
    }

    /// Of rising times and how often each was measured.
    fn of_counted(counted: &[(u64, u64)]) -> Self {
        let count: u64 = counted.iter().map(|(_, n)| n).sum();
        let mean = |of: &dyn Fn(f64) -> f64| {
            let sum: f64 = counted.iter().map(|(time, n)| of(*time as f64) * *n as f64).sum();
            if count == 0 { 0.0 } else { sum / count as f64 }
        };
        let mean_ns = mean(&|time| time);
        Self {
            count,
            mean_ns,
            deviation_ns: mean(&|time| (time - mean_ns).powi(2)).sqrt(),
            min_ns: counted.first().map_or(0, |first| first.0),
            p50_ns: at(counted, per_mille(count, 500)),
            p99_ns: at(counted, per_mille(count, 990)),
            p999_ns: at(counted, per_mille(count, 999)),
            max_ns: counted.last().map_or(0, |last| last.0),
            histogram: buckets(counted),
        }
    }
}

/// How many of `count` the shortest so many per mille are, rounded up.
fn per_mille(count: u64, share: u64) -> u64 {
    (u128::from(count) * u128::from(share)).div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// The time that the first `rank` are not longer than.
fn at(counted: &[(u64, u64)], rank: u64) -> u64 {
    let mut seen = 0;
    let found = counted.iter().find(|(_, n)| {
        seen += n;
        seen >= rank
    });
    found.map_or(0, |(time, _)| *time)
}

fn buckets(counted: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    for &(time, n) in counted.iter().filter(|(_, n)| *n > 0) {
        let end = bucket_end(time);
        match buckets.last_mut() {
            Some(last) if last.0 == end => last.1 += n,
            _ => buckets.push((end, n)),
        }
    }
    buckets
}

/// The longest time that falls into the same bucket.
fn bucket_end(time: u64) -> u64 {
    let width_log2 = time.checked_ilog2().unwrap_or(0).saturating_sub(BUCKETS_LOG2);
    time | ((1 << width_log2) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_thousand_times_are_those_of_the_definition() {
        let times: Vec<u64> = (1..=1000).rev().collect();
        let figures = Figures::of(&times);
        assert_eq!((figures.count, figures.min_ns, figures.max_ns), (1000, 1, 1000));
        assert_eq!((figures.p50_ns, figures.p99_ns, figures.p999_ns), (500, 990, 999));
        assert!((figures.mean_ns - 500.5).abs() < 1e-9);
        // The variance of 1..=n is (n^2 - 1) / 12.
        assert!((figures.deviation_ns - (999_999.0_f64 / 12.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_percentile_of_few_times_is_the_longer_of_two() {
        let figures = Figures::of(&[10, 20, 30, 40, 50, 60, 70]);
        assert_eq!((figures.p50_ns, figures.p99_ns, figures.p999_ns), (40, 70, 70));
    }

    #[test]
    fn one_time_is_every_figure() {
        let figures = Figures::of(&[7]);
        let all = [figures.min_ns, figures.p50_ns, figures.p99_ns, figures.p999_ns, figures.max_ns];
        assert_eq!((all, figures.deviation_ns), ([7; 5], 0.0));
    }

    #[test]
    fn no_time_is_no_figure_and_no_division_by_zero() {
        let figures = Figures::of(&[]);
        assert_eq!((figures.count, figures.mean_ns, figures.deviation_ns, figures.max_ns), (0, 0.0, 0.0, 0));
        assert!(figures.histogram.is_empty());
    }

    #[test]
    fn a_histogram_says_the_same_as_its_times() {
        let times: Vec<u64> =
            (0..10_000).map(|i| 5_000 + i * 7 % 3_001 + (i % 997 / 996) * 900_000).collect();
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        times.iter().for_each(|time| histogram.record(*time).unwrap());
        let (exact, figures) = (Figures::of(&times), Figures::of_histogram(&histogram));
        let near = |a: u64, b: u64| (a as f64 / b as f64 - 1.0).abs() < 2e-3;
        assert_eq!(figures.count, exact.count);
        for (mine, its) in [
            (figures.min_ns, exact.min_ns),
            (figures.p50_ns, exact.p50_ns),
            (figures.p99_ns, exact.p99_ns),
            (figures.p999_ns, exact.p999_ns),
            (figures.max_ns, exact.max_ns),
        ] {
            assert!(near(mine, its), "{mine} {its}");
        }
        assert!((figures.mean_ns / exact.mean_ns - 1.0).abs() < 2e-3);
        assert!((figures.deviation_ns / exact.deviation_ns - 1.0).abs() < 2e-3);
    }

    #[test]
    fn a_plot_has_every_time_in_a_narrow_bucket_and_never_many_buckets() {
        let times: Vec<u64> = (0..50_000_u64).map(|i| 1 << (i % 34)).chain(1..20_000).collect();
        let buckets = Figures::of(&times).histogram;
        assert!(buckets.len() < 34 * 32, "{}", buckets.len());
        assert_eq!(buckets.iter().map(|(_, n)| n).sum::<u64>(), times.len() as u64);
        assert!(buckets.is_sorted() && buckets.iter().all(|(_, n)| *n > 0));
        for time in [1, 31, 32, 33, 1000, 1 << 33, u64::MAX] {
            let end = bucket_end(time);
            assert!(end >= time && (end - time) as f64 <= time as f64 / 32.0, "{time} {end}");
        }
    }
}
