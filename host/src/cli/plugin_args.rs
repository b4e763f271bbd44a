//! `--plugin FILE` and the options that belong to it, in the order in which they were typed.
//!
//! For `nda render`. An option describes the `--plugin` before it, which clap can't express: the positions of
//! all of them on the command line decide. Whether a file exists is found out by whoever starts the plugin.

use crate::config::{ElementSpec, PipelineSpec, SinkSpec, SourceSpec};
use crate::plugin::spec::{Gc, Guard, Lost, PluginSpec};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use std::path::{Path, PathBuf};

/// The plugins of a command line, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PluginArgs(Vec<PluginSpec>);

impl PluginArgs {
    /// The chain that they make; plugins of the same file get different names.
    pub(super) fn elements(&self) -> Vec<ElementSpec> {
        let none = PipelineSpec::new(SourceSpec::file(""), SinkSpec::file(""));
        self.0.iter().cloned().fold(none, |chain, plugin| chain.then(plugin.into())).elements
    }

    /// The plugins' files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|plugin| plugin.file.as_path())
    }
}

/// One option as it was typed.
#[derive(Debug, Clone)]
enum Word {
    Plugin(PathBuf),
    Set(String, String),
    Python(PathBuf),
    Guard(Guard),
    Gc(Gc),
    Lost(Lost),
}

impl Word {
    fn option(&self) -> &'static str {
        match self {
            Self::Plugin(_) => "--plugin",
            Self::Set(..) => "--set",
            Self::Python(_) => "--python",
            Self::Guard(_) => "--guard",
            Self::Gc(_) => "--gc",
            Self::Lost(_) => "--lost",
        }
    }
}

impl Args for PluginArgs {
    fn augment_args(command: Command) -> Command {
        command.next_help_heading("Plugins").args(options()).next_help_heading(None::<&str>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PluginArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let ids = ["plugin", "set", "python", "guard", "gc", "lost"];
        let mut words: Vec<(usize, Word)> = ids.into_iter().flat_map(|id| typed(matches, id)).collect();
        words.sort_by_key(|(position, _)| *position);
        attach(words.into_iter().map(|(_, word)| word)).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn options() -> [Arg; 6] {
    let option = |id: &'static str, value: &'static str, help: &'static str| {
        Arg::new(id).long(id).value_name(value).help(help).action(ArgAction::Append)
    };
    [
        option("plugin", "FILE", "A Python plugin; several work in the order given, with none the audio is copied")
            .value_parser(PathBufValueParser::new().try_map(plugin_file)),
        option("set", "KEY=VALUE", "A parameter of the --plugin before it").value_parser(|text: &str| parameter(text).map(|(key, value)| Word::Set(key, value))),
        option("python", "PATH", "The interpreter of the --plugin before it, with numpy [default: .venv beside the plugin, $VIRTUAL_ENV, python3]")
            .value_parser(PathBufValueParser::new().map(Word::Python)),
        option("guard", "on|off", "Whether samples that are no audio are replaced [default: on]")
            .value_parser(guard),
        option("gc", "host|python|off", "When Python's collector runs: between two blocks, when Python likes, never [default: host]")
            .value_parser(gc),
        option("lost", "bypass|mute|hold", "What takes the place of a block that the --plugin before it fails [default: bypass]")
            .value_parser(lost),
    ]
}

fn typed(matches: &ArgMatches, id: &str) -> Vec<(usize, Word)> {
    let positions = matches.indices_of(id).into_iter().flatten();
    positions.zip(matches.get_many::<Word>(id).into_iter().flatten().cloned()).collect()
}

/// Hands each option to the plugin that was named last.
fn attach(words: impl Iterator<Item = Word>) -> Result<Vec<PluginSpec>, Error> {
    let mut plugins: Vec<PluginSpec> = Vec::new();
    let mut once: Vec<&'static str> = Vec::new();
    for word in words {
        let option = word.option();
        if let Word::Plugin(file) = word {
            plugins.push(PluginSpec::new(file));
            once.clear();
            continue;
        }
        let Some(plugin) = plugins.last_mut() else { return Err(before_any_plugin(option)) };
        if once.contains(&option) {
            return Err(twice(option, &plugin.file));
        }
        if option != "--set" {
            once.push(option);
        }
        describe(plugin, word);
    }
    Ok(plugins)
}

fn describe(plugin: &mut PluginSpec, word: Word) {
    match word {
        Word::Plugin(file) => plugin.file = file,
        Word::Set(key, value) => plugin.set.push((key, value)),
        Word::Python(python) => plugin.python = Some(python),
        Word::Guard(guard) => plugin.guard = guard,
        Word::Gc(gc) => plugin.gc = gc,
        Word::Lost(lost) => plugin.lost = lost,
    }
}

fn before_any_plugin(option: &str) -> Error {
    let message = format!("{option} stands before any --plugin; write it behind the --plugin it belongs to");
    Error::raw(ErrorKind::ArgumentConflict, message)
}

fn twice(option: &str, file: &Path) -> Error {
    let message = format!("{option} is given twice for the plugin {}; keep one", file.display());
    Error::raw(ErrorKind::ArgumentConflict, message)
}

fn plugin_file(file: PathBuf) -> Result<Word, &'static str> {
    if file.extension().is_none_or(|extension| extension != "py") {
        return Err("a Python plugin's name must end in .py");
    }
    Ok(Word::Plugin(file))
}

/// A key and its value.
pub(super) fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must read KEY=VALUE, as in gain=0.5".to_owned()),
    }
}

