//! Whether the virtual device is there: a handle by which a test pulls it out, suspends it, lets it hang, and puts it
//! back.
//!
//! For tests of what devices do that come and go. Nobody else holds such a handle: the device is there.

use super::wait::{wait, wake_all};
use cpal::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const THERE: u32 = 0;
const GONE: u32 = 1;
const HUNG: u32 = 2;
const SUSPENDED: u32 = 3;

/// How it is with the device of a [`VirtualHost`](super::VirtualHost), for all of its streams.
#[derive(Debug, Clone, Default)]
pub struct Presence(Arc<AtomicU32>);

impl Presence {
    /// The device is gone: its streams say so once and call back no more, and it can't be opened.
    pub fn pull_out(&self) {
        self.set(GONE);
    }

    /// Its streams stand still without a word, even when they are told to play or dropped, and it can't be opened.
    pub fn hang(&self) {
        self.set(HUNG);
    }

    /// It can be opened, but each of its streams takes one buffer at most and stands still then: as a server does it
    /// whose device does not run.
    pub fn suspend(&self) {
        self.set(SUSPENDED);
    }

    /// It is there again: it can be opened, and streams that stood still go on.
    pub fn put_back(&self) {
        self.set(THERE);
    }

    fn set(&self, state: u32) {
        self.0.store(state, Ordering::Release);
        wake_all(&self.0);
    }

    /// An error if it can't be opened just now.
    pub(super) fn check(&self) -> Result<(), cpal::Error> {
        match self.0.load(Ordering::Acquire) {
            THERE | SUSPENDED => Ok(()),
            HUNG => Err(cpal::Error::with_message(ErrorKind::DeviceBusy, "the virtual device hangs")),
            _ => Err(gone()),
        }
    }

    /// Before a callback of a stream that `has_called` before or not, and as it begins: waits while the device stands
    /// still. An error if it is gone.
    ///
    /// # Real-time
    /// Of a device that is there, yes.
    pub(super) fn wait_while_still(&self, has_called: bool) -> Result<(), cpal::Error> {
        loop {
            match self.0.load(Ordering::Acquire) {
                THERE => return Ok(()),
                SUSPENDED if !has_called => return Ok(()),
                still @ (HUNG | SUSPENDED) => drop(wait(&self.0, still, None)),
                _ => return Err(gone()),
            }
        }
    }
}

fn gone() -> cpal::Error {
    cpal::Error::with_message(ErrorKind::DeviceNotAvailable, "the virtual device was pulled out")
}

#[cfg(test)]
mod tests {
    use super::super::{VirtualHost, VirtualStream};
    use super::*;
    use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn playing(
        host: &VirtualHost,
    ) -> Result<(VirtualStream, Receiver<()>, Receiver<ErrorKind>), cpal::Error> {
        let (calls, called) = channel();
        let (errors, failed) = channel();
        let config =
            cpal::StreamConfig { channels: 1, sample_rate: 48_000, buffer_size: cpal::BufferSize::Fixed(64) };
        let device = host.default_output_device().unwrap();
        let call = move |_: &mut [f32], _: &cpal::OutputCallbackInfo| calls.send(()).unwrap_or(());
        let tell = move |error: cpal::Error| errors.send(error.kind()).unwrap_or(());
        let stream = device.build_output_stream(config, call, tell, None)?;
        stream.play()?;
        Ok((stream, called, failed))
    }

    #[test]
    fn a_stream_of_a_device_that_is_pulled_out_says_so_once_and_another_opens_when_it_is_back() {
        let host = VirtualHost::new();
        let presence = host.outputs();
        let (stream, called, failed) = playing(&host).unwrap();
        called.recv_timeout(PATIENCE).unwrap();
        presence.pull_out();
        assert_eq!(failed.recv_timeout(PATIENCE), Ok(ErrorKind::DeviceNotAvailable));
        assert_eq!(playing(&host).err().unwrap().kind(), ErrorKind::DeviceNotAvailable);
        presence.put_back();
        playing(&host).unwrap().1.recv_timeout(PATIENCE).unwrap();
        // The old one is over for good.
        drop(stream);
        assert_eq!(failed.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        called.try_iter().count();
    }

    #[test]
    fn a_stream_of_a_device_that_is_suspended_calls_back_once_and_goes_on_when_it_is_back() {
        let host = VirtualHost::new();
        let presence = host.outputs();
        presence.suspend();
        let (_stream, called, _failed) = playing(&host).unwrap();
        called.recv_timeout(PATIENCE).unwrap();
        assert!(called.recv_timeout(Duration::from_millis(50)).is_err());
        presence.put_back();
        called.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn a_stream_of_a_device_that_hangs_goes_on_when_it_is_back_and_is_dropped_only_then() {
        let host = VirtualHost::new();
        let presence = host.outputs();
        let (stream, called, failed) = playing(&host).unwrap();
        called.recv_timeout(PATIENCE).unwrap();
        presence.hang();
        while called.recv_timeout(Duration::from_millis(50)).is_ok() {}
        assert_eq!(playing(&host).err().unwrap().kind(), ErrorKind::DeviceBusy);
        let dropping = std::thread::spawn(move || drop(stream));
        presence.put_back();
        dropping.join().unwrap();
        assert!(called.try_iter().count() > 0);
        assert_eq!(failed.try_iter().count(), 0);
    }
}
