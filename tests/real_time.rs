//! The audio thread allocates nothing and makes no system call but a futex wake, and in same-block mode the one
//! bounded wait.
//!
//! Each test runs a chain on a thread that is confined before its first block: an allocation aborts the process,
//! and a system call that is not allowed ends it with SIGSYS. So a test that breaks the rule does not fail, it
//! kills the whole run. The workers are real.

// An allocator can't be written without unsafe code; it only adds a question to the system's.
#![allow(unsafe_code)]

use host::Format;
use host::audio_file::{AudioReader, Bits, WavWriter};
use host::backend::{Capture, Playback};
use host::builtin::{Gain, Meter};
use host::chain::Chain;
use host::disk::{self, Until};
use host::edge::{
    CaptureQueue, ChannelMap, Clocks, DeviceInput, DeviceOutput, Handover, OutputReblock, Quality, Side,
    frame_fifo,
};
use host::pipeline::{Baton, Engine, InputCallback, OutputCallback, QueueCallback};
use host::plugin::Plugin;
use host::plugin::spec::{Lost, Mode, PluginSpec, Spin, Standby};
use host::processor::Processor;
use host::supervisor::Supervisor;
use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::Pid;
use rustix::thread::futex::{self, Timespec};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Cmp, SeccompCondition as Is,
    SeccompFilter, SeccompRule,
};
use shared::clock::now_ns;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tests::scene::kill;
use tests::until::{DEADLINE, until};
use tests::worker_process::python;
use tests::workspace;

thread_local! {
    static CONFINED: Cell<bool> = const { Cell::new(false) };
}

struct Forbidding;

#[global_allocator]
static ALLOCATOR: Forbidding = Forbidding;

fn ask() {
    if CONFINED.get() {
        std::process::abort();
    }
}

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Forbidding {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ask();
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ask();
        // SAFETY: the caller keeps the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What the audio thread may do besides waking.
#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Never,
    Bounded,
}

const FUTEX_WAKE: u64 = 1;
const FUTEX_WAIT_BITSET: u64 = 9;
const PRIVATE: u64 = 128;
/// A confined thread can't end, since that takes system calls: it sleeps on this word for ever.
static ASLEEP: AtomicU32 = AtomicU32::new(0x5a5a_5a5a);

fn filter(wait: Wait) -> BpfProgram {
    let is = |argument, value| Is::new(argument, Len::Dword, Cmp::Eq, value).unwrap();
    let rule = |conditions| SeccompRule::new(conditions).unwrap();
    let mut rules = vec![rule(vec![is(1, FUTEX_WAKE)])];
    let mut calls = BTreeMap::new();
    rules.push(rule(vec![is(1, FUTEX_WAIT_BITSET | PRIVATE), is(2, ASLEEP.load(Ordering::Relaxed).into())]));
    if wait == Wait::Bounded {
        // A wait without a deadline would have a null pointer for it.
        let deadline = Is::new(3, Len::Qword, Cmp::Ne, 0).unwrap();
        rules.push(rule(vec![is(1, FUTEX_WAIT_BITSET), deadline.clone()]));
        // The same for a chain of workers: its last one, and the alarm that any worker's end is.
        calls.insert(libc::SYS_futex_waitv, vec![rule(vec![deadline])]);
    }
    calls.insert(libc::SYS_futex, rules);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(calls, SeccompAction::Trap, SeccompAction::Allow, arch)
        .and_then(TryInto::try_into)
        .unwrap()
}

/// Runs `work` on a confined thread and gives its result. What it owns is never dropped.
fn confined<T: Copy + Send + Sync + 'static>(wait: Wait, mut work: impl FnMut() -> T + Send + 'static) -> T {
    let outcome = Arc::new((OnceLock::new(), AtomicU32::new(0)));
    let program = filter(wait);
    let confined = Arc::clone(&outcome);
    std::thread::spawn(move || {
        seccompiler::apply_filter(&program).unwrap();
        CONFINED.set(true);
        let result = work();
        CONFINED.set(false);
        // The one way to tell that the filter leaves open: a wake of a futex that is not private.
        let _ = confined.0.set(result);
        confined.1.store(1, Ordering::Release);
        let _ = futex::wake(&confined.1, futex::Flags::empty(), 1);
        loop {
            let word = ASLEEP.load(Ordering::Relaxed);
            let _ = futex::wait_bitset(&ASLEEP, futex::Flags::PRIVATE, word, None, NonZeroU32::MAX);
        }
    });
    let (began, limit) = (Instant::now(), Duration::from_secs(120));
    while outcome.0.get().is_none() && began.elapsed() < limit {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = futex::wait(&outcome.1, futex::Flags::empty(), 0, Some(&second));
    }
    *outcome.0.get().expect("the confined thread should have ended its work")
}

