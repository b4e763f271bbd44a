"""The example to start from."""

import tracemalloc

import numpy as np
import pytest

from base_plugin import AudioBuffer


def test_a_gain_of_one_changes_nothing_within_full_scale(running, block) -> None:
    buffer = block([0.0, 0.1, -0.7, 1.0, -1.0])
    before = buffer.data.tobytes()
    assert running("simple_gain").process_audio(buffer) is True
    assert buffer.data.tobytes() == before


def test_a_gain_of_one_half_halves(running, block) -> None:
    buffer = block([0.5, -1.0], [0.25, 0.0])
    assert running("simple_gain", gain="0.5").process_audio(buffer)
    assert buffer.data.tolist() == [[0.25, -0.5], [0.125, 0.0]]


def test_a_gain_of_zero_is_silence(running, block) -> None:
    buffer = block([0.5, -1.0])
    assert running("simple_gain", gain="0").process_audio(buffer)
    assert not buffer.data.any()


def test_a_gain_of_two_clips_at_full_scale(running, block) -> None:
    buffer = block([0.25, 0.75, -0.75, 0.5])
    assert running("simple_gain", gain="2.0").process_audio(buffer)
    assert buffer.data.tolist() == [[0.5, 1.0, -1.0, 1.0]]


def test_what_comes_in_too_loud_is_clipped_even_at_a_gain_of_one(running, block) -> None:
    buffer = block([3.0, -3.0, float("inf")])
    assert running("simple_gain").process_audio(buffer)
    assert buffer.data.tolist() == [[1.0, -1.0, 1.0]]


def test_the_gain_can_change_between_blocks(running, block) -> None:
    plugin, buffer = running("simple_gain"), block([1.0])
    for _ in range(2):
        assert plugin.set_parameter("gain", "0.5")
        assert plugin.process_audio(buffer)
    assert buffer.data.tolist() == [[0.25]]


@pytest.mark.parametrize(
    ("given", "read"), [("0.0", "0.0"), ("2", "2.0"), ("0.7071", "0.7071"), ("1e-3", "0.001")]
)
def test_the_gain_is_read_back_as_it_was_set(running, given: str, read: str) -> None:
    assert running("simple_gain", gain=given).get_parameter("gain") == read


@pytest.mark.parametrize("value", ["-0.001", "2.001", "nan", "inf", "-inf", "", "loud", "1,5"])
def test_a_bad_gain_is_refused_and_changes_nothing(running, block, value: str) -> None:
    plugin, buffer = running("simple_gain", gain="0.5"), block([1.0])
    assert plugin.set_parameter("gain", value) is False
    assert plugin.get_parameter("gain") == "0.5"
    assert plugin.process_audio(buffer)
    assert buffer.data.tolist() == [[0.5]]


def test_it_works_in_place_and_keeps_float32(running) -> None:
    buffer = AudioBuffer(2, 512)
    memory = buffer.data
    assert running("simple_gain").process_audio(buffer)
    assert buffer.data is memory
    assert memory.dtype == np.float32


def test_a_block_makes_no_temporary_arrays(running) -> None:
    plugin, buffer = running("simple_gain", gain="0.5"), AudioBuffer(2, 65_536)
    plugin.process_audio(buffer)
    tracemalloc.start()
    try:
        plugin.process_audio(buffer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < buffer.data.nbytes // 16
