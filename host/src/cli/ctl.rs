//! `nda ctl`: finds a run, asks it one thing, tells the answer.
//!
//! For people and scripts. What is asked is done by [`crate::run`]; here it is found out whom to ask, and the answer is
//! put into words or JSON and an exit code.

use super::args::CtlArgs;
use super::json::document;
use super::out::Out;
use super::words;
use crate::control::{self, Done, Found, Refusal, Reply, Request};
use crate::error::{Error, Kind, Result};
use crate::report::{CaptureStatus, Latency, Xruns};
use crate::telemetry::Counts;
use serde::{Deserialize, Deserializer, Serialize};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The longest value that is read from standard input: more fits no request.
const VALUE_MAX: u64 = control::LINE_MAX as u64;

/// What to do where no run is found.
const ANOTHER: &str =
    "start one with `nda run CONFIG.toml`, or name the socket of another with --socket PATH";

/// Asks a run what the arguments say, and tells the answer.
pub(super) fn ctl(args: &CtlArgs, out: &mut Out) -> Result<ExitCode> {
    // Whoever reads JSON wants to read in it too that there is no run.
    match answer(args).unwrap_or_else(Reply::from) {
        Reply::Done(done) => tell(&done, args.json, out),
        Reply::Refused(refusal) => tell_refusal(refusal, args.json, out),
    }
}

fn answer(args: &CtlArgs) -> Result<Reply> {
    let mut request = args.request.clone();
    if let Request::Set { value, .. } = &mut request {
        *value = value_of(std::mem::take(value))?;
    }
    let socket = match &args.socket {
        Some(path) => path.clone(),
        None => chosen(control::find(), args.run.as_deref(), ANOTHER)?,
    };
    control::ask(&socket, &request)
}

