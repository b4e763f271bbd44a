//! The audio half against the worker's end of its ring in the same thread: the test decides who does what when.

use super::super::cause::{Attribution, Cause};
use super::super::line::{self, Depot};
use super::super::spec::Lost;
use super::*;
use crate::telemetry::{PluginTimes, plugin_figures};
use shared::layout::Layout;
use shared::ring::{HostEnd, Stamps, WorkerEnd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

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
        let terms = Terms::made(kind, mode, 0);
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

    /// One block that is answered while it is waited for, with what went in; what is heard.
    fn play_waited(&mut self, input: [f32; FRAMES]) -> [f32; FRAMES] {
        self.play_with(input, 60_000_000_000, Status::Good)
    }

    fn play_with(&mut self, mut samples: [f32; FRAMES], budget_ns: u64, status: Status) -> [f32; FRAMES] {
        let (is_over, worker, remote) = (AtomicBool::new(false), &mut self.worker, &mut self.remote);
        let is_late = budget_ns == 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) || worker.is_requested() {
                    if worker.is_requested() && (!is_late || is_over.load(Ordering::Relaxed)) {
                        worker.begin();
                        let stamps = Stamps { left_ns: now_ns(), ..Stamps::default() };
                        worker.answer(status, stamps, Notes::default());
                    }
                    thread::yield_now();
                }
            });
            remote.process(&mut Block::new(&mut samples, FRAMES), &Turn::new(now_ns(), budget_ns));
            is_over.store(true, Ordering::Relaxed);
        });
        samples
    }

    /// It is to move with the next block: late too often, or fast for long.
    fn have_it_move(&mut self) {
        let is_slow = self.remote.terms.mode == Mode::SameBlock;
        while !self.remote.is_moving() {
            self.remote.adapt_to(is_slow, Some(0), 1000);
        }
    }

    /// Pipelined by itself, with no ramp under way; the last block that was handed over held this.
    fn pipelined(&mut self, last: [f32; FRAMES]) {
        (0..3).for_each(|n| _ = self.play_waited(audio(n)));
        self.have_it_move();
        (0..3).for_each(|n| _ = self.play_waited(audio(n)));
        self.play_waited(last);
        assert_eq!(self.remote.terms.mode, Mode::Pipelined);
    }

    fn liar(&self) -> u32 {
        self.remote.figures.stats.progress().liar.load(Ordering::Relaxed)
    }
}

/// Another block for each number.
fn audio(number: u16) -> [f32; FRAMES] {
    std::array::from_fn(|i| (f32::from(number) + i as f32 * 0.37).sin() * 0.9)
}

fn assert_fades(heard: [f32; FRAMES], from: [f32; FRAMES], into: [f32; FRAMES]) {
    for (i, heard) in heard.iter().enumerate() {
        // A block is shorter than a ramp.
        let part = i as f32 / FRAMES as f32;
        let due = (1.0 - part) * from[i] + part * into[i];
        assert!((heard - due).abs() < 1e-6, "frame {i}: {heard}, not {due}");
    }
}

/// It begins where the other ended, and is on the way to what it should be.
fn assert_joined(heard: [f32; FRAMES], before: [f32; FRAMES], to: [f32; FRAMES]) {
    assert!((heard[0] - before[FRAMES - 1]).abs() < 1e-6, "{} after {}", heard[0], before[FRAMES - 1]);
    let (first, last) = (heard[0] - to[0], heard[FRAMES - 1] - to[FRAMES - 1]);
    assert!(last.abs() < 0.3 * first.abs(), "{first} off at first, {last} at last");
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
fn blocks_missed_while_a_state_is_saved_are_no_reason_to_move() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    scene.remote.stats().set_saving(true);
    scene.play(50);
    scene.process();
    assert!(!scene.remote.is_moving() && scene.remote.terms.mode == Mode::SameBlock);
    scene.remote.stats().set_saving(false);
    scene.answer();
    scene.play(7);
    assert_eq!(scene.remote.terms.mode, Mode::Pipelined);
}

