//! The worker's main loop: requests and blocks, in order, until the host says goodbye or is gone.
//!
//! Runs on the process's main thread. A request is answered between two blocks. Nothing here waits for the host
//! on behalf of a block: what there is to say about blocks is sent only if the socket has room, and kept if not.

use crate::aside::Aside;
use crate::collector::{Done, Rhythm, Schedule};
use crate::denormals;
use crate::inbox::{Inbox, Incoming};
use crate::plugin::Plugin;
use crate::state::State;
use crate::toll::{Collections, Passage, Toll};
use shared::clock;
use shared::control::{Control, ControlError, Handles};
use shared::exit::Exit;
use shared::layout::Layout;
use shared::message::{
    Answer, Ask, Configured, DRIVE_MAX, Failure, Gc, Notice, PluginKind, Reply, Say, Stage,
};
use shared::ring::{Notes, Stamps, Status, Wake, WorkerEnd};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How long the loop sleeps at most before it looks around. Wake-ups are not lost; this is only a second line.
const LOOK_AROUND_NS: u64 = 1_000_000_000;
/// How long it keeps the interpreter at most for a block that does not come: a thread that wants it, and is the plugin's
/// first, waits so long once.
const KEPT_NS: u64 = 500_000_000;
/// What part of the slack a worker may use for itself that has handed its block on.
const SHARED_SLACK: u64 = 16;
/// Notices kept while the socket is full; the oldest say most.
const UNSENT_MAX: usize = 16;

/// Serves the host until it says goodbye ([`Exit::Goodbye`]) or something ends it early.
pub fn serve(plugin: &mut impl Plugin, inbox: &Inbox, control: &Control) -> Exit {
    serve_looking_around(plugin, inbox, control, LOOK_AROUND_NS)
}

/// As [`serve`], with a sleep of this length at most: a test that sleeps for an hour sees a lost wake-up.
pub fn serve_looking_around(
    plugin: &mut impl Plugin,
    inbox: &Inbox,
    control: &Control,
    every_ns: u64,
) -> Exit {
    let (phase, kind) = (Phase::Fresh, PluginKind::Processor);
    let (unsent, state) = (VecDeque::new(), State::default());
    let (toll, collections) = (Toll::default(), plugin.collections());
    let (rhythm, schedule) = (Rhythm::new(0), None);
    let mut server = Server {
        plugin,
        inbox,
        control,
        every_ns,
        phase,
        kind,
        unsent,
        state,
        toll,
        collections,
        ended: 0,
        rhythm,
        gc: Gc::default(),
        blocks_come: false,
        schedule,
    };
    loop {
        if let ControlFlow::Break(exit) = server.requests() {
            return exit;
        }
        server.work();
    }
}

struct Server<'a, P> {
    plugin: &'a mut P,
    inbox: &'a Inbox,
    control: &'a Control,
    every_ns: u64,
    phase: Phase,
    kind: PluginKind,
    unsent: VecDeque<Notice>,
    state: State,
    toll: Toll,
    collections: Arc<Collections>,
    /// How many of them have been told of.
    ended: u64,
    rhythm: Rhythm,
    gc: Gc,
    /// Whether the last wait ended with one.
    blocks_come: bool,
    /// When the collector runs, if that is ours to decide.
    schedule: Option<Schedule>,
}

/// A request that no host sends that speaks this protocol.
struct Nonsense;

/// Where in its life the plugin is.
enum Phase {
    Fresh,
    Loaded,
    Ready(WorkerEnd),
    Running(WorkerEnd),
}

