//! Python's collector: listened to, so that a block that it delayed can be told from one that computed, and run when
//! `worker_core::collector` says so.
//!
//! A plugin that calls `gc.collect()` gets what it asks for, and one that calls `gc.enable()` has Python's own
//! collections again, beside those that are scheduled: both are counted as not scheduled, and the report tells.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shared::clock;
use shared::message::Gc;
use std::sync::Arc;
use worker_core::collector::Sweep;
use worker_core::toll::Collections;

/// What is in `gc.callbacks`: called twice for each collection, in the thread that runs it. Only adds up.
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

/// The functions of `gc`, as they were before the plugin was loaded.
pub(crate) struct Collector<'py> {
    py: Python<'py>,
    collections: Arc<Collections>,
    collect: Bound<'py, PyAny>,
    get_count: Bound<'py, PyAny>,
    get_freeze_count: Bound<'py, PyAny>,
    freeze: Bound<'py, PyAny>,
    unfreeze: Bound<'py, PyAny>,
    disable: Bound<'py, PyAny>,
}

impl<'py> Collector<'py> {
    /// Counts all collections from now on.
    pub(crate) fn listen(py: Python<'py>) -> PyResult<Self> {
        let gc = py.import("gc")?;
        let collections = Arc::default();
        let listener = Bound::new(py, Listener(Arc::clone(&collections)))?;
        gc.getattr("callbacks")?.call_method1("append", (listener,))?;
        Ok(Self {
            py,
            collections,
            collect: gc.getattr("collect")?,
            get_count: gc.getattr("get_count")?,
            get_freeze_count: gc.getattr("get_freeze_count")?,
            freeze: gc.getattr("freeze")?,
            unfreeze: gc.getattr("unfreeze")?,
            disable: gc.getattr("disable")?,
        })
    }

    /// What it took so far.
    pub(crate) fn collections(&self) -> Arc<Collections> {
        Arc::clone(&self.collections)
    }

    /// Hands it over for the blocks that come. Objects that live as long as the plugin are never looked at again: with
    /// a million of them a full collection would take a tenth of a second in the middle of the audio.
    pub(crate) fn hand_over(&self, to: Gc) -> PyResult<()> {
        if to == Gc::Python {
            return Ok(());
        }
        self.disable.call0()?;
        self.collect.call0()?;
        self.freeze.call0().map(|_| ())
    }

    /// Objects that no collection looks at.
    pub(crate) fn frozen(&self) -> PyResult<u64> {
        self.get_freeze_count.call0()?.extract()
    }

    /// Containers made and not freed since the youngest generation was collected. Makes nothing itself.
    pub(crate) fn made(&self) -> PyResult<u64> {
        self.get_count.call0()?.get_item(0)?.extract()
    }

    /// Does it; how many objects were garbage.
    pub(crate) fn sweep(&self, sweep: Sweep) -> PyResult<u64> {
        match sweep {
            Sweep::Young => self.collect.call1((0,))?.extract(),
            Sweep::Old => self.collect.call1((2,))?.extract(),
            Sweep::Aside => self.freeze.call0().map(|_| 0),
            Sweep::Everything => self.everything(),
        }
    }

    fn everything(&self) -> PyResult<u64> {
        self.unfreeze.call0()?;
        let found = self.collect.call0()?.extract();
        self.freeze.call0()?;
        found
    }

    /// What a plugin did to `gc` so that a call of it failed, is nothing that a block could fail for.
    pub(crate) fn or_nothing(&self, result: PyResult<u64>) -> u64 {
        result.unwrap_or_else(|e| {
            e.write_unraisable(self.py, None);
            0
        })
    }
}
