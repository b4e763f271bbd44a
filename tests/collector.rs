//! Python's collector runs between two blocks or not at all, and reclaims what it should; what holds the interpreter
//! is told.

use shared::clock;
use shared::collected::Collected;
use shared::format::Format;
use shared::message::Gc;
use shared::ring::{HostEnd, Status};
use std::sync::atomic::AtomicBool;
use tests::audio::noises;
use tests::config::{config, run};
use tests::nda::Render;
use tests::plugin_file::{PluginFile, processor};
use tests::plugins::processor_with;
use tests::wav::Wav;
use tests::worker_process::{WorkerProcess, good, round};
use tests::workspace::Folder;

/// Cycles that each block makes.
const CYCLES: u64 = 60;
/// As many blocks as make far more cycles than may be there at any time.
const BLOCKS: u64 = 300;

const NODE: &str = "
class Node:
    alive = 0
    def __init__(self): Node.alive += 1
    def __del__(self): Node.alive -= 1
";

/// A plugin that makes two objects in a cycle, and so on, in each block, and forgets each block's after `kept` more;
/// parameters tell how many of them there are, and which generations were collected within a block.
fn makes_cycles(live: u64, kept: usize, first: &str) -> PluginFile {
    let file = processor(
        &format!(
            "if self.n == 1: {first}
self.inside = True
made = []
for _ in range({CYCLES}):
    node = Node()
    node.other = [node]
    made.append(node)
self.made.append(made)
if len(self.made) > {kept}: self.made.pop(0)
del made, node
self.inside = False
return True"
        ),
        &format!(
            "inside = False
def initialize(self):
    self.made, self.within = [], []
    self.live = [[] for _ in range({live})]
    gc.callbacks.append(self.note)
    return True
def note(self, phase, info):
    if phase == 'stop' and self.inside: self.within.append(info['generation'])
def get_parameter(self, key):
    return str(Node.alive if key == 'alive' else self.within)"
        ),
    );
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, format!("{text}\n{NODE}")).unwrap();
    file
}

/// Runs such a plugin for some blocks, with time between them; what it says at the end.
struct Played {
    alive: u64,
    most: u64,
    within: String,
    collected: Collected,
}

fn play(file: &PluginFile, gc: Gc, blocks: u64) -> Played {
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    let (mut end, _) = worker.configure(Format::new(2, 256, 48_000).unwrap(), &[]).unwrap();
    worker.start_with(gc).unwrap();
    let mut most = 0;
    for n in 1..=blocks {
        let begun_ns = clock::now_ns();
        let (taken, _) = round(&mut end, |samples| samples.fill(0.5));
        assert_eq!(taken.status, Status::Good);
        if gc == Gc::Host {
            assert_eq!(taken.notes.collector_us, 0, "{:?}", taken.notes);
        }
        pass_until(&end, begun_ns + end.layout().format().block_ns());
        if n % 50 == 0 {
            most = most.max(number(&mut worker, "alive"));
        }
    }
    // A figure is told with the block after it.
    good(&mut end, |samples| samples.fill(0.5));
    let collected = end.worker_counts().collected();
    let within = parameter(&mut worker, "within");
    let alive = number(&mut worker, "alive");
    worker.stop().unwrap();
    assert_eq!(worker.shutdown().status.code(), Some(0));
    Played { alive, most, within, collected }
}

/// Lets time pass as a device does: nothing is published before then.
fn pass_until(end: &HostEnd, at_ns: u64) {
    let waited = end.wait(end.next_seq(), at_ns, &AtomicBool::new(false));
    assert_eq!(waited, shared::ring::Waited::TimeOver);
}

fn parameter(worker: &mut WorkerProcess, key: &str) -> String {
    use shared::message::{Answer, Ask};
    match worker.ask(Ask::GetParameter { key: key.into() }) {
        Ok(Answer::Value(value)) => value,
        other => panic!("{other:?}"),
    }
}

fn number(worker: &mut WorkerProcess, key: &str) -> u64 {
    parameter(worker, key).parse().unwrap()
}

#[test]
fn with_a_million_live_objects_cycles_are_reclaimed_between_the_blocks_and_none_is_delayed() {
    let played = play(&makes_cycles(1_000_000, 0, "pass"), Gc::Host, BLOCKS);
    assert_eq!(played.within, "[]");
    assert!(played.most < 10 * CYCLES, "{} cycles are left", played.most);
    let collected = played.collected;
    assert!(u64::from(collected.young) > BLOCKS / 2 && collected.unscheduled == 0, "{collected:?}");
    assert!(collected.ns > 0 && u64::from(collected.longest_us) <= collected.ns / 1000, "{collected:?}");
}

