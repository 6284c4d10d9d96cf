"""`yz chat`: talk in a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from yzdht.cli.durations import parse_duration
from yzdht.cli.manual import READING, manual
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import ExitCode
from yzdht.limits import CHAT_HISTORY_DEFAULT


if TYPE_CHECKING:
    from yzdht.client import Client


@click.command(
    epilog=manual(
        "yz chat team",
        "yz --json chat team < words | jq .text",
        codes=READING,
        said={ExitCode.NOT_FOUND: "this home knows no such group"},
    )
)
@click.argument("group")
@click.option(
    "--since", metavar="TIME", default=CHAT_HISTORY_DEFAULT, show_default=True,
    help="What was said in this time before is shown first.",
)  # fmt: skip
@json_option
@click.pass_obj
def chat(settings: Settings, *, group: str, since: str) -> None:
    """Talk with the members of GROUP: each line of stdin is said, until stdin ends (Ctrl-D on a terminal).

    Shows who is there and what they say, under the names of `yz id add`. What is typed here is not shown again.
    """
    from yzdht.cli.chatting import Chat  # noqa: PLC0415 - loads the library
    from yzdht.cli.messages import Names  # noqa: PLC0415 - as above

    since_s = parse_duration(since, "time after --since")
    names = Names.of(settings)

    async def work(client: Client) -> None:
        await Chat(settings.screen, client, group, names).run(since_s)

    settings.through_client(f"entering {group}", work, is_lasting=True)
