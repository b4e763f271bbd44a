//! What pipelines get of the machine: a core each, real-time audio threads and workers, processors that stay awake;
//! and that all of it is given back, and none of it needed.
//!
//! Asked of the kernel, of the real program and its workers. What a machine does not allow is expected to be told.

use host::config::{ElementSpec, PipelineSpec, SinkSpec, SourceSpec};
use host::pipeline::Pipeline;
use host::plugin::spec::PluginSpec;
use host::realtime::{Affinity, Power};
use host::supervisor::Supervisor;
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, getpid};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde_json::Value;
use shared::boot::MODULE_FILE;
use shared::schedule::{self, Policy, Schedule};
use std::fs::{read_dir, read_link, read_to_string};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::audio::noises;
use tests::config::config;
use tests::leftovers::workers_of;
use tests::nda::{Done, Running, command, nda, started_by};
use tests::plugins::{processor, tells, wait_told};
use tests::scene::signal;
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::{Folder, built, install, python, root};

const DEVICE: &str = "/dev/cpu_dma_latency";
const AUDIO: Policy = Policy::Fifo(70);
const WORKER: Policy = Policy::Fifo(2);

/// The cores that a thread may run on.
fn cores_of(thread: u32) -> Vec<usize> {
    let set = sched_getaffinity(Some(pid(thread))).expect("a living thread");
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

fn all_cores() -> Vec<usize> {
    cores_of(getpid().as_raw_nonzero().get().unsigned_abs())
}

fn pid(number: u32) -> Pid {
    i32::try_from(number).ok().and_then(Pid::from_raw).expect("a process number")
}

fn policy_of(thread: u32) -> Policy {
    schedule::get(Some(pid(thread))).expect("a living thread").policy
}

/// A process's threads, with their names.
fn threads_of(process: u32) -> Vec<(u32, String)> {
    let entries = read_dir(format!("/proc/{process}/task")).expect("a living process").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|n: u32| Some((n, read_to_string(format!("/proc/{process}/task/{n}/comm")).ok()?)))
        .collect()
}

fn named(process: u32, name: &str) -> Vec<u32> {
    threads_of(process)
        .into_iter()
        .filter(|(_, comm)| comm.trim() == name)
        .map(|(number, _)| number)
        .collect()
}

/// Whether this process may have real-time threads.
fn may_be_real_time() -> bool {
    let wish = Schedule { policy: AUDIO, nice: 0, slice_ns: 0, reset_on_fork: true };
    std::thread::spawn(move || schedule::set(None, &wish).is_ok()).join().expect("a thread")
}

fn or_ordinary(policy: Policy) -> Policy {
    if may_be_real_time() { policy } else { Policy::Other }
}

/// Whether a process has the device open.
fn holds_idle_states(process: u32) -> bool {
    let entries = read_dir(format!("/proc/{process}/fd")).expect("a living process").flatten();
    entries.filter_map(|entry| read_link(entry.path()).ok()).any(|target| target.as_os_str() == DEVICE)
}

fn may_hold_idle_states() -> bool {
    access(DEVICE, Access::WRITE_OK).is_ok()
}

/// A plugin that tells its process number as `NAME` at its tenth block.
fn teller(folder: &Folder, name: &str) -> String {
    let file = processor(folder, name, &format!("{}return True", tells(&format!("{name}.pid"), 10)));
    format!("{file:?}")
}

/// A pipeline that never ends, through a plugin that tells; `more` are further keys.
fn endless(folder: &Folder, name: &str, more: &str) -> String {
    Wav::new(noises(2, 48_000)).write(&folder.file("in.wav"));
    let plugin = teller(folder, name);
    format!(
        "[[pipeline]]\nname = \"{name}\"\nblock = 256\nsource = {{ file = \"in.wav\", loop = true }}\n\
         plugins = [{plugin}]\nsink = \"virtual\"\n{more}\n"
    )
}

/// The program with this configuration.
fn running(folder: &Folder, text: &str) -> Running {
    let config = config(folder, text);
    Running::start(command(["run", config.to_str().expect("text"), "--json", "-"]))
}

fn ended(running: Running) -> Done {
    running.signal(Signal::INT);
    let done = running.wait();
    done.ended_with(0);
    done
}

