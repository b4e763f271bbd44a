//! What happens after a plugin has failed: whether and when it is replaced, when it is called hung, and with
//! which state the next one starts.
//!
//! For the host's control threads. The decisions are pure: they are told what happened and what time it is, and
//! do nothing themselves. Nothing here runs on the audio thread.

pub(crate) mod hang;
pub(crate) mod restart;
pub(crate) mod snapshots;
