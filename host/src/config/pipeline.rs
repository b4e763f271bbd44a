//! The shape of a configuration from the top down to one pipeline, with what it inherits.
//!
//! For [`parse`](super::parse). Sources and sinks are read in `ends`, plugins in `plugin`.

use super::ends;
use super::placement;
use super::plugin::{self, Names};
use super::reader::{Node, Reader, Span, TOP_KEYS};
use super::spec::{BLOCK_DEFAULT, Clock, Config, ElementSpec, Named, PipelineSpec, SourceSpec, unique};
use crate::edge::Quality;
use crate::realtime::Power;
use shared::format::{BLOCK_FRAMES, CHANNELS, RATE};
use std::path::PathBuf;
use toml::de::DeTable;

/// What pipelines inherit from the top of the file, and a plugin from its pipeline.
#[derive(Clone, Default)]
struct Settings {
    rate: Option<u32>,
    block: Option<u32>,
    channels: Option<u32>,
    python: Option<PathBuf>,
    power: Power,
    resampling: Option<Quality>,
}

impl Settings {
    const KEYS: [&str; 5] = ["rate", "block", "channels", "python", "resampling"];

    /// These settings where `table` says nothing else.
    fn read(&self, reader: &mut Reader<'_>, table: &DeTable<'_>) -> Self {
        let mut settings = self.clone();
        if let Some(node) = table.get("rate") {
            settings.rate = reader.whole("rate", node, RATE);
        }
        if let Some(node) = table.get("block") {
            settings.block = reader.whole("block", node, BLOCK_FRAMES);
        }
        if let Some(node) = table.get("channels") {
            settings.channels = reader.whole("channels", node, CHANNELS);
        }
        if let Some(node) = table.get("python") {
            settings.python = plugin::python(reader, node);
        }
        if let Some(node) = table.get("resampling") {
            const CHOICES: [(&str, Quality); 3] =
                [("fast", Quality::Fast), ("good", Quality::Good), ("best", Quality::Best)];
            settings.resampling = reader.choice("resampling", node, &CHOICES);
        }
        settings
    }
}

