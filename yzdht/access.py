"""The way to the replicas, as sealed reads and writes see it: what they ask, and what comes back, unverified.

A node implements `Access` by its own quorum operations, a client by asking nodes that it does not trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from yzdht.errors import NoNode, WriteQuorumFailed
from yzdht.wire.rpc import Status


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from yzdht.ids import PublicKey, Target
    from yzdht.ports import Now
    from yzdht.wire.rpc import RedeemAnswer


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one node, or this node's own quorum read, showed under one target; nothing is verified yet.

    Attributes:
        records: Whole records.
        answered: Replicas that answered it.
        needed: Replicas that had to.

    """

    records: tuple[bytes, ...]
    answered: int
    needed: int

    @property
    def is_quorum(self) -> bool:
        """True if enough replicas answered; never where none had to, as in a body of another method."""
        return self.answered >= self.needed >= 1


@dataclass(frozen=True, slots=True)
class Writing:
    """What a delegated or own quorum write came to.

    Attributes:
        accepted: Replicas that hold the record durably.
        asked: Replicas that should.
        needed: Replicas that had to.
        refusal: The commonest refusal; OK if there was none.
        number: Its first field: stored seq, or the holder's unix seconds.

    """

    accepted: int
    asked: int
    needed: int
    refusal: Status
    number: int

    @property
    def is_quorum(self) -> bool:
        """True if enough replicas hold the record; never where none had to, as in a body of another method."""
        return self.accepted >= self.needed >= 1


class Access(Protocol):
    """The way to the replicas."""

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        """Read every target; for each, what each node asked came back with (two if two can be asked).

        Args:
            targets: What to read.
            paths: Disjoint paths of each read, 1 to READ_PATHS_MAX.

        Raises:
            NoNode: No node could be reached.

        """
        ...

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        """Store one record.

        Raises:
            NoNode: No node could be reached.

        """
        ...

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Do something beside the call that asks for it, which does not wait for it."""
        ...

    async def compute(self, work: Callable[[], _T]) -> _T:
        """Do something that takes long beside the loop: an expensive kdf, a keyfile written."""
        ...

    def now(self) -> Now:
        """The present."""
        ...

    def count(self, name: str) -> None:
        """Count something that a node did wrong."""
        ...


class IssuerAccess(Access, Protocol):
    """The way to the replicas, and to whoever issues invites."""

    async def redeem(self, issuer: PublicKey, redemption: bytes, urls: Sequence[str]) -> RedeemAnswer | None:
        """Hand a redemption to its issuer, and to nobody else: it holds the secret of a link.

        Args:
            issuer: Whose key the other end has to prove.
            redemption: 225 bytes.
            urls: Where the issuer says that it is, beside the nodes that are asked anyway.

        Returns:
            What it answered; None if it was not reached, or does not redeem.

        """
        ...


class Offline:
    """No way to any replica: for what a home knows by itself.

    Args:
        now: Tells the present.

    """

    def __init__(self, now: Callable[[], Now]) -> None:
        self._now = now

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        """Raise NoNode."""
        raise NoNode("this is done without nodes")

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        """Raise NoNode."""
        raise NoNode("this is done without nodes")

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Leave it: it would ask nodes."""
        work.close()

    async def compute(self, work: Callable[[], _T]) -> _T:
        """Do it here."""
        return work()

    def now(self) -> Now:
        """The present."""
        return self._now()

    def count(self, name: str) -> None:
        """Nobody did anything wrong."""


def refused(done: Writing, now: Now) -> WriteQuorumFailed:
    """What to raise for a write that found no quorum: with the commonest refusal, and what to do about it."""
    hint = None
    why = "" if done.refusal is Status.OK else done.refusal.name.lower().replace("_", " ")
    if done.refusal is Status.BAD_LIFETIME:
        ahead_s = int(now.wall) - done.number
        direction = "fast" if ahead_s > 0 else "slow"
        why = f"your clock is {abs(ahead_s)} s {direction}"
        hint = "set this machine's clock, then try again"
    elif done.refusal is Status.OVER_QUOTA:
        hint = "delete what is no longer needed, or wait until it expires"
    elif done.refusal is Status.RATE_LIMITED:
        hint = f"wait {done.number} ms, then try again"
    elif done.refusal is Status.BUSY:
        hint = "the nodes have too much to do, or their disks are full: see `yz status` there, then try again"
    error = WriteQuorumFailed(done.accepted, done.needed, done.asked, why)
    if hint is not None:
        error.hint = hint
    return error
