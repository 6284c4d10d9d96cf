"""Every bound of the system, in one place.

Names carry their unit. A bound that the protocol fixes says its section of PROTOCOL.md; the others are ours.
"""

from __future__ import annotations


# Time

MINUTE_S = 60
HOUR_S = 3_600
DAY_S = 86_400

# Section 3: handshake

HELLO_BYTES_MAX = 4_095
HANDSHAKE_MESSAGE_BYTES_MAX = 4_095
OFFERS_MAX = 8
HANDSHAKE_TIMEOUT_S = 5.0
HALF_OPEN_MAX = 256
HALF_OPEN_PER_PREFIX_MAX = 64
HANDSHAKE_MESSAGES_PER_LOOP_TURN = 8
CLIENT_SESSIONS_PER_NODE_ID_MAX = 16
HANDSHAKES_PER_PREFIX_PER_S = 20.0
HANDSHAKE_BURST_PER_PREFIX = 100.0
HANDSHAKES_PER_S = 300.0
HANDSHAKE_BURST = 3_000.0
"""Of all prefixes together, and of addresses that have none; one takes about a millisecond."""
HANDSHAKES_PER_PEER_PER_S = 5.0
HANDSHAKE_BURST_PER_PEER = 50.0
SHARE_S = 10.0
"""Who has asked for nothing this long has no part in what the members of a group share."""
PREFIXES_TRACKED_MAX = 10_000

# Section 4: record layer

RECORD_DATA_BYTES_MAX = 16_000
RELAY_DATA_BYTES_MAX = 16_100
RECORD_OVERHEAD_BYTES = 17
MESSAGE_BYTES_MAX = 1 << 20
PIECE_BYTES_MIN = RECORD_DATA_BYTES_MAX // 2
"""Who cuts a message into smaller pieces pays a request for each of them but the last."""
PING_BYTES_MAX = 64
KEY_UPDATE_RECORDS = 1 << 24
KEY_UPDATE_BYTES = 1 << 36
KEY_UPDATE_S = 3_600.0
SESSION_S_MAX = 86_400.0
SESSION_RENEW_BEFORE_S = 600.0
SESSION_PING_EVERY_S = 25.0
SESSION_SILENT_S_MAX = 60.0

# Section 5: RPC

CALLS_IN_FLIGHT_MAX = 256
REQUESTS_OPEN_MAX = 256
BODY_DEPTH_MAX = 32
BODY_EXTRA_BYTES_MAX = 4_096
DELEGATED_TIMEOUT_S = 15.0
DELEGATED_TRIES_MAX = 32
DELEGATED_PAUSE_S_MIN = 0.02
"""After a refusal, whatever the node says."""
CLIENT_PATIENCE_S = 1.0
PUT_PATIENCE_S = 6.0
CONTACTS_PER_ANSWER_MAX = 20
CONTACT_URLS_MAX = 4
KNOWN_HASHES_MAX = 32
ANSWER_BODIES_BYTES_MAX = 512 * 1_024
FIND_VALUE_BODY_BYTES_DEFAULT = 8_192
GET_BODY_BYTES_DEFAULT = 524_288
READ_PATHS_MAX = 3
ENVELOPES_PER_ANSWER_MAX = 4_096
SUMMARY_ROWS_MAX = 256
HOLES_MAX = 64
DIAL_BACK_URLS_MAX = 4
DIAL_BACK_S_MAX = 8.0
"""For one address; those of a request are tried at the same time."""
DIAL_BACKS_PER_S_PER_PEER = 1 / 60
DIAL_BACKS_PER_S_PER_PREFIX = 1 / 15
DIAL_BACKS_BURST_PER_PREFIX = 4.0
DIAL_BACKS_PER_S = 2.0
DIAL_BACKS_BURST = 16.0
DIAL_BACKS_AT_ONCE_MAX = 8
DIAL_BACK_TIMEOUT_S = 12.0
"""The asker waits so long."""

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
PORT_MAPPING_LIFE_S = 3_600
PORT_MAPPING_TRIES = 5
PORT_MAPPING_TRY_S_MIN = 0.25
"""A router that is asked waits so long for the next datagram, then twice as long each time: 7.75 s in all."""
ROUTES_BYTES_MAX = 1 << 20
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

# Section 9: Kademlia

