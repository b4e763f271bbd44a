"""Makes garbage in each block, beside many objects that live on: what the collector costs the audio.

Parameter: ``objects``, how many live on; none unless set.
"""

from base_plugin import AudioBuffer, AudioProcessorPlugin, PluginInfo, PluginType

CONTAINERS = 120


class Containers(AudioProcessorPlugin):
    """120 containers a block, in cycles that only the collector frees."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: list[list[int]] = []

    def get_info(self) -> PluginInfo:
        return PluginInfo("Containers", "1.0.0", "NDA contributors", "Makes garbage", PluginType.PROCESSOR)

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


def create_plugin() -> Containers:
    return Containers()
