from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import Person, Terminal


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.programs import NodeProcess


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"ws://127.0.0.1:{server.getsockname()[1]}"


def url_of(server: socket.socket) -> str:
    return f"ws://127.0.0.1:{server.getsockname()[1]}"


def test_every_node_has_a_line(offline: Person, node: NodeProcess, nobody: str) -> None:
    pinged = offline.at(nobody, node.url).yz("ping")

    assert pinged.code == 0
    first, second = pinged.text.splitlines()
    assert first.startswith(f"{nobody}  no answer: connection refused")
    assert re.fullmatch(
        rf"{re.escape(node.url)}  {node.node_id[:8]}  [0-9]+\.[0-9] ms  seen at 127\.0\.0\.1", second
    )


def test_every_node_has_an_object(offline: Person, node: NodeProcess) -> None:
    view = offline.at(node.url).yz("ping", "--json").object

    assert view.pop("ms") > 0
    assert view == {"url": node.url, "nodeId": node.node_id, "seenAt": "127.0.0.1", "error": None}


def test_addresses_are_asked_that_stand_behind_the_word(
    offline: Person, node: NodeProcess, nobody: str
) -> None:
    pinged = offline.at(nobody).yz("ping", node.url)

    assert pinged.code == 0
    assert pinged.text.startswith(f"{node.url}  {node.node_id[:8]}")
    assert offline.at(node.url).yz("ping", nobody).code == 7
    assert "starts with none of" in offline.at(node.url).yz("ping", "http://127.0.0.1").stderr


def test_without_any_node_there_is_an_error_and_no_node(offline: Person, nobody: str) -> None:
    failed = offline.at(nobody).yz("ping")

    assert (failed.code, failed.stdout) == (7, b"")
    assert f"yz: error: no node could be reached ({nobody}: connection refused)\n" in failed.stderr
    assert "hint: start one with `yz-node --port 8083`" in failed.stderr


def test_of_several_nodes_one_that_answers_is_enough(offline: Person, node: NodeProcess, nobody: str) -> None:
    several = offline.at(nobody, node.url)

    assert several.yz("put", "name", stdin=b"value").code == 0
    assert several.yz("get", "name").stdout == b"value"


@pytest.mark.parametrize("options", [("--network", "other"), ("--network-key", "key")])
def test_a_node_of_another_network_is_no_node(
    offline: Person, node: NodeProcess, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o600)

    assert Person(offline.home, options).at(node.url).yz("ping").code == 7


def test_a_network_key_that_others_can_read_is_not_used(person: Person, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o644)

    refused = Person(person.home, ("--network-key", "key")).yz("ping")

    assert refused.code == 5
    assert "chmod 600 key" in refused.stderr


def test_what_takes_long_is_shown_on_a_terminal_and_ends_with_ctrl_c(
    offline: Person, silent: socket.socket, tmp_path: Path
) -> None:
    somebody = offline.at(url_of(silent))

    with Terminal(somebody.command("get", "name"), somebody.environment(), tmp_path) as terminal:
        terminal.expect("reading name")
        terminal.type("\x03")
        assert terminal.end() == 130

    assert "Traceback" not in terminal.shown
