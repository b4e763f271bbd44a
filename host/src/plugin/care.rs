//! What is known of one plugin over all its incarnations: shared by its control half and the recovery thread.
//!
//! The audio thread knows nothing of it. Every change under the lock is whole after each statement.

use super::cause::Causes;
use super::collector::Collector;
use super::uncached::Uncached;
use super::worker::Worker;
use crate::error::{Error, Kind, Result};
use crate::supervisor::Because;
use crate::telemetry::PluginTimes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One plugin's worker, its standby, and what became of those before.
#[derive(Debug)]
pub(crate) struct Care {
    known: Mutex<Known>,
    /// Held by whoever sets a parameter.
    setting: Mutex<()>,
}

/// What is known.
#[derive(Debug)]
pub(crate) struct Known {
    /// The incarnation that plays, or the last one that did.
    pub(crate) worker: Arc<Worker>,
    pub(crate) incarnation: u32,
    /// Good blocks of all before it.
    pub(crate) good_before: u64,
    /// The twin that stands by, if there is one.
    pub(crate) twin: Option<Arc<Worker>>,
    /// Every parameter that was accepted, or set while nobody played, as it is now.
    pub(crate) parameters: Parameters,
    pub(crate) uncached: Uncached,
    pub(crate) collector: Collector,
    pub(crate) causes: Causes,
    pub(crate) times: PluginTimes,
    /// Workers that died while they played.
    pub(crate) deaths: u64,
    /// What is done about the last death, in words, until a good block comes again.
    pub(crate) down: Option<String>,
    /// No other takes its place until somebody does something.
    pub(crate) quarantined: bool,
    /// How the last one died, in words.
    pub(crate) last_death: Option<String>,
}

/// What has become of a parameter that was to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The plugin has accepted it.
    Accepted,
    /// The plugin has refused it.
    Refused,
    /// Nobody plays who could take it: it is kept for the worker that comes next.
    Kept {
        /// None comes until somebody starts the plugin again, or mends its file.
        given_up: bool,
    },
}

/// Parameters in the order they were set first, each with its last value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) list: Vec<(String, String)>,
    /// Counts the changes.
    pub(crate) version: u64,
    presumed: Vec<Presumed>,
}

/// A parameter that no worker has been asked to take yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Presumed {
    key: String,
    /// What was accepted before.
    before: Option<String>,
    /// Since which version it is there.
    version: u64,
}

impl Parameters {
    pub(crate) fn new(list: Vec<(String, String)>) -> Self {
        Self { list, version: 0, presumed: Vec::new() }
    }

    /// It was accepted.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.presumed.retain(|presumed| presumed.key != key);
        self.put(key, value);
    }

    /// It was set while nobody played who could have accepted it.
    pub(crate) fn presume(&mut self, key: &str, value: &str) {
        if !self.is_presumed(key) {
            let before = self.list.iter().rev().find(|(known, _)| known == key);
            let before = before.map(|(_, value)| value.clone());
            self.presumed.push(Presumed { key: key.to_owned(), before, version: 0 });
        }
        self.put(key, value);
        let version = self.version;
        self.presumed.iter_mut().filter(|presumed| presumed.key == key).for_each(|it| it.version = version);
    }

    /// Whether nobody has accepted it yet.
    pub(crate) fn is_presumed(&self, key: &str) -> bool {
        self.presumed.iter().any(|presumed| presumed.key == key)
    }

    /// A worker has taken all of them.
    pub(crate) fn confirm(&mut self) {
        self.presumed.clear();
    }

    /// Those that were presumed and are refused, by name and the version since which they are there, are again what was
    /// accepted before: a worker did not take them.
    pub(crate) fn take_back(&mut self, refused: impl Fn(&str, u64) -> bool) -> Vec<String> {
        let taken: Vec<_> = self.presumed.extract_if(.., |it| refused(&it.key, it.version)).collect();
        for Presumed { key, before, .. } in &taken {
            match before {
                Some(value) => self.put(key, value),
                None => {
                    self.version += 1;
                    self.list.retain(|(known, _)| known != key);
                }
            }
        }
        taken.into_iter().map(|presumed| presumed.key).collect()
    }

    fn put(&mut self, key: &str, value: &str) {
        self.version += 1;
        match self.list.iter_mut().rev().find(|(known, _)| known == key) {
            Some((_, known)) => value.clone_into(known),
            None => self.list.push((key.to_owned(), value.to_owned())),
        }
    }
}

impl Known {
    /// How the last one died and what is done about it, in words, while nothing plays.
    pub(crate) fn dead(&self) -> Option<String> {
        let how = || self.worker.death().map_or_else(|| "its worker ended".to_owned(), |how| how.to_string());
        match &self.down {
            Some(done) => Some(format!("{}; {done}", how())),
            None => self.worker.is_gone().then(how),
        }
    }

