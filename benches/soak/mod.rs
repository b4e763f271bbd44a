//! The soak: a transmit and a receive pipeline for hours, while their plugins are killed every few seconds.
//!
//! For `nda-soak` (`make soak`). Numbered frames go through an encryptor, over a virtual cable and through a
//! decryptor, both at 48 kHz with 128 frames; whoever hears them knows which one each is, so that every gap is seen
//! and has to be explained by what the host counted ([`gaps`]). Meanwhile what the host holds of the system is looked at
//! once a second ([`resources`]). It measures no speed.

pub mod gaps;
pub mod injection;
pub mod numbered;
pub mod report;
pub mod resources;
mod rig;

use crate::Outcome;
use gaps::Listening;
use injection::{Random, Target};
use report::Soak;
use resources::Resources;
use rig::Rig;
use shared::clock::now_ns;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Hz.
pub const RATE: u32 = 48_000;
/// Frames a block, and a device's buffer.
pub const BLOCK_FRAMES: u32 = 128;
/// Channels.
pub const CHANNELS: u32 = 2;

/// How often what was counted is looked at: less than a block.
const LOOK: Duration = Duration::from_millis(2);
const SAMPLE: Duration = Duration::from_secs(1);
/// Nobody is killed before everything plays, nor in the end, so that the last one can be replaced and heard.
const REST: Duration = Duration::from_secs(3);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// How long it plays.
    pub duration: Duration,
    /// How often somebody is killed, on average.
    pub every: Duration,
    /// What the crashes follow from.
    pub seed: u64,
    /// The interpreter; `None` is `.venv` beside the plugins, `$VIRTUAL_ENV`, or `python3` on the path.
    pub python: Option<PathBuf>,
}

/// Plays as long as is wanted; `progress` is told how it goes, now and then.
///
/// # Errors
/// If the pipelines can't be opened.
pub fn run(wanted: &Wanted, progress: &mut dyn FnMut(&str)) -> Outcome<Soak> {
    let mut rig = Rig::open(wanted.python.clone())?;
    let mut listening = Listening::to_a_run_of(wanted.duration);
    let mut resources = Resources::of_a_run_of(wanted.duration);
    let mut random = Random::new(wanted.seed);
    let began = Instant::now();
    let (mut inject_at, mut sample_at, mut tell_at) = (began + REST, began + SAMPLE, began + TELL);
    while began.elapsed() < wanted.duration {
        std::thread::park_timeout(LOOK);
        rig.listen(&mut listening);
        let now = Instant::now();
        if now >= inject_at && began.elapsed() + REST < wanted.duration {
            let target = Target::both()[listening.injections().len() % 2];
            if let Some(signal) = rig.inject(target, &mut random) {
                listening.injected(target, signal, now_ns());
            }
            inject_at = now + random.around(wanted.every);
        }
        if now >= sample_at {
            sample_at += SAMPLE;
            resources.take(began.elapsed());
        }
        if now >= tell_at {
            tell_at += TELL;
            progress(&format!(
                "{:.0} of {:.0} s, {} crashes, {} gaps",
                began.elapsed().as_secs_f64(),
                wanted.duration.as_secs_f64(),
                listening.injections().len(),
                listening.gaps()
            ));
        }
    }
    rig.listen(&mut listening);
    let ended = rig.close(&mut listening);
    Ok(Soak::new(wanted, began.elapsed(), &listening.judge(), &resources, ended))
}

const TELL: Duration = Duration::from_secs(60);
