"""TLS as people see it: a node with a certificate, renewed while it runs, and `yz --ca`."""

from __future__ import annotations

import signal
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import NodeProcess, Person
from tests.cli.test_node import fails, terminal_heard
from tests.transport.authority import Authority


if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def serving(pair: tuple[Path, Path]) -> list[str]:
    return ["--tls-cert", str(pair[0]), "--tls-key", str(pair[1])]


def shown_at(port: int, authority: Authority) -> int:
    """When the certificate ends that a node shows, in unix seconds."""
    with (
        socket.create_connection(("127.0.0.1", port), 60) as sock,
        authority.trust.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        shown = tls.getpeercert()
    assert shown is not None
    return int(ssl.cert_time_to_seconds(str(shown["notAfter"])))


@pytest.mark.process
def test_a_value_goes_through_a_node_with_a_certificate_of_one_s_own_authority(
    tmp_path: Path, authority: Authority
) -> None:
    with NodeProcess(tmp_path / "data", *serving(authority.sign("node"))) as node:
        port = node.ready().view["port"]
        url = f"wss://localhost:{port}"
        person = Person(tmp_path / "home", ("--ca", str(authority.ca))).at(url)
        assert person.yz("put", "name", stdin=b"value").code == 0
        assert person.yz("get", "name").stdout == b"value"
        by_variable = Person(tmp_path / "home", (), {"YZ_CA": str(authority.ca)}).at(url)
        assert by_variable.yz("get", "name").stdout == b"value"
        assert Person(tmp_path / "home").at(f"tcp://127.0.0.1:{port}").yz("get", "name").stdout == b"value"

        stranger = Person(tmp_path / "home").at(url).yz("get", "name")
        assert stranger.code == 7
        assert "no authority that is known here signed it" in stranger.stderr
        assert "--ca FILE" in stranger.stderr


@pytest.mark.process
def test_a_hangup_has_the_certificate_read_again_and_a_broken_one_leaves_the_old(
    tmp_path: Path, authority: Authority
) -> None:
    pair = authority.sign("node", days=(-1, 10))
    with terminal_heard(), NodeProcess(tmp_path / "data", *serving(pair)) as node:
        port = node.ready().view["port"]
        first = shown_at(port, authority)

        authority.sign("node", days=(-1, 20))
        node.process.send_signal(signal.SIGHUP)
        told = node.event()
        assert told == {"event": "certificate", "reloaded": True, "until": shown_at(port, authority)}
        assert told["until"] > first

        pair[0].write_text("cut short")
        node.process.send_signal(signal.SIGHUP)
        refused = node.event()
        assert refused == {
            "event": "certificate", "reloaded": False, "refused": f"{pair[0]} holds no certificate",
        }  # fmt: skip
        assert shown_at(port, authority) == told["until"]
        code, [stopped] = node.end()

    assert (code, stopped["event"]) == (0, "stopped")
    assert " INFO yzdht.cli.serving certificate reloaded until=" in node.stderr
    assert " WARNING yzdht.cli.serving certificate not reloaded reason=" in node.stderr


@pytest.mark.process
def test_a_certificate_that_cannot_be_served_with_ends_the_node_before_it_is_ready(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.sign("node")
    _, other = authority.sign("other")
    _, unsafe = authority.sign("unsafe")
    unsafe.chmod(0o640)

    for words, code, why in (
        (serving((certificate, other)), 2, "is not that of the certificate"),
        (serving((certificate, unsafe)), 5, "others can get at the key"),
        (serving((certificate, tmp_path / "absent")), 2, "absent cannot be read"),
        (["--tls-cert", str(certificate)], 2, "no use without its key"),
        (["--ca", str(key)], 2, "holds no certificate"),
    ):
        ended, stderr = fails(tmp_path, "--port", "0", *words)
        assert (ended, why in stderr, "hint: " in stderr) == (code, True, True), stderr


@pytest.mark.process
def test_a_node_whose_certificate_has_ended_serves_and_says_so_until_it_is_renewed(
    tmp_path: Path, authority: Authority
) -> None:
    pair = authority.sign("node", days=(-9, -1))
    with (
        terminal_heard(),
        NodeProcess(tmp_path / "data", *serving(pair), "--http", "--http-port", "0") as node,
    ):
        ready = node.ready().view
        url = f"wss://localhost:{ready['port']}"
        assert not [shown for shown in ready["addresses"] if str(shown).startswith("wss://")]
        person = Person(tmp_path / "home", ("--ca", str(authority.ca)))
        assert person.at(f"tcp://127.0.0.1:{ready['port']}").yz("put", "name", stdin=b"value").code == 0
        refused = person.at(url).yz("get", "name")
        assert (refused.code, "its certificate has ended" in refused.stderr) == (7, True), refused.stderr
        assert (
            f"the certificate {pair[0]} has ended"
            in person.yz("status", "--http", str(ready["http"])).stdout.decode()
        )

        authority.sign("node", days=(-1, 20))
        node.process.send_signal(signal.SIGHUP)
        assert node.event()["reloaded"] is True
        assert person.at(url).yz("get", "name").stdout == b"value"
        assert node.end()[0] == 0

    assert (
        f' ERROR yzdht.alarms certificate is no good reason="the certificate {pair[0]} has ended" hint='
        in node.stderr
    )