BUCKET_SIZE = 20
ALPHA = 8
REPLICAS = 8
FEW_REPLICAS = 3
WRITE_ASKS_MAX = 4 * REPLICAS
REACHES_REMEMBERED_MAX = 31
REACHES_WANTED = 3
CROWD_WIDENED_MAX = 3
CROWDED_OUT_S = 3_600.0
SHRUNK_S = 1_800.0
SMALL_NETWORK_NODES_MAX = 256
SMALL_AGAIN_NODES_MAX = 192
NODES_PER_PREFIX_MAX = 10
NODES_PER_PREFIX_PER_BUCKET_MAX = 2
TRUSTED_BITS_MIN_V4 = 8
TRUSTED_BITS_MIN_V6 = 16
"""Nobody has a larger block for himself: one that is trusted is warned of."""
LONG_STANDING_S = float(DAY_S)
REFUSED_REMEMBERED_MAX = 256
TABLE_CHANGES_MAX = 1_024
MISSED_PROBES_MAX = 3
SOFT_DEADLINE_S_MIN = 0.05
SOFT_DEADLINE_S_UNKNOWN = 0.25
SOFT_DEADLINE_S_MAX = 2.0
IN_FLIGHT_MAX = ALPHA + 2
DOUBTED_AFTER = 8
LAST_ROUNDS_MAX = 3
DISJOINT_PATHS_MAX = 3
CAS_REMEMBERS_S = 24 * HOUR_S
PROBE_EVERY_S = 30.0
PROBE_AGAIN_S = 2.0
IDLE_PROBE_S = 600.0
WAITING_PROBE_S = float(DAY_S)
CONTACTS_HEARD_MAX = 1_024
LOOKUP_CANDIDATES_MAX = 512
OPERATIONS_MAX = 4_096
FETCHES_PER_HOLDER_MAX = 8
READ_SLOTS_MAX = 64 * MULTI_ENTRIES_MAX
READ_TIMEOUT_S = 3.0
WRITE_TIMEOUT_S = 5.0
REPAIR_AFTER_S = 2 * WRITE_TIMEOUT_S
"""From what age on, by its author's clock and this node's, a record may replace older ones that W do not hold yet.

Answers carry no time of arrival, and a node that timed what it sees itself would repair nothing at its first read. What
clocks that disagree can do is bounded. Too late: an older copy is replaced later by as much as this node is slow and
the author ahead, which holders keep below CLOCK_SKEW_S; where nothing is stored, by nothing. Too early, if this node is
ahead or the author slow: it matters to writers of one publisher that race with cas while the node nearest to the target
fails.
"""
STORE_EXTRA_S = 0.25
DISCOVERY_EVERY_S_YOUNG = 60.0
DISCOVERY_EVERY_S = 900.0
DISCOVERY_YOUNG_S = 600.0
DISCOVERY_SOON_S = (5.0, 15.0)
DISCOVERY_LOOKUPS_MAX = 16
DISCOVERY_QUIET_LOOKUPS = 2
DISCOVERY_SWEEP_BITS = 6
DISCOVERY_DEPTH_MAX = 32
DISCOVERY_NEWCOMERS_MAX = 4
DISCOVERY_NODES_MAX = 2 * SMALL_NETWORK_NODES_MAX
DEPARTED_RETRY_S_MIN = 15.0
DEPARTED_RETRY_S_MAX = 600.0
DEPARTED_MAX = 512
DEPARTED_SPACING_S = 10.0
DEPARTED_KEPT_S = 30 * DAY_S
HEARD_CALLS_IN_FLIGHT_MAX = 16
HEARD_AGAIN_S = 60.0
HEARD_AGAIN_S_MIN = 2.0
HEARD_PER_NAMER_MAX = 128
JOIN_WAIT_S_MAX = 5.0
JOIN_PATIENCE_S = 3 * JOIN_WAIT_S_MAX
BOOTSTRAP_PAUSE_S_MIN = 1.0
BOOTSTRAP_PAUSE_S_MAX = 30.0
REPUBLISH_EVERY_S = float(HOUR_S)
REPUBLISH_JITTER = (0.9, 1.1)
REPUBLISH_SKIPS_MAX = 3
REPUBLISH_NOTICES_MAX = 65_536
REPUBLISH_NOTICES_KEPT_S = (REPUBLISH_SKIPS_MAX + 1) * REPUBLISH_EVERY_S
REPUBLISH_NOTICED_AGAIN_S = 60.0
REPUBLISH_STRAYS_MAX = 65_536
REPUBLISH_STRAY_LAPS = 24
REPUBLISH_STRAY_TRIES = 3
REPUBLISH_PAGE_S = 10.0
REPUBLISH_HURRIED_S = 600.0
REPUBLISH_HURRIED_AFTER_S = (10.0, 60.0)
HANDOVER_HOLDERS = 3
HANDOVER_AFTER_S = (2.0, 8.0)
HANDOVER_STAGGER_S = 5.0
HANDOVER_EVERY_S = 60.0
HANDOVER_AGAIN_S = 300.0
HANDOVER_CHANGES_MAX = 32
HANDOVER_ROWS_PER_S = 1_000.0
HANDOVER_NODES_REMEMBERED_MAX = 1_024
REPLICATION_PAGE_ROWS = 128
REPLICATION_PAGES_PER_TURN_MAX = 8
REPLICATION_TASKS_WAITING_MAX = 4_096
REPLICATION_TASKS_IN_FLIGHT_MAX = 8
REPLICATION_REQUESTS_PER_S = 100.0
REPLICATION_BURST_REQUESTS = 200.0
REPLICATION_BYTES_PER_S = 512 * 1_024
REPLICATION_BURST_BYTES = 4 << 20
REPLICATION_STORE_RETRY_S = 10.0
REPLICATION_NO_ROOM_S = float(DAY_S)
REPLICATION_NO_ROOM_MAX = 65_536
RESTORED_LIFE_S = HOUR_S
OFFER_STORES_IN_FLIGHT_MAX = 4
LEAVE_TASKS_IN_FLIGHT_MAX = 64
LEAVE_REPLACEMENTS_MAX = 2
LEAVE_STORE_RETRY_S = 0.5
LEAVE_S_MAX = 6.0
"""Of the ten seconds of leaving: two are for goodbyes, one for pages under way, the last for what the disk has to do."""
LEAVE_TOLD_AFTER_S = 1.0
STATE_SAVE_EVERY_S = 10.0
MACHINE_LOOK_EVERY_S = 1.0
PEERS_SAVED_MAX = 512

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
STORE_BATCH_WRITES_MAX = 256
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

