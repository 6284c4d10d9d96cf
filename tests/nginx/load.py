"""People who write all the time, through whatever happens, and what was acknowledged to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Final

from yzdht import Identity, Public
from yzdht.errors import LookupFailed, YzError


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht import Client


WRITERS: Final = 4
NAMES: Final = 20
"""Of each writer: slots that are written again and again."""
_PATIENCE_S: Final = 120.0
_PAUSE_S: Final = 0.05


class Load:
    """So many writers, who come back whenever their session ends.

    Args:
        connect: Makes a client for a writer.

    Attributes:
        written: The newest value that was acknowledged of each slot.
        acknowledged: How many writes were.
        failures: By the name of their error.

    """

    def __init__(self, connect: Callable[[int, Identity], Client]) -> None:
        self._connect = connect
        self.identities = [Identity.generate() for _ in range(WRITERS)]
        self.written: dict[tuple[int, str], bytes] = {}
        self.acknowledged = 0
        self.failures: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write(writer)) for writer in range(WRITERS)]

    async def _write(self, writer: int) -> None:
        number = 0
        while True:
            try:
                async with self._connect(writer, self.identities[writer]) as client:
                    while True:
                        number += 1
                        name, value = f"note {number % NAMES}", b"%d" % number
                        await client.store(name, value, readers=Public())
                        self.written[writer, name] = value
                        self.acknowledged += 1
                        self._changed.set()
            except (LookupFailed, YzError) as error:
                self.failures[type(error).__name__] += 1
                await asyncio.sleep(_PAUSE_S)

    async def more(self, count: int) -> None:
        """Wait for so many further acknowledgements."""
        for _ in range(count):
            self._changed.clear()
            async with asyncio.timeout(_PATIENCE_S):
                await self._changed.wait()

    async def stop(self) -> None:
        """End it; a writer that ended before with an error raises it here."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def missing(self, client: Client) -> list[str]:
        """What was acknowledged and is not read any more: nothing, ever."""
        lost = []
        for (writer, name), value in self.written.items():
            found = await client.get(name, publisher=self.identities[writer].public_key)
            if int(found.data) < int(value):
                lost.append(f"{name} of writer {writer}: {found.data!r} after {value!r}")
        return lost

    def summary(self) -> str:
        """For the report."""
        return (
            f"{self.acknowledged} writes acknowledged in {len(self.written)} slots, "
            f"tries that failed: {dict(self.failures)}"
        )
