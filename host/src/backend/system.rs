//! The audio systems and the devices that each has.
//!
//! For listing and for choosing, which must agree on what there is. The virtual device's system stands beside
//! cpal's own and differs from them only in how it is made. Which others there are is decided when the program
//! is built; whether one answers, each time that it is asked.

use super::asking::{ASK_LIMIT, ask};
use super::direction::Direction;
use super::pipewire;
use super::virtual_device::{self, VirtualHost};
use crate::error::Result;
use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{ErrorKind, HostId};

pub(super) type CpalResult<T> = std::result::Result<T, cpal::Error>;

/// An audio system: one of cpal's, or the one that has the virtual device, which is cpal's custom one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct System(HostId);

/// Those that can be built in, as they are called in configurations.
const NAMES: [&str; 4] = ["alsa", "jack", "pulseaudio", "pipewire"];

/// Whether an audio system stands before a device's name, as in `jack:default`, be it built in or not.
pub(crate) fn names_a_system(device: &str) -> bool {
    named_in_front(device).is_some()
}

/// Whether both are devices of one audio system, by the names in front of theirs, that has one clock for all.
pub(crate) fn share_a_clock(one: &str, other: &str) -> bool {
    let system = |device| Some(System::in_front_of(device).ok()??.0);
    let (one, other) = (system(one), system(other));
    one == other && one.is_some_and(System::has_one_clock)
}

/// The audio system that stands before a device's name, be it built in or not, and the rest of the name.
fn named_in_front(device: &str) -> Option<(&'static str, &str)> {
    let (prefix, rest) = device.split_once(':')?;
    let known = NAMES.into_iter().find(|known| prefix.trim().eq_ignore_ascii_case(known))?;
    Some((known, rest.trim()))
}

impl System {
    pub(super) const VIRTUAL: Self = Self(HostId::Custom);

    /// Those that this program was built with, the virtual one last.
    pub(super) fn all() -> Vec<Self> {
        let others = cpal::ALL_HOSTS.iter().copied().map(Self).filter(|system| *system != Self::VIRTUAL);
        others.chain(std::iter::once(Self::VIRTUAL)).collect()
    }

    /// Those whose default device may be the default, in the order in which they are tried: a sound server
    /// before the cards that it holds. JACK is no one's default: it is for those who ask for it.
    pub(super) fn for_default() -> impl Iterator<Item = Self> {
        Self::all().into_iter().filter(|system| *system != Self::VIRTUAL && !system.is("jack"))
    }

