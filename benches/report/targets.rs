//! The targets that a run is held to, each with its figure in this run.
//!
//! For tables and pages. All but those of chains, channels, the collector and a thread that spins are of 2 x 512
//! frames, of one plugin, with nothing else going on. A target is told for each set of circumstances in which it was
//! measured; one that was not measured is named, never taken for kept. A difference of percentiles is that of the
//! same percentile of both.

use super::model::{Cores, Mode, Pace, Series, Variant, Waiting, What};
use super::pairs;
use super::words::number;

/// A plugin in pure Python that keeps a second thread spinning.
pub const HOLDS_THE_GIL: &str = "spinning_thread";
/// A plugin that makes 120 containers a block.
pub const CONTAINERS: &str = "containers";
/// As [`CONTAINERS`], with a million live objects.
pub const CONTAINERS_AMONG_A_MILLION: &str = "containers_among_a_million";
/// A line is straight if no median is farther from it, in percent: medians of one circumstance differ by as much.
const STRAIGHT_PERCENT: f64 = 15.0;
/// Plugins of the long chain.
const CHAIN: u32 = 16;

/// One target and how it was met.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What is measured.
    pub what: String,
    /// The figure of this run.
    pub value: f64,
    /// What it may be at most.
    pub target: f64,
    /// Of both: "x floor", "us".
    pub unit: &'static str,
    /// Whether it was.
    pub kept: bool,
    /// The same against something else, which is told and not judged.
    pub beside: Option<String>,
    /// The series that it is from.
    pub from: Vec<String>,
}

/// All targets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Targets {
    /// Those that the run has series for.
    pub rows: Vec<Row>,
    /// Those that it has not.
    pub unmeasured: Vec<&'static str>,
}

/// One kind of target: its rows in a run, none if it was not measured.
struct Kind {
    name: &'static str,
    rows: fn(&[Series]) -> Vec<Row>,
}

const KINDS: [Kind; 11] = [
    Kind { name: "isolated minus in process, parked, one core", rows: parked },
    Kind { name: "isolated, spinning, two cores, over in process", rows: spinning },
    Kind { name: "in process against a no-op call", rows: in_process },
    Kind { name: "simple gain, spinning, against plain numpy", rows: numpy },
    Kind { name: "gain in place, spinning, against pedalboard", rows: pedalboard },
    Kind { name: "audio thread, pipelined", rows: pipelined },
    Kind { name: "chain of 16 against 17 switches of the floor", rows: chain },
    Kind { name: "cost of growing with plugins", rows: plugins_in_a_row },
    Kind { name: "cost of growing with channels", rows: channels },
    Kind { name: "collector: worst block among a million objects", rows: collector },
    Kind { name: "a plugin thread that spins in pure Python", rows: holds_the_gil },
];

/// How these series meet the targets.
#[must_use]
pub fn of(series: &[Series]) -> Targets {
    let mut targets = Targets::default();
    for kind in KINDS {
        let rows = (kind.rows)(series);
        if rows.is_empty() {
            targets.unmeasured.push(kind.name);
        }
        targets.rows.extend(rows);
    }
    targets
}

fn row(what: String, value: f64, target: f64, unit: &'static str, from: &[&Series]) -> Row {
    let from = from.iter().map(|series| series.variant.name()).collect();
    Row { what, value, target, unit, kept: value <= target, beside: None, from }
}

/// Isolated plugins that are alone, on a quiet machine, with a block of 2 x 512.
fn alone<'a>(all: &'a [Series], plugin: &'a str) -> impl Iterator<Item = &'a Series> {
    all.iter().filter(move |it| it.variant.plugin == plugin && is_plain(&it.variant, What::Isolated, 1))
}

/// The same with a block of 2 x 128 one a period, which is their own pace in the quick set too.
fn paced_alone<'a>(all: &'a [Series], plugin: &'a str) -> impl Iterator<Item = &'a Series> {
    let is_short = |it: &Variant| (it.block_frames, it.pace) == (128, Pace::Paced);
    let as_usual = |it: &Variant| Variant { block_frames: 512, ..it.clone() };
    all.iter().filter(move |it| {
        it.variant.plugin == plugin
            && is_short(&it.variant)
            && is_plain(&as_usual(&it.variant), What::Isolated, 1)
    })
}

