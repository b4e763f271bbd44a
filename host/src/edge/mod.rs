//! What lies between a pipeline and what it is joined to: other buffers, rates, channels and clocks.
//!
//! For the audio callbacks. A device asks for as many frames as it likes, at its own rate, with its own channels, by its
//! own clock; a pipeline works on blocks of one size in one format. Towards an output device that is a [`DeviceOutput`]:
//! blocks to frames ([`OutputReblock`]), rate ([`PullConverter`]), channels ([`ChannelMap`]). From an input device it is
//! a [`DeviceInput`], the same backwards, and then either an [`InputReblock`], or where input and output are two devices
//! a queue: a [`FrameWriter`] and a [`CaptureQueue`], which holds the two clocks together. The queue lies before the
//! chain, or behind it where that runs on the clock of its source ([`Handover`]).
//!
//! A source or a sink that is a plugin with a format of its own is an [`AdaptedSource`] or an [`AdaptedSink`].
//!
//! Devices interleave (frame after frame); blocks are planar (channel after channel, what numpy calls C order of
//! shape `(channels, frames)`). Where rates, channels or clocks are the same, samples pass bit by bit.
//!
//! Nothing here knows devices, files or plugins, and nothing allocates, locks or waits once it is made.

mod adapted;
mod capture;
mod channels;
mod convert;
mod device;
mod drift;
mod fifo;
mod gear;
mod handover;
mod reblock;

pub(crate) use adapted::own_burst;
pub use adapted::{AdaptedSink, AdaptedSource};
pub use capture::{CaptureCounts, CaptureQueue, Clocks};
pub use channels::ChannelMap;
pub use convert::{PullConverter, PushConverter, Quality};
pub use device::{DeviceInput, DeviceOutput, Side};
pub use fifo::{FifoCounts, FrameReader, FrameWriter, frame_fifo};
pub use handover::Handover;
pub use reblock::{InputReblock, OutputReblock, adaptation_frames};
