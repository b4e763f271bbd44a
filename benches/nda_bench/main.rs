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
use benches::report::model::Run;
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
        ExitCode::FAILURE
    })
}

fn bench(args: &Args) -> Outcome<ExitCode> {
    let plugins = Plugins::write(args.python(), args.own())?;
    let run = measure::run(&args.wanted(), &plugins, &mut |what| eprintln!("{what}"))?;
    report(args, &run)
}

/// Tells what was measured.
fn report(args: &Args, run: &Run) -> Outcome<ExitCode> {
    for series in &run.series {
        let times = &series.times;
        println!(
            "{:100} {:6} {:9} {:9} {:9} {:9} {:4}",
            words(&series.variant).join(" "),
            times.count,
            times.p50_ns,
            times.p99_ns,
            times.p999_ns,
            times.max_ns,
            series.missed
        );
    }
    for doubt in &run.doubts {
        println!("{doubt}");
    }
    if let Some(file) = &args.json {
        let json = serde_json::to_string(run)?;
        if file == Path::new("-") { println!("{json}") } else { std::fs::write(file, json)? }
    }
    Ok(ExitCode::SUCCESS)
}
