//! The command line of `nda bench`.

use benches::measure::plan::Wanted;
use benches::measure::plugins::Own;
use clap::Parser;
use std::path::PathBuf;

/// Measure what isolation costs on this machine, and what a plugin takes
///
/// Without PLUGIN, measures the shipped plugins in their worker processes and without, beside what two bare processes
/// need to wake each other, all in turns within one run. With PLUGIN, looks at that one, at every size of block.
/// Takes about 35 minutes, with PLUGIN about 11 (more if it is slow: blocks back to back take as long as they do), and with
/// --quick half a minute: leave the machine alone meanwhile.
#[derive(Debug, Parser)]
#[command(
    name = "nda bench",
    bin_name = "nda bench",
    version,
    max_term_width = 100,
    after_help = "Examples:
  nda bench --quick
  nda bench echo.py --set delay=0.3 --html echo.html
  nda bench --quick --check baseline.json
  nda bench --only floor --only paced"
)]
pub(crate) struct Args {
    /// The plugin to look at
    #[arg(value_name = "PLUGIN")]
    plugin: Option<PathBuf>,
    /// The small set, in less than half a minute
    #[arg(long)]
    quick: bool,
    /// So many blocks of each variant [default: 10000, paced and quick 1000, paced of PLUGIN with --quick 200; fewer of some,
    /// see benches/README.md]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    blocks: Option<u32>,
    /// Write the run as JSON into this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a page with plots into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Compare with the run in this file; end with 9 if ratios have become worse or are missing, or if the runs have none in
    /// common
    #[arg(long, value_name = "BASELINE.json")]
    pub(crate) check: Option<PathBuf>,
    /// A parameter of PLUGIN
    #[arg(long, value_name = "KEY=VALUE", requires = "plugin", value_parser = parameter)]
    set: Vec<(String, String)>,
    /// The interpreter, with numpy [default: .venv beside PLUGIN or here, $VIRTUAL_ENV, python3]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Only the variants with this word (and each further one): isolated, in-process, floor, passthrough, 2x512,
    /// pipelined, spinning, two-core, paced, chain-4, through-host, pipelines-2, awake, loaded ...
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
}

impl Args {
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted {
            quick: self.quick,
            blocks: self.blocks,
            plugin: self.own().map(|own| own.name()),
            only: self.only.clone(),
        }
    }

    pub(crate) fn own(&self) -> Option<Own> {
        self.plugin.as_ref().map(|file| Own { file: file.clone(), set: self.set.clone() })
    }

    /// The interpreter that is named, or that of the folder we are in, where the user's plugin brings none.
    pub(crate) fn python(&self) -> Option<PathBuf> {
        let here = PathBuf::from(".venv/bin/python");
        self.python.clone().or_else(|| (self.plugin.is_none() && here.exists()).then_some(here))
    }
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
