//! Devices come and go: the pipeline goes on on the virtual clock with the same workers, and is heard again as soon as
//! its device is back.
//!
//! Real pipelines with real workers, on virtual devices that the test pulls out, lets hang and puts back. They go
//! through cpal as any device does. One test at a time: threads and descriptors are counted.

use host::backend::virtual_device::{Played, Presence, VirtualHost};
use host::backend::{Device, Playback, Stream, StreamFormat};
use host::block::Block;
use host::config::{Clock, DeviceSpec, ElementSpec, FileSourceSpec, PipelineSpec, SinkSpec, SourceSpec};
use host::level::Level;
use host::pipeline::{Around, Pipeline};
use host::plugin::spec::{Mode, PluginSpec};
use host::processor::{Processor, Turn};
use host::report::PipelineStatus;
use host::supervisor::Supervisor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use tests::leftovers::descriptors;
use tests::until::until;
use tests::workspace::{Folder, python};

const BLOCK: u32 = 256;
/// What every pipeline plays.
const LEVEL: f32 = 0.5;
/// Frames in which a device that is back rises from silence.
const FADE: usize = 960;
/// No test reads more.
const SAMPLES: usize = 1 << 20;

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the same level in every sample, or counts frames.
struct Generator {
    counts: Option<u32>,
}

impl Processor for Generator {
    fn name(&self) -> &str {
        "generator"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        let frames = block.frames();
        for channel in block.iter_mut() {
            for (frame, sample) in channel.iter_mut().enumerate() {
                let count = self.counts.map(|from| from as usize + frame);
                // Exact, and never twice the same within the time of a test.
                *sample = count.map_or(LEVEL, |count| count as f32 / (1 << 24) as f32);
            }
        }
        self.counts = self.counts.map(|from| from + u32::try_from(frames).unwrap());
    }
}

/// Which threads have run the chain, one after the other.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<ThreadId>>>);

impl Processor for Witness {
    fn name(&self) -> &str {
        "witness"
    }

    fn process(&mut self, _: &mut Block<'_>, _turn: &Turn) {
        let mut threads = self.0.lock().unwrap();
        let this = std::thread::current().id();
        if threads.last() != Some(&this) {
            threads.push(this);
        }
    }
}

impl Witness {
    fn threads(&self) -> Vec<ThreadId> {
        self.0.lock().unwrap().clone()
    }
}

/// A pipeline with a plugin that leaves samples as they are, on a device that comes and goes.
struct Scene {
    pipeline: Pipeline,
    played: Played,
    host: VirtualHost,
    witness: Witness,
    told: Vec<(Level, String)>,
    supervisor: Supervisor,
    _folder: Folder,
}

impl Scene {
    fn open(spec: impl FnOnce(PipelineSpec) -> PipelineSpec, before: Option<Box<dyn Processor>>) -> Self {
        Self::open_where(|_| (), spec, before)
    }

    /// The same, where something has happened to the devices before.
    fn open_where(
        happened: impl FnOnce(&VirtualHost),
        spec: impl FnOnce(PipelineSpec) -> PipelineSpec,
        before: Option<Box<dyn Processor>>,
    ) -> Self {
        Self::open_around(
            happened,
            spec,
            Around { before: before.into_iter().collect(), ..Around::default() },
        )
    }

