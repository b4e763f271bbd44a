//! What the ring itself takes: a block published, begun, answered and taken on one thread, so that nobody is woken.
//!
//! Beside it a plain copy there and back, which no hand-over of a block by value can do without. In nanoseconds, for
//! each size of block in stereo; the least of some runs of many blocks, as other work can only add.

#![allow(clippy::print_stdout)] // a benchmark's result

use benches::measure::plan::BLOCKS_FRAMES;
use benches::{Outcome, machine};
use host::Format;
use shared::clock::now_ns;
use shared::layout::Layout;
use shared::ring::{HostEnd, Notes, Scrub, Stamps, Status, WorkerEnd};
use std::hint::black_box;

const RUNS: usize = 50;
const BLOCKS: u32 = 2000;

fn main() -> Outcome {
    println!("the ring on one thread, ns a block; {}", machine());
    println!("{:>8} {:>18} {:>18} {:>18}", "frames", "ring, guarded", "ring, bit by bit", "copied twice");
    for frames in BLOCKS_FRAMES {
        let format = Format::new(2, frames, 48_000)?;
        let guarded = ring(format, Scrub::Guard { ceiling: 4.0 })?;
        let (plain, copied) = (ring(format, Scrub::Nothing)?, copies(format));
        println!("{frames:8} {guarded:18} {plain:18} {copied:18}");
    }
    Ok(())
}

fn ring(format: Format, scrub: Scrub) -> Outcome<u64> {
    let layout = Layout::new(format, 8).ok_or("eight is a power of two")?;
    let (mut host, handles) = HostEnd::create(layout)?;
    let mut worker = WorkerEnd::map(&handles, layout)?;
    let mut samples = vec![0.5; format.samples()];
    let block = || -> Outcome {
        let seq = host.publish(|request| request.copy_from_slice(&samples)).map_err(|_| "no room")?;
        host.notify();
        if !worker.is_requested() {
            return Err("the block did not arrive".into());
        }
        worker.begin();
        worker.answer(Status::Good, Stamps::default(), Notes::default());
        host.take(seq, &mut samples, scrub).map_err(|_| "a torn answer")?;
        Ok(())
    };
    let least = least(block)?;
    if samples.iter().any(|sample| *sample != 0.5) {
        return Err("the block came back changed".into());
    }
    Ok(least)
}

fn copies(format: Format) -> u64 {
    let (mut here, mut there) = (vec![0.5_f32; format.samples()], vec![0.0_f32; format.samples()]);
    let block = || -> Outcome {
        there.copy_from_slice(black_box(&here));
        here.copy_from_slice(black_box(&there));
        Ok(())
    };
    least(block).unwrap_or(0)
}

/// The least that a block took of all runs.
fn least(mut block: impl FnMut() -> Outcome) -> Outcome<u64> {
    let mut least = u64::MAX;
    for _ in 0..RUNS {
        let began_ns = now_ns();
        for _ in 0..BLOCKS {
            block()?;
        }
        least = least.min((now_ns() - began_ns) / u64::from(BLOCKS));
    }
    Ok(least)
}
