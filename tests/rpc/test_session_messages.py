from __future__ import annotations

import pytest

from tests.rpc.pair import (
    TARGET,
    Puppet,
    at,
    awaiting,
    ending,
    open_pair,
    put_of,
    request_of,
)
from yzdht.errors import FrameTooLarge, UsageError
from yzdht.limits import (
    KEY_UPDATE_S,
    MESSAGE_BYTES_MAX,
    RECORD_DATA_BYTES_MAX,
    RELAY_DATA_BYTES_MAX,
)
from yzdht.rpc.engine import GOODBYE, NO_MEMBER, NOT_INVITED, PARTED, Answer, Down, Failed, FailReason
from yzdht.rpc.session import Answered, Ended, Pushed, Requested, State
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import (
    REQUESTS,
    Empty,
    Got,
    Method,
    Refusal,
    Status,
    encode_response,
)


@pytest.mark.parametrize("size", [RECORD_DATA_BYTES_MAX * 5, MESSAGE_BYTES_MAX])
def test_long_messages_arrive_whole_both_ways(size: int) -> None:
    pair = open_pair()
    pair.one.call(1, Method.PUT, put_of(size), 5.0, at(0))
    pair.one.call(2, Method.GET, REQUESTS[Method.GET](TARGET), 5.0, at(0))
    pair.deliver()

    put, get = pair.other.take_events()
    assert isinstance(put, Requested)
    assert isinstance(get, Requested)
    assert put.body == put_of(size)
    got = Got((bytes(60_000),) * 8, 4, 4)
    pair.other.reply(get.number, Status.OK, got, at(0))
    pair.deliver()
    (answered,) = pair.one.take_events()
    assert answered == Answered(2, Answer(Status.OK, got, 0.25))


def test_a_request_over_1_mib_is_not_sent_and_not_in_flight() -> None:
    puppet = Puppet()

    with pytest.raises(FrameTooLarge):
        puppet.session.call(1, Method.PUT, put_of(MESSAGE_BYTES_MAX + 1), 5.0, at(0))

    assert puppet.hears() == []
    assert puppet.session.calls_in_flight == 0
    puppet.session.handle_timer(at(6))
    assert not puppet.events()


def test_an_answer_over_1_mib_leaves_its_request_open() -> None:
    puppet = Puppet()
    puppet.say(RecordType.REQUEST, request_of(1))

    with pytest.raises(FrameTooLarge):
        puppet.session.reply(1, Status.OK, Got((bytes(60_000),) * 20), at(0))

    assert puppet.hears() == []
    puppet.session.reply(1, Status.TOO_LARGE, Refusal(), at(0))
    assert puppet.hears() == [(RecordType.RESPONSE, encode_response(1, 102, b"\x90"), False)]


def test_pieces_over_1_mib_end_the_session() -> None:
    puppet = Puppet()
    for _ in range(MESSAGE_BYTES_MAX // RECORD_DATA_BYTES_MAX):
        puppet.say(RecordType.REQUEST, bytes(RECORD_DATA_BYTES_MAX), more=True)
    assert puppet.session.state is State.OPEN

    puppet.say(RecordType.REQUEST, bytes(RECORD_DATA_BYTES_MAX), more=True)

    assert isinstance(ending(puppet.session).error, FrameTooLarge)


@pytest.mark.parametrize(
    "between",
    [RecordType.RESPONSE, RecordType.PUBSUB, RecordType.RELAY_DATA, RecordType.STREAM, RecordType.CREDIT],
)
def test_interleaved_messages_end_the_session(between: RecordType) -> None:
    puppet = Puppet()
    puppet.say(RecordType.REQUEST, request_of(1), more=True)

    puppet.say(between, encode_response(1, 0, b"\x90"))

    assert ending(puppet.session).is_fault


def test_control_records_may_come_between_pieces() -> None:
    puppet = Puppet()
    message = request_of(1)
    puppet.say(RecordType.REQUEST, message[:3], more=True)
    puppet.say(RecordType.PING, b"p")
    puppet.say(RecordType.PONG, b"")
    puppet.say(RecordType.LINK, bytes(24))
    update = puppet.layer.due_key_update(KEY_UPDATE_S)
    assert update is not None
    puppet.session.receive(update, at(0))
    puppet.say(RecordType.REQUEST, message[3:])

    assert list(puppet.events()) == [Requested(1, Method.PING, Empty())]


def test_one_direction_may_be_cut_while_the_other_is_too() -> None:
    puppet = Puppet()
    puppet.say(RecordType.REQUEST, request_of(1)[:2], more=True)
    puppet.session.call(1, Method.PUT, put_of(50_000), 5.0, at(0))
    puppet.say(RecordType.REQUEST, request_of(1)[2:])

    assert [more for _, _, more in puppet.hears()] == [True, True, True, False]
    assert len(puppet.events()) == 1


# Other records


@pytest.mark.parametrize(
    "record_type", [RecordType.PUBSUB, RecordType.RELAY_DATA, RecordType.STREAM, RecordType.SIGNAL]
)
@pytest.mark.parametrize("size", [0, 1, RECORD_DATA_BYTES_MAX])
def test_pushes_arrive_as_they_were_said(record_type: RecordType, size: int) -> None:
    pair = open_pair()

    pair.one.push(record_type, bytes(size), at(0))
    pair.deliver()

    assert list(pair.other.take_events()) == [Pushed(record_type, bytes(size))]


def test_a_long_push_is_cut() -> None:
    pair = open_pair()

    pair.other.push(RecordType.PUBSUB, bytes(100_000), at(0))
    pair.deliver()

    assert list(pair.one.take_events()) == [Pushed(RecordType.PUBSUB, bytes(100_000))]


def test_relay_data_is_never_cut() -> None:
    """One 0x13 is one inner record: 100 bytes more than others may carry, so that it fits."""
    pair = open_pair()

    pair.one.push(RecordType.RELAY_DATA, bytes(RELAY_DATA_BYTES_MAX), at(0))
    pair.deliver()
    assert list(pair.other.take_events()) == [Pushed(RecordType.RELAY_DATA, bytes(RELAY_DATA_BYTES_MAX))]

    with pytest.raises(UsageError):
        pair.one.push(RecordType.RELAY_DATA, bytes(RELAY_DATA_BYTES_MAX + 1), at(0))
    assert pair.one.take_outgoing() == []


@pytest.mark.parametrize("data", [b"", bytes(24), bytes(100)])
def test_links_are_ignored(data: bytes) -> None:
    puppet = Puppet()

    puppet.say(RecordType.LINK, data)

    assert not puppet.events()
    assert puppet.hears() == []
    assert puppet.session.state is State.OPEN


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        bytes(10),
        b"\x08",
        b"\x0f",
        b"\x17",
        b"\x7f",
        b"\x80",
        b"\x85",
        b"\x93",
        b"\xff",
        b"x\x01",
        b"x\x02",
        b"x\x04",
        bytes(65) + b"\x05",
        b"a" * (RECORD_DATA_BYTES_MAX + 1) + b"\x10",
        b"a\x10" + bytes(RECORD_DATA_BYTES_MAX),
    ],
)
def test_records_of_no_known_form_end_the_session(plaintext: bytes) -> None:
    puppet = Puppet()

    puppet.say_raw(plaintext)

    assert ending(puppet.session).is_fault


