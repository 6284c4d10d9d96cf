"""Nodes that lie, nearest to the target they lie about, in a network with real signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.authors import WALL, Pen, forged
from tests.sim.world import World
from yzdht.ids import RecordHash
from yzdht.limits import CLOCK_SKEW_S, DAY_S
from yzdht.wire.rpc import FoundValue, Method, Row, Status


if TYPE_CHECKING:
    from tests.sim.node import SimNode
    from yzdht.wire.rpc import Body


PEN = Pen(100, is_signed=True)
OTHER = Pen(101, is_signed=True)
NAME = "name"
TRUE = PEN.mutable(NAME, 5, b"true", created=WALL - 60)
NEWER = PEN.mutable(NAME, 9, b"newer")
OLD = PEN.mutable(NAME, 3, b"old", created=WALL - 60)
EXPIRED = PEN.mutable(NAME, 9, b"expired", created=WALL - DAY_S, expires=WALL - CLOCK_SKEW_S - 1)
MADE_UP = Row(PEN.public_key, 2**63, RecordHash(bytes(32)))


def network(world: World, liars: int) -> tuple[list[SimNode], list[SimNode]]:
    """Twelve nodes, a true record among them, and the nearest of them as liars."""
    nodes = world.add_network(12)
    assert world.put(nodes[0], TRUE.draft()).accepted >= 5
    world.run_for(1)
    nearest = world.nearest(TRUE.target, 12)
    return nearest[:liars], nearest[liars:]


def lie(*shown: bytes | Row) -> FoundValue:
    return FoundValue(shown)


def turn(liars: list[SimNode], body: Body) -> None:
    for liar in liars:
        liar.responder = lambda _peer, method, _body: (
            (Status.OK, body) if method is Method.FIND_VALUE else None
        )


def rejected(nodes: list[SimNode]) -> int:
    return sum(node.counts.get(("rejected_records", ""), 0) for node in nodes)


@pytest.mark.parametrize(
    "body",
    [
        lie(forged(NEWER)),
        lie(PEN.mutable("another name", 9).raw),
        lie(OTHER.mutable(NAME, 9).raw),
        lie(Pen(100).mutable(NAME, 9).raw),
        lie(NEWER.raw[:-1]),
        lie(b"garbage"),
        lie(PEN.immutable(b"value").raw),
        lie(OTHER.multi(NAME, 9).raw),
    ],
    ids=["forged", "moved", "foreign", "not signed", "short", "garbage", "immutable", "shared"],
)
def test_a_lie_is_never_returned_and_counted(body: Body) -> None:
    with World(is_signed=True) as world:
        liars, honest = network(world, 3)
        turn(liars, body)
        for reader in honest:
            assert world.get(reader, TRUE.target).records == [TRUE.record]

        assert rejected(honest) == len(honest)


def test_an_expired_record_is_never_returned() -> None:
    with World(is_signed=True) as world:
        liars, honest = network(world, 3)
        turn(liars, lie(EXPIRED.raw))
        for reader in honest:
            assert world.get(reader, TRUE.target).records == [TRUE.record]

        assert rejected(honest) == 0


def test_a_claim_that_nobody_can_show_is_ignored() -> None:
    with World(is_signed=True) as world:
        liars, honest = network(world, 3)
        turn(liars, lie(MADE_UP))
        for reader in honest:
            assert world.get(reader, TRUE.target).records == [TRUE.record]


def test_a_liar_that_never_shows_what_it_claims_holds_nobody_up() -> None:
    with World(is_signed=True) as world:
        liars, honest = network(world, 3)
        for liar in liars:
            asked: set[bytes] = set()

            def claim_once(peer, method, _body, asked=asked, liar=liar):
                if method is not Method.FIND_VALUE:
                    return None
                if peer.node_id in asked:
                    world.silence(liar)
                asked.add(peer.node_id)
                return Status.OK, lie(MADE_UP)

            liar.responder = claim_once
        for reader in honest:
            began = world.now.mono
            assert world.get(reader, TRUE.target).records == [TRUE.record]
            assert world.now.mono - began < 2
            world.heal()


def test_a_liar_that_shows_the_past_rolls_nobody_back() -> None:
    with World(is_signed=True) as world:
        liars, honest = network(world, 3)
        turn(liars, lie(OLD.raw))
        for reader in honest:
            assert world.get(reader, TRUE.target).records == [TRUE.record]


def test_made_up_entries_crowd_no_record_out() -> None:
    with World(is_signed=True) as world:
        liars, honest = network(world, 4)
        for number, liar in enumerate(liars):
            rows = (
                Row(b"\x02" + bytes((number, row)) * 16, 2**62, RecordHash(bytes(32))) for row in range(32)
            )
            turn([liar], lie(*rows))
        for reader in honest:
            assert world.get(reader, TRUE.target).records == [TRUE.record]


def test_liars_that_deny_a_record_cannot_hide_it_from_a_quorum() -> None:
    with World(is_signed=True) as world:
        liars, honest = network(world, 3)
        turn(liars, lie())
        for reader in honest:
            assert world.get(reader, TRUE.target).records == [TRUE.record]


def test_a_newer_record_that_one_node_alone_holds_is_found_and_kept() -> None:
    with World(is_signed=True) as world:
        late, others = network(world, 1)
        late[0].hold(NEWER)
        reader = others[0]

        assert world.get(reader, TRUE.target).records == [NEWER.record]
        world.run_for(60)
        world.get(reader, TRUE.target)
        world.run_for(1)
        assert reader.held_seq(TRUE.target) == 9
