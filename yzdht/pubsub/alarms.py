"""When what a process listens to is to be looked after: thousands of topics, of which few have something to do.

After something has happened to a feed its time is asked for anew; nobody asks the others. Who was forgotten is not looked after any
more, whatever happens to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from yzdht.due_times import DueTimes


if TYPE_CHECKING:
    from yzdht.ports import Now


class Timed(Protocol):
    """Something that wants to be looked after at times."""

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        ...

    def handle_timer(self, now: Now) -> None:
        """Do what is due."""
        ...


class Alarms:
    """The times of many."""

    def __init__(self) -> None:
        self._touched: dict[Timed, None] = {}
        self._all: set[Timed] = set()
        self._times: DueTimes[Timed] = DueTimes()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, timed: Timed) -> None:
        """Look after it from now on."""
        self._all.add(timed)
        self._touched[timed] = None

    def touch(self, timed: Timed) -> None:
        """Something happened to it: its time may be another one."""
        if timed in self._all:
            self._touched[timed] = None

    def forget(self, timed: Timed) -> None:
        """It is over."""
        self._touched.pop(timed, None)
        self._all.discard(timed)
        self._times.forget(timed)

    def next_timer(self) -> float | None:
        """When `ring` is wanted."""
        for timed in self._touched:
            self._times.set(timed, timed.next_timer())
        self._touched.clear()
        return self._times.next()

    def ring(self, now: Now) -> None:
        """Look after all whose time has come, each once."""
        self.next_timer()
        due: list[Timed] = []
        while (timed := self._times.take(now.mono)) is not None:
            due.append(timed)
        for timed in due:
            if timed in self._all:  # else another one's turn was its end
                timed.handle_timer(now)
                self.touch(timed)
