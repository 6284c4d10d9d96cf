"""`yz invite`: links by which people join a group, or a closed network; who used them; taken back."""

from __future__ import annotations

import shlex
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli.durations import parse_duration
from yzdht.cli.manual import WRITING, manual
from yzdht.cli.node_folder import held_node, node_identity, refuse_no_node
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import LookupFailed, StoreError, UsageError
from yzdht.limits import INVITE_LIFE_S_MAX, INVITE_SERVED_EVERY_S


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from yzdht.cli.sources import Holder, Keyholder
    from yzdht.client import Client
    from yzdht.crypto.invite_ledger import MemoryLedger
    from yzdht.ids import PublicKey
    from yzdht.invites import Issued, Offer
    from yzdht.ports import InviteStanding
    from yzdht.registrar import Served
    from yzdht.store.ledger import SqliteLedger


_USES_MAX = 65_535
_SHOWN_DIGITS = 8

_uses = click.option(
    "--uses", metavar="N", type=click.IntRange(1, _USES_MAX), default=1, show_default=True,
    help="How many people may join by the link.",
)  # fmt: skip
_expires = click.option(
    "--expires", metavar="TIME", default="7d", show_default=True, help="How long it is good: 90s, 12h, 7d, 365d at most."
)  # fmt: skip
_for = click.option(
    "--for", "who", metavar="WHO",
    help="The one person whom it is for: a contact's name, fingerprint, public key, node id or yz: link.",
)  # fmt: skip

_data = click.option(
    "--data", "folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Of the network that the node of this data folder closes with its own key; asks no node.",
)  # fmt: skip


@click.group(
    "invite",
    epilog=manual("yz invite group team", "yz invite network --uses 5 --expires 1d", "yz invite list", "yz invite revoke 3fa9"),
)  # fmt: skip
def invite() -> None:
    """Make links by which people join, see who used them, take them back.

    Whoever gets hold of a link can join in place of whom you meant: send it like a password, or name them with --for.
    """


# Made


@invite.command(
    epilog=manual("yz invite network", "yz invite network --for anna", "yz invite network --uses 5 --expires 1d", codes=WRITING)
)  # fmt: skip
@_uses
@_expires
@_for
@_data
@json_option
@click.pass_obj
def network(settings: Settings, *, uses: int, expires: str, who: str | None, folder: Path | None) -> None:
    """Print a link to the closed network of your key: the one whose nodes run with --invite-only and that key.

    Where the key is a node's own, name its folder by --data: the node then lets people in by itself.
    """
    from yzdht.invites import Offer  # noqa: PLC0415 - loads the library

    offer = Offer(uses, _life_s(expires))
    if folder is not None:
        _show_issued(settings, _issue_for_node(settings, folder, offer, who))
        return
    _issue(settings, offer, who, lambda client, offer: client.invites.invite_network(offer))


@invite.command(
    epilog=manual("yz invite group team", "yz invite group team --for anna --admin", "yz invite group team --history", codes=WRITING)
)  # fmt: skip
@click.argument("name")
@_uses
@_expires
@_for
@click.option("--admin", "is_admin", is_flag=True, help="They can then change the group, and remove you.")
@click.option("--history", is_flag=True, help="They, and then all members, may read what was written before.")
@json_option
@click.pass_obj
def group(  # noqa: PLR0913 - click gives each option its argument
    settings: Settings,
    *,
    name: str,
    uses: int,
    expires: str,
    who: str | None,
    is_admin: bool,
    history: bool,
) -> None:
    """Print a link to the group NAME, of which you are an admin."""
    from yzdht.invites import Offer  # noqa: PLC0415 - loads the library

    offer = Offer(uses, _life_s(expires), is_admin=is_admin, has_history=history)
    _issue(settings, offer, who, lambda client, offer: client.invites.invite_group(name, offer))


def _life_s(text: str) -> int:
    life_s = parse_duration(text, "life of an invite")
    if not 1 <= life_s <= INVITE_LIFE_S_MAX:
        raise UsageError("an invite lives between 1 second and 365 days", hint="for a week: --expires 7d")
    return life_s


