//! The command line: what can be typed, and the help that tells it.
//!
//! For the commands, which get values that are already checked as far as the words go. It opens no file; the
//! plugins of a render are read in `plugin_args`.

use super::exit::exit_codes_text;
use super::plugin_args::{PluginArgs, parameter};
use crate::audio_file::Bits;
use crate::config::BLOCK_DEFAULT;
use crate::control::Request;
use crate::crash;
use crate::faults::{EACH_DEFAULT, FaultsSpec, Kind};
use crate::level::Level;
use crate::plugin::spec::Standby;
use crate::render::RenderSpec;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use shared::format::{BLOCK_FRAMES, RATE};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs Python audio plugins, each in a process of its own.
///
/// A plugin that hangs, crashes or runs wild loses its own blocks, never the audio of the others: nda waits
/// for each only until its deadline and plays on.
#[derive(Debug, Parser)]
#[command(name = "nda", version, max_term_width = 100, after_help = EXAMPLES, after_long_help = after_long_help())]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What `nda` can do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Run(RunArgs),
    Ctl(CtlArgs),
    Top(TopArgs),
    Render(RenderArgs),
    Devices(DevicesArgs),
    Doctor(DoctorArgs),
    Latency(LatencyArgs),
    Faults(FaultsArgs),
    Replay(ReplayArgs),
    Bench(BenchArgs),
    Completions(CompletionsArgs),
}

const EXAMPLES: &str = "Examples:
  nda run live.toml
  nda render song.flac out.wav --plugin echo.py --set delay=0.3";

fn after_long_help() -> String {
    format!("{EXAMPLES}\n\n{}", exit_codes_text())
}

/// Run the pipelines of a configuration in real time
///
/// Each pipeline takes audio from a file, a device or a plugin through its plugins to a device, a file or a
/// plugin, until every source has ended, the time given is over, or Ctrl-C. On a terminal a live screen shows
/// levels, times and losses; elsewhere there is a line a second. A plugin that dies or hangs is started again in
/// a new process. At the end a report tells what became of every block.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nda run live.toml --for 60 --json report.json

A configuration can be as short as this:
  [[pipeline]]
  source = \"song.flac\"
  plugins = [\"echo.py\"]
  sink = \"default\"")]
pub(super) struct RunArgs {
    /// The configuration, in TOML
    #[arg(value_name = "CONFIG.toml")]
    pub(super) config: PathBuf,
    /// End after this many seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub(super) limit: Option<Duration>,
    /// Write the report as JSON into this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Also write what happens into this file, with dates and levels; it never takes more than 40 MiB
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// What goes into the log, or into systemd's journal: this and worse
    #[arg(long, value_name = "error|warning|info|debug", default_value_t, value_parser = str::parse::<Level>)]
    pub(super) log_level: Level,
    /// The socket for `nda ctl`; off: none [default: the configuration's, or one of its own]
    #[arg(long, value_name = "PATH|off")]
    pub(super) socket: Option<PathBuf>,
}

/// Steer a run: start and stop its pipelines, set parameters, bypass, mute
///
/// Talks to a run of yours over a socket that only you may open. PLUGIN is PIPELINE/PLUGIN, or the plugin's name alone
/// if no other pipeline has one of that name. What you do to one pipeline leaves the samples of the others alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nda ctl status
  nda ctl set tx/gain gain 0.5
  nda ctl bypass tx/gain on
  nda ctl --run duplex reload")]
pub(super) struct CtlArgs {
    /// Which run, if there are several: the name of its configuration, or its process number
    #[arg(long, global = true, value_name = "NAME|PID", conflicts_with = "socket")]
    pub(super) run: Option<String>,
    /// The run's socket, if it is not in the usual place
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// What to do
    #[command(subcommand)]
    pub(super) request: Request,
}

/// Look at a run, over and over, without asking it
///
/// Shows what a run of yours tells ten times a second in a page of shared memory, also when it hangs or is stopped: then
/// it says for how long nothing new has come. Ends with the run, or with Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nda top
  nda top --run duplex --once")]
