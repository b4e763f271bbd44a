//! The worker's life without Python: what the extension module does that needs no interpreter.
//!
//! For the `worker` crate, and for tests, which drive it with plugins that are not Python.
//!
//! 1. [`handoff`] takes what the host handed over and ties this process to its host.
//! 2. [`inbox`] receives requests on a thread of its own, which sees the host's end even while the plugin hangs.
//! 3. [`serve`] answers requests and blocks in order, through the trait [`plugin::Plugin`].
//! 4. [`toll`] measures what a slow block cost.
//! 5. [`collector`] decides when Python's collector runs.
//! 6. [`leave`] ends the process with a reason that the host can read.
//!
//! It knows no Python object and never prints for the plugin.

pub mod archive;
pub mod aside;
pub mod collector;
pub mod denormals;
pub mod handoff;
pub mod inbox;
pub mod leave;
pub mod plugin;
pub mod reasons;
pub mod serve;
mod state;
pub mod toll;
