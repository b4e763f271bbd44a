//! The server: takes connections at a run's socket, reads requests, hands them over and writes the answers.
//!
//! One thread listens, one serves each client. All that clients can do is bounded: how many there are, how long a line
//! may be and take, how long an answer may take to be read. Whoever is not the run's user, or root, is turned away.

use super::LINE_MAX;
use super::place::{Place, clear_if_dead};
use super::words::{Reply, Request};
use crate::error::{Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::getuid;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Clients at a time.
pub(crate) const CLIENTS: usize = 8;
/// How long a client may take for a line, from the one before.
const LINE_WITHIN: Duration = Duration::from_secs(30);
/// How long a client may take to read an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long whoever is turned away has to read why.
const TURNED_AWAY_WITHIN: Duration = Duration::from_millis(100);
/// How long a process without a descriptor left, or a machine, waits before it tries again.
const DESCRIPTORS_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How often a thread that waits for an answer looks whether all is over.
const LOOK: Duration = Duration::from_millis(50);

/// A request, and who waits for the answer.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Takes one answer without waiting; dropped without one, the client is told that the run has ended.
    pub reply: SyncSender<Reply>,
}

/// A socket that is open and takes connections, which nobody serves yet.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    file: SocketFile,
    /// Its name has this process's number in it.
    is_own: bool,
}

/// A socket in the file system, gone with this.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: another run may have put its own in its place.
    identity: (u64, u64),
}

impl Listener {
    /// Opens a socket there, for its user alone. One that a killed run has left is replaced.
    ///
    /// # Errors
    /// Of kind `System`: somebody listens there, something else is there, or it can't be made.
    pub fn open(place: &Place) -> Result<Self> {
        let path = place.settle()?;
        if !clear_if_dead(&path) && path.symlink_metadata().is_ok() {
            let what = format!("a socket can't be opened at {}: something is there already", path.display());
            return Err(
                Error::new(Kind::System, what).remedy("stop the run that listens there, or remove it")
            );
        }
        let failed =
            |e| Error::new(Kind::System, format!("a socket can't be opened at {}", path.display())).source(e);
        let (listener, file) = bind(&path).map_err(failed)?;
        let is_own = matches!(place, Place::Named(_));
        Ok(Self { listener, file, is_own })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Where it is, if no other run will ever have one there.
    pub(crate) fn own_path(&self) -> Option<&Path> {
        self.is_own.then(|| self.path())
    }

    /// Serves clients until the server is dropped; what they ask comes out of the receiver.
    ///
    /// # Errors
    /// Of kind `System`: no descriptors, no thread.
    pub fn serve(self) -> Result<(Server, Receiver<Asked>)> {
        let failed = |e| Error::new(Kind::System, "requests over the socket can't be served").source(e);
        let Self { listener, file, .. } = self;
        listener.set_nonblocking(true).map_err(failed)?;
        let (end, ended) = UnixStream::pair().map_err(failed)?;
        let (asks, asked) = sync_channel(CLIENTS);
        let is_over = Arc::default();
        let front = Front { asks, is_over: Arc::clone(&is_over), clients: Vec::new() };
        let thread = thread::Builder::new().name("nda-control".into());
        let thread = thread.spawn(move || front.run(&listener, &ended)).map_err(failed)?;
        Ok((Server { is_over, end: Some(end), thread: Some(thread), _file: file }, asked))
    }
}

/// Makes a socket that has its name only when it listens, and is its user's alone.
fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    let hidden = path.with_file_name(hidden);
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    let file = show(&hidden, path);
    if file.is_err() {
        let _ = fs::remove_file(&hidden);
    }
    Ok((listener, file?))
}

fn show(hidden: &Path, path: &Path) -> io::Result<SocketFile> {
    fs::set_permissions(hidden, Permissions::from_mode(0o600))?;
    let identity = identity(hidden)?;
    fs::rename(hidden, path)?;
    Ok(SocketFile { path: path.to_owned(), identity })
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|is| is == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Serves a run's clients; dropped, it hangs up on all of them and takes the socket away.
#[derive(Debug)]
pub struct Server {
    is_over: Arc<AtomicBool>,
    /// Hung up, it ends the thread that listens.
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    _file: SocketFile,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there has been printed.
            let _ = thread.join();
        }
    }
}

/// The thread that listens.
struct Front {
    asks: SyncSender<Asked>,
    is_over: Arc<AtomicBool>,
    /// A connection is its thread's alone: who has gone holds no descriptor until the next one comes.
    clients: Vec<(Weak<UnixStream>, JoinHandle<()>)>,
}

impl Front {
    fn run(self, listener: &UnixListener, ended: &UnixStream) {
        self.listen(listener, ended, || listener.accept().map(|(stream, _)| stream));
    }

