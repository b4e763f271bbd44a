//! One Python plugin in its worker process.

pub mod spec;
