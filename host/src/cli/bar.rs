//! A level as a bar of the live screen: green, yellow from -18 dB, red from -6 dB.
//!
//! For the screen's layout. A bar that is full has reached 0 dB; what is above shows in the number only.

use super::levels::{FLOOR_DB, Level};
use super::table::cut;
use super::words;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::block;
use ratatui::text::{Line, Span};

/// Where a colour ends, in dB.
const ZONES: [(f32, Color); 3] = [(-18.0, Color::Green), (-6.0, Color::Yellow), (0.0, Color::Red)];
/// Parts of a character that a bar can end in.
const EIGHTHS: [&str; 8] = [
    "",
    block::ONE_EIGHTH,
    block::ONE_QUARTER,
    block::THREE_EIGHTHS,
    block::HALF,
    block::FIVE_EIGHTHS,
    block::THREE_QUARTERS,
    block::SEVEN_EIGHTHS,
];
/// Characters for the number behind a bar, as in ` -12.1 dB`.
const NUMBER: usize = 9;

/// Bars of the same length, each with its label before it.
pub(super) fn lines(levels: &[Level], width: usize) -> Vec<Line<'static>> {
    let label = levels.iter().map(|level| level.label.len()).max().unwrap_or(0);
    levels.iter().map(|level| line(level, label, width)).collect()
}

fn line(level: &Level, label: usize, width: usize) -> Line<'static> {
    let number = format!("{:>6} dB", words::db(level.db));
    let length = width.saturating_sub(label + 1 + NUMBER);
    if length < 4 {
        return Line::raw(cut(&format!("{:>label$}{number}", level.label), width));
    }
    let mut spans = vec![Span::raw(format!("{:>label$} ", level.label))];
    spans.extend(bar(level.db, length));
    let loud = level.db.is_some_and(|db| db > 0.0);
    let style = if loud { Style::new().fg(Color::Red).bold() } else { Style::new() };
    spans.push(Span::styled(number, style));
    Line::from(spans)
}

/// The bar itself, then the rest of its track.
fn bar(db: Option<f32>, length: usize) -> Vec<Span<'static>> {
    let eighths = eighths(db.unwrap_or(FLOOR_DB), length);
    let mut spans = Vec::new();
    let mut from = 0;
    for (end, colour) in ZONES {
        let to = self::eighths(end, length) / 8 * 8;
        let part = eighths.min(to).saturating_sub(from);
        if part > 0 {
            let text = block::FULL.repeat(part / 8) + EIGHTHS[part % 8];
            spans.push(Span::styled(text, Style::new().fg(colour)));
        }
        from = to;
    }
    let rest = "·".repeat(length - eighths.div_ceil(8));
    spans.push(Span::styled(rest, Style::new().add_modifier(Modifier::DIM)));
    spans
}

/// How much of a bar a level fills, in eighths of a character.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the length of a bar")]
fn eighths(db: f32, length: usize) -> usize {
    let full = length * 8;
    let share = ((db - FLOOR_DB) / -FLOOR_DB).clamp(0.0, 1.0);
    (share * full as f32).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(db: Option<f32>, width: usize) -> String {
        lines(&[Level { label: "L".into(), db }], width)[0].to_string()
    }

    fn colours(db: f32) -> Vec<Color> {
        bar(Some(db), 60).iter().filter_map(|span| span.style.fg).collect()
    }

    #[test]
    fn a_bar_is_as_long_as_its_level() {
        assert_eq!(text(None, 31), "L ····················  -inf dB");
        assert_eq!(text(Some(-60.0), 31), "L ···················· -60.0 dB");
        assert_eq!(text(Some(-30.0), 31), "L ██████████·········· -30.0 dB");
        assert_eq!(text(Some(-28.5), 31), "L ██████████▌········· -28.5 dB");
        assert_eq!(text(Some(1.2), 31), "L ████████████████████   1.2 dB");
        assert_eq!(text(Some(-90.0), 31), "L ···················· -90.0 dB");
    }

    #[test]
    fn a_loud_bar_turns_yellow_and_then_red() {
        assert_eq!(colours(-20.0), [Color::Green]);
        assert_eq!(colours(-10.0), [Color::Green, Color::Yellow]);
        assert_eq!(colours(-1.0), [Color::Green, Color::Yellow, Color::Red]);
    }

    #[test]
    fn a_bar_is_as_wide_as_it_may_be() {
        for width in 0..200 {
            for db in [None, Some(-59.9), Some(-33.3), Some(-0.1), Some(6.0)] {
                let line = &lines(&[Level { label: "57-64".into(), db }], width)[0];
                assert!(line.width() == width || width < 19 && line.width() <= width, "{line} in {width}");
            }
        }
    }
}
