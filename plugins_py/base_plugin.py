"""The classes an NDA audio plugin is written with.

For authors of plugins: subclass ``AudioSourcePlugin``, ``AudioProcessorPlugin`` or ``AudioSinkPlugin``,
and define a module-level ``create_plugin()`` that returns an instance. The smallest plugin has two
methods, ``get_info`` and the one that handles a block; everything else here has a working default.

The life of a plugin, in the host's order:

1. ``create_plugin()``
2. ``set_sample_rate``, ``set_channel_count``, ``set_buffer_size``; the host reads each value back, because
   a plugin may settle for another one
3. ``set_parameter`` for each configured parameter
4. ``initialize()``, then perhaps more parameters
5. ``start()``, then blocks: ``read_audio``, ``process_audio`` or ``write_audio``
6. ``stop()``; the plugin may be started again
7. ``shutdown()``

A block fails if its method returns something false or raises; the next block is tried all the same.

This module does not talk to the host, to an audio device or to other processes. It needs numpy alone, so
a plugin runs and can be tested without a host.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "API_VERSION",
    "AudioBuffer",
    "AudioProcessorPlugin",
    "AudioSinkPlugin",
    "AudioSourceCallback",
    "AudioSourcePlugin",
    "BasePlugin",
    "PluginInfo",
    "PluginState",
    "PluginType",
]

API_VERSION = 1


class PluginType(Enum):
    """What a plugin does with audio: bring it, take it, or change it."""

    AUDIO_SOURCE = "AudioSource"
    AUDIO_SINK = "AudioSink"
    PROCESSOR = "Processor"


class PluginState(Enum):
    """Where a plugin is in its life."""

    UNLOADED = "Unloaded"
    LOADED = "Loaded"
    INITIALIZED = "Initialized"
    RUNNING = "Running"
    ERROR = "Error"


class PluginInfo:
    """Who a plugin is. The host refuses an ``api_version`` other than its own."""

    def __init__(
        self,
        name: str,
        version: str,
        author: str,
        description: str,
        plugin_type: PluginType,
        api_version: int = API_VERSION,
    ) -> None:
        self.name = name
        self.version = version
        self.author = author
        self.description = description
        self.type = plugin_type
        self.api_version = api_version

    def __repr__(self) -> str:
        return f"PluginInfo({self.name!r}, {self.version!r}, {self.type}, api_version={self.api_version})"


class AudioBuffer:
    """One block of audio: ``data`` is float32 of shape (channels, frames), in C order.

    ``data`` is an ordinary attribute. Change it in place (fastest), or assign another array of the same
    shape. The host hands in the same few buffers again and again, so copy what is to be kept: the content
    of ``buffer`` and of ``buffer.data`` is only promised until the call returns.
    """

    data: NDArray[np.float32]

    def __init__(self, channels: int, frame_count: int) -> None:
        shape = (_positive_int("channels", channels), _positive_int("frame_count", frame_count))
        self.data = np.zeros(shape, dtype=np.float32)

    def get_channel_data(self, channel: int) -> NDArray[np.float32]:
        """The samples of one channel, as a view: writing to it changes the buffer."""
        view: NDArray[np.float32] = self.data[channel]
        return view

    def get_frame_count(self) -> int:
        return len(self.data[0])

    def get_channel_count(self) -> int:
        return len(self.data)

    def clear(self) -> None:
        """Silence."""
        self.data.fill(0.0)

    def copy_from(self, other: AudioBuffer) -> None:
        """Copies the samples of ``other``, which must have the same shape.

        Raises ValueError for another shape: cutting or padding a block would be heard as a click.
        """
        mine, theirs = np.shape(self.data), np.shape(other.data)
        if mine != theirs:
            raise ValueError(
                f"cannot copy a block of shape {theirs} into one of shape {mine} (channels, frames)"
            )
        np.copyto(self.data, other.data, casting="same_kind")

    def __repr__(self) -> str:
        return f"AudioBuffer(channels={self.get_channel_count()}, frame_count={self.get_frame_count()})"


# What AudioSourcePlugin.set_audio_callback takes.
AudioSourceCallback = Callable[[AudioBuffer], None]


class BasePlugin(ABC):
    """What all plugins share. Subclass one of the three kinds below instead of this.

    The defaults of ``initialize``, ``start``, ``stop`` and ``shutdown`` only keep ``state``.

    ``fail_closed`` is an optional declaration, read by the host from the instance. A block that failed is
    normally replaced by what came in, so that the music goes on. A plugin whose input must never be heard
    in its place, such as an encryptor, sets ``fail_closed = True`` and silence is passed on instead: from
    the first sample, whatever the host's configuration says.

    ``silent_warm_up`` is optional too. The first calls of a method are slow: ten times as long as later
    ones in plain Python, seconds where a compiler has to run first. So between ``start`` and the first
    block of audio a processor is called with silence, some dozens of times, and nobody hears what it makes
    of that: a pipeline may be silent for any time before there is sound. One to which that matters, as it
    counts blocks or keeps a phase, says ``silent_warm_up = False``. A source or a sink is called so only if
    it says ``silent_warm_up = True``: what it reads or writes is not there a second time. It never happens
    after ``load_state``.

    A plugin whose process ends is started again with the parameters it had. One that knows more than those
    (what it has learned, a position, a delay line) may define two optional methods; it needs both:

    ``save_state(self) -> bytes``
        What ``load_state`` needs to go on from here, at most 16 MiB. Called now and then between two blocks:
        of what it takes longer than the rest of a block, the blocks are lost. One that takes a second is
        taken to hang. Whatever the bytes mean is up to the plugin.
    ``load_state(self, state: bytes) -> None``
        Called on a new instance after ``initialize`` and before ``start``, with what another one saved. One
        that stands by as a twin is called again, between two blocks, whenever there is a newer state. Raise
        if the bytes are no good. They may come from an older version of the plugin.
    """

    fail_closed: bool = False
    silent_warm_up: bool = False

    # On the class too, so that a subclass which forgets super().__init__() still has a state.
    state: PluginState = PluginState.UNLOADED

    def __init__(self) -> None:
        self.state = PluginState.UNLOADED

    def initialize(self) -> bool:
        """Gets ready: load, open, allocate. False means the plugin can't be used."""
        self.state = PluginState.INITIALIZED
        return True

    def shutdown(self) -> None:
        """Gives everything back."""
        self.state = PluginState.UNLOADED

    def start(self) -> bool:
        """Blocks follow. False means not now, for example because a parameter is missing."""
        self.state = PluginState.RUNNING
        return True

    def stop(self) -> None:
        """No more blocks until the next ``start``."""
        self.state = PluginState.INITIALIZED

    @abstractmethod
    def get_info(self) -> PluginInfo:
        """Who the plugin is. May be called at any time."""

    def get_type(self) -> PluginType:
        return self.get_info().type

    def get_state(self) -> PluginState:
        return self.state

    def set_parameter(self, key: str, value: str) -> bool | None:
        """Takes a parameter. False refuses it; None counts as accepted, as older plugins return it."""
        return False

    def get_parameter(self, key: str) -> str:
        """The value of a parameter, or an empty string if there is none of that name."""
        return ""


