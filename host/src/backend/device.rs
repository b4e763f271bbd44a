//! A device that is found and whose format is settled, and opening it.
//!
//! For the pipelines. Finding and opening are apart, so that a caller can make its callback for the channels
//! that there really are. Errors say what to do about them.

use super::asking::{ASK_LIMIT, ask};
use super::bridge::{build_input, build_output};
use super::choice::{DeviceChoice, default, known, named};
use super::direction::Direction;
use super::event::{Counts, StreamEvent, Teller};
use super::format::{Chosen, StreamFormat, choose};
use super::keeper::{Keeper, Kept};
#[cfg(feature = "pulseaudio")]
use super::moved::{self, Meant};
use super::samples::{Capture, Playback, Player, Recorder};
use super::stream::Stream;
use super::system::{System, id_of};
use super::virtual_device::{VirtualHost, cable_name};
use crate::error::{Error, Kind, Result};
use cpal::ErrorKind;
use cpal::traits::DeviceTrait;
use std::fmt;
use std::sync::Arc;

/// A device whose format is settled, to be opened. Lets a caller make its callback for the real channels.
pub struct Device {
    direction: Direction,
    name: String,
    device: cpal::Device,
    chosen: Chosen,
    is_default: bool,
    /// It plays on where the audio system moves its stream.
    #[cfg_attr(not(feature = "pulseaudio"), expect(dead_code, reason = "no other system is asked"))]
    may_be_moved: bool,
    virtual_host: Option<VirtualHost>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} ch at {} Hz)", self.direction, self.name, self.chosen.channels, self.chosen.rate)
    }
}

/// Finds an output device and settles its format. Waits for the audio system, a few seconds at most.
pub fn output_device(which: &DeviceChoice, want: StreamFormat) -> Result<Device> {
    find(which, want, Direction::Output)
}

/// Finds an input device and settles its format. Waits for the audio system, a few seconds at most.
pub fn input_device(which: &DeviceChoice, want: StreamFormat) -> Result<Device> {
    find(which, want, Direction::Input)
}

