"""The JavaScript half reproduces the golden values, in Node and in Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from playwright.sync_api import sync_playwright


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BytesIO

    from typing_extensions import override
else:

    def override(method: Callable[..., object]) -> Callable[..., object]:
        return method


ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHECKS_MIN = 65  # raise it with the list: a list that lost its checks must not pass
DEADLINE_S = 90


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


@pytest.fixture
def address() -> Iterator[str]:
    """Address of a server on loopback, which browsers count as a secure context."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(ROOT))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _count(tap: str, what: str) -> int:
    found = re.search(rf"^# {what} (\d+)$", tap, re.MULTILINE)
    assert found is not None, tap
    return int(found[1])


@pytest.mark.process
def test_every_check_passes_in_node() -> None:
    node = shutil.which("node")
    assert node is not None, "node is missing: run `apt-get install --no-install-recommends nodejs`"

    command = [node, "--test", "--test-reporter=tap", "web/test/vectors.test.js"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert _count(done.stdout, "fail") == _count(done.stdout, "skipped") == 0
    assert _count(done.stdout, "pass") >= CHECKS_MIN


@pytest.mark.net
@pytest.mark.process
def test_every_check_passes_in_chromium(address: str, tmp_path: Path) -> None:
    assert CHROMIUM.exists(), "chromium is missing: run `apt-get install --no-install-recommends chromium`"

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=CHROMIUM_ARGS
        )
        page = context.new_page()
        page.goto(f"{address}/web/test/vectors.html")
        page.wait_for_function("globalThis.vectorResults !== undefined", timeout=DEADLINE_S * 1_000)
        results: dict[str, Any] = page.evaluate("globalThis.vectorResults")
        context.close()

    assert results["error"] is None
    assert [check for check in results["checks"] if check["error"]] == []
    assert len(results["checks"]) >= CHECKS_MIN
