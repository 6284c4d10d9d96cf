"""The options that say which node of this machine is meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click


if TYPE_CHECKING:
    from collections.abc import Callable


_Command = TypeVar("_Command", bound="Callable[..., object]")


def local_node_options(command: _Command) -> _Command:
    """`--data` and `--http`, for `local_node.find_node`."""
    for option in (
        click.option("--http", metavar="URL", help="The node whose status page is at URL."),
        click.option(
            "--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
            help="The node of this data folder.  [default: the only one that runs among your data]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command
