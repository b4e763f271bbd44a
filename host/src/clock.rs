//! The clock that the audio thread and recovery go by: [`shared::clock`], but within a simulation the simulation's.
//!
//! For what is run under both. What waits for another process waits by the real clock.

#[cfg(test)]
pub(crate) use crate::recovery::simulation::time::now_ns;
#[cfg(not(test))]
pub(crate) use shared::clock::now_ns;
