//! The control socket: whole messages between two processes, with descriptors beside them where needed.
//!
//! A `SOCK_SEQPACKET` pair, so that a message arrives whole or not at all and its length is the kernel's word,
//! not the peer's. Messages are decoded with a size limit. Never used on the audio thread.

use crate::message::{self, CodecError};
use rustix::io::{self, Errno, IoSlice, IoSliceMut};
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The descriptors of a worker's two segments.
#[derive(Debug)]
pub struct Handles {
    /// Written by the host.
    pub request: OwnedFd,
    /// Written by the worker.
    pub reply: OwnedFd,
}

/// The most descriptors that come with a message.
const DESCRIPTORS_MAX: usize = 2;

impl Handles {
    /// As they are sent.
    #[must_use]
    pub fn as_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.request.as_fd(), self.reply.as_fd()]
    }

    /// As they were received; `None` if that was another number of descriptors.
    #[must_use]
    pub fn from_fds(fds: Vec<OwnedFd>) -> Option<Self> {
        let [request, reply] = <[OwnedFd; 2]>::try_from(fds).ok()?;
        Some(Self { request, reply })
    }
}

/// Why nothing could be sent or received.
#[derive(Debug)]
pub enum ControlError {
    /// The peer is gone.
    Closed,
    /// A message that can't be understood, or is too long.
    Codec(CodecError),
    /// The operating system.
    System(Errno),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other process closed the control socket"),
            Self::Codec(e) => write!(f, "control message: {e}"),
            Self::System(e) => write!(f, "control socket: {e}"),
        }
    }
}

impl std::error::Error for ControlError {}

impl From<Errno> for ControlError {
    fn from(e: Errno) -> Self {
        match e {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            e => Self::System(e),
        }
    }
}

impl From<CodecError> for ControlError {
    fn from(e: CodecError) -> Self {
        Self::Codec(e)
    }
}

/// One end of a control socket. Sending and receiving may happen on different threads at once.
#[derive(Debug)]
pub struct Control(OwnedFd);

impl Control {
    /// Two connected ends; both close on exec unless handed over.
    ///
    /// # Errors
    /// Of the operating system: no descriptors.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(a), Self(b)))
    }

    /// Takes over an end that was inherited.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Gives the descriptor away, to be inherited.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends a message, waiting while the socket is full.
    ///
    /// # Errors
    /// [`ControlError::Closed`] if the peer is gone, or [`ControlError::Codec`] if the message is too long.
    pub fn send(&self, message: &impl Serialize) -> Result<(), ControlError> {
        self.send_with(message, &[], SendFlags::NOSIGNAL)
    }

    /// Sends a message if the socket has room; false if not, and then nothing was sent.
    ///
    /// # Errors
    /// As [`Control::send`].
    pub fn try_send(&self, message: &impl Serialize) -> Result<bool, ControlError> {
        match self.send_with(message, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(ControlError::System(Errno::AGAIN)) => Ok(false),
            sent => sent.map(|()| true),
        }
    }

    /// Sends a message with descriptors, two at most; false if the socket has no room.
    ///
    /// # Errors
    /// As [`Control::send`].
    pub fn try_send_fds(
        &self,
        message: &impl Serialize,
        fds: &[BorrowedFd<'_>],
    ) -> Result<bool, ControlError> {
        match self.send_with(message, fds, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(ControlError::System(Errno::AGAIN)) => Ok(false),
            sent => sent.map(|()| true),
        }
    }

    fn send_with(
        &self,
        message: &impl Serialize,
        fds: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> Result<(), ControlError> {
        let bytes = message::encode(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        io::retry_on_intr(|| net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut ancillary, flags))?;
        Ok(())
    }

    /// Waits for the next message and the descriptors beside it.
    ///
    /// # Errors
    /// [`ControlError::Closed`] if the peer is gone, [`ControlError::Codec`] for a message that can't be
    /// understood; the next one may still be good.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), ControlError> {
        self.receive_with(RecvFlags::CMSG_CLOEXEC)
    }

    /// As [`Control::receive`], but `None` at once if no message is there.
    ///
    /// # Errors
    /// As [`Control::receive`].
    pub fn try_receive<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>, ControlError> {
        match self.receive_with(RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT) {
            Err(ControlError::System(Errno::AGAIN)) => Ok(None),
            received => received.map(Some),
        }
    }

    fn receive_with<T: DeserializeOwned>(&self, flags: RecvFlags) -> Result<(T, Vec<OwnedFd>), ControlError> {
        let mut bytes = vec![0; message::LIMIT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = io::retry_on_intr(|| {
            net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)
        })?;
        // Taken out of the buffer even if the message is bad, so that they are closed.
        let fds = descriptors(&mut ancillary);
        if got.bytes == 0 {
            return Err(ControlError::Closed);
        }
        if got.flags.contains(ReturnFlags::TRUNC) {
            return Err(ControlError::Codec(CodecError::TooLong));
        }
        Ok((message::decode(&bytes[..got.bytes])?, fds))
    }
}

fn descriptors(ancillary: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let rights = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    rights.flatten().collect()
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Log, LogSource};

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (a, b) = Control::pair().unwrap();
        let file = || rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let handles = Handles { request: file(), reply: file() };
        assert!(a.try_send_fds(&"hello".to_string(), &handles.as_fds()).unwrap());
        let (text, got): (String, _) = b.receive().unwrap();
        assert_eq!(text, "hello");
        let got = Handles::from_fds(got).unwrap();
        let id = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        assert_eq!((id(&got.request), id(&got.reply)), (id(&handles.request), id(&handles.reply)));
    }

    #[test]
    fn a_peer_that_is_gone_is_told_apart_from_a_message_that_is_not_there() {
        let (a, b) = Control::pair().unwrap();
        assert!(b.try_receive::<String>().unwrap().is_none());
        drop(a);
        assert!(matches!(b.try_receive::<String>(), Err(ControlError::Closed)));
        assert!(matches!(b.send(&1u32), Err(ControlError::Closed)));
    }

    #[test]
    fn garbage_is_an_error_and_the_message_after_it_still_arrives() {
        let (a, b) = Control::pair().unwrap();
        net::send(&a, &[0xff; 17], SendFlags::empty()).unwrap();
        a.send(&Log { source: LogSource::Stdout, text: "after".into() }).unwrap();
        assert!(matches!(b.receive::<Log>(), Err(ControlError::Codec(_))));
        assert_eq!(b.receive::<Log>().unwrap().0.text, "after");
    }

    #[test]
    fn a_full_socket_refuses_instead_of_waiting() {
        let (a, _b) = Control::pair().unwrap();
        let text = "x".repeat(30_000);
        let sent = (0..1000).take_while(|_| a.try_send(&text).unwrap()).count();
        assert!(sent > 0 && sent < 1000);
    }
}
