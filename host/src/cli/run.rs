//! `nda run`: from the configuration to the report.
//!
//! Chooses who is told how it goes, the live screen or plain lines; the running itself is [`crate::run`].

use super::args::RunArgs;
use super::json::JsonTarget;
use super::out::Out;
use super::{exit, signals};
use crate::config;
use crate::error::Result;
use crate::report::{PipelineStatus, RunReport};
use crate::run::Observer;
use std::process::ExitCode;
use std::time::Duration;

struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: &str) {}
    fn status(&mut self, _: Duration, _: &[PipelineStatus]) {}
}

pub(super) fn run(args: &RunArgs, out: &mut Out) -> Result<ExitCode> {
    let config = config::load(&args.config)?;
    let json = JsonTarget::open(args.json.as_deref(), &args.inputs(), out)?;
    let flags = signals::watch(out.is_screen())?;
    let report = crate::run::run(&config, args.limit, &flags.stop, &mut Silent)?;
    json.write(&report, out)?;
    Ok(code(&report))
}

fn code(report: &RunReport) -> ExitCode {
    if report.has_failures() { exit::LOSSES.into() } else { ExitCode::SUCCESS }
}
