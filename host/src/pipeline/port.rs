//! A device that a pipeline plays to or records from, for as long as the pipeline lasts: lost, waited for, opened again;
//! or not there in the beginning, and waited for likewise.
//!
//! For the thread that watches, which looks here often and waits for nothing but a block that is under way, a tenth of a
//! second at most, when the pipeline is planned anew: all that a device could hold up is done on threads of their own.
//! While the device that paces the pipeline is lost, a stream of the virtual device is its clock, so that its plugins go
//! on, and so it is with an output beside it; while an input beside it is lost, its queue runs dry. When to try again is
//! decided in [`lookout`](super::lookout).

use super::attempt::{Attempt, Outcome};
use super::blame::Counts;
use super::devices::{self, Found, Holding, Want};
use super::latency::Added;
use super::lookout::Lookout;
use super::streams::{End, Playing, Terms};
use crate::backend::{DeviceChoice, StreamEvent};
use crate::chain::Delays;
use crate::error::{Error, Result};
use crate::level::Level;
use crate::report::DeviceStatus;
use std::time::{Duration, Instant};

/// Different reasons that are told of one loss.
const REASONS: usize = 3;

/// A device that is there, or there again, but takes or brings more at a time than there is room for in its pipeline: that
/// has to be opened anew to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgrown {
    pub(crate) is_input: bool,
    /// Which device has to be had again, unless whichever is the default will do.
    pub(crate) known: Option<DeviceChoice>,
    /// Which device it is and what has changed.
    pub(crate) words: String,
}

/// A line that is to be told, and how much it matters.
type News = (Level, String);

/// A device's place in its pipeline.
#[derive(Debug)]
pub(super) struct Port {
    end: End,
    want: Want,
    terms: Terms,
    /// The device's stream, unless it is lost.
    playing: Option<Playing>,
    /// The virtual clock meanwhile, but for an input beside an output.
    stand_in: Option<Playing>,
    attempt: Option<Attempt>,
    lookout: Lookout,
    name: String,
    /// What the device adds to the latency, as far as it was known when it was opened; while it is lost, what it did.
    added: Added,
    /// It has been there.
    was_there: bool,
    /// Why it was lost, or why it can't be opened.
    why: Option<String>,
    told: Vec<String>,
    outgrown: Option<Outgrown>,
    /// What the chain delays by since it was planned anew, until that has been heard of.
    delays: Option<Delays>,
    /// Of streams that are over.
    past: Counts,
    is_halted: bool,
}

impl Port {
    /// With a stream that is open and paused, and whose turn it is.
    pub(super) fn new(end: End, want: Want, terms: Terms, playing: Playing) -> Self {
        end.give_to(&playing);
        let mut port = Self::waiting(end, want, terms);
        port.know(&playing);
        port.playing = Some(playing);
        port
    }

    /// Of a device that is not there yet, with what stands in for it, paused.
    pub(super) fn missing(end: End, want: Want, terms: Terms, stand_in: Found, why: &Error) -> Result<Self> {
        let mut port = Self::waiting(end, want, terms);
        if port.end.is_stood_in_for() {
            let playing = port.end.open(stand_in, &port.terms, false)?;
            port.end.give_to(&playing);
            port.stand_in = Some(playing);
        }
        port.why = Some(why.to_string());
        // That has been told.
        port.told.push(port.not_open(why));
        Ok(port)
    }

    fn waiting(end: End, want: Want, terms: Terms) -> Self {
        Self {
            end,
            name: want.name(),
            want,
            terms,
            playing: None,
            stand_in: None,
            attempt: None,
            lookout: Lookout::new(),
            added: Added::default(),
            was_there: false,
            why: None,
            told: Vec::new(),
            outgrown: None,
            delays: None,
            past: Counts::default(),
            is_halted: false,
        }
    }

    /// Takes note of what the device is like that is there now.
    fn know(&mut self, playing: &Playing) {
        self.added = added(&self.end, &self.want, &self.terms, playing);
        self.want.keep_to(playing.known.clone());
        self.name.clone_from(&playing.name);
        self.was_there = true;
    }

    pub(super) fn play(&mut self) -> Result<()> {
        let now = Instant::now();
        match self.playing {
            Some(_) => self.lookout.plays(now),
            None => self.lookout.missing(now),
        }
        [&self.playing, &self.stand_in].into_iter().flatten().try_for_each(|playing| playing.stream.play())
    }

    /// Whether the pipeline runs on its clock.
    pub(super) fn paces(&self) -> bool {
        self.end.paces()
    }

