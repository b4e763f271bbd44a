"""A plugin that fails in every way a plugin can, when it is told to.

For `nda faults`, which writes this file into a folder of its own and runs it. It turns the audio over, so that
dry audio, processed audio and silence can't be confused. The parameter "fault" takes KIND:SEED; the fault begins
with the next block. Files in the plugin's folder tell the harness how far it is (`began-SEED`, `over-SEED`), and
keep a fault from happening twice when the host replays parameters into the next worker. `die-in-import` and
`poison` in that folder are faults that happen while a worker starts.

Each fault is a generator: what it does before a `yield` happens within a block, what it yields is returned.
"""

import ctypes
import gc
import os
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from base_plugin import AudioProcessorPlugin, PluginInfo, PluginType

FOLDER = Path(__file__).resolve().parent
SYS_FUTEX = 98 if os.uname().machine == "aarch64" else 202
FUTEX_WAKE, FUTEX_REQUEUE = 1, 3
PUNCH_HOLE, KEEP_SIZE = 2, 1
PR_SET_NAME = 15
EVERYONE = 0x7FFFFFFF
IOV_MAX = 1024


def take(flag, as_name):
    """Takes a flag of the harness away; its seed if it was there. Whoever renames it first has it."""
    try:
        seed = (FOLDER / flag).read_text()
        os.rename(FOLDER / flag, FOLDER / f"{as_name}-{seed}")
    except FileNotFoundError:
        return None
    return seed


