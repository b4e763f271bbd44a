//! One case with workers that are none: what happens in an order that a real one seldom has.

use super::*;
use crate::plugin::Setting;
use crate::plugin::care::Care;
use crate::plugin::cause::Miss;
use crate::plugin::line::{Relief, queues};
use crate::plugin::spec::{Mode, PluginSpec};
use crate::plugin::uncached::Uncached;
use crate::plugin::{Nature, Place};
use crate::recovery::restart::PROVEN_BLOCKS;
use crate::recovery::{Note, Order};
use crate::supervisor::simulated::{Puppet, Stage};
use crate::telemetry::{Figures, plugin_figures};
use shared::control::Control;
use shared::format::Format;
use shared::layout::Layout;
use shared::message::{Ask, PluginKind, Request};
use shared::ring::{HostEnd, Stamps, WorkerCounts};
use std::sync::mpsc::{Receiver, channel};

const S: u64 = 1_000_000_000;

/// A plugin whose first worker plays, and what the audio thread has of it.
struct Scene {
    stage: Stage,
    spares: Spares,
    case: Case,
    first: Puppet,
    /// Its end of the socket.
    control: Control,
    /// The first worker's line, which the audio thread has.
    line: Option<Line>,
    relief: Relief,
    /// What the audio thread counts.
    figures: Figures,
    orders: Receiver<Order>,
}

impl Scene {
    fn new(standby: Standby) -> Self {
        let stage = Stage::new();
        let (send, orders) = channel();
        let notes = Notes { orders: send, patient: 1 };
        let format = Format::new(1, 16, 48_000).unwrap();
        let (first, control) = stage.puppet_with_control();
        let worker = first.worker();
        let (figures, times, misses) = plugin_figures();
        let (relief, depot) = queues();
        let (line, uncached) = line_of(&worker, 1);
        figures.stats.progress().incarnation.store(1, Ordering::Relaxed);
        let patient = Patient {
            name: "p".into(),
            spec: PluginSpec { standby, ..PluginSpec::new("no such file.py") },
            place: Place { format, kind: None, burst: 1 },
            mode: Mode::SameBlock,
            slots: 8,
            nature: Nature { kind: PluginKind::Processor, latency_frames: 0, is_closed: false },
            policy: "bypass",
            incarnation: 1,
            care: Arc::new(Care::new(worker, Vec::new(), Uncached::new(None, uncached), times)),
            stats: Arc::clone(&figures.stats),
            depot,
            misses,
        };
        let spares = Spares::new(stage.spawner(), notes.clone());
        let case = Case::open(patient, notes, stage.spawner(), 0);
        Self { spares, case, first, control, line: Some(line), relief, figures, orders, stage }
    }

    fn look(&mut self, now_ns: u64) {
        self.case.look(&mut self.spares, now_ns);
    }

    /// Brings the news of ends, and of nothing else.
    fn hear_ends(&mut self, now_ns: u64) {
        for order in self.orders.try_iter() {
            if let Order::Note(note) = order
                && let What::Gone { .. } = note.what
            {
                self.case.hear(note.what, &mut self.spares, now_ns);
            }
        }
    }

    /// Incarnation 2 has been made, with parameters of this version.
    fn prepare_second(&mut self, version: u64) -> Puppet {
        self.prepare_second_with_control(version).0
    }

    /// The same with its end of the socket.
    fn prepare_second_with_control(&mut self, version: u64) -> (Puppet, Control) {
        let (puppet, control) = self.stage.puppet_with_control();
        let prepared = prepared(puppet.worker(), version);
        let what = What::Prepared { incarnation: 2, result: Ok(Box::new(prepared)) };
        self.case.hear(what, &mut self.spares, S);
        (puppet, control)
    }
}

/// Incarnation 2, ready, with parameters of this version.
fn prepared(worker: Worker, version: u64) -> Prepared {
    let (line, counts) = line_of(&worker, 2);
    Prepared { worker: Arc::new(worker), line, counts, version, refused: Vec::new() }
}

fn line_of(worker: &Worker, incarnation: u32) -> (Line, WorkerCounts) {
    let layout = Layout::new(Format::new(1, 16, 48_000).unwrap(), 8).unwrap();
    let (end, _) = HostEnd::create(layout).unwrap();
    let uncached = end.worker_counts();
    (Line::new(end, worker.gone(), incarnation), uncached)
}

#[test]
fn a_worker_that_owes_blocks_and_is_dying_is_gone_before_it_has_ended() {
    let mut scene = Scene::new(Standby::None);
    scene.look(S);
    // As long as its memory is freed: nobody is told of its end yet.
    scene.first.say('Z');
    scene.case.patient.stats.progress().asked.store(OWED_BLOCKS, Ordering::Relaxed);
    scene.look(S);
    assert!(scene.first.is_gone());
}

