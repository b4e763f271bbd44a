//! What is told about a run or a render: while it goes on, and at its end.
//!
//! Plain data for people's screens and for `--json`; nothing here measures or prints. Every figure is of the
//! kind its name ends in: `_frames`, `_ms`, `_us`, `_db`.

use crate::config::PipelineSpec;
use crate::edge::CaptureCounts;
use crate::plugin::cause::Causes;
use crate::plugin::collector::CollectorStatus;
use crate::realtime::power::Refusal;
use crate::telemetry::{Counts, Percentiles};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// One pipeline, now or at its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineStatus {
    /// Its name.
    pub name: String,
    /// Where the audio comes from, in words.
    pub source: String,
    /// Where it goes, in words.
    pub sink: String,
    /// What paces it, in words: a device and its buffer.
    pub clock: String,
    /// The processor cores that its audio thread and its workers share; none, if they use all.
    pub cores: Vec<usize>,
    /// The real-time priority (SCHED_FIFO) that its audio thread has, once it has played.
    pub fifo: Option<u8>,
    /// Frames per second.
    pub rate: u32,
    /// Channels per frame.
    pub channels: usize,
    /// Frames per block.
    pub block_frames: usize,
    /// Frames processed so far.
    pub frames: u64,
    /// What it adds between source and sink.
    pub latency: Latency,
    /// How its input device keeps up with its output device, if it has both.
    pub capture: Option<CaptureStatus>,
    /// Each channel's peak at the sink since this was asked last, and of the whole run at its end, in dB of full
    /// scale; `None` is silence.
    pub peaks_db: Vec<Option<f32>>,
    /// Times that audio was not there when it was due.
    pub xruns: Xruns,
    /// Its devices, the one that paces it first.
    pub devices: Vec<DeviceStatus>,
    /// Frames of silence put in because a file or an input device did not deliver in time.
    pub underrun_frames: u64,
    /// Frames that a file or an output did not take in time.
    pub overrun_frames: u64,
    /// Why its files can't be read or written any more, of each for which that is so.
    pub file_failures: Vec<String>,
    /// Somebody has muted it: its sink gets silence.
    pub muted: bool,
    /// Blocks that its pipelined plugins lost together, because the thread that runs them was not scheduled in
    /// time. Each plugin's own counts don't tell of them.
    pub section_lost: u64,
    /// Its Python plugins, in the order of the chain.
    pub plugins: Vec<PluginStatus>,
    /// The source has ended and all of it has reached the sink.
    pub ended: bool,
}

impl PipelineStatus {
    /// Seconds of audio processed.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.rate)
    }
}

/// Times that audio was not there when it was due, told apart by whose doing that was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xruns {
    /// A device said that it ran dry or over, and it was not the host's doing, as far as that has been looked into. A JACK
    /// server says so for every one of its clients.
    pub device: u64,
    /// A callback of the host's took longer than its frames last, or began more than two periods after the one before and
    /// had not been called late by a device that says so; or, if those are more, blocks that were late as the host gave them
    /// to a plugin too late.
    pub host_late: u64,
    /// A plugin did not have its block in time, or was too far behind to be given it, by whatever else: as far as that
    /// has been looked into.
    pub plugin_late: u64,
}

/// A device of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// `input` or `output`.
    pub direction: &'static str,
    /// Whether the pipeline runs on its clock. If such a device is lost, the virtual clock goes on in its place.
    pub paces: bool,
    /// For how long it has been lost, or not been there since the start, in seconds; `None` if it is open.
    pub lost_s: Option<f64>,
    /// In how many seconds it is tried again, if it is not open; 0 while it is being tried.
    pub next_try_s: Option<f64>,
    /// Why it was lost or can't be opened, in words.
    pub why: Option<String>,
    /// How often it was lost.
    pub losses: u64,
}