    /// The one that a device's name begins with, and the rest of the name. An error holds the name of one that
    /// was not built in.
    pub(super) fn in_front_of(name: &str) -> std::result::Result<Option<(Self, &str)>, &'static str> {
        let Some((known, rest)) = named_in_front(name) else { return Ok(None) };
        let system = Self::all().into_iter().find(|system| system.is(known)).ok_or(known)?;
        Ok(Some((system, rest)))
    }

    pub(super) fn name(self) -> &'static str {
        if self == Self::VIRTUAL { virtual_device::NAME } else { self.0.name() }
    }

    /// What it is called in configurations.
    fn is(self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    /// Of which a device is.
    pub(super) fn of(device: &cpal::Device) -> Option<Self> {
        device.id().ok().map(|id| Self(id.host()))
    }

    /// Frames that one callback is to have for those who don't mind, where the system's own choice is unfit:
    /// PulseAudio's is two seconds.
    pub(super) fn usual_buffer_frames(self) -> Option<u32> {
        self.is("pulseaudio").then_some(1024)
    }

    /// Whether the devices of all its streams run on one clock: a JACK server has one, and PipeWire has one device drive
    /// all that a group of streams is linked to, which cpal makes of those of a program.
    pub(super) fn has_one_clock(self) -> bool {
        self.is("jack") || self.is("pipewire")
    }

    /// Whether somebody may set its devices to other buffers while they play, and a stream says so: a JACK server's
    /// periods, and PipeWire's quantum, also by a program that wants a short one.
    pub(super) fn changes_buffers(self) -> bool {
        self.is("jack") || self.is("pipewire")
    }

    /// Whether its streams have the buffer that the server has, or can't be opened. PipeWire takes what is asked for as a wish.
    pub(super) fn refuses_buffers(self) -> bool {
        self.is("jack")
    }

    /// Whether a stream only knows its buffer when it plays, and says what it was asked for or the usual before that.
    pub(super) fn knows_buffer_late(self) -> bool {
        self.is("pipewire")
    }

    /// Whether its streams are told of xruns whoever's they were: a JACK server tells every client.
    pub(super) fn tells_of_others(self) -> bool {
        self.is("jack")
    }

    /// Whether it moves streams from one device to another, and can be asked where one is.
    #[cfg(feature = "pulseaudio")]
    pub(super) fn moves_streams(self) -> bool {
        self.is("pulseaudio")
    }

    /// JACK's devices answer for the other direction too, though they can't be opened in it.
    pub(super) fn answers_for_both(self) -> bool {
        self.is("jack")
    }

    /// Puts a question to it; an error of kind `HostUnavailable` if its server isn't there.
    pub(super) fn ask<T: Send + 'static>(
        self,
        question: impl FnOnce(cpal::Host) -> CpalResult<T> + Send + 'static,
    ) -> Result<CpalResult<T>> {
        ask(self.name(), ASK_LIMIT, move || self.host().and_then(question))
    }

    fn host(self) -> CpalResult<cpal::Host> {
        if self == Self::VIRTUAL {
            return Ok(VirtualHost::new().into());
        }
        if !self.may_be_there() {
            return Err(no_server("no server is running"));
        }
        // A socket that nobody listens at is left where a server has died.
        let host = cpal::host_from_id(self.0).map_err(|e| no_server(silence(self.name(), &e)))?;
        // cpal makes JACK's devices when it finds a server.
        if self.is("jack") && host.devices()?.next().is_none() {
            return Err(no_server("no server is running"));
        }
        Ok(host)
    }

    /// Whether there is a trace of a server.
    fn may_be_there(self) -> bool {
        // cpal looks for all of them to say so, and without PipeWire's socket it must not look for that.
        if cfg!(feature = "pipewire") && !pipewire::has_socket() {
            return !self.is("pipewire");
        }
        cpal::available_hosts().contains(&self.0)
    }
}

/// Why the audio system of this name has no server that answers, by what cpal says.
fn silence(system: &str, error: &cpal::Error) -> String {
    let says = error.to_string();
    match (system, error.kind()) {
        // cpal takes one without devices for none, and doesn't say which it is.
        ("PipeWire", _) => "no server answers, or it has no audio device".to_owned(),
        // So PipeWire's answers a cookie that is not as long as PulseAudio's, also none.
        ("PulseAudio", ErrorKind::InvalidInput) => {
            let make = "mkdir -p ~/.config/pulse && head -c 256 /dev/urandom > ~/.config/pulse/cookie";
            format!("the server refuses a program without a cookie ({says}); `{make}` makes one")
        }
        _ if says == format!("{system} is not available") => "no server answers".to_owned(),
        _ => format!("no server answers: {says}"),
    }
}

fn no_server(why: impl Into<String>) -> cpal::Error {
    cpal::Error::with_message(ErrorKind::HostUnavailable, why.into())
}

/// The devices of an audio system.
pub(super) struct Shelf {
    /// Those that the system lists.
    pub(super) listed: Vec<cpal::Device>,
    /// The default ones that it doesn't list. They may not be there: only asking shows.
    pub(super) unlisted: Vec<cpal::Device>,
    pub(super) defaults: Defaults,
}