#[test]
fn the_last_blocks_are_kept_of_a_worker_that_the_audio_thread_let_go_of_before_its_end_was_known() {
    let mut scene = Scene::new(Standby::None);
    scene.case.patient.stats.progress().liar.store(1, Ordering::Relaxed);
    let line = scene.line.take().unwrap();
    scene.relief.give_back(line).unwrap();
    assert!(scene.case.rest().is_some());
    scene.look(S);
    assert!(scene.first.is_gone(), "a liar is given up");
    assert_eq!(scene.case.rest(), None, "and is not waited for any more");
    scene.first.run_hooks();
    scene.hear_ends(S);
    assert!(scene.case.obituaries[0].line.is_some());
}

#[test]
fn a_liar_is_given_up_also_when_its_twin_has_lied_before_anybody_looked() {
    let mut scene = Scene::new(Standby::None);
    scene.case.patient.stats.progress().liar.store(2, Ordering::Relaxed);
    let line = Line { cut: true, ..scene.line.take().unwrap() };
    scene.relief.give_back(line).unwrap();
    scene.look(S);
    assert!(scene.first.is_gone());
}

#[test]
fn an_end_that_is_known_when_its_plugin_is_closed_is_told_though_its_news_comes_after() {
    let mut scene = Scene::new(Standby::None);
    scene.look(S);
    scene.first.end();
    let reports = tempfile::tempdir().unwrap();
    assert!(scene.case.close(Some(reports.path())).rest.wait().is_told);
    let kept = crate::crash::list(reports.path());
    assert!(kept.len() == 1 && kept[0].ended.contains("SIGKILL"), "{kept:?}");
    // What becomes of one that lives is not told here.
    let scene = Scene::new(Standby::None);
    assert!(!scene.case.close(Some(reports.path())).rest.wait().is_told);
    assert_eq!(crate::crash::list(reports.path()).len(), 1);
}

#[test]
fn the_end_of_one_that_stood_by_is_told_when_its_plugin_is_closed_before_the_news_of_it() {
    for is_looked_into in [false, true] {
        let mut scene = Scene::new(Standby::Twin);
        scene.look(0);
        let twin = scene.prepare_second(0);
        twin.end();
        if is_looked_into {
            scene.hear_ends(S);
        }
        let reports = tempfile::tempdir().unwrap();
        assert!(!scene.case.close(Some(reports.path())).rest.wait().is_told, "the one that plays lives");
        let kept = crate::crash::list(reports.path());
        assert!(kept.len() == 1 && kept[0].ended.contains("stood by"), "{kept:?}");
    }
}

/// What the errand comes back with that was making the heir, which has died or lives.
fn not_prepared(puppet: &Puppet) -> NotPrepared {
    let remains = Some(Box::new(puppet.worker().remains(Duration::ZERO)));
    NotPrepared { why: Error::new(Kind::Plugin, "it did not start"), restoring: None, remains }
}

#[test]
fn one_that_dies_by_itself_while_it_is_made_is_told_also_when_its_plugin_is_closed_before_its_errand_is_back()
{
    let reports = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    let heir = scene.stage.puppet();
    let care = Arc::downgrade(&scene.case.patient.care);
    let mut closed = scene.case.close(Some(reports.path()));
    drop(closed.rest);
    assert!(care.upgrade().is_none(), "nobody who waits for the errand keeps the one that played");
    heir.end();
    closed.unborn.remove(0).tell(Err(not_prepared(&heir)), Duration::ZERO);
    let [kept] = &crate::crash::list(reports.path())[..] else { panic!("no report") };
    assert!(kept.ended.contains("could not be started again") && kept.done.contains("nobody needed it"));
}

#[test]
fn one_that_was_being_made_and_is_ended_with_its_plugin_is_no_news() {
    let reports = tempfile::tempdir().unwrap();
    for is_killed in [true, false] {
        let mut scene = Scene::new(Standby::Twin);
        scene.look(0);
        let heir = scene.stage.puppet();
        let mut closed = scene.case.close(Some(reports.path()));
        if is_killed {
            heir.worker().abandon(Because::Unwanted);
            heir.end();
        }
        closed.unborn.remove(0).tell(Err(not_prepared(&heir)), Duration::ZERO);
    }
    assert!(crate::crash::list(reports.path()).is_empty());
}

