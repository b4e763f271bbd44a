//! The pipelines under test: one with the plugin that fails, a healthy neighbour beside it, and what is heard of both.
//!
//! For the harness. Both are ordinary pipelines on the virtual device, at its pace, with a listening post around
//! their plugin. One fault at a time is injected here and listened to until all is good again. It judges no target.

use super::heard::Judge;
use super::kinds::{Injection, Kind};
use super::leftovers::{self, Names, Process};
use super::probe::{Listener, Probe};
use super::tally::{Played, Tally, ToGood};
use super::{BLOCK_FRAMES, CHANNELS, FAULTY, FaultsSpec, MEMORY_MAX, RATE};
use crate::audio_file::{Bits, WavWriter};
use crate::config::{ElementSpec, FileSourceSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::pipeline::{Around, Pipeline};
use crate::plugin::Plugin;
use crate::plugin::spec::{PluginSpec, Standby};
use crate::random::Random;
use crate::supervisor::{Event, Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use shared::clock::now_ns;
use shared::format::Format;
use shared::layout::{Header, SlotHead};
use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Good blocks in a row after which all is good again.
const GOOD_AGAIN: u64 = 20;
/// A standby is ready when the workers' number and use of the processor have not changed for so long.
const QUIET: Duration = Duration::from_millis(150);
/// Processor time in which workers may do their blocks meanwhile, in ticks of 10 ms.
const QUIET_TICKS: u64 = 4;
/// After so long it is done without a standby.
const QUIET_PATIENCE: Duration = Duration::from_secs(3);
/// Where the reports are in the run's folder.
const REPORTS: &str = "reports";
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
/// How long a snapshot is waited for that takes the poison; it is asked for once a second.
const SNAPSHOT_PATIENCE: Duration = Duration::from_millis(2500);
/// Lines of events that are kept to explain what was not survived.
const LINES: usize = 6;
/// Frames after which a ramp must be over: two milliseconds and a little.
const RAMP_FRAMES: usize = 100;

/// What became of one fault.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// It happened.
    pub(super) injected: bool,
    /// It was an attack for which the plugin had no right, so that nothing was attacked.
    pub(super) untried: bool,
    /// All was good again, in time.
    pub(super) survived: bool,
    pub(super) tally: Tally,
    /// From the fault to the first good block.
    pub(super) to_good: Option<ToGood>,
    /// From the fault to the end of the worker that had it, if it ended.
    pub(super) gone_ns: Option<u64>,
    /// The crash report of that end.
    pub(super) report: Option<Report>,
    pub(super) notes: Vec<String>,
}

/// A crash report, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// It says where the plugin's code was.
    pub(super) has_stack: bool,
}

impl Report {
    /// The one in this folder, if it is of that process: a next worker that never played has one too.
    fn read(folder: &Path, pid: u32) -> Option<Self> {
        // The folder appears whole.
        let report = std::fs::read_to_string(folder.join("report.json")).ok()?;
        let report: serde_json::Value = serde_json::from_str(&report).ok()?;
        let text = std::fs::read_to_string(folder.join("traceback.txt"));
        (report["pid"] == pid).then(|| Self { has_stack: text.is_ok_and(|text| text.contains("faulty.py")) })
    }
}

/// A pipeline with one plugin and a listening post around it.
struct Post {
    pipeline: Pipeline,
    listener: Listener,
    judge: Judge,
    tally: Tally,
    played: Played,
    fail_closed: bool,
    folder: TempDir,
}

