//! JACK clients for the tests: `jack-client wait`, until the server of the environment answers;
//! `jack-client pass PLAY.wav HEARD.wav INTO FROM`: one client plays a file into the ports whose names begin with INTO and,
//! beginning in the same cycle, another one records from those that begin with FROM for as long and a second more;
//! `jack-client listen HEARD.wav FROM FRAMES`, which waits for a port whose name begins with FROM and records so much of it;
//! `jack-client card FROM INTO`, a stereo card whose output is joined with its input, for the ones and the others until it
//! is ended; `jack-client stall CYCLES MS`, which every so many cycles keeps the server waiting until that has had an xrun, for so
//! long at most, until it is ended;
//! `jack-client join FROM INTO`, which connects ports whose names begin so, as a cable does, and leaves them connected;
//! `jack-client gone PREFIX`, which waits until there is no port whose name begins so;
//! or `jack-client period FRAMES`, which has the server's periods be so long from now on.
//!
//! A process of its own, as libjack takes the server's name from the environment. All of the audio is in memory,
//! so that nothing but the server decides what is lost.

use jack::{AudioIn, AudioOut, Client, ClientOptions, Control, LatencyType, Port, PortFlags, ProcessScope};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Duration;
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
        ["stall", cycles, ms] => {
            stall(cycles.parse().expect("a number"), Duration::from_millis(ms.parse().expect("a number")));
        }
        ["join", from, into] => join(from, into),
        ["gone", prefix] => gone(prefix),
        ["period", frames] => {
            open().set_buffer_size(frames.parse().expect("a number")).expect("the server takes it");
        }
        _ => {
            eprintln!(
                "jack-client wait | pass PLAY.wav HEARD.wav INTO FROM | listen HEARD.wav FROM FRAMES | card FROM INTO |\n\
                 stall CYCLES MS | join FROM INTO | gone PREFIX |\n\
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

/// Cycles after which no client can have missed what was said to all.
const ENOUGH: u32 = 8;

/// Two clients, as they would be two programs: both begin in the cycle that is said to them.
fn pass(play: &Wav, into: &str, from: &str) -> Wav {
    let (player, recorder) = (open(), open());
    let (count, frames) = (play.channels.len(), play.frames() + player.sample_rate() as usize);
    let (begin, (outs, out_names)) = (Begin::default(), outputs(&player, count));
    let playing = Player { outs, play: play.channels.clone(), begin: begin.clone(), at: 0 };
    let player = player.activate_async((), playing).expect("the client is activated");
    let heard = record(recorder, count, frames, (&begin, ENOUGH), |recorder, in_names| {
        let player = player.as_client();
        let connected = connect(player, &out_names, &ports(player, into, PortFlags::IS_INPUT));
        connected && connect(recorder, &ports(recorder, from, PortFlags::IS_OUTPUT), in_names)
    });
    player.deactivate().expect("the client ends");
    heard
}

fn join(from: &str, into: &str) {
    let client = open();
    until("the ports are connected", || {
        let from = ports(&client, from, PortFlags::IS_OUTPUT);
        !from.is_empty() && connect(&client, &from, &ports(&client, into, PortFlags::IS_INPUT))
    });
}

fn gone(prefix: &str) {
    let client = open();
    until("the ports are gone", || ports(&client, prefix, PortFlags::empty()).is_empty());
}

fn listen(from: &str, frames: usize) -> Wav {
    record(open(), 1, frames, (&Begin::default(), 0), |client, in_names| {
        connect(client, &ports(client, from, PortFlags::IS_OUTPUT), in_names)
    })
}

/// What is heard for so many frames, from so many cycles after all is connected.
fn record(
    client: Client,
    count: usize,
    frames: usize,
    (begin, cycles): (&Begin, u32),
    is_connected: impl Fn(&Client, &[String]) -> bool,
) -> Wav {
    let (rate, at, (ins, in_names)) =
        (client.sample_rate(), Arc::<AtomicUsize>::default(), inputs(&client, count));
    let heard = vec![vec![0.0; frames]; count];
    let recorder = Recorder { ins, heard, begin: begin.clone(), at: Arc::clone(&at) };
    let active = client.activate_async((), recorder).expect("the client is activated");
    until("the program's ports are connected", || is_connected(active.as_client(), &in_names));
    begin.after(cycles, active.as_client());
    until("all is recorded", || at.load(Ordering::Acquire) == frames);
    let (_, (), recorder) = active.deactivate().expect("the client ends");
    Wav::new(recorder.heard).at(rate)
}

/// New ports of this client, and what they are called.
fn inputs(client: &Client, count: usize) -> (Vec<Port<AudioIn>>, Vec<String>) {
    let port = |n| client.register_port(&format!("in_{n}"), AudioIn::default()).expect("a port");
    let ports: Vec<_> = (0..count).map(port).collect();
    let names = ports.iter().map(|port| port.name().expect("a name")).collect();
    (ports, names)
}

fn outputs(client: &Client, count: usize) -> (Vec<Port<AudioOut>>, Vec<String>) {
    let port = |n| client.register_port(&format!("out_{n}"), AudioOut::default()).expect("a port");
    let ports: Vec<_> = (0..count).map(port).collect();
    let names = ports.iter().map(|port| port.name().expect("a name")).collect();
    (ports, names)
}

/// A frame is on its way as long as through the server's own card, out and in again, which the server says of that one's
/// ports. It takes leave when it is asked to end: a server can't end itself while it waits for a client that is gone.
fn card(from: &str, into: &str) {
    const CHANNELS: usize = 2;
    let end = end();
    let client = open();
    let frames = |port: &str, direction| {
        client.port_by_name(port).expect("a card").get_latency_range(direction).1 as usize
    };
    let out = frames("system:playback_1", LatencyType::Playback);
    let frames = out + frames("system:capture_1", LatencyType::Capture);
    println!("{frames}");
    let ((ins, in_names), (outs, out_names)) = (inputs(&client, CHANNELS), outputs(&client, CHANNELS));
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

/// Tells that it is asked to end. To be called before there is another thread.
fn end() -> SignalFd {
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.thread_block().expect("a signal can be blocked");
    SignalFd::with_flags(&end, SfdFlags::SFD_NONBLOCK).expect("a descriptor")
}

/// Takes leave as [`card`] does.
fn stall(cycles: u32, most: Duration) {
    let end = end();
    let xruns = Xruns::default();
    let staller = Staller { cycles, most, at: 0, xruns: xruns.clone() };
    let active = open().activate_async(xruns, staller).expect("the client is activated");
    until("whoever wanted the server to wait ends that", || {
        end.read_signal().expect("a signal or none").is_some()
    });
    active.deactivate().expect("the client ends");
}

/// How many xruns the server has told of.
#[derive(Clone, Default)]
struct Xruns(Arc<(Mutex<u64>, Condvar)>);

impl Xruns {
    fn count(&self) -> MutexGuard<'_, u64> {
        self.0.0.lock().expect("nobody panics with it")
    }

    /// Waits until it tells of one more, but no longer than this.
    fn wait_for_another(&self, most: Duration) {
        let count = self.count();
        let before = *count;
        drop(self.0.1.wait_timeout_while(count, most, |now| *now == before));
    }
}

impl jack::NotificationHandler for Xruns {
    fn xrun(&mut self, _: &Client) -> Control {
        *self.count() += 1;
        self.0.1.notify_all();
        Control::Continue
    }
}

/// Is well in all cycles but one of so many: then it keeps the server waiting until that has had an xrun, or gives up.
struct Staller {
    cycles: u32,
    most: Duration,
    at: u32,
    xruns: Xruns,
}

impl jack::ProcessHandler for Staller {
    fn process(&mut self, _: &Client, _: &ProcessScope) -> Control {
        self.at += 1;
        if self.at.is_multiple_of(self.cycles) {
            self.xruns.wait_for_another(self.most);
        }
        Control::Continue
    }
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

/// The cycle in which all begin, once that is known.
#[derive(Clone, Default)]
struct Begin(Arc<OnceLock<u32>>);

impl Begin {
    /// So many cycles from now.
    fn after(&self, cycles: u32, client: &Client) {
        let begin = client.frame_time().wrapping_add(cycles * client.buffer_size());
        self.0.set(begin).expect("it is said once");
    }

    fn is_over(&self, scope: &ProcessScope) -> bool {
        // Frames are counted by 32 bits, round and round.
        self.0.get().is_some_and(|begin| scope.last_frame_time().wrapping_sub(*begin) < u32::MAX / 2)
    }
}

/// Plays to its end, and silence then.
struct Player {
    outs: Vec<Port<AudioOut>>,
    play: Vec<Vec<f32>>,
    begin: Begin,
    at: usize,
}

impl jack::ProcessHandler for Player {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        let is_on = self.begin.is_over(scope);
        for (port, play) in self.outs.iter_mut().zip(&self.play) {
            let port = port.as_mut_slice(scope);
            let rest = if is_on { play.get(self.at..).unwrap_or_default() } else { &[] };
            let count = rest.len().min(port.len());
            port[..count].copy_from_slice(&rest[..count]);
            port[count..].fill(0.0);
        }
        self.at += if is_on { scope.n_frames() as usize } else { 0 };
        Control::Continue
    }
}

/// Hears as much as there is room for.
struct Recorder {
    ins: Vec<Port<AudioIn>>,
    heard: Vec<Vec<f32>>,
    begin: Begin,
    at: Arc<AtomicUsize>,
}

impl jack::ProcessHandler for Recorder {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        let at = self.at.load(Ordering::Relaxed);
        if self.begin.is_over(scope) {
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
