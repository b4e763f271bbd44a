//! shared

pub mod format;
