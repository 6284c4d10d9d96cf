"""Errors that say what a lookup, a read or a write came to."""

from __future__ import annotations

from yzdht.errors.tree import ExitCode, LookupFailed


class NotFound(LookupFailed):
    """Nothing is stored under this name."""

    exit_code = ExitCode.NOT_FOUND
    default_hint = "check the name and, for another publisher, --from"


class NoSuchGroup(NotFound):
    """This home knows no group of that name, or the group has no state yet that could be read."""

    default_hint = "see: yz group list"


class KeysUnknown(NotFound):
    """Nobody has published the keys of this identity, so that nothing can be sealed for it."""

    default_hint = "check who it is; they must have stored something once, with `yz put` for instance"


class NotTheIssuer(NotFound):
    """This home does not issue invites of the key that an invite names."""


class InviteUnanswered(NotFound):
    """The issuer of an invite has not answered yet."""

    default_hint = (
        "run `yz join` with the same link again later; the issuer need not be online at the same time"
    )


class StaleRecord(LookupFailed):
    """The nodes showed an older record than this home has already seen.

    Attributes:
        seq: Sequence number of the record shown; 0 for none.
        seen_seq: Sequence number of the newest record seen before.

    """

    exit_code = ExitCode.STALE
    default_hint = "try again through other nodes; the newest record may be out of reach"

    def __init__(self, seq: int, seen_seq: int) -> None:
        shown = f"seq {seq}" if seq else "nothing"
        super().__init__(f"the nodes showed {shown}, but seq {seen_seq} was seen before")
        self.seq = seq
        self.seen_seq = seen_seq


class QuorumFailed(LookupFailed):
    """Too few nodes answered.

    Attributes:
        answered: Nodes that answered, or that stored durably.
        needed: Nodes that had to.
        asked: Nodes that were asked.

    """

    exit_code = ExitCode.QUORUM
    default_hint = "check that enough nodes are up, then try again"

    def __init__(self, verb: str, answered: int, needed: int, asked: int, why: str = "") -> None:
        tail = f" ({why})" if why else ""
        super().__init__(f"{answered} of {asked} nodes {verb}, {needed} are needed{tail}")
        self.answered = answered
        self.needed = needed
        self.asked = asked


class ReadQuorumFailed(QuorumFailed):
    """Fewer nodes answered than a read needs (PROTOCOL.md section 9)."""

    def __init__(self, answered: int, needed: int, asked: int, why: str = "") -> None:
        super().__init__("answered", answered, needed, asked, why)


class WriteQuorumFailed(QuorumFailed):
    """Fewer nodes stored the record durably than a write needs (PROTOCOL.md section 9)."""

    def __init__(self, answered: int, needed: int, asked: int, why: str = "") -> None:
        super().__init__("stored it durably", answered, needed, asked, why)


class CasMismatch(LookupFailed):
    """The stored record is not the one that the writer expected.

    Attributes:
        seq: Sequence number that is stored now; 0 when nothing is.

    """

    exit_code = ExitCode.CONFLICT
    default_hint = "get the value again, then put with --if-seq set to its seq"

    def __init__(self, seq: int) -> None:
        stored = f"seq {seq} is stored" if seq else "nothing is stored"
        super().__init__(f"compare-and-swap refused: {stored}")
        self.seq = seq


class PublishFailed(QuorumFailed):
    """Fewer hosts of the topic than half and one have the message on disk; it may arrive all the same (PROTOCOL.md section 11)."""

    default_hint = "it may arrive all the same, and goes along with the next message of its topic"

    def __init__(self, stored: int, asked: int, why: str = "") -> None:
        super().__init__("stored the message durably", stored, asked // 2 + 1, asked, why)


class TooManyMessages(LookupFailed):
    """So many messages of this process are on their way that no further one was begun."""

    default_hint = "wait for some of them, then publish it again"


class SubscriptionOverflow(LookupFailed):
    """More messages came than a subscription has room for, and it was to end then."""

    default_hint = "read faster, or subscribe with another overflow; its cursor says where it was"

    def __init__(self, size: int) -> None:
        super().__init__(f"more than {size:,} messages wait")


class Conflict(LookupFailed):
    """Another writer with the same identity won each of several attempts."""

    exit_code = ExitCode.CONFLICT
    default_hint = "another device is writing this name; get it again, then put"


class NoNode(LookupFailed):
    """No node could be reached."""

    exit_code = ExitCode.NO_NODE
    default_hint = "start one with `yz-node --port 8083`, or name one with --node URL"


class NodeSilent(NoNode):
    """A process of this machine holds a node's place, and does not answer."""

    default_hint = (
        "it hangs or is overloaded: look at its log, or end it with kill -9 and start it again; "
        "what it has acknowledged is on its disk"
    )
