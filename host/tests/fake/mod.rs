//! A worker that plays a role, for tests of the supervisor.
//!
//! The player is the test executable itself: [`Fake`] writes a shell script that pretends to be a Python and
//! runs [`play_a_role`] with the role in its environment. So it speaks the protocol of today, right or wrong.

use host::plugin::spec::PluginSpec;
use host::supervisor::Limits;
use rustix::process::{Signal, getpid, kill_process};
use shared::clock::now_ns;
use shared::control::{Control, Handles};
use shared::layout::Layout;
use shared::message::{
    Answer, Ask, Configured, Failure, Hello, Loaded, Log, LogSource, Notice, PluginKind, Reply, Request, Say,
    Stage, StatePart,
};
use shared::ring::{Notes, Stamps, Status, Wake, WorkerEnd};
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Limits that no good worker meets.
pub(crate) const PATIENT: Limits =
    Limits { hello: LONG, load: LONG, configure: LONG, start: LONG, other: LONG, shutdown: LONG };
/// For a test that waits until a limit is over.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// What a worker writes down that is asked what it is doing.
const STACKS: &str =
    "\nCurrent thread 0x00000001 (most recent call first):\n  File \"plugin.py\", line 7 in process\n";

/// Bytes of memory that a worker takes.
pub(crate) const TAKEN: u64 = 256 << 20;

const ROLE: &str = "NDA_TEST_ROLE";

/// A plugin file, and an interpreter that becomes a worker which plays a role.
pub(crate) struct Fake {
    folder: tempfile::TempDir,
    spec: PluginSpec,
}

impl Fake {
    pub(crate) fn new(role: &str) -> Self {
        let own = std::env::current_exe().unwrap();
        Self::script(&format!(
            "export {ROLE}='{role}'; exec '{}' --exact fake::play_a_role --nocapture --test-threads=1 >&2",
            own.display()
        ))
    }

    /// An interpreter that is this shell script.
    pub(crate) fn script(body: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("#!/bin/sh\ncd '{}'\necho $$ > pid\n{body}\n", folder.path().display());
        let python = executable(folder.path(), "python", &text);
        let file = folder.path().join("plugin.py");
        fs::write(&file, "").unwrap();
        let spec = PluginSpec { python: Some(python), ..PluginSpec::new(file) };
        Self { folder, spec }
    }

    pub(crate) fn spec(&self) -> PluginSpec {
        self.spec.clone()
    }

    /// What it has written to a file in its folder.
    pub(crate) fn wrote(&self, file: &str) -> String {
        fs::read_to_string(self.folder.path().join(file)).unwrap()
    }

    /// Whether it has written this file.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.folder.path().join(file).exists()
    }

    /// Puts an empty file into its folder.
    pub(crate) fn put(&self, file: &str) {
        fs::write(self.folder.path().join(file), "").unwrap();
    }

    /// The number of the process that wrote it to this file, as soon as it has.
    pub(crate) fn pid(&self, file: &str) -> Option<u32> {
        fs::read_to_string(self.folder.path().join(file)).ok().map(|text| text.trim().parse().unwrap())
    }

    /// Whether the process whose number it has written to this file is there, be it as a zombie.
    pub(crate) fn is_there(&self, file: &str) -> bool {
        exists(self.wrote(file).trim())
    }
}

