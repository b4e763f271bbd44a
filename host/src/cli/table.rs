//! The table of plugins on the live screen: which columns there is room for, and what stands in them.
//!
//! For the screen's layout. Columns give way in the order of their importance; the name takes what is left.

use super::words::{self, own_name};
use crate::report::{PipelineStatus, PluginStatus};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// A name has at least so much room.
const NAME_MIN: usize = 10;
/// A name has at most so much room, so that its figures stay near it.
const NAME_MAX: usize = 24;
/// Blanks between two columns.
const GAP: usize = 1;

/// One column, in its narrow and its wide form.
struct Column {
    narrow: Form,
    wide: Form,
    /// The smaller, the later it gives way.
    rank: u8,
    cell: fn(&Row<'_>) -> Cell,
}

#[derive(Clone, Copy)]
struct Form {
    title: &'static str,
    width: usize,
}

/// What a cell is made from.
struct Row<'a> {
    plugin: &'a PluginStatus,
    block_us: f64,
    wide: bool,
}

struct Cell {
    text: String,
    style: Style,
}

const fn form(title: &'static str, width: usize) -> Form {
    Form { title, width }
}

const COLUMNS: [Column; 10] = [
    Column { narrow: form("", 4), wide: form("state", 7), rank: 0, cell: state },
    Column { narrow: form("mode", 4), wide: form("mode", 10), rank: 9, cell: mode },
    Column { narrow: form("plugin us", 9), wide: form("in plugin us", 12), rank: 2, cell: plugin_time },
    Column { narrow: form("trip us", 10), wide: form("round trip us", 13), rank: 6, cell: round_trip },
    Column { narrow: form("block", 5), wide: form("of block", 8), rank: 3, cell: share },
    Column { narrow: form("good", 5), wide: form("good", 8), rank: 5, cell: good },
    Column { narrow: form("late", 5), wide: form("late", 8), rank: 1, cell: late },
    Column { narrow: form("fail", 5), wide: form("failed", 8), rank: 4, cell: failed },
    Column { narrow: form("other", 5), wide: form("other lost", 10), rank: 7, cell: other_lost },
    Column { narrow: form("guard", 5), wide: form("guarded", 10), rank: 8, cell: guarded },
];

/// The table in so many characters of width, with or without the row of titles.
pub(super) fn lines(pipeline: &PipelineStatus, width: usize, titles: bool) -> Vec<Line<'static>> {
    let layout = Layout::fit(width);
    let title = titles.then(|| layout.title());
    let block_us = pipeline.block_frames as f64 * 1e6 / f64::from(pipeline.rate);
    let row = |plugin| {
        let row = Row { plugin, block_us, wide: layout.wide };
        layout.row(own_name(&plugin.name, &pipeline.name), &row)
    };
    let rows = pipeline.plugins.iter().map(row);
    if pipeline.plugins.is_empty() { Vec::new() } else { title.into_iter().chain(rows).collect() }
}

/// The columns that there is room for.
struct Layout {
    columns: Vec<&'static Column>,
    wide: bool,
    name: usize,
}

impl Layout {
    fn fit(width: usize) -> Self {
        let mut layout = Self { columns: COLUMNS.iter().collect(), wide: true, name: 0 };
        layout.wide = layout.needed() <= width;
        while layout.needed() > width && !layout.columns.is_empty() {
            let least = layout.columns.iter().map(|column| column.rank).max();
            layout.columns.retain(|column| Some(column.rank) != least);
        }
        layout.name = width.saturating_sub(layout.needed() - NAME_MIN).min(NAME_MAX);
        layout
    }

    fn needed(&self) -> usize {
        NAME_MIN + self.columns.iter().map(|column| GAP + self.form(column).width).sum::<usize>()
    }

    fn form(&self, column: &Column) -> Form {
        if self.wide { column.wide } else { column.narrow }
    }

    fn title(&self) -> Line<'static> {
        let dim = Style::new().add_modifier(Modifier::DIM);
        let mut text = left("plugin", self.name);
        for column in &self.columns {
            let Form { title, width } = self.form(column);
            text.push_str(&format!("{:GAP$}{title:>width$}", ""));
        }
        Line::styled(text, dim)
    }

    fn row(&self, name: &str, row: &Row<'_>) -> Line<'static> {
        let mut spans = vec![Span::raw(left(name, self.name))];
        for column in &self.columns {
            let Cell { text, style } = (column.cell)(row);
            let width = self.form(column).width;
            spans.push(Span::styled(format!("{:GAP$}{text:>width$}", ""), style));
        }
        Line::from(spans)
    }
}

/// The text in exactly so many cells of the screen, cut with an ellipsis or filled up.
pub(super) fn left(text: &str, width: usize) -> String {
    let cut = cut(text, width);
    let filled = Span::raw(cut.as_str()).width();
    cut + &" ".repeat(width.saturating_sub(filled))
}

