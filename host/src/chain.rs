//! chain: to come in the next commit.
