//! Streams that a PulseAudio server moves to another device: how that is found out, and what then.
//!
//! For opening them. The server moves a stream when its card is unplugged, or when somebody asks it to, and cpal does not
//! tell. So each stream has a connection and a thread of its own beside it, which is no audio thread and holds up nobody. One
//! that is meant for a certain device is ended at once when it is on another, where not everybody may be meant to hear it,
//! and is lost; one that is meant for whichever is the default plays on, and it is told where. Nothing here moves a stream
//! back. The client of a stream that is over is ended, however that came. Where the server can't be asked, that is told, and
//! the stream plays on without.

use super::direction::Direction;
use super::event::{StreamEvent, Teller};
use super::keeper::Kept;
use super::pulse_server::{Answer, Entry, Place, Server, is_late};
use crate::error::Result;
use pulseaudio::protocol::{ProtocolError, PulseError};
use std::fmt::Display;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// Held while a stream is opened: which is new at the server then is that one.
static OPENING: Mutex<()> = Mutex::new(());

/// How long another one is waited for: less than opening may take, of which something is to be left.
const TURN_LIMIT: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(10);

/// No device's number.
const NOWHERE: u32 = u32::MAX;

/// A stream as its user means it.
pub(super) struct Meant {
    pub(super) direction: Direction,
    /// Which device it is opened for, as the server calls it.
    pub(super) device: String,
    /// It plays on if it is moved.
    pub(super) may_be_moved: bool,
}

/// Opens a stream by `open`, and has it watched for as long as it is kept.
pub(super) fn watched<E: FnMut(StreamEvent) + Clone + Send + 'static>(
    meant: Meant,
    mut teller: Teller<E>,
    open: impl FnOnce() -> Result<cpal::Stream>,
) -> Result<Kept> {
    let turn = turn();
    let before = turn.as_ref().map(|_| look_before(meant.direction));
    let kept = Kept::from(open()?);
    let found =
        before.map(|before| before.and_then(|(server, before)| find(server, &before, meant.direction)));
    drop(turn);
    let Some(found) = found else {
        teller.tell(unwatched("another stream hangs as it is opened"));
        return Ok(kept);
    };
    match found.and_then(|(server, entry)| Watch::start(server, meant, entry, teller.clone())) {
        Ok(end) => Ok(kept.with(end)),
        Err(why) => {
            teller.tell(unwatched(why));
            Ok(kept)
        }
    }
}

/// The turn to open a stream; `None` while one that hangs as it is opened has it, which may be for ever.
fn turn() -> Option<MutexGuard<'static, ()>> {
    turn_within(TURN_LIMIT)
}

