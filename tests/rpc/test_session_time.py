from __future__ import annotations

import pytest

from tests.rpc.pair import (
    CLOSED,
    Puppet,
    at,
    ending,
    open_pair,
    put_of,
    told,
)
from yzdht.limits import (
    KEY_UPDATE_S,
    SESSION_PING_EVERY_S,
    SESSION_RENEW_BEFORE_S,
    SESSION_S_MAX,
    SESSION_SILENT_S_MAX,
)
from yzdht.rpc.session import Answered, Ended, Expiring, Requested, State
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import (
    Empty,
    Method,
    Refusal,
    Status,
)


@pytest.mark.parametrize("data", [b"", b"p" * 64])
def test_a_ping_is_returned(data: bytes) -> None:
    puppet = Puppet()

    puppet.say(RecordType.PING, data)

    assert puppet.hears() == [(RecordType.PONG, data, False)]


def test_a_quiet_peer_is_pinged_and_its_pong_measured() -> None:
    puppet = Puppet()
    assert puppet.session.next_timer() == SESSION_PING_EVERY_S
    puppet.session.handle_timer(at(SESSION_PING_EVERY_S - 0.1))
    assert puppet.hears() == []

    puppet.session.handle_timer(at(SESSION_PING_EVERY_S))
    puppet.session.handle_timer(at(SESSION_PING_EVERY_S + 1))
    assert puppet.hears() == [(RecordType.PING, b"", False)]
    puppet.now = SESSION_PING_EVERY_S + 0.2
    puppet.say(RecordType.PONG)

    assert puppet.session.rtt.smoothed_s == pytest.approx(0.2)
    assert puppet.session.next_timer() == pytest.approx(puppet.now + SESSION_PING_EVERY_S)
    assert not puppet.events()


def test_whoever_talks_is_not_pinged() -> None:
    puppet = Puppet()
    puppet.now = 20.0
    puppet.say(RecordType.PUBSUB, b"x")

    puppet.session.handle_timer(at(40))

    assert puppet.hears() == []
    assert puppet.session.next_timer() == 20 + SESSION_PING_EVERY_S


def test_a_pong_that_nobody_asked_for_measures_nothing() -> None:
    puppet = Puppet()

    puppet.say(RecordType.PONG)

    assert puppet.session.rtt.smoothed_s is None


def test_silence_ends_the_session() -> None:
    puppet = Puppet()
    puppet.session.call(1, Method.PING, Empty(), 1_000.0, at(0))
    puppet.session.handle_timer(at(SESSION_PING_EVERY_S))
    assert puppet.session.next_timer() == SESSION_SILENT_S_MAX

    puppet.session.handle_timer(at(SESSION_SILENT_S_MAX - 0.1))
    assert not puppet.events()
    puppet.session.handle_timer(at(SESSION_SILENT_S_MAX))

    assert list(puppet.events()) == [Answered(1, CLOSED), Ended("silent", is_fault=False)]


def test_a_machine_that_slept_waits_for_the_pong() -> None:
    """Without this every session of a laptop ended on waking, before the peer could say a word."""
    puppet = Puppet()

    puppet.session.handle_timer(at(1_000))
    assert puppet.hears() == [(RecordType.PING, b"", False)]
    wait_s = SESSION_SILENT_S_MAX - SESSION_PING_EVERY_S
    assert puppet.session.next_timer() == 1_000 + wait_s
    puppet.session.handle_timer(at(1_000.1))
    assert puppet.session.state is State.OPEN

    puppet.session.handle_timer(at(1_000 + wait_s))
    assert list(puppet.events()) == [Ended("silent", is_fault=False)]


def test_two_quiet_ends_keep_each_other_alive() -> None:
    pair = open_pair()

    pair.pass_time(600)

    assert pair.one.state is pair.other.state is State.OPEN
    assert not told(pair.one)


def test_a_session_says_once_that_it_is_getting_old_and_ends_after_24_h() -> None:
    pair = open_pair()
    pair.pass_time(SESSION_S_MAX - SESSION_RENEW_BEFORE_S - 20, step=20)
    assert not told(pair.one)

    pair.pass_time(40, step=20)
    assert told(pair.one) == told(pair.other) == [Expiring()]
    pair.pass_time(SESSION_RENEW_BEFORE_S - 40, step=20)
    assert not told(pair.one)

    pair.pass_time(20, step=20)
    for session in (pair.one, pair.other):
        assert not ending(session).is_fault


def test_keys_change_after_an_hour_in_mid_stream() -> None:
    pair = open_pair()
    pair.now = KEY_UPDATE_S + 1
    for call in range(3):
        pair.one.call(call, Method.PUT, put_of(40_000), 5.0, at(pair.now))
    messages = pair.one.take_outgoing()
    assert len(messages) == 1 + 3 * 3

    for message in messages:
        pair.other.receive(message, at(pair.now))
    asked = [event for event in pair.other.take_events() if isinstance(event, Requested)]
    for request in asked:
        pair.other.reply(request.number, Status.BUSY, Refusal(), at(pair.now))
    pair.deliver()

    assert len(asked) == 3
    assert [type(event) for event in told(pair.one)] == [Answered] * 3


def test_a_key_change_goes_before_the_record_that_is_due() -> None:
    puppet = Puppet()

    puppet.session.call(1, Method.PUT, put_of(40_000), 5.0, at(KEY_UPDATE_S))

    kinds = [record_type for record_type, _, _ in puppet.hears()]
    assert kinds == [RecordType.KEY_UPDATE, *[RecordType.REQUEST] * 3]
