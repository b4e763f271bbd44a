//! Runs Python audio plugins, each in a process of its own, from any audio callback.
//!
//! A plugin may crash, hang or leak: the audio thread never waits for it beyond a bound, and nothing of it
//! reaches another plugin or your program. Put a [`chain::Chain`] into the callback; everything else happens on
//! other threads:
//!
//! ```no_run
//! use host::{builtin::Gain, chain::Chain, plugin::{Plugin, spec::PluginSpec}, supervisor::Supervisor, Format};
//!
//! # fn main() -> host::error::Result<()> {
//! let format = Format::new(2, 256, 48_000).expect("within bounds");
//! let (supervisor, _events) = Supervisor::new()?;
//! let spec = PluginSpec::new("plugins_py/examples/simple_gain.py").set("gain", "0.5");
//! let (plugin, remote) = Plugin::load(&supervisor, spec, format)?;
//! let mut chain = Chain::new(format, vec![Box::new(remote), Box::new(Gain::new(-3.0))])?;
//! let callback = move |samples: &mut [f32]| chain.process(samples); // 2 x 256, channel after channel
//! # let mut callback = callback;
//! # callback(&mut [0.0; 512]);
//! plugin.worker().set_parameter("gain", "0.7")?; // while it plays
//! # Ok(())
//! # }
//! ```
//!
//! The life of a plugin, in steps:
//!
//! 1. [`supervisor::Supervisor::new`] starts the one thread that spawns, watches and reaps workers.
//! 2. [`plugin::Plugin::load`] starts an interpreter, loads the plugin and gives two halves: the control half
//!    stays with you, the audio half ([`plugin::Remote`]) is a [`processor::Processor`] like any other.
//! 3. [`chain::Chain::new`] puts processors in a row and adds up their latency.
//! 4. [`chain::Chain::process`] is called in the audio callback, once a block; [`edge`] adapts other sizes.
//!    If one callback runs several blocks in a row, say so in [`plugin::Place`] when a pipelined plugin is loaded.
//! 5. [`plugin::Plugin::shutdown`] ends the worker; dropping the supervisor ends those that are left.
//!
//! Whole pipelines with devices and files are in [`pipeline`] and [`run`], offline rendering in [`render`]. The
//! command line `nda` is made of nothing else. This crate knows no Python, and has one unsafe expression:
//! cpal has custom hosts make what callbacks get that way, and the [virtual device](backend::virtual_device) is
//! one.

#![deny(unsafe_code)]

pub mod audio_file;
pub mod backend;
pub mod block;
pub mod builtin;
pub mod chain;
pub mod cli;
mod clock;
pub mod config;
pub mod control;
pub mod crash;
pub mod disk;
pub mod doctor;
pub mod edge;
pub mod error;
pub mod faults;
mod identity;
pub mod level;
pub mod loopback;
pub mod pipeline;
pub mod plugin;
pub mod processor;
mod queue;
mod random;
pub mod realtime;
mod recovery;
pub mod render;
pub mod report;
pub mod run;
mod section;
pub mod supervisor;
pub mod telemetry;
#[cfg(test)]
mod until;

pub use shared::format::Format;
