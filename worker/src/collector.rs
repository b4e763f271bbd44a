//! Listens to Python's collector, so that a block that it delayed can be told from one that computed.
//!
//! Called twice for each collection, in the thread that runs it. Only adds up: whether to collect is not decided
//! here.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shared::clock;
use std::sync::Arc;
use worker_core::toll::Collections;

/// What is in `gc.callbacks`.
#[pyclass(frozen)]
struct Listener(Arc<Collections>);

#[pymethods]
impl Listener {
    fn __call__(&self, phase: &str, info: &Bound<'_, PyDict>) -> PyResult<()> {
        let now_ns = clock::now_ns();
        if phase == "start" {
            self.0.begin(now_ns);
            return Ok(());
        }
        let generation = info.get_item(intern!(info.py(), "generation"))?;
        self.0.end(now_ns, generation.map_or(Ok(0), |generation| generation.extract())?);
        Ok(())
    }
}

/// Counts all collections from now on.
pub(crate) fn listen(py: Python<'_>, collections: Arc<Collections>) -> PyResult<()> {
    let listener = Bound::new(py, Listener(collections))?;
    py.import("gc")?.getattr("callbacks")?.call_method1("append", (listener,))?;
    Ok(())
}
