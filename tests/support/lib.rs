//! What the outside tests share: a place to work in, the built program, small plugins.

pub mod plugin_file;
pub mod worker_process;
