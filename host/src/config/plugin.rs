//! Elements of a chain, and Python plugins wherever they stand.
//!
//! For `pipeline` and `ends`. Whether a plugin's file exists is checked in `files`; what is in it, by its worker.

use super::files::Role;
use super::pipeline::note_name;
use super::reader::{Form, Node, PLUGIN_KEYS, Reader, Span, as_parameter};
use super::recovery;
use super::spec::{ElementSpec, GAIN_DB, plugin_name, unique};
use crate::plugin::spec::{
    DEADLINE_DEFAULT, DEADLINE_MAX, DEADLINE_MIN, Gc, Guard, Lost, Mode, PluginSpec, SPIN_US_MAX, Spin,
};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

const ELEMENT: [Form; 2] = [
    Form { key: "file", what: "a Python plugin", keys: PLUGIN_KEYS },
    Form { key: "builtin", what: "a built-in", keys: &["set"] },
];

/// Where a plugin stands in its pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Sink,
    /// In the chain: it has a dry signal.
    Neither,
}

/// The names of one pipeline's plugins, and the interpreter they inherit.
pub(super) struct Names {
    given: Vec<(String, Span)>,
    taken: Vec<String>,
    python: Option<PathBuf>,
}

impl Names {
    /// Of the pipeline in `table`. The names written anywhere in it are taken: a plugin that is given none gets
    /// another one, even if it comes first.
    pub(super) fn new(table: &DeTable<'_>, python: Option<PathBuf>) -> Self {
        let list = table.get("plugins").and_then(|node| node.get_ref().as_array());
        let nodes = ["source", "sink"].into_iter().filter_map(|key| table.get(key));
        let tables = nodes.chain(list.into_iter().flatten()).filter_map(|node| node.get_ref().as_table());
        let written = tables.filter_map(|table| table.get("name")?.get_ref().as_str());
        Self { given: Vec::new(), taken: written.map(str::to_owned).collect(), python }
    }

    /// A name of its own for a plugin that is given none: its file's.
    fn free(&mut self, spec: &PluginSpec) -> String {
        let taken: Vec<&str> = self.taken.iter().map(String::as_str).collect();
        let name = unique(&plugin_name(spec), &taken);
        self.taken.push(name.clone());
        name
    }
}

/// One entry of `plugins`, or `None` and a fault.
pub(super) fn element(reader: &mut Reader<'_>, node: &Node<'_>, names: &mut Names) -> Option<ElementSpec> {
    match node.get_ref() {
        DeValue::Table(table) => match reader.form("an entry of `plugins`", table, &node.span(), &ELEMENT)? {
            ("builtin", kind) => builtin(reader, table, kind),
            file => {
                let (name, spec) = self::table(reader, table, file, names, End::Neither)?;
                Some(ElementSpec::Plugin { name, spec })
            }
        },
        DeValue::String(_) => {
            let text = reader.text("plugins", node)?;
            if let Some(builtin) = ["gain", "meter"].into_iter().find(|builtin| *builtin == text) {
                let right = format!("write {{ builtin = \"{builtin}\" }}");
                reader.fault(&node.span(), format!("\"{text}\" is not a .py file; {right}"));
                return None;
            }
            let (name, spec) = named_file(reader, &text, node.span(), names, End::Neither);
            Some(ElementSpec::Plugin { name, spec })
        }
        _ => {
            reader.wrong_type("plugins", node, "a .py file or a table with `file` or `builtin`");
            None
        }
    }
}

/// A plugin given by its file alone.
pub(super) fn named_file(
    reader: &mut Reader<'_>,
    text: &str,
    at: Span,
    names: &mut Names,
    end: End,
) -> (String, PluginSpec) {
    let file = plugin_file(reader, text, at);
    let lost = if end == End::Neither { Lost::default() } else { Lost::Mute };
    let spec = PluginSpec { python: names.python.clone(), lost, ..PluginSpec::new(file) };
    (names.free(&spec), spec)
}

