"""The guards of the test suite work: a leak fails a run, and the long forms wait to be asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


TESTS = Path(__file__).parent
FOREIGN = ("COV_", "COVERAGE_", "PYTEST_", "YZ_")  # what was meant for the run outside

LEAKING = """
def test_leaves_a_socket_open():
    import socket
    socket.socket()
"""

UNRAISABLE = """
class Fragile:
    def __del__(self):
        raise ValueError("lost in a destructor")

def test_raises_where_nobody_catches():
    Fragile()
"""

TIDY_AND_LONG = """
import pytest

def test_short(): pass

@pytest.mark.soak
def test_long(): pass
"""


def run(folder: Path, test: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(TESTS / "conftest.py", folder)
    left_out = shutil.ignore_patterns("test_*", "__pycache__")
    shutil.copytree(TESTS / "watched", folder / "tests/watched", ignore=left_out, dirs_exist_ok=True)
    shutil.copy(TESTS.parent / "pyproject.toml", folder)
    (folder / "test_sample.py").write_text(test)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        *arguments,
        str(folder / "test_sample.py"),
    ]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return subprocess.run(
        command, cwd=folder, env=quiet, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.process
@pytest.mark.parametrize("test", [LEAKING, UNRAISABLE], ids=["socket", "destructor"])
def test_a_run_with_a_leak_fails(tmp_path: Path, test: str) -> None:
    done = run(tmp_path, test)

    assert done.returncode == 1, done.stdout + done.stderr


@pytest.mark.process
def test_soak_tests_run_only_when_asked_for(tmp_path: Path) -> None:
    assert "1 passed, 1 deselected" in run(tmp_path, TIDY_AND_LONG).stdout
    assert "1 passed, 1 deselected" in run(tmp_path, TIDY_AND_LONG, "-m", "soak").stdout
    assert "2 passed" in run(tmp_path, TIDY_AND_LONG, "-m", "soak or not soak").stdout
