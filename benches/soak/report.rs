//! What a soak came to: a table for people, JSON for programs, and whether its promises were kept.

use super::gaps::{Gap, Injected, Judgement, Reason};
use super::injection::{SIGNALS, Target};
use super::resources::{Course, Resources};
use super::{BLOCK_FRAMES, RATE, Wanted};
use host::report::PluginStatus;
use host::telemetry::Counts;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Gaps that are listed one by one, of those that nothing explains.
const LISTED: usize = 20;

/// A whole soak.
#[derive(Debug, Clone, Serialize)]
pub struct Soak {
    /// The machine, and how busy it was when it ended.
    pub machine: String,
    /// How long it played.
    pub seconds: f64,
    /// Frames a second and a block.
    pub rate: u32,
    /// See above.
    pub block_frames: u32,
    /// What the crashes followed from.
    pub seed: u64,
    /// Who was killed how often, and by what.
    pub crashes: Vec<Crashes>,
    /// Gaps by their reason.
    pub gaps: Vec<Gaps>,
    /// Each of them.
    pub each_gap: Vec<EachGap>,
    /// What else was heard.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What the host holds.
    pub resources: Vec<Course>,
    /// How often it was looked at in each half.
    pub looks: [usize; 2],
    /// What the pipelines say in the end.
    #[serde(flatten)]
    pub ended: Ended,
    /// Each promise, and whether it was kept.
    pub verdicts: Vec<Verdict>,
}

/// How often a plugin was hit by one signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crashes {
    /// The signal.
    pub signal: &'static str,
    /// How often the encryptor.
    pub encryptor: usize,
    /// How often the decryptor.
    pub decryptor: usize,
}

/// All gaps of one reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gaps {
    /// The reason.
    pub reason: Reason,
    /// How many.
    pub gaps: usize,
    /// Together.
    pub ms: f64,
    /// The one in the middle, and the longest.
    pub median_ms: f64,
    /// See above.
    pub longest_ms: f64,
}

/// One gap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EachGap {
    /// When it began, in the audio that was received.
    pub at_s: f64,
    /// How long it is.
    pub ms: f64,
    /// Its reason.
    pub reason: Reason,
    /// Who was killed last before it, by what, and how long before.
    pub after: Option<(Target, &'static str)>,
    /// See above.
    pub after_ms: Option<f64>,
}

impl EachGap {
    fn of((gap, reason): &(Gap, Reason), injections: &[Injected]) -> Self {
        let before = injections.iter().rev().find(|hit| hit.at_ns <= gap.ended_ns);
        let since = |hit: &Injected| gap.began_ns as f64 / 1e6 - hit.at_ns as f64 / 1e6;
        Self {
            at_s: gap.from as f64 / f64::from(RATE),
            ms: ms(gap.frames),
            reason: *reason,
            after: before.map(|hit| (hit.target, hit.signal)),
            after_ms: before.map(since),
        }
    }
}

fn ms(frames: u64) -> f64 {
    frames as f64 * 1e3 / f64::from(RATE)
}

/// What the pipelines say in the end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ended {
    /// Changes of what was heard that came too fast to be told.
    pub missed_runs: u64,
    /// Of each pipeline, as it computes it.
    pub latency_ms: Vec<f64>,
    /// Times that a device of the receiver ran dry or over, as it says.
    pub xruns: u64,
    /// Frames that the receiver's queue did not have or left out.
    pub queue_frames: u64,
    /// The plugins.
    pub plugins: Vec<PluginEnd>,
}

/// One plugin in the end.
#[derive(Debug, Clone, Serialize)]
pub struct PluginEnd {
    /// Its name.
    pub name: String,
    /// Workers that died while they played.
    pub deaths: u64,
    /// Nothing plays in its place.
    pub is_dead: bool,
    /// What became of its blocks.
    pub counts: Counts,
    /// Time in its own code, in the middle and 99 of 100 times.
    pub plugin_p50_us: f64,
    /// See above.
    pub plugin_p99_us: f64,
}