/// What real-time pipelines get of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RealTimeStatus {
    /// The real-time priority (SCHED_FIFO) of audio threads; `None` is an ordinary one.
    pub audio_fifo: Option<u8>,
    /// The real-time priority of workers that play; `None` is an ordinary one.
    pub worker_fifo: Option<u8>,
    /// The nice value of workers that play and have an ordinary one.
    pub worker_nice: i32,
    /// Whether that puts them before other programs.
    pub workers_ahead: bool,
    /// Whether processors are kept from sleeping deeply: `held off` or `as usual`.
    pub idle_states: &'static str,
    /// Why they are not, if they were to be.
    pub refusal: Option<Refusal>,
}

/// What a pipeline adds between source and sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// One block if anything is pipelined, or as many as the device's buffer holds.
    pub mode_frames: u32,
    /// What the plugins say they delay by.
    pub plugin_frames: u32,
    /// Adapting the devices' buffers to the block.
    pub adaptation_frames: u32,
    /// What lies in the devices: as long as they say that it takes, and one buffer each where they don't.
    pub device_frames: u32,
    /// How long that of the mode takes.
    pub mode_ms: f64,
    /// That of the plugins.
    pub plugin_ms: f64,
    /// That of the adaptation.
    pub adaptation_ms: f64,
    /// That of the devices.
    pub device_ms: f64,
    /// All of it.
    pub total_ms: f64,
}

impl Latency {
    /// The same frames, with how long they take at this rate.
    pub(crate) fn at(self, rate: u32) -> Self {
        let ms = |frames: u64| frames as f64 * 1e3 / f64::from(rate);
        let Self { mode_frames, plugin_frames, adaptation_frames, device_frames, .. } = self;
        let parts = [mode_frames, plugin_frames, adaptation_frames, device_frames].map(u64::from);
        let [mode_ms, plugin_ms, adaptation_ms, device_ms] = parts.map(ms);
        Self { mode_ms, plugin_ms, adaptation_ms, device_ms, total_ms: ms(parts.iter().sum()), ..self }
    }
}

/// The queue between an input and an output device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CaptureStatus {
    /// Frames in it, on average.
    pub level_frames: u32,
    /// Frames that there should be, on average.
    pub target_frames: u32,
    /// By how many millionths it is read faster than the output plays, because its clock is faster.
    pub correction_ppm: f64,
    /// Times that it ran dry.
    pub gaps: u64,
}

impl CaptureStatus {
    pub(crate) fn of(counts: &CaptureCounts) -> Self {
        Self {
            level_frames: counts.level_frames(),
            target_frames: counts.target_frames(),
            correction_ppm: counts.correction_ppm(),
            gaps: counts.gaps(),
        }
    }
}

