"""Names and records; sections 7 and 8."""

from __future__ import annotations

from yzdht.limits.spans import DAY_S


# Section 7: names

NAME_BYTES_MAX = 1_024
NETWORK_NAME_BYTES_MAX = 64

# Section 8: records

RECORD_BYTES_MAX = 65_536
VALUE_BYTES_MAX = 61_436
HEADER_BYTES_MAX = 60_000
STANZAS_MAX = 255
NAMED_READERS_MAX = 32
RECORD_LIFE_S_MAX = 30 * DAY_S
CLOCK_SKEW_S = 600
MULTI_ENTRIES_MAX = 32
SEQ_MAX = 2**64 - 1
PUT_RETRIES_MAX = 2
