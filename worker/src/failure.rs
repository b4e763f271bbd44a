//! Exceptions in words: what failed, for a user who sees one sentence first and the traceback after it.
//!
//! Nothing here prints, and nothing here raises: an exception that can't be put into words is still told by its
//! type. `PyErr::print` is never used, because it ends the process on `SystemExit`.

use pyo3::prelude::*;
use pyo3::types::PyTraceback;
use shared::message::{Failure, Stage, cut};
use worker_core::reasons::Reason;

/// Longest sentence; the whole exception is in the traceback.
const SENTENCE_MAX: usize = 1000;

/// A failure without an exception.
pub(crate) fn plain(stage: Stage, message: impl Into<String>) -> Failure {
    Failure { stage, message: shortened(message.into()), traceback: String::new() }
}

/// The plugin raised where `what` says, such as `initialize()`.
pub(crate) fn raised(py: Python<'_>, stage: Stage, what: &str, error: &PyErr) -> Failure {
    Failure {
        stage,
        message: shortened(format!("{what} raised {}", sentence(py, error))),
        traceback: cut(&traceback(py, error)),
    }
}

/// `ValueError: no such key`, or only the type if the exception has nothing to say.
pub(crate) fn sentence(py: Python<'_>, error: &PyErr) -> String {
    let kind = type_name(py, error);
    match error.value(py).str().map(|text| text.to_string_lossy().trim().to_owned()) {
        Ok(text) if !text.is_empty() => format!("{kind}: {text}"),
        _ => kind,
    }
}

/// What distinguishes this failure from others: the type and where it was raised.
pub(crate) fn reason(py: Python<'_>, error: &PyErr) -> Reason {
    let place = error.traceback(py).and_then(|top| place(top).ok()).unwrap_or_default();
    Reason { what: type_name(py, error), file: place.0, line: place.1 }
}

fn type_name(py: Python<'_>, error: &PyErr) -> String {
    error.get_type(py).qualname().map_or_else(|_| "an exception".into(), |name| name.to_string())
}

/// File and line of the innermost frame.
fn place(top: Bound<'_, PyTraceback>) -> PyResult<(String, u32)> {
    let py = top.py();
    let mut innermost = top.into_any();
    loop {
        let next = innermost.getattr(pyo3::intern!(py, "tb_next"))?;
        if next.is_none() {
            break;
        }
        innermost = next;
    }
    let line = innermost.getattr(pyo3::intern!(py, "tb_lineno"))?.extract()?;
    let code = innermost.getattr(pyo3::intern!(py, "tb_frame"))?.getattr(pyo3::intern!(py, "f_code"))?;
    Ok((code.getattr(pyo3::intern!(py, "co_filename"))?.extract()?, line))
}

fn traceback(py: Python<'_>, error: &PyErr) -> String {
    let format = || -> PyResult<String> {
        // An exception that was fetched does not carry its traceback yet on all versions of Python.
        let parts = (error.get_type(py), error.value(py), error.traceback(py));
        let lines = py.import("traceback")?.call_method1("format_exception", parts)?;
        Ok(lines.try_iter()?.map(|line| line?.extract::<String>()).collect::<PyResult<Vec<_>>>()?.concat())
    };
    format().unwrap_or_else(|_| type_name(py, error))
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(SENTENCE_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
