//! The start of a run: all pipelines or none.

use super::told::Told;
use crate::config::{Config, PipelineSpec};
use crate::error::{Error, Result};
use crate::level::Level;
use crate::pipeline::Pipeline;
use crate::report::{EndedBy, RunReport};
use crate::supervisor::Supervisor;
use std::sync::atomic::{AtomicBool, Ordering};

/// What goes before the names of a pipeline's plugins: its own, where there are several.
pub(super) fn prefix(pipeline: &str, pipelines: usize) -> String {
    if pipelines > 1 { format!("{pipeline}/") } else { String::new() }
}

/// An error of a pipeline's start, with its name, where there are several.
fn of_pipeline(why: Error, pipeline: &str, pipelines: usize) -> Error {
    if pipelines > 1 { why.about(pipeline) } else { why }
}

/// Has the pipelines begin to play.
pub(super) fn play_all(pipelines: &mut [Pipeline]) -> Result<()> {
    let several = pipelines.len();
    let mut all = pipelines.iter_mut();
    all.try_for_each(|one| one.play().map_err(|why| of_pipeline(why, one.name(), several)))
}

/// Opens one pipeline after the other, no more of them once `stop` is set.
pub(super) fn open_all(
    config: &Config,
    supervisor: &Supervisor,
    stop: &AtomicBool,
    told: &mut Told<'_>,
    opened: &mut Vec<Pipeline>,
) -> Result<()> {
    let mut open = |spec: &PipelineSpec| {
        let prefix = prefix(&spec.name, config.pipelines.len());
        told.observer.opening(&spec.name);
        Pipeline::open(spec, supervisor, &prefix, &mut |level, line| told.line(level, line))
    };
    // Who is bound to a core has it before those that can choose.
    let reserve = |spec: &PipelineSpec| supervisor.realtime().reserve(&spec.affinity);
    let _reserved: Vec<_> = config.pipelines.iter().filter_map(reserve).collect();
    for spec in config.pipelines.iter().take_while(|_| !stop.load(Ordering::Relaxed)) {
        opened.push(open(spec).map_err(|why| of_pipeline(why, &spec.name, config.pipelines.len()))?);
    }
    Ok(())
}

/// Closes the pipelines that had started when something else could not.
pub(super) fn give_up(opened: Vec<Pipeline>, told: &mut Told<'_>) {
    let closed: Vec<_> = opened.into_iter().map(Pipeline::close).collect();
    let errors = closed.iter().flat_map(|closed| closed.files.iter().chain(&closed.plugins));
    errors.for_each(|error| told.line(Level::Error, error.to_string()));
}

/// What is told of a run that did not begin: its pipelines have not played and are closed again.
pub(super) fn interrupted(opened: Vec<Pipeline>, mut told: Told<'_>) -> RunReport {
    // All plugins have been asked to go already: what theirs say of it is not worth a word.
    let closed: Vec<_> = opened.into_iter().map(Pipeline::close).collect();
    let damaged: Vec<_> = closed.iter().flat_map(|closed| &closed.files).map(ToString::to_string).collect();
    damaged.iter().for_each(|line| told.line(Level::Error, line.clone()));
    RunReport {
        ended_by: EndedBy::Signal,
        seconds: 0.0,
        real_time: None,
        pipelines: Vec::new(),
        specs: Vec::new(),
        events: told.lines.into(),
        damaged,
        unwilling: Vec::new(),
    }
}
