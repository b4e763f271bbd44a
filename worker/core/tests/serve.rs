//! The main loop against a real ring and a real control socket, with a plugin that is not Python.
//!
//! The host is this test's thread, the worker another one of the same process. The worker's longest sleep is an
//! hour, so a wake-up that is lost fails the test at its deadline instead of being covered up.

// A test fails by panicking, also in its helpers.
#![allow(clippy::unwrap_used)]
// The plugin works on slot memory, which is reached by pointers.
#![allow(unsafe_code)]

use shared::clock;
use shared::control::Control;
use shared::exit::Exit;
use shared::format::Format;
use shared::layout::Layout;
use shared::message::{
    Answer, Ask, Configured, DRIVE_MAX, Failure, Gc, Loaded, Log, LogSource, Notice, PluginKind, Reply,
    Request, Say, Stage, StatePart,
};
use shared::ring::{HostEnd, Scrub, SlotMemory, Status, Taken, Waited};
use shared::segment::doorstep;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use worker_core::denormals;
use worker_core::inbox::Inbox;
use worker_core::plugin::{Plugin, Processed};
use worker_core::serve::serve_looking_around;

const HOUR_NS: u64 = 3_600_000_000_000;
const DEADLINE_NS: u64 = 60_000_000_000;
const SLOTS: u32 = 4;

/// Negates each block, and fails one whose first sample is above 1.
#[derive(Default)]
struct Negate {
    source: bool,
    memory: Option<SlotMemory>,
    gain: String,
    life: Vec<&'static str>,
    failed: u64,
    tell: bool,
    alone: bool,
    /// How often others could have had the interpreter.
    released: Arc<AtomicU32>,
}

impl Plugin for Negate {
    fn load(&mut self, file: &str) -> Result<Loaded, Failure> {
        self.life.push("load");
        self.source = file.ends_with("source");
        self.alone = file == "alone";
        let kind = match file {
            "source" => PluginKind::Source,
            _ => PluginKind::Processor,
        };
        let text = String::new;
        let (name, version, author, description) = (file.to_owned(), text(), text(), text());
        Ok(Loaded {
            kind,
            name,
            version,
            author,
            description,
            fail_closed: false,
            silent_warm_up: false,
            keeps_state: true,
        })
    }

    fn configure(&mut self, memory: SlotMemory, _set: &[(String, String)]) -> Result<Configured, Failure> {
        self.life.push("configure");
        self.memory = Some(memory);
        Ok(Configured { rate: None, channels: None, latency_s: 0.0, refused: Vec::new(), uncached: None })
    }

    fn start(&mut self, _gc: Gc) -> Result<(), Failure> {
        self.life.push("start");
        if self.gain == "none" { Err(no("start() returned False")) } else { Ok(()) }
    }

    fn process(&mut self, slot: usize) -> Processed {
        let entered_ns = clock::now_ns();
        let memory = self.memory.as_ref().unwrap();
        let length = memory.layout().format().samples();
        // SAFETY: the slot is this thread's until it is answered.
        let samples = unsafe { std::slice::from_raw_parts_mut(memory.samples(slot).as_ptr(), length) };
        let status = if samples[0] > 1.0 { Status::Failed } else { Status::Good };
        if self.source {
            assert!(samples.iter().all(|sample| *sample == 0.0), "a source begins with silence");
            samples.fill(0.25);
        }
        samples.iter_mut().for_each(|sample| *sample = -*sample);
        if status == Status::Failed {
            self.failed += 1;
            self.tell = true;
        }
        Processed { status, entered_ns, left_ns: clock::now_ns() }
    }

    fn notice(&mut self) -> Option<Notice> {
        let text = format!("{} failed{}", self.failed, ".".repeat(8000));
        std::mem::take(&mut self.tell).then_some(Notice::Log(Log { source: LogSource::Worker, text }))
    }

    fn stop(&mut self) -> Result<(), Failure> {
        self.life.push("stop");
        Ok(())
    }

