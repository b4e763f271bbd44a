"""What is measured in Python, in one process, without a host: rows to compare with.

usage: in_python_rows.py PATH_OF_THE_WORKER_MODULE

Says first what it can measure, as a line of JSON. Then each line on standard input is a request,
``{"what", "channels", "frames", "blocks", "warm_up", "every_ns"}``, answered with a line of nanoseconds, one number for
each block.
"""

import gc
import json
import platform
import sys
import time
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader

import numpy as np

try:
    import pedalboard
except ImportError:
    pedalboard = None

RATE = 48000.0
FLOOR, CEILING = np.array(-1.0, dtype=np.float32), np.array(1.0, dtype=np.float32)
# Calls for one look at the clock, where a call is as short as a look.
CALLS = 16


class NoOp:
    """The shortest block method there is."""

    def process_audio(self, buffer):
        return True


def worker_module(path):
    loader = ExtensionFileLoader("nda_worker", path)
    module = module_from_spec(spec_from_loader("nda_worker", loader))
    loader.exec_module(module)
    return module


def no_op(worker, request):
    """A bound method, found once, called as the worker calls it."""
    times = worker.time_calls(NoOp().process_audio, object(), CALLS, request["warm_up"] + request["blocks"])
    return [round(time / CALLS) for time in times[request["warm_up"] :]]


def plain_numpy(data):
    """The arithmetic of simple_gain.py, with its operands made once."""
    factor = np.array(1.0, dtype=np.float32)

    def block():
        nonlocal data
        data *= factor
        data.clip(FLOOR, CEILING, out=data)

    return block


def pedalboard_gain(data):
    gain = pedalboard.Gain(gain_db=-6.0)

    def block():
        gain(data, RATE, reset=False)

    return block


def timed(block, request):
    now, every_ns = time.perf_counter_ns, request["every_ns"]
    times, due_ns = [], now()
    for _ in range(request["warm_up"] + request["blocks"]):
        if every_ns > 0:
            due_ns = max(due_ns + every_ns, now())
            time.sleep(max(0, due_ns - now()) / 1e9)
        began_ns = now()
        block()
        times.append(now() - began_ns)
    return times[request["warm_up"] :]


def measured(worker, request):
    if request["what"] == "no-op":
        return no_op(worker, request)
    shape = (request["channels"], request["frames"])
    data = np.linspace(-0.5, 0.5, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    make = {"plain-numpy": plain_numpy, "pedalboard": pedalboard_gain}[request["what"]]
    return timed(make(data), request)


def main():
    worker = worker_module(sys.argv[1])
    gc.collect()
    gc.freeze()
    gc.disable()
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    print(json.dumps({"pedalboard": pedalboard is not None, "versions": versions}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measured(worker, json.loads(line))), flush=True)


main()
