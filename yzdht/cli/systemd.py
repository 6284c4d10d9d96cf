"""What systemd is told of a running node (sd_notify): ready, still alive, stopping, and a line for `systemctl status`.

Says nothing where $NOTIFY_SOCKET is unset. The watchdog is fed from the event loop itself, so that a loop that hangs is
noticed. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING, Self


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType


log = logging.getLogger(__name__)

_US = 1_000_000
_FEEDS_PER_WATCHDOG = 2


class ServiceManager:
    """The service manager, if there is one; use it as `with ServiceManager() as manager:` in a running loop.

    Args:
        environment: $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID are read; the process's own when None.

    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._status: Callable[[], str] = lambda: "joining the network"
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._feed_every_s = _watchdog_s(environment) / _FEEDS_PER_WATCHDOG
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(0)  # a manager that reads nothing must not stop the loop
            if self._feed_every_s:
                self._feed()  # it waits from the start of the process on
        return self

    def ready(self, status: Callable[[], str]) -> None:
        """The node runs.

        Args:
            status: Asked for the status line, now and each time the watchdog is fed.

        """
        self._status = status
        self._send("READY=1", self._status_line())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def stopping(self) -> None:
        """The node ends; the watchdog is fed until it has."""
        self._status = lambda: "leaving the network"
        self._send("STOPPING=1", self._status_line())

    def _feed(self) -> None:
        self._send("WATCHDOG=1", self._status_line())
        self._timer = asyncio.get_running_loop().call_later(self._feed_every_s, self._feed)

    def _status_line(self) -> str:
        return f"STATUS={' '.join(self._status().split())}"

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("service manager not told lines=%s reason=%s", len(lines), error)


def _address(text: str) -> str:
    """The socket's address; empty for none, or for one of a kind that only virtual machines use."""
    if text.startswith("@"):
        return f"\0{text[1:]}"
    return text if text.startswith("/") else ""


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """Seconds within which systemd wants to hear of this process; 0 for never."""
    text = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(text) / _US if text.isdecimal() else 0.0
