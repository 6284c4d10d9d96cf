"""`yz doctor` on nodes that run, hang, were killed, or cannot start, and on folders that are damaged."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.programs import NodeProcess, Person
from yzdht.cli.answers import (
    AddressView,
    BootstrapView,
    CertificateView,
    ErrorView,
    LanView,
    PeersView,
    PeerView,
    ReadyView,
    RouterView,
    StatusView,
)
from yzdht.cli.certificate import check_certificate
from yzdht.cli.doctor_folder import check_database, check_disk, check_folder
from yzdht.cli.doctor_network import Visit, finding_of_clock, other_machines
from yzdht.cli.doctor_process import (
    Talk,
    _finding_of_files as finding_of_files,
    check_errors,
    check_joined,
    check_port,
    check_process,
    check_reach,
    check_readiness,
    check_version,
)
from yzdht.cli.findings import Finding, Outcome
from yzdht.errors import NodeSilent
from yzdht.ids import NodeId
from yzdht.limits import CERTIFICATE_ENDS_SOON_S


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.cli.programs import Ran


pytestmark = pytest.mark.process

HEX = "ab" * 32


def outcomes(ran: Ran) -> dict[str, str]:
    """The worst outcome of each check."""
    order = [outcome.value for outcome in Outcome]
    found: dict[str, str] = {}
    for check in ran.object["checks"]:
        name, outcome = check["check"], check["outcome"]
        found[name] = max(found.get(name, outcome), outcome, key=order.index)
    return found


def of(ran: Ran, name: str) -> dict[str, Any]:
    """The last finding of a check."""
    found: dict[str, Any] = [check for check in ran.object["checks"] if check["check"] == name][-1]
    return found


def talk_with(status: StatusView | None = None, *peers: PeerView) -> Talk:
    talk = Talk()
    talk.status, talk.peers = status, PeersView(peers)
    return talk


def status_with(**more: Any) -> StatusView:
    ready = ReadyView(ready=True, alone=True, reason="alone")
    return StatusView(HEX, "9.9.9", "main", "ready", ready, 1, 7, **more)


def only(findings: Iterable[Finding]) -> Finding:
    [finding] = findings
    return finding


# Nodes that run, and that do not


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, NodeProcess]]:
    """A node, and one that joined through it; the node that all modules share stays alone."""
    folder = tmp_path_factory.mktemp("examined")
    with NodeProcess(folder / "first") as first:
        bootstrap = first.ready().url
        with NodeProcess(folder / "second", "--bootstrap", bootstrap) as second:
            yield first, second.ready()


def test_of_a_node_that_is_well_nothing_is_a_problem(
    pair: tuple[NodeProcess, NodeProcess], offline: Person
) -> None:
    first, second = pair

    ran = offline.yz(
        "doctor", "--json", "--data", str(second.data), "--bootstrap", f"{first.url}#{first.node_id}"
    )

    found = outcomes(ran)
    assert ran.code == 0, ran.object
    assert (ran.object["problems"], ran.object["running"]) == (0, True)
    for name in ("version", "node", "data folder", "node key", "port", "bootstrap", "clock", "readiness"):
        assert found[name] == "ok", (name, ran.object)
    assert found["reachability"] == "unknown"
    assert "database" not in found  # a node that runs has it
    assert "agrees with 1 other node to within" in of(ran, "clock")["fact"]


def test_by_its_page_alone_its_folder_is_found_too(
    pair: tuple[NodeProcess, NodeProcess], offline: Person
) -> None:
    ran = offline.yz("doctor", "--json", "--http", pair[1].view["http"])

    assert ran.code == 0
    assert ran.object["data"] == str(pair[1].data)
    assert of(ran, "clock")["outcome"] == "unknown"  # whoever it knows is on this machine


def test_whoever_does_not_answer_or_is_another_is_a_problem(
    pair: tuple[NodeProcess, NodeProcess], offline: Person
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"ws://127.0.0.1:{server.getsockname()[1]}"
    other = f"{pair[0].url}#{HEX}"

    ran = offline.yz("doctor", "--json", "--bootstrap", nobody, "--bootstrap", other)

    assert ran.code == 1
    facts = [check["fact"] for check in ran.object["checks"] if check["check"] == "bootstrap"]
    assert facts == [
        f"{nobody}: connection refused",
        f"{pair[0].url}: another node answers there, {pair[0].node_id}",
    ]


def test_a_node_that_hangs_is_told_and_a_killed_one_too(tmp_path: Path, offline: Person) -> None:
    with NodeProcess(tmp_path / "data") as node:
        node.ready()
        node.process.send_signal(signal.SIGSTOP)
        hung = offline.yz("doctor", "--json", "--data", str(node.data))
        node.process.send_signal(signal.SIGCONT)
        node.end(signal.SIGKILL)
    killed = offline.yz("doctor", "--data", str(node.data))

    assert hung.code == 1
    assert f"process {node.process.pid}: {node.view['http']} takes connections" in of(hung, "node")["fact"]
    assert "kill -9" in of(hung, "node")["hint"]
    assert killed.code == 0
    assert f"warning  node          process {node.process.pid} ended without saying so" in killed.text
    assert "ok       database" in killed.text
    assert killed.text.endswith("\n\n1 warning\n")


def test_where_there_is_no_node_the_machine_is_looked_at(offline: Person) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = str(server.getsockname()[1])
        taken = offline.yz("doctor", "--port", port)
    free = offline.yz("doctor", "--json", "--port", port)

    assert (taken.code, free.code) == (1, 0)
    assert f"problem  port          [::]:{port} is in use\n" in taken.text
    assert f"ss -ltnp 'sport = :{port}'" in taken.text
    found = outcomes(free)
    assert found.pop("disk space") != "unknown"  # how full the disk of the tests is, is another matter
    assert found.pop("file limit") != "unknown"
    assert found == {
        "version": "ok", "node": "warning", "port": "ok", "clock": "unknown",
    }  # fmt: skip


def test_several_folders_have_to_be_told_apart(offline: Person, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / ".local" / "share" / "yzdht" / f"node-{number}").mkdir(parents=True)

    ran = offline.yz("--json", "doctor")

    assert (ran.code, ran.stdout) == (2, b"")
    assert ran.error["hint"] == "choose one with --data DIR"


def test_a_folder_that_is_missing_is_a_problem(offline: Person, tmp_path: Path) -> None:
    ran = offline.yz("doctor", "--json", "--data", str(tmp_path / "nowhere"))

    assert ran.code == 1
    assert of(ran, "data folder")["fact"] == f"there is no data folder {tmp_path / 'nowhere'}"


# Folders


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a node that was stopped."""
    data = tmp_path_factory.mktemp("left") / "data"
    with NodeProcess(data, "--no-http") as node:
        node.ready()
    return data


