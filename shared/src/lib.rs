//! What the host and a worker process agree on, and nothing else.
//!
//! Two processes that do not trust each other share two memory segments and a socket. This crate says how the segments
//! are laid out ([`layout`]), made and sealed ([`segment`]), how blocks of audio pass through them ([`ring`]), what a
//! worker counts for show ([`collected`]), what is said on the socket ([`message`], [`control`]) and how a worker ends
//! ([`exit`]).
//!
//! It knows no Python, no audio device and starts no thread. The rules it keeps:
//!
//! - each segment, and each doorstep between two workers, is written by one process and only read by the other: a worker
//!   can't do otherwise;
//! - a word the peer writes is compared with what is expected or shown to people, never used as an index, a length
//!   or a bound;
//! - no reference to memory the peer writes, except to atomics;
//! - every wait has a deadline, and there is no lock in shared memory.

pub mod boot;
pub mod clock;
pub mod collected;
pub mod control;
pub mod exit;
pub mod format;
#[cfg(not(loom))]
mod futex;
#[cfg(loom)]
#[path = "model/futex.rs"]
mod futex;
pub mod layout;
pub mod message;
#[cfg(loom)]
#[cfg(test)]
mod model;
pub mod ring;
#[cfg(not(loom))]
pub mod schedule;
#[cfg(not(loom))]
pub mod segment;
pub mod spin;
mod sync;
mod wait;

/// The line that a worker writes to standard error behind the stacks that it was asked for.
pub const STACKS_END: &str = "-- end of stacks --\n";

/// Version of everything in this crate that both processes must agree on. The worker says it first.
pub const PROTOCOL: u32 = 9;
