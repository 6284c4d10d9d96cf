from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.programs import YZ_NODE, NodeProcess, Person, Terminal, environment
from yzdht import Identity
from yzdht.cli.announcement import Place, announcement, local_url
from yzdht.cli.node import main
from yzdht.cli.screen import Screen
from yzdht.cli.serving import Teller, _ended_by_signal
from yzdht.limits import LEAVE_S_MAX, LEAVE_TOLD_AFTER_S


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import InProcess


NODE_ID = "ab" * 32
PLACE = Place("0.0.0.0", 8083, "main", None, "data")
VIEW: dict[str, Any] = {"nodeId": NODE_ID, "addresses": [{"url": "ws://203.0.113.5:8083"}]}


def fails(tmp_path: Path, *words: str) -> tuple[int, str]:
    """A node that does not get as far as ready."""
    done = subprocess.run(
        [YZ_NODE, "--host", "127.0.0.1", "--data", str(tmp_path / "refused"), *words],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(tmp_path),
        cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


# Ready and stopped


def test_a_node_is_ready_first_and_stopped_last(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", "--network", "test") as node:
        view = node.ready().view
        code, events = node.end()

    assert list(view) == [
        "event", "nodeId", "nodeType", "addresses", "capabilities", "kem", "seq", "expires",
        "bootstrap", "port", "host", "network", "data", "pid", "version", "http",
    ]  # fmt: skip
    assert view["bootstrap"] == {"tried": 0, "joined": 0}
    assert (view["host"], view["network"], view["pid"]) == ("127.0.0.1", "test", node.process.pid)
    assert view["data"] == str(tmp_path / "data")
    assert view["addresses"] == [
        {"protocol": p, "url": f"{p}://127.0.0.1:{view['port']}", "clientTypes": ["python", "nodejs"]}
        for p in ("tcp", "ws")
    ]
    assert (code, [event["event"] for event in events]) == (0, ["stopped"])
    assert isinstance(events[0]["counters"], dict)
    assert " INFO yzdht.cli.serving listening node=" in node.stderr
    assert " stopping signal=SIGTERM" in node.stderr


def test_whoever_trusts_everybody_is_warned_on_stderr(tmp_path: Path) -> None:
    words = ["--trusted-prefix", "0.0.0.0/0", "--trusted-proxy", "::/0"]
    with NodeProcess(tmp_path / "data", *words) as node:
        node.ready()
        node.end()

    assert (
        " WARNING yzdht.node trusted block too wide option=--trusted-prefix prefix=0.0.0.0/0 " in node.stderr
    )
    assert "name only what is yours" in node.stderr
    assert " WARNING yzdht.node trusted block too wide option=--trusted-proxy prefix=::/0 " in node.stderr


def test_whoever_forgets_the_unit_of_a_bound_is_warned_on_stderr(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data", "--max-storage", "16", "--max-bandwidth", "10") as node:
        node.ready()
        node.end()

    assert "bound too low option=--max-storage bytes=16 " in node.stderr
    assert "bound too low option=--max-bandwidth bytes=10 " in node.stderr
    assert "a number without a unit counts bytes" in node.stderr


def test_an_interrupted_node_has_ended_cleanly(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data") as node:
        first = node.ready().node_id
        assert node.end(signal.SIGINT)[0] == 0

    with NodeProcess(tmp_path / "data") as node:
        assert node.ready().node_id == first


def test_a_node_outlives_whoever_read_its_events(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "data") as node:
        node.ready()
        assert node.process.stdout is not None
        node.process.stdout.close()
        assert Person(tmp_path / "home").at(node.url).yz("ping").code == 0
        node.process.terminate()
        assert node.process.wait(60) == 0
        assert "stdout lost" in node.stderr
        assert "Traceback" not in node.stderr


def test_people_are_told_how_others_join_and_how_to_use_it(tmp_path: Path) -> None:
    key = tmp_path / "a key"
    key.write_text("ab" * 32)
    key.chmod(0o600)
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--data",
        "data",
        "--network",
        "ours",
        "--network-key",
        "a key",
    ]

    with Terminal([YZ_NODE, *options], environment(tmp_path), tmp_path) as terminal:
        terminal.expect(" get NAME")
        terminal.type("\x03")
        assert terminal.end() == 0

    lines = terminal.shown.replace("\r", "").splitlines()
    fields = dict(line.split(None, 1) for line in lines if line.startswith(("address", "data", "network")))
    url = fields["address"]
    node_id = Identity.load(tmp_path / "data" / "node.key").node_id.hex()
    assert fields == {"address": url, "data": str(tmp_path / "data"), "network": "ours"}
    joined_at = "tcp" + url.removeprefix("ws")
    assert f"  yz-node --bootstrap '{joined_at}#{node_id}' --network ours --network-key 'a key'" in lines
    assert f"  yz --node {url} --network ours --network-key 'a key' put NAME FILE" in lines


def test_at_the_usual_port_nothing_has_to_be_named() -> None:
    lines = announcement(VIEW, PLACE)

    assert "  yz put NAME FILE" in lines
    assert f"  yz-node --bootstrap 'ws://203.0.113.5:8083#{NODE_ID}'" in lines


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "ws://127.0.0.1:8083"),
        ("::", "ws://127.0.0.1:8083"),
        ("2001:db8::1", "ws://[2001:db8::1]:8083"),
        ("192.0.2.1", "ws://192.0.2.1:8083"),
    ],
)
def test_this_machine_reaches_a_wildcard_at_loopback(host: str, url: str) -> None:
    assert local_url(PLACE._replace(host=host)) == url


