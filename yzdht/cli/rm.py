"""`yz rm`: delete a value."""

from __future__ import annotations

import click

from yzdht.cli.manual import WRITING, manual
from yzdht.cli.settings import Settings, json_option


@click.command(
    epilog=manual("yz rm notes/today", "yz rm --group team plan", "yz --json rm notes/today", codes=WRITING)
)
@click.argument("name")
@click.option("--group", metavar="GROUP", help="What any member stored under NAME of this group.")
@json_option
@click.pass_obj
def rm(settings: Settings, *, name: str, group: str | None) -> None:
    """Delete what is stored under NAME, private and public."""
    from yzdht.cli.receipts import by_nodes, receipt_view  # noqa: PLC0415 - loads the library
    from yzdht.cli.sources import refuse_link  # noqa: PLC0415 - as above

    refuse_link(name)
    receipts = settings.through_client(f"deleting {name}", lambda client: client.delete(name, group=group))
    screen = settings.screen
    if screen.is_json:
        screen.object({"name": name, "deleted": [receipt_view(receipt) for receipt in receipts]})
    for receipt in receipts:
        screen.say(f"deleted {by_nodes(receipt)}, seq {receipt.seq}")
