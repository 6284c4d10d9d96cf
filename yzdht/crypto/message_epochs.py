"""In which epochs of a group a member still opens messages, and for how long (PROTOCOL.md sections 10 and 11).

The secret of an epoch is kept until 25 h after the next one was seen, and then forgotten: who takes a home's keys later cannot open
what was said before. Time is an argument; what one home's processes know is merged without it, so that all come to the same.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from yzdht.limits import MESSAGE_EPOCHS_KEPT_MAX, REPLAY_KEPT_S


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.crypto.topics import MessageEpoch
    from yzdht.ids import GroupId, RecordHash


def in_order(epochs: Iterable[MessageEpoch], newest: RecordHash) -> tuple[MessageEpoch, ...]:
    """Each epoch once, as it was seen first, oldest first; the oldest above MESSAGE_EPOCHS_KEPT_MAX are left out.

    Args:
        epochs: In any order; two of one number are a fork's.
        newest: Hash of the record of the state that counts: its epoch is the last.

    """
    known: dict[tuple[GroupId, int, RecordHash], MessageEpoch] = {}
    for epoch in epochs:
        of = epoch.group_id, epoch.epoch, epoch.state_hash
        times = [each.seen for each in (known.get(of, epoch), epoch) if each.seen]
        known[of] = replace(epoch, seen=min(times, default=0))

    def age(epoch: MessageEpoch) -> tuple[bool, float, int, bytes]:
        return epoch.state_hash == newest, epoch.seen or inf, epoch.epoch, epoch.state_hash

    return tuple(sorted(known.values(), key=age)[-MESSAGE_EPOCHS_KEPT_MAX:])


def lasting(epochs: Iterable[MessageEpoch], newest: RecordHash, wall: int) -> tuple[MessageEpoch, ...]:
    """Those in which messages are opened still, oldest first; whatever was not seen before is seen now.

    Args:
        epochs: As of `in_order`.
        newest: As of `in_order`; this one lasts in any case.
        wall: Unix seconds. What was seen later than this was seen by a clock that was wrong, and counts as seen now.

    """
    known = [replace(epoch, seen=min(epoch.seen or wall, wall)) for epoch in epochs]
    kept: list[MessageEpoch] = []
    next_seen = wall
    for epoch in reversed(in_order(known, newest)):
        ended = max(epoch.seen, next_seen)
        if not kept or wall < ended + REPLAY_KEPT_S:
            kept.append(epoch)
        next_seen = min(epoch.seen, next_seen)
    return tuple(reversed(kept))
