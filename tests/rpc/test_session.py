from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rpc.pair import (
    BUSY,
    CLOSED,
    GARBAGE,
    HASH,
    TARGET,
    TIMEOUT,
    Puppet,
    at,
    awaiting,
    ending,
    open_pair,
    outcome,
    request_of,
)
from yzdht.errors import WireError
from yzdht.limits import (
    CALLS_IN_FLIGHT_MAX,
    PIECE_BYTES_MIN,
    REQUESTS_OPEN_MAX,
    SESSION_S_MAX,
)
from yzdht.rpc.engine import Answer
from yzdht.rpc.session import Answered, Ended, Requested, Spent, State
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import (
    REQUESTS,
    RESPONSES,
    Body,
    Empty,
    FindNode,
    FoundNodes,
    Method,
    Refusal,
    Status,
    WhoAmI,
    encode_body,
    encode_response,
)
from yzdht.wire.token import REDEMPTION_BYTES


if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_call_is_answered() -> None:
    pair = open_pair()
    pair.one.call(7, Method.FIND_NODE, FindNode(TARGET), 5.0, at(0))
    pair.deliver()

    (asked,) = pair.other.take_events()
    assert isinstance(asked, Requested)
    assert (asked.method, asked.body) == (Method.FIND_NODE, FindNode(TARGET))
    assert (pair.one.calls_in_flight, pair.other.requests_open) == (1, 1)
    pair.now = 0.2
    pair.other.reply(asked.number, Status.OK, FoundNodes(), at(0.2))
    pair.deliver()

    (answered,) = pair.one.take_events()
    assert isinstance(answered, Answered)
    assert isinstance(answered.outcome, Answer)
    assert (answered.call, answered.outcome.status, answered.outcome.body) == (7, Status.OK, FoundNodes())
    assert answered.outcome.expected_s == pytest.approx(0.6)
    assert (pair.one.calls_in_flight, pair.other.requests_open) == (0, 0)


def test_both_ends_may_ask_at_once_with_the_same_ids() -> None:
    pair = open_pair()
    pair.one.call(1, Method.PING, Empty(), 5.0, at(0))
    pair.other.call(1, Method.WHOAMI, Empty(), 5.0, at(0))
    pair.deliver()
    for session, body in ((pair.one, WhoAmI("192.0.2.1", 1, "ws")), (pair.other, Empty())):
        (asked,) = session.take_events()
        assert isinstance(asked, Requested)
        session.reply(asked.number, Status.OK, body, at(0))
    pair.deliver()

    assert outcome(pair.one) == Answer(Status.OK, Empty(), 0.05)
    assert outcome(pair.other) == Answer(Status.OK, WhoAmI("192.0.2.1", 1, "ws"), 0.05)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (Status.BUSY, Refusal()),
        (Status.RATE_LIMITED, Refusal(1_500)),
        (Status.BAD_LIFETIME, Refusal(1_700_000_000)),
        (Status.CAS_MISMATCH, Refusal(7, HASH)),
        (Status.EQUIVOCATION, Refusal(2**64 - 1, HASH)),
    ],
)
def test_a_refusal_brings_its_fields(status: Status, body: Refusal) -> None:
    pair = open_pair()
    pair.one.call(1, Method.STORE, REQUESTS[Method.STORE](TARGET, b"r"), 5.0, at(0))
    pair.deliver()
    (asked,) = pair.other.take_events()
    assert isinstance(asked, Requested)
    pair.other.reply(asked.number, status, body, at(0))
    pair.deliver()

    assert outcome(pair.one) == Answer(status, body, 0.25)


@pytest.mark.parametrize("method", [0, 0x99, 0xFF, Method.RELAY_OPEN, Method.RELAY_CLOSE])
def test_an_unknown_method_is_answered_101(method: int) -> None:
    puppet = Puppet()

    puppet.say(RecordType.REQUEST, request_of(5, method, b"whatever"))

    assert puppet.hears() == [(RecordType.RESPONSE, encode_response(5, 101, b"\x90"), False)]
    assert not puppet.events()
    assert puppet.session.requests_open == 0


@pytest.mark.parametrize("body", [b"", b"\x80", b"\x90\x90", b"\xc0", b"\x91\xcc\x01"])
def test_a_bad_body_is_answered_100(body: bytes) -> None:
    puppet = Puppet()

    puppet.say(RecordType.REQUEST, request_of(5, Method.PING, body))

    assert puppet.hears() == [(RecordType.RESPONSE, encode_response(5, 100, b"\x90"), False)]
    assert not puppet.events()
    assert puppet.session.dropped == 1


@pytest.mark.parametrize("message", [b"", b"\0\0\0\1"])
def test_a_request_without_a_header_ends_the_session(message: bytes) -> None:
    puppet = Puppet()

    puppet.say(RecordType.REQUEST, message)

    assert ending(puppet.session).is_fault