    fn open_around(
        happened: impl FnOnce(&VirtualHost),
        spec: impl FnOnce(PipelineSpec) -> PipelineSpec,
        around: Around,
    ) -> Self {
        let folder = Folder::new();
        let file = tests::plugins::processor(&folder, "passes", "return True");
        let plugin = PluginSpec { python: Some(python()), adapt: false, ..PluginSpec::new(file) };
        let silence = folder.file("silence.wav");
        let format = hound::WavSpec {
            channels: 2,
            sample_rate: 48_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&silence, format).unwrap();
        (0..96_000).for_each(|_| writer.write_sample(0i16).unwrap());
        writer.finalize().unwrap();
        let source = FileSourceSpec { repeat: true, ..FileSourceSpec::new(silence) };
        let base = PipelineSpec::new(SourceSpec::File(source), SinkSpec::device("virtual"));
        let base = PipelineSpec { block_frames: BLOCK, channels: Some(2), rate: Some(48_000), ..base };
        let base = base.then(ElementSpec::Plugin { name: "passes".into(), spec: plugin });
        let spec = spec(base);
        let (virtual_host, played) = VirtualHost::capturing();
        happened(&virtual_host);
        let (supervisor, _) = Supervisor::new().unwrap();
        let witness = Witness::default();
        let around = Around {
            behind: vec![Box::new(witness.clone())],
            virtual_host: Some(virtual_host.clone()),
            ..around
        };
        let mut pipeline = Pipeline::open_around(&spec, &supervisor, "", around, &mut |_, _| {}).unwrap();
        pipeline.play().unwrap();
        Self { pipeline, played, host: virtual_host, witness, told: Vec::new(), supervisor, _folder: folder }
    }

    /// One that plays [`LEVEL`] all the time.
    fn playing() -> Self {
        let mut scene = Self::open(|spec| spec, Some(Box::new(Generator { counts: None })));
        scene.wait_frames(10);
        scene
    }

    fn tend(&mut self) {
        self.told.extend(self.pipeline.news());
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        until(what, || {
            self.tend();
            done(self)
        });
    }

    fn status(&mut self) -> PipelineStatus {
        self.pipeline.status()
    }

    /// Waits for so many blocks more.
    fn wait_frames(&mut self, blocks: u64) {
        let frames = self.status().frames + blocks * u64::from(BLOCK);
        self.until("blocks", |scene| scene.status().frames >= frames);
    }

    fn wait_lost(&mut self, device: usize) {
        self.until("the loss to be noticed", |scene| scene.status().devices[device].lost_s.is_some());
    }

    fn wait_back(&mut self, device: usize) {
        self.until("the device to be back", |scene| scene.status().devices[device].lost_s.is_none());
    }

    /// What was played so far, one channel of it.
    fn heard(&mut self) -> Vec<f32> {
        let mut samples = vec![0.0; SAMPLES];
        let got = self.played.read(&mut samples, Duration::ZERO);
        samples[..got].iter().step_by(2).copied().collect()
    }

    fn has_told(&self, words: &str) -> bool {
        self.told.iter().any(|(_, line)| line.contains(words))
    }
}

/// Where the sound comes back, it rises from silence within 20 ms and without a step.
fn assert_fades_in(heard: &[f32]) {
    let last_silent = heard.iter().rposition(|sample| *sample == 0.0).expect("silence before the sound");
    let rise = &heard[last_silent..];
    assert!(rise.len() > 2 * FADE, "too little was heard: {}", rise.len());
    assert!(rise.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] < 0.001), "a step");
    assert!(rise[FADE / 2] < LEVEL && rise[FADE..].iter().all(|sample| *sample == LEVEL));
}

#[test]
fn a_pipeline_whose_device_is_pulled_out_goes_on_with_its_worker_and_fades_in_when_it_is_back() {
    let _alone = alone();
    let mut scene = Scene::playing();
    let before = scene.status();
    assert_eq!(before.devices[0].lost_s, None);
    scene.host.outputs().pull_out();
    scene.wait_lost(0);
    scene.wait_frames(200);
    let meanwhile = scene.status();
    let (device, plugin) = (&meanwhile.devices[0], &meanwhile.plugins[0]);
    assert!((device.losses, device.paces) == (1, true) && device.next_try_s.is_some(), "{device:?}");
    assert!(meanwhile.clock.contains("while virtual is gone"), "{}", meanwhile.clock);
    assert!(device.why.as_ref().unwrap().contains("is not there"), "{device:?}");
    assert_eq!((plugin.pid, plugin.deaths), (before.plugins[0].pid, 0));
    assert!(plugin.counts.good > before.plugins[0].counts.good + 100, "{plugin:?}");
    assert!(
        scene.has_told("the output device virtual is gone (the virtual device was pulled out)"),
        "{:?}",
        scene.told
    );
    assert!(scene.has_told("the virtual clock goes on in its place"));
    // What was played before is not what is looked at below.
    scene.heard();
    scene.host.outputs().put_back();
    scene.wait_back(0);
    assert!(scene.has_told("the output device virtual is back after"), "{:?}", scene.told);
    let levels: Vec<_> = scene.told.iter().map(|(level, _)| *level).collect();
    assert_eq!((levels[0], levels[levels.len() - 1]), (Level::Error, Level::Info), "{:?}", scene.told);
    scene.wait_frames(50);
    let after = scene.status();
    assert_eq!((after.plugins[0].pid, &after.clock), (before.plugins[0].pid, &before.clock));
    assert_fades_in(&scene.heard());
    // Each clock ran the chain in its turn: the device, the virtual one, the device.
    assert_eq!(scene.witness.threads().len(), 3);
}

