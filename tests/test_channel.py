"""One topic as one identity reads and writes it; what is published and heard through it: test_topics.py, test_subscription.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crypto.test_topics import EPOCH, HELLO, TOPIC, place, sealed, signed
from tests.vectors.golden import KEY_A, KEY_B
from yzdht.channel import Channel, KnownOfGroup
from yzdht.crypto.topics import MessageKeys
from yzdht.errors import NotAMember, WireError
from yzdht.limits import READY_AFTER_S
from yzdht.pubsub.events import UnknownEpoch
from yzdht.wire.pubsub import PubsubMessage, decode_envelope


if TYPE_CHECKING:
    from collections.abc import Callable


ME, OTHER = KEY_A.public_key, KEY_B.public_key


class Later:
    """What is to be done after a while."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def __call__(self, seconds: float, do: Callable[[], None]) -> None:
        assert seconds == READY_AFTER_S
        self.due.append(do)

    def come(self) -> None:
        due, self.due = self.due, []
        for do in due:
            do()


def of_group(keys: MessageKeys, *, is_removed: bool = False) -> Channel:
    channel = Channel(TOPIC, "team")
    assert channel.learn(KnownOfGroup(keys, frozenset((ME,)), is_removed))
    return channel


def test_a_group_is_its_members_and_a_public_topic_everybodys() -> None:
    team, public = of_group(MessageKeys([EPOCH])), Channel(TOPIC, None)
    team.check_writer(ME)
    with pytest.raises(NotAMember):
        team.check_writer(OTHER)
    with pytest.raises(NotAMember):
        of_group(MessageKeys([EPOCH]), is_removed=True).check_membership(ME)

    public.check_writer(OTHER)
    assert (team.may_change, public.may_change) == (True, False)


def test_what_is_built_is_read_and_each_kind_only_where_it_belongs() -> None:
    team, public = of_group(MessageKeys([EPOCH])), Channel(TOPIC, None)
    envelope = decode_envelope(signed(team.build(place(), HELLO)).raw)
    assert team.open(envelope) == HELLO
    assert public.open(signed(public.build(place(), HELLO))) == HELLO
    with pytest.raises(WireError):
        public.open(envelope)
    with pytest.raises(WireError):
        team.open(signed(public.build(place(), HELLO)))


def test_of_an_epoch_that_is_not_known_it_says_so() -> None:
    assert of_group(MessageKeys([])).open(sealed()) == UnknownEpoch()


def test_it_makes_itself_ready_once_after_a_while() -> None:
    later = Later()
    team = of_group(MessageKeys([EPOCH]))
    assert isinstance(team.open(sealed()), PubsubMessage)
    for _ in range(3):
        team.make_ready(later)
    assert len(later.due) == 1
    team.learn(KnownOfGroup(MessageKeys([]), frozenset(), is_removed=True))
    later.come()
    team.make_ready(later)
    assert len(later.due) == 1

    public = Channel(TOPIC, None)
    public.make_ready(later)
    assert len(later.due) == 1
