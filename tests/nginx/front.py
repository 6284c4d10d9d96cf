"""A real nginx with the project's own configuration and a certificate of a test's authority, as a child of the test.

Everything of it lies in one folder, it listens on one port, and it ends with the test, or with this process.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import psutil

from tests.process.fleet import steady_port


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.transport.authority import Authority


ROOT: Final = Path(__file__).parent.parent.parent
TEMPLATE: Final = ROOT / "nginx" / "yzdht.conf.template"
MAIN: Final = ROOT / "nginx" / "nginx.conf"
DOMAIN: Final = "nodes.test"
PATIENCE_S: Final = 60.0
POLL_S: Final = 0.05

# What a folder of its own needs beside the shipped files: the usual places belong to the system's nginx.
_PLACES: Final = "".join(
    f"{kind}_temp_path temp_{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


def command() -> str:
    """Where nginx is; Debian keeps it off the path of ordinary users."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    assert found is not None, "nginx is missing: make debian-packages"
    return found


def render(template: str, variables: Mapping[str, str]) -> str:
    """Fill in variables as envsubst does."""
    return re.sub(r"\$\{?(YZ_[A-Z_]+)\}?", lambda match: variables[match[1]], template)


def name_of(number: int) -> str:
    """The host name of a node."""
    return f"node{number}.{DOMAIN}"


class Nginx:
    """One nginx in front of some nodes.

    Args:
        folder: Its own.
        authority: Signs its certificate.
        nodes: Where each number leads, `HOST:PORT`.
        listen: Address to listen on.

    """

    def __init__(
        self, folder: Path, authority: Authority, nodes: Mapping[int, str], listen: str = "127.0.0.1"
    ) -> None:
        self.folder = folder
        self.host = listen
        self._turns = cycle(nodes.items())
        self._errors = folder / "errors"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "conf.d").mkdir(parents=True)
        self.port = steady_port()
        certificate, key = authority.sign("nginx", (f"*.{DOMAIN}", DOMAIN))
        self.name_nodes(nodes)
        variables = {
            "YZ_LISTEN": f"{listen}:{self.port}",
            "YZ_CERTIFICATE": str(certificate),
            "YZ_CERTIFICATE_KEY": str(key),
            "YZ_NODES": str(folder / "nodes.map"),
            "YZ_RESOLVER": "127.0.0.11",
        }
        (folder / "conf.d" / "yzdht.conf").write_text(render(TEMPLATE.read_text(), variables))
        (folder / "conf.d" / "places.conf").write_text(_PLACES)
        shutil.copy(MAIN, folder)

    def name_nodes(self, nodes: Mapping[int, str]) -> None:
        """Write where each number leads; nginx reads it when it starts and at `reload`."""
        (self.folder / "nodes.map").write_text("".join(f"{n} {place};\n" for n, place in nodes.items()))

    def next_node(self) -> tuple[int, str]:
        """A number and where it leads, another one each time, and in the end the first again."""
        return next(self._turns)

    def url(self, number: int) -> str:
        """The address of a node."""
        return f"wss://{name_of(number)}:{self.port}/ws"

    @property
    def command(self) -> list[str]:
        """How it is started, in the foreground."""
        return [command(), "-p", str(self.folder), "-c", "nginx.conf", "-g", "daemon off; pid nginx.pid;"]

    def check(self) -> str:
        """What `nginx -t` says of the configuration; it must be well."""
        done = subprocess.run([*self.command, "-t"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        _until(self._answers, "nginx listens")

    def stop(self) -> None:
        """End it at once, and with it every connection through it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    async def reload(self) -> None:
        """Have it read its configuration again; returns when the workers of before are gone, and their connections with them."""
        assert self._process is not None
        master = psutil.Process(self._process.pid)
        before = set(master.children())
        self._process.send_signal(signal.SIGHUP)
        give_up_at = time.monotonic() + PATIENCE_S
        while before & set(master.children()):
            assert time.monotonic() < give_up_at, "workers of before the reload are still there"
            await asyncio.sleep(POLL_S)

    def workers(self) -> list[int]:
        """Its processes that carry connections."""
        assert self._process is not None
        return [worker.pid for worker in psutil.Process(self._process.pid).children()]

    def errors(self) -> str:
        """What it said."""
        return self._errors.read_text() if self._errors.exists() else ""

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.errors()
        with suppress(OSError), socket.create_connection((self.host, self.port), PATIENCE_S):
            return True
        return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()


def _until(holds: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, f"not within {PATIENCE_S} s: {what}"
        time.sleep(POLL_S)


@contextmanager
def names_lead_to(host: str) -> Iterator[None]:
    """Within this process, names of nodes lead to nginx; all others to where they led before."""
    asked = socket.getaddrinfo

    def getaddrinfo(name: object, *rest: object, **more: object) -> object:
        is_node = isinstance(name, str) and name.endswith(f".{DOMAIN}")
        return asked(host if is_node else name, *rest, **more)  # type: ignore[arg-type]  # handed on

    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]  # as above
    try:
        yield
    finally:
        socket.getaddrinfo = asked
