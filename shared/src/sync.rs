//! The atomics of everything that two sides share, so that a model checker can take their place.
//!
//! For this crate: under `--cfg loom` these are loom's, whose every interleaving is tried (`model`). What maps memory
//! of another process is left out then; nothing else depends on the choice.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::thread::yield_now;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::thread::yield_now;