impl Post {
    fn open(supervisor: &Supervisor, name: &str, wish: &Wish, random: &mut Random) -> Result<Self> {
        let folder = TempDir::new_in(&wish.folder).map_err(|e| no_room().source(e))?;
        let file = folder.path().join("faulty.py");
        std::fs::write(&file, FAULTY).map_err(|e| no_room().source(e))?;
        let format = format();
        let probe = Probe::new(format, random.next());
        let around = Around {
            before: vec![Box::new(probe.mouth)],
            behind: vec![Box::new(probe.ear)],
            ..Around::default()
        };
        let element = ElementSpec::Plugin { name: name.to_owned(), spec: wish.plugin(file) };
        let source = FileSourceSpec { repeat: true, ..FileSourceSpec::new(silence(&folder)?) };
        let mut spec = PipelineSpec::new(SourceSpec::File(source), SinkSpec::device("virtual")).then(element);
        (spec.name, spec.block_frames) = (name.to_owned(), BLOCK_FRAMES);
        let judge = Judge::new(format, RAMP_FRAMES, 10f32.powf(wish.level_max_db() / 20.0));
        let mut pipeline = Pipeline::open_around(&spec, supervisor, "", around, &mut |_, _| {})?;
        let listener = probe.listener;
        pipeline.plugins_mut().iter().for_each(|plugin| listener.follow(plugin.stats()));
        pipeline.play()?;
        let (tally, played, fail_closed) = (Tally::default(), Played::default(), wish.fail_closed);
        Ok(Self { pipeline, listener, judge, tally, played, fail_closed, folder })
    }

    /// Hears what has been played.
    fn listen(&mut self) {
        while let Some((passage, dry, heard)) = self.listener.next() {
            let sound = self.judge.sound(dry, heard);
            let plain = self.judge.leaked(sound, dry, heard);
            self.played.count(sound, plain, self.fail_closed, passage.held_ns);
            self.tally.count(sound, passage);
        }
    }

    /// Counts from now on.
    fn begin(&mut self) {
        self.listen();
        self.tally = Tally::default();
    }

    fn pid(&mut self) -> u32 {
        self.pipeline.plugins_mut().first().map_or(0, |plugin| plugin.worker().pid())
    }

    /// How it stands with the plugin, for who looks into what was not survived.
    fn state(&mut self) -> String {
        let lives = if lives(self.pid()) { "lives" } else { "is dead" };
        let counts = self.pipeline.plugins_mut().first().map(|plugin| plugin.stats().counts());
        format!("its worker {lives}; {:?}", counts.unwrap_or_default())
    }

    fn tell_plugin(&mut self, key: &str, value: &str) -> Result<bool> {
        let plugin = self.pipeline.plugins_mut().first();
        plugin.map_or(Ok(false), |plugin| plugin.worker().set_parameter(key, value))
    }

    fn flag(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn raise_flag(&self, name: &str, seed: u64) -> Result<()> {
        // Whole or not at all: a worker may look for it at any time.
        let written = self.flag("flag.part");
        let raised = std::fs::write(&written, seed.to_string())
            .and_then(|()| std::fs::rename(&written, self.flag(name)));
        raised.map_err(|e| no_room().source(e))
    }

    /// Ends it, and hears the rest.
    fn close(mut self) -> Past {
        self.pipeline.halt();
        self.listen();
        self.pipeline.close();
        Past { played: self.played, unheard: self.listener.missed() }
    }
}

/// What is left of pipelines that were closed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Past {
    pub(super) played: Played,
    /// Blocks that came too fast to be listened to.
    pub(super) unheard: u64,
}

impl Past {
    fn and(self, other: Self) -> Self {
        Self { played: self.played.and(other.played), unheard: self.unheard + other.unheard }
    }
}

/// What a plugin under test is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) python: Option<PathBuf>,
    pub(super) standby: Standby,
    pub(super) fail_closed: bool,
    pub(super) mark: String,
    /// Where its files are.
    pub(super) folder: PathBuf,
}

impl Wish {
    fn plugin(&self, file: PathBuf) -> PluginSpec {
        let layout = [size_of::<Header>(), size_of::<SlotHead>(), format().samples() * size_of::<f32>()];
        let spec = PluginSpec {
            python: self.python.clone(),
            standby: self.standby,
            fail_closed: self.fail_closed,
            memory_max: Some(MEMORY_MAX),
            // A plugin that moves to pipelined is another test: here each block has its own result.
            adapt: false,
            ..PluginSpec::new(file)
        };
        let words: Vec<_> = layout.iter().map(usize::to_string).collect();
        spec.set("layout", words.join(",")).set("mark", &self.mark)
    }

    fn level_max_db(&self) -> f32 {
        self.plugin(PathBuf::new()).level_max_db
    }
}