pub(super) struct TopArgs {
    /// Which run, if there are several: the name of its configuration, or its process number
    #[arg(long, value_name = "NAME|PID")]
    pub(super) run: Option<String>,
    /// Look once; so it is where the output is no terminal
    #[arg(long)]
    pub(super) once: bool,
    /// Look once, and print what the run tells as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Render a file through plugins into a file, as fast as it goes
///
/// The same chain as in `nda run`, but it waits for every block, so that nothing is lost to slowness. OUT is
/// replaced if it exists.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nda render song.flac out.wav --plugin echo.py
  nda render in.wav out.wav --plugin gain.py --set gain=0.5 --plugin limit.py --lost mute --bits 24")]
pub(super) struct RenderArgs {
    /// The file to read: WAV or FLAC
    #[arg(value_name = "IN")]
    pub(super) input: PathBuf,
    /// The file to write: WAV
    #[arg(value_name = "OUT")]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) plugins: PluginArgs,
    /// Frames per block, 16 to 8192
    #[arg(long, value_name = "FRAMES", default_value_t = BLOCK_DEFAULT, value_parser = block_frames)]
    pub(super) block: u32,
    /// Sample format of OUT: 16 or 24-bit integers, or 32-bit floats
    #[arg(long, value_name = "16|24|32f", default_value = "32f")]
    pub(super) bits: Bits,
    /// Write the report as JSON into this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// List the audio devices
///
/// Shows the names that a configuration can use as a source or a sink, with what each device can do.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nda devices --json")]
pub(super) struct DevicesArgs {
    /// Print them as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Look what this machine lacks for real-time audio, and say how to get it
///
/// Tries what pipelines would be given: real-time priority, processors that stay awake, memory that stays in place; starts
/// an interpreter with numpy; looks for devices. It changes nothing. Ends with 0 unless nothing could play here.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nda doctor --python .venv/bin/python")]
pub(super) struct DoctorArgs {
    /// The interpreter to try; else .venv here or above, $VIRTUAL_ENV or python3 on the path
    #[arg(long, value_name = "FILE")]
    pub(super) python: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Measure what a pipeline adds between source and sink
///
/// Sends impulses through the output, which has to be joined with the input by a cable, and counts the frames until they
/// have come back through the input and every plugin. With sound cards it differs from run to run by up to a buffer,
/// as the input's callbacks fall between the output's by chance. Without devices it goes through a virtual cable. With a
/// configuration its pipelines are measured, one after the other, in place of their own sources and sinks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nda latency --plugin gain.py --block 128
  nda latency live.toml --output \"Scarlett\" --input \"Scarlett\" --within 256")]
pub(super) struct LatencyArgs {
    /// The configuration; or else one pipeline of the plugins below
    #[arg(value_name = "CONFIG.toml", conflicts_with_all = ["rate", "block"])]
    pub(super) config: Option<PathBuf>,
    /// The output device, as in a configuration
    #[arg(long, value_name = "DEVICE", requires = "input")]
    pub(super) output: Option<String>,
    /// The input device, as in a configuration
    #[arg(long, value_name = "DEVICE", requires = "output")]
    pub(super) input: Option<String>,
    /// Frames in the devices' own buffers
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(super) buffer: Option<u32>,
    /// Frames per second [default: 48000]
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(i64::from(*RATE.start())..=i64::from(*RATE.end())))]
    pub(super) rate: Option<u32>,
    /// Frames per block, 16 to 8192
    #[arg(long, value_name = "FRAMES", default_value_t = BLOCK_DEFAULT, value_parser = block_frames)]
    pub(super) block: u32,
    #[command(flatten)]
    pub(super) plugins: PluginArgs,
    /// How many impulses
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) times: u32,
    /// End with 9 if the median is more frames from what was computed, or an impulse does not come back
    #[arg(long, value_name = "FRAMES")]
    pub(super) within: Option<u64>,
    /// Print the figures as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Inject every fault a plugin can have, and count what becomes of the audio
