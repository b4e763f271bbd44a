"""The recorder, above all what is left of a recording when something goes wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import wav_file_sink
from base_plugin import AudioBuffer
from conftest import prepared

FOLDER = Path(wav_file_sink.__file__).parent


def recorded(path: Path) -> tuple[wave._wave_params, bytes]:
    """What another reader finds in the file."""
    with wave.open(str(path)) as file:
        return file.getparams(), file.readframes(file.getnframes())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "take.wav"


def test_the_file_has_the_format_of_the_stream(running, path: Path) -> None:
    plugin = running("wav_file_sink", path=str(path))
    assert plugin.write_audio(AudioBuffer(2, 512)) is True
    params, _ = recorded(path)
    assert (params.nchannels, params.sampwidth, params.framerate, params.nframes) == (2, 2, 48_000, 512)


def test_samples_are_interleaved_rounded_and_clipped(running, path: Path, block) -> None:
    plugin = running("wav_file_sink", path=str(path))
    assert plugin.write_audio(block([0.0, 1.0, 9.0, 0.5], [-1.0, -9.0, float("nan"), float("-inf")]))
    samples = np.frombuffer(recorded(path)[1], dtype="<i2").reshape(-1, 2)
    assert samples.tolist() == [[0, -32767], [32767, -32767], [32767, 0], [16384, -32767]]


def test_24_bits_keep_24_bits(running, path: Path, block) -> None:
    plugin = running("wav_file_sink", path=str(path), bits="24")
    assert plugin.write_audio(block([1.0, 3 / 8388607], [-1.0, -2 / 8388607]))
    params, audio = recorded(path)
    assert params.sampwidth == 3
    samples = [int.from_bytes(audio[i : i + 3], "little", signed=True) for i in range(0, 12, 3)]
    assert samples == [8388607, -8388607, 3, -2]


def test_the_file_is_whole_after_each_block(running, path: Path) -> None:
    plugin = running("wav_file_sink", path=str(path))
    assert recorded(path)[0].nframes == 0
    for blocks in range(1, 5):
        assert plugin.write_audio(AudioBuffer(2, 100))
        assert recorded(path)[0].nframes == 100 * blocks
        assert path.stat().st_size == 44 + 400 * blocks


def test_a_killed_process_leaves_a_whole_file(path: Path) -> None:
    program = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from wav_file_sink import create_plugin; from base_plugin import AudioBuffer\n"
        "plugin = create_plugin(); plugin.set_parameter('path', sys.argv[2]); plugin.start()\n"
        "buffer = AudioBuffer(2, 512); buffer.data[:] = 0.5\n"
        "assert all(plugin.write_audio(buffer) for _ in range(10))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-B", "-c", program, str(FOLDER), str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    params, audio = recorded(path)
    assert params.nframes == 5120
    assert set(np.frombuffer(audio, dtype="<i2")) == {16384}


def test_a_process_killed_amid_a_block_leaves_the_blocks_before(running, path: Path, monkeypatch) -> None:
    plugin = running("wav_file_sink", path=str(path))
    assert plugin.write_audio(AudioBuffer(2, 100))
    write_at, writes = plugin._write_at, []

    def killed_after_the_first_write(offset: int, content: bytes) -> None:
        writes.append(offset)
        if len(writes) > 1:
            raise OSError("gone")
        write_at(offset, content)

    monkeypatch.setattr(plugin, "_write_at", killed_after_the_first_write)
    with pytest.raises(OSError, match="gone"):
        plugin.write_audio(AudioBuffer(2, 100))
    assert recorded(path)[0].nframes == 100


def test_a_block_that_could_not_be_written_leaves_no_gap(running, path: Path, block, monkeypatch) -> None:
    plugin = running("wav_file_sink", path=str(path))
    write_at = plugin._write_at

    def disk_full(offset: int, content: bytes) -> None:
        write_at(offset, content[:4])
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(plugin, "_write_at", disk_full)
        with pytest.raises(OSError, match="no space left"):
            plugin.write_audio(block([0.1, 0.1], [0.1, 0.1]))
    assert plugin.write_audio(block([1.0, 1.0], [1.0, 1.0]))
    assert np.frombuffer(recorded(path)[1], dtype="<i2").tolist() == [32767] * 4


def test_an_odd_number_of_bytes_is_padded_and_overwritten(path: Path) -> None:
    plugin = prepared("wav_file_sink", path=str(path), bits="24")
    plugin.set_channel_count(1)
    assert plugin.start()
    for blocks in range(1, 4):
        assert plugin.write_audio(AudioBuffer(1, 65))
        assert path.stat().st_size % 2 == 0
        assert recorded(path)[0].nframes == 65 * blocks
    plugin.shutdown()


def test_start_after_stop_goes_on_at_the_end(running, path: Path, block) -> None:
    plugin = running("wav_file_sink", path=str(path))
    assert plugin.write_audio(block([1.0], [1.0]))
    plugin.stop()
    assert plugin.start()
    assert plugin.write_audio(block([-1.0], [-1.0]))
    assert np.frombuffer(recorded(path)[1], dtype="<i2").tolist() == [32767, 32767, -32767, -32767]


def test_a_new_instance_replaces_the_file(running, path: Path) -> None:
    for _ in range(2):
        assert running("wav_file_sink", path=str(path)).write_audio(AudioBuffer(2, 100))
    assert recorded(path)[0].nframes == 100


def test_a_new_instance_with_append_goes_on_at_the_end(running, path: Path) -> None:
    for _ in range(2):
        assert running("wav_file_sink", path=str(path), append="true").write_audio(AudioBuffer(2, 100))
    assert recorded(path)[0].nframes == 200


@pytest.mark.parametrize("content", [b"short", b"not a recording, but long enough to hold the header of one"])
def test_append_does_not_touch_a_file_that_is_no_recording(path: Path, content: bytes, capsys) -> None:
    path.write_bytes(content)
    assert prepared("wav_file_sink", path=str(path), append="true").start() is False
    assert path.read_bytes() == content
    assert "the file is there and has another format" in capsys.readouterr().err


def test_append_does_not_mix_sample_rates(running, path: Path) -> None:
    assert running("wav_file_sink", path=str(path)).write_audio(AudioBuffer(2, 100))
    plugin = prepared("wav_file_sink", path=str(path), append="true")
    plugin.set_sample_rate(44_100)
    assert plugin.start() is False
    assert recorded(path)[0].framerate == 48_000


def test_start_is_refused_without_a_path(capsys) -> None:
    assert prepared("wav_file_sink").start() is False
    assert capsys.readouterr().err == "wav_file_sink: set the parameter 'path' first\n"


def test_start_is_refused_if_the_file_cannot_be_made(tmp_path: Path, capsys) -> None:
    plugin = prepared("wav_file_sink", path=str(tmp_path / "nowhere" / "take.wav"))
    assert plugin.start() is False
    assert "cannot record to" in capsys.readouterr().err


def test_start_succeeds_once_the_path_has_been_set(path: Path) -> None:
    plugin = prepared("wav_file_sink")
    assert plugin.start() is False
    assert plugin.set_parameter("path", str(path))
    assert plugin.start() is True
    plugin.shutdown()


def test_a_block_with_other_channels_is_refused(running, path: Path) -> None:
    plugin = running("wav_file_sink", path=str(path))
    assert plugin.write_audio(AudioBuffer(1, 512)) is False
    assert recorded(path)[0].nframes == 0


def test_a_block_is_refused_before_start_and_after_stop(running, path: Path) -> None:
    assert prepared("wav_file_sink", path=str(path)).write_audio(AudioBuffer(2, 64)) is False
    plugin = running("wav_file_sink", path=str(path))
    plugin.stop()
    assert plugin.write_audio(AudioBuffer(2, 64)) is False


def test_a_block_beyond_4_gib_is_refused(running, path: Path, monkeypatch) -> None:
    monkeypatch.setattr(wav_file_sink, "MOST_AUDIO_BYTES", 1000)
    plugin = running("wav_file_sink", path=str(path))
    assert plugin.write_audio(AudioBuffer(2, 250)) is True
    assert plugin.write_audio(AudioBuffer(2, 1)) is False
    assert recorded(path)[0].nframes == 250


def test_the_largest_file_still_fits_its_header() -> None:
    header = wav_file_sink.wav_header(48_000, 2, 16, wav_file_sink.MOST_AUDIO_BYTES)
    assert len(header) == 44


@pytest.mark.parametrize(
    ("key", "value"), [("path", ""), ("bits", "8"), ("bits", "32"), ("bits", ""), ("append", "maybe")]
)
def test_bad_values_are_refused(key: str, value: str) -> None:
    plugin = prepared("wav_file_sink")
    before = plugin.get_parameter(key)
    assert plugin.set_parameter(key, value) is False
    assert plugin.get_parameter(key) == before


def test_parameters_are_read_back(path: Path) -> None:
    plugin = prepared("wav_file_sink", path=str(path), bits="24", append="true")
    assert [plugin.get_parameter(key) for key in ("path", "bits", "append")] == [str(path), "24", "true"]


def test_parameters_do_not_change_while_recording(running, path: Path) -> None:
    plugin = running("wav_file_sink", path=str(path))
    assert plugin.set_parameter("bits", "24") is False
    assert plugin.get_parameter("bits") == "16"
