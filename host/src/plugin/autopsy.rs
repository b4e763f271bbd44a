//! What is gathered of a worker that died, for the report to the plugin's author.
//!
//! For whoever has noticed the death: recovery, or a render. It asks the worker nothing, and writes nothing:
//! [`crash`](crate::crash) does.

use super::Nature;
use super::care::Care;
use super::spec::{Mode, PluginSpec};
use super::worker::{Worker, title};
use crate::crash::{BlockStamps, CrashReport, FileMark, LastBlock, LogLine};
use crate::supervisor::{Death, Ending};
use crate::telemetry::PluginStats;
use shared::format::Format;
use shared::message::{LogSource, PluginKind};
use shared::ring::{HostEnd, Look, Scrub, Status, Taken};
use std::path::PathBuf;
use std::sync::Arc;

/// The plugin whose worker it was, and which of its workers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    pub(crate) spec: &'a PluginSpec,
    pub(crate) nature: Nature,
    /// As it was asked for: it may have been moved by itself.
    pub(crate) mode: Mode,
    pub(crate) format: Format,
    pub(crate) care: &'a Care,
    pub(crate) stats: &'a PluginStats,
    pub(crate) incarnation: u32,
}

impl Subject<'_> {
    /// What is known whichever of its workers the report is about.
    pub(crate) fn report(&self, done: String) -> CrashReport {
        let known = self.care.known();
        // Its key is nobody's, not even on the user's own disk.
        let value = |value: &String| (!self.nature.is_closed).then(|| value.clone());
        let parameters = known.parameters.list.iter().map(|(key, it)| (key.clone(), value(it))).collect();
        let is_pipelined = self.mode == Mode::Pipelined || self.stats.added_frames() > 0;
        let mode = if is_pipelined { Mode::Pipelined } else { Mode::SameBlock };
        CrashReport {
            python: known.worker.python().to_owned(),
            kind: self.nature.kind.to_string(),
            mode: mode.to_string(),
            done,
            counts: self.stats.counts(),
            incarnation: self.incarnation,
            parameters,
            plugin_time: known.times.plugin(),
            round_trip: known.times.round_trip(),
            misses: known.causes.list().map(|(n, words)| (words.to_owned(), n)).collect(),
            ..CrashReport::about(self.name, &self.spec.file, self.format)
        }
    }

    /// The same of one that played and died, with its last blocks if its ring is at hand.
    pub(crate) fn death(
        &self,
        worker: &Worker,
        death: &Death,
        end: Option<&HostEnd>,
        done: String,
    ) -> CrashReport {
        let (last_blocks, stamps) = end.map_or_else(Default::default, |end| last_blocks(end, self.nature));
        CrashReport {
            title: Some(title(worker.loaded())),
            loaded: worker.file_mark(),
            python: worker.python().to_owned(),
            python_version: Some(worker.hello().python.clone()),
            pid: Some(worker.pid()),
            ended: death.to_string(),
            exit_code: exit_code(death),
            signal: signal(death),
            because: death.because.as_ref().map(ToString::to_string),
            log: log_lines(death),
            traceback: death.traceback().to_owned(),
            stamps,
            last_blocks,
            ..self.report(done)
        }
    }
}

/// What is known of a worker that did not come so far as to play.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) pid: u32,
    /// What the plugin calls itself, with its version, if it came so far as to load it.
    pub(crate) title: Option<String>,
    /// Whether it says that it does not fail closed: one that did not come so far may do so.
    pub(crate) is_open: bool,
    pub(crate) python: PathBuf,
    /// The interpreter's version, if it came so far as to say it.
    pub(crate) python_version: Option<String>,
    /// The plugin's file as it was just before it was loaded, if it came so far.
    pub(crate) file_mark: Option<FileMark>,
    /// How it ended, if it did.
    pub(crate) death: Option<Arc<Death>>,
}

