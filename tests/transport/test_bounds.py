"""The bounds fit each other."""

from __future__ import annotations

from yzdht.limits import (
    HANDSHAKE_MESSAGE_BYTES_MAX,
    LINK_FLUSH_BYTES,
    RECORD_DATA_BYTES_MAX,
    RECORD_OVERHEAD_BYTES,
    RELAY_DATA_BYTES_MAX,
)
from yzdht.transport.bounds import LinkBounds


def test_every_message_of_the_protocol_fits_a_link() -> None:
    largest = max(RECORD_DATA_BYTES_MAX, RELAY_DATA_BYTES_MAX) + RECORD_OVERHEAD_BYTES

    assert LinkBounds().message_bytes_max == max(largest, HANDSHAKE_MESSAGE_BYTES_MAX)


def test_a_link_is_congested_before_it_overruns_and_free_before_it_is_empty() -> None:
    bounds = LinkBounds()

    assert 0 < bounds.unsent_bytes_low < bounds.unsent_bytes_high < bounds.unsent_bytes_max
    assert bounds.unsent_bytes_high >= LINK_FLUSH_BYTES
    assert bounds.message_bytes_max < bounds.unsent_bytes_low
