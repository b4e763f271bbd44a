"""How the ChaCha pair puts encrypted audio into audio. Not a plugin: see the two beside it.

What goes over the air or the cable has to be a stream of ordinary float samples: finite, below full scale, no
denormals, so that no guard repairs it and no speaker is harmed. And the receiver's blocks need not begin
where the sender's do. So each block of the encryptor becomes a *packet* of as many samples that explains
itself.

A sample is worth 24 bits: ``rint(sample * 2**23)``, clipped to what 24 bits hold, NaN silent. Audio of 16 or
24 bits loses nothing; finer floats are rounded by at most 2**-24, and 1.0 becomes 1 - 2**-23. The 24 bits are
encrypted, and become the sign and the 23 bits of the mantissa of a float whose exponent is free to say
more::

    sign 1   | exponent 8                                  | mantissa 23
    24th bit | 93 + five bits of the header: the first 64  | lower 23 bits of the encrypted sample
             | 125: all others                             |

Each of the first 64 samples (frame by frame, within a frame channel by channel) carries five bits of a
header of 40 bytes, the highest bit of the first byte first. Numbers are big-endian::

    0 magic "nD" | 2 frames of the packet - 1 | 4 instance: time in ns, 8 random bytes | 20 counter | 24 tag

So a packet has 64 samples at least, and every sample is below 0.5: noise at -9 dBFS.

- **Cipher**: ChaCha20-Poly1305 (RFC 8439) of the wheel ``cryptography``. It encrypts 3 bytes a sample, lowest
  first, and authenticates them and the header before the tag. Exponents that carry no header are compared.
  So either every bit of a packet is right, or the packet is refused.
- **Keys and nonces**: a key never meets a nonce twice. With the first block after each ``start`` an encryptor
  draws an *instance*: the time and 64 random bits. From it, the key of the file and the ``direction``
  BLAKE2b derives the instance's own key, and its nonces are the counter: 1, 2, 3 and so on; after
  2**32 - 1 packets a new instance is drawn. For two instances to be alike they would have to be drawn in the
  same nanosecond with the same 64 bits. So nothing is repeated by restarts, by a standby twin (which draws
  with its first block, not with its start), by a clock that was set back, by two machines or two
  directions with one key.
- **Replays**: a receiver takes a packet only if (instance, counter) is larger than all it took before, time
  first. Who takes its place knows that as of the last time its state was saved (``save_state``, once a
  second if nothing else is said): what came after that could be heard once more. A decryptor that is started
  anew knows nothing and takes the first one it hears: to keep old recordings out for longer, change the key.
- **Directions**: the word ``direction`` goes into the key. If each direction has its own, what one side sent
  can't be played back to it as if the other side had sent it.

What it does not do: hide that something is sent, since when, and when its sender started; keep old
recordings secret from whoever gets the key later; cross anything that changes a sample. It needs a link that
carries 32-bit floats bit for bit, as the virtual cables do: no resampling, no gain, no device of 16 or 24
bits, nothing analogue; and a receiver that runs on its clock (``clock = "source"``).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from _chacha_key import Key

MAGIC = b"nD"
HEADER_BYTES = 24
TAG_BYTES = 16
INSTANCE_BYTES = 16
# Instance and counter.
MOMENT_BYTES = INSTANCE_BYTES + 4
# Samples that carry the header and the tag, five bits each.
HEADER_SAMPLES = 8 * (HEADER_BYTES + TAG_BYTES) // 5
MOST_FRAMES = 1 << 16
LAST_COUNTER = (1 << 32) - 1
# The direction of what is never sent.
WARM_UP = "\nwarm-up"
WARM_UP_BLOCKS = 20

FULL_SCALE = 1 << 23
BODY_EXPONENT = 125
HEADER_EXPONENT = 93
EXPONENT_SHIFT = np.uint32(23)
MANTISSA = np.uint32(0x7F_FFFF)
SIGN_OF_24 = np.uint32(0x80_0000)
SIGN_SHIFT = np.uint32(8)
FIVE_BITS = np.array([16, 8, 4, 2, 1], dtype=np.uint8)


class PacketTooSmallError(ValueError):
    """The header does not fit into the block."""


def fives(header: bytes) -> NDArray[np.uint8]:
    """The bits of some bytes, in numbers of five bits."""
    bits = np.unpackbits(np.frombuffer(header, dtype=np.uint8))
    return (bits[: bits.size // 5 * 5].reshape(-1, 5) * FIVE_BITS).sum(axis=1, dtype=np.uint8)


# What the first three samples of a packet carry: enough to look for.
FIRST_EXPONENTS = HEADER_EXPONENT + fives(MAGIC).astype(np.uint32)


@dataclass(frozen=True)
class Header:
    """What a packet says of itself; nothing of it is to be believed before the packet has been opened."""

    frames: int
    # Instance and counter: larger is later.
    moment: bytes
    raw: bytes
    tag: bytes

    @property
    def instance(self) -> bytes:
        return self.moment[:INSTANCE_BYTES]

    @property
    def counter(self) -> int:
        return int.from_bytes(self.moment[INSTANCE_BYTES:], "big")


class Session:
    """The cipher of one instance, for one direction."""

    def __init__(self, key: Key, direction: str, instance: bytes) -> None:
        self.instance = instance
        self._cipher = ChaCha20Poly1305(key.derived(instance + direction.encode()))

    def encrypt(self, counter: int, clear: bytes, header: bytes) -> bytes:
        return self._cipher.encrypt(_nonce(counter), clear, header)

    def decrypt(self, counter: int, secret: bytes, header: bytes) -> bytes:
        """Raises InvalidTag for whatever was not encrypted so."""
        return self._cipher.decrypt(_nonce(counter), secret, header)


class Sealer:
    """Makes packets, all of one size, until its counter is used up."""

    def __init__(self, key: Key, direction: str, shape: tuple[int, int], not_before_ns: int = 0) -> None:
        channels, frames = shape
        if channels * frames < HEADER_SAMPLES:
            raise PacketTooSmallError(
                f"a block of {channels} x {frames} samples is too small for a header of {HEADER_SAMPLES}: "
                "use larger blocks"
            )
        self.shape = shape
        self.time_ns = max(time.time_ns(), not_before_ns)
        instance = self.time_ns.to_bytes(8, "big") + os.urandom(8)
        self._session = Session(key, direction, instance)
        self._begin = MAGIC + (frames - 1).to_bytes(2, "big") + instance
        self._counter = 0
        self._scaled = np.empty((frames, channels), dtype=np.float32)
        self._words = np.zeros(frames * channels, dtype=np.uint32)
        self._exponents = np.full(frames * channels, BODY_EXPONENT, dtype=np.uint32)

    @property
    def is_used_up(self) -> bool:
        return self._counter == LAST_COUNTER

    def seal(self, data: NDArray[np.float32]) -> None:
        """Puts the packet of these samples, shape (channels, frames), in their place."""
        self._counter += 1
        header = self._begin + self._counter.to_bytes(4, "big")
        sealed = self._session.encrypt(self._counter, self._quantised(data), header)
        words = self._words
        words.view(np.uint8).reshape(-1, 4)[:, :3] = np.frombuffer(sealed, np.uint8)[:-TAG_BYTES].reshape(
            -1, 3
        )
        self._exponents[:HEADER_SAMPLES] = HEADER_EXPONENT + fives(header + sealed[-TAG_BYTES:]).astype(
            np.uint32
        )
        packet = words & MANTISSA
        packet |= (words & SIGN_OF_24) << SIGN_SHIFT
        packet |= self._exponents << EXPONENT_SHIFT
        data[:] = packet.view(np.float32).reshape(self._scaled.shape).T

    def _quantised(self, data: NDArray[np.float32]) -> bytes:
        scaled = np.multiply(data.T, np.float32(FULL_SCALE), out=self._scaled)
        np.rint(scaled, out=scaled)
        np.maximum(scaled, np.float32(-FULL_SCALE), out=scaled)
        np.minimum(scaled, np.float32(FULL_SCALE - 1), out=scaled)
        with np.errstate(invalid="ignore"):
            # NaN becomes an integer whose lowest 24 bits are 0.
            integers = scaled.astype("<i4")
        return integers.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def warm_up(
    key: Key, shape: tuple[int, int], then: Callable[[NDArray[np.float32]], None] = lambda block: None
) -> None:
    """Seals some blocks of about this shape, which nobody is to hear, and hands each to ``then``."""
    channels, frames = shape
    shape = (channels, max(frames, -(-HEADER_SAMPLES // channels)))
    sealer = Sealer(key, WARM_UP, shape)
    for _ in range(WARM_UP_BLOCKS):
        block = np.zeros(shape, dtype=np.float32)
        sealer.seal(block)
        then(block)


def quantised_floats(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a receiver makes of these samples, if they are numbers."""
    integers = np.rint(samples.astype(np.float64) * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1)
    return (integers / FULL_SCALE).astype(np.float32)


