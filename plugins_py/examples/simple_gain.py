"""A processor that makes the audio louder or softer: the example to start from.

Parameter: ``gain``, a factor from 0.0 to 2.0; 1.0 unless set. The result is clipped to [-1, 1]. A change is
heard from the next block on, without a ramp in between.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from base_plugin import AudioBuffer, AudioProcessorPlugin, PluginInfo, PluginType

LOWEST_GAIN, HIGHEST_GAIN = 0.0, 2.0

# Most of the time of so small a block goes into the calls, not into the samples. So the operands are made
# once, as float32 arrays that numpy need not convert, and the clip is the array's method: np.clip() takes
# more than twice as long to arrive at the same place, and np.maximum() and np.minimum() are two calls.
FLOOR = np.array(-1.0, dtype=np.float32)
CEILING = np.array(1.0, dtype=np.float32)


class SimpleGain(AudioProcessorPlugin):
    """Multiplies and clips, in place and without temporary arrays."""

    def __init__(self) -> None:
        super().__init__()
        self._use(1.0)

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            name="Simple Gain",
            version="1.0.0",
            author="NDA contributors",
            description="Makes the audio louder or softer",
            plugin_type=PluginType.PROCESSOR,
        )

    def set_parameter(self, key: str, value: str) -> bool:
        if key != "gain":
            return False
        try:
            gain = float(value)
        except ValueError:
            return False
        if not LOWEST_GAIN <= gain <= HIGHEST_GAIN:  # also false for NaN
            return False
        self._use(gain)
        return True

    def get_parameter(self, key: str) -> str:
        return str(self._gain) if key == "gain" else ""

    def process_audio(self, buffer: AudioBuffer) -> bool:
        data = buffer.data
        data *= self._factor
        data.clip(FLOOR, CEILING, out=data)
        return True

    def _use(self, gain: float) -> None:
        self._gain = gain
        self._factor = np.array(gain, dtype=np.float32)


def create_plugin() -> SimpleGain:
    return SimpleGain()


if __name__ == "__main__":

    def processed(gain: str, samples: list[float]) -> list[float]:
        plugin = create_plugin()
        assert plugin.initialize()
        assert plugin.set_parameter("gain", gain)
        assert plugin.start()
        buffer = AudioBuffer(1, len(samples))
        buffer.data[:] = samples
        assert plugin.process_audio(buffer)
        return [float(sample) for sample in buffer.get_channel_data(0)]

    def a_gain_of_one_half_halves() -> None:
        assert processed("0.5", [0.5, -1.0, 0.0]) == [0.25, -0.5, 0.0]

    def a_gain_of_two_clips_at_full_scale() -> None:
        assert processed("2.0", [0.25, 0.75, -0.75]) == [0.5, 1.0, -1.0]

    def bad_gains_are_refused_and_change_nothing() -> None:
        plugin = create_plugin()
        assert not any(plugin.set_parameter("gain", v) for v in ("-0.1", "2.1", "nan", "inf", "loud", ""))
        assert not plugin.set_parameter("volume", "1.0")
        assert plugin.get_parameter("gain") == "1.0"

    checks = (
        a_gain_of_one_half_halves,
        a_gain_of_two_clips_at_full_scale,
        bad_gains_are_refused_and_change_nothing,
    )
    for check in checks:
        check()
    print(f"simple_gain: self-test passed ({len(checks)} checks)")
