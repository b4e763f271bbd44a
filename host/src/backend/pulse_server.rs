//! A connection of our own to the PulseAudio server, for what cpal does not tell: which device a stream is on.
//!
//! For [`moved`](super::moved). It plays and moves nothing. Nothing is waited for longer than [`LIMIT`]; where that has passed
//! it can be asked again, after any other error that is not the server's own answer it is of no use any more.

use super::direction::Direction;
use pulseaudio::protocol::{
    self, AuthParams, AuthReply, ClientInfo, Command, CommandReply, GetSinkInfo, GetSourceInfo, Prop, Props,
    ProtocolError, SetClientNameReply, SinkInfo, SinkInputInfo, SourceInfo, SourceOutputInfo,
    SubscriptionMask, TagStructReader,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::ffi::CString;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub(super) type Answer<T> = Result<T, ProtocolError>;

/// As long as cpal waits for the server.
const LIMIT: Duration = Duration::from_secs(2);

/// Longer than any message: a server with a thousand streams says less.
const LONGEST: usize = 16 << 20;

/// A stream as the server has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) index: u32,
    pub(super) client: Option<u32>,
    /// Which device it is on, by its number.
    pub(super) device: u32,
}

impl From<SinkInputInfo> for Entry {
    fn from(info: SinkInputInfo) -> Self {
        Self { index: info.index, client: info.client_index, device: info.sink_index }
    }
}

impl From<SourceOutputInfo> for Entry {
    fn from(info: SourceOutputInfo) -> Self {
        Self { index: info.index, client: info.client_index, device: info.source_index }
    }
}

/// A sink or a source, by its names.
pub(super) struct Place {
    /// As the server calls it.
    pub(super) id: String,
    /// As users do.
    pub(super) name: String,
}

impl Place {
    /// In the words that cpal has for it.
    fn new(id: &CString, description: Option<CString>) -> Self {
        let text = |text: &CString| String::from_utf8_lossy(text.as_bytes()).into_owned();
        Self { id: text(id), name: text(description.as_ref().unwrap_or(id)) }
    }
}

pub(super) struct Server {
    reader: BufReader<UnixStream>,
    version: u16,
    /// Of the last question.
    number: u32,
    /// Something has changed since it was waited for.
    has_news: bool,
}

impl Server {
    /// The one that cpal finds too.
    pub(super) fn connect() -> Answer<Self> {
        let none = || ProtocolError::Io(ErrorKind::NotFound.into());
        let path = pulseaudio::socket_path_from_env().ok_or_else(none)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = UnixStream::from(socket.map_err(std::io::Error::from)?);
        // Before it is connected: a server that hangs and has many waiting for it would have that wait too.
        socket.set_write_timeout(Some(LIMIT))?;
        let address = SocketAddrUnix::new(path).map_err(std::io::Error::from)?;
        rustix::net::connect(&socket, &address).map_err(std::io::Error::from)?;
        Self::at(socket)
    }

    fn at(socket: UnixStream) -> Answer<Self> {
        socket.set_write_timeout(Some(LIMIT))?;
        socket.set_read_timeout(Some(LIMIT))?;
        let reader = BufReader::new(socket);
        let mut server = Self { reader, version: protocol::MAX_VERSION, number: 0, has_news: false };
        let cookie = pulseaudio::cookie_path_from_env().and_then(|path| std::fs::read(path).ok());
        let (cookie, version) = (cookie.unwrap_or_default(), server.version);
        let auth = AuthParams { version, supports_shm: false, supports_memfd: false, cookie };
        let reply: AuthReply = server.ask(&Command::Auth(auth))?;
        server.version = version.min(reply.version);
        let mut props = Props::new();
        props.set(Prop::ApplicationName, c"nda looking where its streams are");
        server.ask::<SetClientNameReply>(&Command::SetClientName(props))?;
        Ok(server)
    }

    /// From now on it tells of every change to a stream of this direction.
    pub(super) fn tell_of(&mut self, direction: Direction) -> Answer<()> {
        let which = match direction {
            Direction::Output => SubscriptionMask::SINK_INPUT,
            Direction::Input => SubscriptionMask::SOURCE_OUTPUT,
        };
        self.answer_to(&Command::Subscribe(which)).map(drop)
    }

