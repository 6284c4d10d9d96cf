"""What an object of this package holds: the lengths of all containers that it leads to, by whose they are.

A leak shows as a name whose number grows: `Operations._running` is the length of that dictionary in all objects of the
class that were met, `Operations._running[]` of containers in it, `Lookup` how many of them there are. Closures, methods
and partials are followed, since what waits for an end often waits in one.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from functools import partial
from itertools import chain
from statistics import median
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from tests.sim import authors
from yzdht import alarms, own_identity, whereabouts
from yzdht.crypto import signing
from yzdht.kad import departed, replication
from yzdht.limits import HOUR_S
from yzdht.sessions import dialling
from yzdht.store import memory


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pytest


OBJECTS_MAX = 1_000_000
"""More than one node leads to; to walk on would say nothing more."""

_PACKAGE = "yzdht"
_CONTAINERS = (list, set, frozenset, deque)


REMEMBERED = 48
"""As many fit in memories that otherwise would fill up all day long."""

SHORT_LIFE_S = 3 * HOUR_S
"""Of a node's identity record, where records are to expire while somebody watches."""

GROWN_MAX = 1.25
"""Late sizes beside early ones: people write, and nodes end, when they like."""

SLOTS = "MemoryStore._slots"
PER_SLOT = {
    "Filled": 1,
    "Head": 1,
    "StoredRecord": 1,
    "Usage": 2,
    "MemoryStore._brought": 1,
    "MemoryStore._brought[]": 1,
    "MemoryStore._due": 2,  # and _DUE_SLACK
    "MemoryStore._keys": 1,
    "MemoryStore._order": 1,
    "MemoryStore._records": 1,
    "MemoryStore._records[]": 1,
    "MemoryStore._usage": 2,  # its publisher and its bringer
}
"""How many of them a store may have for each slot that it holds now; a leak is what is left of slots that are gone."""

UNDER_WAY = 4
"""Records per node that are being read or written when sizes are taken: they have a Head, and no slot."""

PER_RECORD = frozenset({SLOTS, *PER_SLOT})
"""What may be as large as the records are many; a node's other memories are not."""


def shrink_memories(monkeypatch: pytest.MonkeyPatch, nodes: int = REMEMBERED) -> None:
    """Let what remembers nodes and records for days be full after some hours, so that whatever grows then is a leak.

    Args:
        monkeypatch: Undoes it.
        nodes: How many nodes are remembered; fewer than end within some hours.

    """
    monkeypatch.setattr(departed, "DEPARTED_MAX", nodes)
    monkeypatch.setattr(replication, "HANDOVER_NODES_REMEMBERED_MAX", nodes)
    monkeypatch.setattr(dialling, "CONTACTS_HEARD_MAX", nodes)
    monkeypatch.setattr(memory, "_DUE_SLACK", REMEMBERED)
    monkeypatch.setattr(signing, "VERIFIED_CACHE_ENTRIES", 4 * REMEMBERED)


