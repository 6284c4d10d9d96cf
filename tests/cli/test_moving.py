"""How an identity ends: revoked, moved, and what others see of it; and one identity on two devices."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import Person, Terminal
from yzdht import Identity
from yzdht.limits import DAY_S, KEM_KEY_LIFE_S
from yzdht.wire.text import decode_revocation


if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.programs import NodeProcess


@pytest.fixture
def anna(tmp_path: Path, node: NodeProcess) -> Person:
    return Person(tmp_path / "anna").at(node.url)


@pytest.fixture
def ben(tmp_path: Path, node: NodeProcess) -> Person:
    return Person(tmp_path / "ben").at(node.url)


def key_of(person: Person) -> str:
    return str(person.yz("--json", "id", "show").object["publicKey"])


def fingerprint_of(person: Person) -> str:
    return str(person.yz("--json", "id", "show").object["fingerprint"])


def export_of(person: Person, name: str) -> str:
    """Write an export beside the homes; its phrase."""
    return str(person.yz("--json", "id", "export", "-o", name).object["phrase"])


def news_of(person: Person) -> str:
    """Publish something; the public key under which it is found."""
    assert person.yz("put", "--public", "news", stdin=b"news").code == 0
    return key_of(person)


# Revocations


@pytest.mark.net
@pytest.mark.process
def test_a_revocation_that_was_kept_apart_ends_an_identity_whose_keys_are_lost(
    anna: Person, ben: Person, tmp_path: Path
) -> None:
    key = news_of(anna)
    fingerprint = fingerprint_of(anna)
    kept = anna.yz("id", "revocation", "apart.txt")
    path = tmp_path / "apart.txt"

    assert (kept.code, kept.text) == (0, "")
    assert f"it revokes {fingerprint} in the network 'main'" in kept.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    decode_revocation(path.read_text().removesuffix("\n"))
    assert anna.yz("id", "revocation", "apart.txt").code == 1, "it is not overwritten"

    somebody = Person(tmp_path / "nobody" / "home").at(*ben.options[1::2])
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / "apart.txt").write_bytes(path.read_bytes())
    revoked = somebody.yz("--json", "id", "revoke", "--with", "apart.txt")
    assert revoked.code == 0
    assert revoked.object == {
        "fingerprint": fingerprint,
        "publicKey": key,
        "movedTo": None,
        "accepted": 1,
        "asked": 1,
        "needed": 1,
    }
    assert not somebody.home.exists(), "it needs no key, and makes none"

    ben.yz("id", "add", "anna", key)
    refused = ben.yz("get", "--from", "anna", "news")
    assert (refused.code, refused.text) == (5, "")
    assert f"{fingerprint} is revoked" in refused.stderr
    assert ben.yz("put", "--to", "anna", "note", stdin=b"x").code == 5
    assert ben.yz("id", "list").text == f"anna  {fingerprint}  revoked\n"
    view = ben.yz("--json", "id", "list").object
    assert (view["revoked"], view["movedTo"]) == (True, None)


@pytest.mark.net
@pytest.mark.process
def test_who_was_revoked_elsewhere_writes_no_more_and_reads_with_a_warning(anna: Person) -> None:
    anna.yz("put", "note", stdin=b"mine")
    line = anna.yz("id", "revocation", "-").stdout
    assert anna.yz("id", "revoke", "--with", "-", stdin=line).text.endswith("is revoked, on 1 of 1 node\n")

    refused = anna.yz("put", "note", stdin=b"more")
    assert refused.code == 5
    assert "this identity is revoked" in refused.stderr
    assert "yz id new --force" in refused.stderr
    read = anna.yz("get", "note")
    assert (read.code, read.text) == (0, "mine")
    assert "warning: this identity is revoked" in read.stderr


@pytest.mark.net
@pytest.mark.process
def test_one_asks_before_the_own_key_is_revoked(anna: Person, tmp_path: Path) -> None:
    news_of(anna)

    unasked = anna.yz("id", "revoke")
    assert unasked.code == 2
    assert "--yes" in unasked.stderr
    with Terminal(anna.command("id", "revoke"), anna.environment(), tmp_path) as terminal:
        terminal.answer("[y/N]", "n")
        assert terminal.end() == 1
    assert anna.yz("put", "note", stdin=b"x").code == 0

    with Terminal(anna.command("id", "revoke"), anna.environment(), tmp_path) as terminal:
        terminal.answer("[y/N]", "y")
        assert terminal.end() == 0
        assert "is revoked, on 1 of 1 node" in terminal.shown
    assert anna.yz("put", "note", stdin=b"x").code == 5
    assert anna.yz("id", "revoke", "--yes").code == 0, "once more does no harm"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "203 characters"),
        ("yz-revocation:" + "A" * 202, 2, "203 characters"),
        ("yz-revocation:" + "A" * 203, 2, "record"),
        ("x" * 10_000, 1, "longer"),
    ],
)
def test_what_is_no_revocation_is_refused_before_any_node_is_asked(
    offline: Person, tmp_path: Path, text: str, code: int, said: str
) -> None:
    (tmp_path / "file").write_text(text)

    refused = offline.yz("id", "revoke", "--with", "file")

    assert refused.code == code
    assert said in refused.stderr
    assert not offline.home.exists()


def test_a_revocation_of_another_network_or_of_nobody_is_refused(offline: Person, tmp_path: Path) -> None:
    line = offline.yz("id", "revocation", "-").text
    offline.yz("--network", "other", "id", "revocation", "other")
    (tmp_path / "flipped").write_text(f"{line[:-3]}{'A' if line[-3] != 'A' else 'B'}{line[-2:]}")

    for name in ("other", "flipped"):
        refused = offline.yz("id", "revoke", "--with", name)
        assert refused.code == 5
        assert "--network" in refused.stderr
    assert offline.yz("id", "revoke", "--with", "nowhere").code == 2


def test_whoever_makes_or_exports_an_identity_is_told_of_revocations(offline: Person) -> None:
    assert "yz id revocation FILE" in offline.yz("id", "new").stderr
    assert "yz id revocation FILE" in offline.yz("id", "export").stderr
    view = offline.yz("--json", "id", "revocation", "file").object
    assert view.keys() == {"fingerprint", "file", "revocation"}


# Moves


@pytest.mark.net
@pytest.mark.process
def test_who_moved_is_pointed_to_and_nobody_is_followed_unasked(
    anna: Person, ben: Person, tmp_path: Path, node: NodeProcess
) -> None:
    old, old_key = fingerprint_of(anna), news_of(anna)
    successor = Person(tmp_path / "successor").at(node.url)
    new, new_key = fingerprint_of(successor), key_of(successor)
    successor.yz("put", "note", stdin=b"x")
    phrase = export_of(successor, "new.key")

    assert anna.yz("id", "move", "--new-passphrase-fd", "{fd0}", "new.key", passphrases=[phrase]).code == 2
    moved = anna.yz("id", "move", "--yes", "--new-passphrase-fd", "{fd0}", "new.key", passphrases=[phrase])
    assert (moved.code, moved.text) == (0, f"{old} moved to {new}, on 1 of 1 node\n")
    assert "yz id import --force new.key" in moved.stderr
    refused = anna.yz("put", "note", stdin=b"x")
    assert refused.code == 5
    assert f"this identity moved to {new}" in refused.stderr

    ben.yz("id", "add", "anna", old_key)
    read = ben.yz("get", "--from", "anna", "news")
    assert (read.code, read.text) == (0, "news")
    assert f"warning: {old} moved to {new}" in read.stderr
    assert ben.yz("--json", "get", "--from", "anna", "news").object["movedTo"] == new_key
    assert ben.yz("id", "list").text == f"anna  {old}  moved to {new}\n"
    assert ben.yz("--json", "id", "list").object["movedTo"] == new_key
    refused = ben.yz("put", "--to", "anna", "note", stdin=b"x")
    assert refused.code == 5
    assert f"yz id add NAME {new_key} --force" in refused.stderr
    assert ben.yz("id", "add", "anna", new_key, "--force").code == 0
    assert ben.yz("put", "--to", "anna", "note", stdin=b"for you").code == 0
    assert successor.yz("get", "--from", key_of(ben), "note").text == "for you"


def test_an_identity_does_not_move_to_itself_or_to_what_is_none(offline: Person, tmp_path: Path) -> None:
    phrase = export_of(offline, "own.key")
    (tmp_path / "garbage").write_bytes(b"garbage")

    itself = offline.yz(
        "id", "move", "--yes", "--new-passphrase-fd", "{fd0}", "own.key", passphrases=[phrase]
    )
    assert itself.code == 2
    assert "does not move to itself" in itself.stderr
    assert offline.yz("id", "move", "--yes", "own.key").code == 5
    assert offline.yz("id", "move", "--yes", "nowhere").code == 2
    assert offline.yz("id", "move", "--yes", "garbage").code == 1


# One identity on two devices


@pytest.mark.net
@pytest.mark.process
def test_two_devices_read_what_is_for_them_after_a_key_was_renewed_on_one(
    tmp_path: Path, node: NodeProcess, ben: Person
) -> None:
    laptop, phone = Person(tmp_path / "laptop").at(node.url), Person(tmp_path / "phone").at(node.url)
    laptop.home.mkdir(mode=0o700)
    now = Identity.generate().kem[0].not_after - KEM_KEY_LIFE_S
    Identity.generate(wall_now=now - 20 * DAY_S).save(laptop.home / "identity.key")
    phrase = export_of(laptop, "first.key")
    imported = phone.yz("--passphrase-fd", "{fd0}", "id", "import", "first.key", passphrases=[phrase])
    assert imported.code == 0

    laptop.yz("put", "note", stdin=b"mine")  # time for a new key: it is made, and published
    assert phone.yz("get", "note").text == "mine"
    assert ben.yz("put", "--to", key_of(laptop), "plan", stdin=b"for both").code == 0
    assert laptop.yz("get", "--from", key_of(ben), "plan").text == "for both"
    assert phone.yz("get", "--from", key_of(ben), "plan").code == 9, "it has not got the new key"

    phrase = export_of(laptop, "second.key")
    again = phone.yz("--passphrase-fd", "{fd0}", "id", "import", "second.key", passphrases=[phrase])
    assert "1 key of the other device taken over" in again.stderr
    assert phone.yz("get", "--from", key_of(ben), "plan").text == "for both"
    assert phone.yz("put", "note", stdin=b"from the phone").code == 0
    assert laptop.yz("get", "note").text == "from the phone"
