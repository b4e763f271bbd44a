//! Keeping processors from sleeping deeply while a pipeline plays.
//!
//! A core with nothing to do sleeps, and the deeper it sleeps the longer it takes to wake up. `/dev/cpu_dma_latency`
//! is the kernel's own word for "no deeper than this": the request is in force for as long as the file is open. It
//! costs power. Here is whether it is wanted, and who has it open.

use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};

const DEVICE: &str = "/dev/cpu_dma_latency";

/// What idle processors are to do while a pipeline plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Power {
    /// Be awake at once: they don't sleep deeply, and take more power.
    #[default]
    Performance,
    /// Sleep as they do otherwise.
    Balanced,
}

/// Whether idle states are held off.
#[derive(Debug, Clone)]
pub(super) enum Hold {
    /// As long as one of these is there: nobody reads it, it is open.
    Held(#[allow(dead_code)] Arc<File>),
    Unwanted,
    /// The reason.
    Refused(String),
}

/// The file, open while anybody holds it.
#[derive(Debug, Default)]
pub(super) struct IdleStates(Mutex<Weak<File>>);

impl IdleStates {
    pub(super) fn hold(&self, power: Power) -> Hold {
        if power == Power::Balanced {
            return Hold::Unwanted;
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = held.upgrade().map_or_else(|| open().map(Arc::new), Ok);
        match file {
            Ok(file) => {
                *held = Arc::downgrade(&file);
                Hold::Held(file)
            }
            Err(why) => Hold::Refused(words(&why)),
        }
    }
}

/// Asks for 0 microseconds. No worker inherits the file: std opens each one to be closed with the next program.
fn open() -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(DEVICE)?;
    file.write_all(&0i32.to_ne_bytes())?;
    Ok(file)
}

fn words(why: &std::io::Error) -> String {
    match Errno::from_io_error(why) {
        Some(Errno::NOENT) => format!("there is no {DEVICE} here"),
        Some(Errno::ACCESS | Errno::PERM) => format!("{DEVICE} may not be written"),
        _ => format!("{DEVICE}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_no_performance_holds_nothing() {
        let states = IdleStates::default();
        assert!(matches!(states.hold(Power::Balanced), Hold::Unwanted));
        assert!(states.0.lock().unwrap().upgrade().is_none());
    }

    #[test]
    fn all_share_one_file_which_is_closed_with_the_last() {
        let states = IdleStates::default();
        let (first, second) = (states.hold(Power::Performance), states.hold(Power::Performance));
        if let (Hold::Held(first), Hold::Held(second)) = (&first, &second) {
            assert!(Arc::ptr_eq(first, second));
        }
        drop((first, second));
        assert!(states.0.lock().unwrap().upgrade().is_none());
    }

    #[test]
    fn a_refusal_says_what_is_in_the_way() {
        let refusal = |errno: Errno| words(&errno.into());
        assert_eq!(refusal(Errno::ACCESS), "/dev/cpu_dma_latency may not be written");
        assert_eq!(refusal(Errno::NOENT), "there is no /dev/cpu_dma_latency here");
    }
}
