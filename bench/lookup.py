"""Lookups at 10,000 nodes of which 20 % are dead, in median round trips, beside a plain window and classic rounds.

One static world serves all: every table holds up to 20 random nodes of each bucket, as they were before the deaths, and
an answer names the 20 nearest. Round trips are lognormal around 60 ms; dead nodes never answer. Three algorithms walk
the same tables from the same nodes to the same targets:

  ours     yzdht.kad.lookup as reads and writes use it: ends once the 8 nearest are asked and 4 of them have answered
  window   alpha 8, a peer is passed over after 150 ms; ends when the 4 nearest have answered
  rounds   alpha 3, a round waits for all it asked, 1 s for the dead; ends when the 4 nearest have answered

"end" is when the algorithm stops, "closest" when the 4 closest live nodes have answered, known only to the observer.
The second world adds distance (nodes on a torus), the third two more round trips for a node that is not linked, as
dialling takes. Virtual time: the figures are the same on every machine. Run: make bench, or python bench/lookup.py.
"""

from __future__ import annotations

import argparse
import random  # noqa: TID251 - a simulation is a shell
import statistics
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush, nsmallest
from typing import TYPE_CHECKING, NamedTuple, Protocol

from yzdht.ids import NodeId, PublicKey, Target
from yzdht.kad.candidates import Candidates
from yzdht.kad.lookup import Aim, Lookup
from yzdht.kad.strangers import Strangers
from yzdht.kad.table import Entry
from yzdht.limits import BUCKET_SIZE, CONTACTS_PER_ANSWER_MAX, REPLICAS
from yzdht.ports import Now
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.rpc.rtt import RoundTrip
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import FoundNodes, Status


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.wire.rpc import WireContact


CAPS = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
MEDIAN_S = 0.06
SIGMA = 0.5
NEED = 4
FAILS_AFTER_S = 3.0
WINDOW_LATE_S = 0.15
ROUND_LATE_S = 1.0
SAMPLES = 5
MEAN_DISTANCE = 0.383
BITS = 256


@dataclass
class World:
    """Nodes, their tables, and how long messages take between them."""

    size: int
    dead_share: float
    distance_share: float = 0.0
    dial_rtts: float = 0.0
    seed: int = 1
    tables: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.points = sorted(self.random.getrandbits(BITS) for _ in range(self.size))
        ids = [point.to_bytes(32) for point in self.points]
        self.contacts = [Contact(NodeId(i), PublicKey(b"\x02" + i), ("ws://node",), CAPS) for i in ids]
        self.number_of = {contact.node_id: n for n, contact in enumerate(self.contacts)}
        self.dead = set(self.random.sample(range(self.size), int(self.size * self.dead_share)))
        self.live = [n for n in range(self.size) if n not in self.dead]
        self.places = [(self.random.random(), self.random.random()) for _ in range(self.size)]

    def table(self, node: int) -> list[int]:
        if node not in self.tables:
            self.tables[node] = self._make_table(node)
        return self.tables[node]

    def _make_table(self, node: int) -> list[int]:
        """Up to 20 of each bucket; a bucket is a range of the sorted ids."""
        chosen = random.Random(node)
        table: list[int] = []
        low, high = 0, self.size
        for bit in range(BITS - 1, -1, -1):
            if high - low <= 1:
                break
            middle = bisect_left(self.points, (self.points[node] >> bit | 1) << bit, low, high)
            if self.points[node] >> bit & 1:
                bucket, low = range(low, middle), middle
            else:
                bucket, high = range(middle, high), middle
            table += bucket if len(bucket) <= BUCKET_SIZE else chosen.sample(bucket, BUCKET_SIZE)
        return table

    def nearest(self, node: int, target: int, wanted: int = CONTACTS_PER_ANSWER_MAX) -> list[int]:
        return nsmallest(wanted, self.table(node), key=lambda other: self.points[other] ^ target)

    def rtt_s(self, one: int, other: int) -> float:
        base = MEDIAN_S
        if self.distance_share:
            gaps = [abs(a - b) for a, b in zip(self.places[one], self.places[other], strict=True)]
            distance = sum(min(g, 1 - g) ** 2 for g in gaps) ** 0.5 / MEAN_DISTANCE
            base *= 1 - self.distance_share + self.distance_share * distance
        return base * self.random.lognormvariate(0, SIGMA if not self.distance_share else SIGMA / 2)