/// Every thread of a worker is on these cores; the one that plays has this policy, the others none that matters.
fn assert_worker(worker: u32, cores: &[usize], policy: Policy) {
    for (thread, name) in threads_of(worker) {
        assert_eq!(cores_of(thread), cores, "thread {name}");
        let expected = if thread == worker { policy } else { Policy::Other };
        assert_eq!(policy_of(thread), expected, "thread {name}");
    }
}

#[test]
fn a_pipelines_threads_and_workers_share_a_core_and_another_pipeline_has_another() {
    let folder = Folder::new();
    let text = endless(&folder, "one", "") + &endless(&folder, "two", "");
    let running = running(&folder, &text);
    let workers = ["one.pid", "two.pid"].map(|name| wait_told(&folder, name));
    let audio: Vec<_> = named(running.pid(), "virtual-device").into_iter().map(cores_of).collect();
    let has_choice = all_cores().len() > 1;
    assert_eq!(audio.len(), 2);
    for worker in workers {
        let cores = cores_of(worker);
        assert_eq!(cores.len() == 1, has_choice, "{cores:?}");
        assert!(audio.contains(&cores), "{cores:?} of {audio:?}");
        assert_worker(worker, &cores, or_ordinary(WORKER));
    }
    assert_eq!(audio[0] != audio[1], has_choice, "{audio:?}");
    let report = ended(running).json();
    let told: Vec<_> = (0..2).map(|n| report["pipelines"][n]["cores"].clone()).collect();
    assert_eq!(told[0] != told[1], has_choice, "{told:?}");
}

#[test]
fn audio_threads_are_real_time_ones_where_allowed_and_the_report_says_so() {
    let folder = Folder::new();
    let running = running(&folder, &endless(&folder, "one", ""));
    let worker = wait_told(&folder, "one.pid");
    let audio = named(running.pid(), "virtual-device");
    assert_eq!(audio.iter().map(|thread| policy_of(*thread)).collect::<Vec<_>>(), [or_ordinary(AUDIO)]);
    assert_eq!(policy_of(worker), or_ordinary(WORKER));
    for name in ["nda-supervisor", "nda"] {
        let threads = named(running.pid(), name);
        assert!(threads.iter().all(|thread| policy_of(*thread) == Policy::Other), "{name}");
    }
    let report = ended(running).json();
    let expected = if may_be_real_time() { 70.into() } else { Value::Null };
    assert_eq!((&report["pipelines"][0]["fifo"], &report["real_time"]["audio_fifo"]), (&expected, &expected));
}

#[test]
fn a_pipelined_sections_thread_has_the_place_of_its_pipeline() {
    let folder = Folder::new();
    let files = ["one", "two"].map(|name| teller(&folder, name));
    let plugins = files.map(|file| format!("{{ file = {file}, mode = \"pipelined\" }}")).join(", ");
    Wav::new(noises(2, 48_000)).write(&folder.file("in.wav"));
    let text = format!(
        "[[pipeline]]\nsource = {{ file = \"in.wav\", loop = true }}\nplugins = [{plugins}]\nsink = \"virtual\"\n\
         affinity = [0]\n"
    );
    let running = running(&folder, &text);
    wait_told(&folder, "one.pid");
    let section = named(running.pid(), "nda-section");
    let places: Vec<_> = section.iter().map(|thread| (cores_of(*thread), policy_of(*thread))).collect();
    assert_eq!(places, [(vec![0], or_ordinary(AUDIO))]);
    ended(running);
}

#[test]
fn a_worker_that_takes_the_place_of_another_has_its_place_on_the_machine_too() {
    for standby in ["none", "spare", "twin"] {
        let folder = Folder::new();
        let text = endless(&folder, "one", "affinity = [0]");
        let file = format!("{:?}", folder.file("one.py"));
        let text = text.replace(&file, &format!("{{ file = {file}, standby = \"{standby}\" }}"));
        let running = running(&folder, &text);
        let first = wait_told(&folder, "one.pid");
        std::fs::remove_file(folder.file("one.pid")).expect("just written");
        signal(first, Signal::KILL);
        let second = wait_told(&folder, "one.pid");
        assert_ne!(first, second, "{standby}");
        assert_worker(second, &[0], or_ordinary(WORKER));
        running.signal(Signal::INT);
        running.wait().ended_with(9);
    }
}