def test_a_response_without_a_header_ends_the_session() -> None:
    puppet = Puppet()

    puppet.say(RecordType.RESPONSE, bytes(5))

    assert ending(puppet.session).is_fault


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (0, b""),
        (0, b"\x80"),
        (0, encode_body(Empty()) + b"\0"),
        (0, b"\x91\xc0"),
        (1, b"\x90"),
        (999, b"\x90"),
        (409, b"\x91\xa1a"),
        (106, b""),
    ],
)
def test_an_answer_that_makes_no_sense_fails_its_call_alone(status: int, body: bytes) -> None:
    puppet = Puppet()
    puppet.session.call(1, Method.FIND_NODE, FindNode(TARGET), 5.0, at(0))
    puppet.session.call(2, Method.PING, Empty(), 5.0, at(0))

    puppet.say(RecordType.RESPONSE, encode_response(1, status, body))
    puppet.say(RecordType.RESPONSE, encode_response(2, 0, b"\x90"))

    assert list(puppet.events()) == [Answered(1, GARBAGE), Answered(2, Answer(Status.OK, Empty(), 0.05))]
    assert puppet.session.dropped == 1
    assert puppet.session.state is State.OPEN


def test_a_cancelled_call_has_no_event_and_its_answer_is_dropped() -> None:
    puppet = Puppet()
    puppet.session.call(1, Method.PING, Empty(), 5.0, at(0))

    puppet.session.cancel(1)
    assert puppet.session.calls_in_flight == 0
    puppet.say(RecordType.RESPONSE, encode_response(1, 0, b"\x90"))
    puppet.session.handle_timer(at(6))

    assert not puppet.events()
    assert puppet.session.late_answers == 1


def test_cancelling_what_is_not_in_flight_does_nothing() -> None:
    puppet = Puppet()

    puppet.session.cancel(1)

    assert not puppet.events()


def test_a_call_fails_at_its_deadline_and_a_late_answer_is_dropped() -> None:
    puppet = Puppet()
    puppet.session.call(1, Method.PING, Empty(), 3.0, at(0))
    puppet.session.call(2, Method.PING, Empty(), 2.0, at(0))
    assert puppet.session.next_timer() == 2.0

    puppet.session.handle_timer(at(1.9))
    assert not puppet.events()
    puppet.session.handle_timer(at(2.0))
    assert list(puppet.events()) == [Answered(2, TIMEOUT)]
    assert puppet.session.next_timer() == 3.0

    puppet.say(RecordType.RESPONSE, encode_response(2, 0, b"\x90"))
    assert not puppet.events()
    assert puppet.session.late_answers == 1
    puppet.session.handle_timer(at(100))
    assert puppet.events()[0] == Answered(1, TIMEOUT)


def test_deadlines_count_before_ready_too() -> None:
    puppet = Puppet(is_initiator=True, is_ready=False)
    puppet.session.call(1, Method.PING, Empty(), 1.0, at(0))
    assert puppet.session.next_timer() == 1.0

    puppet.session.handle_timer(at(1.0))

    assert list(puppet.events()) == [Answered(1, TIMEOUT)]


def test_an_answer_that_nobody_asked_for_is_dropped() -> None:
    puppet = Puppet()

    puppet.say(RecordType.RESPONSE, encode_response(77, 0, b"not even a body"))

    assert not puppet.events()
    assert puppet.session.late_answers == 1


def test_an_answer_counts_once() -> None:
    puppet = Puppet()
    puppet.session.call(1, Method.PING, Empty(), 5.0, at(0))

    for _ in range(2):
        puppet.say(RecordType.RESPONSE, encode_response(1, 0, b"\x90"))

    assert len(puppet.events()) == 1
    assert puppet.session.late_answers == 1


@pytest.mark.parametrize(
    ("record_type", "data"),
    [
        (RecordType.PING, b"p"),
        (RecordType.PONG, b"p"),  # to no ping
        (RecordType.LINK, bytes(40)),
        (RecordType.RESPONSE, encode_response(77, 0, b"\x90")),
    ],
)
def test_what_nobody_else_hears_of_has_a_price(record_type: RecordType, data: bytes) -> None:
    puppet = Puppet()

    puppet.say(record_type, data)

    assert puppet.spent() == [Spent()]


def test_a_change_of_keys_has_a_price() -> None:
    puppet = Puppet()

    puppet.say_raw(bytes([RecordType.KEY_UPDATE]))

    assert puppet.spent() == [Spent()]


