"""A gain in one numpy call: the least work that changes every sample.

Parameter: ``gain``, any number; 1.0 unless set.
"""

from base_plugin import AudioBuffer, AudioProcessorPlugin, PluginInfo, PluginType


class InPlaceGain(AudioProcessorPlugin):
    """``data *= g``, with ``g`` a plain number."""

    gain = 1.0

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            "In-place Gain", "1.0.0", "NDA contributors", "Multiplies in place", PluginType.PROCESSOR
        )

    def set_parameter(self, key: str, value: str) -> bool:
        if key != "gain":
            return False
        self.gain = float(value)
        return True

    def process_audio(self, buffer: AudioBuffer) -> bool:
        buffer.data *= self.gain
        return True


def create_plugin() -> InPlaceGain:
    return InPlaceGain()
