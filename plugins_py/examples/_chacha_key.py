"""The key file of the ChaCha pair: how it is read, checked and made, and the parameters for it. No plugin.

A key file holds 32 random bytes as 64 hexadecimal digits, for the eyes of its owner alone (``chmod 600``):
one that others may read is refused. ``python3 chacha_encryptor.py new-key FILE`` makes one. Take it to the
other side by a way that you trust. A key is never told or printed, and is not among the parameters that a
crash report keeps: those hold the file's name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import sys
import tempfile
from abc import abstractmethod
from pathlib import Path

from base_plugin import AudioProcessorPlugin, PluginState

KEY_BYTES = 32
LONGEST_FILE = 1024
YES = ("yes", "true", "1")
NO = ("no", "false", "0")


class KeyFileError(Exception):
    """There is no key to be had, and why."""


class Key:
    """A key that shows itself to nobody."""

    __slots__ = ("_bytes",)

    def __init__(self, key: bytes) -> None:
        self._bytes = key

    def derived(self, purpose: bytes) -> bytes:
        """A key of 32 bytes for this purpose, from which nothing can be learnt of this one or another."""
        derive = hashlib.blake2b(purpose, key=self._bytes, digest_size=KEY_BYTES, person=b"nda chacha20 1")
        return derive.digest()

    def __repr__(self) -> str:
        return "Key(...)"


def read_key(path: Path) -> Key:
    """The key of a file. Raises KeyFileError with what to do."""
    try:
        # Without waiting, should it be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(
            f"can't read the key file {path} ({error.strerror}); make one with "
            f'`python3 chacha_encryptor.py new-key {path}`, or set make_key = "yes"'
        ) from error
    try:
        _check_rights(path, os.fstat(descriptor))
        text = os.read(descriptor, LONGEST_FILE)
    finally:
        os.close(descriptor)
    try:
        key = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path} holds no key: {2 * KEY_BYTES} hexadecimal digits are expected")
    return Key(key)


def make_key(path: Path) -> bool:
    """Writes a new key into a file that does not exist yet; whether it has. Raises KeyFileError.

    Whole or not at all: of several that do so at once, one makes the key and all read it.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with the mode 0600.
        with tempfile.NamedTemporaryFile(mode="w", dir=path.parent, prefix=".key-") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
                return True
    except OSError as error:
        raise KeyFileError(f"can't make the key file {path} ({error.strerror})") from error
    return False


def _check_rights(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"the key file {path} is no ordinary file")
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(
            f"the key file {path} belongs to somebody else: `chown` it to the user who runs this"
        )
    if status.st_mode & 0o077:
        raise KeyFileError(
            f"others may read the key file {path} (mode {stat.S_IMODE(status.st_mode):04o}): `chmod 600` it, "
            "and make a new key if they may have"
        )


class KeyedProcessor(AudioProcessorPlugin):
    """What the two have in common: parameters, a key from a file, no start without it, silence on failure.

    ``key_file``
        Its path; ``~`` is the home folder. A relative one is relative to where the host was started.
    ``make_key``
        "yes": makes the file where there is none.
    ``direction``
        Any word, the same at both ends of a direction and another one for the way back.
    """

    # Neither what comes before the encryptor nor the noise before the decryptor is to be heard.
    fail_closed = True
    # `start` makes first calls by itself, with a packet of its own.
    silent_warm_up = False

    def __init__(self) -> None:
        super().__init__()
        self._parameters = {"key_file": "", "make_key": "no", "direction": ""}
        self._key: Key | None = None
        self._block_frames = 512

    def set_buffer_size(self, frames: int) -> None:
        """Known before the start, for the latency and for what is made ready."""
        self._block_frames = frames

    def get_buffer_size(self) -> int:
        return self._block_frames

    def set_parameter(self, key: str, value: str) -> bool:
        """Not while it plays: who changes a key has to know when the new one holds."""
        known = key in self._parameters and (key != "make_key" or value in YES + NO)
        if known and self.get_state() == PluginState.RUNNING and value != self._parameters[key]:
            print(f"{key} can't change while it plays: it takes a stop and a start")
            return False
        if known:
            self._parameters[key] = value
        return known

    def get_parameter(self, key: str) -> str:
        return self._parameters.get(key, "")

    @property
    def direction(self) -> str:
        return self._parameters["direction"]

    def start(self) -> bool:
        """Reads the key; what was set since the last start holds from now on.

        Raises KeyFileError where there is none: its words are what the user is told.
        """
        self._key = None
        key = self._read_key()
        self._warm_up(key)
        self._key = key
        return super().start()

    @abstractmethod
    def _warm_up(self, key: Key) -> None:
        """Encrypts or decrypts some blocks of a stream that nobody hears: the first ones take long."""

    def shutdown(self) -> None:
        self._key = None
        super().shutdown()

    def _read_key(self) -> Key:
        if not self._parameters["key_file"]:
            raise KeyFileError("set the parameter 'key_file' before the start")
        path = Path(self._parameters["key_file"]).expanduser()
        if self._parameters["make_key"] in YES and not path.exists() and make_key(path):
            self._say(f"made a new key in {path}")
        return read_key(path)

    def _say(self, line: str) -> None:
        print(f"{self.get_info().name}: {line}", file=sys.stderr, flush=True)
