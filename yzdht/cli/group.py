"""`yz group`: groups whose members share values."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from yzdht.cli.manual import READING, WRITING, manual
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import DecryptionFailed, NotAMember, UsageError, WireError


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yzdht.client import Client
    from yzdht.groups import GroupInfo
    from yzdht.ids import PublicKey


@click.group(
    epilog=manual("yz group create team", "yz invite group team", "yz group members team", "yz group list")
)
def group() -> None:
    """Make groups, and change who is in them. Their names are this home's own: nobody else sees them."""


@group.command(epilog=manual("yz group create team", "yz group create --history team", codes=WRITING))
@click.argument("name")
@click.option("--history", is_flag=True, help="Whoever joins later may read what is written before.")
@json_option
@click.pass_obj
def create(settings: Settings, *, name: str, history: bool) -> None:
    """Make a group, with yourself as its admin."""
    info = settings.through_client(
        f"making {name}", lambda client: client.groups.create(name, history=history)
    )
    _show(settings, info, f"{info.name} is made; invite somebody: yz invite group {info.name}")


@group.command("list", epilog=manual("yz group list", "yz --json group list"))
@json_option
@click.pass_obj
def list_(settings: Settings) -> None:
    """Show the groups of this home, as they were seen last; asks no node."""
    infos, lost = [], []
    with settings.offline() as records:
        for name in records.groups.names():
            try:
                infos.append(records.groups.known_info(name))
            except DecryptionFailed:
                lost.append(name)
    width = max((len(info.name) for info in infos), default=0)
    for info in infos:
        if settings.screen.is_json:
            settings.screen.object(_view(settings, info))
        else:
            settings.screen.line(f"{info.name:<{width}}  {_summary(info)}")
    for name in lost:
        settings.screen.warn(f"what is kept of {name} is damaged, or another identity's")
    if not infos and not lost and not settings.screen.is_json:
        settings.screen.say("this home knows no group yet: yz group create NAME, or yz join LINK")


@group.command(epilog=manual("yz group members team", codes=READING))
@click.argument("name")
@json_option
@click.pass_obj
def members(settings: Settings, *, name: str) -> None:
    """Show who is in a group, in its newest state."""
    info = settings.through_client(f"looking at {name}", lambda client: client.groups.info(name))
    screen = settings.screen
    if screen.is_json:
        screen.object(_view(settings, info))
    else:
        for member in _members(settings, info):
            called = f"  {member['name']}" if member["name"] else ""
            screen.line(f"{member['fingerprint']}  {member['role']}{called}")
        screen.say(_summary(info))
    _warn(settings, info, since=0)


@group.command(epilog=manual("yz group add team anna", codes=WRITING))
@click.argument("name")
@click.argument("who")
@click.option(
    "--history/--no-history", default=None,
    help="Whether they, and then all members, may read what was written before; as the group has it if left out.",
)  # fmt: skip
@json_option
@click.pass_obj
def add(settings: Settings, *, name: str, who: str, history: bool | None) -> None:
    """Take somebody in whose key you know. An invite does the same for whoever you do not know yet.

    WHO is a contact's name, a fingerprint, a public key, a node id or a yz: link.
    """
    from yzdht.cli.sources import parse_person, resolve_person  # noqa: PLC0415 - loads the library
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - as above

    person = parse_person(settings, who, "WHO")

    async def work(client: Client) -> GroupInfo:
        return await client.groups.add(name, await resolve_person(client, person), history=history)

    info = settings.through_client(f"adding {who}", work)
    key = encode_public_key(info.group_key)
    _show(settings, info, f"{who} is in; on their side: yz group open NAME {key}")


@group.command("open", epilog=manual("yz group open team AveN…44-letters…Q=", codes=READING))
@click.argument("name")
@click.argument("key")
@json_option
@click.pass_obj
def open_(settings: Settings, *, name: str, key: str) -> None:
    """Take up a group in which you are already, by its public KEY, under a NAME of your choice."""
    from yzdht.wire.text import decode_public_key  # noqa: PLC0415 - loads the library

    try:
        group_key = decode_public_key(key)
    except WireError as error:
        raise UsageError(
            f"KEY is no public key: {error}",
            hint="`yz --json group list` prints it, on another device or an admin's",
        ) from None
    info = settings.through_client(f"opening {name}", lambda client: client.groups.adopt(name, group_key))
    _show(settings, info, f"{info.name} is open: {_summary(info)}")


@group.command(epilog=manual("yz group remove team ben", codes=WRITING))
@click.argument("name")
@click.argument("member")
@json_option
@click.pass_obj
def remove(settings: Settings, *, name: str, member: str) -> None:
    """Take MEMBER out, who then reads nothing that is written from now on; invites that they redeemed are revoked."""
    info = _change(settings, name, member, "removing", lambda c, key: c.groups.remove(name, key))
    _show(settings, info, f"{member} is out, in epoch {info.epoch}")


@group.command(epilog=manual("yz group promote team anna", codes=WRITING))
@click.argument("name")
@click.argument("member")
@json_option
@click.pass_obj
def promote(settings: Settings, *, name: str, member: str) -> None:
    """Make MEMBER an admin, who can then do all that you can."""
    info = _change(settings, name, member, "promoting", lambda c, key: c.groups.promote(name, key))
    _show(settings, info, f"{member} is an admin now")