/// One Python plugin, now or at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginStatus {
    /// Its name in the configuration.
    pub name: String,
    /// What it calls itself, with its version.
    pub title: String,
    /// Its file.
    pub file: PathBuf,
    /// `source`, `processor` or `sink`.
    pub kind: String,
    /// `same-block` or `pipelined`, as it is now.
    pub mode: &'static str,
    /// Times that it was moved from one to the other by itself.
    pub moves: u32,
    /// Frames that its result comes later than planned, because it was.
    pub added_frames: u32,
    /// What is heard in place of a lost block: `bypass`, `mute`, `hold`, `silence (fail-closed)`, or
    /// `nothing` for a sink, behind which nothing is heard.
    pub lost: &'static str,
    /// Its process.
    pub pid: u32,
    /// The interpreter's version.
    pub python: String,
    /// What stands by for it: `none`, `spare`, `twin`.
    pub standby: &'static str,
    /// Workers that died while they played.
    pub deaths: u64,
    /// How the last of them died, in words.
    pub last_death: Option<String>,
    /// How its worker ended and what is done about it, in words, while nothing plays in its place.
    pub dead: Option<String>,
    /// Nothing will play in its place until its file changes or somebody restarts it; `dead` says why.
    pub quarantined: bool,
    /// Somebody has bypassed it: what goes into it is heard in place of what comes out.
    pub bypassed: bool,
    /// Why each of its blocks gets a fresh buffer instead of the cached ones, if they do: from the start or since
    /// the plugin spoiled one.
    pub uncached: Option<String>,
    /// Blocks that it got in a fresh buffer, as its worker says.
    pub uncached_blocks: u64,
    /// What Python's collector did, as its worker says.
    pub collector: CollectorStatus,
    /// Blocks, by what became of them.
    pub counts: Counts,
    /// Why blocks were late or never handed over.
    pub causes: Causes,
    /// Time in the plugin's own code, as its worker says.
    pub plugin_time: Percentiles,
    /// Time from handing a block over until the answer was seen.
    pub round_trip: Percentiles,
    /// Time that blocks waited for the interpreter, which another thread of the plugin held, as its worker says.
    pub interpreter_wait: Percentiles,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// Every source that ends has ended.
    Source,
    /// The time that was asked for is over.
    Time,
    /// SIGINT or SIGTERM.
    Signal,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// Why it ended.
    pub ended_by: EndedBy,
    /// How long it ran, in seconds of the clock on the wall.
    pub seconds: f64,
    /// What they got of the machine; `None` if none was open.
    pub real_time: Option<RealTimeStatus>,
    /// Each pipeline at its end, those that were stopped before first; none if the run was interrupted before it began.
    /// One that was started again has an entry for each time.
    pub pipelines: Vec<PipelineStatus>,
    /// What was asked for of each, in the same order.
    #[serde(skip)]
    pub specs: Vec<PipelineSpec>,
    /// What happened, a line each, oldest first; at most the last thousand.
    pub events: Vec<String>,
    /// Outputs that are not whole, with the reason; at most the last hundred.
    pub damaged: Vec<String>,
    /// Plugins that raised when they were to stop or had to be killed, with the reason; at most the last hundred.
    pub unwilling: Vec<String>,
}

impl RunReport {
    /// Whether a worker died, or a plugin failed blocks by its own fault, was too slow for most of them, or did not
    /// stop in order, so that the run is no success. A plugin that hangs in the end has to be killed.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        // So far behind most of the time is too slow for real time, or hung; a late block now and then is neither.
        let too_slow = |p: &PluginStatus| p.counts.behind > p.counts.good;
        let failed = |p: &PluginStatus| {
            p.deaths > 0 || p.dead.is_some() || p.counts.failed > 0 || p.counts.torn > 0 || too_slow(p)
        };
        let ended_badly = !self.damaged.is_empty() || !self.unwilling.is_empty();
        ended_badly || self.pipelines.iter().flat_map(|p| &p.plugins).any(failed)
    }
}

/// A whole render.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RenderReport {
    /// The file read.
    pub input: PathBuf,
    /// The file written.
    pub output: PathBuf,
    /// Frames per second.
    pub rate: u32,
    /// Channels per frame.
    pub channels: usize,
    /// Frames per block.
    pub block_frames: usize,
    /// Frames read and written.
    pub frames: u64,
    /// Starting the workers and loading the plugins, in seconds.
    pub start_seconds: f64,
    /// Reading, processing and writing, in seconds.
    pub seconds: f64,
    /// How many times faster than real time that was.
    pub times_real_time: f64,
    /// Samples that did not fit an integer format and were clipped.
    pub clipped: u64,
    /// Frames by which the plugins say they delay; not taken away from the output.
    pub plugin_frames: u32,
    /// Each plugin.
    pub plugins: Vec<PluginStatus>,
    /// What happened, a line each.
    pub events: Vec<String>,
    /// Plugins that raised when they were to stop or had to be killed, with the reason.
    pub unwilling: Vec<String>,
    /// It was interrupted: the output holds what had been processed.
    pub interrupted: bool,
    /// The output was written; if not, the render was interrupted before it began.
    pub written: bool,
}

