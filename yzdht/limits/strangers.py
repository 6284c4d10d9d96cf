"""What a stranger may take of a store and of its time; sections 8 and 16."""

from __future__ import annotations

from yzdht.limits.spans import DAY_S


# Section 8 and 16: what a stranger may take

QUOTA_PUBLISHER_BYTES = 64 << 20
QUOTA_PUBLISHER_RECORDS = 20_000
QUOTA_STORING_PEER_BYTES = 256 << 20
QUOTA_STORING_PEER_RECORDS = 200_000
QUOTA_TOTAL_BYTES = 16 << 30
QUOTA_TOTAL_RECORDS = 4_000_000
STORE_BYTES_PER_S_STRANGER = 1 << 20
STORE_BURST_BYTES_STRANGER = 16 << 20
STORE_CHARGE_BYTES_MIN = 4_096
STORE_PREFIX_ALLOWANCE = 4
"""The strangers of one public prefix, or of one address that is not public, bring so many times what one may."""
TABLE_PEER_ALLOWANCE = 10
REQUESTS_PER_S_STRANGER = 500.0
REQUESTS_BURST_STRANGER = 2_000.0
REQUESTS_PER_S_PER_GROUP = 2_000.0
REQUESTS_BURST_PER_GROUP = 20_000.0
REQUESTS_PER_S_OF_STRANGERS = 3_000.0
REQUESTS_PER_S_OF_TABLE = 5_000.0
REQUESTS_BURST_OF_TABLE = 50_000.0
"""One core serves some 5,000 a second; half of a burst can be had at once."""
PUSHES_PER_CHARGE = 8
"""What a peer says unasked is charged for so many at once, and the rest when its session ends."""
REST_S = (0.05, 1.0)
"""For so long a peer that asks too much is not read, at least and at most."""
DELEGATED_REQUESTS_PER_PATH = 24
"""What a read sends in a large network for each of its paths; 13 to 18 for one, 72 to 80 for three."""
DELEGATED_PATHS_AROUND = 3
"""What going around a crowd of ground ids costs beside that: three walks, and asking or storing at the end."""
DELEGATED_REQUESTS_PER_S = 50.0 * DELEGATED_REQUESTS_PER_PATH
DELEGATED_BURST_REQUESTS = 500.0 * DELEGATED_REQUESTS_PER_PATH
DELEGATED_BYTES_PER_REQUEST = 8_192
"""What a PUT sends to each holder is charged one request for each of so many bytes."""
DELEGATED_PREFIX_ALLOWANCE = 10
DELEGATED_BURST_OF_ALL = 2 * DELEGATED_PREFIX_ALLOWANCE * DELEGATED_BURST_REQUESTS
"""Of all peers together; what flows in is what one prefix has, more than one core does."""
MEMORY_STORE_BYTES_MAX = 256 << 20
STORE_QUEUE_WRITES_MAX = 4_096
STORE_QUEUE_BYTES_MAX = 64 << 20
EVICTIONS_PER_WRITE_MAX = 64
DISPLACING_PART = 4
"""In its own range a full store gives up records of who takes so many times what the newcomer would."""
QUOTA_PEER_PART = 4
QUOTA_PUBLISHER_PART = 16
"""In a small store a peer has one part in so many, and a publisher one in so many."""
STORED_BYTES_PER_SLOT = 1_024
"""A small store has one slot for so many bytes of it."""
STORE_BATCH_WRITES_MAX = 32
STORE_BATCH_OF_TOPIC_MAX = 16
STORE_BATCH_OF_TOPIC_BESIDE_OTHERS_MAX = 8
"""Messages of one topic in a batch: to a full history each takes half a millisecond, and what else waits is told after the commit."""
STORE_COMMITS_KEPT_MAX = 1_024
SWEEP_ROWS_MAX = 256
SWEEP_DOUBT_S = 2 * DAY_S
CLOCK_BELIEVED_AFTER_S = DAY_S
DISK_UNREADABLE_S = 60.0
QUICK_CHECK_BYTES_MAX = 64 << 20
STATE_BYTES_MAX = 16 << 20
VERIFIED_CACHE_ENTRIES = 16_384
PUBLIC_KEY_CACHE_ENTRIES = 16_384
LOADED_KEYS_MAX = 2_048
"""Ready to verify with; each takes 2 KB, and a stranger brings a new one with every connection."""
