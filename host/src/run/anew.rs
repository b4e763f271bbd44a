//! A pipeline that is opened anew, as a device of it takes or brings more at a time than before: when it is tried again.
//!
//! For a [`Lane`](super::lane), which does what is decided here. Nothing here looks at a clock: it is told the time.

use crate::config::{PipelineSpec, SinkSpec, SourceSpec};
use crate::pipeline::Outgrown;
use std::time::{Duration, Instant};

/// After a try that failed it is tried again after this, then after twice as long, and so on.
const SHORTEST: Duration = Duration::from_millis(250);
/// But never after longer than this.
const LONGEST: Duration = Duration::from_secs(10);
/// Different lines that are told until it plays.
const LINES: usize = 10;

/// From when it has to be opened anew until it plays.
#[derive(Debug)]
pub(super) struct Anew {
    outgrown: Outgrown,
    /// As it was asked for.
    spec: PipelineSpec,
    /// The wait before the next try.
    wait: Duration,
    /// None while one is under way.
    next: Option<Instant>,
    told: Vec<String>,
}

impl Anew {
    /// For this device of a pipeline as it is asked for now.
    pub(super) fn new(outgrown: Outgrown, spec: PipelineSpec) -> Self {
        Self { outgrown, spec, wait: SHORTEST, next: None, told: Vec::new() }
    }

    /// Whether it is still asked for as it was. What is asked for since may begin without the device.
    pub(super) fn is_of(&self, spec: &PipelineSpec) -> bool {
        self.spec == *spec
    }

    /// As it is to be opened: not without the device, whose buffer it would not be planned for then, and with no other that
    /// fits its name.
    pub(super) fn insist(&self, spec: &mut PipelineSpec) {
        let Outgrown { is_input, known, .. } = &self.outgrown;
        let device = match (&mut spec.source, &mut spec.sink) {
            (SourceSpec::Device(device), _) if *is_input => device,
            (_, SinkSpec::Device(device)) if !is_input => device,
            _ => return,
        };
        (device.fallback_virtual, device.known) = (false, known.clone());
    }

    /// The try has failed: the next one comes later.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next = Some(now + self.wait);
        self.wait = (2 * self.wait).min(LONGEST);
    }

    /// Whether it is to be tried again now; then it is, until [`Anew::failed`].
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.next.take_if(|next| now >= *next).is_some()
    }

    /// Whether a line has not been told since it has to be opened anew, and is to be. From now on it has been.
    pub(super) fn is_news(&mut self, line: &str) -> bool {
        let is_news = self.told.len() < LINES && !self.told.iter().any(|told| told == line);
        if is_news {
            self.told.push(line.to_owned());
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::DeviceChoice;
    use crate::config::DeviceSpec;

    /// Of several that the name fits.
    fn radio() -> DeviceChoice {
        DeviceChoice::Known { id: "alsa:hw:CARD=Radio,DEV=0".into(), name: "Radio".into() }
    }

    fn anew(is_input: bool) -> Anew {
        let spec = PipelineSpec::new(SourceSpec::file("a.wav"), SinkSpec::device("radio"));
        let words = "the output device radio".into();
        Anew::new(Outgrown { is_input, known: Some(radio()), words }, spec)
    }

    #[test]
    fn it_is_tried_after_a_quarter_of_a_second_then_ever_more_seldom_up_to_ten() {
        let (mut anew, mut now) = (anew(false), Instant::now());
        assert!(!anew.is_due(now + LONGEST), "the first try is under way");
        for wait_ms in [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            anew.failed(now);
            now += Duration::from_millis(wait_ms);
            assert!(!anew.is_due(now - Duration::from_millis(1)), "too early");
            assert!(anew.is_due(now), "not when due");
            assert!(!anew.is_due(now + LONGEST), "twice at once");
        }
    }

    #[test]
    fn only_the_device_that_was_there_has_to_be_there_again() {
        let device = DeviceSpec { fallback_virtual: true, ..DeviceSpec::new("radio") };
        let spec = PipelineSpec::new(SourceSpec::Device(device.clone()), SinkSpec::Device(device));
        for is_input in [false, true] {
            let mut insisted = spec.clone();
            anew(is_input).insist(&mut insisted);
            let (SourceSpec::Device(source), SinkSpec::Device(sink)) = (insisted.source, insisted.sink)
            else {
                panic!("devices");
            };
            let insists = |device: &DeviceSpec| (device.fallback_virtual, device.known.clone());
            let (lost, other) = if is_input { (source, sink) } else { (sink, source) };
            assert_eq!([insists(&lost), insists(&other)], [(false, Some(radio())), (true, None)]);
        }
    }

    #[test]
    fn each_line_is_told_once_and_not_too_many_of_them() {
        let mut anew = anew(false);
        let mut told = |lines: std::ops::Range<usize>| lines.filter(|n| anew.is_news(&n.to_string())).count();
        assert_eq!([told(0..3), told(0..3), told(0..99), told(0..99)], [3, 0, LINES - 3, 0]);
    }
}