/// The value as it is, or what standard input has, without the end of its last line.
fn value_of(value: String) -> Result<String> {
    if value != "-" {
        return Ok(value);
    }
    let mut text = String::new();
    std::io::stdin()
        .take(VALUE_MAX)
        .read_to_string(&mut text)
        .map_err(|e| Error::new(Kind::Input, "the value can't be read from standard input").source(e))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Where the run that is meant is met; if there is none at all, `otherwise` is to be done.
pub(super) fn chosen(mut found: Vec<Found>, run: Option<&str>, otherwise: &str) -> Result<PathBuf> {
    let there_are = |found: &[Found]| {
        let names: Vec<_> = found.iter().map(|run| format!("{} (process {})", run.name, run.pid)).collect();
        names.join(", ")
    };
    let all = there_are(&found);
    if let Some(run) = run {
        found.retain(|one| one.name == run || one.pid.to_string() == run);
    }
    match (found.as_slice(), run) {
        ([one], _) => Ok(one.path.clone()),
        ([], None) => Err(Error::new(Kind::Control, "there is no run").remedy(otherwise)),
        ([], Some(run)) => {
            let error = Error::new(Kind::Control, format!("there is no run {run}"));
            Err(if all.is_empty() { error } else { error.remedy(format!("there is {all}")) })
        }
        (several, _) => {
            // Those of two containers may have one number.
            let is_alone = several[1..].iter().all(|other| other.pid != several[0].pid);
            let one = if is_alone { several[0].pid.to_string() } else { several[0].name.clone() };
            Err(Error::new(Kind::Control, format!("there are several runs: {}", there_are(several)))
                .remedy(format!("name one of them, as in --run {one}")))
        }
    }
}

fn tell(done: &Done, json: bool, out: &mut Out) -> Result<ExitCode> {
    if json {
        let text = match &done.status {
            Some(status) => document(status)?,
            None => document(done)?,
        };
        out.data(text.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    for line in done.lines.iter().chain(&done.value) {
        out.text(&format!("{line}\n"));
    }
    if let Some(status) = &done.status {
        out.text(&status_text(status)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// A refusal, as programs get it.
#[derive(Serialize)]
struct Refused<'a> {
    error: &'a Refusal,
}

fn tell_refusal(refusal: Refusal, json: bool, out: &mut Out) -> Result<ExitCode> {
    let code = refusal.code.into();
    if json {
        out.data(document(&Refused { error: &refusal })?.as_bytes());
    } else {
        out.error(&Error::new(refusal.kind, refusal.why));
    }
    Ok(code)
}

/// A run's status, as it tells it in JSON, for people.
///
/// # Errors
/// Of kind `Control`: it is something else.
pub(super) fn status_text<'a>(status: impl Deserializer<'a, Error = serde_json::Error>) -> Result<String> {
    let strange = |e| Error::new(Kind::Control, "the run is of another version than this").source(e);
    Ok(text(&Status::deserialize(status).map_err(strange)?))
}

/// What of a run's status is told to people.
#[derive(Debug, Deserialize)]
struct Status {
    config: Option<String>,
    pid: u32,
    seconds: f64,
    pipelines: Vec<Lane>,
}

#[derive(Debug, Deserialize)]
struct Lane {
    name: String,
    state: String,
    why: Option<String>,
    muted: bool,
    status: Option<Pipeline>,
}

#[derive(Debug, Deserialize)]
struct Pipeline {
    source: String,
    sink: String,
    rate: u32,
    frames: u64,
    latency: Latency,
    xruns: Xruns,
    capture: Option<CaptureStatus>,
    devices: Vec<Device>,
    underrun_frames: u64,
    overrun_frames: u64,
    file_failures: Vec<String>,
    plugins: Vec<Plugin>,
}

#[derive(Debug, Deserialize)]
struct Device {
    name: String,
    lost_s: Option<f64>,
    losses: u64,
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Plugin {
    name: String,
    title: String,
    mode: String,
    bypassed: bool,
    dead: Option<String>,
    counts: Counts,
}

fn text(status: &Status) -> String {
    let elapsed = words::clock(Duration::try_from_secs_f64(status.seconds).unwrap_or_default());
    let config = status.config.as_deref().unwrap_or("a run");
    let mut lines = vec![format!("{config}, process {}, for {elapsed}", status.pid)];
    for lane in &status.pipelines {
        lines.extend(lane_lines(lane));
    }
    lines.join("\n") + "\n"
}

fn lane_lines(lane: &Lane) -> Vec<String> {
    let muted = if lane.muted { ", muted" } else { "" };
    let first = format!("{}: {}{muted}", lane.name, lane.state);
    let mut lines = with_reason(first, lane.why.as_deref());
    if let Some(status) = &lane.status {
        let seconds = status.frames as f64 / f64::from(status.rate.max(1));
        lines[0].push_str(&format!("; {} -> {}, {seconds:.1} s played", status.source, status.sink));
        lines.extend(pipeline_lines(status, &lane.name));
    }
    lines
}

fn pipeline_lines(status: &Pipeline, name: &str) -> Vec<String> {
    let mut lines = vec![format!("  {}", words::latency(&status.latency))];
    lines.extend(status.capture.map(|capture| format!("  {}", words::capture(capture))));
    let troubles = words::lost_frames(&status.xruns, status.underrun_frames, status.overrun_frames);
    if !troubles.is_empty() {
        lines.push(format!("  {}", troubles.join(", ")));
    }
    lines.extend(status.file_failures.iter().filter_map(|why| Some(format!("  {}", why.lines().next()?))));
    lines.extend(status.devices.iter().flat_map(device_lines));
    lines.extend(status.plugins.iter().map(|plugin| plugin_line(plugin, name)));
    lines
}

/// That a device is away, and why, or how often it was; nothing of one that has always been there.
fn device_lines(device: &Device) -> Vec<String> {
    let Device { name, losses, .. } = device;
    let Some(seconds) = device.lost_s else {
        return words::was_lost(*losses).map(|lost| format!("  device {name} {lost}")).into_iter().collect();
    };
    let times = if *losses > 1 { format!(", {losses} times so far") } else { String::new() };
    let lost = format!("  device {name} {} for {seconds:.0} s{times}", words::lost(*losses));
    with_reason(lost, device.why.as_deref())
}

/// The line with the first line of the reason; the others of it follow, indented.
fn with_reason(line: String, why: Option<&str>) -> Vec<String> {
    let mut reason = why.unwrap_or_default().lines();
    let first = reason.next().map_or(line.clone(), |first| format!("{line}: {first}"));
    std::iter::once(first).chain(reason.map(|more| format!("    {more}"))).collect()
}

fn plugin_line(plugin: &Plugin, pipeline: &str) -> String {
    let name = words::own_name(&plugin.name, pipeline);
    let bypassed = if plugin.bypassed { ", bypassed" } else { "" };
    let dead = plugin.dead.as_ref().map(|dead| format!("; {dead}")).unwrap_or_default();
    let (good, lost) = (words::plural(plugin.counts.good, "block"), plugin.counts.lost());
    let Plugin { title, mode, .. } = plugin;
    format!("  {name} ({title}, {mode}{bypassed}): {good} good, {lost} lost{dead}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated::{self, Shared};
    use crate::report::DeviceStatus;
    use crate::run::{LaneStatus, RunStatus};

    fn found(name: &str, pid: u32) -> Found {
        Found { name: name.into(), pid, path: format!("{name}-{pid}").into() }
    }

    #[test]
    fn the_only_run_is_meant_and_among_several_the_one_that_is_named() {
        let all = || vec![found("duplex", 7), found("duplex", 8), found("live", 9)];
        let path = |found, run| chosen(found, run, ANOTHER).map(|path| path.display().to_string());
        assert_eq!(path(vec![found("live", 9)], None).unwrap(), "live-9");
        assert_eq!(path(all(), Some("live")).unwrap(), "live-9");
        assert_eq!(path(all(), Some("8")).unwrap(), "duplex-8");
        for (found, run, words) in [
            (vec![], None, "start one with `nda run"),
            (all(), Some("else"), "there is duplex (process 7), duplex (process 8), live (process 9)"),
            (all(), None, "as in --run 7"),
            (all(), Some("duplex"), "several runs: duplex (process 7), duplex (process 8)\n"),
            (vec![found("a", 1), found("a-2", 1)], Some("1"), "as in --run a"),
        ] {
            let error = path(found, run).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind(), Kind::Control);
        }
    }

    #[test]
    fn a_status_is_told_in_lines_and_a_pipeline_that_has_not_played_in_one() {
        let mut pipeline = fabricated::with_a_dead_plugin();
        pipeline.plugins[0].bypassed = true;
        pipeline.xruns = Xruns { device: 1, host_late: 2, plugin_late: 3 };
        pipeline.underrun_frames = 512;
        pipeline.capture =
            Some(CaptureStatus { level_frames: 912, target_frames: 900, correction_ppm: 12.0, gaps: 1 });
        let device = &mut pipeline.devices[0];
        (device.losses, device.lost_s, device.why) =
            (1, Some(12.3), Some("it is gone\n  try: plug it in".into()));
        let input =
            DeviceStatus { name: "Mic".into(), direction: "input", losses: 2, ..fabricated::device() };
        let back = DeviceStatus { lost_s: None, ..input.clone() };
        pipeline.devices.extend([DeviceStatus { lost_s: Some(3.0), ..input }, back, fabricated::device()]);
        let lane = |name: &str, state, status| LaneStatus {
            name: name.into(),
            state,
            why: (state == "failed").then(|| "there is no such file\n  try: make it".into()),
            muted: state == "playing",
            bypassed: Vec::new(),
            status,
        };
        let status = RunStatus {
            config: Some("live.toml".into()),
            pid: 42,
            seconds: 61.5,
            real_time: None,
            pipelines: vec![lane("main", "playing", Some(pipeline)), lane("rx", "failed", None)],
        };
        let done = Done { status: serde_json::to_value(status).ok(), ..Done::default() };
        let said = Shared::default();
        tell(&done, false, &mut Out::catching(said.clone(), std::io::sink())).unwrap();
        let expected = "\
live.toml, process 42, for 01:01
main: playing, muted; song.flac -> virtual and out.wav, 60.0 s played
  latency 6.7 ms: devices 0, adaptation 0, mode 5.3, plugins 1.4
  input 912 frames ahead of 900, its clock 12 ppm fast, 1 gap
  xruns: 1 device, 2 host late, 3 plugin late, 512 frames underrun
  device virtual lost for 12 s: it is gone
      try: plug it in
  device Mic lost for 3 s, 2 times so far
  device Mic was lost 2 times
  gain (Gain 1.0, same-block, bypassed): 11250 blocks good, 0 lost
  echo (Echo 2.1, pipelined): 11245 blocks good, 4005 lost; was killed by SIGSEGV; it is not started again until its \
file changes
rx: failed: there is no such file
      try: make it
";
        assert_eq!(said.text(), expected);
    }

    #[test]
    fn counts_of_a_run_of_another_version_are_read_as_far_as_they_are_known() {
        let counts = serde_json::json!({ "good": 7, "late": 2, "torn": 1, "strange": 9 });
        let counts: Counts = serde_json::from_value(counts).unwrap();
        assert_eq!((counts.good, counts.lost()), (7, 3));
    }

    #[test]
    fn a_refusal_is_an_error_in_words_and_in_json_one_with_its_kind() {
        let refused = |json| {
            let [said, wrong] = [Shared::default(), Shared::default()];
            let error = Error::new(Kind::Config, "no pipeline none").remedy("there is tx");
            let code =
                tell_refusal(Refusal::from(&error), json, &mut Out::catching(said.clone(), wrong.clone()));
            assert_eq!(code.unwrap(), Kind::Config.exit_code().into());
            (said.text(), wrong.text())
        };
        assert_eq!(
            refused(false),
            (String::new(), "nda: error: no pipeline none\n  try: there is tx\n".into())
        );
        let (said, wrong) = refused(true);
        let told: serde_json::Value = serde_json::from_str(&said).unwrap();
        let error =
            serde_json::json!({ "code": 3, "kind": "config", "why": "no pipeline none\n  try: there is tx" });
        assert_eq!((&told["error"], &told["format"], wrong.as_str()), (&error, &1.into(), ""));
    }

    #[test]
    fn a_value_is_told_as_it_is_and_in_json_with_its_name() {
        let done = Done { value: Some("0.5".into()), ..Done::default() };
        let told = |json| {
            let said = Shared::default();
            tell(&done, json, &mut Out::catching(said.clone(), std::io::sink())).unwrap();
            said.text()
        };
        assert_eq!(told(false), "0.5\n");
        assert!(told(true).contains("\"value\": \"0.5\""));
    }
}
