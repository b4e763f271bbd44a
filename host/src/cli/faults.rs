//! `nda faults`: injects every fault and prints the table.
//!
//! A row is printed when its kind is done; the injecting itself is [`crate::faults`].

use super::args::FaultsArgs;
use super::exit;
use super::json::JsonTarget;
use super::out::Out;
use super::signals;
use crate::error::Result;
use crate::faults::{self, Cycles, FaultRow, FaultTable, Kind, Observer, Spread};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::process::ExitCode;

/// What `--json` gets: the table and what it comes to.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    table: &'a FaultTable,
    verdicts: Vec<faults::Verdict>,
}

/// Injects the faults and tells what became of them.
pub(super) fn faults(args: &FaultsArgs, out: &mut Out) -> Result<ExitCode> {
    let json = JsonTarget::open(args.json.as_deref(), &[], out)?;
    let flags = signals::watch(false)?;
    if let Some(cycles) = args.cycles {
        let cycles = {
            let progress = Progress::new(out, cycles.into());
            progress.bar.set_message("restarts");
            faults::cycle(&args.spec(), cycles, &flags.stop, &mut |done| {
                progress.bar.set_position(done.into())
            })?
        };
        out.text(&cycles_line(&cycles));
        json.write(&cycles, out)?;
        return Ok(ended(cycles.kept()));
    }
    out.text(&titles());
    let table = {
        let spec = args.spec();
        let all = u64::from(spec.each) * spec.kinds.len() as u64;
        faults::run(&spec, &flags.stop, &mut Progress::new(out, all))?
    };
    let verdicts = table.verdicts();
    out.text(&outcome(&table, &verdicts));
    let kept = !table.interrupted && verdicts.iter().all(|verdict| verdict.kept);
    json.write(&Report { table: &table, verdicts }, out)?;
    Ok(ended(kept))
}

fn ended(kept: bool) -> ExitCode {
    if kept { ExitCode::SUCCESS } else { exit::LOSSES.into() }
}

/// Prints rows as they come; on a terminal it also shows where it is and how long the rest may take.
struct Progress<'a> {
    out: &'a mut Out,
    bar: ProgressBar,
    /// Faults of the kinds whose rows have been printed.
    before: u64,
}

