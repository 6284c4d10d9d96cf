"""One process's pubsub engine, whose calls a test answers by hand."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.pubsub.kit_disk import Faults, FaultyTopics
from tests.pubsub.kit_feed import TOPIC, WALL, Keys, Verifier, at, contact, raw, series, usable
from tests.pubsub.kit_host import ASKING, Neighbourhood, peer, target_of
from yzdht.limits import PUBLISH_DEADLINE_S
from yzdht.pubsub.cursor import Cursor
from yzdht.pubsub.engine import Hosting, PubsubEngine
from yzdht.pubsub.events import Message
from yzdht.pubsub.feed import Start
from yzdht.pubsub.ports import Surroundings
from yzdht.pubsub.subscriber import Mailbox, Subscriber
from yzdht.rpc.engine import Answer, Call, Cancel, Failed, FailReason, Find, Keep, Push, Reply
from yzdht.store.memory_topics import MemoryTopics
from yzdht.wire.address import Contact
from yzdht.wire.frame import RecordType
from yzdht.wire.pubsub import decode_envelope, encode_delivery
from yzdht.wire.rpc import BacklogPage, Method, Status, Subscribed, SummaryRow


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.ports import Now
    from yzdht.pubsub.events import Event
    from yzdht.pubsub.feed import Feed
    from yzdht.pubsub.publisher import PublishResult
    from yzdht.rpc.engine import Outgoing, Peer
    from yzdht.wire.history import TopicVerdict
    from yzdht.wire.holdings import Holdings
    from yzdht.wire.rpc import Body


OWN = 99
SILENT = Failed(FailReason.TIMEOUT)


def subscribed(*rows: SummaryRow, push: bool = True) -> Answer:
    return Answer(Status.OK, Subscribed((), push, rows))


def page(*raws: bytes, more: bool = False) -> Answer:
    return Answer(Status.OK, BacklogPage(raws, more))


class Shell:
    """A node that hosts, or a client.

    Attributes:
        found: What a search finds.
        calls: What was asked of others and is not answered.
        replies: What peers were answered, by request.
        pushes: What peers were sent.
        mono: The present.

    """

    def __init__(self, *found: int, is_node: bool = True) -> None:
        self.found = [contact(number) for number in found]
        self.calls: dict[int, Call] = {}
        self.cancelled: list[int] = []
        self.replies: dict[int, Reply] = {}
        self.pushes: list[Push] = []
        self.congested: set[NodeId] = set()
        self.counts: Counter[str] = Counter()
        self.verifier = Verifier()
        self.faults = Faults()
        self.mono = 1.0
        self.is_reached = True
        self._last = 0
        self._soon: list[Callable[[], None]] = []
        base = contact(OWN)
        own = base if is_node else Contact(base.node_id, base.public_key, (), ASKING)
        self.own = own
        surroundings = Surroundings(
            Neighbourhood(own), self.verifier, target_of, lambda p: p.node_id in self.congested, self._count
        )
        hosting = None
        if is_node:
            store = self.store = MemoryTopics(
                self._on_kept,
                self._soon.append,
            )
            hosting = Hosting(
                peer(OWN, own.caps), FaultyTopics(store, self.faults), bytes(32), lambda: self.is_reached
            )
        self.engine = PubsubEngine(own, surroundings, usable, hosting)

    def _on_kept(self, answers: list[tuple[int, TopicVerdict]]) -> None:
        for op, verdict in answers:
            self.engine.on_kept(op, verdict, at(self.mono))

    def _count(self, name: str) -> None:
        self.counts[name] += 1

    def look(self) -> None:
        """Carry out what came up."""
        while (
            (outgoing := self.engine.take_outgoing()) or self._soon or self.engine.serve_itself(at(self.mono))
        ):
            for item in outgoing:
                self._carry_out(item)
            soon, self._soon[:] = list(self._soon), []
            for do in soon:
                do()

    def _carry_out(self, item: Outgoing) -> None:
        match item:
            case Call():
                assert item.contact.node_id != self.own.node_id, "it asks itself without a network"
                self.calls[item.call] = item
            case Cancel():
                self.cancelled.append(item.call)
                self.calls.pop(item.call, None)
            case Find():
                self.engine.on_found(item.op, self.found, at(self.mono))
            case Keep():
                self.store.submit(item.op, item.change)
            case Reply():
                self.replies[item.request] = item
            case Push():
                self.pushes.append(item)
            case _:
                raise AssertionError(item)

    def reread(self) -> None:
        """It remembers nothing of what is on its disk."""
        assert self.engine.host is not None
        self.engine.host._topics.reread()

    def tick(self, mono: float) -> None:
        """Let the time come, and all that is due until then."""
        while (due := self.engine.next_timer()) is not None and due <= mono:
            self.mono = max(self.mono, due)
            self.engine.handle_timer(at(self.mono))
            self.look()
        self.mono = mono

    # Asking others

    def asked(self, method: Method) -> list[int]:
        """Numbers of the nodes whose answer to this is waited for."""
        self.look()
        of = (call for call in self.calls.values() if call.method is method)
        return sorted(int.from_bytes(call.contact.node_id) for call in of)

    def call(self, number: int, method: Method) -> Call:
        """The oldest call to a node that is not answered."""
        self.look()
        node_id = contact(number).node_id
        return next(c for c in self.calls.values() if c.contact.node_id == node_id and c.method is method)

    def answer(self, number: int, method: Method, outcome: Answer | Failed) -> Call:
        call = self.call(number, method)
        del self.calls[call.call]
        self.engine.on_answer(call.call, outcome, at(self.mono))
        self.look()
        return call

    # Listening

    def listen(self, told: list[Event], start: Start | Holdings = Start.LIVE) -> Feed:
        mailbox = Mailbox(Keys(), lambda _sender: True, lambda event, _now: told.append(event))
        feed = self.engine.subscribe(TOPIC, start, Subscriber(mailbox, Cursor(TOPIC), WALL), at(self.mono))
        assert feed is not None
        self.look()
        return feed

    def pushed(self, number: int, *raws: bytes) -> None:
        """A node delivers messages."""
        by = peer(number, contact(number).caps)
        self.engine.on_push(by, RecordType.PUBSUB, encode_delivery(raws), at(self.mono))
        self.look()

    # Being asked

    def ask(self, by: Peer, method: Method, body: Body) -> int:
        """A peer asks; the number of its request."""
        self._last += 1
        self.engine.on_request(self._last, by, method, body, at(self.mono))
        self.look()
        return self._last

    def status(self, request: int) -> Status | None:
        reply = self.replies.get(request)
        return None if reply is None else reply.status

    # Publishing

    def publish(self, envelope: bytes, patience_s: float = PUBLISH_DEADLINE_S) -> list[PublishResult]:
        """Filled once it is decided."""
        results: list[PublishResult] = []
        decoded = decode_envelope(envelope)

        def then(result: PublishResult, _now: Now) -> None:
            results.append(result)

        assert self.engine.publish(decoded, then, at(self.mono), patience_s)
        self.look()
        return results


def indexes(told: list[Event]) -> list[int]:
    return [event.index for event in told if isinstance(event, Message)]


__all__ = ["TOPIC", "at", "contact", "peer", "raw", "series"]
