//! Workers that lie, flood and shout: cut off, named and replaced, and no sample of theirs is heard.

use host::plugin::spec::{PluginSpec, Standby};
use shared::layout::{Header, SlotHead};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tests::chain::{AMPLE_NS, Rack, same_block};
use tests::plugins::MEMORY;
use tests::scene::{Scene, tunable};
use tests::until::until;
use tests::workspace::Folder;

fn rack() -> Rack {
    Rack::new(1, 512, 48_000)
}

/// So long that an honest answer is in time, and that the end of the wait for another one can be awaited.
const ENOUGH_NS: u64 = 500_000_000;

/// Does this from its fourth block on, if it is the first worker.
fn wicked(folder: &Folder, deed: &str) -> PathBuf {
    wicked_from(folder, "self.n == 4", deed)
}

/// Does this from when this is so, if it is the first worker.
fn wicked_from(folder: &Folder, when: &str, deed: &str) -> PathBuf {
    let lines: String = deed.lines().map(|line| format!("    {line}\n")).collect();
    let body = format!(
        "
if {when}:
    try:
        os.close(os.open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'one'), os.O_CREAT | os.O_EXCL))
        self.wicked = True
    except FileExistsError:
        pass
if getattr(self, 'wicked', False):
{lines}"
    );
    tunable(folder, "wicked", &body, MEMORY)
}

/// Plays until the wicked worker is replaced; no frame is anything but dry, processed or a ramp between them.
fn replaced(deed: &str, standby: Standby, words: &[&str]) -> Scene {
    let folder = Folder::new();
    let spec = PluginSpec { standby, adapt: false, ..same_block(&wicked(&folder, deed)) };
    let mut scene = Scene::new(rack(), vec![spec]);
    scene.play_answered(3);
    let first = scene.plugins[0].worker().pid();
    scene.play_until_replaced(0, first, ENOUGH_NS);
    scene.play_answered(3);
    let found = scene.assert_in_place(0, &[-1.0, 1.0]);
    assert_eq!(found[found.len() - 3..], [-1.0; 3], "{deed}");
    scene.wait_told(words);
    let status = scene.plugins[0].status();
    assert_eq!((status.deaths, status.dead), (1, None), "{deed}");
    tests::leftovers::assert_all_end(&[first]);
    scene
}

/// Writes this sequence into the slot where the answer to the block at hand belongs.
fn lie(seq: &str) -> String {
    let (header, head) = (size_of::<Header>() / 4, size_of::<SlotHead>() / 4);
    format!(
        "asked = int(self.memory('memfd:nda-request', 'r')[0])
reply = self.memory('memfd:nda-reply', 'rw')
reply[{header} + asked % 8 * {head}] = ({seq}) % (1 << 32)"
    )
}

#[test]
fn a_worker_that_answers_what_nobody_asked_is_cut_named_and_replaced() {
    let hostile = "plugin wicked was ended by the host: it broke the protocol \
                   (it wrote a sequence that nobody had asked for)";
    for (seq, standby) in
        [("asked + 8", Standby::Twin), ("asked - 1", Standby::None), ("asked + (1 << 31)", Standby::Spare)]
    {
        // It takes its time afterwards, so that the host sees the lie and not the answer.
        let deed = format!(
            "{}\n__import__('time').sleep(0.02)\n{}\n__import__('time').sleep(60)",
            lie(seq),
            lie(seq)
        );
        let mut scene = replaced(&deed, standby, &[hostile, "took over"]);
        assert_eq!(scene.plugins[0].status().counts.forged, 1);
    }
}

#[test]
fn a_worker_that_answers_too_early_is_cut() {
    // The sequence of the next block in its slot, before that is asked for; the answer at hand is a good one.
    let (header, head) = (size_of::<Header>() / 4, size_of::<SlotHead>() / 4);
    let deed = format!(
        "asked = int(self.memory('memfd:nda-request', 'r')[0])
self.memory('memfd:nda-reply', 'rw')[{header} + (asked + 1) % 8 * {head}] = (asked + 1) % (1 << 32)"
    );
    replaced(&deed, Standby::None, &["nobody had asked for", "took over"]);
}

/// What the one report in this folder says on its first page.
fn report_in(reports: &Path) -> String {
    // One that is being written has a name of its own.
    let is_finished = |name: &OsStr| !name.to_string_lossy().starts_with('.');
    let all = || std::fs::read_dir(reports).into_iter().flatten().flatten().map(|report| report.path());
    let finished = || all().find(|report| report.file_name().is_some_and(is_finished));
    until("a report", || finished().is_some());
    std::fs::read_to_string(finished().expect("just seen").join("report.txt")).expect("its first page")
}

