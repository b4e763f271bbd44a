//! The progress bar of `nda render`.
//!
//! For people at a terminal; elsewhere it shows nothing but what happened. It stands on standard error and is
//! gone when it is dropped.

use super::out::Out;
use super::{echo, words};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where frames are counted but their number isn't known, there is no share of it to show.
const KNOWN: &str = "{wide_bar} {percent:>3}%  {speed}  {eta} left";
const UNKNOWN: &str = "{spinner} {seconds} s  {speed}";

/// Shows how far a render is.
pub(super) struct Progress<'a> {
    out: &'a mut Out,
    bar: ProgressBar,
    rate: Option<u32>,
    state: State,
    resumed: Arc<AtomicBool>,
}

/// What the bar knows.
#[derive(PartialEq, Eq)]
enum State {
    /// The workers are starting.
    Waiting,
    /// Frames are counted.
    Counting,
    /// It is known how many there are.
    Known,
}

impl<'a> Progress<'a> {
    /// A bar for audio of this rate, if there is a terminal to show it; `resumed` says when the shell may have
    /// changed that.
    pub(super) fn new(out: &'a mut Out, rate: Option<u32>, resumed: Arc<AtomicBool>) -> Self {
        let bar = if out.has_bar() { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if out.has_bar() {
            echo::off();
        }
        bar.set_style(style(UNKNOWN, rate));
        Self { out, bar, rate, state: State::Waiting, resumed }
    }

    /// So many frames are done, of so many if that is known.
    pub(super) fn frames(&mut self, done: u64, all: Option<u64>) {
        if self.state == State::Waiting {
            // The speed is that of the rendering, without the start of the workers.
            self.bar.reset_elapsed();
            self.state = State::Counting;
        }
        if let Some(all) = all.filter(|_| self.state == State::Counting) {
            self.bar.set_style(style(KNOWN, self.rate));
            self.bar.set_length(all);
            self.state = State::Known;
        }
        if self.resumed.swap(false, Ordering::Relaxed) && self.out.has_bar() {
            echo::off();
        }
        self.bar.set_position(done);
    }

    /// Something happened.
    pub(super) fn event(&mut self, line: &str) {
        let out = &mut self.out;
        self.bar.suspend(|| out.note(&format!("{line}\n")));
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        echo::on();
    }
}

fn style(template: &str, rate: Option<u32>) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = rate.map(f64::from);
    let seconds = move |state: &ProgressState| rate.map(|rate| state.pos() as f64 / rate);
    style
        .with_key("speed", move |state: &ProgressState, to: &mut dyn Write| {
            let times = seconds(state).map(|audio| audio / state.elapsed().as_secs_f64().max(1e-3));
            // A bar that can't be written is not worth an error.
            let _ = write!(
                to,
                "{}",
                times.map_or(String::new(), |times| format!("{} real time", words::times(times)))
            );
        })
        .with_key("seconds", move |state: &ProgressState, to: &mut dyn Write| {
            let _ = write!(to, "{:.1}", seconds(state).unwrap_or_default());
        })
}
