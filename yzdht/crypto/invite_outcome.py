"""What an issuer answers to a redemption: one number for each outcome (PROTOCOL.md section 12).

The joiner raises the same error as the issuer did. A number that is not known is a refusal, too.
"""

from __future__ import annotations

from enum import IntEnum

from yzdht.errors import (
    InvalidKey,
    InviteExpired,
    InviteForAnother,
    InviteForged,
    InviteNotYetValid,
    InviteRefused,
    InviteRevoked,
    InviteUnanswered,
    InviteUnknown,
    InviteUsedUp,
    NotAdmitted,
    WrongInviteScope,
    WrongInviteSecret,
    YzError,
)


class Outcome(IntEnum):
    """What a redemption came to."""

    ADMITTED = 0
    FORGED = 1
    WRONG_SCOPE = 2
    NOT_YET_VALID = 3
    EXPIRED = 4
    WRONG_SECRET = 5
    FOR_ANOTHER = 6
    UNKNOWN = 7
    REVOKED = 8
    USED_UP = 9
    BAD_KEY = 10
    NOT_ADMITTED = 11
    LATER = 12


_ERRORS: dict[Outcome, tuple[type[YzError], str]] = {
    Outcome.FORGED: (InviteForged, "the issuer did not sign this invite"),
    Outcome.WRONG_SCOPE: (WrongInviteScope, "the invite is not for what its issuer invites to"),
    Outcome.NOT_YET_VALID: (InviteNotYetValid, "the invite is not valid yet, by the issuer's clock"),
    Outcome.EXPIRED: (InviteExpired, "the invite has expired, by the issuer's clock"),
    Outcome.WRONG_SECRET: (WrongInviteSecret, "the secret does not belong to this invite"),
    Outcome.FOR_ANOTHER: (InviteForAnother, "the invite is for another identity"),
    Outcome.UNKNOWN: (InviteUnknown, "the issuer's ledger does not hold this invite"),
    Outcome.REVOKED: (InviteRevoked, "the invite was revoked"),
    Outcome.USED_UP: (InviteUsedUp, "the invite is used up"),
    Outcome.BAD_KEY: (InvalidKey, "the issuer refused this identity's KEM key"),
    Outcome.NOT_ADMITTED: (NotAdmitted, "the issuer cannot admit anybody with this invite"),
    Outcome.LATER: (InviteUnanswered, "the issuer could not act on the invite just now"),
}


def outcome_of(error: InviteRefused | InvalidKey) -> Outcome:
    """The number of a refusal."""
    return next(
        (outcome for outcome, (kind, _) in _ERRORS.items() if isinstance(error, kind)), Outcome.NOT_ADMITTED
    )


def error_of(number: int) -> YzError:
    """What to raise for an outcome that is not ADMITTED."""
    try:
        kind, fact = _ERRORS[Outcome(number)]
    except ValueError:
        return InviteRefused("the issuer refused the invite, for a reason that this version does not know")
    return kind(fact)
