"""Is this node of use? It is if it can store through other nodes and get back what it stored.

That an HTTP server answers proves nothing of the network: after a restart of everything at once it is up long before
any record can be read. So a check has other nodes store a small public record and show it again, by the same requests
as every write and read, past this node's own store. The record is the node's own and lives for minutes. It is written
anew by every check, because a holder answers a STORE of what it already has without touching its disk; publishing the
identity record again would prove no more than a ping.

A slot for each run of a node, always the same few holders: what a fleet leaves in its own network is bounded however
often it is asked. Results are kept for seconds and one check serves all who ask meanwhile, so polling is free; the
pauses differ between nodes, so that a fleet that started at once does not check at once for ever.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.naming import mutable_target
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record
from yzdht.ids import Tag
from yzdht.kad.quorum import quorum_of
from yzdht.limits import (
    READY_CALL_TIMEOUT_S,
    READY_CHECK_AGAIN_S,
    READY_CHECK_EVERY_S,
    READY_CHECK_JITTER,
    READY_CHECK_S_MAX,
    READY_PATIENCE_S,
    READY_RECORD_LIFE_S,
    REPLICAS,
)
from yzdht.rpc.engine import Answer, FailReason
from yzdht.store.entropy import SystemRng
from yzdht.wire.record import seq_at
from yzdht.wire.rpc import FindValue, FoundValue, Method, Refusal, Status, Store
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ids import Target
    from yzdht.kad.bucket import Entry
    from yzdht.node import Node
    from yzdht.ports import Now, Rng
    from yzdht.rpc.engine import Failed
    from yzdht.wire.rpc import Body


_NO_SESSION = "no session at the moment"
_SILENCE = frozenset({"unreachable", "timeout", "closed", _NO_SESSION})
"""What comes of calls to nodes that are gone, or that this one is cut off from."""
_TAG_BYTES = 32


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a check came to.

    Attributes:
        is_ready: True if stores and gets work.
        is_alone: True if there are no other nodes, nor ever were, nor should be: it then serves its own users alone.
        through: Other nodes that stored the record.
        reason: One sentence.
        checked_at: Unix seconds.
        hint: What to do; empty if there is nothing.

    """

    is_ready: bool
    is_alone: bool
    through: int
    reason: str
    checked_at: float
    hint: str = ""

    def as_dict(self) -> dict[str, object]:
        """As `/readyz` shows it."""
        return {
            "ready": self.is_ready,
            "alone": self.is_alone,
            "throughPeers": self.through,
            "reason": self.reason,
            "checkedAt": int(self.checked_at),
            "hint": self.hint,
        }


class _Needed(NamedTuple):
    """How many others must store, and how many must show."""

    stores: int
    shows: int


def needed_of(others: int) -> _Needed:
    """What a quorum needs beside this node, which is one of its holders unless there are enough others.

    Args:
        others: Storage nodes known, at least 1.

    """
    if others >= REPLICAS:
        quorum = quorum_of(others)
        return _Needed(quorum.write, quorum.read)
    quorum = quorum_of(others + 1)
    return _Needed(max(1, quorum.write - 1), max(1, quorum.read - 1))


class _Request(NamedTuple):
    """What one half of a check asks each node, and which answers are good."""

    method: Method
    body: Body
    is_good: Callable[[Answer], bool]


