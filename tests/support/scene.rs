//! Plugins that play in a chain of the test's own while recovery watches over them: a slow sine goes in, all that
//! comes out is kept, and each frame of it can be accounted for.

use crate::chain::{AMPLE_NS, Rack};
use crate::until::{DEADLINE, until};
use crate::workspace::Folder;
use host::chain::Chain;
use host::plugin::spec::PluginSpec;
use host::plugin::{Plugin, Remote};
use host::processor::Processor;
use rustix::process::{Pid, Signal, kill_process};
use std::f32::consts::PI;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How far the sine goes in a frame.
pub const STEP: f32 = 0.01;
/// What a block is followed by when nobody waits for its answer.
const BETWEEN_BLOCKS: Duration = Duration::from_millis(2);
/// Milliseconds in which one kind of audio becomes another.
const RAMP_MS: usize = 2;

/// A chain that plays.
#[derive(Debug)]
pub struct Scene {
    // Dropped first, before the plugins it plays.
    chain: Chain,
    /// The control halves, in the order of the chain.
    pub plugins: Vec<Plugin>,
    /// What was heard.
    pub heard: Vec<f32>,
    /// How late each block was to be, as the chain said before it.
    latencies: Vec<usize>,
    told: String,
    /// Where plugins are loaded.
    pub rack: Rack,
}

impl Scene {
    /// Loads these plugins into one chain.
    ///
    /// # Panics
    /// If they don't load.
    #[must_use]
    pub fn new(rack: Rack, specs: Vec<PluginSpec>) -> Self {
        let (plugins, remotes): (Vec<_>, Vec<Remote>) = specs.into_iter().map(|spec| rack.load(spec)).unzip();
        let boxed = remotes.into_iter().map(|remote| Box::new(remote) as Box<dyn Processor>);
        let chain = Chain::new(rack.format, boxed.collect()).expect("a chain");
        Self { chain, plugins, heard: Vec::new(), latencies: Vec::new(), told: String::new(), rack }
    }

    /// Plays a block with all the time in the world.
    pub fn play(&mut self) {
        self.play_within(AMPLE_NS);
    }

    /// Plays a block that may take this long.
    pub fn play_within(&mut self, budget_ns: u64) {
        let from = self.heard.len();
        let frames = self.rack.format.block_frames();
        self.latencies.push(self.chain.latency_frames() as usize);
        let mut block: Vec<_> = (from..from + frames).map(sine).collect();
        self.chain.process_within(&mut block, budget_ns);
        self.heard.extend(block);
    }

    /// Plays so many blocks, each when the first plugin has answered the one before.
    pub fn play_answered(&mut self, blocks: usize) {
        self.play_answered_within(AMPLE_NS, blocks);
    }

    /// The same with so much time for each.
    pub fn play_answered_within(&mut self, budget_ns: u64, blocks: usize) {
        (0..blocks).for_each(|_| self.play_given_up(budget_ns, || ()));
    }

    /// Plays a block that may take this long, does something when that is over, and waits until the first plugin has
    /// answered it all the same.
    pub fn play_given_up(&mut self, budget_ns: u64, given_up: impl FnOnce()) {
        let answered = self.answered();
        self.play_within(budget_ns);
        given_up();
        until("an answer", || self.answered() > answered);
    }

    /// What the chain says that its output comes late by.
    #[must_use]
    pub fn latency_frames(&self) -> usize {
        self.chain.latency_frames() as usize
    }

