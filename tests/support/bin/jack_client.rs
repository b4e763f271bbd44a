//! A JACK client for the tests: `jack-client wait`, until the server of the environment answers;
//! `jack-client pass PLAY.wav HEARD.wav INTO FROM`, which plays a file into the ports whose names begin with INTO
//! and, beginning in the same cycle, records from those that begin with FROM for as long and a second more;
//! `jack-client listen HEARD.wav FROM FRAMES`, which waits for a port whose name begins with FROM and records so much of it;
//! `jack-client card FROM INTO`, a stereo card whose output is joined with its input, for the ones and the others until it
//! is ended; or `jack-client period FRAMES`, which has the server's periods be so long from now on.
//!
//! A process of its own, as libjack takes the server's name from the environment. All of the audio is in memory,
//! so that nothing but the server decides what is lost.

use jack::{AudioIn, AudioOut, Client, ClientOptions, Control, LatencyType, Port, PortFlags, ProcessScope};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tests::until::until;
use tests::wav::Wav;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["wait"] => drop(open()),
        ["pass", play, heard, into, from] => {
            pass(&Wav::read(Path::new(play)), into, from).write(Path::new(heard));
        }
        ["listen", heard, from, frames] => {
            listen(from, frames.parse().expect("a number")).write(Path::new(heard));
        }
        ["card", from, into] => card(from, into),
        ["period", frames] => {
            open().set_buffer_size(frames.parse().expect("a number")).expect("the server takes it");
        }
        _ => {
            eprintln!(
                "jack-client wait | pass PLAY.wav HEARD.wav INTO FROM | listen HEARD.wav FROM FRAMES | card FROM INTO |\n\
                 period FRAMES"
            );
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The server may just have been started.
fn open() -> Client {
    let mut client = None;
    until("a JACK server answers", || {
        client = Client::new("test", ClientOptions::NO_START_SERVER).ok();
        client.is_some()
    });
    client.expect("it was waited for").0
}

fn pass(play: &Wav, into: &str, from: &str) -> Wav {
    let client = open();
    let count = play.channels.len();
    let rate = client.sample_rate();
    let Ends { ins, outs, in_names, out_names } = Ends::new(&client, count);
    let frames = play.frames() + rate as usize;
    tape(client, (ins, outs), play.channels.clone(), frames, |client| {
        let connected = connect(client, &out_names, &ports(client, into, PortFlags::IS_INPUT));
        connected && connect(client, &ports(client, from, PortFlags::IS_OUTPUT), &in_names)
    })
}

fn listen(from: &str, frames: usize) -> Wav {
    let client = open();
    let Ends { ins, in_names, .. } = Ends::new(&client, 1);
    tape(client, (ins, Vec::new()), Vec::new(), frames, |client| {
        connect(client, &ports(client, from, PortFlags::IS_OUTPUT), &in_names)
    })
}

/// What is heard for so many frames while `play` is played, from the time on when all is connected.
fn tape(
    client: Client,
    (ins, outs): (Vec<Port<AudioIn>>, Vec<Port<AudioOut>>),
    play: Vec<Vec<f32>>,
    frames: usize,
    is_connected: impl Fn(&Client) -> bool,
) -> Wav {
    let rate = client.sample_rate();
    let (go, at) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let heard = vec![vec![0.0; frames]; ins.len()];
    let tape = Tape { outs, ins, play, heard, go: Arc::clone(&go), at: Arc::clone(&at) };
    let active = client.activate_async((), tape).expect("the client is activated");
    until("the program's ports are connected", || is_connected(active.as_client()));
    go.store(true, Ordering::Release);
    until("all is recorded", || at.load(Ordering::Acquire) == frames);
    let (_, (), tape) = active.deactivate().expect("the client ends");
    Wav::new(tape.heard).at(rate)
}

/// The ports of this client, and what they are called.
struct Ends {
    ins: Vec<Port<AudioIn>>,
    outs: Vec<Port<AudioOut>>,
    in_names: Vec<String>,
    out_names: Vec<String>,
}

impl Ends {
    fn new(client: &Client, count: usize) -> Self {
        let ins = |n| client.register_port(&format!("in_{n}"), AudioIn::default()).expect("a port");
        let outs = |n| client.register_port(&format!("out_{n}"), AudioOut::default()).expect("a port");
        let (ins, outs): (Vec<_>, Vec<_>) = (0..count).map(|n| (ins(n), outs(n))).unzip();
        let in_names = ins.iter().map(|port| port.name().expect("a name")).collect();
        let out_names = outs.iter().map(|port| port.name().expect("a name")).collect();
        Self { ins, outs, in_names, out_names }
    }
}

/// A frame is on its way as long as through the server's own card, out and in again, which the server says of that one's
/// ports. It takes leave when it is asked to end: a server can't end itself while it waits for a client that is gone.
fn card(from: &str, into: &str) {
    const CHANNELS: usize = 2;
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    // Before there is another thread.
    end.thread_block().expect("a signal can be blocked");
    let end = SignalFd::with_flags(&end, SfdFlags::SFD_NONBLOCK).expect("a descriptor");
    let client = open();
    let frames = |port: &str, direction| {
        client.port_by_name(port).expect("a card").get_latency_range(direction).1 as usize
    };
    let out = frames("system:playback_1", LatencyType::Playback);
    let frames = out + frames("system:capture_1", LatencyType::Capture);
    println!("{frames}");
    let Ends { ins, outs, in_names, out_names } = Ends::new(&client, CHANNELS);
    let lines = vec![VecDeque::from(vec![0.0; frames]); CHANNELS];
    let active = client.activate_async((), Card { ins, outs, lines }).expect("the client is activated");
    let client = active.as_client();
    until("whoever wanted the card takes it away", || {
        connect(client, &ports(client, from, PortFlags::IS_OUTPUT), &in_names);
        connect(client, &out_names, &ports(client, into, PortFlags::IS_INPUT));
        end.read_signal().expect("a signal or none").is_some()
    });
    active.deactivate().expect("the client ends");
}

fn ports(client: &Client, prefix: &str, flags: PortFlags) -> Vec<String> {
    client.ports(Some(&format!("^{prefix}")), None, flags)
}

/// Whether all are connected: a program that opens its devices more than once takes its ports away again.
fn connect(client: &Client, from: &[String], to: &[String]) -> bool {
    let connects = |(from, to): (&String, &String)| match client.connect_ports_by_name(from, to) {
        Ok(()) | Err(jack::Error::PortAlreadyConnected(..)) => true,
        Err(_) => false,
    };
    from.len() == to.len() && from.iter().zip(to).all(connects)
}

/// What is on its way through the card, a line for each channel.
struct Card {
    ins: Vec<Port<AudioIn>>,
    outs: Vec<Port<AudioOut>>,
    lines: Vec<VecDeque<f32>>,
}

impl jack::ProcessHandler for Card {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        for ((input, output), line) in self.ins.iter().zip(&mut self.outs).zip(&mut self.lines) {
            line.extend(input.as_slice(scope));
            output.as_mut_slice(scope).fill_with(|| line.pop_front().expect("one that came in"));
        }
        Control::Continue
    }
}

/// What is played and heard, from the cycle on in which `go` is seen.
struct Tape {
    outs: Vec<Port<AudioOut>>,
    ins: Vec<Port<AudioIn>>,
    play: Vec<Vec<f32>>,
    heard: Vec<Vec<f32>>,
    go: Arc<AtomicBool>,
    at: Arc<AtomicUsize>,
}

impl jack::ProcessHandler for Tape {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        let at = self.at.load(Ordering::Relaxed);
        let is_on = self.go.load(Ordering::Acquire);
        for (port, play) in self.outs.iter_mut().zip(&self.play) {
            let port = port.as_mut_slice(scope);
            let rest = if is_on { play.get(at..).unwrap_or_default() } else { &[] };
            let count = rest.len().min(port.len());
            port[..count].copy_from_slice(&rest[..count]);
            port[count..].fill(0.0);
        }
        if is_on {
            let mut end = at;
            for (port, heard) in self.ins.iter().zip(&mut self.heard) {
                let port = port.as_slice(scope);
                end = heard.len().min(at + port.len());
                heard[at..end].copy_from_slice(&port[..end - at]);
            }
            self.at.store(end, Ordering::Release);
        }
        Control::Continue
    }
}
