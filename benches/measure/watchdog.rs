//! Ends the process if measuring stands still: the hand-offs that are compared with can wait for ever.

use std::io::{Error, Result};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long one variant may take to start, or for one turn.
const PATIENCE: Duration = Duration::from_secs(600);

/// To be petted once a variant, when it starts and in each turn; dropped when all is over.
#[derive(Debug)]
pub struct Watchdog(Sender<()>);

impl Watchdog {
    /// Starts watching.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn watch() -> Result<Self> {
        let (pets, petted) = channel();
        let watch = move || {
            loop {
                match petted.recv_timeout(PATIENCE) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        tell(&Error::other(
                            "one variant has taken ten minutes for a turn: a hand-off is stuck",
                        ));
                        // Workers and other sides end with this process.
                        std::process::exit(1);
                    }
                }
            }
        };
        std::thread::Builder::new().name("watchdog".into()).spawn(watch)?;
        Ok(Self(pets))
    }

    /// Something has gone on.
    pub fn pet(&self) {
        // The thread lives as long as this.
        let _ = self.0.send(());
    }
}

#[allow(clippy::print_stderr)] // nobody else is left to tell it
fn tell(error: &Error) {
    eprintln!("nda: error: {error}");
}