fn guard(text: &str) -> Result<Word, String> {
    match text {
        "on" => Ok(Word::Guard(Guard::On)),
        "off" => Ok(Word::Guard(Guard::Off)),
        _ => Err("it must be on or off".to_owned()),
    }
}

fn gc(text: &str) -> Result<Word, String> {
    match text {
        "host" => Ok(Word::Gc(Gc::Host)),
        "python" => Ok(Word::Gc(Gc::Python)),
        "off" => Ok(Word::Gc(Gc::Off)),
        _ => Err("it must be host, python or off".to_owned()),
    }
}

fn lost(text: &str) -> Result<Word, String> {
    match text {
        "bypass" => Ok(Word::Lost(Lost::Bypass)),
        "mute" => Ok(Word::Lost(Lost::Mute)),
        "hold" => Ok(Word::Lost(Lost::Hold)),
        _ => Err("it must be bypass, mute or hold".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Vec<PluginSpec>, Error> {
        let command = PluginArgs::augment_args(Command::new("render").no_binary_name(true));
        let matches = command.try_get_matches_from(words)?;
        PluginArgs::from_arg_matches(&matches).map(|plugins| plugins.0)
    }

    fn refusal(words: &[&str]) -> String {
        parse(words).unwrap_err().to_string()
    }

    #[test]
    fn an_option_belongs_to_the_plugin_before_it() {
        let plugins = parse(&[
            "--plugin",
            "a.py",
            "--set",
            "x=1",
            "--lost",
            "mute",
            "--plugin",
            "b.py",
            "--set",
            "y=2",
            "--guard",
            "off",
            "--gc",
            "off",
            "--set",
            "z=a=b",
            "--python",
            "python3.12",
        ]);
        let a = PluginSpec { lost: Lost::Mute, ..PluginSpec::new("a.py").set("x", "1") };
        let b = PluginSpec {
            guard: Guard::Off,
            gc: Gc::Off,
            python: Some("python3.12".into()),
            ..PluginSpec::new("b.py").set("y", "2").set("z", "a=b")
        };
        assert_eq!(plugins.unwrap(), [a, b]);
    }

    #[test]
    fn no_plugin_is_no_plugin() {
        assert_eq!(parse(&[]).unwrap(), []);
    }

    #[test]
    fn an_option_before_any_plugin_is_refused_in_clear_words() {
        let why = "--set stands before any --plugin; write it behind the --plugin it belongs to";
        assert!(refusal(&["--set", "x=1", "--plugin", "a.py"]).contains(why));
    }

    #[test]
    fn what_can_only_be_said_once_is_refused_twice_for_one_plugin() {
        let why = "--lost is given twice for the plugin a.py";
        assert!(refusal(&["--plugin", "a.py", "--lost", "mute", "--lost", "hold"]).contains(why));
        assert!(parse(&["--plugin", "a.py", "--lost", "mute", "--plugin", "a.py", "--lost", "hold"]).is_ok());
    }

    #[test]
    fn a_wrong_value_is_told_what_would_be_right() {
        assert!(refusal(&["--plugin", "a.txt"]).contains("must end in .py"));
        assert!(refusal(&["--plugin", "a.py", "--set", "x"]).contains("KEY=VALUE"));
        assert!(refusal(&["--plugin", "a.py", "--set", "=1"]).contains("KEY=VALUE"));
        assert!(refusal(&["--plugin", "a.py", "--guard", "maybe"]).contains("on or off"));
        assert!(refusal(&["--plugin", "a.py", "--gc", "maybe"]).contains("host, python or off"));
        assert!(refusal(&["--plugin", "a.py", "--lost", "loop"]).contains("bypass, mute or hold"));
    }

    #[test]
    fn plugins_of_the_same_file_get_different_names() {
        let plugins = PluginArgs(vec![PluginSpec::new("x/a.py"), PluginSpec::new("a.py")]);
        let named = |element: &ElementSpec| match element {
            ElementSpec::Plugin { name, .. } => name.clone(),
            _ => String::new(),
        };
        assert_eq!(plugins.elements().iter().map(named).collect::<Vec<_>>(), ["a", "a-2"]);
    }
}
