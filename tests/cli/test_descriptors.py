"""Both programs, started by parents that closed some of the descriptors 0, 1 and 2, or allow few in all."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from tests.cli.programs import PATIENCE_S, YZ, YZ_NODE, NodeProcess, environment


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


LIMIT = "import sys; from yzdht.cli.descriptors import allow_files; print(allow_files(int(sys.argv[1])))"
SHOWN = "; import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"


@pytest.mark.parametrize(
    ("limit", "wanted", "said"),
    [
        ("200:3000", 1_000, "1000\n1000 3000"),
        ("200:600", 1_000, "600\n600 600"),
        ("2000:3000", 1_000, "2000\n2000 3000"),
        ("300:300", 1_000, "300\n300 300"),
    ],
)
def test_a_process_lets_itself_have_as_many_files_as_it_wants_and_may(
    limit: str, wanted: int, said: str
) -> None:
    done = subprocess.run(
        ["prlimit", f"--nofile={limit}", sys.executable, "-c", LIMIT + SHOWN, str(wanted)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip

    assert done.stdout.strip() == said


@pytest.mark.parametrize(
    ("limit", "files"), [("1871:1871", "1871"), ("1872:1872", None), ("300:300", "300"), ("64:4096", None)]
)
def test_a_node_that_may_not_have_enough_files_says_so(tmp_path: Path, limit: str, files: str | None) -> None:
    with NodeProcess(tmp_path / "data", "--no-http", before=("prlimit", f"--nofile={limit}")) as node:
        node.ready()
        code, _ = node.end()

    assert code == 0
    said = (
        f' WARNING yzdht.cli.node file limit too low files={files} sessions=200 hint="raise it to 1872 with'
    )
    assert (said in node.stderr) is (files is not None)


def test_a_node_that_cannot_take_connections_for_want_of_files_says_so_until_it_can(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data") as node:
        node.ready()
        pid = node.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        wait_for(node, 'no more files or connections can be opened hint="let it have more: LimitNOFILE=')
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        wait_for(node, "files and connections can be opened again")
        with urlopen(f"{node.view['http']}/status.json", timeout=PATIENCE_S) as answer:
            errors = json.load(answer)["errors"]

    [error] = [error for error in errors if "files" in error["what"]]
    assert error["what"] == "no more files or connections can be opened"
    assert "--max-sessions" in error["hint"]


def wait_for(node: NodeProcess, line: str) -> None:
    """Until the node has logged it."""
    while line not in node.stderr:
        assert node.process.poll() is None, node.stderr
        time.sleep(0.02)
