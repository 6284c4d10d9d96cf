"""`yz-node`: run a node of the network."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli import logs
from yzdht.cli.config_sources import choose, wants_json
from yzdht.cli.descriptors import allow_files, files_for, fill_standard_descriptors
from yzdht.cli.manual import LOCAL, manual
from yzdht.cli.network_key import read_network_key
from yzdht.cli.node_settings import FROM_STDIN, SETTINGS, Kind
from yzdht.cli.passphrase import given_passphrase, opened
from yzdht.cli.running import run
from yzdht.errors import ConfigError, ExitCode
from yzdht.limits import INVITE_LINK_CHARS_MAX
from yzdht.version import VERSION


if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from yzdht.cli.config_sources import Configuration
    from yzdht.cli.node_settings import Value
    from yzdht.cli.screen import Screen
    from yzdht.config import NodeConfig
    from yzdht.node import Node

    _Completer = Callable[[click.Context, click.Parameter, str], list[str]]


log = logging.getLogger(__name__)

_UNIT_HINT = "a number without a unit counts bytes"


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for each setting."""
    for setting in reversed(SETTINGS):
        text = (
            setting.help
            if setting.usual in ("none", "False")
            else f"{setting.help}  [default: {setting.usual}]"
        )
        if setting.kind is Kind.SWITCH:
            names = f"{setting.flag}/{setting.metavar}"
            option = click.option(names, setting.key, is_flag=True, default=None, help=text)
        else:
            is_list = setting.kind is Kind.LIST
            option = click.option(
                setting.flag,
                setting.key,
                metavar=setting.metavar,
                type=click.Path(readable=False) if setting.kind is Kind.PATH else str,
                multiple=is_list,
                help=text,
                shell_complete=_completer(setting.words),
            )
        command = option(command)
    return command


def _completer(words: tuple[str, ...]) -> _Completer | None:
    """What a shell is told of a flag's values; None leaves it to the type, which knows of paths."""
    if not words:
        return None
    return lambda _context, _param, begun: [word for word in words if word.startswith(begun)]


