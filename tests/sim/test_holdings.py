from __future__ import annotations

from collections import Counter, deque
from functools import partial
from typing import Any

from tests.sim.holdings import PER_RECORD, PER_SLOT, SLOTS, grown, left_of_slots, lengths_of
from tests.store.writes import mutable
from yzdht.kad.departed import Departed
from yzdht.rpc.bucket import Buckets, Rate
from yzdht.store.memory import MemoryStore
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


def measured(**sizes: int) -> list[Counter[str]]:
    return [Counter({SLOTS: 100, **sizes})]


def test_what_has_more_than_a_few_and_a_quarter_more_has_grown() -> None:
    assert grown(measured(kept=100), measured(kept=135), 10) == []
    assert grown(measured(kept=100), measured(kept=136), 10) == ["kept grew from 100 to 136"]
    assert grown(measured(), measured(new=11), 10) == ["new grew from 0 to 11"]


def test_one_measurement_that_is_larger_says_nothing() -> None:
    early, high = measured(kept=1), measured(kept=100)
    assert grown(early, early * 2 + high, 0) == []
    assert grown(early, early + high * 2, 0) == ["kept grew from 1 to 100"]


def test_what_is_kept_for_records_may_grow_as_they_do_and_no_more() -> None:
    early, late = measured(Filled=100, kept=10), measured(Filled=260, kept=10)
    late[0][SLOTS] = 200
    names = frozenset({"Filled", SLOTS})

    assert grown(early, late, 10, names) == []
    assert grown(early, late, 10) == ["Filled grew from 100 to 260", f"{SLOTS} grew from 100 to 200"]
    late[0]["Filled"] = 261
    assert grown(early, late, 10, names) == ["Filled grew from 100 to 261"]


def test_what_is_left_of_a_slot_that_is_gone_is_found() -> None:
    full = Counter({SLOTS: 50} | {name: 50 * most for name, most in PER_SLOT.items()})
    assert left_of_slots(full, 1) == []
    for name in PER_SLOT:
        assert left_of_slots(full + Counter({name: 60}), 1) == [f"{full[name] + 60} in {name} for 50 slots"]


def test_a_store_has_all_that_is_said_to_be_kept_for_a_slot() -> None:
    store = MemoryStore(lambda _verdicts: None, lambda _run: None)
    for number in range(20):
        store.submit(number, mutable(number))
    sizes = lengths_of(store)

    assert sizes[SLOTS] == 20
    assert {name for name in PER_SLOT if not sizes[name]} == set()
    assert PER_SLOT.keys() < PER_RECORD
    assert left_of_slots(sizes, 1) == []
