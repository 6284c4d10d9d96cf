"""Who has a place, and who makes place, without any network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from tests.sessions.proved import connection
from yzdht.ids import NodeId
from yzdht.limits import SESSION_SPARE_AFTER_S
from yzdht.sessions.admission import Refusal, SessionBounds
from yzdht.sessions.connection import Connection
from yzdht.sessions.places import Places
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    import pytest


# A full house


async def test_the_youngest_of_the_identity_that_holds_most_goes_first() -> None:
    places = Places(SessionBounds(sessions_max=8), lambda _: False)
    owners = [1, 2, 2, 3, 2, 3]
    crowd = [connection("8.8.8.8", number) for number in owners]
    for each in crowd:
        assert places.enter(each, is_client=True, mono=0.0) is None

    assert places.enter(connection("9.9.9.9", 9), is_client=True, mono=0.0) is crowd[4]


async def test_strangers_who_are_in_the_table_by_now_are_none() -> None:
    known: set[NodeId] = set()
    places = Places(SessionBounds(sessions_max=8), known.__contains__)
    for number in range(6):
        places.enter(connection("8.8.8.8", number), is_client=False, mono=0.0)
    assert isinstance(places.enter(connection("8.8.8.8", 7), is_client=False, mono=0.0), Refusal)

    known |= {NodeId(number.to_bytes(32)) for number in range(2)}

    assert places.enter(connection("8.8.8.8", 8), is_client=False, mono=1.0) is None
    assert places.enter(connection("8.8.8.8", 9), is_client=False, mono=1.0) is None
    assert len(places) == 8


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.booleans()), max_size=80))
async def test_whoever_comes_there_are_never_more_sessions_than_places(
    comers: list[tuple[int, int, bool]],
) -> None:
    known = {NodeId(number.to_bytes(32)) for number in range(3)}
    bounds = SessionBounds(sessions_max=7)
    places = Places(bounds, known.__contains__)
    inside: list[Connection] = []
    for at, (prefix, number, leaves) in enumerate(comers):
        comer = connection(f"8.{prefix}.8.8", number)
        verdict = places.enter(comer, is_client=False, mono=float(at))
        if not isinstance(verdict, Refusal):
            inside.append(comer)
        if isinstance(verdict, Connection):
            places.leave(verdict, is_client=False)
            inside.remove(verdict)
        if leaves and inside:
            places.leave(inside.pop(0), is_client=False)

        assert len(inside) == len(places) <= bounds.sessions_max
        strangers = [c for c in inside if c.node_id not in known]
        assert len(strangers) <= bounds.strangers_max


# Spare sessions

FULL = SessionBounds(sessions_max=8)  # six of them for strangers


def places_with(*inside: Connection, known: set[NodeId] | None = None) -> Places:
    places = Places(FULL, (known or set()).__contains__)
    for each in inside:
        assert places.enter(each, is_client=False, mono=0.0) is None
    return places


async def test_a_stranger_takes_the_place_of_the_one_that_nobody_used_for_longest() -> None:
    inside = [connection(f"8.8.{number}.8", number, used_at=20.0 - number) for number in range(6)]
    places = places_with(*inside)
    comer = connection("9.9.9.9", 9)

    assert isinstance(places.enter(comer, is_client=False, mono=15.0 + SESSION_SPARE_AFTER_S - 1), Refusal)
    assert places.enter(comer, is_client=False, mono=15.0 + SESSION_SPARE_AFTER_S + 1) is inside[5]


async def test_a_crowd_that_finds_nobody_spare_has_not_everybody_looked_at_for_each_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = connection("8.8.0.8", 0, used_at=20.0)
    places = places_with(busy, *(connection(f"8.8.{number}.8", number) for number in range(1, 6)))
    looked_at: list[Connection] = []
    group_of = places._group_of

    def look(at: Connection) -> str:
        looked_at.append(at)
        return group_of(at)

    assert isinstance(places.enter(connection("8.8.0.9", 9), is_client=False, mono=20.0), Refusal)
    monkeypatch.setattr(places, "_group_of", look)
    crowd = [connection("8.8.0.9", number) for number in range(10, 20)]  # its prefix has one, as all others
    for each in crowd:
        assert isinstance(places.enter(each, is_client=False, mono=20.0), Refusal)
    assert looked_at == crowd

    places.leave(busy, is_client=False)
    assert places.enter(connection("8.8.0.9", 20), is_client=False, mono=20.0) is None
    assert places.enter(connection("9.9.9.9", 21), is_client=False, mono=20.0) is not None


async def test_what_was_used_since_is_not_spare_any_more() -> None:
    inside = [connection(f"8.8.{number}.8", number) for number in range(6)]
    places = places_with(*inside)
    assert places.enter(connection("9.9.9.9", 9), is_client=False, mono=50.0) is inside[0]
    places.leave(inside[0], is_client=False)
    inside[1].used_at = 50.0

    assert places.enter(connection("9.9.8.9", 10), is_client=False, mono=50.5) is inside[2]


async def test_clients_do_not_make_place_for_a_stranger() -> None:
    client = Caps.ALWAYS | Caps.CLIENT
    inside = [connection(f"8.8.{number}.8", number, caps=client) for number in range(6)]

    assert isinstance(
        places_with(*inside).enter(connection("9.9.9.9", 9), is_client=False, mono=99.0), Refusal
    )


async def test_newcomers_of_a_crowd_take_places_of_their_own_only() -> None:
    crowd = [connection("8.8.8.8", number, used_at=90.0) for number in range(2)]
    quiet = [connection(f"8.9.{number}.8", 10 + number) for number in range(4)]
    places = places_with(*crowd, *quiet)
    comer = connection("8.8.8.7", 9)

    assert isinstance(places.enter(comer, is_client=False, mono=92.0), Refusal)
    assert places.enter(comer, is_client=False, mono=94.0) is crowd[0]


async def test_while_strangers_have_less_than_they_may_a_node_of_the_table_makes_place() -> None:
    known = {NodeId(number.to_bytes(32)) for number in range(8)}
    inside = [connection(f"8.8.{number}.8", number, used_at=float(number)) for number in range(8)]
    places = places_with(*inside, known=known)

    assert places.enter(connection("9.9.9.9", 9), is_client=False, mono=60.0) is inside[0]


async def test_for_a_node_of_the_table_a_spare_stranger_goes_first_and_then_whoever_was_idle_for_longest() -> (
    None
):
    known = {NodeId(number.to_bytes(32)) for number in range(20)}
    inside = [connection(f"8.8.{number}.8", number) for number in range(7)]
    stranger = connection("9.9.9.9", 99, used_at=30.0)
    places = places_with(*inside, stranger, known=known)

    comer = connection("8.8.8.8", 8, used_at=60.0)
    assert places.enter(comer, is_client=False, mono=60.0) is stranger
    places.leave(stranger, is_client=False)
    for number, each in enumerate(inside):
        each.used_at = 60.0 - number / 4
    assert places.enter(connection("8.8.9.8", 9), is_client=False, mono=60.0) is inside[6]


async def test_a_client_that_comes_back_as_a_node_is_counted_as_a_client_no_more() -> None:
    places = Places(SessionBounds(), lambda _: False)
    as_client = connection("8.8.8.8", 1, caps=Caps.ALWAYS | Caps.CLIENT)
    places.enter(as_client, is_client=True, mono=0.0)
    assert places.clients == 1

    places.replace(as_client, connection("8.8.8.8", 1))

    assert (places.clients, len(places)) == (0, 1)
