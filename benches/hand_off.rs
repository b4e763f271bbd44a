//! What it costs to hand a block to another process and have it back: 2 x 512 samples, waited for.
//!
//! Three hand-offs of the same block, five hundred blocks of each in turn: two bare processes with a futex (the
//! floor), the project's ring to a worker in Rust, and the whole path: a `Chain` with one `Remote` to a worker
//! with the plugin passthrough. Back to back, and one every 2.67 ms as a callback would come.
//!
//! Give a number to change how often each has its turn: `cargo bench -p benches --bench hand_off -- 4`. This
//! executable is also the other side of the first two.

#![allow(clippy::print_stdout)] // a benchmark's result

use benches::{Doubts, Outcome, bare, machine, workspace};
use hdrhistogram::Histogram;
use host::Format;
use host::chain::Chain;
use host::plugin::Plugin;
use host::plugin::spec::{DEADLINE_MAX, PluginSpec};
use host::supervisor::Supervisor;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::ClockId;
use shared::clock::{now_ns, timespec};
use shared::control::{Control, Handles};
use shared::layout::Layout;
use shared::ring::{HostEnd, Notes, Scrub, Stamps, Status, Waited, Wake, WorkerEnd};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;

/// Blocks of one hand-off before the next one has its turn, and those before them that don't count.
const BLOCKS: usize = 500;
const WARM_UP: usize = 20;
/// How often each has its turn, unless told: enough for a p99.9 that rests on ten blocks.
const TURNS: usize = 20;
/// 128 frames at 48 kHz: a callback every 10.67 ms would take too long to measure.
const PERIOD_NS: u64 = 2_666_667;
const PATIENCE_NS: u64 = 60_000_000_000;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("bare-peer") => {
            bare::map(std::io::stdin().as_fd())?.serve();
            Ok(())
        }
        Some("ring-peer") => serve_ring(),
        // Cargo adds an argument of its own.
        _ => measure(args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(TURNS)),
    }
}

fn measure(turns: usize) -> Outcome {
    let (supervisor, _events) = Supervisor::new()?;
    let mut spec = PluginSpec::new(workspace().join("plugins_py/examples/passthrough.py"));
    spec.deadline = DEADLINE_MAX;
    let (mut plugin, remote) = Plugin::load(&supervisor, spec, format()?)?;
    let chain = Chain::new(format()?, vec![Box::new(remote)])?;
    let worker = i32::try_from(plugin.worker().pid()).ok().and_then(Pid::from_raw);
    let worker = worker.ok_or("a worker without a process")?;
    let mut hand_offs = [bare_floor()?, ring()?, whole_path(chain, worker)];

    println!(
        "hand-off: a block of 2 x 512 to another process and back, {} of each, in turns",
        turns * BLOCKS
    );
    println!("all at ordinary priority; {}", machine());
    let everywhere = sched_getaffinity(None)?;
    let first = (0..CpuSet::MAX_CPU).find(|core| everywhere.is_set(*core)).ok_or("no core to run on")?;
    let mut one_core = CpuSet::new();
    one_core.set(first);
    for (placement, cores) in [("left to the scheduler", &everywhere), ("all on one core", &one_core)] {
        place(&hand_offs, cores)?;
        for (pace, period_ns) in [("back to back", 0), ("one every 2.67 ms", PERIOD_NS)] {
            println!("\n{placement}, {pace}");
            let doubts = Doubts::begin();
            let times = take_turns(&mut hand_offs, turns, period_ns)?;
            report(&hand_offs, &times);
            for doubt in doubts.end(if period_ns > 0 { 0.2 } else { 1.0 }) {
                println!("warning: {doubt}");
            }
        }
    }
    if turns * BLOCKS < 10_000 {
        println!("\nwarning: a p99.9 of {} blocks rests on fewer than ten of them", turns * BLOCKS);
    }
    let lost = plugin.status().counts.lost();
    if lost > 0 {
        println!(
            "\nwarning: {lost} blocks of the whole path were given up at their deadline, 10.1 ms, and count as that"
        );
    }
    drop(hand_offs);
    Ok(plugin.shutdown()?)
}

/// Hands the samples over, and has them back when it returns.
type Round = Box<dyn FnMut(&mut [f32]) -> Outcome>;

/// One way to hand a block over.
struct HandOff {
    name: &'static str,
    peer: Pid,
    round: Round,
}

fn place(hand_offs: &[HandOff], cores: &CpuSet) -> Outcome {
    sched_setaffinity(None, cores)?;
    // A process's number is that of its main thread, the one that answers.
    for hand_off in hand_offs {
        sched_setaffinity(Some(hand_off.peer), cores)?;
    }
    Ok(())
}

fn take_turns(hand_offs: &mut [HandOff], turns: usize, period_ns: u64) -> Outcome<Vec<Histogram<u64>>> {
    let mut times = Vec::new();
    for _ in &*hand_offs {
        times.push(Histogram::new(3)?);
    }
    for _ in 0..turns {
        for (hand_off, times) in hand_offs.iter_mut().zip(&mut times) {
            turn(hand_off, times, period_ns)?;
        }
    }
    Ok(times)
}

