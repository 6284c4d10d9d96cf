"""The tables of `records.sqlite` that hold the histories of topics.

A topic has series, a series has messages and a floor. The envelope stands last in its row, its sum before it, as those of
records. A series without messages stays for its floor; a topic goes with its last series.

`shares` is kept by triggers, like `usage` of records: what a bringer (`bringer`, all of them if empty) brought of a sender
(`sender`, of all if empty) to a topic (`topic_id`, to all together if 0), and how many topics it opened. `since` is the
message that began it: of equals who came first pays. A bringer of a topic is that of `wire.history.account_of`, and so is `low_bringer`, which brought the lowest message of a series, NULL if there is none; `held`
and `runs` are how many messages and runs of indexes a series has, `next` is one above its highest index, 0 if it has none, and
`changed` the message that it got last.
"""

from __future__ import annotations

from yzdht.wire.history import BRINGER_BYTES, OTHER_HOSTS


_SENDER = "(SELECT sender FROM series WHERE id = {row}.series_id)"
_TOUCHING = """
    EXISTS (SELECT 1 FROM messages WHERE series_id = {row}.series_id AND idx = {row}.idx - 1)
    + EXISTS (SELECT 1 FROM messages WHERE series_id = {row}.series_id AND idx = {row}.idx + 1)
"""
_NEXT = "coalesce((SELECT max(idx) + 1 FROM messages WHERE series_id = OLD.series_id), 0)"
_EACH_FOR_ITSELF = "{row}bringer"
_HOSTS_TOGETHER = f"iif(length({{row}}bringer) > {BRINGER_BYTES}, x'{OTHER_HOSTS.hex()}', {{row}}bringer)"


def _triggers_of_messages(account: str) -> tuple[str, str]:
    """What keeps sums; `account` says who pays within a history."""
    new, old, lowest = account.format(row="NEW."), account.format(row="OLD."), account.format(row="")
    old_shares = f"""
        topic_id IN (0, OLD.topic_id) AND bringer IN (x'', OLD.bringer, {old})
        AND sender IN (x'', {_SENDER.format(row="OLD")})
    """
    look_for_lowest = f"""
        UPDATE series SET low_bringer =
            (SELECT {lowest} FROM messages WHERE series_id = {{row}}.series_id ORDER BY idx LIMIT 1)
        WHERE id = {{row}}.series_id AND low_bringer IS NOT
            (SELECT {lowest} FROM messages WHERE series_id = {{row}}.series_id ORDER BY idx LIMIT 1);
    """  # noqa: S608 - constant text
    return (
        f"""
        CREATE TRIGGER messages_added AFTER INSERT ON messages BEGIN
            INSERT INTO shares (topic_id, bringer, sender, messages, bytes, topics, since)
            SELECT topic_id, bringer, sender, 1, NEW.size, 0, NEW.id FROM (
                SELECT NEW.topic_id AS topic_id, {new} AS bringer, {_SENDER.format(row="NEW")} AS sender
                UNION ALL SELECT NEW.topic_id, {new}, x''
                UNION ALL SELECT NEW.topic_id, x'', x''
                UNION ALL SELECT 0, NEW.bringer, x''
                UNION ALL SELECT 0, x'', x''
            ) WHERE 1
            ON CONFLICT (topic_id, bringer, sender)
            DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
            UPDATE series SET changed = NEW.id, received = max(received, NEW.received),
                              held = held + 1, runs = runs + 1 - ({_TOUCHING.format(row="NEW")}),
                              next = max(next, NEW.idx + 1)
            WHERE id = NEW.series_id;
            {look_for_lowest.format(row="NEW")}
        END
        """,  # noqa: S608 - constant text
        f"""
        CREATE TRIGGER messages_removed AFTER DELETE ON messages BEGIN
            UPDATE shares SET messages = messages - 1, bytes = bytes - OLD.size WHERE {old_shares};
            DELETE FROM shares WHERE {old_shares} AND messages = 0 AND topics = 0;
            UPDATE series SET held = held - 1, runs = runs - 1 + ({_TOUCHING.format(row="OLD")}),
                              next = iif(OLD.idx + 1 = next, {_NEXT}, next)
            WHERE id = OLD.series_id;
            {look_for_lowest.format(row="OLD")}
        END
        """,  # noqa: S608 - constant text
    )


