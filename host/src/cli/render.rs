//! `nda render`: from the arguments to the summary.
//!
//! Shows a progress bar on a terminal; the rendering itself is [`crate::render`].

use super::args::RenderArgs;
use super::json::JsonTarget;
use super::out::Out;
use super::{exit, signals};
use crate::error::Result;
use crate::report::RenderReport;
use std::process::ExitCode;

pub(super) fn render(args: &RenderArgs, out: &mut Out) -> Result<ExitCode> {
    let json = JsonTarget::open(args.json.as_deref(), &args.files(), out)?;
    let flags = signals::watch(false)?;
    let report = crate::render::render(&args.spec(), &flags.stop, &mut |_, _| {}, &mut |_| {})?;
    json.write(&report, out)?;
    Ok(code(&report))
}

fn code(report: &RenderReport) -> ExitCode {
    match report {
        report if report.interrupted => exit::INTERRUPTED.into(),
        report if report.has_failures() => exit::LOSSES.into(),
        _ => ExitCode::SUCCESS,
    }
}
