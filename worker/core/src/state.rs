//! A plugin's state on its way through messages that are shorter than it.
//!
//! Kept here between two requests, so that the plugin saves and restores in one piece.

use shared::message::{Failure, STATE_MAX, STATE_PART, Stage, StatePart};

/// What was saved and not all fetched yet, and what has come to be restored.
#[derive(Debug, Default)]
pub(crate) struct State {
    saved: Vec<u8>,
    arrived: Vec<u8>,
}

impl State {
    /// Keeps what a plugin saved, to be fetched from its beginning.
    pub(crate) fn keep(&mut self, saved: Vec<u8>) -> Result<StatePart, Failure> {
        if saved.len() > STATE_MAX {
            let why = format!("save_state() returned {} bytes, more than {STATE_MAX}", saved.len());
            return Err(failure(why));
        }
        self.saved = saved;
        self.fetch(0).ok_or_else(|| failure("there is no state".into()))
    }

    /// The part that begins at this byte; nothing is kept after the last one. `None` if there is no such part.
    pub(crate) fn fetch(&mut self, from: u64) -> Option<StatePart> {
        let total = self.saved.len();
        let rest = self.saved.get(usize::try_from(from).ok()?..)?;
        let bytes = rest[..rest.len().min(STATE_PART)].to_vec();
        if bytes.len() == rest.len() {
            self.saved = Vec::new();
        }
        Some(StatePart { bytes, total: total as u64 })
    }

    /// Takes the next part of what is to be restored; all of it when no more is to come.
    pub(crate) fn arrive(&mut self, part: &[u8], more: bool) -> Result<Option<Vec<u8>>, Failure> {
        self.arrived.extend_from_slice(part);
        if self.arrived.len() > STATE_MAX {
            self.arrived = Vec::new();
            return Err(failure(format!("a state of more than {STATE_MAX} bytes can't be restored")));
        }
        Ok((!more).then(|| std::mem::take(&mut self.arrived)))
    }
}

fn failure(message: String) -> Failure {
    Failure { stage: Stage::State, message, traceback: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    #[test]
    fn a_state_of_any_length_is_fetched_whole_and_then_forgotten() {
        for length in [0, 1, STATE_PART - 1, STATE_PART, STATE_PART + 1, 3 * STATE_PART, STATE_MAX] {
            let mut state = State::default();
            let mut fetched = state.keep(bytes(length)).unwrap().bytes;
            while fetched.len() < length {
                let part = state.fetch(fetched.len() as u64).unwrap();
                // The host takes no other.
                assert_eq!(part.bytes.len(), STATE_PART.min(length - fetched.len()));
                assert_eq!(part.total, length as u64);
                fetched.extend(part.bytes);
            }
            assert!(fetched == bytes(length), "{length}");
            assert!(state.saved.is_empty() && state.fetch(1).is_none());
        }
    }

    #[test]
    fn a_state_arrives_whole_with_its_last_part() {
        let mut state = State::default();
        for _ in 0..2 {
            assert_eq!(state.arrive(b"one ", true), Ok(None));
            assert_eq!(state.arrive(b"", true), Ok(None));
            assert_eq!(state.arrive(b"two", false), Ok(Some(b"one two".to_vec())));
        }
    }

    #[test]
    fn a_state_too_long_is_refused_with_the_limit_and_the_next_one_is_taken() {
        let mut state = State::default();
        let failure = state.keep(vec![0; STATE_MAX + 1]).unwrap_err();
        assert!(failure.message.contains("16777217 bytes, more than 16777216"), "{}", failure.message);
        assert_eq!(state.arrive(&vec![0; STATE_MAX], true), Ok(None));
        assert!(state.arrive(&[0], false).unwrap_err().message.contains("16777216"));
        assert_eq!(state.arrive(b"short", false), Ok(Some(b"short".to_vec())));
    }
}