class Machine(Protocol):
    """What `walk` drives: the interface of a lookup."""

    @property
    def is_finished(self) -> bool: ...

    def start(self, mono: float) -> None: ...
    def take_asked(self) -> list[int]: ...
    def on_answer(self, node: int, mono: float, *, is_answer: bool) -> None: ...
    def next_timer(self) -> float | None: ...
    def handle_timer(self, mono: float) -> None: ...


class Walk(NamedTuple):
    """One lookup: seconds until it ended and until the closest had answered, and requests sent until it ended."""

    end_s: float
    closest_s: float | None
    messages: int


def walk(world: World, node: int, target: int, machine: Machine) -> Walk:
    closest = set(nsmallest(NEED, world.live, key=lambda n: world.points[n] ^ target))
    linked = set(world.table(node))
    arrivals: list[tuple[float, int, bool]] = []
    now, messages = 0.0, 0
    end_s: float | None = None
    closest_s: float | None = None

    def send() -> None:
        nonlocal messages
        for other in machine.take_asked():
            messages += 1
            trips = 1.0 if other in linked else 1 + world.dial_rtts
            after = FAILS_AFTER_S if other in world.dead else world.rtt_s(node, other) * trips
            heappush(arrivals, (now + after, other, other not in world.dead))

    machine.start(now)
    send()
    while arrivals and (end_s is None or closest_s is None):
        timer = None if machine.is_finished else machine.next_timer()
        if timer is not None and timer < arrivals[0][0]:
            now = timer
            machine.handle_timer(now)
        else:
            now, other, is_answer = heappop(arrivals)
            if is_answer:
                closest.discard(other)
            if not closest and closest_s is None:
                closest_s = now
            if end_s is None:
                machine.on_answer(other, now, is_answer=is_answer)
        if machine.is_finished and end_s is None:
            end_s = now
        if end_s is None:
            send()
    return Walk(now if end_s is None else end_s, closest_s, messages)


class Ours:
    """yzdht.kad.lookup, driven directly."""

    def __init__(self, world: World, strangers: Strangers, node: int, target: int) -> None:
        self.world = world
        self.target = target
        entries = [self._entry(node, other) for other in world.nearest(node, target, 3 * REPLICAS)]
        self.candidates = Candidates(_point(target), entries, None, strangers)
        aim = Aim(_point(target), REPLICAS, NEED, is_far=True)
        self.lookup = Lookup(aim, self.candidates, world.contacts[node].node_id, self._usable)

    def _entry(self, node: int, other: int) -> Entry:
        """As the table has it after some answers; a dead one answered before it died."""
        contact, rtt = self.world.contacts[other], RoundTrip()
        for _ in range(SAMPLES):
            rtt.add(self.world.rtt_s(node, other))
        point = self.world.points[other]
        entry = Entry(contact.node_id, contact.public_key, point, CAPS, worked_url=contact.urls[0])
        entry.has_session, entry.expected_s = True, rtt.expected_s()
        return entry

    def _usable(self, _contacts: tuple[WireContact, ...], namer: NodeId) -> list[Contact]:
        named = self.world.nearest(self.world.number_of[namer], self.target)
        return [self.world.contacts[n] for n in named]

    @property
    def is_finished(self) -> bool:
        return self.lookup.is_finished

    def start(self, mono: float) -> None:
        self.lookup.start(Now(mono, mono))

    def take_asked(self) -> list[int]:
        return [self.world.number_of[ask.contact.node_id] for ask in self.lookup.take_asks()]

    def on_answer(self, node: int, mono: float, *, is_answer: bool) -> None:
        outcome = Answer(Status.OK, FoundNodes()) if is_answer else Failed(FailReason.TIMEOUT)
        self.lookup.on_answer(self.world.contacts[node].node_id, 0, outcome, Now(mono, mono))

    def next_timer(self) -> float | None:
        return self.lookup.next_timer()

    def handle_timer(self, mono: float) -> None:
        self.lookup.handle_timer(Now(mono, mono))


