"""Shows that something goes on: on a terminal only, and only once it has taken a second."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator


SHOWN_AFTER_S = 1.0


@contextlib.contextmanager
def progress(doing: str) -> Iterator[None]:
    """Show `doing` on stderr while the body runs inside the event loop."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    with contextlib.ExitStack() as shown:
        handle = asyncio.get_running_loop().call_later(SHOWN_AFTER_S, _show, doing, shown)
        try:
            yield
        finally:
            handle.cancel()


def _show(doing: str, shown: contextlib.ExitStack) -> None:
    from rich.console import Console  # noqa: PLC0415 - loaded by no run that shows nothing

    shown.enter_context(Console(stderr=True).status(doing))


@contextlib.contextmanager
def progress_aside(doing: str) -> Iterator[None]:
    """As `progress`, for a body that blocks and runs in no event loop."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    with contextlib.ExitStack() as shown:
        lock = threading.Lock()
        is_over = False

        def show() -> None:
            with lock:
                if not is_over:
                    _show(doing, shown)

        timer = threading.Timer(SHOWN_AFTER_S, show)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with lock:
                is_over = True