fn is_plain(it: &Variant, what: What, chain: u32) -> bool {
    it.what == what
        && (it.block_frames, it.channels, it.chain, it.pipelines, it.loaded) == (512, 2, chain, 1, false)
        && !it.through_host
}

fn is_spinning(it: &Variant) -> bool {
    (it.mode, it.waiting, it.cores) == (Mode::SameBlock, Waiting::Spinning, Cores::Two)
}

fn is_parked(it: &Variant) -> bool {
    (it.mode, it.waiting, it.cores) == (Mode::SameBlock, Waiting::Parked, Cores::One)
}

/// Nanoseconds as microseconds, below 0 if the first is the shorter.
fn difference_us(longer: u64, shorter: f64) -> f64 {
    (longer as f64 - shorter) / 1e3
}

fn over(part: f64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part / whole as f64)
}

/// The pace, and the idle states where they were held off.
fn pace(it: &Variant) -> String {
    format!("{}{}", it.pace.name(), if it.awake { ", idle states held off" } else { "" })
}

fn parked(all: &[Series]) -> Vec<Row> {
    let of = |isolated: &Series| {
        let it = &isolated.variant;
        let inside = pairs::in_one_process(all, it, What::InProcess)?;
        let floor = pairs::floor_of(all, it)?;
        let percentile = |name: &str, target, of: fn(&Series) -> u64| {
            let value = over(of(isolated) as f64 - of(inside) as f64, of(floor))?;
            let what = format!("isolated minus in process, parked, one core, {}, {name}", pace(it));
            Some(row(what, value, target, "x floor", &[isolated, inside, floor]))
        };
        let p50 = percentile("p50", 1.25, |series| series.times.p50_ns);
        let p99 = percentile("p99", 1.5, |series| series.times.p99_ns);
        Some(p50.into_iter().chain(p99).collect::<Vec<_>>())
    };
    alone(all, "passthrough").filter(|it| is_parked(&it.variant)).filter_map(of).flatten().collect()
}

fn spinning(all: &[Series]) -> Vec<Row> {
    let of = |isolated: &Series| {
        let inside = pairs::in_one_process(all, &isolated.variant, What::InProcess)?;
        let value = difference_us(isolated.times.p50_ns, inside.times.p50_ns as f64);
        let what =
            format!("isolated, spinning, two cores, over in process, {}, p50", pace(&isolated.variant));
        Some(row(what, value, 1.5, "us", &[isolated, inside]))
    };
    back_to_back(all, "passthrough").filter_map(of).collect()
}

/// Isolated, spinning, both sides running.
fn back_to_back<'a>(all: &'a [Series], plugin: &'a str) -> impl Iterator<Item = &'a Series> {
    alone(all, plugin).filter(|it| is_spinning(&it.variant) && it.variant.pace == Pace::BackToBack)
}

fn in_process(all: &[Series]) -> Vec<Row> {
    let of = |inside: &Series| {
        let no_op = pairs::no_op(all, &inside.variant)?;
        let value = over(inside.times.p50_ns as f64, no_op.times.p50_ns)?;
        let what = format!("in process, passthrough, {}, p50", pace(&inside.variant));
        Some(row(what, value, 3.0, "x no-op call", &[inside, no_op]))
    };
    let fits = |it: &Variant| {
        is_plain(it, What::InProcess, 1) && it.plugin == "passthrough" && it.pace == Pace::BackToBack
    };
    all.iter().filter(|it| fits(&it.variant)).filter_map(of).collect()
}

fn numpy(all: &[Series]) -> Vec<Row> {
    let of = |isolated: &Series| {
        let plain = pairs::in_one_process(all, &isolated.variant, What::PlainNumpy)?;
        let value = over(isolated.times.p50_ns as f64, plain.times.p50_ns)?;
        let what = format!("simple gain, isolated, spinning, {}, p50", pace(&isolated.variant));
        Some(row(what, value, 1.25, "x plain numpy", &[isolated, plain]))
    };
    back_to_back(all, "simple_gain").filter_map(of).collect()
}

