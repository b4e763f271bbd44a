//! Virtual cables: what the output of a name plays, inputs of that name hear.
//!
//! For the virtual device. A cable is a ring of samples that the output writes and any number of inputs read,
//! each at a place of its own; either end may come and go at any time, and where nothing is played there is
//! silence. Samples pass bit by bit. Rate, channels and clock are those of the first stream on it, for as long as
//! there is one; it converts nothing and corrects nothing.
//!
//! An input hears what is played one buffer of its own later: as it joins a cable that is played to, it hears one
//! buffer of silence first, so that what its next callback needs has been played by then. An input's callbacks and an
//! output's first one never overlap ([`Gate`]): what is played first is heard one buffer after the callbacks that the
//! input had before, however the threads run, so that a loop's delay is the same each time. If it has not, since
//! the machine was busy, an input waits for it (outside its callback): both ends have one clock, and a late
//! clock loses nothing. It waits for [`PATIENCE`] at most; then it goes on with silence, and the stream tells of an xrun.
//! After [`TRIES`] of that it waits for the output no more, until that plays again: it has its own pace to keep.

use super::stream::Control;
use super::wait::{now, wait, wake_all};
use cpal::ErrorKind;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

/// How long an input waits for an output that plays and is late; less than a device may be silent for before it
/// counts as lost.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often in a row an input waits in vain. An output that is late by more than all of it has nothing to catch up on: it
/// skips what was due.
const TRIES: u32 = 4;
/// How often an input that waits looks whether it is to stop.
const LOOK_AROUND: Duration = Duration::from_millis(10);
/// Frames that a cable holds at least: several of the longest buffers.
const LEAST_FRAMES: u32 = 1 << 15;

/// The cables of a host, by their names.
#[derive(Debug, Clone, Default)]
pub(super) struct Cables {
    all: Arc<Mutex<BTreeMap<String, Weak<Cable>>>>,
    /// By how many millionths the clock of ends that are plugged in by this handle is fast.
    ppm: i32,
}

impl Cables {
    /// Those that all of this process shares.
    pub(super) fn of_the_process() -> Self {
        static CABLES: LazyLock<Cables> = LazyLock::new(Cables::default);
        CABLES.clone()
    }

    /// The same ones, for streams whose clock is fast by so many millionths.
    pub(super) fn off_by(&self, ppm: i32) -> Self {
        Self { ppm, ..self.clone() }
    }

    /// Channels and rate of the cable of this name, while a stream is on it.
    pub(super) fn carried(&self, name: &str) -> Option<(u16, u32)> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).and_then(Weak::upgrade).map(|cable| (cable.channels, cable.rate))
    }

    /// The end for an output; a cable has one at a time.
    pub(super) fn plug(&self, name: &str, channels: u16, rate: u32) -> Result<Plug, cpal::Error> {
        let cable = self.cable(name, channels, rate)?;
        if cable.plugged.swap(true, Ordering::Acquire) {
            let what = format!("another output plays to the cable {name}");
            return Err(cpal::Error::with_message(ErrorKind::DeviceBusy, what));
        }
        Ok(Plug { written: cable.done.load(Ordering::Relaxed), cable })
    }

    /// An end for an input.
    pub(super) fn listen(&self, name: &str, channels: u16, rate: u32) -> Result<Listener, cpal::Error> {
        let cable = self.cable(name, channels, rate)?;
        let from = Arc::new(AtomicU64::new(cable.done.load(Ordering::Acquire)));
        Ok(Listener { cable, from, read: 0, is_on: false, hears: false, missed: 0 })
    }

    fn cable(&self, name: &str, channels: u16, rate: u32) -> Result<Arc<Cable>, cpal::Error> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, cable| cable.strong_count() > 0);
        if let Some(cable) = all.get(name).and_then(Weak::upgrade) {
            if cable.ppm != self.ppm {
                let what = format!("the clock of the cable {name} is off by {} ppm now", cable.ppm);
                return Err(cpal::Error::with_message(ErrorKind::InvalidInput, what));
            }
            if (cable.channels, cable.rate) == (channels, rate) {
                return Ok(cable);
            }
            let what = format!("the cable {name} has {} channels at {} Hz now", cable.channels, cable.rate);
            return Err(cpal::Error::with_message(ErrorKind::UnsupportedConfig, what));
        }
        let cable = Arc::new(Cable::new(channels, rate, self.ppm));
        all.insert(name.to_owned(), Arc::downgrade(&cable));
        Ok(cable)
    }
}

