"""Processes that are forked from one import and told what to do over a socket, their CPU counted."""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pstats
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

import uvloop


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.cli.children import Child, Children, Line


PATIENCE_S = 300.0
_LINE_BYTES_MAX = 1 << 24


# In the process


class Servant(Protocol):
    """What lives in a forked process."""

    async def do(self, what: str, **more: Any) -> object:  # noqa: ANN401 - decoded from JSON
        """Carry out one order; what comes of it must be fit for JSON."""
        ...


async def _obey(make: Callable[[], Servant], control: socket.socket, line: Line) -> int:
    """Carry out orders until the parent ends."""
    asyncio.get_running_loop().add_reader(line.lifeline, os._exit, 0)
    reader, writer = await asyncio.open_connection(sock=control, limit=_LINE_BYTES_MAX)
    servant, profiler = make(), _Profiler()
    while order := await reader.readline():
        asked = json.loads(order)
        did = profiler.turn(**asked) if asked["what"] == "profile" else await servant.do(**asked)
        writer.write(json.dumps(did).encode() + b"\n")
    return 0


class _Profiler:
    """Where the time of this process goes."""

    def __init__(self) -> None:
        self._profile: cProfile.Profile | None = None

    def turn(self, what: str, *, is_on: bool) -> dict[str, float]:
        """Turn it on, or off: then seconds by module since it was turned on."""
        del what
        if is_on:
            self._profile = cProfile.Profile()
            self._profile.enable()
            return {}
        assert self._profile is not None
        self._profile.disable()
        by_module: dict[str, float] = {}
        stats: dict[Any, Any] = pstats.Stats(self._profile).stats  # type: ignore[attr-defined] # typeshed leaves `stats` out
        for (file, _, _), (_, _, own, _, _) in stats.items():
            by_module[_module_of(file)] = by_module.get(_module_of(file), 0.0) + own
        return by_module


def _module_of(file: str) -> str:
    for package in ("yzdht", "websockets", "asyncio", "msgspec", "cryptography"):
        if f"/{package}/" in file:
            return f"yzdht/{file.rsplit('/yzdht/', 1)[1]}" if package == "yzdht" else package
    return "built-in" if file.startswith(("~", "<")) else "standard library"


# In the parent


class Host:
    """One forked process.

    Args:
        child: The process.
        control: This end of its socket.

    Attributes:
        count: How many nodes it holds, where it holds any.

    """

    def __init__(self, child: Child, control: socket.socket) -> None:
        self.child = child
        self.count = 0
        self._control = control.makefile("rw")

    def tell(self, what: str, **more: object) -> None:
        """Have it begin something; `hear` returns what came of it."""
        self._control.write(json.dumps({"what": what, **more}) + "\n")
        self._control.flush()

    def hear(self) -> Any:  # noqa: ANN401 - decoded from JSON
        answer = self._control.readline()
        assert answer, f"process {self.child.pid} died"
        return json.loads(answer)

    def ask(self, what: str, **more: object) -> Any:  # noqa: ANN401 - as above
        self.tell(what, **more)
        return self.hear()

    def cpu_s(self) -> float:
        """Seconds of CPU it has used, all its threads together."""
        return cpu_s_of(self.child.pid)


def fork(children: Children, make: Callable[[], Servant]) -> Host:
    """Have a process for what `make` makes there, with a loop running."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_S)

    def live(line: Line) -> int:
        ours.close()
        theirs.setblocking(False)  # noqa: FBT003 - the standard library takes it by position
        return uvloop.run(_obey(make, theirs, line))

    child = children.fork(children.running, live)
    theirs.close()
    return Host(child, ours)


def profiled(hosts: Sequence[Host], work: Callable[[], object]) -> dict[str, float]:
    """Seconds by module that all of these processes spend on some work, under the profiler."""
    for host in hosts:
        host.ask("profile", is_on=True)
    work()
    total: dict[str, float] = {}
    for host in hosts:
        for module, seconds in host.ask("profile", is_on=False).items():
            total[module] = total.get(module, 0.0) + seconds
    return total


def cpu_s_of(pid: int) -> float:
    """Seconds of CPU that a process has used, all its threads together."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), which Python does not offer