/// Two pipelines under one supervisor.
pub(super) struct Rig {
    wish: Wish,
    random: Random,
    patience: Duration,
    neighbour: Post,
    patient: Option<Post>,
    past: Past,
    lines: VecDeque<String>,
    events: Receiver<Event>,
    /// All files of the run are in it.
    folder: TempDir,
    /// Dropped last: it ends whoever is left.
    supervisor: Supervisor,
}

impl Rig {
    /// Opens the neighbour; the plugin that is to fail follows with the first fault.
    pub(super) fn open(spec: &FaultsSpec, mark: &str, seed: u64) -> Result<Self> {
        let (supervisor, events) = Supervisor::new()?;
        let folder = TempDir::new().map_err(|e| no_room().source(e))?;
        supervisor.leaves_behind(folder.path());
        // The user's own reports stay as they are.
        supervisor.report_to(folder.path().join(REPORTS));
        let mut random = Random::new(seed);
        let wish = Wish {
            python: spec.python.clone(),
            standby: spec.standby,
            fail_closed: false,
            mark: mark.to_owned(),
            folder: folder.path().to_owned(),
        };
        let healthy = Wish { standby: Standby::None, ..wish.clone() };
        let neighbour = Post::open(&supervisor, "neighbour", &healthy, &mut random)?;
        let patience = spec.patience;
        let (past, lines) = (Past::default(), VecDeque::new());
        Ok(Self { wish, random, patience, neighbour, patient: None, past, lines, events, folder, supervisor })
    }

    /// Has the plugin under test play, with this policy, unless it does so already.
    pub(super) fn prepare(&mut self, fail_closed: bool) -> Result<()> {
        if self.patient.is_some() && self.wish.fail_closed == fail_closed {
            return Ok(());
        }
        self.let_go();
        self.wish.fail_closed = fail_closed;
        self.patient = Some(Post::open(&self.supervisor, "faulty", &self.wish, &mut self.random)?);
        Ok(())
    }

    /// Closes the pipeline under test: the next fault gets one without a history of deaths.
    fn let_go(&mut self) {
        if let Some(patient) = self.patient.take() {
            self.past = self.past.and(patient.close());
        }
        self.listen();
    }

    fn listen(&mut self) {
        self.neighbour.listen();
        if let Some(patient) = &mut self.patient {
            patient.listen();
        }
        // What a plugin prints explains nothing here, and there may be megabytes of it.
        for event in self.events.try_iter().filter(|event| !matches!(event, Event::Log { .. })) {
            if self.lines.len() == LINES {
                self.lines.pop_front();
            }
            let line = event.to_string();
            self.lines.push_back(line.lines().next().unwrap_or_default().chars().take(200).collect());
        }
    }

