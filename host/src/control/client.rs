//! The other side: asks a run one thing.
//!
//! For `nda ctl` and for programs in Rust. It waits as long as the run takes: a plugin may load for half a minute.

use super::words::{Reply, Request};
use crate::error::{Error, Kind, Result};
use rustix::process::getuid;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The longest answer: more than any run has pipelines to tell of.
const ANSWER_MAX: u64 = 16 << 20;

/// Asks the run at this socket, and waits for its answer.
///
/// # Errors
/// Of kind [`Kind::Control`]: nobody is there, or what comes back is no answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply> {
    let name = socket.display();
    let failed = |e: std::io::Error| {
        if let Some(owner) = keeper(socket).filter(|_| e.kind() == ErrorKind::PermissionDenied) {
            let error =
                Error::new(Kind::Control, format!("the run at {name} is another user's (uid {owner})"));
            let who = format!("ask as that user, as only it may: sudo -u '#{owner}' nda ctl ...");
            return error.remedy(who).source(e);
        }
        let error = Error::new(Kind::Control, format!("there is no run to talk to at {name}"));
        error.remedy("start one with `nda run`, or name another with --run or --socket").source(e)
    };
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    let mut line = serde_json::to_vec(request).map_err(|e| failed(e.into()))?;
    line.push(b'\n');
    // Who turns us away may have hung up: what it said is read all the same.
    let _ = stream.write_all(&line).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = String::new();
    let read = BufReader::new(stream.take(ANSWER_MAX)).read_line(&mut answer);
    let cut = |e: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Kind::Control, format!("the run at {name} did not answer")).source(e)
    };
    read.map_err(|e| cut(e.into()))?;
    serde_json::from_str(&answer).map_err(|e| cut(e.into()))
}

/// The other user whom a socket, or else the folder that keeps it, belongs to: the deepest that may be looked at.
fn keeper(socket: &Path) -> Option<u32> {
    let owner = socket.ancestors().find_map(|path| path.metadata().ok())?.uid();
    (owner != getuid().as_raw()).then_some(owner)
}
