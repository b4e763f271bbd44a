//! What the live screen shows: pipelines, levels and plugins as lines, in the room there is.
//!
//! For `screen`, which puts them on the terminal. Nothing here writes; the same input makes the same lines.

use super::levels::Peaks;
use super::plain;
use super::table::{self, cut};
use super::words::{self, own_name};
use super::{bar, out};
use crate::report::{PipelineStatus, PluginStatus};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use std::time::Duration;

/// Bars of one pipeline at most; more channels are folded.
const BARS: usize = 8;
const INDENT: usize = 2;
const HINT: &str = "Ctrl-C ends the run. Times: median/99 of 100, their share of a block: 99 of 100.";

/// How much is shown, from much to little.
#[derive(Clone, Copy)]
enum Density {
    /// Everything, with at most so many bars a pipeline.
    Full(usize),
    /// A heading, a bar, the plugins.
    Compact,
    /// A line a pipeline.
    Lines,
}

const DENSITIES: [Density; 6] = [
    Density::Full(BARS),
    Density::Full(4),
    Density::Full(2),
    Density::Full(1),
    Density::Compact,
    Density::Lines,
];

/// The screen, at most so wide and so high; at least a line.
pub(super) fn lines(
    elapsed: Duration,
    pipelines: &[PipelineStatus],
    peaks: &[Peaks],
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let make = |density| shown(density, elapsed, pipelines, peaks, width);
    let fits = DENSITIES.into_iter().map(make).find(|lines| lines.len() <= height);
    fits.unwrap_or_else(|| {
        let mut lines = make(Density::Lines);
        let hidden = lines.len() - height.max(1) + 1;
        lines.truncate(height.saturating_sub(1));
        lines.push(dim(&format!("... and {hidden} more"), width));
        lines
    })
}

fn shown(
    density: Density,
    elapsed: Duration,
    pipelines: &[PipelineStatus],
    peaks: &[Peaks],
    width: usize,
) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (pipeline, peaks) in pipelines.iter().zip(peaks) {
        match density {
            Density::Full(bars) => {
                lines.extend(full(elapsed, pipeline, peaks, width, bars));
                lines.push(Line::default());
            }
            Density::Compact => lines.extend(compact(elapsed, pipeline, peaks, width)),
            Density::Lines => lines.push(single(elapsed, pipeline, peaks, width)),
        }
    }
    if let Density::Full(_) = density {
        lines.push(dim(HINT, width));
    }
    lines
}

fn full(
    elapsed: Duration,
    pipeline: &PipelineStatus,
    peaks: &Peaks,
    width: usize,
    bars: usize,
) -> Vec<Line<'static>> {
    let inner = width.saturating_sub(INDENT);
    let mut lines = vec![heading(elapsed, pipeline, width)];
    let details = [details(pipeline), words::latency(&pipeline.latency)];
    lines.extend(details.iter().map(|text| indented(dim(text, inner))));
    lines.extend(bar::lines(&peaks.fold(bars), inner).into_iter().map(indented));
    lines.extend(table::lines(pipeline, inner, true).into_iter().map(indented));
    lines.extend(warnings(pipeline, inner).into_iter().map(indented));
    lines
}

fn compact(elapsed: Duration, pipeline: &PipelineStatus, peaks: &Peaks, width: usize) -> Vec<Line<'static>> {
    let inner = width.saturating_sub(INDENT);
    let mut lines = vec![heading(elapsed, pipeline, width)];
    lines.extend(bar::lines(&peaks.fold(1), inner).into_iter().map(indented));
    lines.extend(table::lines(pipeline, inner, false).into_iter().map(indented));
    lines.extend(troubles(pipeline, inner).into_iter().map(indented));
    let away = pipeline.plugins.iter().filter(|plugin| plugin.dead.is_some());
    let away = away.filter_map(|plugin| deaths(plugin, pipeline));
    lines.extend(away.map(|(text, colour)| indented(Line::styled(cut(&text, inner), colour))));
    lines
}

