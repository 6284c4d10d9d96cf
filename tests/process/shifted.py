"""Runs a Python program whose wall clock is off by what a file says, now and whenever the file changes.

    python shifted.py FILE PROGRAM ARGUMENT…

The file holds seconds, such as `86400` or `-86400`; the monotonic clocks, and with them the event loop, stay as they
are. That is what an operator does who sets a clock, and what libfaketime does not do for a running process.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path


_LOOK_EVERY_S = 0.02


class ShiftedClock:
    """`time.time`, off by what a file says.

    Args:
        file: Holds the seconds.

    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._real = time.time  # noqa: TID251 - the clock that is shifted
        self._shift_s = 0.0
        self._looked_at = float("-inf")

    def __call__(self) -> float:
        mono = time.monotonic()
        if mono >= self._looked_at + _LOOK_EVERY_S:
            self._looked_at = mono
            text = self._file.read_text().strip()
            self._shift_s = float(text) if text else self._shift_s  # empty while it is being written
        return self._real() + self._shift_s


def main() -> None:
    """Run the program that the arguments name."""
    file, program = sys.argv[1:3]
    time.time = ShiftedClock(Path(file))  # noqa: TID251 - as above
    sys.argv = sys.argv[2:]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
