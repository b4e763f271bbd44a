//! A real worker process with a host made of nothing but `shared`: for tests that look at one worker from outside.
//!
//! Spawns the interpreter as `shared::boot` says, asks, publishes blocks and takes answers. Every wait has a
//! deadline, after which the test fails. It restarts nothing and decides nothing.

use crate::workspace;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shared::boot;
use shared::clock;
use shared::control::Control;
use shared::format::Format;
use shared::layout::Layout;
use shared::message::{
    Answer, Ask, Configured, Failure, Gc, Hello, Loaded, Log, Notice, Reply, Request, Say,
};
use shared::ring::{HostEnd, Scrub, Status, Taken, Waited};
use shared::segment::seal_written;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

/// How long anything may take before the test has failed. Generous: other work and valgrind slow a worker down.
pub const DEADLINE_NS: u64 = 60_000_000_000;
/// Slots of every ring here.
pub const SLOTS: u32 = 4;

/// A worker and what it said.
pub struct WorkerProcess {
    child: Child,
    control: Control,
    output: Vec<JoinHandle<Vec<u8>>>,
    next_id: u32,
    /// What it said first.
    pub hello: Hello,
    /// What it said unasked, so far.
    pub notices: Vec<Notice>,
}

/// One of a worker's pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a worker ended and what it printed.
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The interpreter that tests use: `NDA_TEST_PYTHON`, the workspace's virtual environment, or `python3`.
#[must_use]
pub fn python() -> PathBuf {
    let venv = workspace::root().join(".venv/bin/python");
    match std::env::var_os("NDA_TEST_PYTHON") {
        Some(python) => python.into(),
        None if venv.exists() => venv,
        None => "python3".into(),
    }
}

/// The command that becomes a worker, without its pipes.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new(python());
    command.args(["-I", "-c", boot::SCRIPT]).arg(workspace::built(boot::MODULE_FILE)).process_group(0);
    command.env(boot::HOST_PID, std::process::id().to_string());
    for variable in ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(variable, "1");
    }
    command
}

impl WorkerProcess {
    /// A worker that has said hello, with its output collected.
    #[must_use]
    pub fn spawn() -> Self {
        Self::spawn_with(command())
    }

    /// A worker of this command.
    #[must_use]
    pub fn spawn_with(command: Command) -> Self {
        let mut worker = Self::spawn_undrained(command);
        worker.drain();
        worker
    }

    /// A worker whose output nobody reads until [`WorkerProcess::drain`].
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn spawn_undrained(mut command: Command) -> Self {
        let (control, theirs) = Control::pair().expect("a socket pair");
        command.stdin(theirs.into_fd()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("the interpreter starts");
        // The command holds the worker's end of the socket.
        drop(command);
        let hello =
            Hello { protocol: 0, version: String::new(), python: String::new(), numpy: String::new() };
        let mut worker = Self { child, control, output: Vec::new(), next_id: 1, hello, notices: Vec::new() };
        match worker.receive() {
            Say::Hello(hello) => worker.hello = hello,
            other => panic!("a worker's first word was {other:?}"),
        }
        worker
    }

    /// Starts reading what it prints.
    pub fn drain(&mut self) {
        let stdout = self.child.stdout.take().map(read_all);
        let stderr = self.child.stderr.take().map(read_all);
        self.output.extend(stdout.into_iter().chain(stderr));
    }

    /// Reads an undrained pipe until this text has come.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn read_until(&mut self, output: Output, text: &str) -> String {
        match output {
            Output::Stdout => read_until(self.child.stdout.as_mut().expect("an undrained pipe"), text),
            Output::Stderr => read_until(self.child.stderr.as_mut().expect("an undrained pipe"), text),
        }
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, and waits for the answer; what it says in between is kept in [`WorkerProcess::notices`].
    ///
    /// # Errors
    /// What the plugin failed with.
    pub fn ask(&mut self, body: Ask) -> Result<Answer, Failure> {
        let id = self.send(body);
        self.answer(id)
    }

    /// Asks without waiting; the number of the request.
    ///
    /// # Panics
    /// If the worker is gone.
    pub fn send(&mut self, body: Ask) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.control.send(&Request { id, body }).expect("the worker takes a request");
        id
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    /// What the plugin failed with.
    ///
    /// # Panics
    /// If something else is answered, or nothing in time.
    pub fn answer(&mut self, id: u32) -> Result<Answer, Failure> {
        loop {
            match self.receive() {
                Say::Reply(Reply { id: other, body }) => {
                    assert_eq!(other, id, "answers come in order");
                    return body;
                }
                Say::Notice(notice) => self.notices.push(notice),
                Say::Hello(hello) => panic!("a second {hello:?}"),
            }
        }
    }

    /// Waits until a notice fits.
    pub fn wait_for_notice(&mut self, fits: impl Fn(&Notice) -> bool) -> Notice {
        if let Some(i) = self.notices.iter().position(&fits) {
            return self.notices.remove(i);
        }
        loop {
            match self.receive() {
                Say::Notice(notice) if fits(&notice) => return notice,
                Say::Notice(notice) => self.notices.push(notice),
                other => panic!("{other:?} instead of a notice"),
            }
        }
    }

    /// Loads a plugin file.
    ///
    /// # Errors
    /// What failed.
    pub fn load(&mut self, file: &Path) -> Result<Loaded, Failure> {
        match self.ask(Ask::Load { file: file.to_str().expect("paths of tests are text").to_owned() })? {
            Answer::Loaded(loaded) => Ok(loaded),
            other => panic!("{other:?} to a load"),
        }
    }

    /// Gives a format and parameters, as a host does: new segments, sealed once they are mapped.
    ///
    /// # Errors
    /// What failed.
    pub fn configure(
        &mut self,
        format: Format,
        set: &[(&str, &str)],
    ) -> Result<(HostEnd, Configured), Failure> {
        let layout = Layout::new(format, SLOTS).expect("a power of two");
        let (end, handles) = HostEnd::create(layout).expect("segments");
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let id = self.next_id;
        self.next_id += 1;
        let request = Request { id, body: Ask::Configure { format, slots: SLOTS, set } };
        assert!(self.control.try_send_fds(&request, &handles.as_fds()).expect("the worker takes a request"));
        match self.answer(id)? {
            Answer::Configured(configured) => {
                seal_written(&handles.reply).expect("the worker has mapped it");
                Ok((end, configured))
            }
            other => panic!("{other:?} to a format"),
        }
    }

    /// Starts the plugin.
    ///
    /// # Errors
    /// What failed.
    pub fn start(&mut self) -> Result<(), Failure> {
        self.start_with(Gc::Host)
    }

    /// Starts the plugin with its collector in these hands.
    ///
    /// # Errors
    /// What failed.
    pub fn start_with(&mut self, gc: Gc) -> Result<(), Failure> {
        self.ask(Ask::Start { gc }).map(|_| ())
    }

    /// Stops the plugin.
    ///
    /// # Errors
    /// What failed.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.ask(Ask::Stop).map(|_| ())
    }

