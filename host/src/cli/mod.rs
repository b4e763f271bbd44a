//! The subcommands of `nda`, one file each.
//!
//! For the binary. Each writes to what it is given, so that tests can read it.

pub mod devices;
