from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.pubsub.kit_feed import contact, raw, row, series
from yzdht.limits import EDGE_ORDER_S, EDGE_ROWS_MAX, HOLES_MAX
from yzdht.pubsub.relayed_rows import RelayedRows
from yzdht.wire.holdings import claimed
from yzdht.wire.pubsub import decode_envelope


if TYPE_CHECKING:
    from yzdht.wire.rpc import SummaryRow


ONE = series(1)
NOW = 1_000.0
HOSTS = [contact(number).node_id for number in (1, 2, 3)]


def indexes(said: SummaryRow | None) -> set[int]:
    return set() if said is None else {index for span in claimed(said) for index in range(*span)}


@given(st.lists(st.tuples(st.integers(0, 20), st.sets(st.integers(0, 40))), min_size=1, max_size=3))
def test_a_row_claims_what_any_host_claims_and_nothing_else(of_hosts: list[tuple[int, set[int]]]) -> None:
    rows = RelayedRows()
    claims: set[int] = set()
    for host, (first, holes) in zip(HOSTS, of_hosts, strict=False):
        said = row(ONE, first, 41, *sorted(hole for hole in holes if hole >= first))
        rows.hear(host, said)
        claims |= indexes(said)

    assert indexes(rows.row(ONE, HOSTS, HOSTS)) == claims


def test_what_was_dropped_by_all_hosts_is_not_told_of_any_more() -> None:
    rows = RelayedRows()
    for host in HOSTS[:2]:
        assert rows.hear(host, row(ONE, 0, 10)) is (host is HOSTS[0])
    for host in HOSTS[:2]:
        assert not rows.hear(host, row(ONE, 7, 10))

    assert rows.row(ONE, HOSTS, HOSTS) == row(ONE, 7, 10)


def test_what_a_host_claimed_that_is_none_any_more_is_forgotten_unless_nobody_else_said_anything() -> None:
    rows = RelayedRows()
    rows.hear(HOSTS[0], row(ONE, 0, 2**32 - 2))
    assert rows.row(ONE, HOSTS[1:], HOSTS[1:]) == row(ONE, 0, 2**32 - 2)
    rows.hear(HOSTS[1], row(ONE, 0, 5))
    assert rows.row(ONE, HOSTS[1:], HOSTS[1:]) == row(ONE, 0, 5)


def test_what_came_by_is_there_whatever_hosts_said() -> None:
    rows = RelayedRows()
    rows.hear(HOSTS[0], row(ONE, 3, 5))
    for index in (5, 7):
        rows.came(decode_envelope(raw(ONE, index)))
    assert rows.row(ONE, HOSTS, HOSTS) == row(ONE, 3, 8, 6)

    rows.came(decode_envelope(raw(ONE, 7 + HOLES_MAX + 2)))
    assert rows.row(ONE, HOSTS, HOSTS) == row(
        ONE, 7 + HOLES_MAX + 2 - HOLES_MAX, 7 + HOLES_MAX + 3, *range(9, 73)
    )


def test_a_gap_that_is_filled_is_news() -> None:
    rows = RelayedRows()
    assert rows.hear(HOSTS[0], row(ONE, 0, 5, 2))
    assert not rows.hear(HOSTS[1], row(ONE, 0, 4))
    assert not rows.hear(HOSTS[1], row(ONE, 0, 5, 2))
    assert rows.hear(HOSTS[1], row(ONE, 0, 5))


def test_who_begins_is_told_where_half_of_the_hosts_are_and_the_rest_after_that() -> None:
    rows = RelayedRows()
    for host, said in zip(
        HOSTS, (row(ONE, 2, 1_000_000, 7, 900), row(ONE, 0, 9, 3), row(ONE, 5, 8)), strict=True
    ):
        rows.hear(host, said)
    told = rows.richest(HOSTS, HOSTS, 0, 10, NOW)
    assert told.rows == (row(ONE, 0, 9),)
    assert told.further == (rows.row(ONE, HOSTS, HOSTS),)

    rows.came(decode_envelope(raw(ONE, 9)))
    assert rows.richest(HOSTS, HOSTS, 0, 10, NOW).rows == (row(ONE, 0, 10),)


