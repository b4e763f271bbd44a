//! How a run is doing, for `nda ctl status` and programs that ask for the same.

use crate::report::{PipelineStatus, RealTimeStatus};
use serde::Serialize;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunStatus {
    /// The configuration's file; `None` if there is none.
    pub config: Option<String>,
    /// Its process.
    pub pid: u32,
    /// How long it has been running.
    pub seconds: f64,
    /// What its pipelines got of the machine.
    pub real_time: Option<RealTimeStatus>,
    /// All its pipelines, in the order of the configuration.
    pub pipelines: Vec<LaneStatus>,
}

/// One pipeline, whether or not it plays.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaneStatus {
    /// Its name.
    pub name: String,
    /// `playing`, `ended`, `starting`, `stopping`, `stopped`, or `failed`: it could not be started. One that has
    /// to be opened anew to have a device back is tried again by itself.
    pub state: &'static str,
    /// Why it could not; of one that plays: why it does so as it did before, and not as it is configured now.
    pub why: Option<String>,
    /// It is muted, or will be when it is started.
    pub muted: bool,
    /// Its plugins that are bypassed, or will be.
    pub bypassed: Vec<String>,
    /// How it is doing, or how it was at its end; `None` if it has not played yet. At most a tenth of a second old.
    pub status: Option<PipelineStatus>,
}
