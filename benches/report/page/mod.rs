//! A run as one page for a browser, to be shown to others.
//!
//! For `--html`. It is self-contained: style and drawings are in it, no script, nothing is fetched. It follows the
//! reader's choice of light or dark, fits a narrow screen and prints. Every text is escaped: a plugin's name is
//! text, whatever it is.

mod panels;
mod plot;
mod scale;

use super::judge::{self, Grade};
use super::model::{Mode, Run, Series, Variant, What};
use super::ratios::{self, Against};
use super::table::{groups, machine};
use super::targets::{self, Row, Targets};
use super::verdict;
use super::words::{number, percent, us, whole_us};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use panels::{Growth, Panel};
use std::io::Write;

const STYLE: &str = include_str!("style.css");

/// Writes the page.
///
/// # Errors
/// Of what it is written to.
pub fn write(run: &Run, mut to: impl Write) -> std::io::Result<()> {
    to.write_all(page(run).into_string().as_bytes())
}

fn page(run: &Run) -> Markup {
    let targets = targets::of(&run.series);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "nda bench, " (run.machine.cpu) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(run))
                main {
                    (doubts(&run.doubts))
                    (cards(&run.series))
                    (verdicts(run))
                    (targets_table(&targets))
                    (times(&run.series))
                    (grown(&run.series))
                    (parts(&run.series))
                    (judgement(&run.series))
                    (all_figures(&run.series))
                }
                (foot(run))
            }
        }
    }
}

fn head(run: &Run) -> Markup {
    html! {
        header {
            h1 { "What it costs to run a plugin in a process of its own" }
            p class="lead" {
                "A block of audio goes to a Python plugin and comes back: in the same process, isolated in a worker, \
                 and beside them what two bare processes need at least."
            }
            ul class="machine" {
                @for line in machine(&run.machine) { li { (line) } }
            }
        }
    }
}

fn foot(run: &Run) -> Markup {
    let set = if run.quick { "quick set" } else { "full set" };
    html! {
        footer {
            p {
                "nda " (run.nda) " bench, " (set) ", " (run.began) ", " (format!("{:.0}", run.took_s)) " s. "
                "All variants took turns within this run: ratios hold, times are this machine's. "
                "us are microseconds; p99.9 is what 999 of 1000 blocks stayed within."
            }
        }
    }
}

fn doubts(doubts: &[String]) -> Markup {
    html! {
        @if !doubts.is_empty() {
            section class="doubts" {
                h2 { "What makes these figures doubtful" }
                ul { @for doubt in doubts { li { (doubt) } } }
            }
        }
    }
}

/// The few figures that people ask for first, of the plugin that the run is about.
fn cards(series: &[Series]) -> Markup {
    let cards: Vec<_> = card_rows(series).collect();
    html! {
        @if !cards.is_empty() {
            section class="cards" {
                @for (it, ratio) in cards {
                    div class="card" {
                        p class="figure" { (whole_us(it.times.p50_ns)) span { " us, median" } }
                        p class="what" { (it.variant.who()) }
                        p { "p99.9 " (whole_us(it.times.p999_ns)) " us" @if let Some(ratio) = ratio { ", " (ratio) } }
                        p class="how" { (it.variant.meeting()) ", " (it.variant.block()) }
                    }
                }
            }
        }
    }
}

fn card_rows(series: &[Series]) -> impl Iterator<Item = (&Series, Option<String>)> {
    let (plugin, block) = (panels::plugin(series), panels::block(series));
    let fits = move |it: &&Series| {
        let it = &it.variant;
        it.what == What::Isolated
            && it.plugin == plugin
            && panels::is_plain(it, block)
            && !it.loaded
            && !it.awake
    };
    let ratio = |it| {
        let floor = ratios::of(series, it).into_iter().find(|ratio| ratio.against == Against::Floor);
        floor.map(|ratio| format!("{} x floor", number(ratio.value)))
    };
    let mut found: Vec<&Series> = series.iter().filter(fits).collect();
    found.sort_by_key(|it| (it.variant.pace, it.times.p50_ns));
    found.into_iter().take(8).map(move |it| (it, ratio(it)))
}

/// In words, for each plugin that is not one of the usual ones.
fn verdicts(run: &Run) -> Markup {
    let mut plugins: Vec<&str> = run.series.iter().map(|it| it.variant.plugin.as_str()).collect();
    plugins.sort_unstable();
    plugins.dedup();
    let told = plugins.into_iter().map(|plugin| (plugin, verdict::of(run, plugin)));
    let told: Vec<_> = told.filter(|(_, lines)| !lines.is_empty()).collect();
    html! {
        @if !told.is_empty() {
            section {
                h2 { "Which blocks a plugin fits" }
                @for (plugin, lines) in told {
                    details open[plugin == panels::plugin(&run.series)] {
                        summary { (plugin) }
                        @for line in lines { p { (line) } }
                    }
                }
            }
        }
    }
}

