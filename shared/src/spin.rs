//! How long it pays to look for an answer before going to sleep.
//!
//! For whoever waits, on either side. Looking costs a processor's time and saves a wake-up: it pays while the peer runs
//! on another processor and answers within microseconds, and never where both share one, since the peer can't run while
//! we look. [`Spinner`] learns that from what it has seen; where the time is chosen by itself, the peer can't turn that
//! into more than [`AUTO_MAX_NS`] of one processor for each block.

/// The longest look where the time is chosen by itself.
pub const AUTO_MAX_NS: u64 = 20_000;
/// The shortest that is worth a try.
const AUTO_MIN_NS: u64 = 1_000;
/// After a look in vain so many waits go without one, twice as many after each that follows...
const PAUSE_FIRST: u32 = 16;
/// ...up to so many.
const PAUSE_MAX: u32 = 4096;

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spin {
    /// As long as it was seen to pay.
    #[default]
    Auto,
    /// Never: sleep at once.
    Off,
    /// For so many nanoseconds, whatever comes of it, but never where both share a processor.
    For(u32),
}

impl Spin {
    /// As one word in shared memory.
    #[must_use]
    pub fn to_word(self) -> u32 {
        match self {
            Self::Auto => u32::MAX,
            Self::Off => 0,
            Self::For(ns) => ns.min(u32::MAX - 1),
        }
    }

    /// Any word means something.
    #[must_use]
    pub fn from_word(word: u32) -> Self {
        match word {
            u32::MAX => Self::Auto,
            0 => Self::Off,
            ns => Self::For(ns),
        }
    }
}

/// Decides for one side that waits.
#[derive(Debug, Clone, Copy)]
pub struct Spinner {
    budget_ns: u64,
    /// Waits that still go without a look.
    pause: u32,
    next_pause: u32,
}

impl Default for Spinner {
    fn default() -> Self {
        Self { budget_ns: AUTO_MAX_NS, pause: 0, next_pause: PAUSE_FIRST }
    }
}

impl Spinner {
    /// How long the next wait looks before it sleeps; `shares_core` is whether the peer was last seen on this
    /// processor.
    ///
    /// # Real-time
    /// May be called on the audio thread.
    #[must_use]
    pub fn budget_ns(&mut self, rule: Spin, shares_core: bool) -> u64 {
        match rule {
            Spin::Off => 0,
            // The peer could not even run: least of all where we have the higher priority.
            _ if shares_core => 0,
            Spin::For(ns) => ns.into(),
            Spin::Auto if self.pause > 0 => {
                self.pause -= 1;
                0
            }
            Spin::Auto => self.budget_ns,
        }
    }

    /// What came of a wait that was given this budget: how long it took until there was something.
    ///
    /// # Real-time
    /// May be called on the audio thread.
    pub fn learn(&mut self, budget_ns: u64, waited_ns: u64) {
        if budget_ns == 0 {
            return;
        }
        if waited_ns <= budget_ns {
            // Twice what it took, but it forgets a slow answer only little by little.
            let wanted_ns = (2 * waited_ns).max(self.budget_ns - self.budget_ns / 16);
            self.budget_ns = wanted_ns.clamp(AUTO_MIN_NS, AUTO_MAX_NS);
            self.next_pause = PAUSE_FIRST;
        } else {
            self.budget_ns = AUTO_MAX_NS;
            self.pause = self.next_pause;
            self.next_pause = (2 * self.next_pause).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(spinner: &mut Spinner, takes_ns: u64) -> u64 {
        let budget_ns = spinner.budget_ns(Spin::Auto, false);
        spinner.learn(budget_ns, takes_ns);
        budget_ns
    }

    #[test]
    fn what_the_user_wants_survives_the_journey_through_a_word() {
        for spin in [Spin::Auto, Spin::Off, Spin::For(1), Spin::For(5_000)] {
            assert_eq!(Spin::from_word(spin.to_word()), spin);
        }
    }

    #[test]
    fn nobody_looks_for_a_peer_that_can_only_run_when_he_sleeps() {
        assert_eq!(Spinner::default().budget_ns(Spin::Auto, true), 0);
        assert_eq!(Spinner::default().budget_ns(Spin::Off, false), 0);
        assert_eq!(Spinner::default().budget_ns(Spin::For(7), true), 0);
        assert_eq!(Spinner::default().budget_ns(Spin::For(7), false), 7);
    }

    #[test]
    fn quick_answers_make_a_look_shorter_and_it_goes_on() {
        let mut spinner = Spinner::default();
        let budgets: Vec<_> = (0..200).map(|_| wait(&mut spinner, 800)).collect();
        assert_eq!(budgets[0], AUTO_MAX_NS);
        assert!(budgets.iter().all(|ns| *ns > 800) && budgets[199] <= 2 * 800 + 200, "{budgets:?}");
    }

    #[test]
    fn looks_in_vain_become_rare() {
        let mut spinner = Spinner::default();
        let looks = (0..100_000).filter(|_| wait(&mut spinner, 2_000_000) > 0).count();
        assert!((20..40).contains(&looks), "{looks} looks");
        // And one that pays is the end of that.
        while wait(&mut spinner, 800) == 0 {}
        assert!((0..100).all(|_| wait(&mut spinner, 800) > 0));
    }
}
