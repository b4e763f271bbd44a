//! The program `nda`: all of it is in [`host::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    host::cli::main()
}
