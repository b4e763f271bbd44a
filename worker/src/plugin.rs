//! A Python plugin as the loop sees it: the instance, and the blocks of the format it has.

use crate::blocks::Blocks;
use crate::collector::Collector;
use crate::failure::{self, plain};
use crate::instance::{self, Answer, Instance};
use crate::interpreter;
use crate::threads::Threads;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shared::clock;
use shared::message::{Configured, Failure, Gc, Loaded, Notice, Stage};
use shared::ring::{SlotMemory, Status};
use std::path::Path;
use std::sync::Arc;
use worker_core::collector::Sweep;
use worker_core::plugin::{Plugin, Processed};
use worker_core::reasons::FailedBlocks;
use worker_core::toll::Collections;

/// A plugin in this process's interpreter. The loop calls in the order of life, so the parts are there when
/// they are needed.
pub(crate) struct PythonPlugin<'py> {
    py: Python<'py>,
    instance: Option<Instance<'py>>,
    blocks: Option<Blocks<'py>>,
    initialised: bool,
    /// In all formats so far.
    failed: FailedBlocks,
    collector: Collector<'py>,
    threads: Threads,
}

impl<'py> PythonPlugin<'py> {
    /// No plugin yet.
    pub(crate) fn new(py: Python<'py>, collector: Collector<'py>) -> Self {
        let failed = FailedBlocks::default();
        let threads = Threads::new();
        Self { py, instance: None, blocks: None, initialised: false, failed, collector, threads }
    }

    fn instance(&self, stage: Stage) -> Result<&Instance<'py>, Failure> {
        self.instance.as_ref().ok_or_else(|| plain(stage, "there is no plugin yet"))
    }

    /// Methods that a plugin replaces on itself are found at the next start, or when a parameter was set.
    fn find_method(&mut self) -> Result<(), Failure> {
        let method = self.instance(Stage::Start)?.block_method()?;
        if let Some(blocks) = &mut self.blocks {
            blocks.use_method(method);
        }
        Ok(())
    }
}

