//! The two pipelines of the soak, and what the host says of them.
//!
//! Ordinary pipelines, as a configuration makes them, with a numberer before the encryptor and a witness behind the
//! decryptor. Devices are virtual: a cable between the two, which loses nothing, and an end that discards.

use super::gaps::{Listening, Place};
use super::injection::{Random, SIGNALS, Target};
use super::numbered::{Numberer, Told, witness};
use super::report::{Ended, PluginEnd};
use super::{BLOCK_FRAMES, CHANNELS, RATE};
use crate::{Outcome, workspace};
use host::config::{DeviceSpec, ElementSpec, PipelineSpec, SinkSpec, SourceSpec};
use host::pipeline::{Around, Pipeline};
use host::plugin::spec::{Guard, PluginSpec};
use host::report::PipelineStatus;
use host::supervisor::{Event, Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use shared::clock::now_ns;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CABLE: &str = "virtual:soak";
/// What the cable's input hears of nothing each time that the other end was too late: the rest of a buffer, and one as it
/// joins the cable again.
const XRUN_FRAMES: u64 = 2 * BLOCK_FRAMES as u64;
/// A queue that ran dry fades in again, over 5 ms.
const FADE_FRAMES: u64 = RATE as u64 / 200;
/// After so long the host has judged a death and begins to replace the worker, which takes longer.
const NOTICED_WITHIN: Duration = Duration::from_millis(8);

/// What has been counted so far.
#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    lost: [u64; 2],
    /// Of the receiver: the transmitter numbers frames behind its own input, which nobody hears.
    xruns: u64,
    /// See above: that its queue did not have or had to leave out, and how often it ran dry.
    queue_frames: u64,
    dry: u64,
    /// Blocks that the decryptor was not given.
    not_given: u64,
}

impl Counted {
    /// Frames that nobody heard since `before` as devices and queues tell.
    fn device_frames_since(&self, before: &Self) -> u64 {
        let xruns = (self.xruns - before.xruns) * XRUN_FRAMES;
        let fades = (self.dry - before.dry) * FADE_FRAMES;
        self.queue_frames - before.queue_frames + xruns + fades
    }
}

/// A worker whose end has not been answered yet by a pardon.
#[derive(Debug, Clone, Copy)]
struct Hit {
    pid: u32,
    dead_since: Option<Instant>,
}

/// Both pipelines, playing.
pub(super) struct Rig {
    /// Transmits, receives.
    pipelines: [Pipeline; 2],
    told: Told,
    counted: Counted,
    events: Receiver<Event>,
    hits: [Option<Hit>; 2],
    _folder: TempDir,
    /// Dropped last: it ends whoever is left.
    _supervisor: Supervisor,
}

