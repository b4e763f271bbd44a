"""Leaves the audio as it is, while a thread of its own computes in pure Python without end, as long as blocks come."""

import threading

from base_plugin import AudioBuffer, AudioProcessorPlugin, PluginInfo, PluginType


class SpinningThread(AudioProcessorPlugin):
    """The thread gives the interpreter up only when it has to. Where no more blocks come it rests, as others are measured
    then on the same processor, which would never sleep."""

    # Some milliseconds in pure Python: more than from one block to the next of 128 frames.
    ROUND = 200_000

    def __init__(self) -> None:
        super().__init__()
        self._over = True
        self._comes = threading.Event()

    def get_info(self) -> PluginInfo:
        return PluginInfo("Spinning Thread", "1.0.0", "NDA contributors", "Never idle", PluginType.PROCESSOR)

    def start(self) -> bool:
        self._over = False
        threading.Thread(target=self._spin, name="spinning", daemon=True).start()
        return super().start()

    def stop(self) -> None:
        self._over = True
        self._comes.set()
        super().stop()

    def _spin(self) -> None:
        while not self._over:
            self._comes.wait()
            self._comes.clear()
            n = 0
            while n < self.ROUND:
                n += 1

    def process_audio(self, buffer: AudioBuffer) -> bool:
        if not self._comes.is_set():
            self._comes.set()
        return True


def create_plugin() -> SpinningThread:
    return SpinningThread()
