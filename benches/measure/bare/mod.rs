//! Bare processes that hand one block back and forth, in each way that one might: what isolation is compared with.
//!
//! The floor is shared memory and a futex each way, also with more than one process in a ring; beside it an eventfd,
//! a pipe, a Unix socket, and the event of `raw_sync`. No ring of slots, no check, no Python: each process reads and
//! writes every sample. The other sides are this executable again, started as [`serve`] reads.

pub mod memory;
pub mod raw_sync;

use super::batch::{Batch, Turn};
use crate::Outcome;
use crate::report::model::{Variant, Waiting, What};
use memory::{Block, Memory};
use raw_sync::Events;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

/// The first argument of this executable as another side.
pub const ROLE: &str = "bare-peer";

/// One way to hand a block over, with its other sides.
pub struct Bare {
    way: Way,
    peers: Vec<Peer>,
    sent: Vec<f32>,
    turn: u32,
}

enum Way {
    /// Over the bells of a ring of so many other sides.
    Futex {
        memory: Memory,
        peers: usize,
        spins: bool,
    },
    /// A word through a descriptor each way.
    Descriptors {
        block: Block,
        given: OwnedFd,
        awaited: OwnedFd,
    },
    Socket {
        socket: UnixStream,
        bytes: Vec<u8>,
    },
    RawSync(Events),
}

impl Bare {
    /// Starts the other sides of what is to be measured.
    ///
    /// # Errors
    /// Of the operating system; if it is nothing bare.
    pub fn start(variant: &Variant) -> Outcome<Self> {
        let samples = variant.block_frames as usize * variant.channels as usize;
        let spins = variant.waiting == Waiting::Spinning;
        let (way, peers) = match variant.what {
            What::Floor => futex(samples, variant.chain as usize, spins)?,
            What::Eventfd => descriptors(samples, eventfd_each_way()?)?,
            What::Pipe => descriptors(samples, pipe_each_way()?)?,
            What::UnixSocket => socket(samples)?,
            What::RawSync => events(samples)?,
            other => return Err(format!("{other:?} is no hand-off of bare processes").into()),
        };
        // Each channel ends as it begins, as the blocks of plugins do.
        let sent = super::batch::signal(samples, variant.block_frames as usize);
        let mut bare = Self { way, peers, sent, turn: 0 };
        // The other sides are there when they have answered once.
        bare.turn(&Turn { blocks: 1, warm_up: 0, every_ns: 0 })?;
        if let Way::RawSync(events) = &bare.way {
            events.forget_name();
        }
        Ok(bare)
    }

    /// The processes of the other sides.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.peers.iter().map(|peer| Pid::from_child(&peer.0))
    }

    /// Hands over the blocks of a turn.
    ///
    /// # Errors
    /// If another side is gone or gives back something else.
    pub fn turn(&mut self, turn: &Turn) -> Outcome<Batch> {
        let (way, number, sent) = (&mut self.way, &mut self.turn, &self.sent);
        let (spans, last) = turn.run(sent, |samples| {
            *number = number.wrapping_add(1);
            way.exchange(*number, samples)
        })?;
        if last != *sent {
            return Err("the block came back changed".into());
        }
        Ok(Batch::of(&spans))
    }
}

impl Way {
    fn exchange(&mut self, turn: u32, samples: &mut [f32]) -> Outcome {
        match self {
            Self::Futex { memory, peers, spins } => {
                memory.block.store(samples);
                memory.ring(0, turn);
                memory.wait(*peers, turn, *spins)?;
                memory.block.load(samples);
            }
            Self::Descriptors { block, given, awaited } => {
                block.store(samples);
                rustix::io::write(given, &u64::from(turn).to_ne_bytes())?;
                if rustix::io::read(awaited, &mut [0; 8])? != 8 {
                    return Err("the other side is gone".into());
                }
                block.load(samples);
            }
            Self::Socket { socket, bytes } => {
                for (word, sample) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(&*samples) {
                    *word = sample.to_ne_bytes();
                }
                socket.write_all(bytes)?;
                socket.read_exact(bytes)?;
                for (word, sample) in bytes.as_chunks::<4>().0.iter().zip(samples) {
                    *sample = f32::from_ne_bytes(*word);
                }
            }
            Self::RawSync(events) => events.exchange(samples)?,
        }
        Ok(())
    }
}

fn futex(samples: usize, peers: usize, spins: bool) -> Outcome<(Way, Vec<Peer>)> {
    if peers + 1 > memory::BELLS {
        return Err(format!("{peers} processes in a ring: there are {} bells", memory::BELLS).into());
    }
    let file = memory::file(samples)?;
    let memory = memory::map(&file, samples)?;
    let wait = if spins { "spin" } else { "park" };
    let start = |bell: usize| {
        Peer::start(&[wait, &samples.to_string(), &bell.to_string()], file.try_clone()?.into(), Stdio::null())
    };
    let started = (0..peers).map(start).collect::<Outcome<_>>()?;
    Ok((Way::Futex { memory, peers, spins }, started))
}

