"""`yz topic`: own public topics, to which not everybody publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from yzdht.cli.manual import WRITING, manual
from yzdht.cli.settings import Settings, json_option


if TYPE_CHECKING:
    from yzdht.client import Client
    from yzdht.slot_writer import Receipt


@click.group(epilog=manual("yz topic policy releases --writer anna --writer ben"))
def topic() -> None:
    """Say who publishes to public topics of your own: yz pub --owner, yz sub --owner."""


@topic.command(
    epilog=manual(
        "yz topic policy releases --writer anna --writer ben", "yz topic policy releases", codes=WRITING
    )
)
@click.argument("topic")
@click.option(
    "--writer", "writers", metavar="WHO", multiple=True, help="Who publishes beside you; 256 times at most."
)
@json_option
@click.pass_obj
def policy(settings: Settings, *, topic: str, writers: tuple[str, ...]) -> None:
    """Let those named, and nobody else but yourself, publish to your topic TOPIC from now on.

    WHO is a contact's name, a fingerprint, a public key, a node id or a yz: link. Everybody can see who is listed. Whoever was
    listed before and is not any more is not heard any more.
    """
    from yzdht.cli.sources import parse_person, resolve_person  # noqa: PLC0415 - loads the library
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - as above

    people = [parse_person(settings, who, "WHO behind --writer") for who in writers]

    async def work(client: Client) -> Receipt:
        keys = [await resolve_person(client, person) for person in people]
        return await client.set_topic_policy(topic, writers=keys)

    receipt = settings.through_client(f"saying who publishes to {topic}", work)
    owner = encode_public_key(receipt.publisher)
    screen = settings.screen
    if screen.is_json:
        screen.object(
            {
                "topic": topic,
                "owner": owner,
                "writers": len(people),
                "seq": receipt.seq,
                "expires": receipt.expires,
            }
        )
    else:
        others = f"{len(people)} other{'' if len(people) == 1 else 's'}"
        screen.say(f"you and {others} publish to {topic}; on their side: yz pub --owner {owner} {topic}")
