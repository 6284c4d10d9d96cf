"""Links: what is unsent, WebSocket and TLS, openings."""

from __future__ import annotations

from yzdht.limits.rpc import RECORD_OVERHEAD_BYTES, RELAY_DATA_BYTES_MAX
from yzdht.limits.spans import DAY_S


# Transport

LINK_UNSENT_BYTES_HIGH = 256 * 1_024
LINK_UNSENT_BYTES_LOW = 64 * 1_024
LINK_UNSENT_BYTES_MAX = 4 << 20
LINK_FLUSH_BYTES = 64 * 1_024
LINK_STALLED_S_MAX = 20.0
LINK_CLOSE_S_MAX = 10.0
WEBSOCKET_MESSAGE_BYTES_MAX = RELAY_DATA_BYTES_MAX + RECORD_OVERHEAD_BYTES
WEBSOCKET_FRAGMENTS_MAX = 64
WEBSOCKET_PARSE_BYTES = 4_096
"""So much of a read is parsed at a time: one of small frames takes long, and the first of them may end the link."""
LINK_UNHEARD_MESSAGES_MAX = 1_024
"""Frames that are read while nobody hears them, being paused or closing; who keeps CALLS_IN_FLIGHT_MAX sends fewer."""
WEBSOCKET_PING_EVERY_S = 1.0
WEBSOCKET_PINGS_AT_ONCE = 10
WEBSOCKET_PONG_BYTES_MAX = 2 + 125
OPENING_BYTES_MAX = 16_384
TLS_READ_BYTES = 65_536
TLS_SLICE_BYTES = 4_096
"""So much goes into OpenSSL at a time, either way: a MemoryBIO keeps 4/3 of the most that it ever held."""
TLS_RECORD_OVERHEAD_BYTES = 5 + 1 + 16
TLS_RECORD_OVERHEAD_BYTES_1_2 = 5 + 16 + 48 + 16
"""Of TLS 1.2, which is only dialled: the most, which is that of AES-CBC with SHA-384."""
TLS_SILENT_BYTES_MAX = 40_000
TLS_SILENT_PART = 8
"""Bytes of an open TLS connection with nothing inside, and one more for so many that hold something. A part of a record
counts until the rest is there (16,645), then tickets and padding; of KeyUpdates it is 1,480, which take 28 ms once."""
TLS_LINK_BYTES = 45_000
"""What TLS adds to a link at most; with OpenSSL 3 measured 17,400 for one that was always idle, 26,700 once much went
both ways, 43,500 while most of a record has come besides."""
CERTIFICATE_BYTES_MAX = 1 << 20
CERTIFICATE_ENDS_SOON_S = 14 * DAY_S
"""So long before its end a certificate is warned of, once a day: most are renewed a month before."""
OPENINGS_PER_LOOP_TURN = 8
"""Parts of HTTP requests and of TLS handshakes; one that ends in a link takes a quarter of a millisecond with it."""
OPENING_TIMEOUT_S = 5.0
OPENINGS_MAX = 1_024
TLS_HANDSHAKES_MAX = 256
"""Under way at a time, of the openings; an honest one takes a round trip."""
TLS_CROWD = 8
"""So many of one prefix are no crowd: who owns an IPv6 /40 comes from each of its 65,536 prefixes once."""
TLS_HANDSHAKES_PER_S = 200.0
TLS_HANDSHAKE_BURST = 1_000.0
"""Begun by all together. One takes 0.4 ms with a key on P-256, 0.9 with RSA of 2,048 bits, but 6.5 with 4,096."""
TLS_RSA_BITS = 2_048
"""With a longer RSA key one counts (bits / TLS_RSA_BITS)³ times: of 4,096 bits 25 a second begin, 125 at once."""
FORWARDED_CHARACTERS_MAX = 1_024
FORWARDED_HOPS_MAX = 16
LISTEN_BACKLOG = 512
ACCEPTS_PER_LOOP_TURN = 8