@pytest.fixture
def folder(left: Path, tmp_path: Path) -> Path:
    """A copy of it, to damage."""
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    for path in left.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
        (copy / path.name).chmod(stat.S_IMODE(path.stat().st_mode))
    return copy


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))
    }


def test_a_sound_folder_is_ok_and_stays_as_it_is(folder: Path, offline: Person) -> None:
    before = snapshot(folder)

    ran = offline.yz("doctor", "--json", "--data", str(folder), "--port", "18999")

    found = outcomes(ran)
    assert {found[n] for n in ("data folder", "node key", "saved peers", "database")} == {"ok"}
    assert snapshot(folder) == before


def test_every_file_may_be_damaged_at_once(folder: Path, offline: Person) -> None:
    for name in ("version", "node.key", "state", "records.sqlite"):
        (folder / name).write_bytes(b"\x00damaged" * 1_000)
    (folder / "run.json").write_bytes(b"{")
    (folder / "run.json").chmod(0o600)

    ran = offline.yz("doctor", "--json", "--data", str(folder))

    found = outcomes(ran)
    assert ran.code == 1
    assert {found[n] for n in ("data folder", "node key", "database")} == {"problem"}
    assert found["saved peers"] == "warning"
    assert all(check["hint"] for check in ran.object["checks"] if check["outcome"] == "problem")


@pytest.mark.parametrize("name", ["version", "node.key", "state", "records.sqlite"])
def test_a_folder_or_a_pipe_in_the_place_of_a_file_ends_nothing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name, 0o600)
    piped = [*check_folder(folder), *check_database(folder)]
    (folder / name).unlink()
    (folder / name).mkdir()
    nested = [*check_folder(folder), *check_database(folder)]

    for found in (piped, nested):
        assert [f for f in found if f.outcome is Outcome.PROBLEM and f.hint]