#[test]
fn how_long_the_audio_thread_asks_to_wait_is_told_to_whoever_comes_behind() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    let asked = |scene: &Scene| scene.remote.figures.stats.take_asked_wait_ns();
    let mut samples = [0.25; FRAMES];
    // Until half of a block, of which a little has passed when it begins to wait.
    let turn = Turn::new(now_ns(), 400_000_000);
    scene.remote.process(&mut Block::new(&mut samples, FRAMES), &turn);
    let asked_ns = asked(&scene);
    assert!((1..=200_000_000).contains(&asked_ns), "{asked_ns}");
    assert_eq!(asked(&scene), 0, "it is taken once");
    // Nobody has answered: it comes back after that, and by how much is told.
    let (late_ns, passed_ns) =
        (scene.remote.figures.stats.take_overslept_ns(), now_ns() - turn.deadline_ns(0.5));
    assert!((1..=passed_ns).contains(&late_ns), "{late_ns} of {passed_ns}");
    scene.gone.store(true, Ordering::Relaxed);
    scene.process();
    assert_eq!(asked(&scene), 0, "nobody waits for the dead");
}

#[test]
fn an_audio_thread_that_looks_until_its_deadline_has_not_overslept() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    scene.remote.terms.spin = Spin::For(u32::MAX);
    let mut samples = [0.25; FRAMES];
    scene.remote.process(&mut Block::new(&mut samples, FRAMES), &Turn::new(now_ns(), 400_000));
    let figures = &scene.remote.figures.stats;
    assert_eq!((figures.take_asked_wait_ns(), figures.take_overslept_ns()), (0, 0));
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
fn a_block_whose_turn_had_begun_long_before_it_was_handed_over_is_late_by_the_host() {
    const MS: u64 = 1_000_000;
    for (since_ms, cause) in [(300, Cause::HostLate), (0, Cause::Unknown)] {
        let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
        let mut samples = [0.25; FRAMES];
        // Waited for until half of it is over: 400 ms.
        let turn = Turn::new(now_ns() - since_ms * MS, 800 * MS);
        scene.remote.process(&mut Block::new(&mut samples, FRAMES), &turn);
        let now = now_ns();
        let stamps = Stamps { seen_ns: now, woken_ns: now, entered_ns: now, left_ns: now };
        scene.worker.begin();
        scene.worker.answer(Status::Good, stamps, Notes::default());
        scene.process();
        let miss = scene.misses.pop().unwrap();
        assert_eq!(Attribution::default().attribute(&miss), cause, "{miss:?}");
    }
}

#[test]
fn blocks_that_could_not_be_handed_over_are_looked_into_with_the_oldest_one_that_is_owed() {
    for (kind, mode) in [
        (PluginKind::Processor, Mode::SameBlock),
        (PluginKind::Processor, Mode::Pipelined),
        (PluginKind::Sink, Mode::Pipelined),
    ] {
        for is_gone in [false, true] {
            let mut scene = Scene::new(kind, mode, 8);
            scene.remote.terms.adapt = false;
            scene.play(3);
            (0..50).for_each(|_| scene.process());
            if is_gone {
                scene.gone.store(true, Ordering::Relaxed);
            } else {
                (0..8).for_each(|_| scene.answer());
                scene.play(1);
            }
            scene.process();
            if !is_gone {
                scene.answer();
            }
            scene.remote.acknowledge();
            let missed: Vec<_> = std::iter::from_fn(|| scene.misses.pop().ok()).collect();
            let stats = scene.remote.stats();
            let (counts, unexplained) = (stats.counts(), stats.unexplained());
            let told: u64 = missed.iter().map(|miss| u64::from(miss.blocks)).sum();
            let case = format!("{kind:?} {mode:?} {is_gone}: {counts:?}, {unexplained} unexplained");
            assert_eq!(told + unexplained, counts.late + counts.behind, "{case}");
            // The last one that was refused is missed a block later if it is pipelined.
            assert!(counts.behind >= 41 && unexplained <= 1, "{case}");
            let oldest = missed.iter().max_by_key(|miss| miss.blocks).unwrap();
            assert!(oldest.blocks >= 41 && oldest.stamps.is_none() == is_gone, "{case}: {oldest:?}");
        }
    }
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

#[test]
fn the_last_block_of_same_block_goes_over_into_the_one_before_and_pipelined_goes_on_from_there() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    (0..3).for_each(|n| assert_eq!(scene.play_waited(audio(n)), audio(n)));
    scene.have_it_move();
    assert_eq!((scene.remote.added_frames(), scene.remote.waits()), (0, 1));
    assert_fades(scene.play_waited(audio(3)), audio(3), audio(2));
    assert_eq!((scene.remote.added_frames(), scene.remote.waits()), (64, 0));
    (4..8).for_each(|n| assert_eq!(scene.play_waited(audio(n)), audio(n - 1)));
    assert_eq!(scene.remote.figures.stats.counts().good, 8);
}

