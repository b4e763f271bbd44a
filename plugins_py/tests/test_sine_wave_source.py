"""The steady tone."""

import numpy as np
import pytest

from base_plugin import AudioBuffer


def read(plugin, frames: int, channels: int = 2) -> np.ndarray:
    buffer = AudioBuffer(channels, frames)
    assert plugin.read_audio(buffer) is True
    return buffer.data


def test_the_tone_is_a_sine_of_440_hz_at_half_scale(running) -> None:
    data = read(running("sine_wave_source"), 4800)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4800) / 48_000)
    assert np.abs(data - expected).max() < 1e-6


def test_frequency_is_in_hertz_at_the_sample_rate(running) -> None:
    plugin = running("sine_wave_source", frequency="12000")
    assert np.allclose(read(plugin, 4)[0], [0.0, 0.5, 0.0, -0.5], atol=1e-7)
    plugin.stop()
    plugin.set_sample_rate(96_000)
    assert plugin.start()
    assert np.allclose(read(plugin, 8)[0, ::2], [0.0, 0.5, 0.0, -0.5], atol=1e-7)


def test_the_phase_runs_on_across_blocks_of_any_size(running) -> None:
    whole = read(running("sine_wave_source", frequency="997.5"), 1000)
    plugin = running("sine_wave_source", frequency="997.5")
    parts = [read(plugin, frames) for frames in (64, 1, 512, 423)]
    assert np.abs(np.concatenate(parts, axis=1) - whole).max() < 1e-6


def test_the_phase_is_still_exact_after_an_hour_of_blocks(running) -> None:
    plugin = running("sine_wave_source")
    blocks = 3600 * 48_000 // 4800
    for _ in range(100):
        read(plugin, 4800)
    # The wrapped phase adds one rounding per block; an hour of them stays far below what is audible.
    drift = abs((plugin._phase + np.pi) % (2 * np.pi) - np.pi)
    assert drift / 100 * blocks < 1e-6


def test_a_change_of_frequency_does_not_click(running) -> None:
    plugin = running("sine_wave_source", frequency="100")
    before = read(plugin, 333)
    assert plugin.set_parameter("frequency", "150")
    after = read(plugin, 333)
    largest_step = 0.5 * 2 * np.pi * 150 / 48_000
    assert abs(after[0, 0] - before[0, -1]) <= largest_step


def test_every_channel_has_the_same_tone(running) -> None:
    data = read(running("sine_wave_source"), 64, channels=6)
    assert (data == data[0]).all()
    assert data.any()


def test_start_begins_at_phase_zero(running) -> None:
    plugin = running("sine_wave_source")
    first = read(plugin, 100).copy()
    plugin.stop()
    assert plugin.start()
    assert (read(plugin, 100) == first).all()


@pytest.mark.parametrize("value", ["0", "-440", "nan", "inf", "24001", "", "high"])
def test_an_impossible_frequency_is_refused_and_changes_nothing(running, value: str) -> None:
    plugin = running("sine_wave_source", frequency="880")
    assert plugin.set_parameter("frequency", value) is False
    assert plugin.get_parameter("frequency") == "880.0"


def test_the_frequency_may_be_half_the_sample_rate(running) -> None:
    assert running("sine_wave_source", frequency="24000").get_parameter("frequency") == "24000.0"