    fn shutdown(&mut self) -> Result<(), Failure> {
        self.life.push("shutdown");
        Ok(())
    }

    fn set_parameter(&mut self, _key: &str, value: &str) -> Result<bool, Failure> {
        value.clone_into(&mut self.gain);
        Ok(true)
    }

    fn get_parameter(&mut self, key: &str) -> Result<String, Failure> {
        match key {
            "gain" => Ok(self.gain.clone()),
            "flushing" => Ok(denormals::is_flushing().to_string()),
            _ => Ok("x".repeat(100_000)),
        }
    }

    fn save_state(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        Ok(Some(vec![7]))
    }

    fn load_state(&mut self, _state: &[u8]) -> Result<(), Failure> {
        Err(no("not mine"))
    }

    fn is_alone(&mut self) -> bool {
        self.alone
    }

    fn released<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T {
        self.released.fetch_add(1, Ordering::Relaxed);
        wait()
    }
}

fn no(why: &str) -> Failure {
    Failure { stage: Stage::Start, message: why.into(), traceback: String::new() }
}

/// A host's side of a worker on other threads.
struct Host {
    control: Control,
    worker: JoinHandle<(Exit, Vec<&'static str>)>,
    next_id: u32,
    notices: Vec<Notice>,
    released: Arc<AtomicU32>,
}

impl Host {
    fn new() -> Self {
        let (control, theirs) = Control::pair().unwrap();
        let released = Arc::default();
        let mut plugin = Negate { released: Arc::clone(&released), ..Negate::default() };
        let worker = std::thread::spawn(move || {
            let inbox = Inbox::default();
            let exit = std::thread::scope(|scope| {
                scope.spawn(|| inbox.listen(&theirs));
                serve_looking_around(&mut plugin, &inbox, &theirs, HOUR_NS)
            });
            (exit, plugin.life)
        });
        Self { control, worker, next_id: 1, notices: Vec::new(), released }
    }

    fn running(file: &str) -> (Self, HostEnd) {
        let mut host = Self::new();
        assert!(matches!(host.ask(Ask::Load { file: file.into() }), Ok(Answer::Loaded(_))));
        let end = host.configure(64);
        assert_eq!(host.ask(Ask::Start { gc: Gc::Host }), Ok(Answer::Done));
        (host, end)
    }

    fn send(&mut self, body: Ask) -> u32 {
        self.next_id += 1;
        self.control.send(&Request { id: self.next_id, body }).unwrap();
        self.next_id
    }

    fn ask(&mut self, body: Ask) -> Result<Answer, Failure> {
        let id = self.send(body);
        self.answer(id)
    }

