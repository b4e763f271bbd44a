//! What of a pipeline can be turned while it plays, beside its plugins: the mute at its end and the built-in gains.
//!
//! For the thread that watches; each is an atomic word that the audio thread looks at once a block.

use super::Pipeline;
use crate::builtin::{Gain, GainHandle, Mute, MuteHandle};

/// A pipeline's knobs.
#[derive(Debug, Default)]
pub(super) struct Knobs {
    mute: Option<MuteHandle>,
    gains: Vec<GainHandle>,
}

impl Knobs {
    /// Keeps the handle of the mute that goes into the chain.
    pub(super) fn take_mute(&mut self, mute: Mute) -> Mute {
        self.mute = Some(mute.handle());
        mute
    }

    /// Keeps the handle of the next gain that goes into the chain.
    pub(super) fn take_gain(&mut self, gain: Gain) -> Gain {
        self.gains.push(gain.handle());
        gain
    }
}

impl Pipeline {
    /// Has the sink, and the file that records it, get silence, or no more; the way there is a block long.
    pub fn set_muted(&self, muted: bool) {
        self.knobs.mute.iter().for_each(|mute| mute.set(muted));
    }

    /// What mutes it, also while it is in another thread's hands.
    pub(crate) fn mute(&self) -> Option<MuteHandle> {
        self.knobs.mute.clone()
    }

    /// Whether they get silence.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.knobs.mute.as_ref().is_some_and(MuteHandle::is_on)
    }

    /// Turns its built-in gain of this number, from 0 and in the order of the chain; nothing if there is none. The way
    /// there is a block long.
    pub fn set_gain_db(&self, gain: usize, db: f32) {
        self.knobs.gains.get(gain).iter().for_each(|handle| handle.set_db(db));
    }
}
