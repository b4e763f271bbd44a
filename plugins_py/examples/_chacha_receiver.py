"""How packets are found in a stream and become audio again. Not a plugin: see ``chacha_decryptor``.

Whatever is not a whole, true, new packet becomes silence. No more is kept than the longest packet and a
block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from _chacha_packet import HEADER_SAMPLES, INSTANCE_BYTES, Header, Session, find, header_of, opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from _chacha_key import Key

# A longer packet is none: whoever makes up headers shall not have us wait for long.
LONGEST_PACKET_FRAMES = 8192
# Seeming packets that may turn out to be none in one block, by their header or when they are opened; what is
# beyond them is given up, so that noise made to look like packets costs the sender's audio and not this
# machine's time.
MOST_TRIES = 16


class Counts:
    """What became of packets since the start."""

    def __init__(self) -> None:
        self.heard = 0
        self.missing = 0
        self.refused = 0
        self.replayed = 0
        # Frames that were no silence and in no packet.
        self.strange_frames = 0

    def __str__(self) -> str:
        return " ".join(f"{name}={count}" for name, count in vars(self).items())


class Receiver:
    """The stream as it is heard, and the audio that was found in it."""

    def __init__(self, key: Key, direction: str, channels: int, latency_frames: int) -> None:
        self.counts = Counts()
        self.latency_frames = latency_frames
        self.last = b""
        self._key, self._direction, self._channels = key, direction, channels
        self._header_frames = -(-HEADER_SAMPLES // channels)
        self._packet_frames = 0
        self._tries = 0
        self._session: Session | None = None
        self._tried: Session | None = None
        # Heard and not yet understood, and the audio that is still to be given out.
        self._heard = np.zeros((0, channels), dtype=np.uint32)
        self._clear = np.zeros((latency_frames, channels), dtype=np.float32)

    def pass_on(self, block: NDArray[np.float32]) -> None:
        """Takes a block, shape (channels, frames); puts what came ``latency_frames`` earlier in its place."""
        frames = block.shape[1]
        self._heard = np.concatenate((self._heard, block.T.view(np.uint32)))
        self._clear = np.concatenate((self._clear, np.zeros((frames, self._channels), dtype=np.float32)))
        self._understand()
        block[:] = self._clear[:frames].T
        self._clear = self._clear[frames:]

    def _understand(self) -> None:
        """Goes on to the first frame of what may be a packet that has not been heard whole yet."""
        self._tries = MOST_TRIES
        while self._tries:
            header = self._seek()
            if header is None:
                break
            if header.frames > len(self._heard):
                return
            self._take(header)
        if not self._tries:
            # Somebody makes up packets.
            self._ignore(len(self._heard))

    def _seek(self) -> Header | None:
        """Goes on to where a packet seems to begin; its header, if that has been heard."""
        while self._tries:
            heard = self._heard.reshape(-1)
            at = find(heard, self._channels)
            if at is None:
                # The last frames may be the first of a packet.
                at = max(0, len(self._heard) - 2)
                self._ignore(at)
                return None
            self._ignore(at)
            if len(self._heard) < self._header_frames:
                return None
            header = header_of(self._heard.reshape(-1)[:HEADER_SAMPLES])
            if header is not None and self._may_be(header):
                return header
            self._is_none()
        return None

    def _is_none(self) -> None:
        """What seemed to be a packet is not. A true one may begin within it."""
        self._tries -= 1
        self._ignore(1)

    def _may_be(self, header: Header) -> bool:
        """Whether it is worth waiting for its end. All packets of an instance have one size."""
        if self._session is not None and header.instance == self._session.instance:
            return header.frames == self._packet_frames
        return self._header_frames <= header.frames <= LONGEST_PACKET_FRAMES

    def _take(self, header: Header) -> None:
        """A packet has been heard whole, or so it seems."""
        session = self._session_of(header.instance)
        clear = opened(session, header, self._heard[: header.frames].reshape(-1))
        if clear is None:
            self.counts.refused += 1
            self._is_none()
            return
        if header.moment > self.last:
            self._accept(header, session)
            self._put(clear.reshape(-1, self._channels))
        else:
            self.counts.replayed += 1
        self._skip(header.frames)

    def _session_of(self, instance: bytes) -> Session:
        for session in (self._session, self._tried):
            if session is not None and session.instance == instance:
                return session
        self._tried = Session(self._key, self._direction, instance)
        return self._tried

    def _accept(self, header: Header, session: Session) -> None:
        self.counts.heard += 1
        if self._session is session and self.last[:INSTANCE_BYTES] == header.instance:
            before = int.from_bytes(self.last[INSTANCE_BYTES:], "big")
            self.counts.missing += header.counter - before - 1
        self.last, self._session, self._packet_frames = header.moment, session, header.frames
        if header.frames - 1 > self.latency_frames:
            late = header.frames - self.latency_frames
            self._clear = np.concatenate((np.zeros((late, self._channels), dtype=np.float32), self._clear))
            self.latency_frames = header.frames

    def _put(self, clear: NDArray[np.float32]) -> None:
        """These samples belong where their packet begins: the first frame that is heard and not understood.

        Their time may be over, if something that seemed to be a long packet was waited for.
        """
        at = len(self._clear) - len(self._heard)
        late = max(0, -at)
        self._clear[max(0, at) : max(0, at + len(clear))] = clear[late:]

    def _ignore(self, frames: int) -> None:
        if frames and self._heard[:frames].any():
            self.counts.strange_frames += frames
        self._skip(frames)

    def _skip(self, frames: int) -> None:
        self._heard = self._heard[frames:]
