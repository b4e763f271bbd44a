//! Numbers as people read them: times, levels, counts.
//!
//! For every text of the command line, so that a level looks the same in a line, on the screen and in a report.
//! What is not known is told as such, never as 0.

use crate::audio_file::Bits;
use crate::report::{CaptureStatus, DeviceStatus, Latency, PipelineStatus, PluginStatus, Xruns};
use crate::telemetry::{Counts, Percentiles};
use std::time::Duration;

/// `03:07`, or `1:03:07` from an hour on.
pub(super) fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes:02}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A peak in dB of full scale; silence is `-inf`.
pub(super) fn db(peak: Option<f32>) -> String {
    // Added to a rounded level, 0 takes the sign from `-0.0`.
    peak.map_or_else(|| "-inf".to_owned(), |db| format!("{:.1}", (db * 10.0).round() / 10.0 + 0.0))
}

/// Microseconds in few characters: `9.5`, `120`, `35ms`, `12s`.
pub(super) fn short_us(us: f64) -> String {
    match us {
        ..9.95 => format!("{us:.1}"),
        ..9_999.5 => format!("{us:.0}"),
        ..9_999_500.0 => format!("{:.0}ms", us / 1e3),
        _ => format!("{:.0}s", us / 1e6),
    }
}

/// `12/30`, median and 99 of 100; `None` as long as nothing has been measured.
pub(super) fn median_and_p99(times: &Percentiles) -> Option<String> {
    measured(times).map(|t| format!("{}/{}", short_us(t.p50_us), short_us(t.p99_us)))
}

/// The times, if there are any: no block takes no time at all.
pub(super) fn measured(times: &Percentiles) -> Option<&Percentiles> {
    (times.max_us > 0.0).then_some(times)
}

/// A count in at most five characters: `99999`, `120k`, `3.4M`.
pub(super) fn short_count(count: u64) -> String {
    let n = count as f64;
    match count {
        0..=99_999 => count.to_string(),
        100_000..=999_499 => format!("{:.0}k", n / 1e3),
        999_500..=99_949_999 => format!("{:.1}M", n / 1e6),
        99_950_000..=999_499_999 => format!("{:.0}M", n / 1e6),
        _ => format!("{:.1}G", n / 1e9),
    }
}

/// `612x`, and below ten with a digit more: `0.3x`.
pub(super) fn times(factor: f64) -> String {
    if factor < 9.95 { format!("{factor:.1}x") } else { format!("{factor:.0}x") }
}

/// `1 block`, `2 blocks`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// What a channel is called: `L` and `R` of two, else its number from 1.
pub(super) fn channel(index: usize, channels: usize) -> String {
    match (channels, index) {
        (2, 0) => "L".to_owned(),
        (2, 1) => "R".to_owned(),
        _ => (index + 1).to_string(),
    }
}

/// A sample format.
pub(super) fn bits(bits: Bits) -> &'static str {
    match bits {
        Bits::I16 => "16-bit integer",
        Bits::I24 => "24-bit integer",
        Bits::F32 => "32-bit float",
    }
}

/// A plugin's name without that of its pipeline, which stands before it where there are several.
pub(super) fn own_name<'a>(plugin: &'a str, pipeline: &str) -> &'a str {
    plugin.strip_prefix(pipeline).and_then(|rest| rest.strip_prefix('/')).unwrap_or(plugin)
}

/// What a plugin is called while none of its workers plays: `away` if one will, `DEAD` if none will.
pub(super) fn absence(plugin: &PluginStatus) -> Option<&'static str> {
    plugin.dead.as_ref().map(|_| if plugin.quarantined { "DEAD" } else { "away" })
}

