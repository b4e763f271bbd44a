"""A source that plays one steady tone, for trying out a chain and for listening to faults in it.

Parameter: ``frequency`` in Hz, above 0 and at most half the sample rate; 440 unless set. The amplitude is
0.5. The phase runs on across blocks and across a change of frequency, so that neither clicks; ``start``
begins at phase zero. It does not fade in, and it has one waveform.
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

from base_plugin import AudioBuffer, AudioSourcePlugin, PluginInfo, PluginType

AMPLITUDE = 0.5


class SineWaveSource(AudioSourcePlugin):
    """The same sine in every channel."""

    def __init__(self) -> None:
        super().__init__()
        self._frequency = 440.0
        self._phase = 0.0  # radians, of the next frame
        self._make_room(self.get_buffer_size())

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            name="Sine Wave Source",
            version="1.0.0",
            author="NDA contributors",
            description="A steady sine tone",
            plugin_type=PluginType.AUDIO_SOURCE,
        )

    def set_parameter(self, key: str, value: str) -> bool:
        if key != "frequency":
            return False
        try:
            frequency = float(value)
        except ValueError:
            return False
        # Also false for NaN. Above half the sample rate another, lower tone would be heard.
        if not 0.0 < frequency <= self.get_sample_rate() / 2:
            return False
        self._frequency = frequency
        return True

    def get_parameter(self, key: str) -> str:
        return str(self._frequency) if key == "frequency" else ""

    def start(self) -> bool:
        self._phase = 0.0
        return super().start()

    def read_audio(self, buffer: AudioBuffer) -> bool:
        frames = buffer.get_frame_count()
        if frames != len(self._wave):
            self._make_room(frames)
        step = math.tau * self._frequency / self.get_sample_rate()

        # In float64, so that the phase keeps its precision over hours.
        wave = self._wave
        np.multiply(self._frame_numbers, step, out=wave)
        wave += self._phase
        np.sin(wave, out=wave)
        wave *= AMPLITUDE
        buffer.data[:] = wave

        self._phase = (self._phase + frames * step) % math.tau
        return True

    def _make_room(self, frames: int) -> None:
        self._frame_numbers = np.arange(frames, dtype=np.float64)
        self._wave = np.empty(frames, dtype=np.float64)


def create_plugin() -> SineWaveSource:
    return SineWaveSource()


if __name__ == "__main__":

    def blocks_join_without_a_step() -> None:
        plugin = create_plugin()
        assert plugin.initialize()
        assert plugin.start()
        one, two, both = AudioBuffer(2, 100), AudioBuffer(2, 156), AudioBuffer(2, 256)
        assert plugin.read_audio(one)
        assert plugin.read_audio(two)
        plugin.stop()
        assert plugin.start()
        assert plugin.read_audio(both)
        joined = np.concatenate([one.data, two.data], axis=1)
        assert np.allclose(joined, both.data, atol=1e-6)

    def the_tone_has_its_frequency_and_amplitude() -> None:
        plugin = create_plugin()
        plugin.set_sample_rate(48_000)
        assert plugin.set_parameter("frequency", "1000")
        assert plugin.start()
        second = AudioBuffer(1, 48_000)
        assert plugin.read_audio(second)
        spectrum = np.abs(np.fft.rfft(second.get_channel_data(0)))
        assert int(np.argmax(spectrum)) == 1000
        assert abs(spectrum[1000] / 24_000 - AMPLITUDE) < 1e-4

    def impossible_frequencies_are_refused() -> None:
        plugin = create_plugin()
        assert not any(plugin.set_parameter("frequency", v) for v in ("0", "-5", "nan", "30000", "high", ""))
        assert plugin.get_parameter("frequency") == "440.0"

    checks = (
        blocks_join_without_a_step,
        the_tone_has_its_frequency_and_amplitude,
        impossible_frequencies_are_refused,
    )
    for check in checks:
        check()
    print(f"sine_wave_source: self-test passed ({len(checks)} checks)")
