//! What a bare call costs: the yardstick that blocks are measured with.
//!
//! For `nda bench`, whose interpreter loads this module without becoming a worker. The call is the one that blocks
//! are processed by (a callable that was found once, an argument tuple that was made once) with nothing around it.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use shared::clock;

/// Calls `callable` with `argument`, `calls` times for each of `batches` times, which are returned: nanoseconds of one
/// batch each. In batches, because looking at the clock takes a tenth of a call.
#[pyfunction]
pub(crate) fn time_calls(
    callable: &Bound<'_, PyAny>,
    argument: &Bound<'_, PyAny>,
    calls: u32,
    batches: u32,
) -> PyResult<Vec<u64>> {
    let arguments = PyTuple::new(callable.py(), [argument])?;
    let batch = |_| {
        let began_ns = clock::now_ns();
        for _ in 0..calls {
            callable.call1(&arguments)?;
        }
        Ok(clock::now_ns() - began_ns)
    };
    (0..batches).map(batch).collect()
}