    /// Plays block after block until `done`.
    pub fn play_until(&mut self, what: &str, budget_ns: u64, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.play_within(budget_ns);
            if done(self) {
                return;
            }
            if Instant::now() >= deadline {
                let statuses: Vec<_> = self.plugins.iter_mut().map(Plugin::status).collect();
                panic!("waited in vain: {what}; told:\n{}\n{statuses:#?}", self.told());
            }
            std::thread::park_timeout(BETWEEN_BLOCKS);
        }
    }

    /// Plays until another worker than `pid` has delivered a good block in the place of this plugin.
    pub fn play_until_replaced(&mut self, plugin: usize, pid: u32, budget_ns: u64) {
        let mut before = None;
        self.play_until("another worker to play", budget_ns, |scene| {
            let status = scene.plugins[plugin].status();
            let is_new = status.pid != pid && status.dead.is_none();
            let good = status.counts.good;
            is_new && good > *before.get_or_insert(good)
        });
    }

    /// Plays until another worker than `pid` is in its place, then only block by block as it answers: of those after
    /// `pid` none is ever late or owes so many that it could be taken for one that hangs, however slow the machine.
    pub fn play_until_another(&mut self, plugin: usize, pid: u32, budget_ns: u64) {
        self.play_until("another worker", budget_ns, |scene| scene.plugins[plugin].status().pid != pid);
        self.play_answered(3);
    }

    /// All that has been told so far.
    pub fn told(&mut self) -> &str {
        for event in self.rack.events.try_iter() {
            self.told.push_str(&format!("{event}\n"));
        }
        &self.told
    }

    /// Waits until all of these words have been told; all that has been.
    pub fn wait_told(&mut self, words: &[&str]) -> String {
        let deadline = Instant::now() + DEADLINE;
        while let Some(word) = words.iter().find(|word| !self.told().contains(**word)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.rack.events.recv_timeout(left) {
                Ok(event) => self.told.push_str(&format!("{event}\n")),
                Err(_) => panic!("{word:?} was not told:\n{}", self.told),
            }
        }
        self.told.clone()
    }

    /// Waits until all is done that recovery had begun with when this was called.
    pub fn settle(&self, folder: &Folder) {
        // Nobody lets go of a plugin before recovery has come to it.
        let file = crate::plugins::processor(folder, "settles", "return True");
        let (plugin, remote) = self.rack.load(PluginSpec { restart: false, ..PluginSpec::new(file) });
        drop(remote);
        plugin.shutdown().expect("a plugin that does nothing ends in order");
    }

    /// As [`Scene::assert_in_place`] where the chain says itself how late each block is to be.
    ///
    /// # Panics
    /// As [`Scene::assert_in_place`].
    #[must_use]
    pub fn assert_in_place_as_told(&self, factors: &[f32]) -> Vec<f32> {
        self.assert_in(&self.latencies, factors)
    }

    /// Each block is the sine times one of `factors`, this many frames late, and each change is a ramp from where
    /// the block before left off; but not from one negative factor to another, as these are the plugin's own. Where it
    /// is to be later or earlier from a block on, such a ramp leads there, unless the block before has
    /// [faded](Scene::faded) into that. Gives the factors, block by block.
    ///
    /// # Panics
    /// If a frame is anything else.
    #[must_use]
    pub fn assert_in_place(&self, latency: usize, factors: &[f32]) -> Vec<f32> {
        self.assert_in(&vec![latency; self.latencies.len()], factors)
    }

    fn assert_in(&self, latencies: &[usize], factors: &[f32]) -> Vec<f32> {
        let frames = self.rack.format.block_frames();
        let mut found: Vec<f32> = Vec::new();
        for (number, block) in self.heard.chunks_exact(frames).enumerate() {
            let (from, latency) = (number * frames, latencies[number]);
            let has_moved = number > 0 && latencies[number - 1] != latency && !self.fades(number - 1);
            let dry = |i: usize| (from + i).checked_sub(latency).map_or(0.0, sine);
            let last = from.checked_sub(1).map_or(0.0, |at| self.heard[at]);
            let before = found.last().copied();
            let fits_as = |factor: f32, is_joint: bool| {
                let offset = if is_joint { last - factor * dry(0) } else { 0.0 };
                let expected = |i| {
                    let to: f32 = factor * dry(i);
                    let loudest = last.abs().max(to.abs());
                    (to + offset * self.weight(i)).clamp(-loudest, loudest)
                };
                block.iter().enumerate().all(|(i, heard)| (heard - expected(i)).abs() < 1e-5)
            };
            let may_step =
                |factor: f32| !has_moved && before.is_none_or(|b| b == factor || b.max(factor) < 0.0);
            let fits = |factor: f32| {
                (may_step(factor) && fits_as(factor, false))
                    || fits_as(factor, true)
                    || factor < 0.0 && may_step(factor) && self.fades(number)
            };
            let first = before.into_iter().chain(factors.iter().copied()).find(|factor| fits(*factor));
            let all = &found;
            found.push(first.unwrap_or_else(|| {
                panic!(
                    "block {number} after {all:?} is none of {factors:?}: from {last} to {:?}",
                    &block[..200]
                )
            }));
        }
        found
    }

    /// The blocks that go over from the sine, inverted, as late as the chain said before them, into the same as late as
    /// it said behind them: frame by frame in a straight line, over a ramp's time.
    #[must_use]
    pub fn faded(&self) -> Vec<usize> {
        (0..self.latencies.len()).filter(|number| self.fades(*number)).collect()
    }

    fn fades(&self, number: usize) -> bool {
        let frames = self.rack.format.block_frames();
        let ramp = (self.rack.format.rate() as usize * RAMP_MS / 1000).min(frames);
        let (before, behind) = (self.latencies[number], self.latencies.get(number + 1).copied());
        let Some(behind) = behind.filter(|behind| *behind != before) else { return false };
        let inverted = |frame: usize, late: usize| -frame.checked_sub(late).map_or(0.0, sine);
        let block = self.heard[number * frames..][..frames].iter().enumerate();
        let mut fits = block.map(|(i, heard)| {
            let (part, frame) = (ramp.min(i) as f32 / ramp as f32, number * frames + i);
            let expected = (1.0 - part) * inverted(frame, before) + part * inverted(frame, behind);
            (heard - expected).abs() < 1e-5
        });
        fits.all(|fits| fits)
    }

    /// How much of the difference is left in this frame of a ramp.
    fn weight(&self, frame: usize) -> f32 {
        let ramp = self.rack.format.rate() as usize * RAMP_MS / 1000;
        if frame < ramp { 0.5 + 0.5 * (PI * frame as f32 / ramp as f32).cos() } else { 0.0 }
    }

    fn answered(&self) -> u64 {
        // It answers a question only between two blocks. A worker that died meanwhile has answered none.
        self.plugins[0].worker().get_parameter("blocks").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

/// The sine at this frame.
fn sine(frame: usize) -> f32 {
    (frame as f32 * STEP).sin()
}

/// Kills the plugin's worker, and waits until that is known.
///
/// # Panics
/// If it can't be killed.
pub fn kill(plugin: &Plugin) {
    let worker = plugin.worker();
    signal(worker.pid(), Signal::KILL);
    let gone = worker.gone();
    until("the supervisor to notice", || gone.load(Ordering::Relaxed));
}

/// Sends a signal to a process.
///
/// # Panics
/// If that is not possible.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    kill_process(pid, signal).expect("it is ours");
}

