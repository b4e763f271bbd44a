//! What a client of the control socket asks, done.
//!
//! On the thread that runs. What may take as long as a plugin does is done on a thread of its own, which answers
//! itself; what takes as long as a pipeline does is answered when the pipeline is as it is wanted.

use super::Run;
use super::job::Job;
use super::lane::Lane;
use super::status::{LaneStatus, RunStatus};
use crate::control::{Asked, CLIENTS, Done, Refusal, Reply, Request};
use crate::error::{Error, Kind, Result};
use crate::level::Level;
use crate::plugin::{Setting, Steering};
use std::sync::mpsc::SyncSender;

/// A client that waits for pipelines to be as they are wanted.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The pipelines.
    pub(super) names: Vec<String>,
    /// What has been done so far, in words.
    pub(super) lines: Vec<String>,
    /// What has failed so far.
    pub(super) refusals: Vec<Refusal>,
    /// Whom to answer. Nobody, if a signal has asked.
    pub(super) replies: Vec<SyncSender<Reply>>,
}

impl Run<'_> {
    /// Does what clients have asked since this was called last: one thing for each of them. Some ask again at once, and
    /// the run has other things to do.
    pub(super) fn obey_all(&mut self) {
        for _ in 0..CLIENTS {
            let Some(asked) = self.asked.as_ref().and_then(|asked| asked.try_recv().ok()) else { return };
            self.obey(asked);
        }
    }

    fn obey(&mut self, Asked { request, reply }: Asked) {
        let done = match request {
            Request::Status {} => self.tell_status(),
            Request::Start { pipeline } => match self.want(&pipeline, true) {
                Ok(()) => return self.wait_for(pipeline, reply),
                Err(why) => Err(why),
            },
            Request::Stop { pipeline } => match self.want(&pipeline, false) {
                Ok(()) => return self.wait_for(pipeline, reply),
                Err(why) => Err(why),
            },
            Request::Mute { pipeline, on } => self.mute(&pipeline, on),
            Request::Restart { plugin } => self.restart(&plugin),
            Request::Bypass { plugin, on } => self.bypass(&plugin, on),
            Request::Set { plugin, key, value } => {
                let news = self.news.0.clone();
                let set = move |name: &str, plugin: &Steering| {
                    let done = set(name, plugin, &key, &value)?;
                    // A run that has ended tells nothing any more.
                    done.lines.iter().for_each(|line| _ = news.send(line.clone()));
                    Ok(done)
                };
                match self.ask_plugin(&plugin, reply.clone(), set) {
                    Ok(()) => return,
                    Err(why) => Err(why),
                }
            }
            Request::Get { plugin, key } => {
                let get = move |_: &str, plugin: &Steering| {
                    plugin.get(&key).map(|value| Done { value: Some(value), ..Done::default() })
                };
                match self.ask_plugin(&plugin, reply.clone(), get) {
                    Ok(()) => return,
                    Err(why) => Err(why),
                }
            }
            Request::Reload {} => return self.reload.ask(Some(reply)),
        };
        // Whoever has hung up does not want to know.
        let _ = reply.try_send(done.map_or_else(Reply::from, Reply::Done));
    }

    fn tell_status(&mut self) -> Result<Done> {
        let untold = |e| Error::new(Kind::System, "the status can't be told in JSON").source(e);
        let pipelines = self.lanes.iter_mut().map(Lane::status).collect();
        let status = serde_json::to_value(self.status_of(pipelines)).map_err(untold)?;
        Ok(Done { status: Some(status), ..Done::default() })
    }

    fn status_of(&self, pipelines: Vec<LaneStatus>) -> RunStatus {
        RunStatus {
            config: self.file.as_ref().map(|file| file.display().to_string()),
            pid: std::process::id(),
            seconds: self.began.elapsed().as_secs_f64(),
            real_time: self.real_time.clone(),
            pipelines,
        }
    }

    /// Puts what was just looked at where whoever wants to can look at it too. What fails once is not tried again.
    pub(super) fn show_status(&mut self) {
        let Some(mut page) = self.page.take() else { return };
        let pipelines = self.lanes.iter().map(Lane::status_as_looked).collect();
        let status = serde_json::to_vec(&self.status_of(pipelines)).map_err(std::io::Error::from);
        match status.and_then(|status| page.write(&status)) {
            Ok(()) => self.page = Some(page),
            Err(why) => {
                self.told.line(Level::Warning, format!("nda top can't look at this run any more: {why}"))
            }
        }
    }

    fn want(&mut self, pipeline: &str, wanted: bool) -> Result<()> {
        let lane = self.lane(pipeline)?;
        // One that has come to its end is played again.
        lane.is_to_begin_anew = wanted && lane.is_over();
        lane.is_wanted = wanted;
        (lane.why, lane.went_back) = (None, None);
        Ok(())
    }

    fn wait_for(&mut self, pipeline: String, reply: SyncSender<Reply>) {
        let (names, replies) = (vec![pipeline], vec![reply]);
        self.waiters.push(Waiter { names, lines: Vec::new(), refusals: Vec::new(), replies });
    }

    fn mute(&mut self, pipeline: &str, on: bool) -> Result<Done> {
        self.lane(pipeline)?.set_muted(on);
        let line = format!("{pipeline} is {}", if on { "muted" } else { "not muted any more" });
        Ok(self.done(line))
    }

    fn bypass(&mut self, plugin: &str, on: bool) -> Result<Done> {
        let (lane, number, name) = self.find_plugin(plugin)?;
        self.lanes[lane].set_bypassed(number, on)?;
        Ok(self.done(format!("{name} is {}", if on { "bypassed" } else { "not bypassed any more" })))
    }

    fn restart(&mut self, plugin: &str) -> Result<Done> {
        let (lane, number, name) = self.find_plugin(plugin)?;
        self.lanes[lane].plugin(number)?.restart();
        Ok(self.done(format!("{name} is being restarted")))
    }

    /// Has a plugin asked by another thread, which answers.
    fn ask_plugin(
        &self,
        plugin: &str,
        reply: SyncSender<Reply>,
        ask: impl FnOnce(&str, &Steering) -> Result<Done> + Send + 'static,
    ) -> Result<()> {
        let (lane, number, name) = self.find_plugin(plugin)?;
        let steering = self.lanes[lane].plugin(number)?.parameters().called(&name);
        let work = move || {
            let _ = reply.try_send(ask(&name, &steering).map_or_else(Reply::from, Reply::Done));
        };
        // It ends when the plugin has answered, or is known to hang.
        let no_thread = |e| Error::new(Kind::System, "there is no thread to ask a plugin").source(e);
        Job::begin(work).map(drop).map_err(no_thread)
    }

    fn done(&mut self, line: String) -> Done {
        self.told.line(Level::Info, line.clone());
        Done { lines: vec![line], ..Done::default() }
    }

    /// Answers those whose pipelines are as they are wanted, or can't be.
    pub(super) fn answer_waiters(&mut self) {
        let lanes = &self.lanes;
        let is_settled = |waiter: &mut Waiter| {
            lanes
                .iter()
                .filter(|lane| waiter.names.iter().any(|name| name == lane.name()))
                .all(Lane::is_settled)
        };
        let settled: Vec<_> = self.waiters.extract_if(.., is_settled).collect();
        for Waiter { names, mut lines, mut refusals, replies } in settled {
            let several = names.len() > 1;
            for name in names {
                let lane = self.lanes.iter().find(|lane| lane.name() == name);
                let by_hand = lane.map(|lane| lane.told_by_hand(lane.pipeline())).unwrap_or_default();
                lines.push(format!("{name} is {}{by_hand}", lane.map_or("gone", Lane::state)));
                let both = lane.map(|lane| [lane.went_back.clone(), lane.why.clone()]);
                refusals.extend(both.into_iter().flatten().flatten().map(|refusal| match several {
                    true => Refusal { why: format!("{name}: {}", refusal.why), ..refusal },
                    false => refusal,
                }));
            }
            let reply = match refusals.first() {
                None => Reply::Done(Done { lines, ..Done::default() }),
                Some(first) => {
                    lines.extend(refusals.iter().map(|refusal| refusal.why.clone()));
                    Reply::Refused(Refusal { why: lines.join("\n"), ..first.clone() })
                }
            };
            for to in replies {
                let _ = to.try_send(reply.clone());
            }
        }
    }

    // --- names ---

    fn lane(&mut self, name: &str) -> Result<&mut Lane> {
        let names: Vec<_> = self.lanes.iter().map(Lane::name).collect();
        let there_are = format!("there is {}", names.join(", "));
        let found = self.lanes.iter_mut().find(|lane| lane.name() == name && !lane.is_gone);
        found.ok_or_else(|| {
            Error::new(Kind::Config, format!("this run has no pipeline {name}")).remedy(there_are)
        })
    }

    /// The pipeline and the number of the plugin of this name, and its whole name.
    fn find_plugin(&self, target: &str) -> Result<(usize, usize, String)> {
        let all = self.lanes.iter().enumerate().flat_map(|(at, lane)| {
            let names = lane.spec.plugin_names();
            let whole = move |(number, own): (usize, &str)| {
                (at, number, format!("{}/{own}", lane.name()), own == target)
            };
            names.into_iter().enumerate().map(whole).collect::<Vec<_>>()
        });
        let all: Vec<_> = all.collect();
        let exact = all.iter().find(|(.., whole, _)| whole == target);
        let own: Vec<_> = all.iter().filter(|(.., is_own)| *is_own).collect();
        match (exact, own.as_slice()) {
            (Some((at, number, whole, _)), _) | (None, [(at, number, whole, _)]) => {
                Ok((*at, *number, whole.clone()))
            }
            (None, found) => {
                let among = if found.is_empty() { all.iter().collect() } else { found.to_vec() };
                let names: Vec<_> = among.iter().map(|(.., whole, _)| whole.as_str()).collect();
                let what = match found {
                    [] => format!("this run has no plugin {target}"),
                    _ => format!("several pipelines have a plugin {target}"),
                };
                Err(Error::new(Kind::Config, what).remedy(format!("name one of {}", names.join(", "))))
            }
        }
    }
}

/// Sets a parameter. Its value is not repeated: it may be a key.
pub(super) fn set(name: &str, plugin: &Steering, key: &str, value: &str) -> Result<Done> {
    let setting = plugin.set(key, value)?;
    let done = match setting {
        Setting::Accepted => "is set".to_owned(),
        Setting::Kept { given_up: false } => "is kept for its replacement".to_owned(),
        Setting::Kept { given_up: true } => {
            format!("is kept until it is started again (nda ctl restart {name})")
        }
        Setting::Refused => {
            let what = format!("plugin {name} does not accept this value for its parameter `{key}`");
            let remedy = "check the name and the value against the plugin's file";
            return Err(Error::new(Kind::Plugin, what).remedy(remedy));
        }
    };
    let kept = matches!(setting, Setting::Kept { .. });
    Ok(Done { lines: vec![format!("{name}: {key} {done}")], kept, ..Done::default() })
}
