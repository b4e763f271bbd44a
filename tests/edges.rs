//! What lies between a pipeline and its devices: cables, other rates and channels, clocks that drift.

use host::config::{PipelineSpec, SinkSpec, SourceSpec};
use host::pipeline::Pipeline;
use host::supervisor::Supervisor;
use std::path::Path;
use tests::audio::noises;
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::Folder;

fn open(spec: &PipelineSpec, supervisor: &Supervisor) -> Pipeline {
    Pipeline::open(spec, supervisor, "", &mut |_, note| panic!("{note}")).unwrap()
}

/// Where `part` begins in `whole`.
fn place_of(part: &[f32], whole: &[f32]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}

fn write_noise(path: &Path, frames: usize) -> Wav {
    let wav = Wav::new(noises(2, frames));
    wav.write(path);
    wav
}

#[test]
fn what_one_pipeline_plays_into_a_cable_another_one_hears_bit_by_bit() {
    let folder = Folder::new();
    let sent = write_noise(&folder.file("in.wav"), 48_000);
    let (supervisor, _events) = Supervisor::new().unwrap();
    let radio = "virtual:a test's radio";
    let transmit = PipelineSpec::new(SourceSpec::file(folder.file("in.wav")), SinkSpec::device(radio));
    let receive = PipelineSpec::new(SourceSpec::device(radio), SinkSpec::file(folder.file("out.wav")));
    let (mut transmitter, mut receiver) = (open(&transmit, &supervisor), open(&receive, &supervisor));
    assert_eq!(receiver.status().latency.device_frames, 256, "a cable is one buffer long");
    receiver.play().unwrap();
    transmitter.play().unwrap();
    until("the transmission has ended", || transmitter.has_ended());
    let heard_then = receiver.status().frames;
    until("its last frames are heard", || receiver.status().frames > heard_then + 2048);
    transmitter.close();
    receiver.close();
    let heard = Wav::read(&folder.file("out.wav"));
    let place = place_of(&sent.channels[0], &heard.channels[0]).expect("not all was heard, or not as it was");
    assert_eq!(heard.channels[1][place..place + sent.frames()], sent.channels[1]);
    assert!(heard.channels[0][..place].iter().all(|sample| *sample == 0.0));
}

/// A pipeline whose source and sink have clocks of their own.
mod two_devices {
    use super::*;
    use host::config::{Clock, DeviceSpec, FileSinkSpec};
    use host::edge::Quality;

    /// Hears a transmission of one second and plays it by a clock that is faster by 200 ppm, for somebody who listens by
    /// the same, corrected by frames left out or put in. Until it is known how much is to be corrected.
    fn transmit(name: &str, clock: Clock) -> (Wav, Wav, Wav) {
        let folder = Folder::new();
        let sent = write_noise(&folder.file("in.wav"), 48_000);
        let (supervisor, _events) = Supervisor::new().unwrap();
        let (radio, ear) = (format!("virtual:{name}'s radio"), format!("virtual:{name}'s ear"));
        let fast = DeviceSpec { ppm: 200, ..DeviceSpec::new(&ear) };
        let transmit = PipelineSpec::new(SourceSpec::file(folder.file("in.wav")), SinkSpec::device(&radio));
        let mut receive = PipelineSpec::new(SourceSpec::device(&radio), SinkSpec::Device(fast.clone()));
        (receive.clock, receive.resampling) = (clock, Some(Quality::Fast));
        receive.record = Some(FileSinkSpec::new(folder.file("rx.wav")));
        let listen = PipelineSpec::new(SourceSpec::Device(fast), SinkSpec::file(folder.file("out.wav")));
        let [mut transmitter, mut receiver, mut listener] =
            [transmit, receive, listen].map(|spec| open(&spec, &supervisor));
        listener.play().unwrap();
        receiver.play().unwrap();
        transmitter.play().unwrap();
        until("the transmission has ended", || transmitter.has_ended());
        // It plays more than it hears: the queue is read more slowly than it plays.
        let correction = |pipeline: &mut Pipeline| pipeline.status().capture.unwrap().correction_ppm;
        until("most of it is corrected", || (-400.0..-100.0).contains(&correction(&mut receiver)));
        let _ = [transmitter, receiver, listener].map(Pipeline::close);
        (sent, Wav::read(&folder.file("rx.wav")), Wav::read(&folder.file("out.wav")))
    }

    /// How many parts of what was sent are heard as they were, and how many parts there are.
    fn whole_parts(sent: &Wav, heard: &Wav) -> (usize, usize) {
        let parts = sent.channels[0].chunks_exact(512);
        let is_whole = |part: &&[f32]| place_of(part, &heard.channels[0]).is_some();
        (parts.clone().filter(is_whole).count(), parts.count())
    }

    #[test]
    fn on_the_clock_of_its_source_each_frame_is_processed_as_it_came_and_held_to_the_sinks_behind_that() {
        let (sent, processed, heard) = transmit("source", Clock::Source);
        let place = place_of(&sent.channels[0], &processed.channels[0]).expect("frame by frame");
        assert_eq!(processed.channels[1][place..place + sent.frames()], sent.channels[1]);
        let (whole, parts) = whole_parts(&sent, &heard);
        assert!(whole > parts / 2, "{whole} of {parts}");
    }

    #[test]
    fn on_the_clock_of_its_sink_what_the_source_brings_is_held_to_that() {
        let (sent, processed, heard) = transmit("sink", Clock::Sink);
        for heard in [processed, heard] {
            let (whole, parts) = whole_parts(&sent, &heard);
            assert!(whole > parts / 2, "{whole} of {parts}");
        }
    }

