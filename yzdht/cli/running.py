"""One run of a program: its arguments to its exit code, whatever happens in between."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import TYPE_CHECKING

import click

from yzdht.cli.logs import is_debugging
from yzdht.cli.screen import Screen, unwritable
from yzdht.errors import ExitCode, UsageError, YzError


if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


def run(command: click.Command, program: str, words: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        command: What to run.
        program: Its name in errors.
        words: The arguments; the process's own when None.

    Returns:
        The exit code. What no part of yzdht raises on purpose is left to `sys.excepthook`, which shows an internal
        error; Python ends with 1 then.

    """
    words = sys.argv[1:] if words is None else list(words)
    screen = Screen(program, is_json=_wants_json(words))
    sys.excepthook = _Bugs(screen)
    try:
        code = command.main(words, prog_name=program, standalone_mode=False, obj=screen)
    except click.exceptions.NoArgsIsHelpError as error:
        with contextlib.suppress(OSError):  # as every talk: the exit code still says it
            error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        screen.fail(_as_usage_error(error))
        return ExitCode.USAGE
    except click.Abort:
        return ExitCode.INTERRUPTED
    except YzError as error:
        screen.fail(error)
        return error.exit_code
    except OSError as error:
        if not _is_of_output(error):
            raise
        failure = unwritable(error)
        screen.fail(failure)
        return failure.exit_code
    return code if isinstance(code, int) else ExitCode.OK


def _wants_json(words: Sequence[str]) -> bool:
    """Before parsing: an error of the parser is an object too."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def _as_usage_error(error: click.ClickException) -> UsageError:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f"try: {context.command_path} --help" if context is not None else ""
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def _is_of_output(error: OSError) -> bool:
    """Whether click failed to print, as a help or a version; any other escaped `OSError` is a bug."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].f_code is click.echo.__code__


class _Bugs:
    """The process's excepthook: an error that nobody raised on purpose is ours, and is shown as such."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if is_debugging():
            sys.__excepthook__(kind, error, trace)
        fact = f"internal error {kind.__name__}: {error}"
        hint = "this is a bug; please report it with what --log-level debug shows"
        self._screen.fail(YzError(fact, hint=hint))
