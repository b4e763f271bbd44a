//! Who goes before whom while something is measured: as in a real pipeline, where that is allowed.
//!
//! The measuring thread takes the part of an audio thread and has its priority, whoever answers has that of a worker
//! that plays; workers have it already. So floor and host are measured alike, and other programs disturb neither. A
//! thread that has such a priority all the time is held up by the kernel for the others' sake: between two turns it
//! rests. Who waits for each block's time has rested in between, and is allowed only a moment.

use super::batch::Turn;
use crate::Outcome;
use rustix::process::Pid;
use shared::clock::{now_ns, sleep_until};
use shared::schedule::{self, Policy, Schedule};

/// As the host has it: `host::realtime`.
const AUDIO: u8 = 70;
const WORKER: u8 = 2;
/// The longest rest.
const REST_MAX_NS: u64 = 100_000_000;
/// The longest rest after paced blocks.
const REST_PACED_MAX_NS: u64 = 20_000_000;

fn fifo(priority: u8) -> Schedule {
    Schedule { policy: Policy::Fifo(priority), nice: 0, slice_ns: 0, reset_on_fork: true }
}

const ORDINARY: Schedule = Schedule { policy: Policy::Other, nice: 0, slice_ns: 0, reset_on_fork: true };

/// Gives a process that answers a worker's priority, where that is allowed.
pub fn answer(pid: Pid) {
    let _ = schedule::set(Some(pid), &fifo(WORKER));
}

/// Does this as an audio thread, where that is allowed; then rests for as long as it took.
///
/// # Errors
/// Those of what is done.
pub fn as_audio<T>(turn: &Turn, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let began_ns = now_ns();
    let is_first = schedule::set(None, &fifo(AUDIO)).is_ok();
    let done = work();
    if is_first {
        schedule::set(None, &ORDINARY)?;
        let now_ns = now_ns();
        let longest_ns = if turn.every_ns > 0 { REST_PACED_MAX_NS } else { REST_MAX_NS };
        sleep_until(now_ns + (now_ns - began_ns).min(longest_ns));
    }
    done
}
