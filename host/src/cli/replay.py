# Run as `PYTHON -I -c THIS REPORT FILE BASE_PLUGIN TIMES DEBUGGER HOST_PID SET` in the user's terminal: takes a
# plugin through its life again, with what a crash report has, and tells of each block what came back.
# Must parse under Python 3.6. Its exit codes are its verdict, see replay.rs; any other is the plugin's.
import os
import sys

FINE, FAILED, NOT_LOADED, UNFIT, INTERRUPTED, DAMAGED = range(90, 96)


def say(text, end="\n"):
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except OSError:
        # Its reader has seen enough; the verdict still counts.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def leave(code):
    # At once: threads that the plugin left must not keep the terminal.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - nothing is left to tell it to
            pass
    os._exit(code)


if sys.version_info < (3, 10):  # noqa: UP036
    say(f"{sys.executable} is older than Python 3.10: {sys.version.split()[0]}")
    leave(UNFIT)
import faulthandler
import importlib
import io
import json
import signal
import time
import traceback
import zipfile

try:
    import numpy as np
except ImportError as why:
    say(f"{sys.executable} has no numpy that works: {why}")
    leave(UNFIT)

FOLDER, FILE, BASE_PLUGIN = sys.argv[1:4]
TIMES, DEBUGGER, HOST = int(sys.argv[4]), sys.argv[5] == "pdb", int(sys.argv[6])
# Parameters that the user gives, before those of the report.
SET = dict(json.loads(sys.argv[7]))
METHODS = {
    "AudioSourcePlugin": "read_audio",
    "AudioProcessorPlugin": "process_audio",
    "AudioSinkPlugin": "write_audio",
}
# Below this the worker rounds to zero, and this process does not.
DENORMAL = np.finfo(np.float32).tiny


class Failure(Exception):
    """What the plugin did wrong, in words; its cause is the plugin's exception, if it raised one."""


class Block:
    """One of the last blocks: what went in and what came out, if anything did."""

    def __init__(self, told, taken, left):
        self.seq, self.answered = told["seq"], told["answered"]
        self.taken = taken if told["input"] else None
        self.left = left if told["output"] else None