/// What has happened to its workers, in a line: `DEAD, died 6 times: was killed by ...`; nothing if none has died.
pub(super) fn deaths(plugin: &PluginStatus) -> Option<String> {
    let died = match plugin.deaths {
        0 => None,
        1 => Some("died once".to_owned()),
        n => Some(format!("died {n} times")),
    };
    let Some(state) = absence(plugin) else {
        let how = plugin.last_death.as_ref().map(|how| format!(", last: {how}")).unwrap_or_default();
        return died.map(|died| died + &how);
    };
    let died = died.map(|died| format!(", {died}")).unwrap_or_default();
    Some(format!("{state}{died}: {}", plugin.dead.as_deref().unwrap_or_default()))
}

/// What a pipeline adds, and where: `latency 16.0 ms: devices 5.3, adaptation 9.4, mode 0, plugins 1.3`. Each is rounded so
/// that they add up to the total as it is told.
pub(super) fn latency(latency: &Latency) -> String {
    let Latency { device_ms, adaptation_ms, mode_ms, plugin_ms, total_ms, .. } = *latency;
    if total_ms == 0.0 {
        return "no latency added".to_owned();
    }
    let tenths = |ms: f64| (ms * 10.0).round();
    let mut sum = 0.0;
    let mut part = |(what, ms): (&str, f64)| {
        let before = tenths(sum);
        sum += ms;
        match tenths(sum) - before {
            0.0 => format!("{what} 0"),
            part => format!("{what} {:.1}", part / 10.0),
        }
    };
    let parts =
        [("devices", device_ms), ("adaptation", adaptation_ms), ("mode", mode_ms), ("plugins", plugin_ms)];
    let parts = parts.map(&mut part).join(", ");
    format!("latency {:.1} ms: {parts}", tenths(sum) / 10.0)
}

/// How an input device keeps up with an output device: `input 912 frames ahead of 912, its clock 12 ppm fast`.
pub(super) fn capture(capture: CaptureStatus) -> String {
    let CaptureStatus { level_frames, target_frames, correction_ppm, gaps } = capture;
    let clock = match correction_ppm.round() {
        0.0 => String::new(),
        ppm => format!(", its clock {:.0} ppm {}", ppm.abs(), if ppm > 0.0 { "fast" } else { "slow" }),
    };
    let gaps = if gaps > 0 { format!(", {}", plural(gaps, "gap")) } else { String::new() };
    format!("input {level_frames} frames ahead of {target_frames}{clock}{gaps}")
}

/// The non-zero reasons for which blocks were lost: `10 late, 2 failed`; empty if none was.
pub(super) fn losses(counts: &Counts) -> String {
    let reasons = [
        (counts.late, "late"),
        (counts.failed, "failed"),
        (counts.gone, "while it was away"),
        (counts.behind, "never handed over"),
        (counts.torn, "torn"),
        (counts.forged, "forged"),
    ];
    let told = reasons.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}"));
    told.collect::<Vec<_>>().join(", ")
}

/// What went wrong outside the plugins: `xruns: 2 device, 1 host late, 512 frames underrun`; empty if nothing did.
pub(super) fn troubles(pipeline: &PipelineStatus) -> String {
    let mut told: Vec<_> = pipeline.devices.iter().filter_map(losses_of).collect();
    told.extend(lost_frames(&pipeline.xruns, pipeline.underrun_frames, pipeline.overrun_frames));
    if pipeline.section_lost > 0 {
        told.push(format!(
            "{} late in all pipelined plugins together",
            plural(pipeline.section_lost, "block")
        ));
    }
    told.join(", ")
}

/// Audio that was not there when it was due: by whose doing, and how much.
pub(super) fn lost_frames(by: &Xruns, underrun: u64, overrun: u64) -> Vec<String> {
    let counts = [(underrun, "underrun"), (overrun, "overrun")].into_iter().filter(|(frames, _)| *frames > 0);
    let frames = counts.map(|(frames, what)| format!("{} {what}", plural(frames, "frame")));
    xruns(by).into_iter().chain(frames).collect()
}