    pub(super) fn is_input(&self) -> bool {
        self.end.is_input()
    }

    /// The device that is there, or was there last; what was asked for, if none has been.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it adds to the latency.
    pub(super) fn added(&self) -> Added {
        let said = self.playing.as_ref().and_then(Playing::transit);
        let said = said.map_or(0, |transit| frames_of(transit, self.terms.format.rate()));
        Added { device_frames: self.added.device_frames.max(said), ..self.added }
    }

    /// Frames that may be on their way through it when the last of them have been processed: what is left of the block,
    /// what its conversion holds, and two of its buffers, as many devices have.
    pub(super) fn rest_frames(&self) -> u64 {
        let Added { device_frames, conversion_frames, .. } = self.added();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundred frames")]
        let converted = conversion_frames.ceil() as u64;
        self.terms.format.block_frames() as u64 - 1 + converted + 2 * u64::from(device_frames)
    }

    /// Looks how the device is doing and does what is to be done about it; what is to be told, a line each.
    pub(super) fn tend(&mut self, now: Instant, news: &mut Vec<News>) {
        if self.is_halted {
            return;
        }
        self.judge(now);
        if let Some(why) = self.loss(now, news) {
            self.lose(why, now, news);
        }
        self.look_at_buffer(news);
        match self.attempt.take().map(|attempt| attempt.look(now)) {
            Some(Outcome::Going(attempt)) => self.attempt = Some(attempt),
            Some(Outcome::Open(playing)) => self.plan_and_take(playing, now, news),
            Some(Outcome::Failed(error)) => self.fail(&error, now, news),
            Some(Outcome::Outgrown(error)) => {
                self.fail(&error, now, news);
                self.outgrow(&error);
            }
            None if self.lookout.is_to_be_tried(now) => self.try_again(now, news),
            None => {}
        }
    }

    /// Takes a device that is open, once the pipeline is planned for it.
    fn plan_and_take(&mut self, playing: Box<Playing>, now: Instant, news: &mut Vec<News>) {
        let buffer = playing.stream.buffer_frames();
        // It may have grown since it was opened.
        if let Err(error) = self.want.check_buffer(&playing.side, buffer, self.terms.format) {
            self.fail(&error, now, news);
            return self.outgrow(&error);
        }
        if self.plan_for(&playing, buffer, news) {
            self.take(*playing, now, news);
        } else {
            self.attempt = Some(Attempt::once_more(playing, now));
        }
    }

    /// A server may be told to take, or to bring, more or less at a time while it plays.
    fn look_at_buffer(&mut self, news: &mut Vec<News>) {
        let Some(playing) = &self.playing else { return };
        let buffer = playing.stream.buffer_frames();
        let Some(frames) = buffer.filter(|_| buffer != self.added.buffer_frames) else { return };
        let Some(playing) = self.playing.take() else { return };
        let fits = self.want.check_buffer(&playing.side, buffer, self.terms.format);
        let is_refused = playing.refuses_buffers && self.want.asks_for_a_buffer();
        let is_planned = fits.is_err() || self.plan_for(&playing, buffer, news);
        self.end.give_to(&playing);
        if is_planned {
            self.added = added(&self.end, &self.want, &self.terms, &playing);
        }
        self.playing = Some(playing);
        match fits {
            Ok(()) if !is_planned => {}
            Ok(()) => {
                self.outgrown = None;
                news.push((Level::Info, format!("{} has {frames} frames at a time now", self.words())));
            }
            Err(error) => {
                let why = first_line(&error.to_string()).to_owned();
                news.push((Level::Warning, format!("{}: {why}", self.words())));
                // With the buffer that is asked for it could not be opened: it plays on, and what is pipelined is late.
                if !is_refused {
                    self.outgrow(&error);
                }
            }
        }
    }

    /// Has the pipeline planned for what a device takes or brings at a time, where that is more than before: its workers
    /// and its source go on. False if that has to be tried again, as a block is under way for longer than blocks last.
    fn plan_for(&mut self, playing: &Playing, buffer: Option<u32>, news: &mut Vec<News>) -> bool {
        let format = self.terms.format;
        let Some(burst) = self.want.outgrows(&playing.side, buffer, format) else {
            return buffer.is_none() || self.end.announce(self.want.frames(&playing.side, buffer, format));
        };
        let delays = self.end.replan(burst);
        let Some(delays) = delays else {
            // Whoever had the turn has it again.
            self.stand_in.iter().for_each(|stand_in| self.end.give_to(stand_in));
            return false;
        };
        self.want.is_planned_for(burst, format);
        self.delays = Some(delays).filter(|_| self.end.paces()).or(self.delays);
        let buffer = self.want.told(buffer, format);
        let what = format!("{}: its buffer has {buffer} frames now", self.words());
        news.push((Level::Info, format!("{what}, and the pipeline plays on as late as it has to for that")));
        true
    }

