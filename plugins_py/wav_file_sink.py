"""A sink that records to a WAV file which can be played at any moment, whatever becomes of the process.

Parameters, all refused while recording:

- ``path``: the file; ``start`` is refused until it is set
- ``bits``: "16" (the default) or "24"
- ``append``: "true" goes on at the end of a recording that is there; "false" (the default) replaces it

Once it has begun a file, an instance that is stopped and started goes on at the end of it in either case. A
new instance, as after a crash, does so with ``append``. Going on needs the same rate, channels and bits.

The header is brought up to date after each block, so the file is whole up to the last block even if the
process is killed. It is not forced to the disk: a loss of power may cost the last seconds. Samples outside
[-1, 1] are clipped and NaN becomes silence. A WAV file ends at 4 GiB; blocks beyond that are refused.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

from base_plugin import AudioBuffer, AudioSinkPlugin, PluginInfo, PluginState, PluginType

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
MOST_AUDIO_BYTES = 2**32 - 1 - HEADER.size
YES_OR_NO = {"true": True, "false": False}


def wav_header(rate: int, channels: int, bits: int, audio_bytes: int) -> bytes:
    """The 44 bytes before the samples of an integer PCM file."""
    frame_bytes = channels * bits // 8
    padded = audio_bytes + audio_bytes % 2
    riff = (b"RIFF", HEADER.size - 8 + padded, b"WAVE")
    pcm = (b"fmt ", 16, 1, channels, rate, rate * frame_bytes, frame_bytes, bits)
    return HEADER.pack(*riff, *pcm, b"data", audio_bytes)


def pcm_bytes(data: NDArray[np.float32], bits: int) -> bytes:
    """Samples of shape (channels, frames) as interleaved little-endian integers."""
    # In float64, which holds every 24-bit value with room for rounding.
    samples = np.nan_to_num(data.T.astype(np.float64), nan=0.0).clip(-1.0, 1.0)
    integers: NDArray[np.float64] = np.rint(samples * (2 ** (bits - 1) - 1))
    if bits == 16:
        return integers.astype("<i2").tobytes()
    lowest_three_bytes = integers.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3]
    return lowest_three_bytes.tobytes()


class WavFileSink(AudioSinkPlugin):
    """Writes blocks behind a header that always tells the truth."""

    def __init__(self) -> None:
        super().__init__()
        self._path = ""
        self._bits = 16
        self._append = False
        self._file: IO[bytes] | None = None
        self._own_path = ""  # the file this instance has begun
        self._audio_bytes = 0

    def get_info(self) -> PluginInfo:
        return PluginInfo(
            name="WAV File Sink",
            version="1.0.0",
            author="NDA contributors",
            description="Records to a WAV file",
            plugin_type=PluginType.AUDIO_SINK,
        )

    def set_parameter(self, key: str, value: str) -> bool:
        if self._file is not None:
            return False
        if key == "path" and value:
            self._path = value
        elif key == "bits" and value in ("16", "24"):
            self._bits = int(value)
        elif key == "append" and value in YES_OR_NO:
            self._append = YES_OR_NO[value]
        else:
            return False
        return True

    def get_parameter(self, key: str) -> str:
        values = {"path": self._path, "bits": str(self._bits), "append": str(self._append).lower()}
        return values.get(key, "")

    def start(self) -> bool:
        if self._file is not None:
            return True
        if not self._path:
            return self._refuse("set the parameter 'path' first")
        try:
            self._open()
        except (OSError, ValueError) as error:
            return self._refuse(f"cannot record to {self._path}: {error}")
        return super().start()

    def stop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().stop()

    def shutdown(self) -> None:
        self.stop()
        super().shutdown()

    def write_audio(self, buffer: AudioBuffer) -> bool:
        # The header has told the number of channels already; other blocks would be noise.
        if self._file is None or buffer.get_channel_count() != self.get_channel_count():
            return False
        audio = pcm_bytes(buffer.data, self._bits)
        end = self._audio_bytes + len(audio)
        if end > MOST_AUDIO_BYTES:
            return False
        # Samples first: a header that promised more than there is would be wrong. After a failure, such as
        # a full disk, the next block takes the place of the one that failed.
        self._write_at(HEADER.size + self._audio_bytes, audio + bytes(end % 2))
        self._write_at(0, self._header(end))
        self._audio_bytes = end
        return True

    def _open(self) -> None:
        goes_on = self._append or self._path == self._own_path
        self._audio_bytes = self._recorded_so_far() if goes_on else 0
        mode = "r+b" if self._audio_bytes else "wb"
        # Unbuffered: what has been written is with the operating system, and outlives this process.
        self._file = Path(self._path).open(mode, buffering=0)  # noqa: SIM115 (closed by stop)
        self._own_path = self._path
        self._write_at(0, self._header(self._audio_bytes))

    def _recorded_so_far(self) -> int:
        """Bytes of audio in the file, 0 if there is none. Raises ValueError for any other file."""
        path = Path(self._path)
        if not path.exists() or path.stat().st_size == 0:
            return 0
        with path.open("rb") as file:
            header = file.read(HEADER.size)
        if len(header) == HEADER.size:
            audio_bytes: int = HEADER.unpack(header)[-1]
            if header == self._header(audio_bytes):
                return audio_bytes
        raise ValueError("the file is there and has another format")

    def _header(self, audio_bytes: int) -> bytes:
        return wav_header(self.get_sample_rate(), self.get_channel_count(), self._bits, audio_bytes)

    def _write_at(self, offset: int, content: bytes) -> None:
        assert self._file is not None
        self._file.seek(offset)
        while content:  # one call may write a part only
            content = content[self._file.write(content) :]

    def _refuse(self, reason: str) -> bool:
        print(f"wav_file_sink: {reason}", file=sys.stderr, flush=True)
        return False


def create_plugin() -> WavFileSink:
    return WavFileSink()


if __name__ == "__main__":
    import contextlib
    import io
    import tempfile
    import wave

    def recorder(path: Path, bits: str) -> WavFileSink:
        plugin = create_plugin()
        plugin.set_sample_rate(48_000)
        plugin.set_channel_count(2)
        assert plugin.set_parameter("path", str(path))
        assert plugin.set_parameter("bits", bits)
        assert plugin.initialize()
        assert plugin.start()
        return plugin

    def the_file_is_whole_after_each_block(folder: Path) -> None:
        plugin = recorder(folder / "while_open.wav", "16")
        buffer = AudioBuffer(2, 3)
        buffer.data[:] = [[0.0, 1.0, -1.0], [0.5, 2.0, float("nan")]]
        for block in range(1, 4):
            assert plugin.write_audio(buffer)
            with wave.open(str(folder / "while_open.wav")) as file:
                assert file.getparams()[:4] == (2, 2, 48_000, 3 * block)
                samples = np.frombuffer(file.readframes(3), dtype="<i2")
        assert samples.tolist() == [0, 16384, 32767, 32767, -32767, 0]
        plugin.shutdown()

    def starting_again_goes_on_at_the_end(folder: Path) -> None:
        plugin = recorder(folder / "again.wav", "24")
        for _ in range(2):
            assert plugin.start()
            assert plugin.write_audio(AudioBuffer(2, 100))
            plugin.stop()
        with wave.open(str(folder / "again.wav")) as file:
            assert file.getparams()[:4] == (2, 3, 48_000, 200)

    def it_does_not_start_without_a_path(_: Path) -> None:
        plugin = create_plugin()
        with contextlib.redirect_stderr(io.StringIO()) as err:
            assert not plugin.start()
        assert err.getvalue() == "wav_file_sink: set the parameter 'path' first\n"
        assert plugin.get_state() is PluginState.UNLOADED

    checks = (
        the_file_is_whole_after_each_block,
        starting_again_goes_on_at_the_end,
        it_does_not_start_without_a_path,
    )
    with tempfile.TemporaryDirectory() as folder:
        for check in checks:
            check(Path(folder))
    print(f"wav_file_sink: self-test passed ({len(checks)} checks)")
