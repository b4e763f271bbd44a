//! One try to open a lost device again: on a thread that may take as long as it likes, until the device runs.
//!
//! For a [`Port`](super::port), which looks how far it is and never waits. Whether there is another try after one that
//! failed, and when, is not decided here.

use super::devices::Want;
use super::lookout::Lookout;
use super::streams::{End, Playing, Terms};
use crate::error::{Error, Kind, Result};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Instant;

/// A try that is under way.
#[derive(Debug)]
pub(super) struct Attempt(Stage);

#[derive(Debug)]
enum Stage {
    /// A thread is at it.
    Opening(Receiver<Opened>),
    /// It is open and was told to play; what it plays is silence.
    Waiting(Box<Playing>, Lookout, Pace),
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Outcome {
    Going(Attempt),
    /// The device runs, and can be given its turn.
    Open(Box<Playing>),
    Failed(Error),
    /// It is there, but takes more at a time than the pipeline can be planned for. No other try will do.
    Outgrown(Error),
}

/// The stream, or why it is not open.
type Opened = std::result::Result<Playing, Refusal>;

#[derive(Debug)]
enum Refusal {
    Failed(Error),
    Outgrown(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Attempt {
    /// # Errors
    /// Of kind `System`, if there is no thread for it.
    pub(super) fn start(end: &End, want: &Want, terms: &Terms) -> Result<Self> {
        let (end, want, terms) = (end.clone(), want.clone(), terms.clone());
        let (sender, opened) = channel();
        let open = move || {
            // If nobody waits for it any more, the stream ends here.
            let _ = sender.send(open(&end, &want, &terms));
        };
        let thread = std::thread::Builder::new().name("device-open".into()).spawn(open);
        thread.map_err(|e| Error::new(Kind::System, "there is no thread for it").source(e))?;
        Ok(Self(Stage::Opening(opened)))
    }

    /// One that runs, and is looked at once more.
    pub(super) fn once_more(playing: Box<Playing>, now: Instant) -> Self {
        let callbacks = playing.pulse.callbacks();
        Self::waiting(playing, Pace { callbacks, rises: Pace::RISES - 1 }, now)
    }

    fn waiting(playing: Box<Playing>, pace: Pace, now: Instant) -> Self {
        let mut lookout = Lookout::new();
        lookout.plays(now);
        Self(Stage::Waiting(playing, lookout, pace))
    }

    /// How far it is now.
    pub(super) fn look(self, now: Instant) -> Outcome {
        match self.0 {
            Stage::Opening(opened) => match opened.try_recv() {
                Err(TryRecvError::Empty) => Outcome::Going(Self(Stage::Opening(opened))),
                Ok(Ok(playing)) => Outcome::Going(Self::waiting(Box::new(playing), Pace::default(), now)),
                Ok(Err(Refusal::Failed(error))) => Outcome::Failed(error),
                Ok(Err(Refusal::Outgrown(error))) => Outcome::Outgrown(error),
                Err(TryRecvError::Disconnected) => {
                    Outcome::Failed(Error::new(Kind::System, "opening it panicked"))
                }
            },
            Stage::Waiting(playing, lookout, pace) => wait_for(playing, lookout, pace, now),
        }
    }
}

/// Opens the device again and lets it play.
fn open(end: &End, want: &Want, terms: &Terms) -> Opened {
    let found = want.find(terms.format)?;
    let side = found.side.clone();
    let playing = end.open(found, terms, true)?;
    want.check_buffer(&side, playing.stream.buffer_frames(), terms.format).map_err(Refusal::Outgrown)?;
    playing.stream.play()?;
    Ok(playing)
}

/// Whether a device runs. One that is suspended, or a card that never starts, takes as much as its buffer holds when
/// it is opened, and then stands still.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    callbacks: u64,
    /// In how many looks there were more than in the one before.
    rises: u32,
}

impl Pace {
    /// What is taken at once may come in two of the looks.
    const RISES: u32 = 3;

    fn runs(&mut self, callbacks: u64) -> bool {
        self.rises += u32::from(callbacks > self.callbacks);
        self.callbacks = callbacks;
        self.rises >= Self::RISES
    }
}

fn wait_for(playing: Box<Playing>, mut lookout: Lookout, mut pace: Pace, now: Instant) -> Outcome {
    let failed = |playing: Box<Playing>, why: String| {
        playing.let_go();
        Outcome::Failed(Error::new(Kind::Device, why))
    };
    if playing.is_lost() {
        let why = playing.why_lost().unwrap_or_else(|| "it is gone again".to_owned());
        failed(playing, why)
    } else if pace.runs(playing.pulse.callbacks()) {
        Outcome::Open(playing)
    } else if lookout.has_stopped(playing.signs(), now) {
        let does =
            if pace.callbacks > 0 { "stands still, as one that is suspended" } else { "does not call back" };
        failed(playing, format!("it opens but {does}"))
    } else {
        Outcome::Going(Attempt(Stage::Waiting(playing, lookout, pace)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_runs_that_goes_on_after_what_it_takes_at_once() {
        let looks = |seen: &[u64]| {
            let mut pace = Pace::default();
            seen.iter().position(|callbacks| pace.runs(*callbacks))
        };
        assert_eq!(looks(&[0, 2, 2, 4, 4, 4, 5, 6]), Some(6));
        assert_eq!(looks(&[1, 2, 3]), Some(2));
        assert_eq!(looks(&[0, 1, 2, 2, 2, 2]), None);
    }
}
