"""The sink that throws audio away."""

import pytest

from base_plugin import AudioBuffer


def test_it_takes_blocks_and_says_nothing(running, capsys) -> None:
    plugin = running("null_sink")
    assert all(plugin.write_audio(AudioBuffer(2, 48_000)) for _ in range(3))
    plugin.stop()
    assert capsys.readouterr().out == ""


def test_it_leaves_the_block_alone(running, block) -> None:
    buffer = block([0.5, -2.0])
    assert running("null_sink", showMetrics="true").write_audio(buffer)
    assert buffer.data.tolist() == [[0.5, -2.0]]


def test_metrics_come_once_per_second_of_audio_and_at_the_end(running, capsys) -> None:
    plugin = running("null_sink", showMetrics="true")
    buffer = AudioBuffer(2, 24_000)
    buffer.data[1, 7] = -1.0
    for _ in range(5):
        assert plugin.write_audio(buffer)
    plugin.stop()
    assert capsys.readouterr().out.splitlines() == [
        "null_sink: 1.00 s, 2 blocks, 48000 frames, peak 0.0 dBFS",
        "null_sink: 2.00 s, 4 blocks, 96000 frames, peak 0.0 dBFS",
        "null_sink: 2.50 s, 5 blocks, 120000 frames, peak 0.0 dBFS",
    ]


def test_silence_has_no_level(running, capsys) -> None:
    plugin = running("null_sink", showMetrics="true")
    assert plugin.write_audio(AudioBuffer(2, 480))
    plugin.stop()
    assert "peak silence" in capsys.readouterr().out


def test_start_counts_from_zero(running, capsys) -> None:
    plugin = running("null_sink", showMetrics="true")
    assert plugin.write_audio(AudioBuffer(2, 480))
    plugin.stop()
    assert plugin.start()
    capsys.readouterr()
    plugin.stop()
    assert "0 blocks, 0 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "read"), [("true", "true"), ("YES", "true"), ("1", "true"), ("off", "false")]
)
def test_show_metrics_understands_yes_and_no(running, given: str, read: str) -> None:
    assert running("null_sink", showMetrics=given).get_parameter("showMetrics") == read


@pytest.mark.parametrize("value", ["", "2", "perhaps"])
def test_show_metrics_refuses_anything_else(running, value: str) -> None:
    plugin = running("null_sink", showMetrics="true")
    assert plugin.set_parameter("showMetrics", value) is False
    assert plugin.get_parameter("showMetrics") == "true"


def test_there_is_always_room_for_a_block(running) -> None:
    plugin = running("null_sink")
    plugin.set_buffer_size(1024)
    assert plugin.get_available_space() == 1024
