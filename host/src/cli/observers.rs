//! Several observers of one run: a screen or lines, a log, a service manager.

use crate::level::Level;
use crate::report::PipelineStatus;
use crate::run::Observer;
use std::time::Duration;

/// Each is told what happens, in this order.
pub(super) struct Observers<'a>(pub(super) Vec<Box<dyn Observer + 'a>>);

impl Observer for Observers<'_> {
    fn opening(&mut self, pipeline: &str) {
        self.0.iter_mut().for_each(|one| one.opening(pipeline));
    }

    fn event(&mut self, level: Level, line: &str) {
        self.0.iter_mut().for_each(|one| one.event(level, line));
    }

    fn status(&mut self, elapsed: Duration, pipelines: &[PipelineStatus]) {
        self.0.iter_mut().for_each(|one| one.status(elapsed, pipelines));
    }

    fn owing(&mut self, owing: bool) {
        self.0.iter_mut().for_each(|one| one.owing(owing));
    }

    fn ending(&mut self) {
        self.0.iter_mut().for_each(|one| one.ending());
    }
}
