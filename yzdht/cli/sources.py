"""Whom people mean by what they write after --from and --to, and links in place of a name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.crypto.naming import node_id_of, parse_fingerprint
from yzdht.errors import NotFound, UsageError, WireError
from yzdht.wire.text import SlotLink, decode_node_id, decode_public_key, decode_slot_link


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yzdht.cli.settings import Settings
    from yzdht.client import Client
    from yzdht.ids import NodeId, PublicKey
    from yzdht.records import Value


LINK_START = "yz:"

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_PUBLIC_KEY_CHARACTERS = 44
_SOURCE_HINT = (
    "give a public key, a node id, the fingerprint of an identity met before, a yz: link, "
    "or a name that you gave with `yz id add`"
)


@dataclass(frozen=True, slots=True)
class Oneself:
    """The home's own identity, private before public."""


@dataclass(frozen=True, slots=True)
class Keyholder:
    """Whoever holds a public key."""

    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever has a node id."""

    node_id: NodeId


Source = Oneself | Keyholder | Holder | SlotLink


def refuse_link(name: str) -> None:
    """Keep names and links apart where only a name makes sense.

    Raises:
        UsageError: It starts like a link.

    """
    if name.startswith(LINK_START):
        raise UsageError(
            f"the name {name[:40]!r} starts like a link", hint="choose a name without yz: in front"
        )


def parse_source(settings: Settings, name: str, text: str | None) -> Source:
    """Whose value NAME and --from mean.

    Args:
        settings: The home knows fingerprints.
        name: A name, or a link.
        text: What stands after --from.

    Raises:
        UsageError: It is none of the forms, or two links were given.
        InvalidKey: It looks like a public key and is none.
        NotFound: No identity of this fingerprint was met.

    """
    if name.startswith(LINK_START):
        if text is not None:
            raise UsageError("the link says already whose value it is", hint="leave --from out")
        return _link(name)
    return Oneself() if text is None else _from(settings, text)


def _from(settings: Settings, text: str) -> Source:
    return _link(text) if text.startswith(LINK_START) else parse_person(settings, text, "--from")


def parse_person(settings: Settings, text: str, where: str) -> Keyholder | Holder:
    """Whom a public key, a node id, a fingerprint, a `yz:` link or a contact's name means.

    Args:
        settings: The home knows fingerprints and names.
        text: What was written.
        where: After which option, or as which argument; for errors.

    Raises:
        UsageError: It is none of these.
        InvalidKey: It looks like a public key and is none.
        NotFound: No identity of this fingerprint was met.

    """
    if text.startswith(LINK_START):
        return Keyholder(_link(text).publisher)
    try:
        if _HEX.fullmatch(text):
            return Holder(decode_node_id(text.lower()))
        if len(text) == _PUBLIC_KEY_CHARACTERS and text.isascii():
            public_key = decode_public_key(text)
            node_id_of(public_key)  # refuses what is no point before any node is asked
            return Keyholder(public_key)
    except WireError as error:
        raise UsageError(f"{where} {text}: {error}", hint=_SOURCE_HINT) from None
    return Keyholder(_known(settings, text, where))


def looks_like_a_key(text: str) -> bool:
    """True for what `parse_person` does not look up among the contacts, and what could be taken for it."""
    try:
        parse_fingerprint(text)
    except UsageError:
        return (
            text.startswith(LINK_START)
            or _HEX.fullmatch(text) is not None
            or len(text) == _PUBLIC_KEY_CHARACTERS
        )
    return True


async def resolve_person(client: Client, person: Keyholder | Holder) -> PublicKey:
    """The public key of somebody; a node id is looked up.

    Raises:
        YzError: As `Records.resolve_node_id`.

    """
    if isinstance(person, Keyholder):
        return person.public_key
    return await client.records.resolve_node_id(person.node_id)


def _link(text: str) -> SlotLink:
    try:
        link = decode_slot_link(text)
    except WireError as error:
        raise UsageError(f"the link is damaged: {error}", hint="copy it whole") from None
    node_id_of(link.publisher)
    return link


def _known(settings: Settings, text: str, where: str) -> PublicKey:
    """Somebody by the name that this home gave them, or by the fingerprint of an identity that it has met."""
    try:
        fingerprint = parse_fingerprint(text)
    except UsageError:
        fingerprint = None
    public_key = _remembered(settings, text, fingerprint)
    if public_key is not None:
        return public_key
    if fingerprint is None:
        raise UsageError(f"{where} {text[:80]!r} names nobody", hint=_SOURCE_HINT)
    raise NotFound(
        f"no identity with the fingerprint {fingerprint} was met",
        hint="read from it once by its public key or node id",
    )


def _remembered(settings: Settings, name: str, fingerprint: str | None) -> PublicKey | None:
    if not os.path.lexists(settings.key_path):
        return None  # a home that is not there yet knows nobody, and need not be made for that
    identity = settings.identity
    if fingerprint == identity.fingerprint:
        return identity.public_key
    with settings.remembered() as marks:
        met = None if fingerprint is None else marks.resolve_fingerprint(fingerprint)
        contact = marks.contact(name)
    return met if met is not None or contact is None else contact.public_key


@dataclass(frozen=True, slots=True)
class Way:
    """How a value is read.

    Attributes:
        disjoint: Paths that share no node.
        passphrase: Of the value; None for none.
        group: Whose name it is; None for nobody's but its publisher's.

    """

    disjoint: int = 1
    passphrase: str | None = field(default=None, repr=False)
    group: str | None = None


async def read_value(client: Client, name: str, source: Source, way: Way) -> Value:
    """Read what NAME and --from mean.

    Raises:
        UsageError: A link and a name that it cannot belong to.
        YzError: As `Records.get`.

    """
    match source:
        case Oneself():
            return await client.get(name, disjoint=way.disjoint, passphrase=way.passphrase, group=way.group)
        case Keyholder() | Holder():
            publisher = await resolve_person(client, source)
            return await client.get(
                name,
                publisher=publisher,
                disjoint=way.disjoint,
                passphrase=way.passphrase,
                group=way.group,
            )
        case SlotLink():
            if not name.startswith(LINK_START) and source.tag not in client.records.tags_of(name):
                raise UsageError(
                    f"the link does not belong to the name {name!r}",
                    hint="check the name, or leave it out: yz get yz:…",
                )
            return await client.records.get_slot(source.publisher, source.tag, way.disjoint, way.passphrase)


def owner_of(settings: Settings, owner: str | None) -> Callable[[Client], Awaitable[PublicKey | None]]:
    """Finds the key of a topic's owner, whom --owner names; None for everybody's topic.

    Raises:
        UsageError: The text names nobody.

    """
    person = None if owner is None else parse_person(settings, owner, "WHO behind --owner")

    async def find(client: Client) -> PublicKey | None:
        return None if person is None else await resolve_person(client, person)

    return find