/// One promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// In words.
    pub promise: &'static str,
    /// Whether it was kept.
    pub kept: bool,
    /// What was found.
    pub found: String,
}

impl PluginEnd {
    /// Of a pipeline's plugin.
    #[must_use]
    pub fn of(status: &PluginStatus) -> Self {
        Self {
            name: status.name.clone(),
            deaths: status.deaths,
            is_dead: status.dead.is_some(),
            counts: status.counts,
            plugin_p50_us: status.plugin_time.p50_us,
            plugin_p99_us: status.plugin_time.p99_us,
        }
    }
}

impl Soak {
    /// Puts together what was found.
    #[must_use]
    pub fn new(
        wanted: &Wanted,
        lasted: Duration,
        judgement: &Judgement,
        held: &Resources,
        ended: Ended,
    ) -> Self {
        let gaps = [Reason::Crash, Reason::Counted, Reason::Unexplained].map(|reason| of(judgement, reason));
        let mut soak = Self {
            machine: crate::machine(),
            seconds: lasted.as_secs_f64(),
            rate: RATE,
            block_frames: BLOCK_FRAMES,
            seed: wanted.seed,
            crashes: crashes(&judgement.injections),
            gaps: gaps.into(),
            each_gap: judgement.gaps.iter().map(|gap| EachGap::of(gap, &judgement.injections)).collect(),
            judgement: judgement.clone(),
            resources: held.courses(),
            looks: held.looks(),
            ended,
            verdicts: Vec::new(),
        };
        soak.verdicts = soak.judged();
        soak
    }

    /// Whether all promises were kept.
    #[must_use]
    pub fn kept(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.kept)
    }

    fn judged(&self) -> Vec<Verdict> {
        let Judgement { wrong_frames, unexplained_shifts, heard_frames, .. } = self.judgement;
        let unexplained = self.gaps.last().map_or(0, |gaps| gaps.gaps);
        let missed = self.ended.missed_runs;
        let dead: Vec<_> = self.ended.plugins.iter().filter(|plugin| plugin.is_dead).collect();
        let grown: Vec<_> = self.resources.iter().filter(|course| !course.is_flat()).collect();
        let names = grown.iter().map(|course| course.what).collect::<Vec<_>>().join(", ");
        let [encryptor, decryptor] = Target::both().map(|target| hits(&self.judgement.injections, target));
        let [first, second] = self.looks;
        let verdict = |promise, kept, found| Verdict { promise, kept, found };
        vec![
            verdict(
                "both were killed, and what is held was looked at",
                encryptor > 0 && decryptor > 0 && Resources::are_enough(self.looks),
                format!("{encryptor} and {decryptor} crashes, {first} and {second} looks in the halves"),
            ),
            verdict(
                "no unexplained gap",
                unexplained + unexplained_shifts == 0 && missed == 0,
                format!("{unexplained} gaps, {unexplained_shifts} shifts, {missed} not listened to"),
            ),
            verdict(
                "what is heard is what was sent, or silence",
                wrong_frames == 0 && heard_frames > 0,
                format!("{wrong_frames} wrong frames of {}", heard_frames + wrong_frames),
            ),
            verdict(
                "memory, descriptors, threads, children and segments are flat",
                grown.is_empty(),
                if grown.is_empty() { "none has grown".to_owned() } else { format!("grown: {names}") },
            ),
            verdict(
                "both plugins play in the end",
                dead.is_empty() && self.ended.plugins.len() == 2,
                format!("{} of {} don't", dead.len(), self.ended.plugins.len()),
            ),
        ]
    }
}

fn hits(injections: &[Injected], target: Target) -> usize {
    injections.iter().filter(|hit| hit.target == target).count()
}

