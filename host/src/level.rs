//! How much a line matters: for logs, which keep some and leave out others.
//!
//! For whoever tells what happens and whoever writes it down. It filters nothing itself.

use std::fmt;
use std::str::FromStr;

/// How much a line matters; the worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Something ended that should not have: a worker, a device, a file.
    Error,
    /// Something is not as it should be, and it goes on.
    Warning,
    /// What happens.
    #[default]
    Info,
    /// How it goes, again and again.
    Debug,
}

impl Level {
    /// All there are, the worst first.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warning, Self::Info, Self::Debug];

    /// Its name in options and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// Its number in syslog(3) and sd-daemon(3).
    #[must_use]
    pub fn syslog(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|level| level.name() == name);
        known.ok_or_else(|| "it must be error, warning, info or debug".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_read_by_its_name_and_the_worst_comes_first() {
        assert!(Level::ALL.into_iter().all(|level| level.name().parse() == Ok(level)));
        assert!(Level::ALL.is_sorted() && Level::ALL.map(Level::syslog).is_sorted());
        assert!("loud".parse::<Level>().is_err());
    }
}
