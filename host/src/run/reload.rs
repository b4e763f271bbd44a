//! Reading the configuration again, and changing what differs.
//!
//! On the thread that runs; the file is read and plugins are asked by other threads. A file with a fault changes
//! nothing. One reload comes after the other.

use super::Run;
use super::change::{Change, Parameter, changes, plugins_of};
use super::job::{Job, Progress};
use super::lane::Lane;
use super::naming::called_as_before;
use super::requests::{Waiter, set};
use crate::config::{self, Config, PipelineSpec};
use crate::control::{Done, Refusal, Reply};
use crate::error::{Error, Kind, Result};
use crate::level::Level;
use crate::plugin::Steering;
use std::sync::mpsc::SyncSender;

/// How far a reload is, and who waits for the next one.
#[derive(Debug, Default)]
pub(super) struct Reload {
    is_asked: bool,
    asking: Vec<SyncSender<Reply>>,
    step: Step,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Idle,
    Reading(Job<Result<Config>>, Vec<SyncSender<Reply>>),
    Adjusting(Job<Vec<Result<Done>>>, Vec<Asked>, Waiter),
}

/// A parameter that a plugin is asked to take.
#[derive(Debug, Clone)]
struct Asked {
    pipeline: String,
    /// The plugin's whole name.
    name: String,
    parameter: Parameter,
}

/// The same with the plugin.
struct Wish(Asked, Steering);

impl Reload {
    /// Has the file read again as soon as nothing else of that kind is under way.
    pub(super) fn ask(&mut self, reply: Option<SyncSender<Reply>>) {
        self.is_asked = true;
        self.asking.extend(reply);
    }
}