class _StreamPlugin(BasePlugin):
    """The stream format, which all three kinds have: overriding the ``channel_count`` pair is enough."""

    # On the class, for subclasses that forget super().__init__().
    _sample_rate: int = 48_000
    _channel_count: int = 2

    def get_sample_rate(self) -> int:
        """In Hz."""
        return self._sample_rate

    def set_sample_rate(self, rate: int) -> None:
        self._sample_rate = _positive_int("sample rate", rate)

    def get_channel_count(self) -> int:
        return self._channel_count

    def set_channel_count(self, channels: int) -> None:
        self._channel_count = _positive_int("channel count", channels)

    def get_channels(self) -> int:
        """Another name of ``get_channel_count``."""
        return self.get_channel_count()

    def set_channels(self, channels: int) -> None:
        """Another name of ``set_channel_count``."""
        self.set_channel_count(channels)


class _BlockSizePlugin(_StreamPlugin):
    """The block size, which the two ends of a chain have and processors have not."""

    _buffer_size: int = 512

    def get_buffer_size(self) -> int:
        """Frames per block."""
        return self._buffer_size

    def set_buffer_size(self, frames: int) -> None:
        self._buffer_size = _positive_int("buffer size", frames)


class AudioSourcePlugin(_BlockSizePlugin):
    """Brings audio into a chain."""

    _audio_callback: AudioSourceCallback | None = None

    @abstractmethod
    def read_audio(self, buffer: AudioBuffer) -> bool:
        """Fills the whole of ``buffer``. False means there is nothing for this block."""

    def set_audio_callback(self, callback: AudioSourceCallback | None) -> None:
        """Keeps a function for a source that also pushes its blocks; None takes it away.

        Calling it is up to the source. The host itself asks through ``read_audio``.
        """
        self._audio_callback = callback

    def get_type(self) -> PluginType:
        return PluginType.AUDIO_SOURCE


class AudioSinkPlugin(_BlockSizePlugin):
    """Takes audio out of a chain."""

    @abstractmethod
    def write_audio(self, buffer: AudioBuffer) -> bool:
        """Takes ``buffer``. False means this block is lost."""

    def get_available_space(self) -> int:
        """Frames that can be written now without waiting. By default one block."""
        return self.get_buffer_size()

    def get_type(self) -> PluginType:
        return PluginType.AUDIO_SINK


class AudioProcessorPlugin(_StreamPlugin):
    """Changes audio inside a chain."""

    silent_warm_up: bool = True

    @abstractmethod
    def process_audio(self, buffer: AudioBuffer) -> bool:
        """Changes ``buffer`` in place. False means this block failed."""

    def get_processing_latency(self) -> float:
        """Seconds by which the output lags behind the input."""
        return 0.0

    def get_type(self) -> PluginType:
        return PluginType.PROCESSOR


def _positive_int(what: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{what} must be a whole number of at least 1, not {value!r}")
    return number