def test_modes_that_let_others_in_are_told(folder: Path) -> None:
    folder.chmod(0o755)
    assert next(iter(check_folder(folder))).outcome is Outcome.WARNING
    folder.chmod(0o777)
    assert only(check_folder(folder)).hint == f"run: chmod 700 {folder}"
    folder.chmod(0o700)
    (folder / "node.key").chmod(0o644)
    [key] = [f for f in check_folder(folder) if f.check == "node key"]
    assert (key.outcome, key.hint) == (Outcome.PROBLEM, f"run: chmod 600 {folder / 'node.key'}")


def test_a_newer_folder_wants_a_newer_version(folder: Path) -> None:
    (folder / "version").write_text("99\n")

    assert any(f.hint.startswith("upgrade yzdht") for f in check_folder(folder))


def test_a_key_under_a_passphrase_is_not_opened(folder: Path, offline: Person) -> None:
    offline.yz("id", "show")
    offline.yz("id", "passphrase", "--new-passphrase-fd", "{fd0}", passphrases=["open sesame"])
    (folder / "node.key").write_bytes((offline.home / "identity.key").read_bytes())

    [key] = [f for f in check_folder(folder) if f.check == "node key"]
    assert key == Finding("node key", Outcome.OK, f"{folder / 'node.key'}, under a passphrase")


def test_another_programs_or_a_newer_database_is_told(folder: Path) -> None:
    for pragma, words in (("user_version=99", "has format 99"), ("application_id=7", "another program")):
        connection = sqlite3.connect(folder / "records.sqlite")
        connection.execute(f"PRAGMA {pragma}")
        connection.close()
        found = only(check_database(folder))
        assert (found.outcome, words in found.fact) == (Outcome.PROBLEM, True)


def test_a_page_that_was_overwritten_is_found(folder: Path) -> None:
    path = folder / "records.sqlite"
    raw = bytearray(path.read_bytes())
    raw[4_096:] = b"\xee" * len(raw[4_096:])
    path.write_bytes(raw)

    found = only(check_database(folder))

    assert (found.outcome, "damaged" in found.fact) == (Outcome.PROBLEM, True)


def test_a_disk_is_told_by_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    found = only(check_disk(tmp_path / "a" / "b"))

    assert found.fact.endswith(f"are free at {tmp_path}")


def test_a_folder_of_somebody_else_is_left_to_them(folder: Path, offline: Person) -> None:
    foreign = folder if os.geteuid() == 0 else Path("/")
    if foreign == folder:
        os.chown(folder, 54_321, -1)

    found = only(check_folder(foreign))
    ran = offline.yz("backup", "--only", "node", "--data", str(foreign), "x.tar")

    assert (found.outcome, "so its files were not looked at" in found.fact) == (Outcome.UNKNOWN, True)
    assert list(check_database(foreign)) == []
    assert (ran.code, " belongs to " in ran.stderr) == (1, True)


# Clocks


def visit(ahead_s: int | None) -> Visit:
    return Visit("ws://192.0.2.1:1", NodeId(bytes(32)), "", ahead_s)


@pytest.mark.parametrize(
    ("told", "outcome", "words"),
    [
        ([0, 1, None], Outcome.OK, "agrees with 2 other nodes to within 1 s"),
        ([0, 0, 90_000], Outcome.OK, "agrees with 3 other nodes"),
        ([-120], Outcome.WARNING, "is 2 min behind 1 other node"),
        ([86_400, 86_401, 0], Outcome.PROBLEM, "is 1 d ahead of 3 other nodes"),
        ([None], Outcome.UNKNOWN, "could not be compared"),
    ],
)
def test_the_median_of_what_others_tell_judges_the_clock(
    told: list[int | None], outcome: Outcome, words: str
) -> None:
    found = finding_of_clock([visit(ahead_s) for ahead_s in told], "")

    assert found.outcome is outcome
    assert words in found.fact


def test_what_the_node_found_of_its_clock_counts_where_nobody_told_it() -> None:
    found = finding_of_clock(
        [], "0 other nodes stored a record, 1 must (this machine's clock is about 2 days fast)"
    )

    assert (found.outcome, found.hint) == (Outcome.PROBLEM, "set this machine's clock")


def test_an_address_that_holds_the_word_clock_says_nothing_of_the_clock() -> None:
    found = finding_of_clock([], "no bootstrap address answers: ws://clock.example:8083: connection refused")

    assert found.outcome is Outcome.UNKNOWN


