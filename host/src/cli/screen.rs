//! The live screen of `nda run`.

/// Leaves the terminal as a shell expects it. From any thread.
pub(super) fn give_back_terminal() {}
