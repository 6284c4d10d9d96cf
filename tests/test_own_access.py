"""What a node's own user reads and writes goes through the node's engine; tests/test_node.py shows the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from tests.test_background import Owner
from yzdht.access import Reading, Writing
from yzdht.ids import Target
from yzdht.own_access import OwnAccess
from yzdht.ports import Now
from yzdht.store.keyfile import Identity
from yzdht.telemetry import Counters
from yzdht.wire.rpc import Status


if TYPE_CHECKING:
    from yzdht.pump import Pump


@dataclass
class Refused:
    number: int = 7


@dataclass
class Result:
    """What the engine would say of any read and of any write."""

    records: tuple[bytes, ...] = ()
    answered: int = 4
    accepted: int = 3
    asked: int = 8
    needed: int = 5
    refusal: Status = Status.BUSY
    detail: Refused = field(default_factory=Refused)


class Engine:
    """In place of a pump: remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def get(self, target: Target, paths: int) -> Result:
        self.asked.append((target, paths))
        return Result()

    async def put(self, draft: object) -> Result:
        self.asked.append(draft)
        return Result()


class Stopped:
    def now(self) -> Now:
        return Now(1.0, 2.0)


async def test_it_reads_writes_and_counts_for_the_person() -> None:
    engine, owner, counters = Engine(), Owner(), Counters()
    access = OwnAccess(cast("Pump", engine), owner.background, Stopped(), counters)
    targets = [Target(bytes(32)), Target(b"\1" * 32)]

    assert await access.read(targets, 2) == [[Reading((), 4, 5)]] * 2
    assert await access.write(targets[0], b"record", 1, 9) == Writing(3, 8, 5, Status.BUSY, 7)

    assert engine.asked[:2] == [(targets[0], 2), (targets[1], 2)]
    assert access.now() == Now(1.0, 2.0)
    access.count("lies")
    assert counters.as_dict() == {"lies": 1}


async def test_what_nobody_waits_for_goes_on_beside() -> None:
    owner, done = Owner(), []
    access = OwnAccess(cast("Pump", Engine()), owner.background, Stopped(), Counters())

    async def work() -> None:
        done.append("it")

    access.start(work())
    await owner.background.finish(60)

    assert done == ["it"]


async def test_its_own_user_redeems_by_record() -> None:
    engine = Engine()
    access = OwnAccess(cast("Pump", engine), Owner().background, Stopped(), Counters())

    assert await access.redeem(Identity.generate().public_key, bytes(225), []) is None
    assert engine.asked == []
