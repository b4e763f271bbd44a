"""What holds for each plugin of this folder, whatever it does."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base_plugin import (
    AudioBuffer,
    AudioProcessorPlugin,
    AudioSinkPlugin,
    AudioSourcePlugin,
    PluginInfo,
    PluginState,
)
from conftest import prepared

FOLDER = Path(__file__).resolve().parent.parent
KEY = "bm90IGEgc2VjcmV0OiBhIGtleSBmb3IgdGVzdHMhISE="

# Module, and the parameters it can't start without. "FILE" stands for a path that each test makes up.
NEEDS = {
    "sine_wave_source": {},
    "null_sink": {},
    "wav_file_sink": {"path": "FILE"},
    "passthrough": {},
    "simple_gain": {},
    "fernet_encryptor": {"key": KEY},
    "fernet_decryptor": {"key": KEY},
    "chacha_encryptor": {"key_file": "FILE", "make_key": "yes"},
    "chacha_decryptor": {"key_file": "FILE", "make_key": "yes"},
}
KIND_AND_BLOCK = {
    "AudioSource": (AudioSourcePlugin, "read_audio"),
    "AudioSink": (AudioSinkPlugin, "write_audio"),
    "Processor": (AudioProcessorPlugin, "process_audio"),
}
every_plugin = pytest.mark.parametrize("module", NEEDS)


def plugin_files() -> list[Path]:
    files = [*FOLDER.glob("*.py"), *FOLDER.glob("examples/*.py")]
    return [file for file in files if file.stem != "base_plugin" and not file.stem.startswith("_")]


def made(module: str, tmp_path: Path) -> Any:
    return prepared(
        module,
        **{key: value.replace("FILE", str(tmp_path / "out.wav")) for key, value in NEEDS[module].items()},
    )


def test_these_tests_know_every_plugin_of_the_folder() -> None:
    assert {file.stem for file in plugin_files()} == set(NEEDS)


@every_plugin
def test_it_has_an_info_before_anything_else_is_called(module: str) -> None:
    plugin = importlib.import_module(module).create_plugin()
    info = plugin.get_info()
    assert isinstance(info, PluginInfo)
    assert all((info.name, info.version, info.author, info.description))
    assert info.api_version == 1


@every_plugin
def test_it_is_of_the_kind_it_says(module: str) -> None:
    plugin = importlib.import_module(module).create_plugin()
    kind, method = KIND_AND_BLOCK[plugin.get_type().value]
    assert isinstance(plugin, kind)
    assert plugin.get_info().type is plugin.get_type()
    assert callable(getattr(plugin, method))


@every_plugin
def test_each_create_plugin_makes_another_instance(module: str) -> None:
    create = importlib.import_module(module).create_plugin
    assert create() is not create()


@every_plugin
def test_it_stops_and_starts_again(module: str, tmp_path: Path) -> None:
    plugin = made(module, tmp_path)
    handle_block = getattr(plugin, KIND_AND_BLOCK[plugin.get_type().value][1])
    for _ in range(2):
        assert plugin.start()
        assert plugin.get_state() is PluginState.RUNNING
        result = handle_block(AudioBuffer(2, 512))
        assert result is (module != "fernet_decryptor")  # which opens no block but its partner's
        plugin.stop()
        assert plugin.get_state() is PluginState.INITIALIZED
    plugin.shutdown()
    assert plugin.get_state() is PluginState.UNLOADED


@every_plugin
def test_it_refuses_unknown_parameters_and_reads_them_as_nothing(module: str) -> None:
    plugin = importlib.import_module(module).create_plugin()
    assert plugin.set_parameter("no such parameter", "1") is False
    assert plugin.get_parameter("no such parameter") == ""


@every_plugin
def test_it_works_on_memory_that_is_not_its_own(module: str, tmp_path: Path) -> None:
    """The host points ``data`` at shared memory; a result that lands elsewhere would be lost work."""
    plugin = made(module, tmp_path)
    assert plugin.start()
    memory = bytearray(2 * 512 * 4)
    buffer = AudioBuffer(2, 512)
    buffer.data = shared = np.frombuffer(memory, dtype=np.float32).reshape(2, 512)
    getattr(plugin, KIND_AND_BLOCK[plugin.get_type().value][1])(buffer)
    assert buffer.data is shared
    assert any(memory) is (module in ("sine_wave_source", "fernet_encryptor", "chacha_encryptor"))
    plugin.shutdown()


@pytest.mark.parametrize("file", plugin_files(), ids=lambda file: file.stem)
def test_its_self_test_passes_with_plain_python_from_any_folder(file: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", str(file)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{file.stem}: self-test passed (")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.parametrize("file", plugin_files(), ids=lambda file: file.stem)
def test_it_imports_as_the_host_imports_it(file: Path, tmp_path: Path) -> None:
    """Isolated, with its own folder and the one above on the path, and base_plugin there already."""
    program = (
        "import sys, importlib; own, above, stem = sys.argv[1:]; sys.path[:0] = [own, above]; "
        "import base_plugin; plugin = importlib.import_module(stem).create_plugin(); "
        "assert isinstance(plugin, base_plugin.BasePlugin)"
    )
    # For a plugin of the upper folder the host need not have anything above it.
    above = FOLDER
    subprocess.run(
        [sys.executable, "-B", "-I", "-c", program, str(file.parent), str(above), file.stem],
        cwd=tmp_path,
        check=True,
    )
