//! The thread that has a stream of cpal's, and how its owner reaches it.
//!
//! For [`super::stream`]: a device that no longer answers must not take its owner along, nor have one more thread left
//! behind each time that it is tried again.

use super::asking::{CLOSE_LIMIT, CONTROL_LIMIT, OPEN_LIMIT, silent, spawn};
use super::system::CpalResult;
use crate::error::{Error, Kind, Result};
use cpal::traits::StreamTrait;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How often a device is asked how many frames it takes at a time.
const ASK_BUFFER_EVERY: Duration = Duration::from_secs(1);

/// An order, and where its answer goes.
type Asked = (Order, Sender<CpalResult<()>>);
type Inbox = Receiver<Asked>;

/// The devices that did not open or play in time, each with what its thread has for as long as that lasts.
static HANGING: Mutex<Vec<(String, Weak<()>)>> = Mutex::new(Vec::new());

/// A stream of cpal's, and what is to last as long as it is kept.
pub(super) struct Kept {
    // The first, and so dropped first: it is not to wait for a stream that hangs as it is dropped.
    _watch: Option<Box<dyn Send>>,
    stream: cpal::Stream,
}

impl From<cpal::Stream> for Kept {
    fn from(stream: cpal::Stream) -> Self {
        Self { _watch: None, stream }
    }
}

impl Kept {
    #[cfg(feature = "pulseaudio")]
    pub(super) fn with(self, watch: impl Send + 'static) -> Self {
        Self { _watch: Some(Box::new(watch)), ..self }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Play,
    Pause,
}

/// How many frames the device takes or brings at a time, as the thread has asked last: some may be set to another number
/// while they play.
#[derive(Debug, Default)]
struct Buffer(AtomicU32);

/// Frames by which callbacks differ where the server converts what a stream takes or brings to a rate of its own: that is
/// no other buffer.
const CONVERTED: u32 = 2;

impl Buffer {
    fn ask(&self, stream: &cpal::Stream) {
        self.hear(stream.buffer_size().unwrap_or(0));
    }

    /// Of sizes that are nearly the same the longest counts.
    fn hear(&self, frames: u32) {
        let is_the_same = |known: u32| (known.saturating_sub(CONVERTED)..=known).contains(&frames);
        if frames == 0 || !is_the_same(self.0.load(Ordering::Relaxed)) {
            self.0.store(frames, Ordering::Relaxed);
        }
    }

    fn frames(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|frames| *frames > 0)
    }
}

/// The thread that opens, keeps and drops a stream of cpal's, and how to reach it.
#[derive(Debug)]
pub(super) struct Keeper {
    /// None once it is to end.
    orders: Option<Sender<Asked>>,
    /// Disconnected once it has.
    ended: Receiver<()>,
    buffer: Arc<Buffer>,
    /// Which one, in words.
    device: String,
    thread: Weak<()>,
}

impl Keeper {
    /// Has `open` open a device, which is told from others by `device`. While it hangs in an earlier `open`, it is not
    /// tried again. One that `asks_again` does so every second: how many frames the device has at a time.
    pub(super) fn open(
        device: String,
        asks_again: bool,
        open: impl FnOnce() -> Result<Kept> + Send + 'static,
    ) -> Result<Self> {
        Self::open_within(OPEN_LIMIT, device, asks_again, open)
    }

