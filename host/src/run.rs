//! A run in real time: opens every pipeline, lets them play, tells an observer, ends cleanly.

use crate::config::Config;
use crate::error::Result;
use crate::report::{PipelineStatus, RunReport};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Is told how a run goes; for screens. Called about ten times a second, never on the audio thread.
pub trait Observer {
    /// Something happened: one line, in words.
    fn event(&mut self, line: &str);
    /// How every pipeline is doing.
    fn status(&mut self, elapsed: Duration, pipelines: &[PipelineStatus]);
}

/// Runs the pipelines until every source has ended, `limit` is over or `stop` is set.
///
/// # Errors
/// What the start found: nothing runs then, and nothing is left behind.
pub fn run(
    config: &Config,
    limit: Option<Duration>,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunReport> {
    let _ = (config, limit, stop, observer);
    unimplemented!()
}
