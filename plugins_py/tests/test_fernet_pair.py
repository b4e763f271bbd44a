"""The encryptor, the decryptor, and what passes between them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cryptography.fernet import Fernet

import _fernet_block
from base_plugin import AudioBuffer
from conftest import prepared

PAIR = ["fernet_encryptor", "fernet_decryptor"]


@pytest.fixture
def key() -> str:
    return Fernet.generate_key().decode()


@pytest.fixture
def pair(running: Callable[..., Any], key: str) -> tuple[Any, Any]:
    return running("fernet_encryptor", key=key), running("fernet_decryptor", key=key)


def noise(channels: int, frames: int) -> AudioBuffer:
    """Reproducible samples, some of them beyond full scale."""
    buffer = AudioBuffer(channels, frames)
    buffer.data[:] = np.random.default_rng(channels * 10_000 + frames).uniform(-1.2, 1.2, (channels, frames))
    return buffer


def without_base64(token: bytes) -> bytes:
    return base64.urlsafe_b64decode(token)


def cut_to_16_bits(data: np.ndarray) -> np.ndarray:
    """What is to come back, worked out without the code under test."""
    integers = np.rint(np.clip(data, -1.0, 1.0) * 32767)
    return (integers / np.float32(32767)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
@pytest.mark.parametrize("frames", [64, 65, 100, 127, 128, 480, 512, 1024, 4096])
def test_the_pair_gives_back_the_audio_cut_to_16_bits(pair, channels: int, frames: int) -> None:
    encryptor, decryptor = pair
    buffer = noise(channels, frames)
    expected = cut_to_16_bits(buffer.data)
    assert encryptor.process_audio(buffer) is True
    assert decryptor.process_audio(buffer) is True
    assert np.array_equal(buffer.data, expected)


def test_every_16_bit_value_survives_unchanged() -> None:
    values = np.arange(-32767, 32768, dtype="<i2")
    again = _fernet_block.quantised(_fernet_block.restored(values))
    assert np.array_equal(again, values)


def test_what_is_beyond_full_scale_is_clipped_and_nan_is_silent(pair) -> None:
    buffer = AudioBuffer(1, 64)
    buffer.data[0, :5] = [2.0, -2.0, float("inf"), float("-inf"), float("nan")]
    assert all(plugin.process_audio(buffer) for plugin in pair)
    assert buffer.data[0, :5].tolist() == [1.0, -1.0, 1.0, -1.0, 0.0]


def test_the_encrypted_block_shows_nothing_of_the_audio(pair) -> None:
    buffer = AudioBuffer(2, 512)
    buffer.data[:] = 0.5
    assert pair[0].process_audio(buffer)
    token = buffer.data.tobytes()[: _fernet_block.token_bytes(1024)]
    # Of 2121 random bytes no value turns up anywhere near this often.
    assert np.bincount(np.frombuffer(token, dtype=np.uint8)).max() < 40


def test_the_same_audio_is_encrypted_differently_each_time(pair) -> None:
    one, other = AudioBuffer(2, 64), AudioBuffer(2, 64)
    assert pair[0].process_audio(one)
    assert pair[0].process_audio(other)
    assert one.data.tobytes() != other.data.tobytes()


def test_any_bytes_survive_in_the_block_even_those_of_a_nan(pair) -> None:
    """A token is random, and so one float in 256 of it is a NaN: 50 blocks must contain some."""
    encryptor, decryptor = pair
    seen = 0
    for _ in range(50):
        buffer = noise(2, 512)
        expected = cut_to_16_bits(buffer.data)
        assert encryptor.process_audio(buffer)
        seen += int(np.isnan(buffer.data).sum())
        assert decryptor.process_audio(buffer)
        assert np.array_equal(buffer.data, expected)
    assert seen > 0


def test_blocks_stand_alone_so_a_lost_one_costs_itself_only(pair) -> None:
    encryptor, decryptor = pair
    blocks = [noise(2, frames) for frames in (64, 512, 128)]
    expected = [cut_to_16_bits(buffer.data) for buffer in blocks]
    assert all(encryptor.process_audio(buffer) for buffer in blocks)
    for index in (2, 0):  # the middle one is lost and the others come in the wrong order
        assert decryptor.process_audio(blocks[index])
        assert np.array_equal(blocks[index].data, expected[index])


@pytest.mark.parametrize("position", [0, 5, 20, 60, 1000, 2120])
def test_one_changed_bit_fails_the_block_and_silences_it(pair, position: int) -> None:
    buffer = noise(2, 512)
    assert pair[0].process_audio(buffer)
    assert _fernet_block.token_bytes(1024) == 2121
    buffer.data.reshape(-1).view(np.uint8)[position] ^= 0x40
    assert pair[1].process_audio(buffer) is False
    assert not buffer.data.any()


@pytest.mark.parametrize("make", [lambda: AudioBuffer(2, 512), lambda: noise(2, 512), lambda: noise(1, 4)])
def test_a_block_that_was_never_encrypted_fails(pair, make) -> None:
    buffer = make()
    assert pair[1].process_audio(buffer) is False
    assert not buffer.data.any()


def test_a_block_of_another_key_fails(running, pair) -> None:
    stranger = running("fernet_encryptor", key=Fernet.generate_key().decode())
    buffer = noise(2, 512)
    assert stranger.process_audio(buffer)
    assert pair[1].process_audio(buffer) is False


def test_a_token_of_the_right_key_but_not_of_a_block_fails(pair, key: str) -> None:
    buffer = AudioBuffer(1, 64)
    token = np.frombuffer(without_base64(Fernet(key).encrypt(b"x" * 129)), dtype=np.uint8)
    buffer.data.reshape(-1).view(np.uint8)[: token.size] = token
    assert pair[1].process_audio(buffer) is False
    assert not buffer.data.any()


def test_after_a_failed_block_the_next_one_is_fine(pair) -> None:
    encryptor, decryptor = pair
    assert decryptor.process_audio(noise(2, 512)) is False
    buffer = noise(2, 512)
    assert encryptor.process_audio(buffer)
    assert decryptor.process_audio(buffer) is True


@pytest.mark.parametrize(("channels", "frames"), [(1, 1), (1, 16), (1, 32), (2, 16)])
def test_a_block_too_small_fails_silenced_and_says_why(pair, capsys, channels: int, frames: int) -> None:
    buffer = noise(channels, frames)
    assert pair[0].process_audio(buffer) is False
    assert not buffer.data.any()
    said = capsys.readouterr().err
    assert f"a block of {channels} x {frames} samples has {4 * channels * frames} bytes" in said
    assert "use larger blocks" in said


def test_every_block_of_35_samples_or_more_is_large_enough() -> None:
    assert _fernet_block.token_bytes(34) > 4 * 34
    assert all(_fernet_block.token_bytes(samples) <= 4 * samples for samples in range(35, 5000))


@pytest.mark.parametrize("samples", [0, 1, 7, 8, 9, 63, 64, 512, 1024])
def test_the_length_of_a_token_is_known_beforehand(key: str, samples: int) -> None:
    assert len(without_base64(Fernet(key).encrypt(bytes(2 * samples)))) == _fernet_block.token_bytes(samples)


def test_the_same_complaint_is_made_once_per_start(pair, capsys) -> None:
    decryptor = pair[1]
    for _ in range(2):
        assert not any(decryptor.process_audio(noise(2, 512)) for _ in range(5))
        assert capsys.readouterr().err.count("\n") == 1
        decryptor.stop()
        assert decryptor.start()


@pytest.mark.parametrize("module", PAIR)
def test_start_is_refused_until_there_is_a_key(module: str, key: str, capsys) -> None:
    plugin = prepared(module)
    assert plugin.start() is False
    assert "set the parameter 'key' before the start" in capsys.readouterr().err
    assert plugin.set_parameter("key", key) is True
    assert plugin.start() is True


@pytest.mark.parametrize("module", PAIR)
def test_a_block_without_a_key_fails_and_is_silenced(module: str) -> None:
    buffer = noise(2, 512)
    assert prepared(module).process_audio(buffer) is False
    assert not buffer.data.any()


@pytest.mark.parametrize("module", PAIR)
@pytest.mark.parametrize("bad", ["", "secret", "A" * 44, "A" * 40, "\u00e9" * 44])
def test_a_bad_key_is_refused_and_the_old_one_kept(module: str, bad: str, key: str) -> None:
    plugin = prepared(module, key=key)
    assert plugin.set_parameter("key", bad) is False
    assert plugin.get_parameter("key") == "set"
    assert plugin.start() is True


@pytest.mark.parametrize("module", PAIR)
def test_the_key_is_never_told(module: str, key: str, capsys) -> None:
    plugin = prepared(module)
    assert plugin.get_parameter("key") == ""
    assert plugin.set_parameter("key", key)
    assert plugin.get_parameter("key") == "set"
    plugin.start()
    plugin.process_audio(noise(1, 4))
    told = capsys.readouterr()
    assert key not in told.out + told.err + repr(plugin) + repr(vars(plugin)) + repr(plugin.get_info())


@pytest.mark.parametrize("module", PAIR)
def test_neither_lets_its_input_through_when_it_fails(module: str) -> None:
    assert prepared(module).fail_closed is True


@pytest.mark.parametrize("module", PAIR)
def test_the_info_says_that_it_is_a_demonstration(module: str) -> None:
    assert "demonstration only" in prepared(module).get_info().description