fn single(elapsed: Duration, pipeline: &PipelineStatus, peaks: &Peaks, width: usize) -> Line<'static> {
    let text = format!("{} {}", words::clock(elapsed), plain::status_line(pipeline, peaks));
    let dead = pipeline.plugins.iter().any(|plugin| plugin.dead.is_some());
    let style = if dead { Style::new().fg(Color::Red) } else { Style::new() };
    Line::styled(cut(&out::clean(&text), width), style)
}

/// Name and ends at the left, the time at the right.
fn heading(elapsed: Duration, pipeline: &PipelineStatus, width: usize) -> Line<'static> {
    let clock = words::clock(elapsed);
    let ended = if pipeline.ended { " (ended)" } else { "" };
    let ends = format!("  {} -> {}{ended}", pipeline.source, pipeline.sink);
    let room = width.saturating_sub(clock.len() + 1);
    let name = cut(&out::clean(&pipeline.name), room);
    let ends = table::left(&out::clean(&ends), room - Span::raw(name.as_str()).width());
    let bold = Style::new().bold();
    Line::from(vec![Span::styled(name, bold), Span::raw(ends), Span::raw(cut(&format!(" {clock}"), width))])
}

fn details(pipeline: &PipelineStatus) -> String {
    let PipelineStatus { rate, channels, block_frames, clock, .. } = pipeline;
    // The clock says its rate too: once is enough for a line of 80 characters.
    let clock = clock.strip_suffix(&format!(" at {rate} Hz")).unwrap_or(clock);
    let capture =
        pipeline.capture.map(|capture| format!(", {}", words::capture(capture))).unwrap_or_default();
    out::clean(&format!("{rate} Hz, {channels} ch, block {block_frames}, clock: {clock}{capture}"))
}

/// What is wrong: dry or full buffers, workers that died, plugins that were moved.
fn warnings(pipeline: &PipelineStatus, width: usize) -> Vec<Line<'static>> {
    let deaths = pipeline.plugins.iter().filter_map(|plugin| deaths(plugin, pipeline));
    let plugins = deaths.chain(moved(pipeline).map(|text| (text, Color::Yellow)));
    let wrapped = plugins.flat_map(|(text, colour)| {
        wrap(&text, width).into_iter().map(move |text| Line::styled(text, colour))
    });
    troubles(pipeline, width).into_iter().chain(wrapped).collect()
}

fn troubles(pipeline: &PipelineStatus, width: usize) -> Option<Line<'static>> {
    let troubles = out::clean(&words::troubles(pipeline));
    (!troubles.is_empty()).then(|| Line::styled(cut(&troubles, width), Color::Yellow))
}

fn deaths(plugin: &PluginStatus, pipeline: &PipelineStatus) -> Option<(String, Color)> {
    let colour = if plugin.dead.is_some() { Color::Red } else { Color::Yellow };
    let name = own_name(&plugin.name, &pipeline.name);
    words::deaths(plugin).map(|deaths| (out::clean(&format!("{name} {deaths}")), colour))
}

/// Plugins that are in another mode than they were given: `moved to pipelined: gain +256 frames`.
fn moved(pipeline: &PipelineStatus) -> Option<String> {
    let moved = pipeline.plugins.iter().filter(|plugin| plugin.added_frames > 0);
    let each =
        moved.map(|plugin| format!("{} +{}", own_name(&plugin.name, &pipeline.name), plugin.added_frames));
    let each: Vec<_> = each.collect();
    (!each.is_empty()).then(|| out::clean(&format!("moved to pipelined: {} frames", each.join(", "))))
}

fn dim(text: &str, width: usize) -> Line<'static> {
    Line::styled(cut(text, width), Style::new().add_modifier(Modifier::DIM))
}

fn indented(mut line: Line<'static>) -> Line<'static> {
    line.spans.insert(0, Span::raw(" ".repeat(INDENT)));
    line
}

/// The text in lines of at most so many cells, broken at blanks where that is possible.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    text.lines().flat_map(|line| wrap_line(line, width.max(1))).collect()
}

