//! Ranges of rates, channels and buffers, as devices tell them and people read them.
//!
//! For the list of devices and for the errors that say what a device offers instead.

use cpal::SupportedBufferSize;
use serde::Serialize;
use std::fmt;

/// From the smallest to the greatest, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The smallest.
    pub min: u32,
    /// The greatest.
    pub max: u32,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

pub(super) fn spans(all: impl Iterator<Item = Span>) -> String {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.dedup();
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn buffer_span(size: SupportedBufferSize) -> Option<Span> {
    match size {
        SupportedBufferSize::Range { min, max } => Some(Span { min, max }),
        SupportedBufferSize::Unknown => None,
    }
}

pub(super) fn union(a: Option<Span>, b: Option<Span>) -> Option<Span> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Span { min: a.min.min(b.min), max: a.max.max(b.max) }),
        (a, b) => a.or(b),
    }
}