@click.command(
    epilog=manual(
        "yz-node --port 8083",
        "yz-node --port 8093 --bootstrap ws://192.0.2.1:8083",
        "yz-node --config node.toml --print-config",
        codes=LOCAL,
        said={
            ExitCode.OK: "a signal ended it",
            ExitCode.FAILURE: "a port is taken, its folder is in use or damaged, or its disk failed",
            ExitCode.INTERRUPTED: "Ctrl-C at a prompt",
        },
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@_with_settings
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings in TOML, below flags and environment.",
)
@click.option("--print-config", is_flag=True, help="Print what it would run with, as such a file, and end.")
@click.option(
    "--json", "is_json", is_flag=True, expose_value=False, help="Print one event a line, for programs."
)
@click.version_option(VERSION, message="%(prog)s %(version)s")
@click.pass_obj
def cli(screen: Screen, /, *, config: Path | None, print_config: bool, **flags: Value) -> None:
    """Run a node: it stores sealed records for others and answers `yz`.

    Each flag is also a variable, --max-storage is YZ_NODE_MAX_STORAGE, and a key of the settings file, max-storage.
    """
    chosen = choose({setting.name: flags[setting.key] for setting in SETTINGS}, os.environ, config)
    if print_config:
        _print_config(screen, chosen)
    else:
        _run(screen, chosen)


def _print_config(screen: Screen, chosen: Configuration) -> None:
    from yzdht.cli.config_shown import as_object, as_toml  # noqa: PLC0415 - rarely needed

    link = chosen.text_or_none("join")
    config = node_config(
        chosen, join=None if link == FROM_STDIN else link
    )  # it refuses what cannot work together
    for option, block, why in config.too_wide():
        screen.warn(f"{option} {block}: {why}", "name only what is yours")
    for option, bytes_max, why in config.too_little():
        screen.warn(f"{option} {bytes_max:,} B: {why}", _UNIT_HINT)
    if screen.is_json:
        screen.object(as_object(chosen))
    else:
        screen.line(as_toml(chosen))


def node_config(
    chosen: Configuration,
    network_key: bytes | None = None,
    passphrase: str | None = None,
    join: str | None = None,
) -> NodeConfig:
    """How a node runs that was told this.

    Args:
        chosen: What every setting came to.
        network_key: 32 bytes, of the file that the settings name.
        passphrase: Of the node's key.
        join: The link of an invite.

    Raises:
        ConfigError: It cannot run like that.

    """
    from yzdht.config import NodeConfig, Tls, parse_issuer, parse_join, parse_node_type  # noqa: PLC0415 - loads the library

    issuer = chosen.text_or_none("invite-only")
    http_port = chosen.number_or_none("http-port")
    if http_port and http_port == chosen.number("port") and not chosen.is_on("no-http"):
        raise ConfigError(
            f"the node and its status page cannot both have port {http_port}",
            hint="choose another --http-port, 0 for a free one, or --no-http",
        )
    return NodeConfig(
        port=chosen.number("port"),
        host=chosen.text("host"),
        bootstrap=chosen.texts("bootstrap"),
        data=Path(chosen.text("data")).absolute(),
        network=chosen.text("network"),
        network_key=network_key,
        is_private_allowed=chosen.is_on("allow-private"),
        is_mapping_ports=not chosen.is_on("no-port-mapping"),
        is_on_lan=chosen.is_on("lan"),
        public_addresses=chosen.texts("public-address"),
        trusted_prefixes=chosen.texts("trusted-prefix"),
        passphrase=passphrase,
        type=parse_node_type(chosen.text("type")),
        storage_bytes_max=chosen.number("max-storage"),
        sessions_max=chosen.number("max-sessions"),
        bandwidth_bytes_per_s=chosen.number_or_none("max-bandwidth"),
        trusted_proxies=chosen.texts("trusted-proxy"),
        invite_only=None if issuer is None else parse_issuer(issuer),
        join=None if join is None else parse_join(join),
        tls=Tls(_file(chosen, "tls-cert"), _file(chosen, "tls-key"), _file(chosen, "ca")),
    )


def _file(chosen: Configuration, name: str) -> Path | None:
    path = chosen.text_or_none(name)
    return None if path is None else Path(path).absolute()


def _link(chosen: Configuration) -> str | None:
    """The link of `--join`, from stdin where the setting says so.

    Raises:
        ConfigError: Nothing comes from there.

    """
    link = chosen.text_or_none("join")
    if link != FROM_STDIN:
        return link
    line = sys.stdin.readline(INVITE_LINK_CHARS_MAX + 1).strip()
    if not line:
        raise ConfigError("no link came from stdin", hint="write it there: yz-node --join - < FILE")
    return line


def _run(screen: Screen, chosen: Configuration) -> None:
    logs.configure(chosen.text("log-level"), "json" if chosen.text("log-format") == "json" else "text")
    passphrase = given_passphrase(chosen.number_or_none("passphrase-fd"))
    key_path = chosen.text_or_none("network-key")
    key = read_network_key(None if key_path is None else Path(key_path))
    link = _link(chosen)

    from yzdht.cli.announcement import Place  # noqa: PLC0415 - loads the library
    from yzdht.cli.serving import HttpPlace, Teller, serve  # noqa: PLC0415 - as above

    def run_node(phrase: str | None) -> None:
        teller = Teller(screen)
        config = node_config(chosen, key, phrase, link)
        for option, bytes_max, why in config.too_little():
            log.warning("bound too low option=%s bytes=%d why=%s hint=%s", option, bytes_max, why, _UNIT_HINT)
        _allow_connections(config)
        node = _node(config, teller.hear, link)
        place = Place(config.host, config.port, config.network, key_path, str(config.data))
        http = None if chosen.is_on("no-http") else HttpPlace(port=chosen.number_or_none("http-port"))
        with new_runner() as runner:
            runner.run(serve(node, teller, place, {"version": VERSION}, http))

    opened(run_node, passphrase, "passphrase of the node's key: ")


def _allow_connections(config: NodeConfig) -> None:
    """Raise the file limit to what all connections need that may be open at once; say so if that cannot be."""
    sessions_max = config.capacity.sessions_max
    wanted = files_for(sessions_max)
    files = allow_files(wanted)
    if files < wanted:
        hint = f"raise it to {wanted} with LimitNOFILE= in the unit, or ulimit -n; or lower --max-sessions"
        log.warning("file limit too low files=%d sessions=%d hint=%s", files, sessions_max, hint)


def _node(config: NodeConfig, on_event: Callable[[dict[str, object]], None], link: str | None = None) -> Node:
    from yzdht.node import Node  # noqa: PLC0415 - loads the library

    return Node(
        config.port,
        host=config.host,
        bootstrap=config.bootstrap,
        data=config.data,
        network=config.network,
        network_key=config.network_key,
        allow_private=config.is_private_allowed,
        port_mapping=config.is_mapping_ports,
        lan=config.is_on_lan,
        public_addresses=config.public_addresses,
        trusted_prefixes=config.trusted_prefixes,
        passphrase=config.passphrase,
        on_event=on_event,
        type=config.type,
        max_sessions=config.sessions_max,
        max_storage=config.storage_bytes_max,
        max_bandwidth=config.bandwidth_bytes_per_s,
        trusted_proxies=config.trusted_proxies,
        invite_only=config.invite_only,
        join=link,
        tls=config.tls,
    )


def new_runner() -> asyncio.Runner:
    """What runs a node's loop: uvloop's where it is installed."""
    import asyncio  # noqa: PLC0415 - not needed by --version

    new_loop: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop  # noqa: PLC0415 - as above
    except ImportError:
        new_loop = None
    else:
        new_loop = uvloop.new_event_loop
    return asyncio.Runner(loop_factory=new_loop)


def main(words: Sequence[str] | None = None) -> int:
    """Run `yz-node`; returns the exit code."""
    fill_standard_descriptors()
    words = sys.argv[1:] if words is None else list(words)
    if wants_json(os.environ):
        words = ["--json", *words]
    return run(cli, "yz-node", words)