# Section 12: invites

INVITE_LINK_CHARS_MAX = 1_024
INVITES_MAX = 16_384
INVITE_USES_MAX = 131_072
"""Of all invites of a ledger together: what they promise is set aside when they are issued."""
REVOKED_TOKENS_MAX = 3_000
"""What fits one record, at 18 bytes each."""
REVOCATIONS_READ_EVERY_S = float(HOUR_S)
REVOCATIONS_RETRY_S = 60.0
"""After the first try that failed; and so often the node of the issuer looks into its ledger."""
REDEEMS_PER_S_PER_PEER = 0.5
REDEEMS_BURST_PER_PEER = 8.0
REDEEMS_PER_S = 10.0
REDEEMS_BURST = 100.0
"""Of all peers together: each is a signature checked and, if it is good, one made and two commits."""
REDEEM_TIMEOUT_S = 10.0
REDEEM_PAUSE_S_MIN = 2.0
REDEEM_PAUSE_S_MAX = 300.0
"""A node that waits for the issuer of its invite asks at least so often."""
GUESTS_MAX = 32
"""Sessions with whoever shows an invite to a closed network and is no member yet."""
GUESTS_PER_INVITE_MAX = 8
GUEST_S_MAX = 300.0
GUEST_SPARE_AFTER_S = 10.0
"""After so long a guest makes place for the next one with the same invite: a link that leaked must not shut out others."""
GUEST_RECORD_BYTES_MAX = 2_048
"""A redemption sealed to one reader takes some 600."""
INVITE_LIFE_S_DEFAULT = 7 * DAY_S
INVITE_LIFE_S_MAX = 365 * DAY_S
MEMBERSHIP_LIFE_S = 365 * DAY_S
"""Of a closed network; then its members ask for a new invite."""
INVITE_KEPT_AFTER_S = 2 * DAY_S
"""Full ledgers forget invites that ended so long ago, since the clock may be ahead."""
INVITE_ID_DIGITS_MIN = 4
REDEEM_SLOTS_PER_ROUND_MAX = 256
"""Invites whose redemptions an issuer looks for in one round; of more, the others come next."""
REDEMPTIONS_PER_ROUND_MAX = MULTI_ENTRIES_MAX
"""Of one invite; a link that leaked makes its issuer write so often at most."""
ANSWERED_REMEMBERED_MAX = 4_096
INVITE_SERVED_EVERY_S = 60.0
INVITE_WAIT_S_DEFAULT = 90.0
"""Longer than INVITE_SERVED_EVERY_S: whoever serves has looked once by then."""
INVITE_WAIT_S_MAX = 1 * DAY_S
INVITE_POLLED_EVERY_S = 3.0
ISSUER_ADDRESSES_TRIED_MAX = 4

