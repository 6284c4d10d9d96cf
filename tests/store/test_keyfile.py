from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from yzdht.crypto.keyfile import encode_identity
from yzdht.errors import DecryptionFailed, StoreError, UnsafeFile, UsageError, WireError, WrongPassphrase
from yzdht.limits import KEM_KEY_LIFE_S, KEYFILE_BYTES_MAX
from yzdht.store.keyfile import Identity, _check_private


ROOT = Path(__file__).parents[2]
CREATOR = """
import sys
from pathlib import Path
from yzdht.store.keyfile import Identity
sys.stdin.read(1)
print(Identity.load_or_create(Path(sys.argv[1])).fingerprint)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "id.key"


def same(a: Identity, b: Identity) -> bool:
    return encode_identity(a) == encode_identity(b)


def test_generated_identity_is_nowhere_but_in_memory(tmp_path: Path) -> None:
    first = Identity.generate()
    second = Identity.generate(wall_now=1_000.5)

    assert first.node_id != second.node_id
    assert second.kem[0].not_after == 1_000 + KEM_KEY_LIFE_S
    assert list(tmp_path.iterdir()) == []


def test_created_identity_is_loaded_again(path: Path) -> None:
    made = Identity.create(path)

    loaded = Identity.load(path)

    assert isinstance(loaded, Identity)
    assert same(loaded, made)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_load_or_create_makes_one_identity(path: Path) -> None:
    assert same(Identity.load_or_create(path), Identity.load_or_create(path))


def test_creating_never_overwrites(path: Path) -> None:
    made = Identity.create(path)

    with pytest.raises(StoreError, match="exists already"):
        Identity.create(path)
    with pytest.raises(StoreError, match="exists already"):
        Identity.generate().save(path)

    assert same(Identity.load(path), made)


def test_replacing_is_asked_for(path: Path) -> None:
    Identity.create(path)
    other = Identity.generate()

    other.save(path, replace=True)

    assert same(Identity.load(path), other)


def test_passphrase_protects_the_file(path: Path) -> None:
    made = Identity.load_or_create(path, passphrase="pa\u0308ss")

    assert same(Identity.load(path, "p\u00e4ss"), made)  # another keyboard, the same passphrase
    assert path.read_bytes()[:5] == b"YZK1\x01"
    with pytest.raises(WrongPassphrase):
        Identity.load(path, "other")


def test_missing_passphrase_is_said_with_the_way_to_give_it(path: Path) -> None:
    Identity.create(path, passphrase="secret")

    with pytest.raises(WrongPassphrase) as caught:
        Identity.load_or_create(path)

    assert "passphrase" in caught.value.hint
    assert "prompt" in caught.value.hint


def test_empty_passphrase_is_not_a_passphrase(path: Path) -> None:
    with pytest.raises(UsageError):
        Identity.create(path, passphrase="")

    assert not path.parent.exists()


def test_passphrase_for_an_open_file_is_not_looked_at(path: Path) -> None:
    made = Identity.create(path)

    assert same(Identity.load(path, "anything"), made)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_file_that_others_can_get_at_is_refused(path: Path, mode: int) -> None:
    Identity.create(path)
    path.chmod(mode)

    with pytest.raises(UnsafeFile) as caught:
        Identity.load(path)

    assert caught.value.hint == f"run: chmod 600 {path}"


def test_file_of_another_user_is_refused(path: Path) -> None:
    another = os.geteuid() + 1
    status = os.stat_result((stat.S_IFREG | 0o600, 1, 1, 1, another, 0, 0, 0, 0, 0))

    with pytest.raises(UnsafeFile, match=f"user {another}"):
        _check_private(status, path)


def test_stricter_mode_is_fine(path: Path) -> None:
    Identity.create(path)
    path.chmod(0o400)

    Identity.load(path)


def test_missing_file_is_a_store_error(path: Path) -> None:
    with pytest.raises(StoreError, match="no keyfile"):
        Identity.load(path)


def test_damaged_files_are_refused_with_documented_errors(path: Path) -> None:
    made = Identity.create(path)
    raw = path.read_bytes()

    for at in range(0, len(raw), 7):
        path.write_bytes(raw[:at])
        with pytest.raises((StoreError, DecryptionFailed)):
            Identity.load(path)
        path.write_bytes(raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :])
        with pytest.raises((StoreError, DecryptionFailed, WrongPassphrase)):
            Identity.load(path)
    path.write_bytes(raw + b"x")
    with pytest.raises(DecryptionFailed):
        Identity.load(path)
    path.write_bytes(raw)
    assert same(Identity.load(path), made)


def test_huge_file_is_not_read(path: Path) -> None:
    Identity.create(path)
    os.truncate(path, KEYFILE_BYTES_MAX + 100)

    with pytest.raises(StoreError):
        Identity.load(path)


def test_pipe_in_the_place_of_the_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(StoreError, match="not a file"):
        Identity.load(tmp_path / "pipe")


def test_dangling_link_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "id.key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError):
        Identity.load_or_create(tmp_path / "id.key")

    assert not (tmp_path / "elsewhere").exists()


def test_export_opens_with_its_phrase_alone() -> None:
    made = Identity.generate()

    exported = made.export_bytes("0123-4567-89ab-cdef")

    assert same(Identity.import_bytes(exported, "0123-4567-89ab-cdef"), made)
    with pytest.raises(WrongPassphrase):
        Identity.import_bytes(exported, "0123-4567-89ab-cdeg")
    assert exported[:5] == b"YZK1\x02"
    with pytest.raises(WireError):
        Identity.import_bytes(b"YZK1", "0123")


@pytest.mark.process
def test_processes_that_create_at_once_end_with_one_identity(path: Path) -> None:
    creators = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for creator in creators:
        assert creator.stdin is not None
        creator.stdin.write(b"!")
        creator.stdin.flush()

    printed = {creator.communicate()[0] for creator in creators}

    assert printed == {f"{Identity.load(path).fingerprint}\n".encode()}
    assert list(path.parent.iterdir()) == [path]


# KEM keys in the course of time


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_renewed_key_is_on_disk_and_the_file_keeps_its_passphrase(
    tmp_path: Path, passphrase: str | None
) -> None:
    path = tmp_path / "key"
    identity = Identity.load_or_create(path, passphrase=passphrase)
    wall = identity.kem[0].not_after

    newer = identity.renewed(wall)

    assert len(newer.kem) == 2
    assert [k.not_after for k in Identity.load(path, passphrase).kem] == [k.not_after for k in newer.kem]
    assert newer.renewed(wall).kem[0].key.public_key == newer.kem[0].key.public_key
    assert identity.renewed(wall).kem[0].key.public_key == newer.kem[0].key.public_key


def test_a_file_that_was_replaced_by_another_identity_is_not_renewed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    identity = Identity.create(path)
    path.unlink()
    other = Identity.create(path)

    with pytest.raises(StoreError, match="another identity"):
        identity.renewed(identity.kem[0].not_after)

    assert Identity.load(path).public_key == other.public_key


def test_an_identity_that_was_never_in_a_file_is_not_renewed() -> None:
    identity = Identity.generate()

    assert identity.renewed(identity.kem[0].not_after) is identity


def test_one_that_was_saved_is_renewed_there(tmp_path: Path) -> None:
    identity = Identity.generate()
    identity.save(tmp_path / "key")

    assert len(identity.renewed(identity.kem[0].not_after).kem) == 2
    assert len(Identity.load(tmp_path / "key").kem) == 2


def test_a_passphrase_that_was_not_needed_never_comes_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    Identity.create(path)
    identity = Identity.load(path, "that of a value")

    identity.renewed(identity.kem[0].not_after)

    assert len(Identity.load(path).kem) == 2


def test_a_renewal_keeps_to_the_passphrase_that_the_file_has_by_now(tmp_path: Path) -> None:
    path = tmp_path / "key"
    identity = Identity.create(path, passphrase="old")
    Identity.load(path, "old").protect(None)
    identity.renewed(identity.kem[0].not_after)
    assert len(Identity.load(path).kem) == 2

    Identity.load(path).protect("new")
    with pytest.raises(StoreError, match="another passphrase"):
        identity.renewed(identity.kem[0].not_after)
    assert len(Identity.load(path, "new").kem) == 2


def test_a_passphrase_is_set_over_all_keys_that_are_in_the_file_by_now(tmp_path: Path) -> None:
    path = tmp_path / "key"
    one, other = Identity.create(path), Identity.load(path)
    other.renewed(other.kem[0].not_after)

    one.protect("correct horse")

    assert len(Identity.load(path, "correct horse").kem) == 2


def test_keys_are_renewed_where_they_live_and_not_in_a_copy(tmp_path: Path) -> None:
    identity = Identity.create(tmp_path / "key")
    identity.save(tmp_path / "copy", "correct horse")

    identity.renewed(identity.kem[0].not_after)

    assert len(Identity.load(tmp_path / "key").kem) == 2
    assert len(Identity.load(tmp_path / "copy", "correct horse").kem) == 1
