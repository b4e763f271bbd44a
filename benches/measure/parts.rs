//! Where the time of a block goes: from the stamps that host and workers make on its way.
//!
//! The parts follow each other and add up to the whole: the first begins where the host begins with the block, the
//! last ends where it has the result. In a chain the block goes from plugin to plugin, and each has its parts; where it
//! goes from worker to worker, a plugin's is woken by the one before it, and nobody notices until the last is done.

use super::batch::Span;
use crate::report::model::{Figures, Part};
use host::telemetry::Passage;

/// What ends each part: the block is written, the worker's thread has woken, the plugin is called (until then other
/// threads may have kept the interpreter), it has returned, the host has noticed, and has copied the result.
pub const NAMES: [&str; 6] = ["written", "woken", "Python entered", "Python left", "noticed", "copied"];
const COPIED: usize = NAMES.len() - 1;

/// How long each part of a block was with one plugin, in nanoseconds.
pub type Parts = [u64; NAMES.len()];

/// The parts of each block whose passages are known, plugin by plugin. Blocks and the passages of each plugin come in
/// order; a block that one of the plugins lost has no parts.
#[must_use]
pub fn of(spans: &[Span], passages: &[Vec<Passage>]) -> Vec<Vec<Parts>> {
    let mut passages: Vec<_> = passages.iter().map(|passages| passages.iter().peekable()).collect();
    let mut parts = Vec::with_capacity(spans.len());
    for span in spans {
        let within = passages.iter_mut().map(|passages| {
            while passages.next_if(|passage| passage.noticed_ns < span.began_ns).is_some() {}
            passages.next_if(|passage| passage.noticed_ns <= span.ended_ns)
        });
        // Each plugin's are looked through, also if one before it has none.
        let within: Vec<_> = within.collect();
        if let Some(all) = within.into_iter().collect::<Option<Vec<_>>>().filter(|all| !all.is_empty()) {
            parts.push(split(span, &all));
        }
    }
    parts
}

fn split(span: &Span, passages: &[&Passage]) -> Vec<Parts> {
    let mut parts = vec![Parts::default(); passages.len()];
    // A pipelined block was handed over before the call that took it.
    let mut from_ns = passages.first().map_or(span.began_ns, |first| first.asked_ns.min(span.began_ns));
    let mut until = |end_ns: u64| {
        // The workers' words may be anything.
        let took_ns = end_ns.saturating_sub(from_ns);
        from_ns = from_ns.max(end_ns);
        took_ns
    };
    for (at, passage) in passages.iter().enumerate() {
        if let Some(before) = at.checked_sub(1) {
            // The host had the result of the one before when it turned to this one.
            parts[before][COPIED] = until(passage.asked_ns);
        }
        let Passage { written_ns, stamps, noticed_ns, .. } = **passage;
        let ends_ns = [written_ns, stamps.seen_ns, stamps.entered_ns, stamps.left_ns, noticed_ns];
        for (part_ns, end_ns) in parts[at].iter_mut().zip(ends_ns) {
            *part_ns = until(end_ns);
        }
    }
    if let Some(last) = parts.last_mut() {
        last[COPIED] = until(span.ended_ns);
    }
    parts
}

/// What is said of the parts of many blocks, those of all their plugins together; nothing of none.
#[must_use]
pub fn figures(blocks: &[Vec<Parts>]) -> Vec<Part> {
    if blocks.is_empty() {
        return Vec::new();
    }
    let part = |(i, name): (usize, &&str)| {
        let of_block = |plugins: &Vec<Parts>| plugins.iter().map(|parts| parts[i]).sum();
        let Figures { p50_ns, p99_ns, .. } = Figures::of(&blocks.iter().map(of_block).collect::<Vec<_>>());
        Part { ends_with: (*name).to_owned(), p50_ns, p99_ns }
    };
    NAMES.iter().enumerate().map(part).collect()
}