#[test]
fn one_that_is_ready_and_dies_by_itself_is_told_also_when_its_plugin_is_closed_before_its_errand_is_back() {
    let reports = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    let (heir, _control) = scene.stage.puppet_with_control();
    let prepared = Box::new(prepared(heir.worker(), 0));
    let mut closed = scene.case.close(Some(reports.path()));
    heir.end();
    closed.unborn.remove(0).tell(Ok(prepared), Duration::ZERO);
    let [kept] = &crate::crash::list(reports.path())[..] else { panic!("no report") };
    assert!(kept.ended.contains("stood by"), "{kept:?}");
}

#[test]
fn one_that_dies_by_itself_while_it_is_made_is_told_also_when_all_have_been_asked_to_go() {
    let reports = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    scene.case.stop();
    let heir = scene.stage.puppet();
    heir.end();
    let what = What::Prepared { incarnation: 2, result: Err(not_prepared(&heir)) };
    scene.case.hear(what, &mut scene.spares, S);
    let closed = scene.case.close(Some(reports.path()));
    assert!(closed.unborn.is_empty());
    closed.rest.wait();
    assert_eq!(crate::crash::list(reports.path()).len(), 1);
}

#[test]
fn one_that_nobody_waits_for_any_more_is_told_also_when_its_plugin_is_closed_before_its_errand_is_back() {
    let reports = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    scene.case.heir = None;
    let heir = scene.stage.puppet();
    let mut closed = scene.case.close(Some(reports.path()));
    heir.end();
    closed.unborn.remove(0).tell(Err(not_prepared(&heir)), Duration::ZERO);
    assert_eq!(crate::crash::list(reports.path()).len(), 1);
}

#[test]
fn a_state_that_killed_one_that_nobody_waits_for_any_more_is_given_to_nobody_else() {
    for dies in [true, false] {
        let mut scene = Scene::new(Standby::Twin);
        scene.look(0);
        let given = scene.case.snapshots.take(b"all".as_slice().into(), 0, 1000);
        assert!(given.is_some());
        scene.case.heir = None;
        let heir = scene.stage.puppet();
        if !dies {
            heir.worker().abandon(Because::Unwanted);
        }
        heir.end();
        let failed = NotPrepared { restoring: given.map(Box::new), ..not_prepared(&heir) };
        let what = What::Prepared { incarnation: 2, result: Err(failed) };
        scene.case.hear(what, &mut scene.spares, S);
        assert_eq!(scene.case.snapshots.latest().is_none(), dies);
    }
}

#[test]
fn a_twin_that_does_not_take_the_parameters_as_they_are_now_makes_room_for_another() {
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    assert!(scene.case.succession.expects(2));
    scene.case.patient.care.known().parameters.set("gain", "2");
    let twin = scene.prepare_second(0);
    let refused = Err(Error::new(Kind::Plugin, "it raised"));
    scene.case.hear(What::CaughtUp { incarnation: 2, result: refused }, &mut scene.spares, S);
    assert!(!twin.is_gone() && !scene.case.succession.expects(2));
    scene.look(4 * S);
    assert!(scene.case.succession.expects(3), "another one is made");
    assert_eq!(scene.case.failed_starts[0].why.to_string(), "it raised");
}

#[test]
fn a_twin_that_is_not_wanted_any_more_ends_though_it_is_just_being_given_the_parameters() {
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    scene.case.patient.care.known().parameters.set("gain", "2");
    // It never says whether it takes them, and is held until then.
    let twin = scene.prepare_second(0);
    assert!(!twin.is_gone());
    scene.case.carry_out(vec![Step::End(2)], &mut scene.spares, S);
    assert!(twin.is_gone());
}

#[test]
fn that_a_twin_was_ended_while_it_was_given_a_state_is_no_fault_of_the_state() {
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    let twin = scene.prepare_second(0);
    (0..PROVEN_BLOCKS).for_each(|_| scene.figures.stats.count_good());
    let saved = What::Saved { incarnation: 1, state: Ok(Some(vec![7])), took: Duration::ZERO };
    scene.case.hear(saved, &mut scene.spares, S);
    assert!(scene.case.saving.to.is_some(), "the twin is being given it");
    scene.case.carry_out(vec![Step::End(2)], &mut scene.spares, S);
    twin.end();
    let given = scene.orders.iter().find_map(|order| match order {
        Order::Note(Note { what: what @ What::Given { .. }, .. }) => Some(what),
        _ => None,
    });
    scene.case.hear(given.unwrap(), &mut scene.spares, S);
    assert!(scene.case.snapshots.latest().is_some());
}

