"""`yz status`, and how every command finds the node of this machine."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.programs import NodeProcess, Person
from yzdht.cli.answers import PeersView, RunView, StatusView, decode_answer
from yzdht.cli.local_node import fetch, look_at, only_node, parse_http
from yzdht.cli.status import lines_of
from yzdht.cli.units import plain, show_ago
from yzdht.errors import NodeSilent, NoNode, StoreError, UnsafeFile, UsageError
from yzdht.http.units import show_bytes, show_ms, show_span
from yzdht.reachability import Finding, Reach, Word, why as why_not


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.process

NODE_ID = "ab" * 32
READY = {"ready": True, "alone": False, "reason": "3 other nodes stored a record and showed it again"}
STATUS: dict[str, Any] = {
    "nodeId": NODE_ID, "version": "1.0", "network": "main", "state": "ready", "ready": READY,
    "startedAt": 1, "pid": 7,
}  # fmt: skip


def status_with(**more: object) -> StatusView:
    return decode_answer(json.dumps(STATUS | more).encode(), StatusView, "here")


def folder_with_run(folder: Path, **more: object) -> Path:
    """What a killed node leaves behind."""
    folder.mkdir(parents=True, mode=0o700)
    run = {"pid": 2**22 + 1, "port": 8083, "host": "127.0.0.1", "http": "http://127.0.0.1:1", "nodeId": NODE_ID,
           "version": "1", "startedAt": 1} | more  # fmt: skip
    for name, text in (("version", "1\n"), ("lock", "4194305\n"), ("run.json", json.dumps(run))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return folder


# A node that runs


@pytest.fixture
def beside(tmp_path: Path) -> Person:
    """Somebody among whose data nothing is."""
    return Person(tmp_path / "home")


def test_a_node_is_found_by_its_folder_and_by_its_page(node: NodeProcess, beside: Person) -> None:
    by_data = beside.yz("--json", "status", "--data", str(node.data)).object
    by_http = beside.yz("status", "--json", "--http", node.view["http"]).object

    assert by_data["nodeId"] == by_http["nodeId"] == node.node_id
    assert by_data["state"] in ("alone", "joining", "ready")  # others may have met it
    assert by_data["pid"] == node.process.pid


def test_the_only_node_among_ones_data_needs_no_name(
    node: NodeProcess, beside: Person, tmp_path: Path
) -> None:
    root = tmp_path / ".local" / "share" / "yzdht"
    folder_with_run(root / "node-8082")
    (root / "node-8083").symlink_to(node.data)

    ran = beside.yz("status")

    assert ran.code == 0
    assert f"node id      {node.node_id}\n" in ran.text
    (root / "node-8084").symlink_to(node.data)
    several = beside.yz("--json", "status")
    assert (several.code, several.error["error"].startswith("2 nodes run here: ")) == (2, True)
    assert f"node-8084 (port {node.view['port']})" in several.error["error"]


def test_people_read_what_it_does_and_that_its_reach_is_not_known(node: NodeProcess, beside: Person) -> None:
    shown = beside.yz("status", "--data", str(node.data)).text

    assert shown.startswith("state        ")
    place = node.url.partition("//")[2]
    assert f"address      {place} (tcp, ws): nobody has tried it yet\n" in shown
    assert f"status page  {node.view['http']}\n" in shown
    assert f"data         {node.data}\n" in shown
    for name in ("knows", "connected", "keeps", "topics", "received", "sent", "runs", "listens at"):
        assert f"\n{name} " in shown


def test_data_and_http_exclude_each_other(node: NodeProcess, beside: Person) -> None:
    ran = beside.yz("status", "--data", str(node.data), "--http", node.view["http"])

    assert (ran.code, ran.stdout) == (2, b"")


def test_who_has_a_folder_is_told_by_its_lock(node: NodeProcess) -> None:
    tenancy = look_at(node.data)

    assert (tenancy.is_held, tenancy.holder) == (True, node.process.pid)
    assert isinstance(tenancy.run, RunView)
    assert tenancy.run.http == node.view["http"]


def test_a_node_without_a_page_and_one_that_was_killed_are_said_to_be_so(
    beside: Person, tmp_path: Path
) -> None:
    with NodeProcess(tmp_path / "data", "--no-http") as quiet:
        quiet.ready()
        unasked = beside.yz("--json", "status", "--data", str(quiet.data))
        quiet.end(signal.SIGKILL)
    killed = beside.yz("--json", "status", "--data", str(tmp_path / "data"))

    assert unasked.code == killed.code == 7
    assert "has no status page to ask" in unasked.error["error"]
    assert unasked.error["hint"] == "start it without --no-http"
    assert f"process {quiet.process.pid} ended without saying so" in killed.error["error"]
    assert f"yz-node --data {tmp_path / 'data'}" in killed.error["hint"]


# A node that does not


def test_without_any_node_it_is_said_how_one_starts(offline: Person) -> None:
    ran = offline.yz("status")

    assert (ran.code, ran.stdout) == (7, b"")
    assert "yz: error: no node of yours runs below " in ran.stderr
    assert "start one with: yz-node" in ran.stderr


def test_the_only_node_that_was_killed_is_named(offline: Person, tmp_path: Path) -> None:
    folder = folder_with_run(tmp_path / ".local" / "share" / "yzdht" / "node-8083")

    ran = offline.yz("status")

    assert ran.code == 7
    assert f"no node runs in {folder}: process 4194305 ended without saying so" in ran.stderr


def test_a_process_id_that_is_used_again_is_no_node(tmp_path: Path) -> None:
    assert not look_at(folder_with_run(tmp_path / "data", pid=os.getpid())).is_held


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NoNode, match="there is no data folder"):
        look_at(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff", b"[" * 5_000, b'{"pid":0}', b'{"pid":1,"port":99999}', b"{}"]
)
def test_a_damaged_run_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    folder = folder_with_run(tmp_path / "data")
    (folder / "run.json").write_bytes(raw)

    with pytest.raises(StoreError, match="is damaged"):
        look_at(folder)


def test_a_run_file_that_others_can_write_or_that_has_no_end_is_refused(tmp_path: Path) -> None:
    folder = folder_with_run(tmp_path / "data")
    (folder / "run.json").chmod(0o666)
    with pytest.raises(UnsafeFile):
        look_at(folder)
    (folder / "run.json").chmod(0o600)
    (folder / "run.json").write_bytes(b" " * 20_000)
    with pytest.raises(StoreError, match="longer than"):
        look_at(folder)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8084", "https://127.0.0.1:8084", "http://127.0.0.1", "http://:8084", "http://h:99999",
     "http://a@h:1", "http://h:1/x", "http://h:1/?q", "http://[::1:8084", "http://\u00fc:8084"],
)  # fmt: skip
def test_what_is_no_address_of_a_page_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_http(url)


def test_addresses_of_pages_parse() -> None:
    assert parse_http("http://127.0.0.1:8084/") == ("127.0.0.1", 8084)
    assert parse_http("http://[::1]:8084") == ("::1", 8084)


# Whoever answers in place of a node


def test_another_node_at_the_port_of_a_page_is_not_taken_for_this_one(
    node: NodeProcess, offline: Person, tmp_path: Path
) -> None:
    folder = folder_with_run(tmp_path / "data", pid=os.getpid(), http=node.view["http"])
    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = [offline.yz(command, "--data", str(folder)) for command in ("status", "peers")]
        doctor = offline.yz("--json", "doctor", "--data", str(folder))

    for one in ran:
        assert (one.code, one.stdout) == (7, b"")
        assert (
            f"another node answers at {node.view['http']}: {node.node_id[:16]}, not {'ab' * 8}" in one.stderr
        )
    assert doctor.code == 1
    [told] = [check for check in doctor.object["checks"] if check["check"] == "node"]
    assert told["outcome"] == "problem"
    assert "another node answers" in told["fact"]
    assert node.node_id not in doctor.text


class _Answers(BaseHTTPRequestHandler):
    body = b""
    code = 200

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[tuple[str, type[_Answers]]]:
    """A web server that is no node, and what it answers."""

    class Answers(_Answers):
        pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", Answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe", json.dumps(STATUS | {"pid": "1"}).encode()],
)
def test_what_is_no_status_is_refused(
    offline: Person, stranger: tuple[str, type[_Answers]], body: bytes
) -> None:
    url, answers = stranger
    answers.body = body

    ran = offline.yz("status", "--http", url)

    assert (ran.code, ran.stdout) == (7, b"")
    assert "does not answer as a node of this version does" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_node_that_is_cut_off_is_not_ready() -> None:
    ready = {"ready": False, "alone": False, "reason": "nobody answers", "hint": "check the network"}
    shown = list(lines_of(status_with(state="unready", ready=ready), 1.0))

    assert shown[:2] == ["state        not ready: nobody answers", "             check the network"]


def test_a_stranger_steers_no_terminal(offline: Person, stranger: tuple[str, type[_Answers]]) -> None:
    url, answers = stranger
    evil = "\x1b]0;owned\x07 fine\nstate        all is well"
    answers.body = json.dumps(
        STATUS | {"version": evil, "errors": [{"at": 1, "what": evil, "hint": evil}]}
    ).encode()
    shown = offline.yz("status", "--http", url)
    answers.code, answers.body = 503, json.dumps({"error": evil, "hint": evil}).encode()
    refused = offline.yz("status", "--http", url)

    assert (shown.code, refused.code) == (0, 7)
    for text in (shown.text, refused.stderr):
        assert "\x1b" not in text
        assert "\nstate        all is well" not in text


def test_an_answer_without_an_end_is_cut(stranger: tuple[str, type[_Answers]]) -> None:
    url, answers = stranger
    answers.body = b" " * 1_001

    assert len(fetch(url, "/", 1_001).body) == 1_001
    with pytest.raises(NoNode, match="longer than"):
        fetch(url, "/", 1_000)


def test_who_says_nothing_is_silent_and_who_is_not_there_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(NodeSilent, match="does not answer"):
            fetch(url, "/", 10, patience_s=0.1)
    with pytest.raises(NoNode, match="nobody listens"):
        fetch(url, "/", 10)


def test_who_drips_is_cut_off_in_time() -> None:
    """A byte now and then keeps a socket's own timeout from ever coming."""
    over = threading.Event()

    def drip(server: socket.socket) -> None:
        taken, _ = server.accept()
        with taken:
            taken.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not over.wait(0.02):
                try:
                    taken.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        with pytest.raises(NodeSilent):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}", "/", 1_000_000, patience_s=0.2)
        over.set()
        thread.join()


