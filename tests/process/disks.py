"""A small disk that a test fills: in a mount namespace of its own, so that it is gone with its keeper, whatever happens."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Self


if TYPE_CHECKING:
    from asyncio.subprocess import Process


_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_MOUNT = 'mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$2" && echo mounted && exec cat'
_BLOCK = bytes(4_096)
_BALLAST = "ballast"


def _die_with_parent() -> None:
    _LIBC.prctl(_PDEATHSIG, signal.SIGKILL)


class SmallDisk:
    """A tmpfs over a folder, for processes that are started with `before` in front of them. Needs root.

    Args:
        folder: Where; processes outside see it empty.
        size: Bytes.

    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self._size = size
        self._keeper: Process | None = None
        self._room_made = 0

    @property
    def before(self) -> list[str]:
        """The command in front of a process that is to see the disk."""
        assert self._keeper is not None
        return ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt"]

    @property
    def inside(self) -> Path:
        """The folder on the disk, as it can be reached from outside."""
        assert self._keeper is not None
        return Path(f"/proc/{self._keeper.pid}/root{self.folder}")

    def fill(self) -> None:
        """Leave not one block free."""
        with (self.inside / _BALLAST).open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(_BLOCK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def make_room(self) -> None:
        """Take away what `fill` wrote."""
        (self.inside / _BALLAST).unlink()

    async def remount(self, how: str) -> None:
        """Make it read-only, `ro`, or writable again, `rw`; nobody may have a file open for writing."""
        process = await asyncio.create_subprocess_exec(
            *self.before, "mount", "-o", f"remount,{how}", str(self.folder)
        )
        assert await process.wait() == 0

    async def __aenter__(self) -> Self:
        assert os.geteuid() == 0, "a disk of its own needs root, as in CI: sudo make test"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keeper = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", _MOUNT, "sh"),
            *(str(self._size), str(self.folder)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )
        assert self._keeper.stdout is not None
        assert await self._keeper.stdout.readline() == b"mounted\n"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._keeper is not None
        self._keeper.kill()
        await self._keeper.wait()
