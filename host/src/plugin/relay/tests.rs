//! A row whose workers are the other ends of its rings, answered by a thread beside: the test decides who is joined, and
//! who dies, between two blocks.

use super::*;
use crate::plugin::conceal::Plan;
use crate::plugin::line::Line;
use crate::plugin::remote::Terms;
use crate::plugin::spec::Lost;
use crate::telemetry::{PluginTimes, plugin_figures};
use crate::until::until;
use shared::layout::Layout;
use shared::ring::{HostEnd, Notes, Stamps, WorkerEnd};
use shared::segment::doorstep;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// More than a ramp takes.
const FRAMES: usize = 128;

/// Plugins that give back what they are given.
struct Scene {
    relay: Relay,
    workers: Vec<WorkerEnd>,
    /// The first one's again, which has seen nothing yet: its answers are those of long ago.
    sleeper: WorkerEnd,
    gone: Vec<Arc<AtomicBool>>,
    _times: Vec<PluginTimes>,
}

impl Scene {
    /// So many, each joined to the next.
    fn new(plugins: usize) -> Self {
        Self::of(plugins, Terms::made(PluginKind::Processor, Mode::SameBlock, FRAMES))
    }

    /// The same of plugins on these terms.
    fn of(plugins: usize, terms: Terms) -> Self {
        Self::of_each(&vec![terms; plugins])
    }

    /// One plugin on each of these terms.
    fn of_each(terms: &[Terms]) -> Self {
        let format = Format::new(1, u32::try_from(FRAMES).unwrap(), 48_000).unwrap();
        let layout = Layout::new(format, 8).unwrap();
        let (mut row, mut workers, mut gone, mut times) = (vec![], vec![], vec![], vec![]);
        let (mut before, mut sleeper) = (None, None);
        for terms in terms {
            let (end, handles) = HostEnd::create(layout).unwrap();
            let mut worker = WorkerEnd::map(&handles, layout).unwrap();
            sleeper.get_or_insert_with(|| WorkerEnd::map(&handles, layout).unwrap());
            if let Some(answers) = before.replace(handles.reply) {
                let doorstep = doorstep().unwrap();
                worker.attach(answers, layout, 1, &doorstep).unwrap();
                workers.last_mut().map(|before: &mut WorkerEnd| before.hand_to(&doorstep)).unwrap().unwrap();
            }
            let (figures, its_times, _) = plugin_figures();
            let is_gone = Arc::new(AtomicBool::new(false));
            let line = Line::new(end, Arc::clone(&is_gone), 1);
            row.push(Remote::new("made".into(), line, None, *terms, figures));
            workers.push(worker);
            gone.push(is_gone);
            times.push(its_times);
        }
        let relay = Relay::new(format, row);
        relay.edges.iter().for_each(|edge| edge.join(1, 1));
        Self { relay, workers, sleeper: sleeper.unwrap(), gone, _times: times }
    }

    /// One block that is answered by all who live; what is heard.
    fn play(&mut self, sample: impl Fn(usize) -> f32) -> Vec<f32> {
        let mut samples: Vec<f32> = (0..FRAMES).map(sample).collect();
        let (is_over, workers, gone) = (AtomicBool::new(false), &mut self.workers, &self.gone);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let alive =
                        workers.iter_mut().zip(gone).filter(|(_, gone)| !gone.load(Ordering::Relaxed));
                    alive.for_each(|(worker, _)| answer_if_asked(worker));
                    thread::yield_now();
                }
            });
            let minute = Turn { waiting: self.relay.waits(), ..Turn::new(clock(), 60_000_000_000) };
            self.relay.process(&mut Block::new(&mut samples, FRAMES), &minute);
            is_over.store(true, Ordering::Relaxed);
        });
        samples
    }

    /// The first one's time ends early, and the last one has nearly all of the block.
    fn give_up_early(&mut self) {
        let [first, .., last] = self.relay.stages.as_mut_slice() else { panic!("two at least") };
        (first.remote.terms.deadline, last.remote.terms.deadline) = (0.1, 0.95);
    }

    /// Blocks that went to the last one from the worker before it.
    fn direct(&self) -> u64 {
        self.relay.stages.last().unwrap().remote.stats().counts().direct
    }
}

/// Terms on which a lost block is bypassed.
fn bypassed(kind: PluginKind) -> Terms {
    let terms = Terms::made(kind, Mode::SameBlock, FRAMES);
    Terms { plan: Plan { lost: Lost::Bypass, ..terms.plan }, ..terms }
}

fn answer_if_asked(worker: &mut WorkerEnd) {
    if worker.is_requested() {
        let status = if worker.begin() { Status::Good } else { Status::Starved };
        let stamps = Stamps { left_ns: clock(), ..Stamps::default() };
        worker.answer(status, stamps, Notes::default());
    }
}

