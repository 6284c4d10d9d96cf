"""One session, from the first byte of its handshake to its end: requests, answers, deadlines, fragments, pings.

Sans-I/O: the shell feeds it whole messages of a channel and sends what `take_outgoing` gives; `take_events` tells what
happened. PROTOCOL.md sections 3 to 5. Owns request ids, matching, the hard deadline of every call, the bound on calls
in flight and the smoothed round-trip time. Links (0x07) are accepted and ignored. Any violation ends the session with
no detail on the wire.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.handshake import Established, Initiator, Responder
from yzdht.crypto.session import RecordLayer
from yzdht.errors import CryptoError, WireError, YzError
from yzdht.limits import (
    CALLS_IN_FLIGHT_MAX,
    HANDSHAKE_TIMEOUT_S,
    PIECE_BYTES_MIN,
    RECORD_DATA_BYTES_MAX,
    REQUESTS_OPEN_MAX,
    SESSION_PING_EVERY_S,
    SESSION_RENEW_BEFORE_S,
    SESSION_S_MAX,
    SESSION_SILENT_S_MAX,
)
from yzdht.rpc.engine import GOODBYE, NO_MEMBER, NOT_INVITED, PARTED, Answer, Failed, FailReason
from yzdht.rpc.fragments import Assembler, cut
from yzdht.rpc.rtt import RoundTrip
from yzdht.wire.frame import NEVER_CUT, RecordType
from yzdht.wire.rpc import (
    REQUESTS,
    RESPONSES,
    Body,
    Empty,
    Method,
    Refusal,
    Status,
    decode_body,
    decode_request,
    decode_response,
    encode_answer,
    encode_body,
    encode_request,
    encode_response,
)


if TYPE_CHECKING:
    from yzdht.ports import Now


class State(Enum):
    """Where a session stands."""

    AWAITING_HELLO = auto()
    AWAITING_WELCOME = auto()
    AWAITING_PROOF = auto()
    AWAITING_READY = auto()
    OPEN = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer is authenticated; calls may be sent."""

    established: Established


class Requested(NamedTuple):
    """The peer asks; answer with `reply`."""

    number: int
    method: Method
    body: Body


class Answered(NamedTuple):
    """A call ended."""

    call: int
    outcome: Answer | Failed


@dataclass(frozen=True, slots=True)
class Pushed:
    """The peer sent a message that has no answer."""

    record_type: RecordType
    data: bytes


@dataclass(frozen=True, slots=True)
class Spent:
    """The peer sent what nobody else hears of: it has its answer, or gets none. It was work, so it has a price.

    Attributes:
        status: What a request was answered here; None for anything else, such as a ping.
        method: What it asked, if that is known.

    """

    status: Status | None = None
    method: Method | None = None


@dataclass(frozen=True, slots=True)
class Expiring:
    """The session reaches its largest age soon; whoever dialled should dial again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over; nothing follows.

    Attributes:
        reason: A few words for logs and counters.
        is_fault: True when the peer broke the protocol.
        error: What was wrong, where something was.

    """

    reason: str
    is_fault: bool
    error: YzError | None = None


Event = Opened | Requested | Answered | Pushed | Spent | Expiring | Ended

_SPENT = Spent()

# Bound once: read for every message, and an attribute of an enum, or its value looked up, costs as much as a small function.
_OPEN = State.OPEN
_ENDED = State.ENDED
_AWAITING_HELLO = State.AWAITING_HELLO
_AWAITING_PROOF = State.AWAITING_PROOF
_AWAITING_READY = State.AWAITING_READY
_REQUEST = RecordType.REQUEST
_RESPONSE = RecordType.RESPONSE
_OK = Status.OK
_METHODS = {int(method): (method, body_type) for method, body_type in REQUESTS.items()}
_STATUSES = {int(status): status for status in Status}

_QUICK = frozenset({Method.PING, Method.FIND_NODE, Method.FIND_VALUE, Method.WHOAMI})
"""Methods whose answers cost the peer next to nothing: their times are round-trip times."""

_DEADLINES_MAX = 4 * CALLS_IN_FLIGHT_MAX


@dataclass(slots=True)
class _InFlight:
    call: int
    method: Method
    sent_at: float
    deadline: float