/// That a device is away, or was: `output device HDA lost for 12 s (next try in 4 s)`.
fn losses_of(device: &DeviceStatus) -> Option<String> {
    let DeviceStatus { name, direction, losses, .. } = device;
    let Some(lost_s) = device.lost_s else {
        return was_lost(*losses).map(|lost| format!("{direction} device {name} {lost}"));
    };
    let lost = lost(*losses);
    let next = match device.next_try_s {
        Some(next) if next > 0.0 => format!("next try in {next:.1} s"),
        _ => "being tried".to_owned(),
    };
    Some(format!("{direction} device {name} {lost} for {lost_s:.0} s ({next})"))
}

/// How often a device was lost that is there: `was lost 2 times`; nothing if it never was.
pub(super) fn was_lost(losses: u64) -> Option<String> {
    match losses {
        0 => None,
        1 => Some("was lost once".to_owned()),
        n => Some(format!("was lost {n} times")),
    }
}

/// What a device is that is away: one that has never been there was not lost.
pub(super) fn lost(losses: u64) -> &'static str {
    if losses == 0 { "missing" } else { "lost" }
}

/// Those of devices and host by whose doing they were, and with them the plugins', which have lines of their own.
pub(super) fn xruns(xruns: &Xruns) -> Option<String> {
    if xruns.device + xruns.host_late == 0 {
        return None;
    }
    let kinds =
        [(xruns.device, "device"), (xruns.host_late, "host late"), (xruns.plugin_late, "plugin late")];
    let told = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, whose)| format!("{count} {whose}"));
    Some(format!("xruns: {}", told.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;

    #[test]
    fn an_input_that_drifts_is_told_with_its_clock() {
        let drifting =
            CaptureStatus { level_frames: 900, target_frames: 768, correction_ppm: -12.4, gaps: 2 };
        assert_eq!(capture(drifting), "input 900 frames ahead of 768, its clock 12 ppm slow, 2 gaps");
        let quiet = CaptureStatus { correction_ppm: 0.3, gaps: 0, ..drifting };
        assert_eq!(capture(quiet), "input 900 frames ahead of 768");
    }

    #[test]
    fn a_latency_is_told_with_parts_that_add_up_to_it() {
        let frames = |device_frames, adaptation_frames, mode_frames, plugin_frames| {
            let some = Latency { device_frames, adaptation_frames, ..Latency::default() };
            latency(&Latency { mode_frames, plugin_frames, ..some }.at(48_000))
        };
        assert_eq!(
            frames(256, 448, 0, 64),
            "latency 16.0 ms: devices 5.3, adaptation 9.4, mode 0, plugins 1.3",
            "of 5.33, 9.33 and 1.33"
        );
        assert_eq!(frames(48, 0, 96, 0), "latency 3.0 ms: devices 1.0, adaptation 0, mode 2.0, plugins 0");
        assert_eq!(frames(0, 0, 0, 0), "no latency added");
        let number = |text: &str| text.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        for odd in 1..500 {
            let told = frames(odd, 7 * odd, 3, 1000 - odd);
            let (total, parts) = told.split_once(" ms: ").unwrap();
            let sum: f64 = parts.split(", ").map(number).sum();
            assert!((sum - number(total)).abs() < 1e-9, "{told}");
        }
    }

    #[test]
    fn times_are_told_in_minutes_and_from_an_hour_on_in_hours() {
        let told = [0, 59, 3599, 3600, 360_000].map(|s| clock(Duration::from_secs(s)));
        assert_eq!(told, ["00:00", "00:59", "59:59", "1:00:00", "100:00:00"]);
    }

    #[test]
    fn short_numbers_stay_short() {
        let us = [0.04, 9.94, 9.96, 123.4, 9_999.4, 9_999.6, 34_567.0, 12_345_678.0].map(short_us);
        assert_eq!(us, ["0.0", "9.9", "10", "123", "9999", "10ms", "35ms", "12s"]);
        let counts = [0, 99_999, 100_000, 999_499, 999_500, 99_949_999, 99_950_000, 5_000_000_000];
        let told = counts.map(short_count);
        assert_eq!(told, ["0", "99999", "100k", "999k", "1.0M", "99.9M", "100M", "5.0G"]);
        assert!(told.iter().all(|count| count.len() <= 5));
    }

    #[test]
    fn a_level_is_told_with_a_digit_and_silence_as_such() {
        let told = [None, Some(-0.04), Some(0.0), Some(-12.06), Some(1.25)].map(db);
        assert_eq!(told, ["-inf", "0.0", "0.0", "-12.1", "1.3"]);
    }

    #[test]
    fn slow_is_told_with_a_digit_more() {
        assert_eq!([0.26, 9.94, 9.96, 612.4].map(times), ["0.3x", "9.9x", "10x", "612x"]);
    }

    #[test]
    fn what_was_never_measured_is_no_zero() {
        assert_eq!(median_and_p99(&Percentiles::default()), None);
    }

    #[test]
    fn only_reasons_that_happened_are_told() {
        let counts = Counts { late: 1, torn: 2, forged: 3, ..Counts::default() };
        assert_eq!(losses(&counts), "1 late, 2 torn, 3 forged");
        assert_eq!(losses(&Counts::default()), "");
    }

    #[test]
    fn xruns_are_told_by_whose_doing_they_were_and_a_plugin_s_only_beside_others() {
        let told = |device, host_late, plugin_late| xruns(&Xruns { device, host_late, plugin_late });
        assert_eq!(told(2, 0, 0).unwrap(), "xruns: 2 device");
        assert_eq!(told(2, 1, 3).unwrap(), "xruns: 2 device, 1 host late, 3 plugin late");
        assert_eq!((told(0, 0, 3), told(0, 0, 0)), (None, None));
    }

    #[test]
    fn a_lost_device_is_told_with_its_next_try_and_one_that_is_back_with_its_losses() {
        let mut pipeline = fabricated::pipeline();
        assert_eq!(troubles(&pipeline), "");
        let device = &mut pipeline.devices[0];
        *device = DeviceStatus { name: "HDA".into(), losses: 1, ..fabricated::device() };
        (device.lost_s, device.next_try_s) = (Some(12.3), Some(4.04));
        assert_eq!(troubles(&pipeline), "output device HDA lost for 12 s (next try in 4.0 s)");
        pipeline.devices[0].losses = 0;
        assert_eq!(troubles(&pipeline), "output device HDA missing for 12 s (next try in 4.0 s)");
        pipeline.devices[0].losses = 1;
        pipeline.devices[0].next_try_s = Some(0.0);
        assert_eq!(troubles(&pipeline), "output device HDA lost for 12 s (being tried)");
        pipeline.devices[0].lost_s = None;
        assert_eq!(troubles(&pipeline), "output device HDA was lost once");
        pipeline.devices[0].losses = 2;
        pipeline.xruns.device = 1;
        assert_eq!(troubles(&pipeline), "output device HDA was lost 2 times, xruns: 1 device");
    }

    #[test]
    fn a_plugin_is_told_to_be_away_dead_or_back_with_how_it_died() {
        let mut plugin = fabricated::with_a_dead_plugin().plugins.remove(1);
        let dead =
            "DEAD, died 6 times: was killed by SIGSEGV; it is not started again until its file changes";
        assert_eq!(deaths(&plugin).unwrap(), dead);
        plugin.quarantined = false;
        plugin.dead = Some("was killed by SIGSEGV; it is started again in 200 ms".into());
        assert!(
            deaths(&plugin).unwrap().starts_with("away, died 6 times: was killed by SIGSEGV; it is started")
        );
        plugin.dead = None;
        assert_eq!(deaths(&plugin).unwrap(), "died 6 times, last: was killed by SIGSEGV");
        plugin.deaths = 0;
        assert_eq!(deaths(&plugin), None);
    }
}
