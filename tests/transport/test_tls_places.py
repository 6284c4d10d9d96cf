"""Who has a place for a TLS handshake, and who makes room."""

from __future__ import annotations

import pytest

from yzdht.limits import TLS_CROWD, TLS_HANDSHAKES_MAX
from yzdht.transport.tls_places import TlsPlaces


@pytest.fixture
def places() -> TlsPlaces[str]:
    return TlsPlaces()


def fill(places: TlsPlaces[str], count: int, host: str) -> None:
    for number in range(count):
        assert places.enter(f"{host}/{number}", host) is None


def test_while_there_is_room_nobody_goes(places: TlsPlaces[str]) -> None:
    fill(places, TLS_HANDSHAKES_MAX, "8.8.8.8")

    assert len(places) == TLS_HANDSHAKES_MAX


def test_the_oldest_of_the_largest_crowd_makes_room(places: TlsPlaces[str]) -> None:
    fill(places, 1, "1.1.1.1")
    fill(places, TLS_HANDSHAKES_MAX - 1, "8.8.8.8")

    assert places.enter("new", "9.9.9.9") == "8.8.8.8/0"
    assert places.enter("newer", "9.9.9.9") == "8.8.8.8/1"
    assert len(places) == TLS_HANDSHAKES_MAX


def test_two_of_one_prefix_make_no_room_for_who_comes_from_every_prefix_once(places: TlsPlaces[str]) -> None:
    for number in range(TLS_HANDSHAKES_MAX - 2):
        fill(places, 1, f"2600:1:0:{number:x}00::1")
    fill(places, 1, "9.9.9.1")
    fill(places, 1, "9.9.9.2")

    for number in range(TLS_HANDSHAKES_MAX - 2):
        assert places.enter(f"new {number}", f"2600:2:0:{number:x}00::1") == f"2600:1:0:{number:x}00::1/0"


def test_more_of_one_prefix_than_are_no_crowd_make_room_before_older_ones(places: TlsPlaces[str]) -> None:
    for number in range(TLS_HANDSHAKES_MAX - TLS_CROWD):
        fill(places, 1, f"2600:1:0:{number:x}00::1")
    fill(places, TLS_CROWD, "8.8.8.8")

    assert places.enter("one more of them", "8.8.8.9") == "2600:1:0:000::1/0"
    assert places.enter("new", "9.9.9.9") == "8.8.8.8/0"


def test_addresses_of_one_public_prefix_are_one_crowd_and_others_each_their_own(
    places: TlsPlaces[str],
) -> None:
    for number in range(3):
        places.enter(f"private {number}", f"10.0.0.{number}")
    half = (TLS_HANDSHAKES_MAX - 3) // 2
    fill(places, half, "8.8.8.1")
    fill(places, TLS_HANDSHAKES_MAX - 3 - half, "8.8.8.2")

    assert places.enter("new", "10.0.0.9") == "8.8.8.1/0"


def test_who_is_done_leaves_a_place(places: TlsPlaces[str]) -> None:
    fill(places, TLS_HANDSHAKES_MAX, "8.8.8.8")
    places.leave("8.8.8.8/7")
    places.leave("8.8.8.8/7")
    places.leave("nobody")

    assert places.enter("new", "9.9.9.9") is None
    assert places.enter("newer", "9.9.9.9") == "8.8.8.8/0"


def test_nothing_is_kept_of_who_is_gone(places: TlsPlaces[str]) -> None:
    fill(places, 5, "8.8.8.8")
    for number in range(5):
        places.leave(f"8.8.8.8/{number}")

    assert len(places) == 0
    assert not places._sizes
