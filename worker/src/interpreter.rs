//! Makes a fresh interpreter fit for a plugin, and for nothing to be lost that the plugin does not catch.
//!
//! What a plugin finds: output streams that never wait, `base_plugin` to import (also in Python processes that it
//! spawns), its own file as `sys.argv`. What the host hears: exceptions of threads and finalisers.

use crate::{failure, stacks};
use pyo3::exceptions::PySystemExit;
use pyo3::ffi::c_str;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyModule};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process;
use shared::clock;
use shared::control::Control;
use shared::message::{Hello, Notice, Say, Stage};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use worker_core::archive::stored_zip;
use worker_core::leave::leave_with;
use worker_core::reasons::Allowance;

const BASE_PLUGIN: &str = include_str!("../../plugins_py/base_plugin.py");
const STREAMS: &CStr = c_str!(include_str!("streams.py"));
const STREAMS_MODULE: &str = "_nda_streams";

/// How long another thread of the plugin may compute before a block gets its turn. Python's own 5 ms would be
/// two blocks.
const SWITCH_INTERVAL_S: f64 = 1e-4;
/// Exceptions of threads and finalisers that are told at once, and how often after that.
const UNRAISABLE_AT_ONCE: u32 = 16;
const UNRAISABLE_EVERY_NS: u64 = 1_000_000_000;

/// Streams, signals, hooks, and all that can be there before a plugin is: a spare has done it when it is needed. What to
/// introduce this process with.
pub(crate) fn prepare(py: Python<'_>, control: &Arc<Control>) -> PyResult<Hello> {
    let streams =
        PyModule::from_code(py, STREAMS, c"<nda>/streams.py", &std::ffi::CString::new(STREAMS_MODULE)?)?;
    streams.call_method0("install")?;
    ignore_interrupts(py)?;
    py.import("sys")?.call_method1("setswitchinterval", (SWITCH_INTERVAL_S,))?;
    stacks::write_down(py)?;
    report_unraisable(py, control)?;
    leave_forked_children(py)?;
    provide_base_plugin(py)?;
    // Most plugins find their folder with it; to import it takes longer than all else of a small one.
    py.import("pathlib")?;
    measure_floats(py)?;
    look_at_plugins_alone(py)?;
    let version = py.version_info();
    Ok(Hello {
        protocol: shared::PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        python: format!("{}.{}.{}", version.major, version.minor, version.patch),
        numpy: py.import("numpy")?.getattr("__version__")?.extract()?,
    })
}

/// Ctrl-C in the host's terminal is the host's affair.
fn ignore_interrupts(py: Python<'_>) -> PyResult<()> {
    let signal = py.import("signal")?;
    signal.call_method1("signal", (signal.getattr("SIGINT")?, signal.getattr("SIG_IGN")?))?;
    Ok(())
}

fn report_unraisable(py: Python<'_>, control: &Arc<Control>) -> PyResult<()> {
    let allowance = Mutex::new(Allowance::new(UNRAISABLE_AT_ONCE, UNRAISABLE_EVERY_NS));
    let hook = Bound::new(py, Hook { control: Arc::clone(control), allowance })?;
    py.import("sys")?.setattr("unraisablehook", hook.getattr("unraisable")?)?;
    py.import("threading")?.setattr("excepthook", hook.getattr("thread")?)?;
    Ok(())
}

/// Tells the host of exceptions that nobody catches.
#[pyclass(frozen)]
struct Hook {
    control: Arc<Control>,
    allowance: Mutex<Allowance>,
}

#[pymethods]
impl Hook {
    /// For `sys.unraisablehook`.
    fn unraisable(&self, args: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = args.py();
        let object = args.getattr("object")?;
        let said = args.getattr("err_msg")?.extract::<Option<String>>()?;
        let name = object.repr().map(|r| r.to_string_lossy().into_owned()).unwrap_or_default();
        let what = said.unwrap_or_else(|| "Exception ignored in".into());
        self.tell(py, &format!("{what} {name}: it"), &args.getattr("exc_value")?);
        Ok(())
    }

    /// For `threading.excepthook`.
    fn thread(&self, args: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = args.py();
        let error = args.getattr("exc_value")?;
        // A thread may end itself so, and nothing is wrong.
        if error.is_instance_of::<PySystemExit>() {
            return Ok(());
        }
        let thread = args.getattr("thread")?;
        let name =
            if thread.is_none() { "unnamed".into() } else { thread.getattr("name")?.str()?.to_string() };
        self.tell(py, &format!("thread {name}"), &error);
        Ok(())
    }
}

