from __future__ import annotations

from yzdht.telemetry import Counters


def test_what_was_never_counted_is_zero_and_leaves_no_trace() -> None:
    counters = Counters()

    assert counters.get("calls") == counters.get("calls", "x") == 0
    assert counters.as_dict() == {}


def test_one_counter_or_the_sum_over_its_labels() -> None:
    counters = Counters()
    counters.add("calls", "timeout")
    counters.add("calls", "ok", 3)
    counters.add("calls")
    counters.add("dials", "ok")

    assert counters.get("calls", "ok") == 3
    assert counters.get("calls", "") == 1
    assert counters.get("calls") == 5


def test_the_view_is_sorted_and_names_labels_after_a_colon() -> None:
    counters = Counters()
    counters.add("dials")
    counters.add("calls", "ok", 2)
    counters.add("calls", "busy")

    assert list(counters.as_dict().items()) == [("calls:busy", 1), ("calls:ok", 2), ("dials", 1)]
