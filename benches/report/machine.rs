//! What can be learned about the machine that a run measures on.
//!
//! For measuring, once before it begins. What a file of the kernel does not say is told as unknown or left out;
//! nothing is changed, and no right is used beyond seeing that it is there.

use super::model::Machine;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities, sched_getaffinity};
use std::fs::{OpenOptions, read_to_string};

/// Where a request for short idle states is made.
const LATENCY: &str = "/dev/cpu_dma_latency";

impl Machine {
    /// This one. `python` names the interpreter and numpy of the plugins.
    #[must_use]
    pub fn here(python: String) -> Self {
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            cpu: processor(&cpuinfo),
            cores: cores(),
            kernel: format!("Linux {}", line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown)),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_mhz: clock_mhz(&cpuinfo),
            clocksource: line("/sys/devices/system/clocksource/clocksource0/current_clocksource")
                .unwrap_or_else(unknown),
            hypervisor: hypervisor(&cpuinfo, line),
            python,
            rights: format!("{}; {}", real_time(), idle_states()),
        }
    }
}

/// The fastest of the processors' clocks now, in MHz.
#[must_use]
pub fn clock_mhz(cpuinfo: &str) -> Option<f64> {
    values(cpuinfo, "cpu MHz").flat_map(str::parse).reduce(f64::max)
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// A file's text without what is around it; nothing if there is none.
fn line(path: &str) -> Option<String> {
    let text = read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What stands behind this key, for each processor.
fn values<'a>(cpuinfo: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(move |(left, _)| left.trim() == key).map(|(_, right)| right.trim())
}

fn processor(cpuinfo: &str) -> String {
    let named = values(cpuinfo, "model name").chain(values(cpuinfo, "Model")).find(|name| !name.is_empty());
    named.map_or_else(|| format!("an unknown {} processor", std::env::consts::ARCH), str::to_owned)
}

fn cores() -> u32 {
    sched_getaffinity(None).map_or(1, |set| set.count())
}

/// The hypervisor's name, or that there is one.
fn hypervisor(cpuinfo: &str, line: impl Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(kind) = line("/sys/hypervisor/type") {
        return Some(kind);
    }
    let flagged = values(cpuinfo, "flags").any(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let dmi = ["sys_vendor", "product_name"].map(|name| line(&format!("/sys/class/dmi/id/{name}")));
    let names: Vec<String> = dmi.into_iter().flatten().collect();
    let name = if names.is_empty() { "one that does not tell its name".to_owned() } else { names.join(" ") };
    flagged.then_some(name)
}

/// Whether a thread may become a real-time one: by a capability, or by a limit above 0.
fn real_time() -> String {
    let capable = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_NICE));
    match getrlimit(Resource::Rtprio).current {
        _ if capable => "SCHED_FIFO".to_owned(),
        None => "SCHED_FIFO".to_owned(),
        Some(0) => "no SCHED_FIFO (neither CAP_SYS_NICE nor a limit rtprio above 0)".to_owned(),
        Some(limit) => format!("SCHED_FIFO up to priority {limit}"),
    }
}

/// Whether idle states can be held off. An open descriptor alone asks for nothing.
fn idle_states() -> String {
    match OpenOptions::new().write(true).open(LATENCY) {
        Ok(_) => "idle states can be held off".to_owned(),
        Err(error) => format!("idle states can't be held off ({LATENCY}: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "\
processor\t: 0
model name\t: AMD EPYC
cpu MHz\t\t: 2399.998
flags\t\t: fpu hypervisor tsc

processor\t: 1
model name\t: AMD EPYC
cpu MHz\t\t: 3100.5
";

    #[test]
    fn a_processor_says_its_name_and_its_fastest_clock() {
        assert_eq!(processor(CPUINFO), "AMD EPYC");
        assert_eq!(clock_mhz(CPUINFO), Some(3100.5));
    }

    #[test]
    fn a_processor_without_a_name_is_still_told() {
        let text = processor("processor\t: 0\nBogoMIPS\t: 50.00\n");
        assert!(text.starts_with("an unknown ") && text.contains(std::env::consts::ARCH), "{text}");
        assert_eq!(clock_mhz(""), None);
    }

    #[test]
    fn a_hypervisor_is_named_by_the_first_file_that_knows_it() {
        let none = |_: &str| None;
        assert_eq!(hypervisor("flags : fpu tsc", none), None);
        assert_eq!(hypervisor(CPUINFO, none).as_deref(), Some("one that does not tell its name"));
        let dmi = |path: &str| path.ends_with("sys_vendor").then(|| "QEMU".to_owned());
        assert_eq!(hypervisor(CPUINFO, dmi).as_deref(), Some("QEMU"));
        let xen = |path: &str| (path == "/sys/hypervisor/type").then(|| "xen".to_owned());
        assert_eq!(hypervisor("", xen).as_deref(), Some("xen"));
    }

    #[test]
    fn a_vendor_alone_makes_no_hypervisor() {
        let dmi = |path: &str| path.ends_with("sys_vendor").then(|| "Dell Inc.".to_owned());
        assert_eq!(hypervisor("flags : fpu tsc", dmi), None);
    }

    #[test]
    fn this_machine_has_processors_a_kernel_and_an_answer_about_rights() {
        let here = Machine::here("Python".into());
        assert!(here.cores > 0 && !here.cpu.is_empty());
        let release = read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(here.kernel, format!("Linux {}", release.trim()));
        assert!(here.rights.contains("SCHED_FIFO") && here.rights.contains("idle states"), "{}", here.rights);
    }
}