#[test]
fn a_twin_that_takes_over_before_it_has_a_state_plays_on_with_what_it_had_and_the_state_is_kept() {
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    let _twin = scene.prepare_second(0);
    (0..PROVEN_BLOCKS).for_each(|_| scene.figures.stats.count_good());
    let saved = What::Saved { incarnation: 1, state: Ok(Some(vec![7])), took: Duration::ZERO };
    scene.case.hear(saved, &mut scene.spares, S);
    scene.first.end();
    scene.hear_ends(S);
    assert_eq!(scene.case.succession.playing(), Some(2));
    scene.case.hear(What::Given { number: 1, result: Ok(false) }, &mut scene.spares, S);
    assert!(scene.case.playing.as_ref().unwrap().snapshot.is_none());
    // Its death so soon says nothing of a state that it did not have.
    assert_eq!(scene.case.snapshots.died(0), None);
    assert!(scene.case.snapshots.latest().is_some());
}

#[test]
fn a_twin_that_takes_over_before_it_has_a_newer_state_answers_for_the_older_one() {
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    let _twin = scene.prepare_second(0);
    (0..PROVEN_BLOCKS).for_each(|_| scene.figures.stats.count_good());
    let saved = |scene: &mut Scene, state| {
        let saved = What::Saved { incarnation: 1, state: Ok(Some(vec![state])), took: Duration::ZERO };
        scene.case.hear(saved, &mut scene.spares, S);
    };
    saved(&mut scene, 7);
    scene.case.hear(What::Given { number: 1, result: Ok(true) }, &mut scene.spares, S);
    saved(&mut scene, 8);
    scene.first.end();
    scene.hear_ends(S);
    scene.case.hear(What::Given { number: 2, result: Ok(false) }, &mut scene.spares, S);
    let has = scene.case.playing.as_ref().unwrap().snapshot.as_ref().map(|snapshot| snapshot.number);
    assert_eq!(has, Some(1));
    assert_eq!(scene.case.snapshots.died(0), Some(1), "it is what it died of");
}

#[test]
fn a_twin_that_takes_over_while_it_is_given_a_state_has_the_time_that_takes() {
    let mut scene = Scene::new(Standby::Twin);
    scene.look(S - 1);
    let (twin, control) = scene.prepare_second_with_control(0);
    (0..PROVEN_BLOCKS).for_each(|_| scene.figures.stats.count_good());
    let saved = What::Saved { incarnation: 1, state: Ok(Some(vec![7])), took: Duration::from_secs(1) };
    scene.case.hear(saved, &mut scene.spares, S);
    assert!(matches!(asked(&control).body, Ask::LoadState { more: false, .. }));
    twin.begin_with_state();
    scene.first.end();
    scene.hear_ends(S);
    scene.figures.stats.progress().incarnation.store(2, Ordering::Relaxed);
    let first = std::mem::replace(&mut scene.first, twin);
    assert_eq!(given_up_after(&mut scene), Some(1_020_000_000));
    drop(first);
}

#[test]
fn the_line_of_a_twin_that_died_while_it_stood_by_is_not_kept_whoever_hears_of_it_first() {
    for comes_first in [true, false] {
        let mut scene = Scene::new(Standby::Twin);
        scene.look(0);
        let twin = scene.prepare_second(0);
        twin.end();
        scene.relief.discard_dead();
        if comes_first {
            scene.case.collect_lines();
            assert_eq!(scene.case.returned.len(), 1, "it may be about to play");
        }
        scene.case.hear(What::Gone { incarnation: 2 }, &mut scene.spares, S);
        scene.case.collect_lines();
        assert_eq!((scene.case.returned.len(), scene.case.heir.is_none()), (0, true));
    }
}

#[test]
fn a_twin_that_a_signal_has_stopped_is_replaced_before_it_is_needed_but_not_one_that_goes_on_after_its_host()
{
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    let twin = scene.prepare_second(0);
    scene.look(S);
    twin.say('T');
    scene.look(2 * S - 1);
    assert!(!twin.is_gone(), "it is not asked about all the time");
    scene.look(2 * S);
    twin.say('S');
    scene.look(3 * S);
    twin.say('T');
    scene.look(4 * S);
    scene.look(5 * S - 1);
    assert!(!twin.is_gone(), "all of them may have been stopped");
    scene.look(9 * S);
    assert!(!twin.is_gone(), "the host was stopped too, and goes on first");
    scene.look(10 * S);
    assert!(twin.is_gone());
    let because = scene.case.heir.as_ref().unwrap().worker.as_ref().unwrap().because();
    assert!(because.unwrap().to_string().contains("stopped by a signal"));
}

