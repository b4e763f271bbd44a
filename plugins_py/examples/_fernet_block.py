"""How the Fernet pair lays an encrypted block into an audio buffer. Not a plugin: see the two beside it.

A processor works in place on a block of fixed size, but a Fernet token is longer than what it encrypts. Two
things make room. Samples are cut from 32 bits to 16, which halves the block; and the token goes in as
bytes, without the base64 that Fernet wraps around it. The block then holds::

    bytes of the token | zeros to the end of the block

The length of the token follows from the size of the block, so there is no header, and it fits from 35
samples on. Each block stands alone: one that is lost costs itself only. The bytes are no audio. Seen as
floats they hold any value, NaN among them, and they must arrive bit for bit, so they go in and out through a
byte view and never through float arithmetic.

``cryptography`` has the ciphers. This module keeps no keys and does no secrets management of any kind.
"""

from __future__ import annotations

import base64
import sys
from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from cryptography.fernet import Fernet, InvalidToken

from base_plugin import AudioBuffer, AudioProcessorPlugin

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL_SCALE = 32_767

# Of a Fernet token: version, time, initialisation vector, and the signature at its end.
TOKEN_FRAME_BYTES = 1 + 8 + 16 + 32
CIPHER_BLOCK_BYTES = 16


class BlockTooSmallError(ValueError):
    """The token does not fit into the block."""


def quantised(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples as 16-bit integers: outside [-1, 1] clipped, NaN silent."""
    clean = np.nan_to_num(samples, nan=0.0).clip(-1.0, 1.0)
    return np.rint(clean * FULL_SCALE).astype("<i2")


def restored(integers: NDArray[np.int16]) -> NDArray[np.float32]:
    """The samples that ``quantised`` made the integers of, to within half a step."""
    return integers.astype(np.float32) / np.float32(FULL_SCALE)


def token_bytes(samples: int) -> int:
    """The length of the token of so many samples. Fernet always pads, by 1 to 16 bytes."""
    padded = (2 * samples // CIPHER_BLOCK_BYTES + 1) * CIPHER_BLOCK_BYTES
    return TOKEN_FRAME_BYTES + padded


def encrypt_block(fernet: Fernet, data: NDArray[np.float32]) -> None:
    """Puts the token of the samples in their place."""
    block = memoryview(data).cast("B")
    length = token_bytes(data.size)
    if length > len(block):
        raise BlockTooSmallError(
            f"a block of {data.shape[0]} x {data.shape[1]} samples has {len(block)} bytes "
            f"and its token needs {length}: use larger blocks"
        )
    token = base64.urlsafe_b64decode(fernet.encrypt(quantised(data).tobytes()))
    block[:] = token + bytes(len(block) - length)


def decrypt_block(fernet: Fernet, data: NDArray[np.float32]) -> None:
    """Puts the samples in the place of their token. Raises InvalidToken for anything but such a token."""
    block = memoryview(data).cast("B")
    token = base64.urlsafe_b64encode(block[: token_bytes(data.size)])
    clear = fernet.decrypt(token)
    if len(clear) != 2 * data.size:
        raise InvalidToken
    data[:] = restored(np.frombuffer(clear, dtype="<i2")).reshape(data.shape)


class FernetProcessor(AudioProcessorPlugin):
    """What the two have in common: a key, no start without it, and silence in place of a failed block."""

    # Neither the clear audio before the encryptor nor the noise before the decryptor is to be heard in
    # place of a failed block.
    fail_closed = True

    def __init__(self) -> None:
        super().__init__()
        self._fernet: Fernet | None = None
        self._last_complaint = ""

    def set_parameter(self, key: str, value: str) -> bool:
        if key != "key":
            return False
        try:
            self._fernet = Fernet(value)
        except ValueError:
            return False
        return True

    def get_parameter(self, key: str) -> str:
        """Whether there is a key, "set" or nothing; never the key."""
        return "set" if key == "key" and self._fernet else ""

    def start(self) -> bool:
        self._last_complaint = ""
        if self._fernet is None:
            self._complain("set the parameter 'key' before the start")
            return False
        return super().start()

    def process_audio(self, buffer: AudioBuffer) -> bool:
        if self._fernet is None:
            buffer.clear()
            return False
        try:
            self._process(self._fernet, buffer.data)
        except (BlockTooSmallError, InvalidToken) as error:
            buffer.clear()
            self._complain(str(error) or "a block is not what a partner with this key has encrypted")
            return False
        return True

    @abstractmethod
    def _process(self, fernet: Fernet, data: NDArray[np.float32]) -> None:
        """Encrypts or decrypts ``data`` in place. Raises BlockTooSmallError or InvalidToken."""

    def _complain(self, reason: str) -> None:
        """Says it once: at hundreds of blocks a second the same line again helps no one."""
        if reason != self._last_complaint:
            self._last_complaint = reason
            print(f"{self.get_info().name}: {reason}", file=sys.stderr, flush=True)
