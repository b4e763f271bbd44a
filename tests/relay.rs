//! Plugins in a row whose workers hand blocks on to each other: the same audio, the same rules for lost blocks.
//!
//! Each test first lets blocks pass until they go from worker to worker, then does something to one in the middle.
//! Every plugin adds its own power of two to what it gets, and says how often it was called: what is heard tells who
//! took part, and nobody may be called twice for a block.

use host::chain::Chain;
use host::plugin::Plugin;
use host::plugin::spec::{Lost, PluginSpec, Standby};
use host::processor::Processor;
use shared::layout::{Header, SlotHead};
use std::path::PathBuf;
use tests::audio::largest_step;
use tests::chain::{AMPLE_NS, Rack, same_block, wait_answered};
use tests::gate::Gate;
use tests::plugins::{MEMORY, processor, processor_with};
use tests::scene::kill;
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::Folder;

const BLOCK: usize = 128;
/// So long that a plugin that answers at all does so in its part of it, also on a busy machine.
const LATE_NS: u64 = 1_000_000_000;

/// A chain, its plugins, and how many blocks have been put through it.
struct Row {
    rack: Rack,
    plugins: Vec<Plugin>,
    chain: Chain,
    blocks: usize,
}

impl Row {
    /// Plugins in this order.
    fn new(specs: Vec<PluginSpec>) -> Self {
        let rack = Rack::new(1, 128, 48_000);
        let (plugins, remotes): (Vec<_>, Vec<_>) = specs.into_iter().map(|spec| rack.load(spec)).unzip();
        let processors = remotes.into_iter().map(|remote| Box::new(remote) as Box<dyn Processor>).collect();
        let chain = Chain::new(rack.format, processors).unwrap();
        Self { rack, plugins, chain, blocks: 0 }
    }

    /// One that goes from worker to worker by now.
    fn joined(specs: Vec<PluginSpec>) -> Self {
        let mut row = Self::new(specs);
        row.join();
        row
    }

    /// Lets blocks of silence pass until all of one has gone from worker to worker.
    fn join(&mut self) {
        self.join_up_to(self.plugins.len() - 1);
    }

    /// The same as far as to this plugin.
    fn join_up_to(&mut self, last: usize) {
        let before: Vec<_> = self.direct();
        until("blocks to go from worker to worker", || {
            self.pass(0.0, AMPLE_NS);
            (1..=last).all(|at| self.direct()[at] > before[at])
        });
    }

    fn direct(&mut self) -> Vec<u64> {
        self.plugins.iter_mut().map(|plugin| plugin.status().counts.direct).collect()
    }

    /// What comes of a block that holds this value throughout.
    fn pass(&mut self, value: f32, budget_ns: u64) -> Vec<f32> {
        let mut samples = vec![value; BLOCK];
        self.chain.process_within(&mut samples, budget_ns);
        self.blocks += 1;
        samples
    }

    /// What comes of the last sample of such a block.
    fn last(&mut self, value: f32, budget_ns: u64) -> f32 {
        self.pass(value, budget_ns)[BLOCK - 1]
    }

    /// The shared memory of this name that the worker of this plugin has mapped: what it may do there, and which it is.
    fn mapped(&self, at: usize, name: &str) -> Vec<(String, String)> {
        let maps =
            std::fs::read_to_string(format!("/proc/{}/maps", self.plugins[at].worker().pid())).unwrap();
        let its = maps.lines().filter(|line| line.contains(&format!("memfd:{name} ")));
        its.map(|line| {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            (words[1].to_owned(), words[4].to_owned())
        })
        .collect()
    }

