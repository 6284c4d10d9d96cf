"""Bounds on meeting others on the local network."""

from __future__ import annotations


LAN_TAG_BYTES = 8
LAN_SEEN_MAX = 64
"""Announcements remembered; then the oldest that led to nobody makes room."""
LAN_HOSTS_MAX = 8
"""Addresses of this machine at which it is announced, and addresses of one announcement that are looked at."""
LAN_TRIES_PER_S = 0.2
LAN_TRIES_BURST = 8
"""Announcements that are looked into: so many at once, then one every 5 s."""
LAN_RESOLVE_S = 3.0
LAN_AGAIN_S = 600.0
"""Whoever did not answer is tried again after this, as long as it is announced."""
LAN_LOOK_EVERY_S = 30.0
"""So often the interfaces are looked at, and whether the node is alone."""
LAN_CLOSE_S = 2.0
"""For taking the announcement back."""
