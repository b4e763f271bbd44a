//! The thread that has a stream of cpal's, and how its owner reaches it.
//!
//! For [`super::stream`]: a device that no longer answers must not take its owner along.

use super::asking::{CLOSE_LIMIT, CONTROL_LIMIT, OPEN_LIMIT, silent, spawn};
use super::system::CpalResult;
use crate::error::{Error, Kind, Result};
use cpal::traits::StreamTrait;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};

const DEVICE: &str = "the audio device";

#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Play,
    Pause,
}

/// The thread that opens, keeps and drops a stream of cpal's, and how to reach it.
#[derive(Debug)]
pub(super) struct Keeper {
    /// None once it is to end.
    orders: Option<Sender<(Order, Sender<CpalResult<()>>)>>,
    /// Disconnected once it has.
    ended: Receiver<()>,
    pub(super) buffer_frames: Option<u32>,
}

impl Keeper {
    pub(super) fn open(open: impl FnOnce() -> Result<cpal::Stream> + Send + 'static) -> Result<Self> {
        let (orders, inbox) = mpsc::channel::<(Order, Sender<CpalResult<()>>)>();
        let (answer, opened) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        spawn(move || {
            // Moved in, to be dropped last: that tells the owner.
            let _end = end;
            match open() {
                Ok(stream) => {
                    // If the owner has given up, the orders end at once.
                    let _ = answer.send(Ok(stream.buffer_size().ok()));
                    drop(answer);
                    inbox.iter().for_each(|(order, reply)| obey(&stream, order, &reply));
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        })?;
        let buffer_frames = opened.recv_timeout(OPEN_LIMIT).map_err(|_| silent(DEVICE, OPEN_LIMIT))??;
        Ok(Self { orders: Some(orders), ended, buffer_frames })
    }

    pub(super) fn order(&self, order: Order) -> Result<()> {
        let (reply, answer) = mpsc::channel();
        if let Some(orders) = &self.orders {
            orders.send((order, reply)).map_err(|_| silent(DEVICE, CONTROL_LIMIT))?;
        }
        let answer = answer.recv_timeout(CONTROL_LIMIT).map_err(|_| silent(DEVICE, CONTROL_LIMIT))?;
        answer.map_err(|e| {
            let verb = match order {
                Order::Play => "start",
                Order::Pause => "pause",
            };
            Error::new(Kind::Device, format!("the audio device would not {verb}")).source(e)
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        // A device that hangs is left to its thread: better a thread too many than an owner that hangs with it.
        let _: std::result::Result<(), RecvTimeoutError> = self.ended.recv_timeout(CLOSE_LIMIT);
    }
}

fn obey(stream: &cpal::Stream, order: Order, reply: &Sender<CpalResult<()>>) {
    let result = match order {
        Order::Play => stream.play(),
        Order::Pause => stream.pause(),
    };
    // An owner that has waited long enough no longer listens.
    let _ = reply.send(result);
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceChoice, Playback, StreamFormat, open_output};
    use super::*;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    const STEREO: StreamFormat = StreamFormat { rate: 48_000, channels: 2, buffer_frames: None };

    #[test]
    fn dropping_a_stream_drops_its_callback() {
        let (sender, callbacks) = mpsc::channel::<()>();
        let callback = move |_: &mut Playback<'_>| sender.send(()).unwrap_or(());
        let want = StreamFormat { rate: 8_000, buffer_frames: Some(8192), ..STEREO };
        let stream = open_output(&DeviceChoice::Virtual, want, callback, |_| ()).unwrap();
        stream.play().unwrap();
        callbacks.recv_timeout(PATIENCE).unwrap();
        drop(stream);
        while callbacks.try_recv().is_ok() {}
        assert_eq!(callbacks.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn dropping_a_stream_whose_callback_hangs_leaves_it_behind() {
        let (release, held) = mpsc::channel::<()>();
        let (entered, inside) = mpsc::channel();
        let callback = move |_: &mut Playback<'_>| {
            let _ = entered.send(());
            let _ = held.recv();
        };
        let stream = open_output(&DeviceChoice::Virtual, STEREO, callback, |_| ()).unwrap();
        stream.play().unwrap();
        inside.recv_timeout(PATIENCE).unwrap();
        drop(stream);
        // Still in the callback, and let out only now.
        release.send(()).unwrap();
    }
}