impl Hook {
    fn tell(&self, py: Python<'_>, what: &str, error: &Bound<'_, PyAny>) {
        let allowed = self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now_ns());
        let Some(skipped) = allowed else { return };
        let mut failure = failure::raised(py, Stage::Block, what, &PyErr::from_value(error.clone()));
        if skipped > 0 {
            failure.message.push_str(&format!(" ({skipped} others were not told)"));
        }
        // Without room it is lost: this may be any thread, and none shall wait for the host.
        let _ = self.control.try_send(&Say::Notice(Notice::Unraisable(failure)));
    }
}

/// Whether this process is a child that the plugin forked.
static FORKED: AtomicBool = AtomicBool::new(false);
/// The process that is about to fork, if its main thread is: 0 if it is another one.
static FORKING: AtomicI32 = AtomicI32::new(0);

/// A child that the plugin forked must not come back into the loop: it would answer blocks beside its parent.
/// Nor may it outlive the worker, whose end it would not notice.
fn leave_forked_children(py: Python<'_>) -> PyResult<()> {
    let (before, after) = (wrap_pyfunction!(note_forking, py)?, wrap_pyfunction!(note_fork, py)?);
    let when = [("before", before), ("after_in_child", after)].into_py_dict(py)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&when))?;
    Ok(())
}

#[pyfunction]
fn note_forking() {
    let pid = process::getpid();
    let is_main_thread = rustix::thread::gettid() == pid;
    FORKING.store(if is_main_thread { pid.as_raw_pid() } else { 0 }, Ordering::Relaxed);
}

/// The signal comes at the end of the *thread* that forked. Only the main thread lives as long as its process: a
/// child of another one goes on, and is found by the host.
#[pyfunction]
fn note_fork() {
    FORKED.store(true, Ordering::Relaxed);
    let parent = FORKING.load(Ordering::Relaxed);
    if parent == 0 {
        return;
    }
    // Refused by no kernel; a sandbox that does leaves the child to the host.
    let _ = process::set_parent_process_death_signal(Some(process::Signal::KILL));
    if process::getppid().map_or(0, process::Pid::as_raw_pid) != parent {
        leave_with(0);
    }
}

/// To be called when a plugin's method has returned: in a forked child this is where its way ends.
pub(crate) fn stay_only_in_the_worker() {
    if FORKED.load(Ordering::Relaxed) {
        leave_with(0);
    }
}

/// Imports the built-in `base_plugin`, whichever others are about, and leaves it to be found by Python processes
/// that the plugin spawns: they inherit `sys.path`, and nothing is written to disk.
fn provide_base_plugin(py: Python<'_>) -> PyResult<()> {
    let archive = memfd_create("base_plugin", MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let zip = stored_zip("base_plugin.py", BASE_PLUGIN.as_bytes());
    std::io::Write::write_all(&mut std::fs::File::from(archive.try_clone()?), &zip)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), archive.as_raw_fd());
    // Open as long as this process lives.
    let _ = archive.into_raw_fd();
    let path_list = py.import("sys")?.getattr("path")?;
    path_list.call_method1("insert", (0, &path))?;
    py.import("base_plugin")?;
    path_list.call_method1("remove", (&path,))?;
    path_list.call_method1("append", (&path,))?;
    Ok(())
}

/// What was imported so far lives as long as the process: the collector, which `boot.py` has left off, need never look
/// at it, and would while the plugin is being loaded.
fn look_at_plugins_alone(py: Python<'_>) -> PyResult<()> {
    let gc = py.import("gc")?;
    gc.call_method0("freeze")?;
    gc.call_method0("enable")?;
    Ok(())
}

/// The plugin's folder and the one above it can be imported from, and `sys.argv` is its file.
pub(crate) fn point_at(py: Python<'_>, file: &Path) -> PyResult<()> {
    let sys = py.import("sys")?;
    sys.setattr("argv", [file.as_os_str()].into_pyobject(py)?)?;
    let folders = file.ancestors().skip(1).take(2).filter(|folder| !folder.as_os_str().is_empty());
    for (i, folder) in folders.enumerate() {
        sys.getattr("path")?.call_method1("insert", (i, folder.as_os_str()))?;
    }
    Ok(())
}

/// Has numpy measure the floating-point unit before denormals are switched off: it keeps what it found, and would
/// warn of what it finds afterwards.
fn measure_floats(py: Python<'_>) -> PyResult<()> {
    let numpy = py.import("numpy")?;
    for kind in ["float32", "float64"] {
        numpy.call_method1("finfo", (numpy.getattr(kind)?,))?;
    }
    Ok(())
}

/// Writes out what the plugin printed last, waiting so many seconds for room at most.
pub(crate) fn flush(py: Python<'_>, patience_s: f64) {
    let streams = || py.import("sys")?.getattr("modules")?.get_item(STREAMS_MODULE);
    // Raises only if the plugin took the module away; its output is lost then.
    let _ = streams().and_then(|streams: Bound<'_, PyAny>| streams.call_method1("flush", (patience_s,)));
}
