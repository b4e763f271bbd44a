//! Which series stand beside each other on the page.
//!
//! For the page: a panel is one question, with everything of the run that answers it under equal circumstances.

use super::super::model::{Mode, Pace, Series, Variant, What};
use super::super::pairs;
use super::super::table::groups;
use super::plot::{Curve, Line};
use std::collections::BTreeMap;

/// Colours for what has none of its own, or shares it with another.
const COLOURS: [&str; 7] = ["c1", "c2", "c3", "c4", "c5", "c6", "c7"];

/// Times side by side.
pub(super) struct Panel<'a> {
    pub(super) title: String,
    pub(super) curves: Vec<Curve<'a>>,
}

/// A figure over a number.
pub(super) struct Growth {
    pub(super) title: String,
    pub(super) unit: &'static str,
    pub(super) lines: Vec<Line>,
}

/// The plugin that the run is about: the one that was named beside the usual ones, else the plainest.
pub(super) fn plugin(series: &[Series]) -> &str {
    let isolated =
        || series.iter().filter(|it| it.variant.what == What::Isolated).map(|it| it.variant.plugin.as_str());
    isolated().find(|plugin| *plugin == "passthrough").or_else(|| isolated().next()).unwrap_or_default()
}

/// The block that most is known of: 512 frames of two channels, or what is next to it.
pub(super) fn block(series: &[Series]) -> (u32, u32) {
    let all = series.iter().map(|it| (it.variant.block_frames, it.variant.channels));
    all.min_by_key(|(frames, channels)| (frames.abs_diff(512), channels.abs_diff(2))).unwrap_or((512, 2))
}

/// It is of one plugin in one pipeline, with that block.
pub(super) fn is_plain(it: &Variant, block: (u32, u32)) -> bool {
    ((it.block_frames, it.channels), it.chain, it.pipelines) == (block, 1, 1)
}

/// The colour of what is compared again and again.
fn colour(what: What) -> &'static str {
    match what {
        What::Isolated => "isolated",
        What::Floor => "floor",
        What::InProcess => "inside",
        What::RawSync => "c1",
        What::Eventfd => "c2",
        What::Pipe => "c3",
        What::UnixSocket => "c4",
        What::NoOp => "c5",
        What::PlainNumpy => "c6",
        What::Pedalboard => "c7",
    }
}

/// A colour for each, its own if it is the first of its kind.
fn colours(whats: &[What]) -> Vec<&'static str> {
    let mut used = Vec::new();
    for what in whats {
        let free = |colour: &&&'static str| !used.contains(*colour);
        let own = colour(*what);
        let colour = [own].iter().chain(&COLOURS).find(free).copied();
        used.push(colour.unwrap_or(COLOURS[used.len() % COLOURS.len()]));
    }
    used
}

/// How the block gets to another process and back: one panel for each way to meet that has a floor or alternatives.
pub(super) fn hand_offs(series: &[Series]) -> Vec<Panel<'_>> {
    let (plugin, block) = (plugin(series), block(series));
    let meetings = groups(series).into_values().flat_map(BTreeMap::into_values);
    let plain = meetings.filter(|rows| rows.iter().all(|it| is_plain(&it.variant, block)));
    let mut panels: Vec<_> = plain.filter_map(|rows| hand_off(series, plugin, &rows)).collect();
    panels.sort_by_key(|(order, _)| *order);
    panels.into_iter().map(|(_, panel)| panel).collect()
}

type Order = (bool, Pace, bool);

fn hand_off<'a>(all: &'a [Series], plugin: &str, rows: &[&'a Series]) -> Option<(Order, Panel<'a>)> {
    let belongs =
        |it: &Variant| it.what != What::Isolated || (it.plugin == plugin && it.mode == Mode::SameBlock);
    let mut shown: Vec<&Series> = rows.iter().copied().filter(|it| belongs(&it.variant)).collect();
    let isolated = shown.iter().find(|it| it.variant.what == What::Isolated)?;
    let it = &isolated.variant;
    let inside = pairs::in_one_process(all, it, What::InProcess);
    let panel_title = format!("{}, {}", it.meeting(), it.block());
    let order = (it.loaded, it.pace, it.awake);
    shown.extend(inside);
    shown.sort_by_key(|it| it.times.p50_ns);
    let curve =
        |it: &&'a Series| Curve { name: it.variant.who(), colour: colour(it.variant.what), times: &it.times };
    let curves: Vec<_> = shown.iter().map(curve).collect();
    (curves.len() > 1).then_some((order, Panel { title: panel_title, curves }))
}

/// Each plugin by itself: in one process, and isolated in every way that was measured.
pub(super) fn plugins(series: &[Series]) -> Vec<Panel<'_>> {
    let block = block(series);
    let fits = |it: &&Series| {
        it.variant.what == What::Isolated && is_plain(&it.variant, block) && !it.variant.loaded
    };
    let mut panels: BTreeMap<_, Vec<&Series>> = BTreeMap::new();
    for one in series.iter().filter(fits) {
        let it = &one.variant;
        panels.entry((it.plugin.as_str(), it.pace, it.awake)).or_default().push(one);
    }
    panels.into_values().filter_map(|isolated| by_itself(series, isolated)).collect()
}