/// The worker that plays owes more blocks with every tick; when it is given up, if within two seconds.
fn given_up_after(scene: &mut Scene) -> Option<u64> {
    let asked = Arc::clone(&scene.figures.stats);
    (1..200).map(|tick| tick * S / 100).find(|ns| {
        asked.progress().asked.fetch_add(10, Ordering::Relaxed);
        scene.look(S + ns);
        scene.first.is_gone()
    })
}

/// What a worker is asked first, when it is.
fn asked(control: &Control) -> Request {
    control.receive().unwrap().0
}

#[test]
fn a_plugin_that_hangs_while_its_twin_is_given_a_state_is_given_up_at_its_limit() {
    let mut scene = Scene::new(Standby::Twin);
    scene.look(S - 1);
    let _twin = scene.prepare_second(0);
    (0..PROVEN_BLOCKS).for_each(|_| scene.figures.stats.count_good());
    let saved = What::Saved { incarnation: 1, state: Ok(Some(vec![7])), took: Duration::from_secs(1) };
    scene.case.hear(saved, &mut scene.spares, S);
    assert!(scene.case.saving.to.is_some(), "and it never says that it has it");
    assert_eq!(given_up_after(&mut scene), Some(260_000_000));
}

#[test]
fn a_worker_that_is_asked_for_its_state_and_hangs_in_the_block_before_is_given_up_at_its_limit() {
    let mut scene = Scene::new(Standby::None);
    scene.look(S);
    assert_eq!(asked(&scene.control).body, Ask::SaveState { from: 0 });
    assert_eq!(given_up_after(&mut scene), Some(260_000_000));
}

#[test]
fn that_it_is_at_its_state_is_not_believed_of_a_worker_that_was_not_asked_or_has_answered() {
    let mut scene = Scene::new(Standby::None);
    scene.first.begin_with_state();
    scene.look(S);
    let request = asked(&scene.control);
    assert!(!scene.first.link.is_at_state(), "it said so before it was asked");
    scene.first.begin_with_state();
    assert!(scene.first.link.is_at_state());
    scene.first.have_no_state(request.id);
    scene.first.begin_with_state();
    assert!(!scene.first.link.is_at_state(), "it has answered");
    assert_eq!(given_up_after(&mut scene), Some(260_000_000));
}

#[test]
fn a_save_that_is_never_over_is_a_hang_after_a_second() {
    let mut scene = Scene::new(Standby::None);
    scene.look(S);
    assert_eq!(asked(&scene.control).body, Ask::SaveState { from: 0 });
    assert!(scene.figures.stats.is_saving());
    scene.first.begin_with_state();
    assert_eq!(given_up_after(&mut scene), Some(1_010_000_000));
    let failed = Err(Error::new(Kind::Plugin, "it hung"));
    let saved = What::Saved { incarnation: 1, state: failed, took: Duration::from_secs(1) };
    scene.case.hear(saved, &mut scene.spares, 3 * S);
    assert!(!scene.figures.stats.is_saving());
}

#[test]
fn a_state_saved_while_a_twin_is_given_an_older_one_is_given_to_it_after_that() {
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    let _twin = scene.prepare_second(0);
    (0..PROVEN_BLOCKS).for_each(|_| scene.figures.stats.count_good());
    for state in [7, 8] {
        let saved = What::Saved { incarnation: 1, state: Ok(Some(vec![state])), took: Duration::ZERO };
        scene.case.hear(saved, &mut scene.spares, S);
    }
    let has = |scene: &Scene| scene.case.heir.as_ref().unwrap().snapshot.as_ref().unwrap().number;
    assert_eq!(has(&scene), 1);
    scene.case.hear(What::Given { number: 1, result: Ok(true) }, &mut scene.spares, S);
    assert!(has(&scene) == 2 && scene.case.saving.to.is_some());
}

#[test]
fn that_a_worker_died_while_it_saved_its_state_is_no_fault_of_the_next_ones_state() {
    let mut scene = Scene::new(Standby::Twin);
    scene.look(0);
    let _twin = scene.prepare_second(0);
    scene.first.end();
    scene.hear_ends(S);
    assert_eq!(scene.case.succession.playing(), Some(2));
    let died = Err(Error::new(Kind::Plugin, "it died"));
    let saved = What::Saved { incarnation: 1, state: died, took: Duration::ZERO };
    scene.case.hear(saved, &mut scene.spares, S);
    assert_eq!(scene.stage.told(), [""; 0]);
}

