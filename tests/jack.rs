//! Through a real JACK server: what goes in by one client's ports comes out by another's as the plugin makes it.
//!
//! The server is jackd with its dummy driver, one for each test; cpal's streams all the way, `nda` as users run it.

use rustix::process::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::audio::{noises, soft_noise};
use tests::config::config;
use tests::heard::{Heard, compare, likeness};
use tests::jack::Jack;
use tests::leftovers::{Held, holds_no_more_than, private_kib, threads};
use tests::nda::{Done, Running, command};
use tests::plugins::processor;
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::{Folder, shipped};

const RATE: u32 = 48_000;
const PERIOD: u32 = 1024;

/// A second and a half, with silence before it: the first block may be late.
fn signal(channels: usize) -> Wav {
    signal_of(channels, 72_000)
}

/// The same of so many frames.
fn signal_of(channels: usize, frames: usize) -> Wav {
    let silence = vec![0.0; 4096];
    let channel = |noise: Vec<f32>| [silence.as_slice(), &noise].concat();
    Wav::new(noises(channels, frames).into_iter().map(channel).collect())
}

fn halved(signal: &Wav) -> Wav {
    signal.map(|sample| sample * 0.5)
}

/// `nda run` from JACK through a plugin that halves to JACK, once the plugin has got its first block.
fn nda(jack: &Jack, folder: &Folder, channels: usize, ends: &str) -> Running {
    nda_with(jack, folder, channels, ends, "mode = \"same-block\"\ndeadline = 0.95")
}

/// The same with the plugin in this mode.
fn nda_with(jack: &Jack, folder: &Folder, channels: usize, ends: &str, mode: &str) -> Running {
    nda_of(jack, folder, (channels, PERIOD), ends, mode)
}

/// The same in blocks of so many channels and frames.
fn nda_of(jack: &Jack, folder: &Folder, (channels, frames): (usize, u32), ends: &str, mode: &str) -> Running {
    let first = folder.file("first");
    let halve = format!("if self.n == 1:\n    open({first:?}, 'w')\nbuffer.data *= 0.5\nreturn True");
    let gain = processor(folder, "halve", &halve);
    let text = format!(
        "rate = {RATE}\nblock = {frames}\nchannels = {channels}\n[[pipeline]]\n{ends}\n\
         [[pipeline.plugins]]\nfile = {gain:?}\n{mode}\nlost = \"mute\"\nadapt = false\n"
    );
    let config = config(folder, &text);
    let log = log(folder);
    let words = ["run", config.to_str().expect("text"), "--json", "-", "--log", log.to_str().expect("text")];
    let mut command = command(words);
    jack.tell(&mut command);
    // One pool for all threads: with one for each of sixteen, which fill when they like, a leak could not be told from them.
    command.env("MALLOC_ARENA_MAX", "1");
    let running = Running::start(command);
    until("the plugin gets a block", || first.exists());
    running
}

fn log(folder: &Folder) -> PathBuf {
    folder.file("nda.log")
}

/// Whether it has said so.
fn has_said(folder: &Folder, words: &str) -> bool {
    std::fs::read_to_string(log(folder)).is_ok_and(|text| text.contains(words))
}

const BOTH: &str = "source = { device = \"jack:default\" }\nsink = { device = \"jack:default\" }";

/// Ends the run, which must have been a good one as far as devices go; what it reports of its pipeline.
fn ended(running: Running) -> Value {
    running.signal(Signal::INT);
    let done = running.wait();
    // 9: a busy machine may have it lose blocks.
    assert!([Some(0), Some(9)].contains(&done.code), "{done}");
    done.json()["pipelines"][0].clone()
}

/// How the run's only pipeline is doing, once it plays and all its devices are there.
fn status(folder: &Folder, pid: u32) -> Value {
    status_of(folder, pid, 0)
}

