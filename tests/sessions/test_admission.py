"""Who gets a handshake and who a place, without any network."""

from __future__ import annotations

from ipaddress import ip_network

from yzdht.limits import (
    HALF_OPEN_MAX,
    HANDSHAKE_BURST,
    HANDSHAKE_BURST_PER_PREFIX,
    HANDSHAKES_PER_S,
    LINKS_WAITING_MAX,
    SESSIONS_MAX,
    TLS_HANDSHAKE_BURST,
    TLS_HANDSHAKES_PER_S,
)
from yzdht.ports import Endpoint
from yzdht.sessions.admission import Doorway, Refusal, SessionBounds, Turn


def knocks(doorway: Doorway, host: str, tries: int, mono: float = 0.0) -> int:
    """How many of them may begin."""
    return sum(
        doorway.admit(host, mono) is None and isinstance(doorway.knock(host, 0, mono), Turn)
        for _ in range(tries)
    )


# Links


def test_a_flood_from_many_prefixes_is_bounded_in_all_and_a_quiet_one_is_served() -> None:
    doorway = Doorway(SessionBounds())
    flood = [f"8.{number}.1.1" for number in range(200)]
    began = 0
    for second in range(30):
        began += sum(knocks(doorway, host, 30, float(second)) for host in flood)

    assert began <= HANDSHAKE_BURST + 30 * HANDSHAKES_PER_S
    assert knocks(doorway, "9.9.9.9", 1, 30.0) == 1


def test_one_address_leaves_handshakes_to_its_neighbours() -> None:
    doorway = Doorway(SessionBounds())

    assert knocks(doorway, "8.8.8.8", 1_000) == HANDSHAKE_BURST_PER_PREFIX / 2
    assert knocks(doorway, "8.8.8.9", 10) == 10


def test_what_a_prefix_may_begin_is_counted_once_when_a_connection_is_made() -> None:
    doorway = Doorway(SessionBounds())
    taken = int(HANDSHAKE_BURST_PER_PREFIX / 2)

    for _ in range(taken):
        assert doorway.admit("8.8.8.8", 0.0) is None
    assert doorway.admit("8.8.8.8", 0.0) == Refusal("links_refused", "handshake_rate")
    for _ in range(taken):
        assert (
            doorway.knock("8.8.8.8", 0, 0.0) is Turn.NOW
        )  # those that were admitted are asked no second time


def test_who_says_nothing_takes_no_handshake_from_everybody() -> None:
    doorway = Doorway(SessionBounds())
    for number in range(10 * int(HANDSHAKE_BURST)):
        doorway.admit(f"8.{number % 250}.1.1", 0.0)

    assert knocks(doorway, "127.0.0.1", 10_000) == HANDSHAKE_BURST / 2


def test_tls_that_all_begin_is_bounded_and_takes_nothing_from_who_comes_without_it() -> None:
    doorway = Doorway(SessionBounds())
    begun = [
        doorway.admit_tls(f"11.{n // 250}.{n % 250}.1", 0.0) for n in range(2 * int(TLS_HANDSHAKE_BURST))
    ]

    assert begun.count(None) == TLS_HANDSHAKE_BURST
    assert {each for each in begun if each} == {Refusal("rate_limited", "tls_handshakes")}
    assert knocks(doorway, "9.9.9.9", 10) == 10


def test_with_a_key_that_costs_more_fewer_begin_tls() -> None:
    doorway = Doorway(SessionBounds())
    hosts = [f"11.{n // 250}.{n % 250}.1" for n in range(int(TLS_HANDSHAKE_BURST))]

    assert [doorway.admit_tls(host, 0.0, 8.0) for host in hosts].count(None) == TLS_HANDSHAKE_BURST // 8
    begun_later = [doorway.admit_tls(host, 1.0, 8.0) for host in reversed(hosts)].count(None)
    assert 0 < begun_later <= TLS_HANDSHAKES_PER_S // 8


def test_one_address_leaves_tls_to_others() -> None:
    doorway = Doorway(SessionBounds())
    for _ in range(2 * int(TLS_HANDSHAKE_BURST)):
        doorway.admit_tls("10.0.0.1", 0.0)

    assert all(doorway.admit_tls(f"10.0.1.{number}", 0.0) is None for number in range(100))


def test_connections_from_a_proxy_and_from_no_public_address_are_counted_for_no_prefix() -> None:
    doorway = Doorway(SessionBounds(trusted_proxies=(ip_network("8.8.8.8"),)))

    for host in ("8.8.8.8", "127.0.0.1", "low"):
        assert all(doorway.admit(host, 0.0) is None for _ in range(1_000))


def test_addresses_that_are_not_public_share_with_everybody_only() -> None:
    doorway = Doorway(SessionBounds())

    assert knocks(doorway, "127.0.0.1", 10_000) == HANDSHAKE_BURST / 2
    assert knocks(doorway, "127.0.0.2", 100) == 100
    assert knocks(doorway, "8.8.8.8", 20) == 20


def test_a_trusted_proxy_stands_for_others() -> None:
    bounds = SessionBounds(trusted_proxies=(ip_network("203.0.113.0/24"), ip_network("8.8.8.0/29")))

    assert knocks(Doorway(bounds), "8.8.8.8", 1_000) == HANDSHAKE_BURST_PER_PREFIX / 2
    assert knocks(Doorway(bounds), "8.8.8.7", 1_000) == 1_000


def test_a_proxy_may_be_at_any_address() -> None:
    bounds = SessionBounds(
        trusted_proxies=(ip_network("203.0.113.0/24"), ip_network("127.0.0.1"), ip_network("::1"))
    )

    assert all(bounds.is_proxy(host) for host in ("203.0.113.9", "127.0.0.1", "::1"))
    assert not any(bounds.is_proxy(host) for host in ("203.0.114.9", "127.0.0.2", "low", ""))
    assert not SessionBounds().is_proxy("127.0.0.1")


def test_a_proxy_hides_whoever_it_does_not_name() -> None:
    bounds = SessionBounds(trusted_proxies=(ip_network("127.0.0.1"),))

    assert bounds.hides(Endpoint("127.0.0.1", 4711, "ws"))
    assert bounds.hides(
        Endpoint("172.30.83.1", 0, "ws", proxy="127.0.0.1")
    )  # a gateway, behind which anybody is
    assert not bounds.hides(Endpoint("172.30.83.1", 0, "ws", proxy="127.0.0.1"), is_private_allowed=True)
    assert not bounds.hides(Endpoint("8.8.8.8", 0, "ws", proxy="127.0.0.1"))
    assert not bounds.hides(Endpoint("8.8.8.8", 4711, "ws"))


def test_links_of_every_state_are_bounded() -> None:
    doorway = Doorway(SessionBounds(sessions_max=10))

    assert doorway.knock("8.8.8.8", 19 + HALF_OPEN_MAX, 0.0) is Turn.NOW
    assert doorway.knock("8.8.8.8", 20 + HALF_OPEN_MAX, 0.0) == Refusal("links_refused", "sessions")
    assert SessionBounds().links_max == SESSIONS_MAX + HALF_OPEN_MAX + LINKS_WAITING_MAX
