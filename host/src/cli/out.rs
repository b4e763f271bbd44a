//! The one place that writes to standard output and standard error.
//!
//! For every command. It keeps control characters of plugins and files away from the terminal, decides on
//! colour, and treats a closed pipe or terminal as a reader who has seen enough. It does not draw the live screen.

use super::journal;
use crate::error::{Error, Kind};
use crate::level::Level;
use rustix::io::Errno;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Standard output and standard error.
pub(super) struct Out {
    output: Stream,
    error: Stream,
    /// Standard output carries JSON: people read standard error.
    json_on_output: bool,
    /// Standard error is the journal's, which wants to know how much a line matters.
    error_to_journal: bool,
    /// What is said on standard error may be kept where others read it.
    error_is_log: bool,
}

impl Out {
    /// The process's own.
    pub(super) fn standard() -> Self {
        let error_to_journal = journal::is_ours(io::stderr());
        Self {
            output: Stream::new(io::stdout(), io::stdout().is_terminal()),
            error: Stream::new(io::stderr(), io::stderr().is_terminal()),
            json_on_output: false,
            error_to_journal,
            error_is_log: error_to_journal,
        }
    }

    /// Two buffers or the like, neither a terminal.
    #[cfg(test)]
    pub(super) fn catching(output: impl Write + 'static, error: impl Write + 'static) -> Self {
        let (output, error) = (Stream::new(output, false), Stream::new(error, false));
        Self { output, error, json_on_output: false, error_to_journal: false, error_is_log: false }
    }

    /// From now on standard output belongs to JSON, and text for people goes to standard error.
    pub(super) fn leave_output_to_json(&mut self) {
        self.json_on_output = true;
    }

    /// What is said from now on may be said to nobody: on standard error, it is for a log unless that is a terminal.
    pub(super) fn leave_alone(&mut self) {
        self.error_is_log |= !self.error.terminal;
    }

    /// Whether a live screen can be shown: standard output is a terminal, for people, and can move its cursor.
    pub(super) fn is_screen(&self) -> bool {
        self.output.terminal && !self.json_on_output && !is_dumb()
    }

    /// Whether a progress bar can be shown on standard error.
    pub(super) fn has_bar(&self) -> bool {
        self.error.terminal
    }

    /// Whether the screen may be coloured.
    pub(super) fn colour(&self) -> bool {
        self.output.colour
    }

    /// Text for people, of whole lines: the outcome of a command.
    pub(super) fn text(&mut self, text: &str) {
        let stream = if self.json_on_output { &mut self.error } else { &mut self.output };
        stream.write(clean(text).as_bytes());
    }

    /// Text for people beside the outcome, of whole lines.
    pub(super) fn note(&mut self, text: &str) {
        self.error.write(clean(text).as_bytes());
    }

    /// Data for a program, as it is.
    pub(super) fn data(&mut self, bytes: &[u8]) {
        self.output.write(bytes);
    }

    /// An error, with its cause and remedy.
    pub(super) fn error(&mut self, error: &Error) {
        let told = if self.error_is_log { error.for_log() } else { error.to_string() };
        let word = if self.error.colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
        let text = format!("nda: {word} {}\n", clean(&told));
        let text = if self.error_to_journal { journal::lines(Level::Error, &text) } else { text };
        self.error.write(text.as_bytes());
    }

    /// What clap has to say: help on standard output, a wrong command line on standard error.
    pub(super) fn clap(&mut self, error: &clap::Error) {
        let stream = if error.use_stderr() { &mut self.error } else { &mut self.output };
        let styled = error.render();
        // The help for a lack of arguments goes to standard error as well, but is no error.
        let prefix = if styled.to_string().starts_with("error:") { "nda: " } else { "" };
        let text = if stream.colour { styled.ansi().to_string() } else { styled.to_string() };
        stream.write(format!("{prefix}{text}").as_bytes());
    }

    /// Hands over what is still held back.
    ///
    /// # Errors
    /// If standard output took less than it was given, unless its reader has closed it.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.error.flush();
        self.output.flush();
        match self.output.fault.take() {
            Some(fault) => Err(Error::new(Kind::Output, "standard output can't be written").source(fault)),
            None => Ok(()),
        }
    }
}

