"""Leaves the audio as it is, while a thread of its own computes in pure Python without end."""

import threading

from base_plugin import AudioBuffer, AudioProcessorPlugin, PluginInfo, PluginType


class SpinningThread(AudioProcessorPlugin):
    """The thread gives the interpreter up only when it has to. It runs while the plugin does."""

    def __init__(self) -> None:
        super().__init__()
        self._over = True

    def get_info(self) -> PluginInfo:
        return PluginInfo("Spinning Thread", "1.0.0", "NDA contributors", "Never idle", PluginType.PROCESSOR)

    def start(self) -> bool:
        self._over = False
        threading.Thread(target=self._spin, name="spinning", daemon=True).start()
        return super().start()

    def stop(self) -> None:
        self._over = True
        super().stop()

    def _spin(self) -> None:
        n = 0
        while not self._over:
            n += 1

    def process_audio(self, buffer: AudioBuffer) -> bool:
        return True


def create_plugin() -> SpinningThread:
    return SpinningThread()
