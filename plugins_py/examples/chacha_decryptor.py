"""A processor that turns the packets of ``chacha_encryptor`` back into audio, wherever they begin.

It finds the packets by itself: its blocks need not begin where the sender's do, nor be of the same size. Its
output comes later by one block, or by one packet where those are longer (``get_processing_latency``); then it
is the sender's audio, sample for sample. Whatever is not a whole, true, new packet is silence: noise of
others, another key or direction, one changed bit, a replay. A lost packet costs itself only; after any
trouble the next whole packet is heard again. ``_chacha_packet`` describes the scheme.

Parameters: ``key_file``, ``make_key``, ``direction``: see ``_chacha_key``. ``start`` is refused without a
key.
``status`` can be read: packets heard, packets missing between two that were heard, packets that could not be
opened, replays, frames that were no silence and no packet, the latency in frames. Trouble is told by a line,
at most every ten seconds.

Silence in place of audio is this plugin's ordinary work, not a failure: no block of it fails. It fails
closed. Needs the wheel ``cryptography``.
"""

from __future__ import annotations

import sys
import time
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _chacha_key import KeyedProcessor
from _chacha_packet import MOMENT_BYTES, WARM_UP, warm_up
from _chacha_receiver import Counts, Receiver
from base_plugin import PluginInfo, PluginType

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from _chacha_key import Key
    from base_plugin import AudioBuffer

QUIET_S = 10.0