    #[test]
    fn what_holding_them_together_delays_by_is_told() {
        let (supervisor, _events) = Supervisor::new().unwrap();
        let adaptation_frames = |resampling, clock| {
            let sink = DeviceSpec { ppm: 200, ..DeviceSpec::new("virtual:told at an ear") };
            let source = SourceSpec::device("virtual:told at a radio");
            let spec = PipelineSpec::new(source, SinkSpec::Device(sink));
            let mut pipeline = open(&PipelineSpec { resampling, clock, ..spec }, &supervisor);
            let latency = pipeline.status().latency;
            pipeline.close();
            latency.adaptation_frames
        };
        for clock in [Clock::Sink, Clock::Source] {
            let fast = adaptation_frames(Some(Quality::Fast), clock);
            assert_eq!(adaptation_frames(None, clock), fast + 63, "{clock:?}");
            assert_eq!(adaptation_frames(Some(Quality::Best), clock), fast + 127, "{clock:?}");
        }
    }
}

mod the_end {
    use super::*;
    use host::audio_file::{Bits, WavWriter};
    use host::backend::virtual_device::VirtualHost;
    use host::backend::{Capture, StreamFormat};
    use host::config::DeviceSpec;
    use host::pipeline::Around;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// A device takes a few frames at a time, so that most of a block is still on its way when it has been processed.
    #[test]
    fn a_file_is_heard_to_its_last_frame_before_its_pipeline_has_ended() {
        const RATE: u32 = 16_000;
        let folder = Folder::new();
        // The end lies in the middle of a block.
        let mut file = WavWriter::create(folder.file("in.wav"), 1, RATE, Bits::F32).unwrap();
        file.write(&[0.5; 4800]).unwrap();
        file.finalize().unwrap();
        let (host, simulation) = VirtualHost::simulated();
        let sink = DeviceSpec { buffer_frames: Some(16), ..DeviceSpec::new("virtual:end") };
        let spec = PipelineSpec::new(SourceSpec::file(folder.file("in.wav")), SinkSpec::Device(sink));
        let spec = PipelineSpec { block_frames: 256, ..spec };
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let want = StreamFormat { rate: RATE, channels: 1, buffer_frames: Some(16) };
        let listener = host.clone().cable("end").input_device(want).unwrap();
        let listen = move |capture: &Capture<'_>| hears.lock().unwrap().extend_from_slice(capture.samples);
        let listener = listener.open_input(listen, |_| ()).unwrap();
        let (supervisor, _) = Supervisor::new().unwrap();
        let around = Around { virtual_host: Some(host), ..Around::default() };
        let mut pipeline = Pipeline::open_around(&spec, &supervisor, "", around, &mut |_, _| {}).unwrap();
        listener.play().unwrap();
        pipeline.play().unwrap();
        until("it has ended", || {
            simulation.run(Duration::from_millis(1));
            pipeline.has_ended()
        });
        pipeline.halt();
        simulation.run(Duration::from_millis(10));
        let sound = heard.lock().unwrap().iter().filter(|sample| **sample == 0.5).count();
        assert_eq!(sound, 4800);
    }
}

/// A sine that an input device hears, through the real edge of a pipeline, to an output device of another clock.
mod two_clocks {
    use super::*;
    use host::Format;
    use host::backend::virtual_device::{Simulation, VirtualHost};
    use host::backend::{Capture, Playback, Stream, StreamFormat};
    use host::config::{Clock, DeviceSpec};
    use host::edge::{
        CaptureCounts, CaptureQueue, ChannelMap, Clocks, DeviceInput, DeviceOutput, OutputReblock, Quality,
        Side, frame_fifo,
    };
    use host::pipeline::Around;
    use host::report::PipelineStatus;
    use std::f64::consts::TAU;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    const RATE: u32 = 48_000;
    /// Buffers a little longer than a block, as PulseAudio's.
    const ONE_BLOCK: Sizes = Sizes { block: 256, buffer: 262 };
    /// Buffers of several blocks, which are asked for all at once.
    const SEVERAL_BLOCKS: Sizes = Sizes { block: 128, buffer: 1024 };
    const TONE_HZ: f64 = 1_000.0;

    /// A sound that another clock's input hears.
    #[derive(Clone, Copy)]
    struct Sound {
        hz: f64,
        /// By how many millionths its clock is fast.
        ppm: i32,
        input_rate: u32,
    }

    #[derive(Clone, Copy)]
    struct Sizes {
        block: u32,
        buffer: u32,
    }

    struct Duplex {
        simulation: Simulation,
        _streams: Vec<Stream>,
        counts: Arc<CaptureCounts>,
        heard: Arc<Mutex<Vec<f32>>>,
        target: usize,
    }

