//! What happened in a run: told at once, kept for its report; and what is left of pipelines that were closed.

use super::Observer;
use crate::config::PipelineSpec;
use crate::level::Level;
use crate::pipeline::Closed;
use crate::report::PipelineStatus;
use std::collections::VecDeque;

/// Lines kept for the report.
const LINES_MAX: usize = 1000;
/// Pipelines that were closed before the end, of which the report tells, and what was wrong with their files and their
/// plugins: the last ones.
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
        keep(&mut self.lines, line, LINES_MAX);
    }
}

/// Adds one more, and lets the first one go if there are too many: a run may last for months.
fn keep<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    all.push_back(one);
    if all.len() > most {
        all.pop_front();
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
    pub(super) damaged: VecDeque<String>,
    pub(super) unwilling: VecDeque<String>,
}

impl Past {
    /// Takes note of one, and tells what went wrong with its end.
    pub(super) fn add(&mut self, ended: Ended, told: &mut Told<'_>) {
        let Ended { spec, status, news, closed } = ended;
        news.into_iter().for_each(|(level, line)| told.line(level, line));
        keep(&mut self.pipelines, (status, spec), PAST_MAX);
        let damaged: Vec<_> = closed.files.iter().map(ToString::to_string).collect();
        let unwilling: Vec<_> = closed.plugins.iter().map(ToString::to_string).collect();
        damaged.iter().chain(&unwilling).for_each(|line| told.line(Level::Error, line.clone()));
        damaged.into_iter().for_each(|line| keep(&mut self.damaged, line, PAST_MAX));
        unwilling.into_iter().for_each(|line| keep(&mut self.unwilling, line, PAST_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SinkSpec, SourceSpec};
    use crate::error::{Error, Kind};
    use crate::pipeline::Pipeline;
    use crate::run::tests::Deaf;
    use crate::supervisor::Supervisor;

    #[test]
    fn of_a_run_whose_pipelines_end_badly_again_and_again_no_more_is_kept_than_of_their_last_ends() {
        let mut deaf = Deaf;
        let (mut told, mut past) = (Told::new(&mut deaf), Past::default());
        let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::device("virtual"));
        let (supervisor, _events) = Supervisor::new().unwrap();
        let status = Pipeline::open(&spec, &supervisor, "", &mut |_, _| ()).unwrap().status();
        for number in 0..=LINES_MAX {
            let wrong = |what: &str| vec![Error::new(Kind::Output, format!("{what} {number}"))];
            let closed = Closed { files: wrong("file"), plugins: wrong("plugin") };
            let (spec, status, news) = (spec.clone(), status.clone(), Vec::new());
            past.add(Ended { spec, status, news, closed }, &mut told);
        }
        let Past { pipelines, damaged, unwilling } = past;
        assert_eq!([pipelines.len(), damaged.len(), unwilling.len()], [PAST_MAX; 3]);
        assert_eq!((&damaged[PAST_MAX - 1], &unwilling[0]), (&"file 1000".into(), &"plugin 901".into()));
        assert_eq!(told.lines.len(), LINES_MAX);
    }
}
