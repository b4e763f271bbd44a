//! A replacement that is still being made when its plugin is closed. Nobody needs it any more, and it ends as soon as it is
//! made; but if it dies by itself before, that is told all the same.
//!
//! The recovery thread keeps it until its errand is back. It holds none of the plugin's workers: those end when their
//! owner lets go of them, not when this errand is done.

use super::errand::{NotPrepared, Prepared};
use super::failed_start::{Background, FailedStart};
use super::news::Telling;
use crate::supervisor::Teller;
use std::path::PathBuf;
use std::time::Duration;

/// What is to be told of it, and where, should it die.
#[derive(Debug)]
pub(super) struct Unborn {
    pub(super) incarnation: u32,
    pub(super) background: Background,
    pub(super) reports: Option<PathBuf>,
    pub(super) teller: Teller,
}

impl Unborn {
    /// Its errand is back with this. Waits for as long as `limit` until it is known how it ended, and until that is told.
    pub(super) fn tell(self, result: Result<Box<Prepared>, NotPrepared>, limit: Duration) {
        let Self { incarnation, background, reports, teller } = self;
        let failed = match result {
            Ok(prepared) => {
                let fallen = prepared.fallen();
                fallen.and_then(|worker| FailedStart::of_one_that_fell(incarnation, &worker, limit))
            }
            Err(failed) => FailedStart::of_one_not_needed(incarnation, failed),
        };
        let telling = failed.and_then(|failed| failed.publish(background, reports.as_deref(), teller));
        telling.into_iter().for_each(Telling::wait);
    }
}
