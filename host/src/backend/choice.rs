//! Which device a user means.
//!
//! For configurations, where a device goes by a part of its name. A name that fits none or several devices is
//! answered with those there are, never with a guess.

use super::direction::Direction;
use super::system::{Shelf, System, id_of};
use super::virtual_device;
use crate::error::{Error, Kind, Result};
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
    Named(String),
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

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == self.id { f.write_str(&self.name) } else { write!(f, "{} ({})", self.name, self.id) }
    }
}

pub(super) fn candidates(direction: Direction) -> Vec<Candidate> {
    let hosts = System::all().into_iter().filter_map(|system| system.host().ok());
    let shelves = hosts.filter_map(|host| Shelf::of(&host).ok());
    let devices = shelves.flat_map(|shelf| shelf.able_to(direction));
    let candidate = |device: cpal::Device| Candidate {
        name: device.description().map(|d| d.name().to_owned()).unwrap_or_default(),
        id: id_of(&device).unwrap_or_default(),
        device,
    };
    devices.map(candidate).collect()
}

/// The only one that is called so, or the only one with this in its name or id.
pub(super) fn pick(mut all: Vec<Candidate>, name: &str, direction: Direction) -> Result<Candidate> {
    let wanted = name.to_lowercase();
    let exact = |one: &Candidate| one.name.to_lowercase() == wanted || one.id.to_lowercase() == wanted;
    let partly = |one: &Candidate| {
        one.name.to_lowercase().contains(&wanted) || one.id.to_lowercase().contains(&wanted)
    };
    let places = |test: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
        all.iter().enumerate().filter(|(_, one)| test(one)).map(|(place, _)| place).collect()
    };
    let found = Some(places(&exact)).filter(|found| found.len() == 1).unwrap_or_else(|| places(&partly));
    match found[..] {
        [place] => Ok(all.swap_remove(place)),
        [] => Err(Error::new(Kind::Device, format!("no {direction} device has \"{name}\" in its name"))
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
        assert_eq!(error.kind(), Kind::Device);
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
    fn the_words_default_and_virtual_name_no_device() {
        assert_eq!(DeviceChoice::from("default"), DeviceChoice::Default);
        assert_eq!(DeviceChoice::from("virtual"), DeviceChoice::Virtual);
        assert_eq!(DeviceChoice::from("Scarlett"), DeviceChoice::Named("Scarlett".into()));
        let radio = DeviceChoice::VirtualWith { cable: Some("radio".into()), ppm: 0 };
        assert_eq!(DeviceChoice::from("virtual:radio"), radio);
    }
}
