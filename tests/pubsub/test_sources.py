from __future__ import annotations

from tests.pubsub.kit_feed import Ear, World, contact, number_of, ranked, row, series
from yzdht.limits import FEED_FORGED_S, FEED_LOOK_EVERY_S, FEED_NODES, FEED_PAGES_MAX, SUMMARY_ROWS_MAX
from yzdht.wire.rpc import Method, Status


ONE = series(1)


def where(ear: Ear) -> set[int | None]:
    return {number_of(node_id) for node_id in ear.feed.sources}


def pushers(world: World, own: int = 99) -> list[int]:
    return [n for n, host in world.hosts.items() if host.is_up and host.subscribers.get(contact(own).node_id)]


def asked(world: World, number: int, method: Method = Method.SUBSCRIBE) -> int:
    return world.hosts[number].asked.count(method)


def test_a_subscriber_subscribes_at_all_hosts_and_one_pushes() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)

    assert where(ear) == {1, 2, 3}
    assert pushers(world) == ranked(1, 2, 3)[:1] == [number_of(ear.feed.pusher)]
    assert [asked(world, n) for n in (1, 2, 3)] == [1, 1, 1]


def test_who_pushes_differs_from_subscriber_to_subscriber() -> None:
    world = World(1, 2, 3)
    for own in range(100, 130):
        world.listen(number=own)
    world.run(1)

    assert {tuple(pushers(world, own)) for own in range(100, 130)} == {(1,), (2,), (3,)}
    assert all(pushers(world, own) == ranked(1, 2, 3, own=own)[:1] for own in range(100, 130))


def test_a_host_that_listens_itself_pushes_to_itself() -> None:
    world = World(1, 2, 3)
    for own in (1, 2, 3):
        world.listen(number=own)
    world.run(1)

    assert [pushers(world, own) for own in (1, 2, 3)] == [[1], [2], [3]]


def test_a_host_that_is_none_any_more_has_another_push() -> None:
    world = World(1, 2, 3)
    world.listen(number=2)
    world.run(1)
    best = ranked(1, 2, 3, own=2)[0]
    assert pushers(world, 2) == [2] != [best]

    world.hosts[2].is_found = False
    world.run(FEED_LOOK_EVERY_S)

    assert pushers(world, 2) == [best]


def test_the_next_pushes_at_once_when_the_session_with_the_first_ends() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    first, second, third = ranked(1, 2, 3)

    world.hosts[first].die()
    world.run(0.05)
    assert pushers(world) == [second]
    world.hosts[second].die()
    world.run(0.05)
    assert pushers(world) == [third]
    assert where(ear) == {third}


def test_who_comes_back_is_subscribed_at_and_pushes_again() -> None:
    world = World(1, 2, 3)
    world.listen()
    world.run(1)
    first = ranked(1, 2, 3)[0]
    world.hosts[first].die()
    world.run(1)
    world.hosts[first].live()
    world.run(70)

    assert pushers(world) == [first]


def test_a_host_that_will_not_push_is_asked_once_until_hosts_are_looked_for_again() -> None:
    world = World(1, 2, 3)
    first, second, _ = ranked(1, 2, 3)
    world.hosts[first].never_pushes = True
    world.listen()
    world.run(100)

    assert pushers(world) == [second]
    assert asked(world, first) <= 3

    world.hosts[first].never_pushes = False
    world.run(FEED_LOOK_EVERY_S)
    assert pushers(world) == [first]


def test_a_host_that_hangs_leaves_the_others_to_serve() -> None:
    world = World(1, 2, 3)
    first, second, _ = ranked(1, 2, 3)
    world.hosts[first].is_silent = True
    world.listen()
    world.run(8)

    assert pushers(world) == [second]


def test_a_better_host_that_joins_takes_over_once_it_serves() -> None:
    world = World(*ranked(1, 2, 3))
    best = ranked(1, 2, 3)[0]
    world.hosts[best].is_found = False
    world.listen()
    world.run(10)
    assert pushers(world) == ranked(1, 2, 3)[1:2]

    world.hosts[best].is_found = True
    world.run(FEED_LOOK_EVERY_S)
    assert pushers(world) == [best]


def test_hosts_that_hosts_name_are_subscribed_at() -> None:
    world = World(1, 2)
    world.hosts[2].is_found = False
    world.hosts[1].names = [2]
    ear = world.listen()
    world.run(1)

    assert where(ear) == {1, 2}


def test_what_one_host_names_is_bounded_and_displaces_nobody() -> None:
    world = World(1, 2, 3)
    world.hosts[1].names = list(range(1_000, 1_020))
    ear = world.listen()
    world.run(200)

    assert where(ear) == {1, 2, 3}


def test_who_is_not_found_any_more_is_left_after_a_while() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.hosts[2].is_found = False
    world.run(3 * FEED_LOOK_EVERY_S)

    assert where(ear) == {1, 3}
    assert asked(world, 2, Method.UNSUBSCRIBE) == 1
    assert contact(99).node_id not in world.hosts[2].subscribers