/// Counts what it has seen of a [`Generator`] that counts, so far.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<Vec<f32>>>);

impl Processor for Counted {
    fn name(&self) -> &str {
        "counted"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        self.0.lock().unwrap().push(block.samples()[0]);
    }
}

/// At half the rate a device's frames last twice as long: two blocks for each of its buffers, and one more at times, as
/// they are converted.
#[test]
fn a_device_that_comes_back_with_longer_buffers_is_played_to_by_the_same_worker_from_where_it_was() {
    const CABLE: &str = "a radio with longer buffers";
    let _alone = alone();
    let counted = Counted::default();
    let before: Vec<Box<dyn Processor>> =
        vec![Box::new(Generator { counts: Some(0) }), Box::new(counted.clone())];
    let pipelined = |mut spec: PipelineSpec| {
        for element in &mut spec.elements {
            if let ElementSpec::Plugin { spec, .. } = element {
                spec.mode = Some(Mode::Pipelined);
            }
        }
        PipelineSpec { sink: SinkSpec::device(&format!("virtual:{CABLE}")), ..spec }
    };
    let around = Around { before, ..Around::default() };
    let mut scene = Scene::open_around(|_| (), pipelined, around);
    scene.wait_frames(10);
    let before = scene.status();
    assert_eq!(before.latency.mode_frames, BLOCK);
    scene.host.outputs().pull_out();
    scene.wait_lost(0);
    // The cable has the rate of the first one that is on it.
    let slow = StreamFormat { rate: 24_000, channels: 2, buffer_frames: Some(BLOCK) };
    let host = scene.host.clone().cable(CABLE);
    let cable = || host.input_device(slow).unwrap();
    scene.until("nobody to be on it", |_| cable().rate() == slow.rate);
    let _listener = cable().open_input(|_| (), |_| ()).unwrap();
    scene.host.outputs().put_back();
    scene.wait_back(0);
    assert!(scene.has_told("its buffer has 256 frames now, and the pipeline plays on"), "{:?}", scene.told);
    let back = scene.status();
    assert!(scene.pipeline.news().is_empty());
    assert_eq!(back.latency.mode_frames, 3 * BLOCK);
    scene.wait_frames(300);
    let after = scene.status();
    let [before, back, after] = [before, back, after].map(|status| status.plugins[0].clone());
    assert_eq!((after.pid, after.deaths), (before.pid, 0));
    // Each result is there when it is due, though several are asked for in a row: but for what a busy machine takes.
    let lost = after.counts.lost() - back.counts.lost();
    assert!(lost < 30, "{lost} blocks of 300: {after:?}");
    // Its source has gone on from where it was, block by block.
    let blocks = counted.0.lock().unwrap();
    let expected = |block: usize| (block * BLOCK as usize) as f32 / (1 << 24) as f32;
    assert!(blocks.len() > 300 && blocks.iter().enumerate().all(|(n, first)| *first == expected(n)));
}

