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
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tests.sim.world import replay_of


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
        results: Of each story, by seed.
        cpu_s: Seconds of CPU of all children, building included.

    """

    results: list[dict[int, Any]]
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Run:
    seed: int
    story: int
    tell: Callable[[], Any]


@dataclass(slots=True)
class _Child:
    pid: int
    pipe: int
    until: float
    run: _Run | None = None
    data: bytearray = field(default_factory=bytearray)


def tell(
    build: Callable[[], _W],
    stories: Sequence[Callable[[_W], Any]],
    seeds: Sequence[int],
    *,
    at_once: int = 2,
    within_s: float = 110.0,
) -> Told:
    """Build a world in a child and run stories on it for every seed, each in a fork that is reseeded with it.

    Args:
        build: Makes the world; the same one for every seed and story.
        stories: Each continues it; what they return must be JSON.
        seeds: One fork for each, and for each story.
        at_once: Forks that run at one time.
        within_s: Real seconds for all of it; what then still runs is killed.

    Raises:
        StoryFailed: A story raised, died or took too long; the first few are told.

    """
    until = monotonic() + within_s

    def lead(pipe: int) -> None:
        gc.disable()  # a collection walks over the whole world, and in a fork it would copy every page
        world = build()
        gc.freeze()
        runs = [
            _Run(seed, number, partial(_continue, world, seed, story))
            for seed in seeds
            for number, story in enumerate(stories)
        ]
        for run, line in _run_all(runs, at_once, until):
            _write(pipe, json.dumps({"seed": run.seed, "story": run.story} | line).encode() + b"\n")

    leader = _fork(lead, until)
    try:
        told, failures = _listen(leader, len(seeds) * len(stories), Told([{} for _ in stories]))
    finally:
        cpu_s = _end(leader)
    told.cpu_s = cpu_s
    if failures:
        raise StoryFailed(
            "\n\n".join(failures[:3]) + f"\n{len(failures)} of {len(seeds) * len(stories)} stories failed"
        )
    return told


def _continue(world: _W, seed: int, story: Callable[[_W], Any]) -> Any:
    world.reseed(seed)
    return story(world)


def _listen(leader: _Child, wanted: int, told: Told) -> tuple[Told, list[str]]:
    """Take in lines as they come."""
    ended = 0
    failures: list[str] = []
    for raw in _lines(leader):
        line = json.loads(raw)
        ended += "seed" in line
        if "error" in line:
            replay = replay_of(line["seed"]) if "seed" in line else ""
            failures.append(f"{line['error']}{replay}")
        else:
            told.results[line["story"]][line["seed"]] = line["result"]
        if ended and ended % 10 == 0:
            print(f"{ended} of {wanted} stories told, {len(failures)} failed", flush=True)  # noqa: T201 - progress
    if not failures and ended < wanted:
        failures.append(f"the child that builds the world ended after {ended} stories")
    return told, failures


def _run_all(runs: Sequence[_Run], at_once: int, until: float) -> Iterator[tuple[_Run, dict[str, Any]]]:
    """Run each in a child of its own; yields as they end."""
    waiting = list(reversed(runs))
    running: dict[int, _Child] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            run = waiting.pop()
            child = _fork(partial(_answer, run), until, run)
            running[child.pipe] = child
        ready, _, _ = select.select(list(running), [], [], _LOOK_S)
        for pipe in ready:
            child = running[pipe]
            data = os.read(pipe, _READ_BYTES)
            child.data += data
            if not data:
                del running[pipe]
                yield _outcome(child)
        for child in [c for c in running.values() if monotonic() > c.until]:
            del running[child.pipe]
            child.data.clear()
            yield _outcome(child)


def _outcome(child: _Child) -> tuple[_Run, dict[str, Any]]:
    """What a child that ended, or whose time is over, came to."""
    assert child.run is not None
    is_late = monotonic() > child.until
    _end(child)
    try:
        line: dict[str, Any] = json.loads(child.data)
    except ValueError:
        line = {"error": f"the story of seed {child.run.seed} {'took too long' if is_late else 'died'}\n"}
    return child.run, line


def _answer(run: _Run, pipe: int) -> None:
    _write(pipe, json.dumps({"result": run.tell()}).encode())


def _fork(do: Callable[[int], None], until: float, run: _Run | None = None) -> _Child:
    """Call a function in a child with the pipe it writes to; without a run it leads others, as a process group."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that other tests may have left
        pid = os.fork()
    if not pid:
        os.close(reader)
        _be_a_child(do, writer, is_leader=run is None)
    os.close(writer)
    if run is None:
        with contextlib.suppress(OSError):  # the child does it too: whoever comes first
            os.setpgid(pid, pid)
    return _Child(pid, reader, until, run)


def _be_a_child(do: Callable[[int], None], pipe: int, *, is_leader: bool) -> NoReturn:
    """Run, tell of a failure, and end without returning into pytest."""
    status = 1
    try:
        if is_leader:
            os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest-timeout's handler belongs to the parent
        _stop_coverage()
        do(pipe)
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
    if child.run is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    elif monotonic() > child.until:
        os.kill(child.pid, signal.SIGKILL)
    _, _, usage = os.wait4(child.pid, 0)
    return usage.ru_utime + usage.ru_stime
