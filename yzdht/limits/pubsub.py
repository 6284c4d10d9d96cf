"""Pubsub; section 11."""

from __future__ import annotations

from yzdht.limits.spans import DAY_S, HOUR_S


# The protocol's

PUBSUB_ENVELOPE_BYTES_MAX = 65_536
PUBSUB_DATA_BYTES_MAX = 65_335
"""What fits into one envelope, for a group and in public alike."""
TOPIC_HOSTS = 3
HISTORY_MESSAGES_MAX = 1_000
HISTORY_BYTES_MAX = 16 * 1_024 * 1_024
HISTORY_S = DAY_S
HISTORY_PART_OF_ONE_BRINGER = 4
"""Who has brought more than one part in so many of a full history pays for what it brings."""
REPLAY_WINDOW = 1_024
SENDER_SESSIONS_MAX = TOPIC_HOSTS * HISTORY_MESSAGES_MAX
"""Remembered of one sender of a topic: hosts hold no more, and a process may live for one message."""
REPLAY_KEPT_S = 25 * HOUR_S
LIVE_S = 600.0
"""A session never seen before is live if its first message is no older, and no newer, than this."""
ANNOUNCE_EVERY_S = 1.0
TOPICS_PER_ANNOUNCEMENT_MAX = 256


# Ours

RUNS_PER_SESSION_MAX = 512
"""Where more gaps come the lowest is given up; half of a replay window."""

CUT_ROWS_BELOW_MAX = 2 * HISTORY_MESSAGES_MAX
"""A row with HOLES_MAX holes is perhaps the upper part of what is held alone: so many indexes below it are asked for, too."""

# Topic hosts

HOST_RANGE = 8
"""Who is not among so many nearest nodes that host topics takes no topic: tables differ, and by more only while they are young."""
HOSTED_TOPICS_MAX = 65_536
"""Known to a host at once, with messages or only with subscribers."""
TOPICS_PER_SESSION_MAX = 4_096
SUBSCRIBERS_PER_TOPIC_MAX = 4_096
SUBSCRIPTIONS_MAX = 262_144
SUBSCRIPTIONS_PER_BRINGER_MAX = HOSTED_TOPICS_MAX // 4
"""Of all sessions of one prefix or address: topics that nobody writes to cannot take all places of those that others do."""
HOLDINGS_CACHED_MAX = 128
PUBLISHES_PER_S = 1_000.0
PUBLISH_BURST = 4_000.0
PUBLISH_BYTES_PER_S = 2.0 * 1_024 * 1_024
PUBLISH_BURST_BYTES = 16.0 * 1_024 * 1_024
PUBLISH_CHARGE_BYTES_MIN = 1_024
PUBLISH_COPIES_PER_MESSAGE = 32
"""So many subscribers cost who publishes as much as one message more: a flood is sent to all of them."""
BRINGERS_NAMED_MAX = 1_024
"""Names of who brought something that are kept for their next message."""
PUBLISH_GROUP_ALLOWANCE = 4
"""What all peers of one prefix or address bring together, in parts of what one of them may."""
BACKLOG_BYTES_PER_S = 4.0 * 1_024 * 1_024
BACKLOG_BURST_BYTES = 32.0 * 1_024 * 1_024
BACKLOG_CHARGE_BYTES_MIN = 4_096
BACKLOG_CHARGE_BYTES_PER_RANGE = 1_024
"""To look for a range takes as long whether or not there is anything in it."""
BACKLOG_GROUP_ALLOWANCE = 4
"""What all peers of one public prefix fetch together, in parts of what one of them may."""
PUSH_BESIDE_BYTES_MAX = 64 * 1_024
"""Sent to a subscriber that does not keep up, beside what waits for it: of those who said something before. A client that asks a
node to listen for it, and listens to it as a host as well, has it twice."""
PUSH_BESIDE_PARTS = 4
"""One series has such a part of it: what somebody says twice, and at length, leaves room for others."""
PUSH_BESIDE_SERIES_MAX = 256
"""So many series have room there until the subscriber keeps up."""
ANNOUNCE_AFTER_S = 0.2
"""What is pushed by another host goes before the word of it: who has it already asks for nothing."""
ANNOUNCEMENT_BYTES_MAX = 256 * 1_024
ANNOUNCEMENT_ROWS_PER_TURN = 4_096
CHANGES_REMEMBERED_MAX = HISTORY_MESSAGES_MAX
"""Of one topic, for its announcements; a history of so many messages has no more sessions."""
CHANGES_REMEMBERED_MIN = 16
CHANGES_REMEMBERED_OF_ALL_MAX = 1 << 19
"""About, of all topics, which have equal parts: a subscriber that is told less hears of the rest when it asks again."""
SYNC_EVERY_S = 30.0
"""With each other host, while a topic is active."""
SYNC_IDLE_EVERY_S = 300.0
"""While somebody listens and nobody writes: a host that gets a message tells the others of it."""
SYNC_SOON_S = 2.0
SYNC_DEADLINE_S = 10.0
SYNC_PAGES_MAX = 8
SYNC_SILENT_S = 10.0
"""Who did not answer is not asked of other topics for so long: each would wait out its deadline."""
SYNCS_AT_ONCE_MAX = 16
SYNCS_PER_S = 100.0
SYNC_BURST = 200.0
PULLED_TOPICS_MAX = 64
"""At once; half of them for nodes near the topic alone."""
FETCH_SOURCES_MAX = 16
"""Of one topic at a host; half of them for nodes near the topic alone."""
PULL_TURN_S = 10.0
"""After which a topic that is being fetched makes place for another one."""
HISTORY_LOOK_EVERY_S = 60.0
HISTORY_CLOCK_BELIEVED_S = 600.0
"""A wall clock that was set, or went on while the machine slept, is believed for the age of messages after so long."""
TOPIC_ACTIVE_S = float(HOUR_S)
HANDED_OVER_KEPT_S = float(HOUR_S)
HOSTS_LOOK_EVERY_S = 600.0
HOSTS_LOOK_AFTER_S = 1.0
HOSTS_LOOKS_PER_TURN = 32
HOSTS_LOOK_PAUSE_S = 0.02
HOSTED_TOPICS_PAGE = 256

