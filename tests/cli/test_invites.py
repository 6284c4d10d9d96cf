"""People invited, joining, taken back: the programs as they are started, over one real node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.programs import NodeProcess, Person, Terminal
from yzdht import Identity
from yzdht.crypto.invite import Bearer, Terms, issue
from yzdht.crypto.naming import network_id
from yzdht.ids import PublicKey, TokenId
from yzdht.sessions import SystemClock
from yzdht.wire.invite_link import decode_invite_link, encode_invite_link
from yzdht.wire.text import encode_public_key
from yzdht.wire.token import TokenType


if TYPE_CHECKING:
    from collections.abc import Iterator

SHIFTED = Path(__file__).parent.parent / "process" / "shifted.py"

pytestmark = [pytest.mark.net, pytest.mark.process]


@pytest.fixture
def friend(tmp_path: Path, node: NodeProcess) -> Person:
    return Person(tmp_path / "friend").at(node.url)


def link_of(person: Person, *words: str) -> str:
    made = person.yz("invite", *words)
    assert made.code == 0, made.stderr
    [link] = made.text.splitlines()
    return link


def serving_at(person: Person) -> subprocess.Popen[str]:
    """`yz invite serve`, which says on its stdout whom it lets in."""
    return subprocess.Popen(
        person.command("--json", "invite", "serve"),
        stdout=subprocess.PIPE,
        env=person.environment(),
        cwd=person.home.parent,
        text=True,
    )


def listed(person: Person) -> list[dict[str, Any]]:
    return [json.loads(line) for line in person.yz("--json", "invite", "list").stdout.splitlines()]


def test_a_friend_joins_a_group_while_its_admin_is_away(person: Person, friend: Person) -> None:
    assert person.yz("group", "create", "team").code == 0
    link = link_of(person, "group", "team")
    assert link.startswith("yz-invite:#t=")

    away = friend.yz("join", "--name", "ours", "--wait", "0", "-", stdin=f"{link}\n".encode())
    assert away.code == 3
    assert "joining the group " in away.stderr
    assert "has not answered yet" in away.stderr
    assert "again later" in away.stderr
    assert link[-20:] not in away.stderr
    served = person.yz("invite", "network")  # whoever issues looks first
    assert " joined by invite " in served.stderr
    joined = friend.yz("--json", "join", "--name", "ours", link)

    assert joined.code == 0, joined.stderr
    assert joined.object["name"] == "ours"
    person.yz("put", "--group", "team", "plan", stdin=b"at nine")
    assert friend.yz("get", "--group", "ours", "plan").stdout == b"at nine"
    [made] = [view for view in listed(person) if view["type"] == "group"]
    assert (made["type"], made["group"], made["uses"], made["state"]) == ("group", "team", 1, "used up")
    assert joined.object["id"] == made["id"]


def test_whoever_comes_while_the_issuer_is_away_is_in_once_the_issuer_has_looked(
    person: Person, friend: Person
) -> None:
    person.yz("group", "create", "team")
    link = link_of(person, "group", "team")
    away = friend.yz("join", "--name", "ours", "--wait", "2s", link)
    assert (away.code, "run `yz join` with the same link again later" in away.stderr) == (3, True), (
        away.stderr
    )

    with serving_at(person) as serving:
        assert serving.stdout is not None
        assert json.loads(serving.stdout.readline())["outcome"] == "admitted"
        serving.terminate()

    assert friend.yz("join", "--name", "ours", link).code == 0
    person.yz("put", "--group", "team", "plan", stdin=b"at nine")
    assert friend.yz("get", "--group", "ours", "plan").stdout == b"at nine"


def test_of_two_who_join_at_once_by_a_link_for_one_person_one_is_in(person: Person) -> None:
    person.yz("group", "create", "team")
    link = link_of(person, "group", "team", "--uses", "1")
    friends = [Person(person.home.parent / name, person.options) for name in ("ben", "carla")]
    joining = [
        subprocess.Popen(
            friend.command("join", "--name", "ours", "--wait", "2s", link),
            env=friend.environment(),
            cwd=friend.home.parent,
            stderr=subprocess.DEVNULL,
        )
        for friend in friends
    ]
    assert [process.wait(60) for process in joining] == [3, 3]

    person.yz("invite", "network")
    ended = [friend.yz("join", "--name", "ours", "--wait", "0", link) for friend in friends]

    assert sorted(each.code for each in ended) == [0, 1], [each.stderr for each in ended]
    [refused] = [each.stderr for each in ended if each.code]
    assert "yz: error: the invite is used up" in refused
    assert "yz: hint: " in refused
    assert len(person.yz("--json", "group", "members", "team").object["members"]) == 2


def test_a_link_that_is_over_changed_or_another_group_s_lets_nobody_in(
    person: Person, friend: Person
) -> None:
    for name in ("team", "work"):
        person.yz("group", "create", name)
    good, elsewhere = (decode_invite_link(link_of(person, "group", name)) for name in ("team", "work"))
    changed = encode_invite_link(replace(good.token, scope=elsewhere.token.scope), good.secret)
    secret_of_another = encode_invite_link(good.token, elsewhere.secret)
    clock = person.home.parent / "clock"
    clock.write_text("1800")
    over = link_of(person, "group", "team", "--expires", "1s")

    for link, error, hint in (
        (changed, "the invite was changed", "copy the whole link again"),
        (secret_of_another, "the secret", "both of its parts belong to one invite"),
    ):
        refused = friend.yz("join", link)
        assert (refused.code, refused.text) == (5, "")
        assert error in refused.stderr
        assert hint in refused.stderr.partition("yz: hint: ")[2]
    late = subprocess.run(
        [sys.executable, str(SHIFTED), str(clock), *friend.command("join", over)],
        capture_output=True,
        text=True,
        env=friend.environment(),
        cwd=friend.home.parent,
        timeout=60,
        check=False,
    )
    assert (late.returncode, "expired" in late.stderr) == (1, True), late.stderr
    assert "yz: hint: ask for a new link" in late.stderr
    assert [view["uses"] for view in listed(person)] == [0, 0, 0]
    assert friend.yz("group", "list").text == ""


def test_who_serves_lets_people_in(person: Person, friend: Person) -> None:
    person.yz("group", "create", "team")
    link = link_of(person, "group", "team", "--uses", "2")
    with serving_at(person) as serving:
        friend.yz("join", "--wait", "0", link)
        serving.terminate()
    with serving_at(person) as serving:
        assert serving.stdout is not None
        if json.loads(person.yz("--json", "invite", "list").text)["uses"] == 0:
            assert json.loads(serving.stdout.readline())["outcome"] == "admitted"
        joined = friend.yz("--json", "join", link)
        serving.terminate()

    assert joined.code == 0, joined.stderr
    assert joined.object["name"].startswith("group-")


def test_whoever_is_removed_cannot_come_back_by_the_link(person: Person, friend: Person) -> None:
    person.yz("group", "create", "team")
    link = link_of(person, "group", "team", "--uses", "9")
    friend.yz("join", "--wait", "0", link)
    person.yz("invite", "network")
    assert friend.yz("join", "--name", "ours", link).code == 0
    fingerprint = json.loads(friend.yz("--json", "id", "show").text)["fingerprint"]

    removed = person.yz("group", "remove", "team", fingerprint)

    assert removed.code == 0, removed.stderr
    assert [each["state"] for each in listed(person) if each["type"] == "group"] == ["revoked"]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that closes its network with its own key."""
    data = tmp_path_factory.mktemp("closed") / "data"
    with NodeProcess(data) as first:
        first.ready()
    key = encode_public_key(Identity.load(data / "node.key").public_key)
    with NodeProcess(data, "--invite-only", key) as node:
        yield node.ready()


