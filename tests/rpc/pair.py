"""Two sessions back to back in memory, a puppet that seals whatever a test wants to say, and what tests ask of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vectors.golden import KEY_A, KEY_B
from yzdht.crypto.handshake import Credentials, Established, Initiator, Responder
from yzdht.crypto.naming import network_id
from yzdht.crypto.session import RecordLayer
from yzdht.crypto.signing import KeySigner
from yzdht.ids import RecordHash, Target
from yzdht.ports import Now
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.rpc.session import Answered, Ended, Event, Opened, Session, Spent, State
from yzdht.wire.frame import Caps, RecordType
from yzdht.wire.rpc import Method, Put, encode_body, encode_request


if TYPE_CHECKING:
    from yzdht.crypto.primitives import PrivateKey


WALL = 1_700_000_000.0
CAPS = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
TARGET = Target(bytes(32))
HASH = RecordHash(bytes(32))
CLOSED, TIMEOUT, BUSY, GARBAGE = (
    Failed(reason) for reason in (FailReason.CLOSED, FailReason.TIMEOUT, FailReason.BUSY, FailReason.GARBAGE)
)


HANDSHAKE_STATES = [s for s in State if s not in (State.OPEN, State.ENDED)]


def at(mono: float) -> Now:
    """That many seconds after the beginning."""
    return Now(mono, WALL + mono)


def credentials(key: PrivateKey, network: str = "main") -> Credentials:
    """What the owner of a key brings."""
    return Credentials(KeySigner(key), network_id(network), CAPS)


def initiator(**options: object) -> Initiator:
    """A dials."""
    return Initiator(credentials(KEY_A), **options)  # type: ignore[arg-type]  # whatever a test sets


def responder() -> Responder:
    """B is dialled."""
    return Responder(credentials(KEY_B))


class Pair:
    """Two sessions whose messages wait in queues until they are delivered.

    Attributes:
        one: The initiator, A.
        other: The responder, B.
        now: Seconds since the beginning, for both.

    """

    def __init__(self) -> None:
        self.now = 0.0
        self.one, self.other = Session(initiator(), at(0)), Session(responder(), at(0))

    def deliver(self) -> None:
        """Carry messages both ways until nothing is left."""
        while messages := [(self.other, m) for m in self.one.take_outgoing()] + [
            (self.one, m) for m in self.other.take_outgoing()
        ]:
            for receiver, message in messages:
                receiver.receive(message, at(self.now))

    def pass_time(self, seconds: float, step: float = 5.0) -> None:
        """Let time pass for both, in small steps, with their timers and messages."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            for session in (self.one, self.other):
                session.handle_timer(at(self.now))
            self.deliver()


def open_pair() -> Pair:
    """Two sessions whose handshake is done and told of."""
    pair = Pair()
    pair.deliver()
    for session in (pair.one, pair.other):
        (opened,) = session.take_events()
        assert isinstance(opened, Opened)
    return pair


class Puppet:
    """The other end of one session: keeps the protocol of records and nothing else.

    Args:
        is_initiator: Whether the session dialled; the puppet is the other half.
        is_ready: Whether a puppet that was dialled sends Ready.

    """

    def __init__(self, *, is_initiator: bool = False, is_ready: bool = True) -> None:
        self.now = 0.0
        self.session = Session(initiator() if is_initiator else responder(), at(0))
        established = self._answer() if is_initiator else self._dial()
        self.layer = RecordLayer(established.secret_out, established.secret_in, 0.0)
        if is_initiator and is_ready:
            self.say(RecordType.READY)
        self.hears()
        self.events()

    def _dial(self) -> Established:
        hand = initiator()
        self.session.receive(hand.hello(), at(0))
        (welcome,) = self.session.take_outgoing()
        self.session.receive(hand.receive_welcome(welcome), at(0))
        assert hand.established is not None
        return hand.established

    def _answer(self) -> Established:
        hand = responder()
        (hello,) = self.session.take_outgoing()
        self.session.receive(hand.receive_hello(hello), at(0))
        (proof,) = self.session.take_outgoing()
        return hand.receive_proof(proof)

    def say(self, record_type: RecordType, data: bytes = b"", *, more: bool = False) -> None:
        """Send one record."""
        self.session.receive(self.layer.seal(record_type, data, more=more), at(self.now))

    def say_raw(self, plaintext: bytes) -> None:
        """Send a record of any plaintext, sealed as it should be."""
        self.session.receive(self.layer._seal(plaintext), at(self.now))

    def hears(self) -> list[tuple[RecordType, bytes, bool]]:
        """What the session has sent since the last call."""
        return [self.layer.open(message) for message in self.session.take_outgoing()]

    def events(self) -> list[Event]:
        """What the session has told since the last call, beside what has a price only."""
        return told(self.session)

    def spent(self) -> list[Spent]:
        """What the session has told of what has a price only, if nothing else was."""
        events = self.session.take_events()
        spent = [e for e in events if isinstance(e, Spent)]
        assert spent == events
        return spent


def told(session: Session) -> list[Event]:
    """What a session has told since it was last asked, beside what has a price only."""
    return [event for event in session.take_events() if not isinstance(event, Spent)]


def ending(session: Session) -> Ended:
    """The session's end, which is the last it says."""
    assert session.state is State.ENDED
    ended = session.take_events()[-1]
    assert isinstance(ended, Ended)
    return ended


def outcome(session: Session) -> Answer | Failed:
    """What came of the one call that ended."""
    (answered,) = session.take_events()
    assert isinstance(answered, Answered)
    return answered.outcome


def request_of(number: int, method: int = Method.PING, body: bytes = b"\x90") -> bytes:
    """A whole request."""
    return encode_request(number, method, body)


def awaiting(state: State) -> Session:
    """A session in that state of its handshake, one second after its beginning."""
    if state is State.AWAITING_HELLO:
        return Session(responder(), at(1))
    session = Session(initiator(), at(1))
    if state is State.AWAITING_WELCOME:
        return session
    other = Session(responder(), at(1))
    other.receive(session.take_outgoing()[0], at(1))
    if state is State.AWAITING_PROOF:
        return other
    session.receive(other.take_outgoing()[0], at(1))
    session.take_events()
    return session


def put_of(size: int) -> Put:
    """A PUT whose request is that many bytes long, header included."""
    spare = len(request_of(1, Method.PUT, encode_body(Put(TARGET, bytes(70_000))))) - 70_000
    return Put(TARGET, bytes(size - spare))
