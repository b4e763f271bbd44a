//! What is known of one plugin over all its incarnations: shared by its control half and the recovery thread.
//!
//! The audio thread knows nothing of it. Every change under the lock is whole after each statement.

use super::cause::Causes;
use super::uncached::Uncached;
use super::worker::Worker;
use crate::telemetry::PluginTimes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One plugin's worker, its standby, and what became of those before.
#[derive(Debug)]
pub(crate) struct Care(Mutex<Known>);

/// What is known.
#[derive(Debug)]
pub(crate) struct Known {
    /// The incarnation that plays, or the last one that did.
    pub(crate) worker: Arc<Worker>,
    /// The twin that stands by, if there is one.
    pub(crate) twin: Option<Arc<Worker>>,
    /// Every parameter that was accepted, as it is now.
    pub(crate) parameters: Parameters,
    pub(crate) uncached: Uncached,
    pub(crate) causes: Causes,
    pub(crate) times: PluginTimes,
    /// Workers that died while they played.
    pub(crate) deaths: u64,
    /// What is done about the last death, in words, until a good block comes again.
    pub(crate) down: Option<String>,
    /// No other takes its place until somebody does something.
    pub(crate) quarantined: bool,
    /// How the last one died, in words.
    pub(crate) last_death: Option<String>,
}

/// Parameters in the order they were set first, each with its last value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) list: Vec<(String, String)>,
    /// Counts the changes.
    pub(crate) version: u64,
}

impl Parameters {
    pub(crate) fn new(list: Vec<(String, String)>) -> Self {
        Self { list, version: 0 }
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.version += 1;
        match self.list.iter_mut().rev().find(|(known, _)| known == key) {
            Some((_, known)) => value.clone_into(known),
            None => self.list.push((key.to_owned(), value.to_owned())),
        }
    }
}

impl Known {
    /// How the last one died and what is done about it, in words, while nothing plays.
    pub(crate) fn dead(&self) -> Option<String> {
        let how = || self.worker.death().map_or_else(|| "its worker ended".to_owned(), |how| how.to_string());
        match &self.down {
            Some(done) => Some(format!("{}; {done}", how())),
            None => self.worker.is_gone().then(how),
        }
    }
}

impl Care {
    pub(crate) fn new(
        worker: Worker,
        set: Vec<(String, String)>,
        uncached: Uncached,
        times: PluginTimes,
    ) -> Self {
        Self(Mutex::new(Known {
            worker: Arc::new(worker),
            twin: None,
            parameters: Parameters::new(set),
            uncached,
            causes: Causes::default(),
            times,
            deaths: 0,
            down: None,
            quarantined: false,
            last_death: None,
        }))
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_is_set_again_keeps_its_place_and_has_its_last_value() {
        let mut parameters = Parameters::new(vec![("a".into(), "1".into()), ("b".into(), "2".into())]);
        parameters.set("a", "3");
        parameters.set("c", "4");
        let list: Vec<_> = parameters.list.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!((list.join(" ").as_str(), parameters.version), ("a=3 b=2 c=4", 2));
    }
}
