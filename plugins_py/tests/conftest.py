"""What the tests share: fresh plugins, taken through their life in the host's order."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

import base_plugin


def prepared(module: str, **parameters: str) -> Any:
    """A plugin of the module, set up and initialised, for blocks of 512 frames of stereo at 48 kHz."""
    plugin = importlib.import_module(module).create_plugin()
    plugin.set_sample_rate(48_000)
    plugin.set_channel_count(2)
    for key, value in parameters.items():
        assert plugin.set_parameter(key, value), f"{module} refused {key}"
    assert plugin.initialize()
    return plugin


@pytest.fixture
def running() -> Any:
    """Makes running plugins, and stops and shuts down each of them after the test."""
    plugins: list[base_plugin.BasePlugin] = []

    def start(module: str, **parameters: str) -> Any:
        plugin = prepared(module, **parameters)
        plugins.append(plugin)
        assert plugin.start()
        return plugin

    yield start
    for plugin in plugins:
        plugin.stop()
        plugin.shutdown()


@pytest.fixture
def block() -> Callable[..., base_plugin.AudioBuffer]:
    """Makes a buffer out of one list of samples per channel."""

    def make(*channels: list[float]) -> base_plugin.AudioBuffer:
        buffer = base_plugin.AudioBuffer(len(channels), len(channels[0]))
        buffer.data[:] = channels
        return buffer

    return make
