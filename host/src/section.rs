//! A pipelined section: consecutive processors that together may take a block longer.
//!
//! The audio thread hands the block to the section's thread and takes the result of the block before (of the
//! burst before, where one callback runs several); the thread runs the processors, waits for their workers
//! within the block, and repairs lost blocks at once. So a chain has the latency of one however many of its
//! plugins are pipelined. The hand-over is the same ring as a worker's, between two threads of this process; a
//! [`Remote`] is its audio half.
//!
//! A section with a single plugin doesn't exist: the audio thread pipelines that one by itself.

use crate::block::Block;
use crate::clock::now_ns;
use crate::error::{Error, Kind, Result};
use crate::plugin;
use crate::plugin::conceal::Plan;
use crate::plugin::line::Line;
use crate::plugin::relay;
use crate::plugin::remote::{Remote, Terms};
use crate::plugin::spec::{Lost, Mode, Spin};
use crate::processor::{Processor, Seals, Turn};
use crate::telemetry::{self, PluginStats};
use rustix::process::Pid;
use rustix::thread::gettid;
use shared::format::Format;
use shared::layout::Layout;
use shared::message::PluginKind;
use shared::ring::{HostEnd, Notes, Scrub, Stamps, Status, Wake, WorkerEnd, WorkerWaker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

/// How much of a block's time the section may use; the rest is for waking up and handing back.
const SHARE: f64 = 0.9;

/// The thread of a section; ends when dropped.
#[derive(Debug)]
pub(crate) struct SectionThread {
    stop: Arc<AtomicBool>,
    waker: WorkerWaker,
    thread: Option<JoinHandle<()>>,
    number: Option<Pid>,
    stats: Arc<PluginStats>,
    burst: Arc<AtomicU32>,
}

/// Puts processors on a thread of their own; gives back the audio half that stands for them in the chain.
pub(crate) fn start(
    format: Format,
    burst: u32,
    processors: Vec<Box<dyn Processor>>,
) -> Result<(Remote, SectionThread)> {
    let (remote, mut section) = halves(format, burst, processors)?;
    let (waker, stop, stats) = (section.end.waker(), Arc::clone(&section.stop), remote.stats());
    let burst = Arc::clone(&section.burst);
    let (tell, told) = sync_channel(1);
    let run = move || {
        let _ = tell.send(gettid());
        while !section.stop.load(Ordering::Acquire) {
            section.step();
        }
    };
    let thread = std::thread::Builder::new().name("nda-section".into()).spawn(run).map_err(|e| {
        Error::new(Kind::System, "a thread for a pipelined section can't be started").source(e)
    })?;
    let number = told.recv().ok();
    Ok((remote, SectionThread { stop, waker, thread: Some(thread), number, stats, burst }))
}

/// The audio half and what the thread runs.
pub(crate) fn halves(
    format: Format,
    burst: u32,
    mut processors: Vec<Box<dyn Processor>>,
) -> Result<(Remote, Section)> {
    processors.iter_mut().for_each(|p| p.enter_section());
    let terms = terms_of(format, burst, &processors);
    let processors = relay::join(format, processors);
    let (host_end, end) = ends(format, burst)?;
    let schedule = Schedule { block_ns: format.block_ns(), burst, last_ns: 0 };
    let (stop, burst) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(burst)));
    // The section's thread is the only one there will be.
    let line = Line::new(host_end, Arc::clone(&stop), 1);
    let (figures, _, _) = telemetry::plugin_figures();
    let remote = Remote::new("section".into(), line, None, terms, figures);
    Ok((remote, Section { end, processors, schedule, burst, stop }))
}

fn ends(format: Format, burst: u32) -> Result<(HostEnd, WorkerEnd)> {
    let refused = |e| Error::new(Kind::System, "memory for a pipelined section can't be had").source(e);
    let layout = plugin::slots_of(burst)
        .and_then(|slots| Layout::new(format, slots))
        .ok_or_else(|| Error::new(Kind::System, format!("a section can't be {burst} blocks behind")))?;
    HostEnd::create_for_thread(layout).map_err(refused)
}

