"""Whom a node knew, over its restarts; tests/test_node.py shows the same of whole nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from yzdht.errors import StoreError
from yzdht.ids import NodeId
from yzdht.kad.table import Entry
from yzdht.ports import Now
from yzdht.saved_peers import SavedPeers
from yzdht.store.folder import DataFolder
from yzdht.store.keyfile import Identity
from yzdht.wire.address import address_of
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


OWN_ID = NodeId(bytes(32))
NOW = Now(100.0, 1_700_000_000.0)


class Known(NamedTuple):
    """What is asked of an engine here: whom it knows, and whether it keeps records; and whom it is to remember."""

    entries: list[Entry]
    remembered: list[object]
    is_storing: bool = True

    def known(self) -> list[Entry]:
        return self.entries

    def remember(self, entry: Entry, _now: Now) -> None:
        self.remembered.append(entry.public_key)


def entry() -> Entry:
    identity = Identity.generate()
    caps = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
    made = Entry(identity.node_id, identity.public_key, int.from_bytes(identity.node_id), caps)
    made.learn((address_of("ws://192.0.2.1:1"),), caps)
    made.seen_at = NOW.mono
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as folder:
        yield folder


def peers(folder: DataFolder | None, known: Known, told: list[str]) -> SavedPeers:
    return SavedPeers(folder, known, OWN_ID, lambda what, _hint: told.append(what))  # type: ignore[arg-type] # Known knows


def test_who_was_known_is_remembered_at_the_next_start(folder: DataFolder) -> None:
    known = Known([entry()], [])
    first = peers(folder, known, [])
    assert not first.recall(NOW)
    first.save(NOW)
    assert first.has_known_others

    later = Known([], [])
    second = peers(folder, later, [])
    assert second.recall(NOW)
    assert later.remembered == [known.entries[0].public_key]
    second.save(NOW)
    assert folder.read_state() is not None
    assert peers(folder, Known([], []), []).recall(NOW), "who lost everybody looks for them"


def test_a_client_is_one_at_the_next_start(folder: DataFolder) -> None:
    first = peers(folder, Known([entry()], [], is_storing=False), [])
    assert not first.was_client()
    first.recall(NOW)
    first.save(NOW)
    second = peers(folder, Known([entry()], []), [])
    assert second.was_client()
    second.recall(NOW)
    second.save(NOW)

    assert not peers(folder, Known([], []), []).was_client()
    assert not peers(None, Known([], []), []).was_client()


def test_what_was_not_read_yet_is_not_overwritten(folder: DataFolder) -> None:
    first = peers(folder, Known([entry()], []), [])
    first.recall(NOW)
    first.save(NOW)
    state = folder.read_state()

    peers(folder, Known([], []), []).save(NOW)

    assert folder.read_state() == state


def test_trouble_is_told_and_logged_once(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    saved = peers(folder, Known([entry()], []), told)
    saved.recall(NOW)

    def refuse(_state: bytes) -> None:
        raise StoreError("the disk is full", hint="free some space")

    monkeypatch.setattr(folder, "write_state", refuse)
    saved.save(NOW)
    saved.save(NOW)

    assert set(told) == {"the list of known nodes cannot be saved"}
    assert len(caplog.records) == 1


def test_without_a_folder_nothing_is_kept() -> None:
    saved = peers(None, Known([entry()], []), [])

    assert not saved.recall(NOW)
    saved.save(NOW)
    assert not saved.has_known_others
