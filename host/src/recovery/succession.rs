//! Who plays, who stands by, who is to be made: the order in which one plugin's workers follow each other.
//!
//! A pure state machine around the restart policy: told what happened and when, it says what is to be done. It starts
//! nothing and knows no process. An incarnation is a number, counted up; an heir is the one that comes next. An armed
//! heir lies in the audio thread's queue: that takes it by itself when the one that plays is over.

use super::restart::{Action, Event, Restart, State, Why};

/// How long nobody tries again to make a twin that could not be made, the first time and at most.
const RETRY_NS: u64 = 1_000_000_000;
const RETRY_MAX_NS: u64 = 60_000_000_000;

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start making this incarnation.
    Prepare(u32),
    /// Put it into the audio thread's queue.
    Arm(u32),
    /// It is the one that plays from now on.
    Plays(u32),
    /// End it: it plays, or it stands by, and is not wanted any more.
    End(u32),
    /// The next one comes at this time.
    Wait { until_ns: u64 },
    /// There will be no next one until somebody does something.
    GiveUp(Why),
}

/// The succession of one plugin's workers.
#[derive(Debug)]
pub(crate) struct Succession {
    restart: Restart,
    keeps_twin: bool,
    playing: Option<u32>,
    heir: Option<Heir>,
    next: u32,
    retry_at_ns: u64,
    retries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heir {
    incarnation: u32,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Preparing,
    Ready,
    Armed,
}

impl Succession {
    /// Incarnation `first` plays; `keeps_twin` is whether another one is to stand by, loaded and started.
    pub(crate) fn new(first: u32, restart: bool, keeps_twin: bool, now_ns: u64) -> Self {
        Self {
            restart: Restart::new(restart, now_ns),
            keeps_twin: keeps_twin && restart,
            playing: Some(first),
            heir: None,
            next: first + 1,
            retry_at_ns: 0,
            retries: 0,
        }
    }

    /// The incarnation that plays, if one does.
    #[cfg(test)]
    pub(crate) fn playing(&self) -> Option<u32> {
        self.playing
    }

    /// Whether this incarnation is being made or stands by.
    pub(crate) fn expects(&self, incarnation: u32) -> bool {
        self.heir.is_some_and(|heir| heir.incarnation == incarnation)
    }

