"""What the parts of one engine want done comes out in order, and each hears once what came of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.ids import NodeId, PublicKey, Target
from yzdht.ports import Now
from yzdht.pubsub.outbox import Outbox
from yzdht.rpc.engine import Answer, Call, Cancel, Failed, FailReason, Find, Reply
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Empty, Method, Status


if TYPE_CHECKING:
    from yzdht.rpc.engine import Outgoing


NOW = Now(1.0, 2.0)
OK = Answer(Status.OK, Empty())
LATE = Failed(FailReason.TIMEOUT)
TARGET = Target(bytes(32))
CONTACT = Contact(NodeId(bytes(32)), PublicKey(bytes(33)), (), Caps.ALWAYS)


class Told:
    """What callbacks were told."""

    def __init__(self) -> None:
        self.answers: list[Answer | Failed] = []
        self.found: list[list[Contact]] = []

    def answer(self, outcome: Answer | Failed, now: Now) -> None:
        assert now == NOW
        self.answers.append(outcome)

    def contacts(self, contacts: list[Contact], now: Now) -> None:
        assert now == NOW
        self.found.append(contacts)


def ask(outbox: Outbox, told: Told) -> int:
    return outbox.call(CONTACT, Method.PING, Empty(), 3.0, told.answer)


def test_what_is_wanted_comes_out_in_order_and_once() -> None:
    outbox, told = Outbox(), Told()
    reply = Reply(7, Status.OK, Empty())

    call = ask(outbox, told)
    outbox.put(reply)
    op = outbox.find(TARGET, 8, told.contacts)

    expected: list[Outgoing] = [
        Call(call, CONTACT, Method.PING, Empty(), 3.0),
        reply,
        Find(op, TARGET, 8),
    ]
    assert outbox.take() == expected
    assert outbox.take() == []


def test_every_call_and_every_search_is_told_of_exactly_once() -> None:
    outbox, one, two = Outbox(), Told(), Told()
    first, second = ask(outbox, one), ask(outbox, two)
    op = outbox.find(TARGET, 8, one.contacts)
    assert len({first, second, op}) == 3

    for _ in range(2):
        outbox.on_answer(second, LATE, NOW)
        outbox.on_answer(first, OK, NOW)
        outbox.on_found(op, [CONTACT], NOW)

    assert (one.answers, two.answers) == ([OK], [LATE])
    assert (one.found, two.found) == ([[CONTACT]], [])


def test_what_was_cancelled_is_not_told_of() -> None:
    outbox, told = Outbox(), Told()
    call = ask(outbox, told)
    outbox.take()

    outbox.cancel(call)
    outbox.on_answer(call, OK, NOW)

    assert outbox.take() == [Cancel(call)]
    assert told.answers == []


def test_cancelling_what_was_answered_or_never_asked_does_nothing() -> None:
    outbox, told = Outbox(), Told()
    call = ask(outbox, told)
    outbox.on_answer(call, OK, NOW)
    outbox.take()

    outbox.cancel(call)
    outbox.cancel(1_000)

    assert outbox.take() == []
    assert told.answers == [OK]


def test_answers_to_nobody_are_dropped() -> None:
    outbox = Outbox()

    outbox.on_answer(1, OK, NOW)
    outbox.on_found(1, [], NOW)

    assert outbox.take() == []


def test_who_is_told_may_ask_again_at_once() -> None:
    outbox, told = Outbox(), Told()
    again: list[int] = []

    def ask_again(outcome: Answer | Failed, now: Now) -> None:
        told.answer(outcome, now)
        again.append(ask(outbox, told))

    call = outbox.call(CONTACT, Method.PING, Empty(), 3.0, ask_again)
    outbox.on_answer(call, LATE, NOW)
    outbox.on_answer(again[0], OK, NOW)

    assert again[0] != call
    assert told.answers == [LATE, OK]


def test_after_the_end_nobody_is_told_anything_and_open_calls_are_cancelled() -> None:
    outbox, told = Outbox(), Told()
    answered, open_call = ask(outbox, told), ask(outbox, told)
    op = outbox.find(TARGET, 8, told.contacts)
    outbox.on_answer(answered, OK, NOW)
    outbox.take()

    outbox.stop()
    outbox.on_answer(open_call, OK, NOW)
    outbox.on_found(op, [CONTACT], NOW)

    assert outbox.take() == [Cancel(open_call)]
    assert (told.answers, told.found) == ([OK], [])