    /// An input whose clock is fast by `ppm` and whose rate is `input_rate`, and an output that is neither.
    fn duplex(Sizes { block, buffer }: Sizes, sound: Sound, jitter: u32, quality: Quality) -> Duplex {
        let Sound { hz, ppm, input_rate } = sound;
        let (host, simulation) = VirtualHost::simulated();
        let host = host.jittered(jitter);
        let want = |rate| StreamFormat { rate, channels: 1, buffer_frames: Some(buffer) };
        let input = host.clone().off_by(ppm).input_device(want(input_rate)).unwrap();
        let output = host.output_device(want(RATE)).unwrap();
        assert_eq!(input.shares_clock_with(&output), ppm == 0);
        let format = Format::new(1, block, RATE).unwrap();
        let side = |device_rate| {
            let map = ChannelMap::new(1, 1);
            Side { device_rate, rate: RATE, map, quality: Quality::Good }
        };
        let longest = side(input_rate).frames((buffer + jitter) as usize) + 1;
        let target = longest + (buffer + jitter + block) as usize;
        let (mut writer, reader) = frame_fifo(1, RATE as usize, 0);
        let mut queue = CaptureQueue::new(reader, format, target, longest, Clocks::Two(quality)).unwrap();
        let counts = queue.counts();
        let mut edge = DeviceInput::new(side(input_rate)).unwrap();
        let mut frame = 0u64;
        let capture = move |capture: &Capture<'_>| {
            // The sound in the air goes by true time, in which this clock is fast.
            let true_rate = f64::from(input_rate) * (1.0 + f64::from(ppm) * 1e-6);
            let tone = |n: u64| (TAU * (hz * n as f64 / true_rate).fract()).sin() as f32 * 0.5;
            let samples: Vec<f32> = (frame..frame + capture.frames as u64).map(tone).collect();
            frame += capture.frames as u64;
            let at = u64::try_from(capture.at.as_nanos()).unwrap();
            edge.push(&samples, |frames| assert_eq!(writer.write(frames, at), frames.len()));
        };
        let (mut blocks, mut edge) = (OutputReblock::new(format), DeviceOutput::new(side(RATE)).unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let play = move |playback: &mut Playback<'_>| {
            let at = u64::try_from(playback.at.as_nanos()).unwrap();
            edge.fill(&mut blocks, playback.samples, |block| queue.read(block, at));
            hears.lock().unwrap().extend_from_slice(playback.samples);
        };
        let streams =
            vec![input.open_input(capture, |_| ()).unwrap(), output.open_output(play, |_| ()).unwrap()];
        streams.iter().for_each(|stream| stream.play().unwrap());
        Duplex { simulation, _streams: streams, counts, heard, target }
    }

    /// The frequency of a tone in these frames, by how far its phase moves from their first half to their second.
    fn frequency(samples: &[f32]) -> f64 {
        let half = samples.len() / 2;
        let phase = |from: usize| {
            let part = samples[from..from + half].iter().enumerate();
            let (sine, cosine) = part.fold((0.0, 0.0), |(sine, cosine), (n, sample)| {
                let angle = TAU * TONE_HZ * (from + n) as f64 / f64::from(RATE);
                (sine + f64::from(*sample) * angle.sin(), cosine + f64::from(*sample) * angle.cos())
            });
            f64::atan2(cosine, sine)
        };
        let turn = (phase(half) - phase(0) + TAU / 2.0).rem_euclid(TAU) - TAU / 2.0;
        TONE_HZ + turn / TAU * f64::from(RATE) / half as f64
    }

    /// By how much of its pitch a second of the tone is off, which has no dropout and no step.
    fn off_pitch(heard: &[f32], what: &str) -> f64 {
        let loudness = heard.chunks_exact(48).map(|cycle| cycle.iter().fold(0.0f32, |a, b| a.max(b.abs())));
        assert!(loudness.clone().all(|peak| peak > 0.45), "{what}: a dropout");
        assert!(loudness.clone().all(|peak| peak < 0.55), "{what}: too loud");
        let largest = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(largest < 0.08, "{what}: a step of {largest}");
        let parts = heard.chunks_exact(RATE as usize / 4);
        parts.map(|part| (frequency(part) / TONE_HZ - 1.0).abs()).fold(0.0, f64::max)
    }

    fn is_heard_well(sizes: Sizes, minutes: u64, ppm: i32, input_rate: u32, jitter: u32) {
        is_heard_well_at(Quality::Good, sizes, minutes, ppm, input_rate, jitter);
    }

    fn is_heard_well_at(
        quality: Quality,
        sizes: Sizes,
        minutes: u64,
        ppm: i32,
        input_rate: u32,
        jitter: u32,
    ) {
        let Sizes { block, buffer } = sizes;
        let what = format!(
            "{quality:?}, {ppm} ppm, {input_rate} Hz, buffers of {buffer} +- {jitter}, blocks of {block}"
        );
        let duplex = duplex(sizes, Sound { hz: TONE_HZ, ppm, input_rate }, jitter, quality);
        // The beginning: silence until the queue is filled, and a fade.
        duplex.simulation.run(Duration::from_millis(100));
        duplex.heard.lock().unwrap().clear();
        let mut worst = 0.0f64;
        let (mut lowest, mut highest) = (u32::MAX, 0);
        for _ in 0..minutes * 60 {
            duplex.simulation.run(Duration::from_secs(1));
            let mut heard = duplex.heard.lock().unwrap();
            worst = worst.max(off_pitch(&heard, &what));
            heard.clear();
            lowest = lowest.min(duplex.counts.level_frames());
            highest = highest.max(duplex.counts.level_frames());
        }
        println!("{what}: pitch off by {:.4} % at most, level {lowest} to {highest}", worst * 100.0);
        assert!(worst < 5e-4, "{what}: the pitch is off by {worst}");
        assert_eq!((duplex.counts.gaps(), duplex.counts.overrun_frames()), (0, 0), "{what}");
        let target = u32::try_from(duplex.target).unwrap();
        assert!(
            lowest > target - 100 && highest < target + buffer + 100,
            "{what}: {lowest} to {highest} of {target}"
        );
        let (level, told) = (duplex.counts.level_frames(), duplex.counts.target_frames());
        assert!(level.abs_diff(told) < 50, "{what}: {level} at the end, told {told}");
        let correction = duplex.counts.correction_ppm();
        assert!((correction - f64::from(ppm)).abs() < 30.0, "{what}: corrected by {correction} ppm");
    }

    /// A whole pipeline, as it is opened, from a cable whose clock is off to one whose is not.
    fn a_pipeline_is_heard_well(clock: Clock, ppm: i32) {
        let what = format!("a pipeline on the clock of its {clock:?}, {ppm} ppm");
        let (host, simulation) = VirtualHost::simulated();
        let want = StreamFormat { rate: RATE, channels: 1, buffer_frames: Some(ONE_BLOCK.buffer) };
        let mut frame = 0u64;
        let sing = move |playback: &mut Playback<'_>| {
            let true_rate = f64::from(RATE) * (1.0 + f64::from(ppm) * 1e-6);
            for sample in playback.samples.iter_mut() {
                *sample = (TAU * (TONE_HZ * frame as f64 / true_rate).fract()).sin() as f32 * 0.5;
                frame += 1;
            }
        };
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let listen = move |capture: &Capture<'_>| hears.lock().unwrap().extend_from_slice(capture.samples);
        let singer = host.clone().off_by(ppm).cable("sung").output_device(want).unwrap();
        let listener = host.clone().cable("heard").input_device(want).unwrap();
        let streams =
            [singer.open_output(sing, |_| ()).unwrap(), listener.open_input(listen, |_| ()).unwrap()];
        let device = |name: &str, ppm| DeviceSpec {
            buffer_frames: Some(ONE_BLOCK.buffer),
            ppm,
            ..DeviceSpec::new(name)
        };
        let spec = PipelineSpec {
            block_frames: ONE_BLOCK.block,
            channels: Some(1),
            rate: Some(RATE),
            clock,
            ..PipelineSpec::new(
                SourceSpec::Device(device("virtual:sung", ppm)),
                SinkSpec::Device(device("virtual:heard", 0)),
            )
        };
        let (supervisor, _) = Supervisor::new().unwrap();
        let around = Around { virtual_host: Some(host), ..Around::default() };
        let mut pipeline = Pipeline::open_around(&spec, &supervisor, "", around, &mut |_, _| {}).unwrap();
        streams.iter().for_each(|stream| stream.play().unwrap());
        pipeline.play().unwrap();
        // The beginning: silence until the queue is filled, and a fade.
        simulation.run(Duration::from_secs(1));
        heard.lock().unwrap().clear();
        let begun = pipeline.status();
        let (mut worst, mut levels) = (0.0f64, Vec::new());
        for _ in 0..600 {
            simulation.run(Duration::from_secs(1));
            let mut heard = heard.lock().unwrap();
            worst = worst.max(off_pitch(&heard, &what));
            heard.clear();
            levels.push(pipeline.status().capture.expect("a queue").level_frames);
        }
        let ended = pipeline.status();
        let capture = ended.capture.expect("a queue");
        let (lowest, highest) = (levels.iter().min().unwrap(), levels.iter().max().unwrap());
        println!("{what}: pitch off by {:.4} % at most, level {lowest} to {highest}", worst * 100.0);
        assert!(worst < 5e-4, "{what}: the pitch is off by {worst}");
        let lost = |status: &PipelineStatus| {
            (status.capture.map(|it| it.gaps), status.underrun_frames, status.overrun_frames)
        };
        assert_eq!(lost(&ended), lost(&begun), "{what}");
        // In the beginning it is found out how much comes in one go.
        let (target, margin) = (capture.target_frames, ONE_BLOCK.buffer + 100);
        assert!(
            *lowest > target - margin && *highest < target + margin,
            "{what}: {lowest} to {highest} of {target}"
        );
    }

    #[test]
    fn a_whole_pipeline_between_clocks_200_ppm_apart_plays_ten_minutes_in_tune_on_its_sinks_clock() {
        a_pipeline_is_heard_well(Clock::Sink, 200);
    }

    #[test]
    fn a_whole_pipeline_between_clocks_200_ppm_apart_plays_ten_minutes_in_tune_on_its_sources_clock() {
        a_pipeline_is_heard_well(Clock::Source, -200);
    }

    #[test]
    fn an_input_that_is_fast_by_200_ppm_is_heard_in_tune_and_without_a_gap() {
        is_heard_well(ONE_BLOCK, 2, 200, RATE, 0);
    }

    #[test]
    fn an_input_that_is_slow_by_200_ppm_is_heard_in_tune_and_without_a_gap() {
        is_heard_well(ONE_BLOCK, 2, -200, RATE, 0);
    }

    #[test]
    fn so_it_is_where_frames_are_left_out_or_put_in_rather_than_converted() {
        is_heard_well_at(Quality::Fast, ONE_BLOCK, 1, 200, RATE, 7);
    }

    /// The level of a tone in these frames.
    fn level(samples: &[f32], hz: f64) -> f64 {
        let angle = |n: usize| TAU * hz * n as f64 / f64::from(RATE);
        let (sine, cosine) = samples.iter().enumerate().fold((0.0, 0.0), |(sine, cosine), (n, sample)| {
            (sine + f64::from(*sample) * angle(n).sin(), cosine + f64::from(*sample) * angle(n).cos())
        });
        2.0 * sine.hypot(cosine) / samples.len() as f64
    }

    /// Between the loudest and the softest millisecond of two seconds, once it is known what is to be corrected.
    fn ripple_db(hz: f64) -> f64 {
        let sound = Sound { hz, ppm: 200, input_rate: RATE };
        let duplex = duplex(ONE_BLOCK, sound, 0, Quality::default());
        duplex.simulation.run(Duration::from_secs(20));
        duplex.heard.lock().unwrap().clear();
        duplex.simulation.run(Duration::from_secs(2));
        let heard = duplex.heard.lock().unwrap();
        let levels = heard.chunks_exact(48).map(|part| level(part, hz));
        let (softest, loudest) =
            levels.fold((f64::MAX, 0.0f64), |(a, b), level| (a.min(level), b.max(level)));
        20.0 * (loudest / softest).log10()
    }

    #[test]
    fn high_tones_keep_their_level_while_clocks_are_held_together() {
        for hz in [5_000.0, 10_000.0, 15_000.0] {
            let ripple = ripple_db(hz);
            println!("{hz} Hz: level ripple {ripple:.4} dB");
            assert!(ripple < 0.05, "{hz} Hz: {ripple} dB");
        }
    }

    #[test]
    fn buffers_that_vary_as_pulseaudios_do_change_nothing() {
        is_heard_well(ONE_BLOCK, 1, 200, RATE, 7);
        is_heard_well(ONE_BLOCK, 1, -200, RATE, 7);
    }

    #[test]
    fn neither_does_another_rate() {
        is_heard_well(ONE_BLOCK, 1, -200, 44_100, 7);
    }

    #[test]
    fn nor_does_a_buffer_of_several_blocks() {
        is_heard_well(SEVERAL_BLOCKS, 2, 200, RATE, 0);
        is_heard_well(SEVERAL_BLOCKS, 2, -200, RATE, 7);
        is_heard_well(SEVERAL_BLOCKS, 2, 200, 44_100, 7);
    }
}