pub(crate) fn exists(pid: impl std::fmt::Display) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// An executable file, written by another process: as long as this one had it open for writing, no process that
/// it starts meanwhile could run it (ETXTBSY).
pub(crate) fn executable(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    let mut writer = Command::new("/bin/sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

/// Not a test: what the script of [`Fake::new`] runs.
#[test]
fn play_a_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let control = Control::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    // Of the socket only `control` is left, so that to drop it is to close it.
    let nothing = fs::File::open("/dev/null").unwrap();
    rustix::stdio::dup2_stdin(&nothing).unwrap();
    Player { control, role, end: None, kept: None, value: String::new() }.play();
}

struct Player {
    control: Control,
    role: String,
    end: Option<WorkerEnd>,
    kept: Option<u32>,
    value: String,
}

impl Player {
    fn play(mut self) {
        match self.role.as_str() {
            "never says hello" => wait_for_ever(),
            "takes memory at once" => return take_memory(),
            "answers before its hello" => self.reply(0, Ok(Answer::Done)),
            "speaks another protocol" => self.say(&Say::Hello(Hello { protocol: 999, ..hello() })),
            _ => self.say(&Say::Hello(hello())),
        }
        self.prepare();
        while let Ok((Request { id, body }, fds)) = self.control.receive::<Request>() {
            self.misbehave(id, &body);
            let over = body == Ask::Shutdown;
            if let Some(answer) = self.answer(id, body, fds) {
                self.reply(id, answer);
            }
            if over {
                std::process::exit(0);
            }
        }
    }

    fn prepare(&self) {
        let stacks = signal_hook::consts::SIGUSR1;
        match self.role.as_str() {
            "writes down its stacks" => {
                let mut asked = signal_hook::iterator::Signals::new([stacks]).unwrap();
                std::thread::spawn(move || {
                    asked.forever().for_each(|_| std::io::stderr().write_all(STACKS.as_bytes()).unwrap());
                });
            }
            "never writes down its stacks" => {
                signal_hook::flag::register(stacks, std::sync::Arc::default()).unwrap();
            }
            _ => {}
        }
    }

    fn say(&self, say: &Say) {
        // The host may have had enough of us.
        let _ = self.control.send(say);
    }

    fn reply(&self, id: u32, body: Result<Answer, Failure>) {
        self.say(&Say::Reply(Reply { id, body }));
    }

    /// What a role does instead of, or before, the right answer.
    fn misbehave(&mut self, id: u32, body: &Ask) {
        let send = |bytes: &[u8]| {
            rustix::net::send(&self.control, bytes, rustix::net::SendFlags::NOSIGNAL).unwrap();
        };
        match (self.role.as_str(), body) {
            ("imports for ever", Ask::Load { .. })
            | ("initialises for ever", Ask::Configure { .. })
            | ("hears nothing any more", Ask::LoadState { .. })
            | ("does not go", Ask::Shutdown) => wait_for_ever(),
            ("exits with 3", Ask::Load { .. }) => {
                std::io::stderr().write_all(b"last words\n").unwrap();
                std::process::exit(3);
            }
            ("crashes", Ask::Load { .. }) => end_by(Signal::SEGV),
            ("crashes when set", Ask::SetParameter { .. }) => end_by(Signal::SEGV),
            ("prints, fails a block and crashes when set", Ask::SetParameter { .. }) => {
                self.log("of its own".into());
                std::io::stderr().write_all(b"\nto be read\n").unwrap();
                let failure = failure(Stage::Block, "ValueError: boom");
                self.say(&Say::Notice(Notice::BlockFailed { failure, count: 3 }));
                std::io::stderr().write_all(b"Fatal Python error: Segmentation fault\n").unwrap();
                end_by(Signal::SEGV);
            }
            ("waits for a file when set", Ask::SetParameter { .. }) => {
                fs::write("asked", "").unwrap();
                // Bounded: a test that fails leaves nobody waiting.
                let end = Instant::now() + LONG;
                while !Path::new("go").exists() && Instant::now() < end {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
            ("says garbage", Ask::Load { .. }) => send(&[0xff; 17]),
            ("says an empty message", Ask::Load { .. }) => send(&[]),
            ("says too much", Ask::Load { .. }) => send(&vec![0; shared::message::LIMIT + 1]),
            ("answers what nobody asked", Ask::Load { .. }) => self.reply(id + 1, Ok(Answer::Done)),
            ("says hello twice", Ask::Load { .. }) => self.say(&Say::Hello(hello())),
            ("sends descriptors", Ask::Load { .. }) => {
                let file = || fs::File::open("/dev/null").unwrap().into();
                let handles = Handles { request: file(), reply: file() };
                self.control.try_send_fds(&Say::Hello(hello()), &handles.as_fds()).unwrap();
            }
            ("hangs up", Ask::Load { .. }) => {
                self.control = Control::pair().unwrap().0;
                wait_for_ever();
            }
            ("floods with messages", Ask::GetParameter { .. }) => {
                for _ in 0..20_000 {
                    self.log("x".repeat(100));
                }
            }
            ("prints a lot", Ask::GetParameter { .. }) => print_a_lot(),
            ("leaves a child", Ask::Load { .. }) => {
                Command::new("/bin/sh").args(["-c", "sleep 1000 & echo $! > child"]).status().unwrap();
            }
            ("takes memory", Ask::SetParameter { .. }) => take_memory(),
            ("has a child that takes memory", Ask::SetParameter { .. }) => {
                let own = std::env::current_exe().unwrap();
                let part = ["--exact", "fake::play_a_role", "--test-threads=1"];
                let mut child = Command::new(own);
                child.args(part).env(ROLE, "takes memory at once").stdin(Stdio::piped());
                std::thread::spawn(move || child.spawn().unwrap().wait());
            }
            ("has an orphan that takes memory", Ask::SetParameter { .. }) => {
                // In a session of its own, of a parent that ends at once.
                let orphan =
                    "setsid \"$0\" --exact fake::play_a_role --test-threads=1 < /dev/null > /dev/null &";
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", orphan]).arg(std::env::current_exe().unwrap());
                assert!(shell.env(ROLE, "takes memory at once").status().unwrap().success());
            }
            ("has children that never rest" | "has orphans that never rest", Ask::SetParameter { .. }) => {
                // Enough of them to get theirs on a busy machine.
                let session = if self.role.contains("orphans") { "setsid" } else { "" };
                let one = format!("{session} sh -c 'echo $$ > part; mv part child; while :; do :; done' &");
                let end = if self.role.contains("orphans") { "" } else { "wait" };
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("{}\n{end}", vec![one; 16].join("\n"))]);
                std::thread::spawn(move || shell.spawn().unwrap().wait());
            }
            ("starts many processes", Ask::SetParameter { .. }) => {
                let many = "n=0; while [ $n -lt 80 ]; do n=$((n + 1)); sleep 1000 & done; wait";
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", many]);
                std::thread::spawn(move || shell.spawn().unwrap().wait());
            }
            ("starts many orphans" | "starts many orphans with no environment", Ask::SetParameter { .. }) => {
                // Each in a process that ends at once, in a session of its own.
                let bare = if self.role.ends_with("environment") { "env -i" } else { "" };
                let many = format!(
                    "n=0; while [ $n -lt 100 ]; do n=$((n + 1)); {bare} setsid sh -c 'sleep 1000 &'; done"
                );
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &many]);
                std::thread::spawn(move || shell.spawn().unwrap().wait());
            }
            ("takes all cores", Ask::SetParameter { .. }) => {
                // Enough of them to get theirs on a busy machine.
                for _ in 0..16 {
                    std::thread::spawn(|| {
                        loop {
                            std::hint::spin_loop();
                        }
                    });
                }
            }
            ("leaves a child in a session of its own", Ask::Load { .. }) => {
                let child =
                    "setsid sh -c 'trap \"\" TERM HUP; echo $$ > part; mv part child; sleep 1000; :' &";
                Command::new("/bin/sh").args(["-c", child]).status().unwrap();
            }
            ("leaves a child in a session and an environment of its own", Ask::Load { .. }) => {
                let child = "env -i setsid sh -c 'trap \"\" TERM HUP; echo $$ > part; mv part child; sleep 1000; :' &";
                Command::new("/bin/sh").args(["-c", child]).status().unwrap();
            }
            ("answers its second block before it is asked", Ask::Start { .. }) => {
                let mut end = self.end.take().unwrap();
                std::thread::spawn(move || {
                    let never = std::sync::atomic::AtomicBool::new(false);
                    while end.wait(u64::MAX / 2, &never) != Wake::Block {}
                    let stamps = Stamps { left_ns: now_ns(), ..Stamps::default() };
                    for _ in 0..2 {
                        end.answer(Status::Good, stamps, Notes::default());
                    }
                });
            }
            _ => {}
        }
    }

    fn log(&self, text: String) {
        self.say(&Say::Notice(Notice::Log(Log { source: LogSource::Worker, text })));
    }

    fn answer(&mut self, id: u32, ask: Ask, fds: Vec<OwnedFd>) -> Option<Result<Answer, Failure>> {
        Some(Ok(match ask {
            Ask::Load { .. } if self.role == "imports what is missing" => {
                return Some(Err(failure(Stage::Load, "No module named 'scipy.signal'")));
            }
            Ask::Load { .. } if self.role == "answers wrongly" => Answer::Goodbye,
            Ask::Load { .. } => Answer::Loaded(loaded()),
            Ask::Configure { .. } if self.role == "refuses to initialise" => {
                return Some(Err(failure(Stage::Configure, "initialize() returned False")));
            }
            Ask::Configure { format, slots, .. } => {
                let layout = Layout::new(format, slots).unwrap();
                self.end = Some(WorkerEnd::map(&Handles::from_fds(fds).unwrap(), layout).unwrap());
                Answer::Configured(configured(format.rate()))
            }
            Ask::Attach { .. } | Ask::HandTo | Ask::LoadState { .. } => Answer::Done,
            Ask::Start { .. } | Ask::WarmUp | Ask::Stop => Answer::Done,
            Ask::SetParameter { value, .. } => {
                self.value = value;
                Answer::Set { accepted: true }
            }
            Ask::GetParameter { .. } if self.role == "answers in the wrong order" => {
                let Some(first) = self.kept.take() else {
                    self.kept = Some(id);
                    return None;
                };
                self.reply(id, Ok(Answer::Value(id.to_string())));
                self.reply(first, Ok(Answer::Value(first.to_string())));
                return None;
            }
            Ask::GetParameter { .. } => Answer::Value(self.value.clone()),
            Ask::SaveState { .. } => Answer::State(Some(self.state())),
            // One too many.
            Ask::Drive { blocks, .. } => Answer::Driven(vec![1; blocks as usize + 1]),
            Ask::Shutdown => Answer::Goodbye,
        }))
    }
}

