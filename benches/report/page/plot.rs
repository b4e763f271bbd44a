//! Drawings: percentiles with a stretched tail, histograms, and lines over a number of plugins or frames.
//!
//! For the page. Each is an SVG that scales with it, takes its colours from the style sheet by class, and tells its
//! figures when pointed at.

use super::super::model::Figures;
use super::super::words::{number, us, whole_us};
use super::scale::{Linear, Log, Nines};
use maud::{Markup, html};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = HEIGHT - 30.0;
/// Height of a row of the key, which stands below a plot of percentiles and beside the histograms.
const KEY_ROW: f64 = 25.0;

/// Times under a name and in a colour, which is a class of the style sheet.
#[derive(Debug, Clone)]
pub(super) struct Curve<'a> {
    pub(super) name: String,
    pub(super) colour: &'static str,
    pub(super) times: &'a Figures,
}

/// A line over numbers: how long it takes with so many.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) colour: &'static str,
    /// Rising.
    pub(super) points: Vec<(f64, f64)>,
}

fn px(value: f64) -> String {
    format!("{value:.1}")
}

fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    points.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

/// How long so large a share of the blocks took at most.
pub(super) fn percentiles(title: &str, curves: &[Curve<'_>]) -> Markup {
    let most = curves.iter().map(|curve| curve.times.count).max().unwrap_or(0);
    let x = Nines::of(most, (LEFT, RIGHT));
    let ends = curves.iter().flat_map(|curve| [curve.times.min_ns, curve.times.max_ns]);
    let y = Log::around(ends.map(|ns| ns as f64 / 1e3), (BOTTOM, TOP));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(title) {
            (levels(&y.ticks(), |tick| y.place(tick)))
            @for (share, label) in x.ticks() {
                @let place = px(x.place(share));
                line class="grid" x1=(place) x2=(place) y1=(px(TOP)) y2=(px(BOTTOM)) {}
                text class="tick" x=(place) y=(px(BOTTOM + 18.0)) text-anchor="middle" { (label) }
            }
            @for curve in curves {
                g class=(curve.colour) {
                    polyline class="line" points=(path(tail(curve.times, x, y))) { title { (summary(curve)) } }
                    @for (share, label, ns) in named(curve.times) {
                        circle class="dot" cx=(px(x.place(share))) cy=(px(y.place(ns as f64 / 1e3))) r="3.2" {
                            title { (curve.name) ": " (label) " of the blocks took at most " (whole_us(ns)) " us" }
                        }
                    }
                }
            }
        }
    }
}

fn levels(ticks: &[f64], place: impl Fn(f64) -> f64) -> Markup {
    html! {
        text class="tick" x=(px(LEFT - 8.0)) y="12" text-anchor="end" { "us" }
        @for tick in ticks {
            @let y = place(*tick);
            line class="grid" x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(y)) y2=(px(y)) {}
            text class="tick" x=(px(LEFT - 8.0)) y=(px(y + 4.0)) text-anchor="end" { (round(*tick)) }
        }
    }
}

/// A round number without what is not needed.
fn round(value: f64) -> String {
    format!("{}", (value * 1e3).round() / 1e3)
}

/// The percentiles that the blocks are enough for: beyond the last of them there is no curve.
fn named(times: &Figures) -> Vec<(f64, &'static str, u64)> {
    let all = [(0.5, "50 %", times.p50_ns), (0.99, "99 %", times.p99_ns), (0.999, "99.9 %", times.p999_ns)];
    all.into_iter().filter(|(share, ..)| (1.0 - share) * times.count as f64 >= 0.5).collect()
}

fn summary(curve: &Curve<'_>) -> String {
    let Figures { p50_ns, p99_ns, p999_ns, max_ns, .. } = *curve.times;
    let [p50, p99, p999, max] = [p50_ns, p99_ns, p999_ns, max_ns].map(whole_us);
    let count = curve.times.count;
    format!("{}: p50 {p50} us, p99 {p99}, p99.9 {p999}, max {max}; {count} blocks", curve.name)
}

