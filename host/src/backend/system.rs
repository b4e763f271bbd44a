//! The audio systems and the devices that each has.
//!
//! For listing and for choosing, which must agree on what there is. The virtual device's system stands beside
//! cpal's own and differs from them only in how it is made.

use super::direction::Direction;
use super::virtual_device::{self, VirtualHost};
use cpal::HostId;
use cpal::traits::{DeviceTrait, HostTrait};

pub(super) type CpalResult<T> = std::result::Result<T, cpal::Error>;

/// An audio system: one of cpal's, or the one that has the virtual device, which is cpal's custom one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct System(HostId);

impl System {
    pub(super) const VIRTUAL: Self = Self(HostId::Custom);

    /// Those of this machine, the virtual one last.
    pub(super) fn all() -> Vec<Self> {
        let found = cpal::available_hosts().into_iter().map(Self);
        found.chain(std::iter::once(Self::VIRTUAL)).collect()
    }

    pub(super) fn name(self) -> &'static str {
        if self == Self::VIRTUAL { virtual_device::NAME } else { self.0.name() }
    }

    pub(super) fn host(self) -> CpalResult<cpal::Host> {
        if self == Self::VIRTUAL { Ok(VirtualHost::new().into()) } else { cpal::host_from_id(self.0) }
    }
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
        let listed: Vec<_> = host.devices()?.collect();
        let defaults = Defaults::of(host);
        let mut unlisted: Vec<_> =
            [&defaults.output, &defaults.input].into_iter().flatten().cloned().collect();
        unlisted.dedup();
        unlisted.retain(|device| !listed.contains(device));
        Ok(Self { listed, unlisted, defaults })
    }

    /// Those that can be opened in this direction.
    pub(super) fn able_to(self, direction: Direction) -> impl Iterator<Item = cpal::Device> {
        let offers = move |device: &cpal::Device| direction.configs(device).is_ok_and(|all| !all.is_empty());
        let listed = self.listed.into_iter().filter(move |device| direction.supports(device));
        self.unlisted.into_iter().filter(offers).chain(listed)
    }
}

/// The devices that are used if none is named; only one audio system has them.
pub(super) struct Defaults {
    pub(super) output: Option<cpal::Device>,
    pub(super) input: Option<cpal::Device>,
}

impl Defaults {
    fn of(host: &cpal::Host) -> Self {
        if host.id() == cpal::default_host().id() {
            Self { output: host.default_output_device(), input: host.default_input_device() }
        } else {
            Self { output: None, input: None }
        }
    }
}

/// What the device is called in configurations, the same at the next start.
pub(super) fn id_of(device: &cpal::Device) -> Option<String> {
    let id = device.id().ok()?;
    // cpal's word for the virtual device's system means nothing to a user.
    Some(if System(id.host()) == System::VIRTUAL { id.id().to_owned() } else { id.to_string() })
}
