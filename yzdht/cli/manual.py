"""What stands below the options in a `--help`: examples and exit codes, so that it serves as the manual page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.errors import ExitCode


if TYPE_CHECKING:
    from collections.abc import Mapping


_MEANINGS = {
    ExitCode.OK: "it worked",
    ExitCode.FAILURE: "anything that has no code of its own",
    ExitCode.USAGE: "an argument or a setting is wrong",
    ExitCode.NOT_FOUND: "nothing is stored under the name",
    ExitCode.STALE: "the nodes showed an older value than was seen before",
    ExitCode.BAD_SIGNATURE: "a signature, key or passphrase was refused, or others can get at a file with secrets",
    ExitCode.QUORUM: "too few nodes answered",
    ExitCode.NO_NODE: "no node could be reached",
    ExitCode.CONFLICT: "another writer was faster, or --if-seq did not match",
    ExitCode.NOT_A_READER: "the value is sealed for somebody else",
    ExitCode.INTERRUPTED: "Ctrl-C",
    ExitCode.TERMINATED: "SIGTERM",
}

LOCAL = (ExitCode.OK, ExitCode.FAILURE, ExitCode.USAGE, ExitCode.BAD_SIGNATURE, ExitCode.INTERRUPTED)
"""The exit codes of a command that needs no node."""

READING = (*ExitCode,)
"""Those of a command that reads a value: all of them."""

WRITING = tuple(code for code in ExitCode if code is not ExitCode.NOT_A_READER)
"""Those of a command that writes a value."""

ASKING = (
    ExitCode.OK,
    ExitCode.FAILURE,
    ExitCode.USAGE,
    ExitCode.BAD_SIGNATURE,
    ExitCode.NO_NODE,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
)
"""Those of a command that asks a node."""


def manual(
    *examples: str, codes: tuple[ExitCode, ...] = LOCAL, said: Mapping[ExitCode, str] | None = None
) -> str:
    """The epilog of a command.

    Args:
        examples: Command lines, one each.
        codes: What it ends with.
        said: Where a code means something narrower here than elsewhere.

    """
    meanings = {**_MEANINGS, **(said or {})}
    lines = ["\b", "Examples:", *(f"  {line}" for line in examples), "", "\b", "Exit codes:"]
    return "\n".join([*lines, *(f"  {int(code):>3}  {meanings[code]}" for code in codes)])