#[test]
fn a_worker_that_scribbles_over_all_that_it_may_write_is_cut_and_named_also_in_its_report() {
    let noise = "np.random.default_rng(7).integers(0, 1 << 32, reply.size, dtype=np.uint32)";
    for with in ["0", "0xffffffff", noise] {
        let folder = Folder::new();
        // The samples of the block at hand are put right: whatever else there was, it must not be heard.
        let deed = format!(
            "samples = buffer.data.copy()
reply = self.memory('memfd:nda-reply', 'rw')
reply[:] = {with}
buffer.data[:] = samples"
        );
        let spec = PluginSpec { standby: Standby::None, adapt: false, ..same_block(&wicked(&folder, &deed)) };
        let mut scene = Scene::new(rack(), vec![spec]);
        let reports = folder.file("reports");
        scene.rack.report_to(&reports);
        scene.play_answered(3);
        let first = scene.plugins[0].worker().pid();
        scene.play_until_replaced(0, first, ENOUGH_NS);
        scene.play_answered(3);
        let found = scene.assert_in_place(0, &[-1.0, 1.0]);
        assert_eq!(found[found.len() - 3..], [-1.0; 3], "{with}");
        let named = "it broke the protocol (it wrote a sequence that nobody had asked for)";
        scene.wait_told(&[&format!("plugin wicked was ended by the host: {named}"), "took over"]);
        let report = report_in(&reports);
        assert!(report.contains("wicked") && report.contains(named), "{with}: {report}");
        let status = scene.plugins[0].status();
        assert_eq!((status.deaths, status.counts.forged, status.dead), (1, 1, None), "{with}");
        tests::leftovers::assert_all_end(&[first]);
    }
}

/// Plays until each block goes from worker to worker.
fn join(scene: &mut Scene) {
    scene.play_until("blocks to go from worker to worker", AMPLE_NS, |scene| {
        scene.plugins.iter_mut().skip(1).all(|plugin| plugin.status().counts.direct > 0)
    });
}

/// A plugin whose thread does this to `reply`, over and over, as soon as its parameter `deed` is set; `slots` are the words
/// where each slot begins that it has answered.
fn wicked_behind_its_answers(folder: &Folder, deed: &str) -> PathBuf {
    let (header, head) = (size_of::<Header>() / 4, size_of::<SlotHead>() / 4);
    let methods = format!(
        "
HEADER, HEAD = {header}, {head}

def start(self):
    import threading
    threading.Thread(target=self.behind, daemon=True).start()
    return True

def behind(self):
    request, reply = self.memory('memfd:nda-request', 'r'), self.memory('memfd:nda-reply', 'rw')
    while not self.got.get('deed'):
        __import__('time').sleep(0.001)
    HEADER, HEAD = self.HEADER, self.HEAD
    while True:
        slots = [at for at in range(HEADER, HEADER + 8 * HEAD, HEAD) if reply[at] == request[at]]
        {deed}
"
    );
    tunable(folder, "wicked", "", &(methods + MEMORY))
}

#[test]
fn a_worker_that_changes_its_mind_about_its_answers_has_the_next_one_in_the_row_neither_blamed_nor_stopped() {
    let flips = [0, 1, 2, 3, 4, 77].map(|status| format!("for at in slots: reply[at + 1] = {status}"));
    // Or to the answer to another block.
    let takes_back = "for at in slots: reply[at] = (int(request[at]) - 1) % (1 << 32)".to_owned();
    for deed in flips.iter().chain([&takes_back]) {
        let folder = Folder::new();
        let wicked = same_block(&wicked_behind_its_answers(&folder, deed));
        let next = same_block(&tunable(&folder, "next", "", "")).set("gain", "-0.5");
        let specs = [PluginSpec { restart: false, ..wicked }, next];
        let mut scene = Scene::new(rack(), specs.map(|spec| PluginSpec { adapt: false, ..spec }).into());
        join(&mut scene);
        scene.plugins[0].set_parameter("deed", "1").unwrap();
        (0..200).for_each(|_| scene.play());
        let next = scene.plugins[1].status();
        let (counts, blamed) = (next.counts, (next.counts.forged, next.counts.lost(), next.deaths));
        assert_eq!(blamed, (0, 0, 0), "{deed}: {}", scene.told());
        assert!(counts.good >= 200, "{deed}: {counts:?}");
        assert!(scene.heard.iter().all(|sample| sample.is_finite() && sample.abs() < 4.0), "{deed}");
        // What it calls failed afterwards may have been heard: then the ramp is not from there. But behind where ramps
        // end it is its own block or the one before it, with the next one's gain, and nothing else.
        let sine = tests::audio::slow_sine(scene.heard.len(), tests::scene::STEP);
        for (block, heard) in scene.heard.chunks_exact(512).enumerate() {
            let is = |gain: f32| (96..512).all(|i| (heard[i] - gain * sine[block * 512 + i]).abs() < 1e-5);
            assert!(is(0.5) || is(-0.5), "{deed}: block {block}: {:?}", &heard[96..120]);
        }
    }
}

