//! Why a worker ended, as far as its exit code tells.
//!
//! The worker (or its boot script, before the module is loaded) chooses the code, the host decodes it. A code
//! that is not in this list was chosen by the plugin (`os._exit`) and proves nothing.

/// An exit code of the worker's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was asked to go, and went.
    Goodbye = 0,
    /// The module could not be loaded or the hand-off with the host failed; standard error says why.
    Boot = 70,
    /// Its host is gone: the control socket ended.
    Orphaned = 71,
    /// The host said something that this worker does not understand.
    Protocol = 72,
    /// The interpreter is older than Python 3.10; standard error says which it is.
    TooOld = 73,
    /// The interpreter is not CPython.
    NotCPython = 74,
    /// A free-threaded build, which loads no abi3 module.
    FreeThreaded = 75,
    /// numpy can't be imported; standard error says why.
    NoNumpy = 76,
    /// The worker itself is at fault: it panicked; standard error says where.
    Panicked = 77,
}

impl Exit {
    const ALL: [Self; 9] = [
        Self::Goodbye,
        Self::Boot,
        Self::Orphaned,
        Self::Protocol,
        Self::TooOld,
        Self::NotCPython,
        Self::FreeThreaded,
        Self::NoNumpy,
        Self::Panicked,
    ];

    /// The worker's own reason behind an exit code, if it is one.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| *exit as i32 == code)
    }
}