    /// Why the worker that played can't be asked any more and another one is to be, in place of what it would say of its
    /// own end: that was before.
    fn away(&self, name: &str) -> Error {
        if !self.quarantined {
            let what = format!("plugin {name} is being replaced, and can't be asked just now");
            return Error::new(Kind::Worker, what).remedy("ask again in a moment");
        }
        let own = self.worker.death().filter(|death| !death.is_as_wanted());
        let kind = own.as_ref().map_or(Kind::Plugin, |death| death.kind());
        let how = own.map(|death| death.to_string()).or_else(|| self.last_death.clone());
        let why = how.map(|how| format!(": its worker {how}")).unwrap_or_default();
        Error::new(kind, format!("plugin {name} has been given up{why}"))
            .remedy(format!("nda ctl restart {name}, which starts it again"))
    }
}

impl Care {
    pub(crate) fn new(
        worker: Worker,
        set: Vec<(String, String)>,
        uncached: Uncached,
        times: PluginTimes,
    ) -> Self {
        let known = Known {
            collector: Collector::new(worker.gc(), uncached.counts()),
            worker: Arc::new(worker),
            incarnation: super::FIRST,
            good_before: 0,
            twin: None,
            parameters: Parameters::new(set),
            uncached,
            causes: Causes::default(),
            times,
            deaths: 0,
            down: None,
            quarantined: false,
            last_death: None,
        };
        Self { known: Mutex::new(known), setting: Mutex::new(()) }
    }

    /// As [`Plugin::set_parameter`](super::Plugin::set_parameter). While nobody plays it is only taken note of, if
    /// another worker may come.
    pub(crate) fn set_parameter(&self, key: &str, value: &str, another_may_come: bool) -> Result<Setting> {
        // One after the other: what is remembered is what the worker took last.
        let _turn = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let note = |known: &mut Known| {
            another_may_come.then(|| {
                known.parameters.presume(key, value);
                Setting::Kept { given_up: known.quarantined }
            })
        };
        let (worker, accepted) = loop {
            let worker = match self.living(note) {
                Ok(worker) => worker,
                Err(kept) => return Ok(kept),
            };
            match worker.set_parameter(key, value) {
                // It was not ended for what it was given: that is for whoever comes.
                Err(_) if another_may_come && is_replaced(&worker) => {}
                accepted => break (worker, accepted?),
            }
        };
        if accepted {
            let mut known = self.known();
            known.parameters.set(key, value);
            // The twin, or whoever has taken the place of the one that was asked.
            let others = [known.twin.clone(), Some(Arc::clone(&known.worker))];
            drop(known);
            for other in others.into_iter().flatten().filter(|other| !Arc::ptr_eq(other, &worker)) {
                // It would play with another value than the one that was accepted.
                if !other.aside(|other| other.set_parameter(key, value)).unwrap_or(false) {
                    other.abandon(Because::Unwanted);
                }
            }
        }
        Ok(if accepted { Setting::Accepted } else { Setting::Refused })
    }

    /// Asks the worker that plays for a parameter, if it does or no other may come; the plugin is called so.
    pub(crate) fn get_parameter(&self, name: &str, key: &str, another_may_come: bool) -> Result<String> {
        let worker = {
            let known = self.known();
            if another_may_come && !is_there(&known.worker) {
                return Err(known.away(name));
            }
            Arc::clone(&known.worker)
        };
        worker.get_parameter(key).map_err(|why| match another_may_come && is_replaced(&worker) {
            true => self.known().away(name),
            false => why,
        })
    }

