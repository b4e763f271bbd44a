//! Asking an audio system without hanging with it.
//!
//! For all that reaches a device, except its callbacks: it runs on threads that are left behind when a limit has
//! passed, and that keep ALSA's own words off the terminal.

use crate::error::{Error, Kind, Result};
use std::sync::mpsc;
use std::time::Duration;

/// How long an audio system may take to list its devices or to open one: PulseAudio starts a server first.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// How long a device may take to start or pause, and ALSA to notice that one is gone which says nothing.
pub(super) const CONTROL_LIMIT: Duration = Duration::from_secs(5);

/// How long dropping a stream may take: JACK has been seen to block for two minutes.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What the audio system answers, if it does so in time; its thread is left behind if not.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, answer) = mpsc::channel();
    spawn(move || drop(sender.send(ask())))?;
    answer.recv_timeout(limit).map_err(|_| silent(limit))
}

pub(super) fn silent(limit: Duration) -> Error {
    let what = format!("the audio system did not answer within {} s", limit.as_secs());
    Error::new(Kind::Device, what).remedy("restart it, or use device = \"virtual\"")
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
