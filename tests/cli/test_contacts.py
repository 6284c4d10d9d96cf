"""Names for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import Person
from yzdht import Identity
from yzdht.wire.text import encode_public_key


if TYPE_CHECKING:
    from pathlib import Path


def somebody() -> tuple[str, str]:
    """A public key and its fingerprint."""
    identity = Identity.generate()
    return encode_public_key(identity.public_key), identity.fingerprint


def test_a_name_is_given_shown_and_forgotten(offline: Person) -> None:
    key, fingerprint = somebody()

    added = offline.yz("id", "add", "Änne", key)

    assert (added.code, added.text) == (0, f"Änne  {fingerprint}\n")
    assert "compare it: ask Änne" in added.stderr
    view = {"name": "Änne", "fingerprint": fingerprint, "publicKey": key}
    assert offline.yz("--json", "id", "list").object == view | {"movedTo": None, "revoked": False}
    assert offline.yz("id", "list").text == f"Änne  {fingerprint}\n"
    assert offline.yz("--json", "id", "remove", "ÄNNE").object == view
    assert offline.yz("id", "list").text == ""
    assert offline.yz("id", "remove", "Änne").code == 3


def test_a_name_is_not_taken_from_somebody_unless_told_to(offline: Person) -> None:
    (first, fingerprint), (second, _) = somebody(), somebody()
    offline.yz("id", "add", "anna", first)

    refused = offline.yz("id", "add", "Anna", second)

    assert refused.code == 5
    assert f"anna is somebody else so far, {fingerprint}" in refused.stderr
    assert offline.yz("--json", "id", "list").object["publicKey"] == first
    assert offline.yz("id", "add", "anna", first).code == 0
    assert offline.yz("id", "add", "Anna", second, "--force").code == 0
    assert offline.yz("--json", "id", "list").object == {
        "name": "Anna",
        "publicKey": second,
        "fingerprint": offline.yz("id", "list").text.split()[1],
        "movedTo": None,
        "revoked": False,
    }


def test_a_fingerprint_that_was_told_is_compared(offline: Person) -> None:
    (key, fingerprint), (_, another) = somebody(), somebody()

    refused = offline.yz("id", "add", "anna", key, "--fingerprint", another)
    assert refused.code == 5
    assert f"this key has the fingerprint {fingerprint}, not {another}" in refused.stderr
    assert offline.yz("id", "list").text == ""

    typed = fingerprint.lower().replace("-", " ")
    added = offline.yz("id", "add", "anna", key, "--fingerprint", typed)
    assert (added.code, added.stderr.count("compare")) == (0, 0)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", "1 to 64 bytes"),
        ("a\nb", "1 to 64 bytes"),
        ("x" * 65, "1 to 64 bytes"),
        ("yz:anna", "could be taken for a key"),
        ("X7C6-M2PZ-FDRC-F19M", "could be taken for a key"),
        ("a" * 64, "could be taken for a key"),
    ],
)
def test_a_name_that_is_none_is_refused(offline: Person, name: str, error: str) -> None:
    refused = offline.yz("id", "add", name, somebody()[0])

    assert refused.code == 2
    assert error in refused.stderr


@pytest.mark.parametrize("who", ["nobody", "00" * 32, "A" * 44, "yz:abc"])
def test_who_is_no_key_gets_no_name(offline: Person, who: str) -> None:
    assert offline.yz("id", "add", "anna", who).code == 2


def test_two_devices_take_over_each_others_keys(tmp_path: Path) -> None:
    laptop, phone = Person(tmp_path / "laptop"), Person(tmp_path / "phone")
    laptop.yz("id", "show")
    exported = laptop.yz("--json", "id", "export", "-o", str(tmp_path / "export")).object
    phone.yz("--passphrase-fd", "{fd0}", "id", "import", exported["file"], passphrases=[exported["phrase"]])
    path = laptop.home / "identity.key"
    own = Identity.load(path)
    own.renewed(own.kem[0].not_after)  # a month later
    newer = laptop.yz("--json", "id", "export", "-o", str(tmp_path / "newer")).object

    merged = phone.yz(
        "--passphrase-fd", "{fd0}", "id", "import", newer["file"], passphrases=[newer["phrase"]]
    )

    assert merged.code == 0
    assert "1 key of the other device taken over" in merged.stderr
    keys = [
        [kem.key.public_key for kem in Identity.load(person.home / "identity.key").kem]
        for person in (laptop, phone)
    ]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 2


def test_what_is_no_text_is_nobodys_name(offline: Person) -> None:
    offline.yz("id", "show")
    for words in (("id", "remove", "\udcff"), ("put", "note", "--to", "\udcff")):
        refused = offline.yz(*words, stdin=b"")
        assert refused.code in (2, 3), refused.stderr
        assert "Traceback" not in refused.stderr