/// A device that may be missing when its pipeline begins.
fn awaited(name: &str) -> DeviceSpec {
    DeviceSpec { fallback_virtual: true, ..DeviceSpec::new(name) }
}

#[test]
fn a_pipeline_whose_device_is_missing_at_the_start_plays_on_the_virtual_clock_until_it_is_there() {
    let _alone = alone();
    let mut scene = Scene::open_where(
        |host| host.outputs().pull_out(),
        |spec| PipelineSpec { sink: SinkSpec::Device(awaited("virtual")), ..spec },
        Some(Box::new(Generator { counts: None })),
    );
    scene.wait_frames(100);
    let before = scene.status();
    let (device, plugin) = (&before.devices[0], &before.plugins[0]);
    assert!(device.lost_s.is_some() && device.losses == 0 && device.paces, "{device:?}");
    assert!(before.clock.contains("until virtual is there"), "{}", before.clock);
    assert!(plugin.counts.good > 0, "{plugin:?}");
    assert!(scene.heard().is_empty());
    scene.host.outputs().put_back();
    scene.wait_back(0);
    assert!(scene.has_told("the output device virtual is there, "), "{:?}", scene.told);
    assert_eq!(scene.told.len(), 1, "why it is not there was told before: {:?}", scene.told);
    scene.wait_frames(50);
    let after = scene.status();
    assert_eq!((after.plugins[0].pid, after.devices[0].losses), (plugin.pid, 0));
    assert_fades_in(&scene.heard());
    // From now on it is a device like any other.
    scene.host.outputs().pull_out();
    scene.wait_lost(0);
    scene.host.outputs().put_back();
    scene.wait_back(0);
    assert!(scene.has_told("the output device virtual is back after"), "{:?}", scene.told);
    assert_eq!(scene.status().devices[0].losses, 1);
}

/// Opens one that plays [`LEVEL`] from its first sample on, in place of another that broke off or not; what is heard.
fn begun(rising: bool) -> Vec<f32> {
    let before: Vec<Box<dyn Processor>> = vec![Box::new(Generator { counts: None })];
    let around = Around { before, rising, ..Around::default() };
    // Without its plugin: a busy machine may have it lose a block.
    let plain = |spec| PipelineSpec { elements: Vec::new(), ..spec };
    let mut scene = Scene::open_around(|_| (), plain, around);
    scene.wait_frames(50);
    scene.heard()
}

#[test]
fn a_pipeline_that_goes_on_where_another_broke_off_rises_from_silence_and_one_that_begins_does_not() {
    let _alone = alone();
    assert_fades_in(&begun(true));
    assert_eq!(begun(false)[0], LEVEL);
}

#[test]
fn a_microphone_that_is_missing_at_the_start_is_silence_beside_an_output_and_a_clock_where_it_paces() {
    let _alone = alone();
    for clock in [Clock::Sink, Clock::Source] {
        let source = SourceSpec::Device(awaited("virtual"));
        let mut scene = Scene::open_where(
            |host| host.inputs().pull_out(),
            |spec| PipelineSpec { source, clock, ..spec },
            Some(Box::new(Generator { counts: None })),
        );
        // Whatever the microphone brings, all of the chain is run.
        scene.until("sound", |scene| scene.heard().last() == Some(&LEVEL));
        let at = usize::from(clock == Clock::Sink);
        let device = scene.status().devices[at].clone();
        assert!(device.lost_s.is_some() && device.direction == "input", "{device:?}");
        scene.host.inputs().put_back();
        scene.wait_back(at);
        assert!(scene.has_told("the input device virtual is there, "), "{:?}", scene.told);
        scene.heard();
        scene.wait_frames(50);
        assert_eq!(scene.heard().last(), Some(&LEVEL));
        // Where it paces, its own clock took over from the virtual one.
        assert_eq!(scene.witness.threads().len(), if clock == Clock::Sink { 1 } else { 2 });
    }
}

