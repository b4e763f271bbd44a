"""The same plugin in a plain loop, without a host or another process: what render.rs compares with.

usage: in_process.py PLUGIN IN.wav OUT.raw FRAMES_PER_BLOCK

Prints two times in seconds. The first is for what ``nda render`` does too: read 16-bit samples, process, write
32-bit float ones. The second is for as many calls of the plugin alone, on one block that stays in the cache.
Neither includes starting Python.
"""

import sys
import time
import wave
from importlib import import_module
from pathlib import Path

import numpy as np

plugin_file, source, target = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
frames = int(sys.argv[4])
sys.path[:0] = [str(plugin_file.parent), str(plugin_file.parent.parent)]
AudioBuffer = import_module("base_plugin").AudioBuffer
plugin = import_module(plugin_file.stem).create_plugin()
assert plugin.set_parameter("gain", "0.5") and plugin.initialize() and plugin.start()

buffer = AudioBuffer(2, frames)
process, data = plugin.process_audio, buffer.data
for _ in range(1000):
    assert process(buffer)

began = time.perf_counter()
with wave.open(source) as reader, open(target, "wb") as writer:
    assert (reader.getnchannels(), reader.getsampwidth()) == (2, 2)
    blocks = 0
    while samples := reader.readframes(frames):
        block = np.frombuffer(samples, dtype="<i2").reshape(-1, 2)
        got = len(block)
        np.multiply(block.T, np.float32(1 / 32768), out=data[:, :got])
        data[:, got:] = 0.0
        assert process(buffer)
        writer.write(data[:, :got].T.tobytes())
        blocks += 1
whole = time.perf_counter() - began

# At a gain of one half the same block would soon be denormal, and slow.
assert plugin.set_parameter("gain", "1.0")
began = time.perf_counter()
for _ in range(blocks):
    process(buffer)
print(whole, time.perf_counter() - began)
