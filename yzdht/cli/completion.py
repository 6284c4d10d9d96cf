"""`yz completion`: what a shell needs to complete `yz` and `yz-node`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from yzdht.cli.manual import manual
from yzdht.errors import ExitCode


if TYPE_CHECKING:
    from click.shell_completion import ShellComplete

    from yzdht.cli.settings import Settings


SHELLS = ("bash", "zsh", "fish")
PROGRAMS = ("yz", "yz-node")


@click.command(
    epilog=manual(
        'eval "$(yz completion bash)"    # in ~/.bashrc',
        'eval "$(yz completion zsh)"     # in ~/.zshrc, after compinit',
        "yz completion fish > ~/.config/fish/conf.d/yz.fish",
        "yz completion bash --program yz-node > yz-node.bash",
        codes=(ExitCode.OK, ExitCode.FAILURE, ExitCode.USAGE),
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--program", type=click.Choice(PROGRAMS), help="For this program alone.  [default: both]")
@click.pass_obj
def completion(settings: Settings, *, shell: str, program: str | None) -> None:
    """Print the script with which a shell completes the words of yz and yz-node.

    SHELL is bash (4.4 or newer), zsh or fish. Load the script where your shell starts, as below.
    """
    programs = PROGRAMS if program is None else (program,)
    scripts = [script_of(name, shell) for name in programs]
    if settings.screen.is_json:
        settings.screen.object({"shell": shell, "script": "\n".join(scripts)})
        return
    settings.screen.data("\n".join(scripts).encode())


def script_of(program: str, shell: str) -> str:
    """The script that click makes for one of PROGRAMS and one of SHELLS."""
    from click.shell_completion import BashComplete, get_completion_class  # noqa: PLC0415 - for this alone

    kind = get_completion_class(shell)
    assert kind is not None
    complete: ShellComplete = kind(
        _command(program), {}, program, f"_{program}_COMPLETE".replace("-", "_").upper()
    )
    if isinstance(complete, BashComplete) and shutil.which("bash") is None:
        return complete.source_template % complete.source_vars()  # there is no bash to ask for its version
    return complete.source()


def _command(program: str) -> click.Command:
    if program == "yz":
        from yzdht.cli.main import cli  # noqa: PLC0415 - it loads this module

        return cli
    from yzdht.cli.node import cli as node  # noqa: PLC0415 - not needed for yz alone

    return node