def test_a_node_without_an_address_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Teller(Screen("yz-node")).ready({**VIEW, "addresses": []}, PLACE)

    said = capsys.readouterr()
    assert "address      none" in said.out
    assert "yz-node: warning: this node has no address to advertise" in said.err
    assert "--public-address ws://HOST:PORT" in said.err


def test_events_before_ready_are_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(Screen("yz-node", is_json=True))

    teller.hear({"event": "joined", "known": 1})
    assert capsys.readouterr().out == ""
    teller.ready({"event": "ready", **VIEW}, PLACE)
    teller.hear({"event": "bootstrap", "joined": 1})

    starts = [line[:14] for line in capsys.readouterr().out.splitlines()]
    assert starts == ['{"event": "rea', '{"event": "joi', '{"event": "boo']


def test_people_and_programs_are_told_that_leaving_takes_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    leaving: dict[str, object] = {"event": "leaving", "endsInS": LEAVE_S_MAX - LEAVE_TOLD_AFTER_S}
    for is_json in (True, False):
        teller = Teller(Screen("yz-node", is_json=is_json))
        teller.ready({"event": "ready", **VIEW}, PLACE)
        capsys.readouterr()

        teller.hear(leaving)

        said = capsys.readouterr()
        if is_json:
            assert (json.loads(said.out), said.err) == (leaving, "")
        else:
            assert said.out == ""
            assert "handing records over to other nodes, 5 s at most; a second signal" in said.err


