//! Which variants are measured, and with how many blocks.
//!
//! Not every combination: each circumstance is varied from a base, passthrough with a block of 2 x 512 in one worker,
//! waited for within the block, parked, on one processor. The quick set answers the table of targets.

use super::isolated::RATE;
use super::plugins::{COLLECTOR, IN_PLACE_GAIN, KINDS, SPINNING_THREAD};
use super::turns::{TURNS, WARM_UP_PACED};
use crate::report::model::{Cores, Mode, Pace, Variant, Waiting, What};
use host::error::{Error, Kind};
use std::collections::{BTreeSet, HashSet};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The small set.
    pub quick: bool,
    /// So many blocks of each variant; else what the set has.
    pub blocks: Option<u32>,
    /// The name of the plugin that the user wants to know about, if one is to be looked at alone.
    pub plugin: Option<String>,
    /// Only the variants whose [`words`] have all of these.
    pub only: Vec<String>,
}

/// A variant and its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The variant.
    pub variant: Variant,
    /// How many blocks count.
    pub blocks: u32,
    /// From the beginning of one to that of the next; 0 is one after the other.
    pub every_ns: u64,
}

/// The sizes of blocks.
pub const BLOCKS_FRAMES: [u32; 5] = [64, 128, 256, 512, 1024];
const PACES: [Pace; 2] = [Pace::BackToBack, Pace::Paced];
const CHAINS: [u32; 5] = [1, 2, 4, 8, 16];
const CHANNELS: [u32; 4] = [1, 2, 4, 8];
const PIPELINES: [u32; 4] = [1, 2, 3, 4];
/// Hand-offs of bare processes, the floor first.
const BARE: [What; 5] = [What::Floor, What::RawSync, What::Eventfd, What::Pipe, What::UnixSocket];

/// Blocks of a variant that are enough for a p99.9 that rests on ten.
const BLOCKS: u32 = 10_000;
/// Blocks where each has to wait for its period, but of the few that are looked at for long, and of the quick set.
const FEW_BLOCKS: u32 = 1000;
/// The size of blocks of which as many are paced.
const LONG_LOOK_FRAMES: u32 = 128;
/// Paced blocks of the largest size, which take a third of a minute for a thousand, but of the base and what it is compared
/// with.
const FEWER_BLOCKS: u32 = 500;
/// Paced blocks of the quick look at the user's plugin, which is taken at every size.
const FEWEST_BLOCKS: u32 = 200;
/// The longest period of the quick set: 128 frames at 48 kHz.
const QUICK_PERIOD_NS: u64 = 2_666_667;

/// The variants to measure, none twice.
#[must_use]
pub fn plan(wanted: &Wanted) -> Vec<Entry> {
    let mut seen = HashSet::new();
    let is_wanted = |variant: &Variant| {
        let words = words(variant);
        wanted.only.iter().all(|word| words.iter().any(|other| other == word))
    };
    let fresh = set(wanted).into_iter().filter(|v| is_wanted(v) && seen.insert(v.clone()));
    let entry = |variant| {
        let (blocks, every_ns) = (blocks(wanted, &variant), every_ns(wanted, &variant));
        Entry { variant, blocks, every_ns }
    };
    fresh.map(entry).collect()
}

/// What is varied, whatever of it is picked.
fn set(wanted: &Wanted) -> Vec<Variant> {
    match (&wanted.plugin, wanted.quick) {
        (Some(name), quick) => of_plugin(name, quick),
        (None, true) => quick(),
        (None, false) => full(),
    }
}

/// Why a plan is empty, and what could be picked instead.
#[must_use]
pub fn nothing_picked(wanted: &Wanted) -> Error {
    let known: BTreeSet<String> = set(wanted).iter().flat_map(words).collect();
    let picked = wanted.only.join(" ");
    let what = match wanted.only.iter().find(|word| !known.contains(*word)) {
        Some(word) => format!("there is nothing to measure: no variant of this set has the word `{word}`"),
        None => format!("there is nothing to measure: no variant of this set has all of `{picked}`"),
    };
    let words = known.into_iter().collect::<Vec<_>>().join(", ");
    Error::new(Kind::Config, what).remedy(format!("pick fewer, of these with --only: {words}"))
}

