"""Chromium, in a profile and a home of a test's own, and the pages of this repository on loopback."""

from __future__ import annotations

import shutil
import subprocess
import threading
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from playwright.async_api import async_playwright


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from io import BytesIO

    from playwright.async_api import Page
    from typing_extensions import override
else:

    def override(method: Callable[..., object]) -> Callable[..., object]:
        return method


ROOT: Final = Path(__file__).parents[2]
CHROMIUM: Final = Path("/usr/bin/chromium")
CHROMIUM_ARGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEADLINE_S: Final = 90


class _Files(SimpleHTTPRequestHandler):
    """Serves the pages and the vectors of this repository, nothing else and silently."""

    @override
    def send_head(self) -> BytesIO | BinaryIO | None:
        if ".." in self.path or not self.path.startswith(("/web/", "/tests/vectors/")):
            self.send_error(404)
            return None
        return super().send_head()

    @override
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        pass


@contextmanager
def pages() -> Iterator[str]:
    """Address of a server on loopback, which browsers count as a secure context."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(ROOT))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def trust(home: Path, ca: Path | None) -> None:
    """Have the browser of a home trust an authority, in the database that Chromium reads on Linux."""
    certutil = shutil.which("certutil")
    assert certutil is not None, "certutil is missing: make debian-packages"
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    there = ("-d", f"sql:{database}")
    subprocess.run([certutil, *there, "-N", "--empty-password"], check=True)
    if ca is not None:
        subprocess.run([certutil, *there, "-A", "-n", "a test's", "-t", "C,,", "-i", str(ca)], check=True)


@asynccontextmanager
async def page_of(address: str, home: Path, *more: str) -> AsyncIterator[Page]:
    """Open a page in a new profile, with further arguments of Chromium."""
    assert CHROMIUM.exists(), "chromium is missing: make debian-packages"
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            home / "profile",
            executable_path=CHROMIUM,
            args=[*CHROMIUM_ARGS, *more],
            env={"HOME": str(home)},
        )
        try:
            page = await context.new_page()
            page.set_default_timeout(DEADLINE_S * 1_000)
            await page.goto(address)
            yield page
        finally:
            await context.close()
