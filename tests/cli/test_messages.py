"""Messages as people see them."""

from __future__ import annotations

from tests.pubsub.kit_feed import series
from yzdht import Identity
from yzdht.cli.messages import Names, by_time, gap_line, gap_view
from yzdht.ids import MessageId
from yzdht.pubsub.events import Message, RefusalReason, Refused


def message(sender: int, index: int, created: int) -> Message:
    return Message(series(sender), index, MessageId(bytes(20)), created, 0, b"", 100)


def test_what_several_said_before_is_shown_in_the_order_of_its_time() -> None:
    told = [message(1, 0, 30), message(1, 1, 50), message(2, 0, 10), message(2, 1, 40), message(3, 0, 30)]
    assert [(m.series, m.created) for m in by_time(told)] == [
        (series(2), 10), (series(3), 30), (series(1), 30), (series(2), 40), (series(1), 50),
    ]  # fmt: skip


def test_those_of_one_process_stay_in_their_order_whatever_its_clock_did() -> None:
    told = [message(1, 0, 50), message(1, 1, 20), message(1, 2, 60), message(2, 0, 30), message(2, 1, 55)]
    assert [(m.series, m.index) for m in by_time(told)] == [
        (series(2), 0), (series(1), 0), (series(1), 1), (series(2), 1), (series(1), 2),
    ]  # fmt: skip


def test_what_came_and_is_not_told_is_shown_with_its_reason() -> None:
    sender = Identity.generate().public_key
    names = Names(sender, {sender: "you"})
    event = Refused(series(1)._replace(sender=sender), 7, RefusalReason.TOO_OLD)
    view = gap_view(event, names)

    assert (view["gap"], view["from"], view["count"]) == ("refused", 7, 1)
    assert view["reason"] == "it is older than what is remembered"
    assert gap_line(event, names).endswith(" is not shown: it is older than what is remembered")