/// The text in at most so many cells of the screen, its end replaced by an ellipsis if it is longer.
pub(super) fn cut(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if Span::raw(kept.as_str()).width() + 1 > width {
            kept.pop();
            break;
        }
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

fn plain(text: String) -> Cell {
    Cell { text, style: Style::new() }
}

fn state(row: &Row<'_>) -> Cell {
    match (words::absence(row.plugin), row.wide) {
        (Some(state), _) => Cell { text: state.into(), style: Style::new().fg(Color::Red).bold() },
        (None, true) => Cell { text: "running".into(), style: Style::new().fg(Color::Green) },
        (None, false) => Cell { text: "runs".into(), style: Style::new().fg(Color::Green) },
    }
}

fn mode(row: &Row<'_>) -> Cell {
    let narrow = if row.plugin.mode == "pipelined" { "pipe" } else { "same" };
    let text = if row.wide { row.plugin.mode } else { narrow };
    let style = if row.plugin.added_frames > 0 { Style::new().fg(Color::Yellow) } else { Style::new() };
    Cell { text: text.to_owned(), style }
}

fn plugin_time(row: &Row<'_>) -> Cell {
    plain(words::median_and_p99(&row.plugin.plugin_time).unwrap_or_else(|| "-".into()))
}

fn round_trip(row: &Row<'_>) -> Cell {
    plain(words::median_and_p99(&row.plugin.round_trip).unwrap_or_else(|| "-".into()))
}

/// The share of a block's duration that all but one of 100 blocks stay within.
fn share(row: &Row<'_>) -> Cell {
    let Some(times) = words::measured(&row.plugin.plugin_time) else { return plain("-".into()) };
    let percent = times.p99_us / row.block_us * 100.0;
    plain(if percent < 9.95 { format!("{percent:.1}%") } else { format!("{:.0}%", percent.min(999.0)) })
}

fn good(row: &Row<'_>) -> Cell {
    plain(count(row.plugin.counts.good, row.wide))
}

fn late(row: &Row<'_>) -> Cell {
    trouble(row.plugin.counts.late, row.wide)
}

fn failed(row: &Row<'_>) -> Cell {
    trouble(row.plugin.counts.failed, row.wide)
}

fn other_lost(row: &Row<'_>) -> Cell {
    let counts = &row.plugin.counts;
    trouble(counts.gone + counts.behind + counts.torn + counts.forged, row.wide)
}

/// Blocks of which samples were replaced or limited.
fn guarded(row: &Row<'_>) -> Cell {
    let counts = &row.plugin.counts;
    trouble(counts.non_finite_blocks.max(counts.too_loud_blocks), row.wide)
}

fn count(count: u64, wide: bool) -> String {
    if wide && count < 100_000_000 { count.to_string() } else { words::short_count(count) }
}

fn trouble(n: u64, wide: bool) -> Cell {
    let style = if n > 0 { Style::new().fg(Color::Yellow) } else { Style::new() };
    Cell { text: count(n, wide), style }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated;

    fn text(width: usize) -> String {
        let lines = lines(&fabricated::with_a_dead_plugin(), width, true);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn all_columns_fit_80_characters() {
        let expected = "\
plugin             mode plugin us    trip us block  good  late  fail other guard
gain          runs same     12/30      25/60  0.6% 11250     0     0     0     0
echo          DEAD pipe   140/910  5340/5600   17% 11245     3     2  4000     1
";
        assert_eq!(text(80), expected);
    }

    #[test]
    fn a_wide_table_has_whole_words() {
        let expected = "\
plugin       state       mode in plugin us round trip us of block     good     late   failed other lost    guarded
gain       running same-block        12/30         25/60     0.6%    11250        0        0          0          0
echo          DEAD  pipelined      140/910     5340/5600      17%    11245        3        2       4000          1
";
        assert_eq!(text(114), expected);
    }

    #[test]
    fn a_narrow_table_keeps_what_matters_most() {
        let expected = "\
plugin           plugin us block  late
gain        runs     12/30  0.6%     0
echo        DEAD   140/910   17%     3
";
        assert_eq!(text(38), expected);
    }

    #[test]
    fn no_width_is_too_small() {
        for width in 0..120 {
            for line in lines(&fabricated::with_a_dead_plugin(), width, true) {
                assert!(line.width() <= width, "{} in {width}", line.width());
            }
        }
    }

    #[test]
    fn text_is_cut_at_cells_not_at_bytes() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(left("音楽", 3), "音…");
        assert_eq!(left("音楽", 6), "音楽  ");
        assert_eq!(cut("abc", 0), "");
    }
}
