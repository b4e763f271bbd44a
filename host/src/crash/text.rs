//! `report.txt` and `log.txt`: a death in words.
//!
//! For the plugin's author, who sees on one screen what happened and what to do next. No value of a parameter, no
//! sample and no control character of the plugin's gets into it.

use super::{BlockStamps, CrashReport, LastBlock, LogLine};
use crate::error::plain;
use crate::plugin::interpreter::quoted;
use crate::telemetry::Percentiles;
use std::fmt::Write;

/// Lines of the log that are shown with the rest; all are in `log.txt`.
const LOG_SHOWN: usize = 8;
/// Lines of the traceback that are shown with the rest.
const TRACEBACK_SHOWN: usize = 16;
/// Blocks that are shown.
const BLOCKS_SHOWN: usize = 8;

/// The whole of `report.txt`.
pub(super) fn report(report: &CrashReport) -> String {
    let mut text = format!("{} {}\n\n", report.plugin, report.ended);
    for (name, value) in facts(report).into_iter().filter(|(_, value)| !value.is_empty()) {
        // Writing into a string can't fail, here and below.
        let _ = writeln!(text, "{name:<12}{value}");
    }
    blocks(&mut text, report);
    last(&mut text, "last lines (all in log.txt)", &log(&report.log), LOG_SHOWN);
    last(&mut text, "traceback or stacks (all in traceback.txt)", &report.traceback, TRACEBACK_SHOWN);
    let _ = writeln!(text, "\ntry: nda replay with this folder runs the plugin on these blocks again");
    plain(&text)
}

/// The whole of `log.txt`.
pub(super) fn log(lines: &[LogLine]) -> String {
    let line = |line: &LogLine| format!("{:<7} {}\n", line.source, plain(&line.text));
    lines.iter().map(line).collect()
}

fn facts(r: &CrashReport) -> Vec<(&'static str, String)> {
    let title = r.title.as_deref().map(|title| format!("{title}, ")).unwrap_or_default();
    let python = r.python_version.as_deref().map(|version| format!(" ({version})")).unwrap_or_default();
    vec![
        ("file", quoted(&r.file)),
        ("plugin", format!("{title}{}, {}, {}", r.kind, r.mode, r.format)),
        ("when", r.when.strftime("%Y-%m-%d %H:%M:%S.%3f UTC").to_string()),
        ("exit", exit(r)),
        ("because", r.because.clone().unwrap_or_default()),
        ("done", r.done.clone()),
        ("process", process(r)),
        ("python", format!("{}{python}", quoted(&r.python))),
        (
            "good",
            format!(
                "{} blocks of this process, {} of all, {} lost",
                r.good_blocks,
                r.counts.good,
                r.counts.lost()
            ),
        ),
        (
            "missed",
            r.misses.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", "),
        ),
        ("plugin time", times(&r.plugin_time)),
        ("round trip", times(&r.round_trip)),
        ("parameters", parameters(r)),
        (
            "state",
            r.state.as_ref().map(|state| format!("{} bytes, in state.bin", state.len())).unwrap_or_default(),
        ),
    ]
}

fn process(r: &CrashReport) -> String {
    let number = format!("the plugin's number {}", r.incarnation);
    r.pid.map_or(number.clone(), |pid| format!("{pid}, {number}"))
}

fn exit(r: &CrashReport) -> String {
    match (r.exit_code, r.signal) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => String::new(),
    }
}

fn times(t: &Percentiles) -> String {
    if t.max_us > 0.0 {
        let (p50, p99, p999, max) = (t.p50_us, t.p99_us, t.p999_us, t.max_us);
        return format!("half within {p50:.1} us, 99% {p99:.1}, 99.9% {p999:.1}, longest {max:.1}");
    }
    String::new()
}

fn parameters(r: &CrashReport) -> String {
    let keys: Vec<&str> = r.parameters.iter().map(|(key, _)| key.as_str()).collect();
    let values = match r.parameters.iter().filter(|(_, value)| value.is_some()).count() {
        _ if keys.is_empty() => return String::new(),
        0 => "values are kept nowhere",
        _ => "values in parameters.json",
    };
    format!("{} ({values})", keys.join(", "))
}

fn blocks(text: &mut String, r: &CrashReport) {
    if r.last_blocks.is_empty() {
        return;
    }
    let _ = writeln!(text, "\nlast blocks (in.wav, out.wav); times in us after the block was handed over");
    let _ = writeln!(
        text,
        "  {:>10} {:<12} {:>9} {:>9} {:>9} {:>9}",
        "block", "", "seen", "woken", "entered", "left"
    );
    let skipped = r.last_blocks.len().saturating_sub(BLOCKS_SHOWN);
    for block in &r.last_blocks[skipped..] {
        let stamps = r.stamps.iter().find(|stamps| stamps.seq == block.seq);
        let _ = writeln!(text, "{}", block_line(block, stamps));
    }
}

fn block_line(block: &LastBlock, stamps: Option<&BlockStamps>) -> String {
    let became = if block.answered { "answered" } else { "no answer" };
    let after = |at: Option<u64>| match stamps.zip(at) {
        // Signed: what a worker stamps may be anything.
        Some((stamps, at)) => format!("{:.1}", (i128::from(at) - i128::from(stamps.handed_ns)) as f64 / 1e3),
        None => "-".to_owned(),
    };
    let times = stamps.map_or([None; 4], |s| [s.seen_ns, s.woken_ns, s.entered_ns, s.left_ns]);
    let [seen, woken, entered, left] = times.map(after);
    format!("  {:>10} {became:<12} {seen:>9} {woken:>9} {entered:>9} {left:>9}", block.seq)
}

/// The last lines of a text under a head, indented.
fn last(text: &mut String, head: &str, lines: &str, shown: usize) {
    let lines: Vec<&str> = lines.trim_end().lines().collect();
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{head}");
    for line in &lines[lines.len().saturating_sub(shown)..] {
        let _ = writeln!(text, "  {line}");
    }
}