class ChaChaDecryptor(KeyedProcessor):
    """Finds packets, opens them, and is silent otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._receiver: Receiver | None = None
        # The latest packet that was taken, also by those before this instance.
        self._last = b""
        self._told = Counts()
        self._tell_at = 0.0

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            name="ChaCha Decryptor",
            version="1.0.0",
            author="NDA contributors",
            description="Finds, checks and decrypts the packets of the ChaCha Encryptor",
            plugin_type=PluginType.PROCESSOR,
        )

    def get_processing_latency(self) -> float:
        frames = self._receiver.latency_frames if self._receiver else self.get_buffer_size()
        return frames / self.get_sample_rate()

    def get_parameter(self, key: str) -> str:
        if key != "status":
            return super().get_parameter(key)
        counts = self._receiver.counts if self._receiver else Counts()
        return f"{counts} latency_frames={round(self.get_processing_latency() * self.get_sample_rate())}"

    def start(self) -> bool:
        self._keep_last()
        self._receiver, self._told, self._tell_at = None, Counts(), 0.0
        return super().start()

    def _warm_up(self, key: Key) -> None:
        channels, frames = self.get_channel_count(), self.get_buffer_size()
        receiver = Receiver(key, WARM_UP, channels, frames)
        warm_up(key, (channels, frames), receiver.pass_on)

    def save_state(self) -> bytes:
        """The latest packet: whoever comes after this instance takes no older one."""
        self._keep_last()
        return self._last

    def load_state(self, state: bytes) -> None:
        if len(state) not in (0, MOMENT_BYTES):
            raise ValueError(f"a state of {len(state)} bytes is none of this plugin's")
        self._last = max(self._last, state)
        if self._receiver:
            self._receiver.last = max(self._receiver.last, state)

    def process_audio(self, buffer: AudioBuffer) -> bool:
        try:
            self._receiver_for(buffer).pass_on(buffer.data)
        except BaseException:
            buffer.clear()
            raise
        self._tell()
        return True

    def _receiver_for(self, buffer: AudioBuffer) -> Receiver:
        if self._receiver is None:
            if self._key is None:
                raise RuntimeError("a block before the start")
            channels, frames = buffer.data.shape
            self._receiver = Receiver(self._key, self.direction, channels, frames)
            self._receiver.last = self._last
        return self._receiver

    def _keep_last(self) -> None:
        if self._receiver:
            self._last = self._receiver.last

    def _tell(self) -> None:
        """Says why there is silence, the first time at once, then at most every ten seconds."""
        if self._receiver is None:
            return
        counts = self._receiver.counts
        lines = list(self._troubles(counts))
        now = time.monotonic() if lines else 0.0
        if lines and now >= self._tell_at:
            self._tell_at = now + QUIET_S
            self._told = copy(counts)
            self._say(f"{'; '.join(lines)} ({counts})")

    def _troubles(self, counts: Counts) -> Iterator[str]:
        told = self._told
        if counts.refused > told.refused:
            yield (
                f"{counts.refused - told.refused} packets could not be opened: they changed on their way, or "
                "their sender has another key or direction"
            )
        if counts.replayed > told.replayed:
            yield (
                f"{counts.replayed - told.replayed} packets are older than one heard before: a recording, or "
                "a sender whose clock was set back (then start this plugin anew)"
            )
        if (
            counts.strange_frames - told.strange_frames > self.get_sample_rate()
            and counts.heard == told.heard
        ):
            yield "there is sound, but no packet in it: no encryptor sends, or the link changes samples"


def create_plugin() -> ChaChaDecryptor:
    return ChaChaDecryptor()


def _self_test() -> None:
    import contextlib
    import io
    import tempfile

    import numpy as np

    from _chacha_key import make_key
    from _chacha_packet import quantised_floats
    from base_plugin import AudioBuffer
    from chacha_encryptor import ChaChaEncryptor

    frames = 128

    def started(plugin: KeyedProcessor, folder: str, key: str = "key") -> KeyedProcessor:
        path = Path(folder) / key
        make_key(path)
        assert plugin.set_parameter("key_file", str(path))
        assert plugin.initialize()
        assert plugin.start()
        return plugin

    def sent(encryptor: KeyedProcessor, blocks: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Audio, and the packets of it."""
        clear = np.sin(np.arange(2 * frames * blocks)).astype(np.float32).reshape(2, -1) / 2
        secret = clear.copy()
        for at in range(0, frames * blocks, frames):
            buffer = AudioBuffer(2, frames)
            buffer.data[:] = secret[:, at : at + frames]
            assert encryptor.process_audio(buffer)
            secret[:, at : at + frames] = buffer.data
        return quantised_floats(clear), secret

    def heard(decryptor: KeyedProcessor, secret: NDArray[np.float32]) -> NDArray[np.float32]:
        blocks = []
        for at in range(0, secret.shape[1], frames):
            buffer = AudioBuffer(2, frames)
            buffer.data[:] = secret[:, at : at + frames]
            assert decryptor.process_audio(buffer)
            blocks.append(buffer.data)
        return np.concatenate(blocks, axis=1)

    def the_audio_comes_back_a_block_later_wherever_packets_begin(folder: str) -> None:
        clear, secret = sent(started(ChaChaEncryptor(), folder), 8)
        for offset in (0, 1, 77, 127):
            cable = np.pad(secret, ((0, 0), (offset, frames - offset)))
            out = heard(started(create_plugin(), folder), cable)
            delay = frames + offset
            assert np.array_equal(out[:, delay:], clear[:, : out.shape[1] - delay])
            assert not out[:, :delay].any()

    def one_changed_bit_costs_one_packet(folder: str) -> None:
        clear, secret = sent(started(ChaChaEncryptor(), folder), 8)
        secret.view(np.uint32)[1, 3 * frames + 9] ^= 1
        with contextlib.redirect_stderr(io.StringIO()) as err:
            out = heard(started(create_plugin(), folder), secret)[:, frames:]
        clear[:, 3 * frames : 4 * frames] = 0.0
        assert np.array_equal(out, clear[:, : out.shape[1]])
        assert "1 packets could not be opened" in err.getvalue()

    def another_key_opens_nothing(folder: str) -> None:
        _, secret = sent(started(ChaChaEncryptor(), folder), 8)
        with contextlib.redirect_stderr(io.StringIO()) as err:
            assert not heard(started(create_plugin(), folder, "another"), secret).any()
        assert "another key" in err.getvalue()

    def what_was_heard_once_is_not_heard_again(folder: str) -> None:
        _, secret = sent(started(ChaChaEncryptor(), folder), 4)
        decryptor = started(create_plugin(), folder)
        assert heard(decryptor, secret).any()
        heard(decryptor, np.zeros((2, frames), dtype=np.float32))
        with contextlib.redirect_stderr(io.StringIO()):
            assert not heard(decryptor, secret).any()

    checks = (
        the_audio_comes_back_a_block_later_wherever_packets_begin,
        one_changed_bit_costs_one_packet,
        another_key_opens_nothing,
        what_was_heard_once_is_not_heard_again,
    )
    for check in checks:
        with tempfile.TemporaryDirectory() as folder:
            check(folder)
    print(f"chacha_decryptor: self-test passed ({len(checks)} checks)")


if __name__ == "__main__":
    _self_test()
