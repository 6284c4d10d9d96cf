"""SIGTERM ends a command as Ctrl-C does: what it has under way is put away first."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, TypeVar

import click

from yzdht.errors import ExitCode


if TYPE_CHECKING:
    from collections.abc import Coroutine


_T = TypeVar("_T")


def run_until_ended(work: Coroutine[None, None, _T]) -> _T:
    """Run something in a loop of its own until it is done, or SIGINT or SIGTERM comes; a second signal ends the process at once.

    Raises:
        KeyboardInterrupt: SIGINT.
        click.exceptions.Exit: SIGTERM, with ExitCode.TERMINATED.

    """
    is_terminated = False

    async def until_terminated() -> _T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end() -> None:
            nonlocal is_terminated
            is_terminated = True
            loop.remove_signal_handler(signal.SIGTERM)
            task.cancel()

        loop.add_signal_handler(signal.SIGTERM, end)
        try:
            return await work
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    try:
        return asyncio.run(until_terminated())
    except asyncio.CancelledError:
        if not is_terminated:
            raise
        raise click.exceptions.Exit(ExitCode.TERMINATED) from None