fn turn(hand_off: &mut HandOff, times: &mut Histogram<u64>, period_ns: u64) -> Outcome {
    // Each channel ends as it begins: where a block is lost, the host's ramp to the next one changes nothing.
    let sent: Vec<f32> = (0..bare::SAMPLES).map(|i| ((i % 512) as f32 - 255.5).abs() / 512.0).collect();
    let mut samples = sent.clone();
    let mut next_ns = now_ns();
    for i in 0..WARM_UP + BLOCKS {
        if period_ns > 0 {
            // Late by more than a period: go on from here, a burst would not be paced.
            next_ns = (next_ns + period_ns).max(now_ns());
            rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &timespec(next_ns))?;
        }
        let began = now_ns();
        (hand_off.round)(&mut samples)?;
        let took = now_ns() - began;
        if i >= WARM_UP {
            times.record(took)?;
        }
    }
    if samples != sent {
        return Err(format!("{}: the block came back changed", hand_off.name).into());
    }
    Ok(())
}

fn report(hand_offs: &[HandOff], times: &[Histogram<u64>]) {
    let head = ["p50 us", "p99 us", "p99.9 us", "max us", "x floor p50", "x floor p99"];
    println!("{:34} {}", "", head.map(|word| format!("{word:>11}")).join(" "));
    for (hand_off, mine) in hand_offs.iter().zip(times) {
        let us = |quantile| mine.value_at_quantile(quantile) as f64 / 1e3;
        let ratio = |quantile| us(quantile) * 1e3 / times[0].value_at_quantile(quantile) as f64;
        let row = [us(0.5), us(0.99), us(0.999), us(1.0), ratio(0.5), ratio(0.99)];
        println!("{:34} {}", hand_off.name, row.map(|figure| format!("{figure:11.2}")).join(" "));
    }
    if times.iter().any(|mine| mine.value_at_quantile(0.5) < times[0].value_at_quantile(0.5)) {
        println!("warning: something took less than the floor: they were not on the same cores, or too few");
    }
}

fn format() -> Outcome<Format> {
    Ok(Format::new(2, 512, 48_000)?)
}

fn layout() -> Outcome<Layout> {
    Ok(Layout::new(format()?, 8).ok_or("eight is a power of two")?)
}

fn bare_floor() -> Outcome<HandOff> {
    let file = bare::file()?;
    let shared = bare::map(&file)?;
    let peer = Peer::start("bare-peer", file)?;
    let mut turn = 0;
    Ok(HandOff {
        name: "floor: bare processes, one futex",
        peer: peer.pid(),
        round: Box::new(move |samples| {
            let _alive = &peer;
            turn += 1;
            Ok(shared.exchange(turn, samples)?)
        }),
    })
}

fn ring() -> Outcome<HandOff> {
    let (mut end, handles) = HostEnd::create(layout()?)?;
    let (control, theirs) = Control::pair()?;
    let peer = Peer::start("ring-peer", theirs.into_fd())?;
    if !control.try_send_fds(&0_u32, &handles.as_fds())? {
        return Err("the control socket is full".into());
    }
    Ok(HandOff {
        name: "the ring, a worker in Rust",
        peer: peer.pid(),
        round: Box::new(move |samples| {
            let _alive = &peer;
            let seq = end.publish(|request| request.copy_from_slice(samples)).map_err(|_| "no room")?;
            end.notify();
            if end.wait(seq, now_ns() + PATIENCE_NS, &AtomicBool::new(false)) != Waited::Answered {
                return Err("no answer".into());
            }
            end.take(seq, samples, Scrub::Guard { ceiling: 4.0 }).map_err(|_| "a torn answer")?;
            Ok(())
        }),
    })
}

/// The other side of [`ring`].
fn serve_ring() -> Outcome {
    let control = Control::from_fd(std::io::stdin().as_fd().try_clone_to_owned()?);
    let (_, fds) = control.receive::<u32>()?;
    let mut end = WorkerEnd::map(&Handles::from_fds(fds).ok_or("no segments")?, layout()?)?;
    while end.wait(now_ns() + PATIENCE_NS, &AtomicBool::new(false)) == Wake::Block {
        end.begin();
        end.answer(Status::Good, Stamps::default(), Notes::default());
    }
    Ok(())
}

fn whole_path(mut chain: Chain, peer: Pid) -> HandOff {
    let round = move |samples: &mut [f32]| {
        chain.process(samples);
        Ok(())
    };
    HandOff { name: "the whole path, a worker in Python", peer, round: Box::new(round) }
}

/// This executable as another process, ended when dropped.
struct Peer(Child);

impl Peer {
    fn start(role: &str, stdin: OwnedFd) -> Outcome<Self> {
        let child = Command::new(std::env::current_exe()?).arg(role).stdin(Stdio::from(stdin)).spawn()?;
        Ok(Self(child))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