/// How long blocks were with each plugin of a chain: medians. Nothing where there is only one.
#[must_use]
pub fn by_plugin(blocks: &[Vec<Parts>]) -> Vec<u64> {
    let plugins = blocks.first().map_or(0, Vec::len);
    let median = |at: usize| {
        let times_ns: Vec<u64> = blocks.iter().map(|plugins| plugins[at].iter().sum()).collect();
        Figures::of(&times_ns).p50_ns
    };
    if plugins > 1 { (0..plugins).map(median).collect() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ring::Stamps;

    fn passage(at_ns: u64) -> Passage {
        let stamps =
            Stamps { seen_ns: at_ns + 30, woken_ns: at_ns + 35, entered_ns: at_ns + 40, left_ns: at_ns + 90 };
        Passage { asked_ns: at_ns + 2, written_ns: at_ns + 10, stamps, noticed_ns: at_ns + 100 }
    }

    /// As the host tells it of a worker that hands on to the next one, or got its block from another.
    fn passed_by(asked_ns: u64, seen_ns: u64, left_ns: u64, noticed_ns: u64) -> Passage {
        let stamps = Stamps { seen_ns, woken_ns: seen_ns, entered_ns: seen_ns + 1, left_ns };
        // All are ordered before the first one is woken.
        Passage { asked_ns, written_ns: 1010, stamps, noticed_ns }
    }

    #[test]
    fn the_parts_of_a_block_add_up_to_its_time_and_a_lost_one_has_none() {
        let span = |at_ns| Span { began_ns: at_ns, ended_ns: at_ns + 120 };
        // One of the warm-up, and none of the second block.
        let passages = vec![passage(0), passage(1000), passage(3000)];
        let parts = of(&[span(1000), span(2000), span(3000)], &[passages]);
        assert_eq!(parts, [[[10, 20, 10, 50, 10, 20]]; 2]);
        assert_eq!(parts[0][0].iter().sum::<u64>(), 120);
    }

    #[test]
    fn a_worker_that_lies_makes_no_part_longer_than_the_clock_allows() {
        let mut lie = passage(1000);
        lie.stamps.seen_ns = 0;
        lie.stamps.left_ns = 5;
        let parts = of(&[Span { began_ns: 1000, ended_ns: 1120 }], &[vec![lie]]);
        assert_eq!(parts, [[[10, 0, 30, 0, 60, 20]]]);
    }

    #[test]
    fn where_workers_hand_on_the_next_one_is_woken_by_the_one_before() {
        let span = Span { began_ns: 1000, ended_ns: 1120 };
        let passages = [
            vec![passed_by(1002, 1030, 1050, 1050)],
            vec![passed_by(1050, 1070, 1075, 1075)],
            vec![passed_by(1075, 1090, 1100, 1110)],
        ];
        let parts = of(&[span], &passages);
        assert_eq!(parts, [[[10, 20, 1, 19, 0, 0], [0, 20, 1, 4, 0, 0], [0, 15, 1, 9, 10, 10]]]);
        assert_eq!(by_plugin(&parts), [50, 25, 45]);
        let sums: Vec<_> = figures(&parts).iter().map(|part| part.p50_ns).collect();
        assert_eq!(sums, [10, 55, 3, 32, 10, 10]);
    }

    #[test]
    fn through_the_host_each_plugin_is_asked_when_the_one_before_has_been_copied() {
        let span = Span { began_ns: 1000, ended_ns: 1320 };
        let parts = of(&[span], &[vec![passage(1000)], vec![passage(1200)]]);
        assert_eq!(parts, [[[10, 20, 10, 50, 10, 102], [8, 20, 10, 50, 10, 20]]]);
        assert_eq!(parts[0].iter().flatten().sum::<u64>(), 320);
    }

    #[test]
    fn a_block_that_one_of_a_chain_lost_has_no_parts_and_the_next_has() {
        let span = |at_ns| Span { began_ns: at_ns, ended_ns: at_ns + 120 };
        let (lost, both) = (vec![passage(2000)], vec![passage(1000), passage(2000)]);
        assert_eq!(of(&[span(1000), span(2000)], &[lost, both]).len(), 1);
        assert!(of(&[span(1000)], &[]).is_empty());
    }

    #[test]
    fn each_part_is_named_by_what_ends_it() {
        let said = figures(&[vec![[1, 2, 3, 4, 5, 6]], vec![[1, 2, 3, 4, 5, 6]]]);
        assert_eq!(said.iter().map(|part| part.p50_ns).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(said[2].ends_with, "Python entered");
        assert!(figures(&[]).is_empty());
        assert!(by_plugin(&[vec![[1; 6]]]).is_empty(), "one plugin has all of it");
    }
}
