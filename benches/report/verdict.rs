//! Whether a plugin fits same-block on this machine, in words.
//!
//! For the end of `nda bench PLUGIN`. It goes by blocks that come one a period, as from a device, if such were
//! measured, and by what 999 of 1000 blocks stay within. The host waits for a share of a block's duration
//! ([`DEADLINE_DEFAULT`]); what fits into that adds no latency, what does not but still keeps up needs one block more.
//! The time of a block that was given up says nothing about the plugin: those are counted.

use super::doubts::BLOCKS_MIN;
use super::model::{Cores, Mode, Pace, Run, Series, Variant, Waiting, What};
use super::pairs;
use super::words::{number, percent, us, whole_us};
use host::plugin::spec::DEADLINE_DEFAULT;
use host::processor::Turn;

/// Frames a second that the durations of blocks are told for.
const RATE: f64 = 48_000.0;

/// What is said of this plugin, a sentence or two for each block size, then what takes the time. Nothing if it was
/// not measured.
#[must_use]
pub fn of(run: &Run, plugin: &str) -> Vec<String> {
    let chosen = chosen(&run.series, plugin);
    let Some(usual) = chosen.iter().min_by_key(|it| it.variant.block_frames.abs_diff(512)) else {
        return Vec::new();
    };
    let mut lines = vec![format!(
        "{plugin} on this machine at 48 kHz ({}, {}):",
        usual.variant.meeting(),
        usual.variant.pace.name()
    )];
    lines.extend(chosen.iter().map(|it| format!("  {}", at_size(&run.series, it))));
    if usual.variant.pace == Pace::BackToBack {
        lines.push(
            "  Blocks of a device come one a period, which takes longer and was not measured.".to_owned(),
        );
    }
    let least = chosen.iter().map(|it| it.times.count).min().filter(|least| *least < BLOCKS_MIN);
    lines.extend(least.map(|least| {
        format!(
            "  A size rests on only {least} blocks, of which p99.9 is the longest: measure more to be sure."
        )
    }));
    lines.extend(isolation(&run.series, usual));
    lines.extend(largest_part(usual));
    lines
}

/// The same-block series of a plugin, one for each block size, rising: all met alike, as a device's would be.
fn chosen<'a>(all: &'a [Series], plugin: &str) -> Vec<&'a Series> {
    let is_its = |it: &Variant| {
        it.what == What::Isolated
            && it.plugin == plugin
            && it.mode == Mode::SameBlock
            && (it.chain, it.pipelines, it.loaded) == (1, 1, false)
    };
    // A device paces; by default the host parks, on one core, and lets cores sleep.
    let unusual = |it: &Variant| {
        (it.pace != Pace::Paced, it.waiting != Waiting::Parked, it.cores != Cores::One, it.awake, it.cores)
    };
    let its: Vec<_> = all.iter().filter(|it| is_its(&it.variant)).collect();
    let Some(usual) = its.iter().map(|it| unusual(&it.variant)).min() else { return Vec::new() };
    let mut chosen: Vec<_> = its.into_iter().filter(|it| unusual(&it.variant) == usual).collect();
    // Of several numbers of channels two, as most devices have.
    chosen.sort_by_key(|it| (it.variant.block_frames, it.variant.channels.abs_diff(2)));
    chosen.dedup_by_key(|it| it.variant.block_frames);
    chosen
}

fn at_size(all: &[Series], series: &Series) -> String {
    let block_ns = f64::from(series.variant.block_frames) / RATE * 1e9;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a block lasts less than a second"
    )]
    let budget_ns = Turn::new(0, block_ns as u64).deadline_ns(DEADLINE_DEFAULT) as f64;
    let p999 = series.times.p999_ns as f64;
    let block = format!("{} frames ({:.2} ms)", series.variant.block_frames, block_ns / 1e6);
    let tail = format!("p99.9 of {} us", us(p999));
    match p999 {
        _ if p999 <= budget_ns => format!(
            "{block}: fits same-block. Its {tail} is {} of the {} us that the host waits, {} of the block.",
            percent(p999 / budget_ns),
            us(budget_ns),
            percent(p999 / block_ns),
        ),
        _ if series.missed * 1000 <= series.times.count => format!(
            "{block}: needs one block more (pipelined). Its {tail} is over the {} us that the host waits, but \
             within the block.{}",
            us(budget_ns),
            audio_thread(all, series),
        ),
        _ => format!(
            "{block}: does not fit. {} of {} blocks were not there by the end of the block, and would be late with \
             one block more.{}",
            series.missed,
            series.times.count,
            by_itself(all, series),
        ),
    }
}

