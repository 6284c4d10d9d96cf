"""The bounds that every link of every transport keeps, in one value so that a test can make them small."""

from __future__ import annotations

from dataclasses import dataclass

from yzdht import limits


@dataclass(frozen=True, slots=True)
class LinkBounds:
    """What one link may hold and for how long.

    Attributes:
        message_bytes_max: Largest message taken from the other end; a larger one closes the link.
        unsent_bytes_high: Above this many unsent bytes a link is congested.
        unsent_bytes_low: At or below this many it no longer is.
        unsent_bytes_max: Above this many it is aborted, reason "overrun".
        stalled_s: Seconds a link may stay congested before it is aborted, reason "stalled".
        close_s: Seconds from close() until a link whose peer does not follow is aborted, reason "stalled".

    """

    message_bytes_max: int = limits.WEBSOCKET_MESSAGE_BYTES_MAX
    unsent_bytes_high: int = limits.LINK_UNSENT_BYTES_HIGH
    unsent_bytes_low: int = limits.LINK_UNSENT_BYTES_LOW
    unsent_bytes_max: int = limits.LINK_UNSENT_BYTES_MAX
    stalled_s: float = limits.LINK_STALLED_S_MAX
    close_s: float = limits.LINK_CLOSE_S_MAX