class Plain:
    """A window without ours' refinements; with `is_rounds` a round ends before the next begins."""

    def __init__(self, world: World, node: int, target: int, *, is_rounds: bool) -> None:
        self.world, self.node, self.target = world, node, target
        self.is_rounds = is_rounds
        self.alpha, self.late_s = (3, ROUND_LATE_S) if is_rounds else (8, WINDOW_LATE_S)
        self.standing = dict.fromkeys(world.nearest(node, target), "fresh")
        self.late_at: dict[int, float] = {}
        self.asked: list[int] = []
        self.is_finished = False

    def start(self, mono: float) -> None:
        self._advance(mono)

    def take_asked(self) -> list[int]:
        asked, self.asked = self.asked, []
        return asked

    def on_answer(self, node: int, mono: float, *, is_answer: bool) -> None:
        self.late_at.pop(node, None)
        self.standing[node] = "answered" if is_answer else "failed"
        if is_answer:
            for other in self.world.nearest(node, self.target):
                if other != self.node:
                    self.standing.setdefault(other, "fresh")
        self._advance(mono)

    def next_timer(self) -> float | None:
        return min(self.late_at.values(), default=None)

    def handle_timer(self, mono: float) -> None:
        for node in [n for n, at in self.late_at.items() if at <= mono]:
            del self.late_at[node]
            self.standing[node] = "late"
        self._advance(mono)

    def _advance(self, mono: float) -> None:
        if self.is_rounds and self.late_at:
            return
        able = [n for n, what in self.standing.items() if what not in {"late", "failed"}]
        front = nsmallest(BUCKET_SIZE, able, key=lambda n: self.world.points[n] ^ self.target)
        if all(self.standing[n] == "answered" for n in front[:NEED]):
            self.is_finished = True
            return
        for node in [n for n in front if self.standing[n] == "fresh"][: self.alpha - len(self.late_at)]:
            self.standing[node] = "asked"
            self.late_at[node] = mono + self.late_s
            self.asked.append(node)


def _point(target: int) -> Target:
    return Target(target.to_bytes(32))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] / MEDIAN_S


def measure(name: str, world: World, lookups: int, make: Callable[[int, int], Machine]) -> None:
    chosen = random.Random(2)
    walks = []
    for _ in range(lookups):
        node, target = chosen.choice(world.live), chosen.getrandbits(BITS)
        walks.append(walk(world, node, target, make(node, target)))
    end = [w.end_s for w in walks]
    closest = [w.closest_s for w in walks if w.closest_s is not None]
    messages = statistics.mean(w.messages for w in walks)
    print(
        f"  {name:8}{percentile(end, 0.5):10.1f}{percentile(end, 0.99):8.1f}"
        f"{percentile(closest, 0.5):12.1f}{percentile(closest, 0.99):8.1f}{messages:12.1f}"
        f"{100 * (1 - len(closest) / lookups):12.1f} %"
    )


def compare(title: str, world: World, lookups: int) -> None:
    print(f"\n{title}")
    print("            end p50     p99 closest p50     p99    messages  not reached")
    measure("ours", world, lookups, partial(Ours, world, Strangers()))
    measure("window", world, lookups, partial(Plain, world, is_rounds=False))
    measure("rounds", world, lookups, partial(Plain, world, is_rounds=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--lookups", type=int, default=1_000)
    options = parser.parse_args()
    size, lookups = options.nodes, options.lookups
    print(f"{size} nodes, {lookups} lookups, times in median round trips of {MEDIAN_S * 1000:.0f} ms")
    compare("20 % dead", World(size, 0.2), lookups)
    compare("none dead", World(size, 0.0), lookups)
    compare("20 % dead, round trips by distance", World(size, 0.2, distance_share=0.7), lookups)
    compare("20 % dead, strangers have to be dialled", World(size, 0.2, dial_rtts=2), lookups)


if __name__ == "__main__":
    main()