    /// What the chain delays by, if that has changed since it was asked last.
    pub(super) fn new_delays(&mut self) -> Option<Delays> {
        self.delays.take()
    }

    /// Looks at xruns since the last look, to find out whose doing they were. To be called about as often as
    /// [`Port::tend`], which does so too.
    pub(super) fn judge(&mut self, now: Instant) {
        [&mut self.playing, &mut self.stand_in].into_iter().flatten().for_each(|playing| playing.judge(now));
    }

    /// Why the device has to be taken for lost, if it has.
    fn loss(&mut self, now: Instant, news: &mut Vec<News>) -> Option<String> {
        let playing = self.playing.as_ref()?;
        let is_lost = playing.is_lost();
        let mut why = None;
        for event in playing.events.try_iter() {
            match event {
                StreamEvent::Xrun => {}
                StreamEvent::DeviceLost(what) => why = why.or(Some(what)),
                StreamEvent::Moved { name, id } => {
                    let to = format!("its server has moved it to {name} ({id}), where it plays on");
                    news.push((Level::Info, format!("{}: {to}", self.words())));
                    self.name = name;
                }
                StreamEvent::Other(what) if self.told.len() < REASONS && !self.told.contains(&what) => {
                    news.push((Level::Warning, format!("device {}: {what}", self.name)));
                    self.told.push(what);
                }
                StreamEvent::Other(_) => {}
            }
        }
        if is_lost || why.is_some() {
            return why.or_else(|| Some("it does not say why".to_owned()));
        }
        let has_stopped = self.lookout.has_stopped(playing.signs(), now);
        has_stopped.then(|| "it has stopped calling back".to_owned())
    }

    fn lose(&mut self, why: String, now: Instant, news: &mut Vec<News>) {
        let meanwhile = if self.end.is_stood_in_for() {
            "the virtual clock goes on in its place"
        } else {
            "silence in its place"
        };
        let gone = format!("{} is gone ({})", self.words(), first_line(&why));
        news.push((Level::Error, format!("{gone}; {meanwhile} until it is back")));
        self.why = Some(why);
        self.added = self.added();
        self.told.clear();
        self.lookout.lost(now);
        self.stand_in(news);
        if let Some(mut lost) = self.playing.take() {
            self.past = self.past + lost.blame.last_word();
            lost.let_go();
        }
    }

    /// Has the virtual device pace the pipeline. It opens at once.
    fn stand_in(&mut self, news: &mut Vec<News>) {
        if !self.end.is_stood_in_for() || self.stand_in.is_some() {
            return;
        }
        let opened = devices::stand_in(self.terms.format, self.end.is_input())
            .and_then(|device| self.end.open(device, &self.terms, false))
            .and_then(|playing| playing.stream.play().map(|()| playing));
        match opened {
            Ok(playing) => {
                self.end.give_to(&playing);
                self.stand_in = Some(playing);
            }
            Err(error) => {
                let why = first_line(&error.to_string()).to_owned();
                self.tell(format!("there is no virtual clock for {}: {why}", self.words()), news);
            }
        }
    }

    fn try_again(&mut self, now: Instant, news: &mut Vec<News>) {
        // Should there have been none when it was lost.
        self.stand_in(news);
        match Attempt::start(&self.end, &self.want, &self.terms) {
            Ok(attempt) => self.attempt = Some(attempt),
            Err(error) => self.fail(&error, now, news),
        }
    }

    /// The device is back, or there at last.
    fn take(&mut self, playing: Playing, now: Instant, news: &mut Vec<News>) {
        self.end.give_to(&playing);
        let lost_for =
            self.lookout.lost_since().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let was = self.was_there.then(|| self.name.clone());
        self.know(&playing);
        self.playing = Some(playing);
        self.lookout.plays(now);
        (self.why, self.outgrown) = (None, None);
        self.told.clear();
        if let Some(mut stand_in) = self.stand_in.take() {
            self.past = self.past + stand_in.blame.last_word();
            stand_in.let_go();
        }
        news.push((Level::Info, is_back(&self.words(), was.as_deref(), &self.name, lost_for)));
    }

    fn fail(&mut self, error: &Error, now: Instant, news: &mut Vec<News>) {
        self.lookout.failed(now);
        self.why = Some(error.to_string());
        self.outgrown = None;
        self.tell(self.not_open(error), news);
    }