/// The same of the one that the configuration has in this place.
fn status_of(folder: &Folder, pid: u32, at: usize) -> Value {
    let mut status = Value::Null;
    until("the pipeline plays with all its devices", || {
        let done = ctl(folder, pid, &["status", "--json"]);
        let lane = if done.code == Some(0) { done.json()["pipelines"][at].clone() } else { Value::Null };
        status = lane["status"].clone();
        let devices =
            status["devices"].as_array().is_some_and(|all| all.iter().all(|it| it["lost_s"].is_null()));
        lane["state"] == "playing" && devices
    });
    status
}

/// What the run with this number answers.
fn ctl(folder: &Folder, pid: u32, words: &[&str]) -> Done {
    let pid = pid.to_string();
    let mut ask = command(["ctl", words[0], "--run", &pid].iter().chain(&words[1..]));
    ask.env("XDG_RUNTIME_DIR", folder.path());
    Running::start(ask).wait()
}

fn count(of: &Value, key: &str) -> usize {
    usize::try_from(of[key].as_u64().unwrap_or_else(|| panic!("{key} in {of}"))).expect("a count")
}

/// What ramps take around a lost block, 2 ms each, and around a queue that ran dry, 5 ms each.
const RAMPS: usize = 2 * RATE as usize / 500;
const SLOPES: usize = 2 * RATE as usize / 200;

/// Frames of silence, and of ramps around it, that a pipeline's report has a reason for.
fn explained(report: &Value) -> usize {
    let counts = &report["plugins"][0]["counts"];
    let lost: usize = ["late", "failed", "gone", "behind", "torn"].iter().map(|key| count(counts, key)).sum();
    // What a device or the host was late for is missing, and so may be what was on its way.
    let xruns = count(&report["xruns"], "device") + count(&report["xruns"], "host_late");
    let blocks = lost + 2 * xruns;
    let gaps = report["capture"].as_object().map_or(0, |_| count(&report["capture"], "gaps"));
    let not_there = count(report, "underrun_frames") + count(report, "overrun_frames");
    blocks * (PERIOD as usize + RAMPS) + gaps * SLOPES + not_there
}

/// It was one pipeline with the same devices all the time.
fn is_unbroken(before: &Value, after: &Value) -> bool {
    let losses = |report: &Value| -> usize {
        report["devices"].as_array().expect("a list").iter().map(|device| count(device, "losses")).sum()
    };
    count(after, "frames") > count(before, "frames") && losses(after) == losses(before)
}

/// A signal goes through, in its place and never doubled, and no more of it is missing than the pipeline has counted as
/// lost meanwhile. Again, if the program has just opened its devices anew.
fn is_heard(jack: &Jack, folder: &Folder, channels: usize, pid: u32) -> Heard {
    const TRIES: usize = 5;
    let signal = signal(channels);
    for _ in 0..TRIES {
        let before = status(folder, pid);
        let heard = compare(&jack.pass(&signal, pid), &halved(&signal));
        let after = status(folder, pid);
        if !is_unbroken(&before, &after) {
            continue;
        }
        let heard = heard.unwrap_or_else(|| panic!("the signal was not heard: {after}"));
        assert_eq!(heard.wrong, 0, "{heard:?} {after}");
        let explained = explained(&after) - explained(&before);
        assert!(
            heard.silent + heard.faded <= explained,
            "{explained} missing frames are explained: {heard:?} {before} {after}"
        );
        if heard.exact * 2 > signal.frames() {
            return heard;
        }
    }
    panic!("the program never had its devices for long enough, or lost more than it played");
}

#[test]
fn a_signal_goes_through_jack_and_a_python_plugin_and_comes_out_sample_for_sample() {
    for channels in [2, 1, 3] {
        let (jack, folder) = (Jack::start(RATE, PERIOD), Folder::new());
        let running = nda(&jack, &folder, channels, BOTH);
        let heard = is_heard(&jack, &folder, channels, running.pid());
        let report = ended(running);
        let told_ms = report["latency"]["total_ms"].as_f64().expect("a latency");
        assert!(heard.late_frames as f64 * 1e3 / f64::from(RATE) <= told_ms, "{heard:?} {report}");
    }
}

