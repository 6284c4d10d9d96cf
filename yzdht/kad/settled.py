"""When a record is old enough to take the place of another one (PROTOCOL.md section 8, Reader)."""

from __future__ import annotations

from yzdht.limits import REPAIR_AFTER_S


def is_past_writing(created: int, wall: float) -> bool:
    """True once the write that made a record has ended, successful or not.

    Until then whoever passes it on could give it the place of what another writer with cas has just been promised, and
    its own writer, answered that this holder has it, would count that promise too: both would succeed.

    Args:
        created: Unix seconds by the author's clock; 0 for immutables, which take nobody's place.
        wall: Unix seconds here. Where the clocks disagree it is earlier or later by as much.

    """
    return created + REPAIR_AFTER_S <= wall