#[test]
fn the_last_block_of_pipelined_is_waited_for_as_well_and_goes_over_into_its_own_answer() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    scene.pipelined(audio(10));
    scene.have_it_move();
    assert_eq!((scene.remote.added_frames(), scene.remote.waits()), (64, 1));
    assert_fades(scene.play_waited(audio(11)), audio(10), audio(11));
    assert_eq!((scene.remote.added_frames(), scene.remote.waits()), (0, 1));
    (12..15).for_each(|n| assert_eq!(scene.play_waited(audio(n)), audio(n)));
    // And once more the other way: the last burst has been kept meanwhile.
    scene.have_it_move();
    assert_fades(scene.play_waited(audio(15)), audio(15), audio(14));
    assert_eq!(scene.play_waited(audio(16)), audio(15));
    assert_eq!(scene.remote.figures.stats.counts().lost(), 0);
}

#[test]
fn a_move_to_pipelined_is_joined_where_one_of_both_results_is_not_there() {
    // The present one's comes too late; it was no good; the one before was none.
    for (now_budget_ns, now, before) in [
        (0, Status::Good, Status::Good),
        (u64::MAX >> 20, Status::Failed, Status::Good),
        (u64::MAX >> 20, Status::Good, Status::Failed),
    ] {
        let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
        scene.play_waited(audio(1));
        scene.play_with(audio(2), u64::MAX >> 20, before);
        scene.have_it_move();
        let heard = scene.play_with(audio(3), now_budget_ns, now);
        assert_eq!(scene.remote.terms.mode, Mode::Pipelined);
        let next = scene.play_waited(audio(4));
        assert_joined(next, heard, if now == Status::Good { audio(3) } else { [0.0; FRAMES] });
    }
}

#[test]
fn a_move_back_is_joined_where_one_of_both_results_is_not_there() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    scene.pipelined(audio(10));
    scene.have_it_move();
    let heard = scene.play_with(audio(11), 0, Status::Good);
    assert_eq!(heard, audio(10), "it is heard to its end, as the next one's answer is not there");
    assert_eq!(scene.remote.terms.mode, Mode::SameBlock);
    assert_joined(scene.play_waited(audio(12)), heard, audio(12));

    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    scene.pipelined(audio(10));
    scene.play_with(audio(11), 0, Status::Failed);
    scene.have_it_move();
    let heard = scene.play_waited(audio(12));
    assert_eq!(scene.remote.figures.stats.counts().failed, 1, "the one that was due");
    assert_joined(scene.play_waited(audio(13)), heard, audio(13));
}