/// A processor that multiplies by its parameter `gain`, -1 at first, and remembers every parameter. It writes each
/// into a file `KEY-PID` beside it; `process` comes first in its `process_audio`.
pub fn tunable(folder: &Folder, name: &str, process: &str, methods: &str) -> PathBuf {
    let body = format!("{process}\nbuffer.data *= float(self.got.get('gain', '-1'))\nreturn True");
    let methods = format!(
        "{methods}

def __init__(self):
    super().__init__()
    self.got = {{}}

def set_parameter(self, key, value):
    self.got[key] = value
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), f'{{key}}-{{os.getpid()}}')
    with open(here + '.part', 'w') as file:
        file.write(value)
    os.rename(here + '.part', here)
    return True

def get_parameter(self, key):
    return str(self.n) if key == 'blocks' else self.got.get(key, '')"
    );
    crate::plugins::processor_with(folder, name, &body, &methods)
}

/// Waits until a twin of this [`tunable`] plugin stands by: its process number.
pub fn wait_for_twin(scene: &Scene, plugin: usize, folder: &Folder) -> u32 {
    let pings = || {
        let files = std::fs::read_dir(folder.path()).expect("the folder").flatten();
        files.filter(|file| file.file_name().to_string_lossy().starts_with("ping-"))
    };
    // Those of the dead.
    pings().for_each(|file| std::fs::remove_file(file.path()).expect("ours"));
    let mut twin = None;
    let plugin = &scene.plugins[plugin];
    until("a twin to stand by", || {
        plugin.set_parameter("ping", "1").expect("a living plugin");
        // Whoever stands by is given each parameter too, but so is one that is being made.
        let own = plugin.worker().pid();
        let mut pids =
            pings().filter_map(|file| file.file_name().to_str()?.strip_prefix("ping-")?.parse().ok());
        twin = pids.find(|pid| *pid != own);
        twin.is_some()
    });
    scene.settle(folder);
    twin.expect("just found")
}
