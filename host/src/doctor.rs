//! What a machine lacks for real-time audio with Python plugins, and how to get it.
//!
//! For `nda doctor`, and for programs that want to know before they start. It looks and tries, on threads and processes
//! that end with it; it changes nothing. [`examine`] tells of each thing whether it is there, in words.

mod machine;

use crate::backend;
use crate::error::Result;
use crate::plugin::interpreter;
use crate::realtime::Power;
use crate::realtime::{Affinity, RealTime};
use crate::supervisor::{Supervisor, module};
use serde::Serialize;
use std::path::Path;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works without, but worse.
    Better,
    /// Nothing works without.
    Needed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about, in a word or two.
    pub about: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What there is, or what is missing and what that costs.
    pub is: String,
    /// How to get it, if it is missing and can be had.
    pub remedy: Option<String>,
}

impl Finding {
    fn good(about: &'static str, is: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Good, is: is.into(), remedy: None }
    }

    fn better(about: &'static str, is: impl Into<String>, remedy: &str) -> Self {
        Self { about, verdict: Verdict::Better, is: is.into(), remedy: Some(remedy.to_owned()) }
    }

    fn needed(about: &'static str, is: impl Into<String>, remedy: &str) -> Self {
        Self { about, verdict: Verdict::Needed, is: is.into(), remedy: Some(remedy.to_owned()) }
    }
}

/// Looks at all of it; starts an interpreter, `python` or the one that plugins without one of their own get. Takes a
/// second or so.
///
/// # Errors
/// Of kind `System`, if no supervisor can be started.
pub fn examine(python: Option<&Path>) -> Result<Vec<Finding>> {
    let (supervisor, _events) = Supervisor::new()?;
    let mut found = vec![machine::kernel(), machine::user()];
    found.extend(real_time()?);
    found.extend([machine::locked_memory(), machine::throttling(), machine::governor()]);
    found.push(worker(&supervisor, python));
    found.push(sound());
    Ok(found)
}

const LOG_IN_AGAIN: &str = "then be in the group audio (`sudo usermod -aG audio $USER`) and log in again";

/// What pipelines get, as `nda run` tells it in its first line.
fn real_time() -> Result<[Finding; 3]> {
    let seat = RealTime::new().seat(&Affinity::default(), Power::Performance)?;
    let has = seat.status();
    let limits = "/etc/security/limits.d/audio.conf";
    let audio = match (has.audio_fifo, has.worker_fifo) {
        (Some(audio), Some(worker)) => {
            Finding::good("real-time priority", format!("audio threads FIFO {audio}, workers FIFO {worker}"))
        }
        (audio, _) => {
            let is = match audio {
                Some(audio) => {
                    format!("audio threads FIFO {audio}, too low for workers to have one below it")
                }
                None => "none: other programs delay audio".to_owned(),
            };
            let remedy = format!("\"@audio - rtprio 95\" in {limits}, {LOG_IN_AGAIN}");
            Finding::better("real-time priority", is, &remedy)
        }
    };
    let share = if has.workers_ahead || has.worker_fifo.is_some() {
        Finding::good("share of the processor", "workers that play go before those that start")
    } else {
        let remedy = format!("\"@audio - nice -20\" in {limits}, {LOG_IN_AGAIN}");
        Finding::better("share of the processor", "workers that start delay those that play", &remedy)
    };
    let idle = match has.refusal {
        None => Finding::good("idle processors", "can be kept from sleeping deeply"),
        Some(why) if !why.can_be_mended() => Finding::good("idle processors", why.to_string()),
        Some(why) => {
            let remedy = "KERNEL==\"cpu_dma_latency\", GROUP=\"audio\", MODE=\"0660\" in \
                          /etc/udev/rules.d/99-audio.rules, then `sudo udevadm trigger`";
            Finding::better("idle processors", format!("sleep deeply, and wake up late: {why}"), remedy)
        }
    };
    Ok([audio, share, idle])
}

/// Starts a worker without a plugin.
fn worker(supervisor: &Supervisor, python: Option<&Path>) -> Finding {
    let here = std::env::current_dir().unwrap_or_default().join("plugin.py");
    let started = interpreter::find(python, &here).and_then(|python| {
        let spare = supervisor.spawner().warm(&python, &module::find()?)?;
        let hello = spare.hello();
        Ok(format!("{} is Python {} with numpy {}", python.display(), hello.python, hello.numpy))
    });
    match started {
        Ok(is) => Finding::good("Python", is),
        Err(error) => {
            Finding::needed("Python", error.to_string(), "`nda doctor --python FILE` tries another one")
        }
    }
}

/// Whether there is anything to hear with.
fn sound() -> Finding {
    let devices = backend::devices();
    let is_card = |d: &&backend::DeviceInfo| d.keeps_time && d.backend != backend::virtual_device::NAME;
    let works = |d: &&backend::DeviceInfo| {
        [&d.output, &d.input].into_iter().flatten().any(|direction| direction.error.is_none())
    };
    match devices.iter().filter(is_card).filter(works).count() {
        0 => Finding::better(
            "sound",
            "no device but the virtual one",
            "connect a card, or start a sound server; `nda devices` lists what there is",
        ),
        count => {
            Finding::good("sound", format!("devices: {count}, and the virtual one; `nda devices` lists them"))
        }
    }
}