///
/// Plays two pipelines on the virtual device: in one a plugin fails in every way there is, the other is its
/// neighbour. Every block is judged. Needs a Python with numpy and about a second for each fault, twice that without
/// --no-control; nothing is heard. Ctrl-C ends it with the kinds that are done.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nda faults
  nda faults --each 210 --standby twin --json faults.json
  nda faults --kinds sigkill,sigstop --seed 7
  nda faults --cycles 1000")]
pub(super) struct FaultsArgs {
    /// Faults of each kind
    #[arg(long, value_name = "N", default_value_t = EACH_DEFAULT, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) each: u32,
    /// What the faults follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Only these kinds, with commas between; all if left out
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = fault_kind)]
    pub(super) kinds: Vec<Kind>,
    /// What stands by to take the place of a worker that died
    #[arg(long, value_name = "none|spare|twin", default_value = "spare", value_parser = standby)]
    pub(super) standby: Standby,
    /// The interpreter; else $VIRTUAL_ENV or python3 on the path
    #[arg(long, value_name = "FILE")]
    pub(super) python: Option<PathBuf>,
    /// Instead of the table: kill and restart one plugin so many times, and look whether anything grows
    #[arg(long, value_name = "N", conflicts_with_all = ["each", "kinds", "no_control"],
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) cycles: Option<u32>,
    /// Don't listen to the neighbour for as long without faults
    #[arg(long)]
    pub(super) no_control: bool,
    /// After so many seconds without good audio a fault was not survived
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub(super) patience: Duration,
    /// Write the table as JSON into this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// Give a plugin that died its last blocks again
///
/// Without REPORT, lists the crash reports, newest last. With one, loads its plugin in this terminal, under the
/// interpreter and with the parameters and state that it had, and gives it the blocks before its end: what comes
/// back, an exception or a crash is told for each. There is no deadline; Ctrl-C shows where it is and ends it,
/// Ctrl-\ does so in native code too. Reports are in $NDA_REPORTS, by default ~/.local/state/nda/reports.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  nda replay
  nda replay 2026-03-01T120000.250Z-echo --pdb
  nda replay ./report-of-a-friend --python .venv/bin/python --times 100")]
pub(super) struct ReplayArgs {
    /// The report: its folder, or its name in the list
    #[arg(value_name = "REPORT")]
    pub(super) report: Option<PathBuf>,
    /// Stop in Python's debugger where the plugin raises an exception
    #[arg(long, requires = "report")]
    pub(super) pdb: bool,
    /// Give it the blocks this many times
    #[arg(long, value_name = "N", default_value_t = 1, requires = "report",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) times: u32,
    /// The interpreter, with numpy [default: that of the report]
    #[arg(long, value_name = "PATH", requires = "report")]
    pub(super) python: Option<PathBuf>,
    /// Set this parameter, also where the report has another value or, as of a plugin that fails closed, none
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "report", value_parser = parameter)]
    pub(super) set: Vec<(String, String)>,
    /// Print the list as JSON
    #[arg(long, conflicts_with = "report")]
    pub(super) json: bool,
}

/// Measure what isolation costs on this machine, and what a plugin takes
///
/// All words behind it, also --help, are for the program nda-bench, which stands beside this one.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "Example:
  nda bench --quick"
)]
pub(super) struct BenchArgs {
    /// What nda-bench understands: see nda bench --help
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) words: Vec<OsString>,
}

/// Print a script that completes nda's arguments in a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:
  nda completions bash > ~/.local/share/bash-completion/completions/nda")]
pub(super) struct CompletionsArgs {
    /// The shell
    pub(super) shell: clap_complete::Shell,
}

impl RunArgs {
    /// The files it reads, which no output may replace.
    pub(super) fn inputs(&self) -> Vec<&Path> {
        vec![&self.config]
    }
}

impl RenderArgs {
    pub(super) fn spec(&self) -> RenderSpec {
        RenderSpec {
            input: self.input.clone(),
            output: self.output.clone(),
            elements: self.plugins.elements(),
            block_frames: self.block,
            bits: self.bits,
            reports: Some(crash::default_dir()),
        }
    }

