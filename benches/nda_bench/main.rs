//! The program `nda-bench`, which `nda bench` becomes: measures, and tells what was measured.
//!
//! A program of its own because what it compares with needs what the host must not have. It is also the other side of
//! the hand-offs between bare processes.

mod args;
mod telling;

use args::Args;
use benches::Outcome;
use benches::measure::plugins::Plugins;
use benches::measure::{self, bare};
use clap::Parser;
use host::error::Error;
use std::process::ExitCode;
use telling::{Telling, error, progress};

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let done = match words.split_first() {
        Some((role, rest)) if role == bare::ROLE => bare::serve(rest).map(|()| ExitCode::SUCCESS),
        _ => bench(&Args::parse()),
    };
    done.unwrap_or_else(|why| {
        error(&*why);
        // As `nda` itself ends.
        why.downcast_ref::<Error>().map_or(1, |why| why.kind().exit_code()).into()
    })
}

fn bench(args: &Args) -> Outcome<ExitCode> {
    let telling = Telling::prepare(args)?;
    let plugins = Plugins::write(args.python(), args.own())?;
    let run = measure::run(&args.wanted(), &plugins, &mut |what| progress(what))?;
    telling.tell(&run)
}