impl Shelf {
    pub(super) fn of(host: &cpal::Host) -> CpalResult<Self> {
        let listed: Vec<_> = host.devices()?.filter(|device| !is_a_program(device)).collect();
        let defaults = Defaults { output: host.default_output_device(), input: host.default_input_device() };
        let mut unlisted: Vec<_> =
            [&defaults.output, &defaults.input].into_iter().flatten().cloned().collect();
        unlisted.dedup();
        unlisted.retain(|device| !listed.contains(device));
        Ok(Self { listed, unlisted, defaults })
    }

    /// All of them.
    pub(super) fn into_devices(self) -> impl Iterator<Item = cpal::Device> {
        self.unlisted.into_iter().chain(self.listed)
    }

    /// Those that can be opened in this direction; each is asked.
    pub(super) fn able_to(self, direction: Direction) -> impl Iterator<Item = cpal::Device> {
        self.into_devices().filter(move |device| direction.supports(device))
    }
}

/// Whether it is no device but a program that uses one.
fn is_a_program(device: &cpal::Device) -> bool {
    let (Ok(id), Ok(description)) = (device.id(), device.description()) else { return false };
    System(id.host()).is("pipewire") && pipewire::is_a_program(id.id(), &description)
}

/// The devices that are used if none is named, or only the audio system is.
pub(super) struct Defaults {
    pub(super) output: Option<cpal::Device>,
    pub(super) input: Option<cpal::Device>,
}

/// What the device is called in configurations, the same at the next start.
pub(super) fn id_of(device: &cpal::Device) -> Option<String> {
    let id = device.id().ok()?;
    // cpal's word for the virtual device's system means nothing to a user.
    Some(if System(id.host()) == System::VIRTUAL { id.id().to_owned() } else { id.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_in_front_of_a_name_is_told_from_a_name_with_a_colon() {
        let (system, rest) = System::in_front_of("ALSA: hw:0,3").unwrap().unwrap();
        assert_eq!((system.name(), rest), ("ALSA", "hw:0,3"));
        assert_eq!(System::in_front_of("Focusrite: Scarlett"), Ok(None));
        assert_eq!(System::in_front_of("Scarlett"), Ok(None));
        assert!(["ALSA: hw:0,3", " jack:x", "PipeWire :"].into_iter().all(names_a_system));
        assert!(
            share_a_clock("jack:default", "JACK:system") && !share_a_clock("jack:default", "alsa:default")
        );
        assert!(!share_a_clock("alsa:hw:0", "alsa:hw:0") && !share_a_clock("default", "default"));
        assert!(!["Focusrite: Scarlett", "Scarlett", "alsa"].into_iter().any(names_a_system));
        for name in NAMES {
            let built_in = System::all().into_iter().any(|system| system.is(name));
            let found =
                System::in_front_of(&format!("{name}:x")).map(|found| found.map(|(_, rest)| rest.to_owned()));
            assert_eq!(found, if built_in { Ok(Some("x".to_owned())) } else { Err(name) });
        }
    }

    #[test]
    fn why_no_server_answers_is_told_in_words_that_help() {
        let silence =
            |system, kind, says: &'static str| silence(system, &cpal::Error::with_message(kind, says));
        let unavailable = ErrorKind::HostUnavailable;
        assert_eq!(silence("PulseAudio", unavailable, "PulseAudio is not available"), "no server answers");
        assert_eq!(silence("PulseAudio", unavailable, "timed out"), "no server answers: timed out");
        assert!(silence("PipeWire", unavailable, "PipeWire is not available").contains("no audio device"));
        let refused = silence("PulseAudio", ErrorKind::InvalidInput, "server error: Invalid");
        assert!(refused.contains("without a cookie (server error: Invalid); `mkdir"), "{refused}");
    }

    #[test]
    fn jack_and_the_virtual_device_are_nobodys_default() {
        let names: Vec<_> = System::for_default().map(System::name).collect();
        assert_eq!(names.last(), Some(&"ALSA"));
        assert!(!names.contains(&"JACK") && !names.contains(&"virtual"));
    }
}
