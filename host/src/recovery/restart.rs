//! When a plugin that died is replaced, and when no more: the restart policy of one plugin.
//!
//! For the thread that watches workers. A pure state machine: it is told what happened and when, and answers what
//! is to be done; it starts nothing, keeps no clock and knows no process.
//!
//! | state \ event | died | started | start failed | tick | user restarts | file changed | stop |
//! |---|---|---|---|---|---|---|---|
//! | running | *judge* | - | - | forgive | **start** | forget | stopped |
//! | waiting | - | - | - | **start** when due | **start** | forget | stopped |
//! | starting | - | running | *judge* | - | pardon | forget | stopped |
//! | quarantined | - | - | - | - | **start** | **start**, unless not wanted | stopped |
//! | stopped | - | - | - | - | - | - | - |
//!
//! - *judge*: one death more. Quarantined if it is not wanted again, if it was the third in a row before
//!   [`PROVEN_BLOCKS`] good blocks (a failed start is such a death), or the sixth within 30 s; otherwise replaced,
//!   the first time at once (starting), then after 100 ms that double to 10 s (waiting).
//! - forgive: after 30 s of running with [`PROVEN_BLOCKS`] good blocks, deaths and delay are forgotten.
//! - pardon: deaths and delay are forgotten, because the user says so; a **start** by the user does it too.
//! - forget: deaths of other code don't count against this file; the delay stays, so that a plugin that writes
//!   its own file while it dies can't keep the host busy.
//! - A death is told of the worker that took over last; one that dies before it takes over is a failed start.
//!   That is why there is nothing to do about a death in starting: it is that of the one to be replaced.

use std::fmt;

/// Good blocks after which a worker, and the state it was given, have proven themselves.
pub(crate) const PROVEN_BLOCKS: u64 = 100;
/// So many deaths in a row before [`PROVEN_BLOCKS`] are too many.
const EARLY_DEATHS: u32 = 3;
/// So many deaths within [`WINDOW_NS`] are too many.
const DEATHS: usize = 6;
/// How long a death counts, and how long a worker has to run to be forgiven.
const WINDOW_NS: u64 = 30_000_000_000;
const DELAY_MIN_NS: u64 = 100_000_000;
const DELAY_MAX_NS: u64 = 10_000_000_000;

/// Where a plugin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its worker runs.
    Running,
    /// A replacement is due at this time.
    Waiting { until_ns: u64 },
    /// A replacement is being brought up.
    Starting,
    /// It is not started again until the user restarts it or, if it is wanted, its file changes.
    Quarantined(Why),
    /// Its pipeline has ended.
    Stopped,
}

/// What can happen to a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The worker that took over last is dead, after so many good blocks.
    Died { good_blocks: u64 },
    /// The replacement has taken over.
    Started,
    /// The replacement could not be brought up.
    StartFailed,
    /// Time has passed; the worker that runs has delivered so many good blocks (any number if none runs).
    Tick { good_blocks: u64 },
    /// The user wants it started again.
    UserRestart,
    /// The plugin's file is another one now.
    FileChanged,
    /// The pipeline ends.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    /// Bring up a replacement and let it take over.
    Start,
    /// Nothing before this time; [`Event::Tick`] then starts it.
    Wait {
        until_ns: u64,
    },
    /// Tell the user; lost blocks follow the plugin's policy from now on.
    Quarantine(Why),
}

/// Why a plugin is in quarantine; in words by `Display`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It died too often in a short time.
    TooOften,
    /// It died several times in a row before it had proven itself.
    TooEarly,
    /// `restart = false`.
    NotWanted,
}

/// The restart policy of one plugin.
#[derive(Debug, Clone)]
pub(crate) struct Restart {
    state: State,
    is_wanted: bool,
    /// When the last deaths that count were.
    deaths: [Option<u64>; DEATHS],
    /// Deaths in a row before [`PROVEN_BLOCKS`].
    early: u32,
    /// Replacements since the last pardon: they decide the delay.
    replaced: u32,
    /// Since when it runs, and with how many good blocks.
    running_since_ns: u64,
    good_blocks: u64,
}