fn by_itself<'a>(all: &'a [Series], mut shown: Vec<&'a Series>) -> Option<Panel<'a>> {
    // By what they are: a way to run has one colour at every pace.
    shown.sort_by_key(|it| &it.variant);
    let first = &shown.first()?.variant;
    let awake = if first.awake { ", idle states held off" } else { "" };
    let title = format!("{}, {}{awake}", first.plugin, first.block());
    let inside = [What::InProcess, What::PlainNumpy, What::Pedalboard];
    shown.extend(inside.iter().filter_map(|what| pairs::in_one_process(all, first, *what)));
    let colours = colours(&shown.iter().map(|it| it.variant.what).collect::<Vec<_>>());
    let curve = |(it, colour): (&'a Series, _)| Curve { name: way(&it.variant), colour, times: &it.times };
    let mut curves: Vec<_> = shown.into_iter().zip(colours).map(curve).collect();
    curves.sort_by_key(|curve| curve.times.p50_ns);
    (curves.len() > 1).then_some(Panel { title, curves })
}

/// How a plugin was run, without its name, and without what the panel's title says.
fn way(it: &Variant) -> String {
    if it.what.is_in_one_process() {
        return it.what.name().to_owned();
    }
    let mode = if it.mode == Mode::Pipelined { ", pipelined" } else { "" };
    let meeting = Variant { awake: false, ..it.clone() }.meeting();
    format!("{}{mode}, {meeting}", it.what.name())
}

/// What grows with plugins in a row, with frames, with channels, with pipelines at once: medians, where there are
/// three numbers or more. Of the plugin that the run is about; others grow alike.
pub(super) fn growth(series: &[Series]) -> Vec<Growth> {
    let kinds: [(&str, &'static str, Number); 4] = [
        ("plugins in a row", "plugins", Number { of: |it| it.chain, without: |it| it.chain = 1 }),
        (
            "frames of a block",
            "frames",
            Number { of: |it| it.block_frames, without: |it| it.block_frames = 1 },
        ),
        ("channels", "channels", Number { of: |it| it.channels, without: |it| it.channels = 1 }),
        ("pipelines at once", "pipelines", Number { of: |it| it.pipelines, without: |it| it.pipelines = 1 }),
    ];
    let kinds = kinds.into_iter().flat_map(|(title, unit, number)| {
        [Pace::BackToBack, Pace::Paced].map(|pace| Growth {
            title: format!("{title}, {}", pace.name()),
            unit,
            lines: grown(series, pace, &number),
        })
    });
    kinds.filter(|growth| !growth.lines.is_empty()).collect()
}

/// A number among the circumstances.
struct Number {
    of: fn(&Variant) -> u32,
    without: fn(&mut Variant),
}

fn grown(series: &[Series], pace: Pace, number: &Number) -> Vec<Line> {
    let mut found: Vec<(Variant, Vec<(f64, f64)>)> = Vec::new();
    let plugin = plugin(series);
    let fits =
        |it: &Variant| it.pace == pace && !it.loaded && (it.plugin == plugin || it.what == What::Floor);
    for one in series.iter().filter(|it| fits(&it.variant)) {
        let mut rest = one.variant.clone();
        (number.without)(&mut rest);
        let point = (f64::from((number.of)(&one.variant)), one.times.p50_ns as f64 / 1e3);
        match found.iter_mut().find(|(it, _)| *it == rest) {
            Some((_, points)) => points.push(point),
            None => found.push((rest, vec![point])),
        }
    }
    found.retain(|(_, points)| points.len() > 2);
    let colours = colours(&found.iter().map(|(variant, _)| variant.what).collect::<Vec<_>>());
    let mut lines = Vec::with_capacity(found.len());
    for ((variant, mut points), colour) in found.into_iter().zip(colours) {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        lines.push(Line { name: format!("{}, {}", variant.who(), variant.meeting()), colour, points });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::super::fabricated::{series, variant, whole};
    use super::*;

    #[test]
    fn a_panel_has_the_floor_the_alternatives_and_both_ways_to_host() {
        let run = whole();
        let panels = hand_offs(&run.series);
        assert_eq!(panels.len(), 6);
        for panel in panels {
            let names: Vec<_> = panel.curves.iter().map(|curve| curve.name.as_str()).collect();
            for name in ["floor", "eventfd", "isolated passthrough", "in process passthrough"] {
                assert!(names.contains(&name), "{}: {names:?}", panel.title);
            }
            assert!(!names.contains(&"isolated simple_gain"), "{names:?}");
        }
    }

    #[test]
    fn a_plugin_of_the_users_is_what_a_run_without_the_usual_ones_is_about() {
        assert_eq!(plugin(&whole().series), "passthrough");
        assert_eq!(plugin(&[series(variant(What::Isolated, "echo"), 1)]), "echo");
        assert_eq!((plugin(&[]), block(&[])), ("", (512, 2)));
    }

    #[test]
    fn what_grows_is_drawn_from_three_points_on() {
        let of =
            |chain| series(Variant { chain, ..variant(What::Isolated, "echo") }, u64::from(chain) * 3_000);
        assert!(growth(&[of(1), of(2)]).is_empty());
        let all = [of(4), of(1), of(2)];
        let growth = growth(&all);
        assert_eq!((growth.len(), growth[0].lines.len()), (1, 1));
        let numbers: Vec<_> = growth[0].lines[0].points.iter().map(|point| point.0).collect();
        assert_eq!(numbers, [1.0, 2.0, 4.0]);
    }
}
