"""A processor that turns the blocks of ``fernet_encryptor`` back into audio.

A demonstration only, like its partner, whose docstring says what it must not be trusted with.

Parameter: ``key``, the partner's. ``start`` is refused until it is set, and it can't be read back. The
configuration needs ``guard = "off"`` for both plugins of the pair, or the encrypted bytes are repaired on
their way and can't be opened. Between the two nothing may change a sample, and blocks must keep their size.

A block that was not encrypted with this key, or that changed on its way, fails and is silenced; the next one
is not affected. Needs the wheel ``cryptography``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _fernet_block import FernetProcessor, decrypt_block
from base_plugin import PluginInfo, PluginType

if TYPE_CHECKING:
    import numpy as np
    from cryptography.fernet import Fernet
    from numpy.typing import NDArray


class FernetDecryptor(FernetProcessor):
    """Each block is opened on its own."""

    # Silence is nothing that its partner has encrypted.
    silent_warm_up = False

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            name="Fernet Decryptor",
            version="1.0.0",
            author="NDA contributors",
            description="Decrypts the blocks of the Fernet Encryptor (demonstration only)",
            plugin_type=PluginType.PROCESSOR,
        )

    def _process(self, fernet: Fernet, data: NDArray[np.float32]) -> None:
        decrypt_block(fernet, data)


def create_plugin() -> FernetDecryptor:
    return FernetDecryptor()


if __name__ == "__main__":
    import contextlib
    import io

    import numpy as np
    from cryptography.fernet import Fernet

    from _fernet_block import encrypt_block, quantised, restored
    from base_plugin import AudioBuffer

    KEY = Fernet.generate_key().decode()

    def started() -> FernetDecryptor:
        plugin = create_plugin()
        assert plugin.initialize()
        assert plugin.set_parameter("key", KEY)
        assert plugin.start()
        return plugin

    def encrypted_block(key: str) -> AudioBuffer:
        buffer = AudioBuffer(2, 512)
        buffer.data[:] = np.sin(np.arange(1024)).reshape(2, 512)
        encrypt_block(Fernet(key), buffer.data)
        return buffer

    def the_audio_comes_back() -> None:
        buffer = encrypted_block(KEY)
        assert started().process_audio(buffer)
        clear = np.sin(np.arange(1024)).reshape(2, 512).astype(np.float32)
        assert np.array_equal(buffer.data, restored(quantised(clear)))

    def a_lost_block_costs_itself_only() -> None:
        plugin = started()
        lost, whole = encrypted_block(KEY), encrypted_block(KEY)
        lost.data.view(np.uint8)[0, 100] ^= 1
        with contextlib.redirect_stderr(io.StringIO()):
            assert not plugin.process_audio(lost)
        assert not lost.data.any()
        assert plugin.process_audio(whole)

    def another_key_opens_nothing() -> None:
        buffer = encrypted_block(Fernet.generate_key().decode())
        with contextlib.redirect_stderr(io.StringIO()) as err:
            assert not started().process_audio(buffer)
        assert "a block is not what a partner with this key has encrypted" in err.getvalue()

    def it_does_not_start_without_a_key() -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            assert not create_plugin().start()

    checks = (
        the_audio_comes_back,
        a_lost_block_costs_itself_only,
        another_key_opens_nothing,
        it_does_not_start_without_a_key,
    )
    for check in checks:
        check()
    print(f"fernet_decryptor: self-test passed ({len(checks)} checks)")
