"""What people and programs see: data on stdout, talk on stderr, errors as one fact and one hint.

With `--json` data are objects, one a line, errors are one object on stderr, and nothing else is said. Refuses to let
text that came from elsewhere steer the terminal: what is not printable is shown escaped.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from yzdht.errors import StoreError, YzError


if TYPE_CHECKING:
    from collections.abc import Mapping


_STDOUT = 1
_OUTPUT_HINT = "check where the output goes"
_HUMP = re.compile(r"_([a-z])")


@dataclass(frozen=True, slots=True)
class Screen:
    """Where one run of a program writes.

    Attributes:
        program: `yz` or `yz-node`, the start of every error line.
        is_json: Whether programs read this.

    """

    program: str
    is_json: bool = False

    def data(self, raw: bytes) -> None:
        """Write raw bytes to stdout.

        Raises:
            BrokenPipeError: Nobody reads any more; stdout is mute from now on.
            StoreError: They cannot be written, or stdout was closed from the start.

        """
        if sys.stdout is None:
            raise StoreError("stdout is closed", hint=_OUTPUT_HINT)
        try:
            click.echo(raw, nl=False)
        except OSError as error:
            if error.errno == errno.EPIPE:
                _mute_stdout()
                raise
            raise unwritable(error) from error

    def line(self, text: str) -> None:
        """Write a line of text to stdout; raises as `data`."""
        self.data(f"{printable(text)}\n".encode())

    def object(self, fields: Mapping[str, object]) -> None:
        """Write one object on one line to stdout; raises as `data`."""
        self.data(f"{json.dumps(fields)}\n".encode())

    def say(self, text: str) -> None:
        """Talk on stderr, unless a program reads this."""
        if not self.is_json:
            _talk(text)

    def warn(self, fact: str, hint: str = "") -> None:
        """Talk of what is not as it should be, each part on one line as `fail` shows it."""
        if self.is_json:
            return
        _talk(f"{self.program}: warning: {on_one_line(fact)}")
        if hint:
            _talk(f"{self.program}: hint: {on_one_line(hint)}")

    def fail(self, error: YzError) -> None:
        """Show an error, each part of it on one line, so that nothing in it passes for a hint."""
        if self.is_json:
            _talk(json.dumps(error_view(error)))
            return
        _talk(f"{self.program}: error: {on_one_line(str(error))}")
        if error.hint:
            _talk(f"{self.program}: hint: {on_one_line(error.hint)}")


def error_view(error: YzError) -> dict[str, object]:
    """An error as an object: what, hint, exit code, and its data under camelCase names."""
    view: dict[str, object] = {
        "error": str(error),
        "hint": error.hint,
        "exitCode": int(error.exit_code),
    }
    for name, value in vars(error).items():
        if isinstance(value, int | str) and name != "hint":
            view[_HUMP.sub(lambda match: match[1].upper(), name)] = value
    return view


def unwritable(error: OSError) -> StoreError:
    """What to raise when stdout cannot be written; it is mute from now on."""
    _mute_stdout()
    return StoreError(f"stdout: {error.strerror}", hint=_OUTPUT_HINT)


def printable(text: str) -> str:
    """The text with everything escaped that a terminal could take for an order; line ends and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def on_one_line(text: str) -> str:
    """The text as `printable` has it, with line ends and tabs escaped too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _talk(text: str) -> None:
    try:
        click.echo(printable(text), err=True)
    except OSError:
        return  # nobody listens; the exit code still says it


def _mute_stdout() -> None:
    """What is still buffered would fail again, noisily, when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.close(nowhere)
    if sys.stdout is not None:
        sys.stdout.flush()
