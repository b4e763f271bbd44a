"""A processor that encrypts audio with ChaCha20-Poly1305, for ``chacha_decryptor`` at the other end.

It loses nothing of 16 or 24 bit audio, adds no latency, and what comes out is audio of the same format: noise
below half of full scale. ``_chacha_packet`` describes the scheme, what it protects from and what not.

Parameters: ``key_file``, ``make_key``, ``direction``: see ``_chacha_key``. ``start`` is refused without a
key. ``status`` can be read: blocks encrypted.

The configuration should say ``guard = "off"``: otherwise the host ramps the block after a lost one, and that
can't be opened. It fails closed: in place of a lost block there is silence.

A block needs 64 samples over all channels. Needs the wheel ``cryptography``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _chacha_key import KeyedProcessor
from _chacha_packet import PacketTooSmallError, Sealer, warm_up
from base_plugin import PluginInfo, PluginType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from _chacha_key import Key
    from base_plugin import AudioBuffer


class ChaChaEncryptor(KeyedProcessor):
    """Each block becomes a packet of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._sealer: Sealer | None = None
        self._time_ns = 0
        self._blocks = 0
        self._has_complained = False

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            name="ChaCha Encryptor",
            version="1.0.0",
            author="NDA contributors",
            description="Encrypts and authenticates audio with ChaCha20-Poly1305",
            plugin_type=PluginType.PROCESSOR,
        )

    def start(self) -> bool:
        self._sealer, self._blocks, self._has_complained = None, 0, False
        return super().start()

    def _warm_up(self, key: Key) -> None:
        warm_up(key, (self.get_channel_count(), self.get_buffer_size()))

    def get_parameter(self, key: str) -> str:
        return f"blocks={self._blocks}" if key == "status" else super().get_parameter(key)

    def process_audio(self, buffer: AudioBuffer) -> bool:
        data = buffer.data
        try:
            self._sealer_for(data).seal(data)
        except PacketTooSmallError as error:
            buffer.clear()
            if not self._has_complained:
                self._has_complained = True
                self._say(str(error))
            return False
        except BaseException:
            buffer.clear()
            raise
        self._blocks += 1
        return True

    def _sealer_for(self, data: NDArray[np.float32]) -> Sealer:
        sealer = self._sealer
        if sealer is None or sealer.shape != data.shape or sealer.is_used_up:
            if self._key is None:
                raise RuntimeError("a block before the start")
            # Later than the last one, also if the clock was set back meanwhile.
            sealer = Sealer(self._key, self.direction, data.shape, self._time_ns + 1)
            self._sealer, self._time_ns = sealer, sealer.time_ns
        return sealer


def create_plugin() -> ChaChaEncryptor:
    return ChaChaEncryptor()


def _self_test() -> None:
    import contextlib
    import io
    import tempfile

    import numpy as np

    from _chacha_key import KeyFileError, make_key
    from base_plugin import AudioBuffer

    def started(folder: str) -> ChaChaEncryptor:
        plugin = create_plugin()
        path = Path(folder) / "key"
        make_key(path)
        assert plugin.set_parameter("key_file", str(path))
        assert plugin.initialize()
        assert plugin.start()
        return plugin

    def what_comes_out_is_noise_below_half_of_full_scale(folder: str) -> None:
        buffer = AudioBuffer(2, 128)
        assert started(folder).process_audio(buffer)
        magnitude = np.abs(buffer.data)
        assert magnitude.max() < 0.5
        assert magnitude.min() > 1e-30

    def silence_is_encrypted_differently_each_time(folder: str) -> None:
        one, other = AudioBuffer(1, 64), AudioBuffer(1, 64)
        plugin = started(folder)
        assert plugin.process_audio(one)
        assert plugin.process_audio(other)
        assert (one.data != other.data).mean() > 0.9

    def a_block_too_small_fails_and_is_silenced(folder: str) -> None:
        buffer = AudioBuffer(1, 32)
        buffer.data.fill(0.5)
        with contextlib.redirect_stderr(io.StringIO()) as err:
            assert not started(folder).process_audio(buffer)
        assert "use larger blocks" in err.getvalue()
        assert not buffer.data.any()

    def it_does_not_start_without_a_key(folder: str) -> None:
        plugin = create_plugin()
        for words in ("set the parameter 'key_file'", "new-key"):
            said = ""
            try:
                plugin.start()
            except KeyFileError as error:
                said = str(error)
            assert words in said
            assert plugin.set_parameter("key_file", folder + "/none")

    checks = (
        what_comes_out_is_noise_below_half_of_full_scale,
        silence_is_encrypted_differently_each_time,
        a_block_too_small_fails_and_is_silenced,
        it_does_not_start_without_a_key,
    )
    for check in checks:
        with tempfile.TemporaryDirectory() as folder:
            check(folder)
    print(f"chacha_encryptor: self-test passed ({len(checks)} checks)")


def _new_key(path: str) -> int:
    from _chacha_key import KeyFileError, make_key

    try:
        made = make_key(Path(path))
    except KeyFileError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"made a new key in {path}" if made else f"{path} is there already and stays as it is")
    return 0 if made else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["new-key"] and len(sys.argv) == 3:
        sys.exit(_new_key(sys.argv[2]))
    _self_test()