#[test]
fn a_device_that_is_missing_at_the_start_ends_it_where_nothing_may_take_its_place() {
    let _alone = alone();
    let host = VirtualHost::new();
    host.outputs().pull_out();
    let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::device("virtual"));
    let (supervisor, _) = Supervisor::new().unwrap();
    let around = Around { virtual_host: Some(host), ..Around::default() };
    let refused = Pipeline::open_around(&spec, &supervisor, "", around, &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.kind(), host::error::Kind::Absent, "{refused}");
}

#[test]
fn what_a_device_refuses_is_no_reason_to_wait_for_it() {
    let _alone = alone();
    // More channels than there are.
    let device = DeviceSpec { map: Some(vec![1, 7]), ..awaited("virtual") };
    let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::Device(device));
    let (supervisor, _) = Supervisor::new().unwrap();
    let refused = Pipeline::open(&spec, &supervisor, "", &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.kind(), host::error::Kind::Config, "{refused}");
}

#[test]
fn a_device_that_hangs_is_lost_within_a_second_and_can_not_play_when_it_comes_back_later() {
    let _alone = alone();
    let mut scene = Scene::playing();
    scene.host.outputs().hang();
    scene.wait_lost(0);
    assert!(scene.has_told("(it has stopped calling back)"), "{:?}", scene.told);
    scene.wait_frames(50);
    // The hung stream calls back at once, the device is opened again a moment later.
    scene.host.outputs().put_back();
    scene.wait_back(0);
    scene.wait_frames(50);
    // The device, the virtual clock, the device: who ran the chain once has not come back to it.
    assert_eq!(scene.witness.threads().len(), 3);
}

#[test]
fn a_device_that_takes_a_buffer_and_stands_still_is_waited_for_and_was_lost_once() {
    let _alone = alone();
    let mut scene = Scene::playing();
    scene.host.outputs().suspend();
    scene.wait_lost(0);
    let stands_still = "can't be opened again yet: it opens but stands still";
    scene.until("a try", |scene| scene.has_told(stands_still));
    // The virtual clock paces the pipeline meanwhile.
    scene.wait_frames(50);
    assert_eq!(scene.status().devices[0].losses, 1);
    scene.host.outputs().put_back();
    scene.wait_back(0);
    scene.wait_frames(50);
    assert_eq!(scene.status().devices[0].losses, 1, "{:?}", scene.told);
}