/// A lost block of the section as a whole must not let through what one of its processors would not.
fn terms_of(format: Format, burst: u32, processors: &[Box<dyn Processor>]) -> Terms {
    let own: u32 = processors.iter().map(|p| p.latency_frames()).sum();
    let seals = processors.iter().map(|p| p.seals()).fold(Seals::default(), Seals::with);
    let plan = Plan {
        lost: if seals.no_bypass { Lost::Mute } else { Lost::Bypass },
        closed: seals.closed,
        ramp: !seals.no_ramp,
        latency_frames: own as usize + burst as usize * format.block_frames(),
        latency_max_frames: 0,
    };
    Terms {
        kind: PluginKind::Processor,
        mode: Mode::Pipelined,
        burst,
        deadline: 0.0,
        scrub: Scrub::Nothing,
        spin: Spin::Auto,
        adapt: false,
        own_latency_frames: own,
        plan,
    }
}

/// When each block's own time begins.
struct Schedule {
    block_ns: u64,
    burst: u32,
    last_ns: u64,
}

impl Schedule {
    /// Blocks that are published in a burst follow each other a block's duration apart, since their results are
    /// due only with the next burst. One that is late already gets no time, so that a section catches up.
    fn begin_ns(&mut self, published_ns: u64) -> u64 {
        let latest_ns = published_ns + u64::from(self.burst - 1) * self.block_ns;
        self.last_ns = (self.last_ns + self.block_ns).clamp(published_ns, latest_ns);
        self.last_ns
    }
}

/// What a section's thread runs.
pub(crate) struct Section {
    end: WorkerEnd,
    processors: Vec<Box<dyn Processor>>,
    schedule: Schedule,
    /// Blocks of a burst, which may come to be more.
    burst: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
}

impl Section {
    /// Waits for a block, and processes it.
    fn step(&mut self) {
        let (wake, seen_ns) = self.end.wait_for(now_ns, 1_000_000_000, &self.stop);
        if wake == Wake::Block {
            self.process(self.end.published_ns(seen_ns));
        }
    }

    /// Processes the block that is there, and was published then.
    pub(crate) fn process(&mut self, published_ns: u64) {
        let end = &mut self.end;
        let (format, seen_ns) = (end.layout().format(), now_ns());
        end.begin();
        let mut block = Block::new(end.next_samples(), format.block_frames());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a part of a block's duration
        let budget_ns = (format.block_ns() as f64 * SHARE) as u64;
        self.schedule.burst = self.burst.load(Ordering::Relaxed);
        let turn = Turn::new(self.schedule.begin_ns(published_ns), budget_ns);
        crate::chain::run(&mut self.processors, &mut block, turn);
        let stamps = Stamps { seen_ns, woken_ns: seen_ns, entered_ns: seen_ns, left_ns: now_ns() };
        end.answer(Status::Good, stamps, Notes::default());
    }

    /// Whether a block waits.
    #[cfg(test)]
    pub(crate) fn is_due(&self) -> bool {
        self.end.is_requested()
    }
}

impl SectionThread {
    /// Its number, for who gives it its place.
    pub(crate) fn number(&self) -> Option<Pid> {
        self.number
    }

    /// So many blocks come in one go from now on; for each of them to have its own time.
    pub(crate) fn replan(&self, burst: u32) {
        self.burst.store(burst, Ordering::Relaxed);
    }

    /// Counts what the section as a whole lost, because its thread was not scheduled in time.
    pub(crate) fn stats(&self) -> Arc<PluginStats> {
        Arc::clone(&self.stats)
    }
}

