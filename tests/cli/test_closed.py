"""`yz-node --invite-only` and `--join`, as people run them: real programs on loopback."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.cli.programs import YZ_NODE, NodeProcess, Person, environment
from yzdht.wire.text import decode_node_id


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that closes its network with its own key."""
    data = tmp_path_factory.mktemp("issuer") / "data"
    with NodeProcess(data, "--invite-only", "self", "--allow-private") as node:
        yield node.ready()


def link_of(person: Person, issuer: NodeProcess) -> str:
    made = person.yz("invite", "network", "--data", str(issuer.data))
    assert made.code == 0, made.stderr
    return made.stdout.decode().strip().strip("'")


@pytest.fixture
def club(tmp_path: Path) -> Iterator[Club]:
    """A network that a person's key closes, as docs/operating.md sets one up; steps 1 and 2."""
    owner = Person(tmp_path / "owner", ("--network", "club"))
    admitted = owner.yz("invite", "admit", str(tmp_path / "first"))
    assert admitted.code == 0, admitted.stderr
    with NodeProcess(tmp_path / "first", "--network", "club", "--allow-private") as first:
        yield Club(first.ready(), owner.at(first.url))


class Club(NamedTuple):
    """A closed network: its first node, and the person who owns it."""

    first: NodeProcess
    owner: Person

    def person(self, name: str) -> Person:
        return Person(self.owner.home.with_name(name), self.owner.options)

    def link(self, *words: str) -> bytes:
        made = self.owner.yz("invite", "network", *words)
        assert made.code == 0, made.stderr
        return made.stdout.strip()


def test_a_person_s_network_takes_in_nodes_and_people_and_no_stranger(club: Club, tmp_path: Path) -> None:
    second, anna, link = str(tmp_path / "second"), club.person("anna"), club.link()

    away = anna.yz("join", "--data", second, "--wait", "0", "-", stdin=link)
    assert (away.code, "again later" in away.stderr) == (3, True), away.stderr
    assert " joined by invite " in club.owner.yz("invite", "network").stderr
    joined = anna.yz("join", "--data", second, "-", stdin=link)
    assert joined.code == 0, joined.stderr
    assert f"yz-node --data {second} --network club --bootstrap {club.first.url}" in joined.stderr
    assert not anna.home.exists()

    options = ("--network", "club", "--bootstrap", club.first.url, "--allow-private")
    with NodeProcess(tmp_path / "second", *options) as node:
        assert node.ready().view["bootstrap"]["joined"] == 1
        running = anna.yz("join", "--data", second, "-", stdin=link)
        assert (running.code, "stop the node first" in running.stderr) == (1, True), running.stderr
        link = club.link()
        anna.yz("join", "--wait", "0", "-", stdin=link)
        club.owner.yz("invite", "network")
        assert anna.yz("join", "-", stdin=link).code == 0
        at_second = Person(anna.home, ("--network", "club")).at(node.url)
        assert at_second.yz("put", "--public", "note", stdin=b"hello").code == 0
        assert anna.yz("get", "note").stdout == b"hello"
        outside = club.person("mallory").yz("put", "note", stdin=b"hello")
        assert (outside.code, "asks for an invite" in outside.stderr) == (7, True), outside.stderr


def test_whom_a_person_admitted_is_listed_and_taken_back(club: Club) -> None:
    listed = club.owner.yz("--json", "invite", "list").object
    assert (listed["type"], listed["member"], listed["state"]) == (
        "membership",
        decode_node_id(club.first.node_id).hex(),
        "open",
    )

    revoked = club.owner.yz("invite", "revoke", str(listed["id"]))

    assert revoked.code == 0, revoked.stderr
    assert club.owner.yz("--json", "invite", "list").object["state"] == "revoked"


