//! A run as text for a terminal: the machine, the figures, the targets, the judgement, where the time goes, doubts.
//!
//! For people, at the end of `nda bench`. Columns give way on a narrow terminal, the least important first. Nothing
//! here knows colours or writes anywhere.

use super::judge::{self, Grade};
use super::model::{Cores, Machine, Pace, Run, Series, Variant, Waiting, What};
use super::ratios::{self, Against};
use super::targets::{self, Row};
use super::words::{number, us, whole_us};
use std::collections::BTreeMap;

/// A name has so much room.
const NAME: usize = 36;
/// Parts of a block.
const PARTS: usize = 6;
/// Below this nothing gives way any more.
const WIDTH_MIN: usize = NAME + 18;

/// One column of figures.
struct Column {
    title: &'static str,
    width: usize,
    /// The smaller, the later it gives way.
    rank: u8,
    cell: fn(&[Series], &Series) -> String,
}

const COLUMNS: [Column; 10] = [
    Column { title: "mean", width: 6, rank: 4, cell: |_, it| us(it.times.mean_ns) },
    Column { title: "dev", width: 6, rank: 7, cell: |_, it| us(it.times.deviation_ns) },
    Column { title: "min", width: 6, rank: 8, cell: |_, it| whole_us(it.times.min_ns) },
    Column { title: "p50", width: 6, rank: 0, cell: |_, it| whole_us(it.times.p50_ns) },
    Column { title: "p99", width: 6, rank: 0, cell: |_, it| whole_us(it.times.p99_ns) },
    Column { title: "p99.9", width: 6, rank: 1, cell: |_, it| whole_us(it.times.p999_ns) },
    Column { title: "max", width: 6, rank: 3, cell: |_, it| whole_us(it.times.max_ns) },
    Column { title: "missed", width: 6, rank: 5, cell: |_, it| it.missed.to_string() },
    Column { title: "x floor", width: 7, rank: 2, cell: |all, it| times(all, it, Against::Floor) },
    Column { title: "x in-pr", width: 7, rank: 6, cell: |all, it| times(all, it, Against::InProcess) },
];

fn times(all: &[Series], series: &Series, against: Against) -> String {
    let ratio = ratios::of(all, series).into_iter().find(|ratio| ratio.against == against);
    ratio.map_or_else(String::new, |ratio| number(ratio.value))
}

/// All of it, in lines of at most so many characters, but not less than 54.
#[must_use]
pub fn text(run: &Run, width: usize) -> String {
    let width = width.max(WIDTH_MIN);
    let parts = [
        head(run),
        figures(&run.series, width),
        targets_text(&run.series, width),
        judgement(&run.series, width),
        where_the_time_goes(&run.series, width),
        memory(&run.series).into_iter().collect(),
        doubts(&run.doubts),
    ];
    let parts = parts.into_iter().filter(|lines| !lines.is_empty());
    let parts: Vec<String> = parts.map(|lines| wrapped(&lines, width)).collect();
    parts.join("\n")
}