/// A device with the pipeline's rate and channels.
fn plain() -> Side {
    Side::plain(48_000, ChannelMap::new(2, 2))
}

fn format() -> Format {
    Format::new(2, 256, 48_000).unwrap()
}

fn example(name: &str) -> PluginSpec {
    with_python(PluginSpec::new(workspace::root().join("plugins_py/examples").join(name)))
}

fn with_python(mut spec: PluginSpec) -> PluginSpec {
    spec.python = Some(python());
    spec
}

fn written(folder: &Path, name: &str, body: &str) -> PluginSpec {
    let file = folder.join(name);
    let source = format!(
        "from base_plugin import *\n\
         class P(AudioProcessorPlugin):\n    n = 0\n    silent_warm_up = False\n    \
         def get_info(self): return PluginInfo('p', '1', '', '', PluginType.PROCESSOR)\n    \
         def initialize(self): return True\n    def start(self): return True\n    \
         def process_audio(self, buffer):\n        self.n += 1\n        {body}\n\
         def create_plugin(): return P()\n"
    );
    std::fs::write(&file, source).unwrap();
    with_python(PluginSpec::new(file))
}

fn loaded(supervisor: &Supervisor, specs: Vec<PluginSpec>) -> (Vec<Plugin>, Vec<Box<dyn Processor>>) {
    let mut plugins = Vec::new();
    let mut processors: Vec<Box<dyn Processor>> = vec![Box::new(Gain::new(-1.0))];
    for spec in specs {
        let (plugin, remote) = Plugin::load(supervisor, spec, format()).unwrap();
        plugins.push(plugin);
        processors.push(Box::new(remote));
    }
    processors.push(Box::new(Meter::new(format().channels())));
    (plugins, processors)
}

/// Blocks one after the other, `pause` apart on the clock, with a second for each.
fn run(mut chain: Chain, blocks: u32, pause: Duration) -> impl FnMut() + Send {
    let mut samples = vec![0.25; format().samples()];
    move || {
        for _ in 0..blocks {
            let began = Instant::now();
            chain.process_within(&mut samples, 1_000_000_000);
            while began.elapsed() < pause {
                std::hint::spin_loop();
            }
        }
    }
}

#[test]
fn a_same_block_plugin_costs_a_wake_and_a_bounded_wait() {
    let (supervisor, _events) = Supervisor::new().unwrap();
    let (mut plugins, processors) = loaded(&supervisor, vec![example("simple_gain.py")]);
    let chain = Chain::new(format(), processors).unwrap();
    confined(Wait::Bounded, run(chain, 2000, Duration::ZERO));
    assert_eq!(plugins[0].status().counts.good, 2000);
}

/// Memory that the calling thread was the first to touch, in pages.
fn pages_touched() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).unwrap().minor_page_faults()
}

#[test]
fn blocks_touch_no_memory_for_the_first_time_once_some_have_been_played() {
    // One that is late now and then has its dry signal kept for as long as it takes.
    for mode in [Mode::SameBlock, Mode::Pipelined] {
        let (supervisor, _events) = Supervisor::new().unwrap();
        let spec = PluginSpec { mode: Some(mode), ..example("simple_gain.py") };
        let (_plugins, processors) = loaded(&supervisor, vec![spec]);
        let chain = Chain::new(format(), processors).unwrap();
        let touched = std::thread::spawn(move || {
            let mut samples = vec![0.25; format().samples()];
            let mut chain = chain;
            let mut play =
                |blocks: u32| (0..blocks).for_each(|_| chain.process_within(&mut samples, 1_000_000_000));
            play(100);
            let before = pages_touched();
            play(4000);
            pages_touched() - before
        });
        // A queue that is there only when it is written to has a new page every 73 blocks. The kernel itself moves a page
        // now and then.
        let touched = touched.join().unwrap();
        assert!(touched < 10, "{mode:?}: {touched} pages");
    }
}

