//! What happened in a run: told at once, kept for its report; and what is left of pipelines that were closed.

use super::Observer;
use crate::config::PipelineSpec;
use crate::level::Level;
use crate::pipeline::Closed;
use crate::report::PipelineStatus;
use std::collections::VecDeque;

/// Lines kept for the report.
const LINES_MAX: usize = 1000;
/// Pipelines that were closed before the end, of which the report tells: the last ones.
const PAST_MAX: usize = 100;

/// Tells what happens.
pub(super) struct Told<'a> {
    pub(super) observer: &'a mut dyn Observer,
    pub(super) lines: VecDeque<String>,
}

impl<'a> Told<'a> {
    pub(super) fn new(observer: &'a mut dyn Observer) -> Self {
        Self { observer, lines: VecDeque::new() }
    }

    pub(super) fn line(&mut self, level: Level, line: String) {
        self.observer.event(level, &line);
        self.lines.push_back(line);
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
        }
    }
}

/// What is left of a pipeline that was closed.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) spec: PipelineSpec,
    pub(super) status: PipelineStatus,
    pub(super) news: Vec<(Level, String)>,
    pub(super) closed: Closed,
}

/// What became of pipelines that were closed.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) pipelines: VecDeque<(PipelineStatus, PipelineSpec)>,
    pub(super) damaged: Vec<String>,
    pub(super) unwilling: Vec<String>,
}

impl Past {
    /// Takes note of one, and tells what went wrong with its end.
    pub(super) fn add(&mut self, ended: Ended, told: &mut Told<'_>) {
        let Ended { spec, status, news, closed } = ended;
        news.into_iter().for_each(|(level, line)| told.line(level, line));
        self.pipelines.push_back((status, spec));
        if self.pipelines.len() > PAST_MAX {
            self.pipelines.pop_front();
        }
        let damaged: Vec<_> = closed.files.iter().map(ToString::to_string).collect();
        let unwilling: Vec<_> = closed.plugins.iter().map(ToString::to_string).collect();
        damaged.iter().chain(&unwilling).for_each(|line| told.line(Level::Error, line.clone()));
        self.damaged.extend(damaged);
        self.unwilling.extend(unwilling);
    }
}
