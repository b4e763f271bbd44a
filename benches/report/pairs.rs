//! Which series of a run may be compared with each other: those of equal circumstances.
//!
//! For ratios, targets and doubts. A partner that would differ in what matters is none; there is no next best.
//!
//! | with | must be equal | may differ |
//! |---|---|---|
//! | floor and what else one might use | block, channels, pace, load, idle states, waiting, cores, chain, pipelines | |
//! | what is in one process | plugin, block, channels, pace, load | all about meeting another process; of several, the most alike |

use super::model::{Mode, Pace, Series, Variant, What};

/// The floor of this variant. Who does not wait for the answer has none.
#[must_use]
pub fn floor_of<'a>(series: &'a [Series], of: &Variant) -> Option<&'a Series> {
    let meeting = |it: &Variant| (it.waiting, it.cores, it.awake, it.chain, it.pipelines);
    let alike = |it: &Variant| block(it) == block(of) && meeting(it) == meeting(of);
    let mut floors = series.iter().filter(|it| it.variant.what == What::Floor && of.mode == Mode::SameBlock);
    floors.find(|floor| alike(&floor.variant))
}

/// The block and how it comes.
fn block(it: &Variant) -> (u32, u32, Pace, bool) {
    (it.block_frames, it.channels, it.pace, it.loaded)
}

/// What does the same plugin's work in one process: `what` is one of those that [`What::is_in_one_process`].
#[must_use]
pub fn in_one_process<'a>(series: &'a [Series], of: &Variant, what: What) -> Option<&'a Series> {
    most_alike(series, of, |it| it.what == what && it.plugin == of.plugin)
}

/// The call of a method that does nothing.
#[must_use]
pub fn no_op<'a>(series: &'a [Series], of: &Variant) -> Option<&'a Series> {
    most_alike(series, of, |it| it.what == What::NoOp)
}

fn most_alike<'a>(series: &'a [Series], of: &Variant, fits: impl Fn(&Variant) -> bool) -> Option<&'a Series> {
    let alike = |it: &Variant| {
        let equal = [
            it.chain == of.chain,
            it.awake == of.awake,
            it.cores == of.cores,
            it.waiting == of.waiting,
            it.pipelines == of.pipelines,
            it.mode == of.mode,
        ];
        equal.iter().filter(|equal| **equal).count()
    };
    let fitting = series.iter().filter(|it| fits(&it.variant) && block(&it.variant) == block(of));
    // Of equals the first.
    fitting.rev().max_by_key(|it| alike(&it.variant))
}

/// How long the plugins of a chain take in one process: as many times as there are plugins, if only one was timed.
#[must_use]
pub fn times_of_chain(of: &Variant, partner: &Variant) -> f64 {
    f64::from(of.chain.max(1)) / f64::from(partner.chain.max(1))
}

#[cfg(test)]
mod tests {
    use super::super::fabricated::{series, variant};
    use super::super::model::{Cores, Waiting};
    use super::*;

    fn isolated() -> Variant {
        variant(What::Isolated, "echo")
    }

    #[test]
    fn a_floor_of_other_circumstances_is_none() {
        let floor = variant(What::Floor, "");
        let others = [
            Variant { block_frames: 256, ..floor.clone() },
            Variant { channels: 1, ..floor.clone() },
            Variant { waiting: Waiting::Spinning, ..floor.clone() },
            Variant { cores: Cores::Two, ..floor.clone() },
            Variant { pace: Pace::Paced, ..floor.clone() },
            Variant { awake: true, ..floor.clone() },
            Variant { loaded: true, ..floor.clone() },
            Variant { chain: 2, ..floor.clone() },
            Variant { pipelines: 2, ..floor.clone() },
        ];
        let mut all: Vec<_> = others.into_iter().map(|it| series(it, 1_000)).collect();
        assert_eq!(floor_of(&all, &isolated()), None);
        all.push(series(floor, 6_000));
        assert_eq!(floor_of(&all, &isolated()), all.last());
        assert_eq!(floor_of(&all, &Variant { mode: Mode::Pipelined, ..isolated() }), None);
    }

    #[test]
    fn in_one_process_only_the_work_has_to_be_the_same() {
        let mine = Variant { cores: Cores::Any, ..variant(What::InProcess, "echo") };
        let others = [
            variant(What::InProcess, "reverb"),
            Variant { pace: Pace::Paced, ..mine.clone() },
            Variant { block_frames: 64, ..mine.clone() },
            Variant { loaded: true, ..mine.clone() },
        ];
        let mut all: Vec<_> = others.into_iter().map(|it| series(it, 100)).collect();
        assert_eq!(in_one_process(&all, &isolated(), What::InProcess), None);
        all.push(series(mine, 200));
        assert_eq!(in_one_process(&all, &isolated(), What::InProcess), all.last());
    }

    #[test]
    fn of_several_the_most_alike_is_taken() {
        let asleep = variant(What::InProcess, "echo");
        let awake = Variant { awake: true, ..asleep.clone() };
        let all = [series(asleep, 200), series(awake, 210)];
        let partner = |awake| in_one_process(&all, &Variant { awake, ..isolated() }, What::InProcess);
        assert_eq!((partner(false), partner(true)), (Some(&all[0]), Some(&all[1])));
    }

    #[test]
    fn one_plugin_counts_as_often_as_a_chain_is_long() {
        let sixteen = Variant { chain: 16, ..isolated() };
        assert_eq!(times_of_chain(&sixteen, &isolated()), 16.0);
        assert_eq!(times_of_chain(&sixteen, &sixteen), 1.0);
    }
}
