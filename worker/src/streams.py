"""sys.stdout and sys.stderr of a worker: text streams that never make the plugin wait.

They write to non-blocking pipes that the host drains. When a pipe is full, what does not fit is dropped and
counted, and once there is room again a line says how much is missing.
"""

import io
import os
import select
import sys


class Pipe(io.RawIOBase):
    """Takes every byte, and passes on those that fit."""

    def __init__(self, fd, name):
        self._fd = fd
        self.name = name
        self.mode = "wb"
        self._dropped = 0
        self._in_line = False

    def fileno(self):
        return self._fd

    def writable(self):
        return True

    def write(self, data):
        data = bytes(data)
        sent = self._send(data) if self.tell_dropped() else 0
        self._dropped += len(data) - sent
        return len(data)

    def tell_dropped(self):
        """Says what is missing, if anything is; false while there is no room to say it."""
        if not self._dropped:
            return True
        start = b"\n" if self._in_line else b""
        # Short enough for a pipe to take it whole or not at all.
        if not self._send(b"%s[nda: %d bytes of output dropped]\n" % (start, self._dropped)):
            return False
        self._dropped = 0
        return True

    def _send(self, data):
        sent = 0
        try:
            while sent < len(data):
                sent += os.write(self._fd, data[sent:])
        except OSError:
            # Full, or nobody reads any more.
            pass
        if sent:
            self._in_line = data[sent - 1] != 0x0A
        return sent


def stream(fd, name):
    text = io.TextIOWrapper(
        io.BufferedWriter(Pipe(fd, name)), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    text.mode = "w"
    return text


def install():
    sys.stdout = sys.__stdout__ = stream(1, "<stdout>")
    sys.stderr = sys.__stderr__ = stream(2, "<stderr>")


def flush(patience):
    """Writes out what the plugin left unfinished, waiting for so many seconds at most. Never raises."""
    for text in (sys.stdout, sys.stderr):
        try:
            pipe = text.buffer.raw
            if patience:
                select.select([], [pipe], [], patience)
            text.flush()
            pipe.tell_dropped()
        except BaseException:
            # The plugin put something else there, or closed it.
            pass