/// Rates and channels that are not the pipeline's.
mod conversion {
    use super::*;
    use host::config::{DeviceSpec, FileSinkSpec, FileSourceSpec};
    use host::edge::Quality;
    use std::f32::consts::TAU;

    pub(super) fn tone(rate: u32, frames: usize) -> Vec<f32> {
        (0..frames).map(|n| (TAU * 441.0 * n as f32 / rate as f32).sin() * 0.5).collect()
    }

    /// How far these frames are from the best fitting tone of 441 Hz (least squares), at most.
    pub(super) fn distance_from_tone(heard: &[f32], rate: u32) -> f64 {
        let tone = |n: usize| (std::f64::consts::TAU * 441.0 * n as f64 / f64::from(rate)).sin_cos();
        let (mut ss, mut sc, mut cc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (n, sample) in heard.iter().enumerate() {
            let ((sine, cosine), sample) = (tone(n), f64::from(*sample));
            (ss, sc, cc) = (ss + sine * sine, sc + sine * cosine, cc + cosine * cosine);
            (ys, yc) = (ys + sample * sine, yc + sample * cosine);
        }
        let determinant = ss * cc - sc * sc;
        let (a, b) = ((ys * cc - yc * sc) / determinant, (yc * ss - ys * sc) / determinant);
        assert!(a.hypot(b) > 0.45, "there is no tone");
        let rest = |(n, sample): (usize, &f32)| {
            let (sine, cosine) = tone(n);
            (f64::from(*sample) - a * sine - b * cosine).abs()
        };
        heard.iter().enumerate().map(rest).fold(0.0, f64::max)
    }

    #[test]
    fn a_file_of_another_rate_and_fewer_channels_is_played_as_it_sounds_from_its_first_frame_to_its_last() {
        let folder = Folder::new();
        Wav::new(vec![tone(44_100, 44_100)]).at(44_100).write(&folder.file("in.wav"));
        let (supervisor, _events) = Supervisor::new().unwrap();
        let source = SourceSpec::file(folder.file("in.wav"));
        let sink = SinkSpec::File(FileSinkSpec::new(folder.file("out.wav")));
        let spec = PipelineSpec { rate: Some(48_000), channels: Some(2), ..PipelineSpec::new(source, sink) };
        let mut pipeline = open(&spec, &supervisor);
        pipeline.play().unwrap();
        until("the file has ended", || pipeline.has_ended());
        pipeline.close();
        let heard = Wav::read(&folder.file("out.wav"));
        assert_eq!((heard.rate, heard.channels.len(), heard.frames()), (48_000, 2, 48_000));
        assert_eq!(heard.channels[0], heard.channels[1]);
        let expected = tone(48_000, 48_000);
        let wrong = |n: usize| (heard.channels[0][n] - expected[n]).abs();
        // Half a frame early or late at most.
        let half_a_frame = 0.5 * TAU * 441.0 / 48_000.0 / 2.0;
        let worst = (300..47_700).map(wrong).fold(0.0, f32::max);
        assert!(worst < half_a_frame, "{worst}");
        assert!(distance_from_tone(&heard.channels[0][1_000..45_000], 48_000) < 1e-3);
        assert!((0..48_000).map(wrong).fold(0.0, f32::max) < 0.1);
    }

    #[test]
    fn a_file_is_converted_as_well_as_can_be_or_as_is_asked_for() {
        // What the shortest filter does not let through.
        const HIGH_HZ: f32 = 20_000.0;
        let folder = Folder::new();
        let high = (0..44_100).map(|n| (TAU * HIGH_HZ * n as f32 / 44_100.0).sin() * 0.5).collect();
        Wav::new(vec![high]).at(44_100).write(&folder.file("in.wav"));
        let (supervisor, _events) = Supervisor::new().unwrap();
        let loudness = |resampling| {
            let source = SourceSpec::file(folder.file("in.wav"));
            let spec = PipelineSpec::new(source, SinkSpec::file(folder.file("out.wav")));
            let spec = PipelineSpec { rate: Some(48_000), resampling, ..spec };
            let mut pipeline = open(&spec, &supervisor);
            pipeline.play().unwrap();
            until("the file has ended", || pipeline.has_ended());
            pipeline.close();
            let heard = Wav::read(&folder.file("out.wav"));
            heard.channels[0][1_000..47_000].iter().fold(0.0f32, |most, sample| most.max(sample.abs()))
        };
        let [unsaid, best, fast] = [None, Some(Quality::Best), Some(Quality::Fast)].map(loudness);
        assert!(unsaid > 0.49 && unsaid == best, "{unsaid}, {best}");
        assert!(fast < 0.35, "{fast}");
    }

    #[test]
    fn files_give_and_take_the_channels_that_a_map_names() {
        let folder = Folder::new();
        let sent = Wav::new(noises(3, 48_000));
        sent.write(&folder.file("in.wav"));
        let (supervisor, _events) = Supervisor::new().unwrap();
        let source = FileSourceSpec { map: Some(vec![3, 1]), ..FileSourceSpec::new(folder.file("in.wav")) };
        let file = |name: &str, map: &[u32]| {
            let map = Some(map.to_vec());
            FileSinkSpec { map, ..FileSinkSpec::new(folder.file(name)) }
        };
        let sink = SinkSpec::File(file("out.wav", &[2, 0, 1]));
        let spec = PipelineSpec { channels: Some(2), ..PipelineSpec::new(SourceSpec::File(source), sink) };
        let spec = PipelineSpec { record: Some(file("record.wav", &[1])), ..spec };
        let mut pipeline = open(&spec, &supervisor);
        pipeline.play().unwrap();
        until("the file has ended", || pipeline.has_ended());
        pipeline.close();
        let [first, _, third] = &sent.channels[..] else { panic!() };
        let heard = Wav::read(&folder.file("out.wav"));
        assert_eq!(heard.channels, [first.clone(), vec![0.0; 48_000], third.clone()]);
        assert_eq!(Wav::read(&folder.file("record.wav")).channels, std::slice::from_ref(third));
    }

    #[test]
    fn a_map_of_channels_that_are_not_there_is_refused_and_the_file_to_be_written_left_as_it_is() {
        let folder = Folder::new();
        write_noise(&folder.file("in.wav"), 100);
        let before = write_noise(&folder.file("out.wav"), 50);
        let (supervisor, _events) = Supervisor::new().unwrap();
        let refusal = |source_map: &[u32], sink_map: &[u32]| {
            let map = Some(source_map.to_vec());
            let source = FileSourceSpec { map, ..FileSourceSpec::new(folder.file("in.wav")) };
            let map = Some(sink_map.to_vec());
            let sink = FileSinkSpec { map, ..FileSinkSpec::new(folder.file("out.wav")) };
            let spec = PipelineSpec::new(SourceSpec::File(source), SinkSpec::File(sink));
            Pipeline::open(&spec, &supervisor, "", &mut |_, _| {}).map(drop).unwrap_err().to_string()
        };
        let refusal_of_record = |map: &[u32]| {
            let map = Some(map.to_vec());
            let record = Some(FileSinkSpec { map, ..FileSinkSpec::new(folder.file("record.wav")) });
            let (source, sink) = (folder.file("in.wav"), folder.file("out.wav"));
            let spec = PipelineSpec::new(SourceSpec::file(source), SinkSpec::file(sink));
            let spec = PipelineSpec { record, ..spec };
            Pipeline::open(&spec, &supervisor, "", &mut |_, _| {}).map(drop).unwrap_err().to_string()
        };
        let said = refusal(&[1, 3], &[1, 2]);
        assert!(said.contains("/in.wav: the map names channel 3, and there are 2"), "{said}");
        let said = refusal(&[1, 2], &[3]);
        assert!(said.contains("/out.wav: the map names channel 3, and there are 2"), "{said}");
        let said = refusal_of_record(&[3]);
        assert!(said.contains("/record.wav: the map names channel 3, and there are 2"), "{said}");
        let said = refusal(&[1, 2, 0], &[1]);
        assert!(said.contains("the map is for 3 channels, and there are 2"), "{said}");
        assert_eq!(Wav::read(&folder.file("out.wav")).channels, before.channels);
    }

    #[test]
    fn devices_of_another_rate_are_converted_which_is_told_and_counts_as_latency() {
        let folder = Folder::new();
        Wav::new(vec![tone(48_000, 96_000), vec![0.0; 96_000]]).write(&folder.file("in.wav"));
        let (supervisor, _events) = Supervisor::new().unwrap();
        let radio = |map: &[u32]| {
            let map = Some(map.to_vec());
            DeviceSpec { rate: Some(44_100), map, ..DeviceSpec::new("virtual:a radio at 44.1 kHz") }
        };
        let transmit = PipelineSpec::new(
            SourceSpec::file(folder.file("in.wav")),
            // The tone goes to the third channel, the silence to the others.
            SinkSpec::Device(radio(&[2, 0, 1])),
        );
        let receive =
            PipelineSpec::new(SourceSpec::Device(radio(&[2, 3])), SinkSpec::file(folder.file("out.wav")));
        let mut notes = Vec::new();
        let mut open = |spec| Pipeline::open(spec, &supervisor, "", &mut |_, note| notes.push(note)).unwrap();
        let (mut transmitter, mut receiver) = (open(&transmit), open(&receive));
        assert_eq!(notes.len(), 2);
        assert!(notes[0].contains("44100 Hz") && notes[0].contains("48000 Hz"), "{}", notes[0]);
        // Half a sinc each, and a block for buffers that are none.
        assert_eq!(transmitter.status().latency.adaptation_frames, 63);
        assert_eq!(receiver.status().latency.adaptation_frames, 255 + 69);
        receiver.play().unwrap();
        transmitter.play().unwrap();
        until("the transmission has ended", || transmitter.has_ended());
        transmitter.close();
        receiver.close();
        let heard = Wav::read(&folder.file("out.wav"));
        assert_eq!(heard.rate, 48_000);
        assert!(heard.channels[0].iter().all(|sample| *sample == 0.0));
        let begins = heard.channels[1].iter().position(|sample| sample.abs() > 0.1).unwrap();
        let middle = &heard.channels[1][begins + 2_000..][..48_000];
        let wrong = distance_from_tone(middle, 48_000);
        assert!(wrong < 1e-3, "{wrong}");
    }
}

/// Sources and sinks that are plugins and have a format of their own.
mod plugins_of_another_format {
    use super::*;
    use host::config::{ElementSpec, FileSinkSpec};
    use host::edge::Quality;
    use host::plugin::spec::{Mode, PluginSpec, Standby};
    use tests::scene::kill;
    use tests::workspace::python;