impl Run<'_> {
    /// Goes a step on, if that does not mean waiting.
    pub(super) fn tend_reload(&mut self) {
        self.reload.step = match std::mem::take(&mut self.reload.step) {
            Step::Idle if std::mem::take(&mut self.reload.is_asked) => self.begin_reload(),
            Step::Idle => Step::Idle,
            Step::Reading(job, replies) => match job.look() {
                Progress::UnderWay(job) => Step::Reading(job, replies),
                Progress::Done(Ok(config)) => self.apply(&config, replies),
                Progress::Done(Err(why)) => self.refuse(&why, replies),
                Progress::Lost => self.refuse(&Error::new(Kind::System, "reading it panicked"), replies),
            },
            Step::Adjusting(job, asked, waiter) => match job.look() {
                Progress::UnderWay(job) => Step::Adjusting(job, asked, waiter),
                Progress::Done(results) => self.end_reload(asked, results, waiter),
                Progress::Lost => self.break_reload_off(asked, "setting parameters panicked", waiter),
            },
        };
    }

    fn begin_reload(&mut self) -> Step {
        let replies = std::mem::take(&mut self.reload.asking);
        let Some(file) = self.file.clone() else {
            let why = Error::new(Kind::Config, "this run has no configuration file to read again");
            return self.refuse(&why, replies);
        };
        match Job::begin(move || config::load(&file)) {
            Ok(job) => Step::Reading(job, replies),
            Err(e) => {
                let why = Error::new(Kind::System, "there is no thread to read the configuration").source(e);
                self.refuse(&why, replies)
            }
        }
    }

    fn refuse(&mut self, why: &Error, replies: Vec<SyncSender<Reply>>) -> Step {
        self.told.line(Level::Error, format!("the configuration is not changed: {why}"));
        for reply in replies {
            let _ = reply.try_send(Reply::Refused(Refusal::from(why)));
        }
        Step::Idle
    }

    /// Changes what differs; what takes long goes on after this.
    fn apply(&mut self, config: &Config, replies: Vec<SyncSender<Reply>>) -> Step {
        let mut waiter = Waiter { names: Vec::new(), lines: Vec::new(), refusals: Vec::new(), replies };
        if config.reports != self.reports {
            self.reports.clone_from(&config.reports);
            self.supervisor.report_to(super::reports_of(config));
            waiter.lines.push("reports go to another folder".to_owned());
        }
        if config.socket != self.socket {
            waiter.lines.push("the socket stays where it is until the run is started again".to_owned());
        }
        let old: Vec<_> =
            self.lanes.iter().filter(|lane| !lane.is_gone).map(|lane| lane.spec.clone()).collect();
        self.lanes.iter_mut().for_each(|lane| lane.went_back = None);
        let mut wishes = Vec::new();
        let leaving = self.lanes.iter().filter(|lane| lane.is_gone).map(|lane| &lane.spec);
        let left: Vec<_> = leaving.chain(self.left.values().map(|left| &left.spec)).cloned().collect();
        let new = called_as_before(&old, &left, &config.pipelines);
        for change in changes(&old, &new) {
            let (name, what) = self.change(change, &mut wishes);
            waiter.lines.push(format!("{name}: {what}"));
            waiter.names.push(name);
        }
        self.retry(&mut waiter);
        for lane in &mut self.lanes {
            let now = new.iter().find(|spec| spec.name == lane.name());
            now.iter().for_each(|now| lane.spec.is_named = now.is_named);
        }
        let place = |lane: &Lane| new.iter().position(|spec| spec.name == lane.name());
        self.lanes.sort_by_key(|lane| place(lane).unwrap_or(usize::MAX));
        if waiter.lines.is_empty() {
            waiter.lines.push("nothing differs".to_owned());
        }
        for line in &waiter.lines {
            self.told.line(Level::Info, format!("configuration read again: {line}"));
        }
        self.adjust(wishes, waiter)
    }

    /// Sees to one change; which pipeline it is, and what is done.
    fn change(&mut self, change: Change, wishes: &mut Vec<Wish>) -> (String, &'static str) {
        match change {
            Change::Add(spec) => {
                let name = spec.name.clone();
                match self.lanes.iter_mut().find(|lane| lane.name() == name) {
                    // It had been removed, and has not stopped yet.
                    Some(lane) => (lane.is_gone, lane.is_wanted, lane.spec) = (false, true, spec),
                    None => {
                        let left = self.left.remove(&name);
                        self.lanes.push(Lane::back(spec, left));
                    }
                }
                (name, "it is new")
            }
            Change::Remove(name) => {
                let lanes = self.lanes.iter_mut().filter(|lane| lane.name() == name);
                lanes.for_each(|lane| lane.is_gone = true);
                (name, "it is gone")
            }
            Change::Replace(spec) => {
                let name = spec.name.clone();
                if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.name() == name) {
                    (lane.why, lane.spec) = (None, spec);
                }
                (name, "it differs")
            }
            Change::Adjust { spec, parameters, gains } => {
                let name = spec.name.clone();
                if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.name() == name) {
                    wishes.extend(parameters.into_iter().filter_map(|parameter| wish(lane, parameter)));
                    for (gain, db) in gains {
                        lane.pipeline().iter().for_each(|pipeline| pipeline.set_gain_db(gain, db));
                    }
                    if lane.pipeline().is_some() {
                        lane.adjusted(spec);
                    } else {
                        // What is being opened with others is opened again; what failed with them is tried again.
                        (lane.why, lane.spec) = (None, spec);
                    }
                }
                (name, "other parameters")
            }
        }
    }

    /// What could not be started may have been mended beside the configuration.
    fn retry(&mut self, waiter: &mut Waiter) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.why.is_some() && !lane.is_gone) {
            lane.why = None;
            if !lane.is_wanted {
                continue;
            }
            waiter.lines.push(format!("{}: it is tried again", lane.name()));
            waiter.names.push(lane.name().to_owned());
        }
    }

    fn adjust(&mut self, wishes: Vec<Wish>, waiter: Waiter) -> Step {
        if wishes.is_empty() {
            self.waiters.push(waiter);
            return Step::Idle;
        }
        let asked = wishes.iter().map(|Wish(asked, _)| asked.clone()).collect();
        match Job::begin(move || wishes.into_iter().map(Wish::ask).collect()) {
            Ok(job) => Step::Adjusting(job, asked, waiter),
            Err(why) => self.break_reload_off(asked, &format!("there is no thread for it ({why})"), waiter),
        }
    }

    /// What a plugin did not accept is as it was: the next reload tries again.
    fn end_reload(&mut self, asked: Vec<Asked>, results: Vec<Result<Done>>, mut waiter: Waiter) -> Step {
        for (asked, result) in asked.into_iter().zip(results) {
            match result {
                Ok(done) => done.lines.into_iter().for_each(|line| self.told.line(Level::Info, line)),
                Err(why) => {
                    self.told.line(Level::Warning, why.for_log());
                    waiter.refusals.push(Refusal::from(&why));
                    self.take_back(&asked);
                }
            }
        }
        self.waiters.push(waiter);
        Step::Idle
    }

    /// Which plugins have their parameters nobody knows: the next reload asks all of them again.
    fn break_reload_off(&mut self, asked: Vec<Asked>, why: &str, mut waiter: Waiter) -> Step {
        let error = Error::new(Kind::System, format!("parameters are not set, or not all of them: {why}"))
            .remedy("reload again");
        self.told.line(Level::Error, error.to_string());
        waiter.refusals.push(Refusal::from(&error));
        asked.iter().for_each(|asked| self.take_back(asked));
        self.waiters.push(waiter);
        Step::Idle
    }

    fn take_back(&mut self, Asked { pipeline, parameter, .. }: &Asked) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.name() == pipeline) {
            let mut spec = lane.spec.clone();
            take_back(&mut spec, parameter);
            lane.adjusted(spec);
        }
    }
}

