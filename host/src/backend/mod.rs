//! The audio devices: which there are, and streams to and from them.
//!
//! For the pipelines, which hand in a callback on interleaved `f32` frames and never meet a device's sample
//! format, and for `nda devices`. The only module that knows cpal, whose next release changes its API: no cpal
//! type leaves it, but that [`virtual_device::VirtualHost`] is a cpal host too. The virtual device goes through
//! cpal like any other, so there is one way from a callback to a device. This does not re-block, resample or map
//! channels: a stream tells its device's channels and buffer, and [`crate::edge`] does the rest.
//!
//! Non-finite samples never reach a device: they are replaced by silence and counted. Samples beyond full
//! scale are clamped where the device takes integers and left alone where it takes floats.

mod asking;
mod bridge;
mod choice;
mod device;
mod direction;
mod event;
mod format;
mod keeper;
mod listing;
#[cfg(feature = "pulseaudio")]
mod moved;
mod pipewire;
#[cfg(feature = "pulseaudio")]
mod pulse_server;
mod samples;
mod span;
mod stream;
mod system;
mod trial;
pub mod virtual_device;

pub use choice::DeviceChoice;
pub use device::{Device, input_device, open_input, open_output, output_device};
pub use event::StreamEvent;
pub use format::StreamFormat;
pub use listing::{ConfigInfo, DeviceInfo, DirectionInfo, devices};
pub use samples::{Capture, MOST_FRAMES, Playback};
pub use span::Span;
pub use stream::Stream;
pub(crate) use system::{names_a_system, share_a_clock};
pub(crate) use trial::try_out;