fn crashes(injections: &[Injected]) -> Vec<Crashes> {
    let count = |signal: &str, target| {
        injections.iter().filter(|hit| hit.signal == signal && hit.target == target).count()
    };
    let row = |signal| Crashes {
        signal,
        encryptor: count(signal, Target::Encryptor),
        decryptor: count(signal, Target::Decryptor),
    };
    SIGNALS.iter().map(|(_, signal)| row(*signal)).collect()
}

fn of(judgement: &Judgement, reason: Reason) -> Gaps {
    let these = judgement.gaps.iter().filter(|(_, of)| *of == reason);
    let mut frames: Vec<_> = these.map(|(gap, _)| gap.frames).collect();
    frames.sort_unstable();
    Gaps {
        reason,
        gaps: frames.len(),
        ms: ms(frames.iter().sum()),
        median_ms: ms(frames.get(frames.len() / 2).copied().unwrap_or(0)),
        longest_ms: ms(frames.last().copied().unwrap_or(0)),
    }
}

impl fmt::Display for Soak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        let ms: Vec<_> = self.ended.latency_ms.iter().map(|ms| format!("{ms:.2}")).collect();
        writeln!(
            f,
            "{:.0} s of tx and rx at {RATE} Hz, {BLOCK_FRAMES} frames, seed {}; latency {} ms\n",
            self.seconds,
            self.seed,
            ms.join(" + ")
        )?;
        writeln!(f, "{:18}{:>10}{:>10}", "killed by", "encryptor", "decryptor")?;
        for row in &self.crashes {
            writeln!(f, "{:18}{:>10}{:>10}", row.signal, row.encryptor, row.decryptor)?;
        }
        let (median, longest) = ("median ms", "longest ms");
        writeln!(f, "\n{:18}{:>10}{:>10}{median:>12}{longest:>12}", "gaps", "", "ms")?;
        for row in &self.gaps {
            let name = match row.reason {
                Reason::Crash => "by a crash",
                Reason::Counted => "counted as lost",
                Reason::Unexplained => "unexplained",
            };
            let Gaps { gaps, ms, median_ms, longest_ms, .. } = row;
            writeln!(f, "{name:18}{gaps:>10}{ms:>10.0}{median_ms:>12.1}{longest_ms:>12.1}")?;
        }
        let Judgement { shifts, unexplained_shifts, .. } = self.judgement;
        writeln!(f, "{:18}{shifts:>10}  of which unexplained: {unexplained_shifts}", "shifts")?;
        let unexplained = self.each_gap.iter().filter(|gap| gap.reason == Reason::Unexplained);
        for EachGap { at_s, ms, after, after_ms, .. } in unexplained.take(LISTED) {
            let after = after.zip(*after_ms).map_or_else(String::new, |((target, signal), ms)| {
                format!(", {ms:.1} ms after {signal} to the {target:?}")
            });
            writeln!(f, "  unexplained: {ms:.2} ms at {at_s:.3} s{after}")?;
        }
        let (first, second) = ("first half", "second");
        writeln!(f, "\n{:18}{first:>12}{second:>12}{:>10}{:>10}", "held by the host", "least", "most")?;
        for course in &self.resources {
            let Course { what, first_half, second_half, least, most, .. } = course;
            writeln!(f, "{what:18}{first_half:>12}{second_half:>12}{least:>10}{most:>10}")?;
        }
        writeln!(
            f,
            "\n{:24}{:>8}{:>10}{:>8}{:>12}{:>8}",
            "plugin", "deaths", "good", "lost", "p50 us", "p99"
        )?;
        for plugin in &self.ended.plugins {
            let PluginEnd { name, deaths, counts, plugin_p50_us, plugin_p99_us, .. } = plugin;
            let (good, lost) = (counts.good, counts.lost());
            writeln!(f, "{name:24}{deaths:>8}{good:>10}{lost:>8}{plugin_p50_us:>12.0}{plugin_p99_us:>8.0}")?;
        }
        writeln!(f)?;
        for Verdict { promise, kept, found } in &self.verdicts {
            writeln!(f, "{}  {promise}: {found}", if *kept { "kept  " } else { "BROKEN" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::gaps::Listening;
    use crate::soak::numbered::{Heard, Run};
    use crate::soak::resources::Held;

    fn soak(change: impl FnOnce(&mut Judgement, &mut Ended)) -> Soak {
        soak_of(60, change)
    }

    /// One that was looked at each second.
    fn soak_of(seconds: u64, change: impl FnOnce(&mut Judgement, &mut Ended)) -> Soak {
        let mut listening = Listening::default();
        let run = |heard, from| Run { heard, from, frames: 480, began_ns: from, ended_ns: from };
        listening.injected(Target::Encryptor, "SIGKILL", 1);
        listening.lost(super::super::gaps::Place::Plugin(Target::Encryptor), 480, 2);
        for (n, heard) in
            [Heard::Signal { delay: 1 }, Heard::Silence, Heard::Signal { delay: 1 }].into_iter().enumerate()
        {
            listening.hear(run(heard, n as u64 * 480));
        }
        listening.injected(Target::Decryptor, "SIGSEGV", 10_000);
        let mut judgement = listening.judge();
        let plugin = |name: &str| PluginEnd {
            name: name.to_owned(),
            deaths: 1,
            is_dead: false,
            counts: Counts { good: 5, gone: 4, ..Counts::default() },
            plugin_p50_us: 31.0,
            plugin_p99_us: 99.0,
        };
        let mut ended = Ended { plugins: vec![plugin("tx"), plugin("rx")], ..Ended::default() };
        change(&mut judgement, &mut ended);
        let wanted = Wanted { duration: Duration::ZERO, every: Duration::ZERO, seed: 3, python: None };
        let mut held = Resources::default();
        (1..=seconds).for_each(|second| held.add(Duration::from_secs(second), Held::default()));
        Soak::new(&wanted, Duration::from_secs(seconds), &judgement, &held, ended)
    }

    #[test]
    fn a_soak_whose_gaps_all_have_reasons_is_kept_and_says_so() {
        let soak = soak(|_, _| ());
        assert!(soak.kept());
        let text = soak.to_string();
        assert!(text.contains("by a crash                 1        10        10.0        10.0"), "{text}");
        assert!(text.contains("SIGKILL                    1         0"), "{text}");
        assert!(text.contains("shifts                     0  of which unexplained: 0"), "{text}");
        assert!(text.contains("kept    no unexplained gap: 0 gaps, 0 shifts, 0 not listened to"), "{text}");
        let json = serde_json::to_value(&soak).unwrap();
        assert_eq!(json["gaps"][0]["gaps"], 1);
        assert_eq!(json["heard_frames"], 960);
        assert_eq!(json["each_gap"][0]["after"], serde_json::json!(["encryptor", "SIGKILL"]));
    }

    #[test]
    fn each_promise_can_be_broken() {
        type Change = fn(&mut Judgement, &mut Ended);
        let changes: [Change; 8] = [
            |judgement, _| judgement.injections.truncate(1),
            |judgement, _| _ = judgement.injections.remove(0),
            |judgement, _| judgement.gaps[0].1 = Reason::Unexplained,
            |judgement, _| judgement.unexplained_shifts = 1,
            |judgement, _| judgement.wrong_frames = 1,
            |judgement, _| judgement.heard_frames = 0,
            |_, ended| ended.missed_runs = 1,
            |_, ended| ended.plugins[1].is_dead = true,
        ];
        for change in changes {
            let soak = soak(change);
            assert!(!soak.kept() && soak.to_string().contains("BROKEN"), "{soak}");
        }
    }

    #[test]
    fn a_soak_that_was_too_short_to_tell_is_not_kept() {
        for (seconds, kept) in [(0, false), (1, false), (19, false), (20, true)] {
            assert_eq!(soak_of(seconds, |_, _| ()).kept(), kept, "{seconds} s");
        }
    }
}
