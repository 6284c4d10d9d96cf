from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.store.messages import NOW, bringer, message, run, topic
from tests.store.writes import mutable
from yzdht.limits import (
    STORE_BATCH_OF_TOPIC_BESIDE_OTHERS_MAX,
    STORE_BATCH_OF_TOPIC_MAX,
    STORE_BATCH_WRITES_MAX,
)
from yzdht.store.write_lines import DropDamagedEnvelope, Sweep, WriteLines, line_of
from yzdht.wire.history import ForgetBefore, ForgetTopic, TopicWrite
from yzdht.wire.slot import Write


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.store.write_lines import Submission
    from yzdht.wire.history import TopicChange


EVE = bringer(7)
MOST = 1_000


def numbered(changes: Iterable[Write | TopicChange]) -> list[Submission]:
    return list(enumerate(changes))


def taken(lines: WriteLines, most: int = MOST) -> list[Write | TopicChange]:
    batch = lines.take(most)
    assert isinstance(batch, list)
    return [change for _, change in batch]


def all_taken(lines: WriteLines) -> list[Write | TopicChange]:
    """All that waits, over as many batches as it takes."""
    lines.close()
    batches: list[Write | TopicChange] = []
    while (batch := lines.take(MOST)) is not None:
        assert isinstance(batch, list)
        batches += [change for _, change in batch]
    return batches


def test_one_message_is_in_the_next_batch_whoever_brought_a_thousand() -> None:
    lines = WriteLines()
    lines.put(numbered(run(0, 1_000, bringer=EVE)))
    lines.put(numbered([message(0, by=2)]))

    assert message(0, by=2) in taken(lines, 2)


def test_one_topic_is_in_the_next_batch_whatever_its_bringer_brought_to_another() -> None:
    lines = WriteLines()
    lines.put(numbered(run(0, 1_000)))
    lines.put(numbered([message(0, of=2)]))

    assert message(0, of=2) in taken(lines, 2)


def test_who_brings_to_a_thousand_topics_has_no_more_than_every_other_turn() -> None:
    lines = WriteLines()
    lines.put(numbered(message(0, of=number, bringer=EVE) for number in range(1_000)))
    lines.put(numbered([message(0, of=2_000), message(1, of=2_000)]))

    batch = taken(lines, 8)

    assert [change for change in batch if change.bringer == bringer(1)] == [  # type: ignore[union-attr]
        message(0, of=2_000),
        message(1, of=2_000),
    ]


def test_one_topic_is_in_the_next_batch_however_many_bring_to_another() -> None:
    lines = WriteLines()
    lines.put(numbered(message(0, bringer=bringer(number), by=number) for number in range(2, 500)))
    lines.put(numbered([message(0, of=2), message(1, of=2)]))

    batch = taken(lines, 8)

    assert message(0, of=2) in batch
    assert message(1, of=2) in batch


def test_one_topic_is_in_the_next_batch_though_many_bring_to_another_and_one_to_many() -> None:
    lines = WriteLines()
    lines.put(numbered(message(0, bringer=bringer(number), by=number) for number in range(100, 600)))
    lines.put(numbered(message(0, of=number, bringer=EVE) for number in range(1_000, 1_500)))
    lines.put(numbered([message(0, of=2)]))

    assert message(0, of=2) in taken(lines, 32) + taken(lines, 32)


@pytest.mark.parametrize(
    ("bringers", "others", "topics"), [(61, 4, 100), (100, 2, 400), (300, 9, 58), (450, 9, 34), (20, 1, 0)]
)
def test_all_who_bring_to_one_topic_have_their_turn_whoever_brings_to_many(
    bringers: int, others: int, topics: int
) -> None:
    lines = WriteLines()
    index: Counter[tuple[int, int]] = Counter()

    def bring(who: int, of: int) -> None:
        lines.put([(0, message(index[who, of], of=of, bringer=bringer(who), by=who))])
        index[who, of] += 1

    for who in range(bringers):
        bring(who, 1)
    for number in range(others * topics):
        bring(1_000 + number % others, 100 + number)
    heard: dict[bytes, list[int]] = {bringer(who): [0] for who in range(bringers)}
    for batch in range(1, 200):
        for change in taken(lines, STORE_BATCH_WRITES_MAX):
            assert isinstance(change, TopicWrite)
            who, of = int.from_bytes(change.bringer), int.from_bytes(change.topic)
            bring(who, of)  # each brings the next as soon as the last is written
            if of == 1:
                heard[change.bringer].append(batch)

    longest = max(after - before for when in heard.values() for before, after in pairwise([*when, 199]))
    assert longest <= bringers // STORE_BATCH_OF_TOPIC_BESIDE_OTHERS_MAX + 2


Changes = st.one_of(
    st.builds(
        lambda who, what: message(0, of=what, bringer=bringer(who), by=who),
        st.integers(1, 9),
        st.integers(1, 4),
    ),
    st.builds(lambda what: ForgetTopic(topic(what)), st.integers(1, 4)),
    st.builds(mutable, st.integers(1, 9)),
)


@given(st.lists(st.lists(Changes, max_size=60), max_size=4), st.integers(1, 40))
def test_all_is_taken_once_and_nothing_passes_what_it_must_not(
    puts: list[list[Write | TopicChange]], most: int
) -> None:
    lines, came, number = WriteLines(), [], 0
    for changes in puts:
        lines.put((number + place, change) for place, change in enumerate(changes))
        number += len(changes)
        if changes:
            came += checked(lines, most)
    lines.close()
    while batch := checked(lines, most):
        came += batch

    assert sorted(number for number, _ in came) == list(range(number))
    last: dict[object, int] = {}
    for place, (number, change) in enumerate(came):
        line = line_of(change)
        assert last.get(line, -1) < number
        last[line] = number
        if isinstance(change, ForgetTopic):
            assert all(before < number for before, _ in came[:place])
            assert all(after > number for after, _ in came[place + 1 :])


