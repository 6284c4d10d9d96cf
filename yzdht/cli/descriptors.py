"""The descriptors 0, 1 and 2 of a process whose parent closed some of them."""

from __future__ import annotations

import os


_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)


def fill_standard_descriptors() -> None:
    """Open the null device on those of 0, 1 and 2 that are closed, before a file, a socket or a loop lands there.

    The wrong way round, so that reading a closed stdin and writing a closed stdout still fail.
    """
    for number, mode in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free number, which is this one