    const TONE: &str = "
from base_plugin import *
import numpy as np

class Tone(AudioSourcePlugin):
    n = 0
    def get_info(self): return PluginInfo('tone', '1', '', '', PluginType.AUDIO_SOURCE)
    def initialize(self): return True
    def start(self): return True
    def set_sample_rate(self, rate): pass
    def get_sample_rate(self): return 44100
    def set_channel_count(self, channels): pass
    def get_channel_count(self): return 1
    def read_audio(self, buffer):
        assert buffer.data.shape[0] == 1, buffer.data.shape
        at = np.arange(self.n, self.n + buffer.data.shape[1])
        self.n += buffer.data.shape[1]
        buffer.data[:] = 0.5 * np.sin(2 * np.pi * 441 * at / 44100)
        return True

def create_plugin(): return Tone()
";

    const KEEPER: &str = "
from base_plugin import *
import numpy as np

class Keeper(AudioSinkPlugin):
    def get_info(self): return PluginInfo('keeper', '1', '', '', PluginType.AUDIO_SINK)
    def initialize(self): return True
    def start(self):
        self.file = open(__file__ + '.raw', 'wb')
        return True
    def stop(self): self.file.close()
    def get_sample_rate(self): return 44100
    def set_sample_rate(self, rate): pass
    def get_channel_count(self): return 1
    def set_channel_count(self, channels): pass
    def write_audio(self, buffer):
        self.file.write(np.ascontiguousarray(buffer.data[0]).tobytes())
        return True

def create_plugin(): return Keeper()
";

