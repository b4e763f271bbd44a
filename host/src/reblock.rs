//! reblock: to come in the next commit.