/// Has an output's first callback wait for callbacks of inputs that hear nothing yet, and the other way round. Once an
/// output plays and an input hears it, neither comes here any more.
#[derive(Debug, Default)]
pub(super) struct Gate(RwLock<()>);

impl Gate {
    /// For the callback of an input. It waits as long as an output's first callback takes.
    pub(super) fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For an output's first callback. It waits as long as the callbacks take that inputs are in.
    pub(super) fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ring between the ends. Frames are counted from its beginning; frame `n` lies at `n` modulo its length.
#[derive(Debug)]
struct Cable {
    channels: u16,
    rate: u32,
    /// By how many millionths the clock of both ends is fast: there is nobody between them to correct another one.
    ppm: i32,
    /// Samples as their bits.
    ring: Vec<AtomicU32>,
    frames: u64,
    /// Frames up to here may be being written over.
    begun: AtomicU64,
    /// Frames up to here have been played.
    done: AtomicU64,
    /// Moves with each buffer that is played, for inputs to wait on.
    moved: AtomicU32,
    /// Whether an output has the cable.
    plugged: AtomicBool,
    /// Whether it plays.
    live: AtomicBool,
    gate: Arc<Gate>,
}

impl Cable {
    fn new(channels: u16, rate: u32, ppm: i32) -> Self {
        let frames = (rate / 2).max(LEAST_FRAMES).next_power_of_two();
        let samples = frames as usize * usize::from(channels);
        Self {
            channels,
            rate,
            ppm,
            ring: (0..samples).map(|_| AtomicU32::new(0)).collect(),
            frames: u64::from(frames),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            moved: AtomicU32::new(0),
            plugged: AtomicBool::new(false),
            live: AtomicBool::new(false),
            gate: Arc::default(),
        }
    }

    /// The places of `samples` samples from frame `from` on, in their order.
    fn places(&self, from: u64, samples: usize) -> impl Iterator<Item = &AtomicU32> {
        let first = usize::try_from(from % self.frames).unwrap_or(0) * usize::from(self.channels);
        let (behind, ahead) = self.ring.split_at(first);
        ahead.iter().chain(behind).take(samples)
    }

    fn frames_in(&self, samples: &[f32]) -> u64 {
        samples.len() as u64 / u64::from(self.channels)
    }
}

/// An output's end.
#[derive(Debug)]
pub(super) struct Plug {
    cable: Arc<Cable>,
    written: u64,
}

impl Plug {
    /// What the next callback is to close until its frames are played, if they are the first.
    pub(super) fn gate(&self) -> Option<Arc<Gate>> {
        (!self.cable.live.load(Ordering::Acquire)).then(|| Arc::clone(&self.cable.gate))
    }

    /// Plays these frames.
    ///
    /// # Real-time
    /// Yes: it wakes inputs that wait, and waits for none.
    pub(super) fn play(&mut self, samples: &[f32]) {
        let cable = &*self.cable;
        let end = self.written + cable.frames_in(samples);
        cable.begun.store(end, Ordering::Relaxed);
        // SYNC: cable-over. A reader that sees one of the samples below sees also that they have begun.
        fence(Ordering::Release);
        for (place, sample) in cable.places(self.written, samples.len()).zip(samples) {
            place.store(sample.to_bits(), Ordering::Relaxed);
        }
        // SYNC: cable-done. A reader that sees this sees the samples.
        cable.done.store(end, Ordering::Release);
        self.written = end;
        cable.live.store(true, Ordering::Release);
        cable.moved.fetch_add(1, Ordering::Release);
        wake_all(&cable.moved);
    }

