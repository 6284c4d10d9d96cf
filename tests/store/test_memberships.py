"""Memberships in files: kept whole, one for each network, refused when others can change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crypto.invites import END, INVITE_ID, ISSUER, JOINER_ID, START
from tests.vectors.golden import NETWORK
from yzdht.crypto.invite import issue_membership
from yzdht.crypto.naming import network_id
from yzdht.errors import StoreError, UnsafeFile
from yzdht.store.folder import DataFolder
from yzdht.store.memberships import is_membership, keep, read


if TYPE_CHECKING:
    from pathlib import Path


TOKEN = issue_membership(ISSUER, NETWORK, INVITE_ID, JOINER_ID, (START, END))
LATER = issue_membership(ISSUER, NETWORK, INVITE_ID, JOINER_ID, (START, END + 1))


def only_file(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


def test_the_newest_of_each_network_is_kept(tmp_path: Path) -> None:
    other = network_id("other")
    assert read(tmp_path, NETWORK) is None

    keep(tmp_path, NETWORK, TOKEN)
    keep(tmp_path, NETWORK, LATER)
    assert read(tmp_path, other) is None
    keep(tmp_path, other, TOKEN)

    assert read(tmp_path, NETWORK) == LATER
    assert read(tmp_path, other) == TOKEN


def test_the_file_is_its_owner_s_and_has_176_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    keep(folder, NETWORK, TOKEN)

    path = only_file(folder)
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_size == 176
    assert is_membership(path.name)
    assert not is_membership("membership-of-mine")


@pytest.mark.parametrize("damage", [b"", bytes(176), bytes(177)])
def test_a_damaged_one_is_an_error(tmp_path: Path, damage: bytes) -> None:
    keep(tmp_path, NETWORK, TOKEN)
    only_file(tmp_path).write_bytes(damage)

    with pytest.raises(StoreError):
        read(tmp_path, NETWORK)


def test_one_that_others_can_change_is_refused(tmp_path: Path) -> None:
    keep(tmp_path, NETWORK, TOKEN)
    only_file(tmp_path).chmod(0o666)

    with pytest.raises(UnsafeFile):
        read(tmp_path, NETWORK)


def test_a_data_folder_may_hold_one_before_its_node_ever_ran(tmp_path: Path) -> None:
    keep(tmp_path, NETWORK, TOKEN)
    leftover = tmp_path / f".{only_file(tmp_path).name}.{'0' * 16}.tmp"
    leftover.write_bytes(b"")

    with DataFolder.open(tmp_path):
        assert not leftover.exists()
        assert read(tmp_path, NETWORK) == TOKEN
