//! Which device a user means.
//!
//! For configurations, where a device goes by a part of its name, alone or behind the audio system that it is
//! to be of. A name that fits none or several devices is answered with those there are, never with a guess.

use super::direction::Direction;
use super::system::{Shelf, System, id_of};
use super::virtual_device;
use crate::error::{Error, Kind, Result};
use cpal::ErrorKind;
use cpal::traits::DeviceTrait;
use std::fmt;

/// The device that a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The system's default.
    Default,
    /// The built-in one that needs no sound card.
    Virtual,
    /// The built-in one as a cable, or with a clock that is off.
    VirtualWith {
        /// The cable's name: what an output of that name plays, an input of that name hears.
        cable: Option<String>,
        /// By how many millionths its clock is fast; see [`virtual_device::PPM`].
        ppm: i32,
    },
    /// The only one with this in its name or id, in capitals or not; one with just this name or id comes first.
    /// `jack:`, `pulseaudio:`, `pipewire:` or `alsa:` in front leaves the devices of that audio system, and
    /// `default` behind that its default one.
    Named(String),
    /// The one of this id and name, which [`Device::known`](super::Device::known) has told, and no other. An id alone
    /// doesn't do: some of ALSA's are a card's number, which the next card gets.
    Known {
        /// Its id.
        id: String,
        /// Its whole name.
        name: String,
    },
}

impl DeviceChoice {
    /// Whether it leaves the device to an audio system, which may choose another one next time.
    #[must_use]
    pub fn is_default(&self) -> bool {
        match self {
            Self::Default => true,
            Self::Named(name) => matches!(System::in_front_of(name), Ok(Some((_, "default")))),
            _ => false,
        }
    }
}

impl From<&str> for DeviceChoice {
    fn from(name: &str) -> Self {
        match name {
            "default" => Self::Default,
            virtual_device::NAME => Self::Virtual,
            other => match virtual_device::cable_name(other) {
                Some(cable) => Self::VirtualWith { cable: Some(cable.to_owned()), ppm: 0 },
                None => Self::Named(other.to_owned()),
            },
        }
    }
}

/// A device by its names.
pub(super) struct Candidate {
    name: String,
    pub(super) id: String,
    pub(super) device: cpal::Device,
}

impl From<cpal::Device> for Candidate {
    fn from(device: cpal::Device) -> Self {
        Self {
            name: device.description().map(|d| d.name().to_owned()).unwrap_or_default(),
            id: id_of(&device).unwrap_or_default(),
            device,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == self.id { f.write_str(&self.name) } else { write!(f, "{} ({})", self.name, self.id) }
    }
}

/// The device of this name, of whichever audio system or of the one in front of the name.
pub(super) fn named(name: &str, direction: Direction) -> Result<cpal::Device> {
    let found = System::in_front_of(name).map_err(not_built_in)?;
    let device = match found {
        Some((system, "default")) => return default_of(system, direction),
        Some((system, "")) => return Err(nameless(system)),
        Some((system, rest)) => pick(of_system(system, direction)?, rest, direction)?,
        None => pick(candidates(direction), name, direction)?,
    };
    Ok(device.device)
}

/// The device of this id and name, or an error that says that it isn't there. No other device is asked what it offers:
/// that opens it, and may take long, or be heard.
pub(super) fn known(id: &str, name: &str, direction: Direction) -> Result<cpal::Device> {
    let found = match System::in_front_of(id).map_err(not_built_in)? {
        Some((system, _)) => known_of(system, id, name, direction)?,
        None => System::all().into_iter().find_map(|system| known_of(system, id, name, direction).ok()?),
    };
    found.map(|one| one.device).ok_or_else(|| {
        Error::new(Kind::Absent, format!("the {direction} device {name} ({id}) is not there"))
            .remedy("connect it again; to use another device, start the pipeline again")
    })
}

fn known_of(system: System, id: &str, name: &str, direction: Direction) -> Result<Option<Candidate>> {
    let (id, name) = (id.to_owned(), name.to_owned());
    let found = system.ask(move |host| {
        let all = Shelf::of(&host)?.into_devices().map(Candidate::from);
        Ok(pick_known(all, &id, &name, |one| direction.supports(&one.device)))
    })?;
    found.map_err(|e| absent(system, e))
}

/// Of those with this id and name the first that `opens`; no other one is asked.
fn pick_known(
    mut all: impl Iterator<Item = Candidate>,
    id: &str,
    name: &str,
    opens: impl Fn(&Candidate) -> bool,
) -> Option<Candidate> {
    all.find(|one| one.id == id && one.name == name && opens(one))
}

/// The default device of an audio system; it may not open.
pub(super) fn default_of(system: System, direction: Direction) -> Result<cpal::Device> {
    let device = system.ask(move |host| Ok(direction.default_device(&host)))?;
    device.map_err(|e| absent(system, e))?.ok_or_else(|| {
        Error::new(Kind::Absent, format!("{} has no default {direction} device", system.name()))
            .remedy("name another one: `nda devices` lists them")
    })
}

/// The device that is used if none is named: that of the first audio system which has one that can be asked, or
/// what ALSA calls so, which may not be there.
pub(super) fn default(direction: Direction) -> Result<cpal::Device> {
    let works = move |host: cpal::Host| {
        Ok(direction.default_device(&host).filter(|device| direction.supports(device)))
    };
    let mut all = System::for_default().collect::<Vec<_>>();
    let last = all.pop().unwrap_or(System::VIRTUAL);
    let found = all.into_iter().find_map(|system| system.ask(works).ok()?.ok()?);
    found.map_or_else(|| default_of(last, direction), Ok)
}

/// Every device of every audio system that answers; all are asked at once.
pub(super) fn candidates(direction: Direction) -> Vec<Candidate> {
    let systems = System::all();
    std::thread::scope(|scope| {
        let asked = systems.into_iter().map(|system| scope.spawn(move || of_system(system, direction)));
        let asked: Vec<_> = asked.collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()?.ok()).flatten().collect()
    })
}