def test_somebody_joins_a_closed_network(offline: Person, closed: NodeProcess) -> None:
    friend, data = offline.at(closed.url), str(closed.data)
    outside = friend.yz("put", "note", stdin=b"hello")
    assert outside.code != 0
    assert "asks for an invite" in outside.stderr
    link = link_of(offline, "network", "--data", data, "--expires", "1d")

    joined = friend.yz("join", link)

    assert joined.code == 0, joined.stderr
    assert "joining the closed network of " in joined.stderr
    assert "you are in, until " in joined.stderr
    [kept] = friend.home.glob("membership-*")
    assert len(kept.read_bytes()) == 176
    stored = friend.yz("put", "note", stdin=b"hello")
    assert stored.code == 0, stored.stderr
    assert friend.yz("get", "note").stdout == b"hello"


def test_of_two_who_join_a_closed_network_at_once_by_a_link_for_one_one_is_in(
    offline: Person, closed: NodeProcess
) -> None:
    link = link_of(offline, "network", "--data", str(closed.data))
    friends = [Person(offline.home.parent / name).at(closed.url) for name in ("ben", "carla")]
    joining = [
        subprocess.Popen(
            friend.command("join", link),
            env=friend.environment(),
            cwd=friend.home.parent,
            stderr=subprocess.DEVNULL,
        )
        for friend in friends
    ]

    assert sorted(process.wait(60) for process in joining) == [0, 1]
    assert len([home for friend in friends for home in friend.home.glob("membership-*")]) == 1


def test_who_was_let_into_a_closed_network_is_listed_and_taken_back(
    offline: Person, closed: NodeProcess
) -> None:
    friend, data = offline.at(closed.url), str(closed.data)
    link = link_of(offline, "network", "--data", data, "--uses", "9")
    assert friend.yz("join", "-", stdin=link.encode()).code == 0
    shown = [
        json.loads(line)
        for line in offline.yz("--json", "invite", "list", "--data", data).stdout.splitlines()
    ]
    own = json.loads(friend.yz("--json", "id", "show").text)["nodeId"]
    [given] = [view for view in shown if view.get("member") == own]
    assert (given["type"], given["state"]) == ("membership", "open")

    revoked = offline.yz("invite", "revoke", "--data", data, given["id"][:12])

    assert revoked.code == 0, revoked.stderr
    assert "is revoked, too" in revoked.stderr, "they know its link"
    assert "  revoked   membership of " in offline.yz("invite", "list", "--data", data).text
    again = friend.yz("join", link)
    assert (again.code, "was revoked" in again.stderr) == (1, True), again.stderr