#[test]
fn a_server_that_is_killed_and_started_again_gets_its_program_back_and_nothing_leaks() {
    let (mut jack, folder) = (Jack::start(RATE, PERIOD), Folder::new());
    let running = nda(&jack, &folder, 2, BOTH);
    let pid = running.pid();
    let mut restart = || {
        jack.kill();
        jack.start_again();
        is_heard(&jack, &folder, 2, pid);
    };
    // The first time may load what stays.
    restart();
    let (before, memory) = (Held::by(pid), private_kib(pid));
    restart();
    restart();
    holds_no_more_than(before, pid);
    let grown = private_kib(pid).saturating_sub(memory);
    assert!(grown < 512, "{grown} KiB more");
    ended(running);
}

/// Long enough for a machine that is busy, and short enough for all of it to be through within a second.
const LINK_PERIOD: u32 = 2 * PERIOD;

/// Both ends of an encrypted link in one run, from JACK to JACK each, on the clocks that the example's have. The transmitter
/// is started first: its ports have the plain names, the receiver's are numbered.
fn link(jack: &Jack, folder: &Folder, block: u32) -> Running {
    let key = folder.file("link.key");
    let pipeline = |(name, clock, plugin): (&str, &str, &str)| {
        let plugin = shipped(plugin);
        format!(
            "[[pipeline]]\nname = \"{name}\"\nclock = \"{clock}\"\n{BOTH}\n[[pipeline.plugins]]\nfile = {plugin:?}\n\
             set = {{ key_file = {key:?}, make_key = \"yes\", direction = \"to-rx\" }}\n\
             mode = \"same-block\"\nguard = \"off\"\ndeadline = 0.95\nadapt = false\n"
        )
    };
    let ends =
        [("tx", "sink", "examples/chacha_encryptor.py"), ("rx", "source", "examples/chacha_decryptor.py")];
    let pipelines = ends.map(pipeline).concat();
    let config = config(folder, &format!("rate = {RATE}\nblock = {block}\nchannels = 2\n{pipelines}"));
    let mut command = command(["run", config.to_str().expect("text"), "--json", "-"]);
    jack.tell(&mut command);
    let running = Running::start(command);
    let pid = running.pid();
    (0..2).for_each(|at| drop(status_of(folder, pid, at)));
    let order = |words: [&str; 2]| {
        ctl(folder, pid, &words).ended_with(0);
    };
    [["stop", "tx"], ["stop", "rx"]].into_iter().for_each(order);
    jack.wait_gone(&format!("cpal_client_{pid}_"));
    [["start", "tx"], ["start", "rx"]].into_iter().for_each(order);
    jack.join(&format!("cpal_client_{pid}_out:"), &format!("cpal_client_{pid}_in-01:"));
    running
}

/// What a microphone brings into one end of a link, and what a loudspeaker hears at the other.
fn pass_through_link(jack: &Jack, signal: &Wav, pid: u32) -> Option<Heard> {
    let (into, from) = (format!("cpal_client_{pid}_in:"), format!("cpal_client_{pid}_out-01:"));
    compare(&jack.pass_between(signal, &into, &from), signal)
}

/// Frames that both ends of a link tell that they add, and those of them that lie in a device: from one client to another
/// none does.
fn told_frames(folder: &Folder, pid: u32) -> (usize, usize) {
    let latencies = [0, 1].map(|at| status_of(folder, pid, at)["latency"].clone());
    let sum = |key: &str| latencies.iter().map(|latency| count(latency, key)).sum::<usize>();
    let devices = sum("device_frames");
    (devices + ["mode_frames", "plugin_frames", "adaptation_frames"].map(sum).iter().sum::<usize>(), devices)
}

/// All that a pipeline has counted of audio that was not there.
fn troubles(status: &Value) -> Vec<Value> {
    let mut all: Vec<_> =
        ["xruns", "underrun_frames", "overrun_frames"].map(|key| status[key].clone()).into();
    all.push(status["capture"]["gaps"].clone());
    let counts = &status["plugins"][0]["counts"];
    all.extend(["late", "failed", "gone", "behind", "torn"].map(|key| counts[key].clone()));
    all.extend(status["devices"].as_array().expect("a list").iter().map(|device| device["losses"].clone()));
    all
}

