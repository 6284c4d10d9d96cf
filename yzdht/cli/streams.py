"""stdin and stdout of a command that goes on for long: read and written in the event loop, which they never hold up.

A reader that is slow makes such a command wait, and its sessions live on; one that goes away ends it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import sys
from typing import TYPE_CHECKING, NoReturn

from yzdht.cli.screen import printable, unwritable
from yzdht.errors import StoreError, UsageError, ValueTooLarge
from yzdht.limits import STREAM_READ_BYTES, STREAM_WRITE_BYTES


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from yzdht.cli.screen import Screen


_STDIN, _STDOUT = 0, 1


async def read_lines(line_bytes_max: int) -> AsyncGenerator[bytes | ValueTooLarge, None]:
    """The lines of stdin as they come, without their ends; the last one may have none.

    In place of one that is longer than that comes an error that says so; no more than its beginning is kept.

    Raises:
        UsageError: stdin cannot be read.

    """
    kept, number, is_open = b"", 0, True
    while is_open:
        part = await _read_part()
        is_open = bool(part)
        *lines, kept = (kept + part).split(b"\n")
        if kept and not is_open:
            lines.append(kept)
        for line in lines:
            number += 1
            yield line if len(line) <= line_bytes_max else _too_long(number, line_bytes_max)
        kept = kept[: line_bytes_max + 1]  # long enough to tell that it is too long


async def _read_part() -> bytes:
    await _until_readable(_STDIN)
    try:
        return os.read(_STDIN, STREAM_READ_BYTES)
    except OSError as error:
        raise UsageError(
            f"stdin cannot be read: {error.strerror}", hint="check where it comes from"
        ) from error


def _too_long(number: int, line_bytes_max: int) -> ValueTooLarge:
    return ValueTooLarge(
        f"line {number} is longer than {line_bytes_max:,} bytes", hint="split it: a message has no more"
    )


class Output:
    """stdout, for messages as they come.

    Args:
        screen: How it is written.

    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    async def line(self, text: str) -> None:
        """Write a line of text; raises as `data`."""
        await self.data(f"{printable(text)}\n".encode())

    async def object(self, fields: Mapping[str, object]) -> None:
        """Write one object on one line; raises as `data`."""
        await self.data(f"{json.dumps(fields)}\n".encode())

    async def data(self, raw: bytes) -> None:
        """Write bytes, as fast as they are read.

        Raises:
            BrokenPipeError: Nobody reads any more; stdout is mute from now on.
            StoreError: They cannot be written, or stdout was closed from the start.

        """
        if sys.stdout is None:
            raise StoreError("stdout is closed", hint="check where the output goes")
        rest = memoryview(raw)
        while rest:
            await _until_writable(_STDOUT)
            try:
                rest = rest[os.write(_STDOUT, rest[:STREAM_WRITE_BYTES]) :]
            except OSError as error:
                failure = unwritable(error)
                if error.errno == errno.EPIPE:
                    raise
                raise failure from error


async def first_of(*works: Awaitable[None]) -> None:
    """Do several things until the first of them ends; raises what that one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def while_read(*works: Awaitable[None]) -> None:
    """As `first_of`, as long as somebody reads stdout.

    Raises:
        BrokenPipeError: Nobody does any more.

    """
    await first_of(*works, _until_unread())


async def _until_unread() -> NoReturn:
    """Raises BrokenPipeError once the reader of a pipe is gone; of a file or a terminal it is not told."""
    loop = asyncio.get_running_loop()
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(_STDOUT).st_mode)
    except OSError:
        is_pipe = False
    if not is_pipe:
        await loop.create_future()
    await _until_readable(_STDOUT)  # the end that is written to is readable when it broke, and only then
    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


async def _until_readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    await _until(loop.add_reader, loop.remove_reader, descriptor)


async def _until_writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    await _until(loop.add_writer, loop.remove_writer, descriptor)


async def _until(add: Callable[..., None], remove: Callable[[int], bool], descriptor: int) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    try:
        add(descriptor, tell)
    except PermissionError:  # how epoll says of a file that it is always ready
        return
    try:
        await ready
    finally:
        remove(descriptor)
