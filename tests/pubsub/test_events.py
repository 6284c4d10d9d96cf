from __future__ import annotations

from tests.pubsub.kit_feed import series
from yzdht.pubsub.events import LossReason, Lost, RefusalReason
from yzdht.wire.holdings import Span


def test_a_loss_is_that_nobody_has_it_unless_it_says_otherwise() -> None:
    assert Lost(series(), Span(1, 2)).reason is LossReason.NOBODY_HAS_IT


def test_reasons_are_words_for_people() -> None:
    assert all(" " in reason for reason in (*LossReason, *RefusalReason))