    fn open_within(
        limit: Duration,
        device: String,
        asks_again: bool,
        open: impl FnOnce() -> Result<Kept> + Send + 'static,
    ) -> Result<Self> {
        if hangs(&device) {
            return Err(still_hanging(&device));
        }
        let runs = Arc::new(());
        let thread = Arc::downgrade(&runs);
        let (orders, inbox): (_, Inbox) = mpsc::channel();
        let (answer, opened) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let buffer = Arc::new(Buffer::default());
        let asked = Arc::clone(&buffer);
        spawn(move || {
            // Moved in, to be dropped last: that tells that it hangs no longer, and the owner.
            let _end = (runs, end);
            match open() {
                Ok(kept) => {
                    asked.ask(&kept.stream);
                    // If the owner has given up, the orders end at once.
                    let _ = answer.send(Ok(()));
                    drop(answer);
                    keep(&kept.stream, &inbox, asks_again.then_some(&*asked));
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        })?;
        opened.recv_timeout(limit).map_err(|_| {
            leave_hanging(&device, &thread);
            silent(&device, limit)
        })??;
        Ok(Self { orders: Some(orders), ended, buffer, device, thread })
    }

    /// Frames that the device takes or brings at a time, when it was asked last; `None` if it does not say.
    pub(super) fn buffer_frames(&self) -> Option<u32> {
        self.buffer.frames()
    }

    pub(super) fn order(&self, order: Order) -> Result<()> {
        self.order_within(CONTROL_LIMIT, order)
    }

    fn order_within(&self, limit: Duration, order: Order) -> Result<()> {
        let (reply, answer) = mpsc::channel();
        if let Some(orders) = &self.orders {
            orders.send((order, reply)).map_err(|_| silent(&self.device, limit))?;
        }
        let answer = answer.recv_timeout(limit).map_err(|_| {
            leave_hanging(&self.device, &self.thread);
            silent(&self.device, limit)
        })?;
        answer.map_err(|e| {
            let verb = match order {
                Order::Play => "start",
                Order::Pause => "pause",
            };
            Error::new(Kind::Device, format!("{} would not {verb}", self.device)).source(e)
        })
    }
}

/// Takes note that the thread which has this device is left behind with it.
fn leave_hanging(device: &str, thread: &Weak<()>) {
    HANGING.lock().unwrap_or_else(PoisonError::into_inner).push((device.to_owned(), thread.clone()));
}

/// Whether a thread is still left behind with this device.
fn hangs(device: &str) -> bool {
    let mut hanging = HANGING.lock().unwrap_or_else(PoisonError::into_inner);
    hanging.retain(|(_, thread)| thread.strong_count() > 0);
    hanging.iter().any(|(one, _)| one == device)
}

fn still_hanging(device: &str) -> Error {
    Error::new(Kind::Absent, format!("{device} still hangs since it was tried before"))
        .remedy("connect it again or restart its audio system, or use device = \"virtual\"")
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        // A device that hangs is left to its thread: better a thread too many than an owner that hangs with it.
        let _: std::result::Result<(), RecvTimeoutError> = self.ended.recv_timeout(CLOSE_LIMIT);
    }
}

/// Does what the owner asks for, until there is none.
fn keep(stream: &cpal::Stream, inbox: &Inbox, buffer: Option<&Buffer>) {
    let Some(buffer) = buffer else {
        return inbox.iter().for_each(|(order, reply)| obey(stream, order, &reply));
    };
    loop {
        match inbox.recv_timeout(ASK_BUFFER_EVERY) {
            Ok((order, reply)) => obey(stream, order, &reply),
            Err(RecvTimeoutError::Timeout) => buffer.ask(stream),
            Err(RecvTimeoutError::Disconnected) => return,
        }
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
    use super::super::virtual_device::VirtualHost;
    use super::super::{DeviceChoice, Playback, StreamFormat, open_output};
    use super::*;
    use crate::until::{DEADLINE, until};
    use std::time::Duration;

    const STEREO: StreamFormat = StreamFormat { rate: 48_000, channels: 2, buffer_frames: None };

    #[test]
    fn a_buffer_that_varies_by_a_frame_is_one_of_the_longest() {
        let buffer = Buffer::default();
        let heard = [1024, 1114, 1115, 1114, 1113, 1024, 1025, 0, 512, 2].map(|frames| {
            buffer.hear(frames);
            buffer.frames()
        });
        let one = [1024, 1114, 1115, 1115, 1115, 1024, 1025].map(Some);
        assert_eq!((&heard[..7], &heard[7..]), (&one[..], &[None, Some(512), Some(2)][..]));
    }

    #[test]
    fn dropping_a_stream_drops_its_callback() {
        let (sender, callbacks) = mpsc::channel::<()>();
        let callback = move |_: &mut Playback<'_>| sender.send(()).unwrap_or(());
        let want = StreamFormat { rate: 8_000, buffer_frames: Some(8192), ..STEREO };
        let stream = open_output(&DeviceChoice::Virtual, want, callback, |_| ()).unwrap();
        stream.play().unwrap();
        callbacks.recv_timeout(DEADLINE).unwrap();
        drop(stream);
        until("the callback to be gone", || callbacks.try_recv().is_err());
        assert_eq!(callbacks.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn a_device_that_hangs_as_it_is_opened_keeps_one_thread_however_often_it_is_tried() {
        const SHORT: Duration = Duration::from_millis(20);
        let ends = || Err(Error::new(Kind::Device, "there is none"));
        let open =
            |device: &str| Keeper::open_within(DEADLINE, device.into(), false, ends).unwrap_err().to_string();
        let (release, held) = mpsc::channel::<()>();
        let never = Keeper::open_within(SHORT, "a deaf device".into(), false, move || {
            let _ = held.recv();
            ends()
        });
        assert!(never.unwrap_err().to_string().contains("a deaf device did not answer"));
        for _ in 0..3 {
            let refused =
                Keeper::open_within(DEADLINE, "a deaf device".into(), false, || unreachable!("it hangs"));
            assert!(refused.unwrap_err().to_string().contains("a deaf device still hangs"));
        }
        assert_eq!(open("another device"), "there is none");
        // Its thread ends soon after it is let go.
        release.send(()).unwrap();
        until("its thread to end", || open("a deaf device") == "there is none");
    }

    #[test]
    fn a_device_that_hangs_as_it_begins_to_play_is_opened_again_only_when_it_is_back() {
        let host = VirtualHost::new().cable("a test's hang");
        let open = || host.output_device(STEREO).unwrap().open_output(|_| (), |_| ());
        let stream = open().unwrap();
        host.outputs().hang();
        let silent = stream.keeper.order_within(Duration::from_millis(20), Order::Play).unwrap_err();
        assert!(silent.to_string().contains("virtual:a test's hang did not answer"), "{silent}");
        assert!(open().unwrap_err().to_string().contains("still hangs"));
        host.outputs().put_back();
        drop(stream);
        open().unwrap();
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
        inside.recv_timeout(DEADLINE).unwrap();
        drop(stream);
        // Still in the callback, and let out only now.
        release.send(()).unwrap();
    }
}
