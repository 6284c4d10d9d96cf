"""The JavaScript half reproduces the golden values, in Node and in Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.browser import DEADLINE_S, ROOT, page_of, pages


if TYPE_CHECKING:
    from pathlib import Path


CHECKS_MIN = 79  # raise it with the list: a list that lost its checks must not pass


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
async def test_every_check_passes_in_chromium(tmp_path: Path) -> None:
    with pages() as address:
        async with page_of(f"{address}/web/test/vectors.html", tmp_path) as page:
            await page.wait_for_function("globalThis.vectorResults !== undefined", timeout=DEADLINE_S * 1_000)
            results: dict[str, Any] = await page.evaluate("globalThis.vectorResults")

    assert results["error"] is None
    assert [check for check in results["checks"] if check["error"]] == []
    assert len(results["checks"]) >= CHECKS_MIN
