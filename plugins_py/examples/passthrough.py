"""The smallest plugin: a processor that leaves the audio as it is.

For authors to copy, and for measuring what a plugin costs before it does any work. It has no parameters.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from base_plugin import AudioBuffer, AudioProcessorPlugin, PluginInfo, PluginType


class Passthrough(AudioProcessorPlugin):
    """What comes in goes out."""

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            name="Passthrough",
            version="1.0.0",
            author="NDA contributors",
            description="Leaves the audio as it is",
            plugin_type=PluginType.PROCESSOR,
        )

    def process_audio(self, buffer: AudioBuffer) -> bool:
        return True


def create_plugin() -> Passthrough:
    return Passthrough()


if __name__ == "__main__":
    import numpy as np

    def a_block_comes_out_bit_for_bit() -> None:
        plugin = create_plugin()
        assert plugin.initialize()
        assert plugin.start()
        buffer = AudioBuffer(2, 512)
        buffer.data[:] = np.linspace(-2.0, 2.0, 1024, dtype=np.float32).reshape(2, 512)
        before = buffer.data.tobytes()
        assert plugin.process_audio(buffer)
        assert buffer.data.tobytes() == before
        plugin.stop()
        plugin.shutdown()

    def there_are_no_parameters() -> None:
        plugin = create_plugin()
        assert plugin.set_parameter("gain", "1") is False
        assert plugin.get_parameter("gain") == ""

    checks = (a_block_comes_out_bit_for_bit, there_are_no_parameters)
    for check in checks:
        check()
    print(f"passthrough: self-test passed ({len(checks)} checks)")
