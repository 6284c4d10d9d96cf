from __future__ import annotations

from hypothesis import given, strategies as st

from tests.store.messages import series
from yzdht.wire.holdings import Held, Holdings


@given(st.integers(0, 5), st.sets(st.integers(0, 40)))
def test_what_is_built_of_indexes_is_what_adding_them_gives(floor: int, indexes: set[int]) -> None:
    added = Held(floor)
    for index in indexes:
        added.add(index)

    built = Held.of(floor, sorted(index for index in indexes if index >= floor))

    assert (built.floor, built.runs, built.next) == (added.floor, added.runs, added.next)


def test_series_that_is_put_is_the_newest() -> None:
    holdings = Holdings()
    for sender in (1, 2, 1):
        holdings.put(series(sender), Held.of(0, [sender]))

    assert list(holdings) == [series(2), series(1)]
    assert holdings.of(series(1)).next == 2