    fn not_open(&self, error: &Error) -> String {
        let again = if self.was_there { "again " } else { "" };
        format!("{} can't be opened {again}yet: {}", self.words(), first_line(&error.to_string()))
    }

    fn outgrow(&mut self, error: &Error) {
        let words = format!("{}: {}", self.words(), first_line(&error.to_string()));
        self.outgrown = Some(Outgrown { is_input: self.end.is_input(), known: self.want.known(), words });
    }

    /// Why it waits for its pipeline to be opened anew, if it does.
    pub(super) fn outgrown(&self) -> Option<&Outgrown> {
        self.outgrown.as_ref()
    }

    /// Tells a reason, unless it was told of this loss already.
    fn tell(&mut self, line: String, news: &mut Vec<News>) {
        if self.told.len() < REASONS && !self.told.contains(&line) {
            news.push((Level::Warning, line.clone()));
            self.told.push(line);
        }
    }

    fn words(&self) -> String {
        let direction = if self.end.is_input() { "input" } else { "output" };
        format!("the {direction} device {}", self.name)
    }

    /// What paces the pipeline, in words.
    pub(super) fn clock(&self) -> String {
        let playing = self.playing.as_ref().or(self.stand_in.as_ref());
        let buffer = playing.and_then(|playing| playing.stream.buffer_frames());
        let name = match (playing, self.lookout.lost_since()) {
            (Some(stand_in), Some(_)) if self.was_there => {
                format!("{} (while {} is gone)", stand_in.name, self.name)
            }
            (Some(stand_in), Some(_)) => format!("{} (until {} is there)", stand_in.name, self.name),
            _ => self.name.clone(),
        };
        let rate = playing.map_or(self.terms.format.rate(), |playing| playing.stream.rate());
        match buffer {
            Some(frames) => format!("{name}, {frames} frames at {rate} Hz"),
            None => format!("{name} at {rate} Hz"),
        }
    }

    pub(super) fn status(&self, now: Instant) -> DeviceStatus {
        let seconds = |duration: Duration| duration.as_secs_f64();
        let since = self.lookout.lost_since();
        DeviceStatus {
            name: self.name.clone(),
            direction: if self.end.is_input() { "input" } else { "output" },
            paces: self.paces(),
            lost_s: since.map(|since| seconds(now.saturating_duration_since(since))),
            next_try_s: since.map(|_| {
                self.lookout.next_try().map_or(0.0, |next| seconds(next.saturating_duration_since(now)))
            }),
            why: self.why.clone(),
            losses: self.lookout.losses(),
        }
    }

    /// Xruns so far, as far as it is known whose they were.
    pub(super) fn counts(&self) -> Counts {
        let playing = [&self.playing, &self.stand_in].into_iter().flatten();
        playing.fold(self.past, |counts, playing| counts + playing.blame.counts())
    }

    /// Whether it has been halted.
    pub(super) fn is_halted(&self) -> bool {
        self.is_halted
    }

    /// Ends its streams, and what their callbacks worked with.
    pub(super) fn halt(&mut self) {
        if std::mem::replace(&mut self.is_halted, true) {
            return;
        }
        self.judge(Instant::now());
        let ended = [&mut self.playing, &mut self.stand_in].into_iter().flatten();
        self.past = ended.fold(self.past, |counts, playing| counts + playing.blame.last_word());
        self.added = self.added();
        self.attempt = None;
        (self.playing, self.stand_in) = (None, None);
        self.end.take_back();
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.halt();
    }
}

fn added(end: &End, want: &Want, terms: &Terms, playing: &Playing) -> Added {
    let Playing { stream, side, holding, .. } = playing;
    let buffer_frames = stream.buffer_frames();
    let device_frames = match holding {
        Holding::Nothing => 0,
        // What it says is asked for whenever it is told.
        Holding::OneBuffer | Holding::WhatItSays => want.frames(side, buffer_frames, terms.format),
    };
    let conversion_frames =
        if end.is_input() { side.input_delay_frames() } else { side.output_delay_frames() };
    Added { buffer_frames, device_frames, conversion_frames }
}

/// Frames that last so long, some seconds at most.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a million at most")]
fn frames_of(time: Duration, rate: u32) -> u32 {
    (time.as_secs_f64() * f64::from(rate)).round() as u32
}