def test_a_stranger_s_link_does_not_open_a_closed_network(
    offline: Person, closed: NodeProcess, node: NodeProcess
) -> None:
    """It is signed by somebody else: whoever shows it is nobody there, and asks nobody there."""
    link = link_of(Person(offline.home.parent / "mallory").at(node.url), "network")

    refused = offline.at(closed.url).yz("join", link)

    assert refused.code == 7, refused.stderr
    assert "your link invites to a closed network of this name, and the node is not of it" in refused.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "other"}, "or is for another network"),
        ({"age_s": 700}, "expired"),
        ({"key": 0}, "was changed"),
    ],
)
def test_a_link_that_cannot_be_good_is_refused_before_a_node_is_asked(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    start = int(SystemClock().now().wall) - 60 - change.get("age_s", 0)
    terms = Terms(TokenType.NETWORK, start, start + 60)
    token = issue(
        Identity.generate().signer,
        network_id(change.get("network", "main")),
        terms,
        TokenId(bytes(16)),
        Bearer(bytes(16)),
    )
    if "key" in change:
        token = replace(token, issuer=PublicKey(b"\2" + b"\xff" * 32))
    link = encode_invite_link(token, bytes(16))

    refused = Person(tmp_path / "joiner").at("ws://127.0.0.1:1").yz("join", link)

    assert refused.code in (1, 5), refused.stderr
    assert said in refused.stderr
    assert "public key" not in refused.stderr


def test_only_a_node_s_folder_issues_for_a_node(offline: Person, tmp_path: Path) -> None:
    refused = offline.yz("invite", "list", "--data", str(tmp_path))

    assert refused.code == 2
    assert "no data folder" in refused.stderr


def test_root_leaves_no_ledger_that_a_node_cannot_write(offline: Person, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "node.key").touch(mode=0o600)
    assert os.geteuid() == 0, "only root gives folders away: run the tests as root"
    os.chown(folder, 54_321, -1)

    for words in (("list",), ("revoke", "abcd"), ("network",)):
        refused = offline.yz("invite", *words, "--data", str(folder))
        assert refused.code not in (0, None)
        assert "hint: " in refused.stderr
    assert [path.name for path in folder.iterdir()] == ["node.key"]


def test_a_link_is_taken_back(person: Person, friend: Person) -> None:
    person.yz("group", "create", "team")
    link = link_of(person, "group", "team", "--uses", "3")

    revoked = person.yz("invite", "revoke", "-", stdin=link.encode())

    assert revoked.code == 0, revoked.stderr
    assert person.yz("--json", "invite", "list").object["state"] == "revoked"
    friend.yz("join", "--wait", "0", link)
    person.yz("invite", "network")
    refused = friend.yz("join", "--wait", "0", link)
    assert refused.code == 1
    assert "the invite was revoked" in refused.stderr


def test_an_invite_for_one_person_is_refused_to_others_at_once(person: Person, friend: Person) -> None:
    key = json.loads(friend.yz("--json", "id", "show").text)["publicKey"]
    person.yz("group", "create", "team")
    link = link_of(person, "group", "team", "--for", key)

    refused = Person(person.home.parent / "third", person.options).yz("join", link)

    assert "&s=" not in link
    assert refused.code == 1
    assert "for another identity" in refused.stderr


def test_a_link_on_a_terminal_is_in_quotes(person: Person) -> None:
    with Terminal(person.command("invite", "network"), person.environment(), person.home.parent) as terminal:
        assert terminal.end() == 0

    assert "'yz-invite:#t=" in terminal.shown
    assert "&s=" in terminal.shown


def test_what_is_no_link_is_said_before_anything_is_asked(offline: Person) -> None:
    for text, error in (("hello", "not an invite link"), ("yz-invite:#t=abc&s", "cut short")):
        refused = offline.yz("join", text)
        assert refused.code == 2
        assert error in refused.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("network", "--uses", "0"), "uses"),
        (("network", "--expires", "366d"), "365 days"),
        (("network", "--expires", "soon"), "is not a duration"),
        (("network", "--uses", "2", "--for", "anna"), "one person is for one use"),
        (("revoke", "abc"), "first four digits"),
        (("revoke", "abcd"), "holds no such invite"),
    ],
)
def test_what_cannot_be_is_refused(offline: Person, words: tuple[str, ...], error: str) -> None:
    refused = offline.yz("invite", *words)

    assert refused.code == 2
    assert error in refused.stderr


def test_a_home_that_issued_nothing_says_so(offline: Person) -> None:
    nothing = offline.yz("invite", "list")

    assert (nothing.code, nothing.text) == (0, "")
    assert "issued nothing yet" in nothing.stderr


def test_a_wait_is_a_day_at_most(offline: Person) -> None:
    assert offline.yz("join", "--wait", "2d", "x").code == 2