/// A microphone and a loudspeaker, two pipelines and what joins them: six clients of one server. Again, if the program has
/// lost something meanwhile, which it must have counted.
#[test]
fn a_transmitter_and_a_receiver_on_one_server_give_on_what_a_microphone_brings_sample_for_sample() {
    const TRIES: usize = 15;
    let (jack, folder) = (Jack::start(RATE, LINK_PERIOD), Folder::new());
    let running = link(&jack, &folder, LINK_PERIOD);
    let (pid, signal) = (running.pid(), signal(2));
    let counted = || [0, 1].map(|at| troubles(&status_of(&folder, pid, at)));
    for _ in 0..TRIES {
        let before = counted();
        let heard = pass_through_link(&jack, &signal, pid);
        let Some(heard) = heard.filter(|heard| heard.exact == signal.frames()) else {
            assert_ne!(counted(), before, "what is not heard is counted: {heard:?}");
            continue;
        };
        let (told, devices) = told_frames(&folder, pid);
        assert!(heard.late_frames + devices <= told, "{heard:?} {told} {devices}");
        ended(running);
        return;
    }
    panic!("something was lost each time: {:?}", counted());
}

/// What transmitter and receiver together took in the program that this one replaces: a pipeline of 30 ms and half a
/// millisecond for each of two Python plugins.
const BUDGET_MS: f64 = 31.0;

/// By how many milliseconds what comes out of a link with periods of so many frames is later than what went in: from client
/// to client, where most of the signal lies, as a busy machine may have blocks of it lost; and what the server says of the
/// devices at its four ends. The run tells no less.
fn measured_ms(period: u32) -> f64 {
    const TRIES: usize = 5;
    let (jack, folder) = (Jack::start(RATE, period), Folder::new());
    let running = link(&jack, &folder, period);
    let (pid, signal) = (running.pid(), signal_of(2, RATE as usize / 4));
    let mut tried = Vec::new();
    let fits = (0..TRIES).find_map(|_| {
        let heard = pass_through_link(&jack, &signal, pid);
        let (told, devices) = told_frames(&folder, pid);
        tried.push(format!("{heard:?}, {told} told, {devices} in devices"));
        let heard = heard.filter(|heard| heard.exact * 2 > signal.frames())?;
        (heard.late_frames + devices <= told).then_some((heard, told, devices))
    });
    let Some((heard, told, devices)) = fits else { panic!("{tried:#?}") };
    ended(running);
    let ms = |frames| frames as f64 * 1e3 / f64::from(RATE);
    println!(
        "{period} frames: {:.1} ms from client to client, {:.1} ms with the devices, told {:.1} ms",
        ms(heard.late_frames),
        ms(heard.late_frames + devices),
        ms(told)
    );
    ms(heard.late_frames + devices)
}

#[test]
fn with_short_periods_a_link_takes_less_from_end_to_end_than_the_program_before_and_no_more_than_it_tells() {
    let measured = measured_ms(64);
    assert!(measured < BUDGET_MS, "{measured}");
    // Those of the example twice as long take about as much as that.
    measured_ms(128);
}

/// Of a report, how often its pipeline was begun.
fn times_begun(running: Running) -> usize {
    running.signal(Signal::INT);
    let done = running.wait();
    assert!([Some(0), Some(9)].contains(&done.code), "{done}");
    done.json()["pipelines"].as_array().expect("a list").len()
}

#[test]
fn a_server_that_is_started_again_with_longer_periods_has_its_program_play_on_with_the_same_worker() {
    let (mut jack, folder) = (Jack::start(RATE, PERIOD / 2), Folder::new());
    let running = nda_with(&jack, &folder, 2, BOTH, "mode = \"pipelined\"");
    let pid = running.pid();
    // It would be written again by another one.
    std::fs::remove_file(folder.file("first")).expect("it was written");
    let mut restart = |period| {
        jack.kill();
        jack.start_again_with(RATE, period);
        is_heard(&jack, &folder, 2, pid);
    };
    restart(2 * PERIOD);
    let before = Held::by(pid);
    restart(4 * PERIOD);
    restart(4 * PERIOD);
    holds_no_more_than(before, pid);
    assert!(has_said(&folder, "its buffer has 4096 frames now, and the pipeline plays on"));
    // What was taken for once is not taken for again.
    restart(PERIOD);
    let report = ended(running);
    // Four blocks in a row are what it comes later for.
    assert_eq!(report["latency"]["mode_frames"], 4 * PERIOD, "{report}");
    assert_eq!(report["plugins"][0]["deaths"], 0, "{report}");
    assert!(!folder.file("first").exists(), "its plugin was loaded again");
}

