//! Requests from the host, received on a thread of their own and handed to the main thread.
//!
//! The main thread may be anywhere: asleep on the ring, asleep here, or inside a plugin that never returns. So
//! the receiving thread touches no Python, pokes the main thread until it has taken the request, and is the one
//! that sees that the host is gone.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use shared::control::{Control, ControlError};
use shared::message::Request;
use shared::ring::WorkerWaker;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A request and the descriptors that came with it.
pub type Incoming = (Request, Vec<OwnedFd>);

const FIRST_PAUSE_NS: i64 = 50_000;
const LONGEST_PAUSE_NS: i64 = 50_000_000;

/// Requests on their way from the receiving thread to the main thread.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    /// Up while a request waits; changed under the lock, read without it.
    interrupt: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Incoming>,
    /// Of the ring the main thread may be asleep on.
    ring: Option<WorkerWaker>,
    /// The last request has been answered.
    over: bool,
}

impl Inbox {
    /// Receives until there is nothing more to come, and says why.
    pub fn listen(&self, control: &Control) -> ControlError {
        loop {
            self.poke_until_readable(control);
            match control.receive() {
                Ok(incoming) => self.put(incoming),
                Err(over) => return over,
            }
        }
    }

    /// The flag that is up while a request waits.
    #[must_use]
    pub fn interrupt(&self) -> &AtomicBool {
        &self.interrupt
    }

    /// The next request, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<Incoming> {
        let mut waiting = self.lock();
        let incoming = waiting.requests.pop_front();
        self.interrupt.store(!waiting.requests.is_empty(), Ordering::Release);
        incoming
    }

    /// Waits until there is a request.
    pub fn wait(&self) {
        let waiting = self.lock();
        let none = |waiting: &mut Waiting| waiting.requests.is_empty();
        drop(self.arrived.wait_while(waiting, none).unwrap_or_else(PoisonError::into_inner));
    }

    /// Says which ring the main thread waits on from now on.
    pub fn poke_ring(&self, ring: Option<WorkerWaker>) {
        self.lock().ring = ring;
    }

    /// Says that the last request has been answered: the host may go now.
    pub fn finish(&self) {
        self.lock().over = true;
    }

    /// Whether the last request has been answered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lock().over
    }

    fn put(&self, incoming: Incoming) {
        let mut waiting = self.lock();
        waiting.requests.push_back(incoming);
        self.interrupt.store(true, Ordering::Release);
        drop(waiting);
        self.arrived.notify_one();
        self.poke();
    }

    fn poke(&self) {
        if let Some(ring) = &self.lock().ring {
            ring.wake();
        }
    }

    /// Waits for the socket. A main thread that was just falling asleep has missed a poke, so it is repeated.
    fn poke_until_readable(&self, control: &Control) {
        let mut pause = FIRST_PAUSE_NS;
        loop {
            let untaken = self.interrupt.load(Ordering::Acquire);
            let timeout = Timespec { tv_sec: 0, tv_nsec: pause };
            match poll(&mut [PollFd::new(control, PollFlags::IN)], untaken.then_some(&timeout)) {
                Ok(0) => self.poke(),
                Err(Errno::INTR) => {}
                // An error is for `receive` to find.
                _ => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE_NS);
        }
    }

    /// Nothing under the lock can leave it half-changed, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
