"""Tones in WAV files: `write FILE HZ` makes one of 20 seconds, `heard FILE HZ` looks whether a recording has three seconds of it."""

import array
import math
import sys
import wave


def write(path, hertz, rate=8000):
    samples = array.array("h", (int(12000 * math.sin(2 * math.pi * hertz * i / rate)) for i in range(20 * rate)))
    with wave.open(path, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(samples.tobytes())


def share(samples, hertz, rate):
    """Power of one frequency relative to the whole (Goertzel)."""
    coefficient = 2 * math.cos(2 * math.pi * hertz / rate)
    last = before = 0.0
    for sample in samples:
        last, before = sample + coefficient * last - before, last
    total = sum(sample * sample for sample in samples)
    power = last * last + before * before - coefficient * last * before
    return 2 * power / (total * len(samples)) if total else 0.0


def heard(path, hertz):
    with wave.open(path) as recording:
        rate = recording.getframerate()
        samples = array.array("h", recording.readframes(recording.getnframes()))[:: recording.getnchannels()]
    windows = [samples[at:at + rate // 5] for at in range(0, len(samples) - rate // 5, rate // 5)]
    good = sum(share(window, hertz, rate) > 0.9 for window in windows)
    print(f"  - {path.rsplit('/', 2)[1]} heard {good / 5:.1f} s of {hertz} Hz in {len(samples) / rate:.1f} s")
    return good >= 15


if len(sys.argv) != 4:
    sys.exit(f"a recording for {sys.argv[-1]} Hz is missing, or there are several: {sys.argv[2:-1]}")
sys.exit(0 if sys.argv[1] == "write" and not write(sys.argv[2], int(sys.argv[3]))
         or sys.argv[1] == "heard" and heard(sys.argv[2], int(sys.argv[3])) else 1)
