//! What a running stream tells and counts.
//!
//! The device's thread counts and tells, the owner reads: the counts are atomics, and telling of an xrun
//! allocates nothing.

use cpal::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a running stream has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// Frames were lost because a callback came or ended too late.
    Xrun,
    /// The stream is over: the device is gone, or must be opened again.
    DeviceLost(String),
    /// The audio system has moved the stream to another device, where it plays on.
    Moved {
        /// That device's name.
        name: String,
        /// Its id.
        id: String,
    },
    /// Something to tell the user.
    Other(String),
}

impl From<cpal::Error> for StreamEvent {
    fn from(error: cpal::Error) -> Self {
        match error.kind() {
            ErrorKind::Xrun => Self::Xrun,
            // The last one is PulseAudio's for a server that refuses, which no stream survives.
            ErrorKind::DeviceNotAvailable | ErrorKind::StreamInvalidated | ErrorKind::HostUnavailable => {
                Self::DeviceLost(error.to_string())
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

/// What happened to a stream so far, and whether it is over.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) xruns: AtomicU64,
    pub(super) scrubbed: AtomicU64,
    /// Set once its owner has dropped it. The device may call on, if it hung just then: nobody listens.
    over: AtomicBool,
}

impl Counts {
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Between the device's errors and the caller's `on_error`.
#[derive(Clone)]
pub(super) struct Teller<E> {
    pub(super) on_error: E,
    pub(super) counts: Arc<Counts>,
}

impl<E: FnMut(StreamEvent)> Teller<E> {
    pub(super) fn tell(&mut self, event: StreamEvent) {
        if self.counts.is_over() {
            return;
        }
        if event == StreamEvent::Xrun {
            self.counts.xruns.fetch_add(1, Ordering::Relaxed);
        }
        (self.on_error)(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_what_the_stream_needs() {
        let event = |kind| StreamEvent::from(cpal::Error::with_message(kind, "text"));
        assert_eq!(event(ErrorKind::Xrun), StreamEvent::Xrun);
        assert_eq!(event(ErrorKind::DeviceNotAvailable), StreamEvent::DeviceLost("text".into()));
        assert_eq!(event(ErrorKind::StreamInvalidated), StreamEvent::DeviceLost("text".into()));
        assert_eq!(event(ErrorKind::HostUnavailable), StreamEvent::DeviceLost("text".into()));
        // ALSA goes on after one; if its callbacks don't, whoever watches sees that.
        assert_eq!(event(ErrorKind::BackendError), StreamEvent::Other("text".into()));
        assert_eq!(event(ErrorKind::RealtimeDenied), StreamEvent::Other("text".into()));
    }

    #[test]
    fn each_xrun_is_counted_and_told_and_nothing_else_is_one() {
        let counts = Arc::new(Counts::default());
        let mut events = Vec::new();
        let mut teller = Teller { on_error: |event| events.push(event), counts: Arc::clone(&counts) };
        for kind in [ErrorKind::Xrun, ErrorKind::RealtimeDenied, ErrorKind::Xrun] {
            teller.tell(cpal::Error::new(kind).into());
        }
        assert_eq!(events.iter().filter(|event| **event == StreamEvent::Xrun).count(), 2);
        assert_eq!((events.len(), counts.xruns.load(Ordering::Relaxed)), (3, 2));
    }

    #[test]
    fn a_stream_that_is_over_tells_nothing() {
        let counts = Arc::new(Counts::default());
        counts.end();
        let on_error = |event| panic!("nobody asked for {event:?}");
        let mut teller = Teller { on_error, counts: Arc::clone(&counts) };
        teller.tell(StreamEvent::Xrun);
        assert_eq!(counts.xruns.load(Ordering::Relaxed), 0);
    }
}
