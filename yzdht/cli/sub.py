"""`yz sub`: hear what is published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli.durations import parse_duration
from yzdht.cli.manual import READING, manual
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import ExitCode


if TYPE_CHECKING:
    from yzdht.client import Client


@click.command(
    epilog=manual(
        "yz sub news",
        "yz sub --since 1h --count 1 news",
        "yz sub --group team --cursor alarms.cursor alarms",
        "yz --json sub news | jq .text",
        "yz sub --owner anna releases",
        codes=READING,
        said={ExitCode.NOT_FOUND: "this home knows no such group"},
    )
)
@click.argument("topic")
@click.option("--group", metavar="GROUP", help="What its members publish for each other.")
@click.option(
    "--owner", metavar="WHO", help="Of the public topic of WHO: what WHO publishes, and whom WHO lists."
)
@click.option("--since", metavar="TIME", help="What was published in this time before, too: 90s, 1h, 1d.")
@click.option(
    "--cursor", "cursor_path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Go on after what was shown when FILE was last used; made if it is not there.",
)  # fmt: skip
@click.option("--count", metavar="N", type=click.IntRange(1), help="End after so many messages.")
@json_option
@click.pass_obj
def sub(  # noqa: PLR0913 - its options
    settings: Settings,
    *,
    topic: str,
    group: str | None,
    owner: str | None,
    since: str | None,
    cursor_path: Path | None,
    count: int | None,
) -> None:
    """Show what is published under TOPIC, a message a line, until Ctrl-C.

    Each message is shown once, those of one run of a sender's process in their order. Whose they are stands on stderr; what a terminal could take
    for an order, line ends among it, is escaped. With --json each line is an object. What hosts keep is a day old at most.
    """
    from yzdht.cli.listening import Bookmark, Shown  # noqa: PLC0415 - loads the library
    from yzdht.cli.messages import Names  # noqa: PLC0415 - as above
    from yzdht.cli.sources import owner_of  # noqa: PLC0415 - as above
    from yzdht.cli.streams import while_read  # noqa: PLC0415 - as above

    since_s = None if since is None else parse_duration(since, "time after --since")
    bookmark = None if cursor_path is None else Bookmark(cursor_path)
    kept = None if bookmark is None else bookmark.read()
    find_owner = owner_of(settings, owner)
    shown = Shown(settings.screen, Names.of(settings))

    async def listen(client: Client) -> None:
        start = since_s if kept is None else kept
        whose = await find_owner(client)
        async with client.subscribe(topic, group=group, since=start, gaps=True, owner=whose) as subscription:
            settings.screen.say(f"listening to {topic}; end with Ctrl-C")
            if not subscription.is_connected:
                settings.screen.warn(
                    "no host of the topic has answered yet", "they are looked for until one does"
                )
            if bookmark is None:
                await while_read(shown.show_all(subscription, count), shown.tell_of_hosts(subscription))
            else:
                await while_read(
                    bookmark.follow(subscription),
                    shown.show_all(subscription, count, bookmark),
                    shown.tell_of_hosts(subscription),
                )

    settings.through_client(f"listening to {topic}", listen, is_lasting=True)