impl RenderReport {
    /// Whether blocks were lost or a plugin did not stop in order, so that the render is not a success.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        !self.unwilling.is_empty() || self.plugins.iter().any(|p| p.counts.lost() > 0)
    }
}

/// In a line: what there is, and what is missing, with how to get it.
impl fmt::Display for RealTimeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fifo = |priority: Option<u8>| priority.map(|priority| format!("FIFO {priority}"));
        let audio = fifo(self.audio_fifo).unwrap_or_else(|| "at ordinary priority".to_owned());
        let slices = || format!("at nice {} in slices of 0.1 ms", self.worker_nice);
        let workers = fifo(self.worker_fifo).unwrap_or_else(slices);
        write!(f, "real time: audio threads {audio}, workers {workers}, idle states {}", self.idle_states)?;
        self.remedies().iter().try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}

impl RealTimeStatus {
    /// What would have to be done for what is missing.
    fn remedies(&self) -> Vec<String> {
        let mut remedies = Vec::new();
        let can_be_awake = self.refusal.as_ref().is_some_and(Refusal::can_be_mended);
        if self.worker_fifo.is_none() {
            let nice = if self.workers_ahead { "" } else { " and \"@audio - nice -20\"" };
            let file = "/etc/security/limits.d/audio.conf";
            remedies.push(format!("for real-time priority: \"@audio - rtprio 95\"{nice} in {file}"));
        }
        if let Some(why) = &self.refusal {
            let rule = "KERNEL==\"cpu_dma_latency\", GROUP=\"audio\", MODE=\"0660\"";
            let file = "/etc/udev/rules.d/99-audio.rules";
            remedies.push(match can_be_awake {
                true => format!("for awake processors: {rule} in {file} ({why})"),
                false => why.to_string(),
            });
        }
        if self.worker_fifo.is_none() || can_be_awake {
            remedies.push("then be in the group audio and log in again".to_owned());
        }
        remedies
    }
}

/// A path as short as it can be said: without detours, and from the current folder if it is below.
pub(crate) fn shown(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let here = std::env::current_dir().unwrap_or_default();
    whole.strip_prefix(&here).unwrap_or(&whole).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> RealTimeStatus {
        RealTimeStatus {
            audio_fifo: Some(70),
            worker_fifo: Some(2),
            worker_nice: -10,
            workers_ahead: true,
            idle_states: "held off",
            refusal: None,
        }
    }

    #[test]
    fn with_all_rights_a_line_says_what_there_is() {
        let line = "real time: audio threads FIFO 70, workers FIFO 2, idle states held off";
        assert_eq!(all().to_string(), line);
    }

    #[test]
    fn what_is_missing_is_told_with_how_to_get_it() {
        let none = RealTimeStatus {
            audio_fifo: None,
            worker_fifo: None,
            worker_nice: 0,
            workers_ahead: false,
            idle_states: "as usual",
            refusal: Some(Refusal::Forbidden),
        };
        let line = "real time: audio threads at ordinary priority, workers at nice 0 in slices of 0.1 ms, idle \
                    states as usual; for real-time priority: \"@audio - rtprio 95\" and \"@audio - nice -20\" in \
                    /etc/security/limits.d/audio.conf; for awake processors: KERNEL==\"cpu_dma_latency\", \
                    GROUP=\"audio\", MODE=\"0660\" in /etc/udev/rules.d/99-audio.rules (/dev/cpu_dma_latency may \
                    not be written); then be in the group audio and log in again";
        assert_eq!(none.to_string(), line);
    }

    #[test]
    fn nobody_is_sent_after_what_a_machine_has_not() {
        let refusal = Some(Refusal::Absent);
        let line = RealTimeStatus { idle_states: "as usual", refusal, ..all() }.to_string();
        assert!(line.ends_with("idle states as usual; there is no /dev/cpu_dma_latency here"), "{line}");
    }
}