DELIVERED_TOGETHER_MAX = 14
DELIVERED_TOGETHER_BYTES_MAX = 32 * 1_024
"""What came in one turn of the loop goes to a subscriber in records of so many messages and bytes."""

# Publishing

TOPIC_HOSTS_KEPT_S = 60.0
"""Who the hosts of a topic are is believed so long; one that fails has them looked up again."""
TOPIC_HOSTS_KNOWN_MAX = 4_096
HOST_CANDIDATES = 20
"""Of the nodes found near a topic; the nearest of them that host anything are its hosts."""
PUBLISH_CALL_S = 3.0
PUBLISH_DEADLINE_S = 10.0
PUBLISH_TIMEOUT_S_MAX = float(DAY_S)
"""For so long hosts keep a message; so long a caller may have it tried."""
PUBLISH_RETRY_S_MIN = 0.25
PUBLISH_RETRY_S_MAX = 2.0
PUBLISHES_MAX = 4_096
"""Of one process's own user, under way; those of clients have their own places."""

# Messages of groups

SENDER_ROOTS_MAX = 1_024
"""Keys of senders' sessions that are kept for the next message; one costs 10 µs to make anew."""
MESSAGE_EPOCHS_KEPT_MAX = 64
"""Epochs of a group in which messages are still opened: all those of 25 h, unless an admin makes one every few minutes."""

# Pulling, feeds, subscribers