    /// Takes whoever `accept` lets in when the listener is ready.
    fn listen(
        mut self,
        listener: impl AsFd,
        ended: &UnixStream,
        mut accept: impl FnMut() -> io::Result<UnixStream>,
    ) {
        while !self.is_over.load(Ordering::Relaxed) {
            let mut ready = [PollFd::new(&ended, PollFlags::IN), PollFd::new(&listener, PollFlags::IN)];
            if poll(&mut ready, None).is_err() {
                continue;
            }
            match accept() {
                Ok(stream) => self.take(stream),
                // Without a descriptor or memory for it whoever knocks stays there: asked at once, the listener is ready
                // again.
                Err(error) if is_for_want_of_room(&error) => {
                    let _ = poll(&mut ready[..1], Some(&DESCRIPTORS_AGAIN));
                }
                Err(_) => {}
            }
        }
        for stream in self.clients.iter().filter_map(|(stream, _)| stream.upgrade()) {
            let _ = stream.shutdown(Shutdown::Read);
        }
        for (_, thread) in self.clients {
            let _ = thread.join();
        }
    }

    fn take(&mut self, stream: UnixStream) {
        self.clients.retain(|(_, thread)| !thread.is_finished());
        // What is accepted from a socket that never waits may wait.
        if stream.set_nonblocking(false).is_err() {
            return;
        }
        let why = match is_ours(&stream) {
            false => "this run belongs to another user",
            true if self.clients.len() >= CLIENTS => "this run has as many clients as it takes; try again",
            true => return self.serve(stream),
        };
        let _ = write(&stream, &refused(why), TURNED_AWAY_WITHIN);
    }

    fn serve(&mut self, stream: UnixStream) {
        let stream = Arc::new(stream);
        let held = Arc::downgrade(&stream);
        let client =
            Client { stream, read: Vec::new(), asks: self.asks.clone(), is_over: Arc::clone(&self.is_over) };
        let thread = thread::Builder::new().name("nda-client".into());
        // Without a thread it is hung up on.
        self.clients.extend(thread.spawn(move || client.run()).ok().map(|thread| (held, thread)));
    }
}

fn is_for_want_of_room(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Whether the other side is this process's user, or root.
fn is_ours(stream: &UnixStream) -> bool {
    socket_peercred(stream.as_fd()).is_ok_and(|peer| peer.uid.is_root() || peer.uid == getuid())
}

/// One client.
struct Client {
    stream: Arc<UnixStream>,
    /// What it has written and was not looked at yet.
    read: Vec<u8>,
    asks: SyncSender<Asked>,
    is_over: Arc<AtomicBool>,
}

/// Why there is no line.
enum NoLine {
    /// Hung up, or nothing came in time.
    Over,
    TooLong,
}

impl Client {
    fn run(mut self) {
        loop {
            let (reply, goes_on) = match self.line() {
                Ok(line) if line.trim_ascii().is_empty() => continue,
                Ok(line) => (self.answer(&line), true),
                Err(NoLine::TooLong) => (refused(&format!("a line has {LINE_MAX} bytes at most")), false),
                Err(NoLine::Over) => break,
            };
            if write(&self.stream, &reply, ANSWER_WITHIN).is_err() || !goes_on {
                break;
            }
            // Whoever has written ahead, and reads slowly, does not delay the end.
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> std::result::Result<Vec<u8>, NoLine> {
        let until = Instant::now() + LINE_WITHIN;
        let mut looked_at = 0;
        loop {
            if let Some(at) = self.read[looked_at..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<_> = self.read.drain(..=looked_at + at).collect();
                line.pop();
                return Ok(line);
            }
            looked_at = self.read.len();
            if looked_at > LINE_MAX {
                return Err(NoLine::TooLong);
            }
            let mut part = [0; 4096];
            let left = until.saturating_duration_since(Instant::now());
            // No time at all would be for ever.
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return Err(NoLine::Over);
            }
            match (&*self.stream).read(&mut part) {
                Ok(0) => return Err(NoLine::Over),
                Ok(n) => self.read.extend_from_slice(&part[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(NoLine::Over),
            }
        }
    }

    fn answer(&self, line: &[u8]) -> Reply {
        let request = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(why) => return refused(&format!("this is no request: {why}")),
        };
        let (reply, answer) = sync_channel(1);
        if self.asks.send(Asked { request, reply }).is_err() {
            return over();
        }
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(reply) => return reply,
                Err(RecvTimeoutError::Timeout) if !self.is_over.load(Ordering::Relaxed) => {}
                Err(_) => return over(),
            }
        }
    }
}

fn over() -> Reply {
    Reply::from(Error::new(Kind::Control, "the run has ended before it could do that"))
}

fn refused(why: &str) -> Reply {
    Reply::from(Error::new(Kind::Control, why))
}

/// Writes an answer, which takes no longer than this.
fn write(mut stream: &UnixStream, reply: &Reply, within: Duration) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    let until = Instant::now() + within;
    let mut rest = line.as_slice();
    while !rest.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