#[test]
fn a_dead_device_leaves_no_trace_in_another_pipeline_s_samples() {
    let _alone = alone();
    // Without its plugin: a block that it lost on a busy machine would be no exact one.
    let plain = |spec| PipelineSpec { elements: Vec::new(), ..spec };
    let mut other = Scene::open(plain, Some(Box::new(Generator { counts: Some(0) })));
    let mut scene = Scene::playing();
    let mut heard = other.heard();
    let mut look = |other: &mut Scene, scene: &mut Scene, blocks: u64| {
        scene.wait_frames(blocks);
        other.tend();
        heard.extend(other.heard());
    };
    scene.host.outputs().pull_out();
    scene.wait_lost(0);
    look(&mut other, &mut scene, 50);
    scene.host.outputs().put_back();
    scene.wait_back(0);
    look(&mut other, &mut scene, 50);
    scene.host.outputs().hang();
    scene.wait_lost(0);
    look(&mut other, &mut scene, 50);
    scene.host.outputs().put_back();
    scene.wait_back(0);
    look(&mut other, &mut scene, 50);
    drop(scene);
    other.wait_frames(50);
    heard.extend(other.heard());
    assert!(heard.len() > 100_000 && other.played.lost() == 0, "{}", heard.len());
    let expected = |frame: usize| (frame as f32 / (1 << 24) as f32).to_bits();
    let wrong = heard.iter().enumerate().find(|(frame, sample)| sample.to_bits() != expected(*frame));
    assert_eq!(wrong, None);
    assert_eq!((other.told.len(), other.status().devices[0].losses), (0, 0), "{:?}", other.told);
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn losses_leave_neither_threads_nor_descriptors_behind() {
    let _alone = alone();
    let mut scene = Scene::playing();
    let own = std::process::id();
    let (threads_before, descriptors_before) = (threads(), descriptors(own));
    // More of them take ever longer: a device that is lost so often is tried ever more seldom.
    for loss in 1..=3 {
        if loss == 2 {
            scene.host.outputs().hang()
        } else {
            scene.host.outputs().pull_out()
        }
        scene.wait_lost(0);
        scene.host.outputs().put_back();
        scene.wait_back(0);
        assert_eq!(scene.status().devices[0].losses, loss);
    }
    until("the threads to end", || threads() <= threads_before);
    until("the descriptors to be closed", || descriptors(own) <= descriptors_before);
}

/// Plays [`LEVEL`] into a cable.
fn player(host: &VirtualHost, cable: &str) -> Stream {
    player_at(host, cable, 48_000)
}

fn player_at(host: &VirtualHost, cable: &str, rate: u32) -> Stream {
    let want = StreamFormat { rate, channels: 2, buffer_frames: Some(BLOCK) };
    let device: Device = host.clone().cable(cable).output_device(want).unwrap();
    let stream =
        device.open_output(|playback: &mut Playback<'_>| playback.samples.fill(LEVEL), |_| ()).unwrap();
    stream.play().unwrap();
    stream
}

#[test]
fn an_input_that_is_pulled_out_is_silent_until_it_is_back_and_the_output_plays_on() {
    let _alone = alone();
    let mut scene =
        Scene::open(|spec| PipelineSpec { source: SourceSpec::device("virtual:microphone"), ..spec }, None);
    let _player = player(&scene.host, "microphone");
    scene.until("sound", |scene| scene.heard().last() == Some(&LEVEL));
    scene.host.inputs().pull_out();
    scene.wait_lost(1);
    assert!(scene.has_told("the input device virtual:microphone is gone"), "{:?}", scene.told);
    assert!(scene.has_told("silence in its place"));
    // Over several looks: in one there is only what was played since the last.
    let mut silent_frames = 0;
    scene.until("silence", |scene| {
        let heard = scene.heard();
        let sound = heard.iter().rposition(|sample| *sample != 0.0);
        silent_frames = sound.map_or(silent_frames + heard.len(), |last| heard.len() - last - 1);
        silent_frames > 1000
    });
    let status = scene.status();
    assert_eq!((status.devices[0].losses, status.devices[1].paces), (0, false));
    scene.host.inputs().put_back();
    scene.wait_back(1);
    scene.until("sound again", |scene| scene.heard().last() == Some(&LEVEL));
    // The output's clock has run the chain all the time.
    assert_eq!(scene.witness.threads().len(), 1);
}

#[test]
fn an_input_that_paces_its_pipeline_is_replaced_by_the_virtual_clock_too() {
    let _alone = alone();
    let folder = Folder::new();
    let file = folder.file("heard.wav");
    let mut scene = Scene::open(
        |spec| PipelineSpec {
            source: SourceSpec::device("virtual:microphone"),
            sink: SinkSpec::file(&file),
            ..spec
        },
        None,
    );
    scene.wait_frames(10);
    scene.host.inputs().pull_out();
    scene.wait_lost(0);
    scene.wait_frames(50);
    scene.host.inputs().put_back();
    scene.wait_back(0);
    scene.wait_frames(50);
    assert_eq!(scene.witness.threads().len(), 3);
    let frames = scene.status().frames;
    let Scene { pipeline, supervisor, .. } = scene;
    let closed = pipeline.close();
    assert!(closed.files.is_empty() && closed.plugins.is_empty(), "{closed:?}");
    let written = hound::WavReader::open(&file).unwrap().duration();
    assert!(u64::from(written) >= frames, "{written} of {frames}");
    drop(supervisor);
}

#[test]
fn an_output_beside_an_input_that_paces_is_stood_in_for_and_the_chain_stays_where_it_is() {
    let _alone = alone();
    let mut scene = Scene::open(
        |spec| PipelineSpec {
            source: SourceSpec::device("virtual:microphone"),
            clock: Clock::Source,
            ..spec
        },
        None,
    );
    let first = player(&scene.host, "microphone");
    scene.until("sound", |scene| scene.heard().last() == Some(&LEVEL));
    scene.host.outputs().pull_out();
    scene.wait_lost(1);
    assert!(scene.has_told("the virtual clock goes on in its place"), "{:?}", scene.told);
    // More than the queue holds: somebody takes it out.
    scene.wait_frames(400);
    let status = scene.status();
    assert_eq!(
        (status.devices[0].losses, status.devices[0].paces, status.devices[1].paces),
        (0, true, false)
    );
    assert!(status.overrun_frames < 24_000, "a quarter of it would be left out: {}", status.overrun_frames);
    scene.host.outputs().put_back();
    scene.wait_back(1);
    // Whoever played to the microphone is gone as well.
    drop(first);
    let _second = player(&scene.host, "microphone");
    scene.until("sound again", |scene| scene.heard().last() == Some(&LEVEL));
    assert_eq!(scene.witness.threads().len(), 1, "the input's");
}

/// At half the rate what it brings lasts twice as long.
#[test]
fn an_input_that_paces_and_comes_back_with_longer_buffers_is_heard_by_way_of_the_same_worker() {
    const CABLE: &str = "a microphone with longer buffers";
    let _alone = alone();
    let source = SourceSpec::device(&format!("virtual:{CABLE}"));
    let mut scene = Scene::open(|spec| PipelineSpec { source, clock: Clock::Source, ..spec }, None);
    let first = player(&scene.host, CABLE);
    scene.until("sound", |scene| scene.heard().last() == Some(&LEVEL));
    let before = scene.status().plugins[0].clone();
    scene.host.inputs().pull_out();
    scene.wait_lost(0);
    drop(first);
    // The cable has the rate of the first one that is on it.
    let slow = StreamFormat { rate: 24_000, channels: 2, buffer_frames: Some(BLOCK) };
    let cable = scene.host.clone().cable(CABLE);
    scene.until("nobody to be on it", |_| cable.output_device(slow).unwrap().rate() == slow.rate);
    let _second = player_at(&scene.host, CABLE, slow.rate);
    scene.host.inputs().put_back();
    scene.wait_back(0);
    assert!(scene.has_told("its buffer has 256 frames now, and the pipeline plays on"), "{:?}", scene.told);
    scene.heard();
    let is_level = |sample: &f32| (sample - LEVEL).abs() < 0.001;
    scene.until("sound again", |scene| scene.heard().last().is_some_and(is_level));
    let after = scene.status().plugins[0].clone();
    assert_eq!((after.pid, after.deaths), (before.pid, 0));
    assert!(after.counts.good > before.counts.good, "{after:?}");
}

#[test]
fn a_pipeline_ends_in_order_while_its_device_is_away() {
    let _alone = alone();
    for hangs in [false, true] {
        let mut scene = Scene::playing();
        let presence: Presence = scene.host.outputs();
        if hangs {
            presence.hang()
        } else {
            presence.pull_out()
        }
        scene.wait_lost(0);
        scene.wait_frames(5);
        let pid = scene.status().plugins[0].pid;
        let Scene { pipeline, supervisor, .. } = scene;
        let closed = pipeline.close();
        assert!(closed.plugins.is_empty(), "{closed:?}");
        drop(supervisor);
        assert!(tests::until::process_ends(pid, Duration::from_secs(60)));
        presence.put_back();
    }
}

/// Takes as long as four blocks for every tenth.
struct Dawdler(u32);

impl Processor for Dawdler {
    fn name(&self) -> &str {
        "dawdler"
    }

    fn process(&mut self, _: &mut Block<'_>, _turn: &Turn) {
        self.0 += 1;
        if self.0.is_multiple_of(10) {
            // Busy all the while, so that it is not the scheduler's doing.
            let until = Instant::now() + Duration::from_millis(21);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
    }
}

#[test]
fn a_callback_that_takes_too_long_is_an_xrun_of_the_host_and_no_plugin_s() {
    let _alone = alone();
    let mut scene = Scene::open(|spec| spec, Some(Box::new(Dawdler(0))));
    // The plugin's blocks are late too, as they are given to it when their time is over.
    let blamed_on_host = |scene: &mut Scene| scene.status().plugins[0].causes.host_late;
    scene.until("late callbacks", |scene| scene.status().xruns.host_late > 3 && blamed_on_host(scene) > 3);
    // The last block has been counted everywhere.
    scene.pipeline.halt();
    let status = scene.status();
    assert!(status.xruns.host_late <= status.frames / u64::from(BLOCK), "{:?}", status.xruns);
    let counts = status.plugins[0].counts;
    let late = counts.late + counts.behind;
    assert!(status.xruns.plugin_late + 3 < late, "{:?} {counts:?}", status.xruns);
}

/// Plays into a cable as long as it may: it waits in its callback for whoever has the lock.
fn player_held_by(host: &VirtualHost, cable: &str, want: StreamFormat, lock: &Arc<Mutex<()>>) -> Stream {
    let (device, lock): (Device, _) =
        (host.clone().cable(cable).output_device(want).unwrap(), Arc::clone(lock));
    let play = move |playback: &mut Playback<'_>| {
        drop(lock.lock().unwrap_or_else(PoisonError::into_inner));
        playback.samples.fill(LEVEL);
    };
    let stream = device.open_output(play, |_| ()).unwrap();
    stream.play().unwrap();
    stream
}

#[test]
fn an_input_that_ran_dry_is_an_xrun_of_the_device_alone_and_stays_counted_when_it_was_away() {
    let _alone = alone();
    // Half a second each, twice as long as an input waits for what it is to hear: no callback is late for that.
    let (frames, rate) = (8192, 16_000);
    let source = SourceSpec::device("virtual:microphone");
    let spec = |spec| PipelineSpec {
        source,
        block_frames: frames,
        rate: Some(rate),
        // Without its plugin: a busy machine may have it late.
        elements: Vec::new(),
        ..spec
    };
    let mut scene = Scene::open(spec, None);
    let lock = Arc::new(Mutex::new(()));
    let want = StreamFormat { rate, channels: 2, buffer_frames: Some(frames) };
    let _player = player_held_by(&scene.host, "microphone", want, &lock);
    scene.until("sound", |scene| scene.heard().last() == Some(&LEVEL));
    let before = scene.status().xruns;
    let held = lock.lock().unwrap();
    scene.until("an xrun", |scene| scene.status().xruns.device > before.device);
    drop(held);
    let after = scene.status().xruns;
    assert_eq!((after.host_late, after.plugin_late), (before.host_late, before.plugin_late));
    scene.host.inputs().pull_out();
    scene.wait_lost(1);
    assert!(scene.status().xruns.device >= after.device, "{:?}", scene.status().xruns);
    scene.host.inputs().put_back();
    scene.wait_back(1);
    assert!(scene.status().xruns.device >= after.device, "{:?}", scene.status().xruns);
}

#[test]
fn a_plugin_that_is_too_slow_is_no_xrun_of_the_device() {
    let _alone = alone();
    let folder = Folder::new();
    let file = tests::plugins::processor(&folder, "slow", "__import__('time').sleep(0.02)\nreturn True");
    let slow = PluginSpec { python: Some(python()), adapt: false, ..PluginSpec::new(file) };
    let mut scene = Scene::open(|spec| PipelineSpec { elements: vec![slow.into()], ..spec }, None);
    scene.until("late blocks", |scene| scene.status().xruns.plugin_late > 3);
    scene.pipeline.halt();
    let status = scene.status();
    let counts = status.plugins[0].counts;
    assert_eq!(status.xruns.device, 0);
    assert!(status.xruns.plugin_late <= counts.late + counts.behind, "{:?} {counts:?}", status.xruns);
}