    fn ask_with(&mut self, body: Ask, fds: &[BorrowedFd<'_>]) -> Result<Answer, Failure> {
        self.next_id += 1;
        assert!(self.control.try_send_fds(&Request { id: self.next_id, body }, fds).unwrap());
        self.answer(self.next_id)
    }

    fn answer(&mut self, id: u32) -> Result<Answer, Failure> {
        loop {
            match self.receive() {
                Say::Reply(Reply { id: other, body }) => {
                    assert_eq!(other, id);
                    return body;
                }
                Say::Notice(notice) => self.notices.push(notice),
                Say::Hello(_) => panic!("nobody says hello here"),
            }
        }
    }

    fn receive(&self) -> Say {
        use rustix::event::{PollFd, PollFlags, poll};
        let timeout = clock::timespec(DEADLINE_NS);
        assert_eq!(poll(&mut [PollFd::new(&self.control, PollFlags::IN)], Some(&timeout)), Ok(1));
        self.control.receive().unwrap().0
    }

    fn configure(&mut self, frames: u32) -> HostEnd {
        let format = Format::new(2, frames, 48_000).unwrap();
        let (end, handles) = HostEnd::create(Layout::new(format, SLOTS).unwrap()).unwrap();
        let body = Ask::Configure { format, slots: SLOTS, set: Vec::new() };
        assert!(matches!(self.ask_with(body, &handles.as_fds()), Ok(Answer::Configured(_))));
        end
    }

    fn goodbye(mut self) -> Vec<&'static str> {
        assert_eq!(self.ask(Ask::Shutdown), Ok(Answer::Goodbye));
        // The listener ends with the socket.
        drop(self.control);
        let (exit, life) = self.worker.join().unwrap();
        assert_eq!(exit, Exit::Goodbye);
        life
    }
}

fn wait(end: &HostEnd, seq: u32) {
    let answered = end.wait(seq, clock::now_ns() + DEADLINE_NS, &AtomicBool::new(false));
    assert_eq!(answered, Waited::Answered, "block {seq}: a wake-up was lost");
}

fn take(end: &HostEnd, seq: u32) -> (Taken, Vec<f32>) {
    let mut samples = vec![0.0; end.layout().format().samples()];
    let taken = end.take(seq, &mut samples, Scrub::Nothing).unwrap();
    (taken, samples)
}

fn round(end: &mut HostEnd, value: f32) -> (Taken, Vec<f32>) {
    let seq = end.publish(|samples| samples.fill(value)).unwrap();
    end.notify();
    wait(end, seq);
    take(end, seq)
}

/// Small numbers in no order, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// Nothing, or long enough for the other side to be anywhere on its way to sleep.
    fn pause(&mut self) {
        for _ in 0..self.below(2) * self.below(3000) {
            std::hint::spin_loop();
        }
    }
}

#[test]
fn a_plugin_lives_through_its_stages_in_order_and_can_be_started_again() {
    let (mut host, mut end) = Host::running("negate");
    assert_eq!(round(&mut end, 0.5).1, [-0.5; 128]);
    assert_eq!(host.ask(Ask::Stop), Ok(Answer::Done));
    assert_eq!(host.ask(Ask::Start { gc: Gc::Host }), Ok(Answer::Done));
    assert_eq!(round(&mut end, 0.75).1, [-0.75; 128]);
    assert_eq!(host.ask(Ask::Stop), Ok(Answer::Done));
    let mut end = host.configure(32);
    assert_eq!(host.ask(Ask::Start { gc: Gc::Host }), Ok(Answer::Done));
    assert_eq!(round(&mut end, 1.0).1, [-1.0; 64]);
    let life = host.goodbye();
    let expected = "load configure start stop start stop configure start stop shutdown";
    assert_eq!(life.join(" "), expected);
}

#[test]
fn a_hundred_thousand_blocks_with_random_pauses_come_back_in_order_and_none_is_missed() {
    let (host, mut end) = Host::running("negate");
    let mut random = Random(1);
    let (mut published, mut taken) = (0u32, 0u32);
    while taken < 100_000 {
        for _ in 0..=random.below(u64::from(SLOTS)) {
            let value = (published % 1000) as f32 / 1000.0;
            if end.publish(|samples| samples.fill(value)).is_ok() {
                published += 1;
                end.notify();
                random.pause();
            }
        }
        while taken < published {
            taken += 1;
            wait(&end, taken);
            assert_eq!(take(&end, taken).1[127], -(((taken - 1) % 1000) as f32 / 1000.0));
            random.pause();
        }
    }
    host.goodbye();
}

#[test]
fn requests_are_answered_between_blocks_while_they_stream() {
    let (mut host, mut end) = Host::running("negate");
    let mut random = Random(2);
    for turn in 0..2000 {
        let seq = end.publish(|samples| samples.fill(0.5)).unwrap();
        end.notify();
        random.pause();
        let value = format!("{turn}");
        let set = host.send(Ask::SetParameter { key: "gain".into(), value: value.clone() });
        wait(&end, seq);
        assert_eq!(take(&end, seq).1, [-0.5; 128]);
        assert_eq!(host.answer(set), Ok(Answer::Set { accepted: true }));
        assert_eq!(host.ask(Ask::GetParameter { key: "gain".into() }), Ok(Answer::Value(value)));
    }
    host.goodbye();
}