#[test]
fn a_pipelined_plugin_costs_at_most_a_wake() {
    let (supervisor, _events) = Supervisor::new().unwrap();
    let spec = PluginSpec { mode: Some(Mode::Pipelined), ..example("simple_gain.py") };
    let (mut plugins, processors) = loaded(&supervisor, vec![spec]);
    let chain = Chain::new(format(), processors).unwrap();
    confined(Wait::Never, run(chain, 2000, Duration::from_micros(300)));
    let counts = plugins[0].status().counts;
    assert!(counts.good > 0);
    assert_eq!(counts.good + counts.lost(), 1999);
    assert!((1..=2000).contains(&counts.woken), "{counts:?}");
}

#[test]
fn a_pipelined_plugin_whose_worker_is_awake_costs_no_system_call_at_all() {
    let (supervisor, _events) = Supervisor::new().unwrap();
    // Longer than any pause here, whatever else the machine does.
    let spin = Spin::For(4_000_000_000);
    let spec = PluginSpec { mode: Some(Mode::Pipelined), spin, ..example("simple_gain.py") };
    let (mut plugins, processors) = loaded(&supervisor, vec![spec]);
    let chain = Chain::new(format(), processors).unwrap();
    let [host, worker] = two_processors();
    bind(plugins[0].worker().pid(), &worker);
    sched_setaffinity(None, &host).unwrap();
    confined(Wait::Never, run(chain, 2000, Duration::from_micros(300)));
    let counts = plugins[0].status().counts;
    assert!(counts.good > 0);
    // It sleeps when the first one comes, and knows by its answer at the latest that it needn't.
    assert!((1..=2).contains(&counts.woken), "{counts:?}");
}

/// Two of those that this thread may use.
fn two_processors() -> [CpuSet; 2] {
    let all = sched_getaffinity(None).unwrap();
    let mut each = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).map(|core| {
        let mut one = CpuSet::new();
        one.set(core);
        one
    });
    std::array::from_fn(|_| each.next().expect("two processors"))
}

/// Binds every thread of a process.
fn bind(pid: u32, to: &CpuSet) {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let number = thread.unwrap().file_name().to_str().and_then(|number| number.parse().ok());
        sched_setaffinity(number.and_then(Pid::from_raw), to).unwrap();
    }
}

#[test]
fn a_section_of_pipelined_plugins_costs_the_audio_thread_at_most_a_wake() {
    let (supervisor, _events) = Supervisor::new().unwrap();
    let spec = || PluginSpec { mode: Some(Mode::Pipelined), ..example("passthrough.py") };
    let (mut plugins, processors) = loaded(&supervisor, vec![spec(), spec(), spec()]);
    let chain = Chain::new(format(), processors).unwrap();
    confined(Wait::Never, run(chain, 1000, Duration::from_millis(1)));
    assert!(plugins.iter_mut().all(|plugin| plugin.status().counts.good > 0));
}

#[test]
fn lost_blocks_of_every_policy_cost_no_more_than_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    for lost in [Lost::Bypass, Lost::Mute, Lost::Hold] {
        let (supervisor, _events) = Supervisor::new().unwrap();
        let fails = PluginSpec { lost, ..written(folder.path(), "fails.py", "return self.n % 2 == 0") };
        // Not in every block: that would be a faulty plugin, which is replaced.
        let nan = "buffer.data[0, 3] = float('nan') if self.n % 2 else 0; return True";
        let nan = written(folder.path(), "nan.py", nan);
        let raises = PluginSpec { lost, ..written(folder.path(), "raises.py", "raise ValueError('no')") };
        let (mut plugins, processors) = loaded(&supervisor, vec![fails, nan, raises]);
        let chain = Chain::new(format(), processors).unwrap();
        confined(Wait::Bounded, run(chain, 500, Duration::ZERO));
        let counts: Vec<_> = plugins.iter_mut().map(|plugin| plugin.status().counts).collect();
        assert_eq!((counts[0].good, counts[0].failed), (250, 250));
        assert_eq!((counts[1].good, counts[1].non_finite_blocks), (500, 250));
        assert_eq!(counts[2].failed, 500);
    }
}

