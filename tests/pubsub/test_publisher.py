from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_publisher import (
    SILENT,
    STORED,
    TARGET,
    Desk,
    at,
    contact,
    envelope,
    refused,
)
from yzdht.limits import (
    PUBLISH_DEADLINE_S,
    PUBLISH_RETRY_S_MAX,
    PUBLISH_RETRY_S_MIN,
    PUBLISH_TIMEOUT_S_MAX,
    PUBLISHES_MAX,
)
from yzdht.pubsub.hosts import HostFinder
from yzdht.pubsub.publisher import Publisher, PublishResult, majority
from yzdht.rpc.engine import Answer
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Published, Status


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ports import Now
    from yzdht.wire.pubsub import PubsubEnvelope


class Story:
    """One publisher, at a node that is no host unless told."""

    def __init__(self, own: int = 1_000) -> None:
        self.desk = Desk()
        self.at_home: list[Callable[[Answer, Now], None]] = []
        own_contact = contact(own)
        self.finder = HostFinder(own_contact, self.desk.outbox, lambda _topic: TARGET)
        self.publisher = Publisher(own_contact.node_id, self.desk.outbox, self.finder, self._take)
        self.results: list[PublishResult] = []

    def _take(self, _envelope: PubsubEnvelope, then: Callable[[Answer, Now], None], _now: Now) -> None:
        self.at_home.append(then)

    def publish(self, hosts: tuple[int, ...] = (1, 2, 3), patience_s: float = PUBLISH_DEADLINE_S) -> None:
        def then(result: PublishResult, _now: Now) -> None:
            self.results.append(result)

        assert self.publisher.publish(envelope(), then, at(0), patience_s)
        self.desk.found([contact(number) for number in hosts], at(0))


@pytest.mark.parametrize(("hosts", "needed"), [(1, 1), (2, 2), (3, 2)])
def test_a_majority_is_more_than_half(hosts: int, needed: int) -> None:
    assert majority(hosts) == needed


def test_every_host_is_sent_the_message_and_two_of_three_are_enough() -> None:
    story = Story()
    story.publish()
    assert story.desk.asked() == [1, 2, 3]

    story.desk.answer(1, STORED, at(0.1))
    assert story.results == []
    story.desk.answer(3, STORED, at(0.2))

    assert story.results == [PublishResult(2, 3)]
    assert story.results[0].is_accepted
    assert len(story.publisher) == 0


def test_the_third_answer_comes_to_nobody() -> None:
    story = Story()
    story.publish()
    for number in (1, 2, 3):
        story.desk.answer(number, STORED, at(0.1))

    assert len(story.results) == 1
    assert story.publisher.next_timer() is None


def test_a_node_that_is_a_host_takes_its_own_message() -> None:
    story = Story(own=2)
    story.publish((1, 3, 4))

    assert story.desk.asked() == [1, 3]
    story.at_home[0](STORED, at(0.1))
    story.desk.answer(1, STORED, at(0.1))
    assert story.results == [PublishResult(2, 3)]


def test_a_node_alone_is_the_only_host() -> None:
    story = Story(own=2)
    story.publish(())

    story.at_home[0](STORED, at(0.1))

    assert story.results == [PublishResult(1, 1)]


def test_a_silent_host_is_asked_again_and_a_new_one_found() -> None:
    story = Story()
    story.publish()
    story.desk.answer(1, STORED, at(0.1))
    story.desk.answer(2, SILENT, at(3))
    story.desk.answer(3, SILENT, at(3))

    due = story.publisher.next_timer()
    assert due == 3 + PUBLISH_RETRY_S_MIN
    story.publisher.handle_timer(at(due))
    story.desk.found([contact(1), contact(3), contact(4)], at(due))

    assert story.desk.asked() == [3, 4]
    story.desk.answer(4, STORED, at(due))
    assert story.results == [PublishResult(2, 3)]


def test_who_is_no_host_any_more_does_not_count() -> None:
    story = Story()
    story.publish()
    story.desk.answer(1, STORED, at(0.1))
    story.desk.answer(2, refused(Status.REFUSED), at(0.1))
    due = story.publisher.next_timer()
    assert due is not None
    story.publisher.handle_timer(at(due))
    story.desk.found([contact(3), contact(4), contact(5)], at(due))

    story.desk.answer(3, STORED, at(due))
    assert story.results == []
    story.desk.answer(5, STORED, at(due))
    assert story.results == [PublishResult(2, 3)]


def test_who_has_no_time_is_asked_when_it_said() -> None:
    story = Story()
    story.publish()
    story.desk.answer(1, STORED, at(0))
    story.desk.answer(2, refused(Status.RATE_LIMITED, 4_000), at(0))
    story.desk.answer(3, refused(Status.RATE_LIMITED, 5_000), at(0))

    assert story.publisher.next_timer() == 4.0
    story.publisher.handle_timer(at(4.0))

    assert story.desk.asked() == [2]


def test_the_same_host_is_asked_less_and_less_often() -> None:
    story = Story()
    story.publish((1,))
    pauses, now = [], 0.0
    for _ in range(5):
        story.desk.answer(1, refused(Status.BUSY), at(now))
        due = story.publisher.next_timer()
        assert due is not None
        pauses.append(due - now)
        now = due
        story.publisher.handle_timer(at(now))
    story.desk.look()

    assert pauses == sorted(pauses)
    assert pauses[-1] == PUBLISH_RETRY_S_MAX


