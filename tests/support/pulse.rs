//! A PulseAudio server of a test's own, whose sinks are on no sound card, and its own clients that play and record.

use crate::server::Program;
use crate::until::{DEADLINE, until};
use crate::wav::Wav;
use crate::workspace::Folder;
use std::fs;
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
        let [play, heard] = ["play.raw", "heard.raw"].map(|name| self.folder.file(name));
        let bytes: Vec<u8> = signal.interleaved().flat_map(f32::to_le_bytes).collect();
        fs::write(&play, &bytes).expect("a file in the test's folder");
        let _ = fs::remove_file(&heard);
        let client = |program: &str, device: &str, file: &PathBuf| {
            let mut client = self.command(program);
            client.args(["--raw", "--format=float32le", "--latency-msec=50", &format!("--device={device}")]);
            client.args([format!("--rate={}", signal.rate), format!("--channels={}", signal.channels.len())]);
            client.arg(format!("--channel-map={}", self.sink.map())).arg(file);
            Program::start(client, &self.folder.file(&format!("{program}.log")))
        };
        let length = || fs::metadata(&heard).map_or(0, |data| data.len() as usize);
        let recording = client("parec", "speaker.monitor", &heard);
        until("the recording begins", || length() > 0);
        let before = length();
        client("pacat", "cable", &play).succeeds(DEADLINE);
        let two_seconds = 2 * 4 * signal.rate as usize * signal.channels.len();
        until("all is recorded", || length() > before + bytes.len() + two_seconds);
        drop(recording);
        let heard = fs::read(&heard).expect("a recording");
        let samples: Vec<f32> =
            heard.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
        let count = signal.channels.len();
        let channel = |c| samples.iter().skip(c).step_by(count).copied().collect();
        Wav::new((0..count).map(channel).collect()).at(signal.rate)
    }
}
