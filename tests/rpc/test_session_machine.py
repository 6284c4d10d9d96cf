"""Two sessions against a plain model: random calls, answers, cancels, time and delivery, then a hostile road between."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.rpc.pair import HASH, TARGET, at, open_pair
from tests.vectors.golden import KEY_A
from yzdht.limits import CALLS_IN_FLIGHT_MAX, MESSAGE_BYTES_MAX, REQUESTS_OPEN_MAX
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.rpc.session import Answered, Ended, Event, Expiring, Pushed, Requested, Session, Spent, State
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import (
    Body,
    Empty,
    FindNode,
    FoundNodes,
    Get,
    Got,
    Method,
    Put,
    PutDone,
    Refusal,
    Row,
    Status,
    WireContact,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


ASKS: dict[str, tuple[Method, Body, Body]] = {
    "ping": (Method.PING, Empty(), Empty()),
    "find": (
        Method.FIND_NODE,
        FindNode(TARGET, 3),
        FoundNodes((WireContact(KEY_A.public_key, ("ws://h:1",), 1),)),
    ),
    "long put": (Method.PUT, Put(TARGET, bytes(40_000), 7), PutDone(5, 8, 5)),
    "put": (Method.PUT, Put(TARGET, b"small"), PutDone(0, 8, 5, 301, (7, HASH))),
    "long get": (Method.GET, Get(TARGET), Got((bytes(60_000), Row(b"", 0, HASH)), 4, 4)),
}
"""By name: what is asked, and its answer; two of them are cut."""

REFUSALS: list[tuple[Status, Body]] = [
    (Status.BUSY, Refusal()),
    (Status.RATE_LIMITED, Refusal(9)),
    (Status.SEQ_TOO_LOW, Refusal(3, HASH)),
]
BUSY_BY_ITSELF = (Status.BUSY, Refusal())  # what a session says while REQUESTS_OPEN_MAX requests are open
SIDES = st.sampled_from((0, 1))


class End:
    """One end: its session, and what the model knows of it.

    Attributes:
        in_flight: Calls that have neither ended nor been cancelled, with their deadlines.
        asked: Calls whose request left and was not seen at the other end, by request id; ids count from 1.
        newest: The largest request id that arrived.
        open: Requests of the other end that wait for an answer: the call there, and what it asks.
        answers: What the other end answered to each call.
        sent: All that left, as it left.
        road: What is on its way to the other end.
        taken: How many messages of the other end arrived as they were sent.

    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.calls = 0
        self.in_flight: dict[int, float] = {}
        self.open: dict[int, tuple[int, str]] = {}
        self.answers: dict[int, tuple[Status, Body]] = {}
        self.pushed: deque[bytes] = deque()
        self.ids = 0
        self.newest = 0
        self.asked: dict[int, tuple[int, str]] = {}
        self.sent: list[bytes] = []
        self.road: deque[bytes] = deque()
        self.taken = 0
        self.has_ended = False


