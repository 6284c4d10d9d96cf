"""Many stories of one world: it is built once, in a child process, and every seed continues it in a fork of its own.

A large world is costly to build and cheap to fork, since pages are copied on write. The caller's process stays small
and its coverage is not slowed down by millions of events: children count no coverage. What a story returns comes back
as JSON; what it raises, as text with the line that replays it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import traceback
import warnings
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.sim.world import World


_W = TypeVar("_W", bound="World")
_READ_BYTES = 1 << 16
_LOOK_S = 1.0


class StoryFailed(AssertionError):
    """Stories in children failed; the text says which, how, and how to replay them."""


@dataclass(slots=True)
class Told:
    """What the stories came to.

    Attributes:
        results: By seed.
        cpu_s: Seconds of CPU of all children, building included.

    """

    results: dict[int, Any] = field(default_factory=dict)
    cpu_s: float = 0.0


@dataclass(slots=True)
class _Child:
    pid: int
    pipe: int
    until: float
    seed: int
    data: bytearray = field(default_factory=bytearray)


def tell(
    build: Callable[[], _W],
    story: Callable[[_W], Any],
    seeds: Sequence[int],
    *,
    at_once: int = 2,
    within_s: float = 100.0,
) -> Told:
    """Build a world in a child and run a story on it for every seed, each in a fork that is reseeded with it.

    Args:
        build: Makes the world; the same one for every seed.
        story: Continues it; what it returns must be JSON.
        seeds: One fork for each.
        at_once: Forks that run at one time.
        within_s: Real seconds for all of it; what then still runs is killed.

    Raises:
        StoryFailed: A story raised, died or took too long; the first few are told.

    """
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0].partition("[")[0]
    until = monotonic() + within_s

    def lead(pipe: int) -> None:
        world = build()
        gc.collect()
        gc.freeze()  # a collection in a child would touch, and so copy, every page
        for seed, line in _run_all(seeds, lambda seed: _continue(world, seed, story), at_once, until):
            _write(pipe, json.dumps({"seed": seed} | line).encode() + b"\n")

    leader = _fork(lead, -1, until)
    try:
        told, failures = _listen(leader, test, len(seeds))
    finally:
        cpu_s = _end(leader)
    told.cpu_s = cpu_s
    if failures:
        raise StoryFailed("\n\n".join(failures[:3]) + f"\n{len(failures)} of {len(seeds)} stories failed")
    return told


def _continue(world: _W, seed: int, story: Callable[[_W], Any]) -> Any:
    world.reseed(seed)
    return story(world)


def _listen(leader: _Child, test: str, wanted: int) -> tuple[Told, list[str]]:
    """Take in lines as they come."""
    told = Told()
    failures: list[str] = []
    for raw in _lines(leader):
        line = json.loads(raw)
        if "error" in line:
            replay = (
                f"replay with: YZ_SEED={line['seed']} pytest '{test}'" if line.get("seed", -1) >= 0 else ""
            )
            failures.append(f"{line['error']}{replay}")
        elif "result" in line:
            told.results[line["seed"]] = line["result"]
            if len(told.results) % 10 == 0:
                print(f"{len(told.results)} of {wanted} stories told", flush=True)  # noqa: T201 - progress
    if not failures and len(told.results) < wanted:
        failures.append(f"the child that builds the world ended after {len(told.results)} stories")
    return told, failures


def _run_all(
    seeds: Sequence[int], run: Callable[[int], Any], at_once: int, until: float
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run a function for every seed in a child of its own; yields as they end."""
    waiting = list(reversed(seeds))
    running: dict[int, _Child] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            seed = waiting.pop()
            child = _fork(lambda pipe, seed=seed: _answer(pipe, run(seed)), seed, until)  # type: ignore[misc] # binds
            running[child.pipe] = child
        ready, _, _ = select.select(list(running), [], [], _LOOK_S)
        for pipe in ready:
            child = running[pipe]
            data = os.read(pipe, _READ_BYTES)
            child.data += data
            if not data:
                del running[pipe]
                yield child.seed, _outcome(child)
        for child in [c for c in running.values() if monotonic() > c.until]:
            del running[child.pipe]
            child.data.clear()
            yield child.seed, _outcome(child)


def _outcome(child: _Child) -> dict[str, Any]:
    """What a child that ended, or whose time is over, came to."""
    _end(child)
    try:
        line: dict[str, Any] = json.loads(child.data)
    except ValueError:
        why = "took too long" if monotonic() > child.until else "died"
        line = {"error": f"the story of seed {child.seed} {why}\n"}
    return line


def _answer(pipe: int, result: Any) -> None:
    _write(pipe, json.dumps({"result": result}).encode())


def _fork(run: Callable[[int], None], seed: int, until: float) -> _Child:
    """Run a function in a child that writes to the pipe it is given; one that leads others has a process group."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that other tests may have left
        pid = os.fork()
    if not pid:
        os.close(reader)
        _be_a_child(run, writer, is_leader=seed < 0)
    os.close(writer)
    if seed < 0:
        with contextlib.suppress(OSError):  # the child does it too: whoever comes first
            os.setpgid(pid, pid)
    return _Child(pid, reader, until, seed)


def _be_a_child(run: Callable[[int], None], pipe: int, *, is_leader: bool) -> NoReturn:
    """Run, tell of a failure, and end without returning into pytest."""
    status = 1
    try:
        if is_leader:
            os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest-timeout's handler belongs to the parent
        _stop_coverage()
        run(pipe)
        status = 0
    except BaseException as error:  # noqa: BLE001 - it is told to the parent, and nothing may return into pytest
        notes = traceback.format_exception(error)
        with contextlib.suppress(OSError):
            _write(pipe, json.dumps({"error": "".join(n for n in notes)}).encode() + b"\n")
    finally:
        sys.stdout.flush()
        os._exit(status)


def _stop_coverage() -> None:
    """Millions of events are not traced; what they cover, smaller tests cover too."""
    coverage = sys.modules.get("coverage")
    measured = coverage.Coverage.current() if coverage is not None else None
    if measured is not None:
        measured.stop()
    sys.settrace(None)


def _lines(child: _Child) -> Iterator[bytes]:
    """Lines that a child writes, until it ends or its time is over."""
    while True:
        ready, _, _ = select.select([child.pipe], [], [], _LOOK_S)
        data = os.read(child.pipe, _READ_BYTES) if ready else b""
        child.data += data
        while (end := child.data.find(b"\n")) >= 0:
            yield bytes(child.data[:end])
            del child.data[: end + 1]
        if (ready and not data) or monotonic() > child.until + _LOOK_S * 5:
            return


def _write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


def _end(child: _Child) -> float:
    """Wait for a child, killing it and those it leads if it still runs; seconds of CPU of all of them."""
    os.close(child.pipe)
    if child.seed < 0:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    elif monotonic() > child.until:
        os.kill(child.pid, signal.SIGKILL)
    _, _, usage = os.wait4(child.pid, 0)
    return usage.ru_utime + usage.ru_stime