HISTORIES = (
    """
    CREATE TABLE topics (
        id INTEGER PRIMARY KEY,
        topic BLOB NOT NULL UNIQUE,
        opened_by BLOB NOT NULL,
        series INTEGER NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        topic_id INTEGER NOT NULL,
        sender BLOB NOT NULL,
        session BLOB NOT NULL,
        floor INTEGER NOT NULL DEFAULT 0,
        held INTEGER NOT NULL DEFAULT 0,
        runs INTEGER NOT NULL DEFAULT 0,
        next INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL DEFAULT 0,
        received INTEGER NOT NULL DEFAULT 0,
        low_bringer BLOB
    )
    """,
    "CREATE UNIQUE INDEX series_of_topic ON series (topic_id, sender, session)",
    "CREATE INDEX series_low ON series (topic_id, low_bringer, sender) WHERE low_bringer IS NOT NULL",
    "CREATE INDEX series_ended ON series (topic_id, changed) WHERE low_bringer IS NULL",
    "CREATE INDEX series_over ON series (received) WHERE low_bringer IS NULL",
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        series_id INTEGER NOT NULL,
        topic_id INTEGER NOT NULL,
        idx INTEGER NOT NULL,
        received INTEGER NOT NULL,
        bringer BLOB NOT NULL,
        size INTEGER NOT NULL,
        message_id BLOB NOT NULL,
        sum INTEGER NOT NULL,
        envelope BLOB NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX messages_slot ON messages (series_id, idx)",
    "CREATE INDEX messages_received ON messages (received)",
    """
    CREATE TABLE shares (
        topic_id INTEGER NOT NULL,
        bringer BLOB NOT NULL,
        sender BLOB NOT NULL,
        messages INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        topics INTEGER NOT NULL,
        since INTEGER NOT NULL,
        PRIMARY KEY (topic_id, bringer, sender)
    ) WITHOUT ROWID
    """,
    *(
        f"CREATE INDEX shares_of_bringers_{what} ON shares (topic_id, {what} DESC, since) "
        "WHERE sender = x'' AND bringer != x'' AND topic_id > 0"
        for what in ("messages", "bytes")
    ),
    *(
        f"CREATE INDEX shares_of_senders_{what} ON shares (topic_id, bringer, {what} DESC, since) WHERE sender != x''"
        for what in ("messages", "bytes")
    ),
    *_triggers_of_messages(_EACH_FOR_ITSELF),
    """
    CREATE TRIGGER series_added AFTER INSERT ON series BEGIN
        UPDATE topics SET series = series + 1 WHERE id = NEW.topic_id;
    END
    """,
    """
    CREATE TRIGGER series_removed AFTER DELETE ON series BEGIN
        UPDATE topics SET series = series - 1 WHERE id = OLD.topic_id;
        DELETE FROM topics WHERE id = OLD.topic_id AND series = 0;
    END
    """,
    """
    CREATE TRIGGER topics_added AFTER INSERT ON topics BEGIN
        INSERT INTO shares (topic_id, bringer, sender, messages, bytes, topics, since)
        VALUES (0, NEW.opened_by, x'', 0, 0, 1, 0), (0, x'', x'', 0, 0, 1, 0)
        ON CONFLICT (topic_id, bringer, sender) DO UPDATE SET topics = topics + 1;
    END
    """,
    """
    CREATE TRIGGER topics_removed AFTER DELETE ON topics BEGIN
        UPDATE shares SET topics = topics - 1 WHERE topic_id = 0 AND bringer IN (x'', OLD.opened_by) AND sender = x'';
        DELETE FROM shares WHERE topic_id = 0 AND bringer IN (x'', OLD.opened_by) AND sender = x''
            AND messages = 0 AND topics = 0;
    END
    """,
)