/// Whichever plugin pedalboard's gain was measured for.
fn pedalboard(all: &[Series]) -> Vec<Row> {
    let of = |isolated: &Series| {
        let theirs = pairs::in_one_process(all, &isolated.variant, What::Pedalboard)?;
        let value = over(isolated.times.p50_ns as f64, theirs.times.p50_ns)?;
        let what = format!("gain in place, isolated, spinning, {}, p50", pace(&isolated.variant));
        Some(row(what, value, 1.0, "x pedalboard", &[isolated, theirs]))
    };
    let fits =
        |it: &Variant| is_plain(it, What::Isolated, 1) && is_spinning(it) && it.pace == Pace::BackToBack;
    all.iter().filter(|it| fits(&it.variant)).filter_map(of).collect()
}

fn pipelined(all: &[Series]) -> Vec<Row> {
    let of = |it: &Series| {
        let what =
            format!("audio thread, pipelined, {}, {}, p50", it.variant.meeting(), it.variant.pace.name());
        row(what, difference_us(it.times.p50_ns, 0.0), 1.5, "us", &[it])
    };
    alone(all, "passthrough").filter(|it| it.variant.mode == Mode::Pipelined).map(of).collect()
}

/// Judged by what a switch of two bare processes takes, or of a ring of as many if those were not measured; beside it by
/// that ring, in which caches are as cold as in a chain.
fn chain(all: &[Series]) -> Vec<Row> {
    let of = |isolated: &Series| {
        let it = &isolated.variant;
        let inside = pairs::in_one_process(all, it, What::InProcess)?;
        let plugins_ns = inside.times.p50_ns as f64 * pairs::times_of_chain(it, &inside.variant);
        let own_ns = isolated.times.p50_ns as f64 - plugins_ns;
        let ring = pairs::floor_of(all, it).and_then(|floor| switches(floor, it));
        let two =
            pairs::floor_of(all, &Variant { chain: 1, ..it.clone() }).and_then(|floor| switches(floor, it));
        let (floor, switches_ns) = two.or(ring)?;
        let of_what = if two.is_some() { "of two bare processes" } else { "of a ring of 17" };
        let what = format!(
            "chain of {CHAIN} minus in process, parked, one core, {}, p50, against 17 switches {of_what}",
            pace(it)
        );
        let judged = row(what, own_ns / switches_ns, 1.15, "x 17 switches", &[isolated, inside, floor]);
        let other = two.and(ring).map(|(_, switches_ns)| own_ns / switches_ns);
        let beside = other.map(|value| format!("{} x 17 switches of a ring of 17", number(value)));
        Some(Row { beside, ..judged })
    };
    let fits =
        |it: &Variant| is_plain(it, What::Isolated, CHAIN) && it.plugin == "passthrough" && is_parked(it);
    all.iter().filter(|it| fits(&it.variant)).filter_map(of).collect()
}

/// What the switches of a chain take at this floor, of so many processes as it has.
fn switches<'a>(floor: &'a Series, of: &Variant) -> Option<(&'a Series, f64)> {
    let needed = f64::from(of.chain + 1);
    let switches_ns = floor.times.p50_ns as f64 / f64::from(floor.variant.chain + 1) * needed;
    (switches_ns > 0.0).then_some((floor, switches_ns))
}

fn plugins_in_a_row(all: &[Series]) -> Vec<Row> {
    growing(all, "plugins in a row", |it| (it.chain, Variant { chain: 1, ..it.clone() }))
}

fn channels(all: &[Series]) -> Vec<Row> {
    growing(all, "channels", |it| (it.channels, Variant { channels: 2, ..it.clone() }))
}