impl Restart {
    /// The policy of a plugin that has just been started; `is_wanted` is whether it is to be replaced at all.
    pub(crate) fn new(is_wanted: bool, now_ns: u64) -> Self {
        Self {
            state: State::Running,
            is_wanted,
            deaths: [None; DEATHS],
            early: 0,
            replaced: 0,
            running_since_ns: now_ns,
            good_blocks: 0,
        }
    }

    /// Where the plugin stands.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Takes note of what has happened at this time and says what is to be done.
    pub(crate) fn step(&mut self, event: Event, now_ns: u64) -> Action {
        use {Event as E, State as S};
        match (self.state, event) {
            (S::Stopped, _) => Action::Nothing,
            (_, E::Stop) => self.enter(S::Stopped, Action::Nothing),

            (S::Running, E::Died { good_blocks }) => self.judge(good_blocks, now_ns),
            (S::Running, E::Tick { good_blocks }) => self.forgive(good_blocks, now_ns),
            (S::Running, E::Started | E::StartFailed) => Action::Nothing,

            (S::Waiting { until_ns }, E::Tick { .. }) if now_ns >= until_ns => self.start(),
            (S::Waiting { .. }, E::Tick { .. } | E::Died { .. } | E::Started | E::StartFailed) => {
                Action::Nothing
            }

            (S::Starting, E::Started) => self.run(now_ns),
            (S::Starting, E::StartFailed) => self.judge(0, now_ns),
            (S::Starting, E::UserRestart) => self.pardon(),
            (S::Starting, E::Tick { .. } | E::Died { .. }) => Action::Nothing,

            (S::Quarantined(why), E::FileChanged) if why != Why::NotWanted => {
                self.forget_deaths();
                self.start()
            }
            (S::Quarantined(_), E::Tick { .. } | E::Died { .. } | E::Started | E::StartFailed) => {
                Action::Nothing
            }

            (S::Running | S::Waiting { .. } | S::Quarantined(_), E::UserRestart) => {
                self.pardon();
                self.start()
            }
            (_, E::FileChanged) => self.forget_deaths(),
        }
    }

    /// Whether a death now would be answered without a delay, so that a replacement may lie ready to take over.
    pub(crate) fn replaces_at_once(&self, now_ns: u64) -> bool {
        let is_fresh = self.replaced == 0 || self.is_forgiven(self.good_blocks, now_ns);
        self.state == State::Running && self.is_wanted && is_fresh
    }

    /// When a replacement is due, if one waits.
    #[cfg(test)]
    pub(crate) fn due_ns(&self) -> Option<u64> {
        match self.state {
            State::Waiting { until_ns } => Some(until_ns),
            _ => None,
        }
    }

    fn enter(&mut self, state: State, action: Action) -> Action {
        self.state = state;
        action
    }

    fn start(&mut self) -> Action {
        self.enter(State::Starting, Action::Start)
    }

    fn run(&mut self, now_ns: u64) -> Action {
        self.running_since_ns = now_ns;
        self.good_blocks = 0;
        self.enter(State::Running, Action::Nothing)
    }

    fn judge(&mut self, good_blocks: u64, now_ns: u64) -> Action {
        if self.state == State::Running {
            self.forgive(good_blocks, now_ns);
        }
        self.deaths.rotate_right(1);
        self.deaths[0] = Some(now_ns);
        self.early = if good_blocks < PROVEN_BLOCKS { self.early + 1 } else { 0 };
        match self.is_too_much(now_ns) {
            Some(why) => self.enter(State::Quarantined(why), Action::Quarantine(why)),
            None => self.replace(now_ns),
        }
    }

    fn is_too_much(&self, now_ns: u64) -> Option<Why> {
        let oldest = self.deaths[DEATHS - 1];
        if !self.is_wanted {
            Some(Why::NotWanted)
        } else if self.early >= EARLY_DEATHS {
            Some(Why::TooEarly)
        } else if oldest.is_some_and(|oldest| now_ns.saturating_sub(oldest) <= WINDOW_NS) {
            Some(Why::TooOften)
        } else {
            None
        }
    }

    fn replace(&mut self, now_ns: u64) -> Action {
        let delay_ns = delay_ns(self.replaced);
        self.replaced = self.replaced.saturating_add(1);
        if delay_ns == 0 {
            return self.start();
        }
        let until_ns = now_ns.saturating_add(delay_ns);
        self.enter(State::Waiting { until_ns }, Action::Wait { until_ns })
    }

