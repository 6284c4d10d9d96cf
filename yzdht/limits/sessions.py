"""Sessions: how many, what they may hold, requests of a turn of the loop."""

from __future__ import annotations


REQUESTS_PER_LOOP_TURN = 16
REQUESTS_PER_SESSION_AND_LOOP_TURN = 4
REQUESTS_OF_HEAVY_PER_LOOP_TURN = 4
"""Of all sessions that have had their share together; an answer of 64 KiB takes a third of a millisecond."""
REQUESTS_OF_BUSY_PER_LOOP_TURN = 4
"""Of those about what too much is asked about: so many while others come as well, or at least; a full turn's where none came for
TURNS_WITHOUT_LIGHT turns. Every other one is for nodes of the routing table, while both they and strangers wait."""
TURNS_WITHOUT_LIGHT = 16
FLOW_WINDOW_S = 4.0
FLOW_REQUESTS_LIGHT = 200
"""About one topic, in two windows at the most; whoever asks about one of which there were more goes after others."""
FLOWS_MAX = 16_384
DEFERRED_REQUESTS_BYTES_MAX = 1 << 20
DEFERRED_REQUESTS_MAX = 128
SESSIONS_MAX = 5_000
SESSIONS_MAX_COMMUNITY = 200
SESSIONS_RESERVED_PART = 4
"""One session in so many is kept for nodes of the table and for own dials."""
SESSIONS_CROWD_PART = 8
"""Who has one in so many of the places that strangers may have is a crowd: it makes place before anybody quiet does."""
SESSION_SPARE_AFTER_S = 3.0
SPARE_COUNTED_EVERY_S = 1.0
STRANGER_IDLE_S_MAX = 120.0
STRANGER_IDLE_LOOK_S = 30.0
STRANGERS_COUNTED_EVERY_S = 1.0
LINKS_WAITING_MAX = 1_024
BANDWIDTH_BURST_S = 1.0
BANDWIDTH_PART_FOR_CARE = 2
"""Republish and hand-over take at most one part in so many of a bounded line."""
BANDWIDTH_DEBT_S_MAX = 10.0
BANDWIDTH_REST_S_MAX = 5.0
"""Well below SESSION_SILENT_S_MAX: a link that is not read must not seem dead."""
HELD_BYTES_MAX = 128 << 20
HELD_BYTES_STEP = 4_096
HELD_BYTES_PER_REQUEST = 256
HELD_BYTES_PER_GET = 64 * 1_024
HELD_BYTES_PER_ROW = 320
HELD_BYTES_PER_HOLE = 40
"""Of a summary, or of what is asked for by ranges, once it is decoded: 96 kB on the wire are 737 here."""
IDLE_SESSION_BYTES = 25_000
"""What a node holds for others, at most, whatever they do (tests/sessions/test_ledger.py adds it up):

    sessions        SESSIONS_MAX x (IDLE_SESSION_BYTES + HELD_BYTES_STEP)                 145 MB; for 200 6 MB
    not yet proved  (HALF_OPEN_MAX + LINKS_WAITING_MAX + OPENINGS_MAX) x (IDLE_SESSION_BYTES + OPENING_BYTES_MAX)
                                                                                           95 MB
    frames          SESSIONS_MAX x (WEBSOCKET_MESSAGE_BYTES_MAX, of a message that is not whole, and WEBSOCKET_PONG_BYTES_MAX x
                    (WEBSOCKET_PINGS_AT_ONCE + SESSION_SILENT_S_MAX / WEBSOCKET_PING_EVERY_S), both until it is weighed)
                                                                                          125 MB; for 200 5 MB
    held for them   HELD_BYTES_MAX: open requests, messages under assembly, what was read and waits, what is unsent
                                                                                          134 MB
    one over that   what one session adds before it is weighed: LINK_UNSENT_BYTES_MAX + MESSAGE_BYTES_MAX
                                                                                            5 MB
    the disk queue  STORE_QUEUE_BYTES_MAX + HISTORY_QUEUE_BYTES_MAX                        84 MB
    where it serves TLS, for those who come by it
                    (SESSIONS_MAX + HALF_OPEN_MAX + LINKS_WAITING_MAX + OPENINGS_MAX) x TLS_LINK_BYTES
                                                                           at most 329 MB more; for 200 113 MB
    in all                                                                                589 MB; for 200 330 MB

Buckets, tables and caches are bounded in entries. Results of reads are charged HELD_BYTES_PER_GET before they are there.
"""
CALLS_WAITING_MAX = 4_096
BOTH_DIALLED_S = 10.0
RETIRED_S_MAX = 5.0
RETIRED_LOOK_S = 0.5
GOODBYE_S_MAX = 2.0
