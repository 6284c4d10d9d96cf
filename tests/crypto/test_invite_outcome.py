from __future__ import annotations

import pytest

from yzdht.crypto.invite_outcome import Outcome, error_of, outcome_of
from yzdht.errors import InvalidKey, InviteRefused, InviteUnanswered, InviteUsedUp


def test_the_joiner_raises_what_the_issuer_raised() -> None:
    for outcome in Outcome:
        if outcome in {Outcome.ADMITTED, Outcome.LATER}:
            continue
        error = error_of(outcome)
        assert isinstance(error, InviteRefused | InvalidKey)
        assert outcome_of(error) is outcome
        assert error.hint


def test_later_is_no_refusal() -> None:
    assert isinstance(error_of(Outcome.LATER), InviteUnanswered)


@pytest.mark.parametrize("number", [13, 255])
def test_a_number_that_is_not_known_is_a_refusal(number: int) -> None:
    error = error_of(number)

    assert type(error) is InviteRefused
    assert error.hint


def test_the_numbers_are_those_of_section_12() -> None:
    assert [int(outcome) for outcome in Outcome] == list(range(13))
    assert Outcome.USED_UP == outcome_of(InviteUsedUp("")) == 9
