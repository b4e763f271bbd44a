//! `nda run`: from the configuration to the report.
//!
//! Chooses who is told how it goes, the live screen or plain lines; the running itself is [`crate::run`].

use super::args::RunArgs;
use super::json::JsonTarget;
use super::out::Out;
use super::plain::Plain;
use super::screen::Screen;
use super::signals::{self, Flags};
use super::{exit, run_report};
use crate::config::{self, Config};
use crate::error::Result;
use crate::report::RunReport;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Runs what the configuration asks for and tells how it went.
pub(super) fn run(args: &RunArgs, out: &mut Out) -> Result<ExitCode> {
    let config = config::load(&args.config)?;
    let json = JsonTarget::open(args.json.as_deref(), &args.inputs(), out)?;
    let flags = signals::watch(out.is_screen())?;
    let report = watched(&config, args.limit, &flags, out)?;
    out.text(&run_report::text(&report, &config));
    json.write(&report, out)?;
    Ok(code(&report))
}

fn watched(config: &Config, limit: Option<Duration>, flags: &Flags, out: &mut Out) -> Result<RunReport> {
    if out.is_screen() {
        let resumed = Arc::clone(&flags.resumed);
        crate::run::run(config, limit, &flags.stop, &mut Screen::new(out, resumed))
    } else {
        crate::run::run(config, limit, &flags.stop, &mut Plain::new(out))
    }
}

fn code(report: &RunReport) -> ExitCode {
    if report.has_failures() { exit::LOSSES.into() } else { ExitCode::SUCCESS }
}
