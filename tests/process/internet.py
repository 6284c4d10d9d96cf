"""A network of its own for the thread of a test and what it starts, in which all of 11.0.0.0/8 is this machine.

Who connects to 11.1.2.3 there comes from 11.1.2.3, so that one machine has as many public prefixes as a test wants, and a
node that listens on 0.0.0.0 limits each as it limits strangers on the Internet. Nothing leaves it: it has only loopback.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator


_NEW_NETWORK = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_OWN = Path("/proc/thread-self/ns/net")


@contextlib.contextmanager
def own_internet() -> Iterator[None]:
    """Move this thread there and back. Needs root and `ip`, which make installs."""
    assert os.geteuid() == 0, "a network namespace needs root: run the tests as root"
    ip = shutil.which("ip")
    assert ip is not None, "the command ip is missing: make debian-packages"
    home = os.open(_OWN, os.O_RDONLY)
    try:
        _check(_LIBC.unshare(_NEW_NETWORK), "unshare")
        try:
            subprocess.run([ip, "link", "set", "lo", "up"], check=True)
            subprocess.run([ip, "route", "add", "local", "11.0.0.0/8", "dev", "lo"], check=True)
            yield
        finally:
            _check(_LIBC.setns(home, _NEW_NETWORK), "setns")
    finally:
        os.close(home)


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
