"""`yz peers`: who is connected to the node of this machine."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from yzdht.cli.local_options import local_node_options
from yzdht.cli.manual import manual
from yzdht.cli.settings import Settings, json_option
from yzdht.cli.units import plain, show_count
from yzdht.errors import ExitCode, NoNode, StoreError
from yzdht.http.units import show_bytes, show_ms, show_span
from yzdht.limits import PEERS_BYTES_MAX, PEERS_SHOWN_EVERY_S


if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from yzdht.cli.answers import PeersView, PeerView


_HEADS = ("node id", "kind", "address", "road", "who dialled", "round trip", "for", "received", "sent")
_GAP = "  "
_ID_CHARACTERS = 16
_FRAME_LINES = 5
"""Lines of a terminal that hold no row: title, heads, rule, what was left out, the prompt."""


@click.command(
    epilog=manual(
        "yz peers",
        "yz peers --once",
        "yz --json peers --data /var/lib/yz-node",
        codes=(ExitCode.OK, ExitCode.FAILURE, ExitCode.USAGE, ExitCode.BAD_SIGNATURE, ExitCode.NO_NODE),
        said={
            ExitCode.OK: "they were shown; also after Ctrl-C on a live table",
            ExitCode.NO_NODE: "no node runs, or it does not answer",
        },
    )
)
@local_node_options
@click.option("--once", is_flag=True, help="Show them once, on a terminal too.")
@json_option
@click.pass_obj
def peers(settings: Settings, *, data: Path | None, http: str | None, once: bool) -> None:
    """Show who is connected to the node of this machine, the newest session first.

    On a terminal the table is renewed every 2 seconds until Ctrl-C; elsewhere it is shown once.
    """
    import msgspec  # noqa: PLC0415 - not needed by --help

    from yzdht.cli.progress import progress_aside  # noqa: PLC0415 - as above

    with progress_aside("asking the node"):
        view, raw = _peers_of(data, http)
    screen = settings.screen
    if screen.is_json:
        screen.object(msgspec.json.decode(raw))
    elif once or sys.stdout is None or not sys.stdout.isatty():
        for line in lines_of(view):
            screen.line(line)
    else:
        _watch(view, data, http)


def _peers_of(data: Path | None, http: str | None) -> tuple[PeersView, bytes]:
    """Found anew each time: a node that was restarted may have another port."""
    from yzdht.cli.answers import PeersView  # noqa: PLC0415 - not needed by --help
    from yzdht.cli.local_node import ask_found, find_node  # noqa: PLC0415 - as above

    return ask_found(find_node(data, http), "/peers.json", PeersView, PEERS_BYTES_MAX)


def cells_of(peer: PeerView) -> tuple[str, ...]:
    """One row, escaped."""
    known = "node" if peer.is_in_table else "node, not in the table"
    return (
        peer.node_id[:_ID_CHARACTERS],
        "client" if peer.is_client else known,
        plain(peer.url or peer.host),
        plain(peer.road),
        "this node" if peer.dialled else "the other",
        show_ms(peer.rtt_ms),
        show_span(peer.since_s),
        show_bytes(peer.bytes_in),
        show_bytes(peer.bytes_out),
    )


def lines_of(view: PeersView) -> list[str]:
    """The table without frames."""
    rows = [_HEADS, *map(cells_of, view.peers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    return list(lines)


def _watch(view: PeersView, data: Path | None, http: str | None) -> None:
    """Renew the table until Ctrl-C; a node that is away is waited for."""
    from rich.console import Console  # noqa: PLC0415 - loaded by no run that shows nothing live
    from rich.live import Live  # noqa: PLC0415 - as above

    console = Console(highlight=False)
    try:
        with Live(_table(view, console.height, ""), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(PEERS_SHOWN_EVERY_S)
                try:
                    view, trouble = _peers_of(data, http)[0], ""
                except (NoNode, StoreError) as error:
                    trouble = f"{error}; this is what it showed last"
                live.update(_table(view, console.height, trouble), refresh=True)
    except KeyboardInterrupt:
        return


def _table(view: PeersView, height: int, trouble: str) -> Table:
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    room = max(1, height - _FRAME_LINES)
    left_out = len(view.peers) - room
    clients = sum(peer.is_client for peer in view.peers)
    title = f"connected: {show_count(len(view.peers) - clients, 'node')}, {show_count(clients, 'client')}"
    caption = f"and {left_out:,} more" if left_out > 0 else ""
    table = Table(
        title=Text(title),
        caption=Text(plain(trouble) or caption),
        box=None,
        title_justify="left",
        caption_justify="left",
    )
    for head in _HEADS:
        table.add_column(head, no_wrap=True)
    for peer in view.peers[:room]:
        table.add_row(*map(Text, cells_of(peer)))
    return table
