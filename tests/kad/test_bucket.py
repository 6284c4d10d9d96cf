from __future__ import annotations

from hypothesis import given, strategies as st

from tests.kad.kit import NODE, entry
from yzdht.kad.bucket import Bucket, Entry
from yzdht.limits import BUCKET_SIZE
from yzdht.wire.address import ClientType, address_of, scope_of
from yzdht.wire.frame import Caps


POINTS = st.integers(1, 2**256 - 1)


def bucket_of(*entries: Entry) -> Bucket:
    bucket = Bucket()
    bucket.entries = {e.point: e for e in entries}
    return bucket


def waiting(bucket: Bucket) -> list[int]:
    return [e.point for e in bucket.waiting.values()]


def queue(bucket: Bucket) -> list[int]:
    return [e.point for e in bucket.queue()]


# Entries


def test_the_address_that_worked_is_dialled_first_and_never_shown() -> None:
    node = entry(1)
    node.learn((address_of("ws://10.0.0.1:1"), address_of("wss://a.example")), NODE)
    node.reached("ws://10.9.9.9:1", "10.9.9.9", None)

    assert node.contact().urls == ("ws://10.9.9.9:1", "ws://10.0.0.1:1", "wss://a.example:443")
    assert node.contact().worked == "ws://10.9.9.9:1"
    assert node.wire_contact(ClientType.PYTHON).urls == ("wss://a.example:443", "ws://10.0.0.1:1")
    assert node.wire_contact(ClientType.BROWSER).urls == ("wss://a.example:443",)


def test_what_a_node_learns_replaces_what_it_showed() -> None:
    node = entry(1)
    assert node.wire_contact(ClientType.PYTHON).urls == ()
    node.learn((address_of("ws://10.0.0.1:1"),), NODE)
    assert node.wire_contact(ClientType.PYTHON).urls == ("ws://10.0.0.1:1",)


def test_who_asks_is_shown_addresses_that_it_can_dial() -> None:
    node = entry(1)
    hosts = ("8.8.4.4", "10.0.0.1", "192.168.0.1", "127.0.0.1", "a.example")
    node.learn(tuple(address_of(f"{p}://{host}:1") for p in ("tcp", "ws") for host in hosts), NODE)

    def shown_to(host: str) -> list[str]:
        return [url.split("/")[2][:-2] for url in node.wire_contact(ClientType.PYTHON, scope_of(host)).urls]

    assert shown_to("1.1.1.1") == ["8.8.4.4", "a.example"] * 2
    assert shown_to("10.9.9.9") == ["10.0.0.1", "10.0.0.1", "8.8.4.4", "a.example"]
    assert shown_to("127.0.0.2") == ["127.0.0.1", "127.0.0.1", "8.8.4.4", "a.example"]
    assert shown_to("172.16.0.1") == shown_to("1.1.1.1")
    assert node.wire_contact(ClientType.BROWSER).urls == ()


def test_however_many_networks_ask_no_more_answers_are_kept_than_there_are_addresses() -> None:
    node = entry(1)
    node.learn((address_of("ws://10.0.0.1:1"),), NODE)

    for number in range(100):
        node.wire_contact(ClientType.PYTHON, scope_of(f"fd00:0:{number:x}::1"))

    assert len(node._shown) == 1


# The nearest


@given(st.dictionaries(POINTS, st.booleans(), max_size=40), POINTS, st.integers(0, 25))
def test_the_nearest_are_exact(nodes: dict[int, bool], point: int, count: int) -> None:
    bucket = bucket_of(*(entry(n, NODE if keeps else NODE & ~Caps.STORAGE) for n, keeps in nodes.items()))
    in_order = sorted(nodes, key=lambda n: n ^ point)

    assert [e.point for e in bucket.nearest(point, count)] == in_order[:count]
    storing = [n for n in in_order if nodes[n]]
    assert [e.point for e in bucket.nearest(point, count, only_storing=True)] == storing[:count]


def test_the_idlest_has_no_session_and_no_probe() -> None:
    bucket = bucket_of(
        entry(1, seen_at=1.0, has_session=True),
        entry(2, seen_at=2.0, is_probed=True),
        entry(3, seen_at=3.0, probe_at=9.0),
        entry(5, seen_at=5.0),
        entry(4, seen_at=4.0),
    )

    idlest = bucket.idlest()
    assert idlest is not None
    assert idlest.point == 4
    assert bucket_of(entry(1, has_session=True)).idlest() is None


# The replacement cache


def test_a_full_cache_forgets_the_one_seen_longest_ago() -> None:
    bucket = Bucket()
    nodes = [entry(n) for n in range(BUCKET_SIZE)]
    for node in nodes:
        assert bucket.keep_waiting(node) == (True, None)
    bucket.seen(nodes[0])

    assert bucket.keep_waiting(entry(99)) == (True, nodes[1])
    assert waiting(bucket) == [*range(2, BUCKET_SIZE), 0, 99]


def test_one_with_a_session_is_not_forgotten_for_a_comer() -> None:
    bucket = Bucket()
    for number in range(BUCKET_SIZE):
        bucket.keep_waiting(entry(number, has_session=number != 7))

    bucket.keep_waiting(entry(98, has_session=True))
    assert 7 not in waiting(bucket)
    assert bucket.keep_waiting(entry(99, has_session=True)) == (False, None)
    assert waiting(bucket) == [n for n in (*range(BUCKET_SIZE), 98) if n != 7]


def test_one_that_comes_again_moves_to_the_end() -> None:
    bucket = Bucket()
    for number in (1, 2, 1):
        bucket.keep_waiting(entry(number))

    assert waiting(bucket) == [2, 1]


def test_a_rival_goes_for_the_comer() -> None:
    bucket = Bucket()
    nodes = [entry(1), entry(2, has_session=True), entry(3)]
    for node in nodes:
        bucket.keep_waiting(node)

    assert bucket.keep_waiting(entry(4), nodes[1:2]) == (False, None)
    assert bucket.keep_waiting(entry(4), nodes[1:]) == (True, nodes[2])
    assert waiting(bucket) == [1, 2, 4]


def test_the_first_to_try_was_seen_last_and_those_with_a_session_are_seen_now() -> None:
    bucket = Bucket()
    for number in range(1, 7):
        bucket.keep_waiting(entry(number, has_session=number in {3, 4}, is_probed=number == 5))

    assert queue(bucket) == [3, 4, 6, 2, 1]