def test_a_client_listens_through_two_of_its_nodes() -> None:
    world = World(1, 2, 3)
    ear = world.listen(is_delegated=True)
    world.run(1)
    assert where(ear) == {1, 2}
    assert len(where(ear)) == FEED_NODES

    world.hosts[1].die()
    world.run(1)
    assert where(ear) == {2, 3}
    assert len(pushers(world)) == 1


def test_looking_goes_on_for_ever_and_becomes_rarer() -> None:
    world = World(1)
    world.hosts[1].is_up = False
    looks: list[float] = []
    find = world.find

    def noted(*args: object) -> None:
        looks.append(world.mono)
        find(*args)  # type: ignore[arg-type] # handed on as they are

    world.find = noted  # type: ignore[assignment] # watched
    ear = world.listen()
    world.run(3_600)
    assert 30 < len(looks) < 100
    assert looks[-1] > 3_500

    world.hosts[1].live()
    world.run(61)
    assert where(ear) == {1}


def test_a_host_that_refuses_is_tried_again_seldom() -> None:
    world = World(1)
    world.hosts[1].refuses = Status.REFUSED
    world.listen()
    world.run(3_600)

    assert asked(world, 1) < 100


def test_a_host_that_says_when_is_asked_no_sooner() -> None:
    world = World(1)
    world.hosts[1].refuses = Status.RATE_LIMITED
    world.listen()
    world.run(1.9)
    assert asked(world, 1) == 1

    world.hosts[1].refuses = Status.OK
    world.run(2)
    assert asked(world, 1) == 2


def test_a_long_summary_is_asked_for_page_by_page_and_not_without_end() -> None:
    world = World(1)
    rows = tuple(row(series(2, n), 0, 1) for n in range(SUMMARY_ROWS_MAX))
    world.hosts[1].held.rows = lambda skip=0: rows  # type: ignore[method-assign] # noqa: ARG005 - it says the same for ever
    world.listen()
    world.run(0.3)

    assert asked(world, 1) == FEED_PAGES_MAX


def test_who_forges_is_left_alone() -> None:
    world = World(1, 2)
    ear = world.listen()
    world.run(1)
    bad = number_of(ear.feed.pusher)
    assert bad is not None
    world.hosts[bad].spoils = lambda envelope: envelope[:-1] + b"!"
    world.publish(ONE, range(3))
    world.run(FEED_FORGED_S - 10)

    assert where(ear) == {1, 2} - {bad}
    assert ear.indexes == [0, 1, 2]
    assert ear.feed.counts.forged == 1
    world.run(FEED_LOOK_EVERY_S)
    assert where(ear) == {1, 2}


def test_whoever_stops_listening_says_so() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    ear.stop()
    world.run(1)

    assert all(host.subscribers == {} for host in world.hosts.values())


def test_whoever_stops_before_hosts_have_answered_says_so_too() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(0.015)
    assert ear.feed.sources == ()
    ear.stop()
    world.run(1)

    assert [asked(world, n) for n in (1, 2, 3)] == [1, 1, 1]
    assert all(host.subscribers == {} for host in world.hosts.values())


def test_whoever_stops_after_a_renewal_was_refused_says_so_what_was_granted_before_stands() -> None:
    world = World(1)
    ear = world.listen()
    world.run(1)
    world.hosts[1].refuses = Status.BUSY
    ear.feed.look_again(world.now)
    world.run(1)
    assert ear.feed.sources == ()
    ear.stop()
    world.run(1)

    assert asked(world, 1, Method.UNSUBSCRIBE) == 1


def test_whoever_stops_while_another_part_of_the_process_listens_says_nothing() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    ear.feed.stop(is_silent=True)
    world.run(1)

    assert all(contact(99).node_id in host.subscribers for host in world.hosts.values())
    assert ear.feed.next_timer() is None


def test_a_node_that_knows_nothing_of_topics_is_left_to_itself_ever_longer() -> None:
    world = World(1, 2, 3)
    best, second, third = ranked(1, 2, 3)
    world.hosts[best].refuses = Status.UNKNOWN_METHOD
    ear = world.listen()
    world.run(1)
    assert where(ear) == {second, third}
    assert number_of(ear.feed.pusher) == second
    world.publish(ONE, range(3))
    world.run(FEED_LOOK_EVERY_S * 2)

    assert ear.indexes == [0, 1, 2]
    assert asked(world, best) < 20
    world.hosts[best].refuses = Status.OK  # it was restarted
    world.run(FEED_LOOK_EVERY_S)
    assert number_of(ear.feed.pusher) == best


def test_a_host_that_knows_nothing_of_topics_any_more_is_replaced_and_nothing_is_missed() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    first, second, _ = ranked(1, 2, 3)
    world.hosts[first].die()
    world.hosts[first].live()
    world.hosts[first].refuses = Status.UNKNOWN_METHOD  # restarted as a node that hosts none
    world.publish(ONE, range(4))
    world.run(3)

    assert ear.indexes == [0, 1, 2, 3]
    assert number_of(ear.feed.pusher) == second
