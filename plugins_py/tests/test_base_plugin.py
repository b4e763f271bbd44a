"""The classes that plugins are written with, and the promises existing plugins rely on."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import base_plugin
from base_plugin import (
    AudioBuffer,
    AudioProcessorPlugin,
    AudioSinkPlugin,
    AudioSourcePlugin,
    BasePlugin,
    PluginInfo,
    PluginState,
    PluginType,
)


class Source(AudioSourcePlugin):
    def get_info(self) -> PluginInfo:
        return PluginInfo("source", "1", "me", "for tests", PluginType.AUDIO_SOURCE)

    def read_audio(self, buffer: AudioBuffer) -> bool:
        return True


class Sink(AudioSinkPlugin):
    def get_info(self) -> PluginInfo:
        return PluginInfo("sink", "1", "me", "for tests", PluginType.AUDIO_SINK)

    def write_audio(self, buffer: AudioBuffer) -> bool:
        return True


class Processor(AudioProcessorPlugin):
    def get_info(self) -> PluginInfo:
        return PluginInfo("processor", "1", "me", "for tests", PluginType.PROCESSOR)

    def process_audio(self, buffer: AudioBuffer) -> bool:
        return True


KINDS = [Source, Sink, Processor]
ENDS = [Source, Sink]


def test_plugin_types_have_the_names_the_host_knows() -> None:
    assert {kind.name: kind.value for kind in PluginType} == {
        "AUDIO_SOURCE": "AudioSource",
        "AUDIO_SINK": "AudioSink",
        "PROCESSOR": "Processor",
    }


def test_plugin_states_have_the_names_the_host_knows() -> None:
    assert {state.name: state.value for state in PluginState} == {
        "UNLOADED": "Unloaded",
        "LOADED": "Loaded",
        "INITIALIZED": "Initialized",
        "RUNNING": "Running",
        "ERROR": "Error",
    }


def test_plugin_info_takes_its_fields_in_order() -> None:
    info = PluginInfo("name", "1.2.3", "author", "description", PluginType.PROCESSOR)
    assert (info.name, info.version, info.author, info.description) == (
        "name",
        "1.2.3",
        "author",
        "description",
    )
    assert info.type is PluginType.PROCESSOR
    assert info.api_version == 1


def test_plugin_info_takes_its_fields_by_name() -> None:
    info = PluginInfo(
        name="n", version="v", author="a", description="d", plugin_type=PluginType.AUDIO_SINK, api_version=7
    )
    assert info.type is PluginType.AUDIO_SINK
    assert info.api_version == 7


def test_every_name_of_the_api_is_exported() -> None:
    assert set(base_plugin.__all__) >= {
        "AudioBuffer",
        "AudioProcessorPlugin",
        "AudioSinkPlugin",
        "AudioSourceCallback",
        "AudioSourcePlugin",
        "BasePlugin",
        "PluginInfo",
        "PluginState",
        "PluginType",
    }
    assert all(hasattr(base_plugin, name) for name in base_plugin.__all__)


@pytest.mark.parametrize("kind", [BasePlugin, AudioSourcePlugin, AudioSinkPlugin, AudioProcessorPlugin])
def test_the_kinds_cannot_be_made_without_their_methods(kind: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        kind()


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_walk_through_the_states_and_start_again(kind: type) -> None:
    plugin = kind()
    assert plugin.state is PluginState.UNLOADED
    assert plugin.initialize() is True
    assert plugin.get_state() is PluginState.INITIALIZED
    for _ in range(2):
        assert plugin.start() is True
        assert plugin.get_state() is PluginState.RUNNING
        plugin.stop()
        assert plugin.get_state() is PluginState.INITIALIZED
    plugin.shutdown()
    assert plugin.get_state() is PluginState.UNLOADED


@pytest.mark.parametrize("kind", KINDS)
def test_get_state_is_the_state_attribute(kind: type) -> None:
    plugin = kind()
    plugin.state = PluginState.ERROR
    assert plugin.get_state() is PluginState.ERROR


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_agrees_with_the_info(kind: type) -> None:
    plugin = kind()
    assert plugin.get_type() is plugin.get_info().type


def test_the_type_of_a_bare_plugin_is_that_of_its_info() -> None:
    class Bare(BasePlugin):
        def get_info(self) -> PluginInfo:
            return PluginInfo("bare", "1", "me", "for tests", PluginType.AUDIO_SINK)

    assert Bare().get_type() is PluginType.AUDIO_SINK


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_parameters_are_refused_and_read_as_nothing(kind: type) -> None:
    plugin = kind()
    assert plugin.set_parameter("unknown", "1") is False
    assert plugin.get_parameter("unknown") == ""


@pytest.mark.parametrize("kind", KINDS)
def test_rate_and_channels_default_to_48_khz_stereo(kind: type) -> None:
    plugin = kind()
    assert (plugin.get_sample_rate(), plugin.get_channel_count(), plugin.get_channels()) == (48_000, 2, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_rate_and_channels_are_read_back_as_set(kind: type) -> None:
    plugin = kind()
    plugin.set_sample_rate(44_100)
    plugin.set_channel_count(6)
    assert (plugin.get_sample_rate(), plugin.get_channel_count()) == (44_100, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_set_channels_is_another_name_of_set_channel_count(kind: type) -> None:
    plugin = kind()
    plugin.set_channels(1)
    assert (plugin.get_channel_count(), plugin.get_channels()) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_overriding_the_channel_count_pair_covers_its_other_names(kind: type) -> None:
    class MonoOnly(kind):
        asked = 0

        def get_channel_count(self) -> int:
            return 1

        def set_channel_count(self, channels: int) -> None:
            self.asked = channels

    plugin = MonoOnly()
    plugin.set_channels(2)
    assert plugin.asked == 2
    assert plugin.get_channels() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_impossible_rates_and_channels_are_refused(kind: type) -> None:
    plugin = kind()
    with pytest.raises(ValueError, match="sample rate must be"):
        plugin.set_sample_rate(0)
    with pytest.raises(ValueError, match="channel count must be"):
        plugin.set_channel_count(-2)
    assert (plugin.get_sample_rate(), plugin.get_channel_count()) == (48_000, 2)


@pytest.mark.parametrize("kind", ENDS)
def test_the_ends_of_a_chain_have_a_buffer_size_of_512_until_set(kind: type) -> None:
    plugin = kind()
    assert plugin.get_buffer_size() == 512
    plugin.set_buffer_size(128)
    assert plugin.get_buffer_size() == 128
    with pytest.raises(ValueError, match="buffer size must be"):
        plugin.set_buffer_size(0)


def test_a_sink_has_room_for_one_block() -> None:
    sink = Sink()
    sink.set_buffer_size(256)
    assert sink.get_available_space() == 256


def test_a_processor_has_no_latency() -> None:
    latency = Processor().get_processing_latency()
    assert (latency, type(latency)) == (0.0, float)


def test_a_source_takes_a_callback_and_does_not_call_it() -> None:
    calls: list[AudioBuffer] = []
    source = Source()
    source.set_audio_callback(calls.append)
    assert source.read_audio(AudioBuffer(2, 64))
    source.set_audio_callback(None)
    assert calls == []


@pytest.mark.parametrize("kind", KINDS)
def test_plugins_fail_open_unless_they_say_otherwise(kind: type) -> None:
    class Guarded(kind):
        fail_closed = True

    assert kind().fail_closed is False
    assert Guarded().fail_closed is True


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_that_forgets_super_init_still_works(kind: type) -> None:
    class Forgetful(kind):
        def __init__(self) -> None:
            pass

    plugin = Forgetful()
    assert plugin.get_state() is PluginState.UNLOADED
    assert plugin.get_channels() == 2
    assert plugin.initialize()


def test_instances_do_not_share_their_settings() -> None:
    one, other = Source(), Source()
    one.set_sample_rate(44_100)
    one.set_buffer_size(64)
    assert one.start()
    assert (other.get_sample_rate(), other.get_buffer_size()) == (48_000, 512)
    assert other.get_state() is PluginState.UNLOADED


def test_the_module_works_from_its_source_alone() -> None:
    """The host embeds the text and runs it as a module that has no file."""
    source = Path(base_plugin.__file__).read_text(encoding="utf-8")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("base_plugin", loader=None))
    exec(compile(source, "base_plugin.py", "exec"), module.__dict__)
    assert module.AudioBuffer(1, 8).get_frame_count() == 8


def test_the_module_needs_numpy_and_the_standard_library_only() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy; before = set(sys.modules); "
        "import base_plugin; new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    folder = str(Path(base_plugin.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['base_plugin']"