    /// Nothing is played for a while: inputs don't wait for more.
    pub(super) fn hold(&self) {
        self.cable.live.store(false, Ordering::Release);
        self.cable.moved.fetch_add(1, Ordering::Release);
        wake_all(&self.cable.moved);
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.hold();
        self.cable.plugged.store(false, Ordering::Release);
    }
}

/// Where an input begins to hear: at what is played when it is told to play, however late its thread is.
#[derive(Debug)]
pub(super) struct Beginning {
    cable: Arc<Cable>,
    from: Arc<AtomicU64>,
}

impl Beginning {
    /// It begins here.
    pub(super) fn mark(&self) {
        self.from.store(self.cable.done.load(Ordering::Acquire), Ordering::Release);
    }
}

/// An input's end.
#[derive(Debug)]
pub(super) struct Listener {
    cable: Arc<Cable>,
    from: Arc<AtomicU64>,
    read: u64,
    /// Whether its stream plays.
    is_on: bool,
    /// Whether it takes what is played.
    hears: bool,
    /// How often in a row an output that plays has brought nothing.
    missed: u32,
}

impl Listener {
    /// What the next callback has to pass, from before it hears until it ends, if it hears nothing yet.
    pub(super) fn gate(&self) -> Option<Arc<Gate>> {
        (!self.hears).then(|| Arc::clone(&self.cable.gate))
    }

    /// For whoever tells its stream to play.
    pub(super) fn beginning(&self) -> Beginning {
        Beginning { cable: Arc::clone(&self.cable), from: Arc::clone(&self.from) }
    }

    /// Fills `samples` with what was played, and with silence where nothing was. `patient` waits for an output
    /// that is late. False if that didn't help, or if frames were lost because this end was late.
    ///
    /// # Real-time
    /// It may wait if `patient`: for the device's thread, before its callback.
    pub(super) fn hear(&mut self, samples: &mut [f32], patient: Option<&Control>) -> bool {
        let needed = self.cable.frames_in(samples);
        if !self.hears {
            self.join();
            samples.fill(0.0);
            return true;
        }
        if let Some(control) = patient {
            self.wait_for(needed, control);
        }
        let ready = self.level().min(needed);
        let take = usize::try_from(ready).unwrap_or(0) * usize::from(self.cable.channels);
        let (now, missing) = samples.split_at_mut(take);
        missing.fill(0.0);
        let whole = self.copy(now);
        let short = ready < needed;
        if short {
            self.leave();
        }
        let missed = short && self.cable.live.load(Ordering::Acquire);
        self.missed = if missed && ready == 0 { self.missed + 1 } else { 0 };
        whole && !missed
    }

    /// Its stream plays no longer; when it does again it hears what is played then.
    pub(super) fn hold(&mut self) {
        self.is_on = false;
        self.hears = false;
        self.missed = 0;
    }

    /// Begins with what is played from now on, if something is.
    fn join(&mut self) {
        // Of what was played while the stream didn't, it hears nothing.
        if !self.is_on {
            self.read = self.from.load(Ordering::Acquire);
            self.is_on = true;
        }
        let is_to_play = self.missed < TRIES && self.cable.live.load(Ordering::Acquire);
        self.hears = self.level() > 0 || is_to_play;
    }

    fn leave(&mut self) {
        self.read = self.cable.done.load(Ordering::Acquire);
        self.hears = false;
    }

    fn level(&self) -> u64 {
        // SYNC: cable-done.
        self.cable.done.load(Ordering::Acquire).saturating_sub(self.read)
    }

    fn wait_for(&self, frames: u64, control: &Control) {
        let deadline = now() + PATIENCE;
        while control.plays() && now() < deadline {
            let moved = self.cable.moved.load(Ordering::Acquire);
            if self.level() >= frames || !self.cable.live.load(Ordering::Acquire) {
                return;
            }
            wait(&self.cable.moved, moved, Some(deadline.min(now() + LOOK_AROUND)));
        }
    }

