//! Measuring for `nda bench`: fills in what [`crate::report::model`] describes.
//!
//! [`plan`] says which variants, [`turns`] gives each its turns. What has a turn: [`isolated`] (the host's own path,
//! and the worker that drives itself), [`bare`] (the floor, and what else one might use) and [`in_python`]. [`place`]
//! binds them to processors and makes the machine busy or keeps it awake; [`batch`] is the blocks of one turn, and
//! [`parts`] says where their time went. [`plugins`] has the files. What is said about the figures is not here.

pub mod bare;
pub mod batch;
pub mod in_python;
pub mod isolated;
pub mod parts;
pub mod place;
pub mod plan;
pub mod plugins;
pub mod rank;
pub mod turns;
pub mod watchdog;

use crate::Outcome;
use crate::report::doubts::{self, Reading};
use crate::report::model::{Machine, Run, VERSION};
use host::supervisor::Supervisor;
use plan::{Entry, Wanted, nothing_picked, paced_ns, plan};
use plugins::Plugins;
use std::time::Instant;
use turns::{Field, TURNS};
use watchdog::Watchdog;

/// Measures what is wanted. What could not be measured is among the doubts. `tell` hears what is going on.
///
/// # Errors
/// If nothing is left to measure, or something that is to be measured does not start, or fails.
pub fn run(wanted: &Wanted, plugins: &Plugins, tell: &mut dyn FnMut(&str)) -> Outcome<Run> {
    let entries = plan(wanted);
    if entries.is_empty() {
        return Err(nothing_picked(wanted).into());
    }
    let (began, clock, before) = (jiff::Timestamp::now().to_string(), Instant::now(), Reading::now());
    let watchdog = Watchdog::watch()?;
    let (supervisor, _events) = Supervisor::new()?;
    supervisor.leaves_behind(plugins.folder());
    let mut field = Field::new(&supervisor, plugins)?;
    tell(&starting(&entries));
    let entries = field.start(entries, &watchdog)?;
    if entries.is_empty() {
        return Err(format!("there is nothing left to measure. {}", field.left_out.join(". ")).into());
    }
    // Whatever it can't tell is known before all is measured.
    let python = field.versions()?;
    let series = field.run(&entries, &watchdog, |turn| {
        tell(&format!("turn {} of {TURNS}, {} variants", turn + 1, entries.len()));
    })?;
    let machine = Machine::here(python);
    let mut doubts = doubts::of(&machine, &series, &before, &Reading::now());
    doubts.append(&mut field.left_out);
    Ok(Run {
        version: VERSION,
        nda: env!("CARGO_PKG_VERSION").to_owned(),
        began,
        took_s: clock.elapsed().as_secs_f64(),
        quick: wanted.quick,
        only: wanted.only.clone(),
        unmeasured: field.unmeasured,
        machine,
        doubts,
        series,
    })
}

/// How much there is to do.
fn starting(entries: &[Entry]) -> String {
    let variants = entries.len();
    match paced_ns(entries) / 1_000_000_000 {
        0..60 => format!("starting what {variants} variants need"),
        seconds => format!(
            "starting what {variants} variants need; their paced blocks alone take {} minutes",
            seconds.div_ceil(60)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_a_long_run_hears_how_long_it_will_take() {
        let told = |quick| starting(&plan(&Wanted { quick, ..Wanted::default() }));
        assert!(told(false).ends_with(" minutes") && told(false).contains("alone take 3"), "{}", told(false));
        assert_eq!(told(true), "starting what 28 variants need");
    }
}
