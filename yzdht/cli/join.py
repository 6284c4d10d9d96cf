"""`yz join`: into a group or a closed network, by a link."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli.durations import parse_duration
from yzdht.cli.manual import READING, manual
from yzdht.cli.node_folder import held_node
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import BadInviteLink, ExitCode, UsageError
from yzdht.limits import (
    INVITE_LINK_CHARS_MAX,
    INVITE_POLLED_EVERY_S,
    INVITE_WAIT_S_DEFAULT,
    INVITE_WAIT_S_MAX,
)


if TYPE_CHECKING:
    from yzdht.client import Client
    from yzdht.invitee import Joined
    from yzdht.wire.token import Token


@click.command(
    epilog=manual(
        "yz join 'yz-invite:#t=…&s=…'", "yz join --name team - < link", "yz join --data DIR - < link", codes=READING,
        said={ExitCode.NOT_FOUND: "whoever invited has not answered yet; run it again later"},
    )
)  # fmt: skip
@click.argument("link")
@click.option("--name", metavar="NAME", help="What to call the group here.  [default: group-XXXX]")
@click.option(
    "--wait", metavar="TIME", default=f"{INVITE_WAIT_S_DEFAULT:.0f}s", show_default=True,
    help="How long to wait for whoever invited, if they are away.",
)  # fmt: skip
@click.option(
    "--data", "folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Join a closed network with the node of this data folder, which does not run meanwhile; made if it is not there.",
)  # fmt: skip
@json_option
@click.pass_obj
def join(settings: Settings, *, link: str, name: str | None, wait: str, folder: Path | None) -> None:
    """Join what LINK invites to: a group, or a closed network. With - the link is read from stdin.

    Whoever invited need not be online: what you ask is left for them, and a later run of the same command picks their
    answer up. Quote the link; on a machine that others use hand it over by stdin.
    """
    from asyncio import sleep  # noqa: PLC0415 - not needed by --help

    from yzdht.crypto.invite import check_token_times, verify_token  # noqa: PLC0415 - loads the library
    from yzdht.crypto.naming import fingerprint, network_id, node_id_of  # noqa: PLC0415 - as above
    from yzdht.invitee import Waiting  # noqa: PLC0415 - as above
    from yzdht.sessions import SystemClock  # noqa: PLC0415 - as above
    from yzdht.wire.invite_link import decode_invite_link  # noqa: PLC0415 - as above
    from yzdht.wire.token import TokenType  # noqa: PLC0415 - as above

    wait_s = parse_duration(wait, "wait")
    if wait_s > INVITE_WAIT_S_MAX:
        raise UsageError("a wait is a day at most", hint="run it again later instead")
    link = read_link(link)
    decoded = decode_invite_link(link)
    token = decoded.token
    verify_token(
        token, network_id(settings.network)
    )  # else a node is asked, and says that it asks for an invite
    check_token_times(token, SystemClock().now().wall)
    shown = fingerprint(node_id_of(token.issuer))
    is_group = token.type is TokenType.GROUP
    if is_group and folder is not None:
        raise UsageError(
            "a node is no member of groups", hint="leave --data out: you join a group, not your node"
        )
    what = "the group" if is_group else "the closed network of"
    settings.screen.say(f"joining {what} {shown}, invite {token.id.hex()[:8]}")
    name = name or f"group-{shown[:4].lower()}"
    waiting = Waiting(wait_s, INVITE_POLLED_EVERY_S, sleep)

    async def work(client: Client) -> Joined:
        return await client.invites.join(decoded, name, waiting)

    doing = "waiting for whoever invited you"
    if folder is not None:
        with held_node(folder, settings.passphrase) as node:
            joined = settings.through_client(doing, work, invite=link, identity=node.identity)
            assert joined.membership is not None, "it is an invite to a network"
            node.keep(settings, joined.membership)
        _show(settings, joined, shown)
        settings.screen.say(f"start the node with: {node.how_to_start(settings)}")
        return
    joined = settings.through_client(doing, work, invite=None if is_group else link)
    if joined.membership is not None:
        _keep(settings, joined.membership)
    _show(settings, joined, shown)


def read_link(text: str) -> str:
    """A link as it was given, or from stdin for `-`; more than a link is never read.

    Raises:
        BadInviteLink: Stdin has none.

    """
    if text != "-":
        return text
    if sys.stdin is None:
        raise BadInviteLink("stdin is closed", hint="yz join - < FILE")
    raw = sys.stdin.buffer.read(INVITE_LINK_CHARS_MAX + 2)
    return raw.decode("ascii", "replace").strip().strip("'")


def _keep(settings: Settings, membership: Token) -> None:
    from yzdht.crypto.naming import network_id  # noqa: PLC0415 - loads the library
    from yzdht.store.memberships import keep  # noqa: PLC0415 - as above

    keep(settings.home, network_id(settings.network), membership)


def _show(settings: Settings, joined: Joined, fingerprint: str) -> None:
    from yzdht.cli.receipts import instant  # noqa: PLC0415 - loads the library
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - as above

    screen, token, membership = settings.screen, joined.token, joined.membership
    if screen.is_json:
        view: dict[str, object] = {
            "type": token.type.name.lower(),
            "id": token.id.hex(),
            "issuer": encode_public_key(token.issuer),
            "fingerprint": fingerprint,
        }
        more = {"name": joined.name} if membership is None else {"expires": membership.not_after}
        screen.object(view | more)
    elif membership is None:
        screen.say(f"you are in; the group is called {joined.name} here: yz get --group {joined.name} NAME")
    else:
        screen.say(f"you are in, until {instant(membership.not_after)}")