fn targets_table(targets: &Targets) -> Markup {
    html! {
        @if !targets.rows.is_empty() {
            section {
                h2 { "Targets" }
                div class="wide" {
                    table class="targets" {
                        thead { tr { th { "what" } th { "measured" } th { "at most" } th { } th class="gauge-head" { } th { } } }
                        tbody { @for row in &targets.rows { (target(row)) } }
                    }
                }
                @if !targets.unmeasured.is_empty() {
                    p class="note" { "Not measured in this run: " (targets.unmeasured.join("; ")) "." }
                }
            }
        }
    }
}

fn target(row: &Row) -> Markup {
    let (class, word) = if row.kept { ("pass", "kept") } else { ("fail", "missed") };
    // The target stands at two thirds of the bar.
    let share = (row.value / row.target * 66.7).clamp(0.5, 100.0);
    html! {
        tr title=(row.from.join("; ")) {
            th scope="row" {
                (row.what)
                @if let Some(beside) = &row.beside { div class="note" { "beside it, not judged: " (beside) } }
            }
            td { (number(row.value)) }
            td { (number(row.target)) }
            td class="unit" { (row.unit) }
            td class="gauge" {
                svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=(percent(row.value / row.target)) {
                    rect class="track" x="0" y="3" width="100" height="4" {}
                    rect class=(class) x="0" y="3" width=(format!("{share:.1}")) height="4" {}
                    rect class="limit" x="66.3" y="0" width="0.8" height="10" {}
                }
            }
            td { span class=(format!("badge {class}")) { (word) } }
        }
    }
}

fn times(series: &[Series]) -> Markup {
    let (hand_offs, plugins) = (panels::hand_offs(series), panels::plugins(series));
    html! {
        @if !hand_offs.is_empty() {
            section {
                h2 { "The hand-off, beside its floor and what else one might use" }
                p class="note" {
                    "Curves: what so large a share of the blocks stayed within; each step to the right is a tenth of the \
                     rest. Heaps: how many took how long; heights are roots, so that single blocks show, and the line is \
                     the median. Point at either for its figures."
                }
                @for panel in &hand_offs { (both(panel)) }
            }
        }
        @if !plugins.is_empty() {
            section {
                h2 { "Plugin by plugin" }
                @for panel in &plugins { (both(panel)) }
            }
        }
    }
}

fn both(panel: &Panel<'_>) -> Markup {
    html! {
        figure {
            figcaption { (panel.title) }
            div class="pair" {
                div {
                    (plot::percentiles(&panel.title, &panel.curves))
                    (plot::key(&panel.curves))
                }
                (plot::histograms(&panel.title, &panel.curves))
            }
        }
    }
}

fn grown(series: &[Series]) -> Markup {
    let growth = panels::growth(series);
    let drawn = |Growth { title, unit, lines }: &Growth| {
        html! {
            figure {
                figcaption { "Median against " (title) }
                (plot::lines(title, unit, lines))
                (plot::legend(lines))
            }
        }
    };
    html! {
        @if !growth.is_empty() {
            section {
                h2 { "What it grows with" }
                div class="pair" { @for one in &growth { (drawn(one)) } }
            }
        }
    }
}

/// Bars of the parts of a block, of a plugin or a chain of them isolated without anything beside. Of pipelined ones the
/// wait for the next block is in it, so that they stand apart.
fn parts(series: &[Series]) -> Markup {
    let block = panels::block(series);
    let mut shown: Vec<&Series> = series
        .iter()
        .filter(|it| !it.parts.is_empty() && !it.variant.loaded)
        .filter(|it| panels::is_plain(&Variant { chain: 1, ..it.variant.clone() }, block))
        .collect();
    shown.sort_by_key(|it| (it.variant.pace, it.times.p50_ns));
    let names: Vec<&str> = shown.first().map_or_else(Vec::new, |it| names(it));
    let groups: [Group; 3] = [
        ("One plugin, waited for", |it| it.mode == Mode::SameBlock && it.chain == 1),
        ("Pipelined: it is noticed with the next block", |it| it.mode == Mode::Pipelined),
        ("Chains, the parts of all their plugins together", |it| it.mode == Mode::SameBlock && it.chain > 1),
    ];
    html! {
        @if !shown.is_empty() {
            section {
                h2 { "Where the time goes" }
                p class="legend" {
                    "Medians, until the block is: "
                    @for (i, name) in names.iter().enumerate() {
                        span { span class=(format!("swatch part{i}")) { } (name) }
                    }
                }
                @for (title, is_in) in groups {
                    (bars(title, shown.iter().copied().filter(|it| is_in(&it.variant)).collect()))
                }
            }
        }
    }
}

