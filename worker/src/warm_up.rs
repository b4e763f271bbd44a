//! First calls are slow, and are made before the audio begins.
//!
//! The first call of a method takes ten times as long as the thousandth: Python finds out which types its code meets,
//! numpy looks up its loops, pages are touched for the first time, a compiler of the plugin's may run for seconds.
//!
//! **The worker's own part** of a block is always warmed up: a stand-in for the plugin's method is called on every slot
//! before the first block is there, with the arrays, buffers and functions of numpy that blocks go through.
//!
//! **The plugin's part**, when the host asks for it, by silent blocks in a buffer of their own after `start`. A processor has
//! to do with silence at any time; one that counts blocks or keeps a phase says that it wants none (`silent_warm_up`, see
//! `base_plugin`). A source would lose what it reads, and a sink write silence: they are called so only by their own word
//! or their user's. A second instance to be thrown away would ask more of a plugin: to get to its first block it has to
//! `initialize` and `start`, and opens its files, devices and sockets twice, or loads its model twice.

use pyo3::ffi::c_str;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// Calls after which Python has specialised its code, in all versions so far.
pub(crate) const CALLS: usize = 32;
/// How long silent blocks go on at most: one that takes longer has been compiled by then.
const ENOUGH: Duration = Duration::from_millis(100);

const STAND_IN: &CStr = c_str!(
    "import numpy
def block(buffer):
    data = buffer.data
    data *= 0
    numpy.clip(data, -1, 1, out=data)
    buffer.data = data + data
    return True
"
);

/// What blocks go to in place of a plugin's method: works on the buffer as plugins do, and leaves silence.
pub(crate) fn stand_in(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    PyModule::from_code(py, STAND_IN, c"<nda>/warm_up.py", c"_nda_warm_up")?.getattr("block")
}

/// Calls a plugin's method with silence. What fails here fails in the first block too, and is told then.
pub(crate) fn silent_blocks(method: &Bound<'_, PyAny>, buffer: &Bound<'_, PyAny>) {
    let began = Instant::now();
    for _ in 0..CALLS {
        let done = buffer.call_method0("clear").and_then(|_| method.call1((buffer,)));
        if done.is_err() || began.elapsed() > ENOUGH {
            return;
        }
    }
}
