//! The live screen of `nda run`: a panel at the bottom, what happens above it.
//!
//! For people at a terminal. It uses no alternate screen and no raw mode; what it borrows of the terminal, cursor
//! and echo, is given back on every way out. Where the terminal does not play along it falls back to plain lines.

use super::levels::{Peaks, beside};
use super::out::{Out, clean};
use super::panel::Panel;
use super::plain::Plain;
use super::{echo, view, words};
use crate::level::Level;
use crate::report::PipelineStatus;
use crate::run::Observer;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::terminal::{disable_raw_mode, size};
use ratatui::layout::Position;
use ratatui::text::Line;
use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

/// Events that wait while the panel can't be drawn.
const WAITING_MAX: usize = 1000;

/// Tells a run on a terminal.
pub(super) struct Screen<'a> {
    plain: Plain<'a>,
    /// The terminal does not play along: plain lines instead.
    given_up: bool,
    colour: bool,
    resumed: Arc<AtomicBool>,
    panel: Option<Panel<CrosstermBackend<Stdout>>>,
    begun: bool,
    waiting: Vec<String>,
    elapsed: Duration,
    peaks: Vec<Peaks>,
}

impl<'a> Screen<'a> {
    /// Takes nothing of the terminal until there is a status to show. `resumed` says when something else may
    /// have written to it.
    pub(super) fn new(out: &'a mut Out, resumed: Arc<AtomicBool>) -> Self {
        Self {
            colour: out.colour(),
            plain: Plain::new(out),
            given_up: false,
            resumed,
            panel: None,
            begun: false,
            waiting: Vec::new(),
            elapsed: Duration::ZERO,
            peaks: Vec::new(),
        }
    }

    fn lines(&self, pipelines: &[PipelineStatus], width: u16, height: u16) -> Vec<Line<'static>> {
        // A row is left to what happens.
        let height = height.saturating_sub(1).max(1);
        let lines = view::lines(self.elapsed, pipelines, &self.peaks, width.into(), height.into());
        if self.colour { lines } else { view::without_colour(lines) }
    }

    fn show(&mut self, pipelines: &[PipelineStatus]) -> io::Result<()> {
        if self.resumed.swap(false, Ordering::Relaxed) {
            // Others have written since: what we know of the screen is no longer true.
            self.panel = None;
        }
        if let Some(panel) = &mut self.panel {
            panel.follow_size()?;
        }
        let (width, height) = size()?;
        let lines = self.lines(pipelines, width, height);
        let mut panel = self.panel_of(u16::try_from(lines.len()).unwrap_or(u16::MAX))?;
        let drawn = insert_all(&mut panel, &mut self.waiting).and_then(|()| panel.draw(lines));
        self.panel = Some(panel);
        drawn
    }

    /// The panel if it has this height, else another in its place.
    fn panel_of(&mut self, height: u16) -> io::Result<Panel<CrosstermBackend<Stdout>>> {
        let (cursor, open) = match self.panel.take() {
            Some(panel) if panel.height() == height => (None, Some(panel)),
            Some(panel) => (Some(panel.close()?), None),
            None => (None, None),
        };
        match open {
            Some(panel) => Ok(panel),
            None => open_panel(height, cursor),
        }
    }

    /// From now on only lines: those that wait, then as they come.
    fn give_up(&mut self) {
        self.close();
        self.given_up = true;
        for line in std::mem::take(&mut self.waiting) {
            self.plain.line(&line);
        }
    }

    fn close(&mut self) {
        let panel = self.panel.take();
        if let Some(panel) = panel.filter(|_| echo::is_ours()) {
            // What could be done about a terminal that is gone?
            let _ = panel.close();
        }
        let _ = io::stdout().flush();
        echo::on();
    }
}

impl Observer for Screen<'_> {
    fn event(&mut self, level: Level, line: &str) {
        if self.given_up || !self.begun {
            self.plain.event(level, line);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push(format!("{} {}", words::clock(self.elapsed), clean(line)));
        }
    }

    fn status(&mut self, elapsed: Duration, pipelines: &[PipelineStatus]) {
        let seconds = elapsed.saturating_sub(self.elapsed).as_secs_f32();
        self.elapsed = elapsed;
        if self.given_up {
            return self.plain.status(elapsed, pipelines);
        }
        for (held, pipeline) in beside(&mut self.peaks, pipelines) {
            held.follow(&pipeline.peaks_db, seconds);
        }
        self.begun = true;
        if echo::is_ours() && self.show(pipelines).is_err() {
            self.give_up();
        }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.close();
        for line in waiting {
            self.plain.line(&line);
        }
    }
}

fn insert_all(panel: &mut Panel<CrosstermBackend<Stdout>>, waiting: &mut Vec<String>) -> io::Result<()> {
    if waiting.is_empty() {
        return Ok(());
    }
    panel.insert(&std::mem::take(waiting).join("\n"))
}

fn open_panel(height: u16, cursor: Option<Position>) -> io::Result<Panel<CrosstermBackend<Stdout>>> {
    static HOOK: Once = Once::new();
    HOOK.call_once(give_back_on_panic);
    CURSOR_TAKEN.store(true, Ordering::Relaxed);
    echo::off();
    Panel::open(CrosstermBackend::new(io::stdout()), height, cursor)
}

/// The cursor is hidden, or may be.
static CURSOR_TAKEN: AtomicBool = AtomicBool::new(false);

/// Leaves the terminal as a shell expects it. From any thread.
pub(super) fn give_back_terminal() {
    if CURSOR_TAKEN.load(Ordering::Relaxed) {
        // Raw mode lasts a moment, when the terminal is asked for its cursor.
        let _ = disable_raw_mode();
        let _ = io::stdout().write_all(b"\x1b[?25h\r\n").and_then(|()| io::stdout().flush());
    }
    echo::on();
}

/// The message of a panic begins on a line of its own, with the cursor on.
fn give_back_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        give_back_terminal();
        before(info);
    }));
}