@pytest.mark.parametrize("beyond", [1, HOLES_MAX, HOLES_MAX + 1, 2**31])
def test_who_claims_what_lies_far_above_hides_nothing_that_lies_below(beyond: int) -> None:
    rows = RelayedRows()
    for host in HOSTS[:2]:
        rows.hear(host, row(ONE, 0, 9, 3))
    assert rows.hear(HOSTS[2], row(ONE, 9 + beyond, 9 + beyond + 1))
    is_told = beyond < HOLES_MAX

    full = rows.row(ONE, HOSTS, HOSTS)
    assert indexes(full) == {*range(9)} - {3} | ({9 + beyond} if is_told else set())
    told = rows.richest(HOSTS, HOSTS, 0, 10, NOW)
    assert told == ((row(ONE, 0, 9, 3),), (full,) if is_told else ())


def test_one_hole_too_many_above_where_hosts_are_hides_nothing() -> None:
    holes = range(1, 2 * HOLES_MAX, 2)
    rows = RelayedRows()
    for host in HOSTS[:2]:
        rows.hear(host, row(ONE, 0, 200, *holes))
    rows.hear(HOSTS[2], row(ONE, 201, 202))
    assert rows.row(ONE, HOSTS, HOSTS) == row(ONE, 0, 200, *holes)


def test_what_is_new_is_told_though_there_are_too_many_holes_below() -> None:
    holes = range(101, 101 + 2 * HOLES_MAX, 2)
    rows = RelayedRows()
    rows.hear(HOSTS[0], row(ONE, 100, 300, *holes))
    rows.hear(HOSTS[1], row(ONE, 100, 301, *holes))
    rows.hear(HOSTS[2], row(ONE, 0, 50))
    assert rows.row(ONE, HOSTS, HOSTS) == row(ONE, 100, 301, *holes)


def test_where_hosts_agree_on_nothing_what_one_says_is_told() -> None:
    rows = RelayedRows()
    rows.hear(HOSTS[0], row(ONE, 500, 501))
    rows.hear(HOSTS[1], row(ONE, 0, 0))
    assert rows.row(ONE, HOSTS, HOSTS) == row(ONE, 500 - HOLES_MAX, 501, *range(500 - HOLES_MAX, 500))


def test_what_one_host_alone_knows_is_told_as_begun_and_then_in_full() -> None:
    rows = RelayedRows()
    rows.hear(HOSTS[0], row(ONE, 3, 9))
    assert rows.richest(HOSTS, HOSTS, 0, 10, NOW) == ((row(ONE, 0, 0),), (row(ONE, 3, 9),))
    assert rows.richest(HOSTS[:1], HOSTS[:1], 0, 10, NOW) == ((row(ONE, 3, 9),), ())
    gone = rows.richest(HOSTS[1:2], HOSTS[1:2], 0, 10, NOW)
    assert gone == ((row(ONE, 0, 0),), (row(ONE, 3, 9),)), "the one that is there knows nothing of it"
    assert rows.richest((), (), 0, 10, NOW) == ((row(ONE, 3, 9),), ())


def test_who_was_named_hides_nothing_of_what_one_host_has_while_the_others_lag_behind() -> None:
    rows = RelayedRows()
    rows.hear(HOSTS[0], row(ONE, 0, 9))
    named = contact(4).node_id
    rows.hear(named, row(ONE, 2**31, 2**31 + 1))
    assert rows.row(ONE, [*HOSTS, named], HOSTS) == row(ONE, 0, 9)


def test_hosts_that_were_not_found_have_no_say_in_where_a_series_begins() -> None:
    rows = RelayedRows()
    rows.hear(HOSTS[0], row(ONE, 0, 5))
    for host in HOSTS[1:]:
        rows.hear(host, row(ONE, 2**31, 2**31))
    assert rows.richest(HOSTS, HOSTS[:1], 0, 10, NOW).rows == (row(ONE, 0, 5),)

    unknown = RelayedRows()
    for host in HOSTS[1:]:
        unknown.hear(host, row(ONE, 2**31, 2**31))
    assert unknown.richest(HOSTS, HOSTS[:1], 0, 10, NOW).rows == (row(ONE, 0, 0),)