#[test]
fn requests_are_answered_while_no_block_comes_whether_it_runs_or_not() {
    let (mut host, mut end) = Host::running("negate");
    let mut random = Random(3);
    for running in [true, false] {
        for _ in 0..500 {
            random.pause();
            assert_eq!(
                host.ask(Ask::SaveState { from: 0 }),
                Ok(Answer::State(Some(StatePart { bytes: vec![7], total: 1 })))
            );
        }
        if running {
            assert_eq!(round(&mut end, 0.5).0.status, Status::Good);
            assert_eq!(host.ask(Ask::Stop), Ok(Answer::Done));
        }
    }
    host.goodbye();
}

#[test]
fn a_worker_says_that_it_begins_with_its_state_before_each_call_of_the_plugin_for_that_and_at_no_other_time()
{
    let (mut host, mut end) = Host::running("negate");
    let said = |host: &Host| host.notices.iter().filter(|notice| **notice == Notice::AtState).count();
    let part = |more| Ask::LoadState { part: vec![7], more };
    assert_eq!(host.ask(part(true)), Ok(Answer::Done));
    assert_eq!(said(&host), 0, "more is to come");
    assert_eq!(host.ask(part(false)), Err(no("not mine")));
    assert_eq!(said(&host), 1);
    assert!(host.ask(Ask::SaveState { from: 0 }).is_ok());
    assert_eq!(said(&host), 2);
    assert_eq!(round(&mut end, 0.5).0.status, Status::Good);
    assert_eq!(host.ask(part(false)), Ok(Answer::Played));
    assert_eq!(said(&host), 2, "it is not called");
    host.goodbye();
}

#[test]
fn a_failed_block_is_answered_as_failed_and_the_next_one_is_tried() {
    let (host, mut end) = Host::running("negate");
    let statuses = [0.5, 2.0, 0.5, 2.0].map(|value| round(&mut end, value).0.status);
    assert_eq!(statuses, [Status::Good, Status::Failed, Status::Good, Status::Failed]);
    host.goodbye();
}

#[test]
fn the_interpreter_is_kept_from_block_to_block_unless_another_thread_was_seen() {
    let given_up = |file| {
        let (host, mut end) = Host::running(file);
        let before = host.released.load(Ordering::Relaxed);
        (0..200).for_each(|_| assert_eq!(round(&mut end, 0.5).0.status, Status::Good));
        let after = host.released.load(Ordering::Relaxed);
        host.goodbye();
        after - before
    };
    assert!(given_up("among others") >= 199, "a thread of the plugin's stands still");
    // Now and then this thread may be kept from the next block for so long that it is.
    assert!(given_up("alone") < 100, "it is given up for nobody");
}

#[test]
fn who_waits_in_vain_for_a_block_gives_the_interpreter_up() {
    let (host, mut end) = Host::running("alone");
    round(&mut end, 0.5);
    let before = host.released.load(Ordering::Relaxed);
    round(&mut end, 0.5);
    let until_ns = clock::now_ns() + DEADLINE_NS;
    while host.released.load(Ordering::Relaxed) == before {
        assert!(clock::now_ns() < until_ns, "it keeps it for an hour");
        std::thread::yield_now();
    }
    host.goodbye();
}

#[test]
fn stamps_are_in_the_order_in_which_things_happen() {
    let (host, mut end) = Host::running("negate");
    let before = clock::now_ns();
    let stamps = round(&mut end, 0.5).0.stamps;
    let order = [before, stamps.seen_ns, stamps.woken_ns, stamps.entered_ns, stamps.left_ns, clock::now_ns()];
    assert!(order.is_sorted(), "{order:?}");
    host.goodbye();
}

