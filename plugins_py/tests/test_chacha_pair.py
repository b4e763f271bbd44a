"""The stream cipher pair: what passes between the two, and what never does."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import _chacha_key
import _chacha_packet
import _chacha_receiver
from base_plugin import AudioBuffer, PluginState
from conftest import prepared

PAIR = ["chacha_encryptor", "chacha_decryptor"]
FRAMES = 128
Start = Callable[..., Any]


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key"
    assert _chacha_key.make_key(path)
    return str(path)


@pytest.fixture
def start(running: Callable[..., Any], key_file: str) -> Start:
    return lambda module, **parameters: running(f"chacha_{module}", **{"key_file": key_file} | parameters)


def audio(channels: int, frames: int, bits: int = 24) -> np.ndarray:
    """Reproducible samples of so many bits, over the whole range."""
    top = 1 << (bits - 1)
    integers = np.random.default_rng(channels * 10_000 + frames).integers(-top, top, (channels, frames))
    return (integers / top).astype(np.float32)


def passed(plugin: Any, stream: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """A stream, shape (channels, frames), through a plugin in whole blocks; the rest is dropped."""
    blocks = []
    for at in range(0, stream.shape[1] - frames + 1, frames):
        buffer = AudioBuffer(stream.shape[0], frames)
        buffer.data[:] = stream[:, at : at + frames]
        assert plugin.process_audio(buffer) is True
        blocks.append(buffer.data)
    return np.concatenate(blocks, axis=1)


def delayed(stream: np.ndarray, frames: int) -> np.ndarray:
    return np.concatenate((np.zeros((len(stream), frames), np.float32), stream), axis=1)


def counts(plugin: Any) -> dict[str, int]:
    words = (word.split("=") for word in plugin.get_parameter("status").split())
    return {name: int(count) for name, count in words}


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("bits", [16, 24])
def test_audio_of_16_and_24_bits_comes_back_bit_for_bit(start: Start, channels: int, bits: int) -> None:
    clear = audio(channels, 10 * FRAMES, bits)
    out = passed(start("decryptor"), passed(start("encryptor"), clear))
    assert np.array_equal(out[:, FRAMES:], clear[:, :-FRAMES])
    assert not out[:, :FRAMES].any()


@pytest.mark.parametrize("channels", [1, 2])
def test_packets_are_found_wherever_they_begin(start: Start, channels: int) -> None:
    clear = audio(channels, 6 * FRAMES)
    for offset in range(FRAMES):
        secret = delayed(passed(start("encryptor"), clear), offset)
        out = passed(start("decryptor"), secret)
        assert np.array_equal(out, delayed(clear, FRAMES + offset)[:, : out.shape[1]]), offset


@pytest.mark.parametrize("sent", [64, 100, 128, 512, 1024])
@pytest.mark.parametrize("heard", [16, 64, 128, 333, 1024])
def test_blocks_of_any_size_are_read_in_blocks_of_any_other(start: Start, sent: int, heard: int) -> None:
    clear = audio(1, 8192 // sent * sent)
    decryptor = start("decryptor")
    out = passed(decryptor, delayed(passed(start("encryptor"), clear, sent), 37), heard)
    latency = counts(decryptor)["latency_frames"]
    assert latency == (heard if sent <= heard + 1 else sent)
    # Where packets turn out longer than blocks it waits for longer from the first packet on.
    assert np.array_equal(out[:, latency + 37 :], clear[:, : out.shape[1] - latency - 37])
    assert not out[:, : latency + 37].any()


def test_what_is_finer_is_rounded_what_is_louder_is_clipped_and_nan_is_silent(start: Start) -> None:
    clear = np.zeros((1, 2 * FRAMES), np.float32)
    special = [2.0, -2.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 2.0**-25, 0.75 * 2.0**-23, -1e-40, -0.0]
    clear[0, : len(special)] = special
    out = passed(start("decryptor"), passed(start("encryptor"), clear))
    top, step = 1 - 2.0**-23, 2.0**-23
    expected = [top, -1.0, top, -1.0, top, -1.0, 0.0, 0.0, step, 0.0, 0.0]
    assert out[0, FRAMES : FRAMES + len(special)].tolist() == expected


@pytest.mark.parametrize("clear", [np.zeros((2, 400 * FRAMES), np.float32), audio(2, 400 * FRAMES)])
def test_what_is_sent_is_ordinary_audio(start: Start, clear: np.ndarray) -> None:
    magnitude = np.abs(passed(start("encryptor"), clear))
    assert np.isfinite(magnitude).all()
    assert magnitude.max() < 0.5
    # Far from what a processor flushes to zero.
    assert magnitude.min() >= 2.0**-34


def test_what_is_sent_tells_nothing_of_the_audio(start: Start) -> None:
    frames = 400 * FRAMES
    tone = (0.5 * np.sin(np.arange(frames) * 2 * np.pi * 440 / 48_000)).astype(np.float32)
    secret = passed(start("encryptor"), np.stack((tone, np.zeros_like(tone))))
    # With n independent samples a correlation is as large as 5 / sqrt(n) once in two million times.
    bound = 5 / np.sqrt(frames)
    for lag in (0, 1, FRAMES):
        for channel in secret:
            rest = frames - lag
            assert abs(np.corrcoef(channel[lag:], tone[:rest])[0, 1]) < bound
            if lag:
                assert abs(np.corrcoef(channel[lag:], channel[:rest])[0, 1]) < bound
    assert abs(np.corrcoef(secret)[0, 1]) < bound
    # Each of the 24 encrypted bits is as often 0 as 1, of a tone and of silence alike.
    words = secret.view(np.uint32)
    for bit in (*range(23), 31):
        ones = (words >> np.uint32(bit) & np.uint32(1)).mean(axis=1)
        assert (np.abs(ones - 0.5) < bound / 2).all()


def test_the_same_audio_is_never_sent_twice_the_same(start: Start) -> None:
    encryptor, other = start("encryptor"), start("encryptor")
    clear = np.zeros((1, FRAMES), np.float32)
    sent = [passed(encryptor, clear), passed(encryptor, clear), passed(other, clear)]
    encryptor.stop()
    assert encryptor.start()
    sent.append(passed(encryptor, clear))
    bodies = {packet[0, _chacha_packet.HEADER_SAMPLES :].tobytes() for packet in sent}
    assert len(bodies) == len(sent)


def moments(secret: np.ndarray) -> list[bytes]:
    packets = secret.view(np.uint32).T.reshape(-1, FRAMES * len(secret))
    headers = [_chacha_packet.header_of(packet[: _chacha_packet.HEADER_SAMPLES]) for packet in packets]
    return [header.moment for header in headers if header]


def test_a_nonce_is_never_used_again_not_by_a_restart_a_twin_or_a_clock_that_stands(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_chacha_packet.time, "time_ns", lambda: 1_700_000_000_000_000_000)
    clear = np.zeros((1, 5 * FRAMES), np.float32)
    plugins = [start("encryptor") for _ in range(20)]
    seen = []
    for plugin in plugins:
        for _ in range(3):
            seen += moments(passed(plugin, clear))
            plugin.stop()
            assert plugin.start()
    assert len(seen) == len(set(seen)) == 20 * 3 * 5


def test_a_counter_that_is_used_up_begins_a_new_instance(start: Start) -> None:
    encryptor, decryptor = start("encryptor"), start("decryptor")
    clear = audio(1, 6 * FRAMES)
    first = passed(encryptor, clear[:, :FRAMES])
    encryptor._sealer._counter = _chacha_packet.LAST_COUNTER - 2
    secret = np.concatenate((first, passed(encryptor, clear[:, FRAMES:])), axis=1)
    assert len({moment[: _chacha_packet.INSTANCE_BYTES] for moment in moments(secret)}) == 2
    assert np.array_equal(passed(decryptor, secret)[:, FRAMES:], clear[:, :-FRAMES])


def test_a_restarted_sender_is_heard_at_once(start: Start) -> None:
    encryptor, decryptor = start("encryptor"), start("decryptor")
    clear = audio(2, 8 * FRAMES)
    before = passed(encryptor, clear[:, : 4 * FRAMES])
    successor = start("encryptor")
    after = passed(successor, clear[:, 4 * FRAMES :])
    # It died within a block, and was away for two.
    secret = np.concatenate((before[:, :-50], np.zeros((2, 50 + 2 * FRAMES), np.float32), after), axis=1)
    out = passed(decryptor, secret)
    expected = np.concatenate(
        (clear[:, : 3 * FRAMES], np.zeros((2, 3 * FRAMES), np.float32), clear[:, 4 * FRAMES :]), axis=1
    )
    assert np.array_equal(out[:, FRAMES:], expected[:, :-FRAMES])


@pytest.mark.parametrize("damage", ["silent", "short", "long", "noise"])
@pytest.mark.parametrize("offset", [0, 55])
def test_a_lost_packet_costs_itself_only(start: Start, damage: str, offset: int) -> None:
    clear = audio(2, 8 * FRAMES)
    secret = passed(start("encryptor"), clear)
    before, lost, after = np.split(secret, [3 * FRAMES, 4 * FRAMES], axis=1)
    lost = {
        "silent": np.zeros_like(lost),
        "short": lost[:, :90],
        "long": np.concatenate((lost[:, :70], lost[:, :70]), axis=1),
        "noise": np.random.default_rng(1).uniform(-1, 1, lost.shape).astype(np.float32),
    }[damage]
    decryptor = start("decryptor")
    out = passed(decryptor, delayed(np.concatenate((before, lost, after), axis=1), offset))
    expected = np.concatenate((clear[:, : 3 * FRAMES], np.zeros_like(lost), clear[:, 4 * FRAMES :]), axis=1)
    assert np.array_equal(out, delayed(expected, FRAMES + offset)[:, : out.shape[1]])
    assert counts(decryptor)["missing"] == 1


def test_one_changed_bit_anywhere_silences_its_packet_alone(start: Start, capsys) -> None:
    clear = audio(1, 5 * FRAMES)
    secret = passed(start("encryptor"), clear)
    expected = delayed(clear, FRAMES)
    expected[:, 3 * FRAMES : 4 * FRAMES] = 0.0
    for frame in range(FRAMES):
        for bit in (0, 11, 22, 23, 24, 27, 28, 30, 31):
            damaged = secret.copy()
            damaged.view(np.uint32)[0, 2 * FRAMES + frame] ^= np.uint32(1 << bit)
            out = passed(start("decryptor"), damaged)
            assert np.array_equal(out, expected[:, : out.shape[1]]), (frame, bit)


def test_a_changed_length_in_a_header_does_not_have_the_next_packets_waited_for(start: Start) -> None:
    clear = audio(1, 20 * FRAMES)
    secret = passed(start("encryptor"), clear)
    for sample in (3, 4, 5):
        damaged = secret.copy()
        # Still a header: only some of the five bits are changed.
        damaged.view(np.uint32)[0, 2 * FRAMES + sample] ^= np.uint32(3 << 23)
        out = passed(start("decryptor"), damaged)
        expected = delayed(clear, FRAMES)
        expected[:, 3 * FRAMES : 4 * FRAMES] = 0.0
        assert np.array_equal(out, expected[:, : out.shape[1]])


def test_another_key_opens_nothing_and_says_so_once(start: Start, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other"
    assert _chacha_key.make_key(other)
    secret = passed(start("encryptor"), audio(2, 40 * FRAMES))
    decryptor = start("decryptor", key_file=str(other))
    assert not passed(decryptor, secret).any()
    assert counts(decryptor)["refused"] == 40
    assert capsys.readouterr().err.count("another key or direction") == 1


def test_the_other_direction_is_not_opened_with_the_same_key(start: Start) -> None:
    secret = passed(start("encryptor", direction="there"), audio(1, 4 * FRAMES))
    assert not passed(start("decryptor", direction="back"), secret).any()
    assert passed(start("decryptor", direction="there"), secret).any()


def test_a_key_changes_between_two_starts_only(start: Start, tmp_path: Path, capsys) -> None:
    encryptor = start("encryptor")
    for key, value in (("direction", "other"), ("key_file", str(tmp_path / "another"))):
        before = encryptor.get_parameter(key)
        assert encryptor.set_parameter(key, before) is True
        assert encryptor.set_parameter(key, value) is False
        assert encryptor.get_parameter(key) == before
        assert f"{key} can't change while it plays" in capsys.readouterr().out
    encryptor.stop()
    assert encryptor.set_parameter("direction", "other") is True


def test_another_number_of_channels_opens_nothing(start: Start) -> None:
    secret = passed(start("encryptor"), audio(2, 4 * FRAMES))
    as_mono = np.ascontiguousarray(secret.T.reshape(1, -1))
    assert not passed(start("decryptor"), as_mono).any()


def test_a_recording_is_not_heard_again(start: Start) -> None:
    encryptor, decryptor = start("encryptor"), start("decryptor")
    old = passed(encryptor, audio(1, 6 * FRAMES))
    assert passed(decryptor, old).any()
    passed(decryptor, np.zeros((1, FRAMES), np.float32))
    assert not passed(decryptor, old).any()
    assert counts(decryptor)["replayed"] == 6
    new = passed(encryptor, audio(1, 6 * FRAMES))
    assert passed(decryptor, new).any()


def test_who_takes_the_place_of_a_decryptor_takes_no_older_packet_either(start: Start) -> None:
    encryptor, decryptor = start("encryptor"), start("decryptor")
    old, new = (passed(encryptor, audio(1, 6 * FRAMES)) for _ in range(2))
    passed(decryptor, old)
    state = decryptor.save_state()
    successor = prepared("chacha_decryptor", key_file=decryptor.get_parameter("key_file"))
    successor.load_state(state)
    assert successor.start()
    assert not passed(successor, old).any()
    assert passed(successor, new).any()
    # A twin that plays already is told of newer ones.
    twin = start("decryptor")
    passed(twin, np.zeros((1, FRAMES), np.float32))
    twin.load_state(successor.save_state())
    assert not passed(twin, new).any()


@pytest.mark.parametrize("state", [b"x", b"x" * 21])
def test_a_state_of_somebody_else_is_refused(start: Start, state: bytes) -> None:
    with pytest.raises(ValueError, match="none of this plugin's"):
        start("decryptor").load_state(state)


def header_alone(frames: int) -> np.ndarray:
    """The samples of a header that nobody has sealed, of a packet of so many frames."""
    carried = _chacha_packet.fives(b"nD" + (frames - 1).to_bytes(2, "big") + bytes(36)).astype(np.uint32)
    exponents = carried + _chacha_packet.HEADER_EXPONENT
    return (exponents << np.uint32(23)).view(np.float32).reshape(1, -1)


def test_made_up_packets_end_in_silence_and_cost_no_more_than_a_bounded_number_of_tries(start: Start) -> None:
    made_up = np.tile(header_alone(64), 40)
    decryptor = start("decryptor")
    assert not passed(decryptor, made_up, made_up.shape[1]).any()
    assert counts(decryptor)["refused"] == 16
    clear = audio(1, 2 * made_up.shape[1])
    out = passed(decryptor, passed(start("encryptor"), clear), made_up.shape[1])
    assert np.array_equal(out, delayed(clear, made_up.shape[1])[:, : out.shape[1]])


@pytest.mark.parametrize("channels", [1, 8])
def test_made_up_beginnings_that_lead_nowhere_cost_no_more_tries(
    start: Start, channels: int, monkeypatch
) -> None:
    tries, header_of = [], _chacha_receiver.header_of
    monkeypatch.setattr(_chacha_receiver, "header_of", lambda words: tries.append(1) or header_of(words))
    # One long packet that is waited for, and in it a beginning with each frame.
    begins = np.tile(header_alone(64)[:, :3], (1, 4000))
    frames = begins.size // channels
    stream = np.concatenate((header_alone(frames - 2 * FRAMES), begins), axis=1)[:, : frames * channels]
    made_up = np.ascontiguousarray(stream.reshape(frames, channels).T)
    decryptor = start("decryptor")
    most = 0
    for at in range(0, frames - FRAMES, FRAMES):
        before = len(tries)
        assert not passed(decryptor, np.ascontiguousarray(made_up[:, at : at + FRAMES])).any()
        most = max(most, len(tries) - before)
    assert 2 < most <= _chacha_receiver.MOST_TRIES + 1


def test_a_made_up_long_packet_costs_its_length_and_nothing_comes_at_the_wrong_time(start: Start) -> None:
    clear = audio(1, 40 * FRAMES)
    secret = passed(start("encryptor"), clear)
    length = 10 * FRAMES
    stream = np.concatenate((header_alone(length), secret), axis=1)
    out = passed(start("decryptor"), stream)
    offset = _chacha_packet.HEADER_SAMPLES + FRAMES
    expected = delayed(clear, offset)[:, : out.shape[1]]
    is_true = out == expected
    assert is_true[:, length + 2 * FRAMES :].all()
    assert (is_true | (out == 0.0)).all()


def test_sound_without_packets_is_silence_and_told(start: Start, capsys) -> None:
    decryptor = start("decryptor")
    noise = np.random.default_rng(5).uniform(-1, 1, (2, 60_000)).astype(np.float32)
    assert not passed(decryptor, noise).any()
    assert "no packet in it" in capsys.readouterr().err


def test_silence_is_silence_and_not_told(start: Start, capsys) -> None:
    assert not passed(start("decryptor"), np.zeros((2, 60_000), np.float32)).any()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("channels", "frames"), [(1, 63), (1, 16), (2, 31)])
def test_a_block_too_small_fails_silenced_and_says_why_once(start: Start, capsys, channels, frames) -> None:
    encryptor = start("encryptor")
    for _ in range(3):
        buffer = AudioBuffer(channels, frames)
        buffer.data.fill(0.5)
        assert encryptor.process_audio(buffer) is False
        assert not buffer.data.any()
    assert capsys.readouterr().err.count("use larger blocks") == 1


def refusal(plugin: Any) -> str:
    """What a plugin says that does not start."""
    with pytest.raises(_chacha_key.KeyFileError) as refused:
        plugin.start()
    assert plugin.get_state() is PluginState.INITIALIZED
    return str(refused.value)


@pytest.mark.parametrize("module", PAIR)
def test_start_is_refused_until_there_is_a_key(module: str, key_file: str, tmp_path: Path) -> None:
    plugin = prepared(module)
    assert "set the parameter 'key_file'" in refusal(plugin)
    assert plugin.set_parameter("key_file", str(tmp_path / "none"))
    assert "chacha_encryptor.py new-key" in refusal(plugin)
    assert plugin.set_parameter("key_file", key_file)
    assert plugin.start() is True
    # Nor does the key of before serve once there is none.
    plugin.stop()
    assert plugin.set_parameter("key_file", str(tmp_path / "none"))
    refusal(plugin)
    with pytest.raises(RuntimeError):
        plugin.process_audio(AudioBuffer(2, FRAMES))


@pytest.mark.parametrize("module", PAIR)
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_key_that_others_may_read_is_refused(module: str, mode: int, key_file: str) -> None:
    Path(key_file).chmod(mode)
    assert f"mode {mode:04o}" in refusal(prepared(module, key_file=key_file))


@pytest.mark.parametrize(
    "text", [b"", b"abc", b"zz" * 32, b"00" * 31, b"00" * 33, b"\xff" * 64, b"00" * 9999]
)
def test_what_is_no_key_is_refused(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(text)
    path.chmod(0o600)
    assert "64 hexadecimal digits" in refusal(prepared(PAIR[0], key_file=str(path)))


def test_a_pipe_or_a_folder_is_no_key_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        assert "no ordinary file" in refusal(prepared(PAIR[0], key_file=str(path)))


def test_a_key_is_made_once_for_its_owner_alone_and_never_told(tmp_path: Path, capsys) -> None:
    path = tmp_path / "state" / "nda" / "key"
    plugins = [prepared(module, key_file=str(path), make_key="yes") for module in PAIR]
    assert all(plugin.start() for plugin in plugins)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    key = path.read_text().strip()
    assert not _chacha_key.make_key(path)
    assert path.read_text().strip() == key
    for plugin in plugins:
        plugin.process_audio(AudioBuffer(2, FRAMES))
        told = capsys.readouterr()
        shown = told.out + told.err + repr(vars(plugin)) + repr(vars(plugin.get_info()))
        for secret in (key, repr(bytes.fromhex(key))):
            assert secret not in shown
        assert key not in "".join(map(plugin.get_parameter, ("key_file", "make_key", "direction", "status")))


def test_the_command_makes_a_key_and_never_another_in_its_place(tmp_path: Path) -> None:
    encryptor = importlib.import_module("chacha_encryptor")
    path = tmp_path / "key"
    assert encryptor._new_key(str(path)) == 0
    before = path.read_text()
    assert encryptor._new_key(str(path)) == 1
    assert path.read_text() == before


@pytest.mark.parametrize("module", PAIR)
def test_a_block_before_the_start_is_silenced(module: str, key_file: str) -> None:
    plugin = prepared(module, key_file=key_file)
    buffer = AudioBuffer(2, FRAMES)
    buffer.data.fill(0.5)
    with pytest.raises(RuntimeError):
        plugin.process_audio(buffer)
    assert not buffer.data.any()


@pytest.mark.parametrize("module", PAIR)
def test_neither_lets_its_input_through_when_it_fails(module: str) -> None:
    assert prepared(module).fail_closed is True


def test_the_latency_is_known_before_the_first_block(start: Start, key_file: str) -> None:
    plugin = importlib.import_module("chacha_decryptor").create_plugin()
    plugin.set_sample_rate(48_000)
    plugin.set_buffer_size(256)
    assert plugin.set_parameter("key_file", key_file)
    assert plugin.start()
    assert plugin.get_processing_latency() == 256 / 48_000
    assert start("encryptor").get_processing_latency() == 0.0