#[test]
fn a_dead_worker_costs_nothing_at_all() {
    let (supervisor, _events) = Supervisor::new().unwrap();
    let spec = PluginSpec { restart: false, ..example("passthrough.py") };
    let (mut plugins, processors) = loaded(&supervisor, vec![spec]);
    let chain = Chain::new(format(), processors).unwrap();
    let pid = rustix::process::Pid::from_raw(plugins[0].worker().pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // The deadline of a block is half a second: the death is noticed within the first one.
    confined(Wait::Bounded, run(chain, 100, Duration::ZERO));
    let counts = plugins[0].status().counts;
    assert!(counts.gone >= 99, "{counts:?}");
}

/// Blocks without a pause, or so far apart, until somebody says that it is enough.
fn run_until(mut chain: Chain, enough: Arc<AtomicBool>, pause: Duration) -> impl FnMut() + Send {
    let mut samples = vec![0.25; format().samples()];
    move || {
        while !enough.load(Ordering::Relaxed) {
            let began = Instant::now();
            chain.process_within(&mut samples, 1_000_000_000);
            while began.elapsed() < pause {
                std::hint::spin_loop();
            }
        }
    }
}

/// Kills the worker, and waits until another one has delivered blocks.
fn replace(plugin: &mut Plugin) {
    let pid = plugin.worker().pid();
    until("blocks", || plugin.status().counts.good > 100);
    kill(plugin);
    until("another worker", || plugin.worker().pid() != pid);
    let good = plugin.status().counts.good;
    until("its blocks", || plugin.status().counts.good > good + 100);
}

/// The audio thread lets go of one worker's line and takes another's, and neither frees nor makes anything: not the
/// memory, not the descriptors.
#[test]
fn taking_another_worker_costs_no_more_than_any_block() {
    for mode in [Mode::SameBlock, Mode::Pipelined] {
        for standby in [Standby::Twin, Standby::None] {
            let (supervisor, _events) = Supervisor::new().unwrap();
            // Who is killed here does not hang as well, however slow the machine.
            let hang_after = Some(Duration::from_secs(30));
            let spec = PluginSpec { mode: Some(mode), standby, hang_after, ..example("simple_gain.py") };
            let (mut plugins, processors) = loaded(&supervisor, vec![spec]);
            let chain = Chain::new(format(), processors).unwrap();
            let enough = Arc::new(AtomicBool::new(false));
            let wait = if mode == Mode::SameBlock { Wait::Bounded } else { Wait::Never };
            let work = run_until(chain, Arc::clone(&enough), Duration::from_micros(300));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    (0..2).for_each(|_| replace(&mut plugins[0]));
                    enough.store(true, Ordering::Relaxed);
                });
                confined(wait, work);
            });
            let status = plugins[0].status();
            assert_eq!((status.deaths, status.dead), (2, None), "{standby:?}");
        }
    }
}

/// Late blocks, the move to pipelined and the blocks after it.
#[test]
fn moving_to_pipelined_costs_no_more_than_any_block() {
    let folder = tempfile::tempdir().unwrap();
    let (supervisor, _events) = Supervisor::new().unwrap();
    let slow = "__import__('time').sleep(0.002); return True";
    let spec = PluginSpec { deadline: 0.05, ..written(folder.path(), "slow.py", slow) };
    let (mut plugins, processors) = loaded(&supervisor, vec![spec]);
    let mut chain = Chain::new(format(), processors).unwrap();
    let mut samples = vec![0.25; format().samples()];
    let work = move || {
        for _ in 0..50 {
            let began = Instant::now();
            chain.process_within(&mut samples, 10_000_000);
            while began.elapsed() < Duration::from_millis(10) {
                std::hint::spin_loop();
            }
        }
    };
    confined(Wait::Bounded, work);
    let status = plugins[0].status();
    assert_eq!((status.moves, status.mode), (1, "pipelined"), "{status:?}");
}

/// Runs until the plugin has moved to pipelined and back; in how many of these two blocks it has gone from one result
/// over into the other. Each block of the plugin is its number throughout; `answered` says how many it has answered.
fn move_there_and_back(mut chain: Chain, answered: Arc<AtomicU64>) -> impl FnMut() -> u32 + Send {
    let mut samples = vec![0.25; format().samples()];
    move || {
        let (mut blocks, mut last, mut moves, mut faded) = (0, 0.0, 0, 0);
        while moves < 2 {
            let before = chain.latency_frames();
            // The slow ones are late, but answered before the next.
            let is_late = blocks % 2 == 1 && blocks < 10;
            chain.process_within(&mut samples, if is_late { 0 } else { 60_000_000_000 });
            blocks += 1;
            while answered.load(Ordering::Relaxed) < blocks {
                std::hint::spin_loop();
            }
            let (begins, ends) = (samples[0], samples[format().block_frames() - 1]);
            if chain.latency_frames() != before {
                moves += 1;
                // Neither joined to the block before, nor one number.
                faded += u32::from(begins != last && ends != begins);
            }
            last = ends;
        }
        faded
    }
}

