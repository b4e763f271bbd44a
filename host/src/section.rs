//! section: to come in the next commit.