#[test]
fn a_worker_that_takes_its_answers_back_as_if_it_had_given_none_has_the_next_one_in_the_row_not_blamed() {
    let folder = Folder::new();
    // A ring has eight slots. Where it is seen in the middle, the block is lost: nobody can say what it was made of.
    let takes_back = "for at in slots: reply[at] = (int(request[at]) - 8) % (1 << 32)";
    let wicked = same_block(&wicked_behind_its_answers(&folder, takes_back));
    let next = same_block(&tunable(&folder, "next", "", ""));
    let specs = [PluginSpec { restart: false, ..wicked }, next];
    let mut scene = Scene::new(rack(), specs.map(|spec| PluginSpec { adapt: false, ..spec }).into());
    join(&mut scene);
    scene.plugins[0].set_parameter("deed", "1").unwrap();
    (0..200).for_each(|_| scene.play_within(20_000_000));
    let next = scene.plugins[1].status();
    assert_eq!((next.counts.forged, next.deaths), (0, 0), "{}", scene.told());
    assert!(scene.heard.iter().all(|sample| sample.is_finite() && sample.abs() < 4.0));
}

/// Wakes whoever waits for its answers, for a minute, and answers nothing.
const FLOOD: &str = "
import ctypes, time
bell = ctypes.c_void_p(self.memory('memfd:nda-reply', 'rw').ctypes.data)
futex = ctypes.CDLL(None).syscall
end = time.monotonic() + 60
while time.monotonic() < end:
    futex(98 if os.uname().machine == 'aarch64' else 202, bell, 1, 0x7fffffff, None, None, 0)";

/// Has whoever waits for its answer sleep on a word that nobody rings, and then answers well.
const REQUEUE: &str = "
import ctypes
bell = self.memory('memfd:nda-reply', 'rw').ctypes.data
moved, futex = 0, ctypes.CDLL(None).syscall
while not moved:
    moved = futex(98 if os.uname().machine == 'aarch64' else 202, ctypes.c_void_p(bell), 3, 0, ctypes.c_long(9),
                  ctypes.c_void_p(bell + 2048), 0)";

#[test]
fn a_worker_that_wakes_the_host_for_nothing_or_sees_to_it_that_nothing_does_is_named_and_replaced() {
    let named = "it woke the audio thread again and again for nothing, or kept wakes from it";
    let words = [&*format!("it broke the protocol ({named})"), "took over"];
    for deed in [FLOOD, REQUEUE] {
        let mut scene = replaced(deed, Standby::None, &words);
        assert!(scene.plugins[0].status().counts.flooded >= 3);
    }
}

#[test]
fn the_last_worker_of_a_row_that_wakes_the_host_for_nothing_is_named_and_replaced_and_no_other_is() {
    let folder = Folder::new();
    let first = same_block(&tunable(&folder, "first", "", "")).set("gain", "-0.5");
    let last =
        same_block(&wicked_from(&folder, "self.got.get('deed') and not hasattr(self, 'wicked')", FLOOD));
    let specs = [first, last].map(|spec| PluginSpec { standby: Standby::None, adapt: false, ..spec });
    let mut scene = Scene::new(rack(), specs.into());
    join(&mut scene);
    let flooding = scene.plugins[1].worker().pid();
    scene.plugins[1].set_parameter("deed", "1").unwrap();
    scene.play_until_replaced(1, flooding, ENOUGH_NS);
    scene.play_answered(3);
    let found = scene.assert_in_place(0, &[0.5, -0.5]);
    assert_eq!(found[found.len() - 3..], [0.5; 3]);
    let named = "plugin wicked was ended by the host: it broke the protocol (it woke the audio thread again and again";
    scene.wait_told(&[named, "took over"]);
    assert!(scene.plugins[1].status().counts.flooded >= 3);
    let first = scene.plugins[0].status();
    assert_eq!((first.deaths, first.counts.lost(), first.counts.flooded), (0, 0, 0), "{:?}", first.counts);
    tests::leftovers::assert_all_end(&[flooding]);
}