    /// The worker that plays, or the twin that is about to. If neither lives, `note` is taken before anybody else can
    /// come; without a note the dead one is to be asked, which says how it ended.
    fn living(
        &self,
        note: impl FnOnce(&mut Known) -> Option<Setting>,
    ) -> std::result::Result<Arc<Worker>, Setting> {
        let mut known = self.known();
        let both = [Some(&known.worker), known.twin.as_ref()];
        if let Some(living) = both.into_iter().flatten().find(|worker| is_there(worker)) {
            return Ok(Arc::clone(living));
        }
        match note(&mut known) {
            Some(kept) => Err(kept),
            None => Ok(Arc::clone(&known.worker)),
        }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is ended because another one is wanted.
fn is_replaced(worker: &Worker) -> bool {
    worker.because() == Some(Because::Unwanted)
}

fn is_there(worker: &Worker) -> bool {
    !worker.is_gone() && !is_replaced(worker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::simulated::{Puppet, Stage};
    use crate::telemetry::plugin_figures;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use shared::control::Control;
    use shared::format::Format;
    use shared::layout::Layout;
    use shared::message::{Ask, Request};
    use shared::ring::HostEnd;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_parameter_that_is_set_again_keeps_its_place_and_has_its_last_value() {
        let mut parameters = Parameters::new(vec![("a".into(), "1".into()), ("b".into(), "2".into())]);
        parameters.set("a", "3");
        parameters.set("c", "4");
        let list: Vec<_> = parameters.list.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!((list.join(" ").as_str(), parameters.version), ("a=3 b=2 c=4", 2));
    }

    #[test]
    fn what_was_presumed_and_is_refused_is_as_it_was_accepted_last() {
        let mut parameters = Parameters::new(vec![("a".into(), "1".into())]);
        ["2", "3"].iter().for_each(|value| parameters.presume("a", value));
        parameters.presume("b", "1");
        parameters.presume("c", "1");
        parameters.set("c", "2");
        let version = parameters.version;
        assert_eq!(parameters.take_back(|_, since| since < 2), [""; 0]);
        assert_eq!(parameters.take_back(|_, since| since <= version), ["a", "b"]);
        let list: Vec<_> = parameters.list.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(list.join(" "), "a=1 c=2");
        assert!(parameters.version > version, "whoever has the others is given these");
        parameters.presume("a", "4");
        parameters.confirm();
        assert_eq!(parameters.take_back(|_, _| true), [""; 0]);
    }

    fn care_of(puppet: &Puppet) -> Care {
        let layout = Layout::new(Format::new(1, 16, 48_000).unwrap(), 8).unwrap();
        let (end, _) = HostEnd::create(layout).unwrap();
        let (_, times, _) = plugin_figures();
        let uncached = Uncached::new(None, end.worker_counts());
        Care::new(puppet.worker(), Vec::new(), uncached, times)
    }

    fn refusal(care: &Care) -> (Kind, String) {
        let why = care.get_parameter("tx/p", "gain", true).unwrap_err();
        (why.kind(), why.to_string())
    }

    #[test]
    fn who_asks_a_plugin_without_a_worker_is_told_to_wait_or_to_restart_it_and_not_that_asking_killed_it() {
        let puppet = Stage::new().puppet();
        let care = care_of(&puppet);
        puppet.end();
        let (kind, said) = refusal(&care);
        assert!(said.contains("plugin tx/p is being replaced") && said.contains("in a moment"), "{said}");
        assert_eq!(kind, Kind::Worker);
        let kept = |given_up| Setting::Kept { given_up };
        assert_eq!(care.set_parameter("gain", "1", true).unwrap(), kept(false));
        care.known().quarantined = true;
        let (_, said) = refusal(&care);
        assert!(said.contains("tx/p has been given up: its worker was killed by SIGKILL"), "{said}");
        assert!(said.contains("nda ctl restart tx/p") && !said.contains("while reading"), "{said}");
        assert_eq!(care.set_parameter("gain", "2", true).unwrap(), kept(true));
        // Where nobody comes, how it ended is all there is to say.
        let alone = care.get_parameter("tx/p", "gain", false).unwrap_err().to_string();
        assert!(alone.contains("was killed by SIGKILL"), "{alone}");
    }

    #[test]
    fn a_worker_that_is_replaced_while_it_is_asked_is_told_to_be_and_what_is_set_is_kept() {
        let replaced_while = |ask: fn(&Care) -> bool| {
            let (puppet, control) = Stage::new().puppet_with_control();
            let care = care_of(&puppet);
            std::thread::scope(|scope| {
                let asking = scope.spawn(|| ask(&care));
                let timeout = Timespec::try_from(LONG).unwrap();
                poll(&mut [PollFd::new(&control, PollFlags::IN)], Some(&timeout)).unwrap();
                puppet.link.abandon(Because::Unwanted);
                puppet.end();
                assert!(asking.join().unwrap());
            });
            care
        };
        replaced_while(|care| refusal(care).1.contains("is being replaced"));
        let care = replaced_while(|care| {
            care.set_parameter("gain", "3", true).unwrap() == Setting::Kept { given_up: false }
        });
        assert_eq!(care.known().parameters.list, [("gain".to_owned(), "3".to_owned())]);
    }

    /// The next question to set a parameter: its number and the value.
    fn asked(control: &Control, within: Duration) -> Option<(u32, String)> {
        let timeout = Timespec::try_from(within).unwrap();
        poll(&mut [PollFd::new(control, PollFlags::IN)], Some(&timeout)).unwrap();
        let (request, _) = control.try_receive::<Request>().unwrap()?;
        let Ask::SetParameter { value, .. } = request.body else { panic!("{request:?}") };
        Some((request.id, value))
    }

    #[test]
    fn of_two_who_set_a_parameter_at_once_the_one_that_the_worker_took_last_is_remembered() {
        let (puppet, control) = Stage::new().puppet_with_control();
        let care = care_of(&puppet);
        let last = std::thread::scope(|scope| {
            let care = &care;
            let set = |value| scope.spawn(move || care.set_parameter("gain", value, true).unwrap());
            let first = set("first");
            let mut taken = vec![asked(&control, LONG).unwrap()];
            let second = set("second");
            // Whoever has asked is answered, the last one first: answers are read by other threads, in any order.
            taken.extend(asked(&control, Duration::from_millis(300)));
            if let Some((id, _)) = taken.get(1) {
                puppet.accept(*id);
                second.join().unwrap();
                puppet.accept(taken[0].0);
                first.join().unwrap();
            } else {
                puppet.accept(taken[0].0);
                first.join().unwrap();
                taken.extend(asked(&control, LONG));
                puppet.accept(taken[1].0);
                second.join().unwrap();
            }
            taken.pop().unwrap().1
        });
        assert_eq!(care.known().parameters.list, [("gain".to_owned(), last)]);
    }
}