PULL_CALL_S = 10.0
PULL_LATE_S = 1.5
"""What one source was asked for so long ago is asked of another as well."""
PULLS_PER_SOURCE_MAX = 2
PULL_MESSAGES_MAX = 64
"""Asked for at once: the rest may come from another source meanwhile."""
FETCH_PAUSE_S = 0.1
"""A host that fetches what others have leaves each of them alone for so long after a page: a page takes half of that to check and to write."""
FETCH_PAUSE_FULL_S = 1.0
"""Likewise, while the message that came last pushed another out, or found no room: what is fetched then makes a history no larger."""
PULL_SERIES_MAX = 1_024
"""Series that one source says it has more of, and series with gaps, of one topic."""
PULL_SERIES_WEIGHED = 64
"""Of so many, those heard of first, the one of which least is claimed makes place where there are too many."""
PULL_KNOWN_MAX = 256
"""Of the series that one source says it has more of: those of which something is here have every other place, so many at most."""
PULL_SPANS_MAX = 2 * HISTORY_MESSAGES_MAX
"""Of what one source says it has more of: a history has no more runs than messages."""
PULL_GRACE_S = 0.5
"""What a host that does not push says it has is on its way from the one that pushes, perhaps: it is asked for after so long."""
PULL_GRACES_MAX = 8
"""Of one series: so many announcements of one source wait apart, more of them together."""
PULL_GUESSES_MAX = 16
"""Series of one source that are asked for below what it told of them (CUT_ROWS_BELOW_MAX)."""
PULL_DOUBTED_MAX = 16
"""In one request: series of which the source did not send what it claimed, asked for a little at a time."""
PULL_BROKEN_MAX = 256
"""Claims of one source that it did not keep, remembered."""
PULL_BROKEN_S = 15.0
"""Less than GAP_GIVE_UP_S: who said too early that they have something is asked once more before it is given up."""
PULL_RETRY_S_MIN = 0.5
PULL_RETRY_S_MAX = 60.0
GAP_GIVE_UP_S = 30.0
GAP_GIVE_UP_S_MAX = 120.0
"""Even if a source says that it has what is missing; it does not send it."""
GAP_LOOK_EVERY_S = 1.0
GAP_AGAIN_MAX = 4
"""Where there was no host to ask for a while, or the process was stopped, what is missing is looked for from the beginning, so often;
after that from where it was."""
GAP_STOPPED_S = 5.0
"""Who looks after what is missing so much later than is due was stopped: an event loop that has much to do is late by less."""
SUBSCRIBE_CALL_S = 5.0
FEED_HOSTS_MAX = 2 * TOPIC_HOSTS
"""Those that a search found, and as many that hosts named."""
FEED_NODES = 2
"""Of a client: so many of its nodes listen for it."""
FEED_LOOK_EVERY_S = 300.0
FEED_GAP_LOOK_S = 10.0
"""While something is missing, hosts are asked so often what they hold."""
FEED_RETRY_S_MIN = 0.5
FEED_RETRY_S_MAX = 60.0
FEED_FORGED_S = 600.0
"""Who brought something forged is left alone so long."""
FEED_UNLISTED_LOOKS = 2
"""Who was not found so often in turn is no host any more."""
FEED_WITHHELD_MAX = 4
FEED_WITHHELD_S = 3.0
"""Who pushes and sent nothing while so many messages were fetched from others, over so long, has another one asked to push."""
FEED_SETTLE_S = 2.0
"""After the first host answered, the others are waited for so long."""
FEED_SETTLE_FEW_S = 3.5
"""The same while no more than half of them have: one host that names a number far ahead would decide alone where a series begins."""
FEED_PAGES_MAX = 4 * TOPIC_HOSTS
"""Pages of a summary: a history has no more series than messages, and a node that listens for its clients speaks for all hosts."""
FEED_EARLY_MAX = 256
"""Messages that come before it is known where to begin."""
FEED_SERIES_MAX = 8_192
CURSOR_SERIES_MAX = 8_192
FORGOTTEN_TOGETHER_PART = 8
"""A cursor that is full forgets one part in so many at once, or each new series would have it looked through."""
FORGOTTEN_BEHIND_S = 30
"""The mark of what was forgotten, which is for all, follows clocks that are ahead no further than to so long before what came last: strangers'
may be, and of who begins the first message may take a while."""
FORGOTTEN_SKEW_S = 2
"""But it follows all clocks that are ahead by so little."""
CURSOR_RUNS_MAX = 64
"""Of one series; what lies lower is over."""
CURSOR_BYTES_MAX = 2 * 1_024 * 1_024
WAITING_MESSAGES_MAX = 4_096
"""Of one subscriber: what came and waits for an earlier message of its sender, or for an epoch that is not known yet. That is more
than hosts keep of a topic: whatever came is safer here."""
WAITING_BYTES_MAX = 2 * HISTORY_BYTES_MAX
"""Of these a message takes its part of WAITING_MESSAGES_MAX at least."""
WAITING_FEW = 16
"""Where it is full whoever has more pays first, by how much it is; then those of whom nothing was told before."""
WAITING_HEARD_MAX = 4_096
READY_AFTER_S = 0.01
"""After a message the key of the one that follows it is derived."""
WANTS_EPOCHS_EVERY_S = 5.0
"""A message of an epoch that is not known has its group looked at: a state shows no secrets of those before it, so that two that
follow each other soon are both to be seen. After each look in vain it is twice as long, up to GROUP_LOOK_AGAIN_S."""
GROUP_LOOK_UNREAD_S = 15.0
"""The same up to here, after looks that nodes could not answer."""

# What a node does for its clients

