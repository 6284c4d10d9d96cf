from __future__ import annotations

import gc
from types import ModuleType

import pytest
from hypothesis import given, settings, strategies as st

from tests.rpc.pair import (
    HANDSHAKE_STATES,
    Pair,
    Puppet,
    at,
    awaiting,
    credentials,
    ending,
    initiator,
    responder,
)
from tests.vectors.golden import KEY_A, KEY_B
from yzdht.crypto.handshake import Initiator, Responder
from yzdht.crypto.naming import node_id_of
from yzdht.errors import WrongNodeId
from yzdht.ids import NodeId
from yzdht.limits import (
    HANDSHAKE_TIMEOUT_S,
    KEY_UPDATE_S,
)
from yzdht.rpc.session import Ended, Opened, Requested, Session, State
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import (
    Empty,
    Method,
)


def test_both_ends_open_and_know_each_other() -> None:
    pair = Pair()
    pair.deliver()

    (one,), (other,) = pair.one.take_events(), pair.other.take_events()
    assert isinstance(one, Opened)
    assert isinstance(other, Opened)
    assert one.established.peer_id == node_id_of(KEY_B.public_key)
    assert other.established.peer_id == node_id_of(KEY_A.public_key)
    assert one.established.session_id == other.established.session_id
    assert pair.one.state is pair.other.state is State.OPEN
    assert pair.one.is_initiator
    assert not pair.other.is_initiator


def held_by(session: Session) -> set[bytes]:
    """Every byte string that a session leads to."""
    found: set[bytes] = set()
    seen: set[int] = set()
    todo: list[object] = [vars(session)]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType):
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes):
            found.add(thing)
        todo += gc.get_referents(thing)
    return found


def test_a_session_keeps_no_secret_from_which_what_it_said_before_could_be_read() -> None:
    pair = Pair()
    pair.deliver()
    (opened,) = pair.one.take_events()
    assert isinstance(opened, Opened)
    first = opened.established
    assert first.secret_out in held_by(pair.one)  # the next one is derived from it

    pair.pass_time(KEY_UPDATE_S + 120)

    held = held_by(pair.one)
    assert pair.one.state is State.OPEN
    assert held.isdisjoint({first.secret_out, first.secret_in, first.exporter})


def test_states_follow_the_handshake() -> None:
    pair = Pair()
    sender, receiver = pair.one, pair.other
    states, sizes = [(pair.one.state, pair.other.state)], []
    for _ in range(4):
        (message,) = sender.take_outgoing()
        receiver.receive(message, at(0))
        states.append((pair.one.state, pair.other.state))
        sizes.append(len(message))
        sender, receiver = receiver, sender

    assert sizes == [39, 157, 120, 17]
    assert states == [
        (State.AWAITING_WELCOME, State.AWAITING_HELLO),
        (State.AWAITING_WELCOME, State.AWAITING_PROOF),
        (State.AWAITING_READY, State.AWAITING_PROOF),
        (State.AWAITING_READY, State.OPEN),
        (State.OPEN, State.OPEN),
    ]


def test_the_initiator_may_call_before_ready() -> None:
    pair = Pair()
    pair.other.receive(pair.one.take_outgoing()[0], at(0))
    pair.one.receive(pair.other.take_outgoing()[0], at(0))
    pair.one.call(1, Method.PING, Empty(), 5.0, at(0))

    for message in pair.one.take_outgoing():
        pair.other.receive(message, at(0))

    assert [type(event) for event in pair.other.take_events()] == [Opened, Requested]


@pytest.mark.parametrize(
    "record_type", [RecordType.PING, RecordType.CLOSE, RecordType.REQUEST, RecordType.LINK]
)
def test_the_first_record_must_be_ready(record_type: RecordType) -> None:
    puppet = Puppet(is_initiator=True, is_ready=False)
    assert puppet.session.state is State.AWAITING_READY

    puppet.say(record_type)

    assert ending(puppet.session).is_fault


@pytest.mark.parametrize("is_initiator", [True, False])
def test_ready_comes_once_and_only_from_the_responder(*, is_initiator: bool) -> None:
    puppet = Puppet(is_initiator=is_initiator)

    puppet.say(RecordType.READY)

    assert ending(puppet.session).is_fault


def test_another_node_than_the_dialled_one_gets_no_proof() -> None:
    one = Session(Initiator(credentials(KEY_A), expected=NodeId(bytes(32))), at(0))
    other = Session(responder(), at(0))
    other.receive(one.take_outgoing()[0], at(0))

    one.receive(other.take_outgoing()[0], at(0))

    ended = ending(one)
    assert isinstance(ended.error, WrongNodeId)
    assert one.take_outgoing() == []


def test_two_networks_never_meet() -> None:
    one = Session(initiator(), at(0))
    other = Session(Responder(credentials(KEY_B, "other")), at(0))
    other.receive(one.take_outgoing()[0], at(0))

    one.receive(other.take_outgoing()[0], at(0))

    assert ending(one).is_fault


@pytest.mark.parametrize("state", HANDSHAKE_STATES)
def test_every_step_of_the_handshake_has_5_seconds(state: State) -> None:
    session = awaiting(state)
    assert session.state is state
    assert session.next_timer() == 1 + HANDSHAKE_TIMEOUT_S

    session.handle_timer(at(5.9))
    assert session.state is state
    session.handle_timer(at(6))

    assert list(session.take_events()) == [Ended("handshake timed out", is_fault=True)]
    assert session.next_timer() is None


def test_the_time_for_proof_begins_with_hello() -> None:
    one, other = Session(initiator(), at(0)), Session(responder(), at(0))

    other.receive(one.take_outgoing()[0], at(4))

    assert other.next_timer() == 4 + HANDSHAKE_TIMEOUT_S


@pytest.mark.parametrize("state", HANDSHAKE_STATES)
@given(message=st.binary(max_size=200))
def test_any_bytes_end_a_handshake(state: State, message: bytes) -> None:
    session = awaiting(state)

    session.receive(message, at(1))

    ended = ending(session)
    assert ended.is_fault
    assert ended.error is not None
    assert session.state is State.ENDED


@settings(max_examples=60)
@given(st.integers(0, 3), st.data())
def test_a_changed_handshake_opens_at_neither_end(step: int, data: st.DataObject) -> None:
    one, other = Session(initiator(), at(0)), Session(responder(), at(0))
    sender, receiver = one, other
    for number in range(4):
        (message,) = sender.take_outgoing() or [b""]
        if number == step:
            bit = data.draw(st.integers(0, 8 * len(message) - 1))
            changed = bytearray(message)
            changed[bit // 8] ^= 1 << bit % 8
            message = bytes(changed)
        receiver.receive(message, at(0))
        sender, receiver = receiver, sender

    assert one.state is State.ENDED
    assert other.state is (State.OPEN if step == 3 else State.ENDED)
