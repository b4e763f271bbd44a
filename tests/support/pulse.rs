//! A PulseAudio server of a test's own, whose sinks are on no sound card, and its own clients that play and record.

use crate::server::Program;
use crate::until::{DEADLINE, until};
use crate::wav::Wav;
use crate::workspace::Folder;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

/// What a sink of the server takes.
#[derive(Debug, Clone, Copy)]
pub struct Sink {
    /// As PulseAudio calls it: `s16le`.
    pub format: &'static str,
    /// Frames per second.
    pub rate: u32,
    /// Channels per frame, five at most.
    pub channels: usize,
}

impl Sink {
    /// Positions as PulseAudio and cpal both give them, so that no channel is mixed into another.
    fn map(&self) -> String {
        const ALL: [&str; 5] = ["front-left", "front-right", "front-center", "rear-left", "rear-right"];
        match self.channels {
            1 => "mono".to_owned(),
            4 => [ALL[0], ALL[1], ALL[3], ALL[4]].join(","),
            count => ALL[..count].join(","),
        }
    }
}

/// Streams in one direction, in the words of `pactl`.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    listed: &'static str,
    devices: &'static str,
    moved: &'static str,
    ended: &'static str,
}

/// What is played to sinks.
pub const PLAYED: Streams =
    Streams { listed: "sink-inputs", devices: "sinks", moved: "move-sink-input", ended: "kill-sink-input" };

/// What is recorded from sources.
pub const RECORDED: Streams = Streams {
    listed: "source-outputs",
    devices: "sources",
    moved: "move-source-output",
    ended: "kill-source-output",
};

/// A server with two sinks, `cable` and `speaker`, each with its monitor.
#[derive(Debug)]
pub struct Pulse {
    folder: Folder,
    sink: Sink,
    server: Option<Program>,
}

impl Pulse {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// If `pulseaudio` is not installed or does not answer.
    #[must_use]
    pub fn start(sink: Sink) -> Self {
        let mut pulse = Self { folder: Folder::new(), sink, server: None };
        pulse.start_again();
        pulse
    }

