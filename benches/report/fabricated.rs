//! A made-up run for the tests of what is said about runs.
//!
//! Its times come from a seeded generator: a bulk, a tail, and now and then a block that took far too long.

use super::model::{Cores, Figures, Machine, Mode, Pace, Part, Run, Series, VERSION, Variant, Waiting, What};

/// 2 x 512, same-block, parked on one core, back to back, nothing else.
pub(super) fn variant(what: What, plugin: &str) -> Variant {
    Variant {
        what,
        plugin: plugin.to_owned(),
        block_frames: 512,
        channels: 2,
        mode: Mode::SameBlock,
        waiting: Waiting::Parked,
        cores: Cores::One,
        pace: Pace::BackToBack,
        awake: false,
        loaded: false,
        chain: 1,
        through_host: false,
        pipelines: 1,
    }
}

/// Some machine.
pub(super) fn machine() -> Machine {
    Machine {
        cpu: "Example Processor 9000 <8 cores & more>".into(),
        cores: 2,
        kernel: "Linux 6.18.44".into(),
        governor: Some("performance".into()),
        clock_mhz: Some(2_299.998),
        clocksource: "tsc".into(),
        hypervisor: Some("KVM".into()),
        python: "Python 3.11.7, numpy 2.3.1".into(),
        rights: "SCHED_FIFO; idle states can be held off".into(),
    }
}

/// A series of a thousand times around this median.
pub(super) fn series(variant: Variant, p50_ns: u64) -> Series {
    let times = times(p50_ns, 1_000);
    let parts = if variant.what == What::Isolated { parts(&variant.plugin, p50_ns) } else { Vec::new() };
    let turns_p50_ns = vec![p50_ns * 99 / 100, p50_ns, p50_ns * 102 / 100];
    let is_chain = variant.what == What::Isolated && variant.chain > 1;
    let plugins = if is_chain { variant.chain } else { 0 };
    let by_plugin_p50_ns = vec![p50_ns / u64::from(plugins.max(1)); plugins as usize];
    let times = Figures::of(&times);
    Series { variant, times, missed: 0, parts, by_plugin_p50_ns, turns_p50_ns, memory: None }
}

/// A run of these series.
pub(super) fn run(series: Vec<Series>) -> Run {
    Run {
        version: VERSION,
        nda: "0.1.0".into(),
        began: "2026-03-01T12:00:00Z".into(),
        took_s: 24.5,
        quick: true,
        only: Vec::new(),
        unmeasured: Vec::new(),
        machine: machine(),
        doubts: Vec::new(),
        series,
    }
}

/// Something of everything that a run can hold.
pub(super) fn whole() -> Run {
    let mut all = one_process();
    for pace in [Pace::BackToBack, Pace::Paced] {
        all.extend(hand_offs(pace));
    }
    all.extend(chains());
    all.extend(block_sizes());
    all.extend(pipelines());
    let mut run = run(all);
    run.doubts.push("the hypervisor took 0.31 % of the processor's time away".into());
    run
}

fn one_process() -> Vec<Series> {
    let mut all = Vec::new();
    for (pace, slower) in [(Pace::BackToBack, 1), (Pace::Paced, 3)] {
        for (what, plugin, p50_ns) in [
            (What::NoOp, "", 82),
            (What::InProcess, "passthrough", 240),
            (What::InProcess, "simple_gain", 4_500),
            (What::PlainNumpy, "simple_gain", 4_100),
            (What::InProcess, "in_place_gain", 1_200),
            (What::Pedalboard, "in_place_gain", 3_900),
        ] {
            all.push(series(Variant { pace, ..variant(what, plugin) }, p50_ns * slower));
        }
    }
    all
}