    /// Each reads and only reads the very doorstep that the next one writes, and has no other mapped.
    fn assert_doorsteps_are_shared(&self) {
        let mut before = None;
        for at in 0..self.plugins.len() {
            let mut doorsteps = self.mapped(at, "nda-doorstep");
            if let Some(before) = before.take() {
                let own = doorsteps.iter().position(|(rights, _)| rights == "rw-s").expect("its own");
                assert_eq!(before, doorsteps.remove(own).1, "plugin {at}");
            }
            if at + 1 < self.plugins.len() {
                let (rights, next) = doorsteps.pop().expect("the next one's");
                assert_eq!(rights, "r--s", "plugin {at}");
                before = Some(next);
            }
            assert_eq!(doorsteps, [], "plugin {at}");
        }
    }

    /// Every plugin but this one has been called once for each block.
    fn assert_called_once_a_block(&mut self, but: usize) {
        for (at, plugin) in self.plugins.iter().enumerate().filter(|(at, _)| *at != but) {
            let called = plugin.worker().get_parameter("blocks").unwrap();
            assert_eq!(called, self.blocks.to_string(), "plugin {at}");
        }
    }
}

/// Adds `2^power` to what it gets; `before` is Python that may do otherwise.
fn adder(folder: &Folder, name: &str, power: i32, before: &str) -> PathBuf {
    let body = format!("{before}\nbuffer.data += {}\nreturn True", 2f32.powi(power));
    let set = "
def set_parameter(self, key, value):
    setattr(self, key, os.open(value, os.O_RDWR) if key == 'gate' else value)
    return True";
    processor_with(folder, name, &body, set)
}

/// Three in a row, the one in the middle doing this first.
fn three(folder: &Folder, before: &str) -> [PluginSpec; 3] {
    let middle = format!("self.kind = getattr(self, 'kind', '')\n{before}");
    [
        same_block(&adder(folder, "first", -2, "")),
        same_block(&adder(folder, "middle", -3, &middle)),
        same_block(&adder(folder, "last", -4, "")),
    ]
}

const FIRST: f32 = 0.25;
const MIDDLE: f32 = 0.125;
const LAST: f32 = 0.0625;

#[test]
fn a_block_goes_from_worker_to_worker_and_is_heard_as_if_the_host_had_carried_it() {
    let folder = Folder::new();
    let mut row = Row::joined(three(&folder, "").into());
    let before = row.direct();
    for i in 0..50_u16 {
        let value = f32::from(i) / 64.0;
        assert_eq!(row.pass(value, AMPLE_NS), [value + FIRST + MIDDLE + LAST; BLOCK]);
    }
    let after = row.direct();
    assert_eq!(
        after.iter().zip(before).map(|(after, before)| after - before).collect::<Vec<_>>(),
        [0, 50, 50]
    );
    row.assert_called_once_a_block(usize::MAX);
}

#[test]
fn a_block_that_fails_in_the_middle_is_replaced_and_goes_on() {
    let folder = Folder::new();
    let mut row = Row::joined(three(&folder, "if self.kind == 'fail':\n    return False").into());
    row.plugins[1].set_parameter("kind", "fail").unwrap();
    let failed = row.plugins[1].status().counts.failed;
    for _ in 0..20 {
        row.pass(0.5, AMPLE_NS);
    }
    // Dry in place of the one in the middle, after a ramp.
    assert_eq!(row.last(0.5, AMPLE_NS), 0.5 + FIRST + LAST);
    assert_eq!(row.plugins[1].status().counts.failed - failed, 21);
    assert_eq!(row.plugins[2].status().counts.lost(), 0);
    row.plugins[1].set_parameter("kind", "").unwrap();
    row.join();
    assert_eq!(row.last(0.5, AMPLE_NS), 0.5 + FIRST + MIDDLE + LAST);
    row.assert_called_once_a_block(usize::MAX);
}

