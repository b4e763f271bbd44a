//! The bell that makes the supervisor thread look at what it is to do, though no worker has said anything.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Result, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// One bell, rung by any thread.
#[derive(Debug, Clone)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(super) fn new() -> Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(bell)))
    }

    /// Makes the thread look. Never waits.
    pub(super) fn ring(&self) {
        // It fails if 2^64 rings wait to be heard.
        let _ = write(&*self.0, &1u64.to_ne_bytes());
    }

    /// The thread looks: all rings up to now are heard.
    pub(super) fn hear(&self) {
        // An error means that there were none.
        let _ = read(&*self.0, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