class ReadyCheck:
    """Checks a node, as often as is useful and no oftener.

    Args:
        node: It was started.
        rng: For the tag of its slot, and for jitter.

    """

    def __init__(self, node: Node, rng: Rng | None = None) -> None:
        self._node = node
        self._rng = rng or SystemRng()
        self._tag = Tag(self._rng.token(_TAG_BYTES))
        self._seq = 0
        self._last: Readiness | None = None
        self._begun_at = float("-inf")
        self._good_until = float("-inf")
        self._checking: asyncio.Task[Readiness] | None = None

    # Asking

    async def result(self) -> Readiness:
        """Whether the node is ready, READY_CHECK_EVERY_S old at most; a check takes READY_CHECK_S_MAX at most."""
        known = self._known()
        return known if known is not None else await asyncio.shield(self._check())

    async def latest(self) -> Readiness:
        """What is known almost at once; a check is begun if it is time, and only the first is waited for, briefly."""
        known = self._known()
        if known is not None:
            return known
        checking = self._check()
        if self._last is None:
            await asyncio.wait((checking,), timeout=READY_PATIENCE_S)
        return self._last or self._no("not checked yet", "ask again in some seconds")

    async def close(self) -> None:
        """Give up a check under way."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait((self._checking,))

    def _known(self) -> Readiness | None:
        """What needs no check, or was checked lately."""
        verdict = self._verdict_without_others()
        if verdict is not None:
            return verdict
        is_fresh = self._node.now().mono < self._good_until
        return self._last if is_fresh and not self._has_lost_everybody() else None

    def _has_lost_everybody(self) -> bool:
        """A good result does not outlive the last session, though nobody checks more often than after a failure."""
        if self._last is None or not self._last.is_ready or self._node.sessions.nodes:
            return False
        return self._node.now().mono >= self._begun_at + READY_CHECK_AGAIN_S

    def _check(self) -> asyncio.Task[Readiness]:
        if self._checking is None or self._checking.done():
            self._begun_at = self._node.now().mono
            self._checking = asyncio.get_running_loop().create_task(self._check_now(), name="readiness")
        return self._checking

    async def _check_now(self) -> Readiness:
        try:
            async with asyncio.timeout(READY_CHECK_S_MAX):
                last = await self._through_others()
        except TimeoutError:
            last = self._no("other nodes did not answer in time", "check the network of this machine")
        pause_s = READY_CHECK_EVERY_S if last.is_ready else READY_CHECK_AGAIN_S
        self._good_until = self._node.now().mono + pause_s * self._rng.uniform(*READY_CHECK_JITTER)
        self._last = last
        return last

    # Judging

    def _no(self, reason: str, hint: str, through: int = 0) -> Readiness:
        return Readiness(
            is_ready=False,
            is_alone=False,
            through=through,
            reason=reason,
            checked_at=self._node.now().wall,
            hint=hint,
        )

    def _verdict_without_others(self) -> Readiness | None:
        """What there is to say before anybody else is asked; None if others have to be."""
        node = self._node
        if node.is_leaving or not node.is_running:
            return self._no("the node is leaving", "")
        trouble = node.disk_trouble
        if trouble is not None:
            return self._no(f"its disk fails: {trouble}", trouble.hint)
        is_known_to_nobody = not len(node.engine.table)
        had_others = node.config.bootstrap or node.has_known_others
        if is_known_to_nobody and not had_others and not node.is_joined:
            return Readiness(
                is_ready=True,
                is_alone=True,
                through=0,
                reason="alone: no other node is known, and none was named to join through",
                checked_at=node.now().wall,
                hint="to join a network, start it with --bootstrap URL",
            )
        if is_known_to_nobody and node.is_joined:
            return self._no(
                "everybody it knew is gone", "check the network of this machine and the other nodes"
            )
        if is_known_to_nobody and not node.config.bootstrap:
            return self._no(
                "none of the nodes that it knew before its start answers",
                "check the network of this machine and the other nodes, and start it with --bootstrap URL of one",
            )
        if is_known_to_nobody:
            why = f": {node.bootstrap_trouble}" if node.bootstrap_trouble else ""
            return self._no(
                f"no bootstrap address leads into the network, it goes on trying{why}",
                "check the addresses after --bootstrap, that those nodes are up, the network name and the network key",
            )
        if not node.is_joined:
            return self._no("joining: it is still getting to know the network", "wait some seconds")
        return None

    # Checking

    async def _through_others(self) -> Readiness:
        target, record = self._write(self._node.now())
        table = self._node.engine.table
        near = table.closest(target, 2 * REPLICAS, only_storing=True)
        if not near:
            return self._no(
                "no other node that keeps records is known", "start others, or wait until they are back"
            )
        needed = needed_of(table.storing())
        near.sort(key=lambda entry: not entry.has_session)  # who has to be dialled comes in where these fail
        store = _Request(Method.STORE, Store(target, record), lambda answer: answer.status is Status.OK)
        stored, failed = await self._ask(near, needed.stores, store)
        if len(stored) < needed.stores:
            return self._refused("stored", len(stored), needed.stores, failed)
        show = _Request(Method.FIND_VALUE, FindValue(target), lambda answer: _shows(answer, record))
        shown, failed = await self._ask(stored, needed.shows, show)
        if len(shown) < needed.shows:
            return self._refused("showed", len(shown), needed.shows, failed)
        return Readiness(
            is_ready=True,
            is_alone=False,
            through=len(stored),
            reason=f"{_others(len(stored))} stored a record and showed it again",
            checked_at=self._node.now().wall,
        )

    def _write(self, now: Now) -> tuple[Target, bytes]:
        """Sign a record that was never stored before; it outlives every clock that is tolerated."""
        node = self._node
        network = node.config.network_id
        self._seq = max(self._seq + 1, seq_at(now.wall))
        created = int(now.wall)
        draft = RecordDraft(Kind.MUTABLE, created, created + READY_RECORD_LIFE_S, self._seq, self._tag)
        author = Author(node.identity.signer, node.identity.self_key, network)
        raw = seal_record(draft, b"", Public(), author, b"")
        return mutable_target(network, node.identity.public_key, self._tag), raw

    async def _ask(
        self, entries: Sequence[Entry], count: int, request: _Request
    ) -> tuple[list[Entry], Counter[str]]:
        """Ask one after the other until `count` gave a good answer.

        So many are in play at once; whoever fails, or is late, is joined by the next.

        Returns:
            Who gave a good answer, and why the others did not.

        """
        left = iter(entries)
        asked: dict[asyncio.Task[Answer | Failed], Entry] = {}
        late: set[asyncio.Task[Answer | Failed]] = set()
        good: list[Entry] = []
        failed: Counter[str] = Counter()
        try:
            while len(good) < count:
                while len(good) + len(asked) - len(late) < count and (entry := next(left, None)):
                    asked[asyncio.ensure_future(self._call(entry, request))] = entry
                if not asked:
                    break
                done, _ = await asyncio.wait(
                    asked, timeout=READY_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
                )
                late = late - done if done else set(asked)
                for task in done:
                    entry, outcome = asked.pop(task), task.result()
                    if isinstance(outcome, Answer) and request.is_good(outcome):
                        good.append(entry)
                    else:
                        failed[self._why(outcome)] += 1
        finally:
            for task in asked:
                task.cancel()
            if asked:
                await asyncio.wait(asked)
        return good, failed

    async def _call(self, entry: Entry, request: _Request) -> Answer | Failed:
        return await self._node.ask(entry.contact(), request.method, request.body, READY_CALL_TIMEOUT_S)

    def _why(self, outcome: Answer | Failed) -> str:
        """A reason that many nodes share, in words."""
        if not isinstance(outcome, Answer):
            if (
                outcome.reason is FailReason.BUSY
            ):  # here, or it turned this node away; `busy` is what one answers
                return _NO_SESSION
            return outcome.reason.name.lower().replace("_", " ")
        if outcome.status is Status.BAD_LIFETIME and isinstance(outcome.body, Refusal):
            off_s = int(self._node.now().wall) - outcome.body.number
            return f"this machine's clock is {_span(abs(off_s))} {'fast' if off_s > 0 else 'slow'}"
        return (
            "record not shown"
            if outcome.status is Status.OK
            else outcome.status.name.lower().replace("_", " ")
        )

    def _refused(self, verb: str, good: int, needed: int, failed: Counter[str]) -> Readiness:
        [(why, _)] = failed.most_common(1) or [("not enough of them", 0)]
        hint = "check the network of this machine and that the other nodes are up"
        if "clock" in why:
            hint = "set this machine's clock"
        elif why in ("busy", "rate limited", "over quota"):
            hint = "the other nodes are overloaded or full: look at their status pages"
        reason = f"{_others(good)} {verb} a record, {needed} must ({why})"
        if not good and failed and _SILENCE.issuperset(failed):
            reason = f"no other node answers: {failed.total()} asked, {needed} must ({why})"
        return self._no(reason, hint, good if verb == "stored" else 0)


def _shows(answer: Answer, record: bytes) -> bool:
    return isinstance(answer.body, FoundValue) and record in answer.body.records


def _others(count: int) -> str:
    return f"{count} other node{'' if count == 1 else 's'}"


def _span(seconds: int) -> str:
    """A clock's error, coarse enough that several nodes say the same of it."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"about {round(seconds / size)} {unit}"
    return f"about {seconds} seconds"
