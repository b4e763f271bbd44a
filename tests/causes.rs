//! Why a block was late: the right cause, or that nobody can tell; never a wrong one.

use host::plugin::cause::Causes;
use host::plugin::spec::PluginSpec;
use host::supervisor::Condition;
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tests::chain::{AMPLE_NS, Rack, same_block};
use tests::gate::Gate;
use tests::plugins::processor_with;
use tests::scene::{Scene, signal};
use tests::workspace::Folder;

/// So short that a plugin that was made to wait is late, and not shorter: half of it is waited for, and a worker
/// looks at what a block has cost it only after an eighth of the 10.7 ms that one lasts.
const SHORT_NS: u64 = 4_000_000;

/// Keeps the other tests of this file waiting: a machine that is busy with those tells no causes.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // What failed elsewhere is told there.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file system that is memory alone, as statfs(2) calls it.
const TMPFS: i64 = 0x0102_1994;

/// A plugin with this body and these methods, that may take as long as it likes.
fn scene(process: &str, methods: &str) -> (Folder, Scene) {
    let folder = Folder::new();
    let scene = scene_in(&folder, process, methods);
    (folder, scene)
}

fn scene_in(folder: &Folder, process: &str, methods: &str) -> Scene {
    let file = processor_with(folder, "late", process, &format!("import time, gc, threading\n{methods}"));
    let spec = PluginSpec { adapt: false, hang_after: Some(Duration::from_secs(60)), ..same_block(&file) };
    Scene::new(Rack::new(1, 512, 48_000), vec![spec])
}

/// Plays late blocks until this cause has been found three times. No other is: but that of a busy machine, and
/// "unknown".
fn found(process: &str, methods: &str, right: impl Fn(&Causes) -> u64) -> Causes {
    let (_folder, scene) = scene(process, methods);
    found_in(scene, || (), right, |_| 0)
}

/// The same, with something that is done each time when a block has been given up, and what else may be the cause.
fn found_in(
    mut scene: Scene,
    given_up: impl Fn(),
    right: impl Fn(&Causes) -> u64,
    also: impl Fn(&Causes) -> u64,
) -> Causes {
    scene.play_answered(2);
    loop {
        scene.play_given_up(SHORT_NS, &given_up);
        // What came late is looked into with the next block.
        scene.play_answered(1);
        let causes = scene.plugins[0].status().causes;
        // A machine that is busy with others lets nobody run: that may be all that is known of a block or two.
        let busy = causes.unknown + causes.not_scheduled + causes.throttled + causes.host_late;
        assert_eq!(causes.total() - right(&causes) - also(&causes) - busy, 0, "{causes}");
        assert!(causes.total() < 200, "{causes}");
        if right(&causes) >= 3 {
            return causes;
        }
    }
}

#[test]
fn slow_python_code_is_the_cause() {
    let _alone = alone();
    let busy =
        "end = self.time.thread_time() + 0.01\nwhile self.time.thread_time() < end:\n    pass\nreturn True";
    found(busy, "", |causes| causes.code);
}

#[test]
fn a_plugin_that_waits_for_something_is_found_waiting() {
    let _alone = alone();
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    // Every second block is to be late: the first of them is the third.
    let waits = format!("if self.n > 2 and self.n % 2:\n    {}\nreturn True", gate.wait());
    found_in(scene_in(&folder, &waits, ""), || gate.open(), |causes| causes.waiting, |_| 0);
}

#[test]
fn a_plugin_whose_memory_has_to_come_from_a_disk_first_is_found_at_that() {
    let _alone = alone();
    // Pages of a file that nobody has read lately, one by one, until it has waited as long as there was time.
    let pages = format!(
        "
n = 16 << 20
if self.n == 1:
    fd = os.open(__file__ + '.pages', os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(n))
    os.fsync(fd)
    self.fd, self.pages = fd, self.mmap.mmap(fd, n, prot=self.mmap.PROT_READ)
    self.pages.madvise(self.mmap.MADV_RANDOM)
self.pages.madvise(self.mmap.MADV_DONTNEED)
os.posix_fadvise(self.fd, 0, n, os.POSIX_FADV_DONTNEED)
waited = lambda: self.time.perf_counter_ns() - self.time.thread_time_ns()
until, at = waited() + {SHORT_NS} // 2, 0
while waited() < until and at < n:
    at += 16384 + self.pages[at]
return at < n"
    );
    let folder = Folder::new();
    if rustix::fs::statfs(folder.path()).expect("a file system").f_type == TMPFS {
        eprintln!("not shown: the folder for temporary files is on no disk here");
        return;
    }
    // Where a disk is so quick that a page takes more work than time, that is what is told.
    let scene = scene_in(&folder, &pages, "import mmap");
    found_in(scene, || (), |causes| causes.page_faults, |causes| causes.code);
}

#[test]
fn the_collector_is_the_cause_with_its_generation() {
    let _alone = alone();
    // Made in a block: what is there at the start is nothing that the collector looks at.
    let collect =
        "if self.n == 1:\n    self.many = [[] for _ in range(400_000)]\nself.gc.collect()\nreturn True";
    let causes = found(collect, "", |causes| causes.collector);
    assert_eq!(causes.collector_generations, [0, 0, causes.collector], "{causes}");
    assert!(causes.collector_us >= 1000 * causes.collector, "{causes}");
}