    /// Copies the next frames, or gives silence if they were written over meanwhile; tells which.
    fn copy(&mut self, samples: &mut [f32]) -> bool {
        for (sample, place) in samples.iter_mut().zip(self.cable.places(self.read, usize::MAX)) {
            *sample = f32::from_bits(place.load(Ordering::Relaxed));
        }
        // SYNC: cable-over.
        fence(Ordering::Acquire);
        let intact = self.cable.begun.load(Ordering::Relaxed) <= self.read + self.cable.frames;
        self.read += self.cable.frames_in(samples);
        if !intact {
            samples.fill(0.0);
            self.leave();
        }
        intact
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8_000;

    fn heard(listener: &mut Listener, frames: usize) -> Vec<f32> {
        let mut samples = vec![f32::NAN; frames];
        assert!(listener.hear(&mut samples, None), "an xrun");
        samples
    }

    #[test]
    fn what_is_played_is_heard_one_buffer_later_bit_by_bit_by_all_who_listen() {
        let cables = Cables::default();
        let mut listeners = [0, 1].map(|_| cables.listen("a", 1, RATE).unwrap());
        listeners.iter_mut().for_each(|one| assert_eq!(heard(one, 2), [0.0; 2], "nothing is played"));
        let mut plug = cables.plug("a", 1, RATE).unwrap();
        let odd = f32::from_bits(0x7fc0_1234);
        plug.play(&[1.0, odd]);
        listeners.iter_mut().for_each(|one| assert_eq!(heard(one, 2), [0.0; 2], "the buffer it is late by"));
        plug.play(&[3.0, -0.0]);
        for one in &mut listeners {
            let bits: Vec<u32> = heard(one, 2).into_iter().chain(heard(one, 2)).map(f32::to_bits).collect();
            assert_eq!(bits, [1.0, odd, 3.0, -0.0].map(f32::to_bits));
        }
    }

    #[test]
    fn names_tell_cables_apart() {
        let cables = Cables::default();
        let mut other = cables.listen("b", 1, RATE).unwrap();
        cables.plug("a", 1, RATE).unwrap().play(&[1.0; 4]);
        assert_eq!([heard(&mut other, 4), heard(&mut other, 4)].concat(), [0.0; 8]);
    }

    #[test]
    fn the_end_of_an_output_is_heard_to_its_last_frame_then_silence_then_the_next_one() {
        let cables = Cables::default();
        let mut listener = cables.listen("a", 1, RATE).unwrap();
        heard(&mut listener, 4);
        let mut plug = cables.plug("a", 1, RATE).unwrap();
        plug.play(&[1.0, 2.0, 3.0]);
        drop(plug);
        assert_eq!([heard(&mut listener, 2), heard(&mut listener, 2)].concat(), [0.0, 0.0, 1.0, 2.0]);
        assert_eq!([heard(&mut listener, 2), heard(&mut listener, 2)].concat(), [3.0, 0.0, 0.0, 0.0]);
        let mut plug = cables.plug("a", 1, RATE).unwrap();
        plug.play(&[4.0, 5.0]);
        assert_eq!([heard(&mut listener, 2), heard(&mut listener, 2)].concat(), [0.0, 0.0, 4.0, 5.0]);
    }

    #[test]
    fn an_input_that_pauses_hears_nothing_of_what_was_played_meanwhile() {
        let cables = Cables::default();
        let mut listener = cables.listen("a", 1, RATE).unwrap();
        let mut plug = cables.plug("a", 1, RATE).unwrap();
        plug.play(&[1.0; 2]);
        assert_eq!(heard(&mut listener, 2), [0.0; 2]);
        listener.hold();
        plug.play(&[2.0; 2]);
        listener.beginning().mark();
        assert_eq!(heard(&mut listener, 2), [0.0; 2]);
        plug.play(&[3.0; 2]);
        assert_eq!(heard(&mut listener, 2), [3.0; 2]);
    }

    #[test]
    fn an_output_that_plays_and_brings_too_little_is_an_xrun() {
        let cables = Cables::default();
        let mut listener = cables.listen("a", 1, RATE).unwrap();
        let mut plug = cables.plug("a", 1, RATE).unwrap();
        plug.play(&[1.0]);
        heard(&mut listener, 2);
        plug.play(&[2.0]);
        let mut samples = [f32::NAN; 3];
        assert!(!listener.hear(&mut samples, None));
        assert_eq!(samples, [1.0, 2.0, 0.0]);
    }

    #[test]
    fn an_output_that_has_stopped_without_a_word_is_waited_for_no_more_until_it_plays_again() {
        let cables = Cables::default();
        let mut listener = cables.listen("a", 1, RATE).unwrap();
        heard(&mut listener, 1);
        let mut plug = cables.plug("a", 1, RATE).unwrap();
        for round in [1.0, 2.0] {
            plug.play(&[round]);
            assert_eq!([heard(&mut listener, 1), heard(&mut listener, 1)].concat(), [0.0, round]);
            let xruns = (0..100).filter(|_| !listener.hear(&mut [0.0], None)).count();
            assert_eq!(xruns, TRIES as usize);
        }
        // Nor does it keep a listener that begins anew from hearing the output from its first frame on.
        listener.hold();
        listener.beginning().mark();
        assert_eq!(heard(&mut listener, 1), [0.0]);
        plug.play(&[3.0]);
        assert_eq!(heard(&mut listener, 1), [3.0]);
    }

    #[test]
    fn an_input_that_is_too_late_loses_frames_and_says_so() {
        let cables = Cables::default();
        let mut listener = cables.listen("a", 1, RATE).unwrap();
        heard(&mut listener, 1);
        let mut plug = cables.plug("a", 1, RATE).unwrap();
        plug.play(&[1.0]);
        heard(&mut listener, 1);
        (0..=listener.cable.frames).for_each(|_| plug.play(&[2.0]));
        let mut samples = [f32::NAN];
        assert!(!listener.hear(&mut samples, None));
        assert_eq!(samples, [0.0]);
        heard(&mut listener, 1);
        plug.play(&[3.0]);
        assert_eq!(heard(&mut listener, 1), [3.0]);
    }

    #[test]
    fn a_cable_keeps_its_format_and_its_only_output_while_it_is_in_use() {
        let cables = Cables::default();
        let plug = cables.plug("a", 2, RATE).unwrap();
        assert_eq!(cables.carried("a"), Some((2, RATE)));
        assert_eq!(cables.plug("a", 2, RATE).unwrap_err().kind(), ErrorKind::DeviceBusy);
        let refused = cables.listen("a", 1, RATE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnsupportedConfig);
        assert!(refused.to_string().contains("2 channels at 8000 Hz"), "{refused}");
        drop(plug);
        assert_eq!(cables.carried("a"), None);
        assert!(cables.listen("a", 1, 2 * RATE).is_ok());
    }

    #[test]
    fn an_end_whose_clock_is_off_by_another_amount_is_refused() {
        let cables = Cables::default();
        let fast = cables.off_by(200);
        let plug = fast.plug("a", 1, RATE).unwrap();
        let refused = cables.listen("a", 1, RATE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("off by 200 ppm"), "{refused}");
        assert!(fast.listen("a", 1, RATE).is_ok());
        drop(plug);
        assert!(cables.listen("a", 1, RATE).is_ok());
    }

    #[test]
    fn frames_pass_whole_between_threads_while_the_ring_goes_round() {
        let cables = Cables::default();
        let mut listener = cables.listen("a", 2, RATE).unwrap();
        listener.hear(&mut [0.0; 2], None);
        let mut plug = cables.plug("a", 2, RATE).unwrap();
        let total = 4 * listener.cable.frames;
        let played = std::thread::spawn(move || {
            for frame in 0..total / 32 {
                let samples: Vec<f32> = (frame * 32..(frame + 1) * 32).flat_map(|n| [n as f32; 2]).collect();
                plug.play(&samples);
                std::thread::yield_now();
            }
        });
        let (mut last, mut frames) = (-1.0, 0);
        while !played.is_finished() || listener.level() > 0 {
            let mut samples = [f32::NAN; 16];
            listener.hear(&mut samples, None);
            for frame in samples.chunks_exact(2).filter(|frame| frame[0] != 0.0) {
                assert_eq!(frame[0], frame[1], "a torn frame");
                assert!(frame[0] > last, "frames out of order");
                (last, frames) = (frame[0], frames + 1);
            }
        }
        played.join().unwrap();
        assert!(frames > 0);
    }
}