    fn plugin(folder: &Folder, name: &str, text: &str) -> PluginSpec {
        let mut spec = PluginSpec::new(folder.write(name, text));
        (spec.python, spec.mode, spec.deadline) = (Some(python()), Some(Mode::SameBlock), 0.95);
        (spec.adapt, spec.standby) = (false, Standby::Twin);
        spec
    }

    fn source(spec: PluginSpec) -> SourceSpec {
        SourceSpec::Plugin { name: "tone".into(), spec, map: None }
    }

    /// Has as many channels as it is asked for, each with its number in tenths.
    const STEPS: &str = "
from base_plugin import *

class Steps(AudioSourcePlugin):
    def get_info(self): return PluginInfo('steps', '1', '', '', PluginType.AUDIO_SOURCE)
    def initialize(self): return True
    def start(self): return True
    def set_sample_rate(self, rate): self.rate = rate
    def get_sample_rate(self): return self.rate
    def set_channel_count(self, channels): self.channels = channels
    def get_channel_count(self): return self.channels
    def read_audio(self, buffer):
        for channel in range(self.channels):
            buffer.data[channel] = (channel + 1) / 10
        return True

def create_plugin(): return Steps()
";

    /// Writes the last frame of each block that it gets to a file, all its channels.
    const FRAMES: &str = "
from base_plugin import *
import numpy as np

class Frames(AudioSinkPlugin):
    def get_info(self): return PluginInfo('frames', '1', '', '', PluginType.AUDIO_SINK)
    def initialize(self): return True
    def start(self):
        self.file = open(__file__ + '.raw', 'wb')
        return True
    def stop(self): self.file.close()
    def set_sample_rate(self, rate): self.rate = rate
    def get_sample_rate(self): return self.rate
    def set_channel_count(self, channels): self.channels = channels
    def get_channel_count(self): return self.channels
    def write_audio(self, buffer):
        self.file.write(np.ascontiguousarray(buffer.data[:, -1]).tobytes())
        return True

def create_plugin(): return Frames()
";

