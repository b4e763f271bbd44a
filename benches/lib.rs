//! What the benchmarks share: where things are, what the machine is, and whether its figures can be trusted.
//!
//! Nothing here is timed.

pub mod measure;
pub mod report;
pub mod soak;

use report::doubts::Reading;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// What a benchmark's `main` may fail with.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The workspace's folder.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The processor, its cores, the kernel, and how busy all that was in the last minute, with a warning if it was.
#[must_use]
pub fn machine() -> String {
    let file = |path| read_to_string(path).unwrap_or_default();
    let cpus = file("/proc/cpuinfo");
    let of_cpu =
        |key| cpus.lines().find(|line| line.starts_with(key)).and_then(|line| line.split(": ").nth(1));
    let load: f64 = file("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let line = format!(
        "{}, {} cores, Linux {}, load {load}",
        of_cpu("model name").unwrap_or("an unknown processor"),
        cores(),
        file("/proc/sys/kernel/osrelease").trim(),
    );
    if load < 0.5 {
        line
    } else {
        line + "\nwarning: other work is going on, or was a moment ago: trust ratios only"
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Listens while something is measured for what makes the figures doubtful.
#[derive(Debug)]
pub struct Doubts {
    at_start: Reading,
}

impl Doubts {
    /// Starts listening.
    #[must_use]
    pub fn begin() -> Self {
        Self { at_start: Reading::now() }
    }

    /// What was heard since, a line each. `own_cores` is how many cores the benchmark itself may keep
    /// busy; more than that was other work.
    #[must_use]
    pub fn end(&self, own_cores: f64) -> Vec<String> {
        let now = Reading::now();
        let part = |of| now.share_since(&self.at_start, of);
        let (stolen, busy) = (part(|r| r.stolen), part(|r| r.busy) * cores() as f64);
        let mut doubts = Vec::new();
        if stolen > 0.0 {
            doubts.push(format!("the hypervisor took {:.2} % of the processor's time away", stolen * 100.0));
        }
        if busy > own_cores + 0.1 {
            doubts
                .push(format!("{busy:.1} cores were busy, the benchmark's share is at most {own_cores:.1}"));
        }
        doubts
    }
}
