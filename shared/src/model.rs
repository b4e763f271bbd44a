//! Every interleaving of the steps by which blocks are handed over, and every order in which memory may show them.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p shared --release --lib` tries them. What runs are the steps of [`crate::wait`],
//! [`crate::ring::slot`] and [`crate::ring::order`] themselves; what lies around them in the real ends, mapped memory
//! and clocks, is made of the heap and of no time here: nobody has a deadline, so that a lost wake-up is a deadlock,
//! which the checker reports.
//!
//! Each promise is tried twice: as it is kept, and broken on purpose, by one wrong step among the real ones (a
//! [`Flaw`]). A model that doesn't see the flaw would prove nothing.

mod chain;
mod event;
mod ring;

use crate::futex::{self, Seen};
use crate::layout::{Doorstep, Header, PARKED, SlotHead};
use crate::ring::order::{self, EdgeInput, Order, Supply, Upstream};
use crate::ring::slot::{self, Answer, Published};
use crate::ring::{Look, Notes, Refused, Scrub, Stamps, Status};
use crate::sync::{AtomicU32, Ordering, fence};
use crate::wait::{self, Bells, Bounds, Sign, Unready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Nobody has one.
const DEADLINE_NS: u64 = u64::MAX;
const BOUNDS: Bounds = Bounds { from_ns: 0, spin_ns: 0, deadline_ns: DEADLINE_NS };

/// One step that is done wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// A sleeper looks for what it waits for without a fence after it has said that it sleeps.
    NoFenceInPark,
    /// It looks first, says so then, and looks at the bell last.
    SaysLate,
    /// A ringer looks for a sleeper without a fence after it has rung.
    NoFenceInRing,
    /// It looks for a sleeper before it rings.
    LooksBeforeItRings,
    /// The sequence of a request is stored without Release.
    RequestRelaxed,
    /// The sequence of a request is stored before its samples.
    RequestEarly,
    /// The sequence of an answer is stored without Release.
    AnswerRelaxed,
    /// The host takes what is in the slot of an answer under whatever sequence.
    TakesAnything,
    /// The host publishes over blocks that have not been answered.
    NeverFull,
    /// A worker doesn't compare the sequence of the worker before after it has copied the samples.
    ComparesBeforeOnly,
    /// It does, but not the one of the answer before.
    ComparesOwnSlotOnly,
    /// It takes the samples of the worker before under whatever sequence.
    TakesAnyInput,
    /// A worker begins the next block with no fence after its answer.
    OverwritesEarly,
    /// The host says that it has supplied samples before it has.
    SuppliesEarly,
    /// The same without Release.
    SuppliesRelaxed,
    /// The host lets the first worker see its block before the next one's order is there.
    FirstFirst,
    /// The host doesn't ring for the next worker when it has seen the answer of one that is dead.
    TrustsTheDead,
    /// A worker that hands on wakes one of those who sleep there.
    WakesOne,
    /// A worker whose block comes from another sleeps on the host's bell alone.
    OneBell,
    /// A worker that hands on looks at the doorstep without a fence after it has rung.
    NoFenceInHandOn,
    /// It looks there before it rings.
    LooksBeforeItHandsOn,
    /// It doesn't look whether the host sleeps there.
    OverlooksTheHost,
    /// It looks at the doorstep of one that was there before.
    LooksAtAnothers,
    /// A worker says on its doorstep that it sleeps when it has looked for the last time.
    SaysLateOnItsDoorstep,
    /// It says so to the host alone.
    SaysNothingOnItsDoorstep,
}

/// All interleavings with so many preemptions at most.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 10_000;
    builder.check(model);
}

/// As [`check`], for a model that is broken: what is found.
fn broken(preemptions: usize, model: impl Fn() + Send + Sync + 'static) -> String {
    let found = catch_unwind(AssertUnwindSafe(|| check(preemptions, model)));
    let panic = found.expect_err("the flaw is not seen");
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned()
}

/// A segment, with blocks of two samples.
#[derive(Default)]
struct Segment {
    header: Header,
    slots: Vec<SlotHead>,
    samples: Vec<[AtomicU32; 2]>,
}

