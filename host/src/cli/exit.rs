//! The exit codes of `nda`, in one table.
//!
//! For the help, the README and whoever reads either; the code of an error is [`Kind::exit_code`]'s. It ends
//! nothing itself.

use crate::error::Kind;
use std::fmt::Write;
use std::process::ExitCode;

/// A run or a render reached its end, but something was lost on the way.
pub(super) const LOSSES: u8 = 9;
/// A signal cut a render short, or a second Ctrl-C ended `nda` at once.
pub(super) const INTERRUPTED: u8 = 130;

/// Every exit code and what it means.
pub const EXIT_CODES: [(u8, &str); 13] = [
    (0, "done"),
    (1, "the operating system refused something that should work"),
    (2, "the command line is wrong"),
    (3, "the configuration is wrong"),
    (4, "an input file can't be read"),
    (5, "an output can't be written"),
    (6, "the plugin's own code is at fault"),
    (7, "the Python interpreter is missing or unfit"),
    (8, "a device is missing or refuses the format"),
    (LOSSES, "it ran, but a plugin died, hung or failed blocks, or an output has gaps"),
    (10, "a worker process died, fell silent or is just being replaced, outside the plugin's code"),
    (11, "there is no run to be steered, or more than one, or it does not answer"),
    (INTERRUPTED, "interrupted; what was written is valid up to there"),
];

/// The table as the help shows it.
#[must_use]
pub fn exit_codes_text() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in EXIT_CODES {
        // Writing into a string can't fail.
        let _ = writeln!(text, "  {code:>3}  {meaning}");
    }
    text
}

/// What `nda` returns for an error of this kind.
pub(super) fn of(kind: Kind) -> ExitCode {
    ExitCode::from(kind.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind there is: the match has no wildcard, so that a new kind does not compile without its row.
    fn kinds() -> Vec<Kind> {
        use Kind::{Absent, Config, Control, Device, Input, Interpreter, Output, Plugin, System, Worker};
        let all = [Config, Input, Output, Plugin, Interpreter, Device, Absent, Worker, Control, System];
        for kind in all {
            match kind {
                Config | Input | Output | Plugin | Interpreter | Device | Absent | Worker | Control
                | System => {}
            }
        }
        all.to_vec()
    }

    #[test]
    fn every_kind_of_error_has_a_row_of_its_own_but_that_an_absent_device_is_one_too() {
        let own = kinds().into_iter().filter(|kind| *kind != Kind::Absent);
        assert_eq!(Kind::Absent.exit_code(), Kind::Device.exit_code());
        let mut codes: Vec<u8> = own.map(Kind::exit_code).collect();
        codes.extend([0, 2, LOSSES, INTERRUPTED]);
        codes.sort_unstable();
        let rows: Vec<u8> = EXIT_CODES.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, rows);
    }

    #[test]
    fn a_row_says_what_its_kind_of_error_says() {
        let words = |kind| match kind {
            Kind::Config => "configuration",
            Kind::Input => "input",
            Kind::Output => "output",
            Kind::Plugin => "plugin's own code",
            Kind::Interpreter => "interpreter",
            Kind::Device | Kind::Absent => "device",
            Kind::Worker => "worker",
            Kind::Control => "run to be steered",
            Kind::System => "system",
        };
        for kind in kinds() {
            let row = EXIT_CODES.iter().find(|(code, _)| *code == kind.exit_code()).unwrap();
            assert!(row.1.contains(words(kind)), "{kind:?}: {}", row.1);
        }
    }
}
