#!/usr/bin/env python3
"""Makes song.flac, the piece of music for trying out a chain: twelve seconds, stereo, 48 kHz, 16 bit.

The piano plays the opening of Johann Sebastian Bach's Prelude in C major (BWV 846, 1722, public domain). The
flute melody and the cello line over and under it were written for this project and are under its licence.

The notes stand below. They become a Standard MIDI File; fluidsynth plays it with the FluidR3 GM sound font
by Frank Wen, which is under the MIT licence; the result is faded out, loses some treble, is brought to a peak
of -3 dBFS and packed by flac. Needs numpy and, on Debian, the packages fluidsynth, fluid-soundfont-gm and
flac::

    python3 examples/compose_song.py [another-sound-font.sf2]

Nothing here is random, but another release of fluidsynth or flac may give a file that differs in its bits.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

SONG = Path(__file__).resolve().parent / "song.flac"
SOUND_FONT = "/usr/share/sounds/sf2/FluidR3_GM.sf2"

RATE = 48_000
SECONDS = 12.0
FADE_SECONDS = 1.2
PEAK = 10 ** (-3 / 20)
# Above this the flute is mostly breath, which nobody misses and flac can't pack.
TREBLE_LIMIT = 8_000.0  # Hz

BEATS_PER_MINUTE = 88
TICKS_PER_BEAT = 480
BAR = 4.0  # beats
SIXTEENTH = 0.25


class Instrument(NamedTuple):
    channel: int
    program: int  # General MIDI, counted from 0
    volume: int
    pan: int  # 64 is the middle


class Note(NamedTuple):
    instrument: Instrument
    start: float  # beats from the beginning
    beats: float
    pitch: str
    velocity: int


PIANO = Instrument(channel=0, program=0, volume=100, pan=52)
CELLO = Instrument(channel=1, program=42, volume=66, pan=64)
FLUTE = Instrument(channel=2, program=73, volume=64, pan=78)
INSTRUMENTS = (PIANO, CELLO, FLUTE)

# One chord per bar, as Bach breaks it: the left hand holds the first two notes, the right repeats the others.
BARS = (
    ("C4", "E4", "G4", "C5", "E5"),
    ("C4", "D4", "A4", "D5", "F5"),
    ("B3", "D4", "G4", "D5", "F5"),
    ("C4", "E4", "G4", "C5", "E5"),
)
LAST_CHORD = ("C3", "G3", "C4", "E4", "G4", "C5")

# Start and length in beats, pitch, velocity.
MELODY = (
    (0.0, 3.0, "E5", 72),
    (3.0, 1.0, "G5", 76),
    (4.0, 3.0, "A5", 88),
    (7.0, 1.0, "G5", 80),
    (8.0, 2.0, "F5", 78),
    (10.0, 1.0, "D5", 70),
    (11.0, 1.0, "F5", 74),
    (12.0, 6.0, "E5", 72),
)
BASS = (
    (0.0, 4.0, "C3", 66),
    (4.0, 4.0, "C3", 72),
    (8.0, 4.0, "B2", 72),
    (12.0, 6.0, "C3", 66),
)


def broken_chord(chord: tuple[str, ...], start: float) -> list[Note]:
    """Half a bar: two notes that stay, and six sixteenths above them."""
    low, middle, *upper = chord
    notes = [
        Note(PIANO, start, 8 * SIXTEENTH, low, 70),
        Note(PIANO, start + SIXTEENTH, 7 * SIXTEENTH, middle, 60),
    ]
    for step, pitch in enumerate([*upper, *upper], start=2):
        notes.append(Note(PIANO, start + step * SIXTEENTH, SIXTEENTH, pitch, 64 if step in (4, 7) else 58))
    return notes


def piano() -> list[Note]:
    halves = [bar * BAR + half for bar in range(len(BARS)) for half in (0.0, BAR / 2)]
    end = halves.pop()  # where the last half bar would be, the last chord is rolled instead
    notes = [note for start in halves for note in broken_chord(BARS[int(start // BAR)], start)]
    for step, pitch in enumerate(LAST_CHORD):
        notes.append(Note(PIANO, end + step * 0.08, 4.0, pitch, 62))
    return notes


def song() -> list[Note]:
    return [
        *piano(),
        *(Note(FLUTE, *line) for line in MELODY),
        *(Note(CELLO, *line) for line in BASS),
    ]


def midi_number(pitch: str) -> int:
    """The number of a white key: C4 is 60."""
    return 12 * (int(pitch[1:]) + 1) + {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[pitch[0]]


def variable_length(value: int) -> bytes:
    """How MIDI writes a time: seven bits per byte, the top bit set on all but the last."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(0x80 | value & 0x7F)
    return bytes(reversed(parts))


