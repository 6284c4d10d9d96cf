"""Every error that leaves yzdht, in one tree.

An error names a fact, keeps the data as attributes, carries a hint (what to try, imperative) and the exit code
that the command line ends with. Verification errors never say which byte was wrong.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of `yz` and `yz-node`; scripts depend on them."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    STALE = 4
    BAD_SIGNATURE = 5
    QUORUM = 6
    NO_NODE = 7
    CONFLICT = 8
    NOT_A_READER = 9
    INTERRUPTED = 130


class YzError(Exception):
    """Root of every error that yzdht raises on purpose.

    Args:
        message: One sentence that names the fact.
        hint: What to try next, imperative; the class default when None.

    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = self.default_hint if hint is None else hint


# Ours: the caller or the operator asked for something impossible.


class UsageError(YzError):
    """An argument is out of its documented range."""

    exit_code = ExitCode.USAGE
    default_hint = "see --help, or the description of this call in docs/api.md, for what it takes"


class ConfigError(YzError):
    """The configuration of a node or client cannot work."""

    exit_code = ExitCode.USAGE
    default_hint = "see yz-node --help, or docs/operating.md, for what it takes"


class ValueTooLarge(UsageError):
    """A value is longer than one record can carry."""

    default_hint = "split the value; one record carries at most 61,436 bytes"


class BadInviteLink(UsageError):
    """A text is not one whole invite link (PROTOCOL.md section 12)."""

    default_hint = "copy the link again, from its first character to its last, as `yz invite` printed it"


class LedgerFull(UsageError):
    """An issuer has as many invites, promised uses or revocations as its ledger holds."""

    default_hint = "revoke invites that nobody needs, or wait until some expire"


class NoSuchInvite(UsageError):
    """An issuer's ledger holds no invite of this id."""

    default_hint = "list those that it holds with `yz invite list`"


class GroupChangeRefused(UsageError):
    """A group's state cannot be changed like that (PROTOCOL.md section 10)."""

    default_hint = "look at the group's members first"


class NotAMember(GroupChangeRefused):
    """The change names somebody who is not in the group."""

    default_hint = "look at the group's members, or invite them first"


class AlreadyAMember(GroupChangeRefused):
    """The joiner is in the group already."""

    default_hint = "promote them, or change their KEM key, instead of adding them again"


class GroupFull(GroupChangeRefused):
    """The group has all the members that one can have."""

    default_hint = "remove a member first, or create a second group; one has at most 255 members"


class LastAdmin(GroupChangeRefused):
    """Without this admin nobody could change the group any more."""

    default_hint = "promote another member first"


class NotAnAdmin(GroupChangeRefused):
    """Only admins change a group, and this home holds no key of it."""

    default_hint = "ask an admin: `yz group members NAME` shows them"


class AdminKnowsKey(GroupChangeRefused):
    """An admin cannot merely be taken off the list: it knows the group's key."""

    default_hint = "remove the admin together with the group's key, which is made anew then"


# The peer's: bytes that arrived are not what the protocol allows.


class WireError(YzError):
    """Bytes do not parse as the protocol says (PROTOCOL.md)."""


class FrameTooLarge(WireError):
    """A message or a series of fragments is longer than its limit."""


class RecordTooLarge(WireError):
    """A record or its value is longer than section 8 allows (status 205)."""


class LifetimeRefused(WireError):
    """A record's created or expires is outside of what a node stores (PROTOCOL.md section 8, status 207)."""

    default_hint = "check the clock of this machine and of the node"


class CryptoError(YzError):
    """A key, a signature or a ciphertext was refused."""

    exit_code = ExitCode.BAD_SIGNATURE


class InvalidKey(CryptoError):
    """A public or private key is not a valid P-256 key in the required form."""

    default_hint = "copy the key again, whole, as `yz id show` prints it"


class InvalidSignature(CryptoError):
    """A signature does not verify, is high-S or has the wrong length."""

    default_hint = "the data was forged or damaged on its way; ask another node"


class WrongTarget(CryptoError):
    """A valid record was offered under a target that is not its own."""

    default_hint = "a node moved this record; ask another node"