fn wrap_line(line: &str, width: usize) -> Vec<String> {
    let cells = |text: &str| Span::raw(text.to_owned()).width();
    let mut lines = vec![String::new()];
    // Pieces end with their blanks, so that indentation and runs of blanks stay as they are.
    for piece in line.split_inclusive(' ') {
        let Some(last) = lines.last_mut() else { break };
        if cells(last) + cells(piece.trim_end()) <= width {
            last.push_str(piece);
            continue;
        }
        lines.push(String::new());
        for c in piece.chars() {
            let Some(last) = lines.last_mut() else { break };
            if cells(last) + cells(c.encode_utf8(&mut [0; 4])) > width && c != ' ' {
                lines.push(c.into());
            } else {
                last.push(c);
            }
        }
    }
    // A first piece that did not fit leaves an empty line before it.
    if lines.len() > 1 && lines[0].is_empty() {
        lines.remove(0);
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// The lines without colours, for `NO_COLOR`.
pub(super) fn without_colour(lines: Vec<Line<'static>>) -> Vec<Line<'static>> {
    let pale = |style: Style| Style { fg: None, bg: None, ..style };
    lines
        .into_iter()
        .map(|mut line| {
            line.style = pale(line.style);
            line.spans.iter_mut().for_each(|span| span.style = pale(span.style));
            line
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::widgets::Paragraph;

    const TIME: Duration = Duration::from_secs(187);

    fn view(pipelines: &[PipelineStatus], width: u16, height: u16) -> Vec<Line<'static>> {
        let held = |pipeline: &PipelineStatus| {
            let mut peaks = Peaks::default();
            peaks.raise(&pipeline.peaks_db);
            peaks
        };
        let peaks: Vec<_> = pipelines.iter().map(held).collect();
        lines(TIME, pipelines, &peaks, width.into(), height.into())
    }

    /// The screen as a terminal of this size shows it.
    fn rendered(pipelines: &[PipelineStatus], width: u16, height: u16) -> String {
        let lines = view(pipelines, width, height);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| frame.render_widget(Paragraph::new(lines.clone()), frame.area())).unwrap();
        let buffer = terminal.backend().buffer();
        let row =
            |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(row).collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n"
    }

    #[test]
    fn a_pipeline_at_80x24_looks_like_this() {
        let expected = "\
main  song.flac -> virtual and out.wav                                     03:07
  48000 Hz, 2 ch, block 256, clock: virtual, 256 frames
  latency 6.7 ms: devices 0, adaptation 0, mode 5.3, plugins 1.4
  L █████████████████████████████████████████████████████▌············· -12.1 dB
  R ████████████████████████████████████████████████████▌·············· -13.0 dB
  plugin           mode plugin us    trip us block  good  late  fail other guard
  gain        runs same     12/30      25/60  0.6% 11250     0     0     0     0
  echo        DEAD pipe   140/910  5340/5600   17% 11245     3     2  4000     1
  echo DEAD, died 6 times: was killed by SIGSEGV; it is not started again until
  its file changes

Ctrl-C ends the run. Times: median/99 of 100, their share of a block: 99 of 100.
";
        assert_eq!(rendered(&[fabricated::with_a_dead_plugin()], 80, 24), expected);
    }

    #[test]
    fn what_has_happened_to_plugins_stands_below_the_table() {
        let screen = rendered(&[fabricated::with_a_bad_time()], 80, 24);
        let expected = "
  gain        runs pipe     12/30      25/60  0.6% 11250     9     0     0     0
  echo        runs pipe   140/910  5340/5600   17% 11245     3     2  4001     4
  echo died once, last: was killed by SIGSEGV
  moved to pipelined: gain +256 frames
";
        assert!(screen.contains(expected), "{screen}");
    }

    #[test]
    fn a_small_terminal_tells_only_of_plugins_that_are_away_now_and_in_a_line_each() {
        let back = rendered(&[fabricated::with_a_bad_time()], 40, 8);
        assert!(!back.contains("died") && back.contains("\n  echo        runs "), "{back}");
        let dead = rendered(&[fabricated::with_a_dead_plugin()], 40, 8);
        assert!(dead.contains("\n  echo DEAD, died 6 times: was killed b…\n"), "{dead}");
    }

    #[test]
    fn a_small_terminal_gets_less() {
        let expected = "\
main  song.flac -> virtual and ou… 03:07
  48000 Hz, 2 ch, block 256, clock: vir…
  latency 6.7 ms: devices 0, adaptation…
  1-2 ████████████████████····· -12.1 dB
  plugin           plugin us block  late
  gain        runs     12/30  0.6%     0
  echo        runs   140/910   17%     3

Ctrl-C ends the run. Times: median/99 o…
";
        assert_eq!(rendered(&[fabricated::pipeline()], 40, 9), expected);
    }

    #[test]
    fn two_pipelines_fit_a_small_terminal() {
        let expected = "\
music  song.flac -> virtual and o… 03:07
  1-2 ████████████████████····· -12.1 dB
  gain        runs     12/30  0.6%     0
  echo        runs   140/910   17%     3
voice  song.flac -> virtual and o… 03:07
  1-2 ████████████████████····· -12.1 dB
  gain        runs     12/30  0.6%     0
  echo        runs   140/910   17%     3
";
        assert_eq!(rendered(&fabricated::two_pipelines(), 40, 10), expected);
    }

    #[test]
    fn two_pipelines_at_80x24_are_shown_whole() {
        let screen = rendered(&fabricated::two_pipelines(), 80, 24);
        assert_eq!(screen.matches("\n  L █").count(), 2, "{screen}");
        assert_eq!(screen.matches("plugin us").count(), 2);
        assert!(screen.contains("\nvoice  song.flac") && !screen.contains("voice/gain"), "{screen}");
    }

    #[test]
    fn channels_in_plenty_are_folded() {
        let screen = rendered(&[fabricated::with_channels(64)], 200, 50);
        assert!(screen.contains("\n    1-8 █") && screen.contains("\n  57-64 █"), "{screen}");
        let small = rendered(&[fabricated::with_channels(64)], 40, 10);
        assert!(small.contains("\n   1-32 █"), "{small}");
    }

    #[test]
    fn a_wide_screen_has_whole_words() {
        let screen = rendered(&fabricated::two_pipelines(), 200, 50);
        assert!(
            screen.contains("running same-block") && screen.contains("other lost    guarded"),
            "{screen}"
        );
        assert!(screen.contains("clock: virtual, 256 frames\n"), "{screen}");
    }

    #[test]
    fn no_size_is_too_small_or_too_large() {
        let many = |n: usize| vec![fabricated::with_a_dead_plugin(); n];
        let sets = [
            Vec::new(),
            many(1),
            many(5),
            vec![fabricated::with_a_bad_time()],
            vec![fabricated::with_channels(64)],
            vec![fabricated::unheard()],
        ];
        for pipelines in &sets {
            for (width, height) in [(1, 1), (2, 3), (7, 2), (20, 4), (40, 10), (80, 24), (300, 100)] {
                let lines = view(pipelines, width, height);
                assert!(lines.len() <= height.into(), "{} lines in {height}", lines.len());
                assert!(lines.iter().all(|line| line.width() <= width.into()), "too wide for {width}");
                rendered(pipelines, width, height);
            }
        }
    }

    #[test]
    fn a_line_a_pipeline_remains_where_nothing_else_fits() {
        let pipelines = vec![fabricated::pipeline(); 5];
        let screen = rendered(&pipelines, 60, 3);
        assert_eq!(screen.matches("03:07 main  L -12.1 R -13.0 dB  gain").count(), 2, "{screen}");
        assert!(screen.ends_with("\n... and 3 more\n"), "{screen}");
    }

    #[test]
    fn long_text_is_wrapped_at_blanks() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("    indented text", 12), ["    indented", "text"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("a\n\nb", 10), ["a", "", "b"]);
        assert_eq!(wrap("音楽音楽", 5), ["音楽", "音楽"]);
    }

    #[test]
    fn without_colour_the_text_is_the_same() {
        let lines = view(&[fabricated::with_a_dead_plugin()], 80, 24);
        let pale = without_colour(lines.clone());
        assert!(pale.iter().flat_map(|line| &line.spans).all(|span| span.style.fg.is_none()));
        assert!(lines.iter().zip(&pale).all(|(a, b)| a.to_string() == b.to_string()));
    }
}
