//! Audio devices.

pub mod virtual_device;