#[test]
fn a_thread_that_holds_the_interpreter_is_the_cause() {
    let _alone = alone();
    let start = "
def start(self):
    sys.setswitchinterval(0.006)
    def spin():
        while True:
            pass
    self.threading.Thread(target=spin, daemon=True).start()
    return True";
    // Whom the machine keeps from running in its call is asked for the interpreter, and waits for it there once more.
    let (_folder, scene) = scene("return True", start);
    let causes = found_in(scene, || (), |causes| causes.gil, |causes| causes.waiting);
    assert!(causes.gil > causes.waiting, "{causes}");
}

/// A cgroup with a hundredth of a processor, and away again.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where none can be made.
    fn new() -> Option<Self> {
        let name = format!("nda-test-{}", std::process::id());
        for (above, file, limit) in [
            ("/sys/fs/cgroup", "cpu.max", "2000 200000"),
            ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "1000"),
            ("/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "1000"),
        ] {
            let it = Self(Path::new(above).join(&name));
            if fs::create_dir(&it.0).is_ok() && it.write(file, limit) {
                return Some(it);
            }
        }
        None
    }

    /// Only where the kernel has made this file.
    fn write(&self, file: &str, text: &str) -> bool {
        let file = fs::OpenOptions::new().write(true).open(self.0.join(file));
        file.and_then(|mut file| file.write_all(text.as_bytes())).is_ok()
    }

    fn take(&self, pid: u32) -> bool {
        self.write("cgroup.procs", &pid.to_string())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_worker_whose_cgroup_has_used_up_its_time_is_throttled() {
    let _alone = alone();
    let Some(cgroup) = Cgroup::new() else {
        eprintln!("not shown: no cgroup can be made here");
        return;
    };
    // Each block takes half of what there is for a hundred milliseconds.
    let some =
        "end = self.time.thread_time() + 0.0005\nwhile self.time.thread_time() < end:\n    pass\nreturn True";
    let (_folder, mut scene) = scene(some, "");
    scene.play_answered(2);
    let pid = scene.plugins[0].worker().pid();
    if !cgroup.take(pid) {
        eprintln!("not shown: a worker can't be put into a cgroup here");
        return;
    }
    while scene.plugins[0].status().causes.throttled < 3 {
        scene.play_answered_within(SHORT_NS, 1);
        assert!(scene.plugins[0].status().causes.total() < 200, "{}", scene.plugins[0].status().causes);
    }
    let causes = scene.plugins[0].status().causes;
    assert_eq!(
        causes.code + causes.waiting + causes.collector + causes.gil + causes.page_faults,
        0,
        "{causes}"
    );
    scene.plugins.clear();
    tests::leftovers::assert_all_end(&[pid]);
}

#[test]
fn a_worker_that_was_stopped_for_a_while_is_nobodys_fault() {
    let _alone = alone();
    let (_folder, mut scene) = scene("return True", "");
    scene.play_answered(3);
    let pid = scene.plugins[0].worker().pid();
    for _ in 0..5 {
        signal(pid, Signal::STOP);
        scene.play_within(20_000_000);
        signal(pid, Signal::CONT);
        scene.play_answered(2);
    }
    scene
        .play_until("all to be looked into", AMPLE_NS, |scene| scene.plugins[0].status().causes.total() >= 5);
    let causes = scene.plugins[0].status().causes;
    let vague = causes.stopped + causes.unknown + causes.not_scheduled + causes.throttled + causes.host_late;
    assert_eq!(causes.total(), vague, "{causes}");
}

#[test]
fn a_worker_that_is_stopped_in_the_middle_of_a_block_is_told_from_one_that_waits() {
    let _alone = alone();
    let (_folder, mut scene) = scene("if self.n == 4:\n    os.kill(os.getpid(), 19)\nreturn True", "");
    scene.play_answered(3);
    let pid = scene.plugins[0].worker().pid();
    // It is looked at meanwhile, and not taken for one that hangs.
    (0..100).for_each(|_| scene.play_within(20_000_000));
    assert_eq!(scene.plugins[0].worker().condition(), Condition::Stopped);
    signal(pid, Signal::CONT);
    scene.play_until("all to be looked into", AMPLE_NS, |scene| scene.plugins[0].status().causes.stopped > 0);
    let causes = scene.plugins[0].status().causes;
    assert_eq!(
        causes.waiting + causes.gil + causes.code + causes.collector + causes.page_faults,
        0,
        "{causes}"
    );
}

#[test]
fn a_worker_that_dies_in_a_block_is_dead_and_not_slow() {
    let _alone = alone();
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let dies = format!("if self.n == 4:\n    {}\n    os._exit(3)\nreturn True", gate.wait());
    let mut scene = scene_in(&folder, &dies, "");
    scene.play_answered(3);
    let first = scene.plugins[0].worker().pid();
    scene.play_within(SHORT_NS);
    // Also for those that take its place and do the same.
    (0..10).for_each(|_| gate.open());
    scene.play_until_replaced(0, first, SHORT_NS);
    scene.play_until("it to be looked into", AMPLE_NS, |scene| scene.plugins[0].status().causes.dead > 0);
    let causes = scene.plugins[0].status().causes;
    assert_eq!(
        (causes.code, causes.waiting, causes.gil, causes.collector, causes.stopped),
        (0, 0, 0, 0, 0),
        "{causes}"
    );
}
