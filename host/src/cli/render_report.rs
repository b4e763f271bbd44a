//! What became of a render: a line, and one more for each thing that is to be told.
//!
//! For people, at the end of `nda render`; programs get the same as JSON.

use super::{run_report, words};
use crate::audio_file::Bits;
use crate::report::{PluginStatus, RenderReport};

/// The summary; `bits` is what the output was written in.
pub(super) fn text(report: &RenderReport, bits: Bits) -> String {
    if !report.written {
        return format!("interrupted before it began; {} was not written\n", report.output.display());
    }
    let mut lines = vec![summary(report, bits)];
    if report.clipped > 0 {
        lines.push(format!(
            "  {} clipped to fit {}",
            words::plural(report.clipped, "sample"),
            words::bits(bits)
        ));
    }
    if report.plugin_frames > 0 {
        let frames = words::plural(report.plugin_frames.into(), "frame");
        lines.push(format!("  the plugins delay the audio by {frames}; the output starts with them"));
    }
    for plugin in report.plugins.iter().filter(|plugin| is_to_be_told(plugin)) {
        lines.push(format!("  {}: {}", plugin.name, run_report::blocks(plugin)));
        lines.extend(run_report::lost(plugin).map(|lost| format!("    {lost}")));
        lines.extend(run_report::uncached(plugin).map(|uncached| format!("    {uncached}")));
        lines.extend(run_report::interpreter(plugin).map(|what| format!("    {what}")));
        lines.extend(plugin.dead.iter().map(|how| format!("    DEAD: {how}")));
    }
    lines.extend(run_report::not_stopped(&report.unwilling));
    lines.join("\n") + "\n"
}

fn summary(report: &RenderReport, bits: Bits) -> String {
    let RenderReport { output, channels, rate, seconds, times_real_time, start_seconds, .. } = report;
    let interrupted = if report.interrupted { "interrupted; " } else { "" };
    let workers = match report.plugins.len() {
        0 => String::new(),
        1 => format!(", worker started in {start_seconds:.2} s"),
        _ => format!(", workers started in {start_seconds:.2} s"),
    };
    let length = report.frames as f64 / f64::from(*rate);
    format!(
        "{interrupted}wrote {}: {length:.1} s, {channels} ch, {rate} Hz, {} in {seconds:.2} s \
         ({} real time){workers}",
        output.display(),
        words::bits(bits),
        words::times(*times_real_time),
    )
}

fn is_to_be_told(plugin: &PluginStatus) -> bool {
    let counts = &plugin.counts;
    plugin.dead.is_some()
        || counts.lost() > 0
        || counts.non_finite_blocks + counts.too_loud_blocks > 0
        || plugin.uncached_blocks > 0
        || run_report::held(plugin).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;

    #[test]
    fn a_good_render_is_one_line() {
        let expected = "wrote out.wav: 60.0 s, 2 ch, 48000 Hz, 32-bit float in 0.10 s (600x real time), \
                        worker started in 0.15 s\n";
        assert_eq!(text(&fabricated::render_report(), Bits::F32), expected);
    }

    #[test]
    fn a_render_that_did_not_begin_says_that_nothing_was_written() {
        let report = RenderReport { interrupted: true, written: false, ..fabricated::render_report() };
        assert_eq!(text(&report, Bits::F32), "interrupted before it began; out.wav was not written\n");
    }

    #[test]
    fn a_plugin_that_did_not_stop_is_told_last_in_one_line() {
        let unwilling = vec!["plugin gain failed while stopping: OSError\n    a traceback".into()];
        let text = text(&RenderReport { unwilling, ..fabricated::render_report() }, Bits::F32);
        assert!(
            text.ends_with("\nnot stopped in order: plugin gain failed while stopping: OSError\n"),
            "{text}"
        );
    }

    #[test]
    fn a_copy_tells_of_no_workers() {
        let report = RenderReport { plugins: Vec::new(), ..fabricated::render_report() };
        assert!(text(&report, Bits::I16).ends_with("16-bit integer in 0.10 s (600x real time)\n"));
    }

    #[test]
    fn what_went_wrong_has_a_line_each() {
        let report = RenderReport { interrupted: true, ..fabricated::render_report_with_losses() };
        let expected = "\
interrupted; wrote out.wav: 60.0 s, 2 ch, 48000 Hz, 24-bit integer in 0.10 s (600x real time), workers started in 0.15 s
  12 samples clipped to fit 24-bit integer
  the plugins delay the audio by 64 frames; the output starts with them
  echo: 11245 blocks good, 5 lost, 1 not all finite
    lost: 3 late, 2 failed; in their place: mute
";
        assert_eq!(text(&report, Bits::I24), expected);
    }
}
