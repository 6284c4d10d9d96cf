"""Bounds on asking the router, and the local network."""

from __future__ import annotations


PORT_MAPPING_LIFE_S = 3_600
PORT_MAPPING_TRIES = 5
PORT_MAPPING_TRY_S_MIN = 0.25
"""A router that is asked waits so long for the next datagram, then twice as long each time: 7.75 s in all."""
PORT_MAPPING_LOOK_S = 300.0
"""So often a mapping that was given is looked at: a router that was restarted has forgotten it."""
ROUTES_BYTES_MAX = 1 << 20

UPNP_SEARCHES = 3
UPNP_SEARCH_S = 1.5
"""After each search a router is waited for so long; it may take a second to answer."""
UPNP_CALL_S_MAX = 5.0
"""For one request, its connection and its answer."""
UPNP_KEEP_S_MAX = 30.0
"""For all requests until a port is forwarded."""
UPNP_HEAD_BYTES_MAX = 8_192
UPNP_XML_BYTES_MAX = 65_536
UPNP_ANSWER_BYTES_MAX = UPNP_HEAD_BYTES_MAX + 2 * UPNP_XML_BYTES_MAX
"""With what HTTP says about the chunks it sends."""
UPNP_SERVICES_MAX = 4
"""Connections of one router that are looked at."""
UPNP_PORTS_TRIED = 4
"""Ports tried by chance, where the own one is somebody else's outside."""