#[test]
fn a_worker_with_a_real_time_priority_collects_behind_every_other() {
    let body = "
made = []
made.append(made)
del made
self.own.add(os.sched_getparam(0).sched_priority)
return True";
    let file = processor(
        body,
        "
def initialize(self):
    self.own, self.during = set(), set()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        pass
    gc.callbacks.append(lambda phase, info: self.during.add(os.sched_getparam(0).sched_priority))
    return True
def get_parameter(self, key):
    said = f'{sorted(self.own)} {sorted(self.during)}'
    self.during.clear()
    return said",
    );
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    let (mut end, _) = worker.configure(Format::new(2, 256, 48_000).unwrap(), &[]).unwrap();
    worker.start_with(Gc::Host).unwrap();
    // The start collects once, when nobody plays yet.
    parameter(&mut worker, "priorities");
    for _ in 0..50 {
        let begun_ns = clock::now_ns();
        good(&mut end, |samples| samples.fill(0.5));
        pass_until(&end, begun_ns + end.layout().format().block_ns());
    }
    let priorities = parameter(&mut worker, "priorities");
    let may = rustix::process::geteuid().is_root();
    assert_eq!(priorities, if may { "[10] [1]" } else { "[0] [0]" });
    worker.stop().unwrap();
    assert_eq!(worker.shutdown().status.code(), Some(0));
}

#[test]
fn cycles_that_outlive_a_few_blocks_are_reclaimed_too() {
    let played = play(&makes_cycles(0, 20, "pass"), Gc::Host, 2 * BLOCKS);
    assert_eq!(played.within, "[]");
    let made = 2 * BLOCKS * CYCLES;
    assert!(played.alive >= 20 * CYCLES && played.most < made / 3, "{} of {made}", played.most);
    assert!(played.collected.older > 0, "{:?}", played.collected);
}

#[test]
fn blocks_without_time_between_them_do_not_let_garbage_pile_up() {
    let file = makes_cycles(0, 0, "pass");
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    let (mut end, _) = worker.configure(Format::new(2, 256, 48_000).unwrap(), &[]).unwrap();
    worker.start().unwrap();
    // The next one is there before the last is taken.
    let mut last = end.publish(|samples| samples.fill(0.5)).unwrap();
    for _ in 0..1000 {
        let next = end.publish(|samples| samples.fill(0.5)).unwrap();
        end.notify();
        let within = clock::now_ns() + tests::worker_process::DEADLINE_NS;
        assert_eq!(end.wait(last, within, &AtomicBool::new(false)), shared::ring::Waited::Answered);
        last = next;
    }
    let alive = number(&mut worker, "alive");
    assert!(alive < 1000 * CYCLES / 2, "{alive} cycles are left");
    assert_eq!(parameter(&mut worker, "within"), "[]");
}

#[test]
fn python_is_left_to_collect_as_it_likes() {
    let played = play(&makes_cycles(1000, 0, "pass"), Gc::Python, BLOCKS);
    assert!(played.within != "[]" && played.most < BLOCKS * CYCLES / 2, "{}", played.within);
    let Collected { young, older, unscheduled, .. } = played.collected;
    assert!(young > 0 && unscheduled == young + older, "{:?}", played.collected);
}

#[test]
fn nothing_is_collected_where_that_is_off() {
    let played = play(&makes_cycles(0, 0, "pass"), Gc::Off, BLOCKS);
    assert_eq!((played.within.as_str(), played.alive), ("[]", (BLOCKS + 1) * CYCLES));
    assert_eq!(played.collected, Collected::default());
}

#[test]
fn a_plugin_that_collects_itself_may_and_that_is_told() {
    for (does, of_all) in [("gc.collect()", 1), ("gc.enable(); gc.set_threshold(50)", 2)] {
        let file = makes_cycles(0, 0, does);
        let mut worker = WorkerProcess::spawn();
        worker.load(&file.path).unwrap();
        let (mut end, _) = worker.configure(Format::new(2, 256, 48_000).unwrap(), &[]).unwrap();
        worker.start().unwrap();
        for _ in 0..20 {
            good(&mut end, |samples| samples.fill(0.5));
        }
        let unscheduled = end.worker_counts().collected().unscheduled;
        assert!(unscheduled >= of_all, "{does}: {unscheduled}");
    }
}