/// How far the medians leave the straight line through them, where there are three numbers or more; `split` parts a
/// variant into its number and what it is at the usual one.
fn growing(all: &[Series], name: &str, split: fn(&Variant) -> (u32, Variant)) -> Vec<Row> {
    let of = |base: &Series| {
        let alike = all.iter().filter(|it| split(&it.variant).1 == base.variant);
        let points = alike.clone().map(|it| (f64::from(split(&it.variant).0), it.times.p50_ns as f64));
        let value = departure(&points.collect::<Vec<_>>())? * 100.0;
        let what = format!("time against {name}, {}, farthest from a straight line", pace(&base.variant));
        Some(row(what, value, STRAIGHT_PERCENT, "%", &alike.collect::<Vec<_>>()))
    };
    alone(all, "passthrough").filter(|it| is_parked(&it.variant)).filter_map(of).collect()
}

/// The largest distance from the straight line of least squares, as a share of what was measured there.
fn departure(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(&|point| point.0), mean(&|point| point.1));
    let slope = mean(&|point| (point.0 - x) * (point.1 - y)) / mean(&|point| (point.0 - x).powi(2));
    let off = |point: &(f64, f64)| {
        let line = y + slope * (point.0 - x);
        ((point.1 - line) / point.1).abs()
    };
    let farthest = points.iter().map(off).fold(0.0, f64::max);
    (points.len() > 2 && farthest.is_finite()).then_some(farthest)
}

fn collector(all: &[Series]) -> Vec<Row> {
    let of = |among: &Series| {
        let alike = Variant { plugin: CONTAINERS.to_owned(), ..among.variant.clone() };
        let few = all.iter().find(|it| it.variant == alike)?;
        let value = over(among.times.max_ns as f64, few.times.max_ns)?;
        let what = format!("collector, a million live objects, {}, longest block", pace(&among.variant));
        Some(row(what, value, 2.0, "x without them", &[among, few]))
    };
    paced_alone(all, CONTAINERS_AMONG_A_MILLION).filter_map(of).collect()
}