#[test]
fn cores_that_are_named_are_used_and_off_leaves_all_to_the_kernel() {
    let all = all_cores();
    for (key, cores) in
        [("[0]".to_owned(), vec![0]), ("\"off\"".to_owned(), all.clone()), (format!("{all:?}"), all)]
    {
        let folder = Folder::new();
        let running = running(&folder, &endless(&folder, "one", &format!("affinity = {key}")));
        let worker = wait_told(&folder, "one.pid");
        assert_worker(worker, &cores, or_ordinary(WORKER));
        let audio = named(running.pid(), "virtual-device");
        assert!(audio.iter().all(|thread| cores_of(*thread) == cores), "{key}");
        ended(running);
    }
}

#[test]
fn who_can_choose_leaves_a_core_to_whom_it_was_promised() {
    let last = *all_cores().last().expect("a core");
    if last == 0 {
        return;
    }
    let folder = Folder::new();
    let text = endless(&folder, "free", "") + &endless(&folder, "bound", &format!("affinity = [{last}]"));
    let running = running(&folder, &text);
    let workers = ["free.pid", "bound.pid"].map(|name| wait_told(&folder, name));
    let cores = workers.map(cores_of);
    assert_eq!(cores[1], [last]);
    assert_ne!(cores[0], cores[1]);
    ended(running);
}

#[test]
fn a_core_that_is_not_there_is_refused_with_its_place() {
    let folder = Folder::new();
    let text = endless(&folder, "one", "affinity = [0, 1000]");
    let path = config(&folder, &text);
    let line = text.lines().position(|line| line.starts_with("affinity")).expect("it is there") + 2;
    let place = format!("nda.toml:{line}:16: there is no core 1000; this machine has core");
    nda(["run", path.to_str().expect("text")]).refused(3, &[&place]);
}

#[test]
fn a_program_that_may_use_one_core_only_is_told_so_when_it_asks_for_another() {
    let [first, .., last] = all_cores()[..] else { return };
    let folder = Folder::new();
    let path = config(&folder, &endless(&folder, "one", &format!("affinity = [{last}]")));
    let mut confined = Command::new("taskset");
    confined.args(["-c", &first.to_string()]).arg(built("nda")).arg("run").arg(path);
    let done = Running::start(confined).wait();
    done.refused(3, &[&format!("core {last} may not be used by this program; it may use core {first} ")]);
}

#[test]
fn processors_are_kept_awake_while_a_run_lasts_and_no_worker_holds_them() {
    for (power, wanted) in [("performance", true), ("balanced", false)] {
        let folder = Folder::new();
        let text = format!("power = \"{power}\"\n{}", endless(&folder, "one", ""));
        let running = running(&folder, &text);
        let worker = wait_told(&folder, "one.pid");
        assert_eq!(holds_idle_states(running.pid()), wanted && may_hold_idle_states(), "{power}");
        assert!(workers_of(running.pid()).contains(&worker));
        assert!(workers_of(running.pid()).into_iter().all(|worker| !holds_idle_states(worker)));
        let report = ended(running).json();
        let expected = if wanted && may_hold_idle_states() { "held off" } else { "as usual" };
        assert_eq!(report["real_time"]["idle_states"], expected);
    }
}

#[test]
fn processors_may_sleep_again_when_the_last_pipeline_is_closed() {
    let folder = Folder::new();
    let file = processor(&folder, "p", "return True");
    Wav::new(noises(2, 4_800)).write(&folder.file("in.wav"));
    let (supervisor, _events) = Supervisor::new().unwrap();
    let own = std::process::id();
    let open = |power| {
        let plugin = PluginSpec { python: Some(python()), ..PluginSpec::new(&file) };
        let source = SourceSpec::file(folder.file("in.wav"));
        let mut spec = PipelineSpec::new(source, SinkSpec::device("virtual")).then(ElementSpec::from(plugin));
        (spec.power, spec.affinity) = (power, Affinity::Off);
        Pipeline::open(&spec, &supervisor, "", &mut |_, _| {}).unwrap()
    };
    let others = [open(Power::Balanced), open(Power::Performance)];
    assert_eq!(holds_idle_states(own), may_hold_idle_states());
    let last = open(Power::Performance);
    others.into_iter().for_each(|pipeline| drop(pipeline.close()));
    assert_eq!(holds_idle_states(own), may_hold_idle_states());
    drop(last.close());
    assert!(!holds_idle_states(own));
}