#[test]
fn a_worker_that_the_kernel_does_not_let_go_of_is_told_in_time_and_its_end_when_it_comes() {
    let mut scene = Scene::new(Standby::None);
    scene.case.patient.stats.progress().liar.store(1, Ordering::Relaxed);
    scene.look(S);
    scene.first.run_hooks();
    scene.hear_ends(S);
    let told = |scene: &Scene| -> Vec<_> {
        scene.stage.told().into_iter().filter(|line| line.contains("let go")).collect()
    };
    scene.case.report(None, 2 * S - 1);
    assert_eq!(told(&scene), [""; 0]);
    scene.case.report(None, 2 * S);
    scene.case.report(None, 3 * S);
    let how = "plugin p was ended by the host: it broke the protocol (it wrote a sequence that nobody had asked for)";
    let early =
        format!("{how} (the kernel has not let go of its process yet); nothing has taken its place yet");
    assert_eq!(told(&scene), [early]);
    assert!(scene.case.patient.care.known().last_death.is_some());
    scene.first.end();
    scene.case.report(None, 3 * S);
    assert_eq!(told(&scene), [format!("{how}; the kernel has let go of it now")]);
    assert!(scene.case.obituaries.is_empty());
}

#[test]
fn at_the_end_one_that_the_kernel_does_not_let_go_of_is_waited_for_and_told_once() {
    for is_told in [false, true] {
        let mut scene = Scene::new(Standby::None);
        scene.first.stick();
        scene.hear_ends(S);
        if is_told {
            scene.case.report(None, 2 * S);
        }
        scene.case.close(None).rest.wait();
        let told = scene.stage.told();
        let lines = told.iter().filter(|line| line.starts_with("plugin p ended (the kernel has not"));
        assert_eq!(lines.count(), 1, "{told:?}");
    }
}

#[test]
fn the_file_of_one_that_is_given_up_is_compared_with_what_it_was_when_it_was_read_last() {
    let mut scene = Scene::new(Standby::None);
    let seen = |scene: &mut Scene, seconds: u64| {
        let mark = Some((std::time::UNIX_EPOCH, seconds));
        scene.case.hear(What::Seen { mark, asked_ns: None }, &mut scene.spares, 100 * S);
        scene.stage.told().iter().any(|line| line.contains("has changed"))
    };
    assert!(scene.case.file.is_looked_at, "at once");
    assert!(!seen(&mut scene, 1) && !seen(&mut scene, 2), "it plays");
    scene.first.stick();
    scene.hear_ends(S);
    for n in 0..100 {
        scene.look(S + n * S / 10);
        let Some(incarnation) = scene.case.heir.as_ref().map(|heir| heir.incarnation) else { continue };
        let result = Err(NotPrepared { why: no_thread(), restoring: None, remains: None });
        scene.case.hear(What::Prepared { incarnation, result }, &mut scene.spares, S + n * S / 10);
    }
    assert!(scene.case.succession.waits_for_file() && scene.case.file.is_looked_at);
    assert!(!seen(&mut scene, 2), "it was read like this");
    assert!(!scene.case.file.is_looked_at);
    scene.look(50 * S);
    assert!(scene.case.file.is_looked_at);
    assert!(!seen(&mut scene, 2) && seen(&mut scene, 3));
    assert!(!scene.case.succession.is_given_up(), "it is started again");
}

#[test]
fn a_death_just_before_its_user_restarts_it_is_told_and_counted_and_the_end_of_a_healthy_one_is_not() {
    for died in [true, false] {
        let mut scene = Scene::new(Standby::None);
        scene.look(S);
        if died {
            scene.first.say('Z');
        }
        // Its end is known to nobody yet.
        scene.case.restart(&mut scene.spares, S);
        scene.first.end();
        scene.hear_ends(S);
        scene.case.report(None, 2 * S);
        let told = scene.stage.told();
        let is_told = told.iter().any(|line| line.contains("killed by SIGKILL") && line.contains("its user"));
        assert_eq!((is_told, told.len()), (died, usize::from(died)), "{told:?}");
        assert_eq!(scene.case.patient.care.known().deaths, u64::from(died));
    }
}

#[test]
fn blocks_that_were_never_answered_are_counted_by_the_end_of_the_worker_that_owed_them() {
    let mut scene = Scene::new(Standby::None);
    scene.look(S);
    // The first hangs, its successor dies; both are known before anybody looks into what they owed.
    let first = Arc::clone(&scene.case.playing.as_ref().unwrap().worker);
    first.abandon(Because::Hung { for_ms: 250, stopped: false });
    scene.first.end();
    scene.hear_ends(S);
    let second = scene.prepare_second(0);
    second.end();
    scene.case.hear(What::Gone { incarnation: 2 }, &mut scene.spares, S);
    // Four more could not be handed over to the first.
    for (incarnation, blocks) in [(1, 5), (2, 1), (2, 1)] {
        scene.figures.miss(Miss { incarnation, blocks, ..Miss::default() });
    }
    scene.look(S);
    let causes = scene.case.patient.care.known().causes;
    assert_eq!((causes.hung, causes.dead), (5, 2));
}

