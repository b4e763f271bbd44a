//! How a worker is started: the contract between the host that spawns and the process that becomes a worker.
//!
//! The host runs `PYTHON -I -c SCRIPT MODULE` in a process group of its own, with the control socket as
//! descriptor 0 and the non-blocking write ends of two pipes as 1 and 2, and [`HOST_PID`] in the environment.
//! The worker moves the socket away, ends with its host, and says hello.

/// What the interpreter runs: checks the interpreter, loads the module, calls its `main`.
pub const SCRIPT: &str = include_str!("boot.py");

/// Environment variable with the host's process number, so that a worker sees if its host was gone before it
/// could ask to be told.
pub const HOST_PID: &str = "NDA_HOST_PID";

/// File name of the worker module.
pub const MODULE_FILE: &str = "libnda_worker.so";