/// The same command for a user who may have no real-time threads.
fn without_rights(command: Command) -> Command {
    let words = ["prlimit", "--rtprio=0", "--nice=0"];
    // Without the capability root is as anybody; who is not root has none to lose.
    let no_capability = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"];
    let words = if is_root() { [no_capability, words].concat() } else { words.to_vec() };
    started_by(&words, &command)
}

#[test]
fn without_any_rights_it_runs_and_says_what_is_missing() {
    let folder = Folder::new();
    let path = config(&folder, &endless(&folder, "one", ""));
    let program = ["run", path.to_str().expect("text"), "--json", "-"];
    let running = Running::start(without_rights(command(program)));
    let worker = wait_told(&folder, "one.pid");
    let own = schedule::get(Some(pid(worker))).expect("a living worker");
    assert_eq!((own.policy, own.nice.max(0)), (Policy::Other, own.nice), "{own:?}");
    assert_eq!(cores_of(worker).len() == 1, all_cores().len() > 1);
    let done = ended(running);
    for words in
        ["real time: audio threads at ordinary priority", "\"@audio - rtprio 95\"", "limits.d/audio.conf"]
    {
        assert!(done.stderr.contains(words) || done.stdout.contains(words), "{words:?} is not in {done}");
    }
    assert_eq!(done.json()["real_time"]["audio_fifo"], Value::Null);
}

/// A user who is not root: nobody where the tests are root's, else who runs them.
struct Anybody {
    /// Its own folder, and all that it can write to.
    folder: Folder,
    program: PathBuf,
    python: PathBuf,
}

impl Anybody {
    /// With all that it takes where this user can read it; `None` if the interpreter is nowhere that it could.
    fn new() -> Option<Self> {
        let folder = Folder::new();
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let mut user = Self { folder, program: built("nda"), python: python() };
        let module = built(MODULE_FILE);
        if !user.may(&["test", "-x", text(&user.program), "-a", "-r", text(&module)]) {
            let copy = user.folder.file("bin/nda");
            install(&user.program, &copy);
            install(&module, &copy.with_file_name(MODULE_FILE));
            user.program = copy;
        }
        if !user.has_python() {
            user.python = user.python_of_the_system();
        }
        user.has_python().then_some(user)
    }

    /// With the numpy of the workspace, which it can import if it is of the same version as the workspace's own.
    fn python_of_the_system(&self) -> PathBuf {
        const MAKE: &str = "/usr/bin/python3 -m venv --without-pip \"$1\" && \
                            cp -r \"$2\"/lib/python3*/site-packages/numpy* \"$1\"/lib/python3*/site-packages";
        let (copy, own) = (self.folder.file("venv"), root().join(".venv"));
        let made = Command::new("sh").args(["-c", MAKE, "sh"]).args([&copy, &own]).output();
        assert!(made.is_ok(), "{made:?}");
        copy.join("bin/python")
    }

    fn has_python(&self) -> bool {
        self.may(&[text(&self.python), "-c", "import numpy"])
    }

    fn may(&self, words: &[&str]) -> bool {
        self.command(words).output().expect("it starts").status.success()
    }

    fn command(&self, words: &[&str]) -> Command {
        // `env`, as what setpriv itself starts is found with its rights still.
        const DROP: [&str; 8] =
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs", "env"];
        let all = if is_root() { [&DROP, words].concat() } else { words.to_vec() };
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).current_dir(self.folder.path()).env_remove("VIRTUAL_ENV");
        for variable in ["HOME", "XDG_RUNTIME_DIR"] {
            command.env(variable, self.folder.path());
        }
        command.env("NDA_REPORTS", self.folder.file("reports")).env_remove("NDA_WORKER_MODULE");
        command
    }

    /// Whether the process or the file that this is about is this user's.
    fn owns(&self, metadata: std::io::Result<std::fs::Metadata>) -> bool {
        let own = self.folder.path().metadata().expect("its folder").uid();
        metadata.expect("it is there").uid() == own
    }
}

