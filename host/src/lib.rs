//! host

pub mod audio_file;
pub mod backend;
pub mod block;
pub mod builtin;
pub mod chain;
pub mod cli;
pub mod config;
pub mod error;
pub mod pipeline;
pub mod plugin;
pub mod processor;
pub mod reblock;
pub mod render;
pub mod report;
pub mod run;
pub mod section;
pub mod supervisor;
pub mod telemetry;
