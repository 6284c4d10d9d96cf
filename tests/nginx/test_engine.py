"""The image and the compose file of deploy/ in a real Docker engine: built, started, used, restarted, reloaded, ended.

One engine, one image and one deployment serve all tests, each of which leaves it running and well. The tests take some minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import pytest
from cryptography import x509

from tests.nginx.engine import Deployed, own_engine, pip_settings, trusted_bundle, wait_until
from tests.nginx.front import names_lead_to
from tests.nginx.load import Load
from tests.process.fleet import YZ, steady_port
from tests.transport.authority import Authority
from yzdht import Client


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Figures
    from yzdht import Identity


pytestmark = [pytest.mark.process, pytest.mark.soak, pytest.mark.timeout(1_800)]

DOMAIN: Final = "nodes.test"
NAME: Final = f"node1.{DOMAIN}"
PUBLIC: Final = f"wss://{NAME}/ws"
NODE_ACCOUNT: Final = 8083
NOFILE: Final = 18_000
SUBNET: Final = "172.30.84"
NGINX_IP: Final = f"{SUBNET}.2"
VISITOR_IP: Final = f"{SUBNET}.50"
TLS_IP: Final = f"{SUBNET}.60"
NETWORK: Final = "yzdht_yzdht"
ONLY_HERE: Final = "services: {node1: {build: {network: host}}}\n"
"""The engine has no network of its own to the outside."""
KILLED: Final = 137
STAYS: Final = """
import asyncio
from yzdht import Client
async def stay():
    async with Client.connect("{url}", ca="/ca.pem") as client:
        await client.ping()
        print("there", flush=True)
        await asyncio.sleep(3600)
asyncio.run(stay())
"""


class Papers:
    """What somebody shows, in the folder that he reads.

    Args:
        folder: It.
        authority: Signs them.
        host: Name that they are for.
        owner: Account whose they are.

    """

    def __init__(self, folder: Path, authority: Authority, host: str, owner: int = 0) -> None:
        self.folder = folder
        self._authority = authority
        self._host = host
        self._owner = owner
        folder.mkdir()
        self.renew()

    def renew(self) -> int:
        """Put a new certificate in the place of the old one; its serial number."""
        made = self._authority.sign("new", (self._host,))
        for file, name in zip(made, ("fullchain.pem", "privkey.pem"), strict=True):
            os.chown(file, self._owner, self._owner)
            file.rename(self.folder / name)
        return x509.load_pem_x509_certificate((self.folder / "fullchain.pem").read_bytes()).serial_number


def serial_shown(host: str, port: int) -> int:
    """Of the certificate that somebody shows for the node's name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, port), 60) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def papers(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers") / "certificates", authority, f"*.{DOMAIN}")