const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_user_who_is_not_root_plays_is_answered_and_gets_the_report_of_a_death() {
    let Some(user) = Anybody::new() else {
        eprintln!("not shown: there is no Python with numpy that anybody can read");
        return;
    };
    let (folder, program) = (&user.folder, text(&user.program));
    let pipeline = endless(folder, "one", "");
    let config = folder.write("nda.toml", &format!("python = {:?}\n{pipeline}", user.python));
    let running = Running::start(user.command(&[program, "run", text(&config), "--json", "-"]));
    let worker = wait_told(folder, "one.pid");
    for process in [running.pid(), worker] {
        assert!(user.owns(std::fs::metadata(format!("/proc/{process}/status"))), "{process}");
    }
    let status = Running::start(user.command(&[program, "ctl", "status"])).wait_alone().1;
    assert!(status.ended_with(0).stdout.contains("one"), "{status}");
    std::fs::remove_file(folder.file("one.pid")).expect("just written");
    signal(worker, Signal::KILL);
    assert_ne!(wait_told(folder, "one.pid"), worker);
    running.signal(Signal::INT);
    running.wait().ended_with(9);
    let reports = read_dir(folder.file("reports")).expect("a folder of reports");
    let reports: Vec<_> = reports.map(|entry| entry.expect("a report").path()).collect();
    let [report] = &reports[..] else { panic!("{reports:?}") };
    assert!(read_to_string(report.join("report.txt")).expect("it is written").contains("SIGKILL"));
    assert!(user.owns(report.metadata()) && user.owns(report.join("in.wav").metadata()));
}

/// What `nda doctor` found about this.
fn finding(doctor: &Done, about: &str) -> Value {
    let all = doctor.json();
    let found = all["findings"].as_array().expect("a list").iter().find(|finding| finding["about"] == about);
    found.unwrap_or_else(|| panic!("nothing about {about}: {doctor}")).clone()
}

/// `nda doctor` with this interpreter.
fn doctor(python: &Path) -> Command {
    command(["doctor", "--json", "--python", text(python)])
}

#[test]
fn the_doctor_says_what_a_run_would_get_and_how_to_get_what_is_missing() {
    let with = Running::start(doctor(&python())).wait();
    let priority = finding(with.ended_with(0), "real-time priority");
    assert_eq!(priority["verdict"], if may_be_real_time() { "good" } else { "better" }, "{with}");
    let without = Running::start(without_rights(doctor(&python()))).wait();
    let priority = finding(without.ended_with(0), "real-time priority");
    assert_eq!(
        (&priority["verdict"], &priority["is"]),
        (&"better".into(), &"none: other programs delay audio".into())
    );
    let remedy = priority["remedy"].as_str().expect("a remedy");
    for words in ["\"@audio - rtprio 95\"", "limits.d/audio.conf", "usermod -aG audio"] {
        assert!(remedy.contains(words), "{remedy}");
    }
}

#[test]
fn the_doctor_tries_the_interpreter_and_needs_one_that_starts() {
    let python = python();
    let good = Running::start(doctor(&python)).wait();
    let found = finding(good.ended_with(0), "Python");
    assert_eq!((&found["verdict"], &found["remedy"]), (&"good".into(), &Value::Null), "{good}");
    let is = found["is"].as_str().expect("words");
    assert!(is.starts_with(&format!("{} is Python 3.", python.display())) && is.contains("numpy"), "{is}");
    let none = Running::start(doctor(Path::new("/nonexistent"))).wait();
    let found = finding(none.ended_with(7), "Python");
    assert_eq!(found["verdict"], "needed", "{none}");
    assert!(found["is"].as_str().expect("words").contains("/nonexistent"), "{none}");
    assert!(found["remedy"].as_str().expect("a remedy").contains("--python FILE"), "{none}");
}

#[test]
fn a_plugin_that_loops_gives_way_long_before_it_is_called_hung() {
    if !may_be_real_time() {
        return;
    }
    let folder = Folder::new();
    let loops = processor(
        &folder,
        "loops",
        &format!("{}if self.n == 11:\n    while True: pass\nreturn True", tells("loops.pid", 10)),
    );
    Wav::new(noises(2, 48_000)).write(&folder.file("in.wav"));
    let text = format!(
        "[[pipeline]]\nblock = 256\nsource = {{ file = \"in.wav\", loop = true }}\nsink = \"virtual\"\n\
         plugins = [{{ file = {loops:?}, hang_ms = 600000 }}]\n"
    );
    let running = running(&folder, &text);
    let worker = wait_told(&folder, "loops.pid");
    until("it to give way", || policy_of(worker) == Policy::Other);
    running.signal(Signal::INT);
    let _ = running.wait();
}