def midi_file(notes: list[Note]) -> bytes:
    """A Standard MIDI File of one track."""
    events = [(0, b"\xff\x51\x03" + (60_000_000 // BEATS_PER_MINUTE).to_bytes(3, "big"))]
    for channel, program, volume, pan in INSTRUMENTS:
        events.append((0, bytes([0xC0 | channel, program])))
        events.extend((0, bytes([0xB0 | channel, *control])) for control in ((7, volume), (10, pan)))
    sounding = []
    for instrument, start, beats, pitch, velocity in notes:
        number = midi_number(pitch)
        on, off = round(start * TICKS_PER_BEAT), round((start + beats) * TICKS_PER_BEAT)
        sounding.append((off, bytes([0x80 | instrument.channel, number, 0])))
        sounding.append((on, bytes([0x90 | instrument.channel, number, velocity])))
    # In order of time. At the same time an end (0x8.) comes before a start (0x9.), so that a note can repeat.
    events.extend(sorted(sounding))

    track, now = b"", 0
    for ticks, message in events:
        track += variable_length(ticks - now) + message
        now = ticks
    track += b"\x00\xff\x2f\x00"
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS_PER_BEAT)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + track


def rendered(midi: bytes, sound_font: str, folder: Path) -> np.ndarray:
    """What fluidsynth makes of the notes: float32 of shape (frames, 2)."""
    score, raw = folder / "song.mid", folder / "song.raw"
    score.write_bytes(midi)
    room = ["synth.chorus.active=0", "synth.reverb.room-size=0.5", "synth.reverb.level=0.35"]
    options = [part for setting in room for part in ("-o", setting)]
    output = ["-F", str(raw), "-T", "raw", "-O", "float", "-r", str(RATE), "-g", "0.6"]
    subprocess.run(["fluidsynth", "-q", "-n", "-i", *options, *output, sound_font, str(score)], check=True)
    return np.fromfile(raw, dtype="<f4").reshape(-1, 2)


def softened(audio: np.ndarray) -> np.ndarray:
    """The audio with a gentle slope, 24 dB per octave, above the treble limit.

    For audio that begins and ends in silence: the transform takes the one to follow upon the other.
    """
    spectrum = np.fft.rfft(audio, axis=0)
    frequencies = np.fft.rfftfreq(len(audio), 1 / RATE)
    spectrum *= (1 / np.sqrt(1 + (frequencies / TREBLE_LIMIT) ** 8))[:, np.newaxis]
    return np.fft.irfft(spectrum, n=len(audio), axis=0)


def finished(audio: np.ndarray) -> np.ndarray:
    """Cut to length, faded out, softened, at the wanted peak, as 16-bit integers."""
    frames, fade = round(SECONDS * RATE), round(FADE_SECONDS * RATE)
    audio = np.pad(audio[:frames].astype(np.float64), ((0, max(0, frames - len(audio))), (0, 0)))
    audio[-fade:] *= np.cos(np.linspace(0.0, np.pi / 2, fade))[:, np.newaxis] ** 2
    audio = softened(audio)
    audio *= PEAK / np.abs(audio).max()
    return np.rint(audio * 32_767).astype("<i2")


def pack(samples: np.ndarray, path: Path) -> None:
    form = ["--endian=little", "--sign=signed", "--channels=2", "--bps=16", f"--sample-rate={RATE}"]
    tags = ["-T", "TITLE=Prelude in C with flute and cello", "-T", "COMPOSER=J. S. Bach (BWV 846), arranged"]
    command = ["flac", "--silent", "--force", "-8", "--force-raw-format", *form, *tags, "-o", str(path), "-"]
    subprocess.run(command, input=samples.tobytes(), check=True)


def main() -> None:
    sound_font = sys.argv[1] if len(sys.argv) > 1 else SOUND_FONT
    with tempfile.TemporaryDirectory() as folder:
        samples = finished(rendered(midi_file(song()), sound_font, Path(folder)))
    pack(samples, SONG)
    print(f"{SONG.name}: {len(samples) / RATE:.1f} s, {SONG.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