/// The last block in one mode, with what would be heard in the other, in both directions.
#[test]
fn fading_from_one_mode_into_the_other_costs_no_more_than_any_block() {
    let folder = tempfile::tempdir().unwrap();
    let (supervisor, _events) = Supervisor::new().unwrap();
    let numbered = "if self.n % 2 == 0 and self.n <= 10: __import__('time').sleep(0.02)
        buffer.data[:] = 1 / self.n; return True
    def get_parameter(self, key): return str(self.n)";
    let (mut plugins, processors) =
        loaded(&supervisor, vec![written(folder.path(), "numbered.py", numbered)]);
    let chain = Chain::new(format(), processors).unwrap();
    let (answered, is_over, worker) = (Arc::default(), AtomicBool::new(false), plugins[0].worker());
    let work = move_there_and_back(chain, Arc::clone(&answered));
    let faded = std::thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = Instant::now() + DEADLINE;
            while !is_over.load(Ordering::Relaxed) && Instant::now() < deadline {
                // It answers a question only between two blocks.
                let blocks = worker.get_parameter("blocks").unwrap();
                answered.store(blocks.parse().unwrap(), Ordering::Relaxed);
            }
        });
        let faded = confined(Wait::Bounded, work);
        is_over.store(true, Ordering::Relaxed);
        faded
    });
    let status = plugins[0].status();
    assert_eq!((status.moves, status.mode, faded), (2, "same-block", 2), "{status:?}");
}

#[test]
fn files_and_odd_device_buffers_cost_nothing_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let reader = AudioReader::open(workspace::root().join("examples/song.flac")).unwrap();
    let writer = WavWriter::create(folder.path().join("out.wav"), 2, 48_000, Bits::F32).unwrap();
    let (player, _reading, progress) =
        disk::play(reader, false, 48_000, ChannelMap::new(2, 2), Quality::Good).unwrap();
    let until = Until { source: Some(progress), latency_frames: Arc::default(), plugins: Vec::new() };
    let (recorder, recording) = disk::record(writer, 48_000, ChannelMap::new(2, 2), until).unwrap();
    let mut chain = Chain::new(format(), vec![Box::new(player), Box::new(recorder)]).unwrap();
    let mut blocks = OutputReblock::new(format());
    let mut edge = DeviceOutput::new(Side::plain(48_000, ChannelMap::new(2, 6))).unwrap();
    let mut device = vec![0.0; 6 * 1000];
    let heard = confined(Wait::Never, move || {
        let mut heard = 0.0f32;
        for frames in (1..=1000).step_by(7) {
            let device = &mut device[..6 * frames];
            edge.fill(&mut blocks, device, |samples| chain.process(samples));
            heard = device.iter().fold(heard, |peak, sample| peak.max(sample.abs()));
        }
        heard
    });
    assert!(heard > 0.01);
    assert!(recording.finish().unwrap() >= 71_000);
}

/// An input and an output of other rates and channels, whose clocks drift: all that is between them and a chain.
#[test]
fn conversion_and_drift_cost_nothing_but_time() {
    for quality in [Quality::Fast, Quality::Good, Quality::Best] {
        converts_and_follows_a_drift(quality);
    }
}

