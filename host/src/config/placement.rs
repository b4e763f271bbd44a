//! Where a pipeline is to run, and whether processors may sleep meanwhile: `affinity` and `power`.
//!
//! For [`parse`](super::parse), which takes any core, and for [`check`](super::check), which asks the machine.

use super::reader::{Node, Reader};
use crate::realtime::{Affinity, Power, placement};

/// Numbers that a core can have.
const CORES: std::ops::RangeInclusive<u32> = 0..=1023;
const RIGHT: &str = "\"auto\", \"off\", or a list of cores such as [0, 1]";

pub(super) fn power(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Power> {
    reader.choice("power", node, &[("performance", Power::Performance), ("balanced", Power::Balanced)])
}

pub(super) fn affinity(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Affinity> {
    if let Some(word) = node.get_ref().as_str() {
        return match word {
            "auto" => Some(Affinity::Auto),
            "off" => Some(Affinity::Off),
            _ => {
                reader.fault(&node.span(), format!("`affinity` is \"{word}\"; it must be {RIGHT}"));
                None
            }
        };
    }
    let Some(array) = node.get_ref().as_array() else {
        reader.wrong_type("affinity", node, RIGHT);
        return None;
    };
    if array.is_empty() {
        reader.fault(
            &node.span(),
            "`affinity` names no core; write \"off\" to leave the pipeline to the kernel",
        );
    }
    let mut cores = Vec::with_capacity(array.len());
    for node in array {
        let Some(core) = reader.whole("affinity", node, CORES) else { continue };
        let core = core as usize;
        reader.core(core, node.span());
        if !cores.contains(&core) {
            cores.push(core);
        }
    }
    Some(Affinity::Cores(cores))
}

/// Notes each core that is not there or may not be used.
pub(super) fn check(reader: &mut Reader<'_>) {
    for (core, at) in reader.take_cores() {
        if let Some(fault) = placement::fault_of(core) {
            reader.fault(&at, fault);
        }
    }
}
