//! A replacement that is still being made when its plugin is closed. Nobody needs it any more, and it ends as soon as it is
//! made; but if it dies by itself before, that is told all the same.
//!
//! For the recovery thread, which keeps it until its errand is back.

use super::Patient;
use super::errand::{NotPrepared, Prepared};
use super::failed_start::FailedStart;
use super::obituary::{self, Late, Rest};
use super::snapshots::Snapshot;
use crate::supervisor::Teller;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is to be told of it, and where, should it die.
#[derive(Debug)]
pub(super) struct Unborn {
    pub(super) incarnation: u32,
    /// The state that it is given.
    pub(super) snapshot: Option<Snapshot>,
    pub(super) patient: Arc<Patient>,
    pub(super) reports: Option<PathBuf>,
    pub(super) teller: Teller,
}

impl Unborn {
    /// Its errand is back with this; gives what is left to tell.
    pub(super) fn settle(self, result: Result<Box<Prepared>, NotPrepared>) -> Rest {
        let Self { incarnation, snapshot, patient, reports, teller } = self;
        let mut rest = Rest::default();
        match result {
            Ok(prepared) => {
                let until = Instant::now() + Duration::from_nanos(obituary::WAIT_NS);
                let falling = prepared.fallen().map(|worker| vec![(incarnation, worker)]);
                rest.late = falling.map(|falling| Late {
                    obituaries: Vec::new(),
                    falling,
                    patient,
                    reports,
                    teller,
                    until,
                });
            }
            Err(failed) => {
                let failed = FailedStart::of_one_not_needed(incarnation, failed, snapshot);
                let telling = failed.and_then(|failed| failed.publish(&patient, reports.as_deref(), teller));
                rest.tellings.extend(telling);
            }
        }
        rest
    }
}