@contextmanager
def terminal_heard() -> Iterator[None]:
    """Children hear of the end of their terminal, also where these tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_node_whose_terminal_is_closed_leaves_in_peace_however_often_it_is_told(tmp_path: Path) -> None:
    with (
        terminal_heard(),
        NodeProcess(tmp_path / "silent") as silent,
        NodeProcess(tmp_path / "leaving", "--bootstrap", silent.ready().url) as leaving,
    ):
        assert leaving.ready().event()["event"] == "joined"
        silent.process.send_signal(signal.SIGSTOP)
        try:
            Person(tmp_path / "home").at(leaving.url).yz("--json", "put", "name", stdin=b"value")
            leaving.process.send_signal(signal.SIGHUP)
            assert leaving.event()["event"] == "leaving"
            code, [stopped] = leaving.end(signal.SIGHUP)
            assert (code, stopped["event"]) == (0, "stopped")
        finally:
            silent.process.send_signal(signal.SIGCONT)


async def test_a_second_signal_is_left_to_the_system() -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        with _ended_by_signal() as ended:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(ended.wait(), 60)
            assert [signal.getsignal(number) for number in handlers] == [
                signal.SIG_DFL, signal.SIG_DFL, signal.SIG_IGN,
            ]  # fmt: skip
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_a_second_signal_ends_a_node_that_hands_over_to_somebody_silent(tmp_path: Path) -> None:
    with (
        NodeProcess(tmp_path / "silent") as silent,
        NodeProcess(tmp_path / "leaving", "--bootstrap", silent.ready().url) as leaving,
    ):
        assert leaving.ready().event()["event"] == "joined"
        silent.process.send_signal(signal.SIGSTOP)
        try:
            put = Person(tmp_path / "home").at(leaving.url).yz("--json", "put", "name", stdin=b"value")
            assert put.error["exitCode"] == 6
            leaving.process.send_signal(signal.SIGTERM)
            assert leaving.event() == {"event": "leaving", "endsInS": LEAVE_S_MAX - LEAVE_TOLD_AFTER_S}
            assert leaving.end() == (-signal.SIGTERM, [])
        finally:
            silent.process.send_signal(signal.SIGCONT)


def test_a_node_that_is_still_starting_ends_at_a_signal(tmp_path: Path, silent: socket.socket) -> None:
    port = silent.getsockname()[1]
    with NodeProcess(tmp_path / "data", "--bootstrap", f"ws://127.0.0.1:{port}") as node:
        connection, _ = silent.accept()
        with connection:
            assert node.end() == (0, [])


# Joining


def test_a_node_joins_and_hands_values_on(tmp_path: Path) -> None:
    with (
        NodeProcess(tmp_path / "first") as first,
        NodeProcess(tmp_path / "second", "--bootstrap", f"{first.ready().url}#{first.node_id}") as second,
    ):
        assert second.ready().view["bootstrap"] == {"tried": 1, "joined": 1}
        assert second.event()["event"] == "joined"
        person = Person(tmp_path / "home")
        put = person.at(second.url).yz("--json", "put", "name", stdin=b"value").object
        got = person.at(first.url).yz("get", "name")

    assert put["asked"] == 2
    assert got.stdout == b"value"


@pytest.mark.parametrize("tail", ["", f"#{NODE_ID}"])
def test_a_node_that_reached_nobody_keeps_trying_and_says_so(
    tmp_path: Path, node: NodeProcess, tail: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"ws://127.0.0.1:{server.getsockname()[1]}"
    with NodeProcess(tmp_path / "data", "--bootstrap", f"{node.url if tail else nobody}{tail}") as alone:
        assert alone.ready().view["bootstrap"] == {"tried": 1, "joined": 0}
        event = alone.event()

    assert (event["event"], event["tried"], event["joined"], event["retryInS"] > 0) == (
        "bootstrap",
        1,
        0,
        True,
    )
    assert "WARNING yzdht.cli.serving no bootstrap address reached tried=1 retry_in_s=" in alone.stderr
    assert "WARNING yzdht.joining bootstrap failed url=" in alone.stderr


def test_a_node_without_the_network_key_does_not_join(tmp_path: Path) -> None:
    for name, digits in (("right", "ab"), ("wrong", "cd")):
        (tmp_path / name).write_text(digits * 32 + "\n")
        (tmp_path / name).chmod(0o600)
    with NodeProcess(tmp_path / "a", "--network-key", str(tmp_path / "right")) as first:
        bootstrap = ["--bootstrap", first.ready().url]
        with NodeProcess(tmp_path / "b", *bootstrap, "--network-key", str(tmp_path / "wrong")) as second:
            assert second.ready().view["bootstrap"]["joined"] == 0
        person = Person(tmp_path / "home", ("--network-key", str(tmp_path / "right"))).at(first.url)
        assert person.yz("ping").code == 0


# Refusals


def test_one_folder_is_for_one_node(tmp_path: Path, node: NodeProcess) -> None:
    code, stderr = fails(tmp_path, "--port", "0", "--data", str(node.data))

    assert code == 1
    assert f"yz-node: error: process {node.process.pid} holds the data folder {node.data}\n" in stderr
    assert "yz-node: hint: stop the other node, or give this one its own folder with --data DIR\n" in stderr


def test_a_port_that_is_taken_is_told(tmp_path: Path, node: NodeProcess) -> None:
    code, stderr = fails(tmp_path, "--port", str(node.view["port"]))

    assert code == 1
    assert str(node.view["port"]) in stderr
    assert "yz-node: hint: choose another --port, or stop what is using this one\n" in stderr


def test_a_key_under_a_passphrase_needs_it_at_every_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with NodeProcess(data, passphrase="open sesame") as node:
        first = node.ready().node_id
    with NodeProcess(data, passphrase="open sesame\n") as node:
        assert node.ready().node_id == first

    code, stderr = fails(tmp_path, "--port", "0", "--data", str(data))
    assert code == 5
    assert "yz-node: hint: run it on a terminal, use --passphrase-fd N" in stderr
    options = ["--host", "127.0.0.1", "--port", "0", "--data", str(data)]
    with Terminal([YZ_NODE, *options], environment(tmp_path), tmp_path) as terminal:
        terminal.answer("passphrase of the node's key: ", "open sesame")
        terminal.expect(" get NAME")
        terminal.process.terminate()
        assert terminal.end() == 0
    with Terminal([YZ_NODE, *options], environment(tmp_path), tmp_path) as terminal:
        terminal.answer("passphrase of the node's key: ", "wrong")
        assert terminal.end() == 5


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["--port", "65536"], 2, "--port: '65536' is no number from 0 to 65535"),
        (["--bootstrap", "http://127.0.0.1"], 2, "starts with none of tcp://, ws:// and wss://"),
        (["--bootstrap", "ws://127.0.0.1#abc"], 2, "a node id is 64 lower-case hexadecimal digits"),
        (["--public-address", "127.0.0.1:8083"], 2, "starts with none of tcp://, ws:// and wss://"),
        (["--trusted-proxy", "8.8.8.8/24"], 2, "--trusted-proxy: the prefix '8.8.8.8/24' has bits set"),
        (["--type", "client"], 2, "--type: 'client' is none of community, infrastructure"),
        (["--max-storage", "1.5GiB"], 2, "--max-storage: '1.5GiB' is no size"),
        (["--max-sessions", "0"], 2, "--max-sessions: '0' is no number from 1"),
        (["--max-bandwidth", ""], 2, "--max-bandwidth: '' is no size"),
        (["--log-level", "loud"], 2, "--log-level: 'loud' is none of debug, info, warning, error"),
        (["--config", "nowhere.toml"], 2, "the settings file nowhere.toml cannot be read"),
        (["--trusted-prefix", "8.8.8.8/24"], 2, "'8.8.8.8/24' has bits set behind its length"),
        (["--trusted-prefix", "8.8.8.0/24", "--trusted-prefix", "x"], 2, "'x' is no block of addresses"),
        (["--network-key", "nowhere"], 2, "the network key nowhere cannot be read"),
        (["--passphrase-fd", "99999"], 2, "descriptor 99999"),
        (["--data", "/dev/null/data"], 1, "Not a directory"),
        (["extra"], 2, "unexpected extra argument"),
        (["--host", "192.0.2.1", "--port", "0"], 1, "192.0.2.1"),
    ],
)
def test_what_cannot_work_is_refused_with_a_hint(
    in_process: InProcess, tmp_path: Path, words: list[str], code: int, error: str
) -> None:
    said = in_process(main, "--data", str(tmp_path / "data"), *words)

    assert (said.code, said.stdout) == (code, "")
    assert said.stderr.startswith("yz-node: error: ")
    assert error in said.stderr
    assert "yz-node: hint: " in said.stderr


def test_a_network_needs_a_name(in_process: InProcess, tmp_path: Path) -> None:
    said = in_process(main, "--data", str(tmp_path / "data"), "--network", "")

    assert said.code == 2
    assert said.stderr.startswith("yz-node: error: --network: a network name is 1 to 64 bytes")


def test_the_default_folder_is_named_after_the_port(tmp_path: Path) -> None:
    options = ["--host", "127.0.0.1", "--port", "0", "--json"]
    env = environment(tmp_path) | {"XDG_DATA_HOME": str(tmp_path / "share")}

    with subprocess.Popen(
        [YZ_NODE, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    ) as node:
        assert node.stdout is not None
        assert f'"data": "{tmp_path / "share" / "yzdht" / "node-auto"}"' in node.stdout.readline().decode()
        node.terminate()