fn converts_and_follows_a_drift(quality: Quality) {
    const BUFFER: usize = 441;
    let side = |device_rate, map| Side { device_rate, quality, ..Side::plain(48_000, map) };
    let mut input = DeviceInput::new(side(44_100, ChannelMap::new(1, 2))).unwrap();
    let mut output = DeviceOutput::new(side(96_000, ChannelMap::listed(2, 4, &[2, 0, 1]).unwrap())).unwrap();
    let (mut writer, reader) = frame_fifo(2, 48_000, 0);
    let queue = CaptureQueue::new(reader, format(), 1024, 480, Clocks::Two(quality)).unwrap();
    let counts = queue.counts();
    let mut chain = Chain::new(format(), vec![Box::new(queue)]).unwrap();
    let mut blocks = OutputReblock::new(format());
    let (captured, mut device) = (vec![0.5; BUFFER], vec![0.0; 4 * 960]);
    let heard = confined(Wait::Never, move || {
        let mut heard = 0.0f32;
        let mut last = (0, 0);
        for callback in 0..400usize {
            // Now and then nothing comes, and then too much.
            let buffers = match callback {
                50..60 => 0,
                100 => 30,
                _ => 1,
            };
            for _ in 0..buffers {
                input.push(&captured, |frames| last = (writer.write(frames, now_ns()), frames.len()));
            }
            output.fill(&mut blocks, &mut device, |samples| chain.process(samples));
            heard = device.iter().fold(heard, |peak, sample| peak.max(sample.abs()));
        }
        heard
    });
    assert!(heard > 0.4);
    assert!(counts.gaps() > 0 && counts.overrun_frames() > 0);
    assert!(counts.correction_ppm() != 0.0);
}

#[test]
fn a_row_of_workers_that_hand_on_to_each_other_costs_one_wake_and_one_bounded_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (supervisor, _events) = Supervisor::new().unwrap();
    let fails = written(folder.path(), "fails.py", "return self.n % 50 != 0");
    let specs = vec![example("passthrough.py"), fails, example("simple_gain.py"), example("passthrough.py")];
    let (mut plugins, processors) = loaded(&supervisor, specs);
    let chain = Chain::new(format(), processors).unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&enough);
    let watcher = std::thread::spawn(move || {
        // One that fails now and then is repaired on the way.
        until("blocks to go from worker to worker", || plugins[3].status().counts.direct > 1000);
        stop.store(true, Ordering::Relaxed);
        plugins
    });
    confined(Wait::Bounded, run_until(chain, enough, Duration::from_micros(200)));
    let mut plugins = watcher.join().unwrap();
    assert!(plugins[1].status().counts.failed > 0);
    assert_eq!(plugins[3].status().counts.failed, 0);
}

/// How many callbacks of a stream were the chain's, and how many silent.
#[derive(Default)]
struct Heard {
    played: AtomicU64,
    silent: AtomicU64,
}

impl Heard {
    fn counts(&self) -> (u64, u64) {
        (self.played.load(Ordering::Relaxed), self.silent.load(Ordering::Relaxed))
    }
}