class Session:
    """One session with one peer.

    Args:
        handshake: This end's half of the handshake; an Initiator speaks first.
        now: The instant of its beginning.

    """

    def __init__(self, handshake: Initiator | Responder, now: Now) -> None:
        self._handshake: Initiator | Responder | None = handshake
        self.is_initiator = isinstance(handshake, Initiator)
        self.state = State.AWAITING_HELLO
        self.rtt = RoundTrip()
        self.dropped = 0
        self.late_answers = 0
        self._layer: RecordLayer | None = None
        self._assembler = Assembler()
        self._outgoing: list[bytes] = []
        self._events: list[Event] = []
        self._calls: dict[int, _InFlight] = {}
        self._numbers: dict[int, int] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._next_number = 1
        self._requests: set[int] = set()
        self._opened_at = self._heard_at = now.mono
        self._ping_sent_at: float | None = None
        self._is_expiring = False
        if isinstance(handshake, Initiator):
            self._outgoing.append(handshake.hello())
            self.state = State.AWAITING_WELCOME

    # What to send and what happened

    def take_outgoing(self) -> list[bytes]:
        """Messages for the channel, in order; empties the list."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order; empties the list."""
        events, self._events = self._events, []
        return events

    @property
    def calls_in_flight(self) -> int:
        """Calls that wait for their answer."""
        return len(self._calls)

    @property
    def requests_open(self) -> int:
        """Requests of the peer that were not answered yet."""
        return len(self._requests)

    @property
    def assembling_bytes(self) -> int:
        """Bytes of a message of the peer that is not whole yet."""
        return self._assembler.held_bytes

    # What arrives

    def receive(self, message: bytes, now: Now) -> None:
        """Take one message of the channel in."""
        if self.state is _ENDED:
            return
        try:
            if self._layer is None:
                self._receive_handshake(message, now)
            else:
                self._receive_record(message, now)
        except (WireError, CryptoError) as error:
            self._end(str(error), is_fault=True, error=error)

    def _receive_handshake(self, message: bytes, now: Now) -> None:
        handshake = self._handshake
        if isinstance(handshake, Initiator):
            self._outgoing.append(handshake.receive_welcome(message))
            assert handshake.established is not None
            self._open(handshake.established, now)
            self.state = State.AWAITING_READY
        elif self.state is _AWAITING_HELLO:
            assert isinstance(handshake, Responder)
            self._outgoing.append(handshake.receive_hello(message))
            self.state = State.AWAITING_PROOF
            self._heard_at = now.mono
        else:
            assert isinstance(handshake, Responder)
            self._open(handshake.receive_proof(message), now)
            self.state = State.OPEN
            self._send_record(RecordType.READY, b"", now.mono)

    def _open(self, established: Established, now: Now) -> None:
        self._handshake = (
            None  # its secrets go with it, and the first ones of the record layer at the first key update
        )
        self._layer = RecordLayer(established.secret_out, established.secret_in, now.mono)
        self._opened_at = self._heard_at = now.mono
        self._events.append(Opened(established))

    def _receive_record(self, message: bytes, now: Now) -> None:
        assert self._layer is not None
        record_type, data, more = self._layer.open(message)
        self._heard_at = now.mono
        if self.state is _AWAITING_READY:
            if record_type is not RecordType.READY:
                raise WireError("the first record was not Ready")
            self.state = State.OPEN
        elif record_type < _REQUEST:
            self._receive_control(record_type, data, now)
        elif (whole := self._assembler.add(record_type, data, more=more)) is not None:
            self._receive_message(record_type, whole, now)
        elif len(data) < PIECE_BYTES_MIN:
            self._events.append(_SPENT)

    def _receive_control(self, record_type: RecordType, data: bytes, now: Now) -> None:
        match record_type:
            case RecordType.CLOSE:
                self._end(GOODBYE, is_fault=False)
            case RecordType.ALERT:
                self._receive_alert(int.from_bytes(data))
            case RecordType.PING:
                self._send_record(RecordType.PONG, data, now.mono)
                self._events.append(_SPENT)
            case RecordType.PONG if self._ping_sent_at is not None:
                self.rtt.add(now.mono - self._ping_sent_at)
                self._ping_sent_at = None
            case RecordType.READY:
                raise WireError("Ready came twice")
            case _:  # key_update is done by the layer; links are not served yet; a pong to no ping
                self._events.append(_SPENT)

    def _receive_alert(self, status: int) -> None:
        reason = {Status.BUSY: PARTED, Status.REFUSED: NOT_INVITED}.get(status, f"alert {status} from peer")  # type: ignore[call-overload] # a status is a number
        self._end(reason, is_fault=False)

    def _receive_message(self, record_type: RecordType, data: bytes, now: Now) -> None:
        if record_type is _REQUEST:
            self._receive_request(data, now)
        elif record_type is _RESPONSE:
            self._receive_response(data, now)
        else:
            self._events.append(Pushed(record_type, data))

    def _receive_request(self, data: bytes, now: Now) -> None:
        number, method_number, body = decode_request(data)
        if number in self._requests:
            raise WireError("a request id is in use twice")
        if len(self._requests) >= REQUESTS_OPEN_MAX:
            self._turn_away(number, Status.BUSY, now.mono)
            return
        known = _METHODS.get(method_number)
        if known is None:
            self._turn_away(number, Status.UNKNOWN_METHOD, now.mono)
            return
        method, body_type = known
        try:
            request = decode_body(body, body_type)
        except WireError:
            self.dropped += 1
            self._turn_away(number, Status.BAD_REQUEST, now.mono, method)
            return
        self._requests.add(number)
        self._events.append(Requested(number, method, request))

    def _receive_response(self, data: bytes, now: Now) -> None:
        number, status_number, body = decode_response(data)
        flight = self._calls.pop(number, None)
        if flight is None:
            self.late_answers += 1
            self._events.append(_SPENT)
            return
        del self._numbers[flight.call]
        if flight.method in _QUICK:
            self.rtt.add(now.mono - flight.sent_at)
        outcome: Answer | Failed
        try:
            status = _STATUSES[status_number]
            body_type = RESPONSES[flight.method] if status is _OK else Refusal
            outcome = Answer(status, decode_body(body, body_type), self.rtt.expected_s())
        except (KeyError, WireError):
            self.dropped += 1
            outcome = Failed(FailReason.GARBAGE)
        self._events.append(Answered(flight.call, outcome))

    # What this end says

    def call(self, call: int, method: Method, body: Body, timeout_s: float, now: Now) -> None:
        """Send a request; an Answered event brings what came of it, even after Ended.

        Args:
            call: Opaque number, unique among the calls in flight.
            method: What to ask; one of RESPONSES.
            body: Its body.
            timeout_s: Hard deadline, seconds from now.
            now: The present.

        Raises:
            FrameTooLarge: The request is over MESSAGE_BYTES_MAX; no event follows.

        """
        assert method in RESPONSES
        assert call not in self._numbers
        if self._layer is None or self.state is _ENDED:
            self._events.append(Answered(call, Failed(FailReason.CLOSED)))
            return
        if len(self._calls) >= CALLS_IN_FLIGHT_MAX:
            self._events.append(Answered(call, Failed(FailReason.BUSY)))
            return
        number = self._next_number
        # First: a request that cannot be sent must not stay in flight.
        self._send_message(_REQUEST, encode_request(number, method, encode_body(body)), now.mono)
        self._next_number = number % 0xFFFFFFFF + 1
        deadline = now.mono + timeout_s
        self._calls[number] = _InFlight(call, method, now.mono, deadline)
        self._numbers[call] = number
        if len(self._deadlines) >= _DEADLINES_MAX:  # most of them belong to calls that have ended
            self._deadlines = [(f.deadline, n) for n, f in self._calls.items()]
            heapq.heapify(self._deadlines)
        else:
            heapq.heappush(self._deadlines, (deadline, number))

    def cancel(self, call: int) -> None:
        """Forget a call; no event follows, a late answer is dropped."""
        number = self._numbers.pop(call, None)
        if number is not None:
            del self._calls[number]

    def reply(self, number: int, status: Status, body: Body, now: Now) -> None:
        """Answer a request; a no-op when it has its answer, or once the session has ended.

        Raises:
            FrameTooLarge: The answer is over MESSAGE_BYTES_MAX; the request is still open.

        """
        if number in self._requests:
            self._respond(number, status, body, now.mono)
            self._requests.discard(number)

    def push(self, record_type: RecordType, data: bytes, now: Now) -> None:
        """Send a message that has no answer; a no-op without a session.

        Raises:
            FrameTooLarge: It is over MESSAGE_BYTES_MAX.
            UsageError: It is of a type that is never cut, and too long for one record.

        """
        if record_type in NEVER_CUT:
            self._send_record(record_type, data, now.mono)
        else:
            self._send_message(record_type, data, now.mono)

    def close(self, now: Now) -> None:
        """Say goodbye and end; calls in flight fail."""
        if self.state is _ENDED:
            return
        if self._layer is not None:
            self._send_record(RecordType.CLOSE, b"", now.mono)
        self._end("closed", is_fault=False)

    def part(self, now: Now) -> None:
        """End for want of a place, which says nothing of either end; calls in flight fail."""
        if self.state is _ENDED:
            return
        self._alert(Status.BUSY, now)
        self._end(PARTED, is_fault=False)

    def turn_away(self, now: Now) -> None:
        """End because the peer is no member of this end's closed network; calls in flight fail."""
        if self.state is _ENDED:
            return
        self._alert(Status.REFUSED, now)
        self._end(NO_MEMBER, is_fault=False)

    def _alert(self, status: Status, now: Now) -> None:
        if self._layer is not None:
            self._send_record(RecordType.ALERT, status.to_bytes(2), now.mono)

    @property
    def is_answering(self) -> bool:
        """True while it goes through the handshake of a peer that dialled: the next message is costly."""
        return self.state is _AWAITING_PROOF or self.state is _AWAITING_HELLO

    def on_channel_closed(self, reason: str) -> None:
        """The channel is gone."""
        self._end(reason, is_fault=False)

    def _turn_away(self, number: int, status: Status, mono: float, method: Method | None = None) -> None:
        self._respond(number, status, Empty(), mono)
        self._events.append(Spent(status, method))

    def _respond(self, number: int, status: Status, body: Body, mono: float) -> None:
        self._send_message(_RESPONSE, encode_response(number, status, encode_answer(status, body)), mono)

    def _send_message(self, record_type: RecordType, data: bytes, mono: float) -> None:
        if len(data) <= RECORD_DATA_BYTES_MAX:  # almost always
            self._send_record(record_type, data, mono)
            return
        for piece, more in cut(data):
            self._send_record(record_type, piece, mono, more=more)

    def _send_record(self, record_type: RecordType, data: bytes, mono: float, *, more: bool = False) -> None:
        layer = self._layer
        if layer is None or self.state is _ENDED:
            return
        update = layer.due_key_update(mono)
        if update is not None:
            self._outgoing.append(update)
        self._outgoing.append(layer.seal(record_type, data, more=more))

    # Time

    def next_timer(self) -> float | None:
        """Monotonic seconds at which handle_timer is wanted; None once ended."""
        if self.state is _ENDED:
            return None
        if self.state is not _OPEN:
            return min(self._heard_at + HANDSHAKE_TIMEOUT_S, self._next_deadline())
        if self._ping_sent_at is None:
            idle = self._heard_at + SESSION_PING_EVERY_S
        else:
            idle = self._silent_at(self._ping_sent_at)
        age = self._opened_at + SESSION_S_MAX - (0 if self._is_expiring else SESSION_RENEW_BEFORE_S)
        return min(idle, age, self._next_deadline())

    def handle_timer(self, now: Now) -> None:
        """Fail overdue calls, ping a silent peer, end what is over."""
        if self.state is _ENDED:
            return
        self._fail_overdue(now.mono)
        if self.state is not _OPEN:
            if now.mono >= self._heard_at + HANDSHAKE_TIMEOUT_S:
                self._end("handshake timed out", is_fault=True)
            return
        if now.mono >= self._opened_at + SESSION_S_MAX:
            self.close(now)
        elif self._ping_sent_at is not None and now.mono >= self._silent_at(self._ping_sent_at):
            self._end("silent", is_fault=False)
        else:
            self._keep_alive(now)

    def _silent_at(self, ping_sent_at: float) -> float:
        """When a pinged peer counts as gone; a ping that a sleeping machine sent late gets its whole time."""
        wait_s = SESSION_SILENT_S_MAX - SESSION_PING_EVERY_S
        return max(self._heard_at + SESSION_SILENT_S_MAX, ping_sent_at + wait_s)

    def _keep_alive(self, now: Now) -> None:
        if not self._is_expiring and now.mono >= self._opened_at + SESSION_S_MAX - SESSION_RENEW_BEFORE_S:
            self._is_expiring = True
            self._events.append(Expiring())
        if self._ping_sent_at is None and now.mono >= self._heard_at + SESSION_PING_EVERY_S:
            self._ping_sent_at = now.mono
            self._send_record(RecordType.PING, b"", now.mono)

    def _next_deadline(self) -> float:
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self._calls:
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else float("inf")

    def _fail_overdue(self, mono: float) -> None:
        while self._next_deadline() <= mono:
            _, number = heapq.heappop(self._deadlines)
            flight = self._calls.pop(number)
            del self._numbers[flight.call]
            self._events.append(Answered(flight.call, Failed(FailReason.TIMEOUT)))

    def _end(self, reason: str, *, is_fault: bool, error: YzError | None = None) -> None:
        if self.state is _ENDED:
            return
        self.state = State.ENDED
        why = why_unanswered(reason)
        for flight in self._calls.values():
            self._events.append(Answered(flight.call, Failed(why)))
        self._calls.clear()
        self._numbers.clear()
        self._deadlines.clear()
        self._requests.clear()
        self._handshake = None
        self._events.append(Ended(reason, is_fault, error))


def why_unanswered(reason: str) -> FailReason:
    """Why a call has no answer whose session ended, by the reason of that end."""
    return FailReason.UNINVITED if reason in (NOT_INVITED, NO_MEMBER) else FailReason.CLOSED
