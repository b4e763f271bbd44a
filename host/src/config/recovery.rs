//! What a plugin's table says of its limits, and of what follows when it exceeds one or dies.
//!
//! For `plugin`. Whether the machine has the memory that is allowed is found out by the supervisor.

use super::plugin::End;
use super::reader::{Node, Reader};
use crate::plugin::spec::{Guard, LEVEL_MAX_DB, Mode, PluginSpec, SNAPSHOT_EVERY, Standby};
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// How long a plugin may go without an answer before it is called hung, in milliseconds.
const HANG_MS: RangeInclusive<u32> = 20..=600_000;
/// How far above full scale samples may be, in dB.
const LEVEL_DB: RangeInclusive<f32> = 0.0..=60.0;
/// The least memory in bytes that a worker can be held to: an interpreter with numpy needs most of it.
const MEMORY_MIN: u64 = 64 << 20;
/// The time between two snapshots in seconds, unless there are none.
const SNAPSHOT_S: RangeInclusive<f64> = 0.1..=3600.0;

/// Reads these settings into `spec`, whose mode and guard are those of the same table.
pub(super) fn read(reader: &mut Reader<'_>, table: &DeTable<'_>, end: End, spec: &mut PluginSpec) {
    spec.level_max_db = level_max_db(reader, table, spec.guard);
    spec.adapt = adapt(reader, table, spec.mode, end);
    (spec.restart, spec.standby) = restart(reader, table);
    spec.hang_after = table
        .get("hang_ms")
        .and_then(|node| reader.whole("hang_ms", node, HANG_MS))
        .map(|ms| Duration::from_millis(ms.into()));
    spec.memory_max = table.get("memory_max").and_then(|node| memory_max(reader, node));
    spec.snapshot_every =
        table.get("snapshot_s").and_then(|node| snapshot_every(reader, node)).unwrap_or(SNAPSHOT_EVERY);
}

fn level_max_db(reader: &mut Reader<'_>, table: &DeTable<'_>, guard: Guard) -> f32 {
    let Some(node) = table.get("level_max_db") else { return LEVEL_MAX_DB };
    let value = reader.number("level_max_db", node, &LEVEL_DB, false);
    if guard == Guard::Off {
        let right = "remove `level_max_db` or set `guard = \"on\"`";
        reader.fault(&node.span(), format!("without its guard a plugin has no limit of level; {right}"));
    }
    value.unwrap_or(LEVEL_MAX_DB)
}

fn adapt(reader: &mut Reader<'_>, table: &DeTable<'_>, mode: Option<Mode>, end: End) -> bool {
    let Some(node) = table.get("adapt") else { return true };
    let value = reader.boolean("adapt", node);
    if value == Some(true) && end == End::Sink {
        reader.fault(&node.span(), "a sink never changes its mode by itself; remove `adapt`");
    } else if value == Some(true) && mode == Some(Mode::Pipelined) {
        let right = "remove `adapt` or set `mode = \"same-block\"`";
        reader.fault(&node.span(), format!("only a same-block plugin changes its mode by itself; {right}"));
    }
    value.unwrap_or(true)
}

/// Whether a worker that died is replaced, and what stands by for it.
fn restart(reader: &mut Reader<'_>, table: &DeTable<'_>) -> (bool, Standby) {
    let choices = [("none", Standby::None), ("spare", Standby::Spare), ("twin", Standby::Twin)];
    let restart = table.get("restart").and_then(|node| reader.boolean("restart", node)).unwrap_or(true);
    let Some(node) = table.get("standby") else {
        return (restart, if restart { Standby::default() } else { Standby::None });
    };
    let standby = reader.choice("standby", node, &choices);
    if !restart && standby.is_some_and(|standby| standby != Standby::None) {
        let right = "remove one, or set `standby = \"none\"`";
        reader.fault(&node.span(), format!("with `restart = false` nothing takes a plugin's place; {right}"));
    }
    (restart, standby.unwrap_or_default())
}

fn memory_max(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<u64> {
    const RIGHT: &str = "at least 64M, as in \"512M\", \"2G\" or a number of bytes";
    let (written, bytes) = match node.get_ref() {
        DeValue::Integer(integer) => {
            (integer.to_string(), u64::from_str_radix(integer.as_str(), integer.radix()).ok())
        }
        DeValue::String(text) => (format!("\"{text}\""), bytes(text)),
        _ => {
            reader.wrong_type("memory_max", node, RIGHT);
            return None;
        }
    };
    let bytes = bytes.filter(|bytes| *bytes >= MEMORY_MIN);
    if bytes.is_none() {
        reader.fault(&node.span(), format!("`memory_max` is {written}; it must be {RIGHT}"));
    }
    bytes
}

/// A whole number with `K`, `M` or `G` behind it, or none for bytes.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().last()? {
        (at, 'K') => (&text[..at], 1 << 10),
        (at, 'M') => (&text[..at], 1 << 20),
        (at, 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    number.trim_end().parse::<u64>().ok()?.checked_mul(unit)
}

fn snapshot_every(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Duration> {
    let right = format!("0 for never, or a number from {} to {}", SNAPSHOT_S.start(), SNAPSHOT_S.end());
    let fits = |seconds: &f64| *seconds == 0.0 || SNAPSHOT_S.contains(seconds);
    reader.number_that("snapshot_s", node, &right, false, fits).map(Duration::from_secs_f64)
}
