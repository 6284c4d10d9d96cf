from __future__ import annotations

from tests.pubsub.kit_publisher import HOSTING, TARGET, TOPIC, Desk, at, contact
from yzdht.limits import TOPIC_HOSTS_KEPT_S, TOPIC_HOSTS_KNOWN_MAX
from yzdht.pubsub.hosts import HostFinder, hosts_among
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps


OWN = contact(9)


def finder(desk: Desk) -> HostFinder:
    return HostFinder(OWN, desk.outbox, lambda _topic: TARGET)


def ask(of: HostFinder, told: list[tuple[Contact, ...]], now: float = 0.0) -> None:
    of.find(TOPIC, lambda hosts, _: told.append(hosts), at(now))


def test_the_nearest_three_that_host_topics_are_hosts() -> None:
    clients = contact(1, HOSTING | Caps.CLIENT)
    older = contact(2, Caps.ALWAYS | Caps.STORAGE)

    hosts = hosts_among([contact(8), contact(5), clients, older, contact(7), contact(6)], TARGET)

    assert hosts == (contact(5), contact(6), contact(7))


def test_a_node_is_named_once_however_often_it_was_found() -> None:
    assert hosts_among([contact(3), contact(3)], TARGET) == (contact(3),)


def test_the_node_itself_is_a_host_where_it_is_near_enough() -> None:
    desk, told = Desk(), list[tuple[Contact, ...]]()

    ask(finder(desk), told)
    desk.found([contact(20), contact(8), contact(30)], at(0))

    assert told == [(contact(8), OWN, contact(20))]


def test_who_asks_meanwhile_waits_for_the_same_search() -> None:
    desk, told = Desk(), list[tuple[Contact, ...]]()
    of = finder(desk)

    ask(of, told)
    ask(of, told)
    desk.found([], at(0))

    assert told == [(OWN,), (OWN,)]
    desk.look()
    assert desk.finds == []


def test_hosts_are_believed_for_a_while_and_found_again_after() -> None:
    desk, told = Desk(), list[tuple[Contact, ...]]()
    of = finder(desk)
    ask(of, told)
    desk.found([], at(0))

    ask(of, told, TOPIC_HOSTS_KEPT_S - 1)
    assert len(told) == 2
    ask(of, told, TOPIC_HOSTS_KEPT_S)
    assert len(told) == 2
    desk.found([contact(1)], at(TOPIC_HOSTS_KEPT_S))
    assert told[-1] == (contact(1), OWN)


def test_a_doubt_has_them_found_again_at_once() -> None:
    desk, told = Desk(), list[tuple[Contact, ...]]()
    of = finder(desk)
    ask(of, told)
    desk.found([], at(0))

    of.doubt(TOPIC)
    ask(of, told, 1)

    desk.look()
    assert len(desk.finds) == 1


def test_what_is_known_of_topics_is_bounded() -> None:
    desk = Desk()
    of = finder(desk)
    for number in range(TOPIC_HOSTS_KNOWN_MAX + 1):
        of.find(number.to_bytes(16), lambda _hosts, _now: None, at(0))  # type: ignore[arg-type]
        desk.found([], at(0))
    told = list[tuple[Contact, ...]]()

    ask(of, told)  # the first, forgotten since

    assert told == []
    assert len(of._known) == TOPIC_HOSTS_KNOWN_MAX