/// That a device is back, or there for the first time. The default one may be another one now; then both are told.
fn is_back(words: &str, was: Option<&str>, is: &str, lost_for: Duration) -> String {
    let seconds = lost_for.as_secs_f64();
    match was {
        None => format!("{words} is there, {seconds:.1} s after the start"),
        Some(was) if was == is => format!("{words} is back after {seconds:.1} s"),
        Some(was) => {
            format!("{words} is the default now, in place of {was}, which was gone for {seconds:.1} s")
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::baton::Baton;
    use super::super::devices::{Devices, Found};
    use super::*;
    use crate::backend::StreamFormat;
    use crate::backend::virtual_device::VirtualHost;
    use crate::config::{FileSinkSpec, PipelineSpec, SinkSpec, SourceSpec};
    use crate::edge::{ChannelMap, Quality, Side, frame_fifo};
    use crate::pipeline::Pipeline;
    use crate::realtime::{Affinity, Power, RealTime};
    use crate::report::PipelineStatus;
    use crate::supervisor::Supervisor;
    use shared::format::Format;

    #[test]
    fn a_device_that_comes_back_with_another_buffer_and_rate_adds_what_it_adds_now() {
        let (host, _simulation) = VirtualHost::simulated();
        let host = host.cable("radio");
        let format = Format::new(1, 128, 48_000).unwrap();
        let spec = PipelineSpec::new(SourceSpec::device("virtual:radio"), SinkSpec::device("virtual"));
        let want = Devices::settle(&spec, format, Some(&host), &mut |_, _| {}).unwrap().input.unwrap().want;
        let seat = RealTime::new().seat(&Affinity::Off, Power::Balanced).unwrap();
        let terms = Terms { format, rank: seat.rank().clone() };
        let (writer, _reader) = frame_fifo(1, 128, 0);
        let end = End::Queue(Baton::new(writer));
        let open = |rate, frames| {
            let stream = StreamFormat { rate, channels: 1, buffer_frames: Some(frames) };
            let map = ChannelMap::new(1, 1);
            let side = Side { device_rate: rate, rate: 48_000, map, quality: Quality::Good };
            let found = Found { device: host.input_device(stream).unwrap(), side };
            end.open(found, &terms, false).unwrap()
        };
        let mut port = Port::new(end.clone(), want, terms.clone(), open(48_000, 128));
        let added = Added { buffer_frames: Some(128), device_frames: 128, conversion_frames: 0.0 };
        assert_eq!(port.added(), added);
        port.lose("unplugged".into(), Instant::now(), &mut Vec::new());
        assert_eq!(port.added(), added, "while it is away");
        // A cable has one rate: none is on it any more.
        while host
            .input_device(StreamFormat { rate: 24_000, channels: 1, buffer_frames: None })
            .unwrap()
            .rate()
            == 48_000
        {
            std::thread::yield_now();
        }
        port.take(open(24_000, 512), Instant::now(), &mut Vec::new());
        let Added { buffer_frames, device_frames, conversion_frames } = port.added();
        // Converted frames come one more at times.
        assert_eq!((buffer_frames, device_frames), (Some(512), 1025));
        assert!(conversion_frames > 10.0, "{conversion_frames}");
    }

    #[test]
    fn a_pipeline_s_ends_are_called_as_the_devices_that_are_there_now() {
        let (supervisor, _events) = Supervisor::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let record = Some(FileSinkSpec::new(folder.path().join("a.wav")));
        let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::device("virtual"));
        let spec = PipelineSpec { record, ..spec };
        let mut pipeline = Pipeline::open(&spec, &supervisor, "", &mut |_, _| ()).unwrap();
        let ends = |pipeline: &mut Pipeline| {
            let PipelineStatus { source, sink, .. } = pipeline.status();
            (source, sink.split(" and ").next().unwrap().to_owned())
        };
        assert_eq!(ends(&mut pipeline), ("virtual".into(), "virtual".into()));
        // As a default that was lost and is another device now.
        pipeline
            .ports
            .iter_mut()
            .filter(|port| !port.is_input())
            .for_each(|port| port.name = "Headset".into());
        assert_eq!(ends(&mut pipeline), ("virtual".into(), "Headset".into()));
        assert!(pipeline.status().sink.ends_with("/a.wav"));
    }

    #[test]
    fn a_default_device_that_is_another_one_now_is_told_with_both_names() {
        let told = |was| is_back("the output device Speakers", was, "Speakers", Duration::from_millis(1500));
        assert_eq!(told(None), "the output device Speakers is there, 1.5 s after the start");
        assert_eq!(told(Some("Speakers")), "the output device Speakers is back after 1.5 s");
        let moved =
            "the output device Speakers is the default now, in place of Headset, which was gone for 1.5 s";
        assert_eq!(told(Some("Headset")), moved);
    }
}