/// The points of a curve: the shortest block, then the end of each bucket; the last is the longest block.
fn tail(times: &Figures, x: Nines, y: Log) -> Vec<(f64, f64)> {
    let all = times.count.max(1) as f64;
    let mut until = 0_u64;
    let mut points = vec![(x.place(0.0), y.place(times.min_ns as f64 / 1e3))];
    for (end, count) in &times.histogram {
        until = until.saturating_add(*count).min(times.count);
        // Half a block short of all of them: the last nine has no end.
        let share = (until as f64).min(all - 0.5) / all;
        points.push((x.place(share), y.place((*end).min(times.max_ns) as f64 / 1e3)));
    }
    points
}

/// How many blocks took how long, one series below the other, on one axis. Heights are roots, so that rare ones show.
pub(super) fn histograms(title: &str, curves: &[Curve<'_>]) -> Markup {
    let rows = curves.iter().map(|_| 1.0).sum::<f64>().max(1.0);
    // As high as the plot of percentiles with its key, if that does not make towers.
    let ridge = ((HEIGHT + (rows + 1.0) * KEY_ROW - 40.0) / rows).min(80.0);
    let bottom = 8.0 + ridge * rows;
    let ends = curves.iter().flat_map(|curve| [curve.times.min_ns, curve.times.max_ns]);
    let x = Log::around(ends.map(|ns| ns as f64 / 1e3), (8.0, RIGHT));
    let bases = std::iter::successors(Some(4.0 + ridge), |base| Some(base + ridge));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {:.0}", bottom + 26.0)) role="img" aria-label=(title) {
            @for tick in x.ticks() {
                @let place = px(x.place(tick));
                line class="grid" x1=(place) x2=(place) y1="4" y2=(px(bottom)) {}
                // The unit stands at the end.
                @if x.place(tick) < RIGHT - 36.0 {
                    text class="tick" x=(place) y=(px(bottom + 18.0)) text-anchor="middle" { (round(tick)) }
                }
            }
            text class="tick" x=(px(RIGHT)) y=(px(bottom + 18.0)) text-anchor="end" { "us" }
            @for (curve, base) in curves.iter().zip(bases) { (histogram(curve, x, base, ridge - 10.0)) }
        }
    }
}

fn histogram(curve: &Curve<'_>, x: Log, base: f64, height: f64) -> Markup {
    let median = x.place(curve.times.p50_ns as f64 / 1e3);
    // Where there is room: nothing is much shorter than the median.
    let (name, anchor) = if median > WIDTH / 2.0 { (8.0, "start") } else { (RIGHT, "end") };
    html! {
        g class=(curve.colour) {
            polygon class="area" points=(path(outline(curve.times, x, base, height))) { title { (summary(curve)) } }
            line class="median" x1=(px(median)) x2=(px(median)) y1=(px(base - height)) y2=(px(base)) {}
            text class="name" x=(px(name)) y=(px(base - height + 14.0)) text-anchor=(anchor) { (curve.name) }
        }
    }
}

/// The outline of one histogram above its base.
fn outline(times: &Figures, x: Log, base: f64, height: f64) -> Vec<(f64, f64)> {
    let bars = times.histogram.iter().map(|(end, count)| {
        let end = (*end).min(times.max_ns) as f64;
        // As wide as its bucket at least: 32 or more to a doubling.
        let begin = end * (1.0 - 1.0 / 48.0);
        (x.place(begin / 1e3), x.place(end / 1e3), *count as f64)
    });
    let highest = times.histogram.iter().map(|(_, count)| *count).max().unwrap_or(1) as f64;
    let mut points = Vec::new();
    for (left, right, count) in bars {
        // A single block is still to be seen.
        let (right, top) = (right.max(left + 1.5), base - ((count / highest).sqrt() * height).max(1.5));
        points.extend([(left, base), (left, top), (right, top), (right, base)]);
    }
    points
}

