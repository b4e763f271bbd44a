//! processor: to come in the next commit.
