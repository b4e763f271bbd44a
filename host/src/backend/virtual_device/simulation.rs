//! Simulated time: all streams of a host in one thread, in the order in which their callbacks are due.
//!
//! For tests that need hours in seconds, or the same course in every run. Whoever holds the [`Simulation`] runs it;
//! the streams are opened, played and dropped as any others, but never while it runs.

use super::metronome::Metronome;
use super::stream::{Callback, Control};
use cpal::ErrorKind;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Time that passes when it is told to.
#[derive(Debug, Clone, Default)]
pub struct Simulation(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    now: Duration,
    opened: u64,
    players: Vec<Player>,
}

/// What a stream leaves with the simulation.
pub(super) struct Player {
    pub(super) control: Arc<Control>,
    pub(super) metronome: Metronome,
    pub(super) callback: Box<dyn Callback>,
    pub(super) on_error: Box<dyn FnMut(cpal::Error) + Send>,
    /// Whether its clock runs.
    pub(super) runs: bool,
    pub(super) id: u64,
}

impl fmt::Debug for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {} of a simulation", self.id)
    }
}

impl Simulation {
    /// Lets so much time pass: every callback that falls due before its end is made.
    ///
    /// # Panics
    /// If a callback does.
    pub fn run(&self, time: Duration) {
        let mut world = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = world.now + time;
        world.follow_controls();
        while let Some(player) = world.next_before(end) {
            let due = player.metronome.due();
            player.tick();
            world.now = due;
        }
        world.now = end;
    }

    /// Adds a stream, paused; its number.
    pub(super) fn add(&self, mut player: Player) -> u64 {
        let mut world = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        world.opened += 1;
        player.id = world.opened;
        world.players.push(player);
        world.opened
    }

    /// The stream is over; its callback is dropped.
    pub(super) fn remove(&self, id: u64) {
        let mut world = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        world.players.retain(|player| player.id != id);
    }
}

impl World {
    /// Starts and stops the clocks of the streams, as their owners want.
    fn follow_controls(&mut self) {
        for player in &mut self.players {
            let plays = player.control.plays();
            match (player.runs, plays) {
                (false, true) => player.metronome.resume(self.now),
                (true, false) => player.callback.hold(),
                _ => {}
            }
            player.runs = plays;
        }
    }

    /// The one whose callback is due first, before `end`; of several the one that was opened first.
    fn next_before(&mut self, end: Duration) -> Option<&mut Player> {
        let running = self.players.iter_mut().filter(|player| player.runs);
        running.min_by_key(|player| player.metronome.due()).filter(|player| player.metronome.due() < end)
    }
}

impl Player {
    fn tick(&mut self) {
        let (at, frames) = self.metronome.tick();
        self.control.is_at(at);
        if !self.callback.call(at, frames, &self.control) {
            (self.on_error)(ErrorKind::Xrun.into());
        }
    }
}