#[test]
fn a_late_block_in_the_middle_is_replaced_within_the_block_and_never_heard() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let [first, middle, last] = three(&folder, "if self.kind == 'late':\n    os.read(self.gate, 1)");
    let mut row = Row::joined(vec![first, middle.set("gate", gate.path()), last]);
    row.plugins[1].set_parameter("kind", "late").unwrap();
    assert_eq!(row.last(0.5, LATE_NS), 0.5 + FIRST + LAST);
    let counts = row.plugins[1].status().counts;
    assert_eq!((counts.late, row.plugins[2].status().counts.lost()), (1, 0), "{counts:?}");
    gate.open();
    wait_answered(&row.plugins[1], row.blocks);
    row.plugins[1].set_parameter("kind", "").unwrap();
    // The late one came with 0.5: none of it may be heard in a block of 0.25.
    let heard = row.pass(0.25, AMPLE_NS);
    assert!(heard.iter().all(|sample| *sample < 0.5 + FIRST + MIDDLE + LAST));
    assert_eq!(heard[BLOCK - 1], 0.25 + FIRST + MIDDLE + LAST);
    row.join();
    row.assert_called_once_a_block(usize::MAX);
}

#[test]
fn a_host_that_waits_for_a_row_is_freed_at_once_when_a_worker_in_the_middle_dies() {
    let folder = Folder::new();
    let mut specs = three(&folder, "if self.kind == 'die':\n    os.kill(os.getpid(), 9)");
    specs[1].restart = false;
    let mut row = Row::joined(specs.into());
    row.plugins[1].set_parameter("kind", "die").unwrap();
    // There is a minute for the block: only the death can end the wait.
    assert_eq!(row.last(0.5, AMPLE_NS), 0.5 + FIRST + LAST);
    assert_eq!(row.plugins[1].status().counts.gone, 1);
    for _ in 0..10 {
        assert_eq!(row.last(0.5, AMPLE_NS), 0.5 + FIRST + LAST);
    }
    assert_eq!(row.plugins[2].status().counts.lost(), 0);
    row.assert_called_once_a_block(1);
}

#[test]
fn a_worker_killed_from_outside_is_replaced_by_its_twin_which_is_joined_again() {
    let folder = Folder::new();
    let specs = three(&folder, "");
    let specs = specs.map(|spec| PluginSpec { standby: Standby::Twin, ..spec });
    let mut row = Row::joined(specs.into());
    for _ in 0..2 {
        let pid = row.plugins[1].worker().pid();
        kill(&row.plugins[1]);
        until("its twin to play", || {
            let heard = row.last(0.5, AMPLE_NS);
            assert!([0.5 + FIRST + LAST, 0.5 + FIRST + MIDDLE + LAST].contains(&heard), "{heard}");
            row.plugins[1].worker().pid() != pid
        });
        row.join();
        assert_eq!(row.last(0.5, AMPLE_NS), 0.5 + FIRST + MIDDLE + LAST);
    }
    assert_eq!(row.plugins[2].status().counts.lost(), 0);
}

#[test]
fn whichever_of_a_row_is_replaced_its_neighbours_are_told_of_its_successor_and_the_row_works_on() {
    let folder = Folder::new();
    let specs = three(&folder, "").map(|spec| PluginSpec { standby: Standby::Twin, ..spec });
    let mut row = Row::joined(specs.into());
    row.assert_doorsteps_are_shared();
    for at in [0, 1, 2] {
        let pid = row.plugins[at].worker().pid();
        kill(&row.plugins[at]);
        until("its twin to play", || {
            row.pass(0.5, AMPLE_NS);
            row.plugins[at].worker().pid() != pid
        });
        row.join();
        row.assert_doorsteps_are_shared();
        let before = row.direct();
        for i in 0..200_u16 {
            let value = f32::from(i) / 256.0;
            assert_eq!(row.pass(value, AMPLE_NS)[BLOCK - 1], value + FIRST + MIDDLE + LAST, "plugin {at}");
        }
        let since: Vec<_> = row.direct().iter().zip(before).map(|(now, before)| now - before).collect();
        assert_eq!(since, [0, 200, 200], "plugin {at}");
    }
}