#[test]
fn a_server_that_is_started_again_at_a_lower_rate_has_its_program_play_on_and_be_converted() {
    const LOWER: u32 = 44_100;
    let (mut jack, folder) = (Jack::start(RATE, PERIOD), Folder::new());
    let running = nda(&jack, &folder, 1, BOTH);
    jack.kill();
    jack.start_again_with(LOWER, PERIOD);
    let signal = Wav::new(vec![[vec![0.0; 4800], soft_noise(72_000, 7)].concat()]).at(LOWER);
    let expected = halved(&signal);
    until("most of the signal is heard", || {
        let heard = likeness(&jack.pass(&signal, running.pid()).channels[0], &expected.channels[0]);
        heard.alike * 2 > heard.pieces
    });
    assert_eq!(times_begun(running), 1);
}

#[test]
fn a_server_whose_periods_become_longer_while_it_runs_has_its_program_play_on() {
    let (mut jack, folder) = (Jack::start(RATE, PERIOD / 2), Folder::new());
    let running = nda(&jack, &folder, 2, BOTH);
    is_heard(&jack, &folder, 2, running.pid());
    jack.set_period(4 * PERIOD);
    until("it is planned for that", || has_said(&folder, "its buffer has 4096 frames now"));
    is_heard(&jack, &folder, 2, running.pid());
    // Shorter ones fit.
    jack.set_period(PERIOD);
    is_heard(&jack, &folder, 2, running.pid());
    assert_eq!(times_begun(running), 1);
}

#[test]
fn a_server_that_is_started_after_its_program_has_it_as_if_it_had_been_there() {
    let (mut jack, folder) = (Jack::start(RATE, PERIOD), Folder::new());
    jack.kill();
    let end = format!("{{ device = \"jack:default\", buffer = {PERIOD}, fallback = \"virtual\" }}");
    // It plays meanwhile: its plugin gets blocks.
    let running = nda(&jack, &folder, 2, &format!("source = {end}\nsink = {end}"));
    assert!(has_said(&folder, "the virtual device plays until it is there: JACK: no server is running"));
    jack.start_again();
    // No sample is converted: the server has one clock for both, which was known before it was there.
    is_heard(&jack, &folder, 2, running.pid());
    assert!(has_said(&folder, "s after the start"));
    assert_eq!(times_begun(running), 1);
}

#[test]
fn a_pipeline_that_is_replaced_while_its_server_is_away_waits_for_it_as_it_did_before() {
    let (mut jack, folder) = (Jack::start(RATE, PERIOD), Folder::new());
    let running = nda(&jack, &folder, 2, BOTH);
    let pid = running.pid();
    jack.kill();
    until("both losses", || {
        ["input", "output"].iter().all(|end| has_said(&folder, &format!("the {end} device")))
    });
    let config = std::fs::read_to_string(folder.file("nda.toml")).expect("it was written");
    let reload = |text: &str| {
        folder.write("nda.toml", text);
        ctl(&folder, pid, &["reload"])
    };
    let done = reload(&config.replace("[[pipeline]]", "resampling = \"fast\"\n[[pipeline]]"));
    assert!(done.ended_with(0).stdout.ends_with("main: it differs\nmain is playing\n"), "{done}");
    // A device that it did not have is none that it waits for.
    let done = reload(&config.replacen("jack:default", "jack:another", 1));
    done.refused(8, &["started again as it was", "main is playing"]);
    jack.start_again();
    is_heard(&jack, &folder, 2, pid);
    ended(running);
}