/// A plugin given by a table, its file under `key`.
pub(super) fn table(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    (key, file): (&str, &Node<'_>),
    names: &mut Names,
    end: End,
) -> Option<(String, PluginSpec)> {
    let name = table.get("name").and_then(|node| name(reader, node, names));
    let python = table.get("python").and_then(|node| self::python(reader, node));
    let set = table.get("set").map(|node| parameters(reader, node)).unwrap_or_default();
    let mode = table.get("mode").and_then(|node| {
        reader.choice("mode", node, &[("same-block", Mode::SameBlock), ("pipelined", Mode::Pipelined)])
    });
    let deadline = deadline(reader, table, mode, end);
    let (lost, fail_closed) = losses(reader, table, end);
    let guard = table
        .get("guard")
        .and_then(|node| reader.choice("guard", node, &[("on", Guard::On), ("off", Guard::Off)]))
        .unwrap_or_default();
    let choices = [("host", Gc::Host), ("python", Gc::Python), ("off", Gc::Off)];
    let gc = table.get("gc").and_then(|node| reader.choice("gc", node, &choices)).unwrap_or_default();
    let python = python.or_else(|| names.python.clone());
    let silent_warm_up = table.get("silent_warm_up").and_then(|node| reader.boolean("silent_warm_up", node));
    let spin = table.get("spin_us").and_then(|node| spin(reader, node)).unwrap_or_default();
    let mut spec = PluginSpec {
        python,
        set,
        mode,
        deadline,
        lost,
        fail_closed,
        guard,
        gc,
        silent_warm_up,
        spin,
        ..PluginSpec::new("")
    };
    recovery::read(reader, table, end, &mut spec);
    let text = reader.text(key, file)?;
    spec.file = plugin_file(reader, &text, file.span());
    Some((name.unwrap_or_else(|| names.free(&spec)), spec))
}

fn plugin_file(reader: &mut Reader<'_>, text: &str, at: Span) -> PathBuf {
    if Path::new(text).extension().is_none_or(|extension| extension != "py") {
        reader.fault(&at, format!("\"{text}\" is not a Python plugin; its name must end in .py"));
        return PathBuf::from(text);
    }
    reader.file(text, at, Role::Plugin)
}

/// An interpreter: a path from the configuration's folder, or a bare name to be found on `PATH`.
pub(super) fn python(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PathBuf> {
    let text = reader.text("python", node)?;
    if text.contains(std::path::MAIN_SEPARATOR) {
        return Some(reader.file(&text, node.span(), Role::Interpreter));
    }
    Some(PathBuf::from(text))
}

fn name(reader: &mut Reader<'_>, node: &Node<'_>, names: &mut Names) -> Option<String> {
    let name = reader.text("name", node)?;
    let right = "give each plugin of a pipeline a name of its own";
    note_name(reader, &mut names.given, &name, node.span(), "plugin", right);
    Some(name)
}

fn deadline(reader: &mut Reader<'_>, table: &DeTable<'_>, mode: Option<Mode>, end: End) -> f32 {
    let Some(node) = table.get("deadline") else { return DEADLINE_DEFAULT };
    let value = reader.number("deadline", node, &(DEADLINE_MIN..=DEADLINE_MAX), false);
    let right = "remove `deadline` or set `mode = \"same-block\"`";
    if mode == Some(Mode::Pipelined) {
        reader.fault(&node.span(), format!("a pipelined plugin is never waited for; {right}"));
    } else if mode.is_none() && end == End::Sink && table.get("mode").is_none() {
        reader.fault(&node.span(), format!("a sink is pipelined, never waited for; {right}"));
    }
    value.unwrap_or(DEADLINE_DEFAULT)
}

/// How long to look before sleeping, in microseconds.
fn spin(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Spin> {
    let us = reader.whole("spin_us", node, 0..=SPIN_US_MAX)?;
    Some(if us == 0 { Spin::Off } else { Spin::For(us * 1000) })
}

/// What is heard in place of a lost block, and whether it must be silence.
fn losses(reader: &mut Reader<'_>, table: &DeTable<'_>, end: End) -> (Lost, bool) {
    let choices = [("bypass", Lost::Bypass), ("mute", Lost::Mute), ("hold", Lost::Hold)];
    let lost = table.get("lost");
    let given = lost.and_then(|node| reader.choice("lost", node, &choices));
    let fail_closed =
        table.get("fail_closed").and_then(|node| reader.boolean("fail_closed", node)).unwrap_or(false);
    if let (Some(node), Some(given)) = (lost, given) {
        if fail_closed && given != Lost::Mute {
            let right = "remove one, or set `lost = \"mute\"`";
            reader.fault(
                &node.span(),
                format!("`fail_closed` makes a lost block silent, `lost` doesn't; {right}"),
            );
        }
        if end != End::Neither && given == Lost::Bypass {
            let end = if end == End::Source { "source" } else { "sink" };
            let right = "set `lost` to \"mute\" or \"hold\"";
            reader.fault(&node.span(), format!("a {end} has no dry signal to pass on; {right}"));
        }
    }
    let default = if end == End::Neither { Lost::default() } else { Lost::Mute };
    (given.unwrap_or(default), fail_closed)
}

/// The parameters in `set`, in the order they are written.
fn parameters(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<(String, String)> {
    let Some(table) = node.get_ref().as_table() else {
        reader.wrong_type("set", node, "a table, as in `set = { gain = \"0.5\" }`");
        return Vec::new();
    };
    let mut entries: Vec<_> = table.iter().collect();
    // The tree sorts keys by name; a plugin gets them as the user wrote them.
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut set = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        let name = key.get_ref();
        if name.trim().is_empty() {
            reader.fault(&key.span(), "a parameter has an empty name; name it or remove it");
        }
        match as_parameter(node.get_ref()) {
            Some(value) => set.push((name.to_string(), value)),
            None => reader.wrong_type(name, node, "a string, a number, true or false"),
        }
    }
    set
}

fn builtin(reader: &mut Reader<'_>, table: &DeTable<'_>, kind: &Node<'_>) -> Option<ElementSpec> {
    let set = table.get("set");
    match reader.choice("builtin", kind, &[("gain", true), ("meter", false)])? {
        true => gain(reader, kind, set),
        false => {
            if let Some(set) = set {
                reader.fault(&set.span(), "the built-in meter has no parameters; remove `set`");
            }
            Some(ElementSpec::Meter)
        }
    }
}

fn gain(reader: &mut Reader<'_>, kind: &Node<'_>, set: Option<&Node<'_>>) -> Option<ElementSpec> {
    const RIGHT: &str = "as in `set = { db = -6 }`";
    let Some(set) = set else {
        reader.missing(&kind.span(), format!("the built-in gain needs a gain in dB; add one {RIGHT}"));
        return None;
    };
    let Some(table) = set.get_ref().as_table() else {
        reader.wrong_type("set", set, &format!("a table, {RIGHT}"));
        return None;
    };
    reader.keys(table, "the built-in gain", &["db"]);
    match table.get("db") {
        Some(node) => reader.number("db", node, &GAIN_DB, true).map(|db| ElementSpec::Gain { db }),
        None => {
            reader.missing(&set.span(), format!("the built-in gain needs a gain in dB; add one {RIGHT}"));
            None
        }
    }
}