impl<'a> Progress<'a> {
    fn new(out: &'a mut Out, all: u64) -> Self {
        let bar = if out.has_bar() { ProgressBar::new(all) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{msg:14} {pos}/{len}, about {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { out, bar, before: 0 }
    }
}

impl Observer for Progress<'_> {
    fn progress(&mut self, kind: Kind, done: u32, _of: u32) {
        self.bar.set_position(self.before + u64::from(done));
        self.bar.set_message(kind.name());
    }

    fn row(&mut self, row: &FaultRow) {
        self.before += u64::from(row.injected);
        let out = &mut self.out;
        self.bar.suspend(|| out.text(&line(row)));
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A column of figures, with its title of three lines.
struct Column {
    titles: [&'static str; 3],
    width: usize,
    cell: fn(&FaultRow) -> String,
}

const fn column(titles: [&'static str; 3], width: usize, cell: fn(&FaultRow) -> String) -> Column {
    Column { titles, width, cell }
}

/// All in 107 characters, with the name of the fault.
const COLUMNS: [Column; 13] = [
    column(["", "in-", "jected"], 7, |row| row.injected.to_string()),
    column(["", "sur-", "vived"], 6, |row| row.survived.to_string()),
    column(["replaced", "blocks", "p50/max"], 10, |row| spread(Some(row.replaced_blocks), 0)),
    column(["to good", "blocks", "p50/max"], 10, |row| spread(row.to_good_blocks, 0)),
    column(["to good", "ms", "p50/max"], 14, |row| spread(row.to_good_ms, 1)),
    column(["", "held", "ms max"], 7, |row| format!("{:.2}", row.held_max_ms)),
    column(["", "neigh-", "bour"], 7, neighbour),
    column(["", "", "wrong"], 6, |row| row.wrong_blocks.to_string()),
    column(["", "leaks", "fds"], 6, |row| row.leaks.descriptors.to_string()),
    column(["", "", "maps"], 5, |row| row.leaks.maps.to_string()),
    column(["", "", "shm"], 4, |row| row.leaks.shm.to_string()),
    column(["", "", "proc"], 5, |row| row.leaks.processes.to_string()),
    column(["", "", "plain"], 6, |row| row.plain_samples.to_string()),
];
const NAME: usize = 14;

fn titles() -> String {
    let line = |n: usize| {
        let cells = COLUMNS.iter().map(|column| format!("{:>1$}", column.titles[n], column.width));
        format!("{:NAME$}{}\n", ["", "", "fault"][n], cells.collect::<String>())
    };
    line(0) + &line(1) + &line(2)
}

fn line(row: &FaultRow) -> String {
    let cells = COLUMNS.iter().map(|column| format!("{:>1$}", (column.cell)(row), column.width));
    format!("{:NAME$}{}\n", row.kind, cells.collect::<String>())
}

/// Blocks that the neighbour lost, beyond the control if there was one.
fn neighbour(row: &FaultRow) -> String {
    let signed = |lost: u64| i64::try_from(lost).unwrap_or(i64::MAX);
    let beyond = |control| format!("{:+}", signed(row.neighbour_lost) - signed(control));
    row.control_lost.map_or_else(|| row.neighbour_lost.to_string(), beyond)
}

fn spread(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "-".to_owned(), |s| format!("{:.digits$}/{:.digits$}", s.p50, s.max))
}

/// What the table comes to: a line for each target, what was said where a fault was not survived, and what could not be
/// tried.
fn outcome(table: &FaultTable, verdicts: &[faults::Verdict]) -> String {
    let mut lines = vec![String::new()];
    for row in table.rows.iter().filter(|row| !row.notes.is_empty()) {
        lines.push(format!("{}:", row.kind));
        lines.extend(row.notes.iter().map(|note| format!("  {}", note.replace('\n', "\n  "))));
    }
    let untried = table.rows.iter().filter(|row| row.untried > 0);
    lines.extend(
        untried.map(|row| format!("{}: {} of {} not tried: no right", row.kind, row.untried, row.injected)),
    );
    lines.extend(verdicts.iter().map(|verdict| {
        let word = if verdict.kept { "kept  " } else { "BROKEN" };
        format!("{word}  {}: {}", verdict.target, verdict.found)
    }));
    if table.interrupted {
        lines.push("interrupted before all kinds were done".to_owned());
    }
    let (each, seed, standby) = (table.each, table.seed, table.standby);
    lines.push(format!("{each} of each kind, seed {seed}, standby {standby}, {:.0} s", table.seconds));
    lines.join("\n") + "\n"
}

fn cycles_line(cycles: &Cycles) -> String {
    let Cycles { leaks, memory_before_kib, memory_halfway_kib, memory_after_kib, .. } = cycles;
    let word = if cycles.kept() { "kept  " } else { "BROKEN" };
    format!(
        "{word}  {} of {} restarts survived in {:.0} s; grown by {} descriptors, {} maps, {} names, {} processes; \
         memory {memory_before_kib} KiB before, {memory_halfway_kib} after half of them, {memory_after_kib} after all\n",
        cycles.survived,
        cycles.cycles,
        cycles.seconds,
        leaks.descriptors,
        leaks.maps,
        leaks.shm,
        leaks.processes
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Leftovers;

    fn row() -> FaultRow {
        FaultRow {
            kind: Kind::DiesRestoring,
            injected: 210,
            untried: 0,
            survived: 209,
            fail_closed: 105,
            replaced_blocks: Spread { p50: 1099.0, max: 1100.0 },
            to_good_blocks: Some(Spread { p50: 10.0, max: 1100.0 }),
            to_good_ms: Some(Spread { p50: 1_027.25, max: 2_933.3 }),
            died: 210,
            reported: 210,
            with_stack: 0,
            to_end_ms: None,
            held_max_ms: 1.357,
            held_too_long: 2,
            overslept_max_ms: 0.2,
            control_held_max_ms: Some(0.3),
            control_computed_max_ms: Some(0.04),
            neighbour_blocks: 30_000,
            neighbour_lost: 3,
            control_lost: Some(5),
            wrong_blocks: 0,
            plain_samples: 0,
            unheard_blocks: 0,
            leaks: Leftovers { descriptors: 21, maps: 4, shm: 1, processes: 3 },
            notes: vec!["it did not come back\nat all".into()],
        }
    }

    #[test]
    fn the_table_reads_like_this_with_leaks_of_each_kind_and_fits_107_characters() {
        let expected = "
                             replaced   to good       to good                                              |
                  in-  sur-    blocks    blocks            ms   held neigh-       leaks                    |
fault          jected vived   p50/max   p50/max       p50/max ms max   bour wrong   fds maps shm proc plain|
dies-restoring    210   209 1099/1100   10/1100 1027.2/2933.3   1.36     -2     0    21    4   1    3     0|
";
        let shown = titles() + &line(&row());
        assert_eq!(shown, expected[1..].replace('|', ""));
    }

    #[test]
    fn what_was_not_listened_to_has_no_figure() {
        let row = FaultRow { control_lost: None, to_good_ms: None, to_good_blocks: None, ..row() };
        let line = line(&row);
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "dies-restoring",
                "210",
                "209",
                "1099/1100",
                "-",
                "-",
                "1.36",
                "3",
                "0",
                "21",
                "4",
                "1",
                "3",
                "0"
            ]
        );
    }

    #[test]
    fn the_outcome_has_a_line_for_each_target_and_says_why() {
        let table = FaultTable {
            each: 210,
            seed: 1,
            standby: "spare",
            rate: 48_000,
            block_frames: 128,
            seconds: 61.4,
            interrupted: false,
            rows: vec![row(), FaultRow { kind: Kind::Truncate, untried: 210, notes: Vec::new(), ..row() }],
        };
        let said = outcome(&table, &table.verdicts());
        assert!(
            said.starts_with(
                "\ndies-restoring:\n  it did not come back\n  at all\ntruncate: 210 of 210 not tried: no right\nBROKEN  every"
            ),
            "{said}"
        );
        assert!(said.contains("\nkept    no wrong or torn block is played: 0 in 420 faults\n"), "{said}");
        assert!(said.ends_with("\n210 of each kind, seed 1, standby spare, 61 s\n"), "{said}");
    }
}