impl Drop for SectionThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() {
                self.waker.wake();
                std::thread::yield_now();
            }
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sealed(Seals);

    impl Processor for Sealed {
        fn name(&self) -> &'static str {
            "sealed"
        }

        fn process(&mut self, _block: &mut Block<'_>, _turn: &Turn) {}

        fn seals(&self) -> Seals {
            self.0
        }
    }

    #[test]
    fn blocks_of_a_burst_have_their_time_one_after_the_other() {
        let mut schedule = Schedule { block_ns: 10, burst: 3, last_ns: 0 };
        let begins = [100, 100, 100, 130, 130, 130].map(|published| schedule.begin_ns(published));
        assert_eq!(begins, [100, 110, 120, 130, 140, 150]);
    }

    #[test]
    fn a_block_that_is_late_has_no_time_left_of_those_before() {
        let mut schedule = Schedule { block_ns: 10, burst: 1, last_ns: 0 };
        let begins = [100, 109, 121, 130].map(|published| schedule.begin_ns(published));
        assert_eq!(begins, [100, 109, 121, 130]);
    }

    /// One that would be pipelined if it stood alone.
    struct Late;

    impl Processor for Late {
        fn name(&self) -> &'static str {
            "late"
        }

        fn process(&mut self, _block: &mut Block<'_>, _turn: &Turn) {}

        fn blocks_behind(&self) -> u32 {
            1
        }
    }

    #[test]
    fn a_section_comes_later_for_a_longer_burst_as_far_as_its_ring_goes() {
        let format = Format::new(1, 64, 48_000).unwrap();
        let mut chain = crate::chain::Chain::new(format, vec![Box::new(Late), Box::new(Late)]).unwrap();
        assert_eq!((chain.burst_max(), chain.latency_frames()), (4, 64));
        chain.replan(3);
        assert_eq!((chain.burst_max(), chain.latency_frames()), (4, 3 * 64));
        let (mut remote, mut section) = halves(format, 1, vec![Box::new(Late)]).unwrap();
        remote.replan(3);
        section.burst.store(3, Ordering::Relaxed);
        for burst in 0..5u8 {
            for n in 0..3u8 {
                let mut samples = [f32::from(3 * burst + n); 64];
                remote.process(&mut Block::new(&mut samples, 64), &Turn::new(now_ns(), 0));
                let due = if burst == 0 { 0.0 } else { f32::from(3 * (burst - 1) + n) };
                // The first ones behind the silence are joined to it.
                assert!(burst == 1 || samples == [due; 64], "block {n} of burst {burst}: {samples:?}");
            }
            (0..3).for_each(|_| section.process(now_ns()));
        }
        assert_eq!((section.schedule.burst, remote.stats().counts().lost()), (3, 0));
    }

    fn plan_around(seals: Seals) -> Plan {
        let format = Format::new(1, 64, 48_000).unwrap();
        let open = Box::new(Sealed(Seals::default()));
        terms_of(format, 1, &[open, Box::new(Sealed(seals))]).plan
    }

    #[test]
    fn a_lost_block_of_a_section_is_ramped_to_silence_around_a_plugin_that_mutes() {
        let plan = plan_around(Seals { no_bypass: true, ..Seals::default() });
        assert_eq!((plan.lost, plan.closed, plan.ramp), (Lost::Mute, false, true));
    }

    #[test]
    fn a_lost_block_of_a_section_is_cut_to_silence_around_a_plugin_that_fails_closed() {
        let plan = plan_around(Seals { no_bypass: true, closed: true, no_ramp: false });
        assert_eq!((plan.lost, plan.closed), (Lost::Mute, true));
    }

    #[test]
    fn a_lost_block_of_a_section_is_not_heard_without_the_gain_in_it() {
        let gain: [Box<dyn Processor>; 1] = [Box::new(crate::builtin::Gain::new(-30.0))];
        let plan = terms_of(Format::new(1, 64, 48_000).unwrap(), 1, &gain).plan;
        assert_eq!((plan.lost, plan.closed, plan.ramp), (Lost::Mute, false, true));
    }

    #[test]
    fn a_lost_block_of_a_section_is_the_dry_signal_where_nobody_minds() {
        let plan = plan_around(Seals::default());
        assert_eq!((plan.lost, plan.closed, plan.ramp), (Lost::Bypass, false, true));
        assert_eq!(plan.latency_frames, 64);
    }
}
