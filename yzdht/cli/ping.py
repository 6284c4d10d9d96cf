"""`yz ping`: ask every node whether it answers, and where it sees us."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from yzdht.cli.manual import ASKING, manual
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import ExitCode, NoNode
from yzdht.ids import shorten


if TYPE_CHECKING:
    from yzdht.client_nodes import Pinged


_MS = 1_000


@click.command(
    epilog=manual(
        "yz ping",
        "yz ping tcp://192.0.2.1:8083 wss://node1.yz.example",
        codes=ASKING,
        said={ExitCode.OK: "at least one of the nodes answered", ExitCode.NO_NODE: "none of them did"},
    )
)
@click.argument("urls", metavar="[URL]...", nargs=-1)
@json_option
@click.pass_obj
def ping(settings: Settings, urls: tuple[str, ...]) -> None:
    """Ask the nodes at some URLs whether they answer; without any, those of --node.

    One line for each: its id, the time of a round trip, and the address at which it sees you.
    """
    if urls:
        settings = replace(settings, nodes=urls)
    answers = settings.through_client("asking the nodes", lambda client: client.ping())
    screen = settings.screen
    for answer in answers:
        if screen.is_json:
            screen.object(_view(answer))
        else:
            screen.line(_line(answer))
    if all(answer.node_id is None for answer in answers):
        raise NoNode("no node answered")


def _view(answer: Pinged) -> dict[str, object]:
    return {
        "url": answer.url,
        "nodeId": None if answer.node_id is None else answer.node_id.hex(),
        "ms": None if answer.took_s is None else round(answer.took_s * _MS, 3),
        "seenAt": answer.seen_at,
        "error": answer.error or None,
    }


def _line(answer: Pinged) -> str:
    if answer.node_id is None or answer.took_s is None:
        return f"{answer.url}  no answer: {answer.error}"
    node_id = shorten(answer.node_id)
    return f"{answer.url}  {node_id}  {answer.took_s * _MS:.1f} ms  seen at {answer.seen_at}"
