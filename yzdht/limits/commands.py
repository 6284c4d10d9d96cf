"""The status page, what the commands take from a node of this machine, telemetry."""

from __future__ import annotations


# The status page and its kin

HTTP_CONNECTIONS_MAX = 64
HTTP_CONNECTION_S_MAX = 20.0
HTTP_HEADER_BYTES_MAX = 8_192
HTTP_GOODBYE_S_MAX = 0.5
HTTP_VIEW_KEPT_S = 0.5
HTTP_PORTS_TRIED_MAX = 21
HTTP_PEERS_MAX = 5_000
PAGE_PEERS_MAX = 100
RUN_BYTES_MAX = 16_384
READY_CHECK_EVERY_S = 12.0
READY_CHECK_AGAIN_S = 3.0
READY_CHECK_S_MAX = 8.0
READY_CHECK_JITTER = (0.9, 1.1)
READY_CALL_TIMEOUT_S = 4.0
READY_PATIENCE_S = 0.75
READY_RECORD_LIFE_S = 900
TRAFFIC_RATE_S = 60.0

# What the commands take from a node of this machine, and how long they wait

STATUS_BYTES_MAX = 1 << 20
PEERS_BYTES_MAX = 4 << 20
NODE_ANSWER_S_MAX = 5.0
PEERS_SHOWN_EVERY_S = 2.0
FOLDERS_LOOKED_AT_MAX = 256
CHECKED_CLOCKS_MAX = 3
DATABASE_CHECK_S_MAX = 30.0
BACKUP_PAGES_PER_STEP = 4_096
BACKUP_MEMBERS_MAX = 256
BACKUP_MANIFEST_BYTES_MAX = 65_536

# Messages, as the commands show and send them

STREAM_READ_BYTES = 65_536
STREAM_WRITE_BYTES = 4_096
"""So many a pipe takes at once or not at all."""
LINES_ON_THE_WAY_MAX = 32
"""Messages of `yz pub --lines` that wait for their hosts."""
LINES_LATE_S = 2.0
"""After which one that waits still is told of."""
LINES_END_S = 2.0
"""Who ends the command has what is on its way waited for as long as this."""
PUBLISH_PATIENCE = "30s"
"""Of `yz pub`, whose process is gone before hosts come back later."""
CURSOR_KEPT_EVERY_S = 0.25
CHAT_BEAT_S = 60.0
CHAT_GONE_S = 150
"""Who was not heard for so long has left without saying so."""
CHAT_SEATS_MAX = 4_096
"""Runs of programs that are in one chat; each member may have a few."""
HOSTS_LOST_S = 2.0
"""Of a topic that is shown: without hosts twice in turn, so far apart, is told."""
HISTORY_CALM_S = 0.5
"""What was published before is shown in its order, once nothing more of it has come for so long."""
CHAT_PATIENCE_S = 30.0
"""What is said is tried so long; then it goes along with what is said next."""
CHAT_LEAVE_S = 2.0
CHAT_HISTORY_DEFAULT = "1d"

# Telemetry

ERRORS_REMEMBERED_MAX = 20
LOOP_LAG_EVERY_S = 1.0
