//! Where the time of a block goes: from the stamps that host and worker make on its way.
//!
//! The parts follow each other and add up to the whole: the first begins where the host begins with the block, the
//! last ends where it has the result.

use super::batch::Span;
use crate::report::model::{Figures, Part};
use host::telemetry::Passage;

/// What ends each part: the block is written, the worker's thread has woken, the plugin is called (until then other
/// threads may have kept the interpreter), it has returned, the host has noticed, and has copied the result.
pub const NAMES: [&str; 6] = ["written", "woken", "Python entered", "Python left", "noticed", "copied"];

/// The parts of each block whose passage is known. Both come in order; a block that was lost has no passage.
#[must_use]
pub fn of(spans: &[Span], passages: &[Passage]) -> Vec<[u64; NAMES.len()]> {
    let mut passages = passages.iter().peekable();
    let mut parts = Vec::with_capacity(spans.len());
    for span in spans {
        while passages.next_if(|passage| passage.noticed_ns < span.began_ns).is_some() {}
        if let Some(passage) = passages.next_if(|passage| passage.noticed_ns <= span.ended_ns) {
            parts.push(split(span, passage));
        }
    }
    parts
}

fn split(span: &Span, passage: &Passage) -> [u64; NAMES.len()] {
    let stamps = passage.stamps;
    // A pipelined block was handed over before the call that took it.
    let began_ns = if passage.asked_ns < span.began_ns { passage.asked_ns } else { span.began_ns };
    let ends_ns = [
        passage.written_ns,
        stamps.seen_ns,
        stamps.entered_ns,
        stamps.left_ns,
        passage.noticed_ns,
        span.ended_ns,
    ];
    let mut from_ns = began_ns;
    ends_ns.map(|end_ns| {
        // The worker's words may be anything.
        let took_ns = end_ns.saturating_sub(from_ns);
        from_ns = from_ns.max(end_ns);
        took_ns
    })
}

/// What is said of the parts of many blocks; nothing of none.
#[must_use]
pub fn figures(parts_ns: &[[u64; NAMES.len()]]) -> Vec<Part> {
    if parts_ns.is_empty() {
        return Vec::new();
    }
    let part = |(i, name): (usize, &&str)| {
        let Figures { p50_ns, p99_ns, .. } =
            Figures::of(&parts_ns.iter().map(|parts| parts[i]).collect::<Vec<_>>());
        Part { ends_with: (*name).to_owned(), p50_ns, p99_ns }
    };
    NAMES.iter().enumerate().map(part).collect()
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

    #[test]
    fn the_parts_of_a_block_add_up_to_its_time_and_a_lost_one_has_none() {
        let span = |at_ns| Span { began_ns: at_ns, ended_ns: at_ns + 120 };
        // One of the warm-up, and none of the second block.
        let passages = [passage(0), passage(1000), passage(3000)];
        let parts = of(&[span(1000), span(2000), span(3000)], &passages);
        assert_eq!(parts, [[10, 20, 10, 50, 10, 20]; 2]);
        assert_eq!(parts[0].iter().sum::<u64>(), 120);
    }

    #[test]
    fn a_worker_that_lies_makes_no_part_longer_than_the_clock_allows() {
        let mut lie = passage(1000);
        lie.stamps.seen_ns = 0;
        lie.stamps.left_ns = 5;
        let parts = of(&[Span { began_ns: 1000, ended_ns: 1120 }], &[lie]);
        assert_eq!(parts, [[10, 0, 30, 0, 60, 20]]);
    }

    #[test]
    fn each_part_is_named_by_what_ends_it() {
        let said = figures(&[[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]]);
        assert_eq!(said.iter().map(|part| part.p50_ns).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(said[2].ends_with, "Python entered");
        assert!(figures(&[]).is_empty());
    }
}