/// What goes to the other side's standard input, and what its standard output goes to; then our own ends.
type Ends = ([Stdio; 2], OwnedFd, OwnedFd);

fn eventfd_each_way() -> Outcome<Ends> {
    let (given, awaited) = (eventfd(0, EventfdFlags::CLOEXEC)?, eventfd(0, EventfdFlags::CLOEXEC)?);
    Ok(([given.try_clone()?.into(), awaited.try_clone()?.into()], given, awaited))
}

fn pipe_each_way() -> Outcome<Ends> {
    let (input, given) = pipe_with(PipeFlags::CLOEXEC)?;
    let (awaited, output) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok(([input.into(), output.into()], given, awaited))
}

fn descriptors(samples: usize, ([input, output], given, awaited): Ends) -> Outcome<(Way, Vec<Peer>)> {
    let file = memory::file(samples)?;
    let block = memory::map(&file, samples)?.block;
    // Standard input and output are taken: the other side opens the memory where this process has it.
    let place = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let peer = Peer::start(&["descriptors", &samples.to_string(), &place], input, output)?;
    let mut way = Way::Descriptors { block, given, awaited };
    // Only when it has answered has it opened the memory.
    way.exchange(0x1, &mut vec![0.0; samples])?;
    drop(file);
    Ok((way, vec![peer]))
}

fn socket(samples: usize) -> Outcome<(Way, Vec<Peer>)> {
    let (socket, theirs) = UnixStream::pair()?;
    let input: OwnedFd = theirs.into();
    let peer = Peer::start(&["socket", &samples.to_string(), ""], input.into(), Stdio::null())?;
    Ok((Way::Socket { socket, bytes: vec![0; samples * size_of::<f32>()] }, vec![peer]))
}

fn events(samples: usize) -> Outcome<(Way, Vec<Peer>)> {
    let events = Events::create(samples)?;
    let arguments = ["raw-sync", &samples.to_string(), events.name()];
    let peer = Peer::start(&arguments, Stdio::null(), Stdio::null())?;
    Ok((Way::RawSync(events), vec![peer]))
}

/// This executable as another process, ended when dropped.
pub(super) struct Peer(Child);

impl Peer {
    fn start(arguments: &[&str], stdin: Stdio, stdout: Stdio) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let host = std::process::id().to_string();
        let child = command.args([ROLE, &host]).args(arguments).stdin(stdin).stdout(stdout).spawn()?;
        Ok(Self(child))
    }

    /// A process that does nothing but compute.
    pub(super) fn busy() -> Outcome<Self> {
        Self::start(&["busy", "0", ""], Stdio::null(), Stdio::null())
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The other side, in a process of its own: gives every block back until the host ends.
///
/// # Errors
/// What failed; also that it was started by nobody who wants it.
pub fn serve(arguments: &[String]) -> Outcome {
    let [host, way, samples, place] = arguments else {
        return Err("a peer is started by nda bench only".into());
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(|pid| pid.as_raw_pid().to_string()).as_ref() != Some(host) {
        return Err("the host has ended".into());
    }
    let samples = samples.parse()?;
    match way.as_str() {
        "park" | "spin" => serve_futex(samples, place.parse()?, way == "spin"),
        "descriptors" => serve_descriptors(samples, place),
        "socket" => serve_socket(samples),
        "raw-sync" => {
            let events = Events::open(place, samples)?;
            loop {
                events.serve_one()?;
            }
        }
        "busy" => loop {
            std::hint::spin_loop();
        },
        other => Err(format!("no way to hand over is called {other}").into()),
    }
}

fn serve_futex(samples: usize, bell: usize, spins: bool) -> Outcome {
    let memory = memory::map(std::io::stdin().as_fd(), samples)?;
    for turn in 1.. {
        // Time over is no reason to go: others have their turns.
        while memory.wait(bell, turn, spins).is_err() {}
        memory.block.touch();
        memory.ring(bell + 1, turn);
    }
    Ok(())
}

fn serve_descriptors(samples: usize, place: &str) -> Outcome {
    let file = rustix::fs::open(place, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let block = memory::map(&file, samples)?.block;
    let (input, output) = (std::io::stdin(), std::io::stdout());
    let mut word = [0; 8];
    while rustix::io::read(input.as_fd(), &mut word)? == word.len() {
        block.touch();
        rustix::io::write(output.as_fd(), &word)?;
    }
    Ok(())
}

fn serve_socket(samples: usize) -> Outcome {
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut bytes = vec![0; samples * size_of::<f32>()];
    while socket.read_exact(&mut bytes).is_ok() {
        for word in bytes.as_chunks_mut::<4>().0 {
            *word = std::hint::black_box(*word);
        }
        socket.write_all(&bytes)?;
    }
    Ok(())
}
