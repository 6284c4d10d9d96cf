"""Who can read a value, as a caller says it: `Self()`, `Public()`, `To([…])`, `Group(…)`, `Passphrase(…)` (PROTOCOL.md section 8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.crypto.primitives import check_public_key
from yzdht.crypto.sealing import Public, Self
from yzdht.errors import InvalidKey, UsageError
from yzdht.limits import NAMED_READERS_MAX


if TYPE_CHECKING:
    from yzdht.ids import PublicKey


__all__ = ["AnyReaders", "Group", "Passphrase", "Public", "Self", "To", "check_passphrase"]


@dataclass(frozen=True, slots=True, init=False)
class To:
    """Named people, and the publisher's own devices.

    Nothing that is stored says who they are; each tries. They need not be online, but must have published their keys, as
    everybody does who stores something.

    Args:
        people: Public keys of 33 bytes, 1 to 32 of them; who is named twice counts once.

    Raises:
        UsageError: There are none or too many, or one is no public key.

    """

    people: tuple[PublicKey, ...]

    def __init__(self, people: Iterable[PublicKey]) -> None:
        object.__setattr__(self, "people", _checked(people))


def _checked(people: object) -> tuple[PublicKey, ...]:
    """Refuse what types alone would have refused."""
    if isinstance(people, bytes | str) or not isinstance(people, Iterable):
        raise UsageError("To takes a list of public keys", hint="for one person: To([public_key])")
    named = tuple(dict.fromkeys(people))
    if not 1 <= len(named) <= NAMED_READERS_MAX:
        raise UsageError(
            f"a value is for 1 to {NAMED_READERS_MAX} named people, not {len(named)}", hint="use a group"
        )
    try:
        return tuple(check_public_key(person if isinstance(person, bytes) else b"") for person in named)
    except InvalidKey:
        raise UsageError(
            "a reader is named by a public key of 33 bytes",
            hint="a Receipt or a Value carries its publisher's; `yz id show` prints one's own",
        ) from None


@dataclass(frozen=True, slots=True)
class Group:
    """The members of a group, those of the epoch in which the value is stored.

    Attributes:
        name: What this home calls the group.

    Raises:
        UsageError: It is no text.

    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise UsageError(f"a group is named by text, not {type(self.name).__name__}")


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Whoever knows a passphrase and has the value's link; the publisher needs it too.

    Whoever stores the value can try passphrases for as long as they like: it should be one that no dictionary has.

    Attributes:
        text: 1 to 1,024 bytes of UTF-8, used in NFC and otherwise as typed.

    """

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        check_passphrase(self.text)


def check_passphrase(text: object) -> None:
    """Refuse what types alone would have refused.

    Raises:
        UsageError: It is no text.

    """
    if not isinstance(text, str):
        raise UsageError(f"a passphrase is text, not {type(text).__name__}")


AnyReaders = Public | Self | To | Group | Passphrase
"""Who can read a value."""
