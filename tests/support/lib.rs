//! What the outside tests share: a place to work in, the built program, small plugins.

pub mod worker_process;