    /// The files that `--json` may not replace.
    pub(super) fn files(&self) -> Vec<&Path> {
        let ends = [self.input.as_path(), self.output.as_path()];
        ends.into_iter().chain(self.plugins.files()).collect()
    }
}

impl FaultsArgs {
    pub(super) fn spec(&self) -> FaultsSpec {
        let asked = |kind: &Kind| self.kinds.is_empty() || self.kinds.contains(kind);
        FaultsSpec {
            each: self.each,
            seed: self.seed,
            kinds: Kind::ALL.into_iter().filter(asked).collect(),
            standby: self.standby,
            python: self.python.clone(),
            control: !self.no_control,
            patience: self.patience,
        }
    }
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// What is wrong with it; also the text of `--help` and `--version`, which clap hands over the same way.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words)?;
    Cli::from_arg_matches(&matches).map_err(|error| {
        // What clap itself can't judge is told with the usage of the subcommand, as if it could.
        let named = matches.subcommand_name().and_then(|name| command.find_subcommand(name)).cloned();
        error.format(&mut named.unwrap_or(command))
    })
}

/// The command line as clap knows it, for completions.
pub(super) fn command() -> clap::Command {
    Cli::command()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let right = "it must be a number of seconds above 0, as in 60 or 2.5";
    let seconds: f64 = text.parse().map_err(|_| right.to_owned())?;
    if seconds <= 0.0 || seconds.is_nan() {
        return Err(right.to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| "it is longer than a clock can count".to_owned())
}

fn fault_kind(name: &str) -> Result<Kind, String> {
    name.parse().map_err(|error: crate::error::Error| error.to_string())
}

fn standby(name: &str) -> Result<Standby, String> {
    match name {
        "none" => Ok(Standby::None),
        "spare" => Ok(Standby::Spare),
        "twin" => Ok(Standby::Twin),
        _ => Err("it must be none, spare or twin".to_owned()),
    }
}

fn block_frames(text: &str) -> Result<u32, String> {
    let frames = text.parse().ok().filter(|frames| BLOCK_FRAMES.contains(frames));
    frames.ok_or_else(|| format!("it must be {} to {}", BLOCK_FRAMES.start(), BLOCK_FRAMES.end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::EXIT_CODES;
    use crate::config::ElementSpec;
    use crate::plugin::spec::PluginSpec;

    fn parsed(line: &str) -> Command {
        parse(line.split(' ').map(OsString::from)).unwrap().command
    }

    fn told(line: &str) -> String {
        parse(line.split(' ').map(OsString::from)).unwrap_err().to_string()
    }

    #[test]
    fn clap_finds_no_contradiction() {
        command().debug_assert();
    }

    #[test]
    fn the_options_of_ctl_stand_before_or_behind_what_it_is_to_do() {
        for line in ["nda ctl --run 7 --json mute tx off", "nda ctl mute tx off --json --run 7"] {
            let Command::Ctl(args) = parsed(line) else { panic!("{line}") };
            assert_eq!((args.run.as_deref(), args.json), (Some("7"), true));
            assert!(matches!(args.request, Request::Mute { ref pipeline, on: false } if pipeline == "tx"));
        }
        let Command::Ctl(args) = parsed("nda ctl set gain db -6") else { panic!("no ctl") };
        assert!(matches!(args.request, Request::Set { ref value, .. } if value == "-6"));
        assert!(told("nda ctl bypass tx/gain yes").contains("it must be on or off"));
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        let help = told("nda --help");
        for (code, meaning) in EXIT_CODES {
            assert!(help.contains(&format!("{code:>3}  {meaning}\n")), "{code} in {help}");
        }
    }

    /// The examples in a help, without what a shell makes of them.
    fn examples(help: &str) -> Vec<String> {
        let lines = help.lines().filter(|line| line.starts_with("  nda "));
        lines.map(|line| line.trim().split(" > ").next().unwrap().replace('"', "")).collect()
    }

    #[test]
    fn every_command_has_an_example_in_its_help_and_each_can_be_typed() {
        let names: Vec<_> = command().get_subcommands().map(|one| one.get_name().to_owned()).collect();
        assert!(["run", "ctl", "bench"].iter().all(|name| names.iter().any(|one| one == name)), "{names:?}");
        for name in names {
            let examples = examples(&told(&format!("nda help {name}")));
            let is_own = |example: &String| example.starts_with(&format!("nda {name}"));
            assert!(!examples.is_empty() && examples.iter().all(is_own), "{name}: {examples:?}");
            examples.iter().for_each(|example| _ = parsed(example));
        }
        let examples = examples(&told("nda --help"));
        assert_eq!(examples.len(), 2);
        examples.iter().for_each(|example| _ = parsed(example));
    }

    #[test]
    fn a_render_is_read_from_its_words() {
        let line = "nda render in.wav out.wav --plugin a.py --set x=1 --block 512 --bits 24";
        let Command::Render(args) = parsed(line) else { panic!("not a render") };
        let spec = RenderSpec {
            input: "in.wav".into(),
            output: "out.wav".into(),
            elements: vec![ElementSpec::from(PluginSpec::new("a.py").set("x", "1"))],
            block_frames: 512,
            bits: Bits::I24,
            reports: Some(crash::default_dir()),
        };
        assert_eq!(args.spec(), spec);
    }

    #[test]
    fn a_render_without_plugins_copies() {
        let Command::Render(args) = parsed("nda render in.wav out.wav") else { panic!("not a render") };
        let spec = args.spec();
        assert_eq!((spec.elements.len(), spec.block_frames, spec.bits), (0, 256, Bits::F32));
    }

    #[test]
    fn an_option_before_any_plugin_is_told_with_the_commands_usage() {
        let told = told("nda render in.wav out.wav --set x=1");
        let expected = "error: --set stands before any --plugin; write it behind the --plugin it belongs to\n\n\
                        Usage: nda render [OPTIONS] <IN> <OUT>\n";
        assert!(told.starts_with(expected), "{told}");
    }

    #[test]
    fn faults_are_all_there_are_or_those_that_are_named() {
        let spec = |line: &str| match parsed(line) {
            Command::Faults(args) => args.spec(),
            _ => panic!("not faults"),
        };
        assert_eq!(spec("nda faults"), FaultsSpec::default());
        let some = spec("nda faults --kinds sigstop,segv --standby twin --each 3 --no-control");
        assert_eq!((some.kinds, some.each), (vec![Kind::Segv, Kind::SigStop], 3));
        assert!(some.standby == Standby::Twin && !some.control);
        assert!(told("nda faults --kinds sleepy").contains("no fault is called sleepy"));
    }

    #[test]
    fn a_run_can_be_limited_in_time() {
        let Command::Run(args) = parsed("nda run live.toml --for 2.5 --json -") else { panic!("not a run") };
        assert_eq!(args.limit, Some(Duration::from_millis(2500)));
        for wrong in ["0", "-1", "nan", "inf", "1e300", "soon"] {
            told(&format!("nda run live.toml --for={wrong}"));
        }
    }

    #[test]
    fn every_word_behind_bench_is_handed_on_as_it_is() {
        let Command::Bench(args) = parsed("nda bench --quick a.py --set x=1 --help -- -h") else {
            panic!("no")
        };
        assert_eq!(args.words, ["--quick", "a.py", "--set", "x=1", "--help", "--", "-h"]);
    }

    #[test]
    fn a_replay_needs_a_report_and_a_list_has_none() {
        let Command::Replay(args) = parsed("nda replay x --pdb --times 3") else { panic!("not a replay") };
        assert_eq!((args.pdb, args.times, args.json), (true, 3, false));
        parsed("nda replay --json");
        for wrong in ["--pdb", "--times 2", "--python python3", "x --json", "x --times 0"] {
            told(&format!("nda replay {wrong}"));
        }
    }

    #[test]
    fn a_block_has_16_to_8192_frames() {
        for wrong in ["15", "8193", "many", "-16"] {
            let told = told(&format!("nda render a.wav b.wav --block={wrong}"));
            assert!(told.contains("it must be 16 to 8192"), "{told}");
        }
    }
}
