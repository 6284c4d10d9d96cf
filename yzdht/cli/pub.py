"""`yz pub`: publish messages."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from yzdht.cli.durations import parse_timeout
from yzdht.cli.manual import WRITING, manual
from yzdht.cli.put import read_source
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import (
    ExitCode,
    PublishFailed,
    UsageError,
    ValueTooLarge,
)
from yzdht.limits import PUBLISH_PATIENCE, PUBSUB_DATA_BYTES_MAX


if TYPE_CHECKING:
    from yzdht.client import Client
    from yzdht.topics import Published


@click.command(
    epilog=manual(
        'yz pub news "at noon"',
        "date | yz pub clock",
        "yz pub --group team alarms - < alarm.txt",
        "tail -f app.log | yz pub --lines app/log",
        "yz pub --owner anna releases '0.2 is out'",
        codes=WRITING,
        said={ExitCode.QUORUM: "too few hosts of the topic have it"},
    )
)
@click.argument("topic")
@click.argument("message", required=False)
@click.option("--group", metavar="GROUP", help="For the members of this group, and nobody else.")
@click.option(
    "--owner", metavar="WHO", help="To the public topic of WHO, who lists you: see yz topic policy."
)
@click.option("--lines", "is_lines", is_flag=True, help="Each line of stdin is a message, sent as it comes.")
@click.option(
    "--timeout", metavar="TIME", default=PUBLISH_PATIENCE, show_default=True,
    help="How long hosts that are away are tried again.",
)  # fmt: skip
@json_option
@click.pass_obj
def pub(  # noqa: PLR0913 - its options
    settings: Settings,
    *,
    topic: str,
    message: str | None,
    group: str | None,
    owner: str | None,
    is_lines: bool,
    timeout: str,
) -> None:
    """Publish MESSAGE, or the bytes of stdin, to whoever subscribes to TOPIC.

    Without --group it is public and signed, and with --owner only who is listed publishes. A message has at most 65,335 bytes; the hosts of the topic keep it for a day.
    """
    from yzdht.cli.publishing import Lines, published_view  # noqa: PLC0415 - loads the library
    from yzdht.cli.sources import owner_of  # noqa: PLC0415 - as above

    from_stdin = message is None or message == "-"
    if is_lines and not from_stdin:
        raise UsageError(
            "--lines reads messages from stdin, and one stands on the line", hint="leave one out"
        )
    if message is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError(
            "no message was given", hint="write it behind TOPIC, pipe it in, or write - to type it"
        )
    timeout_s = parse_timeout(timeout)
    find_owner = owner_of(settings, owner)
    if is_lines:
        lines = Lines(settings.screen, topic, group, find_owner, timeout_s)
        settings.through_client(f"publishing to {topic}", lines.publish, is_lasting=True)
        lines.check()
        return
    data = read_source(None, PUBSUB_DATA_BYTES_MAX + 1) if from_stdin else os.fsencode(str(message))
    if len(data) > PUBSUB_DATA_BYTES_MAX:
        raise ValueTooLarge(
            f"the message is longer than {PUBSUB_DATA_BYTES_MAX:,} bytes",
            hint="split it, or put it as a value and publish its link",
        )

    async def publish(client: Client) -> Published:
        whose = await find_owner(client)
        try:
            return await client.publish(topic, data, group=group, owner=whose, timeout=timeout_s)
        except PublishFailed as error:
            error.hint = (
                "it may arrive all the same, and twice if you publish it again; --timeout gives hosts longer"
            )
            raise

    done = settings.through_client(f"publishing to {topic}, tried for {timeout} at most", publish)
    if settings.screen.is_json:
        settings.screen.object(published_view(topic, done))
    else:
        settings.screen.say(
            f"published, stored by {done.stored} of {done.hosts} host{'' if done.hosts == 1 else 's'}"
        )