impl<P: Plugin> Server<'_, P> {
    /// Waits for something to do: a block while the plugin runs, a request always.
    fn work(&mut self) {
        self.toll.begin();
        while let Phase::Running(end) = &mut self.phase {
            // To give it up and take it back would be for nobody.
            let keeps = self.blocks_come && self.plugin.is_alone();
            let every_ns = if keeps { self.every_ns.min(KEPT_NS) } else { self.every_ns };
            let flag = self.inbox.interrupt();
            let (toll, collections) = (&mut self.toll, &self.collections);
            let mut wait = || {
                let (wake, seen_ns) = end.wait_for(|| toll.rest(), every_ns, flag);
                toll.rise(end.sleeps());
                collections.see(seen_ns);
                (wake, seen_ns)
            };
            let waited = if keeps { wait() } else { self.plugin.released(wait) };
            if keeps {
                // Whoever came meanwhile stands there and waits, and is seen now: after the block it may be gone.
                self.plugin.is_alone();
            }
            match waited {
                (Wake::Block, seen_ns) => {
                    // To take the interpreter back may have taken its time.
                    self.block(seen_ns, if keeps { seen_ns } else { clock::now_ns() });
                    self.blocks_come = true;
                }
                (Wake::Interrupted, _) => return,
                (Wake::Deadline, _) => {
                    self.blocks_come = false;
                    self.tell();
                    self.toll.begin();
                }
            }
        }
        self.plugin.released(|| self.inbox.wait());
    }

    /// Takes the block that was seen then; the plugin can be called since `woken_ns`.
    fn block(&mut self, seen_ns: u64, woken_ns: u64) {
        let Phase::Running(end) = &mut self.phase else { return };
        let passage = Passage { published_ns: end.published_ns(seen_ns), seen_ns, left_ns: seen_ns };
        if self.kind == PluginKind::Source {
            end.begin_silent();
        } else if !end.begin() {
            let stamps = Stamps { seen_ns, woken_ns, entered_ns: woken_ns, left_ns: woken_ns };
            end.answer(Status::Starved, stamps, Notes::default());
            return;
        }
        let done = self.plugin.process(end.next_index());
        let stamps = Stamps { seen_ns, woken_ns, entered_ns: done.entered_ns, left_ns: done.left_ns };
        let passage = Passage { left_ns: done.left_ns, ..passage };
        self.rhythm.hear(passage.published_ns);
        let mut notes = self.toll.notes(passage);
        // Seldom, and never for nothing: it is another processor that reads this.
        let ended = self.collections.ended();
        if ended != self.ended {
            self.ended = ended;
            end.tell_collected(self.collections.all());
            notes = self.collections.note(notes);
        }
        let hands_on = end.answer(done.status, stamps, notes);
        self.tell();
        self.collect(hands_on);
    }

    /// Has the collector run in the slack after a block, if it is time, behind every other worker that has something to
    /// do. Where the block goes on to the next worker, which may wait for this processor all the same, little of the
    /// slack is its.
    fn collect(&mut self, hands_on: bool) {
        let (Phase::Running(end), Some(schedule)) = (&self.phase, &mut self.schedule) else { return };
        // Whoever was woken by the answer may have had the processor since.
        let left_ns = if end.is_requested() { 0 } else { self.rhythm.left_ns(clock::now_ns()) };
        let left_ns = if hands_on { left_ns / SHARED_SLACK } else { left_ns };
        let Some(due) = schedule.next(left_ns, || self.plugin.made()) else { return };
        let _aside = Aside::step();
        let began_ns = clock::now_ns();
        self.collections.schedule(true);
        let found = self.plugin.sweep(due.sweep);
        self.collections.schedule(false);
        schedule.done(due, Done { found, took_ns: clock::now_ns() - began_ns });
    }

    /// Puts a block that no host gave into the slot that is next, if the plugin runs.
    fn begin_unordered(&mut self) -> Option<usize> {
        let Phase::Running(end) = &mut self.phase else { return None };
        if self.kind == PluginKind::Source {
            end.begin_silent();
        } else {
            end.begin_unordered();
        }
        Some(end.next_index())
    }

    /// Processes blocks that no host gave, and answers none of them. How long each took, in nanoseconds: without
    /// putting it there, which who has the plugin in his own process need not do.
    fn drive(&mut self, blocks: u32, every_ns: u64) -> Result<Vec<u32>, Failure> {
        let mut times = Vec::with_capacity(blocks as usize);
        let mut due_ns = clock::now_ns();
        for i in 0..blocks {
            if every_ns > 0 {
                // Late by more than a period: go on from here, a burst would not be paced.
                due_ns = due_ns.saturating_add(every_ns).max(clock::now_ns());
                self.plugin.released(|| clock::sleep_until(due_ns));
            }
            let slot = self
                .begin_unordered()
                .ok_or_else(|| failure(Stage::Block, "a plugin that doesn't run can't be driven"))?;
            // It begins with looking at the clock: to look once more would be a good part of what it takes.
            let done = self.plugin.process(slot);
            let took_ns = clock::now_ns().saturating_sub(done.entered_ns);
            if done.status != Status::Good {
                return Err(failure(Stage::Block, &format!("block {i} of {blocks} failed")));
            }
            times.push(u32::try_from(took_ns).unwrap_or(u32::MAX));
            self.rhythm.hear(done.entered_ns);
            self.tell();
            self.collect(false);
        }
        Ok(times)
    }

    /// Sends what the plugin has to say, as far as the socket has room.
    fn tell(&mut self) {
        while let Some(notice) = self.plugin.notice() {
            if self.unsent.len() < UNSENT_MAX {
                self.unsent.push_back(notice);
            }
        }
        while let Some(notice) = self.unsent.pop_front() {
            let say = Say::Notice(notice);
            // A host that is gone is the receiving thread's affair.
            if let (Ok(false), Say::Notice(notice)) = (self.control.try_send(&say), say) {
                self.unsent.push_front(notice);
                return;
            }
        }
    }

    fn requests(&mut self) -> ControlFlow<Exit> {
        while let Some((request, fds)) = self.inbox.take() {
            let over = matches!(request.body, Ask::Shutdown);
            let id = request.id;
            let Ok(body) = self.answer((request, fds)) else {
                return ControlFlow::Break(Exit::Protocol);
            };
            self.tell();
            if over {
                self.inbox.finish();
            }
            self.send(Reply { id, body })?;
            if over {
                return ControlFlow::Break(Exit::Goodbye);
            }
        }
        ControlFlow::Continue(())
    }

    /// Sends an answer, or, if it is longer than a message may be, that it is.
    fn send(&mut self, reply: Reply) -> ControlFlow<Exit> {
        let control = self.control;
        let say = Say::Reply(reply);
        let sent = self.plugin.released(|| control.send(&say));
        let (Err(ControlError::Codec(e)), Say::Reply(Reply { id, .. })) = (&sent, &say) else {
            return if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(Exit::Orphaned) };
        };
        let failure = failure(Stage::State, &format!("the plugin's answer can't be sent: {e}"));
        let say = Say::Reply(Reply { id: *id, body: Err(failure) });
        match self.plugin.released(|| control.send(&say)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(Exit::Orphaned),
        }
    }

    /// The answer to a request, unless it makes no sense.
    fn answer(&mut self, (request, fds): Incoming) -> Result<Result<Answer, Failure>, Nonsense> {
        Ok(match request.body {
            Ask::Load { file } => self.load(&file),
            Ask::Configure { format, slots, set } => {
                let layout = Layout::new(format, slots).ok_or(Nonsense)?;
                self.configure(&Handles::from_fds(fds).ok_or(Nonsense)?, layout, &set).map(Answer::Configured)
            }
            Ask::Attach { format, slots, tag } => {
                let layout = Layout::new(format, slots).ok_or(Nonsense)?;
                let [answers, doorstep] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| Nonsense)?;
                let attached = self.end()?.attach(answers, layout, tag, doorstep);
                joined(attached, "it can't follow another worker")
            }
            Ask::HandTo => {
                let [doorstep] = <[OwnedFd; 1]>::try_from(fds).map_err(|_| Nonsense)?;
                joined(self.end()?.hand_to(doorstep), "it can't hand on to another worker")
            }
            Ask::Start { gc } => self.start(gc),
            Ask::WarmUp => Ok(self.warm_up()),
            Ask::Stop => self.stop().map(|()| Answer::Done),
            Ask::SetParameter { key, value } => {
                self.loaded()?.set_parameter(&key, &value).map(|accepted| Answer::Set { accepted })
            }
            Ask::GetParameter { key } => self.loaded()?.get_parameter(&key).map(Answer::Value),
            Ask::SaveState { from: 0 } => {
                self.loaded()?;
                self.say_at_state();
                let saved = self.plugin.save_state();
                saved
                    .and_then(|saved| saved.map(|saved| self.state.keep(saved)).transpose())
                    .map(Answer::State)
            }
            Ask::SaveState { from } => Ok(Answer::State(Some(self.state.fetch(from).ok_or(Nonsense)?))),
            Ask::LoadState { part, more } => {
                self.loaded()?;
                self.load_state(&part, more)
            }
            Ask::Drive { blocks, .. } if blocks > DRIVE_MAX => return Err(Nonsense),
            Ask::Drive { blocks, every_ns } => self.drive(blocks, every_ns).map(Answer::Driven),
            Ask::Shutdown => self.shutdown(),
        })
    }

    /// The plugin, if there is one to ask.
    fn loaded(&mut self) -> Result<&mut P, Nonsense> {
        if matches!(self.phase, Phase::Fresh) { Err(Nonsense) } else { Ok(self.plugin) }
    }

    fn load_state(&mut self, part: &[u8], more: bool) -> Result<Answer, Failure> {
        let Some(state) = self.state.arrive(part, more)? else { return Ok(Answer::Done) };
        match &self.phase {
            Phase::Running(end) if end.has_answered() => Ok(Answer::Played),
            _ => {
                self.say_at_state();
                self.plugin.load_state(&state).map(|()| Answer::Done)
            }
        }
    }

    /// So that a host that misses blocks from now on knows that they wait for that.
    fn say_at_state(&mut self) {
        let control = self.control;
        // A host that is gone is the receiving thread's affair.
        let _ = self.plugin.released(|| control.send(&Say::Notice(Notice::AtState)));
    }

    fn load(&mut self, file: &str) -> Result<Answer, Failure> {
        let Phase::Fresh = self.phase else {
            return Err(failure(Stage::Load, "a worker holds one plugin, and has it already"));
        };
        let loaded = self.plugin.load(file)?;
        self.kind = loaded.kind;
        self.phase = Phase::Loaded;
        Ok(Answer::Loaded(loaded))
    }

    fn configure(
        &mut self,
        handles: &Handles,
        layout: Layout,
        set: &[(String, String)],
    ) -> Result<Configured, Failure> {
        if matches!(self.phase, Phase::Fresh | Phase::Running(_)) {
            return Err(failure(Stage::Configure, "a plugin takes a format after loading and while stopped"));
        }
        self.phase = Phase::Loaded;
        let end = WorkerEnd::map(handles, layout)
            .map_err(|e| failure(Stage::Configure, &format!("the segments can't be mapped: {e}")))?;
        let configured = self.plugin.configure(end.memory(), set)?;
        self.inbox.poke_ring(Some(end.waker()));
        self.phase = Phase::Ready(end);
        Ok(configured)
    }

    /// Its end of the ring, if there is one.
    fn end(&mut self) -> Result<&mut WorkerEnd, Nonsense> {
        match &mut self.phase {
            Phase::Ready(end) | Phase::Running(end) => Ok(end),
            Phase::Fresh | Phase::Loaded => Err(Nonsense),
        }
    }

    fn start(&mut self, gc: Gc) -> Result<Answer, Failure> {
        match std::mem::replace(&mut self.phase, Phase::Loaded) {
            Phase::Ready(end) => match self.plugin.start(gc) {
                Ok(()) => {
                    denormals::flush_to_zero(true);
                    self.collections.play(true);
                    let block_ns = end.layout().format().block_ns();
                    (self.toll, self.rhythm) = (Toll::new(block_ns), Rhythm::new(block_ns));
                    self.gc = gc;
                    self.schedule_collections();
                    self.phase = Phase::Running(end);
                    Ok(Answer::Done)
                }
                Err(failure) => {
                    self.phase = Phase::Ready(end);
                    Err(failure)
                }
            },
            other => {
                self.phase = other;
                Err(failure(Stage::Start, "a plugin starts once it has a format, and once"))
            }
        }
    }

    fn schedule_collections(&mut self) {
        self.schedule = (self.gc == Gc::Host).then(|| Schedule::new(self.plugin.frozen()));
    }

    /// Nothing to do for a plugin that does not run, or has been given blocks.
    fn warm_up(&mut self) -> Answer {
        if matches!(&self.phase, Phase::Running(end) if !end.has_answered()) {
            // What is collected for that is none of the plugin's doing.
            self.collections.play(false);
            self.plugin.warm_up(self.gc);
            self.collections.play(true);
            self.schedule_collections();
        }
        Answer::Done
    }

    /// Ends processing; nothing to do for a plugin that does not run.
    fn stop(&mut self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.phase, Phase::Loaded) {
            Phase::Running(end) => {
                self.phase = Phase::Ready(end);
                denormals::flush_to_zero(false);
                self.collections.play(false);
                self.plugin.stop()
            }
            other => {
                self.phase = other;
                Ok(())
            }
        }
    }

    /// Both ends are tried; a plugin that failed at its end is gone all the same.
    fn shutdown(&mut self) -> Result<Answer, Failure> {
        let stopped = self.stop();
        let down = if matches!(self.phase, Phase::Fresh) { Ok(()) } else { self.plugin.shutdown() };
        stopped.and(down).map(|()| Answer::Goodbye)
    }
}

/// What becomes of one half of a join.
fn joined(done: rustix::io::Result<()>, otherwise: &str) -> Result<Answer, Failure> {
    done.map(|()| Answer::Done).map_err(|e| failure(Stage::Configure, &format!("{otherwise}: {e}")))
}

fn failure(stage: Stage, message: &str) -> Failure {
    Failure { stage, message: message.to_owned(), traceback: String::new() }
}