/// Lines that are too long are broken between words, and go on indented.
pub(super) fn wrapped(lines: &[String], width: usize) -> String {
    let mut text = String::new();
    for line in lines {
        let indent = line.len() - line.trim_start().len() + 4;
        let mut used = 0;
        for word in line.split_inclusive(' ') {
            let long = word.trim_end().chars().count();
            if used + long > width && used > indent {
                text.truncate(text.trim_end().len());
                text.push_str(&format!("\n{:indent$}", ""));
                used = indent;
            }
            text.push_str(word);
            used += word.chars().count();
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

fn head(run: &Run) -> Vec<String> {
    let set = if run.quick { "quick set" } else { "full set" };
    let only = run.only.iter().map(|word| format!(", only {word}")).collect::<String>();
    let first = format!("nda {} bench, {set}{only}, {} in {:.0} s", run.nda, run.began, run.took_s);
    std::iter::once(first).chain(machine(&run.machine)).collect()
}

/// What is known of the machine, in lines.
pub(super) fn machine(machine: &Machine) -> Vec<String> {
    let mut cpu = format!("{}, {} cores", machine.cpu, machine.cores);
    if let Some(mhz) = machine.clock_mhz {
        cpu.push_str(&format!(", {mhz:.0} MHz"));
    }
    cpu.push_str(&format!(", governor {}", machine.governor.as_deref().unwrap_or("unknown")));
    let mut kernel = format!("{}, clock source {}", machine.kernel, machine.clocksource);
    if let Some(hypervisor) = &machine.hypervisor {
        kernel.push_str(&format!(", a guest of {hypervisor}"));
    }
    vec![cpu, kernel, machine.python.clone(), machine.rights.clone()]
}

/// Series by block, and within by how the processes meet; each in the order of the run.
pub(super) fn groups(series: &[Series]) -> BTreeMap<Block, BTreeMap<Meeting, Vec<&Series>>> {
    let mut groups: BTreeMap<Block, BTreeMap<Meeting, Vec<&Series>>> = BTreeMap::new();
    for one in series {
        let it = &one.variant;
        let group = groups.entry((it.block_frames, it.channels, it.pace, it.loaded)).or_default();
        group.entry(meeting(it)).or_default().push(one);
    }
    groups.values_mut().flat_map(BTreeMap::values_mut).for_each(|rows| {
        rows.sort_by_key(|it| (it.variant.what != What::Floor, &it.variant));
    });
    groups
}

/// Frames, channels, pace, load.
type Block = (u32, u32, Pace, bool);
/// Two processes or one; chain, pipelines, idle states held off, waiting, cores.
type Meeting = (bool, u32, u32, bool, Waiting, Cores);

fn meeting(it: &Variant) -> Meeting {
    if it.what.is_in_one_process() {
        return (false, it.chain, it.pipelines, it.awake, Waiting::Parked, Cores::One);
    }
    (true, it.chain, it.pipelines, it.awake, it.waiting, it.cores)
}

fn figures(series: &[Series], width: usize) -> Vec<String> {
    let columns = fitting(width);
    let cells = |of: &dyn Fn(&Column) -> String| -> String {
        columns.iter().map(|column| format!(" {:>1$}", of(column), column.width)).collect()
    };
    let mut lines = Vec::new();
    for group in groups(series).values() {
        let of_block = group.values().flatten().next().map(|it| it.variant.block());
        let titles = cells(&|column| column.title.to_owned());
        let heading = format!("{} (us)", of_block.unwrap_or_default());
        if heading.len() > NAME {
            lines.extend([heading, format!("{:NAME$}{titles}", "")]);
        } else {
            lines.push(format!("{heading:NAME$}{titles}"));
        }
        for rows in group.values() {
            lines.extend(rows.first().map(|it| format!("  {}", it.variant.meeting())));
            lines.extend(rows.iter().map(|it| {
                let name = cut(&format!("    {}", it.variant.who()), NAME);
                format!("{name:NAME$}{}", cells(&|column| (column.cell)(series, it)))
            }));
        }
        lines.push(String::new());
    }
    lines.pop();
    lines
}

fn fitting(width: usize) -> Vec<&'static Column> {
    const ALL: &[Column] = &COLUMNS;
    let mut columns: Vec<_> = ALL.iter().collect();
    let needed = |columns: &[&Column]| NAME + columns.iter().map(|column| 1 + column.width).sum::<usize>();
    while needed(&columns) > width {
        let least = columns.iter().map(|column| column.rank).max();
        columns.retain(|column| Some(column.rank) != least);
    }
    columns
}

/// The text's beginning, in so many characters.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn targets_text(series: &[Series], width: usize) -> Vec<String> {
    let targets = targets::of(series);
    if targets.rows.is_empty() {
        return Vec::new();
    }
    let what = width - 32;
    let mut lines = vec![format!("{:what$} {:>8} {:>7}", "targets", "measured", "at most")];
    let row = |row: &Row| {
        let word = if row.kept { "kept" } else { "MISSED" };
        let (value, target) = (number(row.value), number(row.target));
        let long = format!("{} ({})", row.what, row.unit);
        let mut lines = fold(&long, what);
        let first = lines.first_mut().map(std::mem::take).unwrap_or_default();
        let first = format!("{first:what$} {value:>8} {target:>7}  {word}");
        let beside = row.beside.iter().map(|beside| format!("    beside it, not judged: {beside}"));
        std::iter::once(first).chain(lines.into_iter().skip(1)).chain(beside).collect::<Vec<_>>()
    };
    lines.extend(targets.rows.iter().flat_map(row));
    if !targets.unmeasured.is_empty() {
        lines.push(format!("not measured in this run: {}", targets.unmeasured.join("; ")));
    }
    lines
}

/// The text in lines of so many characters, all but the first indented.
fn fold(text: &str, width: usize) -> Vec<String> {
    wrapped(&[text.to_owned()], width).lines().map(str::to_owned).collect()
}

/// What a worker has in memory: the one whose circumstances all others are varied from, or else the first that was
/// measured.
fn memory(series: &[Series]) -> Option<String> {
    let measured = || series.iter().filter(|it| it.memory.is_some());
    let base = measured().find(|it| it.variant.plugin == "passthrough").or_else(|| measured().next())?;
    let mebibytes = |bytes: u64| number(bytes as f64 / f64::from(1 << 20));
    base.memory.map(|memory| {
        let (resident, proportional) =
            (mebibytes(memory.resident_bytes), mebibytes(memory.proportional_bytes));
        format!(
            "memory of a worker with {}: {resident} MiB resident, {proportional} MiB proportional",
            base.variant.plugin
        )
    })
}

fn judgement(series: &[Series], width: usize) -> Vec<String> {
    let judged = judge::of(series);
    if judged.is_empty() {
        return Vec::new();
    }
    let count = |grade| judged.iter().filter(|it| it.grade == grade).count();
    let [pass, warn, fail] = [Grade::Pass, Grade::Warn, Grade::Fail].map(count);
    let mut lines = vec![
        "judgement (PASS: mean under 500 us, deviation under 100, max under 1000; WARN: up to 1000; FAIL: above)"
            .to_owned(),
        format!("  {pass} PASS, {warn} WARN, {fail} FAIL"),
    ];
    let worse = judged.iter().filter(|it| it.grade > Grade::Pass);
    lines.extend(worse.flat_map(|it| {
        fold(&format!("  {} {}: {}", it.grade, it.of.variant.name(), it.reasons.join(", ")), width)
    }));
    lines
}

/// Medians of the parts of a block, under titles that say what ends each. All are isolated: that is not said of each.
fn where_the_time_goes(series: &[Series], width: usize) -> Vec<String> {
    let shown: Vec<Series> = series.iter().filter(|it| is_shown(it)).cloned().collect();
    let cells = |of: Vec<String>| of.iter().map(|cell| format!(" {cell:>7}")).collect::<String>();
    let of_name = NAME.min(width.saturating_sub(PARTS * 8)).max(NAME / 2);
    let mut lines = Vec::new();
    let mut titles = Vec::new();
    for group in groups(&shown).values() {
        let of_block = group.values().flatten().next().map(|it| it.variant.block()).unwrap_or_default();
        lines.push(format!("where the time goes, {of_block}: us until it is ..., medians"));
        for rows in group.values() {
            lines.extend(rows.first().map(|it| format!("  {}", it.variant.meeting())));
            for it in rows {
                let names: Vec<String> = it.parts.iter().map(|part| short(&part.ends_with)).collect();
                if names != titles {
                    lines.push(format!("{:of_name$}{}", "", cells(names.clone())));
                    titles = names;
                }
                let who = it.variant.who();
                let name = cut(&format!("    {}", who.strip_prefix("isolated ").unwrap_or(&who)), of_name);
                let times = it.parts.iter().map(|part| whole_us(part.p50_ns));
                lines.push(format!("{name:of_name$}{}", cells(times.collect())));
                lines.extend(by_plugin(it));
            }
        }
    }
    lines
}

/// How long a block is with each plugin of a chain.
fn by_plugin(series: &Series) -> Option<String> {
    let times: Vec<_> = series.by_plugin_p50_ns.iter().map(|ns| whole_us(*ns)).collect();
    (!times.is_empty()).then(|| format!("      plugin by plugin: {}", times.join(" ")))
}

/// "Python entered" in the width of a column: its last word.
fn short(name: &str) -> String {
    cut(name.split(' ').next_back().unwrap_or(name), 7)
}

fn is_shown(series: &Series) -> bool {
    let it = &series.variant;
    let plain = it.what == What::Isolated && (it.pipelines, it.loaded) == (1, false);
    plain && !series.parts.is_empty()
}

fn doubts(doubts: &[String]) -> Vec<String> {
    doubts.iter().map(|doubt| format!("warning: {doubt}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{run, series, variant, whole};
    use super::super::model::Memory;
    use super::*;

    fn small() -> Run {
        let exact = |variant, ns: u64| {
            let mut it = series(variant, ns);
            let all = [&mut it.times.min_ns, &mut it.times.p50_ns, &mut it.times.p99_ns];
            all.into_iter().for_each(|time| *time = ns);
            (it.times.mean_ns, it.times.deviation_ns) = (ns as f64, 1_234.0);
            (it.times.p999_ns, it.times.max_ns) = (ns * 10, ns * 100);
            it
        };
        run(vec![
            exact(variant(What::Isolated, "passthrough"), 9_250),
            exact(variant(What::Floor, ""), 6_000),
            exact(variant(What::InProcess, "passthrough"), 250),
        ])
    }

    #[test]
    fn a_small_run_reads_like_this() {
        let mut run = small();
        run.series[0].times.max_ns = 1_500_000;
        run.doubts.push("the hypervisor took 0.31 % of the processor's time away".into());
        let expected = "\
nda 0.1.0 bench, quick set, 2026-03-01T12:00:00Z in 24 s
Example Processor 9000 <8 cores & more>, 2 cores, 2300 MHz, governor performance
Linux 6.18.44, clock source tsc, a guest of KVM
Python 3.11.7, numpy 2.3.1
SCHED_FIFO; idle states can be held off
";
        let text = text(&run, 110);
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains(ROW), "{text}");
        run.only = ["isolated".into(), "paced".into()].into();
        assert!(self::text(&run, 110).contains("bench, quick set, only isolated, only paced, 2026"));
        assert!(text.contains("  FAIL isolated passthrough, parked, one core"), "{text}");
        assert!(
            text.ends_with("\nwarning: the hypervisor took 0.31 % of the processor's time away\n"),
            "{text}"
        );
    }

    #[test]
    fn what_a_worker_has_in_memory_is_told_if_it_was_measured() {
        let mut run = small();
        assert!(!text(&run, 110).contains("memory of a worker"));
        let (resident_bytes, proportional_bytes) = (30 << 20, 15 << 20);
        run.series[0].memory = Some(Memory { resident_bytes, proportional_bytes });
        let told = "memory of a worker with passthrough: 30.0 MiB resident, 15.0 MiB proportional";
        assert!(text(&run, 110).contains(told), "{}", text(&run, 110));
    }

    #[test]
    fn of_a_chain_it_is_told_where_the_time_goes_and_how_much_of_it_each_plugin_has() {
        let chain = Variant { chain: 4, ..variant(What::Isolated, "passthrough") };
        let run = run(vec![series(chain, 20_000)]);
        let text = text(&run, 110);
        let told = "  parked, one core, chain of 4
                                     written   woken entered    left noticed  copied
    passthrough                         0.60    8.20    0.60    2.00    8.00    0.60
      plugin by plugin: 5.00 5.00 5.00 5.00
";
        assert!(text.contains(told), "{text}");
        let narrow = self::text(&run, 80);
        assert!(narrow.contains("    passthrough                     0.60    8.20 "), "{narrow}");
    }

    #[test]
    fn what_is_told_beside_a_target_has_a_line_of_its_own() {
        let lines = targets_text(&whole().series, 110);
        let at = lines.iter().position(|line| line.contains("not judged: ")).unwrap();
        assert!(lines[at].ends_with(" x 17 switches of a ring of 17"), "{lines:?}");
        assert!(lines[..at].iter().rev().take(2).any(|line| line.starts_with("chain of 16")), "{lines:?}");
    }

    const ROW: &str = "\
2 x 512 frames, back to back (us)      mean    dev    min    p50    p99  p99.9    max missed x floor x in-pr
  one process
    in process passthrough             0.25   1.23   0.25   0.25   0.25   2.50   25.0      0
  parked, one core
    floor                              6.00   1.23   6.00   6.00   6.00   60.0    600      0
    isolated passthrough               9.25   1.23   9.25   9.25   9.25   92.5   1500      0    1.54    37.0

targets                                                                        measured at most
isolated minus in process, parked, one core, back to back, p50 (x floor)           1.50    1.25  MISSED
isolated minus in process, parked, one core, back to back, p99 (x floor)           1.50    1.50  kept
not measured in this run: isolated, spinning";

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [WIDTH_MIN, 63, 72, 80, 89, 100, 110, 130] {
            for line in text(&whole(), width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn every_series_has_its_row_whatever_the_width() {
        let run = whole();
        for width in [WIDTH_MIN, 80, 110] {
            let lines = figures(&run.series, width);
            let rows = lines.iter().filter(|line| line.starts_with("    ") && !line.contains(" p50 "));
            assert_eq!(rows.count(), run.series.len());
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}");
        }
    }

    #[test]
    fn a_run_without_anything_is_its_head() {
        assert_eq!(text(&run(Vec::new()), 100).lines().count(), 5);
    }
}
