//! `nda latency`: what a pipeline adds between source and sink, computed and measured.
//!
//! Makes the pipelines to be measured of what was typed; the measuring is [`crate::loopback`].

use super::args::LatencyArgs;
use super::out::Out;
use super::words::xruns;
use super::{exit, json, signals};
use crate::config::{self, DeviceSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::error::Result;
use crate::loopback::{self, Measured};
use crate::pipeline::with_format_of_source;
use crate::report::Latency;
use serde::Serialize;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// What joins output and input where no devices are named.
const CABLE: &str = "virtual:nda-latency";

#[derive(Serialize)]
struct Document {
    pipelines: Vec<Measured>,
}

/// Measures one pipeline after the other and tells what came of it.
pub(super) fn latency(args: &LatencyArgs, out: &mut Out) -> Result<ExitCode> {
    let specs = specs(args)?;
    let flags = signals::watch(false)?;
    if args.json {
        out.leave_output_to_json();
    }
    let mut pipelines = Vec::new();
    for spec in specs {
        let measured =
            loopback::measure(&spec, args.times, &flags.stop, &mut |_, line| out.note(&(line + "\n")))?;
        if flags.stop.load(Ordering::Relaxed) {
            return Ok(exit::INTERRUPTED.into());
        }
        out.text(&text(&measured));
        pipelines.push(measured);
    }
    let is_as_computed = pipelines.iter().all(|measured| is_within(measured, args.within));
    if args.json {
        out.data(json::document(&Document { pipelines })?.as_bytes());
    }
    Ok(if is_as_computed { ExitCode::SUCCESS } else { exit::LOSSES.into() })
}

/// Whether what was measured is no more frames from what was computed, if anybody asks.
fn is_within(measured: &Measured, most: Option<u64>) -> bool {
    let Some(most) = most else { return true };
    let median = measured.median_frames();
    measured.lost == 0 && median.is_some_and(|median| median.abs_diff(measured.computed_frames) <= most)
}

/// The pipelines of the configuration, or the one that was typed, between two joined devices.
fn specs(args: &LatencyArgs) -> Result<Vec<PipelineSpec>> {
    let device = |name: &Option<String>, own_buffer: Option<u32>| {
        let spec = DeviceSpec::new(name.as_deref().unwrap_or(CABLE));
        DeviceSpec { buffer_frames: args.buffer.or(own_buffer), ..spec }
    };
    let source = |own_buffer| SourceSpec::Device(device(&args.input, own_buffer));
    let sink = |own_buffer| SinkSpec::Device(device(&args.output, own_buffer));
    // Other devices stand for its own, with buffers as long as those have.
    let joined = |spec: PipelineSpec| PipelineSpec {
        source: source(match &spec.source {
            SourceSpec::Device(own) => own.buffer_frames,
            _ => None,
        }),
        sink: sink(match &spec.sink {
            SinkSpec::Device(own) => own.buffer_frames,
            _ => None,
        }),
        record: None,
        ..spec
    };
    match &args.config {
        Some(config) => {
            let pipelines = config::load(config)?.pipelines.into_iter();
            pipelines.map(|spec| Ok(joined(with_format_of_source(spec)?))).collect()
        }
        None => Ok(vec![PipelineSpec {
            rate: args.rate,
            block_frames: args.block,
            elements: args.plugins.elements(),
            ..PipelineSpec::new(source(None), sink(None))
        }]),
    }
}

fn text(measured: &Measured) -> String {
    let ms = |frames: u64| frames as f64 * 1e3 / f64::from(measured.rate);
    let Latency { mode_frames, plugin_frames, adaptation_frames, device_frames, .. } = measured.computed;
    let computed = measured.computed_frames;
    let mut text = format!(
        "{}: {}\n  computed  {computed} frames, {:.2} ms: devices {device_frames}, adaptation {adaptation_frames}, mode \
         {mode_frames}, plugins {plugin_frames}\n",
        measured.name,
        measured.through,
        ms(computed),
    );
    if let Some(median) = measured.median_frames() {
        let all = &measured.measured_frames;
        let (least, most) = (all.iter().min().unwrap_or(&0), all.iter().max().unwrap_or(&0));
        let range = if least == most { String::new() } else { format!(" ({least} to {most})") };
        let sign = if median >= computed { '+' } else { '-' };
        text.push_str(&format!(
            "  measured  {median} frames{range}, {:.2} ms, {} times: {sign}{} frames\n",
            ms(median),
            all.len(),
            median.abs_diff(computed),
        ));
    }
    if measured.lost > 0 {
        text.push_str(&format!("  {} impulses did not come back\n", measured.lost));
    }
    if let Some(told) = xruns(&measured.xruns) {
        text.push_str(&format!("  {told}: what met one took longer or shorter\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Xruns;

    #[test]
    fn a_latency_is_told_as_computed_and_as_measured() {
        let computed =
            Latency { mode_frames: 128, adaptation_frames: 384, device_frames: 128, ..Latency::default() };
        let measured = Measured {
            name: "main".into(),
            through: "virtual:a to virtual:a".into(),
            rate: 48_000,
            computed,
            computed_frames: 640,
            measured_frames: vec![642, 640, 650],
            lost: 1,
            xruns: Xruns { host_late: 2, ..Xruns::default() },
        };
        let within = |lost, most| is_within(&Measured { lost, ..measured.clone() }, most);
        assert_eq!([within(0, Some(2)), within(0, Some(1)), within(1, Some(2))], [true, false, false]);
        assert!(within(1, None), "nobody asks");
        let expected = "main: virtual:a to virtual:a\n  computed  640 frames, 13.33 ms: devices 128, adaptation 384, \
                        mode 128, plugins 0\n  measured  642 frames (640 to 650), 13.38 ms, 3 times: +2 frames\n  1 \
                        impulses did not come back\n  xruns: 2 host late: what met one took longer or shorter\n";
        assert_eq!(text(&measured), expected);
    }
}