def shorten_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is kept of a node that ended be gone after hours: else nothing expires within a day.

    Real identity records live for two days, so that the records of a network with churn grow all day long, and whatever
    would be left of those that expired is not seen. Whoever lives renews its own, as ever, after a quarter of its life.
    A node deletes what expired once it believes its clock: after an hour here, and not a day.
    """
    monkeypatch.setattr(alarms, "CLOCK_BELIEVED_AFTER_S", HOUR_S)
    monkeypatch.setattr(authors, "NODE_IDENTITY_LIFE_S", SHORT_LIFE_S)
    monkeypatch.setattr(whereabouts, "NODE_IDENTITY_LIFE_S", SHORT_LIFE_S)
    monkeypatch.setattr(own_identity, "NODE_IDENTITY_RENEW_S", SHORT_LIFE_S // 4)


def grown(
    early: Sequence[Counter[str]],
    late: Sequence[Counter[str]],
    spare: float,
    by_record: frozenset[str] = frozenset(),
) -> list[str]:
    """What is larger in the late measurements than it was in the early ones, by medians.

    Args:
        early: What `lengths_of` said at times when all had settled.
        late: And long after.
        spare: So many more of something small mean nothing.
        by_record: Names that may grow as the slots of the stores do.

    """
    more = _median(late, SLOTS) / max(_median(early, SLOTS), 1)
    found = []
    for name in sorted({name for sizes in late for name in sizes}):
        before, after = _median(early, name), _median(late, name)
        expected = before * max(more, 1) if name in by_record else before
        if after > GROWN_MAX * expected + spare:
            found.append(f"{name} grew from {before:.0f} to {after:.0f}")
    return found


def _median(measured: Sequence[Counter[str]], name: str) -> float:
    return median(sizes[name] for sizes in measured)


def left_of_slots(sizes: Counter[str], stores: int) -> list[str]:
    """Of what is kept for each slot: what there is more of than slots.

    Args:
        sizes: What `lengths_of` said.
        stores: Of so many stores, whose `_DUE_SLACK` is REMEMBERED.

    """
    return [
        f"{sizes[name]} in {name} for {sizes[SLOTS]} slots"
        for name, most in PER_SLOT.items()
        if sizes[name]
        > most * sizes[SLOTS] + REMEMBERED * stores * (name == "MemoryStore._due") + UNDER_WAY * stores
    ]


def lengths_of(*roots: object) -> Counter[str]:
    """Lengths and numbers of instances, by name; everything is counted once.

    Args:
        roots: Where to begin: objects of the package.

    """
    found: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: deque[tuple[Any, str]] = deque((root, "") for root in roots)
    while waiting:  # the shortest way names what several lead to
        item, name = waiting.popleft()
        if id(item) in seen:
            continue
        seen.add(id(item))
        assert len(seen) < OBJECTS_MAX, f"too much at {name}"
        if _is_ours(type(item)):
            found[type(item).__name__] += 1
        waiting.extend(_within(item, name, found))
    return found


def _within(item: Any, name: str, found: Counter[str]) -> Iterable[tuple[Any, str]]:
    """What an object leads to; its own length is added to what was found."""
    kind = type(item)
    inner: Iterable[tuple[Any, str]] = ()
    if isinstance(item, dict):
        found[name] += len(item)
        inner = ((one, f"{name}[]") for one in chain(item, item.values()) if _is_worth_it(one))
    elif isinstance(item, _CONTAINERS):
        found[name] += len(item)
        inner = ((one, f"{name}[]") for one in item if _is_worth_it(one))
    elif isinstance(item, tuple):
        inner = ((one, f"{name}()") for one in item if _is_worth_it(one))
    elif kind is MethodType:
        inner = ((item.__self__, name),)
    elif kind is partial:
        inner = ((one, name) for one in (item.func, *item.args, *item.keywords.values()))
    elif kind is FunctionType:
        inner = ((cell.cell_contents, f"{name}()") for cell in item.__closure__ or () if _is_full(cell))
    if _is_ours(kind):
        inner = chain(inner, ((one, f"{kind.__name__}.{at}") for at, one in _attributes(item)))
    return inner


def _is_full(cell: Any) -> bool:
    try:
        return _is_worth_it(cell.cell_contents)
    except ValueError:  # of a function that is being made
        return False


def _is_worth_it(item: object) -> bool:
    return not isinstance(item, bytes | str | int | float | Enum | type(None))


def _is_ours(kind: type) -> bool:
    """True for classes of the package and what tests derive from them."""
    return any(base.__module__.partition(".")[0] == _PACKAGE for base in kind.__mro__)


def _attributes(item: object) -> Iterator[tuple[str, Any]]:
    if isinstance(item, type):
        return
    for slot in {slot for base in type(item).__mro__ for slot in _slots(base)}:
        if (value := getattr(item, slot, None)) is not None and _is_worth_it(value):
            yield slot, value
    for name, value in getattr(item, "__dict__", {}).items():
        if _is_worth_it(value):
            yield name, value


def _slots(base: type) -> tuple[str, ...]:
    slots = base.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))