#[test]
fn one_that_is_pipelined_comes_later_for_a_longer_burst_without_a_step_and_loses_nothing() {
    // As it was configured, or by itself.
    for moves in [false, true] {
        let mode = if moves { Mode::SameBlock } else { Mode::Pipelined };
        let mut scene = Scene::new(PluginKind::Processor, mode, 8);
        if moves {
            scene.pipelined(audio(9));
        } else {
            scene.remote.terms.adapt = false;
            scene.play_waited(audio(9));
        }
        (10..14).for_each(|n| assert_eq!(scene.play_waited(audio(n)), audio(n - 1)));
        assert_eq!(scene.remote.burst_max(), 4, "of 8 slots");
        scene.remote.replan(3);
        let delays = (scene.remote.blocks_behind(), scene.remote.added_frames());
        assert_eq!(delays, if moves { (0, 3 * 64) } else { (3, 0) });
        // Two blocks are missing until the burst is full: what was heard goes down to silence.
        assert_joined(scene.play_waited(audio(14)), audio(12), [0.0; FRAMES]);
        scene.play_waited(audio(15));
        assert_joined(scene.play_waited(audio(16)), [0.0; FRAMES], audio(13));
        scene.play_waited(audio(17));
        // From now on a whole burst may be handed over before any of it is answered.
        for burst in 6..9 {
            let heard = [0, 1, 2].map(|n| {
                let mut samples = audio(3 * burst + n);
                scene.remote.process(&mut Block::new(&mut samples, FRAMES), &Turn::new(now_ns(), 0));
                samples
            });
            for _ in 0..3 {
                scene.worker.begin();
                scene.answer();
            }
            assert_eq!(heard, [0, 1, 2].map(|n| audio(3 * (burst - 1) + n)));
        }
        assert_eq!(scene.remote.figures.stats.counts().lost(), 0);
    }
}

#[test]
fn one_that_is_waited_for_and_stays_so_takes_any_burst_as_it_is() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    scene.remote.terms.adapt = false;
    assert_eq!(scene.remote.burst_max(), u32::MAX);
    scene.remote.replan(100);
    (0..4).for_each(|n| assert_eq!(scene.play_waited(audio(n)), audio(n)));
}

#[test]
fn one_that_may_become_pipelined_does_so_for_the_longer_burst() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    (0..3).for_each(|n| _ = scene.play_waited(audio(n)));
    scene.remote.replan(3);
    (3..7).for_each(|n| assert_eq!(scene.play_waited(audio(n)), audio(n), "nothing is heard of it yet"));
    scene.have_it_move();
    assert_fades(scene.play_waited(audio(7)), audio(7), audio(4));
    (8..12).for_each(|n| assert_eq!(scene.play_waited(audio(n)), audio(n - 3)));
    assert_eq!(scene.remote.added_frames(), 3 * 64);
}

#[test]
fn one_that_becomes_pipelined_before_a_longer_burst_is_full_breaks_off_without_a_step() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    (0..3).for_each(|n| _ = scene.play_waited(audio(n)));
    scene.remote.replan(3);
    scene.have_it_move();
    let heard = scene.play_waited(audio(3));
    assert_eq!((heard, scene.remote.terms.mode), (audio(3), Mode::Pipelined));
    assert_joined(scene.play_waited(audio(4)), heard, [0.0; FRAMES]);
}

/// A plugin that turns the signal round, `own_frames` late; what is heard of a signal that counts up.
fn bypassing(
    mode: Mode,
    lost: Lost,
    own_frames: u32,
    is_bypassed: impl Fn(usize) -> bool,
) -> (Scene, Vec<f32>) {
    let mut scene = Scene::new(PluginKind::Processor, mode, 8);
    let burst_frames = if mode == Mode::Pipelined { FRAMES } else { 0 };
    let latency_frames = own_frames as usize + burst_frames;
    let plan = Plan { lost, closed: false, ramp: true, latency_frames, latency_max_frames: latency_frames };
    scene.remote.terms = Terms { adapt: false, own_latency_frames: own_frames, plan, ..scene.remote.terms };
    scene.remote.concealer = Concealer::new(format(), plan);
    scene.remote.adapt = Adapt::new(format().block_ns(), false);
    let signal = |frame: usize| frame as f32 / 10_000.0;
    let mut heard = Vec::new();
    for number in 0..12 {
        scene.remote.stats().set_bypassed(is_bypassed(number));
        let mut samples: Vec<_> = (number * FRAMES..(number + 1) * FRAMES).map(signal).collect();
        scene.remote.process(&mut Block::new(&mut samples, FRAMES), &Turn::new(now_ns(), 0));
        heard.extend(samples);
        scene.answer();
    }
    (scene, heard)
}

