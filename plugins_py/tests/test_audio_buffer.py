"""The block of audio that passes between host and plugin."""

import numpy as np
import pytest

from base_plugin import AudioBuffer


def test_a_new_buffer_is_silent_float32_of_channels_by_frames_in_c_order() -> None:
    data = AudioBuffer(2, 512).data
    assert (data.shape, data.dtype) == ((2, 512), np.float32)
    assert data.flags.c_contiguous
    assert not data.any()


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", None])
def test_a_bad_number_of_channels_is_refused_in_plain_words(bad: object) -> None:
    with pytest.raises(ValueError, match="channels must be a whole number of at least 1, not"):
        AudioBuffer(bad, 512)


@pytest.mark.parametrize("bad", [0, -512, 0.5, "512", None])
def test_a_bad_number_of_frames_is_refused_in_plain_words(bad: object) -> None:
    with pytest.raises(ValueError, match="frame_count must be a whole number of at least 1, not"):
        AudioBuffer(2, bad)


def test_numpy_integers_are_numbers_too() -> None:
    assert AudioBuffer(np.int64(2), np.uint16(64)).data.shape == (2, 64)


def test_the_counts_are_those_of_the_data() -> None:
    buffer = AudioBuffer(2, 512)
    assert (buffer.get_channel_count(), buffer.get_frame_count()) == (2, 512)


def test_the_counts_follow_assigned_data() -> None:
    buffer = AudioBuffer(2, 512)
    buffer.data = np.zeros((6, 128), dtype=np.float32)
    assert (buffer.get_channel_count(), buffer.get_frame_count()) == (6, 128)


def test_the_counts_follow_nested_lists() -> None:
    buffer = AudioBuffer(2, 512)
    buffer.data = [[0.0, 0.5, 1.0]]
    assert (buffer.get_channel_count(), buffer.get_frame_count()) == (1, 3)


def test_assigned_data_is_used_as_it_is_and_not_copied() -> None:
    memory = np.zeros((2, 64), dtype=np.float32)
    buffer = AudioBuffer(2, 64)
    buffer.data = memory
    assert buffer.data is memory
    buffer.data[:] = 0.5
    assert (memory == 0.5).all()


def test_the_data_of_a_channel_is_a_view() -> None:
    buffer = AudioBuffer(2, 4)
    buffer.get_channel_data(1)[:] = 0.25
    assert buffer.data.tolist() == [[0.0] * 4, [0.25] * 4]


def test_a_channel_that_is_not_there_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        AudioBuffer(2, 4).get_channel_data(2)


def test_clear_makes_silence_in_the_same_memory() -> None:
    buffer = AudioBuffer(2, 4)
    memory = buffer.data
    memory[:] = 0.5
    buffer.clear()
    assert buffer.data is memory
    assert not memory.any()


def test_copy_from_copies_the_samples_and_shares_nothing() -> None:
    source, target = AudioBuffer(2, 4), AudioBuffer(2, 4)
    source.data[:] = 0.5
    memory = target.data
    target.copy_from(source)
    source.data[:] = 0.0
    assert target.data is memory
    assert (memory == 0.5).all()


def test_copy_from_takes_float64() -> None:
    source, target = AudioBuffer(1, 2), AudioBuffer(1, 2)
    source.data = np.array([[0.25, -0.25]])
    target.copy_from(source)
    assert target.data.tolist() == [[0.25, -0.25]]


def test_copy_from_another_shape_names_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(2, 256\) into one of shape \(2, 512\)"):
        AudioBuffer(2, 512).copy_from(AudioBuffer(2, 256))


def test_one_channel_is_not_spread_over_two_by_copy_from() -> None:
    with pytest.raises(ValueError, match="shape"):
        AudioBuffer(2, 512).copy_from(AudioBuffer(1, 512))


def test_a_buffer_may_carry_other_attributes_and_be_subclassed() -> None:
    class Marked(AudioBuffer):
        pass

    buffer = Marked(1, 1)
    buffer.note = "mine"
    assert buffer.note == "mine"


def test_a_buffer_prints_its_size() -> None:
    assert repr(AudioBuffer(2, 512)) == "AudioBuffer(channels=2, frame_count=512)"
