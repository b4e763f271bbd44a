//! What became of a run, in a few lines.
//!
//! For people, at the end of `nda run`; programs get the same as JSON. A figure that is not known, or a thing
//! that did not happen, has no line.

use super::words;
use crate::config::{FileSinkSpec, PipelineSpec, SinkSpec};
use crate::plugin::collector::CollectorStatus;
use crate::plugin::spec::Gc;
use crate::report::{EndedBy, PipelineStatus, PluginStatus, RunReport, shown};
use crate::telemetry::Percentiles;
use std::time::Duration;

/// A wait for the interpreter that is not the machine's doing: half of what another thread may keep it for once a block
/// has asked.
const HELD_US: f64 = 50.0;

/// The report.
pub(super) fn text(report: &RunReport) -> String {
    let mut lines = vec![ending(report)];
    for (number, pipeline) in report.pipelines.iter().enumerate() {
        lines.extend(pipeline_lines(pipeline, &files(report.specs.get(number))));
    }
    if !report.events.is_empty() {
        lines.push(words::plural(report.events.len() as u64, "event"));
    }
    lines.extend(report.damaged.iter().map(|why| format!("not whole: {why}")));
    lines.extend(not_stopped(&report.unwilling));
    lines.join("\n") + "\n"
}

/// Plugins that did not stop in order. The traceback has been told when it happened.
pub(super) fn not_stopped(unwilling: &[String]) -> impl Iterator<Item = String> {
    let first_lines = unwilling.iter().filter_map(|why| why.lines().next());
    first_lines.map(|why| format!("not stopped in order: {why}"))
}

fn ending(report: &RunReport) -> String {
    let why = match report.ended_by {
        EndedBy::Signal if report.pipelines.is_empty() => return "interrupted before it began".to_owned(),
        EndedBy::Source => "every source has ended",
        EndedBy::Time => "the time is over",
        EndedBy::Signal => "told to by a signal",
    };
    let elapsed = Duration::try_from_secs_f64(report.seconds).unwrap_or_default();
    format!("ended after {}: {why}", words::clock(elapsed))
}

/// The files that were written.
fn files(spec: Option<&PipelineSpec>) -> Vec<&FileSinkSpec> {
    let Some(spec) = spec else { return Vec::new() };
    let sink = match &spec.sink {
        SinkSpec::File(file) => Some(file),
        _ => None,
    };
    sink.into_iter().chain(&spec.record).collect()
}

fn pipeline_lines(pipeline: &PipelineStatus, files: &[&FileSinkSpec]) -> Vec<String> {
    let PipelineStatus { name, source, sink, .. } = pipeline;
    let mut lines = vec![format!("{name}: {source} -> {sink}, {:.1} s played", pipeline.seconds())];
    lines.push(format!("  {}", words::latency(&pipeline.latency)));
    lines.extend(pipeline.capture.map(|capture| format!("  {}", words::capture(capture))));
    lines.extend(
        files.iter().map(|file| format!("  wrote {}, {}", shown(&file.file), words::bits(file.bits))),
    );
    let troubles = words::troubles(pipeline);
    if !troubles.is_empty() {
        lines.push(format!("  {troubles}"));
    }
    lines.extend(pipeline.plugins.iter().flat_map(|plugin| plugin_lines(plugin, pipeline)));
    lines
}

fn plugin_lines(plugin: &PluginStatus, pipeline: &PipelineStatus) -> Vec<String> {
    let name = words::own_name(&plugin.name, &pipeline.name);
    let PluginStatus { title, mode, .. } = plugin;
    let mut lines = vec![format!("  {name} ({title}, {mode}): {}", blocks(plugin))];
    let told = [lost(plugin), late(plugin), floods(plugin), deaths(plugin), moves(plugin), uncached(plugin)];
    lines.extend(told.into_iter().flatten().map(|what| format!("    {what}")));
    lines.extend(interpreter(plugin).map(|what| format!("    {what}")));
    let times = [("in the plugin", &plugin.plugin_time), ("round trip", &plugin.round_trip)];
    lines.extend(times.iter().filter_map(|(what, times)| times_line(what, times)));
    lines
}

