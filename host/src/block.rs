//! block: to come in the next commit.