/// One of the two, until its reader closes it.
struct Stream {
    to: Box<dyn Write>,
    terminal: bool,
    colour: bool,
    closed: bool,
    fault: Option<io::Error>,
}

impl Stream {
    fn new(to: impl Write + 'static, terminal: bool) -> Self {
        Self { to: Box::new(to), terminal, colour: terminal && wants_colour(), closed: false, fault: None }
    }

    fn write(&mut self, bytes: &[u8]) {
        if !self.closed {
            let written = self.to.write_all(bytes);
            self.note_result(written);
        }
    }

    fn flush(&mut self) {
        if !self.closed {
            let flushed = self.to.flush();
            self.note_result(flushed);
        }
    }

    /// After a failure nothing more is written: half a text is worse than none.
    fn note_result(&mut self, result: io::Result<()>) {
        let Err(error) = result else { return };
        self.closed = true;
        let is_hung_up = self.terminal && Errno::from_io_error(&error) == Some(Errno::IO);
        if error.kind() != ErrorKind::BrokenPipe && !is_hung_up {
            self.fault = Some(error);
        }
    }
}

/// Whether the environment leaves colour on: `NO_COLOR` is empty or not set, the terminal is not a dumb one.
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !is_dumb()
}

/// Whether the terminal says that it knows no escape codes.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// The text with control characters made visible, so that a plugin can't steer the terminal by its name.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => clean.push(c),
            '\t' => clean.push_str("    "),
            c if c.is_control() => clean.extend(c.escape_default()),
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fabricated::Shared;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let mut out = Out::catching(Refusing(ErrorKind::BrokenPipe), io::sink());
        out.text("one\n");
        out.text("two\n");
        assert!(out.finish().is_ok());
    }

    #[test]
    fn a_full_disk_is_an_error_of_the_output() {
        let mut out = Out::catching(Refusing(ErrorKind::StorageFull), io::sink());
        out.text("one\n");
        assert_eq!(out.finish().unwrap_err().kind(), Kind::Output);
    }

    #[test]
    fn text_gives_way_to_json() {
        let (output, error) = (Shared::default(), Shared::default());
        let mut out = Out::catching(output.clone(), error.clone());
        out.leave_output_to_json();
        out.text("for people\n");
        out.data(b"{}");
        assert_eq!((output.text(), error.text()), ("{}".into(), "for people\n".into()));
    }

    #[test]
    fn a_plugin_cannot_steer_the_terminal() {
        assert_eq!(clean("evil\x1b[2J\tname\r\n"), "evil\\u{1b}[2J    name\\r\n");
    }

    #[test]
    fn an_error_keeps_its_lines() {
        let error_text = Shared::default();
        let mut out = Out::catching(io::sink(), error_text.clone());
        out.error(&Error::new(Kind::Plugin, "echo.py failed").detail("line 1\nline 2").remedy("mend it"));
        let expected = "nda: error: echo.py failed\n    line 1\n    line 2\n  try: mend it\n";
        assert_eq!(error_text.text(), expected);
    }

    #[test]
    fn what_may_be_a_secret_is_told_to_whoever_asked_and_to_no_log() {
        let error = || Error::new(Kind::Plugin, "no").private_remedy("check `hunter2`", "check the value");
        let told = |terminal, alone| {
            let text = Shared::default();
            let mut out = Out::catching(io::sink(), text.clone());
            out.error.terminal = terminal;
            if alone {
                out.leave_alone();
            }
            out.error(&error());
            text.text()
        };
        let (all, discreet) =
            ("nda: error: no\n  try: check `hunter2`\n", "nda: error: no\n  try: check the value\n");
        assert_eq!([told(true, false), told(false, false), told(true, true)], [all; 3]);
        assert_eq!(told(false, true), discreet);
        assert_eq!(error().remedy("nothing").for_log(), "no\n  try: nothing");
    }

    #[test]
    fn an_error_in_the_journal_has_its_level_before_each_line() {
        let error_text = Shared::default();
        let mut out = Out { error_to_journal: true, ..Out::catching(io::sink(), error_text.clone()) };
        out.error(&Error::new(Kind::Device, "there is no device").remedy("plug it in"));
        assert_eq!(error_text.text(), "<3>nda: error: there is no device\n<3>  try: plug it in\n");
    }
}
