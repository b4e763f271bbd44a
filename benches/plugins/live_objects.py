"""Makes garbage in each block, beside many objects that live on: what the collector costs the audio.

Parameter: ``objects``, how many live on; none unless set.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "plugins_py"))

from base_plugin import AudioBuffer, AudioProcessorPlugin, PluginInfo, PluginType

CONTAINERS = 120


class LiveObjects(AudioProcessorPlugin):
    """120 containers a block; half of them refer to each other, and only the collector frees those."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: list[list[int]] = []

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            "Live Objects", "1.0.0", "NDA contributors", "Makes garbage", PluginType.PROCESSOR
        )

    def set_parameter(self, key: str, value: str) -> bool:
        if key != "objects":
            return False
        self._alive = [[] for _ in range(int(value))]
        return True

    def process_audio(self, buffer: AudioBuffer) -> bool:
        for _ in range(CONTAINERS // 2):
            ring: list[list] = []
            ring.append([ring])
        return True


def create_plugin() -> LiveObjects:
    return LiveObjects()