/// What the plugin takes where nobody gives it up, if that was measured.
fn by_itself(all: &[Series], series: &Series) -> String {
    let found = pairs::in_one_process(all, &series.variant, What::InProcess);
    found.map_or_else(String::new, |it| {
        format!(
            " In process it takes {} us (p50), {} at p99.9.",
            whole_us(it.times.p50_ns),
            whole_us(it.times.p999_ns)
        )
    })
}

/// What isolation costs, as ratios of medians: those say the same on a slower machine.
fn isolation(all: &[Series], series: &Series) -> Option<String> {
    let inside = pairs::in_one_process(all, &series.variant, What::InProcess)?;
    let floor = pairs::floor_of(all, &series.variant).filter(|floor| floor.times.p50_ns > 0)?;
    let cost_ns = series.times.p50_ns.saturating_sub(inside.times.p50_ns);
    let whole = (inside.times.p50_ns > 0).then(|| series.times.p50_ns as f64 / inside.times.p50_ns as f64)?;
    Some(format!(
        "What isolation costs at {} frames: {} us a block (p50), {} x what two bare processes take to wake each other; \
         the block takes {} x as long as in process.",
        series.variant.block_frames,
        whole_us(cost_ns),
        number(cost_ns as f64 / floor.times.p50_ns as f64),
        number(whole),
    ))
}

/// What pipelined costs the audio thread, if it was measured.
fn audio_thread(all: &[Series], series: &Series) -> String {
    let alike = Variant { mode: Mode::Pipelined, ..series.variant.clone() };
    let found = all.iter().find(|it| it.variant == alike);
    found.map_or_else(String::new, |it| {
        format!(" The audio thread then spends {} us on it (p99.9).", whole_us(it.times.p999_ns))
    })
}

/// What takes the most of the time. A median of parts is not a part of the median: the share is of the parts' sum.
fn largest_part(series: &Series) -> Option<String> {
    let sum: u64 = series.parts.iter().map(|part| part.p50_ns).sum();
    let most = series.parts.iter().max_by_key(|part| part.p50_ns).filter(|part| part.p50_ns > 0)?;
    Some(format!(
        "What takes the time at {} frames: {}, {} us of {} ({}).",
        series.variant.block_frames,
        doing(&most.ends_with),
        whole_us(most.p50_ns),
        whole_us(sum),
        percent(most.p50_ns as f64 / sum as f64),
    ))
}

