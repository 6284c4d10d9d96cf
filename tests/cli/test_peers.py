"""`yz peers` on terminals and in pipes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import NodeProcess, Person, Terminal
from yzdht.cli.answers import PeersView, PeerView
from yzdht.cli.peers import cells_of, lines_of


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.process

NODE_ID = "ab" * 32


def peer_with(
    *, host: str = "192.0.2.1", rtt_ms: float | None = 1.5, is_client: bool = False, is_in_table: bool = True
) -> PeerView:
    return PeerView(
        node_id=NODE_ID, host=host, road="ws", dialled=True, rtt_ms=rtt_ms, since_s=61, bytes_in=2_048,
        is_client=is_client, is_in_table=is_in_table,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, NodeProcess]]:
    """A node, and one that joined through it; the node that all modules share stays alone."""
    folder = tmp_path_factory.mktemp("second")
    with NodeProcess(folder / "first") as first:
        bootstrap = first.ready().url
        with NodeProcess(folder / "second", "--bootstrap", bootstrap) as second:
            yield first, second.ready()


def test_a_pipe_gets_the_table_once(pair: tuple[NodeProcess, NodeProcess], offline: Person) -> None:
    first, second = pair

    ran = offline.yz("peers", "--data", str(second.data))

    heads, *rows = ran.text.splitlines()
    assert heads.split()[:2] == ["node", "id"]
    [row] = [row for row in rows if row.startswith(first.node_id[:16])]
    assert "  node  " in row
    assert "  this node  " in row
    assert "127.0.0.1" in row
    assert "\x1b" not in ran.text


def test_programs_get_what_the_node_says(pair: tuple[NodeProcess, NodeProcess], offline: Person) -> None:
    first, second = pair

    view = offline.yz("--json", "peers", "--http", second.view["http"]).object

    [peer] = [peer for peer in view["peers"] if peer["nodeId"] == first.node_id]
    assert (peer["road"], peer["dialled"], peer["url"], peer["isInTable"]) == ("ws", True, first.url, True)


def test_on_a_terminal_the_table_lives_until_ctrl_c(
    pair: tuple[NodeProcess, NodeProcess], offline: Person, tmp_path: Path
) -> None:
    first, second = pair
    command = offline.command("peers", "--data", str(second.data))

    with Terminal(command, offline.environment() | {"TERM": "xterm", "COLUMNS": "160"}, tmp_path) as terminal:
        terminal.expect(first.node_id[:16])
        start = len(terminal.shown)
        terminal.expect(first.node_id[:16], after=start)  # renewed by itself
        terminal.type("\x03")
        assert terminal.end() == 0

    assert "connected: 1 node, 0 clients" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_once_on_a_terminal_is_once(
    pair: tuple[NodeProcess, NodeProcess], offline: Person, tmp_path: Path
) -> None:
    command = offline.command("peers", "--once", "--data", str(pair[1].data))

    with Terminal(command, offline.environment(), tmp_path) as terminal:
        assert terminal.end() == 0

    assert terminal.shown.count(pair[0].node_id[:16]) == 1


def test_a_live_table_waits_for_a_node_that_is_away(tmp_path: Path, offline: Person) -> None:
    with NodeProcess(tmp_path / "data") as node:
        node.ready()
        command = offline.command("peers", "--data", str(node.data))
        with Terminal(command, offline.environment() | {"TERM": "xterm"}, tmp_path) as terminal:
            terminal.expect("connected: 0 nodes, 0 clients")
            node.end(signal.SIGKILL)
            terminal.expect("ended without saying so")
            terminal.type("\x03")
            assert terminal.end() == 0


def test_without_a_node_no_table_is_begun(offline: Person) -> None:
    ran = offline.yz("peers")

    assert (ran.code, ran.stdout) == (7, b"")


def test_a_row_says_who_how_and_how_much() -> None:
    assert cells_of(peer_with()) == (
        NODE_ID[:16], "node", "192.0.2.1", "ws", "this node", "1.5 ms", "1 min 1 s", "2.0 KiB", "0 B",
    )  # fmt: skip
    assert cells_of(peer_with(is_client=True, rtt_ms=None))[1:6:4] == ("client", "unknown")
    assert cells_of(peer_with(is_in_table=False))[1] == "node, not in the table"


def test_a_peer_cannot_forge_a_row() -> None:
    lines = lines_of(PeersView((peer_with(host="a\n\x1b[2Jb"),)))

    assert len(lines) == 2
    assert "a\\n\\x1b[2Jb" in lines[1]
