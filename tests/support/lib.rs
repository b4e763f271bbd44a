//! What the outside tests share: a place to work in, the built program, small plugins.

pub mod audio;
pub mod chain;
pub mod config;
pub mod gate;
pub mod leftovers;
pub mod nda;
pub mod plugin_file;
pub mod plugins;
pub mod scene;
pub mod until;
pub mod wav;
pub mod worker_process;
pub mod workspace;
