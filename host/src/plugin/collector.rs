//! What Python's collector did in a plugin's workers, over all of them.
//!
//! For the status and the reports. The figures are the workers' own: shown, never relied upon.

use super::spec::Gc;
use serde::Serialize;
use shared::ring::WorkerCounts;

/// The collector's figures of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct CollectorStatus {
    /// Who decides when it runs.
    pub gc: Gc,
    /// Collections of the youngest generation alone.
    pub young: u64,
    /// Collections of older ones.
    pub older: u64,
    /// Those of both that were not scheduled between two blocks: begun by Python itself or by the plugin.
    pub unscheduled: u64,
    /// Time that all of them took, in milliseconds.
    pub total_ms: f64,
    /// The longest, in milliseconds.
    pub longest_ms: f64,
}

/// What is known of one plugin's collector.
#[derive(Debug)]
pub(crate) struct Collector {
    counts: WorkerCounts,
    /// Of the workers before.
    before: CollectorStatus,
}

impl Collector {
    pub(crate) fn new(gc: Gc, counts: WorkerCounts) -> Self {
        Self { counts, before: CollectorStatus { gc, ..CollectorStatus::default() } }
    }

    /// The figures so far.
    pub(crate) fn status(&self) -> CollectorStatus {
        let (before, now) = (self.before, self.counts.collected());
        CollectorStatus {
            gc: before.gc,
            young: before.young + u64::from(now.young),
            older: before.older + u64::from(now.older),
            unscheduled: before.unscheduled + u64::from(now.unscheduled),
            total_ms: before.total_ms + now.ns as f64 / 1e6,
            longest_ms: before.longest_ms.max(f64::from(now.longest_us) / 1e3),
        }
    }

    /// Goes on with the figures of another worker.
    pub(crate) fn follow(&mut self, counts: WorkerCounts) {
        self.before = self.status();
        self.counts = counts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::collected::Collected;
    use shared::format::Format;
    use shared::layout::Layout;
    use shared::ring::{HostEnd, WorkerEnd};

    #[test]
    fn the_figures_of_all_workers_are_put_together() {
        let ring = || {
            let layout = Layout::new(Format::new(1, 16, 48_000).unwrap(), 2).unwrap();
            let (host, handles) = HostEnd::create(layout).unwrap();
            (host.worker_counts(), WorkerEnd::map(&handles, layout).unwrap())
        };
        let ((first_counts, first), (second_counts, second)) = (ring(), ring());
        let told = Collected { ns: 3_000_000, longest_us: 2500, young: 4, older: 1, unscheduled: 1 };
        first.tell_collected(told);
        let mut collector = Collector::new(Gc::Host, first_counts);
        collector.follow(second_counts);
        second.tell_collected(Collected { longest_us: 100, unscheduled: 0, ..told });
        let both = CollectorStatus {
            gc: Gc::Host,
            young: 8,
            older: 2,
            unscheduled: 1,
            total_ms: 6.0,
            longest_ms: 2.5,
        };
        assert_eq!(collector.status(), both);
    }
}
