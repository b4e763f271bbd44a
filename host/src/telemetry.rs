//! telemetry: to come in the next commit.