class DecryptionFailed(CryptoError):
    """A ciphertext, its commitment or its padding was refused."""

    default_hint = "the data was damaged, or sealed under another key"


class NotAReader(CryptoError):
    """The record is sealed for somebody else."""

    exit_code = ExitCode.NOT_A_READER
    default_hint = "ask its publisher to store it again with you among its readers"


class PassphraseNeeded(NotAReader):
    """The record is sealed under a passphrase, and none was given."""

    default_hint = "give its passphrase: yz get NAME --passphrase-fd N, or get(name, passphrase=…)"


class ContactChanged(CryptoError):
    """A name or a fingerprint belongs to another identity than the one at hand."""

    default_hint = "ask them, by voice or face to face, what `yz id show` says; then use --force"


class KeyTooOld(CryptoError):
    """The newest key that somebody has published ended too long ago to seal to it (PROTOCOL.md section 8)."""

    default_hint = "ask them to use yz once: that publishes a new key"


class PublisherRevoked(CryptoError):
    """Somebody's identity is revoked: nothing that it signed counts, and nothing is sealed for it (PROTOCOL.md section 13)."""

    default_hint = "ask them, by voice or face to face, for the identity that they use now"


class PersonMoved(CryptoError):
    """Somebody goes on under another key, for which nothing is sealed by itself (PROTOCOL.md section 13).

    Whoever stole the old key could have named a key of their own.

    Attributes:
        successor: The key that takes over, 33 bytes.

    """

    default_hint = (
        "compare fingerprints with them, then give the name to the new key: yz id add NAME NEWKEY --force"
    )

    def __init__(self, message: str, successor: bytes, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.successor = successor


class IdentityRevoked(CryptoError):
    """This identity is revoked: whoever reads refuses what it signs (PROTOCOL.md section 13)."""

    default_hint = "make a new one, `yz id new --force`, and tell people its fingerprint"


class IdentityMoved(CryptoError):
    """This identity moved to another key, under which its values belong now (PROTOCOL.md section 13).

    Attributes:
        successor: The key that takes over, 33 bytes.

    """

    default_hint = (
        "go on with the new identity: yz id import FILE --force; if it is none of yours: yz id revoke"
    )

    def __init__(self, message: str, successor: bytes) -> None:
        super().__init__(message)
        self.successor = successor


class KemKeyMissing(CryptoError):
    """Another device of this identity published a KEM key that this one has not (PROTOCOL.md section 2)."""

    default_hint = "import again: `yz id export` on the other device, `yz id import` on this one"


class UnknownEpoch(NotAReader):
    """A group record is sealed in an epoch of which this home knows nothing.

    Attributes:
        newest: The newest epoch that is known; 0 for none.

    """

    default_hint = (
        "get the group's newest state, then try again; if it is the newest, ask an admin for the past"
    )

    def __init__(self, newest: int) -> None:
        known = f"up to {newest} are known" if newest else "none is known"
        super().__init__(f"the record is sealed in an unknown epoch of the group; of its epochs {known}")
        self.newest = newest


class GroupStateRefused(CryptoError):
    """A group's state is not one that can follow what is known of the group (PROTOCOL.md section 10)."""

    default_hint = "keep to the state that you know, and ask the group's admins"


class GroupForked(GroupStateRefused):
    """Two states of one epoch exist: two admins did not see each other, or one of them cheats.

    Attributes:
        epoch: The epoch that both have.
        known: Hash of the record whose state is known, 32 bytes.
        other: Hash of the record that was shown, or that another state names.

    """

    exit_code = ExitCode.CONFLICT
    default_hint = "compare both with the group's admins; one of them has to write the group anew"

    def __init__(self, epoch: int, known: bytes, other: bytes) -> None:
        super().__init__(f"epoch {epoch} of the group has two states: {known.hex()} and {other.hex()}")
        self.epoch = epoch
        self.known = known
        self.other = other


class StaleGroupState(GroupStateRefused):
    """A group's state is older than the one that is known.

    Attributes:
        epoch: The epoch that was shown.
        known: The epoch that is known.

    """

    exit_code = ExitCode.STALE
    default_hint = "try again through other nodes; the newest state may be out of reach"

    def __init__(self, epoch: int, known: int) -> None:
        super().__init__(f"the nodes showed epoch {epoch} of the group, but epoch {known} was seen before")
        self.epoch = epoch
        self.known = known


class GroupMoved(GroupStateRefused):
    """The group goes on under another key, and nothing follows under the old one.

    Attributes:
        next_key: The group's new public key, 33 bytes.

    """

    default_hint = "get the state of the group's new key"

    def __init__(self, next_key: bytes) -> None:
        super().__init__("the group has a new key; nothing that is signed with the old one counts")
        self.next_key = next_key


class HandshakeFailed(CryptoError):
    """The session handshake did not complete (PROTOCOL.md section 3)."""

    default_hint = "check the network name, the network key and the node id"


class WrongNodeId(HandshakeFailed):
    """A node answered, but not the one that was dialled (PROTOCOL.md section 3)."""

    default_hint = "the address belongs to another node now; ask for its identity record again"


class WrongPassphrase(CryptoError):
    """A keyfile does not open with this passphrase."""

    default_hint = "try the passphrase again; without it the keys cannot be read"


class InviteRefused(CryptoError):
    """An invite does not admit whoever shows it; the leaves say why."""

    exit_code = ExitCode.FAILURE
    default_hint = "ask whoever invited you for a new link"


class InviteForged(InviteRefused):
    """An invite is not signed by its issuer for this network: it was changed, or is another network's."""

    exit_code = ExitCode.BAD_SIGNATURE
    default_hint = "copy the whole link again, and check the network's name"


class WrongInviteSecret(InviteRefused):
    """The secret is not the one that a bearer invite asks for."""

    exit_code = ExitCode.BAD_SIGNATURE
    default_hint = "copy the whole link again; both of its parts belong to one invite"


class InviteForAnother(InviteRefused):
    """An invite names another identity."""

    default_hint = "use the identity that was invited, or ask for an invite for this one"


class WrongInviteScope(InviteRefused):
    """An invite is another issuer's, another group's, or for something else."""

    default_hint = "hand it to whoever issued it, for what it was issued for"


class InviteNotYetValid(InviteRefused):
    """An invite's time has not begun."""

    default_hint = "check this machine's clock, or try again when it begins"


class InviteExpired(InviteRefused):
    """An invite's time is over."""

    default_hint = "ask for a new link; if this one should still be good, check this machine's clock"


class InviteUnknown(InviteRefused):
    """The issuer's ledger does not know the invite: it was issued elsewhere, or before a backup was restored."""

    default_hint = "reach the home that made the link, or ask for a new one"


class InviteRevoked(InviteRefused):
    """The issuer took the invite back."""


class InviteUsedUp(InviteRefused):
    """As many identities as an invite is for have redeemed it."""


class NotAdmitted(InviteRefused):
    """The issuer cannot act on the invite: the group is full, or whoever issued it administers it no more."""


# What a lookup, a read or a write came to.


class LookupFailed(YzError):
    """A read or a write did not reach its end."""


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


# The world's: files and sockets.


class StoreError(YzError):
    """A file or database cannot be read or written."""


class DataLocked(StoreError):
    """Another process holds this data folder."""

    default_hint = "stop the other node, or give this one its own folder with --data DIR"


class NewerFormat(StoreError):
    """A file was written by a newer version of yzdht."""

    default_hint = "upgrade yzdht; older versions never touch newer files"


class UnsafeFile(StoreError):
    """A file that holds secrets can be read by others, or a file or folder of ours changed by them."""

    exit_code = ExitCode.BAD_SIGNATURE
    default_hint = "run: chmod 600 on the file and chmod 700 on its folder"


class TransportError(YzError):
    """A connection could not be opened, or broke."""


class ListenFailed(TransportError):
    """The address cannot be listened on."""

    default_hint = "choose another --port, or stop what is using this one"


class DialFailed(TransportError):
    """A peer could not be reached at an address."""

    default_hint = "check that the node is running and that the address is right"


class DialledTooOften(DialFailed):
    """An address that others named was not dialled, because it was lately: that says nothing of who is there."""

    default_hint = "wait a few seconds"


class ReachedAnother(DialFailed):
    """Another node than the expected one answered at an address."""

    default_hint = "check the node id behind the # of the address"
