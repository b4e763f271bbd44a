//! The program `nda-bench`, which `nda bench` becomes: measures, and tells what was measured.
//!
//! A program of its own because what it compares with needs what the host must not have. It is also the other side of
//! the hand-offs between bare processes.

// What it has to say.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;

use args::Args;
use benches::Outcome;
use benches::measure::plan::words;
use benches::measure::plugins::Plugins;
use benches::measure::{self, bare};
use benches::report::model::{Figures, Run, Series};
use clap::Parser;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((role, rest)) if role == bare::ROLE => bare::serve(rest).map(|()| ExitCode::SUCCESS),
        _ => bench(&Args::parse()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("nda: error: {error}");
        // As `nda` itself ends.
        error.downcast_ref::<host::error::Error>().map_or(1, |error| error.kind().exit_code()).into()
    })
}

fn bench(args: &Args) -> Outcome<ExitCode> {
    let plugins = Plugins::write(args.python(), args.own())?;
    let run = measure::run(&args.wanted(), &plugins, &mut |what| eprintln!("{what}"))?;
    report(args, &run)
}

/// Tells what was measured.
fn report(args: &Args, run: &Run) -> Outcome<ExitCode> {
    match args.json.as_deref() {
        Some(file) if file == Path::new("-") => println!("{}", serde_json::to_string_pretty(run)?),
        Some(file) => std::fs::write(file, serde_json::to_string_pretty(run)?)?,
        None => run.series.iter().for_each(row),
    }
    run.doubts.iter().for_each(|doubt| eprintln!("warning: {doubt}"));
    Ok(ExitCode::SUCCESS)
}

fn row(series: &Series) {
    let Figures { count, p50_ns, p99_ns, p999_ns, max_ns, .. } = series.times;
    let words = words(&series.variant).join(" ");
    println!("{words:100} {count:6} {p50_ns:9} {p99_ns:9} {p999_ns:9} {max_ns:9} {:4}", series.missed);
}
