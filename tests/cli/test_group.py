"""yz group, and put, get and rm of a group, as people and programs use them."""

from __future__ import annotations

import base64
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from tests.cli.programs import Person
from yzdht.cli.group import _show, _warn
from yzdht.cli.screen import Screen
from yzdht.crypto.kept_group import Fork
from yzdht.crypto.primitives import PrivateKey
from yzdht.groups import GroupInfo
from yzdht.ids import GroupId


if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.programs import NodeProcess
    from yzdht.cli.settings import Settings


KEYS = [
    "name", "groupKey", "fingerprint", "epoch", "created", "expires", "admin", "removed", "history", "members", "forks",
]  # fmt: skip


@pytest.fixture
def ben(tmp_path: Path, node: NodeProcess) -> Person:
    """Somebody else, who has published their keys."""
    (tmp_path / "ben").mkdir()
    somebody = Person(tmp_path / "ben" / "home").at(node.url)
    assert somebody.yz("put", "hello", stdin=b"").code == 0
    return somebody


def key_of(person: Person) -> str:
    return str(person.yz("--json", "id", "show").object["publicKey"])


def group_key(person: Person, name: str = "team") -> str:
    return str(person.yz("--json", "group", "members", name).object["groupKey"])


def together(person: Person, ben: Person) -> None:
    """A group in which both are, and which both call team."""
    assert person.yz("group", "create", "team").code == 0
    assert person.yz("id", "add", "ben", key_of(ben)).code == 0
    assert person.yz("group", "add", "team", "ben").code == 0
    assert ben.yz("group", "open", "team", group_key(person)).code == 0


def test_a_group_from_its_making_to_its_end(person: Person, ben: Person) -> None:
    made = person.yz("group", "create", "team")
    assert (made.code, made.stdout) == (0, b"")
    assert "team is made" in made.stderr
    person.yz("id", "add", "ben", key_of(ben))

    added = person.yz("group", "add", "team", "ben")
    assert added.code == 0
    assert f"yz group open NAME {group_key(person)}" in added.stderr
    opened = ben.yz("group", "open", "friends", group_key(person))
    assert opened.code == 0
    assert "friends is open" in opened.stderr
    assert "epoch 2, 2 members, you are member" in opened.stderr

    put = person.yz("put", "--group", "team", "plan", stdin=b"meet at noon")
    assert (put.code, "link" in put.stderr) == (0, False)
    got = ben.yz("get", "--group", "friends", "plan")
    assert (got.code, got.stdout) == (0, b"meet at noon")
    assert ben.yz("get", "plan").code == 3
    view = ben.yz("--json", "get", "--group", "FRIENDS", "plan").object
    assert base64.b64decode(view["data"]) == b"meet at noon"
    assert view["publisher"] == key_of(person)

    assert ben.yz("put", "--group", "friends", "plan", stdin=b"at one").code == 0
    assert person.yz("get", "--group", "team", "plan").stdout == b"at one"
    assert person.yz("get", "--group", "team", "--from", key_of(person), "plan").stdout == b"meet at noon"
    assert person.yz("rm", "--group", "team", "plan").code == 0
    assert ben.yz("get", "--group", "friends", "plan").code == 3

    assert person.yz("group", "promote", "team", "ben").code == 0
    assert ben.yz("group", "rotate", "friends").code == 0
    removed = person.yz("group", "remove", "team", "ben")
    assert (removed.code, "ben is out" in removed.stderr) == (0, True)
    assert person.yz("put", "--group", "team", "secret", stdin=b"x").code == 0
    refused = ben.yz("get", "--group", "friends", "secret")
    assert refused.code == 9
    assert "yz: hint: " in refused.stderr
    left = ben.yz("group", "leave", "friends")
    assert (left.code, left.stderr) == (0, "friends is forgotten\n")
    assert ben.yz("group", "list").stdout == b""
    assert person.yz("group", "leave", "team").code == 0


def test_a_group_for_programs(person: Person, ben: Person) -> None:
    made = person.yz("--json", "group", "create", "--history", "team")
    assert (made.code, made.stderr, list(made.object)) == (0, "", KEYS)
    view = made.object
    assert (view["name"], view["epoch"], view["admin"], view["removed"], view["history"]) == (
        "team", 1, True, False, True,
    )  # fmt: skip
    assert view["expires"] - view["created"] == 30 * 86_400
    assert view["forks"] == []
    [member] = view["members"]
    assert (member["publicKey"], member["role"], member["name"]) == (key_of(person), "admin", "you")
    person.yz("put", "--group", "team", "old", stdin=b"from before")

    added = person.yz("--json", "group", "add", "team", key_of(ben)).object
    assert (list(added), added["epoch"], len(added["members"])) == (KEYS, 2, 2)
    opened = ben.yz("group", "open", "--json", "team", added["groupKey"])
    assert (opened.code, list(opened.object)) == (0, KEYS)
    assert ben.yz("get", "--group", "team", "old").stdout == b"from before"
    [listed] = [ben.yz("--json", "group", "list").object]
    assert (listed["name"], listed["admin"]) == ("team", False)
    assert {each["role"] for each in ben.yz("--json", "group", "members", "team").object["members"]} == {
        "admin", "member",
    }  # fmt: skip

    fingerprint = next(m["fingerprint"] for m in added["members"] if m["name"] is None)
    assert person.yz("--json", "group", "promote", "team", fingerprint).object["epoch"] == 3
    assert person.yz("--json", "group", "rotate", "team").object["epoch"] == 4
    gone = person.yz("--json", "group", "remove", "team", fingerprint).object
    assert gone["groupKey"] != added["groupKey"]
    assert len(gone["members"]) == 1
    assert person.yz("--json", "group", "leave", "team").object["name"] == "team"
    assert person.yz("--json", "group", "list").stdout == b""


