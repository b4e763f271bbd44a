//! report: to come in the next commit.
