//! Which variants are measured, and with how many blocks.
//!
//! Not every combination: each circumstance is varied from a base, passthrough with a block of 2 x 512 in one worker,
//! waited for within the block, parked, on one processor. The quick set answers the table of targets.

use super::isolated::RATE;
use super::plugins::{COLLECTOR, IN_PLACE_GAIN, KINDS, SPINNING_THREAD};
use crate::report::model::{Cores, Mode, Pace, Variant, Waiting, What};
use std::collections::HashSet;

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
/// Paced blocks of the quick look at the user's plugin, which is taken at every size.
const FEWEST_BLOCKS: u32 = 200;
/// The longest period of the quick set: 128 frames at 48 kHz.
const QUICK_PERIOD_NS: u64 = 2_666_667;

/// The variants to measure, none twice.
#[must_use]
pub fn plan(wanted: &Wanted) -> Vec<Entry> {
    let variants = match (&wanted.plugin, wanted.quick) {
        (Some(name), quick) => of_plugin(name, quick),
        (None, true) => quick(),
        (None, false) => full(),
    };
    let mut seen = HashSet::new();
    let is_wanted = |variant: &Variant| {
        let words = words(variant);
        wanted.only.iter().all(|word| words.iter().any(|other| other == word))
    };
    let fresh = variants.into_iter().filter(|v| is_wanted(v) && seen.insert(v.clone()));
    let entry = |variant| {
        let (blocks, every_ns) = (blocks(wanted, &variant), every_ns(wanted, &variant));
        Entry { variant, blocks, every_ns }
    };
    fresh.map(entry).collect()
}

fn blocks(wanted: &Wanted, variant: &Variant) -> u32 {
    let usual = match (variant.pace, wanted.quick, &wanted.plugin) {
        (Pace::Paced, true, Some(_)) => FEWEST_BLOCKS,
        (Pace::BackToBack, false, _) => BLOCKS,
        (Pace::Paced, false, None) if is_looked_at_for_long(variant) => BLOCKS,
        _ => FEW_BLOCKS,
    };
    wanted.blocks.unwrap_or(usual)
}

/// The base and what it is compared with, at a size that lets as many blocks as back to back come in half a minute.
fn is_looked_at_for_long(variant: &Variant) -> bool {
    let is_like = |plain: Variant| {
        let (block_frames, pace) = (LONG_LOOK_FRAMES, variant.pace);
        *variant == Variant { block_frames, pace, ..plain }
    };
    inside_and_out("passthrough").into_iter().chain([floor()]).any(is_like)
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

fn full() -> Vec<Variant> {
    let mut set = quick();
    let sizes =
        |variant: Variant| BLOCKS_FRAMES.map(|block_frames| Variant { block_frames, ..variant.clone() });
    for kind in KINDS {
        set.extend(paced(inside_and_out(kind).into_iter().flat_map(sizes)));
        set.extend(paced([pipelined(isolated(kind)), spinning(isolated(kind))]));
    }
    set.extend(paced(BARE.into_iter().flat_map(|what| sizes(base(what, "")))));
    set.extend([spinning(isolated("passthrough")), spinning(floor())].into_iter().flat_map(sizes));
    set.extend(sizes(pipelined(isolated("passthrough"))));
    set.extend(paced(in_python()).filter(|variant| variant.what != What::NoOp));
    for variant in [isolated("passthrough")].into_iter().chain(BARE.map(|what| base(what, ""))) {
        set.extend(paced([Cores::Two, Cores::Any].map(|cores| Variant { cores, ..variant.clone() })));
    }
    for variant in [isolated("passthrough"), floor()] {
        for cores in [Cores::One, Cores::Two] {
            let held = Variant { cores, awake: true, ..variant.clone() };
            let loaded = Variant { cores, loaded: true, ..variant.clone() };
            set.extend(paced([held, loaded]));
        }
        set.extend(paced(CHAINS.map(|chain| Variant { chain, ..variant.clone() })));
    }
    let adaptive = |cores| Variant { waiting: Waiting::Adaptive, cores, ..isolated("passthrough") };
    set.extend(paced([Cores::One, Cores::Two, Cores::Any].map(adaptive)));
    let through_host = |chain| Variant { chain, through_host: true, ..isolated("passthrough") };
    set.extend(paced(CHAINS.into_iter().filter(|chain| *chain > 1).map(through_host)));
    let others = BARE.into_iter().map(|what| base(what, "")).chain(in_python());
    let all = KINDS.into_iter().flat_map(inside_and_out).chain(others);
    set.extend(
        paced(all.map(|variant| Variant { loaded: true, ..variant })).filter(|it| it.what != What::NoOp),
    );
    set.extend(paced([Variant { awake: true, ..base(What::InProcess, "passthrough") }]));
    set.extend(paced(PIPELINES.map(|pipelines| Variant { pipelines, ..isolated("passthrough") })));
    set
}

/// One plugin at every size, its circumstances at the base's, and the floor that it is compared with.
fn of_plugin(name: &str, quick: bool) -> Vec<Variant> {
    let all = [isolated(name), base(What::InProcess, name), floor()];
    let mut set = Vec::new();
    for block_frames in BLOCKS_FRAMES {
        set.extend(paced(all.clone().map(|variant| Variant { block_frames, ..variant })));
    }
    set.extend([pipelined(isolated(name)), spinning(isolated(name)), spinning(floor())]);
    if !quick {
        set.extend(paced([pipelined(isolated(name)), spinning(isolated(name)), spinning(floor())]));
        let loaded = Variant { loaded: true, ..base(What::InProcess, name) };
        set.extend(paced([loaded]));
        for variant in [isolated(name), floor()] {
            let two = Variant { cores: Cores::Two, ..variant.clone() };
            let held = Variant { awake: true, ..two.clone() };
            let loaded = Variant { loaded: true, ..variant };
            set.extend(paced([two, held, loaded]));
        }
    }
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
            assert_has(&set, Variant { pace, ..pipelined(isolated("passthrough")) });
        }
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
        let only = ["isolated", "paced", "chain-1", "2x64", "passthrough"].map(str::to_owned).to_vec();
        let set = variants(&Wanted { only, ..Wanted::default() });
        assert_eq!(set, [Variant { block_frames: 64, pace: Pace::Paced, ..isolated("passthrough") }]);
        assert_eq!(variants(&Wanted { only: vec!["nothing".into()], ..Wanted::default() }), []);
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
}
