//! What takes long, on a thread of its own: opening and closing a pipeline, asking a plugin, reading a file.
//!
//! For the thread that runs, which looks whether it is done and never waits, but at the end of the run.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Work under way.
#[derive(Debug)]
pub(super) struct Job<T> {
    result: Receiver<T>,
    thread: JoinHandle<()>,
}

/// How it stands.
#[derive(Debug)]
pub(super) enum Progress<T> {
    UnderWay(Job<T>),
    Done(T),
    /// It panicked, which has been printed.
    Lost,
}

impl<T: Send + 'static> Job<T> {
    /// Begins with it.
    ///
    /// # Errors
    /// No thread: what the work held is dropped.
    pub(super) fn begin(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (done, result) = sync_channel(1);
        let body = move || {
            let _ = done.send(work());
        };
        Ok(Self { result, thread: Builder::new().name("nda-job".into()).spawn(body)? })
    }

    /// Looks at it, without waiting.
    pub(super) fn look(self) -> Progress<T> {
        match self.result.try_recv() {
            Ok(result) => Progress::Done(self.after(result)),
            Err(TryRecvError::Empty) => Progress::UnderWay(self),
            Err(TryRecvError::Disconnected) => Progress::Lost,
        }
    }

    /// Waits for its end; `None` if it panicked.
    pub(super) fn wait(self) -> Option<T> {
        let result = self.result.recv().ok()?;
        Some(self.after(result))
    }

    fn after(self, result: T) -> T {
        // It has nothing left to do.
        let _ = self.thread.join();
        result
    }
}