fn holds_the_gil(all: &[Series]) -> Vec<Row> {
    let of = |it: &Series| {
        let what = format!(
            "a plugin thread spins in Python, {}, {}, p50",
            it.variant.meeting(),
            it.variant.pace.name()
        );
        row(what, difference_us(it.times.p50_ns, 0.0), 500.0, "us", &[it])
    };
    paced_alone(all, HOLDS_THE_GIL).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{series, variant, whole};
    use super::*;

    /// A series whose percentiles are exactly these.
    fn exact(variant: Variant, p50_ns: u64, p99_ns: u64) -> Series {
        let mut series = series(variant, p50_ns);
        (series.times.p50_ns, series.times.p99_ns) = (p50_ns, p99_ns);
        series
    }

    fn only(series: &[Series]) -> Vec<(f64, &'static str, bool)> {
        of(series).rows.iter().map(|row| ((row.value * 1e3).round() / 1e3, row.unit, row.kept)).collect()
    }

    #[test]
    fn parked_on_one_core_the_rest_is_held_against_the_floor() {
        let mut all = vec![
            exact(variant(What::Isolated, "passthrough"), 7_750, 16_500),
            exact(variant(What::InProcess, "passthrough"), 250, 500),
            exact(variant(What::Floor, ""), 6_000, 10_000),
        ];
        assert_eq!(only(&all), [(1.25, "x floor", true), (1.6, "x floor", false)]);
        all[0].variant.cores = Cores::Two;
        assert_eq!(only(&all), []);
    }

    #[test]
    fn each_pace_has_its_own_row() {
        let of_pace = |pace| {
            [
                (What::Isolated, "passthrough", 7_000),
                (What::InProcess, "passthrough", 250),
                (What::Floor, "", 6_000),
            ]
            .map(|(what, plugin, p50)| exact(Variant { pace, ..variant(what, plugin) }, p50, p50))
        };
        let all = [of_pace(Pace::BackToBack), of_pace(Pace::Paced)].concat();
        let rows = of(&all).rows;
        assert_eq!(rows.len(), 4);
        assert!(rows[0].what.contains("back to back") && rows[2].what.contains("paced"), "{rows:?}");
        assert_eq!(rows[0].from.len(), 3);
    }

    #[test]
    fn spinning_is_told_in_microseconds_over_in_process() {
        let spinning =
            |what, plugin| Variant { waiting: Waiting::Spinning, cores: Cores::Two, ..variant(what, plugin) };
        let all = [
            exact(spinning(What::Isolated, "passthrough"), 1_900, 0),
            exact(variant(What::InProcess, "passthrough"), 300, 0),
        ];
        assert_eq!(only(&all), [(1.6, "us", false)]);
    }

    #[test]
    fn gains_are_held_against_numpy_and_pedalboard() {
        let spinning = |plugin| Variant {
            waiting: Waiting::Spinning,
            cores: Cores::Two,
            ..variant(What::Isolated, plugin)
        };
        let all = [
            exact(spinning("simple_gain"), 5_000, 0),
            exact(variant(What::PlainNumpy, "simple_gain"), 4_000, 0),
            exact(spinning("in_place"), 2_000, 0),
            exact(variant(What::Pedalboard, "in_place"), 4_000, 0),
            exact(variant(What::InProcess, "passthrough"), 310, 0),
            exact(variant(What::NoOp, ""), 100, 0),
        ];
        assert_eq!(
            only(&all),
            [(3.1, "x no-op call", false), (1.25, "x plain numpy", true), (0.5, "x pedalboard", true)]
        );
    }

    #[test]
    fn a_chain_is_held_against_one_switch_more_than_it_has_plugins() {
        let chain = |what, plugin| Variant { chain: 16, ..variant(what, plugin) };
        let mut all = vec![
            exact(chain(What::Isolated, "passthrough"), 62_000, 0),
            exact(variant(What::InProcess, "passthrough"), 250, 0),
            exact(variant(What::Floor, ""), 6_000, 0),
        ];
        // 62 - 16 x 0.25 = 58 us; two switches take 6 us, 17 take 51.
        assert_eq!(only(&all), [(1.137, "x 17 switches", true)]);
        let row = of(&all).rows.remove(0);
        assert!(row.what.ends_with("of two bare processes") && row.beside.is_none(), "{row:?}");
        // A ring of as many is told beside, and judged only without them.
        all.push(exact(chain(What::Floor, ""), 40_000, 0));
        assert_eq!(only(&all), [(1.137, "x 17 switches", true)]);
        assert_eq!(of(&all).rows[0].beside.as_deref(), Some("1.45 x 17 switches of a ring of 17"));
        all.remove(2);
        assert_eq!(only(&all), [(1.45, "x 17 switches", false)]);
        let row = of(&all).rows.remove(0);
        assert!(row.what.ends_with("of a ring of 17") && row.beside.is_none(), "{row:?}");
    }

    #[test]
    fn growing_is_held_against_a_straight_line() {
        let with =
            |chain, p50_ns| exact(Variant { chain, ..variant(What::Isolated, "passthrough") }, p50_ns, 0);
        let straight = [with(1, 6_000), with(2, 9_000), with(4, 15_000)];
        assert_eq!(only(&straight), [(0.0, "%", true)]);
        let bent = [with(1, 6_000), with(2, 9_000), with(8, 27_000), with(16, 120_000)];
        let [(percent, _, kept)] = only(&bent)[..] else { panic!("one row") };
        assert!(percent > 100.0 && !kept, "{percent}");
        assert_eq!(only(&straight[..2]), []);
    }

    #[test]
    fn the_collector_and_a_thread_that_holds_the_gil_have_their_rows() {
        let mut all = [CONTAINERS, CONTAINERS_AMONG_A_MILLION, HOLDS_THE_GIL].map(|plugin| {
            let paced = Variant { pace: Pace::Paced, block_frames: 128, ..variant(What::Isolated, plugin) };
            exact(paced, 400_000, 0)
        });
        (all[0].times.max_ns, all[1].times.max_ns) = (100_000, 250_000);
        assert_eq!(only(&all), [(2.5, "x without them", false), (400.0, "us", true)]);
    }

    #[test]
    fn what_was_not_measured_is_named_and_not_kept() {
        let targets = of(&[]);
        assert_eq!((targets.rows.len(), targets.unmeasured.len()), (0, KINDS.len()));
        let targets = of(&whole().series);
        assert_eq!(targets.unmeasured.len(), 3, "{:?}", targets.unmeasured);
    }
}
