//! What the circumstances and figures of a series are called.
//!
//! For every text of a report, so that a series has the same name in a table, on a page and in a comparison.

use super::model::{Cores, Mode, Pace, Variant, Waiting, What};

/// Microseconds with as many digits as mean something: `0.25`, `12.3`, `1234`.
pub(super) fn us(ns: f64) -> String {
    number(ns / 1e3)
}

/// As [`us`], of a time that was measured.
pub(super) fn whole_us(ns: u64) -> String {
    us(ns as f64)
}

/// A number in three digits, or all that are before the point.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A share: `0.8 %`, `42 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// The text with control characters made visible: a name from elsewhere can't steer the terminal.
pub(super) fn visible(text: &str) -> String {
    let one = |c: char| match c {
        '\n' => "\n".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

impl What {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in process",
            Self::Isolated => "isolated",
            Self::Floor => "floor",
            Self::RawSync => "raw_sync event",
            Self::Eventfd => "eventfd",
            Self::Pipe => "pipe",
            Self::UnixSocket => "Unix socket",
            Self::NoOp => "no-op call",
            Self::PlainNumpy => "plain numpy",
            Self::Pedalboard => "pedalboard (C++)",
        }
    }

    /// There is no other process, so that nobody waits, and cores and idle states mean less.
    #[must_use]
    pub fn is_in_one_process(self) -> bool {
        matches!(self, Self::InProcess | Self::NoOp | Self::PlainNumpy | Self::Pedalboard)
    }
}

impl Pace {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BackToBack => "back to back",
            Self::Paced => "paced",
        }
    }
}

impl Variant {
    /// Who is timed: `isolated simple_gain, pipelined`, `floor`.
    #[must_use]
    pub fn who(&self) -> String {
        let mut text = self.what.name().to_owned();
        if !self.plugin.is_empty() {
            text.push_str(&format!(" {}", visible(&self.plugin)));
        }
        if self.mode == Mode::Pipelined && self.what == What::Isolated {
            text.push_str(", pipelined");
        }
        if self.through_host {
            text.push_str(", through the host");
        }
        text
    }

    /// The block and how it comes: `2 x 512 frames, paced, the other core busy`.
    #[must_use]
    pub fn block(&self) -> String {
        let load = if self.loaded { ", the other core busy" } else { "" };
        format!("{} x {} frames, {}{load}", self.channels, self.block_frames, self.pace.name())
    }

    /// How the processes meet: `parked, one core, chain of 4`; of what is in one process, that.
    #[must_use]
    pub fn meeting(&self) -> String {
        let mut parts = Vec::new();
        if self.what.is_in_one_process() {
            parts.push("one process".to_owned());
        } else {
            let waiting = match self.waiting {
                Waiting::Parked => "parked",
                Waiting::Spinning => "spinning",
                Waiting::Adaptive => "spinning as it pays",
            };
            let cores = match self.cores {
                Cores::One => "one core",
                Cores::Two => "two cores",
                Cores::Any => "cores as the scheduler likes",
            };
            parts.extend([waiting.to_owned(), cores.to_owned()]);
        }
        if self.awake {
            parts.push("idle states held off".to_owned());
        }
        if self.chain > 1 {
            parts.push(format!("chain of {}", self.chain));
        }
        if self.pipelines > 1 {
            parts.push(format!("{} pipelines", self.pipelines));
        }
        parts.join(", ")
    }

    /// All of it: who, how they meet, the block.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}, {}, {}", self.who(), self.meeting(), self.block())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::variant;
    use super::*;

    #[test]
    fn times_have_the_digits_that_mean_something() {
        let texts = [250.0, 9_994.0, 9_996.0, 99_940.0, 99_960.0, 4_440_400.0].map(us);
        assert_eq!(texts, ["0.25", "9.99", "10.0", "99.9", "100", "4440"]);
        assert_eq!((percent(0.008), percent(0.42)), ("0.8 %".into(), "42 %".into()));
    }

    #[test]
    fn a_plugin_cannot_steer_the_terminal_by_its_name() {
        let name = variant(What::Isolated, "evil\x1b[2J").name();
        assert!(name.starts_with("isolated evil\\u{1b}[2J, "), "{name}");
        assert_eq!(visible("a\nb\r"), "a\nb\\r");
    }

    #[test]
    fn a_series_is_named_by_what_is_not_the_rule() {
        let plain = variant(What::Isolated, "passthrough");
        assert_eq!(plain.name(), "isolated passthrough, parked, one core, 2 x 512 frames, back to back");
        let odd = Variant {
            mode: Mode::Pipelined,
            waiting: Waiting::Spinning,
            cores: Cores::Two,
            awake: true,
            chain: 4,
            pipelines: 2,
            pace: Pace::Paced,
            loaded: true,
            ..plain
        };
        assert_eq!(
            odd.name(),
            "isolated passthrough, pipelined, spinning, two cores, idle states held off, chain of 4, \
             2 pipelines, 2 x 512 frames, paced, the other core busy"
        );
        assert_eq!(variant(What::NoOp, "").meeting(), "one process");
    }
}