/// Nothing in it is made for so many frames at a time.
#[test]
fn a_pipeline_without_a_second_device_or_a_pipelined_plugin_takes_a_server_with_longer_periods_as_it_is() {
    let (mut jack, folder) = (Jack::start(RATE, PERIOD), Folder::new());
    let input = folder.file("in.wav");
    Wav::new(noises(2, 48_000)).write(&input);
    let source =
        format!("source = {{ file = {input:?}, loop = true }}\nsink = {{ device = \"jack:default\" }}");
    let running = nda(&jack, &folder, 2, &source);
    jack.kill();
    jack.start_again_with(RATE, 4 * PERIOD);
    until("its device is back", || has_said(&folder, " is back after "));
    assert_eq!(times_begun(running), 1);
}

/// Only the server knows that it plays two periods later.
#[test]
fn the_latency_that_a_server_says_it_has_is_told_while_a_run_plays_and_when_it_has_ended() {
    let (jack, folder) = (Jack::start_asynchronous(RATE, PERIOD), Folder::new());
    let running = nda(&jack, &folder, 2, BOTH);
    let tells = |report: &Value| count(&report["latency"], "device_frames") >= 3 * PERIOD as usize;
    until("it is told", || tells(&status(&folder, running.pid())));
    let report = ended(running);
    assert!(tells(&report), "{report}");
}

/// A constant level is heard across the return of its device: silence, then a rise. Where the program had its turn before
/// anybody listened, there is no silence, and it is killed again.
#[test]
fn what_comes_back_with_a_server_rises_from_silence_without_a_step_or_a_burst() {
    const LEVEL: f32 = 0.25;
    let (mut jack, folder) = (Jack::start(RATE, PERIOD), Folder::new());
    let input = folder.file("in.wav");
    Wav::new(vec![vec![2.0 * LEVEL; RATE as usize]]).write(&input);
    let ends =
        format!("source = {{ file = {input:?}, loop = true }}\nsink = {{ device = \"jack:default\" }}");
    let running = nda(&jack, &folder, 1, &ends);
    let mut heard_again = || {
        jack.kill();
        let listening = jack.listen(running.pid(), 2 * RATE as usize);
        jack.start_again();
        Some(listening.heard().channels.remove(0)).filter(|heard| heard[0] == 0.0)
    };
    let heard = (0..5).find_map(|_| heard_again()).expect("the silence before the return");
    let report = ended(running);
    let loudest = heard.iter().fold(0.0, |loudest: f32, sample| loudest.max(sample.abs()));
    assert!((LEVEL * 0.999..LEVEL * 1.001).contains(&loudest), "{loudest} {report}");
    // Half a cosine of 20 ms, whose middle is the steepest; a lost block fades faster.
    let steepest = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
    assert!(steepest < LEVEL / 50.0, "{steepest} {report}");
    let begins = heard.iter().position(|sample| *sample > 0.0).expect("something is heard");
    let is_there = heard.iter().position(|sample| *sample > 0.99 * LEVEL).expect("all of it is heard");
    assert!(is_there - begins > RATE as usize / 100, "it takes {} frames {report}", is_there - begins);
}

/// Its streams are left to their threads. When it goes on, only those that took their place are heard.
#[test]
fn a_server_that_hangs_and_comes_back_hears_each_sample_once() {
    let (jack, folder) = (Jack::start(RATE, PERIOD), Folder::new());
    let running = nda(&jack, &folder, 2, BOTH);
    is_heard(&jack, &folder, 2, running.pid());
    let healthy = threads(running.pid());
    jack.server().signal(Signal::STOP);
    until("its streams are given up", || threads(running.pid()) > healthy);
    jack.server().signal(Signal::CONT);
    is_heard(&jack, &folder, 2, running.pid());
    until("what was left behind is gone", || threads(running.pid()) <= healthy);
    ended(running);
}

/// So long that a machine that is busy is no reason for the program to be late, and stalls of some of them.
const LONG_PERIOD: u32 = 4 * PERIOD;
const STALL: Duration = Duration::from_millis(450);