#[test]
fn what_fails_closed_in_the_middle_hands_on_silence_and_nothing_of_its_input() {
    let folder = Folder::new();
    for fault in ["return False", "os.kill(os.getpid(), 9)", "raise ValueError('no')"] {
        let [first, middle, last] = three(&folder, &format!("if self.kind == 'fault':\n    {fault}"));
        let middle = PluginSpec { fail_closed: true, restart: false, ..middle };
        let mut row = Row::new(vec![first, middle, last]);
        row.join_up_to(1);
        row.plugins[1].set_parameter("kind", "fault").unwrap();
        for _ in 0..5 {
            assert_eq!(row.pass(0.5, AMPLE_NS), [LAST; BLOCK], "{fault}");
        }
    }
}

#[test]
fn whoever_comes_behind_one_that_fails_closed_can_not_read_where_that_one_works() {
    let folder = Folder::new();
    let segments = |row: &Row, at| row.mapped(at, "nda-reply").len() + row.mapped(at, "nda-request").len();
    for (fail_closed, more) in [(false, 1), (true, 0)] {
        let [first, middle, last] = three(&folder, "pass");
        let mut row = Row::new(vec![first, PluginSpec { fail_closed, ..middle }, last]);
        row.join_up_to(if fail_closed { 1 } else { 2 });
        // An errand that joins two has long been sent.
        (0..200).for_each(|_| drop(row.pass(0.0, AMPLE_NS)));
        assert_eq!(row.direct()[2] > 0, !fail_closed);
        let alone = segments(&row, 0);
        assert_eq!(segments(&row, 1), alone + 1, "the middle one reads what the first has answered");
        assert_eq!(segments(&row, 2), alone + more, "fails closed: {fail_closed}");
        let doorsteps = [0, 1, 2].map(|at| row.mapped(at, "nda-doorstep").len());
        assert_eq!(doorsteps, [1, 1 + more, more], "fails closed: {fail_closed}");
        assert_eq!(row.last(0.5, AMPLE_NS), 0.5 + FIRST + MIDDLE + LAST);
    }
}

#[test]
fn samples_that_are_no_audio_reach_no_other_worker_and_are_counted_for_who_made_them() {
    let folder = Folder::new();
    let [first, middle, _] = three(&folder, "if self.kind == 'nan':\n    buffer.data[0, :9] = float('nan')");
    let last = "if not np.isfinite(buffer.data).all():\n    return False";
    let last = same_block(&adder(&folder, "sees", -4, last));
    let mut row = Row::joined(vec![first, middle, last]);
    row.plugins[1].set_parameter("kind", "nan").unwrap();
    // In their place is the first that is audio; the first block goes over into that from the silence before it.
    let heard: Vec<_> = (0..5).map(|_| row.pass(0.5, AMPLE_NS)).collect();
    assert!(heard[0][..96].is_sorted() && heard[0][96..].iter().all(|s| *s == 0.5 + FIRST + MIDDLE + LAST));
    assert_eq!(heard[1..], vec![[0.5 + FIRST + MIDDLE + LAST; BLOCK]; 4]);
    let counts: Vec<_> = row.plugins.iter_mut().map(|plugin| plugin.status().counts).collect();
    assert_eq!(counts.iter().map(|c| c.non_finite_samples).collect::<Vec<_>>(), [0, 45, 0]);
    assert_eq!(counts.iter().map(|c| c.lost()).collect::<Vec<_>>(), [0, 0, 0]);
}

#[test]
fn a_ramp_joins_what_went_by_unheard_to_what_is_put_in_its_place() {
    let folder = Folder::new();
    for lost in [Lost::Bypass, Lost::Mute, Lost::Hold] {
        let mut specs = three(&folder, "if self.kind == 'fail':\n    return False\nbuffer.data *= -1");
        specs[1].lost = lost;
        let mut row = Row::joined(specs.into());
        let mut heard = Vec::new();
        for block in 0..12 {
            match block {
                4 => assert!(row.plugins[1].set_parameter("kind", "fail").unwrap()),
                6 => assert!(row.plugins[1].set_parameter("kind", "").unwrap()),
                _ => {}
            }
            heard.extend(row.pass(0.5, AMPLE_NS));
        }
        // The two differ by 1.5 at most, and a ramp of 96 frames steps by no more than this.
        let bound = 1.5 * std::f32::consts::PI / (2.0 * 96.0) + 0.001;
        assert!(largest_step(&heard) <= bound, "{lost:?}: a step of {}", largest_step(&heard));
    }
}

