"""`yz-node`: run a node of the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli import logs
from yzdht.cli.descriptors import fill_standard_descriptors
from yzdht.cli.network_key import read_network_key
from yzdht.cli.passphrase import given_passphrase, opened
from yzdht.cli.running import EXIT_CODES, run


if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from yzdht.cli.screen import Screen


@click.command(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65_535),
    default=8083,
    show_default=True,
    help="0: a free one.",
)
@click.option("--host", metavar="ADDRESS", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 - a node is there to be reached
@click.option(
    "--bootstrap",
    metavar="URL[#NODE_ID]",
    multiple=True,
    help="A node to join through; several may be given.",
)
@click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Folder of its key and records.  [default: node-PORT among your data]",
)  # fmt: skip
@click.option("--network", metavar="NAME", default="main", show_default=True, help="Name of the network.")
@click.option(
    "--network-key", metavar="FILE", type=click.Path(path_type=Path), help="Key of a private network."
)
@click.option(
    "--allow-private", is_flag=True, help="Advertise loopback; dial private addresses that others name."
)
@click.option(
    "--public-address",
    "public_addresses",
    metavar="URL",
    multiple=True,
    help="Advertise this, not the interfaces.",
)
@click.option(
    "--trusted-prefix",
    "trusted_prefixes",
    metavar="CIDR",
    multiple=True,
    help="Know any number of nodes of this block.",
)
@click.option(
    "--http-port",
    metavar="N",
    type=click.IntRange(0, 65_535),
    help="Status page on loopback; 0: a free port.  [default: port + 1, or the next free one]",
)
@click.option("--no-http", is_flag=True, help="No status page, no health checks, no metrics.")
@click.option(
    "--passphrase-fd",
    metavar="N",
    type=click.IntRange(0),
    help="Read the passphrase of its key from descriptor N.",
)
@click.option(
    "--log-level",
    type=click.Choice(logs.LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="Logs on stderr.",
)
@click.option(
    "--json", "is_json", is_flag=True, expose_value=False, help="Print one event a line, for programs."
)
@click.version_option(package_name="yzdht", message="%(prog)s %(version)s")
@click.pass_obj
def cli(  # noqa: PLR0913 - click gives each option its argument
    screen: Screen,
    *,
    port: int,
    host: str,
    bootstrap: tuple[str, ...],
    data: Path | None,
    network: str,
    network_key: Path | None,
    allow_private: bool,
    public_addresses: tuple[str, ...],
    trusted_prefixes: tuple[str, ...],
    http_port: int | None,
    no_http: bool,
    passphrase_fd: int | None,
    log_level: str,
) -> None:
    """Run a node: it stores sealed records for others and answers `yz`."""
    logs.configure(log_level)
    passphrase = given_passphrase(passphrase_fd)
    key = read_network_key(network_key)
    data = (data or _default_data(port)).absolute()

    from yzdht.cli.announcement import Place  # noqa: PLC0415 - loads the library
    from yzdht.cli.serving import HttpPlace, Teller, serve  # noqa: PLC0415 - as above
    from yzdht.node import Node  # noqa: PLC0415 - as above

    def run_node(phrase: str | None) -> None:
        teller = Teller(screen)
        node = Node(
            port,
            host=host,
            bootstrap=bootstrap,
            data=data,
            network=network,
            network_key=key,
            allow_private=allow_private,
            public_addresses=public_addresses,
            trusted_prefixes=trusted_prefixes,
            passphrase=phrase,
            on_event=teller.hear,
        )
        place = Place(host, port, network, None if network_key is None else str(network_key), str(data))
        with _runner() as runner:
            http = None if no_http else HttpPlace(port=http_port)
            runner.run(serve(node, teller, place, {"version": _version()}, http))

    opened(run_node, passphrase, "passphrase of the node's key: ")


def _runner() -> asyncio.Runner:
    import asyncio  # noqa: PLC0415 - not needed by --version

    new_loop: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop  # noqa: PLC0415 - as above
    except ImportError:
        new_loop = None
    else:
        new_loop = uvloop.new_event_loop
    return asyncio.Runner(loop_factory=new_loop)


def _default_data(port: int) -> Path:
    import platformdirs  # noqa: PLC0415 - not needed by --version

    return platformdirs.user_data_path("yzdht", appauthor=False) / f"node-{port or 'auto'}"


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - not needed by --help

    return version("yzdht")


def main(words: Sequence[str] | None = None) -> int:
    """Run `yz-node`; returns the exit code."""
    fill_standard_descriptors()
    return run(cli, "yz-node", words)
