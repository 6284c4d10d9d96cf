"""`yz doctor`: what is wrong with the node of this machine, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from yzdht.cli.local_options import local_node_options
from yzdht.cli.manual import manual
from yzdht.cli.settings import json_option
from yzdht.errors import ExitCode


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.cli.settings import Settings


_PORT_MAX = 65_535


@click.command(
    epilog=manual(
        "yz doctor",
        "yz doctor --data /var/lib/yz-node",
        "yz doctor --bootstrap ws://192.0.2.1:8083",
        "yz --json doctor",
        codes=(ExitCode.OK, ExitCode.FAILURE, ExitCode.USAGE, ExitCode.INTERRUPTED),
        said={
            ExitCode.OK: "no problem was found; there may be warnings",
            ExitCode.FAILURE: "at least one problem was found",
        },
    )
)
@local_node_options
@click.option(
    "--port", metavar="N", type=click.IntRange(1, _PORT_MAX),
    help="Where the node is to listen, if it does not run.  [default: where it did, or 8083]",
)  # fmt: skip
@click.option(
    "--bootstrap", metavar="URL[#NODE_ID]", multiple=True,
    help="See whether this node answers; several may be given.",
)  # fmt: skip
@json_option
@click.pass_obj
def doctor(
    settings: Settings, *, data: Path | None, http: str | None, port: int | None, bootstrap: tuple[str, ...]
) -> ExitCode:
    """Look for what is wrong with the node of this machine, and say what to do.

    Looks at the node's version, process, data folder, database, disk, file limit and port; whether the nodes to join
    through answer; the clock, compared with up to three other nodes; whether the node stores and reads through others,
    and is reached by them; and at what it reports. The database is read through only if no node runs.

    Each line is ok, unknown (it could not be found out), a warning or a problem.
    """
    from yzdht.cli.examination import Question, examine  # noqa: PLC0415 - loads the library

    return examine(Question(settings, data, http, port, bootstrap))