/// The whole configuration; where a value is faulty it holds a stand-in, and the reader the fault.
pub(super) fn config(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Config {
    let known = [&Settings::KEYS[..], TOP_KEYS, &["pipeline"]].concat();
    reader.keys(root, "the top level", &known);
    let mut settings = Settings::default().read(reader, root);
    if let Some(node) = root.get("power") {
        settings.power = placement::power(reader, node).unwrap_or_default();
    }
    let reports = root.get("reports").and_then(|node| reader.text("reports", node));
    let reports = reports.map(|folder| reader.path(&folder));
    let socket = root.get("socket").and_then(|node| reader.text("socket", node));
    let socket = socket.map(|path| if path == "off" { PathBuf::from(path) } else { reader.path(&path) });
    let tables = pipeline_tables(reader, root);
    let mut titles = Titles::new(tables.len());
    let mut pipelines = Vec::with_capacity(tables.len());
    for (table, at) in tables {
        let title = titles.read(reader, table);
        pipelines.push(pipeline(reader, table, &at, &settings, title));
    }
    titles.complete(&mut pipelines);
    Config { pipelines, reports, socket }
}

/// The `[[pipeline]]` tables with their places.
fn pipeline_tables<'r, 't>(reader: &mut Reader<'_>, root: &'r DeTable<'t>) -> Vec<(&'r DeTable<'t>, Span)> {
    const NONE: &str = "there is no pipeline; add `[[pipeline]]` with at least a `source`";
    let Some(node) = root.get("pipeline") else {
        reader.missing(&(0..0), NONE);
        return Vec::new();
    };
    if let Some(table) = node.get_ref().as_table() {
        reader.fault(&node.span(), "`[pipeline]` is a single table; write `[[pipeline]]`");
        return vec![(table, node.span())];
    }
    let Some(array) = node.get_ref().as_array() else {
        reader.wrong_type("pipeline", node, "tables headed `[[pipeline]]`");
        return Vec::new();
    };
    if array.is_empty() {
        reader.missing(&node.span(), NONE);
    }
    let mut tables = Vec::with_capacity(array.len());
    for node in array {
        match node.get_ref().as_table() {
            Some(table) => tables.push((table, node.span())),
            None => reader.wrong_type("pipeline", node, "a table headed `[[pipeline]]`"),
        }
    }
    tables
}

/// The names of the pipelines: unique as given, made unique where none is given.
struct Titles {
    count: usize,
    given: Vec<(String, Span)>,
}

impl Titles {
    fn new(count: usize) -> Self {
        Self { count, given: Vec::new() }
    }

    /// The name given to this pipeline, empty if there is none.
    fn read(&mut self, reader: &mut Reader<'_>, table: &DeTable<'_>) -> String {
        let Some(node) = table.get("name") else { return String::new() };
        let Some(name) = reader.text("name", node) else { return String::new() };
        let message = "give each pipeline a name of its own";
        note_name(reader, &mut self.given, &name, node.span(), "pipeline", message);
        name
    }

    /// Names those that have none: `main` if there is one pipeline, else `pipeline 1`, `pipeline 2`, ...
    fn complete(self, pipelines: &mut [PipelineSpec]) {
        let mut taken: Vec<String> = self.given.into_iter().map(|(name, _)| name).collect();
        for (index, pipeline) in pipelines.iter_mut().enumerate().filter(|(_, p)| p.name.is_empty()) {
            let default = if self.count == 1 { "main".to_owned() } else { format!("pipeline {}", index + 1) };
            let taken_now: Vec<&str> = taken.iter().map(String::as_str).collect();
            pipeline.name = unique(&default, &taken_now);
            taken.push(pipeline.name.clone());
        }
    }
}

/// Notes a name that was given, and a fault if it was given before.
pub(super) fn note_name(
    reader: &mut Reader<'_>,
    given: &mut Vec<(String, Span)>,
    name: &str,
    at: Span,
    what: &str,
    right: &str,
) {
    match given.iter().find(|(other, _)| other == name) {
        Some((_, first)) => {
            let line = reader.line(first);
            reader.fault(&at, format!("{what} \"{name}\" has its name from line {line} already; {right}"));
        }
        None => given.push((name.to_owned(), at)),
    }
}

fn pipeline(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    at: &Span,
    inherited: &Settings,
    name: String,
) -> PipelineSpec {
    let own = ["name", "source", "plugins", "sink", "record", "affinity", "clock"];
    reader.keys(table, "a pipeline", &[&own[..], &Settings::KEYS].concat());
    let settings = inherited.read(reader, table);
    let mut names = Names::new(table, settings.python);
    let source = source(reader, table, at, &mut names);
    let elements = table.get("plugins").map(|node| elements(reader, node, &mut names));
    let sink = table.get("sink").and_then(|node| ends::sink(reader, node, &mut names));
    let record = table.get("record").and_then(|node| ends::record(reader, node));
    let affinity = table.get("affinity").and_then(|node| placement::affinity(reader, node));
    let clock = table.get("clock").and_then(|node| clock(reader, node, &source));
    PipelineSpec {
        is_named: Named(!name.is_empty()),
        name,
        rate: settings.rate,
        block_frames: settings.block.unwrap_or(BLOCK_DEFAULT),
        channels: settings.channels,
        source,
        elements: elements.unwrap_or_default(),
        sink: sink.unwrap_or_default(),
        record,
        affinity: affinity.unwrap_or_default(),
        power: settings.power,
        resampling: settings.resampling,
        clock: clock.unwrap_or_default(),
    }
}

fn clock(reader: &mut Reader<'_>, node: &Node<'_>, source: &SourceSpec) -> Option<Clock> {
    let clock = reader.choice("clock", node, &[("sink", Clock::Sink), ("source", Clock::Source)])?;
    if clock == Clock::Source && !matches!(source, SourceSpec::Device(_)) {
        let right = "leave `clock` out, or name a device as the source";
        reader.fault(&node.span(), format!("the source has no clock, as it is no device; {right}"));
    }
    Some(clock)
}

fn source(reader: &mut Reader<'_>, table: &DeTable<'_>, at: &Span, names: &mut Names) -> SourceSpec {
    let read = match table.get("source") {
        Some(node) => ends::source(reader, node, names),
        None => {
            let right = "add `source = \"FILE.wav\"`, \"FILE.py\", \"default\" or \"virtual\"";
            reader.missing(at, format!("this pipeline has no `source`; {right}"));
            None
        }
    };
    read.unwrap_or_else(|| SourceSpec::device("default"))
}

fn elements(reader: &mut Reader<'_>, node: &Node<'_>, names: &mut Names) -> Vec<ElementSpec> {
    let Some(array) = node.get_ref().as_array() else {
        reader.wrong_type("plugins", node, "a list, as in `plugins = [\"a.py\", \"b.py\"]`");
        return Vec::new();
    };
    array.iter().filter_map(|node| plugin::element(reader, node, names)).collect()
}
