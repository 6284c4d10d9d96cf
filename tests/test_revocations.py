"""A closed network's revocation list, over replicas that lie: what is revoked stays revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.test_slots import Shown
from tests.vectors.golden import KEY_A, KEY_B, NETWORK, SELF_KEY_A
from yzdht.access import Reading
from yzdht.crypto.naming import mutable_target, revoked_tag
from yzdht.crypto.sealing import Author, Public, RecordDraft, Self, seal_record, tombstone
from yzdht.crypto.signing import KeySigner, RecordChecks
from yzdht.errors import StoreError
from yzdht.ids import TokenId
from yzdht.limits import DAY_S
from yzdht.revocations import Revocations
from yzdht.sessions.membership import ClosedNetwork
from yzdht.store.folder import DataFolder
from yzdht.wire.revocation import encode_revoked
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


WALL = 1_800_000_000
ISSUER = KEY_A.public_key
TAG = revoked_tag(NETWORK)
TARGET = mutable_target(NETWORK, ISSUER, TAG)
AUTHOR = Author(KeySigner(KEY_A), SELF_KEY_A, NETWORK)
FIRST, SECOND = TokenId(b"1" * 16), TokenId(b"2" * 16)


def draft(seq: int) -> RecordDraft:
    return RecordDraft(Kind.MUTABLE, WALL, WALL + DAY_S, seq, TAG)


def listed(seq: int, *token_ids: TokenId) -> bytes:
    return seal_record(draft(seq), encode_revoked(token_ids), Public(), AUTHOR, b"")


def forged(record: bytes) -> bytes:
    return record[:-1] + bytes((record[-1] ^ 1,))


class World:
    """What one node knows, and what others show it."""

    def __init__(self) -> None:
        self.closed = ClosedNetwork(NETWORK, ISSUER)
        self.shown = Shown(TARGET)
        self.revocations = Revocations(self.closed, self.shown, RecordChecks(NETWORK))

    async def is_shown(self, *records: bytes) -> bool:
        self.shown.readings = [Reading(records, 4, 4)]
        return await self.revocations.refresh()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as folder:
        yield folder


async def test_the_newest_list_counts() -> None:
    world = World()
    assert world.closed.revoked == frozenset()
    assert await world.is_shown(listed(1, FIRST))
    assert world.revocations.is_known
    assert world.closed.revoked == {FIRST}
    assert not await world.is_shown(listed(1, FIRST)), "it is known"
    assert await world.is_shown(listed(1, FIRST), listed(2, FIRST, SECOND))
    assert world.closed.revoked == {FIRST, SECOND}


LIES = {
    "nothing": (),
    "an older list": (listed(4, FIRST),),
    "an empty older list": (listed(4),),
    "another list of the same seq": (listed(5),),
    "no record": (b"no record",),
    "a forged list": (forged(listed(9)),),
    "somebody else's list": (
        seal_record(
            draft(9), encode_revoked([]), Public(), Author(KeySigner(KEY_B), SELF_KEY_A, NETWORK), b""
        ),
    ),
    "a sealed list": (seal_record(draft(9), encode_revoked([]), Self(), AUTHOR, bytes(24)),),
    "what is no list": (seal_record(draft(9), b"no list", Public(), AUTHOR, b""),),
    "that it was deleted": (tombstone(draft(9), AUTHOR),),
}


@pytest.mark.parametrize("shown", LIES.values(), ids=LIES)
async def test_whatever_nodes_show_what_is_revoked_stays_so(shown: tuple[bytes, ...]) -> None:
    world = World()
    await world.is_shown(listed(5, FIRST, SECOND))

    assert not await world.is_shown(*shown)
    assert world.closed.revoked == {FIRST, SECOND}


async def test_too_few_answers_change_nothing() -> None:
    world = World()
    world.shown.readings = [Reading((), 1, 4)]

    assert not await world.revocations.refresh()


async def test_a_restart_forgets_nothing(folder: DataFolder) -> None:
    world = World()
    world.revocations.keep_in(folder)
    await world.is_shown(listed(5, FIRST))

    again = World()
    again.shown.wall = WALL + 90 * DAY_S  # the record has expired, its ids are as revoked as before
    again.revocations.keep_in(folder)
    assert again.closed.revoked == {FIRST}
    assert not await again.is_shown(listed(4))
    assert again.closed.revoked == {FIRST}


async def test_a_damaged_file_is_an_error(folder: DataFolder) -> None:
    folder.write_revoked(TARGET, listed(5, FIRST)[:-1])

    with pytest.raises(StoreError, match="damaged"):
        World().revocations.keep_in(folder)


async def test_a_disk_that_refuses_leaves_the_list_in_force(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_of_it: object) -> None:
        raise StoreError("the disk is full")

    world = World()
    world.revocations.keep_in(folder)
    monkeypatch.setattr(folder, "write_revoked", refuse)

    assert await world.is_shown(listed(1, FIRST))
    assert world.closed.revoked == {FIRST}