    /// Starts it once more, after [`Pulse::kill`].
    ///
    /// # Panics
    /// As [`Pulse::start`].
    pub fn start_again(&mut self) {
        let socket = self.socket();
        let _ = fs::remove_file(&socket);
        let mut command = self.command("pulseaudio");
        command.args(["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]);
        command.args(["--high-priority=no", "--realtime=no", "--log-target=stderr"]);
        for name in ["cable", "speaker"] {
            command.args(["-L", &self.module(name)]);
        }
        // The last: who finds the socket finds the sinks.
        let listen = format!("module-native-protocol-unix auth-anonymous=1 socket={}", socket.display());
        command.args(["-L", &listen]);
        self.server = Some(Program::start(command, &self.folder.file("pulseaudio.log")));
        until("the server listens", || UnixStream::connect(&socket).is_ok());
    }

    /// The module that is the sink of this name, with what it is loaded with. Without rewinds a sink takes 50 ms at a
    /// time and not two seconds, in which it asks nobody for anything.
    fn module(&self, name: &str) -> String {
        let (Sink { format, rate, channels }, map) = (self.sink, self.sink.map());
        let form = format!("format={format} rate={rate} channels={channels} channel_map={map}");
        format!("module-null-sink norewinds=1 sink_name={name} {form}")
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.server.take().into_iter().for_each(Program::kill);
    }

    /// Has the server do this, as `pactl` says it.
    ///
    /// # Panics
    /// If it does not.
    pub fn control(&self, words: &[&str]) {
        let done = self.command("pactl").args(words).output().expect("pactl");
        assert!(done.status.success(), "{words:?}: {done:?}");
    }

    /// Has it make one more sink, which users know by the name `called`.
    ///
    /// # Panics
    /// If it does not.
    pub fn add_sink(&self, name: &str, called: &str) {
        let module = self.module(name);
        let called = format!("sink_properties=\"device.description='{called}'\"");
        let words: Vec<&str> = std::iter::once("load-module").chain(module.split(' ')).collect();
        self.control(&[words, vec![&called]].concat());
    }

    /// Takes a sink out, as a card that is unplugged.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn remove_sink(&self, name: &str) {
        let is_it =
            |module: &Vec<String>| module.iter().any(|word| word.contains(&format!("sink_name={name} ")));
        let module = self.list("modules").into_iter().find(is_it).expect("the sink's module");
        self.control(&["unload-module", &module[0]]);
    }

    /// How many streams there are at a device.
    ///
    /// # Panics
    /// If the server does not say.
    #[must_use]
    pub fn count_at(&self, device: &str, streams: Streams) -> usize {
        self.numbers_at(device, streams).len()
    }

    /// Moves what is at one device to another.
    ///
    /// # Panics
    /// If nothing is there, or it does not move.
    pub fn move_streams(&self, streams: Streams, from: &str, to: &str) {
        let numbers = self.numbers_at(from, streams);
        assert!(!numbers.is_empty(), "nothing is at {from}");
        numbers.iter().for_each(|number| self.control(&[streams.moved, number, to]));
    }

    /// Has the server end what is at a device, which it is told in a way of its own: `pactl` has no word for it.
    ///
    /// # Panics
    /// If nothing is there, or it does not end.
    pub fn end_streams(&self, streams: Streams, device: &str) {
        let numbers = self.numbers_at(device, streams);
        assert!(!numbers.is_empty(), "nothing is at {device}");
        let socket = self.folder.file("commands.socket");
        if !socket.exists() {
            let listens = format!("socket={}", socket.display());
            self.control(&["load-module", "module-cli-protocol-unix", &listens]);
        }
        let mut server = UnixStream::connect(socket).expect("it listens");
        numbers.iter().for_each(|number| writeln!(server, "{} {number}", streams.ended).expect("it reads"));
        until("they end", || !self.numbers_at(device, streams).iter().any(|number| numbers.contains(number)));
    }

    fn numbers_at(&self, device: &str, streams: Streams) -> Vec<String> {
        let devices = self.list(streams.devices);
        let Some(device) = devices.iter().find(|line| line[1] == device) else { return Vec::new() };
        let streams = self.list(streams.listed).into_iter().filter(|line| line[1] == device[0]);
        streams.map(|line| line[0].clone()).collect()
    }

    /// What there is of these, a line each, in words.
    fn list(&self, what: &str) -> Vec<Vec<String>> {
        let done = self.command("pactl").args(["list", "short", what]).output().expect("pactl");
        assert!(done.status.success(), "{what}: {done:?}");
        let text = String::from_utf8(done.stdout).expect("text");
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    fn socket(&self) -> PathBuf {
        self.folder.file("pulse.socket")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.tell(&mut command);
        command
    }

    /// Has a command find this server, and nothing of the user's own.
    pub fn tell(&self, command: &mut Command) {
        command.env("PULSE_SERVER", format!("unix:{}", self.socket().display()));
        for home in ["HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH"] {
            command.env(home, self.folder.path());
        }
        for bus in ["DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "PULSE_SINK", "PULSE_SOURCE", "PULSE_COOKIE"] {
            command.env_remove(bus);
        }
    }

    /// What the monitor of `speaker` hears while a client plays a signal to `cable`, and two seconds more.
    ///
    /// # Panics
    /// If that takes too long.
    #[must_use]
    pub fn pass(&self, signal: &Wav) -> Wav {
        let [heard] = self.pass_and_hear(["speaker"], signal);
        heard
    }

    /// What the monitors of these sinks hear while a client plays a signal to `cable`, and two seconds more.
    ///
    /// # Panics
    /// If that takes too long.
    #[must_use]
    pub fn pass_and_hear<const SINKS: usize>(&self, sinks: [&str; SINKS], signal: &Wav) -> [Wav; SINKS] {
        let play = self.folder.file("play.raw");
        let all_heard = sinks.map(|sink| self.folder.file(&format!("{sink}.raw")));
        let bytes: Vec<u8> = signal.interleaved().flat_map(f32::to_le_bytes).collect();
        fs::write(&play, &bytes).expect("a file in the test's folder");
        all_heard.iter().for_each(|heard| drop(fs::remove_file(heard)));
        let client = |program: &str, device: &str, file: &PathBuf| {
            let mut client = self.command(program);
            client.args(["--raw", "--format=float32le", "--latency-msec=50", &format!("--device={device}")]);
            client.args([format!("--rate={}", signal.rate), format!("--channels={}", signal.channels.len())]);
            client.arg(format!("--channel-map={}", self.sink.map())).arg(file);
            Program::start(client, &self.folder.file(&format!("{program}-{device}.log")))
        };
        let lengths =
            || all_heard.each_ref().map(|heard| fs::metadata(heard).map_or(0, |data| data.len() as usize));
        let recordings = std::array::from_fn::<_, SINKS, _>(|sink| {
            client("parec", &format!("{}.monitor", sinks[sink]), &all_heard[sink])
        });
        until("the recordings begin", || lengths().iter().all(|length| *length > 0));
        let before = lengths();
        client("pacat", "cable", &play).succeeds(DEADLINE);
        let two_seconds = 2 * 4 * signal.rate as usize * signal.channels.len();
        let more = bytes.len() + two_seconds;
        until("all is recorded", || {
            lengths().iter().zip(before).all(|(length, before)| *length > before + more)
        });
        drop(recordings);
        all_heard.map(|heard| read(&heard, signal))
    }
}

/// A recording of raw samples, of the form that the signal has.
fn read(heard: &PathBuf, signal: &Wav) -> Wav {
    let heard = fs::read(heard).expect("a recording");
    let samples: Vec<f32> =
        heard.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    let count = signal.channels.len();
    let channel = |c| samples.iter().skip(c).step_by(count).copied().collect();
    Wav::new((0..count).map(channel).collect()).at(signal.rate)
}