fn blocks(wanted: &Wanted, variant: &Variant) -> u32 {
    let is_plain = is_base_at(variant, variant.block_frames, wanted.plugin.as_deref());
    let is_largest = Some(&variant.block_frames) == BLOCKS_FRAMES.last();
    let usual = match (variant.pace, wanted.quick, &wanted.plugin) {
        (Pace::Paced, true, Some(_)) => FEWEST_BLOCKS,
        (Pace::Paced, false, None) if is_looked_at_for_long(variant) => BLOCKS,
        (Pace::Paced, false, _) if is_largest && !is_plain => FEWER_BLOCKS,
        // Nobody knows how long the user's plugin takes: sixteen of it in a row may well take a whole block.
        (Pace::BackToBack, false, Some(_)) if variant.chain > 1 || variant.pipelines > 1 => FEW_BLOCKS,
        (Pace::BackToBack, false, _) => BLOCKS,
        _ => FEW_BLOCKS,
    };
    wanted.blocks.unwrap_or(usual)
}

/// The base and what it is compared with, at a size that lets as many blocks as back to back come in half a minute.
fn is_looked_at_for_long(variant: &Variant) -> bool {
    is_base_at(variant, LONG_LOOK_FRAMES, None)
}

/// Whether it is the base of this plugin, or of passthrough, or what that is compared with, but for size and pace.
fn is_base_at(variant: &Variant, block_frames: u32, plugin: Option<&str>) -> bool {
    let is_like = |plain: Variant| *variant == Variant { block_frames, pace: variant.pace, ..plain };
    inside_and_out(plugin.unwrap_or("passthrough")).into_iter().chain([floor()]).any(is_like)
}

/// How long the paced ones among these take, each turn with its warm-up: most of what a run takes.
#[must_use]
pub fn paced_ns(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.every_ns * u64::from(entry.blocks + TURNS * WARM_UP_PACED)).sum()
}

/// As a device's blocks come; more often where there is little time for large ones.
fn every_ns(wanted: &Wanted, variant: &Variant) -> u64 {
    match variant.pace {
        Pace::BackToBack => 0,
        Pace::Paced if wanted.quick => block_ns(variant).min(QUICK_PERIOD_NS),
        Pace::Paced => block_ns(variant),
    }
}

/// How long a block of this variant lasts.
#[must_use]
pub fn block_ns(variant: &Variant) -> u64 {
    u64::from(variant.block_frames) * 1_000_000_000 / u64::from(RATE)
}

/// What a variant is picked by, and shown as: each of its circumstances in a word.
#[must_use]
pub fn words(variant: &Variant) -> Vec<String> {
    // Units of an enum, which serialise to a word.
    let word = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default()
    };
    let mut words = vec![
        word(serde_json::to_value(variant.what)),
        variant.plugin.clone(),
        format!("{}x{}", variant.channels, variant.block_frames),
        word(serde_json::to_value(variant.mode)),
        word(serde_json::to_value(variant.waiting)),
        format!("{}-core", word(serde_json::to_value(variant.cores))),
        word(serde_json::to_value(variant.pace)),
        format!("chain-{}", variant.chain),
        format!("pipelines-{}", variant.pipelines),
    ];
    words.extend(variant.through_host.then(|| "through-host".to_owned()));
    words.extend(variant.awake.then(|| "awake".to_owned()));
    words.extend(variant.loaded.then(|| "loaded".to_owned()));
    words
}

