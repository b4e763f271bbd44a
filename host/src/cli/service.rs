//! What a service manager is told: that the audio plays, and that it still does.
//!
//! For `nda run` under systemd (`Type=notify`, `WatchdogSec=`). The watchdog is fed when every pipeline has processed
//! blocks since it was fed last, by their own counts, not because time has passed: when audio stands still, though
//! every thread may be alive, the manager starts `nda` again. A pipeline that has ended, or that was stopped, owes
//! nothing; nor does one that is closed and opened again, within two minutes; nor one that can't be started or hangs while
//! another plays, which is not to be ended for it.

use crate::level::Level;
use crate::report::PipelineStatus;
use crate::run::Observer;
use sd_notify::NotifyState;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many times within its limit the watchdog is fed.
const FEEDS: u32 = 4;

/// How long a manager is to wait from when a pipeline begins to be opened, if its own time (`TimeoutStartSec=`) is over before.
const LOADS_WITHIN: Duration = Duration::from_secs(120);

/// The service manager, if one started this process.
pub(super) struct Service {
    watchdog: Option<Duration>,
    progress: Progress,
    /// None plays, and some ought to by now.
    is_owed: bool,
    is_ready: bool,
}

impl Service {
    /// The one that the environment names; `None` if nobody wants to know.
    pub(super) fn found() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        let watchdog = sd_notify::watchdog_enabled();
        Some(Self { watchdog, progress: Progress::default(), is_owed: false, is_ready: false })
    }

    /// What there is to tell of how it goes now.
    fn news(&mut self, elapsed: Duration, pipelines: &[PipelineStatus]) -> Vec<NotifyState<'static>> {
        let mut news = Vec::new();
        if !std::mem::replace(&mut self.is_ready, true) {
            news.extend([NotifyState::Ready, NotifyState::Status("playing")]);
        }
        if let Some(limit) = self.watchdog
            && !self.is_owed
            && self.progress.is_due(elapsed, limit / FEEDS)
            && self.progress.has_moved(elapsed, pipelines)
        {
            news.push(NotifyState::Watchdog);
        }
        news
    }
}

impl Observer for Service {
    /// A start of many pipelines may take longer than the manager waits: it is not to end one that goes on.
    fn opening(&mut self, pipeline: &str) {
        // Quoted, as a name with a line break in it would be another message.
        tell(&opening(&format!("opening {pipeline:?}")));
    }

    fn event(&mut self, _level: Level, _line: &str) {}

    fn status(&mut self, elapsed: Duration, pipelines: &[PipelineStatus]) {
        let news = self.news(elapsed, pipelines);
        if !news.is_empty() {
            tell(&news);
        }
    }

    fn owing(&mut self, owing: bool) {
        self.is_owed = owing;
    }

    /// From now on it is the manager's time to stop that counts, not the watchdog's.
    fn ending(&mut self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("ending")]);
    }
}

/// What there is to tell when a pipeline begins to be opened.
fn opening(words: &str) -> [NotifyState<'_>; 2] {
    let micros = u32::try_from(LOADS_WITHIN.as_micros()).unwrap_or(u32::MAX);
    [NotifyState::Status(words), NotifyState::ExtendTimeoutUsec(micros)]
}

/// A manager that does not listen misses it; there is nobody else to tell.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// How far each pipeline had come when it was last seen to move.
#[derive(Debug, Default)]
struct Progress {
    frames: BTreeMap<String, u64>,
    moved_at: Option<Duration>,
}

impl Progress {
    fn is_due(&self, now: Duration, every: Duration) -> bool {
        self.moved_at.is_none_or(|at| now >= at + every)
    }