class Report:
    """What the folder has."""

    def __init__(self, folder):
        self.folder = folder
        told = json.loads(self.bytes_of("report.json"))
        self.format = told["format"]
        listed = told["last_blocks"]
        taken, left = self.audio("in.wav", len(listed)), self.audio("out.wav", len(listed))
        self.blocks = [Block(*block) for block in zip(listed, taken, left)]
        values = dict(json.loads(self.bytes_of("parameters.json") or "[]"), **SET)
        missing = [key for key in told["parameters"] if key not in values]
        if missing:
            say(
                "  note: not in the report, and not set: {}; give each with --set KEY=VALUE".format(
                    ", ".join(missing)
                )
            )
        self.parameters = list(values.items())
        if any(not block["input"] for block in listed) and told["kind"] != "source":
            say("  note: what it got is not in the report: it gets silence")
        self.state = self.bytes_of("state.bin")

    def bytes_of(self, name):
        try:
            with open(os.path.join(self.folder, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def audio(self, name, blocks):
        """The blocks of a file of floats, each of shape (channels, frames)."""
        content = self.bytes_of(name)
        if content is None:
            return [None] * blocks
        start, channels, frames = 12, self.format["channels"], self.format["block_frames"]
        while content[start : start + 4] != b"data":
            start += 8 + int.from_bytes(content[start + 4 : start + 8], "little")
            if start >= len(content):
                raise ValueError(name + " has no audio")
        samples = np.frombuffer(content, "<f4", blocks * frames * channels, start + 8)
        return list(samples.reshape(blocks, frames, channels).transpose(0, 2, 1))


def call(what, function, *arguments):
    """Calls the plugin; what it raises becomes a Failure, except that the user may interrupt it."""
    try:
        return function(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        said = str(error).strip()
        raise Failure(
            "{} raised {}{}".format(what, type(error).__name__, ": " + said if said else "")
        ) from error


def tell(failure):
    """Says what failed, with the plugin's own part of the traceback; with --pdb stops there."""
    say(str(failure))
    cause = failure.__cause__
    if cause is None:
        return
    inner = cause.__traceback__.tb_next or cause.__traceback__
    text = "".join(traceback.format_exception(type(cause), cause, inner))
    say("    " + text.rstrip().replace("\n", "\n    "))
    if DEBUGGER:
        # Only now: it brings modules with names that a plugin's file may have, such as code.
        import pdb  # noqa: T100

        pdb.post_mortem(inner)


def provide_base_plugin():
    """Imports the built-in one, whichever others are about; also for processes that the plugin spawns."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("base_plugin.py", BASE_PLUGIN)
    memory = os.memfd_create("base_plugin")
    os.write(memory, archive.getvalue())
    path = f"/proc/{os.getpid()}/fd/{memory}"
    sys.path.insert(0, path)
    base_plugin = importlib.import_module("base_plugin")
    sys.path.remove(path)
    sys.path.append(path)
    return base_plugin


def point_at(file):
    """The plugin's folder and the one above it can be imported from, and sys.argv is its file."""
    sys.argv = [file]
    folder = os.path.dirname(file)
    sys.path.insert(0, folder)
    if os.path.dirname(folder) != folder:
        sys.path.insert(1, os.path.dirname(folder))


class Plugin:
    """The plugin, in the order of its life."""

    def __init__(self, file, base_plugin):
        point_at(file)
        stem = os.path.splitext(os.path.basename(file))[0]
        module = call("the import", importlib.import_module, stem)
        found = getattr(module, "__file__", None)
        if not found or not os.path.samefile(found, file):
            raise Failure("the name {} belongs to {}".format(stem, found or "a module without a file"))
        if not hasattr(module, "create_plugin"):
            raise Failure("the file defines no create_plugin()")
        self.object = call("create_plugin()", module.create_plugin)
        self.class_name = next((c for c in METHODS if isinstance(self.object, getattr(base_plugin, c))), None)
        if self.class_name is None:
            raise Failure(f"create_plugin() returned {self.object!r}, which is no plugin of base_plugin")
        self.info = call("get_info()", self.object.get_info)
        version = getattr(self.info, "api_version", 1)
        if version != 1:
            raise Failure(f"the plugin wants plugin API version {version}, this host has version 1")

    def offered(self, names, *arguments):
        """Calls the first of these methods that there is; says if there was one."""
        for name in names:
            if hasattr(self.object, name):
                call(name + "()", getattr(self.object, name), *arguments)
                return True
        return False

    def agree(self, name):
        returned = call(name + "()", getattr(self.object, name))
        if not call(f"the truth of what {name}() returned", bool, returned):
            raise Failure(f"{name}() returned {returned!r}")

    def get_ready(self, report):
        self.offered(["set_sample_rate"], report.format["rate"])
        self.offered(["set_channel_count", "set_channels"], report.format["channels"])
        self.offered(["set_buffer_size"], report.format["block_frames"])
        before = [self.give(*parameter) for parameter in report.parameters]
        self.agree("initialize")
        after = [self.give(*parameter) for parameter in report.parameters]
        for (key, _), first, second in zip(report.parameters, before, after):
            self.judge(key, first, second)
        if report.state is not None and not self.offered(["load_state"], report.state):
            raise Failure("the plugin has no load_state() for the state in the report")
        self.agree("start")

    def give(self, key, value):
        """True or false as the plugin says, or the Failure. None counts as accepted."""
        try:
            returned = call(f"set_parameter() (parameter {key})", self.object.set_parameter, key, value)
            return returned is None or bool(returned)
        except Failure as failure:
            return failure

    @staticmethod
    def judge(key, first, second):
        """Some take a parameter only before initialize(), some only after: the better answer counts."""
        if first is True or second is True:
            return
        if first is False or second is False:
            say("  note: the plugin refuses the parameter " + key)
        else:
            raise second

    def end(self):
        self.offered(["stop"])
        self.offered(["shutdown"])


class Replay:
    """Blocks, one by one, through the one buffer that there is."""

    def __init__(self, plugin, report, base_plugin):
        form = report.format
        self.name = METHODS[plugin.class_name]
        self.method = call(self.name, getattr, plugin.object, self.name)
        self.is_sink = plugin.class_name == "AudioSinkPlugin"
        self.block_ms = form["block_frames"] / form["rate"] * 1e3
        self.data = np.zeros((form["channels"], form["block_frames"]), np.float32)
        self.buffer = base_plugin.AudioBuffer(*self.data.shape)
        self.good = self.failed = 0

    def run(self, block):
        say(f"block {block.seq}: ", end="")
        try:
            said = self.process(block)
        except Failure as failure:
            self.failed += 1
            say("failed: ", end="")
            tell(failure)
        else:
            self.good += 1
            say(said)

    def process(self, block):
        if block.taken is None:
            self.data.fill(0.0)
        else:
            np.copyto(self.data, block.taken)
        self.buffer.data = self.data
        start = time.perf_counter()
        returned = call(self.name + "()", self.method, self.buffer)
        took_ms = (time.perf_counter() - start) * 1e3
        if not call(f"the truth of what {self.name}() returned", bool, returned):
            raise Failure(f"{self.name}() returned {returned!r}")
        words = ["good"] if self.is_sink else ["good", self.compared(self.result(), block)]
        words.append(f"{took_ms:.2f} ms")
        if took_ms > self.block_ms:
            words.append(f"longer than a block, which lasts {self.block_ms:.2f} ms")
        return ", ".join(words)

    def result(self):
        """What the plugin left, of the right shape and kind."""
        result = call("taking buffer.data", np.asarray, self.buffer.data)
        if result.shape != self.data.shape:
            shapes = (self.name, result.shape, self.data.shape)
            raise Failure("after {}() buffer.data has shape {}, not {} (channels, frames)".format(*shapes))
        home = np.empty_like(self.data)
        call("taking buffer.data", lambda: np.copyto(home, result, casting="same_kind"))
        return home

    @staticmethod
    def compared(now, block):
        wild = int(np.count_nonzero(~np.isfinite(now)))
        if wild:
            return f"but {wild} of its samples are not finite"
        if block.left is None:
            return "failed in the report" if block.answered else "without an answer in the report"
        now, then = (np.where(np.abs(samples) < DENORMAL, 0.0, samples) for samples in (now, block.left))
        if np.array_equal(now, then):
            return "as in the report"
        return f"differs from the report by up to {np.max(np.abs(now - then)):.3g}"


def end_with(host):
    """A replay ends with the nda that started it, as far as the system can be asked to see to that."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except Exception:  # noqa: BLE001 - whatever it is that this Python lacks
        return
    if os.getppid() != host:
        os._exit(INTERRUPTED)


def load(report, base_plugin):
    plugin = Plugin(FILE, base_plugin)
    info = plugin.info
    say(f"{info.name} {info.version}: loaded")
    plugin.get_ready(report)
    given = [f"{len(report.parameters)} parameters"]
    if report.state is not None:
        given.append(f"a state of {len(report.state)} bytes")
    times = f", {TIMES} times" if TIMES > 1 else ""
    say(f"started with {' and '.join(given)}; {len(report.blocks)} blocks follow{times}")
    return plugin


def main():
    try:
        report = Report(FOLDER)
    except (OSError, ValueError, LookupError, TypeError) as why:
        say(f"the report is damaged: {why}")
        return DAMAGED
    base_plugin = provide_base_plugin()
    try:
        plugin = load(report, base_plugin)
        replay = Replay(plugin, report, base_plugin)
    except Failure as failure:
        say("the plugin could not be started: ", end="")
        tell(failure)
        return NOT_LOADED
    for _ in range(TIMES):
        for block in report.blocks:
            replay.run(block)
    say(f"{replay.good} blocks were good, {replay.failed} failed")
    try:
        plugin.end()
    except Failure as failure:
        say("the plugin did not stop in order: ", end="")
        tell(failure)
        return FAILED
    return FAILED if replay.failed else FINE


end_with(HOST)
faulthandler.enable()
# Ctrl-\ shows where every thread is, also in native code, and ends the replay.
faulthandler.register(signal.SIGQUIT, all_threads=True, chain=True)
try:
    verdict = main()
except KeyboardInterrupt as interrupt:
    say("\ninterrupted here:")
    traceback.print_exception(interrupt, file=sys.stdout)
    verdict = INTERRUPTED
leave(verdict)
