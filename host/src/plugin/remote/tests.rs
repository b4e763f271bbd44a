//! The audio half against the worker's end of its ring in the same thread: the test decides who does what when.

use super::super::line::{self, Depot};
use super::super::spec::Lost;
use super::*;
use crate::telemetry::{PluginTimes, plugin_figures};
use shared::layout::Layout;
use shared::ring::{HostEnd, Stamps, WorkerEnd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const FRAMES: usize = 64;
/// Few, so that a slot is soon used again.
const SLOTS: u32 = 2;

/// A plugin without a process.
struct Scene {
    remote: Remote,
    worker: WorkerEnd,
    /// Answers as a worker that has slept through everything: the sequences of long ago.
    sleeper: WorkerEnd,
    gone: Arc<AtomicBool>,
    depot: Depot,
    misses: rtrb::Consumer<Miss>,
    _times: PluginTimes,
}

fn format() -> Format {
    Format::new(1, u32::try_from(FRAMES).unwrap(), 48_000).unwrap()
}

fn ends(slots: u32) -> (HostEnd, WorkerEnd, WorkerEnd) {
    let layout = Layout::new(format(), slots).unwrap();
    let (end, handles) = HostEnd::create(layout).unwrap();
    let map = || WorkerEnd::map(&handles, layout).unwrap();
    (end, map(), map())
}

impl Scene {
    fn new(kind: PluginKind, mode: Mode, slots: u32) -> Self {
        let (end, worker, sleeper) = ends(slots);
        let plan =
            Plan { lost: Lost::Mute, closed: false, ramp: true, latency_frames: 0, latency_max_frames: 0 };
        let terms = Terms {
            kind,
            mode,
            burst: 1,
            deadline: 0.5,
            scrub: Scrub::Nothing,
            spin: Spin::Off,
            adapt: true,
            own_latency_frames: 0,
            plan,
        };
        let (figures, times, misses) = plugin_figures();
        let (relief, depot) = line::queues();
        let gone = Arc::new(AtomicBool::new(false));
        let line = Line::new(end, Arc::clone(&gone), 1);
        let remote = Remote::new("made".into(), line, Some(relief), terms, figures);
        Self { remote, worker, sleeper, gone, depot, misses, _times: times }
    }

    /// One block for which nobody waits.
    fn process(&mut self) {
        let mut samples = [0.25; FRAMES];
        self.remote.process(&mut Block::new(&mut samples, FRAMES), &Turn::new(now_ns(), 0));
    }

    fn answer(&mut self) {
        answer(&mut self.worker);
    }

    /// Plays blocks that are answered before the next one.
    fn play(&mut self, blocks: usize) {
        for _ in 0..blocks {
            self.process();
            self.answer();
        }
    }

    fn liar(&self) -> u32 {
        self.remote.figures.stats.progress().liar.load(Ordering::Relaxed)
    }
}

fn answer(worker: &mut WorkerEnd) {
    let stamps = Stamps { left_ns: now_ns(), ..Stamps::default() };
    worker.answer(Status::Good, stamps, Notes::default());
}

#[test]
fn a_block_missed_before_a_move_is_looked_into_as_one_that_was_waited_for() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    while scene.remote.terms.mode == Mode::SameBlock {
        scene.play(1);
    }
    scene.process();
    let missed: Vec<_> = std::iter::from_fn(|| scene.misses.pop().ok()).collect();
    assert!(missed.len() > 5 && missed.iter().all(|miss| !miss.is_pipelined), "{missed:?}");
}

#[test]
fn how_long_the_audio_thread_asks_to_wait_is_told_to_whoever_comes_behind() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    let asked = |scene: &Scene| scene.remote.figures.stats.take_asked_wait_ns();
    let mut samples = [0.25; FRAMES];
    // Until half of a block, of which a little has passed when it begins to wait.
    let turn = Turn::new(now_ns(), 4_000_000);
    scene.remote.process(&mut Block::new(&mut samples, FRAMES), &turn);
    let asked_ns = asked(&scene);
    assert!((1..=2_000_000).contains(&asked_ns), "{asked_ns}");
    assert_eq!(asked(&scene), 0, "it is taken once");
    scene.gone.store(true, Ordering::Relaxed);
    scene.process();
    assert_eq!(asked(&scene), 0, "nobody waits for the dead");
}

#[test]
fn a_miss_tells_whether_others_were_waited_for_before_in_the_same_block() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    let turns = [(1, 0), (2, 1), (2, 0)].map(|(waiting, waiting_after)| Turn {
        waiting,
        waiting_after,
        ..Turn::new(now_ns(), 0)
    });
    for turn in turns {
        let mut samples = [0.25; FRAMES];
        scene.remote.process(&mut Block::new(&mut samples, FRAMES), &turn);
        scene.answer();
    }
    scene.process();
    let told: Vec<_> =
        std::iter::from_fn(|| scene.misses.pop().ok().map(|miss| miss.others_before)).collect();
    assert_eq!(told, [false, false, true]);
}

#[test]
fn a_late_answer_of_a_worker_that_died_since_is_looked_into() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    scene.play(1);
    scene.gone.store(true, Ordering::Relaxed);
    scene.process();
    assert!(scene.depot.spent().is_some(), "its line has been given back");
    assert!(scene.misses.pop().unwrap().stamps.is_some());
}

#[test]
fn an_answer_from_before_the_block_was_asked_for_is_a_lie() {
    for mode in [Mode::SameBlock, Mode::Pipelined] {
        let mut scene = Scene::new(PluginKind::Processor, mode, 8);
        scene.play(10);
        scene.process();
        assert_eq!(scene.liar(), 0);
        let earlier = Stamps { left_ns: now_ns() - 1_000_000_000, ..Stamps::default() };
        scene.worker.answer(Status::Good, earlier, Notes::default());
        scene.process();
        assert_eq!(scene.liar(), 1, "{mode:?}");
    }
}

#[test]
fn a_sink_that_lies_about_a_block_that_nobody_waits_for_is_found_out() {
    let mut scene = Scene::new(PluginKind::Sink, Mode::Pipelined, SLOTS);
    scene.play(4);
    scene.process();
    answer(&mut scene.sleeper);
    scene.process();
    assert_eq!(scene.liar(), 1);
}

#[test]
fn a_worker_that_takes_an_answer_back_is_found_out_when_its_slot_is_needed() {
    let mut scene = Scene::new(PluginKind::Sink, Mode::Pipelined, SLOTS);
    scene.play(3);
    scene.process();
    answer(&mut scene.sleeper);
    scene.answer();
    scene.process();
    assert_eq!(scene.liar(), 1);
}