impl Remains {
    /// A report with that in it.
    pub(crate) fn told_in(self, report: CrashReport) -> CrashReport {
        let Self { pid, title, python, python_version, file_mark: loaded, death, .. } = self;
        let report = CrashReport { pid: Some(pid), title, loaded, python, python_version, ..report };
        let Some(death) = death else { return report };
        let stacks = death.traceback();
        let traceback = if stacks.is_empty() { report.traceback } else { stacks.to_owned() };
        CrashReport {
            exit_code: exit_code(&death),
            signal: signal(&death),
            because: death.because.as_ref().map(ToString::to_string),
            log: log_lines(&death),
            traceback,
            ..report
        }
    }
}

pub(crate) fn exit_code(death: &Death) -> Option<i32> {
    if let Ending::Code(code) = death.ending { Some(code) } else { None }
}

pub(crate) fn signal(death: &Death) -> Option<i32> {
    if let Ending::Signal(signal) = death.ending { Some(signal) } else { None }
}

/// What was told of it while it lived.
pub(crate) fn log_lines(death: &Death) -> Vec<LogLine> {
    let line = |(source, text): &(LogSource, String)| {
        let source = match source {
            LogSource::Stdout => "stdout",
            LogSource::Stderr => "stderr",
            LogSource::Worker => "worker",
        };
        LogLine { source: source.into(), text: text.clone() }
    };
    death.log.iter().map(line).collect()
}

/// The blocks whose slots have not been used again, oldest first. Nobody writes the requests any more; the answers
/// are read as distrustfully as ever.
///
/// Of a plugin that fails closed what it got is a secret.
fn last_blocks(end: &HostEnd, nature: Nature) -> (Vec<LastBlock>, Vec<BlockStamps>) {
    // One that came from the worker before and was not kept can't be given again.
    let kept = end.kept().filter(|seq| end.has_samples(*seq));
    kept.map(|seq| (last_block(end, nature, seq), stamps(end, seq))).unzip()
}

fn last_block(end: &HostEnd, nature: Nature, seq: u32) -> LastBlock {
    let Nature { kind, is_closed, .. } = nature;
    let answered = end.look(seq) == Look::Answered;
    let mut samples = vec![0.0; end.layout().format().samples()];
    // The slot of a block that it failed may still hold what it got.
    let tells_nothing = |taken: Taken| !is_closed || taken.status == Status::Good;
    let taken = answered && end.take(seq, &mut samples, Scrub::Nothing).is_ok_and(tells_nothing);
    LastBlock {
        seq: seq.into(),
        input: (kind != PluginKind::Source && !is_closed).then(|| end.requested(seq).to_vec()),
        output: (taken && kind != PluginKind::Sink).then_some(samples),
        answered,
    }
}

fn stamps(end: &HostEnd, seq: u32) -> BlockStamps {
    let head = end.head(seq);
    let stamp = |get: fn(&shared::ring::Stamps) -> u64| head.as_ref().map(|head| get(&head.stamps));
    BlockStamps {
        seq: seq.into(),
        handed_ns: end.published_ns(seq),
        seen_ns: stamp(|s| s.seen_ns),
        woken_ns: stamp(|s| s.woken_ns),
        entered_ns: stamp(|s| s.entered_ns),
        left_ns: stamp(|s| s.left_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::layout::Layout;
    use shared::ring::{Notes, Stamps, WorkerEnd};

    #[test]
    fn of_a_plugin_that_fails_closed_nothing_is_kept_of_what_it_got() {
        let layout = Layout::new(Format::new(1, 16, 48_000).unwrap(), 4).unwrap();
        let (mut end, handles) = HostEnd::create(layout).unwrap();
        let mut worker = WorkerEnd::map(&handles, layout).unwrap();
        for status in [Status::Good, Status::Failed] {
            end.publish(|samples| samples.fill(0.25)).unwrap();
            // As a plugin that raises at once leaves it.
            worker.begin();
            worker.answer(status, Stamps::default(), Notes::default());
        }
        let kept = |is_closed, seq| {
            let nature = Nature { kind: PluginKind::Processor, latency_frames: 0, is_closed };
            let block = last_block(&end, nature, seq);
            (block.input.is_some(), block.output.is_some())
        };
        assert_eq!([kept(true, 1), kept(true, 2)], [(false, true), (false, false)]);
        assert_eq!([kept(false, 1), kept(false, 2)], [(true, true), (true, true)]);
    }
}
