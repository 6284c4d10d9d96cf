from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.cli.programs import PATIENCE_S, YZ, Person, Terminal, environment
from yzdht.cli.main import main


if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import InProcess


pytestmark = pytest.mark.process


class Testnet:
    """One `yz --json testnet`; it and all its nodes are gone at the end of `with`."""

    __test__ = False

    def __init__(self, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [YZ, "--json", "testnet", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(folder),
            cwd=folder,
        )
        self.ready = self.event()
        self.nodes: list[dict[str, Any]] = self.ready["nodes"]
        self._ends = [os.pidfd_open(node["pid"]) for node in self.nodes]

    def event(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=PATIENCE_S)
        event: dict[str, Any] = json.loads(line)
        return event

    def end(self, *numbers: signal.Signals) -> tuple[int, list[dict[str, Any]]]:
        """Signal the parent; its exit code and what it still said."""
        for number in numbers:
            self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=PATIENCE_S)
        assert stderr == b""
        return self.process.returncode, [json.loads(line) for line in stdout.splitlines()]

    def nodes_are_gone(self) -> bool:
        """Wait for the end of every node."""
        return all(select.select([end], [], [], PATIENCE_S)[0] for end in self._ends)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        for node, end in zip(self.nodes, self._ends, strict=True):
            if not select.select([end], [], [], 0)[0]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(node["pid"], signal.SIGKILL)
            os.close(end)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_what_is_stored_at_one_node_is_read_at_another(tmp_path: Path) -> None:
    with Testnet(tmp_path, "5") as net:
        assert [node["number"] for node in net.nodes] == [0, 1, 2, 3, 4]
        assert list(net.nodes[0]) == ["number", "nodeId", "url", "http", "port", "pid"]
        assert len({node["nodeId"] for node in net.nodes}) == 5
        assert len({node["pid"] for node in net.nodes} | {net.ready["pid"], net.process.pid}) == 6
        with urllib.request.urlopen(f"{net.nodes[3]['http']}/node.json", timeout=PATIENCE_S) as answer:
            assert json.load(answer)["nodeId"] == net.nodes[3]["nodeId"]

        someone = Person(tmp_path / "home")
        assert someone.at(net.nodes[0]["url"]).yz("put", "name", stdin=b"value").code == 0
        assert someone.at(net.nodes[4]["url"]).yz("get", "name").stdout == b"value"
        assert net.end(signal.SIGINT) == (0, [{"event": "stopped"}])
        assert net.nodes_are_gone()


def test_a_node_that_dies_is_told_of_and_the_others_go_on(tmp_path: Path) -> None:
    with Testnet(tmp_path, "3", "--no-http") as net:
        assert [node["http"] for node in net.nodes] == [None] * 3
        pid = net.nodes[1]["pid"]
        os.kill(pid, signal.SIGKILL)

        assert net.event() == {"event": "ended", "number": 1, "pid": pid, "code": -signal.SIGKILL}
        assert Person(tmp_path / "home").at(net.nodes[2]["url"]).yz("ping").code == 0
        os.kill(net.nodes[2]["pid"], signal.SIGTERM)
        assert net.event() == {"event": "ended", "number": 2, "pid": net.nodes[2]["pid"], "code": 0}
        assert net.end(signal.SIGTERM) == (0, [{"event": "stopped"}])


def test_the_nodes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with Testnet(tmp_path, "2", "--no-http") as net:
        net.process.kill()

        assert net.nodes_are_gone()


def test_a_second_signal_ends_at_once_whatever_hangs(tmp_path: Path) -> None:
    with Testnet(tmp_path, "2", "--no-http") as net:
        os.kill(net.nodes[1]["pid"], signal.SIGSTOP)
        net.process.send_signal(signal.SIGINT)
        assert select.select([net._ends[0]], [], [], PATIENCE_S)[0]

        assert net.end(signal.SIGINT)[0] == 130
        assert net.nodes_are_gone()


def test_it_ends_by_itself_and_its_nodes_are_the_same_next_time(tmp_path: Path) -> None:
    port = str(free_port())
    words = ("1", "--no-http", "--data", "net", "--base-port", port, "--kill-after", "5")
    with Testnet(tmp_path, *words) as first:
        assert first.end() == (0, [{"event": "stopped"}])
    with Testnet(tmp_path, *words) as again:
        assert again.nodes[0]["nodeId"] == first.nodes[0]["nodeId"]
        assert again.nodes[0]["port"] == int(port)
        assert again.end(signal.SIGTERM)[0] == 0

    assert (tmp_path / "net" / "node-0" / "node.key").exists()


def test_people_are_told_how_to_use_it(tmp_path: Path) -> None:
    with Terminal([YZ, "--network", "ours", "testnet", "2"], environment(tmp_path), tmp_path) as terminal:
        terminal.expect("Ctrl-C ends all of them")
        terminal.type("\x03")
        assert terminal.end() == 0

    assert "2 nodes are ready after " in terminal.shown
    assert "  yz --node ws://127.0.0.1:" in terminal.shown
    assert " --network ours put NAME FILE" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_a_node_that_cannot_start_ends_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "node-1").write_text("not a folder")
    ran = Person(tmp_path / "home").yz("testnet", "2", "--no-http", "--data", "net")

    assert ran.code == 1
    assert ran.stdout == b""
    assert "yz: error: node 1: " in ran.stderr
    assert "Traceback" not in ran.stderr


def test_too_little_time_is_an_error(tmp_path: Path) -> None:
    ran = Person(tmp_path / "home").yz("testnet", "9", "--no-http", "--kill-after", "0.001")

    assert ran.code == 1
    assert "yz: error: only 0 of 9 nodes were ready in time" in ran.stderr
    assert "yz: hint: " in ran.stderr


def test_a_taken_port_is_named_before_anything_starts(in_process: InProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = in_process(main, "testnet", "1", "--no-http", "--base-port", str(port))

    assert said.code == 1
    assert f"yz: error: port {port} cannot be used: Address already in use" in said.stderr
    assert "choose another --base-port" in said.stderr


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (("0",), "0 is not in the range 1<=x<=200"),
        (("201",), "201 is not in the range 1<=x<=200"),
        (("9", "--base-port", "65530"), "18 ports from 65530 on end above 65535"),
        (("9", "--kill-after", "0"), "0.0 is not in the range 0<x<=2000000"),
        (("9", "--kill-after", "inf"), "inf is not in the range 0<x<=2000000"),
        (("9", "--kill-after", "nan"), "nan is no number of seconds"),
    ],
)
def test_what_cannot_be_is_refused(in_process: InProcess, words: tuple[str, ...], fact: str) -> None:
    said = in_process(main, "testnet", *words)

    assert said.code == 2
    assert fact in said.stderr