def test_it_is_tried_for_as_long_as_is_wanted_however_often_that_is() -> None:
    story = Story()
    story.publish((1,), patience_s=PUBLISH_TIMEOUT_S_MAX)
    now, tries = 0.0, 0
    while not story.results:
        if story.desk.asked():
            story.desk.answer(1, refused(Status.BUSY), at(now))
            tries += 1
        due = story.publisher.next_timer()
        assert due is not None
        now = due
        story.publisher.handle_timer(at(now))
        story.desk.look()
        while story.desk.finds:
            story.desk.found([contact(1)], at(now))
    assert now == PUBLISH_TIMEOUT_S_MAX
    assert tries > PUBLISH_TIMEOUT_S_MAX / PUBLISH_RETRY_S_MAX


def test_what_most_hosts_refuse_for_good_ends_at_once() -> None:
    story = Story()
    story.publish()
    story.desk.answer(1, refused(Status.BAD_SIGNATURE), at(0))
    assert story.results == []
    story.desk.answer(2, refused(Status.BAD_SIGNATURE), at(0))

    assert story.results == [PublishResult(0, 3, Status.BAD_SIGNATURE)]
    assert not story.results[0].is_accepted


def test_one_host_that_lies_decides_nothing() -> None:
    story = Story()
    story.publish()
    story.desk.answer(1, refused(Status.EQUIVOCATION), at(0))
    story.desk.answer(2, STORED, at(0))
    story.desk.answer(3, STORED, at(0))

    assert story.results[0].is_accepted


def test_what_is_over_at_two_hosts_is_published_no_more() -> None:
    story = Story()
    story.publish()
    story.desk.answer(1, refused(Status.SEQ_TOO_LOW, 5), at(0))
    story.desk.answer(2, STORED, at(0))
    assert story.results == []
    story.desk.answer(3, refused(Status.SEQ_TOO_LOW, 5), at(0))

    assert story.results == [PublishResult(1, 3, Status.SEQ_TOO_LOW)]


def test_an_answer_that_says_stored_nowhere_is_no_success() -> None:
    story = Story()
    story.publish((1,))
    story.desk.answer(1, Answer(Status.OK, Published(0, 1)), at(0))

    assert story.results == []


@pytest.mark.parametrize("patience_s", [PUBLISH_DEADLINE_S, 60.0])
def test_it_ends_after_its_time_with_what_is_known(patience_s: float) -> None:
    story = Story()
    story.publish(patience_s=patience_s)
    story.desk.answer(1, STORED, at(0.1))
    for number in (2, 3):
        story.desk.answer(number, refused(Status.BUSY), at(0.1))
    ended = 0.0
    while not story.results:
        due = story.publisher.next_timer()
        assert due is not None
        assert due <= patience_s
        ended = due
        story.publisher.handle_timer(at(due))
        story.desk.look()
        for number in story.desk.asked():
            story.desk.answer(number, refused(Status.BUSY), at(due))
        while story.desk.finds:
            story.desk.found([contact(1), contact(2), contact(3)], at(due))

    assert (story.results, ended) == ([PublishResult(1, 3, Status.BUSY)], patience_s)


def test_without_any_host_it_looks_again_until_its_time_is_over() -> None:
    story = Story()
    story.finder = HostFinder(contact(1_000, Caps.ALWAYS), story.desk.outbox, lambda _topic: TARGET)
    story.publisher = Publisher(contact(1_000).node_id, story.desk.outbox, story.finder, lambda *_: None)
    story.publish(())
    assert story.results == []

    due = story.publisher.next_timer()
    assert due == PUBLISH_RETRY_S_MAX
    story.publisher.handle_timer(at(due))
    story.desk.found([contact(1)], at(due))
    story.desk.answer(1, STORED, at(due))

    assert story.results == [PublishResult(1, 1)]


def test_what_is_under_way_is_bounded() -> None:
    story = Story()
    for index in range(PUBLISHES_MAX):
        assert story.publisher.publish(envelope(index), lambda _result, _now: None, at(0))

    assert not story.publisher.publish(envelope(PUBLISHES_MAX), lambda _result, _now: None, at(0))


def test_stopping_tells_how_far_it_came() -> None:
    story = Story()
    story.publish()
    story.desk.answer(1, STORED, at(0))

    story.publisher.stop(at(1))

    assert story.results == [PublishResult(1, 3)]


def test_a_node_that_knows_nothing_of_topics_is_no_host_and_hosts_are_looked_up_again() -> None:
    story = Story()
    story.publish()
    story.desk.answer(1, refused(Status.UNKNOWN_METHOD), at(0.1))
    assert story.results == []
    story.publisher.handle_timer(at(0.1 + PUBLISH_RETRY_S_MIN))
    story.desk.found([contact(2), contact(3), contact(4)], at(0.5))
    assert story.desk.asked() == [2, 3, 4]
    story.desk.answer(4, STORED, at(0.6))
    story.desk.answer(2, STORED, at(0.6))

    assert story.results == [PublishResult(2, 3)]


def test_two_of_three_are_enough_though_the_third_knows_nothing_of_topics() -> None:
    story = Story()
    story.publish()
    for number, answer in ((1, refused(Status.UNKNOWN_METHOD)), (2, STORED), (3, STORED)):
        story.desk.answer(number, answer, at(0.1))

    assert story.results == [PublishResult(2, 3, Status.UNKNOWN_METHOD)]
    assert story.results[0].is_accepted