def _issue(
    settings: Settings, offer: Offer, who: str | None, issue: Callable[[Client, Offer], Awaitable[Issued]]
) -> None:
    """Serve what waits, issue, and show the one link."""
    from dataclasses import replace  # noqa: PLC0415 - needed here alone

    from yzdht.cli.sources import parse_person, resolve_person  # noqa: PLC0415 - loads the library

    if who is not None and offer.uses_max != 1:
        raise UsageError("an invite for one person is for one use", hint="leave --uses out, or --for")
    person: Keyholder | Holder | None = None if who is None else parse_person(settings, who, "--for")

    async def work(client: Client) -> tuple[Issued, list[Served]]:
        served = await client.invites.serve_once()
        invitee: PublicKey | None = None if person is None else await resolve_person(client, person)
        return await issue(client, replace(offer, invitee=invitee)), served

    issued, served = settings.through_client("making an invite", work)
    _say_served(settings, served)
    _show_issued(settings, issued)
    settings.screen.say("they wait until you have looked: yz invite serve")


def _issue_for_node(settings: Settings, folder: Path, offer: Offer, who: str | None) -> Issued:
    """Issue with the key of a node, which may be running."""
    from dataclasses import replace  # noqa: PLC0415 - needed here alone

    from yzdht.cli.sources import Keyholder, parse_person  # noqa: PLC0415 - loads the library
    from yzdht.crypto.invite import Office  # noqa: PLC0415 - as above
    from yzdht.crypto.invite_ledger import row_of  # noqa: PLC0415 - as above
    from yzdht.crypto.naming import network_id  # noqa: PLC0415 - as above
    from yzdht.invites import make_invite  # noqa: PLC0415 - as above
    from yzdht.sessions import SystemClock  # noqa: PLC0415 - as above
    from yzdht.store.entropy import SystemRng  # noqa: PLC0415 - as above
    from yzdht.wire.token import TokenType  # noqa: PLC0415 - as above

    if who is not None:
        person = parse_person(settings, who, "--for")
        if not isinstance(person, Keyholder):
            raise UsageError("a node id alone does not carry the key", hint="give the public key")
        offer = replace(offer, invitee=person.public_key)
    refuse_no_node(folder)
    identity = node_identity(folder, settings.passphrase)
    office = Office(network_id(settings.network), identity.public_key, TokenType.NETWORK)
    start = int(SystemClock().now().wall)
    issued = make_invite(identity.signer, office, offer, SystemRng(), start)
    with _ledger(settings, folder) as ledger:
        ledger.add(row_of(issued.token, start))
    return issued


def _show_issued(settings: Settings, issued: Issued) -> None:
    from yzdht.cli.receipts import instant  # noqa: PLC0415 - loads the library

    screen, token = settings.screen, issued.token
    if screen.is_json:
        screen.object(
            {
                "link": issued.link,
                "id": token.id.hex(),
                "type": token.type.name.lower(),
                "usesMax": token.uses_max,
                "expires": token.not_after,
            }
        )
        return
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    screen.line(f"'{issued.link}'" if is_terminal else issued.link)  # a shell would end a word at its &
    people = "one person" if token.uses_max == 1 else f"{token.uses_max:,} people"
    whom = "whoever has the link" if token.is_bearer else "that person alone"
    screen.say(f"invite {token.id.hex()[:_SHOWN_DIGITS]}: {people}, {whom}, until {instant(token.not_after)}")
    screen.say("they run: yz join LINK")


