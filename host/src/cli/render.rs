//! `nda render`: from the arguments to the summary.
//!
//! Shows a progress bar on a terminal; the rendering itself is [`crate::render`].

use super::args::RenderArgs;
use super::json::JsonTarget;
use super::out::Out;
use super::progress::Progress;
use super::signals::{self, Flags};
use super::{exit, render_report};
use crate::audio_file::AudioReader;
use crate::error::Result;
use crate::render::RenderSpec;
use crate::report::RenderReport;
use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::Arc;

/// Renders what the arguments ask for and tells how it went.
pub(super) fn render(args: &RenderArgs, out: &mut Out) -> Result<ExitCode> {
    let json = JsonTarget::open(args.json.as_deref(), &args.files(), out)?;
    let flags = signals::watch(out.has_bar())?;
    let spec = args.spec();
    let report = watched(&spec, &flags, out)?;
    out.text(&render_report::text(&report, spec.bits));
    json.write(&report, out)?;
    Ok(code(&report))
}

fn watched(spec: &RenderSpec, flags: &Flags, out: &mut Out) -> Result<RenderReport> {
    // Only for the bar's speed: a file that can't be read is told by the render.
    let rate = if out.has_bar() { AudioReader::open(&spec.input).ok().map(|file| file.rate()) } else { None };
    let progress = RefCell::new(Progress::new(out, rate, Arc::clone(&flags.resumed)));
    let frames = &mut |done, all| progress.borrow_mut().frames(done, all);
    let event = &mut |line: &str| progress.borrow_mut().event(line);
    crate::render::render(spec, &flags.stop, frames, event)
}

fn code(report: &RenderReport) -> ExitCode {
    match report {
        report if report.interrupted => exit::INTERRUPTED.into(),
        report if report.has_failures() => exit::LOSSES.into(),
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;

    #[test]
    fn an_interruption_counts_more_than_a_loss() {
        let lossy = fabricated::render_report_with_losses();
        assert_eq!(code(&lossy), exit::LOSSES.into());
        assert_eq!(code(&RenderReport { interrupted: true, ..lossy }), exit::INTERRUPTED.into());
        assert_eq!(code(&fabricated::render_report()), ExitCode::SUCCESS);
    }

    #[test]
    fn a_whole_output_of_a_plugin_that_did_not_stop_is_no_success() {
        let unwilling = vec!["plugin gain failed while stopping".into()];
        let report = RenderReport { unwilling, ..fabricated::render_report() };
        assert_eq!(code(&report), exit::LOSSES.into());
    }
}
