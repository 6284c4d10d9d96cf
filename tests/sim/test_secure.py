"""The engines above the real handshake and record layer: what a network does, and what ends a session."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.sim.authors import Pen, key
from tests.sim.secure import SecureNode, SecureWorld
from yzdht.crypto.signing import KeySigner
from yzdht.rpc.engine import Call, Failed, FailReason
from yzdht.wire.rpc import Empty, Method


if TYPE_CHECKING:
    from tests.sim.secure import End
    from yzdht.ids import PublicKey
    from yzdht.rpc.engine import Answer


PEN = Pen(100, is_signed=True)
NOTE = PEN.mutable("name", 1, b"a value in the clear")


class Impostor:
    """Shows one key and signs with another."""

    def __init__(self, public_key: PublicKey) -> None:
        self.public_key = public_key
        self.sign = KeySigner(key(99)).sign


def pair(world: SecureWorld) -> tuple[SecureNode, SecureNode]:
    return world.add_node(), world.add_node()


def ping(world: SecureWorld, node: SecureNode, other: SecureNode) -> Answer | Failed:
    """What a ping to a contact comes to."""
    outcomes: list[Answer | Failed] = []
    number = 1_000_000 + next(world.numbers)
    told = node._tell

    def witness(call: int, outcome: Answer | Failed) -> None:
        if call == number:
            outcomes.append(outcome)
        else:
            told(call, outcome)

    node._tell = witness  # type: ignore[method-assign,assignment] # a witness
    world.call(node, Call(number, other.contact, Method.PING, Empty(), 5.0))
    world.run_until(lambda: bool(outcomes))
    node._tell = told  # type: ignore[method-assign] # as it was
    return outcomes[0]


def test_fifty_nodes_join_keep_a_record_and_find_it_when_a_third_is_killed() -> None:
    with SecureWorld() as world:
        nodes = world.add_network(50)
        result = world.put(nodes[7], NOTE.draft())
        assert result.accepted >= result.needed
        world.run_for(1)
        assert [n.held_seq(NOTE.target) for n in world.nearest(NOTE.target, 8)] == [1] * 8
        for reader in nodes[::10]:
            assert world.get(reader, NOTE.target).records == [NOTE.record]

        world.kill(*world.nearest(NOTE.target, 4), *nodes[:13])
        survivors = [node for node in nodes if node.is_up]
        for reader in survivors[::6]:
            assert world.get(reader, NOTE.target).records == [NOTE.record]
        newer = PEN.mutable("name", 2, b"newer")
        assert world.put(survivors[0], newer.draft()).accepted >= result.needed
        assert world.get(survivors[-1], NOTE.target).records == [newer.record]
        assert not any(node.faults for node in world.nodes if isinstance(node, SecureNode))


def test_every_table_holds_whom_a_handshake_proved() -> None:
    with SecureWorld() as world:
        world.add_network(6)
        for node in world.nodes:
            assert isinstance(node, SecureNode)
            for entry in node.engine.table:
                proved = node.ends[entry.node_id][0].peer
                assert proved is not None
                assert proved.public_key == entry.public_key


def test_a_seed_replays_to_the_byte() -> None:
    def story(seed: int) -> int:
        with SecureWorld(seed) as world:
            nodes = world.add_network(4)
            world.put(nodes[0], NOTE.draft())
            world.run_for(30)
            return world.trace

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_nothing_of_a_record_is_in_the_clear() -> None:
    with SecureWorld() as world:
        messages: list[bytes] = []

        def watch(_end: End, message: bytes) -> bytes:
            messages.append(message)
            return message

        world.on_wire = watch
        nodes = world.add_network(3)
        world.put(nodes[0], NOTE.draft())
        world.run_for(1)

        everything = b"".join(messages)
        for secret in (b"a value in the clear", NOTE.target, PEN.public_key, nodes[1].url.encode()):
            assert secret not in everything


def test_another_node_than_the_dialled_one_gets_no_proof() -> None:
    with SecureWorld() as world:
        one, two = pair(world)
        three = world.add_node()
        two.contact = replace(two.contact, urls=(three.url,))

        assert ping(world, one, two) == Failed(FailReason.WRONG_ID)
        world.run_for(10)
        assert not one.ends
        assert not three.ends
        assert not three.unproved


def test_the_key_of_another_is_no_proof() -> None:
    with SecureWorld() as world:
        one, two = pair(world)
        two.signer = Impostor(two.pen.public_key)

        assert ping(world, one, two) == Failed(FailReason.UNREACHABLE)
        world.run_for(10)
        assert not one.ends
        assert not two.ends
        assert len(one.faults) == 1


def test_an_impostor_that_dials_is_not_believed() -> None:
    with SecureWorld() as world:
        one, two = pair(world)
        one.signer = Impostor(one.pen.public_key)
        ping(world, one, two)
        world.run_for(10)

        assert not two.ends
        assert len(two.engine.table) == 0
        assert {fault.reason for fault in two.faults} == {"the other end did not prove who it is"}


@pytest.mark.parametrize("is_dialler", [True, False])
@pytest.mark.parametrize("which", [1, 2, 3, 4])
def test_one_changed_bit_ends_the_session_and_the_next_one_works(which: int, *, is_dialler: bool) -> None:
    """Messages of the dialler: Hello, Proof, requests; of the other end: Welcome, Ready, requests."""
    with SecureWorld(which) as world:
        one, two = pair(world)
        changed: list[End] = []

        def change(end: End, message: bytes) -> bytes:
            if end.sent != which or (end.dialled is not None) != is_dialler or changed:
                return message
            changed.append(end)
            return message[:-1] + bytes((message[-1] ^ 1,))

        world.on_wire = change
        ping(world, one, two)
        world.run_for(5)

        assert len(changed) == 1
        assert changed[0].ended is not None
        assert changed[0].other.ended is not None
        assert len(one.faults + two.faults) >= 1
        assert not isinstance(ping(world, one, two), Failed)


def test_a_message_that_comes_twice_ends_the_session() -> None:
    with SecureWorld() as world:
        one, two = pair(world)
        ping(world, one, two)
        messages: list[bytes] = []

        def watch(_end: End, message: bytes) -> bytes:
            messages.append(message)
            return message

        world.on_wire = watch
        (end,) = one.ends[two.node_id]
        ping(world, one, two)
        end.other.receive(messages[0])
        world.run_for(1)

        assert end.ended is not None
        assert len(two.faults) == 1