DELEGATED_PUBLISH_CALL_S = 12.0
DELEGATED_PUBLISH_LATE_S = 4.0
"""A node that has not answered by then has the next one asked beside it."""
NODE_AVOIDED_S = 30.0
"""A node of a client that failed or is slow is asked after the others for so long."""
CLIENT_NODES_AVOIDED_MAX = 64
CLIENT_NODES_DIALLED_MAX = 4
"""At once, where fewer than two have a session."""
EPOCH_GIVE_UP_S = 150.0
"""A message of an epoch that is not known waits so long: its group is looked at once a minute at least."""
EDGE_PART_OF_ONE_BRINGER = 4
"""Of all places that clients share at a node, one bringer has one part in so many."""
EDGE_TOPICS_MAX = 4_096
EDGE_PUBLISHES_MAX = 4_096
"""Of all clients, under way."""
EDGE_WAITING_MAX = 2 * EDGE_TOPICS_MAX
"""Subscriptions that wait for what hosts hold."""
EDGE_ROWS_MAX = 1_024 * TOPIC_HOSTS
"""Of one topic: what each of its hosts holds may be of others."""
EDGE_ORDER_S = 10.0
"""For so long, once a client began to read page after page, the order of what is told stays."""
EDGE_ROWS_ALL_MAX = 262_144
"""Of all topics; each takes half a kilobyte and more."""
EDGE_ANSWER_S = 3.0
"""A client waits so long for what the hosts of its topic have. While none has answered it is told that there is nothing, and later what is
known then; while few have it is to come back."""
EDGE_ROWS_FRESH_S = 2.0
"""What hosts of a full topic hold is that old at most where a client begins to listen; else they are asked again."""
EDGE_LOOK_S = 0.5
"""Who is slower is not waited for."""
EDGE_LOOKS_PER_S = 8.0
"""So often are they, for one bringer a part of that; otherwise a client is told what is known."""
EDGE_LOOKERS_MAX = 1_024
EDGE_LINGER_S = 60.0
"""A topic is listened to so long after the last client has gone."""
EDGE_BACKLOG_CALL_S = 5.0
EDGE_BACKLOGS_MAX = 1_024
"""Under way."""
EDGE_BACKLOG_HOSTS_MAX = 4
"""So many hosts are asked for one BACKLOG of a client, one after the other."""
FEEDS_MAX = 4_096 + 1_024
"""What one process listens to: for its clients, and for itself."""
SERVED_ITSELF_PER_LOOP_TURN = 64
"""What a node publishes and pushes to itself is taken so many at a time: sockets are looked at in between."""
TOPIC_TIMER_SET_AFTER_S = 0.005
"""When something is due next is looked up once for all that happened in this time: a timer rings so much later at most."""
LOCAL_ROUNDS_MAX = 1_000
"""A node that asks itself has its answer within so many turns."""

# What an identity publishes and hears

TOPICS_PUBLISHED_MAX = 1_024
UNSETTLED_PER_TOPIC_MAX = 64
"""Messages that no majority took, kept to go with the next one."""
SUBSCRIPTION_MESSAGES_DEFAULT = 1_000
SUBSCRIPTION_MESSAGES_MAX = 100_000
SUBSCRIPTION_READY_S_MAX = 5.0
"""Who subscribes waits so long for the first host."""
SUBSCRIPTION_LOOK_S = 60.0
"""What this home knows of the group is read again so often: another process of it may have learnt more."""

# What a host keeps

PUBSUB_BYTES_MAX = 1 << 30
"""Envelopes of all topics together; beside what records take."""
TOPICS_MAX = 10_000
PUBSUB_PART_OF_ONE_BRINGER = 4
"""Of both, whoever brings fills one part in so many."""
SERIES_PER_TOPIC_MAX = 2 * HISTORY_MESSAGES_MAX
"""Those of which something is held and those whose floor is remembered; of these the one that ended first makes room."""
FLOOR_KEPT_S = DAY_S
"""For so long after its messages left a floor is remembered: others may have got them later, and have them still."""
FORGET_ROWS_MAX = 256
HISTORY_QUEUE_WRITES_MAX = 1_024
HISTORY_QUEUE_BYTES_MAX = 16 << 20

# Who writes to a topic with an owner

TOPIC_WRITERS_MAX = 256
TOPIC_POLICY_BYTES_MAX = 9_216
"""Of a policy's record: 256 writers take 9,149."""
POLICIES_BYTES_MAX = 16 << 20
"""Of the policies that one process knows, counted as they lie in memory."""
POLICY_SHOWN_EVERY_S = 60.0
POLICIES_SHOWN_MAX = 4_096
"""Remembered: which policy which host was shown last."""
POLICY_LOOK_S = 30.0
"""What was found of a policy is believed so long."""
WRITER_LOOK_S = float(HOUR_S)
"""So often it is looked whether who writes is revoked; nodes are asked daily, as of everybody."""
WRITERS_LOOKED_UP_MAX = 1_024
WRITERS_LOOKED_UP_AT_ONCE_MAX = 16
POLICIES_KNOWN_MAX = 256
"""Of topics that one identity uses."""