type Samples = [u32; 2];

impl Segment {
    fn new(slots: u32) -> Arc<Self> {
        let slots = (0..slots).map(|_| SlotHead::default()).collect::<Vec<_>>();
        let samples = slots.iter().map(|_| Default::default()).collect();
        Arc::new(Self { header: Header::default(), slots, samples })
    }

    fn index(&self, seq: u32) -> usize {
        seq as usize % self.slots.len()
    }

    fn slot(&self, seq: u32) -> &SlotHead {
        &self.slots[self.index(seq)]
    }

    fn write(&self, seq: u32, samples: Samples) {
        let words = &self.samples[self.index(seq)];
        words.iter().zip(samples).for_each(|(word, sample)| word.store(sample, Ordering::Relaxed));
    }

    fn read(&self, seq: u32) -> Samples {
        self.samples[self.index(seq)].each_ref().map(|word| word.load(Ordering::Relaxed))
    }
}

/// As `HostEnd`, of one worker.
struct Host {
    request: Arc<Segment>,
    reply: Arc<Segment>,
    published: Published,
    flaw: Option<Flaw>,
}

/// As `WorkerEnd`; its plugin adds one.
struct Worker {
    request: Arc<Segment>,
    reply: Arc<Segment>,
    before: Option<Arc<Segment>>,
    /// Its own, for the one before.
    doorstep: Option<Arc<Doorstep>>,
    /// That of the one behind it.
    next_doorstep: Option<Arc<Doorstep>>,
    next: u32,
    flaw: Option<Flaw>,
    /// What the plugin was given.
    inputs: Vec<Samples>,
}

const TAG: u32 = 1;

fn ends(slots: u32, flaw: Option<Flaw>) -> (Host, Worker) {
    let (request, reply) = (Segment::new(slots), Segment::new(slots));
    let host = Host {
        request: Arc::clone(&request),
        reply: Arc::clone(&reply),
        published: Published::new(slots),
        flaw,
    };
    let (before, doorstep, next_doorstep, inputs) = (None, None, None, Vec::new());
    (host, Worker { request, reply, before, doorstep, next_doorstep, next: 1, flaw, inputs })
}

impl Host {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn publish(&mut self, hands_on: bool, samples: Samples) -> Result<u32, Refused> {
        self.room()?;
        let seq = self.published.next;
        if !self.has(Flaw::RequestEarly) {
            self.request.write(seq, samples);
        }
        self.order(Order { edge: None, hands_on });
        if self.has(Flaw::RequestEarly) {
            self.request.write(seq, samples);
        }
        Ok(seq)
    }

    /// From the answer to `input` of the worker before.
    fn publish_edge(&mut self, input: u32, hands_on: bool) -> Result<u32, Refused> {
        self.room()?;
        let edge = EdgeInput { seq: input, tag: TAG, scrub: Scrub::Nothing };
        Ok(self.order(Order { edge: Some(edge), hands_on }))
    }

    fn room(&self) -> Result<(), Refused> {
        let room = self.published.room(|| slot::answer_word(self.reply.slot(self.published.next)));
        if self.has(Flaw::NeverFull) { Ok(()) } else { room }
    }

    fn order(&mut self, order: Order) -> u32 {
        if self.has(Flaw::RequestRelaxed) {
            let seq = self.published.count_up();
            order.store(self.request.slot(seq), seq);
            self.request.slot(seq).seq.store(seq, Ordering::Relaxed);
            return seq;
        }
        let seq = self.published.ask(order, 0, |seq| self.request.slot(seq));
        if self.has(Flaw::FirstFirst) {
            self.published.let_go(|seq| self.request.slot(seq));
        }
        seq
    }

    fn notify(&mut self) {
        self.published.let_go(|seq| self.request.slot(seq));
        wait::ring(&self.request.header, &self.reply.header);
    }

