//! Output or input: what cpal has two functions for, in one.
//!
//! For everything on this side of the callbacks, which is the same for both directions.

use super::system::{CpalResult, System};
use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{DeviceDirection, SupportedStreamConfigRange};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Output,
    Input,
}

impl Direction {
    /// What the device offers in this direction; nothing if it has only the other one.
    pub(super) fn configs(self, device: &cpal::Device) -> CpalResult<Vec<SupportedStreamConfigRange>> {
        if System::of(device).is_some_and(System::answers_for_both) && !self.is_that_of(device) {
            return Ok(Vec::new());
        }
        match self {
            Self::Output => device.supported_output_configs().map(Iterator::collect),
            Self::Input => device.supported_input_configs().map(Iterator::collect),
        }
    }

    pub(super) fn default_config(self, device: &cpal::Device) -> CpalResult<cpal::SupportedStreamConfig> {
        match self {
            Self::Output => device.default_output_config(),
            Self::Input => device.default_input_config(),
        }
    }

    pub(super) fn default_device(self, host: &cpal::Host) -> Option<cpal::Device> {
        match self {
            Self::Output => host.default_output_device(),
            Self::Input => host.default_input_device(),
        }
    }

    pub(super) fn supports(self, device: &cpal::Device) -> bool {
        self.configs(device).is_ok_and(|offers| !offers.is_empty())
    }

    fn is_that_of(self, device: &cpal::Device) -> bool {
        let direction = device.description().map(|description| description.direction());
        match self {
            Self::Output => !matches!(direction, Ok(DeviceDirection::Input)),
            Self::Input => !matches!(direction, Ok(DeviceDirection::Output)),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Output => "output",
            Self::Input => "input",
        })
    }
}
