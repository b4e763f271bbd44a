//! SIGINT, SIGTERM, SIGHUP and the way back from a stop, turned into flags.
//!
//! For commands that end in order when asked to. A second SIGINT does not wait: it gives the terminal back and ends
//! the process. SIGHUP has a run read its configuration again, but when it says that the terminal is gone: that ends it,
//! as it ends other commands. Where SIGHUP is ignored from the start, as under `nohup`, it stays so. No work is done in a
//! signal handler.

use super::{exit, screen};
use crate::error::{Error, Kind, Result};
use rustix::fs::OFlags;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::fs::OpenOptions;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A second SIGINT sooner than this is the first one again: `timeout` sends one to the process and one to its
/// group. No hand is that fast.
const SAME_PRESS: Duration = Duration::from_millis(150);

/// What signals have asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Flags {
    /// To end.
    pub(super) stop: Arc<AtomicBool>,
    /// To draw the screen anew: the process was stopped, and something else may have written since.
    pub(super) resumed: Arc<AtomicBool>,
    /// To read the configuration again.
    pub(super) reload: Arc<AtomicBool>,
}

/// Watches signals until the process ends; Ctrl-Z as well if something is `drawn`, to leave the terminal tidy.
///
/// # Errors
/// Of kind [`Kind::System`]: the system refuses handlers or a thread.
pub(super) fn watch(drawn: bool) -> Result<Flags> {
    watch_for(drawn, None)
}

/// As [`watch`], and SIGHUP reloads as long as the terminal is there.
///
/// # Errors
/// As [`watch`].
pub(super) fn watch_run(drawn: bool) -> Result<Flags> {
    watch_for(drawn, Some(Terminal::now()))
}

fn watch_for(drawn: bool, reloads_at: Option<Terminal>) -> Result<Flags> {
    let flags = Flags::default();
    let mut watcher = Watcher { flags: flags.clone(), interrupted: None, reloads_at };
    let mut wanted = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    if drawn {
        wanted.extend([SIGTSTP, SIGCONT]);
    }
    let mut signals = Signals::new(wanted).map_err(refusal)?;
    let body = move || signals.forever().for_each(|signal| watcher.obey(signal));
    std::thread::Builder::new().name("signals".to_owned()).spawn(body).map_err(refusal)?;
    Ok(flags)
}

/// Whether whoever started this process wants the signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_some_and(|signals| signals >> (signal - 1) & 1 == 1)
}

/// A bit for each signal, from 1.
fn ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// The thread's own view.
struct Watcher {
    flags: Flags,
    interrupted: Option<Instant>,
    /// SIGHUP reloads as long as this is what there is of a terminal.
    reloads_at: Option<Terminal>,
}

/// What there is of a terminal. One that was hung up is none any more.
#[derive(Debug, PartialEq, Eq)]
struct Terminal {
    /// Which of the three streams are one.
    streams: [bool; 3],
    /// The session has one, wherever the streams go.
    is_ours: bool,
}

impl Terminal {
    fn now() -> Self {
        let streams = [stdin().is_terminal(), stdout().is_terminal(), stderr().is_terminal()];
        // A line that is not connected is not waited for.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let is_ours = OpenOptions::new().read(true).custom_flags(flags).open("/dev/tty").is_ok();
        Self { streams, is_ours }
    }
}

impl Watcher {
    fn obey(&mut self, signal: i32) {
        match signal {
            SIGTSTP => {
                screen::give_back_terminal();
                // Stops here; SIGCONT is what comes next.
                let _ = emulate_default_handler(SIGTSTP);
            }
            SIGCONT => self.flags.resumed.store(true, Ordering::Relaxed),
            SIGHUP if self.reloads_at == Some(Terminal::now()) => {
                self.flags.reload.store(true, Ordering::Relaxed);
            }
            SIGINT => self.interrupt(),
            _ => self.flags.stop.store(true, Ordering::Relaxed),
        }
    }

    fn interrupt(&mut self) {
        let first = *self.interrupted.get_or_insert_with(Instant::now);
        self.flags.stop.store(true, Ordering::Relaxed);
        if first.elapsed() > SAME_PRESS {
            screen::give_back_terminal();
            std::process::exit(exit::INTERRUPTED.into());
        }
    }
}

fn refusal(error: std::io::Error) -> Error {
    Error::new(Kind::System, "signals can't be watched").source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_bit_by_bit() {
        let status = "Name:\tnda\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(status), Some(0x1001));
        assert_eq!(ignored("Name:\tnda\n"), None);
    }
}
