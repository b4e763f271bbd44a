//! Whether a plugin has threads of its own that use the interpreter.
//!
//! For the wait between two blocks: to give the interpreter up and take it back is for nobody where there is no other thread,
//! and takes more than anything else does between two workers in a row. What tells is Python's own list of the threads that it
//! knows, in which a thread of C stands too while it is in Python or waits to get in. One that was seen is never taken for
//! gone: if it came back, it would have to wait for the next block again. Threads of a second interpreter in this process are
//! in another list, and are not seen unless they have been in the first.

// Python's list, of which the stable ABI has no part.
#![allow(unsafe_code)]

use pyo3::ffi::{PyInterpreterState, PyInterpreterState_Get, PyThreadState, PyThreadState_Get};
use pyo3::prelude::*;
use std::ffi::{CStr, c_void};

type First = unsafe extern "C" fn(*mut PyInterpreterState) -> *mut PyThreadState;
type Next = unsafe extern "C" fn(*mut PyThreadState) -> *mut PyThreadState;

/// Python's functions for its list. All versions have them, though the stable ABI promises none.
#[derive(Clone, Copy)]
struct List {
    first: First,
    next: Next,
}

/// Looks for other threads. Without the list there may always be one.
pub(crate) struct Threads(Option<List>);

impl Threads {
    pub(crate) fn new() -> Self {
        Self(List::find())
    }

    /// Whether this thread, which has the interpreter, is the only one that was ever seen to use it.
    pub(crate) fn is_alone(&mut self, py: Python<'_>) -> bool {
        self.0 = self.0.filter(|list| list.is_only(py));
        self.0.is_some()
    }
}

impl List {
    fn find() -> Option<Self> {
        let first = symbol(c"PyInterpreterState_ThreadHead")?;
        let next = symbol(c"PyThreadState_Next")?;
        // SAFETY: the function of this name has had this signature in every Python 3.
        let first = unsafe { std::mem::transmute::<*mut c_void, First>(first) };
        // SAFETY: as above.
        let next = unsafe { std::mem::transmute::<*mut c_void, Next>(next) };
        Some(Self { first, next })
    }

    /// A new thread stands at the head of the list before it waits for the interpreter. Nothing of its is looked at, only
    /// whether we stand there, and nobody behind us.
    fn is_only(&self, _has_the_interpreter: Python<'_>) -> bool {
        // SAFETY: this thread has the interpreter, as the parameter proves.
        let thread = unsafe { PyThreadState_Get() };
        // SAFETY: as above.
        let interpreter = unsafe { PyInterpreterState_Get() };
        // SAFETY: the interpreter lives as long as a thread is in it; one word is read.
        let first = unsafe { (self.first)(interpreter) };
        // SAFETY: the state is this thread's own.
        let next = unsafe { (self.next)(thread) };
        first == thread && next.is_null()
    }
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with a zero, and nothing but a lookup is done with it.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}