/// What everything else is varied from.
fn base(what: What, plugin: &str) -> Variant {
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

fn isolated(plugin: &str) -> Variant {
    base(What::Isolated, plugin)
}

fn floor() -> Variant {
    base(What::Floor, "")
}

/// Both sides run, each on a processor of its own, and look again and again.
fn spinning(variant: Variant) -> Variant {
    Variant { waiting: Waiting::Spinning, cores: Cores::Two, ..variant }
}

fn pipelined(variant: Variant) -> Variant {
    Variant { mode: Mode::Pipelined, ..variant }
}

fn paced(variants: impl IntoIterator<Item = Variant>) -> impl Iterator<Item = Variant> {
    variants.into_iter().flat_map(|variant| PACES.map(|pace| Variant { pace, ..variant.clone() }))
}

/// The plugin in its worker, its blocks one a period, of a size that comes as often with the quick set: where blocks
/// come more often than they last there is no slack for a collector.
fn paced_alone(plugin: &str) -> Variant {
    Variant { pace: Pace::Paced, block_frames: LONG_LOOK_FRAMES, ..isolated(plugin) }
}

/// A plugin in the host's hands, and in its own process alone.
fn inside_and_out(plugin: &str) -> [Variant; 2] {
    [isolated(plugin), base(What::InProcess, plugin)]
}

/// What there is to compare with in Python: a call, and the work of the two gains.
fn in_python() -> [Variant; 3] {
    [(What::NoOp, ""), (What::PlainNumpy, "simple_gain"), (What::Pedalboard, IN_PLACE_GAIN)]
        .map(|(what, plugin)| base(what, plugin))
}

/// The table of targets, row by row.
fn quick() -> Vec<Variant> {
    let passthrough = || isolated("passthrough");
    let mut set = Vec::new();
    set.extend(paced(inside_and_out("passthrough").into_iter().chain([floor()])));
    set.extend([spinning(passthrough()), spinning(floor())]);
    set.extend(in_python());
    for gain in ["simple_gain", IN_PLACE_GAIN] {
        set.extend([spinning(isolated(gain)), base(What::InProcess, gain)]);
    }
    set.extend([pipelined(passthrough()), pipelined(spinning(passthrough()))]);
    set.extend(CHAINS.map(|chain| Variant { chain, ..passthrough() }));
    set.push(Variant { chain: 16, ..floor() });
    // Back to back there is no slack in which objects could be collected, nor a turn for another thread.
    set.extend([COLLECTOR.as_slice(), &[SPINNING_THREAD]].concat().into_iter().map(paced_alone));
    set.extend(CHANNELS.map(|channels| Variant { channels, ..passthrough() }));
    set
}

/// The quick set, and from the base each circumstance by itself and those that belong together.
fn full() -> Vec<Variant> {
    let mut set = quick();
    set.extend(KINDS.into_iter().flat_map(of_kind));
    set.extend(bare_sizes());
    set.extend(paced(in_python()).filter(|variant| variant.what != What::NoOp));
    set.extend(placed());
    set.extend(loaded());
    set.extend(in_a_row("passthrough"));
    let through_host = |chain| Variant { chain, through_host: true, ..isolated("passthrough") };
    set.extend(paced(CHAINS.into_iter().filter(|chain| *chain > 1).map(through_host)));
    set.extend(paced(PIPELINES.map(|pipelines| Variant { pipelines, ..isolated("passthrough") })));
    set.extend(KINDS.into_iter().flat_map(many));
    set
}

fn sizes(variant: Variant) -> [Variant; BLOCKS_FRAMES.len()] {
    BLOCKS_FRAMES.map(|block_frames| Variant { block_frames, ..variant.clone() })
}

/// Each way to meet this plugin.
fn met(plugin: &str) -> [Variant; 5] {
    let it = || isolated(plugin);
    [it(), pipelined(it()), spinning(it()), two_cores(it()), pipelined(spinning(it()))]
}

fn two_cores(variant: Variant) -> Variant {
    Variant { cores: Cores::Two, ..variant }
}

/// A plugin in its own process and isolated, waited for or not, at every size; on two cores at the base's.
fn of_kind(plugin: &str) -> Vec<Variant> {
    let [parked, pipelined, spinning, ..] = met(plugin);
    let sized = [parked, base(What::InProcess, plugin), pipelined, spinning].into_iter().flat_map(sizes);
    paced(sized.chain(met(plugin))).collect()
}

/// The floor and what else one might use, at every size.
fn bare_sizes() -> Vec<Variant> {
    let all = BARE.map(|what| base(what, "")).into_iter().chain([spinning(floor())]);
    paced(all.flat_map(sizes)).collect()
}

/// Other processors, by choice or by the scheduler's, and idle states held off.
fn placed() -> Vec<Variant> {
    let mut set = Vec::new();
    for variant in [isolated("passthrough")].into_iter().chain(BARE.map(|what| base(what, ""))) {
        set.extend([Cores::Two, Cores::Any].map(|cores| Variant { cores, ..variant.clone() }));
    }
    let adaptive = |cores| Variant { waiting: Waiting::Adaptive, cores, ..isolated("passthrough") };
    set.extend([Cores::One, Cores::Two, Cores::Any].map(adaptive));
    let held = met("passthrough").into_iter().chain([base(What::InProcess, "passthrough")]).chain(floors());
    set.extend(held.map(|variant| Variant { awake: true, ..variant }));
    paced(set).collect()
}

/// What the ways to meet a plugin are held against.
fn floors() -> [Variant; 3] {
    [floor(), spinning(floor()), two_cores(floor())]
}

/// Something that computes beside all that is measured at the base: each way to meet a plugin, in one process, bare
/// ones, and chains.
fn loaded() -> Vec<Variant> {
    let kinds = KINDS.into_iter().flat_map(|kind| met(kind).into_iter().chain([base(What::InProcess, kind)]));
    let bare = BARE.map(|what| base(what, "")).into_iter().chain(floors());
    let chains = CHAINS
        .into_iter()
        .flat_map(|chain| [isolated("passthrough"), floor()].map(|variant| Variant { chain, ..variant }));
    let all = paced(kinds.chain(bare).chain(in_python()).chain(chains));
    all.filter(|it| it.what != What::NoOp).map(|variant| Variant { loaded: true, ..variant }).collect()
}

/// Chains of a plugin, and rings of as many processes.
fn in_a_row(plugin: &str) -> Vec<Variant> {
    let long = CHAINS
        .into_iter()
        .flat_map(|chain| [isolated(plugin), floor()].map(|variant| Variant { chain, ..variant }));
    paced(long).collect()
}

/// Several of a plugin, in a row and at once: back to back, as passthrough alone is measured so one a period.
fn many(plugin: &str) -> Vec<Variant> {
    let chains = CHAINS.map(|chain| Variant { chain, ..isolated(plugin) });
    let at_once = PIPELINES.map(|pipelines| Variant { pipelines, ..isolated(plugin) });
    chains.into_iter().chain(at_once).collect()
}

/// One plugin at every size, and the floor that it is compared with; without `quick` also in every other circumstance,
/// at the base's size.
fn of_plugin(name: &str, quick: bool) -> Vec<Variant> {
    let all = [isolated(name), base(What::InProcess, name), floor()];
    let mut set: Vec<_> = paced(all.into_iter().flat_map(sizes)).collect();
    set.extend([pipelined(isolated(name)), spinning(isolated(name)), spinning(floor())]);
    if quick {
        return set;
    }
    let more = [pipelined(isolated(name)), spinning(isolated(name)), spinning(floor())];
    set.extend(paced(more.into_iter().flat_map(sizes)));
    let met = || met(name).into_iter().chain(floors());
    set.extend(paced(met()));
    let held = met().filter(|variant| variant.cores == Cores::Two);
    set.extend(paced(held.map(|variant| Variant { awake: true, ..variant })));
    let beside = met().chain([base(What::InProcess, name)]);
    set.extend(paced(beside.map(|variant| Variant { loaded: true, ..variant })));
    set.extend(paced(BARE.map(|what| base(what, ""))));
    set.extend(in_a_row(name));
    set.extend(paced(PIPELINES.map(|pipelines| Variant { pipelines, ..isolated(name) })));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variants(wanted: &Wanted) -> Vec<Variant> {
        plan(wanted).into_iter().map(|entry| entry.variant).collect()
    }

    fn quick_set() -> Vec<Variant> {
        variants(&Wanted { quick: true, ..Wanted::default() })
    }

    #[track_caller]
    fn assert_has(set: &[Variant], variant: Variant) {
        assert!(set.contains(&variant), "{}", words(&variant).join(" "));
    }

    #[test]
    fn the_quick_set_has_what_each_row_of_the_targets_compares() {
        let set = quick_set();
        for pace in PACES {
            for what in [What::Isolated, What::InProcess] {
                assert_has(&set, Variant { pace, ..base(what, "passthrough") });
            }
            assert_has(&set, Variant { pace, ..floor() });
        }
        assert_has(&set, spinning(isolated("passthrough")));
        assert_has(&set, base(What::NoOp, ""));
        assert_has(&set, base(What::PlainNumpy, "simple_gain"));
        assert_has(&set, base(What::Pedalboard, "in_place_gain"));
        assert_has(&set, spinning(isolated("simple_gain")));
        assert_has(&set, spinning(isolated("in_place_gain")));
        assert_has(&set, pipelined(isolated("passthrough")));
        assert_has(&set, Variant { chain: 16, ..isolated("passthrough") });
        assert_has(&set, Variant { chain: 16, ..floor() });
        for plugin in ["containers", "containers_among_a_million", "spinning_thread"] {
            let wanted = Wanted { quick: true, ..Wanted::default() };
            let paced = Variant { pace: Pace::Paced, block_frames: 128, ..isolated(plugin) };
            assert_eq!(every_ns(&wanted, &paced), block_ns(&paced), "its own pace");
            assert_has(&set, paced);
        }
        for n in [1, 2, 4, 8] {
            assert_has(&set, Variant { chain: n, ..isolated("passthrough") });
            assert_has(&set, Variant { channels: n, ..isolated("passthrough") });
        }
    }

    #[test]
    fn the_full_set_varies_every_circumstance_and_holds_the_quick_one() {
        let set = variants(&Wanted::default());
        quick_set().into_iter().for_each(|variant| assert_has(&set, variant));
        for pace in PACES {
            for block_frames in BLOCKS_FRAMES {
                for plugin in ["sine_wave_source", "null_sink", "passthrough", "simple_gain"] {
                    for what in [What::InProcess, What::Isolated] {
                        assert_has(&set, Variant { pace, block_frames, ..base(what, plugin) });
                    }
                }
                for what in BARE {
                    assert_has(&set, Variant { pace, block_frames, ..base(what, "") });
                }
            }
            for what in BARE {
                assert_has(&set, Variant { pace, loaded: true, ..base(what, "") });
            }
            for plugin in KINDS {
                for variant in inside_and_out(plugin) {
                    assert_has(&set, Variant { pace, loaded: true, ..variant });
                }
            }
            for variant in [isolated("passthrough"), floor()] {
                let variant = Variant { pace, ..variant };
                for cores in [Cores::One, Cores::Two] {
                    assert_has(&set, Variant { cores, awake: true, ..variant.clone() });
                    assert_has(&set, Variant { cores, loaded: true, ..variant.clone() });
                }
                let as_it_comes = Variant { waiting: Waiting::Adaptive, ..isolated("passthrough") };
                assert_has(&set, Variant { pace, cores: Cores::Any, ..as_it_comes });
                assert_has(&set, Variant { cores: Cores::Any, ..variant.clone() });
                for chain in [1, 2, 4, 8, 16] {
                    assert_has(&set, Variant { chain, ..variant.clone() });
                }
            }
            for chain in [2, 4, 8, 16] {
                assert_has(&set, Variant { pace, chain, through_host: true, ..isolated("passthrough") });
            }
            for pipelines in 1..=4 {
                assert_has(&set, Variant { pace, pipelines, ..isolated("passthrough") });
            }
        }
    }

    #[test]
    fn every_kind_is_met_in_each_way_at_every_size_and_pace_and_on_two_cores() {
        let set = variants(&Wanted::default());
        for (plugin, pace) in KINDS.into_iter().flat_map(|plugin| PACES.map(|pace| (plugin, pace))) {
            for block_frames in BLOCKS_FRAMES {
                for variant in [pipelined(isolated(plugin)), spinning(isolated(plugin)), spinning(floor())] {
                    assert_has(&set, Variant { pace, block_frames, ..variant });
                }
            }
            let (waiting, cores) = (Waiting::Parked, Cores::Two);
            assert_has(&set, Variant { pace, cores, ..isolated(plugin) });
            assert_has(&set, Variant { pace, ..pipelined(spinning(isolated(plugin))) });
            for loaded in [false, true] {
                assert_has(&set, Variant { pace, loaded, waiting, cores, ..isolated(plugin) });
                assert_has(&set, Variant { pace, loaded, ..pipelined(isolated(plugin)) });
                assert_has(&set, Variant { pace, loaded, ..spinning(isolated(plugin)) });
            }
        }
    }

    #[test]
    fn every_kind_comes_in_a_row_and_several_at_once() {
        let set = variants(&Wanted::default());
        for plugin in KINDS {
            for chain in [1, 2, 4, 8, 16] {
                assert_has(&set, Variant { chain, ..isolated(plugin) });
            }
            for pipelines in 1..=4 {
                assert_has(&set, Variant { pipelines, ..isolated(plugin) });
            }
        }
        for (pace, chain) in PACES.into_iter().flat_map(|pace| CHAINS.map(|chain| (pace, chain))) {
            for loaded in [false, true] {
                assert_has(&set, Variant { pace, chain, loaded, ..isolated("passthrough") });
                assert_has(&set, Variant { pace, chain, loaded, ..floor() });
            }
        }
    }

    #[test]
    fn what_is_measured_on_an_awake_or_busy_machine_has_a_floor_of_the_same_circumstances() {
        let full = variants(&Wanted::default());
        let mine = variants(&Wanted { plugin: Some("mine".into()), ..Wanted::default() });
        for set in [full, mine] {
            let waited = |it: &&Variant| it.what == What::Isolated && it.mode == Mode::SameBlock;
            for it in set.iter().filter(waited).filter(|it| it.awake || it.loaded) {
                let what = What::Floor;
                assert_has(&set, Variant { what, plugin: String::new(), ..it.clone() });
            }
        }
    }

    #[test]
    fn paced_blocks_take_most_of_a_run_and_no_more_than_half_an_hour() {
        let minutes = |quick, plugin: Option<&str>| {
            let plugin = plugin.map(ToOwned::to_owned);
            paced_ns(&plan(&Wanted { quick, plugin, ..Wanted::default() })) as f64 / 60e9
        };
        assert!((25.0..30.5).contains(&minutes(false, None)), "{}", minutes(false, None));
        assert!((7.0..10.0).contains(&minutes(false, Some("mine"))), "{}", minutes(false, Some("mine")));
        assert!(minutes(true, None) < 0.4 && minutes(true, Some("mine")) < 0.4);
        assert_eq!(quick_set().len(), 28, "it has half a minute");
    }

    #[test]
    fn a_variant_has_ten_thousand_blocks_or_a_thousand_where_paced_and_few_have_less() {
        let blocks = |variant: Variant| {
            let set = plan(&Wanted::default());
            set.iter().find(|entry| entry.variant == variant).map(|entry| entry.blocks)
        };
        let paced = |variant, block_frames| Variant { pace: Pace::Paced, block_frames, ..variant };
        let base = isolated("passthrough");
        assert_eq!(blocks(base.clone()), Some(10_000));
        assert_eq!(blocks(Variant { chain: 16, ..base.clone() }), Some(10_000));
        assert_eq!(
            [64, 128, 512, 1024].map(|frames| blocks(paced(base.clone(), frames))),
            [1_000, 10_000, 1_000, 1_000].map(Some)
        );
        let spinning = spinning(base);
        assert_eq!(
            [64, 128, 512, 1024].map(|frames| blocks(paced(spinning.clone(), frames))),
            [1_000, 1_000, 1_000, 500].map(Some)
        );
    }

    #[test]
    fn no_variant_comes_twice_and_each_has_blocks() {
        for wanted in [
            Wanted::default(),
            Wanted { quick: true, ..Wanted::default() },
            Wanted { plugin: Some("mine".into()), ..Wanted::default() },
        ] {
            let set = plan(&wanted);
            let unique: HashSet<_> = set.iter().map(|entry| &entry.variant).collect();
            assert_eq!(unique.len(), set.len());
            assert!(set.iter().all(|entry| entry.blocks >= 200));
            let most = |pace| {
                set.iter().filter(|it| it.variant.pace == pace).map(|entry| entry.blocks).max().unwrap()
            };
            let most = PACES.map(most);
            let long = if wanted.plugin.is_some() { 1_000 } else { 10_000 };
            assert_eq!(most, if wanted.quick { [1_000, 1_000] } else { [10_000, long] });
        }
        let all = plan(&Wanted { blocks: Some(7), ..Wanted::default() });
        assert!(all.iter().all(|entry| entry.blocks == 7));
    }

    #[test]
    fn paced_blocks_come_as_often_as_they_last_but_in_the_quick_set_once_in_128_frames_at_least() {
        let periods = |quick| {
            let set = plan(&Wanted { quick, plugin: Some("mine".into()), ..Wanted::default() });
            BLOCKS_FRAMES.map(|block_frames| {
                let paced = Variant { block_frames, pace: Pace::Paced, ..isolated("mine") };
                set.iter().find(|entry| entry.variant == paced).map(|entry| entry.every_ns / 1000)
            })
        };
        assert_eq!(periods(false), [1333, 2666, 5333, 10_666, 21_333].map(Some));
        assert_eq!(periods(true), [1333, 2666, 2666, 2666, 2666].map(Some));
        assert!(
            plan(&Wanted::default()).iter().all(|it| (it.variant.pace == Pace::Paced) == (it.every_ns > 0))
        );
    }

    #[test]
    fn only_those_are_left_that_have_every_word() {
        let only =
            ["isolated", "paced", "same-block", "parked", "2x64", "passthrough"].map(str::to_owned).to_vec();
        let set = variants(&Wanted { only, ..Wanted::default() });
        assert_eq!(set, [Variant { block_frames: 64, pace: Pace::Paced, ..isolated("passthrough") }]);
    }

    #[test]
    fn who_picks_nothing_is_told_which_word_nobody_has_and_which_there_are() {
        let pick = |only: &[&str]| Wanted {
            only: only.iter().map(|word| (*word).to_owned()).collect(),
            ..Wanted::default()
        };
        let unknown = pick(&["isolated", "2x77"]);
        assert_eq!(variants(&unknown), []);
        let told = nothing_picked(&unknown).to_string();
        assert!(told.contains("has the word `2x77`") && told.contains("2x64, "), "{told}");
        let never_together = pick(&["floor", "passthrough"]);
        assert_eq!(variants(&never_together), []);
        let told = nothing_picked(&never_together).to_string();
        assert!(told.contains("has all of `floor passthrough`"), "{told}");
    }

    #[test]
    fn the_users_plugin_is_looked_at_in_every_size_and_paced() {
        for quick in [true, false] {
            let set = variants(&Wanted { quick, plugin: Some("mine".into()), ..Wanted::default() });
            for block_frames in BLOCKS_FRAMES {
                assert_has(&set, Variant { block_frames, pace: Pace::Paced, ..isolated("mine") });
                assert_has(&set, Variant { block_frames, pace: Pace::Paced, ..floor() });
            }
            assert!(set.iter().all(|variant| ["", "mine"].contains(&variant.plugin.as_str())));
        }
    }

    #[test]
    fn without_quick_the_users_plugin_gets_every_circumstance() {
        let wanted = Wanted { plugin: Some("mine".into()), ..Wanted::default() };
        let set = variants(&wanted);
        for pace in PACES {
            for block_frames in BLOCKS_FRAMES {
                for variant in [pipelined(isolated("mine")), spinning(isolated("mine")), spinning(floor())] {
                    assert_has(&set, Variant { pace, block_frames, ..variant });
                }
            }
            for what in BARE {
                assert_has(&set, Variant { pace, ..base(what, "") });
            }
            for chain in [2, 4, 8, 16] {
                assert_has(&set, Variant { pace, chain, ..isolated("mine") });
                assert_has(&set, Variant { pace, chain, ..floor() });
            }
            for pipelines in 2..=4 {
                assert_has(&set, Variant { pace, pipelines, ..isolated("mine") });
            }
            for loaded in [false, true] {
                for variant in met("mine") {
                    assert_has(&set, Variant { pace, loaded, ..variant });
                }
            }
            assert_has(&set, Variant { pace, awake: true, cores: Cores::Two, ..isolated("mine") });
        }
        let of_chain = |entry: &&Entry| entry.variant.chain == 16 && entry.variant.plugin == "mine";
        assert!(plan(&wanted).iter().filter(of_chain).all(|entry| entry.blocks == 1_000), "it may be slow");
    }
}