    fn forgive(&mut self, good_blocks: u64, now_ns: u64) -> Action {
        self.good_blocks = good_blocks;
        if self.is_forgiven(good_blocks, now_ns) {
            self.pardon();
        }
        Action::Nothing
    }

    fn is_forgiven(&self, good_blocks: u64, now_ns: u64) -> bool {
        good_blocks >= PROVEN_BLOCKS && now_ns.saturating_sub(self.running_since_ns) >= WINDOW_NS
    }

    fn pardon(&mut self) -> Action {
        self.replaced = 0;
        self.forget_deaths()
    }

    fn forget_deaths(&mut self) -> Action {
        self.deaths = [None; DEATHS];
        self.early = 0;
        Action::Nothing
    }
}

/// How long the replacement after this many others has to wait.
fn delay_ns(replaced: u32) -> u64 {
    match replaced {
        0 => 0,
        n => DELAY_MIN_NS.saturating_mul(1 << (n - 1).min(32)).min(DELAY_MAX_NS),
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOften => write!(f, "it died {DEATHS} times within {} s", WINDOW_NS / 1_000_000_000),
            Self::TooEarly => {
                write!(f, "it failed {EARLY_DEATHS} times in a row before {PROVEN_BLOCKS} good blocks")
            }
            Self::NotWanted => write!(f, "restart = false"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const S: u64 = 1000 * MS;
    /// Any time but zero.
    const T: u64 = 1_000_000 * S;
    const LATE: Event = Event::Died { good_blocks: 5000 };
    const EARLY: Event = Event::Died { good_blocks: 99 };
    const TICK: Event = Event::Tick { good_blocks: 0 };

    fn running() -> Restart {
        Restart::new(true, T)
    }

    fn starting() -> Restart {
        let mut restart = running();
        assert_eq!(restart.step(LATE, T), Action::Start);
        restart
    }

    /// Until T + 100 ms.
    fn waiting() -> Restart {
        let mut restart = starting();
        restart.step(Event::Started, T);
        assert_eq!(restart.step(LATE, T), Action::Wait { until_ns: T + 100 * MS });
        restart
    }

    fn quarantined() -> Restart {
        let mut restart = starting();
        restart.step(Event::StartFailed, T);
        restart.step(TICK, T + 100 * MS);
        restart.step(Event::StartFailed, T + 100 * MS);
        restart.step(TICK, T + 300 * MS);
        assert_eq!(restart.step(Event::StartFailed, T + 300 * MS), Action::Quarantine(Why::TooEarly));
        restart
    }

    fn unwanted() -> Restart {
        let mut restart = Restart::new(false, T);
        assert_eq!(restart.step(LATE, T), Action::Quarantine(Why::NotWanted));
        restart
    }

    fn stopped() -> Restart {
        let mut restart = running();
        restart.step(Event::Stop, T);
        restart
    }

    #[test]
    fn every_pair_of_state_and_event_does_what_the_table_says() {
        use {Action as A, Event as E, State as St};
        let wait = St::Waiting { until_ns: T + 100 * MS };
        let (early, unwanted_why) = (St::Quarantined(Why::TooEarly), St::Quarantined(Why::NotWanted));
        let soon = T + 50 * MS;
        let due = T + 100 * MS;
        type Row = (fn() -> Restart, Event, u64, State, Action);
        let table: &[Row] = &[
            (running, LATE, soon, St::Starting, A::Start),
            (running, EARLY, soon, St::Starting, A::Start),
            (running, E::Started, soon, St::Running, A::Nothing),
            (running, E::StartFailed, soon, St::Running, A::Nothing),
            (running, TICK, soon, St::Running, A::Nothing),
            (running, E::UserRestart, soon, St::Starting, A::Start),
            (running, E::FileChanged, soon, St::Running, A::Nothing),
            (running, E::Stop, soon, St::Stopped, A::Nothing),
            (waiting, LATE, soon, wait, A::Nothing),
            (waiting, E::Started, soon, wait, A::Nothing),
            (waiting, E::StartFailed, soon, wait, A::Nothing),
            (waiting, TICK, due - 1, wait, A::Nothing),
            (waiting, TICK, due, St::Starting, A::Start),
            (waiting, E::UserRestart, soon, St::Starting, A::Start),
            (waiting, E::FileChanged, soon, wait, A::Nothing),
            (waiting, E::Stop, soon, St::Stopped, A::Nothing),
            (starting, LATE, soon, St::Starting, A::Nothing),
            (starting, E::Started, soon, St::Running, A::Nothing),
            (starting, E::StartFailed, T, wait, A::Wait { until_ns: due }),
            (starting, TICK, soon, St::Starting, A::Nothing),
            (starting, E::UserRestart, soon, St::Starting, A::Nothing),
            (starting, E::FileChanged, soon, St::Starting, A::Nothing),
            (starting, E::Stop, soon, St::Stopped, A::Nothing),
            (quarantined, LATE, T + S, early, A::Nothing),
            (quarantined, E::Started, T + S, early, A::Nothing),
            (quarantined, E::StartFailed, T + S, early, A::Nothing),
            (quarantined, TICK, T + 10_000 * S, early, A::Nothing),
            (quarantined, E::UserRestart, T + S, St::Starting, A::Start),
            (quarantined, E::FileChanged, T + S, St::Starting, A::Start),
            (quarantined, E::Stop, T + S, St::Stopped, A::Nothing),
            (unwanted, LATE, T + S, unwanted_why, A::Nothing),
            (unwanted, E::Started, T + S, unwanted_why, A::Nothing),
            (unwanted, E::StartFailed, T + S, unwanted_why, A::Nothing),
            (unwanted, TICK, T + 10_000 * S, unwanted_why, A::Nothing),
            (unwanted, E::UserRestart, T + S, St::Starting, A::Start),
            (unwanted, E::FileChanged, T + S, unwanted_why, A::Nothing),
            (unwanted, E::Stop, T + S, St::Stopped, A::Nothing),
            (stopped, LATE, T + S, St::Stopped, A::Nothing),
            (stopped, E::Started, T + S, St::Stopped, A::Nothing),
            (stopped, E::StartFailed, T + S, St::Stopped, A::Nothing),
            (stopped, TICK, T + S, St::Stopped, A::Nothing),
            (stopped, E::UserRestart, T + S, St::Stopped, A::Nothing),
            (stopped, E::FileChanged, T + S, St::Stopped, A::Nothing),
            (stopped, E::Stop, T + S, St::Stopped, A::Nothing),
        ];
        for (from, event, at, state, action) in table {
            let mut restart = from();
            let what = format!("{:?} and {event:?}", restart.state());
            assert_eq!(restart.step(*event, *at), *action, "{what}");
            assert_eq!(restart.state(), *state, "{what}");
        }
    }

    /// Lets it run for `lives_ns` after each start until it is quarantined, at most `deaths` times; gives the delays.
    fn die(restart: &mut Restart, lives_ns: u64, good_blocks: u64, deaths: usize) -> (Vec<u64>, Option<Why>) {
        let (mut now, mut delays) = (T, Vec::new());
        for _ in 0..deaths {
            now += lives_ns;
            match restart.step(Event::Died { good_blocks }, now) {
                Action::Start => delays.push(0),
                Action::Wait { until_ns } => {
                    delays.push((until_ns - now) / MS);
                    now = until_ns;
                    assert_eq!(restart.step(TICK, now), Action::Start);
                }
                Action::Quarantine(why) => return (delays, Some(why)),
                Action::Nothing => panic!("a death is always answered"),
            }
            restart.step(Event::Started, now);
        }
        (delays, None)
    }

    #[test]
    fn the_first_replacement_comes_at_once_and_the_others_ever_later() {
        let (delays, why) = die(&mut running(), 6 * S, 2000, 11);
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        assert_eq!(why, None);
    }

    #[test]
    fn the_sixth_death_within_30_s_quarantines_it() {
        let (delays, why) = die(&mut running(), S, 300, 100);
        assert_eq!(delays.len(), 5);
        assert_eq!(why, Some(Why::TooOften));
        assert_eq!(why.unwrap().to_string(), "it died 6 times within 30 s");
    }

    #[test]
    fn the_third_death_in_a_row_before_100_good_blocks_quarantines_it() {
        let (delays, why) = die(&mut running(), 10 * S, 99, 100);
        assert_eq!(delays, [0, 100]);
        assert_eq!(why, Some(Why::TooEarly));
        assert_eq!(why.unwrap().to_string(), "it failed 3 times in a row before 100 good blocks");
        assert_eq!(die(&mut running(), 10 * S, 100, 100).1, None, "100 good blocks are enough");
    }

    #[test]
    fn a_death_after_100_good_blocks_breaks_the_row() {
        let mut restart = running();
        for (n, event) in [EARLY, EARLY, LATE, EARLY, EARLY].into_iter().enumerate() {
            let now = T + n as u64 * 20 * S;
            assert!(!matches!(restart.step(event, now), Action::Quarantine(_)), "death {n}");
            restart.step(TICK, now + 10 * S);
            restart.step(Event::Started, now + 10 * S);
        }
        assert_eq!(restart.step(EARLY, T + 100 * S), Action::Quarantine(Why::TooEarly));
    }

    #[test]
    fn a_long_good_stretch_forgives() {
        let (ran, good) = (30 * S, 100);
        let after = |ran, good_blocks| {
            let mut restart = waiting();
            restart.step(TICK, T + S);
            restart.step(Event::Started, T + S);
            assert!(!restart.replaces_at_once(T + S + ran));
            restart.step(Event::Tick { good_blocks }, T + S + ran);
            let at_once = restart.replaces_at_once(T + S + ran);
            let action = restart.step(Event::Died { good_blocks }, T + S + ran);
            assert_eq!(at_once, action == Action::Start);
            at_once
        };
        assert!(after(ran, good));
        assert!(!after(ran - 1, good), "not long enough");
        assert!(!after(ran, good - 1), "not good enough");
        // Without a tick between, the death itself tells how good it was.
        assert_eq!(die(&mut running(), ran, good, 20).0, [0; 20]);
    }

    #[test]
    fn a_user_who_restarts_it_gives_it_all_its_chances_again() {
        let mut restart = quarantined();
        restart.step(Event::UserRestart, T + S);
        restart.step(Event::Started, T + S);
        assert!(restart.replaces_at_once(T + S));
        assert_eq!(die(&mut restart, S, 300, 100).0.len(), 5);
        let mut restart = starting();
        restart.step(Event::UserRestart, T);
        assert_eq!(restart.step(Event::StartFailed, T), Action::Start, "while it starts, too");
    }

    #[test]
    fn deaths_of_the_code_before_do_not_count_against_a_changed_file_but_the_delay_stays() {
        for is_at_once in [false, true] {
            let mut restart = starting();
            restart.step(Event::StartFailed, T);
            restart.step(TICK, T + 100 * MS);
            if is_at_once {
                // Told before the attempt that would have been the last.
                restart.step(Event::FileChanged, T + 150 * MS);
            }
            restart.step(Event::StartFailed, T + 200 * MS);
            restart.step(TICK, T + S);
            let action = restart.step(Event::StartFailed, T + S);
            let forgotten = Action::Wait { until_ns: T + S + 400 * MS };
            assert_eq!(action, if is_at_once { forgotten } else { Action::Quarantine(Why::TooEarly) });
        }
        let mut restart = quarantined();
        restart.step(Event::FileChanged, T + S);
        assert!(matches!(restart.step(Event::StartFailed, T + S), Action::Wait { .. }));
    }

    #[test]
    fn a_plugin_that_is_not_to_be_restarted_has_nothing_ready_to_take_over() {
        let mut restart = Restart::new(false, T);
        assert!(!restart.replaces_at_once(T));
        let action = restart.step(Event::Died { good_blocks: 1 << 40 }, T + 3600 * S);
        assert_eq!(action, Action::Quarantine(Why::NotWanted));
        restart.step(Event::UserRestart, T + 3601 * S);
        assert_eq!(restart.step(Event::StartFailed, T + 3602 * S), Action::Quarantine(Why::NotWanted));
    }

    #[test]
    fn only_a_running_plugin_has_something_ready_and_only_a_waiting_one_is_due() {
        let at_once =
            [running, waiting, starting, quarantined, stopped].map(|make| make().replaces_at_once(T));
        assert_eq!(at_once, [true, false, false, false, false]);
        let due = [running, waiting, starting, quarantined, stopped].map(|make| make().due_ns());
        assert_eq!(due, [None, Some(T + 100 * MS), None, None, None]);
    }

    fn events() -> impl Strategy<Value = Vec<(Event, u64)>> {
        let event = prop_oneof![
            12 => (60u64..400).prop_map(|good_blocks| Event::Died { good_blocks }),
            12 => Just(Event::Started),
            1 => Just(Event::StartFailed),
            12 => (60u64..400).prop_map(|good_blocks| Event::Tick { good_blocks }),
            1 => proptest::sample::select(vec![Event::UserRestart, Event::FileChanged, Event::Stop]),
        ];
        let gap = prop_oneof![60 => 0..400 * MS, 3 => 0..5 * S, 1 => 0..40 * S];
        proptest::collection::vec((event, gap), 0..200)
    }

    /// Checks what must hold whatever happens.
    #[derive(Default)]
    struct Witness {
        /// Replacements by the policy itself since somebody else had a say.
        starts: Vec<u64>,
        last_delay_ns: u64,
    }

    impl Witness {
        fn see(&mut self, before: &Restart, event: Event, now: u64, action: Action, after: &Restart) {
            if before.state() == State::Stopped {
                assert_eq!((action, after.state()), (Action::Nothing, State::Stopped));
            }
            if event == Event::Stop {
                assert_eq!((action, after.state()), (Action::Nothing, State::Stopped));
            }
            if matches!(event, Event::Died { .. }) && before.state() == State::Running {
                assert_eq!(before.replaces_at_once(now), action == Action::Start);
            }
            let was_starting = before.state() == State::Starting && event != Event::StartFailed;
            let is_starting = after.state() == State::Starting && !was_starting;
            assert_eq!(action == Action::Start, is_starting, "what starts was told to");
            assert_eq!(after.due_ns().is_some(), matches!(after.state(), State::Waiting { .. }));
            let is_forgiven = before.replaced > 0 && after.replaced == 0;
            if matches!(event, Event::UserRestart | Event::FileChanged) || is_forgiven {
                *self = Self { last_delay_ns: self.last_delay_ns, ..Self::default() };
            }
            if event == Event::UserRestart
                || after.replaced == 0
                || action == Action::Start && after.replaced == 1
            {
                self.last_delay_ns = 0;
            }
            match action {
                Action::Wait { until_ns } => {
                    let delay_ns = until_ns - now;
                    assert!(delay_ns >= self.last_delay_ns && delay_ns <= DELAY_MAX_NS);
                    self.last_delay_ns = delay_ns;
                }
                Action::Start if !matches!(event, Event::UserRestart | Event::FileChanged) => {
                    self.starts.push(now);
                    let recent = self.starts.iter().filter(|at| now - **at <= WINDOW_NS).count();
                    assert!(recent <= 5, "{recent} replacements within 30 s");
                }
                Action::Start | Action::Quarantine(_) | Action::Nothing => {}
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_never_replaced_more_than_5_times_in_30_s(events in events(), wanted in any::<bool>()) {
            let mut restart = Restart::new(wanted, T);
            let (mut now, mut witness) = (T, Witness::default());
            for (event, gap) in events {
                now += gap;
                // What is known of the one that runs is as new as its last tick.
                if let Event::Died { good_blocks } = event {
                    restart.step(Event::Tick { good_blocks }, now);
                }
                let before = restart.clone();
                let action = restart.step(event, now);
                witness.see(&before, event, now, action, &restart);
                if !wanted {
                    prop_assert!(action != Action::Start || event == Event::UserRestart);
                }
            }
        }

        #[test]
        fn a_clock_that_jumps_breaks_nothing(steps in proptest::collection::vec((0usize..7, any::<u64>()), 0..100)) {
            let mut restart = Restart::new(true, u64::MAX);
            for (n, now) in steps {
                let events = [LATE, Event::Started, Event::StartFailed, TICK, EARLY, Event::UserRestart, Event::FileChanged];
                restart.step(events[n], now);
            }
        }
    }
}
