//! Steering a run from outside, over a Unix socket that only its user may open; and looking at it, in a page of shared
//! memory.
//!
//! For `nda run`, which opens both, for `nda ctl`, which finds the socket, and for `nda top`, which finds the [`page`].
//! A client writes a [`Request`] in JSON on a line and gets a [`Reply`] on a line; so may any program of the user's. The
//! server's threads hand requests to the thread that runs and wait for its answer: none of this touches an audio thread,
//! and what a client does wrong ends with its connection at most. What a request does is in [`crate::run`].

mod client;
mod place;
mod server;
mod words;

pub mod page;

pub use client::ask;
pub use place::{Found, Place, find};
pub(crate) use server::CLIENTS;
pub use server::{Asked, Listener, Server};
pub use words::{Done, Refusal, Reply, Request};

/// Longest line that a client may write, in bytes.
pub const LINE_MAX: usize = 64 * 1024;