#[test]
fn late_blocks_that_nobody_has_had_time_to_look_into_are_unknown() {
    let mut scene = Scene::new(Standby::None);
    (0..1000).for_each(|_| scene.figures.miss(Miss { incarnation: 1, blocks: 2, ..stamped() }));
    (0..2).for_each(|_| scene.look(S));
    let causes = scene.case.patient.care.known().causes;
    assert_eq!((causes.total(), causes.unknown), (2000, 2000), "{causes}");
}

/// Of a block that was in time, by its worker's word.
fn stamped() -> Miss {
    Miss { stamps: Some(Stamps::default()), ..Miss::default() }
}

#[test]
fn waits_that_are_spoilt_now_and_then_are_no_reason_to_end_a_worker() {
    let mut scene = Scene::new(Standby::None);
    for hour in 1..5 {
        scene.case.patient.stats.count_flooded();
        scene.look(3600 * S * hour);
    }
    assert!(!scene.first.is_gone());
    (0..3).for_each(|_| scene.case.patient.stats.count_flooded());
    scene.look(3600 * S * 5);
    assert!(scene.first.is_gone());
}

#[test]
fn a_parameter_set_while_nothing_plays_that_its_successor_refuses_is_as_it_was_before() {
    let mut scene = Scene::new(Standby::None);
    scene.look(S);
    scene.case.patient.care.known().parameters.set("gain", "1");
    scene.first.end();
    scene.hear_ends(S);
    let care = Arc::clone(&scene.case.patient.care);
    assert_eq!(care.set_parameter("gain", "2", true).unwrap(), Setting::Kept { given_up: false });
    let puppet = scene.stage.puppet();
    let worker = Arc::new(puppet.worker());
    let (line, counts) = line_of(&worker, 2);
    let version = care.known().parameters.version;
    let refused = vec!["gain".to_owned()];
    let prepared = Prepared { worker, line, counts, version, refused };
    let what = What::Prepared { incarnation: 2, result: Ok(Box::new(prepared)) };
    scene.case.hear(what, &mut scene.spares, S);
    assert_eq!(care.known().parameters.list, [("gain".to_owned(), "1".to_owned())]);
    assert!(care.known().parameters.version > version, "it is given the one before");
}

/// The next one has loaded the plugin and failed then.
fn fails(scene: &mut Scene, restoring: bool, now_ns: u64) {
    let remains = Some(Box::new(scene.stage.puppet().worker().remains(Duration::ZERO)));
    let heir = scene.case.heir.as_ref().unwrap();
    let (incarnation, restoring) =
        (heir.incarnation, heir.snapshot.clone().filter(|_| restoring).map(Box::new));
    let why = NotPrepared { why: Error::new(Kind::Plugin, "it raised"), restoring, remains };
    scene.case.hear(What::Prepared { incarnation, result: Err(why) }, &mut scene.spares, now_ns);
}

#[test]
fn a_parameter_that_a_failed_successor_was_not_given_is_kept_and_one_that_it_was_given_is_not() {
    for is_given in [true, false] {
        let mut scene = Scene::new(Standby::None);
        scene.look(S);
        if is_given {
            scene.case.patient.care.known().parameters.presume("gain", "2");
        }
        scene.first.end();
        scene.hear_ends(S);
        let care = Arc::clone(&scene.case.patient.care);
        assert_eq!(care.set_parameter("tone", "5", true).unwrap(), Setting::Kept { given_up: false });
        fails(&mut scene, false, S);
        let list: Vec<_> = care.known().parameters.list.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(list, ["tone"]);
        let told = scene.stage.told().iter().any(|line| line.contains("does not take `gain`"));
        assert_eq!(told, is_given);
    }
}

#[test]
fn a_failed_start_is_the_states_fault_at_first_and_the_parameters_when_it_fails_again() {
    let mut scene = Scene::new(Standby::None);
    (0..PROVEN_BLOCKS).for_each(|_| scene.figures.stats.count_good());
    for state in [7, 8] {
        let saved = What::Saved { incarnation: 1, state: Ok(Some(vec![state])), took: Duration::ZERO };
        scene.case.hear(saved, &mut scene.spares, S);
    }
    scene.case.patient.care.known().parameters.presume("gain", "2");
    scene.first.end();
    scene.hear_ends(S);
    let kept = |scene: &Scene| scene.case.patient.care.known().parameters.list.len();
    fails(&mut scene, true, S);
    assert_eq!(kept(&scene), 1);
    scene.look(2 * S);
    fails(&mut scene, true, 2 * S);
    assert_eq!(kept(&scene), 0);
}

