"""Dialling: names, addresses, peers, and when one is tried again."""

from __future__ import annotations


DIAL_TIMEOUT_S = 4.0
DIALS_IN_FLIGHT_MAX = 64
NAMES_LOOKED_UP_MAX = 64
NAMES_OF_HEARSAY_MAX = 48
"""A name that is slow keeps its thread when its dial was given up; then others are refused, addresses are dialled."""
HOSTS_PER_NAME_MAX = 8
"""A name that others gave and that leads to more is not dialled: each of them would be. Of an operator's own, so many are."""
HOSTS_AT_ONCE_MAX = 3
"""Addresses of one name that are dialled at the same time."""
MUTE_ADDRESS_S = 600.0
MUTE_ADDRESSES_MAX = 256
"""Remembered, of all names."""
DIALS_WAITING_MAX = 256
DIALS_IN_FLIGHT_MAX_COMMUNITY = 16
DIALS_PER_S_COMMUNITY = 10.0
DIALS_BURST_S = 10.0
"""A home router keeps an entry for each dial, for minutes where nobody answers."""
DIAL_TURN_S_MAX = 1.0
"""A dial that would have to wait longer for its turn is not made: of a call's time, two thirds are for the peer."""
DIAL_FAIR_S = 1.5
"""A call that had less than that since its peer was dialled says nothing against the peer."""
ADDRESS_STAGGER_S = 0.25
"""Between the beginnings of dials of one peer's addresses."""
DIALS_PER_PEER_MAX = 3
"""At once: with CONTACT_URLS_MAX addresses each, contacts would be a lever for whoever makes them up."""
HANDSHAKE_PATIENCE_S = 1.0
"""A peer to whom a link is open is not dialled elsewhere before this: it may just have much to do."""
FAMILIES_LOOK_S = 60.0
ADDRESS_FAILED_S = 600.0
"""For so long an address that failed is tried after all others of its peer."""
TYPED_URLS_MAX = 1_024
"""Addresses that a person typed are remembered; then the one that was dialled least lately is as any other."""
DIALS_PER_ADDRESS_PER_S = 0.2
DIALS_PER_ADDRESS_BURST = 5.0
DIALS_PER_HOST_PER_S = 5.0
DIALS_PER_HOST_BURST = 128.0
DIAL_PAUSE_S_MIN = 0.5
DIAL_PAUSE_S_MAX = 60.0
DIAL_PAUSE_S_TYPED = 1.0
TURNED_AWAY_S_MIN = 0.25
TURNED_AWAY_S_MAX = 8.0
TURNED_AWAY_TRIES_MAX = 2
"""So often a client asks again at a node that has no place for it, before it asks another."""
TURNED_AWAY_MAX = 12
"""So often in a row a node may have no place, which takes a minute, until it counts as gone for DIAL_PAUSE_S_MAX."""