@pytest.fixture(scope="module")
def deployed(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The deployment, healthy."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "pip.conf").write_text(pip_settings("/run/secrets/pip-ca"))
    (folder / "more.yaml").write_text(ONLY_HERE)
    given = {
        "YZ_DOMAIN": DOMAIN,
        "YZ_CERTIFICATES": str(papers.folder),
        "YZ_PORT": str(steady_port()),
        "YZ_NOFILE": str(NOFILE),
        "YZ_SUBNET": SUBNET,
        "YZ_PIP_CONF": str(folder / "pip.conf"),
        "YZ_PIP_CA": str(trusted_bundle()),
    }
    with own_engine(folder / "own") as engine:
        made = Deployed(engine, given, folder / "more.yaml")
        made.compose("up", "--build", "--detach")
        try:
            made.until_healthy()
            yield made
        finally:
            made.compose("down", "--volumes")


@pytest.fixture(scope="module")
def visitor(deployed: Deployed, authority: Authority) -> Visitor:
    """Somebody in a container of his own, from where nginx is reached as from any other machine."""
    deployed.engine.docker(
        "run", "--detach", "--init", "--name", "visitor", "--network", NETWORK, "--ip", VISITOR_IP,
        "--add-host", f"{NAME}:{NGINX_IP}", "--add-host", f"own.{DOMAIN}:{TLS_IP}",
        "--volume", f"{authority.ca}:/ca.pem:ro", "--entrypoint", "sleep", "yzdht", "infinity",
    )  # fmt: skip
    return Visitor(deployed)


class Visitor:
    """Runs `yz` in the visitor's container."""

    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed

    def yz(self, *command: str, node: str = PUBLIC, stdin: bytes = b"") -> bytes:
        yz = ("yz", "--ca", "/ca.pem", "--home", "/tmp/home", "--node", node)
        return self._deployed.engine.docker(
            "exec", "--interactive", "visitor", *yz, *command, stdin=stdin
        ).encode()

    def put(self, name: str, node: str = PUBLIC) -> bytes:
        """Store something new; what it is."""
        value = secrets.token_hex(16).encode()
        self.yz("put", name, node=node, stdin=value)
        return value


def port_of(deployed: Deployed) -> int:
    """The published one."""
    return int(deployed.given["YZ_PORT"])


def process_of(deployed: Deployed) -> int:
    """The node, as this machine counts processes; what the container began with is in front of it."""
    [node] = psutil.Process(deployed.state("node1")["Pid"]).children()
    pid: int = node.pid
    return pid


def hosts_at(deployed: Deployed) -> list[tuple[str, str]]:
    """Where those are who are connected to the node, and behind which proxy, as its own command says."""
    shown = deployed.within("node1", "yz", "--json", "peers", "--once", "--data", "/var/lib/yz-node")
    return [(peer["host"], peer["proxy"]) for peer in json.loads(shown)["peers"]]


# What is running


def test_the_node_is_nobody_special_and_can_write_nothing_but_its_data(deployed: Deployed) -> None:
    def tries(command: str) -> bool:
        return deployed.within("node1", "sh", "-c", f"{command} 2>/dev/null && echo well || true") == "well\n"

    status = Path(f"/proc/{process_of(deployed)}/status").read_text()
    words = dict(line.split(":\t", 1) for line in status.splitlines())

    assert words["Uid"].split() == words["Gid"].split() == [str(NODE_ACCOUNT)] * 4
    assert words["CapEff"] == words["CapPrm"] == "0" * 16
    assert words["NoNewPrivs"] == "1"
    assert not tries("touch /opt/yzdht/x")
    assert not tries("touch /x")
    assert tries("touch /tmp/x")
    assert tries("touch /var/lib/yz-node/x && rm /var/lib/yz-node/x")
    assert deployed.engine.inspect(deployed.container("node1"))["HostConfig"]["ReadonlyRootfs"]


@pytest.mark.parametrize("service", ["node1", "nginx"])
def test_both_may_open_as_many_files_as_the_variable_says(deployed: Deployed, service: str) -> None:
    assert deployed.within(service, "sh", "-c", "ulimit -Hn; ulimit -Sn") == f"{NOFILE}\n{NOFILE}\n"
    assert "setrlimit" not in deployed.compose("logs", "nginx")


def test_what_the_build_was_told_in_secret_is_not_in_the_image(deployed: Deployed) -> None:
    found = deployed.engine.docker(
        "run",
        "--rm",
        "--entrypoint",
        "sh",
        "yzdht",
        "-c",
        "cat /etc/pip.conf /run/secrets/* 2>/dev/null || true",
    )

    assert found == ""


def test_yz_status_says_within_that_it_is_well(deployed: Deployed) -> None:
    said = deployed.within("node1", "yz", "status", "--data", "/var/lib/yz-node")

    assert f"wss://{NAME}:{port_of(deployed)}/ws" in said
    assert said.startswith("state        alone")


# What it is for


def test_what_is_put_through_nginx_is_got_back_by_its_name(
    deployed: Deployed, visitor: Visitor, authority: Authority, tmp_path: Path
) -> None:
    value = visitor.put("notes/today")
    assert visitor.yz("get", "notes/today") == value

    # And through the published port of this machine, by its name too.
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {NAME}\n")
    yz = [YZ, "--ca", str(authority.ca), "--home", str(tmp_path / "home")]
    yz += ["--node", f"wss://{NAME}:{port_of(deployed)}/ws"]
    with_name = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
    subprocess.run([*with_name, *yz, "put", "from/outside"], input=value, check=True, capture_output=True)
    got = subprocess.run([*with_name, *yz, "get", "from/outside"], check=True, capture_output=True)
    assert got.stdout == value


@pytest.mark.usefixtures("visitor")
async def test_the_node_sees_who_is_behind_nginx(deployed: Deployed) -> None:
    staying = STAYS.format(url=PUBLIC)
    with deployed.engine.begun("exec", "visitor", "python", "-c", staying) as there:
        assert there.stdout is not None
        assert await asyncio.to_thread(there.stdout.readline) == b"there\n"
        # Those of before may still be closing.
        await asyncio.to_thread(
            wait_until, lambda: hosts_at(deployed) == [(VISITOR_IP, NGINX_IP)], "it is seen, and nobody else"
        )


# Restarts


def test_what_was_stored_outlives_a_restart_a_new_container_and_an_end_of_all(
    deployed: Deployed, visitor: Visitor
) -> None:
    value = visitor.put("kept")

    for change in (
        ["restart"],
        ["up", "--detach", "--force-recreate", "--no-deps", "node1"],
        ["up", "--detach", "--force-recreate"],
    ):
        deployed.compose(*change)
        wait_until(lambda: answers(visitor), "it answers")
        assert visitor.yz("get", "kept") == value

    visitor_leaves(deployed)
    deployed.compose("down")
    deployed.compose("up", "--detach")
    deployed.until_healthy()
    visitor_comes_back(deployed)
    wait_until(lambda: answers(visitor), "it answers")
    assert visitor.yz("get", "kept") == value


def answers(visitor: Visitor, node: str = PUBLIC) -> bool:
    try:
        visitor.yz("ping", node=node)
    except AssertionError:
        return False
    return True


def visitor_leaves(deployed: Deployed) -> None:
    """A network with somebody in it cannot be removed."""
    deployed.engine.docker("network", "disconnect", NETWORK, "visitor")


def visitor_comes_back(deployed: Deployed) -> None:
    deployed.engine.docker("network", "connect", "--ip", VISITOR_IP, NETWORK, "visitor")


async def test_nothing_that_was_acknowledged_is_lost_while_all_is_restarted_under_load(
    deployed: Deployed, authority: Authority, figures: Figures
) -> None:
    url = f"wss://{NAME}:{port_of(deployed)}/ws"

    def connect(_writer: int, identity: Identity | None) -> Client:
        return Client.connect(url, ca=authority.ca, identity=identity)

    with names_lead_to("127.0.0.1"):
        load = Load(connect)
        await load.more(20)
        for change in (
            ["restart", "nginx"],
            ["exec", "-T", "nginx", "nginx", "-s", "reload"],
            ["restart", "node1"],
            ["kill", "node1"],
            ["up", "--detach"],
            ["up", "--detach", "--force-recreate"],
        ):
            await asyncio.to_thread(deployed.compose, *change)
            if change[0] != "kill":
                await load.more(20)
        await load.stop()
        async with connect(0, None) as client:
            assert await load.missing(client) == []
    figures(load.summary())


def test_a_node_that_is_ended_while_it_begins_ends_at_once(deployed: Deployed) -> None:
    for _ in range(3):
        deployed.compose("restart", "node1")
        deployed.compose("stop", "node1")
        assert deployed.state("node1")["ExitCode"] != KILLED
        deployed.compose("start", "node1")
    deployed.until_healthy()
    deployed.compose("stop", "node1")
    assert deployed.state("node1")["ExitCode"] == 0
    deployed.compose("start", "node1")
    deployed.until_healthy()


# Reloading


def test_nginx_shows_a_renewed_certificate_after_a_reload(
    deployed: Deployed, papers: Papers, visitor: Visitor
) -> None:
    value = visitor.put("before")
    shown = serial_shown("127.0.0.1", port_of(deployed))
    renewed = papers.renew()
    assert shown != renewed

    deployed.within("nginx", "nginx", "-s", "reload")

    wait_until(lambda: serial_shown("127.0.0.1", port_of(deployed)) == renewed, "the new one is shown")
    assert visitor.yz("get", "before") == value


def test_a_node_with_tls_of_its_own_reads_its_certificate_again(
    deployed: Deployed, visitor: Visitor, authority: Authority, tmp_path: Path
) -> None:
    papers = Papers(tmp_path / "tls", authority, f"own.{DOMAIN}", NODE_ACCOUNT)
    before = papers.renew()
    deployed.engine.docker(
        "run", "--detach", "--init", "--name", "own", "--network", NETWORK, "--ip", TLS_IP, "--read-only", "--cap-drop", "ALL",
        "--ulimit", f"nofile={NOFILE}", "--volume", f"{papers.folder}:/tls:ro",
        "--env", "YZ_NODE_TLS_CERT=/tls/fullchain.pem", "--env", "YZ_NODE_TLS_KEY=/tls/privkey.pem",
        "--env", f"YZ_NODE_PUBLIC_ADDRESS=wss://own.{DOMAIN}:8083/ws", "yzdht",
    )  # fmt: skip
    own = f"wss://own.{DOMAIN}:8083/ws"
    try:
        wait_until(lambda: answers(visitor, own), "it answers")
        value = visitor.put("over/tls", node=own)
        assert serial_shown(TLS_IP, 8083) == before

        after = papers.renew()
        deployed.engine.docker("kill", "--signal", "HUP", "own")

        wait_until(lambda: serial_shown(TLS_IP, 8083) == after, "the new certificate is shown")
        assert visitor.yz("get", "over/tls", node=own) == value
        assert deployed.engine.inspect("own")["RestartCount"] == 0
    finally:
        deployed.engine.docker("rm", "--force", "--volumes", "own")


# Health


def test_the_health_check_finds_a_node_that_hangs_and_one_that_is_back(deployed: Deployed) -> None:
    os.kill(process_of(deployed), signal.SIGSTOP)
    deployed.until_healthy(health="unhealthy")

    os.kill(process_of(deployed), signal.SIGCONT)
    deployed.until_healthy()