#[test]
fn a_source_begins_each_block_with_silence() {
    let (host, mut end) = Host::running("source");
    for _ in 0..10 {
        assert_eq!(round(&mut end, 0.5).1, [-0.25; 128]);
    }
    host.goodbye();
}

#[test]
fn a_host_that_reads_no_notices_still_gets_its_blocks_and_then_the_first_of_them() {
    let (mut host, mut end) = Host::running("negate");
    for _ in 0..1000 {
        assert_eq!(round(&mut end, 2.0).0.status, Status::Failed);
    }
    let id = host.send(Ask::SaveState { from: 0 });
    assert!(matches!(host.answer(id), Ok(Answer::State(_))));
    assert!(matches!(&host.notices[0], Notice::Log(log) if log.text.starts_with("1 failed")));
    assert!(host.notices.len() < 1000);
    host.goodbye();
}

#[test]
fn denormals_count_as_zero_while_blocks_are_processed_and_only_then() {
    let (mut host, mut end) = Host::running("negate");
    let tiny = f32::from_bits(1);
    assert_eq!(round(&mut end, tiny).0.status, Status::Good);
    let mut flushing = || host.ask(Ask::GetParameter { key: "flushing".into() });
    let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    assert_eq!(flushing(), Ok(Answer::Value(known.to_string())));
    assert_eq!(host.ask(Ask::Stop), Ok(Answer::Done));
    assert_eq!(host.ask(Ask::GetParameter { key: "flushing".into() }), Ok(Answer::Value("false".into())));
    host.goodbye();
}

#[test]
fn what_the_plugin_refuses_is_told_and_can_be_tried_again() {
    let mut host = Host::new();
    assert!(host.ask(Ask::Load { file: "negate".into() }).is_ok());
    let _end = host.configure(64);
    let set = |value: &str| Ask::SetParameter { key: "gain".into(), value: value.into() };
    assert!(host.ask(set("none")).is_ok());
    assert_eq!(host.ask(Ask::Start { gc: Gc::Host }), Err(no("start() returned False")));
    assert!(host.ask(set("some")).is_ok());
    assert_eq!(host.ask(Ask::Start { gc: Gc::Host }), Ok(Answer::Done));
    host.goodbye();
}

#[test]
fn requests_out_of_order_are_refused_and_harm_nothing() {
    let (mut host, mut end) = Host::running("negate");
    assert!(host.ask(Ask::Load { file: "another".into() }).is_err());
    assert!(host.ask(Ask::Start { gc: Gc::Host }).is_err());
    assert_eq!(round(&mut end, 0.5).1, [-0.5; 128]);
    assert_eq!(host.ask(Ask::Stop), Ok(Answer::Done));
    assert_eq!(host.ask(Ask::Stop), Ok(Answer::Done));
    assert_eq!(host.goodbye().iter().filter(|stage| **stage == "stop").count(), 1);
}

#[test]
fn an_answer_too_long_for_a_message_becomes_a_failure_that_says_so() {
    let (mut host, _end) = Host::running("negate");
    let failure = host.ask(Ask::GetParameter { key: "long".into() }).unwrap_err();
    assert!(failure.message.contains("longer than 65536 bytes"), "{}", failure.message);
    host.goodbye();
}

#[test]
fn a_request_that_makes_no_sense_ends_the_worker() {
    let mut host = Host::new();
    host.send(Ask::GetParameter { key: "of nothing".into() });
    drop(host.control);
    assert_eq!(host.worker.join().unwrap().0, Exit::Protocol);
}