/// A server that waits for its clients, and one that does not.
const SERVERS: [fn(u32, u32) -> Jack; 2] = [Jack::start, Jack::start_asynchronous];

fn with_long_periods(jack: &Jack, folder: &Folder) -> Running {
    nda_of(jack, folder, (2, LONG_PERIOD), BOTH, "mode = \"same-block\"\ndeadline = 0.95")
}

/// What has been counted of each kind of xrun: of the device, of the host, of the plugin.
fn xruns(report: &Value) -> [usize; 3] {
    ["device", "host_late", "plugin_late"].map(|key| count(&report["xruns"], key))
}

/// Whether it comes to that in one of some runs with each kind of server: on a machine that is busy others may be late as well.
fn comes_to_that(what: impl Fn(&Jack, &Folder) -> bool) {
    const TRIES: usize = 5;
    for start in SERVERS {
        let mut tries = (0..TRIES).map(|_| what(&start(RATE, LONG_PERIOD), &Folder::new()));
        assert!(tries.any(|is_so| is_so), "xruns are counted as somebody else's each time");
    }
}

#[test]
fn an_xrun_that_another_client_of_the_server_was_late_for_is_the_device_s_alone() {
    comes_to_that(|jack, folder| {
        let running = with_long_periods(jack, folder);
        let [device, host, plugin] = xruns(&status(folder, running.pid()));
        let stalling = jack.stalling_client(8, STALL);
        until("the device has had xruns", || {
            let [now, ..] = xruns(&status(folder, running.pid()));
            now >= device + 4
        });
        drop(stalling);
        xruns(&ended(running))[1..] == [host, plugin]
    });
}

/// The server tells each of the program's two streams of each of these xruns.
#[test]
fn an_xrun_that_the_program_was_late_for_is_the_host_s_alone_though_the_server_tells_of_it() {
    comes_to_that(|jack, folder| {
        let running = with_long_periods(jack, folder);
        let [device, mut host, _] = xruns(&status(folder, running.pid()));
        for _ in 0..3 {
            running.signal(Signal::STOP);
            let since = Instant::now();
            until("it has been stopped for so long", || since.elapsed() >= STALL);
            running.signal(Signal::CONT);
            let before = host;
            until("that is counted", || {
                [_, host, _] = xruns(&status(folder, running.pid()));
                host > before
            });
        }
        xruns(&ended(running))[0] == device
    });
}

#[test]
fn a_server_that_is_not_running_is_a_line_of_the_devices_and_an_error_for_who_needs_it() {
    let folder = Folder::new();
    let with_none = |words: &[&str]| {
        let mut command = command(words);
        command.env("JACK_DEFAULT_SERVER", format!("nda-none-{}", std::process::id()));
        Running::start(command).wait()
    };
    let devices = with_none(&["devices"]);
    devices.ended_with(0);
    assert!(devices.stdout.contains("JACK\n  no server is running\n"), "{devices}");
    let config = config(&folder, &format!("[[pipeline]]\n{BOTH}\n"));
    let refused = with_none(&["run", config.to_str().expect("text")]);
    refused.refused(8, &["JACK: no server is running", "start the server"]);
}

#[test]
fn a_running_server_has_one_device_for_each_direction() {
    let jack = Jack::start(44_100, 512);
    let mut command = command(["devices", "--json"]);
    jack.tell(&mut command);
    let done = Running::start(command).wait();
    let all = done.ended_with(0).json();
    let jacks: Vec<_> = all.as_array().expect("a list").iter().filter(|d| d["backend"] == "JACK").collect();
    let ids: Vec<_> = jacks.iter().map(|device| device["id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["jack:input", "jack:output"], "{done}");
    for (device, [has, lacks]) in jacks.iter().zip([["input", "output"], ["output", "input"]]) {
        assert!(device[lacks].is_null(), "{done}");
        let offer = &device[has]["configs"][0];
        assert_eq!(offer["rates"][0]["min"], 44_100, "{done}");
        assert_eq!(offer["buffer_frames"]["max"], 512, "{done}");
        assert_eq!(offer["formats"].as_array().map(Vec::len), Some(1), "{done}");
    }
}
