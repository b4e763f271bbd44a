//! How fast `nda render` is, and how fast the same plugin is in a plain Python loop without any isolation.
//!
//! Both work on one minute of stereo at 48 kHz, 16 bit, five times in turn, and must give the same samples.

#![allow(clippy::print_stdout)] // a benchmark's result

use benches::{Doubts, Outcome, machine, workspace};
use host::audio_file::{Bits, WavWriter};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const RUNS: usize = 5;
const RATE: u32 = 48_000;
const SECONDS: u32 = 60;
const BLOCK: &str = "512";
/// What a render must reach, in times of real time.
const TARGET: f64 = 400.0;

fn main() -> Outcome {
    let folder = Folder::new()?;
    let (input, output, raw) =
        (folder.0.join("in.wav"), folder.0.join("out.wav"), folder.0.join("in_process.raw"));
    write_music(&input)?;
    println!("render: {SECONDS} s of stereo at 48 kHz, {BLOCK}-frame blocks, simple_gain, {RUNS} runs");
    println!("{}\n", machine());
    let doubts = Doubts::begin();
    let (mut renders, mut loops) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        renders.push(render(&input, &output)?);
        loops.push(in_process(&input, &raw)?);
        // The WAV's samples are its end.
        if !std::fs::read(&output)?.ends_with(&std::fs::read(&raw)?) {
            return Err("the render and the plain loop differ".into());
        }
    }
    report(&renders, &loops);
    for doubt in doubts.end(2.0) {
        println!("warning: {doubt}");
    }
    Ok(())
}

fn report(renders: &[Render], loops: &[InProcess]) {
    let times = |seconds: f64| f64::from(SECONDS) / seconds;
    println!("{:52} {:>9} {:>9} {:>9}", "", "median", "min", "max");
    let speed = row("nda render, times real time", renders.iter().map(|r| r.times));
    row("  seconds, reading and writing included", renders.iter().map(|r| r.seconds));
    row("  seconds to start the worker, not in the above", renders.iter().map(|r| r.start));
    let command =
        row("  times real time of the whole command, with start", renders.iter().map(|r| times(r.command)));
    row("  us within the plugin, p50 of all blocks", renders.iter().map(|r| r.plugin_us));
    let whole = row("plain loop, times real time, same work", loops.iter().map(|l| times(l.whole)));
    let calls = row("plain loop, times real time, the calls alone", loops.iter().map(|l| times(l.calls)));
    println!("\nnda render is {:.2} x as fast as the plain loop that reads and writes too,", speed / whole);
    println!("and {:.2} x as fast as the plugin's calls alone.", speed / calls);
    let met = |speed| if speed >= TARGET { "met" } else { "NOT met" };
    println!("target, at least {TARGET} times real time: {}; with the start: {}", met(speed), met(command));
}

/// Prints and returns the median.
fn row(what: &str, values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let (min, median, max) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    let digits = if median < 10.0 { 3 } else { 0 };
    println!("{what:52} {median:9.digits$} {min:9.digits$} {max:9.digits$}");
    median
}

/// What one `nda render` said, and how long it took from its start to its end.
struct Render {
    times: f64,
    seconds: f64,
    start: f64,
    plugin_us: f64,
    command: f64,
}

fn render(input: &Path, output: &Path) -> Outcome<Render> {
    let nda = std::env::current_exe()?.ancestors().nth(2).ok_or("no folder")?.join("nda");
    if !nda.is_file() {
        return Err(format!("{} is not built: make build", nda.display()).into());
    }
    let began = Instant::now();
    let done = Command::new(nda)
        .arg("render")
        .args([input, output])
        .arg("--plugin")
        .arg(plugin())
        .args(["--set", "gain=0.5", "--block", BLOCK, "--json", "-"])
        .output()?;
    let command = began.elapsed().as_secs_f64();
    if !done.status.success() {
        return Err(format!("nda render: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    let report = String::from_utf8(done.stdout)?;
    if number(&report, &["frames"])? != f64::from(SECONDS * RATE) {
        return Err("the render lost frames".into());
    }
    Ok(Render {
        times: number(&report, &["times_real_time"])?,
        seconds: number(&report, &["seconds"])?,
        start: number(&report, &["start_seconds"])?,
        plugin_us: number(&report, &["plugin_time", "p50_us"])?,
        command,
    })
}

/// The number behind these keys, which follow each other in the report.
fn number(report: &str, keys: &[&str]) -> Outcome<f64> {
    let mut rest = report;
    for key in keys {
        rest = rest.split_once(&format!("\"{key}\": ")).ok_or_else(|| format!("no {key} in the report"))?.1;
    }
    Ok(rest.split([',', '\n']).next().unwrap_or_default().parse()?)
}

/// Seconds that the plain loop took.
struct InProcess {
    whole: f64,
    calls: f64,
}

fn in_process(input: &Path, raw: &Path) -> Outcome<InProcess> {
    let done = Command::new(workspace().join(".venv/bin/python"))
        .arg(workspace().join("benches/in_process.py"))
        .arg(plugin())
        .args([input, raw])
        .arg(BLOCK)
        .output()
        .map_err(|e| format!(".venv/bin/python: {e}; make it with .ci/setup"))?;
    if !done.status.success() {
        return Err(format!("in_process.py: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    let said = String::from_utf8(done.stdout)?;
    let (whole, calls) = said.trim().split_once(' ').ok_or("in_process.py said something else")?;
    Ok(InProcess { whole: whole.parse()?, calls: calls.parse()? })
}

fn plugin() -> PathBuf {
    workspace().join("plugins_py/examples/simple_gain.py")
}

/// A tone of its own in each channel, and noise.
fn write_music(path: &Path) -> Outcome {
    let mut wav = WavWriter::create(path, 2, RATE, Bits::I16)?;
    let mut noise = 0x9e37_79b9_u32;
    let mut second = Vec::with_capacity(RATE as usize * 2);
    for _ in 0..SECONDS {
        second.clear();
        for frame in 0..RATE {
            for hertz in [220.0, 330.0] {
                noise ^= noise << 13;
                noise ^= noise >> 17;
                noise ^= noise << 5;
                let phase = frame as f32 / RATE as f32 * hertz * std::f32::consts::TAU;
                second.push(0.5 * phase.sin() + 0.2 * (noise as f32 / u32::MAX as f32 - 0.5));
            }
        }
        wav.write(&second)?;
    }
    wav.finalize()?;
    Ok(())
}

/// A folder that goes with its files.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("nda-bench-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind, the system clears away.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
