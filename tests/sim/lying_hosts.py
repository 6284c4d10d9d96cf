"""A topic host that lies: it withholds, reorders, replays and forges what it sends, and says that it holds what nobody has.

Its engine is the real one; what leaves it is altered. It cannot sign for others.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Flag, auto
from typing import TYPE_CHECKING

from yzdht.ids import SIGNATURE_BYTES
from yzdht.rpc.engine import Push, Reply
from yzdht.wire.pubsub import (
    FIXED_BYTES,
    Delivery,
    decode_push,
    encode_announcement,
    encode_delivery,
)
from yzdht.wire.rpc import BacklogPage, Method, Publish, Published, Status, Subscribed, TopicSynced


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.sim.topics import TopicNode
    from yzdht.rpc.engine import Outgoing, Peer
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import Body, SummaryRow


_HELD_UP_S = 20.0
_CLAIMED_BEYOND = (50, 1_000_000)
"""So many messages at most that nobody has, one or the other: few, or as if a sender were far ahead."""
_OVER = 0.5
"""The part of these rows in which all below is said to be over."""
_INDEX = (FIXED_BYTES - 3, FIXED_BYTES)
"""Where the lower part of an index stands."""
_END_BYTES = SIGNATURE_BYTES + 6
"""The signature, and the end of what is said."""


class Lies(Flag):
    """What one does."""

    WITHHOLD = auto()
    REORDER = auto()
    REPLAY = auto()
    FORGE = auto()
    CLAIM = auto()
    SWALLOW = auto()


class Liar:
    """Speaks for a node from now on.

    Args:
        node: Which.
        lies: What it does.
        trove: Old messages that it replays, genuine ones.
        share: Of what it may lie about it lies about so much.

    Attributes:
        told: How many lies left it.

    """

    def __init__(
        self, node: TopicNode, lies: Lies, trove: Sequence[PubsubEnvelope], share: float = 0.5
    ) -> None:
        self.node = node
        self.lies = lies
        self.told = 0
        self._share = share
        self._random = node.world.random
        self._past = [envelope.raw for envelope in trove]
        node.alter = self._alter
        node.responder = self._respond

    def _does(self, lie: Lies, share: float = 1.0) -> bool:
        is_told = lie in self.lies and self._random.random() < share * self._share
        self.told += is_told
        return is_told

    def _respond(self, _peer: Peer, method: Method, body: Body) -> tuple[Status, Body] | None:
        """It says that it stored a message, and did not."""
        if method is Method.PUBLISH and isinstance(body, Publish) and self._does(Lies.SWALLOW):
            return Status.OK, Published(1, 1)
        return None

    def _alter(self, item: Outgoing) -> Iterable[Outgoing]:
        if isinstance(item, Push) and item.peer.node_id != self.node.node_id:
            return self._push(item)
        if isinstance(item, Reply) and item.status is Status.OK:
            return [replace(item, body=self._answer(item.body))]
        return [item]

    # What it pushes

    def _push(self, push: Push) -> Iterator[Outgoing]:
        said = decode_push(push.data)
        if isinstance(said, Delivery):
            self._past.extend(said.envelopes)
            if self._does(Lies.FORGE, 0.2):
                yield replace(push, data=encode_delivery((self._forged(said.envelopes[0]),)))
            if self._does(Lies.REPLAY):
                yield replace(push, data=encode_delivery((self._random.choice(self._past),)))
        elif self._does(Lies.CLAIM):
            push = replace(
                push, data=encode_announcement([(t, self._rows(rows)) for t, rows in said.changes])
            )
        if self._does(Lies.WITHHOLD):
            return
        if self._does(Lies.REORDER):
            after_s = self._random.uniform(0, _HELD_UP_S)
            self.node.world.after(after_s, self.node.world.push, self.node, push)
            return
        yield push

    def _forged(self, raw: bytes) -> bytes:
        """With one bit turned: anywhere, or of the place in the series, or of what is said, or of the signature."""
        begin, end = self._random.choice([(0, len(raw)), _INDEX, (len(raw) - _END_BYTES, len(raw))])
        at = self._random.randrange(begin, end)
        return raw[:at] + bytes((raw[at] ^ 1 << self._random.randrange(8),)) + raw[at + 1 :]

    # What it answers

    def _answer(self, body: Body) -> Body:
        match body:
            case BacklogPage(envelopes, more):
                return BacklogPage(tuple(self._page(envelopes)), more)
            case Subscribed(hosts, push, rows):
                return Subscribed(hosts, push, self._rows(rows))
            case TopicSynced(missing, rows):
                return TopicSynced(missing, self._rows(rows))
            case _:
                return body

    def _page(self, envelopes: tuple[bytes, ...]) -> list[bytes]:
        page = [raw for raw in envelopes if not self._does(Lies.WITHHOLD)]
        if self._does(Lies.REORDER):
            self._random.shuffle(page)
        if self._past and self._does(Lies.REPLAY):
            page.append(self._random.choice(self._past))
        if page and self._does(Lies.FORGE):
            at = self._random.randrange(len(page))
            page[at] = self._forged(page[at])
        return page

    def _rows(self, rows: tuple[SummaryRow, ...]) -> tuple[SummaryRow, ...]:
        """Less than it holds, or more."""
        said = []
        for row in rows:
            if self._does(Lies.WITHHOLD):
                continue
            most = self._random.choice(_CLAIMED_BEYOND)
            beyond = self._random.randrange(most) if self._does(Lies.CLAIM) else 0
            is_over = beyond and self._random.random() < _OVER
            first, holes = (row.next + beyond, ()) if is_over else (row.first, row.holes)
            said.append(type(row)(row.sender, row.session, first, row.next + beyond, holes))
        return tuple(said)
