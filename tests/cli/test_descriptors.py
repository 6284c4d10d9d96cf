"""Both programs, started by parents that closed some of the descriptors 0, 1 and 2."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import PATIENCE_S, YZ, YZ_NODE, environment


if TYPE_CHECKING:
    from pathlib import Path


CLOSED = ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"]
HINT = "hint: check where the output goes"


def under_shell(redirections: str, *command: str) -> list[str]:
    return ["/bin/sh", "-c", f'exec "$@" {redirections}', "sh", *command]


def yz(folder: Path, redirections: str, *words: str) -> tuple[int, str]:
    """The exit code and stderr of one run."""
    done = subprocess.run(
        under_shell(redirections, YZ, "--home", str(folder / "home"), *words),
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(folder),
        cwd=folder, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("closed", CLOSED)
def test_a_node_without_standard_descriptors_ends_cleanly(tmp_path: Path, closed: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bootstrap:
        url = f"ws://127.0.0.1:{bootstrap.getsockname()[1]}"
        words = ["--host", "127.0.0.1", "--port", "0", "--data", str(tmp_path / "data"), "--bootstrap", url]
        process = subprocess.Popen(
            under_shell(closed, YZ_NODE, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(tmp_path),
        )
        try:
            bootstrap.settimeout(PATIENCE_S)
            connection, _ = bootstrap.accept()  # it listens, and hears signals
            with connection:
                process.terminate()
                assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait(PATIENCE_S)


@pytest.mark.parametrize("words", [["id", "show"], ["--json", "id", "show"]])
def test_a_closed_stdout_is_an_error(tmp_path: Path, words: list[str]) -> None:
    yz(tmp_path, ">/dev/null", "id", "new")  # so that nothing is said of a new one

    code, said = yz(tmp_path, ">&-", *words)

    assert code == 1
    assert "stdout is closed" in said
    assert "check where the output goes" in said


def test_a_closed_stdin_is_not_an_empty_value(tmp_path: Path) -> None:
    code, said = yz(tmp_path, "<&-", "put", "name", "-")

    assert code == 2
    assert "stdin cannot be read" in said


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["get", "--help"]])
def test_a_help_that_cannot_be_written_is_a_plain_error(tmp_path: Path, words: list[str]) -> None:
    assert yz(tmp_path, ">/dev/full", *words) == (
        1,
        f"yz: error: stdout: No space left on device\nyz: {HINT}\n",
    )
