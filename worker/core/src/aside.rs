//! Lets every other worker go first while this one does something that no block waits for.
//!
//! For the loop in `serve`, when the collector runs: several workers share a processor, with the same real-time priority,
//! and whoever has the processor keeps it from the others until it waits. It is the calling thread alone that steps aside,
//! and where it has no such priority, or could not have it back, it stays where it is.

use rustix::process::{Resource, geteuid, getrlimit};
use shared::schedule::{self, Policy, Schedule};

/// Below every other worker, above all that is no real-time thread.
const LOWEST: u8 = 1;

/// The calling thread is aside while this lives.
#[derive(Debug)]
pub struct Aside {
    /// How it went before, if that was ahead of others.
    before: Option<Schedule>,
}

impl Aside {
    /// Steps aside. A few system calls, which do not wait, and two more when this is dropped.
    #[must_use]
    pub fn step() -> Self {
        let ahead = |own: &Schedule| matches!(own.policy, Policy::Fifo(it) if it > LOWEST && may_have(it));
        let before = schedule::get(None).ok().filter(ahead);
        let before = before
            .filter(|own| schedule::set(None, &Schedule { policy: Policy::Fifo(LOWEST), ..*own }).is_ok());
        Self { before }
    }
}

/// Whether the calling thread may give itself this real-time priority.
fn may_have(priority: u8) -> bool {
    let limit = getrlimit(Resource::Rtprio).current;
    geteuid().is_root() || limit.is_none_or(|most| most >= u64::from(priority))
}

impl Drop for Aside {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        // The host may have had it give way meanwhile.
        let is_aside = schedule::get(None).is_ok_and(|own| own.policy == Policy::Fifo(LOWEST));
        if is_aside {
            let _ = schedule::set(None, &before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Policy {
        schedule::get(None).unwrap().policy
    }

    /// What a thread with this rule answers, if there may be one.
    fn with(policy: Policy, what: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let rule = Schedule { policy, ..schedule::get(None).unwrap() };
                if schedule::set(None, &rule).is_ok() {
                    what();
                }
            });
        });
    }

    #[test]
    fn who_is_ahead_of_others_steps_aside_and_is_ahead_again_afterwards() {
        with(Policy::Fifo(10), || {
            let aside = Aside::step();
            assert_eq!(own(), Policy::Fifo(LOWEST));
            drop(aside);
            assert_eq!(own(), Policy::Fifo(10));
        });
    }

    #[test]
    fn who_is_not_stays_where_it_is_and_who_was_made_to_give_way_too() {
        let aside = Aside::step();
        assert!(aside.before.is_none());
        with(Policy::Fifo(10), || {
            let aside = Aside::step();
            schedule::set(None, &Schedule { policy: Policy::Other, ..schedule::get(None).unwrap() }).unwrap();
            drop(aside);
            assert_eq!(own(), Policy::Other);
        });
    }
}
