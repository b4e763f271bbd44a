//! Made-up statuses and reports for the tests of the command line, and a buffer to catch what it writes.

use crate::plugin::cause::Causes;
use crate::plugin::collector::CollectorStatus;
use crate::report::{
    DeviceStatus, EndedBy, Latency, PipelineStatus, PluginStatus, RenderReport, RunReport, Xruns,
};
use crate::telemetry::{Counts, Percentiles};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// A buffer that a test can still read when a writer owns it.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two channels, a good plugin and one that loses some blocks.
pub(super) fn pipeline() -> PipelineStatus {
    PipelineStatus {
        name: "main".into(),
        source: "song.flac".into(),
        sink: "virtual and out.wav".into(),
        clock: "virtual, 256 frames at 48000 Hz".into(),
        cores: vec![1],
        fifo: Some(70),
        rate: 48_000,
        channels: 2,
        block_frames: 256,
        frames: 2_880_000,
        capture: None,
        latency: Latency { mode_frames: 256, plugin_frames: 64, ..Latency::default() }.at(48_000),
        peaks_db: vec![Some(-12.1), Some(-13.0)],
        xruns: Xruns::default(),
        devices: vec![device()],
        underrun_frames: 0,
        overrun_frames: 0,
        file_failures: Vec::new(),
        muted: false,
        section_lost: 0,
        plugins: vec![gain(), echo()],
        ended: false,
    }
}

/// So many, all of the device.
pub(super) fn xruns(device: u64) -> Xruns {
    Xruns { device, ..Xruns::default() }
}

/// The virtual one, open.
pub(super) fn device() -> DeviceStatus {
    DeviceStatus {
        name: "virtual".into(),
        direction: "output",
        paces: true,
        lost_s: None,
        next_try_s: None,
        why: None,
        losses: 0,
    }
}

fn gain() -> PluginStatus {
    PluginStatus {
        name: "gain".into(),
        title: "Gain 1.0".into(),
        file: "gain.py".into(),
        kind: "processor".into(),
        mode: "same-block",
        moves: 0,
        added_frames: 0,
        lost: "bypass",
        pid: 4711,
        python: "3.12.4".into(),
        standby: "spare",
        deaths: 0,
        last_death: None,
        dead: None,
        quarantined: false,
        bypassed: false,
        uncached: None,
        uncached_blocks: 0,
        collector: CollectorStatus::default(),
        counts: Counts { good: 11_250, ..Counts::default() },
        causes: Causes::default(),
        plugin_time: Percentiles { p50_us: 12.0, p99_us: 30.0, p999_us: 45.0, max_us: 80.5 },
        round_trip: Percentiles { p50_us: 25.0, p99_us: 60.0, p999_us: 95.0, max_us: 210.0 },
        interpreter_wait: Percentiles { p50_us: 0.2, p99_us: 0.4, p999_us: 1.1, max_us: 5.0 },
    }
}

fn echo() -> PluginStatus {
    PluginStatus {
        name: "echo".into(),
        title: "Echo 2.1".into(),
        file: "echo.py".into(),
        mode: "pipelined",
        lost: "mute",
        pid: 4712,
        counts: Counts {
            good: 11_245,
            late: 3,
            failed: 2,
            non_finite_blocks: 1,
            non_finite_samples: 7,
            ..Counts::default()
        },
        plugin_time: Percentiles { p50_us: 140.0, p99_us: 910.0, p999_us: 1_450.0, max_us: 12_800.0 },
        round_trip: Percentiles { p50_us: 5_340.0, p99_us: 5_600.0, p999_us: 6_100.0, max_us: 13_100.0 },
        ..gain()
    }
}

/// The second plugin died too often.
pub(super) fn with_a_dead_plugin() -> PipelineStatus {
    let mut pipeline = pipeline();
    let echo = &mut pipeline.plugins[1];
    echo.deaths = 6;
    echo.last_death = Some("was killed by SIGSEGV".into());
    echo.dead = Some("was killed by SIGSEGV; it is not started again until its file changes".into());
    echo.quarantined = true;
    echo.counts.gone = 4_000;
    pipeline
}

/// The second plugin died and is back, the first was moved; more went wrong than there are columns for.
pub(super) fn with_a_bad_time() -> PipelineStatus {
    let mut pipeline = with_a_dead_plugin();
    let [gain, echo] = &mut pipeline.plugins[..] else { panic!("two plugins") };
    (gain.mode, gain.moves, gain.added_frames) = ("pipelined", 3, 256);
    gain.counts.late = 9;
    gain.causes.code = 7;
    gain.causes.unknown = 2;
    (echo.dead, echo.quarantined, echo.deaths) = (None, false, 1);
    echo.counts.forged = 1;
    echo.counts.too_loud_blocks = 4;
    echo.counts.too_loud_samples = 900;
    echo.counts.flooded = 2;
    pipeline
}

/// Channel n at -n dB.
pub(super) fn with_channels(channels: u8) -> PipelineStatus {
    let peaks_db = (1..=channels).map(|channel| Some(-f32::from(channel))).collect();
    PipelineStatus { channels: channels.into(), peaks_db, ..pipeline() }
}

/// Just started: silence, no answer yet.
pub(super) fn unheard() -> PipelineStatus {
    let unused = Percentiles::default();
    let gain = PluginStatus { counts: Counts::default(), plugin_time: unused, round_trip: unused, ..gain() };
    PipelineStatus { frames: 0, peaks_db: vec![None, None], plugins: vec![gain], ..pipeline() }
}

/// Plugins have their pipeline's name before their own, as in a run of several.
pub(super) fn two_pipelines() -> Vec<PipelineStatus> {
    let named = |name: &str| {
        let mut pipeline = PipelineStatus { name: name.into(), ..pipeline() };
        pipeline.plugins.iter_mut().for_each(|plugin| plugin.name = format!("{name}/{}", plugin.name));
        pipeline
    };
    vec![named("music"), named("voice")]
}

/// What has become of these pipelines after a minute.
pub(super) fn run_report(pipelines: Vec<PipelineStatus>) -> RunReport {
    RunReport {
        specs: Vec::new(),
        ended_by: EndedBy::Source,
        seconds: 60.02,
        real_time: None,
        pipelines,
        events: vec!["one".into(), "two".into()],
        damaged: Vec::new(),
        unwilling: Vec::new(),
    }
}

/// A minute rendered through a good plugin.
pub(super) fn render_report() -> RenderReport {
    RenderReport {
        input: "song.flac".into(),
        output: "out.wav".into(),
        rate: 48_000,
        channels: 2,
        block_frames: 256,
        frames: 2_880_000,
        start_seconds: 0.152,
        seconds: 0.1,
        times_real_time: 600.4,
        clipped: 0,
        plugin_frames: 0,
        plugins: vec![gain()],
        events: Vec::new(),
        unwilling: Vec::new(),
        interrupted: false,
        written: true,
    }
}

/// As [`render_report`], through a plugin that loses blocks as well.
pub(super) fn render_report_with_losses() -> RenderReport {
    RenderReport { plugins: vec![gain(), echo()], clipped: 12, plugin_frames: 64, ..render_report() }
}
