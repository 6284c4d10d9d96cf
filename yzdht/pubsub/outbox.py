"""What the parts of the pubsub engine want done, in one list, and to whom the answer of each call goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.rpc.engine import Call, Cancel, Find, Push, Reply


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import Target
    from yzdht.ports import Now
    from yzdht.rpc.engine import Answer, Failed, Outgoing, Peer
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import Body, Method


class Outbox:
    """One for an engine; every part of it writes here.

    Every call and every search is told of exactly once, unless it was cancelled or the engine was stopped.
    """

    def __init__(self) -> None:
        self._outgoing: list[Outgoing] = []
        self._answers: dict[int, Callable[[Answer | Failed, Now], None]] = {}
        self._searches: dict[int, Callable[[list[Contact], Now], None]] = {}
        self._last = 0

    def put(self, item: Outgoing) -> None:
        """Have something done that nothing comes back of: a Reply, Push, Drop or Persist."""
        self._outgoing.append(item)

    def call(
        self,
        contact: Contact,
        method: Method,
        body: Body,
        deadline_s: float,
        then: Callable[[Answer | Failed, Now], None],
    ) -> int:
        """Ask a node; `then` is told what came of it, within the deadline."""
        self._last += 1
        self._answers[self._last] = then
        self._outgoing.append(Call(self._last, contact, method, body, deadline_s))
        return self._last

    def cancel(self, call: int) -> None:
        """An answer is not wanted any more; nothing happens if it was given."""
        if self._answers.pop(call, None) is not None:
            self._outgoing.append(Cancel(call))

    def find(self, target: Target, count: int, then: Callable[[list[Contact], Now], None]) -> int:
        """Have the nodes nearest to a target found, nearest first."""
        self._last += 1
        self._searches[self._last] = then
        self._outgoing.append(Find(self._last, target, count))
        return self._last

    def on_answer(self, call: int, outcome: Answer | Failed, now: Now) -> None:
        """A call ended."""
        then = self._answers.pop(call, None)
        if then is not None:
            then(outcome, now)

    def on_found(self, op: int, contacts: list[Contact], now: Now) -> None:
        """A search ended."""
        then = self._searches.pop(op, None)
        if then is not None:
            then(contacts, now)

    def take_own(self, own: Peer) -> list[Call | Reply | Push]:
        """What this node, who is this peer to itself, asks of itself, answers itself and pushes to itself, in order; the rest stays."""
        found: list[Call | Reply | Push] = []
        for item in self._outgoing:
            if isinstance(item, Push):
                if item.peer is own:
                    found.append(item)
            elif isinstance(item, Reply):
                if item.request < 0:
                    found.append(item)
            elif isinstance(item, Call) and item.contact.node_id == own.node_id:
                found.append(item)
        if found:
            taken = set(map(id, found))
            self._outgoing = [item for item in self._outgoing if id(item) not in taken]
        return found

    def take(self) -> list[Outgoing]:
        """What to do, in order; empties the list."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def stop(self) -> None:
        """Nobody is told anything any more."""
        for call in list(self._answers):
            self.cancel(call)
        self._searches.clear()
