//! One Python plugin in its worker process.

pub mod interpreter;
pub mod spec;
pub mod worker;