    /// Whether it has been given up until somebody does something.
    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self.restart.state(), State::Quarantined(_))
    }

    /// Whether a change of its file has it tried again.
    pub(crate) fn waits_for_file(&self) -> bool {
        matches!(self.restart.state(), State::Quarantined(why) if why != Why::NotWanted)
    }

    /// This incarnation is over, after so many good blocks.
    pub(crate) fn gone(&mut self, incarnation: u32, good_blocks: u64, now_ns: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.playing == Some(incarnation) {
            self.playing = None;
            let action = self.restart.step(Event::Died { good_blocks }, now_ns);
            self.act(action, now_ns, &mut steps);
        } else if self.expects(incarnation) {
            self.lose_heir(now_ns, &mut steps);
        }
        steps
    }

    /// This incarnation waits for its first block.
    pub(crate) fn ready(&mut self, incarnation: u32, now_ns: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Some(heir) = self.heir.as_mut().filter(|heir| heir.incarnation == incarnation) {
            heir.stage = Stage::Ready;
            if self.restart.state() == State::Starting {
                self.succeed(now_ns, &mut steps);
            }
            self.arm(now_ns, &mut steps);
        }
        steps
    }

    /// This incarnation could not be made.
    pub(crate) fn failed(&mut self, incarnation: u32, now_ns: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.expects(incarnation) {
            self.lose_heir(now_ns, &mut steps);
        }
        steps
    }

    /// Time has passed; the one that plays has delivered so many good blocks.
    pub(crate) fn tick(&mut self, good_blocks: u64, now_ns: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        let action = self.restart.step(Event::Tick { good_blocks }, now_ns);
        self.act(action, now_ns, &mut steps);
        let wants_twin = self.keeps_twin && self.playing.is_some() && self.heir.is_none();
        if wants_twin && now_ns >= self.retry_at_ns {
            self.prepare(&mut steps);
        }
        self.arm(now_ns, &mut steps);
        steps
    }

    /// The user wants another worker, whatever happened: the heir, if that is of the plugin as it is now.
    pub(crate) fn restart(&mut self, heir_is_current: bool, now_ns: u64) -> Vec<Step> {
        // The heir first: an armed one would play as soon as the other is over.
        let stale = self.heir.take_if(|_| !heir_is_current).map(|heir| heir.incarnation);
        let mut steps: Vec<_> = stale.into_iter().chain(self.playing.take()).map(Step::End).collect();
        self.restart.step(Event::UserRestart, now_ns);
        // Also where one was being started already: that may have been the one that is not wanted any more.
        if self.restart.state() == State::Starting {
            self.succeed(now_ns, &mut steps);
        }
        steps
    }

    /// The plugin's file has changed.
    pub(crate) fn file_changed(&mut self, now_ns: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        let action = self.restart.step(Event::FileChanged, now_ns);
        self.act(action, now_ns, &mut steps);
        steps
    }

    /// The pipeline ends: nothing follows any more.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        self.restart.step(Event::Stop, now_ns);
        (self.playing, self.heir) = (None, None);
    }

    fn act(&mut self, action: Action, now_ns: u64, steps: &mut Vec<Step>) {
        match action {
            Action::Nothing => {}
            Action::Start => self.succeed(now_ns, steps),
            Action::Wait { until_ns } => steps.push(Step::Wait { until_ns }),
            Action::Quarantine(why) => {
                steps.extend(self.heir.take().map(|heir| Step::End(heir.incarnation)));
                steps.push(Step::GiveUp(why));
            }
        }
    }

    /// The next one takes over as soon as it can.
    fn succeed(&mut self, now_ns: u64, steps: &mut Vec<Step>) {
        match self.heir {
            None => self.prepare(steps),
            Some(Heir { stage: Stage::Preparing, .. }) => {}
            Some(Heir { incarnation, stage }) => {
                if stage == Stage::Ready {
                    steps.push(Step::Arm(incarnation));
                }
                steps.push(Step::Plays(incarnation));
                (self.playing, self.heir, self.retries) = (Some(incarnation), None, 0);
                self.restart.step(Event::Started, now_ns);
            }
        }
    }

    fn prepare(&mut self, steps: &mut Vec<Step>) {
        let incarnation = self.next;
        self.next += 1;
        self.heir = Some(Heir { incarnation, stage: Stage::Preparing });
        steps.push(Step::Prepare(incarnation));
    }

    /// Arms an heir that is ready, if a death now would be answered at once.
    fn arm(&mut self, now_ns: u64, steps: &mut Vec<Step>) {
        if let Some(heir) = self.heir.as_mut().filter(|heir| heir.stage == Stage::Ready)
            && self.restart.replaces_at_once(now_ns)
        {
            heir.stage = Stage::Armed;
            steps.push(Step::Arm(heir.incarnation));
        }
    }

    /// Without an heir when one is needed, that counts as a death; otherwise it is tried again later.
    fn lose_heir(&mut self, now_ns: u64, steps: &mut Vec<Step>) {
        self.heir = None;
        if self.restart.state() == State::Starting {
            let action = self.restart.step(Event::StartFailed, now_ns);
            return self.act(action, now_ns, steps);
        }
        let delay_ns = RETRY_NS.saturating_mul(1 << self.retries.min(16)).min(RETRY_MAX_NS);
        self.retry_at_ns = now_ns.saturating_add(delay_ns);
        self.retries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const S: u64 = 1000 * MS;
    const GOOD: u64 = 5000;

    fn with_twin() -> Succession {
        let mut succession = Succession::new(1, true, true, 0);
        assert_eq!(succession.tick(0, 0), [Step::Prepare(2)]);
        assert_eq!(succession.ready(2, MS), [Step::Arm(2)]);
        succession
    }

    #[test]
    fn an_armed_twin_takes_over_at_once_and_another_one_is_made() {
        let mut succession = with_twin();
        assert_eq!(succession.gone(1, GOOD, 5 * S), [Step::Plays(2)]);
        assert_eq!(succession.tick(1, 5 * S), [Step::Prepare(3)]);
        // So soon after a death the next one would have to wait: it is not armed.
        assert_eq!(succession.ready(3, 5 * S + MS), []);
        let until_ns = 6 * S + 100 * MS;
        assert_eq!(succession.gone(2, GOOD, 6 * S), [Step::Wait { until_ns }]);
        assert_eq!(succession.tick(0, until_ns), [Step::Arm(3), Step::Plays(3), Step::Prepare(4)]);
    }

    #[test]
    fn a_twin_is_armed_when_its_predecessors_death_is_forgiven() {
        let mut succession = with_twin();
        succession.gone(1, GOOD, S);
        assert_eq!(succession.tick(1, S), [Step::Prepare(3)]);
        assert_eq!(succession.ready(3, 2 * S), []);
        assert_eq!(succession.tick(GOOD, 40 * S), [Step::Arm(3)]);
    }

    #[test]
    fn without_a_twin_a_death_has_the_next_one_made_and_played_when_it_is_ready() {
        let mut succession = Succession::new(1, true, false, 0);
        assert_eq!(succession.tick(0, 0), []);
        assert_eq!(succession.gone(1, GOOD, S), [Step::Prepare(2)]);
        assert_eq!((succession.playing(), succession.expects(2)), (None, true));
        assert_eq!(succession.ready(2, S + MS), [Step::Arm(2), Step::Plays(2)]);
        assert_eq!(succession.playing(), Some(2));
    }

    #[test]
    fn a_death_while_the_twin_is_being_made_waits_for_it() {
        let mut succession = Succession::new(1, true, true, 0);
        succession.tick(0, 0);
        assert_eq!(succession.gone(1, GOOD, MS), []);
        assert_eq!(succession.ready(2, 2 * MS), [Step::Arm(2), Step::Plays(2)]);
    }

    #[test]
    fn a_plugin_that_can_not_be_started_again_is_given_up_and_tried_again_when_its_file_changes() {
        let mut succession = Succession::new(1, true, false, 0);
        assert_eq!(succession.gone(1, GOOD, 0), [Step::Prepare(2)]);
        assert_eq!(succession.failed(2, MS), [Step::Wait { until_ns: 101 * MS }]);
        assert_eq!(succession.tick(0, 101 * MS), [Step::Prepare(3)]);
        let waits = succession.gone(3, 0, 102 * MS);
        assert!(matches!(waits[..], [Step::Wait { .. }]), "{waits:?}");
        assert_eq!(succession.tick(0, S), [Step::Prepare(4)]);
        assert_eq!(succession.failed(4, S), [Step::GiveUp(Why::TooEarly)]);
        assert!(succession.is_given_up());
        assert_eq!(succession.tick(0, 900 * S), []);
        assert_eq!(succession.file_changed(901 * S), [Step::Prepare(5)]);
    }

    #[test]
    fn what_is_not_wanted_does_not_wait_for_its_file() {
        let mut succession = Succession::new(1, false, false, 0);
        assert_eq!(succession.gone(1, GOOD, S), [Step::GiveUp(Why::NotWanted)]);
        assert!(succession.is_given_up() && !succession.waits_for_file());
        assert_eq!(succession.file_changed(2 * S), []);
    }

    #[test]
    fn giving_up_ends_the_twin() {
        let mut succession = with_twin();
        for death in 0..6u32 {
            let at_ns = u64::from(death) * S;
            let playing = succession.playing().expect("one plays");
            let steps = succession.gone(playing, 50 + GOOD, at_ns);
            if let [.., Step::GiveUp(why)] = steps[..] {
                assert_eq!(why, Why::TooOften);
                assert!(matches!(steps[0], Step::End(_)), "{steps:?}");
                return;
            }
            let mut prepared = steps;
            prepared.extend(succession.tick(0, at_ns + 900 * MS));
            for step in prepared {
                if let Step::Prepare(heir) = step {
                    succession.ready(heir, at_ns + 901 * MS);
                }
            }
        }
        panic!("six deaths in six seconds");
    }

    #[test]
    fn a_twin_that_can_not_be_made_is_tried_again_ever_more_rarely_and_harms_nobody() {
        let mut succession = Succession::new(1, true, true, 0);
        succession.tick(0, 0);
        assert_eq!(succession.failed(2, 0), []);
        assert_eq!(succession.tick(1, 999 * MS), []);
        assert_eq!(succession.tick(1, S), [Step::Prepare(3)]);
        assert_eq!(succession.gone(3, 0, S), []);
        assert_eq!(succession.tick(1, 2 * S), []);
        assert_eq!(succession.tick(1, 3 * S), [Step::Prepare(4)]);
        assert_eq!(succession.playing(), Some(1));
    }

    #[test]
    fn a_restart_by_the_user_ends_the_one_that_plays_and_counts_as_no_death() {
        let mut succession = with_twin();
        assert_eq!(succession.restart(true, S), [Step::End(1), Step::Plays(2)]);
        // Its end comes later and is nobody's any more.
        assert_eq!(succession.gone(1, GOOD, S + MS), []);
        assert_eq!(succession.tick(GOOD, 2 * S), [Step::Prepare(3)]);
        assert_eq!(succession.ready(3, 2 * S), [Step::Arm(3)]);
    }

    #[test]
    fn a_restart_by_the_user_ends_an_heir_of_other_code_before_that_could_play_and_has_another_one_made() {
        let mut succession = with_twin();
        assert_eq!(succession.restart(false, S), [Step::End(2), Step::End(1), Step::Prepare(3)]);
        assert_eq!(succession.ready(2, S), [], "nobody waits for it any more");
        assert_eq!(succession.ready(3, 2 * S), [Step::Arm(3), Step::Plays(3)]);
        // The same where it was being made because nobody played.
        assert_eq!(succession.gone(3, 0, 3 * S), [Step::Prepare(4)]);
        assert_eq!(succession.restart(false, 3 * S), [Step::End(4), Step::Prepare(5)]);
        assert_eq!(succession.restart(true, 3 * S), []);
        assert_eq!(succession.ready(5, 4 * S), [Step::Arm(5), Step::Plays(5)]);
    }

    #[test]
    fn after_the_end_nothing_follows() {
        let mut succession = with_twin();
        succession.stop(S);
        assert_eq!(succession.gone(1, GOOD, S), []);
        assert_eq!(succession.restart(false, S), []);
        assert_eq!(succession.tick(0, 2 * S), []);
    }
}
