//! Through a real JACK server: what goes in by one client's ports comes out by another's as the plugin makes it.
//!
//! The server is jackd with its dummy driver, one for each test; cpal's streams all the way, `nda` as users run it.

use rustix::process::Signal;
use serde_json::Value;
use tests::audio::noises;
use tests::config::config;
use tests::heard::compare;
use tests::jack::Jack;
use tests::nda::{Running, command};
use tests::plugins::processor;
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::Folder;

const RATE: u32 = 48_000;
const PERIOD: u32 = 1024;

/// A second and a half, with silence before it: the first block may be late.
fn signal(channels: usize) -> Wav {
    let silence = vec![0.0; 4096];
    let channel = |noise: Vec<f32>| [silence.as_slice(), &noise].concat();
    Wav::new(noises(channels, 72_000).into_iter().map(channel).collect())
}

fn halved(signal: &Wav) -> Wav {
    signal.map(|sample| sample * 0.5)
}

/// `nda run` from JACK through a plugin that halves to JACK, once the plugin has got its first block.
fn nda(jack: &Jack, folder: &Folder, channels: usize, ends: &str) -> Running {
    let first = folder.file("first");
    let halve = format!("if self.n == 1:\n    open({first:?}, 'w')\nbuffer.data *= 0.5\nreturn True");
    let gain = processor(folder, "halve", &halve);
    let text = format!(
        "rate = {RATE}\nblock = {PERIOD}\nchannels = {channels}\n[[pipeline]]\n{ends}\n\
         [[pipeline.plugins]]\nfile = {gain:?}\nmode = \"same-block\"\ndeadline = 0.95\nlost = \"mute\"\nadapt = false\n"
    );
    let config = config(folder, &text);
    let mut command = command(["run", config.to_str().expect("text"), "--json", "-"]);
    jack.tell(&mut command);
    let running = Running::start(command);
    until("the plugin gets a block", || first.exists());
    running
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

#[test]
fn a_signal_goes_through_jack_and_a_python_plugin_and_comes_out_sample_for_sample() {
    for channels in [2, 1, 3] {
        let (jack, folder) = (Jack::start(RATE, PERIOD), Folder::new());
        let running = nda(&jack, &folder, channels, BOTH);
        let signal = signal(channels);
        let heard =
            compare(&jack.pass(&signal, running.pid()), &halved(&signal)).expect("some of it is heard");
        let report = ended(running);
        eprintln!("{channels} {heard:?} {report}");
        assert_eq!(heard.wrong, 0, "{heard:?} {report}");
        assert!(heard.exact * 2 > signal.frames(), "{heard:?} {report}");
    }
}
