//! pipeline: to come in the next commit.