HOSTS_TOGETHER = (  # within a history all other hosts are one bringer
    "DROP TRIGGER messages_added",
    "DROP TRIGGER messages_removed",
    *_triggers_of_messages(_HOSTS_TOGETHER),
)

# Reads

_TOPIC = "(SELECT id FROM topics WHERE topic = ?1)"
_SERIES = f"(SELECT id FROM series WHERE topic_id = {_TOPIC} AND sender = ?2 AND session = ?3)"  # noqa: S608 - constant text
SELECT_TOPICS = "SELECT topic FROM topics WHERE topic > ? ORDER BY topic LIMIT ?"
# A series without gaps is one row; of another there is a row for each message.
SELECT_HELD = f"""
    SELECT series.id, sender, session, floor, changed, runs, next - held, next, idx
    FROM series LEFT JOIN messages ON messages.series_id = series.id AND runs > 1
    WHERE series.topic_id = {_TOPIC}
"""  # noqa: S608 - constant text
SELECT_FLOOR = f"SELECT floor FROM series WHERE id = {_SERIES}"  # noqa: S608 - constant text
SELECT_MESSAGE_ID = f"SELECT message_id FROM messages WHERE series_id = {_SERIES} AND idx = ?4"  # noqa: S608 - constant text
SELECT_ENVELOPES = f"""
    SELECT idx, envelope, sum, id FROM messages WHERE series_id = {_SERIES} AND idx >= ?4 AND idx < ?5 ORDER BY idx
"""  # noqa: S608 - constant text
SELECT_TOPIC_TOTALS = (
    "SELECT topics, messages, bytes FROM shares WHERE topic_id = 0 AND bringer = x'' AND sender = x''"
)
SELECT_LAST_NUMBERS = "SELECT max(changed) FROM series UNION ALL SELECT max(id) FROM messages"

# Decisions

SELECT_PLACE = """
    SELECT topics.id, topics.series, series.id, series.floor, series.runs, known.message_id,
           whole.messages, whole.bytes, mine.messages, mine.bytes, node.bytes, node.topics, own.bytes, own.topics
    FROM (SELECT 1)
    LEFT JOIN topics ON topics.topic = ?1
    LEFT JOIN series ON series.topic_id = topics.id AND series.sender = ?2 AND series.session = ?3
    LEFT JOIN messages AS known ON known.series_id = series.id AND known.idx = ?4
    LEFT JOIN shares AS whole ON whole.topic_id = topics.id AND whole.bringer = x'' AND whole.sender = x''
    LEFT JOIN shares AS mine ON mine.topic_id = topics.id AND mine.bringer = ?5 AND mine.sender = x''
    LEFT JOIN shares AS node ON node.topic_id = 0 AND node.bringer = x'' AND node.sender = x''
    LEFT JOIN shares AS own ON own.topic_id = 0 AND own.bringer = ?6 AND own.sender = x''
"""
INSERT_TOPIC = "INSERT INTO topics (topic, opened_by) VALUES (?, ?)"
INSERT_SERIES = "INSERT INTO series (topic_id, sender, session) VALUES (?, ?, ?)"
INSERT_MESSAGE = """
    INSERT INTO messages (id, series_id, topic_id, idx, received, bringer, size, message_id, sum, envelope)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
RAISE_FLOOR = "UPDATE series SET floor = max(floor, ?) WHERE id = ?"
DROP_MESSAGES_BELOW = "DELETE FROM messages WHERE series_id = ? AND idx < ?"
SELECT_BELOW = "SELECT idx, size, bringer FROM messages WHERE series_id = ? AND idx < ? ORDER BY idx"
SELECT_LOWEST_BELOW = "SELECT idx FROM messages WHERE series_id = ? AND idx <= ? ORDER BY idx LIMIT ?"
SELECT_RUNS = "SELECT runs FROM series WHERE id = ?"
SELECT_LOWEST_INDEX = "SELECT min(idx) FROM messages WHERE series_id = ?"
SELECT_SECOND_RUN = """
    SELECT idx FROM messages AS here WHERE series_id = ?1 AND idx > (SELECT min(idx) FROM messages WHERE series_id = ?1)
    AND NOT EXISTS (SELECT 1 FROM messages WHERE series_id = ?1 AND idx = here.idx - 1) ORDER BY idx LIMIT 1
