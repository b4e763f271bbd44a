//! A terminal that remembers where it put the cursor.
//!
//! For the live screen. Asking a terminal where its cursor is takes raw mode and an answer: over a slow line
//! that is long, and in raw mode Ctrl-C is a character and no signal. Ratatui asks often; here the terminal is
//! asked only when it is opened and when its size has changed.

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use std::cell::Cell as Slot;

/// A back end of Ratatui around another.
pub(super) struct KnownCursor<B> {
    backend: B,
    cursor: Option<Position>,
    size: Slot<Option<Size>>,
    /// Since then the terminal itself may have moved the cursor.
    resized: Slot<bool>,
}

impl<B> KnownCursor<B> {
    /// `cursor` is where it stands, if that is known.
    pub(super) fn new(backend: B, cursor: Option<Position>) -> Self {
        Self { backend, cursor, size: Slot::new(None), resized: Slot::new(false) }
    }

    #[cfg(test)]
    pub(super) fn inner(&self) -> &B {
        &self.backend
    }

    #[cfg(test)]
    pub(super) fn inner_mut(&mut self) -> &mut B {
        &mut self.backend
    }
}

impl<B: Backend> Backend for KnownCursor<B> {
    type Error = B::Error;

    fn draw<'a, I>(&mut self, content: I) -> Result<(), B::Error>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut content = content.peekable();
        if content.peek().is_some() {
            self.cursor = None;
        }
        self.backend.draw(content)
    }

    fn append_lines(&mut self, n: u16) -> Result<(), B::Error> {
        self.cursor = None;
        self.backend.append_lines(n)
    }

    fn hide_cursor(&mut self) -> Result<(), B::Error> {
        self.backend.hide_cursor()
    }

    /// Never fails: Ratatui does it at its very end and prints what goes wrong, which is a panic where the terminal that it
    /// prints to is gone.
    fn show_cursor(&mut self) -> Result<(), B::Error> {
        let _ = self.backend.show_cursor();
        Ok(())
    }

    fn get_cursor_position(&mut self) -> Result<Position, B::Error> {
        let known = self.cursor.filter(|_| !self.resized.get());
        let position = known.map_or_else(|| self.backend.get_cursor_position(), Ok)?;
        self.cursor = Some(position);
        self.resized.set(false);
        Ok(position)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> Result<(), B::Error> {
        let position = position.into();
        self.cursor = Some(position);
        self.backend.set_cursor_position(position)
    }

    fn clear(&mut self) -> Result<(), B::Error> {
        self.cursor = None;
        self.backend.clear()
    }

    fn clear_region(&mut self, clear_type: ClearType) -> Result<(), B::Error> {
        self.backend.clear_region(clear_type)
    }

    fn size(&self) -> Result<Size, B::Error> {
        let size = self.backend.size()?;
        if self.size.replace(Some(size)).is_some_and(|before| before != size) {
            self.resized.set(true);
        }
        Ok(size)
    }

    fn window_size(&mut self) -> Result<WindowSize, B::Error> {
        self.backend.window_size()
    }

    fn flush(&mut self) -> Result<(), B::Error> {
        self.backend.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;

    /// A terminal whose cursor is elsewhere than we put it, to see who is asked.
    fn moved(cursor: Option<Position>) -> KnownCursor<TestBackend> {
        let mut known = KnownCursor::new(TestBackend::new(10, 10), cursor);
        known.size().unwrap();
        known.backend.set_cursor_position((9, 9)).unwrap();
        known
    }

    #[test]
    fn a_cursor_that_is_known_is_not_asked_for() {
        let at = Position::new(1, 2);
        assert_eq!(moved(Some(at)).get_cursor_position().unwrap(), at);
        assert_eq!(moved(None).get_cursor_position().unwrap(), Position::new(9, 9));
    }

    #[test]
    fn what_moves_the_cursor_makes_it_unknown() {
        let mut known = moved(Some(Position::new(1, 2)));
        known.draw([(0, 0, &Cell::new("x"))].into_iter()).unwrap();
        known.backend.set_cursor_position((8, 8)).unwrap();
        assert_eq!(known.get_cursor_position().unwrap(), Position::new(8, 8));
    }

    #[test]
    fn a_terminal_of_another_size_is_asked_again() {
        let mut known = moved(Some(Position::new(1, 2)));
        known.backend.resize(20, 20);
        known.size().unwrap();
        assert_eq!(known.get_cursor_position().unwrap(), Position::new(9, 9));
    }
}
