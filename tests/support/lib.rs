//! What the outside tests share: a place to work in, the built program, small plugins.

pub mod audio;
pub mod chain;
pub mod config;
pub mod gate;
pub mod heard;
pub mod jack;
pub mod leftovers;
pub mod nda;
pub mod plugin_file;
pub mod plugins;
pub mod pulse;
pub mod scene;
pub mod server;
pub mod until;
pub mod wav;
pub mod worker_process;
pub mod workspace;