@group.command(epilog=manual("yz group rotate team", codes=WRITING))
@click.argument("name")
@json_option
@click.pass_obj
def rotate(settings: Settings, *, name: str) -> None:
    """Begin a new epoch with fresh keys, as when a member's device may have been read. Happens weekly by itself."""
    info = settings.through_client(f"rotating {name}", lambda client: client.groups.rotate(name))
    _show(settings, info, f"{info.name} is in epoch {info.epoch}", since=info.epoch)


@group.command(epilog=manual("yz group leave team", "yz group leave --force team"))
@click.argument("name")
@click.option("--force", is_flag=True, help="Even as the only admin: nobody can change the group any more.")
@json_option
@click.pass_obj
def leave(settings: Settings, *, name: str, force: bool) -> None:
    """Forget a group and what it takes to read it. You stay listed until an admin removes you: tell them."""
    info = None
    with settings.offline() as records:
        with suppress(DecryptionFailed):  # it can be forgotten all the same
            info = records.groups.known_info(name)
        records.groups.leave(name, is_forced=force)
    if info is None:
        settings.screen.say(f"{name} is forgotten")
        return
    is_listed = len(info.members) > 1 and not info.is_removed
    rest = "; ask an admin to remove you there" if is_listed else ""
    if settings.screen.is_json:
        settings.screen.object(_view(settings, info))
    else:
        settings.screen.say(f"{info.name} is forgotten{rest}")


def _change(
    settings: Settings,
    name: str,
    member: str,
    doing: str,
    work: Callable[[Client, PublicKey], Awaitable[GroupInfo]],
) -> GroupInfo:
    """Change something about a member, who may be named by the fingerprint that `members` shows."""

    async def change(client: Client) -> GroupInfo:
        return await work(client, await _member(settings, client, name, member))

    return settings.through_client(f"{doing} {member}", change)


async def _member(settings: Settings, client: Client, name: str, text: str) -> PublicKey:
    from yzdht.cli.sources import parse_person, resolve_person  # noqa: PLC0415 - loads the library
    from yzdht.crypto.naming import fingerprint, node_id_of, parse_fingerprint  # noqa: PLC0415 - as above

    listed = client.groups.known_info(name).members
    try:
        wanted = parse_fingerprint(text)
    except UsageError:
        return await resolve_person(client, parse_person(settings, text, "MEMBER"))
    for member in listed:
        if fingerprint(node_id_of(member.public_key)) == wanted:
            return member.public_key
    raise NotAMember(
        f"nobody in the group has the fingerprint {wanted}", hint=f"see: yz group members {name}"
    )


# What is shown


def _show(settings: Settings, info: GroupInfo, line: str, since: int | None = None) -> None:
    if settings.screen.is_json:
        settings.screen.object(_view(settings, info))
    else:
        settings.screen.say(line)
    _warn(settings, info, info.epoch - 1 if since is None else since)


def _warn(settings: Settings, info: GroupInfo, since: int) -> None:
    """Tell what is wrong with a group, forks since an epoch among it: those before were answered by a new one."""
    for fork in (fork for fork in info.forks if fork.epoch >= since):
        settings.screen.warn(
            f"epoch {fork.epoch} of {info.name} has two states, {fork.known.hex()[:16]}… and {fork.other.hex()[:16]}…: "
            "two admins wrote without seeing each other",
            f"check who is in it, then begin a new epoch: yz group rotate {info.name}",
        )
    if info.is_removed:
        settings.screen.warn(
            f"you are no member of {info.name} any more", "ask an admin to add you again, or leave it"
        )


def _summary(info: GroupInfo) -> str:
    from yzdht.crypto.naming import fingerprint, node_id_of  # noqa: PLC0415 - loads the library

    role = "removed" if info.is_removed else "admin" if info.is_admin else "member"
    count = f"{len(info.members)} member{'' if len(info.members) == 1 else 's'}"
    return f"{fingerprint(node_id_of(info.group_key))}  epoch {info.epoch}, {count}, you are {role}"


def _members(settings: Settings, info: GroupInfo) -> list[dict[str, str | None]]:
    from yzdht.crypto.naming import fingerprint, node_id_of  # noqa: PLC0415 - loads the library
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - as above

    with settings.remembered() as marks:
        names = {contact.public_key: contact.name for contact in marks.contacts()}
    names[settings.identity.public_key] = "you"
    return [
        {
            "fingerprint": fingerprint(node_id_of(member.public_key)),
            "publicKey": encode_public_key(member.public_key),
            "role": member.role.name.lower(),
            "name": names.get(member.public_key),
        }
        for member in info.members
    ]


def _view(settings: Settings, info: GroupInfo) -> dict[str, object]:
    from yzdht.crypto.naming import fingerprint, node_id_of  # noqa: PLC0415 - loads the library
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - as above

    return {
        "name": info.name,
        "groupKey": encode_public_key(info.group_key),
        "fingerprint": fingerprint(node_id_of(info.group_key)),
        "epoch": info.epoch,
        "created": info.created,
        "expires": info.expires,
        "admin": info.is_admin,
        "removed": info.is_removed,
        "history": info.has_history,
        "members": _members(settings, info),
        "forks": [
            {"epoch": fork.epoch, "known": fork.known.hex(), "other": fork.other.hex()} for fork in info.forks
        ],
    }