    fn supply(&mut self, seq: u32, samples: Samples) {
        let slot = self.request.slot(seq);
        let is_early = self.has(Flaw::SuppliesEarly);
        if !is_early {
            self.request.write(seq, samples);
        }
        if self.has(Flaw::SuppliesRelaxed) {
            slot.notes[1].store(seq, Ordering::Relaxed);
        } else {
            order::supply_after_all(slot, seq);
        }
        if is_early {
            self.request.write(seq, samples);
        }
        wait::ring(&self.request.header, &self.reply.header);
    }

    fn look(&self, seq: u32) -> Look {
        self.published.look(seq, || slot::answer_word(self.reply.slot(seq)))
    }

    /// Sleeps on the bell that is rung for the host until this is answered.
    fn wait(&self, seq: u32) -> Look {
        self.wait_at(&self.reply.header.bell, seq)
    }

    fn wait_at(&self, bell: &AtomicU32, seq: u32) -> Look {
        let answered = || Some(self.look(seq)).filter(|look| *look != Look::NotYet);
        let bells = Bells::one(bell);
        let sign = Sign::one(&self.request.header);
        let parked = || wait::park(sign, bells, DEADLINE_NS, answered).outcome;
        wait::spin(BOUNDS, answered).map_or_else(parked, Ok).expect("no time is over")
    }

    /// What is answered, if it is: the samples, if they are good.
    fn take(&self, seq: u32) -> Option<(Status, bool, Samples)> {
        let slot = self.reply.slot(seq);
        let takes_anything = self.has(Flaw::TakesAnything);
        if !takes_anything && self.look(seq) != Look::Answered {
            return None;
        }
        let head = slot::head(slot);
        let samples = self.reply.read(seq);
        assert!(takes_anything || slot::is_still(slot, seq), "an honest worker's answer is torn");
        Some((head.status, head.from_peer, samples))
    }
}

impl Worker {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn supply(&self) -> Supply {
        let request = self.request.slot(self.next);
        if !slot::is_published(request, self.next) {
            return Supply::NotYet;
        }
        let supply = order::supply(request, self.next, |input| {
            let before = self.before.as_ref().filter(|_| input.tag == TAG)?;
            Some(Upstream { slot: before.slot(input.seq), slots: u32::try_from(before.slots.len()).ok()? })
        });
        match (supply, Order::load(request).edge) {
            (Supply::NotYet, Some(input)) if self.has(Flaw::TakesAnyInput) => Supply::Peer(input),
            (supply, _) => supply,
        }
    }

    /// Sleeps until the next block is there.
    fn wait(&self) {
        let ready = || (self.supply() != Supply::NotYet).then_some(());
        let second = self.before.as_ref().map(|before| &before.header.next_bell);
        let second = second.filter(|_| !self.has(Flaw::OneBell));
        let bells = Bells { first: &self.request.header.bell, second };
        let doorstep = self.doorstep.as_deref().filter(|_| !self.has(Flaw::SaysNothingOnItsDoorstep));
        let sign = Sign { own: &self.reply.header, doorstep };
        let parked = || wait::park(sign, bells, DEADLINE_NS, ready).outcome;
        let late = self.before.as_ref().filter(|_| self.has(Flaw::SaysLateOnItsDoorstep));
        let asleep = || late.map_or_else(parked, |before| self.park_late(before, ready));
        wait::spin(BOUNDS, ready).map_or_else(asleep, Ok).expect("no time is over");
    }