def test_a_node_that_is_to_join_a_person_s_network_by_itself_says_how(club: Club, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.write_bytes(club.link() + b"\n")
    options = ("--network", "club", "--bootstrap", club.first.url, "--join", "-")

    with NodeProcess(tmp_path / "alone", *options, before=reading(link)) as node:
        node.ready()
        assert "run: yz join LINK --data DIR" in node.stderr


def test_a_node_of_somebody_else_is_not_touched(offline: Person, tmp_path: Path) -> None:
    foreign = tmp_path / "theirs" if os.geteuid() == 0 else Path("/")
    if foreign != Path("/"):
        foreign.mkdir()
        os.chown(foreign, 54_321, -1)

    refused = offline.yz("invite", "admit", str(foreign))

    assert (refused.code, " belongs to " in refused.stderr) == (1, True), refused.stderr
    assert "with chown -R" in refused.stderr
    assert foreign == Path("/") or list(foreign.iterdir()) == []


def test_a_node_joins_no_group(person: Person, tmp_path: Path) -> None:
    person.yz("group", "create", "team")
    link = person.yz("invite", "group", "team").stdout

    refused = person.yz("join", "--data", str(tmp_path / "node"), "-", stdin=link)

    assert (refused.code, "leave --data out" in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "node").exists()


def reading(link: Path) -> list[str]:
    """In front of a command: what it reads from stdin."""
    return ["sh", "-c", f'exec "$@" < {link}', "sh"]


def settings_of(tmp_path: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [YZ_NODE, "--bootstrap", "ws://127.0.0.1:1", *words]
    return subprocess.run(
        command, env=environment(tmp_path), input=stdin, capture_output=True, timeout=60, check=False
    )


def test_a_node_joins_by_a_link_on_stdin_and_stays_a_member(
    offline: Person, issuer: NodeProcess, tmp_path: Path
) -> None:
    link, data = tmp_path / "link", tmp_path / "data"
    link.write_text(link_of(offline, issuer) + "\n")
    at_issuer = ("--bootstrap", issuer.url, "--allow-private")

    with NodeProcess(data, *at_issuer, "--join", "-", before=reading(link)) as node:
        assert node.ready().view["bootstrap"]["joined"] == 1
        event = node.event()
        assert (event["event"], event["redeemed"]) == ("invite", True)
        assert link.read_text().strip() not in node.stderr
    with NodeProcess(data, *at_issuer) as again:
        assert again.ready().view["bootstrap"]["joined"] == 1
        outside = offline.at(again.url).yz("put", "note", stdin=b"hello")
    assert outside.code != 0
    assert "asks for an invite" in outside.stderr

    with NodeProcess(tmp_path / "late", *at_issuer, "--join", "-", before=reading(link)) as late:
        code, _ = late.process.wait(60), None
        assert code != 0
        assert "used up" in late.stderr
        assert "new link" in late.stderr


def test_a_link_is_shown_to_nobody(offline: Person, issuer: NodeProcess, tmp_path: Path) -> None:
    link = link_of(offline, issuer)

    for words in (("--print-config",), ("--print-config", "--json")):
        shown = settings_of(tmp_path, "--join", link, *words)
        assert shown.returncode == 0, shown.stderr
        assert b"not shown" in shown.stdout
        assert link.encode()[-22:] not in shown.stdout
    damaged = settings_of(tmp_path, "--join", link[:-1], "--print-config")
    assert damaged.returncode != 0
    assert link.encode()[-22:-1] not in damaged.stderr


def test_a_link_of_another_network_is_refused_before_anything_starts(
    offline: Person, issuer: NodeProcess, tmp_path: Path
) -> None:
    words = ("--join", link_of(offline, issuer), "--network", "other", "--data", str(tmp_path / "data"))

    refused = settings_of(tmp_path, *words)

    assert refused.returncode == 2
    assert b"is for another network" in refused.stderr
    assert b"check the network's name" in refused.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--join", "-"), b"no link came from stdin"),
        (("--join", "nonsense"), b"this is not an invite link"),
        (("--invite-only", "nonsense"), b"44 characters"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(
    tmp_path: Path, words: tuple[str, ...], said: bytes
) -> None:
    refused = settings_of(tmp_path, "--data", str(tmp_path / "data"), *words)

    assert refused.returncode == 2
    assert said in refused.stderr
    assert b"hint:" in refused.stderr
    assert not (tmp_path / "data").exists()