/// What became of a plugin's blocks, in numbers.
pub(super) fn blocks(plugin: &PluginStatus) -> String {
    let counts = &plugin.counts;
    let good = words::plural(counts.good, "block");
    let lost = if counts.lost() == 0 { "none".to_owned() } else { counts.lost().to_string() };
    let mut text = format!("{good} good, {lost} lost");
    for (count, what) in [(counts.non_finite_blocks, "not all finite"), (counts.too_loud_blocks, "too loud")]
    {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// Why blocks were lost and what was heard instead, if any was.
pub(super) fn lost(plugin: &PluginStatus) -> Option<String> {
    let told = || format!("lost: {}; in their place: {}", words::losses(&plugin.counts), plugin.lost);
    (plugin.counts.lost() > 0).then(told)
}

/// Why blocks were late or never handed over, of those that were looked into.
fn late(plugin: &PluginStatus) -> Option<String> {
    (plugin.causes.total() > 0).then(|| plugin.causes.to_string())
}

fn floods(plugin: &PluginStatus) -> Option<String> {
    let waits = words::plural(plugin.counts.flooded, "wait");
    (plugin.counts.flooded > 0)
        .then(|| format!("{waits} spoilt: it woke the host for nothing or kept wakes from it"))
}

/// How its workers died, and what stands by for the one that plays, if any died.
fn deaths(plugin: &PluginStatus) -> Option<String> {
    let standby = || format!("; standby: {}", plugin.standby);
    let standby = if plugin.dead.is_none() { standby() } else { String::new() };
    words::deaths(plugin).map(|deaths| deaths + &standby)
}

/// That it changed its mode by itself, if it did.
fn moves(plugin: &PluginStatus) -> Option<String> {
    let text = match plugin.added_frames {
        0 => "moved to pipelined and back by itself".to_owned(),
        frames => format!("moved to pipelined: its output comes {frames} frames later"),
    };
    match plugin.moves {
        0 => None,
        1 => Some(text),
        n => Some(format!("{text} ({n} moves)")),
    }
}

/// How many blocks went the slower way and why, if any did.
pub(super) fn uncached(plugin: &PluginStatus) -> Option<String> {
    let why = plugin.uncached.as_deref().filter(|_| plugin.uncached_blocks > 0)?;
    Some(format!(
        "slower, in a fresh buffer each: {} ({why})",
        words::plural(plugin.uncached_blocks, "block")
    ))
}

/// What else the interpreter did that blocks may have felt.
pub(super) fn interpreter(plugin: &PluginStatus) -> impl Iterator<Item = String> {
    [held(plugin), collector(plugin)].into_iter().flatten()
}

/// That blocks wait for the interpreter, if half of those that were in time do: late ones are told with their cause.
pub(super) fn held(plugin: &PluginStatus) -> Option<String> {
    let wait = &plugin.interpreter_wait;
    if wait.p50_us < HELD_US {
        return None;
    }
    let (p50, p99) = (wait.p50_us / 1e3, wait.p99_us / 1e3);
    Some(format!(
        "another thread of the plugin holds the interpreter: blocks wait {p50:.2} ms for it (p50), {p99:.2} ms (p99)"
    ))
}

/// What the collector did, if anything.
fn collector(plugin: &PluginStatus) -> Option<String> {
    let CollectorStatus { gc, young, older, unscheduled, total_ms, longest_ms } = plugin.collector;
    if young + older == 0 {
        return None;
    }
    let mut text = format!(
        "collector: {young} young and {older} older in {total_ms:.1} ms, the longest {longest_ms:.2} ms"
    );
    if gc != Gc::Python && unscheduled > 0 {
        text.push_str(&format!("; {unscheduled} of them begun by the plugin, not between two blocks"));
    }
    Some(text)
}

fn times_line(what: &str, times: &Percentiles) -> Option<String> {
    let t = words::measured(times)?;
    let [p50, p99, p999, max] = [t.p50_us, t.p99_us, t.p999_us, t.max_us].map(|us| format!("{us:.0} us"));
    Some(format!("    {what:<13}  p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;
    use crate::config::SourceSpec;
    use crate::report::Latency;

    /// A report of these, whose first one also writes a file.
    fn report(pipelines: Vec<PipelineStatus>) -> RunReport {
        let spec = PipelineSpec::new(SourceSpec::file("song.flac"), SinkSpec::device("virtual"));
        let record = Some(FileSinkSpec::new("out.wav"));
        let specs = vec![PipelineSpec { record, ..spec }];
        RunReport { specs, ..fabricated::run_report(pipelines) }
    }

    #[test]
    fn the_report_of_a_run_with_a_dead_plugin_reads_like_this() {
        let pipeline = PipelineStatus {
            xruns: fabricated::xruns(2),
            underrun_frames: 512,
            ..fabricated::with_a_dead_plugin()
        };
        let expected = "\
ended after 01:00: every source has ended
main: song.flac -> virtual and out.wav, 60.0 s played
  latency 6.7 ms: devices 0, adaptation 0, mode 5.3, plugins 1.4
  wrote out.wav, 32-bit float
  xruns: 2 device, 512 frames underrun
  gain (Gain 1.0, same-block): 11250 blocks good, none lost
    in the plugin  p50 12 us, p99 30 us, p99.9 45 us, max 80 us
    round trip     p50 25 us, p99 60 us, p99.9 95 us, max 210 us
  echo (Echo 2.1, pipelined): 11245 blocks good, 4005 lost, 1 not all finite
    lost: 3 late, 2 failed, 4000 while it was away; in their place: mute
    DEAD, died 6 times: was killed by SIGSEGV; it is not started again until its file changes
    in the plugin  p50 140 us, p99 910 us, p99.9 1450 us, max 12800 us
    round trip     p50 5340 us, p99 5600 us, p99.9 6100 us, max 13100 us
2 events
";
        assert_eq!(text(&report(vec![pipeline])), expected);
    }

    #[test]
    fn deaths_moves_and_causes_have_a_line_each() {
        let expected = "
  gain (Gain 1.0, pipelined): 11250 blocks good, 9 lost
    lost: 9 late; in their place: bypass
    9 not in time: 7 Python code slow, 2 unknown
    moved to pipelined: its output comes 256 frames later (3 moves)
    in the plugin  p50 12 us, p99 30 us, p99.9 45 us, max 80 us
    round trip     p50 25 us, p99 60 us, p99.9 95 us, max 210 us
  echo (Echo 2.1, pipelined): 11245 blocks good, 4006 lost, 1 not all finite, 4 too loud
    lost: 3 late, 2 failed, 4000 while it was away, 1 forged; in their place: mute
    2 waits spoilt: it woke the host for nothing or kept wakes from it
    died once, last: was killed by SIGSEGV; standby: spare
";
        let text = text(&report(vec![fabricated::with_a_bad_time()]));
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn what_is_not_known_and_what_did_not_happen_has_no_line() {
        let pipeline = PipelineStatus { latency: Latency::default(), ..fabricated::unheard() };
        let report = RunReport { events: Vec::new(), ..fabricated::run_report(vec![pipeline]) };
        let expected = "\
ended after 01:00: every source has ended
main: song.flac -> virtual and out.wav, 0.0 s played
  no latency added
  gain (Gain 1.0, same-block): 0 blocks good, none lost
";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn what_blocks_wait_for_in_the_interpreter_is_told() {
        let mut pipeline = fabricated::pipeline();
        let gain = &mut pipeline.plugins[0];
        gain.interpreter_wait.p50_us = 110.0;
        gain.interpreter_wait.p99_us = 232.0;
        gain.collector =
            CollectorStatus { young: 40, older: 2, total_ms: 3.04, longest_ms: 0.871, ..gain.collector };
        let told = |pipeline: PipelineStatus| text(&report(vec![pipeline]));
        let expected = "none lost
    another thread of the plugin holds the interpreter: blocks wait 0.11 ms for it (p50), 0.23 ms (p99)
    collector: 40 young and 2 older in 3.0 ms, the longest 0.87 ms
    in the plugin";
        let text = told(pipeline.clone());
        assert!(text.contains(expected) && text.matches("interpreter:").count() == 1, "{text}");
        let collector = &mut pipeline.plugins[0].collector;
        collector.unscheduled = 3;
        let not_ours = "0.87 ms; 3 of them begun by the plugin, not between two blocks";
        assert!(told(pipeline.clone()).contains(not_ours));
        // To Python nothing was scheduled.
        pipeline.plugins[0].collector.gc = Gc::Python;
        assert!(!told(pipeline).contains("begun by"));
    }

    #[test]
    fn blocks_in_fresh_buffers_are_told_with_their_number_and_the_reason() {
        let mut pipeline = fabricated::pipeline();
        pipeline.plugins[0].uncached = Some("it is odd".into());
        pipeline.plugins[0].uncached_blocks = 7;
        let text = text(&report(vec![pipeline]));
        let told = "good, none lost\n    slower, in a fresh buffer each: 7 blocks (it is odd)\n";
        assert!(text.contains(told) && text.matches("slower").count() == 1, "{text}");
    }

    #[test]
    fn a_run_that_did_not_begin_says_no_more_than_that() {
        let report = RunReport { ended_by: EndedBy::Signal, ..fabricated::run_report(Vec::new()) };
        let report = RunReport { seconds: 0.0, events: Vec::new(), ..report };
        assert_eq!(text(&report), "interrupted before it began\n");
    }

    #[test]
    fn every_pipeline_has_its_part_and_an_output_with_gaps_is_told_last() {
        let mut report = report(fabricated::two_pipelines());
        report.damaged.push("out.wav: the disk is full".into());
        let text = text(&report);
        assert!(text.contains("\nmusic: song.flac") && text.contains("\nvoice: song.flac"), "{text}");
        assert!(text.ends_with("\n2 events\nnot whole: out.wav: the disk is full\n"), "{text}");
    }

    #[test]
    fn the_report_for_programs_holds_the_same() {
        let report = fabricated::run_report(vec![fabricated::with_a_dead_plugin()]);
        let json: serde_json::Value =
            serde_json::from_str(&crate::cli::json::document(&report).unwrap()).unwrap();
        assert_eq!(json["format"], 1);
        assert_eq!(json["ended_by"], "source");
        let latency = &json["pipelines"][0]["latency"];
        assert_eq!((&latency["mode_frames"], &latency["mode_ms"]), (&256.into(), &(256.0 / 48.0).into()));
        let echo = &json["pipelines"][0]["plugins"][1];
        let dead = "was killed by SIGSEGV; it is not started again until its file changes";
        assert_eq!((&echo["dead"], &echo["quarantined"]), (&dead.into(), &true.into()));
        assert_eq!((&echo["deaths"], &echo["standby"]), (&6.into(), &"spare".into()));
        assert_eq!(echo["counts"]["gone"], 4000);
    }
}