fn of_system(system: System, direction: Direction) -> Result<Vec<Candidate>> {
    let found = system.ask(move |host| {
        Shelf::of(&host).map(|shelf| shelf.able_to(direction).map(Candidate::from).collect::<Vec<_>>())
    })?;
    found.map_err(|e| absent(system, e))
}

fn absent(system: System, error: cpal::Error) -> Error {
    let name = system.name();
    match error.kind() {
        ErrorKind::HostUnavailable => Error::new(Kind::Absent, format!("{name}: {error}"))
            .remedy("start the server, or choose a device of another audio system: `nda devices` lists them"),
        _ => Error::new(Kind::Device, format!("{name} can't be asked for its devices")).source(error),
    }
}

fn not_built_in(name: &str) -> Error {
    let build = format!("build it with `cargo build --release -p host -p worker --features {name}`");
    let remedy = match name {
        // Whose server mostly answers for PulseAudio as well.
        "pipewire" => {
            format!(
                "name it as `pulseaudio:default` or so, or {build}, once README's packages for it are there"
            )
        }
        _ => format!("{build}, or look at `nda devices`"),
    };
    Error::new(Kind::Device, format!("this program was built without {name}")).remedy(remedy)
}

fn nameless(system: System) -> Error {
    Error::new(Kind::Device, format!("no device is named behind {}:", system.name()))
        .remedy("write `default` there, or a part of a name that `nda devices` lists")
}

/// The only one that is called so, or the only one with this in its name or id.
pub(super) fn pick(mut all: Vec<Candidate>, name: &str, direction: Direction) -> Result<Candidate> {
    let wanted = name.to_lowercase();
    // An id begins with its audio system, which may have been named apart.
    let is_id = |id: &str| id == wanted || id.split_once(':').is_some_and(|(_, rest)| rest == wanted);
    let exact = |one: &Candidate| one.name.to_lowercase() == wanted || is_id(&one.id.to_lowercase());
    let partly = |one: &Candidate| {
        one.name.to_lowercase().contains(&wanted) || one.id.to_lowercase().contains(&wanted)
    };
    let places = |test: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
        all.iter().enumerate().filter(|(_, one)| test(one)).map(|(place, _)| place).collect()
    };
    let found = Some(places(&exact)).filter(|found| found.len() == 1).unwrap_or_else(|| places(&partly));
    match found[..] {
        [place] => Ok(all.swap_remove(place)),
        [] => Err(Error::new(Kind::Absent, format!("no {direction} device has \"{name}\" in its name"))
            .detail(listed(all.iter()))
            .remedy("name one of these, or use device = \"virtual\"")),
        _ => Err(Error::new(
            Kind::Device,
            format!("several {direction} devices have \"{name}\" in their names"),
        )
        .detail(listed(found.iter().map(|place| &all[*place])))
        .remedy("name one of these in full, or by the id in brackets")),
    }
}