@pytest.mark.parametrize(
    ("method", "body", "said"),
    [
        (0x99, b"", Spent(Status.UNKNOWN_METHOD)),
        (Method.STORE, b"\xc1", Spent(Status.BAD_REQUEST, Method.STORE)),
    ],
)
def test_a_request_that_is_turned_away_has_a_price(method: int, body: bytes, said: Spent) -> None:
    puppet = Puppet()

    puppet.say(RecordType.REQUEST, request_of(1, method, body))

    assert puppet.spent() == [said]


def test_a_request_over_the_bound_of_open_ones_has_a_price() -> None:
    puppet = Puppet()
    for number in range(REQUESTS_OPEN_MAX):
        puppet.say(RecordType.REQUEST, request_of(number))
    puppet.events()

    puppet.say(RecordType.REQUEST, request_of(1_000))

    assert puppet.spent() == [Spent(Status.BUSY)]


def test_small_pieces_have_a_price_each_and_pieces_of_the_usual_size_have_none() -> None:
    puppet = Puppet()
    for _ in range(3):
        puppet.say(RecordType.PUBSUB, b"p", more=True)
    assert puppet.spent() == [Spent()] * 3

    puppet.say(RecordType.PUBSUB, bytes(PIECE_BYTES_MIN), more=True)
    assert puppet.spent() == []


def test_what_is_served_and_an_answer_that_was_asked_for_have_no_price_here() -> None:
    pair = open_pair()
    pair.one.call(1, Method.PING, Empty(), 5.0, at(0))
    pair.deliver()
    assert [type(event) for event in pair.other.take_events()] == [Requested]

    pair.other.reply(1, Status.OK, Empty(), at(0))
    pair.deliver()
    assert [type(event) for event in pair.one.take_events()] == [Answered]


def test_calls_over_the_bound_are_busy_and_not_sent() -> None:
    puppet = Puppet()
    for call in range(CALLS_IN_FLIGHT_MAX):
        puppet.session.call(call, Method.PING, Empty(), 5.0, at(0))
    assert len(puppet.hears()) == CALLS_IN_FLIGHT_MAX

    puppet.session.call(1_000, Method.PING, Empty(), 5.0, at(0))
    assert list(puppet.events()) == [Answered(1_000, BUSY)]
    assert puppet.hears() == []

    puppet.session.cancel(0)
    puppet.session.call(1_001, Method.PING, Empty(), 5.0, at(0))
    assert len(puppet.hears()) == 1
    assert puppet.session.calls_in_flight == CALLS_IN_FLIGHT_MAX


def test_requests_over_the_bound_are_answered_busy() -> None:
    puppet = Puppet()
    for number in range(REQUESTS_OPEN_MAX):
        puppet.say(RecordType.REQUEST, request_of(number))
    assert len(puppet.events()) == puppet.session.requests_open == REQUESTS_OPEN_MAX

    puppet.say(RecordType.REQUEST, request_of(1_000))
    assert not puppet.events()
    assert puppet.hears() == [(RecordType.RESPONSE, encode_response(1_000, 106, b"\x90"), False)]

    puppet.session.reply(0, Status.OK, Empty(), at(0))
    puppet.say(RecordType.REQUEST, request_of(1_000))
    assert len(puppet.events()) == 1


def test_a_request_id_in_use_ends_the_session() -> None:
    puppet = Puppet()
    puppet.say(RecordType.REQUEST, request_of(5))

    puppet.say(RecordType.REQUEST, request_of(5))

    ended = ending(puppet.session)
    assert ended.is_fault
    assert isinstance(ended.error, WireError)


def test_a_request_id_may_come_again_after_its_answer() -> None:
    puppet = Puppet()
    for _ in range(3):
        puppet.say(RecordType.REQUEST, request_of(5))
        assert len(puppet.events()) == 1
        puppet.session.reply(5, Status.OK, Empty(), at(0))
        assert len(puppet.hears()) == 1


def test_a_request_is_answered_once() -> None:
    puppet = Puppet()
    puppet.say(RecordType.REQUEST, request_of(5))
    puppet.session.reply(5, Status.OK, Empty(), at(0))
    puppet.session.reply(5, Status.BUSY, Refusal(), at(0))
    puppet.session.reply(6, Status.OK, Empty(), at(0))

    assert puppet.hears() == [(RecordType.RESPONSE, encode_response(5, 0, b"\x90"), False)]


@pytest.mark.parametrize("state", [State.AWAITING_HELLO, State.AWAITING_WELCOME, State.AWAITING_PROOF])
def test_a_call_without_a_session_fails_at_once(state: State) -> None:
    session = awaiting(state)

    session.call(1, Method.PING, Empty(), 5.0, at(1))

    assert list(session.take_events()) == [Answered(1, CLOSED)]