#[test]
fn deaths_of_a_file_that_was_changed_before_it_was_loaded_again_are_forgotten() {
    for changes in [true, false] {
        let mut scene = Scene::new(Standby::None);
        let seen = |scene: &mut Scene, seconds: u64| {
            let mark = Some((std::time::UNIX_EPOCH, seconds));
            scene.case.hear(What::Seen { mark, asked_ns: None }, &mut scene.spares, S);
        };
        seen(&mut scene, 1);
        scene.first.end();
        scene.hear_ends(S);
        // As it is when it is loaded again, and again.
        let now = if changes { 2 } else { 1 };
        seen(&mut scene, now);
        fails(&mut scene, false, S);
        scene.look(2 * S);
        seen(&mut scene, now);
        fails(&mut scene, false, 2 * S);
        assert_eq!(scene.case.succession.is_given_up(), !changes);
    }
}

#[test]
fn what_follows_a_users_restart_is_told_though_the_kernel_keeps_the_old_process() {
    let mut scene = Scene::new(Standby::None);
    scene.look(S);
    scene.case.restart(&mut scene.spares, S);
    scene.case.afterwards.push("it is back".to_owned());
    scene.case.report(None, 2 * S);
    assert_eq!(scene.stage.told(), ["it is back"]);
}

/// A plugin whose twin stands by, loaded from the file as it was after so many seconds.
fn with_twin_of(seconds: Option<u64>) -> (Scene, Puppet) {
    let mut scene = Scene::new(Standby::Twin);
    // Of its first worker.
    see(&mut scene, 7, None);
    scene.look(0);
    let twin = scene.prepare_second(0);
    seconds.into_iter().for_each(|seconds| see(&mut scene, seconds, None));
    (scene, twin)
}

fn see(scene: &mut Scene, seconds: u64, asked_ns: Option<u64>) {
    let mark = Some((std::time::UNIX_EPOCH, seconds));
    scene.case.hear(What::Seen { mark, asked_ns }, &mut scene.spares, S);
}

#[test]
fn a_twin_takes_over_when_its_user_wants_another_worker_if_it_is_of_the_file_as_it_is_now() {
    for (loaded, now, takes_over, says_why) in
        [(Some(1), 1, true, false), (Some(1), 2, false, true), (None, 1, false, false)]
    {
        let (mut scene, twin) = with_twin_of(loaded);
        scene.case.restart(&mut scene.spares, S);
        assert!(!scene.first.is_gone() && !twin.is_gone(), "not before the file has been looked at");
        see(&mut scene, now, Some(S));
        assert!(scene.first.is_gone());
        assert_eq!(twin.is_gone(), !takes_over, "{loaded:?} {now}");
        let playing = scene.case.playing.as_ref().map(|playing| playing.incarnation);
        assert_eq!(playing, takes_over.then_some(2));
        assert_eq!(
            scene.case.heir.as_ref().map(|heir| (heir.incarnation, heir.was)),
            (!takes_over).then_some((3, "a new worker"))
        );
        let told = scene.stage.told();
        assert_eq!(
            told.iter().any(|line| line.contains("the file of plugin p has changed")),
            says_why,
            "{told:?}"
        );
    }
}

#[test]
fn a_user_who_wants_another_worker_twice_gets_one_by_the_file_as_it_was_when_he_said_so_last() {
    let (mut scene, twin) = with_twin_of(Some(1));
    scene.case.restart(&mut scene.spares, S);
    scene.case.restart(&mut scene.spares, S + 1);
    see(&mut scene, 1, Some(S));
    assert!(!scene.first.is_gone(), "that was before he said so again");
    see(&mut scene, 2, Some(S + 1));
    assert!(scene.first.is_gone() && twin.is_gone() && scene.case.succession.expects(3));
}

#[test]
fn a_disk_that_does_not_answer_keeps_nobody_from_another_worker_and_comes_too_late() {
    let (mut scene, twin) = with_twin_of(Some(1));
    scene.case.restart(&mut scene.spares, S);
    scene.look(2 * S - 1);
    assert!(!scene.first.is_gone());
    scene.look(2 * S);
    assert!(scene.first.is_gone() && !twin.is_gone());
    let told = scene.stage.told();
    assert!(told.iter().any(|line| line.contains("its disk does not answer")), "{told:?}");
    see(&mut scene, 2, Some(S));
    assert!(!twin.is_gone(), "it plays");
}
