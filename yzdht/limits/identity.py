"""Addresses, whether others reach them, and identity records; section 6."""

from __future__ import annotations

from yzdht.limits.spans import DAY_S, HOUR_S


# Section 6: addresses and identity records

PROBERS_AGREEING = 2
"""Peers of different networks that must say the same of an address."""
PROBERS_DENYING = 3
"""Where so many are to be had, they are asked before a node takes itself for unreachable."""
PROBERS_PER_ROUND_MAX = 6
"""Peers asked in one round for each IP version."""
REACH_ROUND_S = 3_600.0
REACH_ROUND_S_TROUBLED = 600.0
"""While an address is withdrawn or the node is not reached."""
REACH_AGAIN_S_MIN = 30.0
"""After a round that found nothing out; doubles up to REACH_ROUND_S."""
REACH_AGAIN_MAPPED_S = 60.0
"""After the router mapped a port: peers dial back once a minute."""
REACH_LOOK_EVERY_S = 30.0
"""So often the interfaces are looked at."""
REACH_SECOND_LOOK_S = 90.0
"""After a round that contradicts what was known: peers dial back once a minute, and not all are asked in the same order."""
CAME_IN_GROUPS_MAX = 64
"""Networks of which a node remembers that somebody dialled it of himself."""
REACH_KEPT_S = 3 * 3_600.0
"""For so long what was found of an address stands although later rounds say nothing."""

URL_BYTES_MAX = 512
ADDRESSES_MAX = 16
ADDRESSES_CACHED_MAX = 8_192
TLS_NAMES_MAX = 4
"""Of those that its own certificate is for, a node advertises no more."""
CLIENT_TYPES_MAX = 4
KEM_KEYS_MAX = 2
NODE_IDENTITY_LIFE_S = 48 * HOUR_S
IDENTITY_AGAIN_S = 600.0
NODE_IDENTITY_RENEW_S = 12 * HOUR_S
PERSON_IDENTITY_LIFE_S = 30 * DAY_S
PERSON_IDENTITY_RENEW_S = 7 * DAY_S
KEM_KEY_LIFE_S = 30 * DAY_S
KEM_KEY_RENEW_S = 15 * DAY_S
"""A new key is made when the newest lives no longer than this: whoever seals finds one with half of its life left."""
KEM_KEY_USED_AFTER_S = 30 * DAY_S
"""For so long after its end a sender still takes a key, with a warning, and refuses it then."""
KEM_KEY_KEPT_S = 90 * DAY_S
"""After its end: what was sealed to it at the last moment has expired long before."""
KEM_KEYS_KEPT_MAX = 16
KEYS_RELOADED_S = 60.0
"""So often at most a process looks for keys that another one of its home has made, when something does not open."""
PEOPLE_KEPT_MAX = 10_000
"""Identity records of others that a home keeps."""
CONTACTS_MAX = 10_000
"""People to whom a home has given names."""
CONTACT_NAME_BYTES_MAX = 64
PERSON_LOOKED_UP_S = 1 * DAY_S
"""For so long what is known of a person's keys is taken as it is."""
MOVE_LOOKED_UP_S = 1 * DAY_S
"""So often a reader asks whether somebody moved or is revoked."""
MOVE_UNSEEN_S_MAX = 7 * DAY_S
"""For so long after the last answer to that, reads go on while too few nodes answer it."""
MOVES_KEPT_MAX = 20_000
"""People of whom a home remembers when it asked, and whereto they moved; revocations are never forgotten."""
REVOCATION_FILE_BYTES_MAX = 4_096