    /// Says goodbye and waits for the end.
    pub fn shutdown(mut self) -> Ended {
        assert_eq!(self.ask(Ask::Shutdown), Ok(Answer::Goodbye));
        self.wait()
    }

    /// Ends the worker's connection, as a host does that dies.
    #[must_use]
    pub fn abandon(mut self) -> Ended {
        let (unconnected, _) = Control::pair().expect("a socket pair");
        drop(std::mem::replace(&mut self.control, unconnected));
        self.wait()
    }

    /// Waits for the process to end.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn wait(mut self) -> Ended {
        self.drain();
        let pid = rustix::process::Pid::from_child(&self.child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a pidfd");
        assert!(readable(&pidfd), "the worker did not end");
        let status = self.child.wait().expect("a status");
        let mut output = std::mem::take(&mut self.output).into_iter();
        let mut text = || {
            let bytes = output.next().map(|reader| reader.join().expect("a reader")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ended { status, stdout: text(), stderr: text() }
    }

    /// Everything in [`WorkerProcess::notices`] that the worker itself logged.
    #[must_use]
    pub fn logs(&self) -> Vec<&Log> {
        self.notices.iter().filter_map(log).collect()
    }

    fn receive(&mut self) -> Say {
        assert!(readable(&self.control), "the worker said nothing in time");
        match self.control.receive() {
            Ok((say, _)) => say,
            Err(e) => {
                self.drain();
                let status = self.child.wait();
                let output =
                    std::mem::take(&mut self.output).into_iter().map(|o| o.join().unwrap_or_default());
                let text =
                    output.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect::<String>();
                panic!("{e}; it ended with {status:?} and said:\n{text}");
            }
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind; one that did not has waited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Publishes a block, waits for its answer and takes it.
///
/// # Panics
/// If there is no answer in time.
pub fn round(end: &mut HostEnd, write: impl FnOnce(&mut [f32])) -> (Taken, Vec<f32>) {
    let seq = end.publish(write).expect("a free slot");
    end.notify();
    let answered = end.wait(seq, clock::now_ns() + DEADLINE_NS, &AtomicBool::new(false));
    assert_eq!(answered, Waited::Answered, "block {seq}");
    let mut samples = vec![0.0; end.layout().format().samples()];
    let taken = end.take(seq, &mut samples, Scrub::Nothing).expect("a whole block");
    (taken, samples)
}

/// As [`round`] for a block that must succeed: its samples.
///
/// # Panics
/// If the block failed.
pub fn good(end: &mut HostEnd, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let (taken, samples) = round(end, write);
    assert_eq!(taken.status, Status::Good);
    samples
}

fn readable(fd: &impl std::os::fd::AsFd) -> bool {
    let until = clock::now_ns() + DEADLINE_NS;
    loop {
        let left = clock::timespec(until.saturating_sub(clock::now_ns()));
        let timeout = Timespec { tv_sec: left.tv_sec, tv_nsec: left.tv_nsec };
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.is_ok_and(|n| n > 0),
        }
    }
}

fn read_until(pipe: &mut (impl Read + std::os::fd::AsFd), text: &str) -> String {
    let mut bytes = Vec::new();
    loop {
        let so_far = String::from_utf8_lossy(&bytes);
        if so_far.contains(text) {
            return so_far.into_owned();
        }
        assert!(readable(&*pipe), "{text:?} did not come after {so_far:?}");
        let mut some = [0; 4096];
        let n = pipe.read(&mut some).expect("a readable pipe");
        assert!(n > 0, "{text:?} did not come after {so_far:?}");
        bytes.extend(&some[..n]);
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn log(notice: &Notice) -> Option<&Log> {
    match notice {
        Notice::Log(log) => Some(log),
        _ => None,
    }
}
