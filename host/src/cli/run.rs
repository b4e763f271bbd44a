//! `nda run`: from the configuration to the report.
//!
//! Chooses who is told how it goes, the live screen or plain lines; the running itself is [`crate::run`].

use super::args::RunArgs;
use super::journal::{self, Journal};
use super::json::JsonTarget;
use super::log::Log;
use super::observers::Observers;
use super::out::Out;
use super::plain::Plain;
use super::screen::Screen;
use super::service::Service;
use super::signals::{self, Flags};
use super::{exit, run_report};
use crate::config::{self, Config};
use crate::control::page::Page;
use crate::control::{Listener, Place};
use crate::error::Result;
use crate::report::RunReport;
use crate::run::{Observer, Reins};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs what the configuration asks for and tells how it went.
pub(super) fn run(args: &RunArgs, out: &mut Out) -> Result<ExitCode> {
    out.leave_alone();
    let config = config::load(&args.config)?;
    let json = JsonTarget::open(args.json.as_deref(), &args.inputs(), out)?;
    let log = args.log.as_deref().map(|file| Log::open(file, args.log_level)).transpose()?;
    let flags = signals::watch_run(out.is_screen())?;
    let listener = listener(args, &config, out)?;
    let page = Page::open(&args.config)
        .inspect_err(|why| out.note(&format!("nda top can't look at this run: {why}\n")));
    let (file, reload) = (Some(args.config.clone()), Arc::clone(&flags.reload));
    let reins = Reins { file, reload, listener, page: page.ok() };
    let mut observers = observers(args, log, &flags, out);
    let report = crate::run::run_with(&config, args.limit, &flags.stop, reins, &mut observers)?;
    drop(observers);
    out.text(&run_report::text(&report));
    json.write(&report, out)?;
    Ok(ended(&report))
}

/// Who is told how it goes: whoever looks at the output, the log, the service manager.
fn observers<'a>(args: &RunArgs, log: Option<Log>, flags: &Flags, out: &'a mut Out) -> Observers<'a> {
    let first: Box<dyn Observer + 'a> = if out.is_screen() {
        Box::new(Screen::new(out, Arc::clone(&flags.resumed)))
    } else if journal::is_ours(std::io::stdout()) {
        Box::new(Journal::new(out, args.log_level))
    } else {
        Box::new(Plain::new(out))
    };
    let log = log.map(|log| Box::new(log) as Box<dyn Observer>);
    let service = Service::found().map(|service| Box::new(service) as Box<dyn Observer>);
    Observers(std::iter::once(first).chain(log).chain(service).collect())
}

/// The socket for `nda ctl`. A run that can't have the usual one goes on without.
fn listener(args: &RunArgs, config: &Config, out: &mut Out) -> Result<Option<Listener>> {
    match args.socket.as_deref().or(config.socket.as_deref()) {
        Some(path) if path == Path::new("off") => Ok(None),
        Some(path) => Listener::open(&Place::At(path.to_owned())).map(Some),
        None => Ok(Listener::open(&Place::of(&args.config))
            .inspect_err(|why| out.note(&format!("nda ctl can't steer this run: {why}\n")))
            .ok()),
    }
}

fn ended(report: &RunReport) -> ExitCode {
    if report.has_failures() { exit::LOSSES.into() } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;

    #[test]
    fn losses_are_in_the_exit_code() {
        let report = |pipeline| fabricated::run_report(vec![pipeline]);
        assert_eq!(ended(&report(fabricated::with_a_dead_plugin())), exit::LOSSES.into());
        assert_eq!(ended(&report(fabricated::unheard())), ExitCode::SUCCESS);
    }
}