#[test]
fn the_dry_signal_of_one_that_delays_is_in_step_though_it_went_by_unheard() {
    let folder = Folder::new();
    let delays = "
def get_processing_latency(self):
    return 100 / 48000
def set_parameter(self, key, value):
    self.kind = value
    return True";
    let body = "
kind = getattr(self, 'kind', '')
line = np.concatenate([getattr(self, 'line', np.zeros(100, 'f4')), buffer.data[0]])
self.line = line[-100:]
buffer.data[0] = line[:buffer.data.shape[1]]
return kind != 'fail'";
    let delaying = processor_with(&folder, "delaying", body, delays);
    let passing = |name| same_block(&processor(&folder, name, "return True"));
    let mut row = Row::joined(vec![passing("before"), same_block(&delaying), passing("behind")]);
    let mut heard = Vec::new();
    for block in 0..12 {
        if block == 5 {
            row.plugins[1].set_parameter("kind", "fail").unwrap();
        }
        let mut samples: Vec<f32> = (0..BLOCK).map(|i| (block * BLOCK + i + 1) as f32 / 4096.0).collect();
        row.chain.process_within(&mut samples, AMPLE_NS);
        heard.extend(samples);
    }
    // Dry and processed are the same here; where one becomes the other, the ramp starts at the sample before.
    for (frame, sample) in heard.iter().enumerate().skip(100) {
        let expected = (frame - 100 + 1) as f32 / 4096.0;
        let ramp = if (5 * BLOCK..5 * BLOCK + 96).contains(&frame) { 1.01 / 4096.0 } else { 0.0 };
        assert!((sample - expected).abs() <= ramp, "frame {frame}: {sample}, not {expected}");
    }
}

#[test]
fn the_report_of_one_in_the_middle_holds_what_it_got_from_the_one_before() {
    let folder = Folder::new();
    let reports = folder.file("reports");
    let mut specs = three(&folder, "if self.kind == 'die':\n    os.kill(os.getpid(), 9)");
    specs[1].restart = false;
    let mut row = Row::new(specs.into());
    row.rack.report_to(&reports);
    row.join();
    for i in 1..=4_u8 {
        row.pass(f32::from(i) / 16.0, AMPLE_NS);
    }
    row.plugins[1].set_parameter("kind", "die").unwrap();
    row.pass(0.5, AMPLE_NS);
    // One that is being written has a name of its own.
    let is_finished = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with('.');
    let report = || {
        std::fs::read_dir(&reports)
            .into_iter()
            .flatten()
            .flatten()
            .find(|report| is_finished(&report.file_name()))
    };
    until("a report", || {
        row.pass(0.0, AMPLE_NS);
        report().is_some()
    });
    let input = Wav::read(&report().unwrap().path().join("in.wav"));
    let blocks: Vec<_> = input.channels[0].chunks_exact(BLOCK).map(|block| block[0]).collect();
    let expected: Vec<_> = [0.0625, 0.125, 0.1875, 0.25, 0.5].iter().map(|value| value + FIRST).collect();
    assert!(blocks.ends_with(&expected), "{blocks:?}");
}

/// A thread that answers for the plugin as soon as a block is ordered, while nobody has given it anything; with a stamp
/// that is as new as the answer.
const LIAR: &str = "
def start(self):
    import threading
    self.kind = ''
    threading.Thread(target=self.lie, daemon=True).start()
    return True

def lie(self):
    request, reply = self.memory('memfd:nda-request', 'r'), self.memory('memfd:nda-reply', 'rw')
    while self.kind != 'lie':
        pass
    while True:
        for slot in range(HEADER, HEADER + 8 * HEAD, HEAD):
            if reply[slot] != request[slot]:
                now = __import__('time').monotonic_ns()
                reply[slot + 8], reply[slot + 9] = now & 0xffffffff, now >> 32
                reply[slot + 1], reply[slot + 14] = 1, FROM
                reply[slot] = request[slot]

