//! What the kernel and the user's limits give, read from where they tell it.

use super::Finding;
use rustix::process::{Resource, getrlimit, getuid};
use rustix::system::uname;

/// The oldest kernel that has all that is used: waiting for several words at once, seals, descriptors of processes.
const OLDEST: (u32, u32) = (5, 16);
/// Memory that the rings of a dozen plugins take, in KiB.
const LOCKED_KIB: u64 = 8 << 10;
const GOVERNORS: &str = "/sys/devices/system/cpu/cpufreq";

pub(super) fn kernel() -> Finding {
    let release = uname().release().to_string_lossy().into_owned();
    let (major, minor) = OLDEST;
    match version(&release) {
        Some(version) if version < OLDEST => Finding::needed(
            "kernel",
            format!(
                "Linux {release} is older than {major}.{minor}: a block can't be handed from worker to worker"
            ),
            "install a newer kernel",
        ),
        _ => Finding::good("kernel", format!("Linux {release}")),
    }
}

/// `6.12` of `6.12.9-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(super) fn user() -> Finding {
    if getuid().is_root() {
        let is = "root: a plugin may then do anything to the machine";
        return Finding::better(
            "user",
            is,
            "run nda as a user of your own; it needs no more than the rights below",
        );
    }
    Finding::good("user", format!("{}, not root", getuid().as_raw()))
}

pub(super) fn locked_memory() -> Finding {
    locked(getrlimit(Resource::Memlock).current)
}

fn locked(limit_bytes: Option<u64>) -> Finding {
    match limit_bytes.map(|bytes| bytes / 1024) {
        Some(kib) if kib < LOCKED_KIB && !getuid().is_root() => Finding::better(
            "locked memory",
            format!("{kib} KiB: when memory runs short, blocks may wait for the disk"),
            "\"@audio - memlock unlimited\" in /etc/security/limits.d/audio.conf, then log in again",
        ),
        Some(kib) => Finding::good("locked memory", format!("{kib} KiB")),
        None => Finding::good("locked memory", "no limit"),
    }
}

pub(super) fn throttling() -> Finding {
    let number = |name: &str| -> Option<i64> {
        std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse().ok()
    };
    throttled(number("sched_rt_runtime_us"), number("sched_rt_period_us"))
}

/// Of the microseconds in each period that real-time threads may run.
fn throttled(runtime: Option<i64>, period: Option<i64>) -> Finding {
    match (runtime, period) {
        (Some(runtime), Some(period)) if runtime >= 0 && runtime < period / 2 => Finding::better(
            "real-time throttling",
            format!("real-time threads may run for {runtime} of {period} us: audio stops for the rest"),
            "sudo sysctl kernel.sched_rt_runtime_us=950000",
        ),
        (Some(runtime @ 0..), Some(period)) => {
            let is =
                format!("{runtime} of {period} us for real-time threads: one that runs wild can be ended");
            Finding::good("real-time throttling", is)
        }
        (Some(_), _) => Finding::good(
            "real-time throttling",
            "off; workers that run wild are made to give way all the same",
        ),
        (None, _) => Finding::good("real-time throttling", "not known to this kernel"),
    }
}

pub(super) fn governor() -> Finding {
    let policies = std::fs::read_dir(GOVERNORS).into_iter().flatten().flatten();
    let read = |policy: std::fs::DirEntry| {
        std::fs::read_to_string(policy.path().join("scaling_governor"))
            .ok()
            .map(|name| name.trim().to_owned())
    };
    let mut names: Vec<_> = policies.filter_map(read).collect();
    names.sort_unstable();
    names.dedup();
    governed(&names)
}

fn governed(names: &[String]) -> Finding {
    match names {
        [] => Finding::good("processor's clock", "not governed here"),
        names
            if names
                .iter()
                .any(|name| name == "powersave" || name == "ondemand" || name == "conservative") =>
        {
            Finding::better(
                "processor's clock",
                format!("governor {}: it is raised only when audio is late already", names.join(", ")),
                "sudo cpupower frequency-set -g performance",
            )
        }
        names => Finding::good("processor's clock", format!("governor {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_kernel_is_read_from_its_release() {
        assert_eq!(version("6.12.9-amd64"), Some((6, 12)));
        assert_eq!(version("5.4.0"), Some((5, 4)));
        assert_eq!(version("odd"), None);
        assert_eq!(kernel().verdict, Verdict::Good);
    }

    #[test]
    fn a_real_time_thread_that_is_stopped_for_most_of_a_period_is_a_finding() {
        let verdict = |runtime, period| throttled(Some(runtime), Some(period)).verdict;
        assert_eq!(verdict(950_000, 1_000_000), Verdict::Good);
        assert_eq!(verdict(-1, 1_000_000), Verdict::Good);
        assert_eq!(verdict(100_000, 1_000_000), Verdict::Better);
        assert_eq!(throttled(None, None).verdict, Verdict::Good);
    }

    #[test]
    fn a_clock_that_rises_late_is_a_finding() {
        let verdict =
            |names: &[&str]| governed(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).verdict;
        assert_eq!(verdict(&[]), Verdict::Good);
        assert_eq!(verdict(&["performance"]), Verdict::Good);
        assert_eq!(verdict(&["performance", "powersave"]), Verdict::Better);
    }

    #[test]
    fn no_limit_on_locked_memory_is_none_too_small() {
        assert_eq!(locked(None).verdict, Verdict::Good);
        assert_eq!(locked(Some(u64::MAX)).verdict, Verdict::Good);
    }
}