/// Plays callback after callback of an odd length until it is enough.
fn play_until(
    mut callback: OutputCallback,
    heard: Arc<Heard>,
    enough: Arc<AtomicBool>,
) -> impl FnMut() + Send {
    let mut samples = vec![0.0; 2 * 300];
    move || {
        while !enough.load(Ordering::Relaxed) {
            samples.fill(0.0);
            let (at, latency) = (Duration::ZERO, Duration::ZERO);
            callback.play(&mut Playback { samples: &mut samples, frames: 300, channels: 2, at, latency });
            let count = if samples[599] == 0.0 { &heard.silent } else { &heard.played };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits until a count of another thread is more than it was, without a pause: what else is under way there goes on.
fn until_more(what: &str, was: u64, count: &AtomicU64) {
    let began = Instant::now();
    while count.load(Ordering::Relaxed) <= was {
        assert!(began.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// Adds one to every sample.
struct Loud;

impl Processor for Loud {
    fn name(&self) -> &str {
        "loud"
    }

    fn process(&mut self, block: &mut host::block::Block<'_>, _turn: &host::processor::Turn) {
        block.samples_mut().iter_mut().for_each(|sample| *sample += 1.0);
    }
}

/// Two streams want the chain at once, as a device and its stand-in do: who has the turn, who has not and who comes while
/// the other is at work make and free nothing, and wait for nobody.
#[test]
fn handing_the_chain_from_stream_to_stream_costs_nothing_at_all() {
    let chain = Chain::new(format(), vec![Box::new(Loud)]).unwrap();
    let baton = Baton::new(Engine::new(chain));
    let claims = [baton.claim(), baton.claim()];
    let numbers = [0, 1].map(|stream: usize| claims[stream].number());
    let enough = Arc::new(AtomicBool::new(false));
    let heard: [Arc<Heard>; 2] = Default::default();
    let mut streams = heard.iter();
    let works = claims.map(|claim| {
        let callback = OutputCallback::new(claim, format(), plain(), true).unwrap();
        play_until(callback, Arc::clone(streams.next().unwrap()), Arc::clone(&enough))
    });
    std::thread::scope(|scope| {
        for work in works {
            scope.spawn(|| confined(Wait::Never, work));
        }
        for turn in 0..500 {
            let [taker, other] = [turn % 2, (turn + 1) % 2];
            let ((played, _), (_, silent)) = (heard[taker].counts(), heard[other].counts());
            baton.give_to(numbers[taker]);
            until_more("the chain to be played by who has the turn", played, &heard[taker].played);
            until_more("silence of who has not", silent, &heard[other].silent);
        }
        // Also at any moment, whether or not the one before has come to its turn.
        for turn in 0..5000 {
            baton.give_to(numbers[turn % 2]);
            (0..turn * 7919 % 3000).for_each(|_| std::hint::spin_loop());
        }
        let played = heard[1].counts().0;
        until_more("the chain to be played by who had it last", played, &heard[1].played);
        enough.store(true, Ordering::Relaxed);
    });
    assert!(baton.take_back(Duration::ZERO).is_some(), "it is in its place");
}

#[test]
fn inputs_that_pace_or_queue_cost_nothing_at_all_whoever_s_turn_it_is() {
    let chain = Chain::new(format(), vec![Box::new(Loud)]).unwrap();
    let engine = Engine::new(chain);
    let frames = engine.frames();
    let (writer, reader) = frame_fifo(2, 48_000, 0);
    let (engine, queue) = (Baton::new(engine), Baton::new(writer));
    let [pacing, queueing] = [engine.claim().number() + 1, queue.claim().number() + 1];
    let mut paces = InputCallback::new(engine.claim(), format(), plain(), true).unwrap();
    let mut queues = QueueCallback::new(queue.claim(), format(), plain()).unwrap();
    let samples = vec![0.5; 2 * 300];
    confined(Wait::Never, move || {
        for callback in 0..100 {
            if callback == 50 {
                engine.give_to(pacing);
                queue.give_to(queueing);
            }
            let (at, latency) = (Duration::ZERO, Duration::ZERO);
            let capture = Capture { samples: &samples, frames: 300, channels: 2, at, latency };
            paces.record(&capture);
            queues.record(&capture);
        }
    });
    assert_eq!((frames.load(Ordering::Relaxed), reader.level()), (50 * 300 / 256 * 256, 50 * 300));
}

/// Two devices where the input paces the chain (`clock = "source"`): its callback hands over to a queue that is all the
/// output's has.
#[test]
fn a_chain_that_hands_over_to_an_output_by_another_clock_costs_either_callback_nothing_at_all() {
    const FRAMES: usize = 300;
    let (writer, reader) = frame_fifo(2, 48_000, 0);
    let handover = Handover::new(writer, format().samples(), 2);
    let queue = CaptureQueue::new(reader, format(), 1024, 512, Clocks::Two(Quality::Good)).unwrap();
    let counts = queue.counts();
    let chains: [Vec<Box<dyn Processor>>; 2] =
        [vec![Box::new(Loud), Box::new(handover)], vec![Box::new(queue)]];
    let [paces, plays] = chains.map(|chain| {
        let baton = Baton::new(Engine::new(Chain::new(format(), chain).unwrap()));
        let claim = baton.claim();
        baton.give_to(claim.number());
        claim
    });
    let mut input = InputCallback::new(paces, format(), plain(), true).unwrap();
    let mut output = OutputCallback::new(plays, format(), plain(), true).unwrap();
    let (captured, mut samples) = (vec![0.5; 2 * FRAMES], vec![0.0; 2 * FRAMES]);
    let heard = confined(Wait::Never, move || {
        let mut heard = 0.0f32;
        for callback in 0..400 {
            let (at, latency) = (callback * Duration::from_micros(6250), Duration::ZERO);
            // Now and then nothing comes, and then too much.
            let buffers = match callback {
                50..60 => 0,
                100 => 30,
                _ => 1,
            };
            for _ in 0..buffers {
                input.record(&Capture { samples: &captured, frames: FRAMES, channels: 2, at, latency });
            }
            output.play(&mut Playback { samples: &mut samples, frames: FRAMES, channels: 2, at, latency });
            heard = samples.iter().fold(heard, |peak, sample| peak.max(sample.abs()));
        }
        heard
    });
    assert!(heard > 1.0, "what the chain made of it: {heard}");
    assert!(counts.gaps() > 0 && counts.overrun_frames() > 0, "{counts:?}");
}