def test_what_does_not_speak_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            taken, _ = server.accept()
            with taken:
                taken.recv(1_000)
                taken.sendall(b"SSH-2.0-x\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(NoNode, match="does not speak HTTP"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}", "/", 1_000)
        thread.join()


# Words


def test_later_additions_are_left_aside_and_what_is_missing_has_a_default() -> None:
    view = status_with(something={"new": [1]})

    assert (view.node_id, view.errors, view.records.count) == (NODE_ID, (), None)
    assert decode_answer(b'{"peers": []}', PeersView, "here").peers == ()


def test_errors_stand_with_what_to_do() -> None:
    view = status_with(
        errors=[{"at": 100, "what": "the disk is full", "hint": "free some space", "times": 3}]
    )

    assert list(lines_of(view, 160.0))[-3:] == [
        "what went wrong lately",
        "  the disk is full (1 min ago, 3 times)",
        "    free some space",
    ]


def test_what_cannot_be_known_is_said_to_be_unknown() -> None:
    lines = list(lines_of(status_with(), 0.0))

    assert "keeps        unknown: its disk cannot be read" in lines
    assert any(line.startswith("address      none: ") for line in lines)
    assert not any(line.startswith(("refused", "topics")) for line in lines)


def test_topics_are_one_line() -> None:
    view = status_with(topics={"hosted": 1_234, "messages": 1, "bytes": 99, "subscriptions": 2})

    assert "topics       hosts 1,234, 1 message, 2 subscriptions" in lines_of(view, 0.0)


