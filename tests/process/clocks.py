"""Wall clocks that a test sets: of processes, and of clients in its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from yzdht.ports import Now
from yzdht.sessions import SystemClock


if TYPE_CHECKING:
    from collections.abc import Sequence


class Clock:
    """The wall clock of a machine of its own, for processes that are started with `before` in front of them."""

    def __init__(self, file: Path, shift_s: float = 0.0) -> None:
        self._file = file
        self.set(shift_s)

    @property
    def before(self) -> Sequence[str]:
        return [sys.executable, str(Path(__file__).with_name("shifted.py")), str(self._file)]

    def set(self, shift_s: float) -> None:
        """It is off by so many seconds from now on."""
        self.shift_s = shift_s
        self._file.write_text(str(shift_s))

    def now(self) -> Now:
        """The present of a client that goes by it."""
        mono, wall = SystemClock().now()
        return Now(mono, wall + self.shift_s)