    /// Listens until `done` or for so long; whether it is done.
    fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            self.listen();
            if done(self) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::thread::park_timeout(BETWEEN_LOOKS);
        }
    }

    /// Listens to both for so many of the neighbour's blocks and no fault; what was heard of the neighbour.
    pub(super) fn idle(&mut self, blocks: u64) -> Tally {
        self.begin_neighbour();
        let limit = Duration::from_nanos(format().block_ns() * blocks) + self.patience;
        self.until(limit, |rig| rig.neighbour.tally.blocks >= blocks);
        self.neighbour.tally
    }

    /// Counts the neighbour's blocks from now on.
    pub(super) fn begin_neighbour(&mut self) {
        self.neighbour.begin();
    }

    /// What was heard of the neighbour since then.
    pub(super) fn neighbour(&mut self) -> Tally {
        self.listen();
        self.neighbour.tally
    }

    /// Waits until it plays well, and until nobody is starting any more.
    fn settle(&mut self) -> bool {
        let plays = self.until(self.patience, |rig| rig.good_in_a_row() >= GOOD_AGAIN);
        // On a busy machine one that starts may be given no time for long, and look as if it had started.
        self.until(self.patience, Self::is_armed);
        let (mut since, mut before) = (Instant::now(), load());
        self.until(QUIET_PATIENCE, |_| {
            let now = load();
            if now.0 != before.0 || now.1 > before.1 + QUIET_TICKS {
                (since, before) = (Instant::now(), now);
            }
            since.elapsed() >= QUIET
        });
        plays
    }

    /// Whether its twin is there, if it is to have one.
    fn is_armed(&mut self) -> bool {
        let plugin = self.patient.as_mut().and_then(|patient| patient.pipeline.plugins_mut().first());
        self.wish.standby != Standby::Twin || plugin.is_none_or(Plugin::has_twin)
    }

    fn good_in_a_row(&self) -> u64 {
        self.patient.as_ref().map_or(0, |patient| patient.tally.good_in_a_row)
    }

    /// Injects one fault and listens until all is good again, or patience ends.
    /// What shared memory is in use before and afterwards is added to `names`.
    pub(super) fn fault(
        &mut self,
        kind: Kind,
        seed: u64,
        fail_closed: bool,
        names: &mut Names,
    ) -> Result<Outcome> {
        self.prepare(fail_closed)?;
        let mut outcome = Outcome::default();
        if !self.settle() {
            outcome.notes.push("it does not play before the fault".to_owned());
        }
        names.look(&self.wish.mark);
        self.lines.clear();
        let reports = self.report_names();
        let Some(patient) = &mut self.patient else { return Ok(outcome) };
        patient.begin();
        let pid = patient.pid();
        let fault_ns = self.inject(kind, seed, pid, &mut outcome)?;
        let gone_ns = self.is_over(kind, seed, pid).then(now_ns).filter(|_| !lives(pid));
        outcome.survived = outcome.injected && (gone_ns.is_some() || lives(pid)) && self.is_good_again();
        names.look(&self.wish.mark);
        self.read(seed, fault_ns, gone_ns, &mut outcome);
        if gone_ns.is_some() {
            outcome.report = self.report_of(pid, &reports);
        }
        if !outcome.survived {
            outcome.notes.extend(self.lines.drain(..));
            outcome.notes.extend(self.patient.as_mut().map(Post::state));
        }
        if !outcome.survived || !lives(pid) {
            self.let_go();
        }
        Ok(outcome)
    }

    /// What was heard, and what the plugin says of it.
    fn read(&self, seed: u64, fault_ns: Option<u64>, gone_ns: Option<u64>, outcome: &mut Outcome) {
        let Some(patient) = &self.patient else { return };
        outcome.tally = patient.tally;
        outcome.to_good = patient.tally.recovery(fault_ns);
        let began_ns = fault_ns.or(patient.tally.bad_from_ns);
        outcome.gone_ns = gone_ns.zip(began_ns).map(|(gone, began)| gone.saturating_sub(began));
        outcome.untried = patient.flag(&format!("untried-{seed}")).exists();
        for broken in ["truncated", "punched"] {
            if patient.flag(&format!("{broken}-{seed}")).exists() {
                outcome.survived = false;
                outcome.notes.push(format!("its memory could be {broken}"));
            }
        }
    }

    fn report_names(&self) -> HashSet<OsString> {
        let entries = std::fs::read_dir(self.reports()).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect()
    }

    fn reports(&self) -> PathBuf {
        self.folder.path().join(REPORTS)
    }

    /// The report of this worker's end, as soon as it is there and was not before. One that is late is waited for as long
    /// as anything, so that what is missing then was never written.
    fn report_of(&mut self, pid: u32, before: &HashSet<OsString>) -> Option<Report> {
        let mut report = None;
        self.until(self.patience, |rig| {
            let new = rig.report_names().into_iter().filter(|name| !before.contains(name));
            report = new.map(|name| rig.reports().join(name)).find_map(|path| Report::read(&path, pid));
            report.is_some()
        });
        report
    }

    /// Kills the worker, has another started at once whatever happened before, and waits until it plays well.
    pub(super) fn cycle(&mut self) -> Result<bool> {
        self.prepare(false)?;
        let Some(patient) = &mut self.patient else { return Ok(false) };
        let pid = patient.pid();
        if !send(pid, Signal::KILL) || !self.until(self.patience, |_| !lives(pid)) {
            return Ok(false);
        }
        if let Some(plugin) = self.patient.as_mut().and_then(|patient| patient.pipeline.plugins_mut().first())
        {
            plugin.restart();
        }
        Ok(self.is_good_again() && self.patient.as_mut().is_some_and(|patient| patient.pid() != pid))
    }

    /// Waits until nobody is starting any more.
    pub(super) fn rest(&mut self) -> bool {
        self.settle()
    }

    /// Makes the fault happen; when, if that is known to the harness.
    fn inject(&mut self, kind: Kind, seed: u64, pid: u32, outcome: &mut Outcome) -> Result<Option<u64>> {
        let Some(patient) = &mut self.patient else { return Ok(None) };
        let signal = match kind.injection() {
            Injection::Plugin => {
                if let Err(why) = patient.tell_plugin("fault", &format!("{kind}:{seed}")) {
                    outcome.notes.push(why.to_string());
                }
                let began = patient.flag(&format!("began-{seed}"));
                outcome.injected = self.until(self.patience, |_| began.exists());
                return Ok(None);
            }
            Injection::Kill => Signal::KILL,
            Injection::Stop => Signal::STOP,
            Injection::KillAfterFlag(flag) => {
                patient.raise_flag(flag, seed)?;
                Signal::KILL
            }
            Injection::KillAfterSnapshot(flag) => {
                patient.raise_flag(flag, seed)?;
                let raised = patient.flag(flag);
                self.until(SNAPSHOT_PATIENCE, |_| !raised.exists());
                Signal::KILL
            }
        };
        // At any instant of a block.
        std::thread::park_timeout(Duration::from_nanos(self.random.below(format().block_ns())));
        self.listen();
        if let Some(patient) = &mut self.patient {
            patient.tally.forget_times();
        }
        let fault_ns = now_ns();
        outcome.injected = send(pid, signal);
        Ok(Some(fault_ns))
    }

    /// Waits until the fault is over: the plugin says so, or its worker is gone.
    fn is_over(&mut self, kind: Kind, seed: u64, pid: u32) -> bool {
        let Some(patient) = &self.patient else { return false };
        let told = patient.flag(&format!("over-{seed}"));
        let next_dies =
            matches!(kind.injection(), Injection::KillAfterFlag(_) | Injection::KillAfterSnapshot(_));
        // Where the next one dies, that may be over before the end of this one, which was killed as well.
        self.until(self.patience, |_| {
            if next_dies { told.exists() && !lives(pid) } else { told.exists() || !lives(pid) }
        })
    }

    fn is_good_again(&mut self) -> bool {
        self.listen();
        if let Some(patient) = &mut self.patient {
            patient.tally.good_in_a_row = 0;
        }
        self.until(self.patience, |rig| rig.good_in_a_row() >= GOOD_AGAIN)
    }

    /// Ends both pipelines; what was played, from the first block of either to the last.
    pub(super) fn close(mut self) -> Past {
        self.let_go();
        self.past.and(self.neighbour.close())
    }
}

fn format() -> Format {
    // Constants within the bounds.
    Format::new(CHANNELS, BLOCK_FRAMES, RATE).unwrap_or_else(|_| unreachable!())
}

/// A second of silence: the probe puts the noise in.
fn silence(folder: &TempDir) -> Result<PathBuf> {
    let path = folder.path().join("silence.wav");
    let mut writer = WavWriter::create(&path, CHANNELS, RATE, Bits::default())?;
    writer.write(&vec![0.0; (CHANNELS * RATE) as usize])?;
    writer.finalize()?;
    Ok(path)
}

fn no_room() -> Error {
    Error::new(ErrorKind::System, "no room for the files of the plugin under test")
        .remedy("free space in the folder for temporary files, or name another one by TMPDIR")
}

/// How many workers there are and how much processor time they have used.
fn load() -> (usize, u64) {
    let children = leftovers::children();
    (children.len(), children.iter().map(|child| child.ticks).sum())
}

fn lives(pid: u32) -> bool {
    Process::of(pid).is_some_and(|process| process.lives())
}

fn send(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}
