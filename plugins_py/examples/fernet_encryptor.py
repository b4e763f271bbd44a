"""A processor that turns audio into encrypted blocks, for ``fernet_decryptor`` further down the chain.

A demonstration of what a plugin may do with a block, and no more: don't trust a secret to it. What comes
out is not audio and would be loud noise. The key stands in the configuration for all to read, and nothing
keeps whoever has old blocks from playing them again in place of new ones.

Parameter: ``key``, 32 bytes in URL-safe base64, as ``Fernet.generate_key()`` makes them. ``start`` is refused
until it is set, and it can't be read back. The configuration needs ``guard = "off"`` for both plugins of the
pair, as the encrypted bytes hold values that a guard would take for broken audio and repair.

Audio is cut to 16 bits and clipped to [-1, 1]. Blocks of fewer than 35 samples over all channels are too
small and fail; ``_fernet_block`` says why. Needs the wheel ``cryptography``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _fernet_block import FernetProcessor, encrypt_block
from base_plugin import PluginInfo, PluginType

if TYPE_CHECKING:
    import numpy as np
    from cryptography.fernet import Fernet
    from numpy.typing import NDArray


class FernetEncryptor(FernetProcessor):
    """Each block becomes a token of its own."""

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            name="Fernet Encryptor",
            version="1.0.0",
            author="NDA contributors",
            description="Encrypts each block (demonstration only; not a way to keep secrets)",
            plugin_type=PluginType.PROCESSOR,
        )

    def _process(self, fernet: Fernet, data: NDArray[np.float32]) -> None:
        encrypt_block(fernet, data)


def create_plugin() -> FernetEncryptor:
    return FernetEncryptor()


if __name__ == "__main__":
    import contextlib
    import io

    import numpy as np
    from cryptography.fernet import Fernet

    from _fernet_block import decrypt_block, quantised, restored
    from base_plugin import AudioBuffer

    KEY = Fernet.generate_key().decode()

    def encrypted(buffer: AudioBuffer) -> bool:
        plugin = create_plugin()
        assert plugin.initialize()
        assert plugin.set_parameter("key", KEY)
        assert plugin.start()
        return plugin.process_audio(buffer)

    def a_block_of_64_frames_is_hidden_and_comes_back() -> None:
        buffer = AudioBuffer(1, 64)
        buffer.data[:] = np.linspace(-1.2, 1.2, 64)
        clear = buffer.data.copy()
        assert encrypted(buffer)
        assert quantised(clear).tobytes() not in buffer.data.tobytes()
        decrypt_block(Fernet(KEY), buffer.data)
        assert np.array_equal(buffer.data, restored(quantised(clear)))

    def a_block_too_small_fails_and_is_silenced() -> None:
        buffer = AudioBuffer(1, 16)
        buffer.data.fill(0.5)
        with contextlib.redirect_stderr(io.StringIO()) as err:
            assert not encrypted(buffer)
        assert "has 64 bytes and its token needs 105" in err.getvalue()
        assert not buffer.data.any()

    def it_does_not_start_without_a_key() -> None:
        plugin = create_plugin()
        with contextlib.redirect_stderr(io.StringIO()) as err:
            assert not plugin.start()
            assert not plugin.set_parameter("key", "not a key")
            assert not plugin.start()
        assert "set the parameter 'key'" in err.getvalue()

    def the_key_is_never_told() -> None:
        plugin = create_plugin()
        assert plugin.get_parameter("key") == ""
        assert plugin.set_parameter("key", KEY)
        assert plugin.get_parameter("key") == "set"

    checks = (
        a_block_of_64_frames_is_hidden_and_comes_back,
        a_block_too_small_fails_and_is_silenced,
        it_does_not_start_without_a_key,
        the_key_is_never_told,
    )
    for check in checks:
        check()
    print(f"fernet_encryptor: self-test passed ({len(checks)} checks)")
