//! Blocks of one plugin in one format: the audio path of the worker.
//!
//! Per block: one call of a bound method with arguments made beforehand, a truth test, and a look at whether the
//! buffer is as it was. What went wrong is put into words after the block has been answered, and only if it is
//! new. Works on any slot memory, with or without a host behind it.

use crate::instance::{block_method_name, shown};
use crate::slots::{self, BadData, Slot};
use crate::{failure, interpreter, warm_up};
use pyo3::intern;
use pyo3::prelude::*;
use shared::clock;
use shared::message::{Failure, Notice, PluginKind, Stage};
use shared::ring::{SlotMemory, Status};
use worker_core::plugin::Processed;
use worker_core::reasons::{FailedBlocks, Reason};

/// Why a block failed.
enum Trouble {
    /// The method, or the truth of what it returned.
    Raised(PyErr),
    /// The method returned this, which is false.
    Returned(String),
    /// It went well, but what it left is no result.
    Data(BadData),
}

/// How the plugin gets a block.
enum Way {
    /// In the slot's own buffer.
    Cached,
    /// In a buffer made for the block, because a cached one would not do for this reason.
    Fresh(String),
}

/// The blocks of a plugin.
pub(crate) struct Blocks<'py> {
    py: Python<'py>,
    kind: PluginKind,
    class: Bound<'py, PyAny>,
    method: Bound<'py, PyAny>,
    slots: Vec<Slot<'py>>,
    memory: SlotMemory,
    way: Way,
    trouble: Option<Trouble>,
}

impl<'py> Blocks<'py> {
    /// One buffer for each slot. The method is a stand-in until [`Blocks::use_method`].
    pub(crate) fn new(py: Python<'py>, kind: PluginKind, memory: &SlotMemory) -> PyResult<Self> {
        let class = py.import("base_plugin")?.getattr("AudioBuffer")?;
        let slots = slots::make(py, memory, &class)?;
        let way = match slots.iter().map(Slot::install).collect::<PyResult<Vec<bool>>>() {
            Ok(kept) if !kept.contains(&false) => Way::Cached,
            Ok(_) => Way::Fresh("buffer.data is another array than the one assigned to it".into()),
            Err(e) => Way::Fresh(format!("assigning buffer.data raised {}", failure::sentence(py, &e))),
        };
        let method = warm_up::stand_in(py)?;
        let mut blocks = Self { py, kind, class, method, slots, memory: memory.clone(), way, trouble: None };
        blocks.warm_up();
        Ok(blocks)
    }

    /// Has blocks of the stand-in go the way that the plugin's will go.
    fn warm_up(&mut self) {
        for call in 0..warm_up::CALLS.max(self.slots.len()) {
            // Blocks in fresh buffers are counted, and these are none.
            if let Way::Cached = self.way {
                self.process_cached(call % self.slots.len());
            }
        }
        self.trouble = None;
    }

    /// Has the plugin itself process silence, in a buffer that is no slot's.
    pub(crate) fn warm_plugin_up(&self) {
        let format = self.memory.layout().format();
        // Without a buffer the first block fails, and says why.
        if let Ok(buffer) = self.class.call1((format.channels(), format.block_frames())) {
            warm_up::silent_blocks(&self.method, &buffer);
            interpreter::stay_only_in_the_worker();
        }
    }

    /// Why each block gets a buffer of its own, if so.
    pub(crate) fn uncached(&self) -> Option<String> {
        match &self.way {
            Way::Cached => None,
            Way::Fresh(why) => Some(why.clone()),
        }
    }

    /// Takes the method that blocks go to.
    pub(crate) fn use_method(&mut self, method: Bound<'py, PyAny>) {
        self.method = method;
    }

    /// Calls the plugin with a block.
    pub(crate) fn process(&mut self, index: usize) -> Processed {
        match self.way {
            Way::Cached => self.process_cached(index),
            Way::Fresh(_) => self.process_fresh(index),
        }
    }

    fn process_cached(&mut self, index: usize) -> Processed {
        let slot = &mut self.slots[index];
        let entered_ns = clock::now_ns();
        let returned = self.method.call1(&slot.arguments);
        let left_ns = clock::now_ns();
        interpreter::stay_only_in_the_worker();
        let mut trouble = trouble(returned);
        if !slot.is_untouched() {
            let wanted = trouble.is_none() && self.kind != PluginKind::Sink;
            let (home, kept) = slot.settle(wanted);
            trouble = trouble.or(home.err().map(Trouble::Data));
            if !kept {
                // The host sees it by the count, and tells it.
                self.way = Way::Fresh("buffer.data no longer takes an array".into());
            }
        }
        self.done(trouble, entered_ns, left_ns)
    }

    fn process_fresh(&mut self, index: usize) -> Processed {
        let slot = &self.slots[index];
        let entered_ns = clock::now_ns();
        let buffer = slot.fresh(&self.class, self.kind != PluginKind::Source);
        let returned = buffer.and_then(|buffer| Ok((self.method.call1((&buffer,))?, buffer)));
        let left_ns = clock::now_ns();
        interpreter::stay_only_in_the_worker();
        self.memory.count_uncached();
        let trouble = match returned {
            Err(e) => Some(Trouble::Raised(e)),
            Ok((returned, buffer)) => trouble(Ok(returned)).or_else(|| {
                let wanted = self.kind != PluginKind::Sink;
                let home = || slot.copy_from(&buffer.getattr(intern!(self.py, "data"))?);
                if wanted { home().err().map(Trouble::Data) } else { None }
            }),
        };
        self.done(trouble, entered_ns, left_ns)
    }

    fn done(&mut self, trouble: Option<Trouble>, entered_ns: u64, left_ns: u64) -> Processed {
        let status = if trouble.is_none() { Status::Good } else { Status::Failed };
        self.trouble = trouble;
        Processed { status, entered_ns, left_ns }
    }

    /// What there is to tell of the last block, which is counted in `failed`.
    pub(crate) fn notice(&mut self, failed: &mut FailedBlocks) -> Option<Notice> {
        let trouble = self.trouble.take()?;
        if !failed.add(self.reason(&trouble)) {
            return None;
        }
        Some(Notice::BlockFailed { failure: self.failure(trouble), count: failed.count() })
    }

    fn reason(&self, trouble: &Trouble) -> Reason {
        match trouble {
            Trouble::Raised(e) | Trouble::Data(BadData::Raised(e)) => failure::reason(self.py, e),
            Trouble::Returned(what) | Trouble::Data(BadData::Shape(what)) => {
                Reason { what: what.clone(), ..Reason::default() }
            }
        }
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        let name = block_method_name(self.kind);
        match trouble {
            Trouble::Raised(e) => failure::raised(self.py, Stage::Block, &format!("{name}()"), &e),
            Trouble::Returned(what) => failure::plain(Stage::Block, format!("{name}() returned {what}")),
            Trouble::Data(BadData::Raised(e)) => {
                let what = format!("taking buffer.data after {name}()");
                failure::raised(self.py, Stage::Block, &what, &e)
            }
            Trouble::Data(BadData::Shape(what)) => {
                failure::plain(Stage::Block, format!("after {name}() {what}"))
            }
        }
    }
}

fn trouble(returned: PyResult<Bound<'_, PyAny>>) -> Option<Trouble> {
    match returned.and_then(|returned| Ok((returned.is_truthy()?, returned))) {
        Ok((true, _)) => None,
        Ok((false, returned)) => Some(Trouble::Returned(shown(&returned))),
        Err(e) => Some(Trouble::Raised(e)),
    }
}
