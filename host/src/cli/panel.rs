//! The lines at the bottom of the terminal that are drawn again and again, below what scrolls.
//!
//! For the live screen: Ratatui's inline viewport, with a height that follows its content. Generic over the
//! back end, so that tests run it in memory.

use super::known_cursor::KnownCursor;
use super::view::wrap;
use ratatui::backend::Backend;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};
use ratatui::{Terminal, TerminalOptions, Viewport};

/// An open inline viewport; gone from the screen when it is closed.
pub(super) struct Panel<B: Backend> {
    terminal: Terminal<KnownCursor<B>>,
    height: u16,
}

impl<B: Backend> Panel<B> {
    /// Takes so many lines from the cursor on, which is at `cursor` if that is known.
    pub(super) fn open(backend: B, height: u16, cursor: Option<Position>) -> Result<Self, B::Error> {
        let options = TerminalOptions { viewport: Viewport::Inline(height) };
        let terminal = Terminal::with_options(KnownCursor::new(backend, cursor), options)?;
        Ok(Self { terminal, height })
    }

    /// Lines that it was opened with.
    pub(super) fn height(&self) -> u16 {
        self.height
    }

    /// Follows the terminal if its size has changed.
    pub(super) fn follow_size(&mut self) -> Result<(), B::Error> {
        self.terminal.autoresize()
    }

    /// Writes text above, which scrolls away and stays.
    pub(super) fn insert(&mut self, text: &str) -> Result<(), B::Error> {
        let width = self.terminal.get_frame().area().width;
        let lines: Vec<_> = wrap(text, width.into()).into_iter().map(Line::raw).collect();
        // In pieces: what is inserted at once has to fit a buffer of 65535 cells.
        for lines in lines.chunks(64) {
            let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
            let text = Paragraph::new(lines.to_vec());
            self.terminal.insert_before(height, |buffer| text.render(buffer.area, buffer))?;
        }
        Ok(())
    }

    /// Shows these lines and leaves the cursor, hidden, behind the last: there what is typed does no harm.
    pub(super) fn draw(&mut self, lines: Vec<Line<'static>>) -> Result<(), B::Error> {
        let end = lines.last().map_or(0, Line::width);
        let shown = Paragraph::new(lines);
        self.terminal.draw(|frame| frame.render_widget(shown, frame.area()))?;
        let area = self.terminal.get_frame().area();
        let column = u16::try_from(end).unwrap_or(u16::MAX).min(area.width.saturating_sub(1));
        self.terminal.set_cursor_position((area.x + column, area.bottom().saturating_sub(1)))
    }

    /// Takes the lines off the screen; the cursor, shown again, is where they began.
    pub(super) fn close(mut self) -> Result<Position, B::Error> {
        let Rect { x, y, .. } = self.terminal.get_frame().area();
        self.terminal.clear()?;
        self.terminal.set_cursor_position((x, y))?;
        self.terminal.show_cursor()?;
        Ok(Position { x, y })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;

    fn lines(text: &str) -> Vec<Line<'static>> {
        text.lines().map(|line| Line::raw(line.to_owned())).collect()
    }

    fn screen(panel: &Panel<TestBackend>) -> String {
        let buffer = panel.terminal.backend().inner().buffer();
        let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        let rows: Vec<_> = (0..buffer.area.height).map(|y| row(y).trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    fn panel(height: u16) -> Panel<TestBackend> {
        Panel::open(TestBackend::new(12, 6), height, Some(Position::new(0, 1))).unwrap()
    }

    #[test]
    fn what_happens_stands_above_the_panel_and_is_wrapped() {
        let mut panel = panel(2);
        panel.draw(lines("panel 1\npanel 2")).unwrap();
        panel.insert("something has happened").unwrap();
        panel.draw(lines("panel 3\npanel 4")).unwrap();
        assert_eq!(screen(&panel), "\nsomething\nhas happened\npanel 3\npanel 4");
    }

    #[test]
    fn more_lines_than_the_terminal_has_scroll_by() {
        let mut panel = panel(2);
        let many: Vec<_> = (0..300).map(|n| format!("line {n}")).collect();
        panel.insert(&many.join("\n")).unwrap();
        panel.draw(lines("panel 1\npanel 2")).unwrap();
        assert_eq!(screen(&panel), "line 296\nline 297\nline 298\nline 299\npanel 1\npanel 2");
    }

    #[test]
    fn the_cursor_waits_behind_the_last_line() {
        let mut panel = panel(2);
        panel.draw(lines("panel\nhint")).unwrap();
        assert_eq!(panel.terminal.get_cursor_position().unwrap(), Position::new(4, 2));
    }

    #[test]
    fn a_closed_panel_leaves_the_cursor_where_it_began() {
        let mut panel = panel(3);
        panel.draw(lines("a\nb\nc")).unwrap();
        assert_eq!(panel.close().unwrap(), Position::new(0, 1));
    }

    #[test]
    fn a_terminal_smaller_than_the_panel_shows_what_fits() {
        let mut panel = panel(9);
        panel.draw(lines("1\n2\n3\n4\n5\n6\n7\n8\n9")).unwrap();
        panel.insert("event").unwrap();
        panel.draw(lines("1\n2\n3\n4\n5\n6\n7\n8\n9")).unwrap();
        assert_eq!(screen(&panel), "1\n2\n3\n4\n5\n6");
    }

    #[test]
    fn a_terminal_that_shrinks_and_grows_is_followed() {
        let mut panel = panel(2);
        for (width, height) in [(12, 6), (3, 2), (1, 1), (40, 20)] {
            panel.terminal.backend_mut().inner_mut().resize(width, height);
            panel.follow_size().unwrap();
            panel.insert("some event").unwrap();
            panel.draw(lines("panel 1\npanel 2")).unwrap();
        }
        assert!(screen(&panel).ends_with("panel 1\npanel 2"), "{}", screen(&panel));
    }
}