fn hand_offs(pace: Pace) -> Vec<Series> {
    let slower = if pace == Pace::Paced { 2 } else { 1 };
    let kinds = [
        (What::Floor, "", 5_960),
        (What::RawSync, "", 11_400),
        (What::Eventfd, "", 6_800),
        (What::Pipe, "", 7_700),
        (What::UnixSocket, "", 9_900),
        (What::Isolated, "passthrough", 6_980),
        (What::Isolated, "simple_gain", 11_700),
        (What::Isolated, "in_place_gain", 8_100),
    ];
    let meetings = [
        (Waiting::Parked, Cores::One, 1, 0),
        (Waiting::Parked, Cores::Two, 9, 0),
        (Waiting::Spinning, Cores::Two, 0, 700),
    ];
    let mut all = Vec::new();
    for (waiting, cores, factor, instead) in meetings {
        for (what, plugin, p50_ns) in kinds {
            let plain = p50_ns.min(6_980);
            let own = p50_ns - plain;
            let switched = plain * factor + instead;
            let it = Variant { waiting, cores, pace, ..variant(what, plugin) };
            all.push(series(it, (switched + own) * slower));
        }
    }
    all
}

fn chains() -> Vec<Series> {
    let of = |what, plugin, chain, p50_ns| series(Variant { chain, ..variant(what, plugin) }, p50_ns);
    let lengths = [2_u32, 4, 8, 16];
    let floors = lengths.map(|n| of(What::Floor, "", n, 2_980 * (u64::from(n) + 1)));
    let chains = lengths.map(|n| of(What::Isolated, "passthrough", n, 3_500 * (u64::from(n) + 1)));
    floors.into_iter().chain(chains).collect()
}

fn block_sizes() -> Vec<Series> {
    let mut all = Vec::new();
    for (block_frames, p50_ns) in [(64, 14_500), (128, 14_700), (256, 15_100), (1024, 17_900)] {
        let sized = |mode| Variant {
            block_frames,
            mode,
            pace: Pace::Paced,
            ..variant(What::Isolated, "passthrough")
        };
        all.push(series(sized(Mode::SameBlock), p50_ns));
        all.push(series(sized(Mode::Pipelined), 1_100));
    }
    for pace in [Pace::BackToBack, Pace::Paced] {
        let it = variant(What::Isolated, "passthrough");
        all.push(series(Variant { mode: Mode::Pipelined, pace, ..it }, 1_150));
    }
    all
}

fn pipelines() -> Vec<Series> {
    let at_once = |pipelines: u32| {
        let it = Variant { pipelines, pace: Pace::Paced, ..variant(What::Isolated, "passthrough") };
        series(it, 14_000 + 2_000 * u64::from(pipelines))
    };
    [2, 3, 4].map(at_once).into()
}

fn parts(plugin: &str, p50_ns: u64) -> Vec<Part> {
    let own = if plugin == "simple_gain" { 40 } else { 10 };
    let names = ["written", "woken", "Python entered", "Python left", "noticed", "copied"];
    let shares = [3, 46 - own / 2, 3, own, 45 - own / 2, 3];
    let part = |(name, percent): (&str, u64)| {
        let p50_ns = p50_ns * percent / 100;
        Part { ends_with: name.to_owned(), p50_ns, p99_ns: p50_ns * 13 / 10 }
    };
    names.into_iter().zip(shares).map(part).collect()
}

/// A bulk that is a little longer than its shortest, a tail of one in 60, one block in 500 eleven times as long.
fn times(p50_ns: u64, count: u64) -> Vec<u64> {
    let mut noise = p50_ns | 1;
    let time = |i: u64| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        let unit = (noise >> 11) as f64 / (1_u64 << 53) as f64;
        let factor = match i {
            _ if i % 500 == 499 => 9.0 + 4.0 * unit,
            _ if i % 60 == 59 => 1.2 + 1.5 * unit * unit,
            _ => 0.93 + 0.07 * 2.0 * unit,
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and short
        let time = (p50_ns as f64 * factor) as u64;
        time
    };
    (0..count).map(time).collect()
}