def test_sizes_and_times_are_for_people() -> None:
    assert [show_bytes(n) for n in (None, 0, 1_023, 1_536, 5 << 30)] == [
        "unknown", "0 B", "1023 B", "1.5 KiB", "5.0 GiB",
    ]  # fmt: skip
    assert [show_span(n) for n in (-1, 0, 59, 3_600, 3_660, 90_061)] == [
        "0 s", "0 s", "59 s", "1 h", "1 h 1 min", "1 d 1 h",
    ]  # fmt: skip
    assert (show_ago(0.2), show_ago(61)) == ("just now", "1 min 1 s ago")
    assert (show_ms(None), show_ms(0.25), show_ms(120.4)) == ("unknown", "0.2 ms", "120 ms")
    assert plain("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"


def test_folders_that_cannot_be_read_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (folder_with_run(tmp_path / "yzdht" / "node-1") / "run.json").write_bytes(b"damaged")

    with pytest.raises(NoNode, match="no node of yours runs"):
        only_node()


@pytest.mark.parametrize(
    ("certificate", "line"),
    [
        (None, None),
        ({"until": 40 * 86_400, "trouble": ""}, "ends in 40 d"),
        ({"until": 5, "trouble": "the certificate x has ended"}, "the certificate x has ended"),
        ({"until": 40 * 86_400, "slow": "its key is slow"}, "ends in 40 d; its key is slow"),
    ],
)
def test_the_end_of_the_certificate_is_told(certificate: dict[str, object] | None, line: str | None) -> None:
    lines = list(lines_of(status_with(certificate=certificate), 0.0))

    assert [one[13:] for one in lines if one.startswith("certificate")] == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("router", "reachable", "line"),
    [
        ({"port": 9, "protocol": "upnp"}, "reachable", "forwards its port 9 to this node (UPnP)"),
        ({"trouble": "the router maps no port"}, "unreachable", "the router maps no port"),
        ({"trouble": "the router maps no port"}, "reachable", None),
        ({}, "unreachable", None),
    ],
)
def test_what_the_router_does_is_told_where_it_matters(
    router: dict[str, object], reachable: str, line: str | None
) -> None:
    lines = list(lines_of(status_with(router=router, reachable=reachable), 0.0))

    assert [one[13:] for one in lines if one.startswith("router")] == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("lan", "line"),
    [
        ({"found": 3, "met": 2}, "announced there, found 3 other nodes of this network, met 2"),
        ({"found": 1, "met": 1}, "announced there, found 1 other node of this network, met 1"),
        ({"trouble": "no network"}, "no network"),
        (None, None),
    ],
)
def test_who_was_found_on_the_local_network_is_told_if_it_was_looked_at(
    lan: dict[str, object] | None, line: str | None
) -> None:
    lines = list(lines_of(status_with(lan=lan), 0.0))

    assert [one[13:] for one in lines if one.startswith("local net")] == ([] if line is None else [line])


