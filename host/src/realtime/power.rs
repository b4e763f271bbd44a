//! Keeping processors from sleeping deeply while a pipeline plays.
//!
//! A core with nothing to do sleeps, and the deeper it sleeps the longer it takes to wake up. `/dev/cpu_dma_latency`
//! is the kernel's own word for "no deeper than this": the request is in force for as long as the file is open. It
//! costs power. Here is whether it is wanted, and who has it open.

use rustix::io::Errno;
use serde::{Serialize, Serializer};
use std::fmt;
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
    Refused(Refusal),
}

/// Why idle processors sleep as they do otherwise, though they were not to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The machine has nothing to ask.
    Absent,
    /// The user has no right to ask.
    Forbidden,
    /// Anything else, in the system's words.
    Failed(String),
}

impl Refusal {
    /// Whether the user's rights are in the way, or may be: they can be had.
    #[must_use]
    pub fn can_be_mended(&self) -> bool {
        *self != Self::Absent
    }
}

impl From<std::io::Error> for Refusal {
    fn from(why: std::io::Error) -> Self {
        match Errno::from_io_error(&why) {
            Some(Errno::NOENT) => Self::Absent,
            Some(Errno::ACCESS | Errno::PERM) => Self::Forbidden,
            _ => Self::Failed(why.to_string()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "there is no {DEVICE} here"),
            Self::Forbidden => write!(f, "{DEVICE} may not be written"),
            Self::Failed(why) => write!(f, "{DEVICE}: {why}"),
        }
    }
}

/// In words.
impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
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
            Err(why) => Hold::Refused(why.into()),
        }
    }
}

/// Asks for 0 microseconds. No worker inherits the file: std opens each one to be closed with the next program.
fn open() -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(DEVICE)?;
    file.write_all(&0i32.to_ne_bytes())?;
    Ok(file)
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
        let refusal = |errno: Errno| Refusal::from(std::io::Error::from(errno));
        let told = |errno: Errno| (refusal(errno).to_string(), refusal(errno).can_be_mended());
        assert_eq!(told(Errno::ACCESS), ("/dev/cpu_dma_latency may not be written".into(), true));
        assert_eq!(told(Errno::NOENT), ("there is no /dev/cpu_dma_latency here".into(), false));
        let (words, can_be_mended) = told(Errno::BUSY);
        assert!(words.starts_with("/dev/cpu_dma_latency: ") && can_be_mended, "{words}");
        assert_eq!(serde_json::to_value(Refusal::Forbidden).unwrap(), told(Errno::PERM).0);
    }
}
