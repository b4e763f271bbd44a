//! The atomics of everything that two sides share, so that a model checker can take their place.
//!
//! For this crate: under `--cfg loom` these are loom's, whose every interleaving is tried (`tests/loom.rs`). Nothing
//! else chooses between the two.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