fn listed<'a>(devices: impl Iterator<Item = &'a Candidate>) -> String {
    devices.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::virtual_device::VirtualHost;
    use super::*;
    use cpal::traits::HostTrait;
    use std::cell::RefCell;

    fn candidate(name: &str, id: &str) -> Candidate {
        let device = cpal::Host::from(VirtualHost::new()).default_output_device().unwrap();
        Candidate { name: name.into(), id: id.into(), device }
    }

    fn shelf() -> Vec<Candidate> {
        vec![
            candidate("HDA Intel PCH, ALC257", "alsa:hw:0,0"),
            candidate("HDA Intel HDMI", "alsa:hw:1,3"),
            candidate("Scarlett", "alsa:hw:2,0"),
            candidate("Scarlett Solo", "alsa:hw:3,0"),
        ]
    }

    fn name_of(asked: &str) -> Result<String> {
        pick(shelf(), asked, Direction::Output).map(|device| device.name)
    }

    #[test]
    fn a_device_is_found_by_a_part_of_its_name_or_by_its_id() {
        assert_eq!(name_of("hdmi").unwrap(), "HDA Intel HDMI");
        assert_eq!(name_of("ALC257").unwrap(), "HDA Intel PCH, ALC257");
        assert_eq!(name_of("alsa:hw:3,0").unwrap(), "Scarlett Solo");
    }

    #[test]
    fn a_whole_name_comes_before_a_longer_one_that_contains_it() {
        assert_eq!(name_of("scarlett").unwrap(), "Scarlett");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_devices_there_are() {
        let error = name_of("theremin").unwrap_err();
        assert_eq!(error.kind(), Kind::Absent);
        let text = error.to_string();
        assert!(text.contains("no output device has \"theremin\""), "{text}");
        assert!(shelf().iter().all(|device| text.contains(&device.name)), "{text}");
    }

    #[test]
    fn an_ambiguous_name_is_answered_with_the_devices_it_may_mean() {
        let error = name_of("intel").unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        let text = error.to_string();
        assert!(text.contains("ALC257") && text.contains("HDMI") && !text.contains("Scarlett"), "{text}");
    }

    #[test]
    fn a_known_device_is_found_by_its_id_alone_and_no_other_in_its_place() {
        let known = |id: &str, name: &str| pick_known(shelf().into_iter(), id, name, |_| true);
        assert_eq!(known("alsa:hw:2,0", "Scarlett").unwrap().name, "Scarlett");
        // The second is another one that has got the number.
        for (id, name) in
            [("alsa:hw:4,0", "Scarlett"), ("alsa:hw:3,0", "Scarlett"), ("hw:2,0", "Scarlett"), ("", "")]
        {
            assert!(known(id, name).is_none(), "{id}");
        }
        let error = super::known("no such id", "Scarlett", Direction::Output).unwrap_err();
        assert!(error.kind() == Kind::Absent && error.to_string().contains("is not there"), "{error}");
    }

    #[test]
    fn no_device_but_the_known_one_is_asked_whether_it_opens() {
        for opens in [true, false] {
            let asked = RefCell::new(Vec::new());
            let ask = |one: &Candidate| {
                asked.borrow_mut().push(one.id.clone());
                opens
            };
            let found = pick_known(shelf().into_iter(), "alsa:hw:3,0", "Scarlett Solo", ask);
            assert_eq!(found.map(|one| one.name), opens.then(|| "Scarlett Solo".to_owned()));
            assert_eq!(asked.into_inner(), ["alsa:hw:3,0"]);
        }
    }

    #[test]
    fn a_default_device_is_one_that_an_audio_system_chooses() {
        let is_default = |name: &str| DeviceChoice::from(name).is_default();
        assert!(is_default("default") && is_default("alsa:default") && is_default("ALSA: default"));
        assert!(!is_default("virtual") && !is_default("Scarlett") && !is_default("alsa:hw:0,0"));
    }

    #[test]
    fn behind_its_audio_system_a_device_goes_by_the_rest_of_its_id() {
        assert_eq!(name_of("hw:2,0").unwrap(), "Scarlett");
    }

    #[test]
    fn an_audio_system_in_front_of_a_name_leaves_only_its_devices() {
        let id = |name: &str| named(name, Direction::Output).map(|device| id_of(&device).unwrap());
        assert_eq!(id("virtual").unwrap(), "virtual");
        // Also where ALSA has no device at all: the virtual one is of no audio system that can be named.
        for name in ["alsa:virtual", "ALSA: virtual"] {
            let error = id(name).unwrap_err().to_string();
            assert!(
                error.contains("no output device has \"virtual\"") && !error.contains("\n    virtual"),
                "{error}"
            );
        }
    }

    /// ALSA's `null` is there without a card.
    #[test]
    fn a_device_is_found_by_its_audio_system_also_in_capitals() {
        for name in ["alsa:null", "ALSA: null"] {
            assert_eq!(id_of(&named(name, Direction::Output).unwrap()).unwrap(), "alsa:null");
        }
    }

    #[test]
    fn an_audio_system_without_a_name_or_that_was_not_built_in_says_what_to_write_or_to_build() {
        let text = |error: Error| (error.kind(), error.to_string());
        let nameless = text(named("alsa:", Direction::Input).unwrap_err());
        assert!(nameless.0 == Kind::Device && nameless.1.contains("write `default`"), "{nameless:?}");
        for (name, instead) in [("pipewire", "`pulseaudio:default`"), ("jack", "`nda devices`")] {
            let missing = text(not_built_in(name));
            assert!(
                missing.0 == Kind::Device && missing.1.contains(&format!("--features {name}")),
                "{missing:?}"
            );
            assert!(missing.1.contains(instead), "{missing:?}");
        }
    }

    #[test]
    fn the_words_default_and_virtual_name_no_device() {
        assert_eq!(DeviceChoice::from("default"), DeviceChoice::Default);
        assert_eq!(DeviceChoice::from("virtual"), DeviceChoice::Virtual);
        assert_eq!(DeviceChoice::from("Scarlett"), DeviceChoice::Named("Scarlett".into()));
        let radio = DeviceChoice::VirtualWith { cable: Some("radio".into()), ppm: 0 };
        assert_eq!(DeviceChoice::from("virtual:radio"), radio);
    }
}
