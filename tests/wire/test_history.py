from __future__ import annotations

from tests.store.messages import bringer, message, series
from yzdht.wire.history import BRINGER_BYTES


def test_message_says_of_which_series_it_is() -> None:
    assert message(3, by=2, session=7).series == series(2, 7)


def test_bringer_has_the_length_that_it_should() -> None:
    assert len(bringer(1)) == BRINGER_BYTES