def checked(lines: WriteLines, most: int) -> list[Submission]:
    """The next batch, which is within its bounds; nothing once all are taken and the lines are closed."""
    batch = lines.take(most)
    if batch is None:
        return []
    assert isinstance(batch, list)
    assert 1 <= len(batch) <= most
    topics = Counter(change.topic for _, change in batch if not isinstance(change, Write | ForgetBefore))
    assert max(topics.values(), default=0) <= STORE_BATCH_OF_TOPIC_MAX
    return batch


def test_of_one_topic_a_batch_has_a_part_and_beside_others_a_smaller_one() -> None:
    lines = WriteLines()
    lines.put(numbered(message(0, bringer=bringer(number), by=number) for number in range(2, 500)))
    assert len(taken(lines)) == STORE_BATCH_OF_TOPIC_MAX

    others = message(0, of=2), mutable(1)
    lines.put(numbered(others))
    batch = taken(lines)
    assert len(batch) == STORE_BATCH_OF_TOPIC_BESIDE_OTHERS_MAX + len(others)
    assert set(others) < set(batch)
    assert len(taken(lines)) == STORE_BATCH_OF_TOPIC_MAX
    assert (
        len(all_taken(lines)) == 498 - 2 * STORE_BATCH_OF_TOPIC_MAX - STORE_BATCH_OF_TOPIC_BESIDE_OTHERS_MAX
    )


def test_messages_to_many_topics_fill_a_batch() -> None:
    lines = WriteLines()
    lines.put(numbered(message(index, of=number) for number in range(20) for index in range(3)))

    assert len(taken(lines, 32)) == 32
    assert len(taken(lines, 32)) == 28


def test_records_have_their_turn_and_keep_their_order() -> None:
    lines = WriteLines()
    writes = [mutable(1, seq=seq) for seq in range(10)]
    lines.put(numbered(run(0, 1_000, bringer=EVE)))
    lines.put(numbered(writes))

    batch = taken(lines, 20)

    assert [change for change in batch if change in writes] == writes


def test_records_have_every_other_turn_however_many_bring_messages() -> None:
    lines = WriteLines()
    lines.put(numbered(message(0, bringer=bringer(number), by=number) for number in range(500)))
    writes = [mutable(slot) for slot in range(10)]
    lines.put(numbered(writes))

    batch = taken(lines, 20)

    assert [change for change in batch if change in writes] == writes


def test_what_one_brings_to_a_topic_keeps_its_order() -> None:
    lines = WriteLines()
    lines.put(
        numbered(
            change for pair in zip(run(0, 50), run(50, 100, bringer=EVE), strict=True) for change in pair
        )
    )

    batch = all_taken(lines)

    for who, expected in ((bringer(1), run(0, 50)), (EVE, run(50, 100, bringer=EVE))):
        assert [change for change in batch if change.bringer == who] == expected  # type: ignore[union-attr]


def test_a_topic_is_forgotten_between_what_came_before_and_after() -> None:
    lines = WriteLines()
    before = [message(0), message(1, bringer=EVE), message(2)]
    after = [message(3, bringer=EVE), message(4)]
    lines.put(numbered([*before, ForgetTopic(topic(1)), *after]))

    batch = taken(lines)

    assert set(batch[:3]) == set(before)
    assert batch[3] == ForgetTopic(topic(1))
    assert set(batch[4:]) == set(after)


def test_no_batch_is_empty_where_one_ended_with_a_topic_that_is_forgotten() -> None:
    lines = WriteLines()
    lines.put(numbered([message(0), ForgetTopic(topic(1))]))
    lines.close()

    assert len(taken(lines, 2)) == 2
    assert lines.take(2) is None


def test_batch_ends_where_it_is_full() -> None:
    lines = WriteLines()
    lines.put(numbered(run(0, 5)))

    assert [len(taken(lines, 2)) for _ in range(3)] == [2, 2, 1]


def test_sweeps_and_batches_take_turns() -> None:
    lines = WriteLines()
    lines.put(numbered([*run(0, 4), ForgetBefore(NOW)]))
    lines.order(Sweep(1.0))
    lines.order(Sweep(2.0))

    found = [lines.take(3) for _ in range(4)]

    assert [each if isinstance(each, Sweep) else len(each or ()) for each in found] == [
        3,
        Sweep(1.0),
        2,
        Sweep(2.0),
    ]


def test_what_is_damaged_goes_before_what_waits() -> None:
    lines = WriteLines()
    lines.put(numbered(run(0, 4)))
    lines.order(Sweep(1.0))
    lines.order(DropDamagedEnvelope(7))

    assert lines.take(MOST) == DropDamagedEnvelope(7)


def test_closed_lines_are_emptied_before_they_end() -> None:
    lines = WriteLines()
    lines.put(numbered(run(0, 3)))
    lines.order(Sweep(1.0))
    lines.close()

    assert len(taken(lines)) == 3
    assert lines.take(MOST) == Sweep(1.0)
    assert lines.take(MOST) is None


def test_whoever_takes_waits_for_something() -> None:
    lines = WriteLines()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(taken, lines)
        lines.put(numbered([message()]))
        assert waiting.result(10) == [message()]
        ending = thread.submit(lines.take, MOST)
        lines.close()
        assert ending.result(10) is None