    /// Whether all that still play have processed blocks since they all had.
    fn has_moved(&mut self, now: Duration, pipelines: &[PipelineStatus]) -> bool {
        let playing = || pipelines.iter().filter(|pipeline| !pipeline.ended);
        let moved = |p: &PipelineStatus| self.frames.get(&p.name).is_none_or(|frames| p.frames != *frames);
        if !playing().all(moved) {
            return false;
        }
        self.frames = playing().map(|pipeline| (pipeline.name.clone(), pipeline.frames)).collect();
        self.moved_at = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;

    fn at(name: &str, frames: u64) -> PipelineStatus {
        PipelineStatus { name: name.into(), frames, ..fabricated::pipeline() }
    }

    /// What a service with this watchdog tells of one pipeline, second by second.
    fn told(watchdog: Option<Duration>, frames: &[u64]) -> Vec<String> {
        let mut service =
            Service { watchdog, progress: Progress::default(), is_owed: false, is_ready: false };
        let seconds = (0..).map(Duration::from_secs).zip(frames);
        let news = seconds.map(|(now, frames)| service.news(now, &[at("tx", *frames)]));
        news.map(|news| news.iter().map(|state| format!("{state} ")).collect()).collect()
    }

    #[test]
    fn a_manager_is_told_once_that_it_plays_and_no_more_while_audio_stands_still() {
        let watchdog = Some(Duration::from_secs(4));
        let first = "READY=1 STATUS=playing WATCHDOG=1 ";
        let frames = [0, 128, 128, 128, 128, 128, 256, 256];
        assert_eq!(told(watchdog, &frames), [first, "WATCHDOG=1 ", "", "", "", "", "WATCHDOG=1 ", ""]);
    }

    #[test]
    fn the_watchdog_is_not_fed_while_none_plays_that_ought_to() {
        let (watchdog, progress) = (Some(Duration::from_secs(4)), Progress::default());
        let mut service = Service { watchdog, progress, is_owed: false, is_ready: true };
        let mut is_fed = |second: u64, playing: &[PipelineStatus], owing: bool| {
            service.owing(owing);
            !service.news(Duration::from_secs(second), playing).is_empty()
        };
        assert!(is_fed(0, &[at("tx", 512)], false));
        assert!(!is_fed(2, &[], true), "nothing plays, and time alone feeds nothing");
        assert!(is_fed(4, &[at("tx", 0)], false), "it plays again");
        assert!(is_fed(6, &[], false), "all have been stopped: nothing is owed");
    }

    #[test]
    fn a_manager_without_a_watchdog_is_told_that_it_plays_and_nothing_else() {
        assert_eq!(told(None, &[0, 128, 256]), ["READY=1 STATUS=playing ", "", ""]);
    }

    #[test]
    fn the_watchdog_is_fed_while_every_pipeline_moves_and_not_when_one_stands_still() {
        let mut progress = Progress::default();
        let second = Duration::from_secs;
        assert!(progress.has_moved(second(0), &[at("tx", 0), at("rx", 0)]));
        assert!(progress.has_moved(second(1), &[at("tx", 128), at("rx", 128)]));
        for later in 2..100 {
            assert!(!progress.has_moved(second(later), &[at("tx", 128 * later), at("rx", 128)]));
        }
        assert!(progress.has_moved(second(100), &[at("tx", 12_800), at("rx", 256)]));
    }

    #[test]
    fn a_pipeline_that_has_ended_or_is_gone_owes_nothing_and_a_new_one_is_given_time() {
        let mut progress = Progress::default();
        let ended = || PipelineStatus { ended: true, ..at("song", 500) };
        assert!(progress.has_moved(Duration::ZERO, &[at("tx", 1), ended(), at("rx", 1)]));
        assert!(progress.has_moved(Duration::ZERO, &[at("tx", 2), ended(), at("new", 0)]));
        assert!(!progress.has_moved(Duration::ZERO, &[at("tx", 3), at("new", 0)]));
    }

    #[test]
    fn it_is_fed_no_more_often_than_it_needs() {
        let mut progress = Progress::default();
        let every = Duration::from_secs(5);
        assert!(progress.is_due(Duration::ZERO, every));
        assert!(progress.has_moved(Duration::from_secs(1), &[at("tx", 1)]));
        assert!(
            !progress.is_due(Duration::from_secs(5), every) && progress.is_due(Duration::from_secs(6), every)
        );
    }
}
