"""Children forked from one import: each reports over a pipe, and all of them end when their parent does.

The parent has neither an event loop nor a thread, so that forking is safe. A pipe that only the parent can write to is
every child's lifeline: its end says that all of them end, whether the parent closed it or died.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Self


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType


ENDING = (signal.SIGINT, signal.SIGTERM)
_READ_BYTES = 65_536
_FAILED = 1


class Line(NamedTuple):
    """What a child has of its parent.

    Attributes:
        lifeline: Descriptor that reads as ended once all children are to end.
        reports: Descriptor to write reports to.

    """

    lifeline: int
    reports: int

    def report(self, event: Mapping[str, object]) -> None:
        """Tell the parent; a parent that is gone is told nothing."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.reports, json.dumps(event).encode() + b"\n")


class Report(NamedTuple):
    """What the parent hears.

    Attributes:
        child: Who.
        event: What it said; None when it has ended, and `child.code` says how.

    """

    child: Child
    event: dict[str, object] | None


@dataclass(slots=True, eq=False)
class Child:
    """One forked process.

    Attributes:
        number: Which.
        pid: Its process id.
        code: How it ended: an exit code, or a signal's number below zero; None while it runs.

    """

    number: int
    pid: int
    reports: int
    code: int | None = None
    unread: bytearray = field(default_factory=bytearray)

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.code
        if code is None:
            return "still runs"
        return f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # the real-time ones have no name


class Children:
    """Forks children, hears them, and ends them; within `with`, SIGINT and SIGTERM of this process are only counted.

    Attributes:
        signals: How many of them came.

    """

    def __init__(self) -> None:
        assert threading.active_count() == 1, "a fork copies no threads"
        self.signals = 0
        self._running: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._lifeline: tuple[int, int] = os.pipe()
        self._wakeup = os.pipe()
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for descriptor in self._wakeup:
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        self._selector.register(self._wakeup[0], selectors.EVENT_READ)
        for number in ENDING:
            self._handlers[number] = signal.signal(number, self._count)
        gc.collect()
        gc.freeze()  # a collection in a child would write to, and so copy, every page that it looks at
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() returned
        signal.set_wakeup_fd(-1)
        gc.unfreeze()
        self._close()

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    def fork(self, number: int, live: Callable[[Line], int]) -> Child:
        """Start one child.

        Args:
            number: Which; only told back.
            live: What it does with its life; returns its exit code.

        """
        reading, writing = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # otherwise both would write what is buffered
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._become_child(Line(self._lifeline[0], writing), live)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writing)
        child = self._running[reading] = Child(number, pid, reading)
        self._selector.register(reading, selectors.EVENT_READ)
        return child

    def hear(self, until: float | None = None) -> list[Report]:
        """Wait for reports.

        Args:
            until: Monotonic seconds; None for ever.

        Returns:
            What was heard; nothing if a signal came or the time is over.

        """
        timeout_s = None if until is None else max(0.0, until - time.monotonic())
        reports: list[Report] = []
        for key, _ in self._selector.select(timeout_s):
            if key.fd == self._wakeup[0]:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, _READ_BYTES)
            else:
                reports += self._read(self._running[key.fd])
        return reports

    def end(self) -> None:
        """Ask all of them to end."""
        self._lifeline = (self._lifeline[0], _closed(self._lifeline[1]))

    def kill(self) -> None:
        """End all of them at once, and wait until they have."""
        for child in self._running.values():
            os.kill(child.pid, signal.SIGKILL)
        for child in list(self._running.values()):
            self._bury(child)

    def _read(self, child: Child) -> list[Report]:
        data = os.read(child.reports, _READ_BYTES)
        if not data:
            self._bury(child)
            return [Report(child, None)]
        child.unread += data
        *lines, rest = child.unread.split(b"\n")
        child.unread = bytearray(rest)
        return [Report(child, json.loads(line)) for line in lines]

    def _bury(self, child: Child) -> None:
        """Its pipe has ended, or it was killed: it has no more than a moment to live."""
        _, status = os.waitpid(child.pid, 0)
        child.code = os.waitstatus_to_exitcode(status)
        del self._running[child.reports]
        self._selector.unregister(child.reports)
        os.close(child.reports)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.signals += 1

    def _become_child(self, line: Line, live: Callable[[Line], int]) -> NoReturn:
        """Let go of what is the parent's, live, and exit without going back into the parent's code."""
        code = _FAILED
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            os.close(self._lifeline[1])
            for reports in self._running:
                os.close(reports)
            self._selector.close()
            code = live(line)
        except Exception:
            sys.excepthook(*sys.exc_info())
            raise
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.flush()
            os._exit(code)

    def _close(self) -> None:
        self._selector.close()
        for descriptor in (*self._lifeline, *self._wakeup):
            _closed(descriptor)


def _closed(descriptor: int) -> int:
    """Close it unless it is; -1, which stands for a closed one."""
    if descriptor >= 0:
        os.close(descriptor)
    return -1