/// Lines over a number of something, both axes from 0.
pub(super) fn lines(title: &str, unit: &str, lines: &[Line]) -> Markup {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let x = Linear::up_to(all().map(|point| point.0), (LEFT, RIGHT));
    let y = Linear::up_to(all().map(|point| point.1), (BOTTOM, TOP));
    let mut marks: Vec<f64> = all().map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(title) {
            (levels(&y.ticks(), |tick| y.place(tick)))
            @for mark in marks {
                @let place = px(x.place(mark));
                line class="grid" x1=(place) x2=(place) y1=(px(TOP)) y2=(px(BOTTOM)) {}
                text class="tick" x=(place) y=(px(BOTTOM + 18.0)) text-anchor="middle" { (round(mark)) }
            }
            @for line in lines {
                g class=(line.colour) {
                    polyline class="line" points=(path(line.points.iter().map(|(n, us)| (x.place(*n), y.place(*us))))) {
                        title { (line.name) }
                    }
                    @for (n, us) in &line.points {
                        circle class="dot" cx=(px(x.place(*n))) cy=(px(y.place(*us))) r="3.2" {
                            title { (line.name) ", " (round(*n)) " " (unit) ": " (number(*us)) " us" }
                        }
                    }
                }
            }
        }
    }
}

/// What the colours of a percentile plot mean, with the figures that matter most.
pub(super) fn key(curves: &[Curve<'_>]) -> Markup {
    html! {
        table class="key" {
            thead { tr { th { } th { "p50" } th { "p99" } th { "p99.9" } th { "max, us" } } }
            tbody {
                @for curve in curves {
                    tr class=(curve.colour) {
                        th scope="row" { span class="swatch" { } (curve.name) }
                        @for ns in [curve.times.p50_ns, curve.times.p99_ns, curve.times.p999_ns, curve.times.max_ns] {
                            td { (whole_us(ns)) }
                        }
                    }
                }
            }
        }
    }
}

/// What the colours of lines mean.
pub(super) fn legend(lines: &[Line]) -> Markup {
    html! {
        p class="legend" {
            @for line in lines {
                span class=(line.colour) { span class="swatch" { } (line.name) }
            }
        }
    }
}

/// A bar of parts that add up, each with its share told.
pub(super) fn stacked(parts: &[(String, f64)], longest_ns: f64) -> Markup {
    let scale = if longest_ns > 0.0 { 1000.0 / longest_ns } else { 0.0 };
    let begins = parts.iter().scan(0.0, |sum, part| {
        let begin = *sum;
        *sum += part.1 * scale;
        Some(begin)
    });
    html! {
        svg class="bar" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label="where the time goes" {
            @for (i, (begin, (name, ns))) in begins.zip(parts).enumerate() {
                rect class=(format!("part{i}")) x=(px(begin)) y="0" width=(px(ns * scale)) height="20" {
                    title { "until " (name) ": " (us(*ns)) " us" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(times: &Figures) -> Curve<'_> {
        Curve { name: "a & b".into(), colour: "c1", times }
    }

    #[test]
    fn a_curve_rises_from_the_shortest_to_the_longest_block() {
        let times = Figures::of(&(1..=1000).map(|i| i * 1000).collect::<Vec<u64>>());
        let y = Log::around([1.0, 1000.0], (100.0, 0.0));
        let points = tail(&times, Nines::of(1000, (0.0, 100.0)), y);
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1));
        assert_eq!(points.last().unwrap().1, y.place(1000.0));
    }

    #[test]
    fn few_blocks_have_no_mark_where_they_have_no_curve() {
        let marks = |blocks| named(&Figures::of(&vec![1000; blocks])).len();
        assert_eq!([1, 50, 499, 501].map(marks), [1, 2, 2, 3]);
    }

    #[test]
    fn counts_that_contradict_the_histogram_still_draw() {
        let broken = Figures { count: 3, histogram: vec![(u64::MAX, u64::MAX), (5, 1)], ..Figures::of(&[]) };
        let drawn = percentiles("t", &[curve(&broken)]).into_string()
            + &histograms("t", &[curve(&broken)]).into_string();
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }

    #[test]
    fn names_are_text_and_never_markup() {
        let times = Figures::of(&[1000, 2000]);
        let drawn = percentiles("<t>", &[curve(&times)]).into_string();
        assert!(drawn.contains("a &amp; b: p50") && !drawn.contains("<t>"), "{drawn}");
    }

    #[test]
    fn parts_of_a_bar_lie_end_to_end() {
        let drawn = stacked(&[("a".into(), 250.0), ("b".into(), 750.0)], 1000.0).into_string();
        assert!(
            drawn.contains(r#"x="0.0" y="0" width="250.0""#)
                && drawn.contains(r#"x="250.0" y="0" width="750.0""#)
        );
    }
}
