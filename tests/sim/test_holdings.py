from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from tests.sim.holdings import lengths_of
from yzdht.kad.departed import Departed
from yzdht.rpc.bucket import Buckets, Rate
from yzdht.telemetry import Telemetry


RATE = Rate(1, 1)


class Holder(Telemetry):
    """One of the package's kind."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held


def test_containers_are_counted_by_whose_they_are() -> None:
    buckets = Buckets(9)
    buckets.take("a", 1, RATE, 0.0)
    buckets.take("b", 1, RATE, 0.0)

    assert lengths_of(buckets) == {"Buckets": 1, "Buckets._levels": 2, "_Level": 2, "Rate": 1}


def test_what_is_within_containers_is_counted_and_everything_once() -> None:
    inner = [1, 2, 3]
    found = lengths_of(Holder({"a": inner, "b": deque([inner, {4}])}))

    assert found["Holder.held"] == 2
    assert found["Holder.held[]"] == 2 + 3
    assert found["Holder.held[][]"] == 1


def test_what_waits_in_closures_methods_and_partials_is_found() -> None:
    hidden = Buckets(9)

    def wait() -> Buckets:
        return hidden

    for held in (wait, hidden.take, partial(print, hidden)):
        assert lengths_of(Holder([held]))["Buckets"] == 1


def test_a_container_of_our_own_is_both() -> None:
    departed = Departed(0)
    assert lengths_of(Holder(departed))["Departed"] == 1
    assert lengths_of(Holder(departed))["Holder.held"] == 0


def test_strangers_are_not_walked_into() -> None:
    class Stranger:
        def __init__(self) -> None:
            self.much = list(range(100))

    assert "Stranger.much" not in lengths_of(Holder(Stranger()))