def set_parameter(self, key, value):
    self.kind = value
    return True";

/// A row in which the first waits at the gate while its `kind` is `late`, and the one in the middle lies once its `kind` is
/// `lie`: with this word for where its samples came from.
fn row_with_liar(folder: &Folder, from: &str) -> (Gate, Row) {
    let words = |bytes: usize| (bytes / 4).to_string();
    let (header, head) = (words(size_of::<Header>()), words(size_of::<SlotHead>()));
    let gate = Gate::new(folder);
    let first = "if getattr(self, 'kind', '') == 'late':\n    os.read(self.gate, 1)";
    let first = same_block(&adder(folder, "first", -2, first)).set("gate", gate.path());
    let methods = LIAR.replace("HEADER", &header).replace("HEAD", &head).replace("FROM", from) + MEMORY;
    let liar = same_block(&processor_with(folder, "liar", "buffer.data += 0.125\nreturn True", &methods));
    let last = same_block(&adder(folder, "last", -4, ""));
    let mut row = Row::joined(vec![first, PluginSpec { restart: false, ..liar }, last]);
    // Every slot has held a block that came from the worker before.
    (0..8).for_each(|_| assert_eq!(row.last(0.5, AMPLE_NS), 0.5 + FIRST + MIDDLE + LAST));
    (gate, row)
}

#[test]
fn a_worker_that_answers_before_it_has_been_given_anything_is_cut_off_and_the_others_play_on() {
    let folder = Folder::new();
    let (gate, mut row) = row_with_liar(&folder, "0");
    row.plugins[1].set_parameter("kind", "lie").unwrap();
    row.plugins[0].set_parameter("kind", "late").unwrap();
    assert_eq!(row.last(0.5, LATE_NS), 0.5 + LAST);
    let counts: Vec<_> = row.plugins.iter_mut().map(|plugin| plugin.status().counts).collect();
    assert_eq!((counts[0].late, counts[1].forged), (1, 1), "{counts:?}");
    gate.open();
    row.plugins[0].set_parameter("kind", "").unwrap();
    let _ = row.plugins[1].worker().wait_death(std::time::Duration::from_secs(30));
    row.pass(0.5, AMPLE_NS);
    for _ in 0..5 {
        assert_eq!(row.last(0.5, AMPLE_NS), 0.5 + FIRST + LAST);
    }
    let death = row.plugins[1].worker().death().expect("it was ended");
    assert!(death.to_string().contains("nobody had asked for"), "{death}");
    assert_eq!(row.plugins[2].status().counts.lost(), 0);
    row.assert_called_once_a_block(1);
}

#[test]
fn a_worker_that_says_it_has_what_the_one_before_never_gave_is_told_from_neither_and_both_play_on_apart() {
    let folder = Folder::new();
    let (gate, mut row) = row_with_liar(&folder, "1");
    row.plugins[1].set_parameter("kind", "lie").unwrap();
    let direct = |row: &mut Row| row.plugins[1].status().counts.direct;
    // Its thread has to be faster than the one that takes what the host supplies, which it may not be each time.
    until("the host to stand between them", || {
        row.plugins[0].set_parameter("kind", "late").unwrap();
        let _ = row.last(0.5, LATE_NS);
        gate.open();
        row.plugins[0].set_parameter("kind", "").unwrap();
        let before = direct(&mut row);
        (0..20).for_each(|_| drop(row.pass(0.5, AMPLE_NS)));
        direct(&mut row) == before
    });
    for plugin in &mut row.plugins[..2] {
        let status = plugin.status();
        assert_eq!((status.counts.forged, status.deaths), (0, 0), "{status:?}");
    }
    assert_eq!(row.plugins[2].status().counts.lost(), 0);
}