def tell(what, seed):
    """Whether this was not told before."""
    try:
        os.close(os.open(FOLDER / f"{what}-{seed}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def mappings(name, rights):
    """Where the mappings of this name with these rights are: pairs of start and length."""
    return [
        (start, length)
        for start, length, its, has in all_mappings()
        if name in its and has.startswith(rights)
    ]


def all_mappings():
    """Start, length, name and rights of each."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        start, end = (int(word, 16) for word in words[0].split("-"))
        yield start, end - start, words[5] if len(words) == 6 else "", words[1]


def writable():
    """All that it may write: the interpreter's and every library's data, heaps, other threads' stacks, the segments.

    Not its own stack, on which it has to come to an end, nor files that are mapped to be written: these are the user's.
    """
    for start, length, name, rights in all_mappings():
        is_own = rights.endswith("p") or name.startswith("/memfd:")
        if rights.startswith("rw") and is_own and name != "[stack]":
            yield start, length


class Span(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def overwrite(places, noise):
    """Writes noise over all these places in one call to the kernel: one after the other, it would die of the first."""
    spans = [
        (start + at, min(len(noise), length - at))
        for start, length in places
        for at in range(0, length, len(noise))
    ]
    source = ctypes.cast(ctypes.c_char_p(noise), ctypes.c_void_p).value
    write = ctypes.CDLL(None).process_vm_writev
    for first in range(0, len(spans), IOV_MAX):
        there = spans[first : first + IOV_MAX]
        here = [(source, length) for _, length in there]
        count = ctypes.c_ulong(len(there))
        there, here = ((Span * len(part))(*part) for part in (there, here))
        if write(os.getpid(), here, count, there, count, ctypes.c_ulong(0)) < 0:
            for start, length in spans:
                ctypes.memmove(start, noise, length)


def memory(start, length):
    return np.frombuffer((ctypes.c_ubyte * length).from_address(start), dtype=np.uint8)


def words(start, length):
    return memory(start, length).view(np.uint32)


if take("die-in-import", "over") is not None:
    die()


class Faulty(AudioProcessorPlugin):
    """Turns the audio over, until a fault is asked for."""

    # A fault befalls a block that is heard.
    silent_warm_up = False

    def __init__(self):
        super().__init__()
        self.pending = None
        self.fault = None
        self.seed = ""
        self.buffer = None
        self.settings = {}

    def get_info(self):
        return PluginInfo("Faulty", "1.0", "nda", "fails when told to", PluginType.PROCESSOR)

    def set_parameter(self, key, value):
        if key != "fault":
            self.settings[key] = value
            return True
        kind, _, seed = value.partition(":")
        if kind not in FAULTS:
            return False
        if not (FOLDER / f"began-{seed}").exists():
            self.pending = (kind, seed)
        return True

    def save_state(self):
        seed = take("poison", "poisoned")
        return b"good" if seed is None else b"bad:" + seed.encode()

    def load_state(self, state):
        if state.startswith(b"bad:"):
            tell("over", state[4:].decode())
            die()

    def process_audio(self, buffer):
        self.buffer = buffer
        if self.pending is not None:
            self.begin(*self.pending)
        if self.fault is None:
            return self.invert()
        try:
            return next(self.fault)
        except StopIteration:
            self.fault = None
            tell("over", self.seed)
            return self.invert()

    def begin(self, kind, seed):
        self.pending = None
        if tell("began", seed):
            self.seed = seed
            self.fault = FAULTS[kind](self, random.Random(seed))

    def invert(self):
        self.buffer.data *= -1.0
        return True


def exception(plugin, rng):
    raise rng.choice([ValueError, KeyError, MemoryError, RecursionError, KeyboardInterrupt])("a fault")
    yield


def wrong_shape(plugin, rng):
    shape = rng.choice([(1, 7), (0,), (2, 127), (256,), (2, 128, 1), (3, 128)])
    plugin.buffer.data = np.ones(shape, dtype=rng.choice([np.float32, np.float64]))
    yield True


def not_audio(plugin, rng):
    """One block or many: not a number, infinite, or far too loud."""
    wrong = rng.choice([np.nan, np.inf, -np.inf, 1e6])
    for _ in range(rng.choice([1, 300])):
        plugin.invert()
        plugin.buffer.data *= wrong
        yield True


def segv(plugin, rng):
    ctypes.string_at(rng.choice([0, 8]))
    yield


def abort(plugin, rng):
    os.abort()
    yield


def os_exit(plugin, rng):
    os._exit(rng.randrange(256))
    yield


def sys_exit(plugin, rng):
    sys.exit(rng.choice([0, 1, "no more"]))
    yield


def loop(plugin, rng):
    while True:
        pass
    yield


def loop_in_c(plugin, rng):
    """Native code that keeps the interpreter's lock: it burns, or it sleeps."""
    if rng.random() < 0.5:
        re.match(r"(a+)+$", "a" * 60 + "b")
    while True:
        # A signal that asks for its stack ends the pause.
        ctypes.PyDLL(None).pause()
    yield


def stall(plugin, rng):
    time.sleep(0.2)
    yield plugin.invert()


def collector_storm(plugin, rng):
    gc.enable()
    for _ in range(15):
        cycles = [[] for _ in range(50_000)]
        for cycle in cycles:
            cycle.append(cycles)
        del cycle, cycles
        gc.collect()
        yield plugin.invert()


def gil_hog(plugin, rng):
    end = time.monotonic() + 0.6

    def spin():
        while time.monotonic() < end:
            pass

    for _ in range(rng.choice([1, 3])):
        threading.Thread(target=spin, daemon=True).start()
    while time.monotonic() < end:
        yield plugin.invert()


def memory_hog(plugin, rng):
    """Up to a gigabyte, every page of it touched; then, if nobody minds, it is given back."""
    hoard = []
    for _ in range(32):
        hoard.append(np.ones(4 << 20))
        yield plugin.invert()


def late(plugin, rng):
    for _ in range(120):
        time.sleep(rng.uniform(0.0014, 0.0024))
        yield plugin.invert()


def scribble(plugin, rng):
    """Random bytes over the shared memory that can be written, with the result of each block put right; in the end over itself."""
    noise = np.random.default_rng(rng.randrange(1 << 32))
    segments = [memory(*place) for place in mappings("memfd:", "rw")]
    for _ in range(150):
        result = -plugin.buffer.data
        for segment in segments:
            segment[:] = noise.integers(0, 256, segment.size, dtype=np.uint8)
        plugin.buffer.data[:] = result
        yield True
    places = list(writable())
    rng.shuffle(places)
    overwrite(places, noise.bytes(4 << 20))
    ctypes.string_at(0)
    yield True


def lying_sequence(plugin, rng):
    """Answers that were never asked for: future, past and early ones, in the heads of all slots."""
    header, head, stride = (int(word) for word in plugin.settings["layout"].split(","))
    [(start, length)] = mappings("memfd:nda-reply", "rw")
    [(asked, _)] = mappings("memfd:nda-request", "r")
    reply = words(start, length)
    slots = 1
    while header + slots * 2 * (head + stride) <= length:
        slots *= 2
    for _ in range(80):
        plugin.invert()
        seq = int(words(asked, 64)[0])
        lie = (seq + rng.choice([0, 1, 1, 2, 3, -1, -2, slots, -slots, 1 << 31])) % (1 << 32)
        slot = rng.choice([lie % slots, lie % slots, rng.randrange(slots)])
        reply[(header + slot * head) // 4] = lie
        yield True


def wake_flood(plugin, rng):
    """Wakes the sleepers of both bells, and moves them to a word that nobody rings."""
    places = mappings("memfd:nda-re", "r")
    nowhere = ctypes.c_uint32(0)
    futex = ctypes.CDLL(None).syscall
    end = time.monotonic() + 0.5

    def flood():
        while time.monotonic() < end:
            for bell, _ in places:
                place = ctypes.c_void_p(bell)
                futex(SYS_FUTEX, place, FUTEX_WAKE, EVERYONE, None, None, 0)
                there = ctypes.byref(nowhere)
                futex(SYS_FUTEX, place, FUTEX_REQUEUE, 0, ctypes.c_void_p(EVERYONE), there, 0)

    threading.Thread(target=flood, daemon=True).start()
    while time.monotonic() < end:
        yield plugin.invert()


def truncate(plugin, rng):
    """Takes its memory away, or tries to: what succeeds is told, as it should not; so is that it had no right to try.

    By its own mappings and descriptors, and by those of the host, its parent: of the host's other workers too.
    """
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    paths = [
        f"/proc/self/map_files/{start:x}-{start + length:x}" for start, length in mappings("memfd:nda", "r")
    ]
    for process in ("self", os.getppid()):
        paths += [fd for fd in entries(f"/proc/{process}/fd") if "memfd:nda" in readlink(fd)]
    opened = False
    for path in paths:
        for rights in (os.O_RDWR, os.O_WRONLY):
            try:
                fd = os.open(path, rights)
            except OSError:
                continue
            opened = True
            length = os.fstat(fd).st_size
            for size in (0, length + 4096):
                try:
                    os.ftruncate(fd, size)
                    tell("truncated", plugin.seed)
                except OSError:
                    pass
            hole = fallocate(fd, PUNCH_HOLE | KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(4096))
            if hole == 0:
                tell("punched", plugin.seed)
            os.close(fd)
    if not opened:
        tell("untried", plugin.seed)
    yield plugin.invert()


def entries(folder):
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]
    except OSError:
        return []


def readlink(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def fork_bomb(plugin, rng):
    """Eighty children that sleep, under a name that they can be found by."""
    for _ in range(80):
        try:
            child = os.fork()
        except OSError:
            break
        if child == 0:
            ctypes.CDLL(None).prctl(PR_SET_NAME, plugin.settings["mark"].encode(), 0, 0, 0)
            time.sleep(20)
            os._exit(0)
    yield plugin.invert()


def print_flood(plugin, rng):
    for _ in range(30):
        print("\n".join("x" * rng.randrange(200) for _ in range(1000)))
        yield plugin.invert()
    for stream in (sys.stdout, sys.stderr):
        stream.write("y" * (4 << 20))
        yield plugin.invert()


FAULTS = {
    "exception": exception,
    "wrong-shape": wrong_shape,
    "not-audio": not_audio,
    "segv": segv,
    "abort": abort,
    "os-exit": os_exit,
    "sys-exit": sys_exit,
    "loop": loop,
    "loop-in-c": loop_in_c,
    "stall": stall,
    "collector": collector_storm,
    "gil-hog": gil_hog,
    "memory-hog": memory_hog,
    "late": late,
    "scribble": scribble,
    "lying": lying_sequence,
    "wake-flood": wake_flood,
    "truncate": truncate,
    "fork-bomb": fork_bomb,
    "print": print_flood,
}


def create_plugin():
    return Faulty()