#[test]
fn samples_that_are_no_audio_are_replaced_one_by_one_counted_and_told_once() {
    for (wrong, words, most) in [
        // Between two good samples of a slow sine a line is as good as the sine.
        ("float('nan')", "samples that are not finite (NaN or infinite)", None),
        ("float('-inf')", "samples that are not finite (NaN or infinite)", None),
        // +40 dB: what is too loud comes at the loudest that is allowed, +12 dB.
        ("100", "samples that are far above full scale", Some(3.982)),
    ] {
        let folder = Folder::new();
        // Only its fourth and sixth block, and only three samples of them.
        let body = format!(
            "buffer.data *= -1\nif self.n in (4, 6):\n    buffer.data[0, 10:13] = {wrong}\nreturn True"
        );
        let file = tests::plugins::processor(&folder, "loud", &body);
        let mut scene = Scene::new(rack(), vec![same_block(&file)]);
        scene.play_answered(10);
        let sine = tests::audio::slow_sine(scene.heard.len(), tests::scene::STEP);
        for (at, heard) in scene.heard.iter().enumerate() {
            let is_wrong = [3, 5].contains(&(at / 512)) && (10..13).contains(&(at % 512));
            let expected = most.filter(|_| is_wrong).unwrap_or(-sine[at]);
            assert!((heard - expected).abs() < 1e-3, "{wrong}: frame {at}: {heard} for {expected}");
        }
        let news = scene.plugins[0].news().expect("news");
        assert!(news.contains(words) && news.lines().count() == 1, "{news}");
        assert_eq!(scene.plugins[0].news(), None);
        let status = scene.plugins[0].status();
        let counts = status.counts;
        let guarded = (
            counts.non_finite_blocks + counts.too_loud_blocks,
            counts.non_finite_samples + counts.too_loud_samples,
        );
        assert_eq!((guarded, counts.good, status.deaths), ((2, 6), 10, 0), "{counts:?}");
    }
}

#[test]
fn a_plugin_whose_output_is_no_audio_block_after_block_is_replaced_as_faulty() {
    for wrong in ["float('nan')", "1e6"] {
        let folder = Folder::new();
        let file = wicked(&folder, &format!("buffer.data[0, 7] = {wrong}\nreturn True"));
        let mut scene = Scene::new(rack(), vec![PluginSpec { standby: Standby::None, ..same_block(&file) }]);
        scene.play_answered(3);
        let first = scene.plugins[0].worker().pid();
        scene.play_until_replaced(0, first, AMPLE_NS);
        let told = scene.wait_told(&[
            "plugin wicked was ended by the host: ",
            "blocks in a row were not finite or far above full scale",
            "took over",
        ]);
        let (_, rest) = told.split_once("ended by the host: ").unwrap();
        let blocks: u32 = rest.split_once(' ').unwrap().0.parse().unwrap();
        // A quarter of a second of them.
        assert!(blocks >= 24, "{told}");
        assert!(scene.heard.iter().all(|sample| sample.is_finite() && sample.abs() < 4.0));
        scene.play_answered(3);
        assert_eq!(scene.plugins[0].status().deaths, 1);
    }
}

#[test]
fn a_plugin_that_takes_more_memory_than_it_may_is_named_and_replaced() {
    let folder = Folder::new();
    let hoard = "self.hoard = getattr(self, 'hoard', []) + [np.ones(1 << 20)]";
    let spec = same_block(&wicked(&folder, hoard));
    let spec = PluginSpec { memory_max: Some(256 << 20), standby: Standby::None, adapt: false, ..spec };
    let mut scene = Scene::new(rack(), vec![spec]);
    scene.play_answered(3);
    let first = scene.plugins[0].worker().pid();
    scene.play_until_replaced(0, first, AMPLE_NS);
    scene.play_answered(3);
    let found = scene.assert_in_place(0, &[-1.0, 1.0]);
    assert_eq!(found[found.len() - 3..], [-1.0; 3]);
    let told = scene.wait_told(&["plugin wicked used ", "took over"]);
    assert!(told.contains("256 MiB are allowed (memory_max)"), "{told}");
}

#[test]
fn a_flood_in_a_row_may_be_the_doing_of_either_so_that_both_are_named_and_not_joined_again() {
    let folder = Folder::new();
    let when_told = "self.got.get('deed') and not hasattr(self, 'wicked')";
    let wicked = same_block(&wicked_from(&folder, when_told, FLOOD));
    let next = same_block(&tunable(&folder, "next", "", "")).set("gain", "-0.5");
    let specs = [wicked, next].map(|spec| PluginSpec { adapt: false, ..spec });
    let mut scene = Scene::new(rack(), specs.into());
    join(&mut scene);
    let first = scene.plugins[0].worker().pid();
    scene.plugins[0].set_parameter("deed", "1").unwrap();
    scene.play_until_replaced(0, first, ENOUGH_NS);
    scene.wait_told(&[
        "it, or the plugin behind it, woke the audio thread again and again for nothing",
        "took over",
    ]);
    let direct = |scene: &mut Scene| scene.plugins[1].status().counts.direct;
    let before = direct(&mut scene);
    scene.play_answered(200);
    assert_eq!(direct(&mut scene), before);
    let next = scene.plugins[1].status();
    assert_eq!((next.deaths, next.counts.forged), (0, 0), "{next:?}");
}
