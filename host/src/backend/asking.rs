//! Asking an audio system without hanging with it.
//!
//! For all that reaches a device, except its callbacks: it runs on threads that are left behind when a limit has
//! passed, and that keep ALSA's own words off the terminal. A system is asked one question at a time, so that
//! one which never answers keeps one thread, however often it is tried again.

use crate::error::{Error, Kind, Result};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How long an audio system may take to list its devices or to settle a format, its turn included.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(5);

/// How long an audio system may take to open a device: ALSA's way to PulseAudio starts a server first.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// How long a device may take to start or pause, and ALSA to notice that one is gone which says nothing.
pub(super) const CONTROL_LIMIT: Duration = Duration::from_secs(5);

/// How long dropping a stream may take: JACK has been seen to block for two minutes.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Whom a question is being put to, and the end of one.
static ASKED: (Mutex<Vec<&'static str>>, Condvar) = (Mutex::new(Vec::new()), Condvar::new());

/// What the audio system called `whom` answers, if it does so in time; its thread is left behind if not, and
/// until that ends nothing else is asked of it.
pub(super) fn ask<T: Send + 'static>(
    whom: &'static str,
    limit: Duration,
    question: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let until = Instant::now() + limit;
    let turn = Turn::take(whom, limit).ok_or_else(|| silent(whom, limit))?;
    let (sender, answer) = mpsc::channel();
    spawn(move || {
        let _turn = turn;
        drop(sender.send(question()));
    })?;
    let left = until.saturating_duration_since(Instant::now());
    answer.recv_timeout(left).map_err(|_| silent(whom, limit))
}

/// That a question is being put to somebody.
struct Turn(&'static str);

impl Turn {
    fn take(whom: &'static str, limit: Duration) -> Option<Self> {
        let asked = ASKED.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = |asked: &mut Vec<&'static str>| asked.contains(&whom);
        let waited = ASKED.1.wait_timeout_while(asked, limit, taken);
        let (mut asked, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            return None;
        }
        asked.push(whom);
        Some(Self(whom))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        ASKED.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|whom| *whom != self.0);
        ASKED.1.notify_all();
    }
}

pub(super) fn silent(whom: &str, limit: Duration) -> Error {
    let what = format!("{whom} did not answer within {} s", limit.as_secs());
    Error::new(Kind::Absent, what).remedy("restart it, or use device = \"virtual\"")
}

/// Runs `work`, which asks an audio system, on a thread of its own.
pub(super) fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let quiet = move || {
        hush_alsa();
        work();
    };
    let thread = std::thread::Builder::new().name("audio-device".into()).spawn(quiet);
    thread.map(drop).map_err(|e| Error::new(Kind::System, "the audio device got no thread").source(e))
}

/// Keeps ALSA from writing to stderr on this thread: what it says there in many lines, such as that there is no
/// card, the errors that cpal returns say in one. Whether that works or not, devices are asked the same way.
///
/// Each thread has its own handler, and the one that cpal calls back on keeps ALSA's: to give it another would
/// have to allocate in the callback.
fn hush_alsa() {
    // ALSA writes to a buffer instead, which goes with the thread.
    let _ = alsa::Output::local_error_handler();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_system_that_does_not_answer_keeps_one_thread_and_no_other_system_waiting() {
        let (release, held) = mpsc::channel::<()>();
        let never = ask("deaf", SHORT, move || held.recv());
        assert_eq!(never.unwrap_err().kind(), Kind::Absent);
        for _ in 0..3 {
            let refused = ask("deaf", SHORT, || unreachable!("the first question is still there"));
            assert!(refused.unwrap_err().to_string().contains("deaf did not answer"));
        }
        assert_eq!(ask("another", LONG, || 7).unwrap(), 7);
        release.send(()).unwrap();
        assert_eq!(ask("deaf", LONG, || 8).unwrap(), 8);
    }

    #[test]
    fn a_question_that_panics_is_over() {
        assert!(ask("clumsy", LONG, || panic!("on purpose")).is_err());
        assert_eq!(ask("clumsy", LONG, || 1).unwrap(), 1);
    }
}
