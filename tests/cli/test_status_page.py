"""`yz-node` with its status page, as people and programs meet it."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.programs import YZ_NODE, NodeProcess, environment


if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.process


def fetch(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_a_node_says_where_its_page_is_until_it_ends(tmp_path: Path) -> None:
    run_path = tmp_path / "data" / "run.json"
    with NodeProcess(tmp_path / "data") as node:
        view = node.ready().view
        run = json.loads(run_path.read_bytes())
        status, ready = fetch(f"{view['http']}/readyz")
        _, shown = fetch(f"{view['http']}/node.json")
        mode = stat.S_IMODE(run_path.stat().st_mode)
        code, events = node.end()

    assert view["http"].startswith("http://127.0.0.1:")
    assert int(view["http"].rpartition(":")[2]) > view["port"]
    assert run == {
        "pid": view["pid"], "port": view["port"], "host": "127.0.0.1", "http": view["http"],
        "nodeId": view["nodeId"], "version": view["version"], "startedAt": run["startedAt"],
    }  # fmt: skip
    assert mode == 0o600
    assert (status, ready["alone"]) == (200, True)
    assert shown["nodeId"] == view["nodeId"]
    assert (code, events[-1]["event"]) == (0, "stopped")
    assert not run_path.exists()
    assert "Traceback" not in node.stderr


def test_a_killed_node_leaves_word_of_itself_that_the_next_one_replaces(tmp_path: Path) -> None:
    run_path = tmp_path / "data" / "run.json"
    with NodeProcess(tmp_path / "data") as node:
        killed = node.ready().view["pid"]
        node.end(signal.SIGKILL)
    assert json.loads(run_path.read_bytes())["pid"] == killed

    with NodeProcess(tmp_path / "data", "--no-http") as node:
        view = node.ready().view
        run = json.loads(run_path.read_bytes())
        code, _ = node.end(signal.SIGINT)

    assert view["http"] is run["http"] is None
    assert run["pid"] == view["pid"] != killed
    assert code == 0
    assert not run_path.exists()


def test_a_named_port_is_taken_or_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        command = [
            YZ_NODE,
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--data",
            str(tmp_path / "d"),
            "--http-port",
            taken,
        ]
        refused = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment(tmp_path), timeout=60
        )
    with NodeProcess(tmp_path / "data", "--http-port", taken) as node:
        url = node.ready().view["http"]

    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"yz-node: error: the status page: 127.0.0.1:{taken} is in use" in refused.stderr
    assert "yz-node: hint: choose another --http-port" in refused.stderr
    assert url == f"http://127.0.0.1:{taken}"
