//! How a run goes, for a log or a pipe: events at once, a line a second for each pipeline.
//!
//! For `nda run` where there is no terminal. Whole lines, no escape codes, each legible on its own.

use super::levels::{Peaks, beside};
use super::out::Out;
use super::words;
use crate::level::Level;
use crate::report::{PipelineStatus, PluginStatus};
use crate::run::Observer;
use std::time::Duration;

/// Up to so many channels have their level in the line each.
const CHANNELS_EACH: usize = 8;

/// Tells a run in lines.
pub(super) struct Plain<'a> {
    out: &'a mut Out,
    elapsed: Duration,
    /// The second that was told last.
    told: u64,
    /// Of each pipeline since then.
    peaks: Vec<Peaks>,
}

impl<'a> Plain<'a> {
    pub(super) fn new(out: &'a mut Out) -> Self {
        Self { out, elapsed: Duration::ZERO, told: 0, peaks: Vec::new() }
    }

    /// Writes a line as it is.
    pub(super) fn line(&mut self, line: &str) {
        self.out.text(&format!("{line}\n"));
    }
}

impl Observer for Plain<'_> {
    fn event(&mut self, _level: Level, line: &str) {
        self.line(&format!("{} {line}", words::clock(self.elapsed)));
    }

    fn status(&mut self, elapsed: Duration, pipelines: &[PipelineStatus]) {
        self.elapsed = elapsed;
        for (held, pipeline) in beside(&mut self.peaks, pipelines) {
            held.raise(&pipeline.peaks_db);
        }
        if elapsed.as_secs() > self.told {
            self.told = elapsed.as_secs();
            for (held, pipeline) in self.peaks.iter_mut().zip(pipelines) {
                let line = format!("{} {}\n", words::clock(elapsed), status_line(pipeline, &held.take()));
                self.out.text(&line);
            }
        }
    }
}

/// One pipeline in one line, without the time.
pub(super) fn status_line(pipeline: &PipelineStatus, peaks: &Peaks) -> String {
    let mut parts = vec![pipeline.name.clone(), levels(peaks)];
    parts.extend(pipeline.plugins.iter().map(|plugin| plugin_part(plugin, pipeline)));
    parts.push(words::troubles(pipeline));
    if pipeline.ended {
        parts.push("ended".to_owned());
    }
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

fn levels(peaks: &Peaks) -> String {
    match peaks.channels() {
        0 => String::new(),
        1 => format!("{} dB", words::db(peaks.loudest().map(|(_, db)| db))),
        2..=CHANNELS_EACH => {
            let each = peaks.fold(CHANNELS_EACH);
            let each: Vec<_> =
                each.iter().map(|level| format!("{} {}", level.label, words::db(level.db))).collect();
            format!("{} dB", each.join(" "))
        }
        n => match peaks.loudest() {
            Some((index, db)) => {
                format!("loudest of {n} channels: {} at {} dB", index + 1, words::db(Some(db)))
            }
            None => format!("{n} channels silent"),
        },
    }
}

fn plugin_part(plugin: &PluginStatus, pipeline: &PipelineStatus) -> String {
    let name = words::own_name(&plugin.name, &pipeline.name);
    let died = if plugin.deaths > 0 { format!(", died {}", plugin.deaths) } else { String::new() };
    if let Some(state) = words::absence(plugin) {
        return format!("{name} {state}{died}");
    }
    let times = words::median_and_p99(&plugin.plugin_time).map_or(String::new(), |t| format!(" {t} us,"));
    let counts = &plugin.counts;
    let mut part = format!("{name}{times} late {}", counts.late);
    for (count, what) in [
        (counts.failed, "failed"),
        (counts.behind, "not handed over"),
        (counts.torn, "torn"),
        (counts.forged, "forged"),
        (counts.non_finite_blocks, "non-finite"),
        (counts.too_loud_blocks, "too loud"),
    ] {
        if count > 0 {
            part.push_str(&format!(", {what} {count}"));
        }
    }
    if plugin.added_frames > 0 {
        part.push_str(&format!(", pipelined +{} frames", plugin.added_frames));
    }
    part + &died
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated::{self, Shared};

    fn line(pipeline: &PipelineStatus) -> String {
        let mut peaks = Peaks::default();
        peaks.raise(&pipeline.peaks_db);
        status_line(pipeline, &peaks)
    }

    #[test]
    fn a_line_tells_levels_times_and_losses() {
        let expected = "main  L -12.1 R -13.0 dB  gain 12/30 us, late 0  echo 140/910 us, late 3, failed 2, \
                        non-finite 1";
        assert_eq!(line(&fabricated::pipeline()), expected);
    }

    #[test]
    fn a_dead_plugin_is_told_with_its_deaths() {
        let line = line(&fabricated::with_a_dead_plugin());
        assert!(line.ends_with("  echo DEAD, died 6"), "{line}");
    }

    #[test]
    fn what_went_wrong_is_counted_behind_the_times() {
        let expected = "main  L -12.1 R -13.0 dB  gain 12/30 us, late 9, pipelined +256 frames  echo 140/910 us, \
                        late 3, failed 2, forged 1, non-finite 1, too loud 4, died 1";
        assert_eq!(line(&fabricated::with_a_bad_time()), expected);
    }

    #[test]
    fn many_channels_are_told_by_the_loudest() {
        let expected = "main  loudest of 64 channels: 1 at -1.0 dB  gain 12/30 us, late 0";
        assert!(line(&fabricated::with_channels(64)).starts_with(expected));
        assert!(line(&fabricated::with_channels(1)).starts_with("main  -1.0 dB  gain"));
        assert!(line(&fabricated::with_channels(3)).starts_with("main  1 -1.0 2 -2.0 3 -3.0 dB  gain"));
    }

    #[test]
    fn troubles_and_the_end_stand_at_the_end_of_the_line() {
        let pipeline = PipelineStatus {
            xruns: fabricated::xruns(1),
            underrun_frames: 512,
            ended: true,
            ..fabricated::pipeline()
        };
        assert!(line(&pipeline).ends_with("  xruns: 1 device, 512 frames underrun  ended"));
    }

    #[test]
    fn a_plugin_that_has_answered_nothing_has_no_times() {
        assert_eq!(line(&fabricated::unheard()), "main  L -inf R -inf dB  gain late 0");
    }

    #[test]
    fn there_is_a_line_a_second_with_the_loudest_of_that_second() {
        let output = Shared::default();
        let mut out = Out::catching(output.clone(), std::io::sink());
        let mut plain = Plain::new(&mut out);
        let mut pipeline = PipelineStatus { plugins: Vec::new(), ..fabricated::pipeline() };
        plain.event(Level::Info, "loud.py: starting");
        for tenth in 0..=21 {
            let loud = if tenth == 5 { -1.0 } else { -20.0 };
            pipeline.peaks_db = vec![Some(loud), None];
            plain.status(Duration::from_millis(100 * tenth), &[pipeline.clone()]);
        }
        plain.event(Level::Info, "loud.py: done");
        let expected = "00:00 loud.py: starting\n\
                        00:01 main  L -1.0 R -inf dB\n\
                        00:02 main  L -20.0 R -inf dB\n\
                        00:02 loud.py: done\n";
        assert_eq!(output.text(), expected);
    }

    #[test]
    fn a_plugin_is_not_told_with_the_name_of_its_pipeline_twice() {
        let line = line(&fabricated::two_pipelines()[1]);
        assert!(line.starts_with("voice  L -12.1 R -13.0 dB  gain 12/30 us"), "{line}");
    }
}
