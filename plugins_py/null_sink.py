"""A sink that throws its audio away, for measuring a chain without a device.

Parameter: ``showMetrics``, "true" or "false" (the default). With it on, the sink measures the peak and
prints a line for each second of audio, counted in frames, and one when it stops. It does not keep time: it
takes blocks as fast as they come.
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

from base_plugin import AudioBuffer, AudioSinkPlugin, PluginInfo, PluginType

YES = ("true", "1", "yes", "on")
NO = ("false", "0", "no", "off")


class NullSink(AudioSinkPlugin):
    """Counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self._show_metrics = False
        self._reset()

    def _reset(self) -> None:
        self._blocks = 0
        self._frames = 0
        self._peak = 0.0
        self._next_line = self.get_sample_rate()

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            name="Null Sink",
            version="1.0.0",
            author="NDA contributors",
            description="Takes audio and throws it away",
            plugin_type=PluginType.AUDIO_SINK,
        )

    def set_parameter(self, key: str, value: str) -> bool:
        if key != "showMetrics" or value.lower() not in YES + NO:
            return False
        self._show_metrics = value.lower() in YES
        return True

    def get_parameter(self, key: str) -> str:
        return str(self._show_metrics).lower() if key == "showMetrics" else ""

    def start(self) -> bool:
        self._reset()
        return super().start()

    def stop(self) -> None:
        if self._show_metrics:
            print(self._metrics(), flush=True)
        super().stop()

    def write_audio(self, buffer: AudioBuffer) -> bool:
        self._blocks += 1
        self._frames += buffer.get_frame_count()
        if self._show_metrics:
            self._peak = max(self._peak, float(np.max(np.abs(buffer.data))))
            if self._frames >= self._next_line:
                self._next_line += self.get_sample_rate()
                print(self._metrics(), flush=True)
        return True

    def _metrics(self) -> str:
        seconds = self._frames / self.get_sample_rate()
        peak = f"{20 * math.log10(self._peak):.1f} dBFS" if self._peak > 0 else "silence"
        return f"null_sink: {seconds:.2f} s, {self._blocks} blocks, {self._frames} frames, peak {peak}"


def create_plugin() -> NullSink:
    return NullSink()


if __name__ == "__main__":
    import contextlib
    import io

    def printed_by_three_blocks(show: str) -> list[str]:
        plugin = create_plugin()
        plugin.set_sample_rate(1000)
        assert plugin.set_parameter("showMetrics", show)
        assert plugin.initialize()
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert plugin.start()
            buffer = AudioBuffer(2, 500)
            buffer.data[:] = 0.5
            assert all(plugin.write_audio(buffer) for _ in range(3))
            plugin.stop()
        return out.getvalue().splitlines()

    def it_is_silent_unless_asked() -> None:
        assert printed_by_three_blocks("false") == []

    def it_prints_each_second_and_at_the_end() -> None:
        assert printed_by_three_blocks("true") == [
            "null_sink: 1.00 s, 2 blocks, 1000 frames, peak -6.0 dBFS",
            "null_sink: 1.50 s, 3 blocks, 1500 frames, peak -6.0 dBFS",
        ]

    def only_yes_and_no_are_understood() -> None:
        plugin = create_plugin()
        assert not plugin.set_parameter("showMetrics", "perhaps")
        assert plugin.get_parameter("showMetrics") == "false"

    checks = (
        it_is_silent_unless_asked,
        it_prints_each_second_and_at_the_end,
        only_yes_and_no_are_understood,
    )
    for check in checks:
        check()
    print(f"null_sink: self-test passed ({len(checks)} checks)")
