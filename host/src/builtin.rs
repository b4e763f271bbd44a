//! builtin: to come in the next commit.
