//! The command line `nda`: reads arguments, calls the library, tells people and programs how it went.
//!
//! For `src/bin/nda.rs`, which is nothing but a call of [`main`]. All that it does can be done with the library
//! alone; what is here is words, screens and exit codes.

mod args;
mod bar;
mod bench;
mod ctl;
pub mod devices;
mod doctor;
mod echo;
mod exit;
mod faults;
mod journal;
mod json;
mod known_cursor;
mod latency;
mod levels;
mod log;
mod observers;
mod out;
mod panel;
mod plain;
mod plugin_args;
mod progress;
mod render;
mod render_report;
mod replay;
mod run;
mod run_report;
mod screen;
mod service;
mod signals;
mod table;
mod top;
mod view;
mod words;

#[cfg(test)]
mod fabricated;

pub use exit::{EXIT_CODES, exit_codes_text};

use crate::error::{Error, Result};
use args::{Command, CompletionsArgs, DevicesArgs};
use out::Out;
use std::process::ExitCode;

/// Runs the program `nda` with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let mut out = Out::standard();
    let code = match args::parse(std::env::args_os()) {
        Ok(cli) => obey(cli.command, &mut out),
        Err(error) => refuse(&error, &mut out),
    };
    match out.finish() {
        Err(error) if code == ExitCode::SUCCESS => told(&error, &mut out),
        _ => code,
    }
}

fn obey(command: Command, out: &mut Out) -> ExitCode {
    let done = match command {
        Command::Run(args) => run::run(&args, out),
        Command::Ctl(args) => ctl::ctl(&args, out),
        Command::Top(args) => top::top(&args, out),
        Command::Render(args) => render::render(&args, out),
        Command::Devices(args) => devices(&args, out),
        Command::Doctor(args) => doctor::doctor(&args, out),
        Command::Latency(args) => latency::latency(&args, out),
        Command::Faults(args) => faults::faults(&args, out),
        Command::Replay(args) => replay::replay(&args, out),
        Command::Bench(args) => bench::bench(&args).map(|never| match never {}),
        Command::Completions(args) => completions(&args, out),
    };
    done.unwrap_or_else(|error| told(&error, out))
}

/// Tells an error and turns it into an exit code.
fn told(error: &Error, out: &mut Out) -> ExitCode {
    out.error(error);
    exit::of(error.kind())
}

/// Tells a wrong command line, or the help that was asked for.
fn refuse(error: &clap::Error, out: &mut Out) -> ExitCode {
    out.clap(error);
    u8::try_from(error.exit_code()).unwrap_or(2).into()
}

fn devices(args: &DevicesArgs, out: &mut Out) -> Result<ExitCode> {
    let mut list = Vec::new();
    devices::run(args.json, &mut list)?;
    if args.json {
        out.data(&list);
    } else {
        out.text(&String::from_utf8_lossy(&list));
    }
    Ok(ExitCode::SUCCESS)
}

fn completions(args: &CompletionsArgs, out: &mut Out) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "nda", &mut script);
    out.data(&script);
    Ok(ExitCode::SUCCESS)
}