    /// The sign on its doorstep comes after its last look; for the host it sleeps as it should.
    fn park_late(&self, before: &Segment, ready: impl Fn() -> Option<()>) -> Result<(), Unready> {
        let own = &self.reply.header;
        let says = |word| self.doorstep.iter().for_each(|own| own.parked.store(word, Ordering::Relaxed));
        let seen = |word: &'_ AtomicU32| word.load(Ordering::Acquire);
        let [first, second] = [&self.request.header.bell, &before.header.next_bell];
        while ready().is_none() {
            let bells = [first, second].map(|word| Seen { word, value: seen(word) });
            own.parked.store(PARKED, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if ready().is_none() {
                says(PARKED);
                futex::wait_for_either(bells, DEADLINE_NS);
            }
            own.parked.store(0, Ordering::Relaxed);
            says(0);
        }
        Ok(())
    }

    /// One block: waits for it, lets the plugin work on it, answers it.
    fn turn(&mut self) {
        self.wait();
        let (input, from_peer) = match self.supply() {
            Supply::Host => (Some(self.request.read(self.next)), false),
            Supply::Peer(input) => (self.copy(input.seq), true),
            Supply::Nothing | Supply::NotYet => (None, false),
        };
        self.answer(input, from_peer);
    }

    fn answer(&mut self, input: Option<Samples>, from_peer: bool) {
        if let Some(samples) = input {
            self.reply.write(self.next, samples.map(|sample| sample + 1));
            self.inputs.push(samples);
        }
        let status = if input.is_some() { Status::Good } else { Status::Starved };
        self.finish(status, from_peer);
    }

    fn finish(&mut self, status: Status, from_peer: bool) {
        let hands_on = self.store_answer(status, from_peer);
        if hands_on {
            self.hand_on();
        } else {
            wait::ring(&self.reply.header, &self.request.header);
        }
        self.next = self.next.wrapping_add(1);
    }

    fn hand_on(&self) {
        let (own, host) = (&self.reply.header, &self.request.header);
        let next = self.next_doorstep.as_deref();
        match self.flaw {
            Some(Flaw::WakesOne) => hand_on_badly(own, || true, futex::wake),
            // Else the one there would do in the place of the one that is missing.
            Some(Flaw::OverwritesEarly) => hand_on_badly(own, || true, futex::wake_all),
            Some(Flaw::NoFenceInHandOn) => {
                hand_on_badly(own, || says_parked(next) || host_sleeps(host), futex::wake_all);
            }
            Some(Flaw::LooksBeforeItHandsOn) => {
                let early = says_parked(next) || host_sleeps(host);
                let early = || {
                    fence(Ordering::SeqCst);
                    early
                };
                hand_on_badly(own, early, futex::wake_all);
            }
            Some(Flaw::OverlooksTheHost) => wait::hand_on(own, next, &Header::default()),
            _ => wait::hand_on(own, next, host),
        }
    }

    fn store_answer(&self, status: Status, from_peer: bool) -> bool {
        let (request, reply) = (self.request.slot(self.next), self.reply.slot(self.next));
        let (stamps, notes) = (Stamps::default(), Notes::default());
        let answer = Answer { status, stamps, notes, from_peer, guarded: 0 };
        let order = match self.flaw {
            Some(Flaw::AnswerRelaxed) => Ordering::Relaxed,
            Some(Flaw::OverwritesEarly) => Ordering::Release,
            _ => return slot::answer(request, reply, self.next, answer),
        };
        reply.status.store(status as u32, Ordering::Relaxed);
        let Order { hands_on, .. } = Order::load(request);
        reply.seq.store(self.next, order);
        hands_on
    }

    /// The answer of the worker before, if it was that all the time.
    fn copy(&self, seq: u32) -> Option<Samples> {
        let before = self.before.as_ref()?;
        let samples = before.read(seq);
        let slot = before.slot(seq);
        let is_whole = match self.flaw {
            Some(Flaw::ComparesBeforeOnly | Flaw::TakesAnyInput) => true,
            Some(Flaw::ComparesOwnSlotOnly) => slot::is_still(slot, seq),
            _ => order::is_whole(slot, before.slot(seq.wrapping_sub(1)), seq),
        };
        is_whole.then_some(samples)
    }
}

fn says_parked(doorstep: Option<&Doorstep>) -> bool {
    doorstep.is_none_or(|doorstep| doorstep.parked.load(Ordering::Relaxed) == PARKED)
}

fn host_sleeps(host: &Header) -> bool {
    host.parked.load(Ordering::Relaxed) == PARKED
}

/// Without a fence between the bell and whether somebody `sleeps`.
fn hand_on_badly(own: &Header, sleeps: impl FnOnce() -> bool, wake: impl FnOnce(&AtomicU32)) {
    own.next_bell.store(own.next_bell.load(Ordering::Relaxed) + 1, Ordering::Release);
    if sleeps() {
        wake(&own.next_bell);
    }
}