def test_of_addresses_that_others_named_those_that_parse_are_dialled_and_none_on_loopback() -> None:
    urls = [
        "ws://192.0.2.1:1",
        "junk",
        "ws://127.0.0.1:1",
        "ws://[::1]:1",
        "ws://192.0.2.1:1",
        "wss://n.example",
    ]

    assert other_machines(urls) == ["ws://192.0.2.1:1", "wss://n.example:443"]


# What a node says


def test_an_old_process_is_told_to_be_restarted() -> None:
    found = only(check_version(talk_with(status_with())))

    assert (found.outcome, found.fact[:21]) == (Outcome.WARNING, "the node runs 9.9.9, ")


def test_a_silent_node_is_a_problem() -> None:
    talk = Talk()
    talk.trouble = NodeSilent("http://127.0.0.1:1 takes connections and does not answer")

    assert only(check_process(None, talk)).outcome is Outcome.PROBLEM


def test_a_port_that_should_take_connections_and_does_not_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert only(check_port("0.0.0.0", port, is_running=True)).outcome is Outcome.OK
    assert only(check_port("127.0.0.1", port, is_running=True)).outcome is Outcome.PROBLEM


@pytest.mark.parametrize(
    ("soft", "used", "outcome"),
    [
        (-1, 9_999, Outcome.OK), (8_192, 20, Outcome.OK), (7_495, 20, Outcome.WARNING), (7_496, 20, Outcome.OK),
        (1_024, 20, Outcome.WARNING), (1_024, 1_000, Outcome.PROBLEM),
    ],
)  # fmt: skip
def test_too_few_files_for_its_sessions_are_told(soft: int, used: int, outcome: Outcome) -> None:
    found = finding_of_files(soft, used, 5_000)

    assert (found.outcome, bool(found.hint)) == (outcome, outcome is not Outcome.OK)


def test_a_node_of_no_use_is_a_problem_once_it_had_time() -> None:
    talk = talk_with(status_with(uptime_s=10))
    talk.ready = ReadyView(ready=False, alone=False, reason="joining", hint="wait")
    young = only(check_readiness(talk))
    talk.status = status_with(uptime_s=100)

    assert (young.outcome, only(check_readiness(talk)).outcome) == (Outcome.WARNING, Outcome.PROBLEM)
    assert only(check_readiness(Talk())).outcome is Outcome.UNKNOWN


def test_a_connection_from_outside_shows_that_it_is_reached() -> None:
    inside = PeerView(HEX, "192.168.1.7", "ws", dialled=False)
    outside = PeerView(HEX, "8.8.8.8", "ws", dialled=False)
    own = PeerView(HEX, "9.9.9.9", "ws", dialled=True)
    listed = status_with(addresses=(AddressView("ws://192.0.2.1:1"),))

    assert only(check_reach(talk_with(listed, inside, own))).outcome is Outcome.UNKNOWN
    assert only(check_reach(talk_with(listed, inside, outside))).outcome is Outcome.OK
    assert only(check_reach(talk_with(status_with(), outside))).outcome is Outcome.WARNING


def test_of_each_address_is_told_whether_others_reach_it() -> None:
    addresses = (
        AddressView("ws://192.0.2.1:1", "reachable"),
        AddressView("ws://192.0.2.2:1", "relay"),
        AddressView("ws://192.0.2.3:1", "unreachable", advertised=False, why="no answer", hint="open it"),
        AddressView("ws://192.0.2.4:1"),
    )
    found = list(check_reach(talk_with(status_with(addresses=addresses))))

    assert [f.outcome for f in found] == [Outcome.OK, Outcome.OK, Outcome.WARNING]
    assert "no answer" in found[2].fact
    assert found[2].hint == "open it"


def test_a_node_that_one_version_of_ip_alone_reaches_is_told_of_the_other() -> None:
    addresses = (AddressView("tcp://[2a01::1]:1", "reachable"),)
    over = {"ipv4": "unreachable", "ipv6": "reachable"}
    status = status_with(addresses=addresses, reachable="reachable", reachable_over=over)

    found = list(check_reach(talk_with(status)))

    assert [f.outcome for f in found] == [Outcome.OK, Outcome.WARNING]
    assert "not reached over IPv4:" in found[1].fact


