//! config: to come in the next commit.