#[test]
fn what_takes_the_place_of_a_lost_block_is_joined_to_what_was_heard_last_and_not_to_what_went_by_before() {
    let mut scene = Scene::new(3);
    scene.play(|_| 0.1);
    assert_eq!(scene.direct(), 1, "the first went by unheard");
    // From here on the second gives its answers to the host.
    scene.relay.edges[1].join(1, 2);
    scene.play(|_| 0.2);
    assert_eq!(scene.direct(), 1, "the second was heard");
    scene.gone[1].store(true, Ordering::Relaxed);
    let heard = scene.play(|_| 0.3);
    assert!((heard[0] - 0.2).abs() < 1e-6 && heard[FRAMES - 1] == 0.0, "{heard:?}");
}

#[test]
fn who_takes_its_answer_back_once_it_was_seen_has_the_next_one_not_blamed_for_having_had_none() {
    let mut scene = Scene::new(2);
    scene.give_up_early();
    (0..8).for_each(|_| drop(scene.play(|_| 0.1)));
    let [first, next] = [0, 1].map(|at| scene.relay.stages[at].remote.stats());
    let seen = first.counts().good;
    let mut samples = [0.2; FRAMES];
    let Scene { relay, workers, sleeper, .. } = &mut scene;
    thread::scope(|scope| {
        scope.spawn(|| {
            let [worker, behind] = workers.as_mut_slice() else { panic!("two") };
            until("the first one's order", || worker.is_requested());
            answer_if_asked(worker);
            until("the next one's order", || behind.is_requested());
            assert!(behind.begin(), "it has its input");
            until("the first one to be seen", || first.counts().good > seen);
            let stamps = Stamps { left_ns: clock(), ..Stamps::default() };
            // Its slot holds the sequence of eight blocks ago again.
            sleeper.answer(Status::Good, stamps, Notes::default());
            behind.answer(Status::Good, stamps, Notes::default());
        });
        // The first one's answer is looked at when its time is over, as the next one has not given any by then.
        let seconds = Turn { waiting: relay.waits(), ..Turn::new(clock(), 2_000_000_000) };
        relay.process(&mut Block::new(&mut samples, FRAMES), &seconds);
    });
    assert_eq!((next.counts().forged, next.counts().lost(), next.counts().good), (0, 0, 9));
    assert_eq!(samples, [0.2; FRAMES]);
}

#[test]
fn who_takes_its_answer_back_before_the_next_one_has_it_has_lost_its_block_and_is_cut_off() {
    let mut scene = Scene::of(2, bypassed(PluginKind::Processor));
    scene.give_up_early();
    (0..8).for_each(|_| drop(scene.play(|_| 0.1)));
    let [first, next] = [0, 1].map(|at| scene.relay.stages[at].remote.stats());
    let mut samples = [0.2; FRAMES];
    let Scene { relay, workers, sleeper, .. } = &mut scene;
    thread::scope(|scope| {
        scope.spawn(|| {
            let now = || Stamps { left_ns: clock(), ..Stamps::default() };
            let [worker, behind] = workers.as_mut_slice() else { panic!("two") };
            until("the first one's order", || worker.is_requested());
            let output = worker.begin().then(|| worker.next_samples());
            output.expect("its block").fill(0.7);
            worker.answer(Status::Good, now(), Notes::default());
            until("the first one to be seen", || behind.is_requested() && first.counts().good == 9);
            // Its slot holds the sequence of eight blocks ago again.
            sleeper.answer(Status::Good, now(), Notes::default());
            assert!(!behind.begin(), "there is nothing any more");
            behind.answer(Status::Starved, now(), Notes::default());
            until("the next one's order", || behind.is_requested());
            answer_if_asked(behind);
        });
        let seconds = Turn { waiting: relay.waits(), ..Turn::new(clock(), 2_000_000_000) };
        relay.process(&mut Block::new(&mut samples, FRAMES), &seconds);
    });
    assert_eq!((first.counts().forged, first.counts().good), (1, 8));
    assert_eq!((next.counts().lost(), next.counts().good), (0, 9));
    assert!(
        samples.iter().all(|sample| (0.1..=0.2).contains(sample)) && samples[FRAMES - 1] == 0.2,
        "{samples:?}"
    );
}

#[test]
fn who_takes_its_answer_back_and_leaves_the_next_one_waiting_has_lost_its_block_too() {
    let mut scene = Scene::of(2, bypassed(PluginKind::Processor));
    scene.give_up_early();
    (0..8).for_each(|_| drop(scene.play(|_| 0.1)));
    let first = scene.relay.stages[0].remote.stats();
    let mut samples = [0.2; FRAMES];
    let Scene { relay, workers, sleeper, .. } = &mut scene;
    thread::scope(|scope| {
        scope.spawn(|| {
            until("the first one's order", || workers[0].is_requested());
            answer_if_asked(&mut workers[0]);
            until("the first one to be seen", || first.counts().good == 9);
            // As if it had not answered yet: the next one goes on waiting.
            sleeper.answer(Status::Good, Stamps { left_ns: clock(), ..Stamps::default() }, Notes::default());
        });
        let seconds = Turn { waiting: relay.waits(), ..Turn::new(clock(), 2_000_000_000) };
        relay.process(&mut Block::new(&mut samples, FRAMES), &seconds);
    });
    assert_eq!((first.counts().forged, first.counts().good), (1, 8));
    assert!(samples.iter().all(|sample| (0.1..=0.2).contains(sample)), "{samples:?}");
    assert_eq!(samples[FRAMES - 1], 0.2, "dry, and not what is silent for want of an input");
}