def find(words: NDArray[np.uint32], channels: int) -> int | None:
    """The first frame at which a packet seems to begin, in the words of whole frames, or None."""
    exponents = words >> EXPONENT_SHIFT & np.uint32(0xFF)
    begins = exponents[:-2:channels] == FIRST_EXPONENTS[0]
    for sample in (1, 2):
        begins &= exponents[sample : exponents.size - 2 + sample : channels] == FIRST_EXPONENTS[sample]
    first = int(begins.argmax()) if begins.size else 0
    return first if begins.size and begins[first] else None


def header_of(words: NDArray[np.uint32]) -> Header | None:
    """The header that the words of 64 samples carry, or None if they carry none."""
    carried = (words >> EXPONENT_SHIFT & np.uint32(0xFF)) - np.uint32(HEADER_EXPONENT)
    if carried.max() > 31:
        return None
    bits = np.unpackbits(carried.astype(np.uint8).reshape(-1, 1), axis=1)[:, 3:]
    raw = np.packbits(bits).tobytes()
    if raw[:2] != MAGIC:
        return None
    frames = int.from_bytes(raw[2:4], "big") + 1
    return Header(frames, raw[4:HEADER_BYTES], raw[:HEADER_BYTES], raw[HEADER_BYTES:])


def opened(session: Session, header: Header, words: NDArray[np.uint32]) -> NDArray[np.float32] | None:
    """The samples of a packet, or None if it is not what a partner with this key has sealed."""
    exponents = words[HEADER_SAMPLES:] >> EXPONENT_SHIFT & np.uint32(0xFF)
    if (exponents != BODY_EXPONENT).any():
        return None
    samples = words & MANTISSA
    samples |= words >> SIGN_SHIFT & SIGN_OF_24
    secret = samples.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    try:
        clear = session.decrypt(header.counter, secret + header.tag, header.raw)
    except InvalidTag:
        return None
    # Into the upper three bytes, so that the sign is where it belongs.
    shifted = np.zeros((words.size, 4), dtype=np.uint8)
    shifted[:, 1:] = np.frombuffer(clear, dtype=np.uint8).reshape(-1, 3)
    return shifted.view("<i4").reshape(-1).astype(np.float32) * np.float32(2.0**-31)


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "little")
