"""Keys that sign without being shown, and what says that a signature holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from yzdht.ids import NetworkId, PublicKey, Signature, Target
    from yzdht.wire.record import Record


class Signer(Protocol):
    """Holds a signing key without showing it."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, label: str, network: NetworkId, message: bytes) -> Signature:
        """Sign lp(label) ‖ NET ‖ message (PROTOCOL.md section 1)."""
        ...


class RecordVerifier(Protocol):
    """Checks that a record is its publisher's and belongs under a target."""

    def check_target(self, record: Record, target: Target) -> None:
        """Check that it belongs there, without looking at its signature.

        Raises:
            WrongTarget: It is a record of another target.

        """
        ...

    def verify_record(self, record: Record, target: Target) -> None:
        """Check target and signature.

        Raises:
            WrongTarget: It is a record of another target.
            InvalidSignature: The signature does not verify.

        """
        ...

    def check_times(self, record: Record, wall_now: float) -> None:
        """Check created and expires as a storing node does (PROTOCOL.md section 8).

        Raises:
            LifetimeRefused: Out of range.

        """
        ...

    def is_move(self, record: Record) -> bool:
        """True for a move record, which is kept like an immutable one (PROTOCOL.md section 13)."""
        ...
