//! One Python plugin in its worker process: what the user asks of it, and its half on the audio thread.

pub(crate) mod conceal;
pub(crate) mod remote;
pub mod spec;

pub use remote::Remote;