/// A title, and which variants stand under it.
type Group = (&'static str, fn(&Variant) -> bool);

fn bars(title: &str, shown: Vec<&Series>) -> Markup {
    html! {
        @if !shown.is_empty() {
            details open {
                summary { (title) }
                @for it in shown {
                    div class="parts" {
                        p { (it.variant.name()) }
                        (bar(it))
                        @if !it.by_plugin_p50_ns.is_empty() { p class="note" { (by_plugin(it)) } }
                    }
                }
            }
        }
    }
}

/// How long a block is with each plugin of a chain.
fn by_plugin(series: &Series) -> String {
    let times: Vec<_> = series.by_plugin_p50_ns.iter().map(|ns| whole_us(*ns)).collect();
    format!("Plugin by plugin, us: {}", times.join(", "))
}

fn names(series: &Series) -> Vec<&str> {
    series.parts.iter().map(|part| part.ends_with.as_str()).collect()
}

fn bar(series: &Series) -> Markup {
    let parts: Vec<_> =
        series.parts.iter().map(|part| (part.ends_with.clone(), part.p50_ns as f64)).collect();
    let sum: f64 = parts.iter().map(|part| part.1).sum();
    html! {
        div class="stack" {
            (plot::stacked(&parts, sum))
            span { (us(sum)) " us" }
        }
    }
}

fn judgement(series: &[Series]) -> Markup {
    let judged = judge::of(series);
    let count = |grade| judged.iter().filter(|it| it.grade == grade).count();
    html! {
        @if !judged.is_empty() {
            section {
                h2 { "Judgement" }
                p class="note" {
                    "PASS: mean under 500 us, standard deviation under 100 us, maximum under 1000 us. WARN: up to 1000 us. \
                     FAIL: above, by a single block."
                }
                p class="grades" {
                    @for grade in [Grade::Pass, Grade::Warn, Grade::Fail] {
                        span class=(format!("badge {}", class(grade))) { (count(grade)) " " (grade) }
                    }
                }
                ul class="judged" {
                    @for it in judged.iter().filter(|it| it.grade > Grade::Pass) {
                        li {
                            span class=(format!("badge {}", class(it.grade))) { (it.grade) } " "
                            (it.of.variant.name()) ": " (it.reasons.join(", "))
                        }
                    }
                }
            }
        }
    }
}

fn class(grade: Grade) -> &'static str {
    match grade {
        Grade::Pass => "pass",
        Grade::Warn => "warn",
        Grade::Fail => "fail",
    }
}

fn all_figures(series: &[Series]) -> Markup {
    html! {
        @if !series.is_empty() {
            section {
                h2 { "All figures, in us" }
                @for group in groups(series).values() {
                    details {
                        summary { (group.values().flatten().next().map(|it| it.variant.block()).unwrap_or_default()) }
                        div class="wide" { table { (titles()) @for rows in group.values() { (body(series, rows)) } } }
                    }
                }
            }
        }
    }
}

fn titles() -> Markup {
    let titles =
        ["mean", "deviation", "min", "p50", "p99", "p99.9", "max", "missed", "x floor", "x in process"];
    html! { thead { tr { th { } @for title in titles { th { (title) } } } } }
}

fn body(all: &[Series], rows: &[&Series]) -> Markup {
    html! {
        tbody {
            tr class="meeting" { th colspan="11" { (rows.first().map(|it| it.variant.meeting()).unwrap_or_default()) } }
            @for it in rows {
                tr {
                    th scope="row" { (it.variant.who()) }
                    @for cell in cells(all, it) { td { (cell) } }
                }
            }
        }
    }
}

fn cells(all: &[Series], series: &Series) -> [String; 10] {
    let times = &series.times;
    let ratios = ratios::of(all, series);
    let ratio = |against| {
        let found = ratios.iter().find(|ratio| ratio.against == against);
        found.map_or_else(String::new, |ratio| number(ratio.value))
    };
    [
        us(times.mean_ns),
        us(times.deviation_ns),
        whole_us(times.min_ns),
        whole_us(times.p50_ns),
        whole_us(times.p99_ns),
        whole_us(times.p999_ns),
        whole_us(times.max_ns),
        series.missed.to_string(),
        ratio(Against::Floor),
        ratio(Against::InProcess),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{run, series, variant, whole};
    use super::*;

    #[test]
    fn a_page_fetches_nothing_and_runs_nothing() {
        let page = page(&whole()).into_string();
        for outside in ["http:", "https:", "url(", "src=", "href=", "<script", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_plugin_can_write_nothing_into_a_page_but_text() {
        let evil = "<script>alert(1)</script>\"'&";
        let mut run = run(vec![
            series(variant(What::Isolated, evil), 7_000),
            series(variant(What::InProcess, evil), 300),
            series(variant(What::Floor, ""), 6_000),
        ]);
        run.machine.cpu = evil.into();
        run.doubts.push(evil.into());
        run.series[0].parts[0].ends_with = evil.into();
        let page = page(&run).into_string();
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)"), "{page}");
        assert!(!page.contains("\"'&\""), "{page}");
    }

    #[test]
    fn every_part_of_a_report_is_on_the_page() {
        let page = page(&whole()).into_string();
        for part in [
            "Targets",
            "The hand-off",
            "Plugin by plugin",
            "What it grows with",
            "Where the time goes",
            "One plugin, waited for",
            "Pipelined: it is noticed with the next block",
            "Chains, the parts of all their plugins together",
            "Plugin by plugin, us: ",
            "beside it, not judged: ",
            "Judgement",
            "All figures",
            "doubtful",
            "Example Processor 9000 &lt;8 cores &amp; more&gt;",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf "));
    }

    #[test]
    fn a_run_without_anything_is_a_page_too() {
        assert!(page(&run(Vec::new())).into_string().contains("</html>"));
    }
}