/// What goes on until this stamp.
fn doing(ends_with: &str) -> &str {
    match ends_with {
        "written" => "copying the block into shared memory",
        "woken" => "waking the worker",
        "Python entered" => "getting into Python",
        "Python left" => "the plugin's own code",
        "noticed" => "waking the audio thread again",
        "copied" => "checking the answer and copying it back",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{run, series, variant, whole};
    use super::super::model::Part;
    use super::*;

    fn paced(block_frames: u32, p50_ns: u64, p999_ns: u64) -> Series {
        let it = Variant { block_frames, pace: Pace::Paced, ..variant(What::Isolated, "echo") };
        let mut it = series(it, p50_ns);
        (it.times.p50_ns, it.times.p999_ns) = (p50_ns, p999_ns);
        it
    }

    #[test]
    fn the_verdict_of_a_plugin_that_fits_only_large_blocks_reads_like_this() {
        let mut pipelined = paced(128, 1_000, 2_400);
        pipelined.variant.mode = Mode::Pipelined;
        // Given up at 0.95 of the block, or returned at once where all slots are taken: short times of a slow plugin.
        let mut given_up = paced(64, 900, 1_266_000);
        given_up.missed = given_up.times.count;
        let mut inside = paced(64, 2_000_000, 2_100_000);
        inside.variant.what = What::InProcess;
        let mut too_often = paced(128, 800_000, 2_533_000);
        too_often.missed = 7;
        let mut all = run(vec![
            given_up,
            inside,
            too_often,
            pipelined,
            paced(256, 900_000, 3_000_000),
            paced(512, 900_000, 1_066_667),
        ]);
        all.series[4].missed = 1;
        all.series[5].parts = [("woken", 5_000), ("Python left", 15_000)]
            .map(|(name, p50_ns)| Part { ends_with: name.into(), p50_ns, p99_ns: p50_ns })
            .into();
        let expected = "\
echo on this machine at 48 kHz (parked, one core, paced):
  64 frames (1.33 ms): does not fit. 1000 of 1000 blocks were not there by the end of the block, and would be late with one block more. In process it takes 2000 us (p50), 2100 at p99.9.
  128 frames (2.67 ms): does not fit. 7 of 1000 blocks were not there by the end of the block, and would be late with one block more.
  256 frames (5.33 ms): needs one block more (pipelined). Its p99.9 of 3000 us is over the 2587 us that the host waits, but within the block.
  512 frames (10.67 ms): fits same-block. Its p99.9 of 1067 us is 20 % of the 5250 us that the host waits, 10 % of the block.
What takes the time at 512 frames: the plugin's own code, 15.0 us of 20.0 (75 %).";
        assert_eq!(of(&all, "echo").join("\n"), expected);
    }

    #[test]
    fn what_pipelined_costs_the_audio_thread_is_told_where_it_is_needed() {
        let mut pipelined = paced(256, 1_000, 2_400);
        pipelined.variant.mode = Mode::Pipelined;
        let text = of(&run(vec![paced(256, 900_000, 3_000_000), pipelined]), "echo").join("\n");
        assert!(text.contains("The audio thread then spends 2.40 us on it (p99.9)."), "{text}");
    }

    #[test]
    fn what_isolation_costs_is_told_in_ratios() {
        let beside = |what, plugin: &str, p50_ns| {
            let mut it = paced(512, p50_ns, p50_ns);
            (it.variant.what, it.variant.plugin) = (what, plugin.to_owned());
            it
        };
        let mut all = vec![paced(512, 9_000, 20_000), beside(What::InProcess, "echo", 3_000)];
        assert!(
            !of(&run(all.clone()), "echo").join("").contains("isolation costs"),
            "without a floor there is no ratio"
        );
        all.push(beside(What::Floor, "", 4_000));
        let told = of(&run(all), "echo").remove(2);
        assert_eq!(
            told,
            "What isolation costs at 512 frames: 6.00 us a block (p50), 1.50 x what two bare processes take to wake each \
             other; the block takes 3.00 x as long as in process."
        );
    }

    #[test]
    fn one_way_of_meeting_is_judged_and_the_one_a_device_has() {
        let mut hurried = paced(256, 100, 100);
        hurried.variant.pace = Pace::BackToBack;
        let mut spinning = paced(256, 100, 100);
        spinning.variant.waiting = Waiting::Spinning;
        let lines = of(&run(vec![hurried.clone(), spinning, paced(256, 900_000, 3_000_000)]), "echo");
        assert!(lines[1].contains("needs one block more"), "{lines:?}");
        let mut others =
            [paced(256, 1, 1), paced(256, 1, 1), paced(256, 1, 1), paced(256, 900_000, 3_000_000)];
        (others[0].variant.chain, others[1].variant.pipelines, others[2].variant.loaded) = (2, 2, true);
        let lines = of(&run(others.into()), "echo");
        assert!(lines.len() == 3 && lines[1].contains("needs one block more"), "{lines:?}");
        let lines = of(&run(vec![hurried]), "echo");
        assert!(lines[1].contains("fits same-block") && lines[2].contains("was not measured"), "{lines:?}");
    }

    #[test]
    fn a_verdict_that_rests_on_few_blocks_says_so() {
        let mut few = paced(256, 100, 100);
        few.times.count = 200;
        let lines = of(&run(vec![few, paced(512, 100, 100)]), "echo");
        assert!(lines[3].contains("only 200 blocks"), "{lines:?}");
        assert_eq!(of(&run(vec![paced(512, 100, 100)]), "echo").len(), 3);
    }

    #[test]
    fn of_a_plugin_that_was_not_measured_nothing_is_said() {
        assert!(of(&whole(), "echo").is_empty());
        assert_eq!(of(&whole(), "passthrough").len(), 1 + 5 + 1 + 1);
    }
}