#[test]
fn a_render_takes_the_setting_and_reports_the_collector() {
    let folder = Folder::new();
    let input = folder.file("in.wav");
    Wav::new(noises(2, 20_000)).write(&input);
    let cycle = "for _ in range(200):\n    a = []; a.append([a])\nreturn True";
    let file = processor_with(&folder, "cycles", cycle, "");
    for gc in ["host", "python", "off"] {
        let render = Render::new(&folder, input.clone()).plugin(&file).option("--gc", gc).block(64);
        let (done, report) = render.reported();
        done.ended_with(0);
        let collector = &report["plugins"][0]["collector"];
        assert_eq!(collector["gc"], gc);
        assert_eq!(collector["young"].as_u64().unwrap() > 0, gc != "off", "{collector}");
        assert_eq!(collector["unscheduled"].as_u64().unwrap() > 0, gc == "python", "{collector}");
    }
}

#[test]
fn a_thread_that_keeps_the_interpreter_busy_is_told() {
    let spins = "
def start(self):
    def spin():
        while True:
            pass
    import threading
    threading.Thread(target=spin, daemon=True).start()
    return True";
    for (methods, is_held) in [(spins, true), ("", false)] {
        let folder = Folder::new();
        Wav::new(noises(2, 100_000)).write(&folder.file("in.wav"));
        processor_with(&folder, "spins", "return True", methods);
        let text =
            "[[pipeline]]\nblock = 1024\nsource = \"in.wav\"\nsink = \"virtual\"\nplugins = [\"spins.py\"]";
        let done = run(&config(&folder, text), &[]).wait();
        done.ended_with(0);
        let wait = done.json()["pipelines"][0]["plugins"][0]["interpreter_wait"]["p50_us"].as_f64().unwrap();
        assert_eq!(wait >= 50.0, is_held, "{wait} us");
        let told = done.stderr.contains("another thread of the plugin holds the interpreter");
        assert_eq!(told, is_held, "{done}");
    }
}

/// How long the threads of this process have been ready to run and were not let, by the kernel's count.
fn kept_from_running_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let schedules =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).ok());
    schedules.map(|text| text.split(' ').nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

/// A plugin with a thread that computes, and with this done at the start.
struct Crowded {
    worker: WorkerProcess,
    end: HostEnd,
}

impl Crowded {
    fn new(first: &str) -> Self {
        let file = processor(
            "return True",
            &format!(
                "def spin(self):\n    while True: pass\ndef start(self):\n    {first}
    threading.Thread(target=self.spin, daemon=True).start()\n    return True"
            ),
        );
        let mut worker = WorkerProcess::spawn();
        worker.load(&file.path).unwrap();
        let (end, _) = worker.configure(Format::new(2, 128, 48_000).unwrap(), &[]).unwrap();
        worker.start().unwrap();
        Self { worker, end }
    }

    /// How long the next block waits for the interpreter, and for how long meanwhile the machine was too busy to let its
    /// threads run.
    fn wait_ns(&mut self) -> (u64, u64) {
        let before_ns = kept_from_running_ns(self.worker.pid());
        let stamps = round(&mut self.end, |samples| samples.fill(0.5)).0.stamps;
        let kept_ns = kept_from_running_ns(self.worker.pid()) - before_ns;
        pass_until(&self.end, clock::now_ns() + self.end.layout().format().block_ns());
        (stamps.woken_ns - stamps.seen_ns, kept_ns)
    }
}

#[test]
fn blocks_wait_for_a_busy_thread_far_shorter_than_python_would_have_them_wait() {
    const BLOCKS: usize = 60;
    let sorted = |mut waits: Vec<u64>| {
        waits.sort_unstable();
        waits
    };
    // A busy machine only makes these longer: three quarters of them are no shorter than this.
    let mut pythons = Crowded::new("sys.setswitchinterval(0.005)");
    let pythons_ns = sorted((0..BLOCKS).map(|_| pythons.wait_ns().0).collect())[BLOCKS / 4];
    // Of ours those blocks count that no other process had a part in; a busy machine has to be asked for longer.
    let mut ours = Crowded::new("pass");
    let undisturbed =
        (0..100 * BLOCKS).map(|_| ours.wait_ns()).filter(|(wait_ns, kept_ns)| kept_ns * 4 <= *wait_ns);
    let waits = sorted(undisturbed.map(|(wait_ns, _)| wait_ns).take(BLOCKS).collect());
    assert_eq!(waits.len(), BLOCKS, "blocks that no other process delayed");
    let ours_ns = waits[BLOCKS / 2];
    assert!(ours_ns > 0 && ours_ns * 4 < pythons_ns, "{ours_ns} ns, {pythons_ns} ns");
}
