//! render: to come in the next commit.
