"""The calls that nodes and clients offer alike, over any records."""

from __future__ import annotations

import pytest

from tests.test_records import Person, Replicas
from tests.vectors.golden import OFF_CURVE
from yzdht.access import Reading
from yzdht.api import DhtCalls
from yzdht.crypto.sealing import Public
from yzdht.errors import CasMismatch, NotFound, StaleRecord, UsageError
from yzdht.limits import DAY_S
from yzdht.records import Origin, Records


class Calls(DhtCalls):
    """As a node or a client is."""

    def __init__(self, person: Person) -> None:
        self.person = person

    def _records(self) -> Records:
        return self.person.records


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


@pytest.fixture
def dht(replicas: Replicas) -> Calls:
    return Calls(Person(replicas))


async def test_a_value_is_sealed_for_oneself_unless_said_otherwise(dht: Calls) -> None:
    await dht.store("note", b"private")
    await dht.store("board", b"public", readers=Public())

    assert (await dht.get("note")).origin is Origin.SEALED
    assert (await dht.get("board")).origin is Origin.SIGNED


async def test_a_default_takes_the_place_of_what_is_not_there_and_of_nothing_else(
    dht: Calls, replicas: Replicas
) -> None:
    assert await dht.get("note", default=None) is None
    assert await dht.get("note", default=b"") == b""
    with pytest.raises(NotFound):
        await dht.get("note")
    old = dht.person.sealed("note", b"old", 5)
    await dht.store("note", b"new")
    replicas.shown[dht.person.target("note")] = [Reading((old,), 4, 4)]
    with pytest.raises(StaleRecord):
        await dht.get("note", default=None)


async def test_what_is_asked_for_is_handed_on(dht: Calls, replicas: Replicas) -> None:
    receipt = await dht.store("note", b"1", ttl=DAY_S, if_seq=0)
    assert receipt.expires == int(replicas.wall) + DAY_S
    with pytest.raises(CasMismatch):
        await dht.store("note", b"2", if_seq=0)
    await dht.store("board", b"public", readers=Public())

    reader = Calls(Person(replicas))
    publisher = dht.person.identity.public_key
    assert (await reader.get("board", publisher=publisher)).data == b"public"
    assert await reader.get("note", publisher=publisher, default=None) is None

    assert len(await dht.delete("note")) == 1


async def test_a_read_takes_as_many_disjoint_paths_as_it_is_told(dht: Calls, replicas: Replicas) -> None:
    await dht.store("note", b"1")
    replicas.paths.clear()

    await dht.get("note")
    await dht.get("note", disjoint=3)

    assert replicas.paths == [1, 3]


@pytest.mark.parametrize("disjoint", [0, 4, -1, True, "3", 2.0, None])
async def test_a_number_of_paths_out_of_range_is_refused(dht: Calls, disjoint: object) -> None:
    with pytest.raises(UsageError, match="1 to 3") as caught:
        await dht.get("note", disjoint=disjoint)  # type: ignore[call-overload] # that is what is tested

    assert caught.value.hint


def test_records_belong_to_somebody() -> None:
    with pytest.raises(AssertionError):
        DhtCalls()._records()


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": None},
        {"value": "text"},
        {"readers": "x"},
        {"ttl": "1d"},
        {"ttl": True},
        {"if_seq": True},
        {"if_seq": "1"},
    ],
)
async def test_an_argument_of_another_type_is_refused_before_it_can_do_harm(
    dht: Calls, wrong: dict[str, object]
) -> None:
    await dht.store("note", b"1")
    arguments: dict[str, object] = {"value": b"2", **wrong}
    value = arguments.pop("value")
    with pytest.raises(UsageError) as caught:
        await dht.store("note", value, **arguments)  # type: ignore[arg-type] # that is what is tested

    assert caught.value.hint
    assert (await dht.get("note")).data == b"1"


@pytest.mark.parametrize("publisher", [b"", bytes(32), OFF_CURVE, "AvLm"])
async def test_a_publisher_that_is_no_key_is_not_just_not_found(dht: Calls, publisher: bytes) -> None:
    with pytest.raises(UsageError):
        await dht.get("note", publisher=publisher)  # type: ignore[call-overload] # that is what is tested