/// Opens an output stream, paused. For callers that need not know the device's channels in advance; others
/// call [`output_device`] and [`Device::open_output`].
pub fn open_output(
    which: &DeviceChoice,
    want: StreamFormat,
    callback: impl FnMut(&mut Playback<'_>) + Send + 'static,
    on_error: impl FnMut(StreamEvent) + Clone + Send + 'static,
) -> Result<Stream> {
    output_device(which, want)?.open_output(callback, on_error)
}

/// Opens an input stream, paused; see [`open_output`].
pub fn open_input(
    which: &DeviceChoice,
    want: StreamFormat,
    callback: impl FnMut(&Capture<'_>) + Send + 'static,
    on_error: impl FnMut(StreamEvent) + Clone + Send + 'static,
) -> Result<Stream> {
    input_device(which, want)?.open_input(callback, on_error)
}

fn find(which: &DeviceChoice, want: StreamFormat, direction: Direction) -> Result<Device> {
    let (device, is_default) = match which {
        DeviceChoice::Virtual => return VirtualHost::new().device(want, direction),
        DeviceChoice::VirtualWith { cable, ppm } => {
            let host = VirtualHost::new().off_by(*ppm);
            return cable.iter().fold(host, |host, name| host.cable(name)).device(want, direction);
        }
        DeviceChoice::Default => (default(direction)?, true),
        DeviceChoice::Named(name) => (named(name, direction)?, false),
        DeviceChoice::Known { id, name } => (known(id, name, direction)?, false),
    };
    let system = System::of(&device).unwrap_or(System::VIRTUAL);
    let found = ask(system.name(), ASK_LIMIT, move || settle(device, want, direction, is_default))?;
    found.map(|found| Device { may_be_moved: which.is_default(), ..found })
}

fn settle(
    device: cpal::Device,
    want: StreamFormat,
    direction: Direction,
    is_default: bool,
) -> Result<Device> {
    let name = device.description().map_or_else(|_| "the device".to_owned(), |d| d.name().to_owned());
    let offers = direction.configs(&device).map_err(|e| refused(&name, direction, is_default, e))?;
    let usual = System::of(&device).and_then(System::usual_buffer_frames);
    let want = StreamFormat { buffer_frames: want.buffer_frames.or(usual), ..want };
    let chosen = choose(&name, &offers, want)?;
    Ok(Device { direction, name, device, chosen, is_default, may_be_moved: false, virtual_host: None })
}

fn no_card(direction: Direction) -> Error {
    Error::new(Kind::Absent, format!("no sound card was found, so there is no default {direction} device"))
        .remedy("use device = \"virtual\", or connect a sound card and look at `nda devices`")
}

fn refused(name: &str, direction: Direction, is_default: bool, error: cpal::Error) -> Error {
    let of_kind = |kind, text: &str| Error::new(kind, format!("the {direction} device {name} {text}"));
    let (what, absent) = (|text: &str| of_kind(Kind::Device, text), |text: &str| of_kind(Kind::Absent, text));
    let refusal = match error.kind() {
        // A machine without a card still has a default device, which fails like this.
        ErrorKind::DeviceNotAvailable if is_default => no_card(direction),
        ErrorKind::DeviceNotAvailable | ErrorKind::HostUnavailable | ErrorKind::StreamInvalidated => {
            absent("is not there").remedy("look at `nda devices`")
        }
        ErrorKind::DeviceBusy => absent("is in use").remedy("end the program that uses it, or choose another"),
        ErrorKind::PermissionDenied => {
            what("may not be used").remedy("join the group that may, often `audio`")
        }
        ErrorKind::UnsupportedConfig => what("refuses the format")
            .remedy("leave out the buffer, or look at `nda devices` for what it offers"),
        // The virtual device's word for a cable that runs by another clock.
        ErrorKind::InvalidInput if cable_name(name).is_some() => what("has another clock than the cable's other end").remedy(
            "give both ends the same `ppm`: a cable has one clock; for another, set `ppm` of a device that is no cable",
        ),
        _ => what("can't be opened").remedy("choose another: `nda devices` lists them"),
    };
    refusal.source(error)
}

impl VirtualHost {
    /// This host's output device. Tests can so have what is played through it.
    pub fn output_device(&self, want: StreamFormat) -> Result<Device> {
        self.clone().device(want, Direction::Output)
    }

    /// This host's input device.
    pub fn input_device(&self, want: StreamFormat) -> Result<Device> {
        self.clone().device(want, Direction::Input)
    }

    /// The virtual device answers at once, and so without a thread.
    fn device(self, want: StreamFormat, direction: Direction) -> Result<Device> {
        let device = direction.default_device(&self.clone().into()).ok_or_else(|| no_card(direction))?;
        Ok(Device { virtual_host: Some(self), ..settle(device, want, direction, false)? })
    }
}

impl Device {
    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The choice of this device and no other. `None` if its audio system has no ids.
    #[must_use]
    pub fn known(&self) -> Option<DeviceChoice> {
        id_of(&self.device).map(|id| DeviceChoice::Known { id, name: self.name.clone() })
    }

    /// Whether it is the built-in one, or a cable.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        self.virtual_host.is_some()
    }

    /// Whether it is a virtual cable: its input hears what is played one buffer of its own later.
    #[must_use]
    pub fn is_cable(&self) -> bool {
        self.virtual_host.as_ref().is_some_and(VirtualHost::is_cable)
    }

    /// Whether its streams are told of each xrun of their server's, also of one that another stream or another program
    /// was late for.
    #[must_use]
    pub fn is_told_of_others(&self) -> bool {
        System::of(&self.device).is_some_and(System::tells_of_others)
    }

    pub(super) fn is_input(&self) -> bool {
        self.direction == Direction::Input
    }

    /// Whether a stream of it has to play to know how many frames it takes or brings at a time.
    pub(super) fn knows_buffer_late(&self) -> bool {
        System::of(&self.device).is_some_and(System::knows_buffer_late)
    }

    /// Whether it is only opened with the buffer that its server has.
    #[must_use]
    pub fn refuses_buffers(&self) -> bool {
        System::of(&self.device).is_some_and(System::refuses_buffers)
    }

    /// Whether its clock and the other's are one, so that they can't drift apart. Virtual devices that are off by as much
    /// are, and a server of JACK's or PipeWire's has one for all; two directions of a sound card may be, but don't tell.
    #[must_use]
    pub fn shares_clock_with(&self, other: &Self) -> bool {
        let ppm = |device: &Self| device.virtual_host.as_ref().map(VirtualHost::ppm);
        let [one, two] = [self, other].map(|device| System::of(&device.device));
        (ppm(self).is_some() && ppm(self) == ppm(other))
            || (one == two && one.is_some_and(System::has_one_clock))
    }

    /// Channels that the stream will have: the wanted number, or the device's nearest.
    #[must_use]
    pub fn channels(&self) -> usize {
        usize::from(self.chosen.channels)
    }

    /// Frames per second that the stream will have: the wanted rate, or the device's nearest.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.chosen.rate
    }

    /// Opens the stream, paused. Waits for the device, a few seconds at most.
    ///
    /// # Real-time
    /// The callback runs on a thread of the device's and must keep to its rules; what is done around it neither
    /// allocates, locks nor waits. `on_error` may run on that thread too, and must not wait either; telling of an
    /// [`StreamEvent::Xrun`] allocates nothing, of the other events it does. That a PulseAudio server has moved the stream is
    /// told by a clone of it, on another thread: one that was opened for a device by its name or id is lost then, and silent
    /// at once.
    pub fn open_output(
        self,
        callback: impl FnMut(&mut Playback<'_>) + Send + 'static,
        on_error: impl FnMut(StreamEvent) + Clone + Send + 'static,
    ) -> Result<Stream> {
        self.must_be(Direction::Output)?;
        let counts = Arc::new(Counts::default());
        let player = Player::new(callback, self.channels(), Arc::clone(&counts));
        let teller = Teller { on_error, counts: Arc::clone(&counts) };
        let chosen = self.chosen;
        let keeper = Keeper::open(self.words(), self.may_change_buffer(), move || {
            self.watched(teller.clone(), || {
                build_output(&self.device, chosen, player, teller).map_err(|e| self.refused(e))
            })
        })?;
        Ok(Stream { keeper, chosen, counts })
    }

    /// Opens the stream, paused; see [`open_output`](Self::open_output).
    pub fn open_input(
        self,
        callback: impl FnMut(&Capture<'_>) + Send + 'static,
        on_error: impl FnMut(StreamEvent) + Clone + Send + 'static,
    ) -> Result<Stream> {
        self.must_be(Direction::Input)?;
        let counts = Arc::new(Counts::default());
        let recorder = Recorder::new(callback, self.channels(), Arc::clone(&counts));
        let teller = Teller { on_error, counts: Arc::clone(&counts) };
        let chosen = self.chosen;
        let keeper = Keeper::open(self.words(), self.may_change_buffer(), move || {
            self.watched(teller.clone(), || {
                build_input(&self.device, chosen, recorder, teller).map_err(|e| self.refused(e))
            })
        })?;
        Ok(Stream { keeper, chosen, counts })
    }

    /// Opens a stream by `open`, and has it watched if its server may move it to another device.
    #[cfg(feature = "pulseaudio")]
    fn watched<E: FnMut(StreamEvent) + Clone + Send + 'static>(
        &self,
        teller: Teller<E>,
        open: impl FnOnce() -> Result<cpal::Stream>,
    ) -> Result<Kept> {
        let id =
            self.device.id().ok().filter(|_| System::of(&self.device).is_some_and(System::moves_streams));
        let Some(id) = id else { return Ok(open()?.into()) };
        let (direction, may_be_moved) = (self.direction, self.may_be_moved);
        moved::watched(Meant { direction, device: id.id().to_owned(), may_be_moved }, teller, open)
    }

    /// No other server moves streams and can be asked.
    #[cfg(not(feature = "pulseaudio"))]
    fn watched<E>(&self, _: Teller<E>, open: impl FnOnce() -> Result<cpal::Stream>) -> Result<Kept> {
        Ok(open()?.into())
    }

    fn must_be(&self, direction: Direction) -> Result<()> {
        if self.direction == direction {
            return Ok(());
        }
        let what = format!("{} was found as an {} device, not for {direction}", self.name, self.direction);
        Err(Error::new(Kind::Device, what))
    }

    /// Whether it may be set to another buffer while it plays.
    fn may_change_buffer(&self) -> bool {
        System::of(&self.device).is_some_and(System::changes_buffers)
    }

    /// It and no other, in words.
    fn words(&self) -> String {
        let (direction, name) = (self.direction, &self.name);
        match id_of(&self.device).filter(|id| id != name) {
            Some(id) => format!("the {direction} device {name} ({id})"),
            None => format!("the {direction} device {name}"),
        }
    }

    fn refused(&self, error: cpal::Error) -> Error {
        refused(&self.name, self.direction, self.is_default, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpal::SampleFormat;
    use std::sync::mpsc;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    const STEREO: StreamFormat = StreamFormat { rate: 48_000, channels: 2, buffer_frames: None };

    #[test]
    fn opening_an_unknown_device_lists_the_virtual_one_too() {
        let which = DeviceChoice::from("no such device");
        let error = open_output(&which, STEREO, |_| (), |_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Absent);
        assert!(error.to_string().contains("\n    virtual"), "{error}");
    }

    #[test]
    fn a_machine_without_a_card_is_told_what_to_use() {
        let default = Direction::Output.default_device(&cpal::default_host());
        if default.is_some_and(|device| Direction::Output.configs(&device).is_ok()) {
            return;
        }
        let error = open_output(&DeviceChoice::Default, STEREO, |_| (), |_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Absent);
        let text = error.to_string();
        assert!(text.contains("no sound card was found") && text.contains("device = \"virtual\""), "{text}");
    }

    #[test]
    fn a_virtual_stream_plays_what_its_callback_writes() {
        let (host, mut played) = VirtualHost::capturing();
        let want = StreamFormat { buffer_frames: Some(64), channels: 3, ..STEREO };
        let device = host.free_running().output_device(want).unwrap();
        assert_eq!((device.channels(), device.name()), (3, "virtual"));
        let callback = |playback: &mut Playback<'_>| {
            assert_eq!((playback.frames, playback.channels), (64, 3));
            assert_eq!(playback.latency, Duration::from_nanos(1_333_333));
            playback.samples[0] = f32::NAN;
            playback.samples[1..].fill(0.5);
        };
        let stream = device.open_output(callback, |_| ()).unwrap();
        assert_eq!((stream.channels(), stream.rate(), stream.buffer_frames()), (3, 48_000, Some(64)));
        stream.play().unwrap();
        let mut samples = [1.0; 192];
        assert_eq!(played.read(&mut samples, PATIENCE), 192);
        assert_eq!(samples[0], 0.0);
        assert!(samples[1..].iter().all(|sample| *sample == 0.5));
        assert!(stream.scrubbed_samples() >= 1);
    }

    #[test]
    fn a_virtual_input_is_silent_and_tells_its_time() {
        let (sender, captures) = mpsc::channel();
        let callback = move |capture: &Capture<'_>| {
            let _ = sender.send((capture.samples.to_vec(), capture.at));
        };
        let want = StreamFormat { buffer_frames: Some(480), ..STEREO };
        let stream = open_input(&DeviceChoice::Virtual, want, callback, |_| ()).unwrap();
        stream.play().unwrap();
        for index in 0..5u64 {
            let expected = (vec![0.0; 960], Duration::from_millis(10 * index));
            assert_eq!(captures.recv_timeout(PATIENCE).unwrap(), expected);
        }
        stream.pause().unwrap();
    }

    #[test]
    fn the_ends_of_a_cable_must_have_one_clock_and_the_error_says_how() {
        let (host, _simulation) = VirtualHost::simulated();
        let host = host.cable("radio");
        let input = host.input_device(STEREO).unwrap();
        let output = host.off_by(200).output_device(STEREO).unwrap();
        let _output = output.open_output(|_| (), |_| ()).unwrap();
        let error = input.open_input(|_| (), |_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        let text = error.to_string();
        assert!(text.contains("off by 200 ppm") && text.contains("both ends the same `ppm`"), "{text}");
    }

    #[test]
    fn an_input_device_is_not_opened_for_output() {
        let device = input_device(&DeviceChoice::Virtual, STEREO).unwrap();
        assert_eq!(device.open_output(|_| (), |_| ()).unwrap_err().kind(), Kind::Device);
    }

    /// ALSA's `null` is a real cpal device that is there without a card.
    #[test]
    fn a_cpal_device_calls_back_in_each_of_its_sample_formats() {
        let device = named("alsa:null", Direction::Output).unwrap();
        for samples in [SampleFormat::I16, SampleFormat::I24, SampleFormat::U8, SampleFormat::F64] {
            let (sender, calls) = mpsc::channel();
            let callback = move |playback: &mut Playback<'_>| {
                let _ = sender.send((playback.channels, playback.samples.len() / playback.frames));
            };
            let buffer = cpal::BufferSize::Fixed(256);
            let chosen = Chosen { channels: 2, rate: 48_000, buffer, samples };
            let (direction, name, device) = (Direction::Output, "null".to_owned(), device.clone());
            let (is_default, may_be_moved, virtual_host) = (false, false, None);
            let device = Device { direction, name, device, chosen, is_default, may_be_moved, virtual_host };
            let stream = device.open_output(callback, |_| ()).unwrap();
            stream.play().unwrap();
            assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), (2, 2), "{samples}");
        }
    }
}