def test_members_are_shown_with_what_this_home_calls_them(person: Person, ben: Person) -> None:
    together(person, ben)

    shown = person.yz("group", "members", "team")

    lines = sorted(line.split("  ") for line in shown.text.splitlines())
    assert sorted(line[1:] for line in lines) == [["admin", "you"], ["member", "ben"]]
    assert "you are admin" in shown.stderr
    assert b"team" not in shown.stdout
    [row] = person.yz("group", "list").text.splitlines()
    assert row.startswith("team  ")
    assert row.endswith("epoch 2, 2 members, you are admin")


def test_only_admins_change_a_group(person: Person, ben: Person) -> None:
    together(person, ben)

    for words in (("rotate", "team"), ("remove", "team", key_of(person)), ("promote", "team", key_of(ben))):
        refused = ben.yz("--json", "group", *words)
        assert (refused.code, refused.error["exitCode"]) == (2, 2)
        assert refused.error["hint"]


def test_what_cannot_be_done_is_said_with_what_can(person: Person, ben: Person) -> None:
    together(person, ben)
    fingerprint = str(person.yz("--json", "id", "show").object["fingerprint"])
    stranger = fingerprint[:-1] + ("0" if fingerprint[-1] != "0" else "1")

    for code, words in (
        (2, ("group", "create", "TEAM")),
        (2, ("group", "create", "")),
        (2, ("group", "open", "other", "no-key")),
        (3, ("group", "open", "other", key_of(ben))),
        (2, ("group", "add", "team", "ben")),
        (2, ("group", "promote", "team", fingerprint)),
        (2, ("group", "remove", "team", stranger)),
        (2, ("group", "remove", "team", fingerprint)),
        (2, ("group", "leave", "team")),
        (3, ("group", "members", "nowhere")),
        (3, ("group", "leave", "nowhere")),
        (3, ("put", "--group", "nowhere", "plan")),
        (3, ("get", "--group", "nowhere", "plan")),
        (3, ("get", "--group", "team", "nothing")),
        (3, ("rm", "--group", "team", "nothing")),
        (2, ("put", "--group", "team", "--public", "plan")),
        (2, ("get", "--group", "team", "yz:abc")),
    ):
        refused = person.yz(*words, stdin=b"")
        assert refused.code == code, (words, refused)
        assert refused.stderr.startswith("yz: error: ") or "Usage:" in refused.stderr, words
        assert "yz: hint: " in refused.stderr or "Try" in refused.stderr, (words, refused.stderr)
    assert person.yz("group", "leave", "--force", "team").code == 0


def test_a_home_without_groups_says_how_to_make_one_and_asks_no_node(offline: Person) -> None:
    shown = offline.yz("group", "list")

    assert (shown.code, shown.stdout) == (0, b"")
    assert "yz group create NAME" in shown.stderr
    assert offline.yz("--node", "ws://127.0.0.1:9", "group", "create", "team").code == 7
    assert offline.yz("group", "list").code == 0


def test_groups_of_the_identity_before_are_shown_as_lost_and_can_be_forgotten(person: Person) -> None:
    assert person.yz("group", "create", "team").code == 0
    assert person.yz("id", "new", "--force").code == 0

    shown = person.yz("group", "list")
    assert (shown.code, shown.stdout) == (0, b"")
    assert "warning: what is kept of team is damaged, or another identity's" in shown.stderr
    assert person.yz("put", "note", stdin=b"own").code == 0
    refused = person.yz("group", "leave", "team")
    assert (refused.code, "leave --force" in refused.stderr) == (5, True)
    assert person.yz("group", "leave", "--force", "team").code == 0
    assert person.yz("group", "create", "team").code == 0


def test_whoever_moves_is_told_which_groups_do_not_follow(person: Person, ben: Person) -> None:
    together(person, ben)
    phrase = str(ben.yz("--json", "id", "export", "-o", "../ben.key").object["phrase"])
    move = ("id", "move", "--new-passphrase-fd", "{fd0}", "ben.key")

    asked = person.yz(*move, passphrases=[phrase])

    assert asked.code == 2, "nobody can be asked"
    assert "groups know the old key, and do not follow to the new one: team" in asked.stderr
    assert f"yz group add NAME {key_of(ben)}" in asked.stderr


def test_nothing_in_the_home_of_a_member_names_the_group_to_whoever_has_not_its_keys(
    person: Person, ben: Person
) -> None:
    together(person, ben)
    raw = (ben.home / "groups.sqlite").read_bytes()

    for key in (group_key(person), key_of(person), key_of(ben)):
        assert base64.urlsafe_b64decode(key) not in raw
    assert (ben.home / "groups.sqlite").stat().st_mode & 0o077 == 0


def test_of_a_fork_is_spoken_until_a_new_epoch_begins_and_where_members_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = PrivateKey.generate().public_key
    fork = Fork(3, b"1" * 32, b"2" * 32)
    info = GroupInfo(
        name="team", group_key=key, group_id=GroupId(bytes(16)), epoch=4, members=(), created=0, expires=1,
        is_admin=True, is_removed=False, has_history=False, forks=(fork,),
    )  # fmt: skip
    settings = cast("Settings", SimpleNamespace(screen=Screen("yz")))

    for shown, is_told in ((info, True), (replace(info, epoch=5), False)):
        _show(settings, shown, "done")
        assert ("epoch 3 of team has two states" in capsys.readouterr().err) is is_told
    _show(settings, info, "rotated", since=info.epoch)
    assert "two states" not in capsys.readouterr().err
    _warn(settings, replace(info, epoch=9), since=0)
    assert "yz group rotate team" in capsys.readouterr().err
