"""`yz id add`, `list` and `remove`: names for people. Works without a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from yzdht.cli.manual import manual
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import ContactChanged, NotFound, UsageError


if TYPE_CHECKING:
    from yzdht.crypto.moving import Moved, Revoked
    from yzdht.ids import PublicKey
    from yzdht.store.marks import Contact, MemoryMarks, SqliteMarks


@click.command(
    epilog=manual(
        "yz id add anna AveN…44-letters…Q=", "yz id add anna yz:… --fingerprint X7C6-M2PZ-FDRC-F19M"
    )
)
@click.argument("name")
@click.argument("who")
@click.option("--fingerprint", metavar="F", help="What they told you; somebody else is refused.")
@click.option("--force", is_flag=True, help="Even if NAME is somebody else so far.")
@json_option
@click.pass_obj
def add(settings: Settings, *, name: str, who: str, fingerprint: str | None, force: bool) -> None:
    """Give somebody a name, which --to and --from then take.

    WHO is a public key, a yz: link, or the fingerprint of an identity met. Compare the fingerprint that is shown with
    them, by voice or face to face: whoever handed you the key could have handed you their own.
    """
    from yzdht.cli.sources import Holder, looks_like_a_key, parse_person  # noqa: PLC0415 - loads the library
    from yzdht.crypto.naming import fingerprint as fingerprint_of, node_id_of, parse_fingerprint  # noqa: PLC0415 - as above
    from yzdht.store.marks import Contact, contact_name  # noqa: PLC0415 - as above

    name = contact_name(name)
    if looks_like_a_key(name):
        raise UsageError(f"the name {name!r} could be taken for a key", hint="choose another name")
    person = parse_person(settings, who, "WHO")
    if isinstance(person, Holder):
        raise UsageError(
            "a node id alone does not carry the key", hint="give the public key: `yz id show` prints it there"
        )
    shown = fingerprint_of(node_id_of(person.public_key))
    if fingerprint is not None and parse_fingerprint(fingerprint) != shown:
        raise ContactChanged(f"this key has the fingerprint {shown}, not {parse_fingerprint(fingerprint)}")
    _add(settings, Contact(name, person.public_key), is_forced=force)
    screen = settings.screen
    if screen.is_json:
        screen.object(_view(name, person.public_key))
        return
    screen.line(f"{name}  {shown}")
    if fingerprint is None:
        screen.say(f"compare it: ask {name} what `yz id show` says there")


def _add(settings: Settings, contact: Contact, *, is_forced: bool) -> None:
    with settings.remembered() as marks:
        known = marks.contact(contact.name)
        if known is not None and known.public_key != contact.public_key and not is_forced:
            raise ContactChanged(f"{known.name} is somebody else so far, {_fingerprint(known.public_key)}")
        marks.set_contact(contact)


@click.command("list", epilog=manual("yz id list", "yz --json id list"))
@json_option
@click.pass_obj
def list_(settings: Settings) -> None:
    """Show everybody who has a name, with their fingerprints, and who is known to have moved or to be revoked."""
    with settings.remembered() as marks:
        contacts = marks.contacts()
        ends = [_end(settings, marks, contact.public_key) for contact in contacts]
    screen = settings.screen
    width = max((len(contact.name) for contact in contacts), default=0)
    for contact, end in zip(contacts, ends, strict=True):
        if screen.is_json:
            screen.object(_view(*contact) | _end_view(end))
        else:
            screen.line(f"{contact.name:<{width}}  {_fingerprint(contact.public_key)}{_ended(end)}")
    if not contacts and not screen.is_json:
        screen.say("nobody has a name yet: yz id add NAME PUBLIC_KEY")


@click.command(epilog=manual("yz id remove anna"))
@click.argument("name")
@json_option
@click.pass_obj
def remove(settings: Settings, *, name: str) -> None:
    """Forget a name; values stored for them stay as they are."""
    with settings.remembered() as marks:
        known = marks.contact(name)
        if known is None:
            raise NotFound(f"nobody is called {name[:80]!r}", hint="see: yz id list")
        marks.remove_contact(name)
    if settings.screen.is_json:
        settings.screen.object(_view(*known))
    else:
        settings.screen.say(f"{known.name} is forgotten")


def _end(settings: Settings, marks: MemoryMarks | SqliteMarks, person: PublicKey) -> Moved | Revoked | None:
    """What this home knows of somebody's end; no node is asked."""
    from yzdht.crypto.naming import network_id, node_id_of  # noqa: PLC0415 - loads the library
    from yzdht.moves import known_end  # noqa: PLC0415 - as above

    return known_end(marks.move(node_id_of(person), network_id(settings.network)))


def _successor(end: Moved | Revoked | None) -> PublicKey | None:
    from yzdht.crypto.moving import Moved  # noqa: PLC0415 - loads the cryptography

    return end.successor if isinstance(end, Moved) else None


def _ended(end: Moved | Revoked | None) -> str:
    if end is None:
        return ""
    successor = _successor(end)
    return "  revoked" if successor is None else f"  moved to {_fingerprint(successor)}"


def _end_view(end: Moved | Revoked | None) -> dict[str, object]:
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - loads the library

    successor = _successor(end)
    return {
        "movedTo": None if successor is None else encode_public_key(successor),
        "revoked": end is not None and successor is None,
    }


def _fingerprint(public_key: PublicKey) -> str:
    from yzdht.crypto.naming import fingerprint, node_id_of  # noqa: PLC0415 - loads the library

    return fingerprint(node_id_of(public_key))


def _view(name: str, public_key: PublicKey) -> dict[str, object]:
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - loads the library

    return {"name": name, "fingerprint": _fingerprint(public_key), "publicKey": encode_public_key(public_key)}