fn wish(lane: &Lane, parameter: Parameter) -> Option<Wish> {
    let plugin = lane.plugin(parameter.plugin).ok()?.parameters();
    let own = lane.spec.plugin_names().get(parameter.plugin).map(|name| (*name).to_owned())?;
    let (pipeline, name) = (lane.name().to_owned(), format!("{}/{own}", lane.name()));
    Some(Wish(Asked { pipeline, name, parameter }, plugin))
}

impl Wish {
    fn ask(self) -> Result<Done> {
        let Self(Asked { name, parameter, .. }, plugin) = self;
        set(&name, &plugin, &parameter.key, &parameter.value)
    }
}

/// The specification with the value that the plugin has, in place of one that it does not have.
fn take_back(spec: &mut PipelineSpec, Parameter { plugin, key, before, .. }: &Parameter) {
    let Some(plugin) = plugins_of(spec).nth(*plugin) else { return };
    match before {
        Some(before) => {
            let refused = plugin.set.iter_mut().filter(|(known, _)| known == key);
            refused.for_each(|(_, value)| value.clone_from(before));
        }
        None => plugin.set.retain(|(known, _)| known != key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SinkSpec, SourceSpec};
    use crate::plugin::spec::PluginSpec;
    use crate::run::tests::{Deaf, run};
    use crate::until::until;

    fn pipeline(gain: &str) -> PipelineSpec {
        let spec = PipelineSpec::new(SourceSpec::plugin("sine.py"), SinkSpec::device("virtual"));
        spec.then(PluginSpec::new("gain.py").set("gain", gain).into())
    }

    #[test]
    fn when_nobody_knows_which_parameters_are_set_that_is_told_and_the_next_reload_tries_again() {
        let [before, now] = ["0.5", "0.7"].map(pipeline);
        let found = changes(std::slice::from_ref(&before), std::slice::from_ref(&now));
        let [Change::Adjust { parameters, .. }] = &found[..] else { panic!("{found:?}") };
        let parameter = parameters[0].clone();
        let asked = Asked { pipeline: now.name.clone(), name: "main/gain".into(), parameter };
        let mut deaf = Deaf;
        let mut run = run(vec![Lane::new(now.clone())], None, &mut deaf);
        // A panic of which nothing is printed.
        let job = Job::begin(|| std::panic::resume_unwind(Box::new(()))).unwrap();
        let waiter = Waiter { names: vec![], lines: vec![], refusals: vec![], replies: vec![] };
        run.reload.step = Step::Adjusting(job, vec![asked], waiter);
        until("the end of the reload", || {
            run.tend_reload();
            matches!(run.reload.step, Step::Idle)
        });
        let refusals = &run.waiters[0].refusals;
        assert!(refusals[0].why.contains("parameters are not set, or not all of them"), "{refusals:?}");
        assert_eq!(run.lanes[0].spec, before);
        assert_eq!(changes(&[run.lanes[0].spec.clone()], &[now]), found);
    }
}