impl Player {
    fn state(&self) -> StatePart {
        let (bytes, total) = match self.role.as_str() {
            "drips its state" => (vec![1], 100),
            "has an endless state" => (vec![1, 2, 3], u64::MAX),
            "has more state than it says" => (vec![1, 2, 3], 2),
            _ => (vec![1, 2, 3], 3),
        };
        StatePart { bytes, total }
    }
}

/// As much as [`TAKEN`], and keeps it.
fn take_memory() {
    let all = vec![1u8; usize::try_from(TAKEN).unwrap()];
    std::hint::black_box(&all);
    wait_for_ever();
}

fn wait_for_ever() {
    loop {
        std::thread::park();
    }
}

fn end_by(signal: Signal) {
    // No core file in somebody's folder.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none).unwrap();
    loop {
        // The first one only makes Rust's own handler step aside.
        kill_process(getpid(), signal).unwrap();
    }
}

/// Three megabytes without an end of line, then many lines, by the way that a careless plugin would take.
fn print_a_lot() {
    let mut err = std::io::stderr();
    let mut all = vec![b'x'; 3 << 20];
    all.extend(b"\nline".repeat(50_000));
    while !all.is_empty() {
        match err.write(&all) {
            Ok(n) => drop(all.drain(..n)),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
}

fn failure(stage: Stage, message: &str) -> Failure {
    let traceback = "Traceback (most recent call last):\n  File \"plugin.py\", line 7".into();
    Failure { stage, message: message.into(), traceback }
}

fn hello() -> Hello {
    let text = |text: &str| text.to_owned();
    Hello { protocol: shared::PROTOCOL, version: text("0.9"), python: text("3.99.0"), numpy: text("9.9") }
}

fn loaded() -> Loaded {
    Loaded {
        kind: PluginKind::Processor,
        name: "Fake".into(),
        version: "1".into(),
        author: String::new(),
        description: String::new(),
        fail_closed: false,
        silent_warm_up: false,
        keeps_state: true,
    }
}

fn configured(rate: u32) -> Configured {
    Configured { rate: Some(rate), channels: None, latency_s: 0.0, refused: Vec::new(), uncached: None }
}
