//! A simulation of host, chain and supervisor: virtual time, seeded faults, and a judge of every block.
//!
//! What is real: the chain, the section's processing, [`Remote`] with its concealment and change of modes, the relay, the
//! rings, the edges between workers, the queues of lines, the recovery thread's code with all its decisions, and the
//! supervisor's record of each worker.
//! What is simulated: time, the device's callback, processes, Python, and how long each errand takes. All of it runs on
//! the test's thread, one thing after the other, so that a seed always tells the same story.
//!
//! - `NDA_SEED=7 cargo test -p host --lib simulation` runs that seed alone and tells what happens.
//! - `NDA_SEEDS=100000` runs so many.

mod actor;
pub(crate) mod errands;
mod judge;
mod row;
mod run;
mod seed;
mod tape;
pub(crate) mod time;
mod world;

use run::{Run, Sums};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds of a usual run.
const SEEDS: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// One seed, or why it failed.
fn simulate(seed: u64, traces: bool) -> Result<Sums, String> {
    let told = catch_unwind(AssertUnwindSafe(|| Run::new(seed, traces).play()));
    let panicked = |why: Box<dyn std::any::Any + Send>| {
        let text = why.downcast_ref::<String>().cloned();
        Err(text.or_else(|| why.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    };
    let replay =
        |why| format!("{why}\nreplay: NDA_SEED={seed} cargo test -p host --lib simulation -- --nocapture");
    told.unwrap_or_else(panicked).map_err(replay)
}

#[test]
fn every_block_is_what_it_has_to_be_whatever_befalls_the_workers() {
    if let Some(seed) = number("NDA_SEED") {
        let sums = simulate(seed, true).unwrap_or_else(|why| panic!("{why}"));
        return println_sums(1, &sums);
    }
    let seeds = number("NDA_SEEDS").unwrap_or(SEEDS);
    let mut sums = Sums::default();
    let mut failed = Vec::new();
    // Two at once: each has its own time, and two cores are what there is.
    let every_other = |first: u64| {
        let simulated = move |seed| (seed, simulate(seed, false));
        move || (first..seeds).step_by(2).map(simulated).collect::<Vec<_>>()
    };
    let all = std::thread::scope(|scope| {
        let halves = [0, 1].map(|first| scope.spawn(every_other(first)));
        halves.map(|half| half.join().expect("panics are caught"))
    });
    for (seed, came_of_it) in all.into_iter().flatten() {
        match came_of_it {
            Ok(sum) => sums.add(&sum),
            Err(why) => failed.push(format!("seed {seed}: {why}")),
        }
    }
    println_sums(seeds, &sums);
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds failed; the first:\n{}",
        failed.len(),
        failed[..failed.len().min(5)].join("\n")
    );
    let has_moved = sums.faded > 0 && sums.moves > sums.faded;
    assert!(sums.faults > 3 * seeds && sums.takeovers > seeds && has_moved, "too little happened: {sums:?}");
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in 0..5 {
        assert_eq!(simulate(seed, false), simulate(seed, false));
    }
}

#[allow(clippy::print_stdout)] // shown with --nocapture
fn println_sums(seeds: u64, sums: &Sums) {
    println!("{seeds} seeds: {sums:?}");
}
