//! Sources, sinks and recordings: a short string or a table that names a file, a device or a plugin.
//!
//! For `pipeline`. Which files exist is checked in `files`; which devices exist, when they are opened.

use super::files::Role;
use super::plugin::{self, End, Names};
use super::reader::{END_PLUGIN_KEYS, Form, Node, Reader, Span};
use super::spec::{DeviceName, DeviceSpec, FileSinkSpec, FileSourceSpec, SinkSpec, SourceSpec};
use crate::audio_file::Bits;
use crate::backend::names_a_system;
use crate::backend::virtual_device::PPM;
use shared::format::{CHANNELS, RATE};
use std::ops::RangeInclusive;
use toml::de::{DeTable, DeValue};

/// Frames that a device's own buffer may be asked to have.
const DEVICE_BUFFER: RangeInclusive<u32> = 16..=65_536;

const DEVICE: Form =
    Form { key: "device", what: "a device", keys: &["buffer", "fallback", "rate", "map", "ppm"] };
const PLUGIN: Form = Form { key: "plugin", what: "a plugin", keys: END_PLUGIN_KEYS };
const SOURCE: [Form; 3] =
    [Form { key: "file", what: "an audio file to read", keys: &["loop", "map"] }, DEVICE, PLUGIN];
const SINK: [Form; 3] =
    [Form { key: "file", what: "a file to write", keys: &["bits", "map"] }, DEVICE, PLUGIN];

/// A source, or `None` and a fault.
pub(super) fn source(reader: &mut Reader<'_>, node: &Node<'_>, names: &mut Names) -> Option<SourceSpec> {
    let at = node.span();
    match node.get_ref() {
        DeValue::Table(table) => source_table(reader, table, &at, names),
        DeValue::String(_) => {
            let text = reader.text("source", node)?;
            if text.ends_with(".py") {
                let (name, spec) = plugin::named_file(reader, &text, at, names, End::Source);
                return Some(SourceSpec::Plugin { name, spec, map: None });
            }
            Some(match short_device(reader, &text, &at)? {
                Short::Device(device) => SourceSpec::Device(device),
                Short::Other => SourceSpec::file(reader.file(&text, at, Role::Audio)),
            })
        }
        _ => {
            reader.wrong_type("source", node, "a string or a table with `file`, `device` or `plugin`");
            None
        }
    }
}

fn source_table(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    at: &Span,
    names: &mut Names,
) -> Option<SourceSpec> {
    match reader.form("source", table, at, &SOURCE)? {
        ("file", node) => {
            let text = reader.text("file", node);
            let repeat = table.get("loop").and_then(|node| reader.boolean("loop", node)).unwrap_or(false);
            let map = map(reader, table);
            let file = reader.file(&text?, node.span(), Role::Audio);
            Some(SourceSpec::File(FileSourceSpec { file, repeat, map }))
        }
        ("device", node) => device(reader, table, node).map(SourceSpec::Device),
        (key, node) => {
            let map = map(reader, table);
            let (name, spec) = plugin::table(reader, table, (key, node), names, End::Source)?;
            Some(SourceSpec::Plugin { name, spec, map })
        }
    }
}

/// A sink, or `None` and a fault.
pub(super) fn sink(reader: &mut Reader<'_>, node: &Node<'_>, names: &mut Names) -> Option<SinkSpec> {
    let at = node.span();
    match node.get_ref() {
        DeValue::Table(table) => sink_table(reader, table, &at, names),
        DeValue::String(_) => {
            let text = reader.text("sink", node)?;
            if text.ends_with(".py") {
                let (name, spec) = plugin::named_file(reader, &text, at, names, End::Sink);
                return Some(SinkSpec::Plugin { name, spec, map: None });
            }
            match short_device(reader, &text, &at)? {
                Short::Device(device) => Some(SinkSpec::Device(device)),
                Short::Other => file_sink(reader, "sink", &text, at).map(SinkSpec::File),
            }
        }
        _ => {
            reader.wrong_type("sink", node, "a string or a table with `file`, `device` or `plugin`");
            None
        }
    }
}

fn sink_table(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    at: &Span,
    names: &mut Names,
) -> Option<SinkSpec> {
    match reader.form("sink", table, at, &SINK)? {
        ("file", node) => file_table(reader, table, node).map(SinkSpec::File),
        ("device", node) => device(reader, table, node).map(SinkSpec::Device),
        (key, node) => {
            let map = map(reader, table);
            let (name, spec) = plugin::table(reader, table, (key, node), names, End::Sink)?;
            Some(SinkSpec::Plugin { name, spec, map })
        }
    }
}

