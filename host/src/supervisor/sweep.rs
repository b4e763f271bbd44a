//! Finds and ends what workers left behind: processes in groups and sessions of their own.
//!
//! For the supervisor thread. Each worker's environment carries a token, which whatever it starts inherits; a
//! process that carries the token of a worker that has ended is killed. A look at all processes takes some
//! milliseconds, so it is taken in turns; and as they may multiply meanwhile, it is repeated until none is found.
//! A process that cleared its environment *and* left its group is not found.

use super::crowd::Crowds;
use super::stat::Stat;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::read;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process_group, pidfd_open, pidfd_send_signal};
use std::fs;

/// The environment variable that holds the token.
pub(super) const VARIABLE: &str = "NDA_WORKER";
/// Processes looked at in one turn.
const TURN: usize = 64;
/// Processes looked at when they are counted: some 10 ms for a thousand.
const COUNTED: usize = 2048;
/// Longest environment looked at, in bytes.
const ENVIRONMENT_MAX: usize = 4 << 20;

/// The search for what workers that have ended left behind.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The entries of the environment that are looked for: `NDA_WORKER=...`.
    entries: Vec<Vec<u8>>,
    /// Of them, how many are looked for in this round: those before it began.
    in_round: usize,
    left: Vec<Pid>,
    found: bool,
    environment: Vec<u8>,
}

impl Sweep {
    /// Ends what carries this token, from the next round on.
    pub(super) fn add(&mut self, token: &str) {
        self.entries.push(format!("{VARIABLE}={token}").into_bytes());
    }

    /// Whether there is nothing left to look for.
    pub(super) fn is_done(&self) -> bool {
        self.entries.is_empty()
    }

    /// Looks at some processes.
    pub(super) fn turn(&mut self) {
        if self.is_done() {
            return;
        }
        if self.in_round == 0 {
            self.begin();
        }
        for _ in 0..TURN {
            let Some(pid) = self.left.pop() else { return self.finish() };
            self.found |= self.look(pid);
        }
    }

    fn begin(&mut self) {
        self.in_round = self.entries.len();
        self.found = false;
        self.left = others();
    }

    /// A round without a find was the last one for its tokens.
    fn finish(&mut self) {
        if !self.found {
            self.entries.drain(..self.in_round);
        }
        self.in_round = 0;
    }

    /// Kills the process if it carries a token; whether it did.
    fn look(&mut self, pid: Pid) -> bool {
        // The descriptor before the look: whoever gets the number afterwards is not meant.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        if !self.carries(pid) {
            return false;
        }
        kill_session_group(pid);
        pidfd_send_signal(&process, Signal::KILL).is_ok()
    }

    fn carries(&mut self, pid: Pid) -> bool {
        self.environment.clear();
        // A zombie has none, and that of another user is not for us.
        if read_proc(pid, "environ", &mut self.environment).is_none() {
            return false;
        }
        let mut entries = self.environment.split(|byte| *byte == 0);
        entries.any(|entry| self.entries[..self.in_round].iter().any(|wanted| wanted == entry))
    }
}

/// Every process but this one.
fn others() -> Vec<Pid> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw).filter(|pid| *pid != getpid()).collect()
}

/// How many processes carry each token of this brood, among the newest of all.
pub(super) fn census(brood: &str) -> Crowds {
    let start = format!("{VARIABLE}={brood}-").into_bytes();
    let (mut crowds, mut environment) = (Crowds::new(), Vec::new());
    for pid in others().into_iter().rev().take(COUNTED) {
        environment.clear();
        if read_proc(pid, "environ", &mut environment).is_none() {
            continue;
        }
        let mut entries = environment.split(|byte| *byte == 0);
        if let Some(entry) = entries.find(|entry| entry.starts_with(&start)) {
            *crowds.entry(entry[VARIABLE.len() + 1..].to_vec()).or_default() += 1;
        }
    }
    crowds
}

/// Kills the process's whole group at once, faster than it can multiply, if that can only be the worker's own
/// making: it is in another session than the host, and nobody can join one.
fn kill_session_group(pid: Pid) {
    let stat = |pid| {
        let mut line = Vec::new();
        read_proc(pid, "stat", &mut line).and_then(|()| Stat::parse(&line))
    };
    if let (Some(theirs), Some(ours)) = (stat(pid), stat(getpid()))
        && let Some(group) = Pid::from_raw(theirs.group)
        && theirs.session != ours.session
    {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn read_proc(pid: Pid, file: &str, into: &mut Vec<u8>) -> Option<()> {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut part = [0; 16 * 1024];
    while into.len() < ENVIRONMENT_MAX {
        match read(&file, &mut part) {
            Ok(0) => break,
            Ok(n) => into.extend_from_slice(&part[..n]),
            Err(_) => return None,
        }
    }
    Some(())
}