#[test]
fn a_worker_is_joined_to_both_neighbours_while_it_runs_and_says_so_if_it_can_not_be() {
    let (mut host, mut end) = Host::running("negate");
    let layout = end.layout();
    let (_before, handles) = HostEnd::create(layout).unwrap();
    let (own, next) = (doorstep().unwrap(), doorstep().unwrap());
    let attach = |slots| Ask::Attach { format: layout.format(), slots, tag: 1 };
    let from = handles.reply.as_fd();
    assert_eq!(host.ask_with(attach(SLOTS), &[from, own.as_fd()]), Ok(Answer::Done));
    assert_eq!(host.ask_with(Ask::HandTo, &[next.as_fd()]), Ok(Answer::Done));
    assert_eq!(round(&mut end, 0.5).1[0], -0.5);
    let refused = [
        host.ask_with(attach(SLOTS), &[from, from]).unwrap_err(),
        host.ask_with(Ask::HandTo, &[from]).unwrap_err(),
    ];
    let why = ["it can't follow another worker", "it can't hand on to another worker"];
    assert!(refused.iter().zip(why).all(|(failure, why)| failure.message.starts_with(why)), "{refused:?}");
    assert_eq!(round(&mut end, 0.25).1[0], -0.25);
    host.goodbye();
}

#[test]
fn a_join_without_what_belongs_to_it_or_of_a_worker_that_has_no_ring_ends_the_worker() {
    let step = doorstep().unwrap();
    let attach = Ask::Attach { format: Format::new(2, 64, 48_000).unwrap(), slots: SLOTS, tag: 1 };
    for (body, fds, runs) in [
        (attach, vec![step.as_fd()], true),
        (Ask::HandTo, vec![], true),
        (Ask::HandTo, vec![step.as_fd(), step.as_fd()], true),
        (Ask::HandTo, vec![step.as_fd()], false),
    ] {
        let host = if runs { Host::running("negate").0 } else { Host::new() };
        assert!(host.control.try_send_fds(&Request { id: 9, body }, &fds).unwrap());
        drop(host.control);
        assert_eq!(host.worker.join().unwrap().0, Exit::Protocol);
    }
}

#[test]
fn a_plugin_that_drives_itself_says_how_long_each_block_took_and_owes_the_host_nothing() {
    let (mut host, mut end) = Host::running("negate");
    assert_eq!(round(&mut end, 0.5).1, [-0.5; 128]);
    let Ok(Answer::Driven(times)) = host.ask(Ask::Drive { blocks: 9, every_ns: 0 }) else {
        panic!("not driven")
    };
    assert!(times.len() == 9 && !times.contains(&0), "{times:?}");
    // Whatever slot it was in: the next block of the host's is the next one that is answered.
    assert_eq!(round(&mut end, 0.75).1, [-0.75; 128]);
    host.goodbye();
}

#[test]
fn driven_blocks_keep_their_distance() {
    let (mut host, _end) = Host::running("source");
    let began_ns = clock::now_ns();
    let driven = host.ask(Ask::Drive { blocks: 10, every_ns: 1_000_000 });
    assert!(matches!(driven, Ok(Answer::Driven(times)) if times.len() == 10));
    assert!(clock::now_ns() - began_ns >= 10_000_000);
    host.goodbye();
}

#[test]
fn a_block_that_fails_and_a_plugin_that_does_not_run_end_a_drive_with_a_failure() {
    let (mut host, mut end) = Host::running("negate");
    let ask = || Ask::Drive { blocks: 3, every_ns: 0 };
    for _ in 0..SLOTS {
        assert_eq!(round(&mut end, 2.0).0.status, Status::Failed);
    }
    assert_eq!(host.ask(ask()).unwrap_err().message, "block 0 of 3 failed");
    assert_eq!(host.ask(Ask::Stop), Ok(Answer::Done));
    assert!(host.ask(ask()).unwrap_err().message.contains("doesn't run"));
    host.goodbye();
}

#[test]
fn more_blocks_than_their_times_fit_a_message_end_the_worker() {
    let (mut host, _end) = Host::running("negate");
    host.send(Ask::Drive { blocks: DRIVE_MAX + 1, every_ns: 0 });
    drop(host.control);
    assert_eq!(host.worker.join().unwrap().0, Exit::Protocol);
}
