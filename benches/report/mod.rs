//! What was measured, and what is said about it.
//!
//! For `nda bench`: [`model`] is the data that measuring fills in and everything else reads. Nothing here measures.
//!
//! | a run is | by |
//! |---|---|
//! | filled in | [`model::Figures::of`], [`model::Machine::here`], [`doubts::of`] |
//! | told in a terminal | [`tell`] |
//! | written for programs, and read again | [`json::write`], [`json::read`] |
//! | shown in a browser | [`page::write`] |
//! | held against one of before | [`check::against`] |

pub mod check;
pub mod doubts;
pub mod figures;
pub mod json;
pub mod judge;
pub mod machine;
pub mod model;
pub mod page;
pub mod pairs;
pub mod ratios;
pub mod table;
pub mod targets;
pub mod verdict;
mod words;

#[cfg(test)]
mod fabricated;

use std::io::{Result, Write};

/// Tells a run to people, in lines of at most so many characters (110 show every column), and what it means for
/// the plugin that the user named, if one was.
///
/// # Errors
/// Of what it is written to.
pub fn tell(run: &model::Run, plugin: Option<&str>, width: usize, mut out: impl Write) -> Result<()> {
    out.write_all(words::visible(&table::text(run, width)).as_bytes())?;
    let verdict = plugin.map(|plugin| verdict::of(run, plugin)).unwrap_or_default();
    if verdict.is_empty() {
        return Ok(());
    }
    let verdict = table::wrapped(&verdict, width);
    writeln!(out, "\n{}", words::visible(verdict.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(plugin: Option<&str>) -> String {
        let mut out = Vec::new();
        tell(&fabricated::whole(), plugin, 100, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_run_of_a_named_plugin_ends_with_its_verdict() {
        let text = told(Some("passthrough"));
        let end = text.rsplit("\n\n").next().unwrap_or_default();
        assert!(end.starts_with("passthrough on this machine at 48 kHz"), "{end}");
        assert!(end.contains("\nWhat takes the time at 512 frames: ") && end.ends_with(").\n"), "{end}");
        assert!(text.lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn without_one_it_ends_with_the_doubts() {
        assert!(told(None).ends_with("\nwarning: the hypervisor took 0.31 % of the processor's time away\n"));
        assert_eq!(told(Some("never measured")), told(None));
    }
}