def test_a_router_that_does_not_do_what_it_is_asked_for_is_warned_of() -> None:
    addresses = (AddressView("ws://192.0.2.1:1", "reachable"),)
    forwards = RouterView(port=9, protocol="pcp")
    refuses = RouterView(trouble="the router maps no port")

    found = list(check_reach(talk_with(status_with(addresses=addresses, router=forwards))))
    assert [f.outcome for f in found] == [Outcome.OK, Outcome.OK]
    assert found[1].fact == "forwards its port 9 to this node (PCP)"
    found = list(check_reach(talk_with(status_with(addresses=addresses, router=refuses))))
    assert [f.outcome for f in found] == [Outcome.OK, Outcome.WARNING]


def test_who_is_out_of_reach_behind_a_router_that_forwards_is_not_told_to_forward() -> None:
    addresses = (AddressView("tcp://192.0.2.1:1", "unreachable", why="no answer"),)

    def hint(router: RouterView) -> str:
        status = status_with(addresses=addresses, reachable="unreachable", router=router)
        return next(f for f in check_reach(talk_with(status)) if f.outcome is Outcome.PROBLEM).hint

    assert hint(RouterView()).startswith("behind a router forward TCP port")
    assert hint(RouterView(port=9, protocol="upnp")).startswith("open TCP port")


@pytest.mark.parametrize(
    ("certificate", "outcome", "fact"),
    [
        (CertificateView(int(CERTIFICATE_ENDS_SOON_S)), Outcome.OK, "ends in 14 d"),
        (CertificateView(int(CERTIFICATE_ENDS_SOON_S) - 1), Outcome.WARNING, "ends in 13 d"),
        (CertificateView(5, "the certificate x has ended"), Outcome.PROBLEM, "the certificate x has ended"),
        (CertificateView(5, "", "its key is slow"), Outcome.WARNING, "ends in 5 s; its key is slow"),
    ],
)
def test_a_certificate_that_ends_soon_is_warned_of_and_one_that_is_not_valid_a_problem(
    certificate: CertificateView, outcome: Outcome, fact: str
) -> None:
    finding = only(check_certificate(status_with(certificate=certificate), 0.0))

    assert finding.outcome is outcome
    assert finding.fact.startswith(fact)
    assert ("renew" in finding.hint) == (outcome is not Outcome.OK)
    assert list(check_certificate(status_with(), 0.0)) == list(check_certificate(None, 0.0)) == []


def test_a_certificate_with_a_slow_key_is_warned_of() -> None:
    certificate = CertificateView(int(CERTIFICATE_ENDS_SOON_S), "", "its key is slow")

    finding = only(check_certificate(status_with(certificate=certificate), 0.0))

    assert (finding.outcome, finding.fact) == (Outcome.WARNING, "ends in 14 d; its key is slow")
    assert "P-256" in finding.hint


def test_a_local_network_that_cannot_be_asked_is_warned_of() -> None:
    addresses = (AddressView("ws://192.0.2.1:1", "reachable"),)
    for lan, outcome in ((LanView(2, 1), Outcome.OK), (LanView(trouble="no network"), Outcome.WARNING)):
        found = list(check_reach(talk_with(status_with(addresses=addresses, lan=lan))))
        assert found[-1].outcome is outcome


def test_a_node_that_nobody_reaches_has_a_problem() -> None:
    addresses = (AddressView("ws://192.0.2.3:1", "unreachable"),)
    status = status_with(addresses=addresses, reachable="unreachable")
    *_, last = check_reach(talk_with(status))

    assert last.outcome is Outcome.PROBLEM
    assert "forward TCP port" in last.hint


def test_addresses_to_join_through_that_never_answered_are_told() -> None:
    talk = talk_with(status_with(bootstrap=BootstrapView(2, 0)))

    assert only(check_joined(talk)).outcome is Outcome.PROBLEM
    talk.status = status_with(bootstrap=BootstrapView(2, 1))
    assert only(check_joined(talk)).outcome is Outcome.WARNING
    talk.status = status_with(bootstrap=BootstrapView(2, 2))
    assert only(check_joined(talk)).outcome is Outcome.OK


def test_what_the_node_remembers_of_the_last_hour_is_told_and_older_things_are_not() -> None:
    old, new = (
        ErrorView(at=1, what="old"),
        ErrorView(at=5_000, what="the disk is full", hint="free some", times=2),
    )

    [disk, told] = check_errors(talk_with(status_with(errors=(new, old))), 5_060.0)

    assert (disk.check, disk.outcome) == ("disk", Outcome.PROBLEM)  # records.count is unknown
    assert (told.fact, told.hint) == ("the disk is full (1 min ago, 2 times)", "free some")
