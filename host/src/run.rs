//! run: to come in the next commit.