fn turn_within(limit: Duration) -> Option<MutexGuard<'static, ()>> {
    let until = Instant::now() + limit;
    loop {
        match OPENING.try_lock() {
            Ok(turn) => return Some(turn),
            Err(TryLockError::Poisoned(turn)) => return Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

/// A connection, and what streams there are.
fn look_before(direction: Direction) -> Answer<(Server, Vec<u32>)> {
    let mut server = Server::connect()?;
    server.tell_of(direction)?;
    let before = server.streams(direction)?.iter().map(|entry| entry.index).collect();
    Ok((server, before))
}

/// The stream of ours that was not there before. Where there are two, as another process may have the same number in a
/// container, neither is watched: a stranger's would be ended in the place of ours.
fn find(mut server: Server, before: &[u32], direction: Direction) -> Answer<(Server, Entry)> {
    let mut ours = Vec::new();
    for entry in server.streams(direction)?.into_iter().filter(|entry| !before.contains(&entry.index)) {
        if let Some(client) = entry.client
            && server.is_ours(client)?
        {
            ours.push(entry);
        }
    }
    match ours[..] {
        [entry] => Ok((server, entry)),
        [] => Err(ProtocolError::Invalid("it does not list the stream".into())),
        _ => Err(ProtocolError::Invalid("it lists another stream that began at the same time".into())),
    }
}

fn unwatched(why: impl Display) -> StreamEvent {
    StreamEvent::Other(format!(
        "PulseAudio can't be asked which device it is on, and may move it unnoticed: {why}"
    ))
}

struct Watch<E> {
    server: Server,
    meant: Meant,
    entry: Entry,
    /// Which device it was on at the last look.
    at: u32,
    teller: Teller<E>,
    /// The other end of it is closed when the stream is dropped.
    kept: UnixStream,
}

impl<E: FnMut(StreamEvent) + Send + 'static> Watch<E> {
    /// Watches for as long as what it returns is kept.
    fn start(server: Server, meant: Meant, entry: Entry, teller: Teller<E>) -> Answer<UnixStream> {
        let (end, kept) = UnixStream::pair()?;
        let watch = Self { server, meant, entry, at: NOWHERE, teller, kept };
        std::thread::Builder::new().name("pulse-watch".into()).spawn(move || watch.run())?;
        Ok(end)
    }

    fn run(mut self) {
        loop {
            match self.look() {
                Ok(true) => {}
                Ok(false) => return self.end(),
                Err(error) if is_late(&error) && !self.teller.counts.is_over() => {}
                // The server has closed the connection. That ends the stream, as cpal does say.
                Err(ProtocolError::Io(_)) => return,
                Err(error) => return self.teller.tell(unwatched(error)),
            }
        }
    }

    /// The stream is over, and its client goes too: what lies in its buffers is not for another device, and cpal waits for ever
    /// for a stream that the server has ended by itself.
    fn end(&mut self) {
        // A server that does not answer ends it no other way.
        let _ = self.entry.client.map(|client| self.server.end(client));
    }

    /// Looks where the stream is, and waits for a change; false if there is nothing more to wait for.
    fn look(&mut self) -> Answer<bool> {
        let device = match self.server.stream(self.meant.direction, self.entry.index) {
            Err(ProtocolError::ServerError(PulseError::NoEntity)) => {
                return self.lose("PulseAudio has ended it");
            }
            entry => entry?.device,
        };
        if device != self.at && !self.is_left_at(device)? {
            return Ok(false);
        }
        self.server.wait(&self.kept)
    }

    /// Whether it plays on at this device.
    fn is_left_at(&mut self, device: u32) -> Answer<bool> {
        let Place { id, name } = match self.server.device(self.meant.direction, device) {
            // It is on its way from one to another: what comes of that is a change, too.
            Err(ProtocolError::ServerError(_)) => return Ok(true),
            place => place?,
        };
        self.at = device;
        if id == self.meant.device {
            return Ok(true);
        }
        let id_for_users = format!("pulseaudio:{id}");
        if !self.meant.may_be_moved {
            return self.lose(&format!("PulseAudio has moved it to {name} ({id_for_users})"));
        }
        self.meant.device = id;
        self.teller.tell(StreamEvent::Moved { name, id: id_for_users });
        Ok(true)
    }

    /// It is told once that the stream is lost, whoever finds that out first.
    fn lose(&mut self, why: &str) -> Answer<bool> {
        if !self.teller.counts.is_over() {
            self.teller.tell(StreamEvent::DeviceLost(why.to_owned()));
            self.teller.counts.end();
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Counts;
    use super::super::pulse_server::fake::Said;
    use super::*;
    use pulseaudio::protocol::{ClientInfo, Prop, Props, SinkInfo, SinkInputInfo};
    use std::ffi::CString;
    use std::sync::Arc;

    const OUTPUT: Direction = Direction::Output;

    /// What is told of a stream that was opened for the sink `own`, and whether it is over, when the server says this.
    fn told(may_be_moved: bool, said: Said) -> (Vec<StreamEvent>, bool) {
        let events = Arc::new(Mutex::new(Vec::new()));
        let (told, counts) = (Arc::clone(&events), Arc::new(Counts::default()));
        let on_error = move |event| told.lock().unwrap().push(event);
        let (server, _its) = said.server();
        let meant = Meant { direction: OUTPUT, device: "own".into(), may_be_moved };
        let entry = Entry { index: 4, client: None, device: 7 };
        let teller = Teller { on_error, counts: Arc::clone(&counts) };
        let (_end, kept) = UnixStream::pair().unwrap();
        Watch { server: server.unwrap(), meant, entry, at: NOWHERE, teller, kept }.run();
        let events = std::mem::take(&mut *events.lock().unwrap());
        (events, counts.is_over())
    }

    fn at(said: Said, sink_index: u32) -> Said {
        said.answer(&SinkInputInfo { index: 4, sink_index, ..Default::default() })
    }

    fn called(said: Said, name: &str) -> Said {
        said.answer(&SinkInfo { name: CString::new(name).unwrap(), ..Default::default() })
    }

    #[test]
    fn a_stream_that_hangs_as_it_is_opened_does_not_keep_others_from_being_opened() {
        let hangs = turn_within(Duration::from_secs(60));
        assert!(hangs.is_some() && turn_within(Duration::from_millis(1)).is_none());
        drop(hangs);
        assert!(turn_within(Duration::from_secs(60)).is_some());
    }

    #[test]
    fn a_stream_is_lost_at_another_device_only_if_it_is_not_for_whichever_is_the_default() {
        let moved = || called(at(Said::handshake(), 8), "other");
        let lost = StreamEvent::DeviceLost("PulseAudio has moved it to other (pulseaudio:other)".into());
        assert_eq!(told(false, moved()), (vec![lost], true));
        let elsewhere = StreamEvent::Moved { name: "other".into(), id: "pulseaudio:other".into() };
        assert_eq!(told(true, moved()), (vec![elsewhere], false));
        assert_eq!(told(false, called(at(Said::handshake(), 7), "own")), (Vec::new(), false));
    }

    #[test]
    fn ours_is_the_only_new_stream_whose_client_has_our_number() {
        let found = |clients: &[&str]| {
            let entry = |n| SinkInputInfo {
                index: n,
                client_index: Some(10 + n),
                sink_index: 7,
                ..Default::default()
            };
            let all: Vec<_> = (1..).map(entry).take(clients.len() + 1).collect();
            let said = clients.iter().fold(Said::handshake().answer(&all), |said, process| {
                let mut props = Props::new();
                props.set(Prop::ApplicationProcessId, CString::new(*process).unwrap());
                said.answer(&ClientInfo { props, ..Default::default() })
            });
            let (server, _its) = said.server();
            // The first one was there before.
            find(server.unwrap(), &[1], OUTPUT).ok().map(|(_, entry)| entry.index)
        };
        let own = std::process::id().to_string();
        assert_eq!(found(&["999999999", &own]), Some(3));
        assert_eq!((found(&["999999999"]), found(&[&own, &own])), (None, None));
    }

    #[test]
    fn a_server_that_makes_no_sense_costs_the_watch_and_not_the_stream() {
        for said in [Said::handshake(), called(at(Said::handshake(), 7), "own")] {
            let (events, is_over) = told(false, said.raw(&[0xff; 64]));
            assert!(
                matches!(&events[..], [StreamEvent::Other(why)] if why.contains("unnoticed")),
                "{events:?}"
            );
            assert!(!is_over);
        }
    }
}
