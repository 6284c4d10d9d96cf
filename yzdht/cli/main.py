"""`yz`: store and read through nodes. One module per command, loaded when it is used."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli import logs
from yzdht.cli.descriptors import fill_standard_descriptors
from yzdht.cli.manual import READING, manual
from yzdht.cli.passphrase import given_passphrase
from yzdht.cli.running import run
from yzdht.cli.settings import DEFAULT_NODE, Settings, json_option
from yzdht.errors import UsageError
from yzdht.version import VERSION


if TYPE_CHECKING:
    from collections.abc import Sequence


_COMMANDS = {
    "put": "yzdht.cli.put:put",
    "get": "yzdht.cli.get:get",
    "rm": "yzdht.cli.rm:rm",
    "pub": "yzdht.cli.pub:pub",
    "sub": "yzdht.cli.sub:sub",
    "topic": "yzdht.cli.topic:topic",
    "chat": "yzdht.cli.chat:chat",
    "id": "yzdht.cli.ident:ident",
    "group": "yzdht.cli.group:group",
    "invite": "yzdht.cli.invite:invite",
    "join": "yzdht.cli.join:join",
    "ping": "yzdht.cli.ping:ping",
    "status": "yzdht.cli.status:status",
    "peers": "yzdht.cli.peers:peers",
    "doctor": "yzdht.cli.doctor:doctor",
    "backup": "yzdht.cli.backup:backup",
    "testnet": "yzdht.cli.testnet:testnet",
    "completion": "yzdht.cli.completion:completion",
}


class _Commands(click.Group):
    """The commands by name; only the one that runs is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            import difflib  # noqa: PLC0415 - rarely needed

            near = difflib.get_close_matches(args[0][:80], _COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"try: {ctx.command_path} --help"
            raise UsageError(f"no such command {args[0][:80]!r}", hint=hint)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    epilog=manual(
        "yz put notes/today today.txt",
        "yz --node ws://192.0.2.1:8083 get notes/today",
        "yz sub news",
        "yz doctor",
        "yz COMMAND --help",
        codes=READING,
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--node", "nodes", metavar="URL", multiple=True,
    help=f"A node to go through; several fail over.  [default: {DEFAULT_NODE}]",
)  # fmt: skip
@click.option(
    "--home", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), envvar="YZ_HOME",
    help="Folder of your identity and of what it has seen; also $YZ_HOME.",
)  # fmt: skip
@json_option
@click.option("--network", metavar="NAME", default="main", show_default=True, help="Name of the network.")
@click.option(
    "--network-key", metavar="FILE", type=click.Path(path_type=Path), help="Key of a private network."
)
@click.option(
    "--ca", metavar="FILE", type=click.Path(path_type=Path), envvar="YZ_CA",
    help="Authorities to trust when wss is dialled; also $YZ_CA.  [default: the system's]",
)  # fmt: skip
@click.option(
    "--passphrase-fd", metavar="N", type=click.IntRange(0), help="Read the passphrase from descriptor N."
)
@click.option(
    "--log-level",
    type=click.Choice(logs.LEVELS, case_sensitive=False),
    default="error",
    show_default=True,
    help="Logs on stderr.",
)
@click.version_option(VERSION, message="%(prog)s %(version)s")
@click.pass_context
def cli(  # noqa: PLR0913 - click gives each option its argument
    context: click.Context,
    *,
    nodes: tuple[str, ...],
    home: Path | None,
    network: str,
    network_key: Path | None,
    ca: Path | None,
    passphrase_fd: int | None,
    log_level: str,
) -> None:
    """Store and read values, publish and hear messages, sealed and signed, through a node that need not be trusted."""
    logs.configure(log_level)
    context.obj = Settings(
        screen=context.obj,
        nodes=nodes,
        home=home or _default_home(),
        network=network,
        network_key_path=network_key,
        ca=ca,
        passphrase=given_passphrase(passphrase_fd),
    )


def _default_home() -> Path:
    import platformdirs  # noqa: PLC0415 - not needed by --version

    return platformdirs.user_config_path("yz", appauthor=False)


def main(words: Sequence[str] | None = None) -> int:
    """Run `yz`; returns the exit code."""
    fill_standard_descriptors()
    return run(cli, "yz", words)
