//! `nda replay`: the reports of plugins that died, and one of them run again.
//!
//! For the author of a plugin, in whose terminal it runs: under the interpreter of the report, without a worker and
//! without a deadline, so that a debugger works. The replay itself is `replay.py`; here it is started, and its
//! verdict or its death told.

use super::args::ReplayArgs;
use super::json::document;
use super::out::Out;
use super::{exit, words};
use crate::crash::{self, Kept};
use crate::error::{Error, Kind, Result};
use crate::plugin::interpreter;
use crate::report::shown;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};
use signal_hook::low_level::signal_name;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

const REPLAY: &str = include_str!("replay.py");
const BASE_PLUGIN: &str = include_str!("../../../plugins_py/base_plugin.py");

/// numpy's threads, as many as in a worker.
const ENVIRONMENT: [&str; 3] = ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"];

/// Lists the reports, or runs the plugin of one again.
pub(super) fn replay(args: &ReplayArgs, out: &mut Out) -> Result<ExitCode> {
    let dir = crash::default_dir();
    match &args.report {
        Some(named) => again(&crash::open(named, &dir)?, args, out),
        None if args.json => list_json(&dir, out),
        None => {
            list(&dir, out);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(dir: &Path, out: &mut Out) {
    let reports = crash::list(dir);
    if reports.is_empty() {
        out.text(&format!("no reports in {}\n", dir.display()));
        return;
    }
    for report in &reports {
        let name = report.path.file_name().unwrap_or_default().to_string_lossy();
        out.text(&format!("{name}  {} {}\n", report.plugin, report.ended));
    }
    let count = words::plural(reports.len() as u64, "report");
    out.note(&format!("{count} in {}, newest last; nda replay NAME runs one again\n", dir.display()));
}

fn list_json(dir: &Path, out: &mut Out) -> Result<ExitCode> {
    #[derive(Serialize)]
    struct Reports<'a> {
        folder: &'a Path,
        reports: Vec<Kept>,
    }
    out.data(document(&Reports { folder: dir, reports: crash::list(dir) })?.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn again(report: &Kept, args: &ReplayArgs, out: &mut Out) -> Result<ExitCode> {
    let file = &report.file;
    if !file.is_file() {
        let what = format!("the plugin of this report is gone: there is no file {}", file.display());
        return Err(Error::new(Kind::Input, what).remedy("put it back where it was"));
    }
    let named = args.python.as_deref().unwrap_or(&report.python);
    let python = interpreter::find(Some(named), file)?;
    let when = report.when.strftime("%Y-%m-%d %H:%M:%S UTC");
    out.text(&format!("{} ({}), {when}: it {}\n", report.plugin, shown(file), report.ended));
    if report.is_file_changed() {
        out.text("  note: the plugin's file has changed since\n");
    }
    let status = in_this_terminal(&python, report, args)?;
    Ok(tell(Verdict::of(status), report, out))
}

/// Runs `replay.py` until it ends.
fn in_this_terminal(python: &Path, report: &Kept, args: &ReplayArgs) -> Result<ExitStatus> {
    // Ctrl-C and Ctrl-\ are for the replay: caught here, they are as they were there.
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, std::sync::Arc::default())
            .map_err(|error| Error::new(Kind::System, "signals can't be watched").source(error))?;
    }
    let mut command = Command::new(python);
    command.args(["-I", "-c", REPLAY]).arg(&report.path).arg(&report.file).arg(BASE_PLUGIN);
    command.arg(args.times.to_string()).arg(if args.pdb { "pdb" } else { "on" });
    let set = serde_json::to_string(&args.set).unwrap_or_default();
    command.arg(std::process::id().to_string()).arg(set).envs(ENVIRONMENT.map(|name| (name, "1")));
    command.status().map_err(|error| interpreter::not_started(python, error))
}

/// What became of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    Failed,
    NotLoaded,
    Unfit,
    Interrupted,
    Damaged,
    /// No verdict: the plugin ended the process with this code.
    Exited(i32),
    /// No verdict: a signal ended it.
    Killed(i32),
}

impl Verdict {
    /// The codes are `replay.py`'s, and unusual: a plugin's `os._exit(0)` is no success.
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(90), _) => Self::Fine,
            (Some(91), _) => Self::Failed,
            (Some(92), _) => Self::NotLoaded,
            (Some(93), _) => Self::Unfit,
            (Some(94), _) | (None, Some(SIGINT | SIGQUIT | SIGHUP)) => Self::Interrupted,
            (Some(95), _) => Self::Damaged,
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Killed(signal.unwrap_or_default()),
        }
    }
}

/// The exit code; what the replay could not say any more is said here.
fn tell(verdict: Verdict, report: &Kept, out: &mut Out) -> ExitCode {
    match verdict {
        Verdict::Fine => ExitCode::SUCCESS,
        Verdict::Failed => exit::LOSSES.into(),
        Verdict::NotLoaded => exit::of(Kind::Plugin),
        Verdict::Unfit => exit::of(Kind::Interpreter),
        Verdict::Interrupted => exit::INTERRUPTED.into(),
        Verdict::Damaged => exit::of(Kind::Input),
        Verdict::Exited(code) => {
            out.text(&format!("\nthe plugin ended the process with exit code {code} (os._exit?)\n"));
            exit::LOSSES.into()
        }
        Verdict::Killed(signal) => {
            let name = signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned);
            let again = if report.ended.contains(&name) { " again" } else { "" };
            out.text(&format!("\nthe plugin crashed{again}: {name}\n"));
            exit::LOSSES.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_without_a_verdict_is_the_plugins_doing() {
        let exited = |code: i32| Verdict::of(ExitStatus::from_raw(code << 8));
        assert_eq!([exited(0), exited(1), exited(9)], [0, 1, 9].map(Verdict::Exited));
        assert_eq!((exited(90), exited(91)), (Verdict::Fine, Verdict::Failed));
        assert_eq!(Verdict::of(ExitStatus::from_raw(11)), Verdict::Killed(11));
        assert_eq!(Verdict::of(ExitStatus::from_raw(SIGINT)), Verdict::Interrupted);
    }
}
