"""Requests of a session that wait, beside a plain model."""

from __future__ import annotations

from hypothesis import given, strategies as st

from yzdht.limits import DEFERRED_REQUESTS_BYTES_MAX, DEFERRED_REQUESTS_MAX
from yzdht.rpc.session import Requested
from yzdht.sessions.waiting_requests import WaitingRequests
from yzdht.wire.rpc import Empty, Method


def request(number: int) -> Requested:
    return Requested(number, Method.PING, Empty())


STEPS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from((None, b"a", b"b", b"c")), st.booleans()),
    st.tuples(st.just("take"), st.none(), st.booleans()),
)


@given(st.lists(STEPS, max_size=60))
def test_what_is_about_one_topic_waits_in_one_line_and_in_its_order(
    steps: list[tuple[str, bytes | None, bool]],
) -> None:
    waiting = WaitingRequests()
    lines: dict[bool, list[tuple[int, bytes | None]]] = {False: [], True: []}
    for number, (step, topic, is_late) in enumerate(steps):
        if step == "add":
            known = waiting.are_late(topic)
            expected = [late for late, line in lines.items() if topic and topic in [t for _, t in line]]
            assert known == (expected[0] if expected else None)
            where = is_late if known is None else known
            waiting.add(request(number), 10, topic, is_late=where)
            lines[where].append((number, topic))
        else:
            taken = waiting.take(is_late=is_late)
            assert taken == (request(lines[is_late].pop(0)[0]) if lines[is_late] else None)
        assert len(waiting) == len(lines[False]) + len(lines[True])
        assert (waiting.has_others, waiting.has_late) == (bool(lines[False]), bool(lines[True]))
    waiting.clear()
    assert len(waiting) == 0
    assert waiting.are_late(b"a") is None


def test_each_line_is_full_by_itself() -> None:
    waiting = WaitingRequests()

    def full() -> tuple[bool, bool]:
        return waiting.is_late_full, waiting.are_others_full

    for number in range(DEFERRED_REQUESTS_MAX):
        assert full() == (False, False)
        waiting.add(request(number), 1, b"a", is_late=True)
    assert full() == (True, False)

    waiting.add(request(0), DEFERRED_REQUESTS_BYTES_MAX - 1, None, is_late=False)
    assert full() == (True, False)
    waiting.add(request(1), 1, None, is_late=False)
    assert full() == (True, True)
    waiting.take(is_late=False)
    waiting.take(is_late=True)
    assert full() == (False, False)
