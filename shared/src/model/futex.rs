//! The kernel's futexes as far as anybody may rely on them, for the model checker.
//!
//! Looking at the words and falling asleep is one step, as against a wake; nothing else is sure, not even that the
//! two order other memory. There are no deadlines: who isn't woken sleeps for ever, and that is told as a deadlock.

use crate::sync::{AtomicU32, Ordering};
use loom::sync::Mutex;
use loom::thread::{self, Thread};
use std::ptr;

/// A word, and what it held when it was looked at: who waits sleeps only while it still does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) value: u32,
}

struct Sleeper {
    words: Vec<*const AtomicU32>,
    thread: Thread,
}

#[derive(Default)]
struct Kernel {
    sleepers: Vec<Sleeper>,
    calls: usize,
}

loom::lazy_static! {
    static ref KERNEL: Mutex<Kernel> = Mutex::default();
}

fn kernel<T>(call: impl FnOnce(&mut Kernel) -> T) -> T {
    call(&mut KERNEL.lock().expect("nobody panics in there"))
}

/// No deadline ever comes.
pub(crate) fn wait(seen: Seen<'_>, _deadline_ns: u64) -> bool {
    wait_for_any(&[seen]);
    false
}

pub(crate) fn wait_for_either(seen: [Seen<'_>; 2], _deadline_ns: u64) -> bool {
    wait_for_any(&seen);
    false
}

fn wait_for_any(seen: &[Seen<'_>]) {
    let falls_asleep = kernel(|kernel| {
        let is_as_seen = seen.iter().all(|seen| seen.word.load(Ordering::Relaxed) == seen.value);
        if is_as_seen {
            let words = seen.iter().map(|seen| ptr::from_ref(seen.word)).collect();
            kernel.sleepers.push(Sleeper { words, thread: thread::current() });
        }
        is_as_seen
    });
    if falls_asleep {
        thread::park();
    }
}

pub(crate) fn wake(word: &AtomicU32) {
    wake_some(word, 1);
}

pub(crate) fn wake_all(word: &AtomicU32) {
    wake_some(word, usize::MAX);
}

/// Those who have slept longest first.
fn wake_some(word: &AtomicU32, most: usize) {
    kernel(|kernel| {
        kernel.calls += 1;
        let mut left = most;
        kernel.sleepers.retain(|sleeper| {
            let wakes = left > 0 && sleeper.words.contains(&ptr::from_ref(word));
            if wakes {
                left -= 1;
                sleeper.thread.unpark();
            }
            !wakes
        });
    });
}

/// How many wakes the kernel was asked for in this run of a model.
#[cfg(test)]
pub(crate) fn calls() -> usize {
    kernel(|kernel| kernel.calls)
}