def test_series_are_bounded_and_the_newest_of_those_that_are_as_rich_come_first() -> None:
    rows = RelayedRows()
    for number in range(EDGE_ROWS_MAX + 5):
        rows.hear(HOSTS[0], row(series(number), 0, 1))

    assert 0.8 * EDGE_ROWS_MAX < len(rows) <= EDGE_ROWS_MAX
    told = rows.richest(HOSTS[:1], HOSTS[:1], 0, 3, NOW).rows[1:]
    assert told == (row(series(EDGE_ROWS_MAX + 3), 0, 1), row(series(EDGE_ROWS_MAX + 2), 0, 1))
    assert rows.row(series(0), HOSTS, HOSTS) is None


def test_who_said_much_is_on_the_first_page_whatever_else_hosts_tell_meanwhile() -> None:
    rows, now = RelayedRows(), NOW
    rows.hear(HOSTS[0], row(series(0), 0, 3))
    rows.hear(HOSTS[0], row(ONE, 0, 120))
    for number in range(1_000, 1_000 + 2 * EDGE_ROWS_MAX):
        rows.hear(HOSTS[number % 3], row(series(number), 0, 1))
        if number % 500 == 0:
            now += EDGE_ORDER_S
            assert rows.richest(HOSTS, HOSTS, 0, 2, now).further == (row(ONE, 0, 120), row(series(0), 0, 3))

    for host in HOSTS[1:]:
        rows.hear(host, row(series(0), 0, 3))
    assert rows.richest(HOSTS, HOSTS, 0, 1, now + EDGE_ORDER_S).rows == (row(series(0), 0, 3),)


def test_who_reads_page_after_page_is_told_of_all_that_was_there_whatever_grows_or_shrinks_meanwhile() -> (
    None
):
    rows = RelayedRows()
    for number in range(100):
        rows.hear(HOSTS[0], row(series(number), 0, 10))
    told: set[tuple[bytes, bytes]] = set()
    for skip in range(0, 110, 10):
        page = rows.richest(HOSTS[:1], HOSTS[:1], skip, 10, NOW + skip / 100)
        told |= {(each.sender, each.session) for each in page.rows}
        rows.hear(HOSTS[1], row(series(99 - skip % 100), 0, 10))  # as much as before, but of two hosts
        rows.hear(HOSTS[0], row(series(skip % 100), 9, 10))
        rows.hear(HOSTS[2], row(series(1_000 + skip), 0, 500))

    assert told >= {series(number) for number in range(100)}


def test_nothing_follows_the_last_page() -> None:
    rows = RelayedRows()
    rows.hear(HOSTS[0], row(ONE, 0, 1))

    assert (
        rows.richest(HOSTS, HOSTS, 1, 10, NOW) == rows.richest(HOSTS, HOSTS, 2**32 - 1, 10, NOW) == ((), ())
    )


def test_throw_away_senders_push_out_nothing_that_most_hosts_have_nor_who_said_much() -> None:
    rows = RelayedRows()
    for number in range(200):
        for host in HOSTS[:2]:
            rows.hear(host, row(series(number), 0, 1))
    rows.hear(HOSTS[0], row(series(200), 0, 5))
    for number in range(1_000, 1_000 + 2 * EDGE_ROWS_MAX):
        rows.hear(HOSTS[number % 3], row(series(number), 0, 1))

    assert len(rows) <= EDGE_ROWS_MAX
    assert all(rows.row(series(number), HOSTS, HOSTS) for number in range(201))


def test_a_host_that_claims_much_of_senders_whom_nobody_knows_pushes_out_nothing_that_two_have() -> None:
    rows = RelayedRows()
    for host in HOSTS[:2]:
        rows.hear(host, row(ONE, 0, 1))
    for number in range(1_000, 1_000 + 2 * EDGE_ROWS_MAX):
        rows.hear(HOSTS[2], row(series(number), 0, 2**32 - 2))

    assert rows.row(ONE, HOSTS, HOSTS) == row(ONE, 0, 1)
