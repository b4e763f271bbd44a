//! Workers that nobody waits for yet step back: while a spare or a twin imports numpy and its plugin, those that
//! play go first.
//!
//! For the supervisor. Only where the priority can be raised again afterwards (as root, or with `RLIMIT_NICE`): that
//! is tried once, on a process of the host's own that it matters little to. Elsewhere all start at full speed.

use rustix::process::{Pid, getpriority_process, setpriority_process};
use std::fs::read_dir;

/// How far back: a tenth of a processor that others want.
const NICE: i32 = 10;

/// The priority that a process had before it stepped back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Before(i32);

/// Whether whoever steps back can step forward again.
pub(super) fn is_reversible(pid: Pid) -> bool {
    step_back(pid).is_some_and(|before| setpriority_process(Some(pid), before.0).is_ok())
}

/// Lets a process go after others that has one thread yet; those that it starts do the same.
pub(super) fn step_back(pid: Pid) -> Option<Before> {
    let before = getpriority_process(Some(pid)).ok()?;
    setpriority_process(Some(pid), before.saturating_add(NICE)).ok()?;
    Some(Before(before))
}

/// Lets all threads of a process go as before. One that has ended has none.
pub(super) fn step_forward(pid: Pid, before: Before) {
    let threads = read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)) {
        let _ = setpriority_process(Some(thread), before.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, kill_process};
    use std::process::Command;

    #[test]
    fn who_steps_back_and_forward_is_where_it_was() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&sleeper);
        let nice = || getpriority_process(Some(pid)).unwrap();
        let at_first = nice();
        let is_reversible = is_reversible(pid);
        if is_reversible {
            assert_eq!(nice(), at_first);
            let before = step_back(pid).unwrap();
            assert_eq!(nice(), (at_first + NICE).min(19));
            step_forward(pid, before);
            assert_eq!(nice(), at_first);
        } else {
            assert!(nice() > at_first, "it stepped back and could not return");
        }
        kill_process(pid, Signal::KILL).unwrap();
        sleeper.wait().unwrap();
    }
}
