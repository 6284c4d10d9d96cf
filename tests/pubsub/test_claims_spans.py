"""Spans joined, and less others: in one pass, and the same as cell by cell."""

from __future__ import annotations

from hypothesis import given, strategies as st

from yzdht.pubsub.claims import joined, without_all
from yzdht.wire.holdings import Held, Span


_TAKEN = st.lists(st.builds(lambda at, size: Span(at, at + size), st.integers(0, 40), st.integers(0, 6)))
_ANY = st.lists(st.builds(Span, st.integers(0, 40), st.integers(0, 40)))


def cells(spans: list[Span]) -> list[int]:
    return [index for span in spans for index in range(*span)]


@given(_ANY)
def test_what_is_joined_is_what_lies_in_some_of_them(spans: list[Span]) -> None:
    assert joined(spans) == Held.of(0, sorted(set(cells(spans)))).runs


@given(st.sets(st.integers(0, 45)), _TAKEN)
def test_what_is_left_is_what_none_of_them_takes(held: set[int], taken: list[Span]) -> None:
    spans = Held.of(0, sorted(held)).runs

    assert cells(without_all(spans, taken)) == sorted(held - set(cells(taken)))


def test_many_spans_less_many_others_are_few_parts() -> None:
    spans = [Span(2 * number, 2 * number + 1) for number in range(20_000)]

    assert without_all(spans, spans) == []
    assert without_all(spans, [Span(2 * number + 1, 2 * number + 2) for number in range(20_000)]) == spans
