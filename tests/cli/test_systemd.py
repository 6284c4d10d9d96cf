from __future__ import annotations

import asyncio
import configparser
import os
import re
import secrets
import shlex
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import NodeProcess
from yzdht.cli.local_node import as_owner
from yzdht.cli.node import cli
from yzdht.cli.systemd import ServiceManager
from yzdht.errors import ExitCode
from yzdht.limits import LEAVE_S_MAX, SESSIONS_MAX


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "deploy" / "yz-node.service"
ACCOUNT = ROOT / "deploy" / "yz-node.sysusers"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and what $NOTIFY_SOCKET says of it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"\0yz-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(name)
        heard.settimeout(60)
        yield heard, name.replace("\0", "@")


def hear(heard: socket.socket) -> list[str]:
    return heard.recv(4_096).decode().split("\n")


async def test_a_node_says_when_it_is_ready_and_when_it_stops(manager: tuple[socket.socket, str]) -> None:
    heard, name = manager
    with ServiceManager({"NOTIFY_SOCKET": name}) as told:
        told.ready(lambda: "knows 3\nnodes")
        told.stopping()

    assert hear(heard) == ["READY=1", "STATUS=knows 3 nodes"]
    assert hear(heard) == ["STOPPING=1", "STATUS=leaving the network"]


async def test_the_watchdog_is_fed_from_the_loop_at_twice_its_rate(
    manager: tuple[socket.socket, str],
) -> None:
    heard, name = manager
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    loop = asyncio.get_running_loop()
    heard.settimeout(0)
    with ServiceManager(environment) as told:
        assert told._feed_every_s == 0.01
        fed = [(await loop.sock_recv(heard, 4_096)).split(b"\n")[0] for _ in range(3)]

    assert fed == [b"WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"WATCHDOG_USEC": "20000"},
    ],
)
async def test_without_a_manager_nothing_is_said(environment: dict[str, str]) -> None:
    with ServiceManager(environment) as told:
        told.ready(lambda: "")
        told.stopping()

        assert told._socket is None


async def test_the_watchdog_of_another_process_is_not_fed(manager: tuple[socket.socket, str]) -> None:
    heard, name = manager
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
    with ServiceManager(environment) as told:
        told.ready(lambda: "first")

    assert hear(heard)[0] == "READY=1"


async def test_a_manager_that_is_gone_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}) as told:
        told.ready(lambda: "")

    assert "service manager not told" in caplog.text


@pytest.mark.process
def test_a_real_node_tells_its_manager(
    tmp_path: Path, manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, name = manager
    monkeypatch.setattr(
        "tests.cli.programs.environment",
        lambda folder: {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "NOTIFY_SOCKET": name,
        },
    )
    with NodeProcess(tmp_path / "data") as node:
        port = node.ready().view["port"]
        first = hear(heard)
        node.end(signal.SIGTERM)

    assert first == ["READY=1", f"STATUS=port {port}, knows 0 nodes"]
    assert hear(heard)[0] == "STOPPING=1"


def unit() -> dict[str, dict[str, list[str]]]:
    """The unit file: keys may be repeated, and their case counts."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # how configparser is told to keep the case
    parser.read_string(UNIT.read_text())
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return {
        section: {
            key: [line.partition("=")[2] for line in lines if line.partition("=")[0] == key]
            for key in parser[section]
        }
        for section in parser.sections()
    }


def test_the_unit_file_starts_the_command_with_options_that_exist() -> None:
    [start] = unit()["Service"]["ExecStart"]
    program, *words = start.replace("%S", "/var/lib").split()

    assert program == "/usr/local/bin/yz-node"
    with cli.make_context("yz-node", words, resilient_parsing=False) as context:
        assert context.params["data"] == "/var/lib/yz-node"


def test_the_unit_file_agrees_with_what_a_node_does() -> None:
    service = {key: values[0] for key, values in unit()["Service"].items()}

    assert service["Type"] == "notify"
    assert float(service["TimeoutStopSec"]) > LEAVE_S_MAX + 2
    assert int(service["LimitNOFILE"]) > 2 * SESSIONS_MAX
    assert service["RestartPreventExitStatus"].split() == [
        str(int(ExitCode.USAGE)),
        str(int(ExitCode.BAD_SIGNATURE)),
    ]
    assert service["StateDirectory"] == "yz-node"
    assert float(service["WatchdogSec"]) > 0
    assert {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"} == set(service["RestrictAddressFamilies"].split())


def test_the_unit_file_takes_away_what_a_node_does_not_need() -> None:
    service = unit()["Service"]
    wanted = {
        "NoNewPrivileges", "ProtectHome", "ProtectClock", "ProtectHostname", "ProtectKernelLogs",
        "ProtectKernelModules", "ProtectKernelTunables", "ProtectControlGroups", "PrivateTmp", "PrivateDevices",
        "PrivateUsers", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality",
        "MemoryDenyWriteExecute",
    }  # fmt: skip

    assert {key for key in wanted if service[key] == ["yes"]} == wanted
    assert service["ProtectSystem"] == ["strict"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["StateDirectoryMode"] == ["0700"]


def test_the_account_of_the_unit_is_a_lasting_one_that_owns_the_folder_of_the_node() -> None:
    service = {key: values[0] for key, values in unit()["Service"].items()}
    [account] = [line for line in ACCOUNT.read_text().splitlines() if not line.startswith("#")]
    kind, name, number, _, home = shlex.split(account)

    assert (kind, name, number) == ("u", service["User"], "-")
    assert service["Group"] == service["User"]
    assert home == f"/var/lib/{service['StateDirectory']}"
    assert f"--data %S/{service['StateDirectory']}" in service["ExecStart"]
    assert "DynamicUser" not in service


@pytest.mark.parametrize("path", ["docs/operating.md", "deploy/yz-node.service", "docs/cli.md"])
def test_examples_name_the_folder_and_the_account_of_the_unit(path: str) -> None:
    text = (ROOT / path).read_text()
    folders = re.findall(r"--data (/var/lib/[\w/-]+)", text)

    assert folders
    assert set(folders) == {"/var/lib/yz-node"}
    assert set(re.findall(r"sudo -u (\S+)", text)) <= {"yz-node"}


def test_the_unit_says_how_both_commands_get_into_its_path() -> None:
    assert "/opt/yzdht/bin/yz /opt/yzdht/bin/yz-node /usr/local/bin/" in UNIT.read_text()


@pytest.mark.parametrize(("owner", "account"), [("yz-node", "yz-node"), ("user 54321", "'#54321'")])
def test_who_has_to_run_a_command_is_told_what_to_type(owner: str, account: str) -> None:
    command = "yz doctor --data /var/lib/yz-node"

    assert as_owner(owner, command) == f"run this as {owner}: sudo -u {account} {command}"
