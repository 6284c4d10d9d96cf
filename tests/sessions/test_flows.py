"""What is asked about far more than the rest."""

from __future__ import annotations

from yzdht.limits import FLOW_REQUESTS_LIGHT, FLOW_WINDOW_S, FLOWS_MAX
from yzdht.sessions.flows import Flows


def number(of: int) -> bytes:
    return of.to_bytes(16)


def ask(flows: Flows, about: bytes, times: int, mono: float = 0.0) -> int:
    """How many of these go after others; all are served."""
    late = 0
    for _ in range(times):
        late += flows.is_busy(about, mono)
        flows.count(about, mono)
    return late


def test_what_is_asked_about_too_much_is_busy_and_nothing_else_is() -> None:
    flows = Flows()

    assert ask(flows, b"flooded", FLOW_REQUESTS_LIGHT) == 0
    assert ask(flows, b"flooded", 50) == 50
    assert ask(flows, b"other", 50) == 0


def test_what_is_not_served_does_not_count() -> None:
    flows = Flows()

    assert not any(flows.is_busy(b"refused", 0.0) for _ in range(2 * FLOW_REQUESTS_LIGHT))


def test_it_is_so_over_two_windows_and_no_longer() -> None:
    flows = Flows()
    ask(flows, b"flooded", FLOW_REQUESTS_LIGHT)
    assert ask(flows, b"flooded", 1, FLOW_WINDOW_S) == 1

    flows = Flows()
    ask(flows, b"flooded", FLOW_REQUESTS_LIGHT)
    ask(flows, b"other", 1, FLOW_WINDOW_S)
    assert ask(flows, b"flooded", 1, 2 * FLOW_WINDOW_S) == 0

    flows = Flows()
    ask(flows, b"flooded", 2 * FLOW_REQUESTS_LIGHT)
    assert ask(flows, b"flooded", 1, 100 * FLOW_WINDOW_S) == 0


def test_what_nobody_asked_about_lately_is_one_flow() -> None:
    flows = Flows()
    ask(flows, b"known", 2)
    late = [ask(flows, number(n), 1) for n in range(2 * FLOW_REQUESTS_LIGHT)]

    assert late.index(1) == FLOW_REQUESTS_LIGHT - 1  # the first about what is known by now was one of them
    assert all(late[FLOW_REQUESTS_LIGHT:])
    assert ask(flows, b"known", 10) == 0
    assert ask(flows, number(1), 10) == 0  # it is known since


def test_what_was_known_in_the_window_before_is_known() -> None:
    flows = Flows()
    ask(flows, b"known", 1)
    for n in range(2 * FLOW_REQUESTS_LIGHT):
        ask(flows, number(n), 1, FLOW_WINDOW_S)

    assert ask(flows, b"known", 1, FLOW_WINDOW_S) == 0
    assert ask(flows, b"new", 1, FLOW_WINDOW_S) == 1


def test_so_many_are_known_and_the_rest_stays_new() -> None:
    flows = Flows()
    ask(flows, b"known", 1)
    for n in range(FLOWS_MAX + 1_000):
        ask(flows, number(n), 1)

    assert len(flows._now) == FLOWS_MAX // 2
    assert ask(flows, b"too many", 3) == 3
    assert ask(flows, b"known", 3) == 0


def test_who_makes_up_ever_new_topics_does_not_have_others_forgotten() -> None:
    flows = Flows()
    ask(flows, b"known", 1)
    for window in range(1, 4):
        mono = window * FLOW_WINDOW_S
        for n in range(FLOWS_MAX + 100):
            flows.count(number(window * 1_000_000 + n), mono)
        assert ask(flows, b"known", 10, mono) == 0
        assert len(flows._now) <= FLOWS_MAX


def test_however_long_that_goes_on_so_many_are_known() -> None:
    flows = Flows()
    for window in range(6):
        mono = window * FLOW_WINDOW_S
        for n in range((window + 1) * FLOWS_MAX):
            flows.count(number(n), mono)
        assert len(flows._now) <= FLOWS_MAX