#[test]
fn a_bypassed_plugin_is_heard_dry_as_late_as_it_is_and_loses_nothing_whatever_its_policy_is() {
    for (mode, lost) in [
        (Mode::SameBlock, Lost::Bypass),
        (Mode::SameBlock, Lost::Mute),
        (Mode::SameBlock, Lost::Hold),
        (Mode::Pipelined, Lost::Mute),
        (Mode::Pipelined, Lost::Hold),
    ] {
        let (scene, heard) = bypassing(mode, lost, 40, |_| true);
        let late = if mode == Mode::Pipelined { 40 + FRAMES } else { 40 };
        // After the ramp of its first blocks.
        for (frame, heard) in heard.iter().enumerate().skip(4 * FRAMES) {
            assert!(
                (heard - (frame - late) as f32 / 10_000.0).abs() < 1e-6,
                "{mode:?} {lost:?} frame {frame}"
            );
        }
        let counts = scene.remote.figures.stats.counts();
        assert_eq!(counts.lost(), 0, "{mode:?} {lost:?}: {counts:?}");
        assert!(counts.good >= 10, "its worker is given the blocks, and answers: {counts:?}");
    }
}

#[test]
fn nobody_waits_for_a_bypassed_plugin() {
    let minute_ns = 60_000_000_000;
    let waits = |scene: &Scene| (scene.remote.waits(), scene.remote.figures.stats.take_asked_wait_ns() > 0);
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    scene.play_waited(audio(0));
    assert_eq!(waits(&scene), (1, true), "it is waited for");
    scene.remote.stats().set_bypassed(true);
    let mut samples = audio(1);
    // Its worker does not answer.
    scene.remote.process(&mut Block::new(&mut samples, FRAMES), &Turn::new(now_ns(), minute_ns));
    assert!(scene.worker.is_requested(), "it is given the block");
    assert_eq!(waits(&scene), (0, false));
}

#[test]
fn to_bypass_and_back_goes_without_a_step() {
    // Nobody waits for the plugin, so it is silent unless it is bypassed.
    let (scene, heard) = bypassing(Mode::SameBlock, Lost::Mute, 0, |number| (4..8).contains(&number));
    let steps = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    // 2 ms are 96 frames; the way is 0.05 at most.
    assert!(steps.fold(0f32, f32::max) < 0.052 * std::f32::consts::PI / 2.0 / 96.0 + 2e-4);
    assert!(heard[7 * FRAMES] > 0.04 && heard[3 * FRAMES] == 0.0 && heard[11 * FRAMES] == 0.0);
    assert_eq!(scene.remote.figures.stats.counts().late, 8);
}

#[test]
fn what_fails_closed_is_not_bypassed_whoever_says_so() {
    let mut scene = Scene::new(PluginKind::Processor, Mode::SameBlock, 8);
    scene.remote.terms.plan.closed = true;
    scene.remote.concealer = Concealer::new(format(), scene.remote.terms.plan);
    scene.remote.stats().set_bypassed(true);
    let mut samples = [0.25; FRAMES];
    scene.remote.process(&mut Block::new(&mut samples, FRAMES), &Turn::new(now_ns(), 0));
    assert_eq!(samples, [0.0; FRAMES]);
}