impl Rig {
    pub(super) fn open(python: Option<PathBuf>) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let (supervisor, events) = Supervisor::new()?;
        supervisor.leaves_behind(folder.path());
        // The user's own reports stay as they are.
        supervisor.report_to(folder.path().join("reports"));
        let (witness, told) = witness();
        let plugin = |name: &str| plugin(name, &folder.path().join("key"), python.clone());
        let receive = spec("rx", SourceSpec::Device(device(CABLE)), "virtual", plugin("chacha_decryptor"));
        let transmit = spec("tx", SourceSpec::Device(device("virtual")), CABLE, plugin("chacha_encryptor"));
        let behind = Around { behind: vec![Box::new(witness)], ..Around::default() };
        let before = Around { before: vec![Box::new(Numberer::default())], ..Around::default() };
        let open = |spec: &PipelineSpec, around| {
            Pipeline::open_around(spec, &supervisor, &format!("{}/", spec.name), around, &mut |_, _| {})
        };
        let mut pipelines = [open(&transmit, before)?, open(&receive, behind)?];
        pipelines.iter_mut().try_for_each(Pipeline::play)?;
        let counted = Counted::default();
        Ok(Self {
            pipelines,
            told,
            counted,
            events,
            hits: [None; 2],
            _folder: folder,
            _supervisor: supervisor,
        })
    }

    /// Takes what was heard and counted since the last time.
    pub(super) fn listen(&mut self, listening: &mut Listening) {
        self.take_losses(listening);
        take_runs(&mut self.told, listening);
        // What they say explains nothing that is not counted as well, and would be kept for ever.
        self.events.try_iter().for_each(drop);
        self.pipelines.iter_mut().for_each(|pipeline| drop(pipeline.news()));
        Target::both().into_iter().for_each(|target| self.pardon(target));
    }

    fn take_losses(&mut self, listening: &mut Listening) {
        let now = self.count();
        let before = std::mem::replace(&mut self.counted, now);
        for target in Target::both() {
            let blocks = now.lost[target.index()] - before.lost[target.index()];
            if blocks > 0 {
                listening.lost(Place::Plugin(target), blocks * u64::from(BLOCK_FRAMES), now_ns());
            }
        }
        if now.not_given > before.not_given {
            listening.not_given(now.not_given - before.not_given, now_ns());
        }
        let frames = now.device_frames_since(&before);
        if frames > 0 {
            listening.lost(Place::Device, frames, now_ns());
        }
    }

    fn count(&mut self) -> Counted {
        let [tx, rx] = &mut self.pipelines;
        let (tx, rx) = (tx.status(), rx.status());
        let lost = |of: &PipelineStatus| of.plugins.iter().map(|plugin| plugin.counts.lost()).sum();
        Counted {
            lost: [lost(&tx), lost(&rx)],
            xruns: rx.xruns.device,
            queue_frames: rx.underrun_frames + rx.overrun_frames,
            dry: rx.capture.map_or(0, |capture| capture.gaps),
            not_given: rx.plugins.iter().map(|plugin| plugin.counts.behind).sum(),
        }
    }

    fn pid(&mut self, target: Target) -> Option<u32> {
        let plugin = self.pipelines[target.index()].plugins_mut().first()?;
        (!plugin.is_dead()).then(|| plugin.worker().pid())
    }

    /// Hits the worker that plays; with what, or `None` if nobody plays.
    pub(super) fn inject(&mut self, target: Target, random: &mut Random) -> Option<&'static str> {
        let (signal, name) = random.one_of(&SIGNALS)?;
        let pid = self.pid(target)?;
        send(pid, signal).then(|| {
            self.hits[target.index()] = Some(Hit { pid, dead_since: None });
            name
        })
    }

    /// Forgives the plugin whose worker has ended, as its user would by `restart`: what dies by our hand again and again
    /// would be quarantined else. While another worker is being started this only forgives; it would end one that plays
    /// already.
    fn pardon(&mut self, target: Target) {
        let Some(mut hit) = self.hits[target.index()].take() else { return };
        match self.pid(target) {
            Some(pid) if pid == hit.pid => self.hits[target.index()] = Some(hit),
            Some(_) => {}
            None => {
                let since = *hit.dead_since.get_or_insert_with(Instant::now);
                if since.elapsed() < NOTICED_WITHIN {
                    self.hits[target.index()] = Some(hit);
                } else if let Some(plugin) = self.pipelines[target.index()].plugins_mut().first() {
                    plugin.restart();
                }
            }
        }
    }

    /// Ends both, and takes what was heard to the very end; what is to be said of them.
    pub(super) fn close(mut self, listening: &mut Listening) -> Ended {
        // First who hears: a cable that nobody plays to any more is silent.
        self.pipelines.iter_mut().rev().for_each(Pipeline::halt);
        self.take_losses(listening);
        let statuses = self.pipelines.each_mut().map(Pipeline::status);
        let plugins = statuses.iter().flat_map(|status| &status.plugins).map(PluginEnd::of).collect();
        let latency_ms = statuses.iter().map(|status| status.latency.total_ms).collect();
        // The witness goes with what it was in.
        let Self { pipelines, mut told, counted, .. } = self;
        for pipeline in pipelines {
            pipeline.close();
        }
        take_runs(&mut told, listening);
        let Counted { xruns, queue_frames, .. } = counted;
        Ended { missed_runs: told.missed(), latency_ms, xruns, queue_frames, plugins }
    }
}

fn take_runs(told: &mut Told, listening: &mut Listening) {
    while let Some(run) = told.next_run() {
        listening.hear(run);
    }
}

fn plugin(name: &str, key: &Path, python: Option<PathBuf>) -> PluginSpec {
    let file = workspace().join("plugins_py/examples").join(format!("{name}.py"));
    // What is heard is either what was sent or silence: nothing is ramped, and nothing moves to another latency.
    let spec = PluginSpec { python, guard: Guard::Off, adapt: false, ..PluginSpec::new(file) };
    spec.set("key_file", key.display().to_string()).set("make_key", "yes")
}

fn device(name: &str) -> DeviceSpec {
    DeviceSpec { buffer_frames: Some(BLOCK_FRAMES), ..DeviceSpec::new(name) }
}

fn spec(name: &str, source: SourceSpec, sink: &str, plugin: PluginSpec) -> PipelineSpec {
    let spec = PipelineSpec::new(source, SinkSpec::Device(device(sink))).then(ElementSpec::from(plugin));
    let (rate, channels) = (Some(RATE), Some(CHANNELS));
    PipelineSpec { name: name.to_owned(), block_frames: BLOCK_FRAMES, rate, channels, ..spec }
}

fn send(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_devices_lost_is_what_the_receiver_counted_and_a_fade_each_time_it_ran_dry() {
        let before = Counted { lost: [1, 1], xruns: 2, queue_frames: 1000, dry: 1, not_given: 0 };
        let frames = |now: Counted| now.device_frames_since(&before);
        assert_eq!(frames(Counted { lost: [9, 9], ..before }), 0);
        assert_eq!(frames(Counted { queue_frames: 1300, ..before }), 300);
        assert_eq!(frames(Counted { queue_frames: 1300, dry: 2, ..before }), 300 + 240);
        assert_eq!(frames(Counted { xruns: 3, ..before }), 256);
    }
}
