//! The program `nda-soak`: plays two pipelines for long, kills their plugins meanwhile, and tells whether each gap has
//! its reason.

// What it has to say.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use benches::Outcome;
use benches::soak::{self, Wanted};
use clap::Parser;
use host::error::{Error, Kind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The exit code of a promise that was not kept.
const BROKEN: u8 = 9;

/// Play an encrypted link for long, kill its plugins every few seconds, and account for every gap
///
/// Two pipelines at 48 kHz with blocks of 128 frames: an encryptor, a virtual cable, a decryptor. Ends with 9 if a gap has
/// no reason, a wrong sample was heard, or what the host holds of the system has grown.
#[derive(Debug, Parser)]
#[command(name = "nda-soak", version, max_term_width = 100)]
struct Args {
    /// How long
    #[arg(long, value_name = "MINUTES", default_value_t = 30.0, value_parser = positive)]
    minutes: f64,
    /// A crash every so many seconds, on average
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = positive)]
    every: f64,
    /// What the crashes follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the result as JSON into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The interpreter, with numpy and cryptography [default: .venv of the project, $VIRTUAL_ENV, python3]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|why| {
        eprintln!("nda: error: {why}");
        // As `nda` itself ends.
        why.downcast_ref::<Error>().map_or(1, |why| why.kind().exit_code()).into()
    })
}

fn run(args: &Args) -> Outcome<ExitCode> {
    let wanted = Wanted {
        duration: Duration::from_secs_f64(args.minutes * 60.0),
        every: Duration::from_secs_f64(args.every),
        seed: args.seed,
        python: args.python.clone(),
    };
    let unwritten = |path: &Path| Error::new(Kind::Output, format!("{} can't be written", path.display()));
    if let Some(path) = &args.json {
        // Known before half an hour has passed.
        std::fs::write(path, "").map_err(|why| unwritten(path).source(why))?;
    }
    let soak = soak::run(&wanted, &mut |line| eprintln!("nda: {line}"))?;
    print!("{soak}");
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&soak)?;
        std::fs::write(path, text + "\n").map_err(|why| unwritten(path).source(why))?;
    }
    Ok(if soak.kept() { ExitCode::SUCCESS } else { BROKEN.into() })
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it must be a number")?;
    if (0.01..=1e6).contains(&number) { Ok(number) } else { Err("it must be above 0".to_owned()) }
}