impl Plugin for PythonPlugin<'_> {
    fn load(&mut self, file: &str) -> Result<Loaded, Failure> {
        let (instance, loaded) = instance::load(self.py, Path::new(file))?;
        self.instance = Some(instance);
        Ok(loaded)
    }

    fn configure(&mut self, memory: SlotMemory, set: &[(String, String)]) -> Result<Configured, Failure> {
        let py = self.py;
        // The buffers of the former format go first; what the plugin kept of them stays mapped.
        self.blocks = None;
        let instance = self.instance(Stage::Configure)?;
        instance.set_format(memory.layout().format())?;
        let mut parameters = Parameters::give(instance, set);
        if !self.initialised {
            instance.agree(Stage::Configure, "initialize")?;
            parameters = parameters.give_again(instance);
        }
        let refused = parameters.refused()?;
        let (rate, channels, latency_s) =
            (instance.sample_rate()?, instance.channels()?, instance.latency_s()?);
        let blocks = Blocks::new(py, instance.kind(), &memory)
            .map_err(|e| failure::raised(py, Stage::Configure, "making an AudioBuffer", &e))?;
        let uncached = blocks.uncached();
        self.initialised = true;
        self.blocks = Some(blocks);
        Ok(Configured { rate, channels, latency_s, refused, uncached })
    }

    fn start(&mut self, gc: Gc) -> Result<(), Failure> {
        self.instance(Stage::Start)?.agree(Stage::Start, "start")?;
        self.find_method()?;
        self.collector
            .hand_over(gc)
            .map_err(|e| failure::raised(self.py, Stage::Start, "preparing the interpreter", &e))
    }

    fn warm_up(&mut self, gc: Gc) {
        self.blocks.iter().for_each(Blocks::warm_plugin_up);
        // What it made lives on, or is garbage: neither is for the first collections in the slack.
        if let Err(e) = self.collector.hand_over(gc) {
            e.write_unraisable(self.py, None);
        }
    }

    fn collections(&self) -> Arc<Collections> {
        self.collector.collections()
    }

    fn frozen(&mut self) -> u64 {
        self.collector.or_nothing(self.collector.frozen())
    }

    fn made(&mut self) -> u64 {
        self.collector.or_nothing(self.collector.made())
    }

    fn sweep(&mut self, sweep: Sweep) -> u64 {
        let found = self.collector.or_nothing(self.collector.sweep(sweep));
        // A finaliser may have forked.
        interpreter::stay_only_in_the_worker();
        found
    }

    fn process(&mut self, slot: usize) -> Processed {
        match &mut self.blocks {
            Some(blocks) => blocks.process(slot),
            None => {
                let now = clock::now_ns();
                Processed { status: Status::Failed, entered_ns: now, left_ns: now }
            }
        }
    }

    fn notice(&mut self) -> Option<Notice> {
        self.blocks.as_mut()?.notice(&mut self.failed)
    }

    fn stop(&mut self) -> Result<(), Failure> {
        let stopped = self.instance(Stage::Stop)?.call(Stage::Stop, "stop", ());
        interpreter::flush(self.py, 0.0);
        stopped.map(|_| ())
    }

    fn shutdown(&mut self) -> Result<(), Failure> {
        self.instance(Stage::Stop)?.call(Stage::Stop, "shutdown", ()).map(|_| ())
    }

    fn set_parameter(&mut self, key: &str, value: &str) -> Result<bool, Failure> {
        let accepted = match self.instance(Stage::Parameter)?.set_parameter(key, value) {
            Answer::Accepted => true,
            Answer::Refused => false,
            Answer::Raised(failure) => return Err(failure),
        };
        self.find_method()?;
        Ok(accepted)
    }

    fn get_parameter(&mut self, key: &str) -> Result<String, Failure> {
        self.instance(Stage::Parameter)?.get_parameter(key)
    }

    fn save_state(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let instance = self.instance(Stage::State)?;
        let Some(state) = instance.call_if_there(Stage::State, &["save_state"], ())? else { return Ok(None) };
        match state.extract() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => {
                let why = format!("save_state() returned {}, not bytes", instance::shown(&state));
                Err(plain(Stage::State, why))
            }
        }
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), Failure> {
        let bytes = PyBytes::new(self.py, state);
        let instance = self.instance(Stage::State)?;
        match instance.call_if_there(Stage::State, &["load_state"], (bytes,))? {
            Some(_) => Ok(()),
            None => Err(plain(Stage::State, "the plugin has no load_state()")),
        }
    }

    fn is_alone(&mut self) -> bool {
        self.threads.is_alone(self.py)
    }

    fn released<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T {
        self.py.detach(wait)
    }
}

/// Parameters and what became of them. Some plugins take one only before, others only after `initialize`.
struct Parameters<'a> {
    set: &'a [(String, String)],
    answers: Vec<Answer>,
}

impl<'a> Parameters<'a> {
    fn give(instance: &Instance<'_>, set: &'a [(String, String)]) -> Self {
        let give = |(key, value): &(String, String)| instance.set_parameter(key, value);
        Self { set, answers: set.iter().map(give).collect() }
    }

    /// The better answer of both times counts: a refusal is better than an exception.
    fn give_again(self, instance: &Instance<'_>) -> Self {
        let again = Self::give(instance, self.set);
        let better = |pair| match pair {
            (Answer::Accepted, _) | (_, Answer::Accepted) => Answer::Accepted,
            (Answer::Refused, _) | (_, Answer::Refused) => Answer::Refused,
            (Answer::Raised(_), Answer::Raised(second)) => Answer::Raised(second),
        };
        let answers = self.answers.into_iter().zip(again.answers).map(better).collect();
        Self { set: self.set, answers }
    }

    /// The names of those that were refused; the failure of one that raised.
    fn refused(self) -> Result<Vec<String>, Failure> {
        let mut refused = Vec::new();
        for ((key, _), answer) in self.set.iter().zip(self.answers) {
            match answer {
                Answer::Accepted => {}
                Answer::Refused => refused.push(key.clone()),
                Answer::Raised(failure) => return Err(failure),
            }
        }
        Ok(refused)
    }
}
