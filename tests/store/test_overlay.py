from __future__ import annotations

from tests.store.writes import mutable, publisher, target
from yzdht.store.overlay import Overlay
from yzdht.wire.slot import Head, head_after


class Disk:
    """A committed head that counts how often it is read."""

    def __init__(self, head: Head | None = None) -> None:
        self.head = head
        self.reads = 0

    def read(self) -> Head | None:
        self.reads += 1
        return self.head


def test_nothing_waits_at_first() -> None:
    overlay = Overlay()

    assert overlay.find(target(1), publisher(1)) is None
    assert overlay.under(target(1)) is None
    assert overlay.waiting == 0


def test_prediction_follows_the_order_of_submission() -> None:
    overlay = Overlay()
    for write in (mutable(seq=2), mutable(seq=1), mutable(seq=3, cas=2)):
        overlay.add(write)
    slot = overlay.find(target(1), publisher(1))
    assert slot is not None

    head, body = slot.predict(Disk().read)

    assert (head and head.seq, body) == (3, mutable(seq=3).body)


def test_refused_writes_leave_the_committed_body() -> None:
    overlay = Overlay()
    disk = Disk(head_after(None, mutable(seq=9)))
    overlay.add(mutable(seq=1))
    slot = overlay.find(target(1), publisher(1))
    assert slot is not None

    assert slot.predict(disk.read) == (disk.head, None)


def test_each_write_is_folded_once_however_often_the_slot_is_read() -> None:
    overlay = Overlay()
    disk = Disk()
    for seq in range(1, 4):
        overlay.add(mutable(seq=seq))
        slot = overlay.find(target(1), publisher(1))
        assert slot is not None
        head, _ = slot.predict(disk.read)
        assert head is not None
        assert head.seq == seq

    assert disk.reads == 1


def test_committed_writes_do_no_harm_when_judged_again() -> None:
    overlay = Overlay()
    first, second = mutable(seq=1, cas=0), mutable(seq=2, cas=1)
    overlay.add(first)
    overlay.add(second)
    committed = head_after(head_after(None, first), second)
    slot = overlay.find(target(1), publisher(1))
    assert slot is not None

    assert slot.predict(Disk(committed).read)[0] == committed


def test_settled_writes_are_forgotten_slot_by_slot() -> None:
    overlay = Overlay()
    writes = [mutable(1, 1), mutable(2, 1), mutable(1, 2)]
    for write in writes:
        overlay.add(write)

    overlay.settle(writes[:2])
    assert overlay.under(target(2)) is None
    assert list(overlay.under(target(1)) or ()) == [publisher(1)]
    assert overlay.waiting == 1

    overlay.settle(writes[2:])
    assert overlay.under(target(1)) is None
    assert overlay.waiting == 0


def test_prediction_starts_anew_from_what_the_writer_decided() -> None:
    overlay = Overlay()
    disk = Disk()
    first, second = mutable(seq=5), mutable(seq=6, cas=5)
    overlay.add(first)
    overlay.add(second)
    slot = overlay.find(target(1), publisher(1))
    assert slot is not None
    assert slot.predict(disk.read)[0] is not None

    overlay.settle([first])  # refused by the writer, for a quota say

    assert slot.predict(disk.read) == (None, None)
