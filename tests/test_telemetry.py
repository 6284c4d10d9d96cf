from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, strategies as st

from tests.sessions.kit import Time, until
from yzdht.limits import ERRORS_REMEMBERED_MAX, LOOP_LAG_EVERY_S
from yzdht.rpc.engine import FailReason
from yzdht.telemetry import BOUNDS, Counters, Histogram, RememberedError, Telemetry, watch_loop
from yzdht.wire.rpc import Method, Status


def test_what_was_never_counted_is_zero_and_leaves_no_trace() -> None:
    counters = Counters()

    assert counters.get("calls") == counters.get("calls", "x") == 0
    assert counters.as_dict() == {}
    assert counters.names() == []


def test_one_counter_or_the_sum_over_its_labels() -> None:
    counters = Counters()
    counters.add("calls", "timeout")
    counters.add("calls", "ok", 3)
    counters.add("calls")
    counters.add("dials", "ok")

    assert counters.get("calls", "ok") == 3
    assert counters.get("calls", "") == 1
    assert counters.get("calls") == 5
    assert counters.labels("calls") == {"": 1, "ok": 3, "timeout": 1}
    assert counters.names() == ["calls", "dials"]


def test_the_view_is_sorted_and_names_labels_after_a_colon() -> None:
    counters = Counters()
    counters.add("dials")
    counters.add("calls", "ok", 2)
    counters.add("calls", "busy")

    assert list(counters.as_dict().items()) == [("calls:busy", 1), ("calls:ok", 2), ("dials", 1)]


def test_a_value_equal_to_a_bound_belongs_below_it_and_what_is_above_all_is_counted() -> None:
    histogram = Histogram((1, 2, 5))
    for value in (0, 1, 1.5, 5, 6):
        histogram.add(value)

    assert histogram.cumulative() == [2, 3, 4, 5]
    assert (histogram.count, histogram.sum) == (5, 13.5)


@given(st.lists(st.floats(0, 1e6), max_size=50))
def test_a_histogram_agrees_with_counting_each_bound_anew(values: list[float]) -> None:
    bounds = BOUNDS["operation_seconds"]
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(value)

    assert histogram.cumulative() == [*(sum(v <= b for v in values) for b in bounds), len(values)]


def test_bounds_rise() -> None:
    assert all(list(bounds) == sorted(set(bounds)) for bounds in BOUNDS.values())


def test_histograms_are_kept_by_name_and_label_and_shown_sorted() -> None:
    telemetry = Telemetry()
    telemetry.observe("operation_hops", 2, "read")
    telemetry.observe("operation_asked", 8, "write")
    telemetry.observe("operation_hops", 3, "read")

    assert [(name, label, h.count) for name, label, h in telemetry.histograms()] == [
        ("operation_asked", "write", 1),
        ("operation_hops", "read", 2),
    ]


def test_a_histogram_that_nobody_declared_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Telemetry().observe("gossip", 1)


def test_errors_are_shown_newest_first_and_repeated_ones_once_with_how_often() -> None:
    telemetry = Telemetry()
    telemetry.error("disk full", 10, "make room")
    telemetry.error("port taken", 11)
    telemetry.error("disk full", 12, "make room")

    assert telemetry.errors() == [
        RememberedError("disk full", 12, "make room", times=2),
        RememberedError("port taken", 11),
    ]


def test_only_the_last_errors_are_remembered() -> None:
    telemetry = Telemetry()
    for number in range(ERRORS_REMEMBERED_MAX + 3):
        telemetry.error(f"fault {number}", number)

    kept = telemetry.errors()
    assert len(kept) == ERRORS_REMEMBERED_MAX
    assert kept[-1].what == "fault 3"


def test_a_request_and_what_came_of_it_make_one_label() -> None:
    telemetry = Telemetry()
    telemetry.add("dials")
    telemetry.served(Method.FIND_NODE, Status.OK)
    telemetry.answered(Method.STORE, Status.EQUIVOCATION)
    telemetry.failed(Method.STORE, FailReason.TIMEOUT)
    telemetry.failed(Method.STORE, FailReason.TIMEOUT)

    assert telemetry.as_dict() == {
        "dials": 1,
        "rpc_sent:store/equivocation": 1,
        "rpc_sent:store/timeout": 2,
        "rpc_served:find_node/ok": 1,
    }
    assert telemetry.get("rpc_sent") == 3
    assert telemetry.get("rpc_sent", "store/timeout") == 2
    assert telemetry.labels("rpc_served") == {"find_node/ok": 1}
    assert telemetry.names() == ["dials", "rpc_sent", "rpc_served"]


async def test_how_late_the_loop_comes_is_observed_at_a_steady_pace() -> None:
    clock = Time()
    telemetry = Telemetry()
    watching = asyncio.create_task(watch_loop(telemetry))
    for _ in range(3):
        await clock.advance(LOOP_LAG_EVERY_S)
    await until(telemetry.histograms)
    watching.cancel()

    [(name, label, lag)] = telemetry.histograms()
    assert (name, label) == ("loop_lag_seconds", "")
    assert lag.count >= 1
    assert lag.sum >= 0