    /// Waits until something has changed, [`LIMIT`] at most; false if the other end of `kept` is closed first.
    pub(super) fn wait(&mut self, kept: &UnixStream) -> Answer<bool> {
        while !self.has_news {
            if self.reader.buffer().is_empty() {
                let mut both =
                    [PollFd::new(self.reader.get_ref(), PollFlags::IN), PollFd::new(kept, PollFlags::IN)];
                let found = poll(&mut both, Timespec::try_from(LIMIT).ok().as_ref());
                let [says_something, has_ended] = both.map(|fd| !fd.revents().is_empty());
                if has_ended {
                    return Ok(false);
                }
                if found.is_err() || !says_something {
                    break;
                }
            }
            match self.message() {
                Ok((_, Command::SubscribeEvent(_), _)) => self.has_news = true,
                // The answer to a question that was given up.
                Ok(_) => {}
                Err(error) if is_late(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.has_news = false;
        Ok(true)
    }

    /// All streams of everybody's.
    pub(super) fn streams(&mut self, direction: Direction) -> Answer<Vec<Entry>> {
        match direction {
            Direction::Output => Ok(entries(self.ask::<Vec<SinkInputInfo>>(&Command::GetSinkInputInfoList)?)),
            Direction::Input => {
                Ok(entries(self.ask::<Vec<SourceOutputInfo>>(&Command::GetSourceOutputInfoList)?))
            }
        }
    }

    pub(super) fn stream(&mut self, direction: Direction, index: u32) -> Answer<Entry> {
        match direction {
            Direction::Output => {
                self.ask::<SinkInputInfo>(&Command::GetSinkInputInfo(index)).map(Entry::from)
            }
            Direction::Input => {
                self.ask::<SourceOutputInfo>(&Command::GetSourceOutputInfo(index)).map(Entry::from)
            }
        }
    }

    pub(super) fn device(&mut self, direction: Direction, index: u32) -> Answer<Place> {
        let (index, name) = (Some(index), None);
        match direction {
            Direction::Output => {
                let info: SinkInfo = self.ask(&Command::GetSinkInfo(GetSinkInfo { index, name }))?;
                Ok(Place::new(&info.name, info.description))
            }
            Direction::Input => {
                let info: SourceInfo = self.ask(&Command::GetSourceInfo(GetSourceInfo { index, name }))?;
                Ok(Place::new(&info.name, info.description))
            }
        }
    }

    /// Whether a client is of this process, by what it says of itself.
    pub(super) fn is_ours(&mut self, client: u32) -> Answer<bool> {
        let info: ClientInfo = self.ask(&Command::GetClientInfo(client))?;
        let process = info.props.get(Prop::ApplicationProcessId).unwrap_or_default();
        Ok(process.strip_suffix(b"\0").unwrap_or(process) == std::process::id().to_string().as_bytes())
    }

    /// Ends a client, all that it plays and all that lies in its buffers.
    pub(super) fn end(&mut self, client: u32) -> Answer<()> {
        self.answer_to(&Command::KillClient(client)).map(drop)
    }

    fn ask<R: CommandReply>(&mut self, question: &Command) -> Answer<R> {
        let mut answer = self.answer_to(question)?;
        TagStructReader::new(&mut answer, self.version).read()
    }

    fn answer_to(&mut self, question: &Command) -> Answer<Cursor<Vec<u8>>> {
        self.number += 1;
        let mut bytes = Vec::new();
        protocol::encode_command_message(&mut bytes, self.number, question, self.version)?;
        self.reader.get_mut().write_all(&bytes)?;
        loop {
            match self.message()? {
                (number, Command::Reply, rest) if number == self.number => return Ok(rest),
                (number, Command::Error(error), _) if number == self.number => {
                    return Err(ProtocolError::ServerError(error));
                }
                (_, Command::SubscribeEvent(_), _) => self.has_news = true,
                _ => {}
            }
        }
    }

    /// The next message: to which question, what it is, and what of it has not been read.
    fn message(&mut self) -> Answer<(u32, Command, Cursor<Vec<u8>>)> {
        // Of one that has not begun nothing is lost when this is late.
        self.reader.fill_buf()?;
        let bytes = self.bytes().map_err(|error| if is_late(&error) { torn() } else { error })?;
        let mut message = Cursor::new(bytes);
        let (number, command) = Command::read_tag_prefixed(&mut message, self.version)?;
        Ok((number, command, message))
    }

    fn bytes(&mut self) -> Answer<Vec<u8>> {
        let length = protocol::read_descriptor(&mut self.reader)?.length as usize;
        if length > LONGEST {
            return Err(ProtocolError::Invalid(format!("a message of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// Whether nothing came in time.
pub(super) fn is_late(error: &ProtocolError) -> bool {
    matches!(error, ProtocolError::Io(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn torn() -> ProtocolError {
    ProtocolError::Invalid("a message that is not whole".into())
}

fn entries<T: Into<Entry>>(all: Vec<T>) -> Vec<Entry> {
    all.into_iter().map(Into::into).collect()
}

/// Servers of tests, which have said all that they say before they are asked.
#[cfg(test)]
pub(super) mod fake {
    use super::*;

    /// What a server has said, beginning with the handshake; `number` is that of the next question.
    pub(in super::super) struct Said {
        bytes: Vec<u8>,
        number: u32,
    }

    impl Said {
        pub(in super::super) fn handshake() -> Self {
            let said = Self { bytes: Vec::new(), number: 1 };
            let version = protocol::MAX_VERSION;
            said.answer(&AuthReply { version, ..AuthReply::default() })
                .answer(&SetClientNameReply { client_id: 1 })
        }

        pub(in super::super) fn answer<R: CommandReply>(mut self, answer: &R) -> Self {
            let number = self.number;
            protocol::write_reply_message(&mut self.bytes, number, answer, protocol::MAX_VERSION).unwrap();
            Self { number: number + 1, ..self }
        }

        /// What is no answer to the next question.
        pub(in super::super) fn aside(mut self, command: &Command) -> Self {
            let version = protocol::MAX_VERSION;
            protocol::write_command_message(&mut self.bytes, 99, command, version).unwrap();
            self
        }

        pub(in super::super) fn raw(mut self, bytes: &[u8]) -> Self {
            self.bytes.extend(bytes);
            self
        }

        /// The server, which can be asked until what is beside it is dropped, and says nothing more.
        pub(in super::super) fn server(self) -> (Answer<Server>, UnixStream) {
            let (ours, mut its) = UnixStream::pair().unwrap();
            its.write_all(&self.bytes).unwrap();
            its.shutdown(std::net::Shutdown::Write).unwrap();
            (Server::at(ours), its)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Said;
    use super::*;
    use protocol::{PulseError, SubscriptionEvent, SubscriptionEventFacility, SubscriptionEventType};

    #[test]
    fn an_answer_is_told_from_what_a_server_says_beside_it() {
        let (event_facility, event_type) =
            (SubscriptionEventFacility::SinkInput, SubscriptionEventType::Changed);
        let change = SubscriptionEvent { event_facility, event_type, index: Some(4) };
        let info = SinkInputInfo { index: 4, sink_index: 7, client_index: Some(1), ..Default::default() };
        let said = Said::handshake().aside(&Command::SubscribeEvent(change));
        let said = said.aside(&Command::Error(PulseError::Timeout)).answer(&info);
        let (server, _its) = said.server();
        let mut server = server.unwrap();
        let entry = server.stream(Direction::Output, 4).unwrap();
        assert_eq!((entry.index, entry.device, entry.client), (4, 7, Some(1)));
        // What has changed meanwhile is not waited for.
        let (end, kept) = UnixStream::pair().unwrap();
        assert!(server.wait(&kept).unwrap());
        assert!(server.wait(&kept).is_err(), "it has said all that it says");
        drop(end);
        assert!(!server.wait(&kept).unwrap(), "nobody wants to know any more");
    }

    #[test]
    fn a_server_that_makes_no_sense_is_an_error() {
        let descriptor = |length: u32| {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.extend([0xff; 4]);
            bytes.extend([0; 12]);
            bytes
        };
        let with = |length, rest: &[u8]| [descriptor(length), rest.to_vec()].concat();
        let all = [Vec::new(), vec![0; 7], descriptor(u32::MAX), with(4, b"noth"), with(10, &[0xff; 10])];
        for nonsense in all.into_iter().chain([with(100, b"L"), with(0, b"")]) {
            let (server, _its) = Said::handshake().raw(&nonsense).server();
            assert!(server.unwrap().streams(Direction::Input).is_err(), "{nonsense:?}");
        }
    }
}
