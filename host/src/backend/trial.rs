//! Opening a device for nothing but to find out what its buffer is.
//!
//! For opening a pipeline, which is planned for that. Nothing is heard of it.

use super::device::Device;
use super::stream::Stream;
use crate::error::Result;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How many callbacks it takes until a server has settled down to the buffer that a new stream leads to.
const CALLBACKS: usize = 4;

/// How long they may take; a server that runs a stream at all has begun by then.
const LIMIT: Duration = Duration::from_secs(2);

/// Opens a device once, as some audio systems name such as can't be opened; how many frames it takes or brings at a time,
/// if it tells. One that only knows when it plays is silent and played for a moment.
pub(crate) fn try_out(device: Device) -> Result<Option<u32>> {
    let plays = device.knows_buffer_late();
    tried(device, plays)
}

fn tried(device: Device, plays: bool) -> Result<Option<u32>> {
    let (sender, callbacks) = sync_channel(CALLBACKS);
    let stream = open(device, sender)?;
    let told = stream.buffer_frames();
    if !plays {
        return Ok(told);
    }
    stream.play()?;
    Ok(last_of(&callbacks).or(told))
}

fn open(device: Device, sender: SyncSender<usize>) -> Result<Stream> {
    let tell = move |frames| {
        // Later ones, for which there is no room, don't matter.
        let _ = sender.try_send(frames);
    };
    if device.is_input() {
        device.open_input(move |capture| tell(capture.frames), |_| {})
    } else {
        device.open_output(move |playback| tell(playback.frames), |_| {})
    }
}

/// The frames of the last of so many callbacks, or of the last that came in time.
fn last_of(callbacks: &Receiver<usize>) -> Option<u32> {
    let until = Instant::now() + LIMIT;
    let next = |_| callbacks.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
    let last = (0..CALLBACKS).map_while(next).last()?;
    u32::try_from(last).ok().filter(|frames| *frames > 0)
}

#[cfg(test)]
mod tests {
    use super::super::StreamFormat;
    use super::super::virtual_device::VirtualHost;
    use super::*;

    #[test]
    fn a_device_is_asked_or_played_for_its_buffer() {
        let want = StreamFormat { rate: 48_000, channels: 2, buffer_frames: Some(300) };
        for plays in [false, true] {
            let host = VirtualHost::new();
            assert_eq!(tried(host.output_device(want).unwrap(), plays).unwrap(), Some(300));
            assert_eq!(tried(host.input_device(want).unwrap(), plays).unwrap(), Some(300));
        }
    }

    #[test]
    fn the_last_of_the_first_callbacks_counts() {
        let after = |frames: &[usize]| {
            let (sender, callbacks) = sync_channel(frames.len());
            frames.iter().for_each(|frames| sender.send(*frames).unwrap());
            drop(sender);
            last_of(&callbacks)
        };
        assert_eq!(after(&[1024, 256, 256, 256, 512]), Some(256));
        assert_eq!((after(&[1024, 256]), after(&[0]), after(&[])), (Some(256), None, None));
    }
}