class TwoSessions(RuleBasedStateMachine):
    """The road delivers in order or not at all; every call ends exactly once."""

    is_road_honest = True

    @initialize()
    def begin(self) -> None:
        pair = open_pair()
        self.now = 0.0
        self.ends = (End(pair.one), End(pair.other))

    def both(self) -> Iterator[tuple[End, End]]:
        yield self.ends[0], self.ends[1]
        yield self.ends[1], self.ends[0]

    def settle(self) -> None:
        """Take what both sessions want said and told."""
        for end, other in self.both():
            messages = end.session.take_outgoing()
            end.sent += messages
            end.road.extend(messages)
            for event in end.session.take_events():
                self.hear(end, other, event)

    def hear(self, end: End, other: End, event: Event) -> None:
        assert not end.has_ended, "nothing follows Ended"
        match event:
            case Answered(call, outcome):
                assert call in end.in_flight, "a call ends once, and not at all when it was cancelled"
                self.judge(end, call, outcome)
            case Requested(number, method, body):
                assert number not in end.open
                assert number > end.newest, "requests arrive once and in order"
                end.newest = number
                end.open[number] = other.asked.pop(number)
                assert (method, body) == ASKS[end.open[number][1]][:2], "requests arrive whole"
            case Pushed(_, data):
                assert data == other.pushed.popleft()
            case Ended(is_fault=is_fault):
                end.has_ended = True
                assert not (is_fault and self.is_road_honest)
            case _:
                assert isinstance(event, Expiring | Spent)

    def judge(self, end: End, call: int, outcome: Answer | Failed) -> None:
        deadline = end.in_flight.pop(call)
        if isinstance(outcome, Answer):
            answer = end.answers.pop(call, BUSY_BY_ITSELF)
            assert (outcome.status, outcome.body) == answer, "each call gets its own answer"
            assert outcome.expected_s >= 0.05
            return
        assert outcome.reason in (FailReason.TIMEOUT, FailReason.CLOSED, FailReason.BUSY)
        if outcome.reason is FailReason.TIMEOUT:
            assert deadline <= self.now
        if outcome.reason is FailReason.CLOSED:
            assert end.session.state is State.ENDED

    # What both ends do

    @rule(side=SIDES, ask=st.sampled_from(sorted(ASKS)), timeout_s=st.sampled_from((0.5, 5.0, 40.0)))
    def call(self, side: int, ask: str, timeout_s: float) -> None:
        end = self.ends[side]
        if end.has_ended:
            return
        self.ask(end, ask, timeout_s)
        self.settle()

    @rule(side=SIDES, count=st.integers(100, 300))
    def call_often(self, side: int, count: int) -> None:
        end = self.ends[side]
        if end.has_ended:
            return
        for _ in range(count):
            self.ask(end, "ping", 5.0)
        self.settle()

    def ask(self, end: End, ask: str, timeout_s: float) -> None:
        end.calls += 1
        end.in_flight[end.calls] = self.now + timeout_s
        if end.session.calls_in_flight < CALLS_IN_FLIGHT_MAX:
            end.ids += 1
            end.asked[end.ids] = (end.calls, ask)
        method, body, _ = ASKS[ask]
        end.session.call(end.calls, method, body, timeout_s, at(self.now))

    @rule(side=SIDES, data=st.data(), refusal=st.none() | st.sampled_from(REFUSALS))
    def reply(self, side: int, data: st.DataObject, refusal: tuple[Status, Body] | None) -> None:
        end, other = self.ends[side], self.ends[1 - side]
        if not end.open:
            return
        number = data.draw(st.sampled_from(sorted(end.open)))
        call, ask = end.open.pop(number)
        answer = other.answers[call] = refusal or (Status.OK, ASKS[ask][2])
        end.session.reply(number, *answer, at(self.now))
        self.settle()

    @rule(side=SIDES, data=st.data())
    def cancel(self, side: int, data: st.DataObject) -> None:
        end = self.ends[side]
        if not end.in_flight:
            return
        call = data.draw(st.sampled_from(sorted(end.in_flight)))
        del end.in_flight[call]
        end.session.cancel(call)
        self.settle()

    @rule(side=SIDES, size=st.sampled_from((0, 5, 16_000, 50_000)))
    def push(self, side: int, size: int) -> None:
        end = self.ends[side]
        if end.has_ended:
            return
        end.pushed.append(bytes(size))
        end.session.push(RecordType.PUBSUB, bytes(size), at(self.now))
        self.settle()

    # What the world does

    @rule(side=SIDES, most=st.sampled_from((1, 3, 1_000)))
    def deliver(self, side: int, most: int) -> None:
        sender, receiver = self.ends[side], self.ends[1 - side]
        for _ in range(min(most, len(sender.road))):
            self.carry(sender, receiver, sender.road.popleft())

    def carry(self, sender: End, receiver: End, message: bytes) -> None:
        was_open = not receiver.has_ended
        receiver.session.receive(message, at(self.now))
        is_next = receiver.taken < len(sender.sent) and sender.sent[receiver.taken] == message
        receiver.taken += is_next
        if was_open and not is_next:
            assert receiver.session.state is State.ENDED, (
                "whatever is not the next genuine record ends the session"
            )
        self.settle()

    @rule(seconds=st.sampled_from((0.1, 1.0, 5.0, 20.0, 30.0, 3_600.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for end in self.ends:
            end.session.handle_timer(at(self.now))
        self.settle()

    @precondition(lambda self: self.now > 30)
    @rule(side=SIDES, how=st.sampled_from(("close", "gone")))
    def end(self, side: int, how: str) -> None:
        session = self.ends[side].session
        if how == "close":
            session.close(at(self.now))
        else:
            session.on_channel_closed("gone")
        self.settle()

    # What always holds

    @invariant()
    def the_model_and_the_session_agree(self) -> None:
        for end, _ in self.both():
            assert end.session.calls_in_flight == len(end.in_flight) <= CALLS_IN_FLIGHT_MAX
            assert end.session.requests_open <= REQUESTS_OPEN_MAX
            if not end.has_ended:
                assert end.session.requests_open == len(end.open)

    @invariant()
    def memory_is_bounded(self) -> None:
        for end, _ in self.both():
            assert len(end.session._deadlines) <= 4 * CALLS_IN_FLIGHT_MAX
            assert len(end.session._assembler._held) <= MESSAGE_BYTES_MAX

    @invariant()
    def no_timer_is_overdue_for_ever(self) -> None:
        for end, _ in self.both():
            timer = end.session.next_timer()
            assert (timer is None) == end.has_ended
            if timer is not None and timer <= self.now:
                end.session.handle_timer(at(self.now))
                self.settle()
                again = end.session.next_timer()
                assert again is None or again > self.now

    def teardown(self) -> None:
        if not hasattr(self, "ends"):
            return
        for end in self.ends:
            end.session.on_channel_closed("over")
        self.settle()
        for end in self.ends:
            assert end.has_ended
            assert end.in_flight == {}, "every call ended"


class HostileRoad(TwoSessions):
    """Somebody on the road flips, drops, repeats, moves, cuts, joins and invents messages."""

    is_road_honest = False

    @rule(side=SIDES, data=st.data())
    def flip(self, side: int, data: st.DataObject) -> None:
        road = self.ends[side].road
        if not road:
            return
        at_index = data.draw(st.integers(0, len(road) - 1))
        changed = bytearray(road[at_index] or b"was cut to nothing")
        bit = data.draw(st.integers(0, 8 * len(changed) - 1))
        changed[bit // 8] ^= 1 << bit % 8
        road[at_index] = bytes(changed)

    @rule(side=SIDES, data=st.data())
    def drop(self, side: int, data: st.DataObject) -> None:
        road = self.ends[side].road
        if not road:
            return
        del road[data.draw(st.integers(0, len(road) - 1))]

    @rule(side=SIDES, data=st.data())
    def repeat(self, side: int, data: st.DataObject) -> None:
        """An old message comes again, at once or later."""
        end = self.ends[side]
        if not end.sent:
            return
        message = end.sent[data.draw(st.integers(0, len(end.sent) - 1))]
        end.road.insert(data.draw(st.integers(0, len(end.road))), message)

    @rule(side=SIDES)
    def swap(self, side: int) -> None:
        road = self.ends[side].road
        if len(road) < 2:
            return
        road[0], road[1] = road[1], road[0]

    @rule(side=SIDES, data=st.data())
    def splice(self, side: int, data: st.DataObject) -> None:
        """The head of one message and the tail of the next."""
        road = self.ends[side].road
        if len(road) < 2:
            return
        first, second = road.popleft(), road.popleft()
        cut = data.draw(st.integers(0, len(first)))
        road.appendleft(first[:cut] + second[cut:])

    @rule(side=SIDES, data=st.data())
    def cut_short(self, side: int, data: st.DataObject) -> None:
        road = self.ends[side].road
        if not road:
            return
        message = road.popleft()
        road.appendleft(message[: data.draw(st.integers(0, max(0, len(message) - 1)))])

    @rule(side=SIDES)
    def reflect(self, side: int) -> None:
        """A message goes back to whoever sent it."""
        road = self.ends[side].road
        if not road:
            return
        self.ends[1 - side].road.appendleft(road.popleft())

    @rule(side=SIDES, message=st.binary(max_size=100))
    def invent(self, side: int, message: bytes) -> None:
        self.ends[side].road.appendleft(message)


_SETTINGS = settings(max_examples=40, stateful_step_count=40, deadline=None)
TwoSessions.TestCase.settings = _SETTINGS
HostileRoad.TestCase.settings = _SETTINGS
TestTwoSessions = TwoSessions.TestCase
TestHostileRoad = HostileRoad.TestCase
