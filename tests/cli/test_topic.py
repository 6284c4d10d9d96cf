"""yz topic, and topics with an owner in yz pub and yz sub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import Person
from tests.cli.test_group import key_of


if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.net, pytest.mark.process]


def test_the_owner_says_who_publishes_and_nobody_else_is_heard(person: Person, tmp_path: Path) -> None:
    ben, eve = (Person(tmp_path / name, person.options) for name in ("ben", "eve"))
    owner, key = key_of(person), key_of(ben)
    key_of(eve)  # is made by that
    said = person.yz("topic", "policy", "releases", "--writer", key)
    own = person.yz("pub", "--owner", owner, "releases", "0.1")
    listed = ben.yz("pub", "--owner", owner, "--lines", "releases", stdin=b"0.2\n0.3\n")
    stranger = eve.yz("pub", "--owner", owner, "releases", "9.9")
    everybodys = eve.yz("pub", "releases", "9.9")

    assert (said.code, said.stdout) == (0, b"")
    assert (
        said.stderr
        == f"you and 1 other publish to releases; on their side: yz pub --owner {owner} releases\n"
    )
    assert own.code == listed.code == everybodys.code == 0
    assert stranger.code == 2
    assert "the owner of this topic does not let you write to it" in stranger.stderr
    heard = eve.yz("sub", "--owner", owner, "--since", "1h", "--count", "3", "releases")
    assert sorted(heard.text.splitlines()) == ["0.1", "0.2", "0.3"]


def test_a_policy_for_programs_replaces_the_one_before(person: Person) -> None:
    first = person.yz("--json", "topic", "policy", "plans", "--writer", key_of(person))
    second = person.yz("--json", "topic", "policy", "plans")

    assert list(first.object) == ["topic", "owner", "writers", "seq", "expires"]
    assert second.object["owner"] == key_of(person)
    assert (second.object["writers"], second.object["seq"] > first.object["seq"]) == (0, True)


def test_who_is_nobody_is_refused_before_a_node_is_asked(person: Person) -> None:
    for words in (
        ("topic", "policy", "plans", "--writer", "nobody"),
        ("pub", "--owner", "nobody", "plans", "x"),
        ("sub", "--owner", "nobody", "plans"),
        ("pub", "--owner", key_of(person), "--group", "team", "plans", "x"),
    ):
        done = person.yz(*words)
        assert done.code == 2, done.stderr