# Section 10: groups

GROUP_MEMBERS_MAX = 255
GROUP_PAST_MAX = 64
GROUP_STATE_BYTES_MAX = 23_280
"""All members, all of the past, every number in its longest form: 178 + 3 + 255 x 72 + 3 + 64 x 74."""
GROUP_EPOCHS_KEPT_MAX = 1_024
"""Twenty years of weekly epochs. Each costs an HMAC for a record of an epoch that is not known."""
GROUPS_KEPT_MAX = 256
"""Groups that one home knows in one network."""
GROUP_FORKS_KEPT_MAX = 8
GROUP_SUCCESSIONS_MAX = 8
"""Keys of a group that are followed at one look."""
GROUP_LOOK_S = 1 * HOUR_S
"""A member looks for a newer state at the first use in a process, and after so long."""
GROUP_LOOK_AGAIN_S = 60.0
"""And at a record of an epoch that it does not know, no sooner than so long after the last such look; before it writes, and
where nodes could not show a state, after so long since the last look of any kind."""
GROUP_EPOCH_S = 7 * DAY_S
GROUP_CHANGE_TRIES_MAX = 8
"""Other admins may be faster so often."""

# Section 13: keyfile

KEYFILE_BYTES_MAX = 65_536
PASSPHRASE_BYTES_MAX = 1_024
ARGON2_M_KIB_MIN = 19 * 1_024
ARGON2_M_KIB_MAX = 1 << 20
ARGON2_T_MAX = 10
ARGON2_P_MAX = 16
PBKDF2_ITERATIONS_MIN = 600_000
PBKDF2_ITERATIONS_MAX = 10_000_000

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
OPENINGS_PER_LOOP_TURN = 8
"""Parts of HTTP requests and of TLS handshakes; one that ends in a link takes a quarter of a millisecond with it."""
OPENING_TIMEOUT_S = 5.0
OPENINGS_MAX = 1_024
FORWARDED_CHARACTERS_MAX = 1_024
FORWARDED_HOPS_MAX = 16
LISTEN_BACKLOG = 512
ACCEPTS_PER_LOOP_TURN = 8
DIAL_TIMEOUT_S = 4.0
DIALS_IN_FLIGHT_MAX = 64
NAMES_LOOKED_UP_MAX = 64
NAMES_OF_HEARSAY_MAX = 48
"""A name that is slow keeps its thread when its dial was given up; then others are refused, addresses are dialled."""
HOSTS_PER_NAME_MAX = 8
"""A name that others gave and that leads to more is not dialled: each of them would be."""
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
REQUESTS_PER_LOOP_TURN = 16
REQUESTS_PER_SESSION_AND_LOOP_TURN = 4
REQUESTS_OF_HEAVY_PER_LOOP_TURN = 4
"""Of all sessions that have had their share together; an answer of 64 KiB takes a third of a millisecond."""
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
    the disk queue  STORE_QUEUE_BYTES_MAX                                                  67 MB
    where it serves TLS, for those who come by it
                    (SESSIONS_MAX + HALF_OPEN_MAX + LINKS_WAITING_MAX + OPENINGS_MAX) x TLS_LINK_BYTES
                                                                           at most 329 MB more; for 200 113 MB
    in all                                                                                572 MB; for 200 313 MB

Buckets, tables and caches are bounded in entries. Results of reads are charged HELD_BYTES_PER_GET before they are there.
"""
CALLS_WAITING_MAX = 4_096
BOTH_DIALLED_S = 10.0
RETIRED_S_MAX = 5.0
RETIRED_LOOK_S = 0.5
GOODBYE_S_MAX = 2.0

# Telemetry

ERRORS_REMEMBERED_MAX = 20
LOOP_LAG_EVERY_S = 1.0