/// A recording, or `None` and a fault.
pub(super) fn record(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<FileSinkSpec> {
    match node.get_ref() {
        DeValue::Table(table) => {
            let (_, file) = reader.form("record", table, &node.span(), &SINK[..1])?;
            file_table(reader, table, file)
        }
        DeValue::String(_) => {
            let text = reader.text("record", node)?;
            file_sink(reader, "record", &text, node.span())
        }
        _ => {
            reader.wrong_type("record", node, "a .wav file or a table with `file`");
            None
        }
    }
}

fn file_table(reader: &mut Reader<'_>, table: &DeTable<'_>, node: &Node<'_>) -> Option<FileSinkSpec> {
    let bits = table.get("bits").and_then(|node| bits(reader, node)).unwrap_or_default();
    let map = map(reader, table);
    let text = reader.text("file", node)?;
    Some(FileSinkSpec { bits, map, ..file_sink(reader, "file", &text, node.span())? })
}

fn file_sink(reader: &mut Reader<'_>, key: &str, text: &str, at: Span) -> Option<FileSinkSpec> {
    if !text.to_lowercase().ends_with(".wav") {
        let device =
            if key == "sink" { ", or a device: \"default\", \"virtual\", \"device:NAME\"" } else { "" };
        reader
            .fault(&at, format!("\"{text}\" can't be written; it must be a file that ends in .wav{device}"));
        return None;
    }
    Some(FileSinkSpec::new(reader.file(text, at, Role::Output)))
}

fn bits(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Bits> {
    const RIGHT: &str = "16, 24 or \"32f\"";
    let written = match node.get_ref() {
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => {
            reader.wrong_type("bits", node, RIGHT);
            return None;
        }
    };
    let bits = written.parse().ok();
    if bits.is_none() {
        reader.fault(&node.span(), format!("`bits` is {written}; it must be {RIGHT}"));
    }
    bits
}

/// What the short form of a source or a sink may mean besides a plugin.
enum Short {
    Device(DeviceSpec),
    Other,
}

fn short_device(reader: &mut Reader<'_>, text: &str, at: &Span) -> Option<Short> {
    match text.strip_prefix("device:").map(str::trim) {
        Some("") => {
            reader.fault(at, "\"device:\" names no device; write \"default\" or \"device:NAME\"");
            None
        }
        Some(name) => Some(Short::Device(DeviceSpec::new(name))),
        None if text == "default" || DeviceName::new(text).is_virtual() || names_a_system(text) => {
            Some(Short::Device(DeviceSpec::new(text)))
        }
        None if text == "virtual:" => {
            reader.fault(at, "\"virtual:\" names no cable; write \"virtual\" or \"virtual:NAME\"");
            None
        }
        None => Some(Short::Other),
    }
}

fn device(reader: &mut Reader<'_>, table: &DeTable<'_>, node: &Node<'_>) -> Option<DeviceSpec> {
    let name = reader.text("device", node);
    let buffer_frames = table.get("buffer").and_then(|node| reader.whole("buffer", node, DEVICE_BUFFER));
    let fallback = table.get("fallback");
    let fallback_virtual =
        fallback.and_then(|node| reader.choice("fallback", node, &[("virtual", true)])).unwrap_or(false);
    let rate = table.get("rate").and_then(|node| reader.whole("rate", node, RATE));
    let map = map(reader, table);
    let ppm = table.get("ppm").and_then(|node| ppm(reader, node));
    let name = DeviceName::new(&name?);
    if let (true, true, Some(node)) = (name.is_virtual(), fallback_virtual, fallback) {
        reader.fault(&node.span(), "the virtual device is always there; remove `fallback`");
    }
    if let (false, Some(node)) = (name.is_virtual(), table.get("ppm")) {
        reader.fault(&node.span(), "only a virtual device's clock can be set; remove `ppm`");
    }
    Some(DeviceSpec { name, buffer_frames, fallback_virtual, rate, map, ppm: ppm.unwrap_or(0), known: None })
}

/// Channel numbers, 0 for silence.
fn map(reader: &mut Reader<'_>, table: &DeTable<'_>) -> Option<Vec<u32>> {
    const RIGHT: &str = "a list of channels, 0 for silence, such as [1, 2]";
    let node = table.get("map")?;
    let Some(array) = node.get_ref().as_array() else {
        reader.wrong_type("map", node, RIGHT);
        return None;
    };
    if array.is_empty() {
        reader.fault(&node.span(), format!("`map` is empty; it must be {RIGHT}"));
        return None;
    }
    array.iter().map(|node| reader.whole("map", node, 0..=*CHANNELS.end())).collect()
}

fn ppm(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<i32> {
    let right = format!("a whole number from {} to {}", PPM.start(), PPM.end());
    reader.number_that("ppm", node, &right, false, |ppm| PPM.contains(ppm))
}