def test_padding_is_taken_off() -> None:
    puppet = Puppet()

    puppet.say_raw(request_of(1) + b"\x10" + bytes(500))

    assert list(puppet.events()) == [Requested(1, Method.PING, Empty())]


def test_a_text_message_is_no_record() -> None:
    puppet = Puppet()

    puppet.session.receive(b"hello", at(0))

    assert ending(puppet.session).is_fault


def test_close_is_said_and_heard() -> None:
    pair = open_pair()
    pair.one.close(at(0))
    assert list(pair.one.take_events()) == [Ended("closed", is_fault=False)]
    pair.deliver()

    assert list(pair.other.take_events()) == [Ended(GOODBYE, is_fault=False)]
    assert pair.other.take_outgoing() == []


@pytest.mark.parametrize("state", [State.AWAITING_HELLO, State.AWAITING_WELCOME, State.AWAITING_PROOF])
def test_closing_a_handshake_says_nothing(state: State) -> None:
    session = awaiting(state)
    session.take_outgoing()

    session.close(at(1))

    assert session.take_outgoing() == []
    assert list(session.take_events()) == [Ended("closed", is_fault=False)]


def test_an_alert_ends_the_session_with_its_number() -> None:
    puppet = Puppet()

    puppet.say(RecordType.ALERT, (101).to_bytes(2))

    assert list(puppet.events()) == [Ended("alert 101 from peer", is_fault=False)]


def test_a_closed_network_says_that_it_asks_for_an_invite_and_its_calls_have_no_answer() -> None:
    puppet = Puppet()
    puppet.session.call(7, Method.PING, Empty(), 5.0, at(0))

    puppet.say(RecordType.ALERT, Status.REFUSED.to_bytes(2))

    assert list(puppet.events()) == [
        Answered(7, Failed(FailReason.UNINVITED)),
        Ended(NOT_INVITED, is_fault=False),
    ]


def test_whoever_is_no_member_is_told_by_an_alert_and_its_session_ends() -> None:
    puppet = Puppet()

    puppet.session.turn_away(at(1))
    puppet.session.turn_away(at(1))

    assert puppet.hears() == [(RecordType.ALERT, Status.REFUSED.to_bytes(2), False)]
    assert list(puppet.events()) == [Ended(NO_MEMBER, is_fault=False)]


def test_parting_says_goodbye_for_neither_end() -> None:
    pair = open_pair()
    pair.one.part(at(1))
    pair.deliver()

    for session in (pair.one, pair.other):
        assert list(session.take_events()) == [Ended(PARTED, is_fault=False)]
    assert Down(PARTED).is_parting
    assert not Down(PARTED).is_goodbye


def test_a_fault_tells_the_peer_nothing() -> None:
    puppet = Puppet()

    puppet.say_raw(b"\x99")

    assert puppet.session.take_outgoing() == []


@pytest.mark.parametrize("reason", ["closed by peer", "reset", "aborted"])
def test_a_channel_that_breaks_is_no_goodbye(reason: str) -> None:
    """Whoever can cut a connection must not be able to say goodbye for the node at its end."""
    pair = open_pair()
    pair.one.on_channel_closed(reason)
    (ended,) = pair.one.take_events()

    assert isinstance(ended, Ended)
    assert not Down(ended.reason).is_goodbye
    assert Down(GOODBYE).is_goodbye
