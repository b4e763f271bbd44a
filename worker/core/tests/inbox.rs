//! Requests reach the main thread wherever it is, and the end of the host is seen.

// A test fails by panicking, also in its helpers.
#![allow(clippy::unwrap_used)]

use shared::clock;
use shared::control::{Control, ControlError};
use shared::format::Format;
use shared::layout::Layout;
use shared::message::{Ask, Gc, Request};
use shared::ring::{HostEnd, Wake, WorkerEnd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::scope;
use worker_core::inbox::Inbox;

const DEADLINE_NS: u64 = 60_000_000_000;

fn until(true_at_last: impl Fn() -> bool) {
    let deadline = clock::now_ns() + DEADLINE_NS;
    while !true_at_last() {
        assert!(clock::now_ns() < deadline);
        std::thread::yield_now();
    }
}

/// Whether a thread of this process sleeps.
fn is_asleep(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

#[test]
fn a_sleeper_that_missed_the_first_poke_is_poked_again_until_the_request_is_taken() {
    let layout = Layout::new(Format::new(2, 64, 48_000).unwrap(), 4).unwrap();
    let (_host, handles) = HostEnd::create(layout).unwrap();
    let mut end = WorkerEnd::map(&handles, layout).unwrap();
    let (host, worker) = Control::pair().unwrap();
    let inbox = Inbox::default();
    inbox.poke_ring(Some(end.waker()));
    let (looked_up, thread) = (AtomicBool::new(false), AtomicI32::new(0));
    scope(|scope| {
        scope.spawn(|| inbox.listen(&worker));
        host.send(&Request { id: 1, body: Ask::Stop }).unwrap();
        until(|| inbox.interrupt().load(Ordering::Acquire));
        // Falls asleep after the poke, and is told nothing but by another one.
        let sleeper = scope.spawn(|| {
            thread.store(rustix::thread::gettid().as_raw_pid(), Ordering::Release);
            end.wait(clock::now_ns() + 2 * DEADLINE_NS, &looked_up)
        });
        until(|| is_asleep(thread.load(Ordering::Acquire)));
        looked_up.store(true, Ordering::Release);
        until(|| sleeper.is_finished());
        assert_eq!(sleeper.join().unwrap(), Wake::Interrupted);
        assert_eq!(inbox.take().unwrap().0.id, 1);
        drop(host);
    });
}

#[test]
fn the_flag_is_up_exactly_while_a_request_waits() {
    let (host, worker) = Control::pair().unwrap();
    let inbox = Inbox::default();
    for id in 1..=3 {
        host.send(&Request { id, body: Ask::Start { gc: Gc::Host } }).unwrap();
    }
    drop(host);
    assert!(matches!(inbox.listen(&worker), ControlError::Closed));
    for id in 1..=3 {
        assert!(inbox.interrupt().load(Ordering::Acquire));
        inbox.wait();
        assert_eq!(inbox.take().unwrap().0.id, id);
    }
    assert!(!inbox.interrupt().load(Ordering::Acquire));
    assert!(inbox.take().is_none());
}

#[test]
fn words_that_are_no_request_end_the_listening() {
    let (host, worker) = Control::pair().unwrap();
    host.send(&"what?".to_string()).unwrap();
    assert!(matches!(Inbox::default().listen(&worker), ControlError::Codec(_)));
}
