"""Errors of the peer's: bytes that arrived are not what the protocol allows, or not for this reader."""

from __future__ import annotations

from yzdht.errors.tree import CryptoError, ExitCode, WireError


class FrameTooLarge(WireError):
    """A message or a series of fragments is longer than its limit."""


class RecordTooLarge(WireError):
    """A record or its value is longer than section 8 allows (status 205)."""


class LifetimeRefused(WireError):
    """A record's created or expires is outside of what a node stores (PROTOCOL.md section 8, status 207)."""

    default_hint = "check the clock of this machine and of the node"


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