def test_a_call_after_the_end_fails_at_once() -> None:
    puppet = Puppet()
    puppet.session.close(at(0))
    puppet.events()

    puppet.session.call(1, Method.PING, Empty(), 5.0, at(0))

    assert outcome(puppet.session) == CLOSED


ENDINGS: list[Callable[[Puppet], None]] = [
    lambda puppet: puppet.session.on_channel_closed("gone"),
    lambda puppet: puppet.session.close(at(0)),
    lambda puppet: puppet.say(RecordType.CLOSE),
    lambda puppet: puppet.say(RecordType.ALERT, b"\0\x64"),
    lambda puppet: puppet.say_raw(b"\x99"),
    lambda puppet: puppet.session.receive(b"garbage", at(0)),
    lambda puppet: puppet.session.handle_timer(at(SESSION_S_MAX)),
]


@pytest.mark.parametrize("end", ENDINGS)
def test_every_end_fails_all_calls_exactly_once(end: Callable[[Puppet], None]) -> None:
    puppet = Puppet()
    for call in range(5):
        puppet.session.call(call, Method.PING, Empty(), 2 * SESSION_S_MAX, at(0))
    puppet.session.cancel(3)
    puppet.say(RecordType.REQUEST, request_of(1))
    puppet.events()

    end(puppet)
    for again in ENDINGS:
        again(puppet)

    *failed, ended = puppet.events()
    assert failed == [Answered(call, CLOSED) for call in (0, 1, 2, 4)]
    assert isinstance(ended, Ended)
    assert (puppet.session.calls_in_flight, puppet.session.requests_open) == (0, 0)
    assert puppet.session.next_timer() is None


def test_an_ended_session_says_nothing_more() -> None:
    puppet = Puppet()
    puppet.say(RecordType.REQUEST, request_of(1))
    puppet.say(RecordType.CLOSE)
    puppet.session.take_outgoing()
    puppet.events()

    puppet.session.reply(1, Status.OK, Empty(), at(0))
    puppet.session.push(RecordType.PUBSUB, b"x", at(0))
    puppet.session.close(at(0))
    puppet.session.handle_timer(at(100))

    assert puppet.session.take_outgoing() == []
    assert not puppet.events()


def test_deadlines_of_ended_calls_are_forgotten_in_time() -> None:
    puppet = Puppet()
    for call in range(5_000):
        puppet.session.call(call, Method.PING, Empty(), 5.0, at(0))
        puppet.session.cancel(call)

    assert len(puppet.session._deadlines) <= 4 * CALLS_IN_FLIGHT_MAX


def test_the_deadlines_that_are_left_still_hold_after_forgetting() -> None:
    puppet = Puppet()
    puppet.session.call(0, Method.PING, Empty(), 1.0, at(0))
    for call in range(1, 3_000):
        puppet.session.call(call, Method.PING, Empty(), 5.0, at(0))
        puppet.session.cancel(call)
    puppet.session.call(5_000, Method.PING, Empty(), 2.0, at(0))

    puppet.session.handle_timer(at(3))

    assert list(puppet.events()) == [Answered(0, TIMEOUT), Answered(5_000, TIMEOUT)]


def test_ids_never_repeat_before_they_must() -> None:
    puppet = Puppet()
    puppet.session._next_number = 2**32 - 1
    for call in range(3):
        puppet.session.call(call, Method.PING, Empty(), 5.0, at(0))

    numbers = [int.from_bytes(data[:4]) for _, data, _ in puppet.hears()]
    assert numbers == [2**32 - 1, 1, 2]


@pytest.mark.parametrize("method", REQUESTS)
def test_only_cheap_methods_measure_the_round_trip(method: Method) -> None:
    puppet = Puppet()
    fields: dict[str, object] = {
        "target": TARGET,
        "record": b"",
        "topic": bytes(16),
        "envelope": b"",
        "redemption": bytes(REDEMPTION_BYTES),
    }
    body_type = REQUESTS[method]
    body: Body = body_type(**{name: fields[name] for name in body_type.__struct_fields__ if name in fields})
    puppet.session.call(1, method, body, 5.0, at(0))
    puppet.now = 0.1
    answer = b"\x91\0" if method is Method.REDEEM else b"\x90"  # an outcome has no default
    puppet.say(RecordType.RESPONSE, encode_response(1, 0, answer))

    is_quick = method in (Method.PING, Method.FIND_NODE, Method.FIND_VALUE, Method.WHOAMI)
    assert puppet.session.rtt.smoothed_s == (0.1 if is_quick else None)
    (answered,) = puppet.events()
    assert isinstance(answered, Answered)
    assert isinstance(answered.outcome, Answer)
    assert isinstance(answered.outcome.body, RESPONSES[method])
    assert answered.outcome.expected_s == pytest.approx(0.3 if is_quick else 0.25)