@invite.command(epilog=manual("yz invite admit node-data", "yz --network club invite admit node-data"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@json_option
@click.pass_obj
def admit(settings: Settings, *, folder: Path) -> None:
    """Make the node of data folder DIR a member of the closed network of your key: the first node, above all.

    Asks no node, and needs no link. The node does not run meanwhile; a folder that is not there is made, with a new key.
    """
    from yzdht.cli.receipts import instant  # noqa: PLC0415 - loads the library
    from yzdht.crypto.naming import network_id  # noqa: PLC0415 - as above
    from yzdht.ids import TokenId  # noqa: PLC0415 - as above
    from yzdht.registrar import Issuer  # noqa: PLC0415 - as above
    from yzdht.sessions import SystemClock  # noqa: PLC0415 - as above
    from yzdht.store.entropy import SystemRng  # noqa: PLC0415 - as above
    from yzdht.wire.text import encode_node_id  # noqa: PLC0415 - as above
    from yzdht.wire.token import TOKEN_ID_BYTES  # noqa: PLC0415 - as above

    signer = settings.identity.signer  # before the folder is made: a wrong passphrase leaves none behind
    with held_node(folder, None) as node, _ledger(settings, None) as ledger:
        issuer = Issuer(signer, network_id(settings.network), ledger)
        invite_id = TokenId(SystemRng().token(TOKEN_ID_BYTES))
        given = issuer.admit(invite_id, node.identity.node_id, SystemClock().now().wall)
        node.keep(settings, given)
    screen = settings.screen
    if screen.is_json:
        node_id = encode_node_id(node.identity.node_id)
        screen.object(
            {"id": given.id.hex(), "nodeId": node_id, "data": str(node.folder), "expires": given.not_after}
        )
        return
    screen.say(f"the node of {node.folder} is a member until {instant(given.not_after)}")
    screen.say(f"start it with: {node.how_to_start(settings)}")


# Listed


@invite.command("list", epilog=manual("yz invite list", "yz --json invite list"))
@_data
@json_option
@click.pass_obj
def list_(settings: Settings, *, folder: Path | None) -> None:
    """Show what this home issued, the newest first; asks no node."""
    with _ledger(settings, folder) as ledger:
        standings = ledger.standings()
    groups = _group_names(settings) if standings else {}
    views = [_view(standing, groups) for standing in standings]
    for view in views:
        if settings.screen.is_json:
            settings.screen.object(view)
        else:
            settings.screen.line(_line(view))
    if not views and not settings.screen.is_json:
        settings.screen.say("this home has issued nothing yet: yz invite group NAME, or yz invite network")


def _group_names(settings: Settings) -> dict[bytes, str]:
    with settings.offline() as records:
        return {records.groups.group_key(name): name for name in records.groups.names()}


def _view(standing: InviteStanding, groups: dict[bytes, str]) -> dict[str, object]:
    from yzdht.crypto.invite_ledger import is_membership  # noqa: PLC0415 - loads the library
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - as above

    row, uses = standing
    is_given = is_membership(row)
    view: dict[str, object] = {
        "id": row.token_id.hex(),
        "type": "membership" if is_given else row.type.name.lower(),
        "issuer": encode_public_key(row.issuer),
        "state": _state(standing),
        "issued": row.issued_at,
        "expires": row.not_after,
    }
    if is_given:
        return view | {"member": row.subject.hex()}
    return view | {
        "group": groups.get(row.issuer),
        "uses": uses,
        "usesMax": row.uses_max,
        "history": row.has_history,
    }


def _state(standing: InviteStanding) -> str:
    from yzdht.crypto.invite_ledger import is_forgettable  # noqa: PLC0415 - loads the library
    from yzdht.sessions import SystemClock  # noqa: PLC0415 - as above

    row, uses = standing
    if row.revoked_at is not None:
        return "revoked"
    if is_forgettable(row, SystemClock().now().wall):
        return "expired"
    return "used up" if row.uses_max and uses >= row.uses_max else "open"


def _line(view: dict[str, object]) -> str:
    from yzdht.cli.receipts import instant  # noqa: PLC0415 - loads the library
    from yzdht.crypto.naming import fingerprint  # noqa: PLC0415 - as above
    from yzdht.ids import NodeId  # noqa: PLC0415 - as above

    digits, expires = str(view["id"])[:_SHOWN_DIGITS], view["expires"]
    assert isinstance(expires, int)
    until = instant(expires)
    if view["type"] == "membership":
        member = fingerprint(NodeId(bytes.fromhex(str(view["member"]))))
        return f"{digits}  {view['state']:<8}  membership of {member}, until {until}"
    what = "network" if view["type"] == "network" else f"group {view['group'] or 'of another key'}"
    return f"{digits}  {view['state']:<8}  {what}, {view['uses']} of {view['usesMax']} used, until {until}"


# Taken back


@invite.command(epilog=manual("yz invite revoke 3fa9c1d2", "yz invite revoke - < link", codes=WRITING))
@click.argument("which", metavar="ID")
@_data
@json_option
@click.pass_obj
def revoke(settings: Settings, *, which: str, folder: Path | None) -> None:
    """Take an invite back: nobody joins by it any more; who has joined stays. A membership ends within the hour.

    With a membership the invites are taken back by which its holder came. ID is the first digits of its id, or the whole link, or - for the link on stdin.
    """
    from yzdht.cli.join import read_link  # noqa: PLC0415 - needed here alone
    from yzdht.crypto.invite_ledger import is_membership  # noqa: PLC0415 - loads the library
    from yzdht.invites import find_invite, take_back  # noqa: PLC0415 - as above
    from yzdht.sessions import SystemClock  # noqa: PLC0415 - as above

    which = read_link(which)
    with _ledger(settings, folder) as ledger:
        standing = find_invite(ledger.standings(), which)
        row, came_by = take_back(ledger, standing.row, SystemClock().now().wall)
    if is_membership(row) and folder is None:  # a node publishes its list by itself
        settings.through_client("publishing what is revoked", lambda c: c.invites.publish_revocations())
    if settings.screen.is_json:
        view = {"id": row.token_id.hex(), "revoked": row.revoked_at, "uses": standing.uses}
        settings.screen.object(view | {"invites": [token_id.hex() for token_id in came_by]})
        return
    used = f"; {standing.uses} joined by it before" if standing.uses else ""
    settings.screen.say(f"{row.token_id.hex()[:_SHOWN_DIGITS]} is revoked{used}")
    for token_id in came_by:
        settings.screen.say(
            f"{token_id.hex()[:_SHOWN_DIGITS]} is revoked, too: they came by it, and know its link"
        )


# Served


@invite.command(epilog=manual("yz invite serve", "yz --json invite serve", codes=WRITING))
@json_option
@click.pass_obj
def serve(settings: Settings) -> None:
    """Let in who redeems invites of this home, looking every minute until Ctrl-C."""
    from asyncio import sleep  # noqa: PLC0415 - not needed by --help

    async def work(client: Client) -> None:
        settings.screen.say("looking for who wants to join; end with Ctrl-C")
        while True:
            try:
                _say_served(settings, await client.invites.serve_once())
            except LookupFailed as error:  # nodes come back
                settings.screen.warn(str(error), error.hint)
            await sleep(INVITE_SERVED_EVERY_S)

    settings.through_client("serving invites", work)


def _say_served(settings: Settings, served: list[Served]) -> None:
    from yzdht.crypto.invite_outcome import Outcome  # noqa: PLC0415 - loads the library
    from yzdht.crypto.naming import fingerprint, node_id_of  # noqa: PLC0415 - as above
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - as above

    for token_id, joiner, outcome in served:
        if settings.screen.is_json and click.get_current_context().command is serve:
            settings.screen.object(
                {
                    "id": token_id.hex(),
                    "joiner": encode_public_key(joiner),
                    "outcome": outcome.name.lower(),
                }
            )
            continue
        who = fingerprint(node_id_of(joiner))
        said = "joined" if outcome is Outcome.ADMITTED else outcome.name.lower().replace("_", " ")
        settings.screen.say(f"{who} {said} by invite {token_id.hex()[:_SHOWN_DIGITS]}")


@contextmanager
def _ledger(settings: Settings, folder: Path | None) -> Iterator[MemoryLedger | SqliteLedger]:
    """The ledger of the home, or of a node."""
    from yzdht.cli.local_node import as_owner, foreign_owner  # noqa: PLC0415 - loads the library
    from yzdht.store.home import LEDGER_NAME, Home  # noqa: PLC0415 - as above
    from yzdht.store.ledger import SqliteLedger  # noqa: PLC0415 - as above

    if folder is not None:
        refuse_no_node(folder)
        owner = foreign_owner(folder)
        if owner is not None:  # the node could not write what is made here
            command = shlex.join(["yz", "invite", "list", "--data", str(folder)])
            raise StoreError(f"{folder} belongs to {owner}", hint=as_owner(owner, command))
        with closing(SqliteLedger(folder / LEDGER_NAME)) as ledger:
            yield ledger
        return
    with closing(Home.open(settings.home, identity=settings.identity)) as home:
        yield home.ledger