    fn floats(file: &Path) -> Vec<f32> {
        let raw = std::fs::read(file).unwrap();
        raw.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    #[test]
    fn plugins_at_the_ends_have_the_channels_that_a_map_names() {
        // More than the pipeline has, and as many in another order.
        for (source_map, sink_map, heard) in
            [(vec![3, 1], vec![2, 0, 1], vec![0.1, 0.0, 0.3]), (vec![2, 1], vec![2, 1], vec![0.1, 0.2])]
        {
            let folder = Folder::new();
            let (supervisor, _events) = Supervisor::new().unwrap();
            // A twin would write to the same file.
            let single = |spec| PluginSpec { standby: Standby::None, ..spec };
            let steps = single(plugin(&folder, "steps.py", STEPS));
            let source = SourceSpec::Plugin { name: "steps".into(), spec: steps, map: Some(source_map) };
            let frames = single(plugin(&folder, "frames.py", FRAMES));
            let sink = SinkSpec::Plugin { name: "frames".into(), spec: frames, map: Some(sink_map) };
            let record = Some(FileSinkSpec::new(folder.file("between.wav")));
            let spec = PipelineSpec { block_frames: 2048, record, ..PipelineSpec::new(source, sink) };
            let mut pipeline = open(&spec, &supervisor);
            pipeline.play().unwrap();
            run(&mut pipeline, 48_000);
            pipeline.close();
            // A block that came too late, on a busy machine, is silence.
            let frames = floats(&folder.file("frames.py.raw"));
            let last =
                frames.chunks_exact(heard.len()).rfind(|frame| frame.iter().any(|sample| *sample != 0.0));
            assert_eq!(last, Some(&heard[..]));
            let between = Wav::read(&folder.file("between.wav"));
            assert_eq!(between.channels.len(), 2);
        }
    }

    #[test]
    fn a_map_of_channels_that_a_plugin_lacks_is_refused() {
        let folder = Folder::new();
        let (supervisor, _events) = Supervisor::new().unwrap();
        let spec = plugin(&folder, "tone.py", TONE);
        let source = SourceSpec::Plugin { name: "tone".into(), spec, map: Some(vec![1, 2]) };
        let spec = PipelineSpec::new(source, SinkSpec::device("virtual"));
        let said = Pipeline::open(&spec, &supervisor, "", &mut |_, _| {}).map(drop).unwrap_err().to_string();
        assert!(said.contains("source tone: the map names channel 2, and there are 1"), "{said}");
    }

    #[test]
    fn a_plugins_rate_is_converted_as_well_as_is_asked_for_and_the_delay_told() {
        let folder = Folder::new();
        let (supervisor, _events) = Supervisor::new().unwrap();
        for (resampling, delay_frames) in [(None, 69), (Some(Quality::Fast), 34), (Some(Quality::Best), 138)]
        {
            let source = source(plugin(&folder, "tone.py", TONE));
            let spec = PipelineSpec { resampling, ..PipelineSpec::new(source, SinkSpec::device("virtual")) };
            let mut pipeline = open(&spec, &supervisor);
            assert_eq!(pipeline.status().latency.plugin_frames, delay_frames, "{resampling:?}");
            pipeline.close();
        }
    }

    /// Runs until so many frames are processed.
    fn run(pipeline: &mut Pipeline, frames: u64) {
        until("it has played", || pipeline.status().frames >= frames);
    }

    #[test]
    fn a_mono_source_at_44100_hz_is_heard_in_tune_in_a_stereo_pipeline_at_48000() {
        let folder = Folder::new();
        let (supervisor, _events) = Supervisor::new().unwrap();
        let source = source(plugin(&folder, "tone.py", TONE));
        let sink = SinkSpec::file(folder.file("out.wav"));
        let spec = PipelineSpec { block_frames: 2048, ..PipelineSpec::new(source, sink) };
        let mut pipeline = open(&spec, &supervisor);
        pipeline.play().unwrap();
        run(&mut pipeline, 72_000);
        let status = pipeline.status();
        pipeline.close();
        let heard = Wav::read(&folder.file("out.wav"));
        assert_eq!((heard.rate, heard.channels.len()), (48_000, 2));
        assert_eq!(heard.channels[0], heard.channels[1]);
        let counts = status.plugins[0].counts;
        // A block that came too late, on a busy machine, is silence and counted: judge where none was.
        let wrong = heard.channels[0][4_096..]
            .chunks_exact(4_800)
            .filter(|part| super::conversion::distance_from_tone(part, 48_000) > 1e-3)
            .count();
        assert!(wrong as u64 <= 3 * counts.lost(), "{wrong} parts are wrong, {counts:?}");
        // 44.1 blocks of its own for 48 of the pipeline's.
        let blocks = (counts.good + counts.lost()) as f64 / (status.frames as f64 / 2048.0);
        assert!((blocks - 44.1 / 48.0).abs() < 0.06, "{blocks}");
    }

    /// A tone that takes its parameter only before it is initialised.
    const EARLY: &str = "
class Early(Tone):
    level, is_initialised = 0.0, False
    def initialize(self):
        self.is_initialised = True
        return True
    def set_parameter(self, key, value):
        if self.is_initialised: raise RuntimeError('too late')
        self.level = float(value)
        return True
    def read_audio(self, buffer):
        assert self.level == 0.5, self.level
        return super().read_audio(buffer)

def create_plugin(): return Early()
";

    #[test]
    fn a_source_of_another_format_is_not_given_its_parameters_again_once_it_is_initialised() {
        let folder = Folder::new();
        let (supervisor, _events) = Supervisor::new().unwrap();
        let source = source(plugin(&folder, "early.py", &format!("{TONE}{EARLY}")).set("level", "0.5"));
        let spec = PipelineSpec::new(source, SinkSpec::device("virtual"));
        let mut pipeline = open(&spec, &supervisor);
        pipeline.play().unwrap();
        until("it is heard", || pipeline.status().plugins[0].counts.good > 10);
        assert_eq!(pipeline.status().plugins[0].counts.failed, 0);
        pipeline.close();
    }

    #[test]
    fn its_replacement_has_the_same_format() {
        let folder = Folder::new();
        let (supervisor, _events) = Supervisor::new().unwrap();
        let source = source(plugin(&folder, "tone.py", TONE));
        let spec =
            PipelineSpec { block_frames: 1024, ..PipelineSpec::new(source, SinkSpec::device("virtual")) };
        let mut pipeline = open(&spec.then(ElementSpec::Meter), &supervisor);
        pipeline.play().unwrap();
        run(&mut pipeline, 24_000);
        kill(&pipeline.plugins_mut()[0]);
        until("another plays", || {
            let plugin = pipeline.status().plugins.remove(0);
            plugin.deaths == 1 && plugin.dead.is_none()
        });
        let good = pipeline.status().plugins[0].counts.good;
        until("it plays on", || pipeline.status().plugins[0].counts.good > good + 20);
        pipeline.close();
    }

    #[test]
    fn a_mono_sink_at_44100_hz_gets_what_a_stereo_pipeline_at_48000_plays() {
        let folder = Folder::new();
        let tone = super::conversion::tone(48_000, 96_000);
        Wav::new(vec![tone.clone(), tone]).write(&folder.file("in.wav"));
        let (supervisor, _events) = Supervisor::new().unwrap();
        // A twin would write to the same file.
        let spec = PluginSpec { standby: Standby::None, ..plugin(&folder, "keeper.py", KEEPER) };
        let sink = SinkSpec::Plugin { name: "keeper".into(), spec, map: None };
        let spec = PipelineSpec {
            block_frames: 2048,
            ..PipelineSpec::new(SourceSpec::file(folder.file("in.wav")), sink)
        };
        let mut pipeline = open(&spec, &supervisor);
        pipeline.play().unwrap();
        until("the file has ended", || pipeline.has_ended());
        let counts = pipeline.status().plugins[0].counts;
        pipeline.close();
        let heard = floats(&folder.file("keeper.py.raw"));
        assert!(counts.lost() > 0 || heard.len() >= 88_200 - 2 * 2048, "{}", heard.len());
        let parts = heard[2_048..80_000].chunks_exact(4_410);
        let wrong = parts.filter(|part| super::conversion::distance_from_tone(part, 44_100) > 1e-3).count();
        assert!(wrong as u64 <= 3 * counts.lost(), "{wrong} parts are wrong, {counts:?}");
    }
}