"""
DROP_FIRST_ENDED = """
    DELETE FROM series WHERE id = (
        SELECT id FROM series INDEXED BY series_ended WHERE topic_id = ? AND low_bringer IS NULL ORDER BY changed LIMIT 1)
"""

# Who pays

_VICTIM = "SELECT series.id, series.sender, series.session, messages.idx, messages.size, messages.bringer"
SELECT_GREEDIEST_BY_MESSAGES, SELECT_GREEDIEST_BY_BYTES = (
    f"""
    SELECT bringer FROM shares INDEXED BY shares_of_bringers_{what}
    WHERE topic_id = ? AND topic_id > 0 AND sender = x'' AND bringer != x'' ORDER BY {what} DESC, since LIMIT 1
    """  # noqa: S608 - constant text
    for what in ("messages", "bytes")
)
SELECT_OWN_LOWEST_BY_MESSAGES, SELECT_OWN_LOWEST_BY_BYTES = (
    f"""
    {_VICTIM} FROM series JOIN messages ON messages.series_id = series.id
    WHERE series.id = (
        SELECT id FROM series INDEXED BY series_low
        WHERE topic_id = ?1 AND low_bringer = ?2 AND sender = (
            SELECT sender FROM shares INDEXED BY shares_of_senders_{what}
            WHERE topic_id = ?1 AND bringer = ?2 AND sender != x'' AND EXISTS (
                SELECT 1 FROM series WHERE topic_id = ?1 AND low_bringer = ?2 AND sender = shares.sender)
            ORDER BY {what} DESC, since LIMIT 1)
        ORDER BY id LIMIT 1)
    ORDER BY messages.idx LIMIT 1
    """  # noqa: S608 - constant text
    for what in ("messages", "bytes")
)
SELECT_LOWEST_OF_GREATEST_BY_MESSAGES, SELECT_LOWEST_OF_GREATEST_BY_BYTES = (
    f"""
    {_VICTIM} FROM series JOIN messages ON messages.series_id = series.id
    WHERE series.id = (
        SELECT min(id) FROM series WHERE topic_id = ?1 AND low_bringer IS NOT NULL AND sender = (
            SELECT sender FROM shares INDEXED BY shares_of_senders_{what}
            WHERE topic_id = ?1 AND bringer = ?2 AND sender != x'' ORDER BY {what} DESC, since LIMIT 1))
    ORDER BY messages.idx LIMIT 1
    """  # noqa: S608 - constant text
    for what in ("messages", "bytes")
)
SELECT_LOWEST = f"""
    {_VICTIM} FROM series JOIN messages ON messages.series_id = series.id WHERE series.id = ? ORDER BY idx LIMIT 1
"""

# Forgetting

SELECT_OLDEST = "SELECT series_id FROM messages WHERE received < ? ORDER BY received LIMIT 1"
SELECT_HIGHEST_OF_OLD = "SELECT max(idx) FROM messages WHERE series_id = ? AND received < ?"
DROP_OLD_FLOORS = """
    DELETE FROM series WHERE id IN (
        SELECT id FROM series INDEXED BY series_over WHERE received < ? AND low_bringer IS NULL LIMIT ?)
"""
SELECT_TOPIC = "SELECT id FROM topics WHERE topic = ?"
COUNT_MESSAGES = "SELECT messages FROM shares WHERE topic_id = ? AND bringer = x'' AND sender = x''"
DROP_MESSAGES_OF_TOPIC = "DELETE FROM messages WHERE series_id IN (SELECT id FROM series WHERE topic_id = ?)"
DROP_SERIES_OF_TOPIC = "DELETE FROM series WHERE topic_id = ?"

# What the disk changed

SELECT_ENVELOPE = "SELECT envelope, sum FROM messages WHERE id = ?"
DROP_BY_ID = "DELETE FROM messages WHERE id = ?"