#[test]
fn what_a_sink_was_supplied_with_goes_on_behind_it() {
    let mut scene = Scene::of_each(&[bypassed(PluginKind::Processor), bypassed(PluginKind::Sink)]);
    scene.give_up_early();
    (0..8).for_each(|_| drop(scene.play(|_| 0.1)));
    let [first, sink] = [0, 1].map(|at| scene.relay.stages[at].remote.stats());
    let direct = sink.counts().direct;
    let mut samples = [0.2; FRAMES];
    let Scene { relay, workers, .. } = &mut scene;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // The first one stands still.
            while !is_over.load(Ordering::Relaxed) {
                answer_if_asked(&mut workers[1]);
                thread::yield_now();
            }
        });
        let half = Turn { waiting: relay.waits(), ..Turn::new(clock(), 500_000_000) };
        relay.process(&mut Block::new(&mut samples, FRAMES), &half);
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!((first.counts().late, sink.counts().good, sink.counts().direct), (1, 9, direct));
    assert_eq!(samples[FRAMES - 1], 0.2, "what the sink has got");
}

#[test]
fn one_that_moves_is_driven_on_its_own_and_fades_into_what_went_by_unheard() {
    let mut scene = Scene::new(2);
    let rising = |i: usize| i as f32 / FRAMES as f32;
    scene.play(rising);
    assert_eq!(scene.direct(), 1);
    let first = &mut scene.relay.stages[0].remote;
    while !first.is_moving() {
        first.adapt_to(true, None, 0);
    }
    let heard = scene.play(|_| -0.5);
    assert_eq!(scene.direct(), 1, "it gives its answer to the host");
    assert_eq!(scene.relay.stages[0].remote.terms.mode, Mode::Pipelined);
    for (i, heard) in heard.iter().enumerate() {
        let part = i.min(96) as f32 / 96.0;
        assert!((heard - (part * rising(i) - (1.0 - part) * 0.5)).abs() < 1e-6, "frame {i}: {heard}");
    }
    // It goes on as late as that.
    assert_eq!(scene.play(|_| 0.0), [-0.5; FRAMES]);
}

/// Two plugins that say that they are late by more blocks than can be looked up, though what they give back is not.
fn of_long_latency(lost: Lost) -> Scene {
    let latency_frames = (HISTORY + 2) * FRAMES;
    let terms = Terms::made(PluginKind::Processor, Mode::SameBlock, FRAMES);
    let plan = Plan { lost, latency_frames, latency_max_frames: latency_frames, ..terms.plan };
    Scene::of(2, Terms { adapt: false, plan, ..terms })
}

#[test]
fn a_plugin_of_long_latency_takes_over_directly_unless_its_input_may_be_needed_for_a_lost_block() {
    for (lost, direct) in [(Lost::Mute, 20), (Lost::Hold, 20), (Lost::Bypass, 0)] {
        let mut scene = of_long_latency(lost);
        (0..20).for_each(|_| drop(scene.play(|_| 0.1)));
        assert_eq!(scene.direct(), direct, "{lost:?}");
    }
}

#[test]
fn a_plugin_of_long_latency_that_is_bypassed_is_silent_until_its_input_has_come_by_and_never_plays_what_is_old()
 {
    let mut scene = of_long_latency(Lost::Mute);
    let bypass = |scene: &Scene, is: bool| scene.relay.stages[1].remote.stats().set_bypassed(is);
    // In place of the last one is heard what went into it, eight blocks later.
    bypass(&scene, true);
    (0..20).for_each(|_| drop(scene.play(|_| 0.3)));
    bypass(&scene, false);
    (0..20).for_each(|_| drop(scene.play(|_| 0.9)));
    let direct = scene.direct();
    assert!(direct > HISTORY as u64, "more went by than can be looked up");
    bypass(&scene, true);
    let heard: Vec<_> = (0..12).map(|n| scene.play(|_| n as f32 / 100.0)).collect();
    assert_eq!(scene.direct(), direct);
    // Six blocks could be looked up, and the present one: of the eight one and a ramp are silent.
    assert_eq!(heard[1], [0.0; FRAMES]);
    for (n, heard) in heard.iter().enumerate() {
        let end = heard[FRAMES - 1];
        let due = if n < 2 {
            0.0
        } else if n < 8 {
            0.9
        } else {
            (n - 8) as f32 / 100.0
        };
        assert!((end - due).abs() < 1e-6, "block {n} ends with {end}, not {due}");
    }
}
