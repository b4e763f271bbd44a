//! SIGINT, SIGTERM, SIGHUP and the way back from a stop, turned into flags.
//!
//! For `run` and `render`, which end in order when asked to. A second SIGINT does not wait: it gives the
//! terminal back and ends the process. SIGHUP has a run read its configuration again, but when it says that the
//! terminal is gone: that ends it. No work is done in a signal handler.

use super::{exit, screen};
use crate::error::{Error, Kind, Result};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::{IsTerminal, stderr, stdin, stdout};
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
    watch_these(if drawn { &[SIGINT, SIGTERM, SIGTSTP, SIGCONT] } else { &[SIGINT, SIGTERM] })
}

/// As [`watch`], and SIGHUP as well.
///
/// # Errors
/// As [`watch`].
pub(super) fn watch_run(drawn: bool) -> Result<Flags> {
    let drawn_too = [SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT];
    watch_these(if drawn { &drawn_too } else { &drawn_too[..3] })
}

fn watch_these(wanted: &[i32]) -> Result<Flags> {
    let flags = Flags::default();
    let mut watcher = Watcher { flags: flags.clone(), interrupted: None, terminals: terminals() };
    let mut signals = Signals::new(wanted).map_err(refusal)?;
    let body = move || signals.forever().for_each(|signal| watcher.obey(signal));
    std::thread::Builder::new().name("signals".to_owned()).spawn(body).map_err(refusal)?;
    Ok(flags)
}

/// The thread's own view.
struct Watcher {
    flags: Flags,
    interrupted: Option<Instant>,
    /// Which of the three streams were terminals at first.
    terminals: [bool; 3],
}

fn terminals() -> [bool; 3] {
    [stdin().is_terminal(), stdout().is_terminal(), stderr().is_terminal()]
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
            // A terminal that was hung up is none any more.
            SIGHUP if terminals() == self.terminals => self.flags.reload.store(true, Ordering::Relaxed),
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