def told(**more: object) -> list[str]:
    return list(lines_of(status_with(**more), 0.0))


def test_each_place_has_a_line_with_whether_others_reach_it_and_the_fix() -> None:
    addresses = [
        {"url": "ws://192.0.2.1:1", "reachable": "reachable"},
        {"url": "ws://192.0.2.2:1/ws", "reachable": "relay"},
        {"url": "tcp://192.0.2.3:1", "reachable": "unreachable", "advertised": False, "why": "no answer", "hint": "open it"},
        {"url": "tcp://192.0.2.4:1"},
        {"url": "tcp://192.168.0.2:1", "why": "of its own network alone: nobody can try it"},
        {"url": "ws://192.0.2.3:1", "reachable": "unreachable", "advertised": False, "why": "no answer", "hint": "open it"},
        {"url": "ws://192.0.2.4:1", "reachable": "reachable"},
    ]  # fmt: skip
    lines = told(addresses=addresses, reachable="unreachable")

    at = next(n for n, line in enumerate(lines) if line.startswith("address"))
    assert [line[:13] + line[13:] for line in lines[at : at + 9]] == [
        "address      ws://192.0.2.1:1: reachable from outside",
        "address      ws://192.0.2.2:1/ws: reachable only through a relay",
        "address      192.0.2.3:1 (tcp, ws): not reachable",
        "             no answer, so others are not told of it",
        "             open it",
        "address      tcp://192.0.2.4:1: nobody has tried it yet",
        "address      tcp://192.168.0.2:1: of its own network alone",
        "             nobody can try it",
        "address      ws://192.0.2.4:1: reachable from outside",
    ]
    assert any(line.startswith("role") and "client only" in line for line in lines)


def test_an_address_that_is_none_is_shown_as_it_is() -> None:
    lines = told(addresses=[{"url": "ws://[:1"}, {"url": "tcp://[:1"}, {"url": "nonsense"}])

    assert "address      [:1 (ws, tcp): nobody has tried it yet" in lines
    assert "address      nonsense: nobody has tried it yet" in lines


def test_no_line_of_an_address_is_wider_than_80_columns() -> None:
    host = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
    finding = {"reachable": "unreachable", "advertised": False}
    for word in set(Word) - {Word.REACHED, Word.NOT_DIALLED, Word.TURNED_AROUND}:
        url = f"tcp://{host}"
        why, hint = why_not(
            Finding(Reach.UNREACHABLE, word, 0.0), url, ["2001:db8:1111:2222:3333:4444:5555:6666"]
        )
        urls = [
            {"url": f"{protocol}://{host}", "why": why, "hint": hint, **finding} for protocol in ("tcp", "ws")
        ]
        lines = told(addresses=urls, reachableOver={"ipv4": "reachable", "ipv6": "unreachable"})

        at = next(n for n, line in enumerate(lines) if line.startswith("address"))
        assert max(map(len, lines[at:])) <= 80
        assert len([line for line in lines if line.startswith("address")]) == 1


def test_where_both_versions_of_ip_are_known_each_is_told() -> None:
    both = told(reachableOver={"ipv4": "unreachable", "ipv6": "reachable"})
    one = told(reachableOver={"ipv4": "unreachable", "ipv6": "unknown"})

    assert "reached      over IPv4: not reachable, over IPv6: reachable from outside" in both
    assert not any(line.startswith("reached") for line in one)
