"""When a peer may be dialled again, and which addresses behind a name may be dialled at all."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from yzdht.errors import DialFailed, DialledTooOften
from yzdht.ids import NodeId
from yzdht.limits import (
    CONTACTS_HEARD_MAX,
    DIAL_PAUSE_S_MAX,
    DIAL_PAUSE_S_MIN,
    DIAL_PAUSE_S_TYPED,
    DIAL_TURN_S_MAX,
    DIALS_BURST_S,
    DIALS_PER_ADDRESS_BURST,
    DIALS_PER_HOST_BURST,
    HOSTS_PER_NAME_MAX,
    MISSED_PROBES_MAX,
    MUTE_ADDRESS_S,
    MUTE_ADDRESSES_MAX,
    PROBE_AGAIN_S,
    SESSION_SPARE_AFTER_S,
    TURNED_AWAY_MAX,
    TURNED_AWAY_S_MAX,
    TYPED_URLS_MAX,
)
from yzdht.rpc.engine import PARTED, FailReason
from yzdht.rpc.session import Ended
from yzdht.sessions.clock import SystemClock
from yzdht.sessions.dialling import (
    Addresses,
    AddressPace,
    DialPace,
    MuteAddresses,
    Pauses,
    on_hearsay,
    resolve,
)


if TYPE_CHECKING:
    from collections.abc import Iterable


A, B = NodeId(b"a" * 32), NodeId(b"b" * 32)


def answer(monkeypatch: pytest.MonkeyPatch, hosts: Iterable[str]) -> list[str]:
    """Let the system's resolver say this; what it is asked."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (h, port)) for h in hosts]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return list(found)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


# Pauses


def test_a_pause_doubles_up_to_its_bound_and_ends() -> None:
    pauses = Pauses()
    mono = 100.0
    for expected_s in (DIAL_PAUSE_S_MIN, 2 * DIAL_PAUSE_S_MIN, 4 * DIAL_PAUSE_S_MIN):
        pauses.failed(A, mono)
        assert pauses.why(A, mono + expected_s - 0.01) is FailReason.UNREACHABLE
        assert pauses.why(A, mono + expected_s) is None
    for _ in range(20):
        pauses.failed(A, mono)

    assert pauses.why(A, mono + DIAL_PAUSE_S_MAX - 0.01) is FailReason.UNREACHABLE
    assert pauses.why(A, mono + DIAL_PAUSE_S_MAX) is None
    assert pauses.why(B, mono) is None


def test_success_ends_a_pause_and_the_next_one_is_short_again() -> None:
    pauses = Pauses()
    for _ in range(5):
        pauses.failed(A, 0.0)

    pauses.succeeded(A)
    pauses.succeeded(B)
    assert pauses.why(A, 0.0) is None

    pauses.failed(A, 0.0)
    assert pauses.why(A, DIAL_PAUSE_S_MIN) is None


def test_pauses_are_bounded_and_the_oldest_is_forgotten() -> None:
    pauses = Pauses()
    for number in range(CONTACTS_HEARD_MAX + 1):
        pauses.failed(NodeId(number.to_bytes(32)), 0.0)

    assert pauses.why(NodeId(bytes(32)), 0.0) is None
    assert pauses.why(NodeId((1).to_bytes(32)), 0.0) is FailReason.UNREACHABLE
    assert len(pauses._until) == CONTACTS_HEARD_MAX


# Names


@pytest.mark.parametrize("url", ["ws://127.0.0.1:8083", "tcp://[::1]:8083"])
async def test_an_ip_address_was_judged_where_it_was_heard(url: str) -> None:
    assert await resolve(url, is_private_allowed=False) == []


@pytest.mark.parametrize("url", ["tcp://node.example:8083", "ws://node.example/ws", "wss://node.example"])
async def test_all_that_a_name_leads_to_is_judged(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    answer(monkeypatch, ["8.8.8.8", "2001:4860:4860::8888", "8.8.8.8"])

    assert await resolve(url, is_private_allowed=False) == ["8.8.8.8", "2001:4860:4860::8888"]


async def test_what_a_name_led_to_when_it_was_judged_is_all_that_is_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = Addresses(SystemClock(), is_private_allowed=False)
    url = "tcp://node.example:8083"
    answer(monkeypatch, ["8.8.8.8", "8.8.4.4"])

    assert await addresses.check(url) == ["8.8.8.8", "8.8.4.4"]


async def test_a_name_that_was_typed_is_looked_up_by_who_dials_it(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = Addresses(SystemClock(), is_private_allowed=False)
    asked = answer(monkeypatch, ["8.8.8.8"])
    addresses.note_typed("tcp://node.example:8083")

    assert await addresses.check("tcp://node.example:8083") == []
    assert asked == []


def test_of_what_was_typed_a_bounded_number_is_remembered_the_latest() -> None:
    addresses = Addresses(SystemClock(), is_private_allowed=False)
    urls = [f"tcp://10.0.0.1:{port}" for port in range(1, TYPED_URLS_MAX + 2)]
    for url in (*urls[:-1], urls[0], urls[-1]):
        addresses.note_typed(url)

    assert addresses.is_typed(urls[0])
    assert not addresses.is_typed(urls[1])
    assert addresses.is_typed(urls[1], urls[-1])
    assert sum(map(addresses.is_typed, urls)) == TYPED_URLS_MAX


async def test_a_name_may_lead_anywhere_where_private_addresses_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = Addresses(SystemClock(), is_private_allowed=True)
    answer(monkeypatch, ["10.0.0.1", "8.8.8.8"])

    assert await addresses.check("tcp://node.example:8083") == ["10.0.0.1", "8.8.8.8"]
    assert await addresses.check("memory://node") == []


async def test_a_name_that_leads_to_a_crowd_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, [f"8.8.8.{number}" for number in range(HOSTS_PER_NAME_MAX + 1)])

    with pytest.raises(DialFailed, match="too many"):
        await resolve("tcp://node.example:1", is_private_allowed=False)


@pytest.mark.parametrize(
    "hosts",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["8.8.8.8", "192.168.1.1"],
        ["::1"],
        ["fe80::1"],
        ["::ffff:127.0.0.1"],
        ["0.0.0.0"],
        ["169.254.169.254"],
        ["224.0.0.1"],
        [],
    ],
)
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_name_with_an_address_that_is_not_public_is_refused(
    monkeypatch: pytest.MonkeyPatch, hosts: list[str], scheme: str
) -> None:
    answer(monkeypatch, hosts)

    with pytest.raises(DialFailed):
        await resolve(f"{scheme}://node.example:8083", is_private_allowed=False)


async def test_a_name_that_resolves_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        answered.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr("yzdht.sessions.dialling.DIAL_TIMEOUT_S", 0.01)

    with pytest.raises(DialFailed, match="not resolved in time"):
        await resolve("wss://node.example", is_private_allowed=False)
    answered.set()


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (socket.EAI_NONAME, "does not resolve"),
        (socket.EAI_AGAIN, "has no answer from the resolver"),
        (socket.EAI_FAIL, "has no answer from the resolver"),
    ],
)
async def test_a_resolver_that_does_not_answer_is_told_apart_from_a_name_without_an_address(
    monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(number, "it says so")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with pytest.raises(DialFailed, match=why) as failure:
        await resolve("wss://node.example", is_private_allowed=False)
    assert not isinstance(failure.value, DialledTooOften), "servers of the name's own may have seen to that"


async def test_a_name_that_is_not_looked_up_for_lack_of_a_thread_is_put_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)

    with pytest.raises(DialledTooOften, match="not looked up: there is no thread"):
        await resolve("wss://node.example", is_private_allowed=False)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1"])
async def test_an_address_in_disguise_is_a_name_and_judged_by_where_it_leads(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    answer(monkeypatch, ["127.0.0.1"])

    with pytest.raises(DialFailed):
        await resolve(f"ws://{host}:8083", is_private_allowed=False)


@pytest.mark.parametrize("url", ["", "http://node.example", "ws://", "ws://a b", "memory://x", "ws://h:0"])
async def test_what_is_no_address_is_not_looked_up(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    asked = answer(monkeypatch, ["8.8.8.8"])

    with pytest.raises(DialFailed):
        await resolve(url, is_private_allowed=False)
    assert asked == []


async def test_where_private_addresses_are_allowed_a_name_may_lead_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answer(monkeypatch, ["127.0.0.1"])

    assert await resolve("ws://localhost:1", is_private_allowed=True) == ["127.0.0.1"]
    assert await resolve("ws://127.0.0.1:1", is_private_allowed=True) == []
    assert asked == ["localhost"]


def test_pauses_of_a_typed_address_stay_short() -> None:
    pauses = Pauses()
    for _ in range(20):
        pauses.failed(A, 100.0, is_typed=True)

    assert pauses.why(A, 100.0 + DIAL_PAUSE_S_TYPED - 0.01) is FailReason.UNREACHABLE
    assert pauses.why(A, 100.0 + DIAL_PAUSE_S_TYPED) is None


# Pace


def test_dials_beyond_the_burst_have_a_turn_each_and_none_is_kept_for_long() -> None:
    pace = DialPace(2.0)
    burst = [pace.turn(100.0) for _ in range(int(2 * DIALS_BURST_S))]
    turns = list(iter(lambda: pace.turn(100.0), None))

    assert burst == [0.0] * len(burst)
    assert turns == pytest.approx([0.5 * (n + 1) for n in range(int(2 * DIAL_TURN_S_MAX))])
    assert pace.turn(101.0) == pytest.approx(DIAL_TURN_S_MAX - 0.5)
    assert pace.turn(1_000.0) == 0.0
    assert DialPace(None).turn(0.0) == 0.0


def test_a_turn_that_nobody_wants_any_more_is_given_back() -> None:
    pace = DialPace(0.07)

    assert pace.turn(100.0) == 0.0
    assert pace.turn(100.0) is None
    pace.give_back()
    assert pace.turn(100.0) == 0.0


class Ending(NamedTuple):
    """What `Pauses.ended` looks at of a connection that this end began."""

    opened_at: float
    is_answered: bool = False
    node_id: NodeId = A
    is_initiator: bool = True
    has_parted: bool = False


def turn_away(
    pauses: Pauses, mono: float, *, is_answered: bool = False, lasted_s: float = 0.1, is_typed: bool = False
) -> None:
    ending: Any = Ending(mono - lasted_s, is_answered)
    pauses.ended(ending, Ended(PARTED, is_fault=False), mono, is_typed=is_typed)


def test_a_typed_address_that_has_no_place_for_hours_is_tried_at_the_same_pace() -> None:
    pauses, mono = Pauses(), 0.0
    for _ in range(2_000):
        turn_away(pauses, mono, is_typed=True)
        mono += DIAL_PAUSE_S_TYPED
        assert pauses.why(A, mono) is None
    turn_away(pauses, mono, is_typed=True)
    assert pauses.why(A, mono + DIAL_PAUSE_S_TYPED - 0.01) is FailReason.UNREACHABLE


def test_who_has_no_place_for_long_is_missed_by_every_probe_of_the_table() -> None:
    pauses, mono = Pauses(), 0.0
    for _ in range(TURNED_AWAY_MAX - 1):
        turn_away(pauses, mono)
        assert pauses.why(A, mono) is FailReason.BUSY
        mono += TURNED_AWAY_S_MAX

    turn_away(pauses, mono)

    probes = [mono := mono + PROBE_AGAIN_S * max(missed, 1) for missed in range(MISSED_PROBES_MAX)]
    assert [pauses.why(A, at) for at in probes] == [FailReason.UNREACHABLE] * MISSED_PROBES_MAX
    assert pauses.why(A, probes[0] + DIAL_PAUSE_S_MAX) is None


@pytest.mark.parametrize(("is_answered", "lasted_s"), [(True, 0.1), (False, SESSION_SPARE_AFTER_S)])
def test_who_served_for_a_while_was_not_turning_away(*, is_answered: bool, lasted_s: float) -> None:
    pauses = Pauses()
    for number in range(2 * TURNED_AWAY_MAX):
        turn_away(pauses, float(number))
        turn_away(pauses, float(number), is_answered=is_answered, lasted_s=lasted_s)

        assert pauses.why(A, float(number)) is None


def test_an_address_that_others_name_is_dialled_a_few_times_then_seldom() -> None:
    pace = AddressPace()
    for _ in range(int(DIALS_PER_ADDRESS_BURST)):
        pace.check("ws://192.0.2.9:80", 0.0)
    with pytest.raises(DialledTooOften, match="address"):
        pace.check("ws://192.0.2.9:80/other", 0.0)

    pace.check("ws://192.0.2.9:81", 0.0)
    pace.check("ws://192.0.2.9:80", 60.0)


def test_a_host_is_not_swept_by_naming_all_its_ports() -> None:
    pace = AddressPace()
    for port in range(1, int(DIALS_PER_HOST_BURST) + 1):
        pace.check(f"ws://192.0.2.9:{port}", 0.0)

    with pytest.raises(DialledTooOften, match=r"host 192\.0\.2\.9"):
        pace.check("ws://192.0.2.9:9999", 0.0)
    pace.check("memory://here", 0.0)


def test_nodes_whose_names_lead_to_one_proxy_are_counted_one_by_one_and_it_as_a_host() -> None:
    pace = AddressPace()
    for number in range(int(DIALS_PER_HOST_BURST)):
        pace.check(f"wss://node{number}.example", 0.0, ["192.0.2.9"])

    with pytest.raises(DialledTooOften, match=r"host 192\.0\.2\.9"):
        pace.check("wss://other.example", 0.0, ["192.0.2.9"])
    with pytest.raises(DialledTooOften, match=r"host 192\.0\.2\.9"):
        pace.check("wss://other.example", 0.0, ["192.0.2.8", "192.0.2.9"])


def test_a_dial_that_is_not_made_counts_for_none_of_its_hosts() -> None:
    pace = AddressPace()
    for number in range(int(DIALS_PER_HOST_BURST) - 1):
        pace.check(f"wss://node{number}.example", 0.0, ["192.0.2.8"])
    for number in range(int(DIALS_PER_HOST_BURST)):
        pace.check(f"wss://node{number}.example:1", 0.0, ["192.0.2.9"])
    for _ in range(int(DIALS_PER_ADDRESS_BURST)):
        pace.check("wss://often.example", 0.0, ["192.0.2.7"])

    for _ in range(10):
        with pytest.raises(DialledTooOften, match=r"host 192\.0\.2\.9"):
            pace.check("wss://other.example", 0.0, ["192.0.2.8", "192.0.2.9"])
        with pytest.raises(DialledTooOften, match="address wss://often"):
            pace.check("wss://often.example", 0.0, ["192.0.2.8"])

    pace.check("wss://other.example", 0.0, ["192.0.2.8"])
    with pytest.raises(DialledTooOften, match=r"host 192\.0\.2\.8"):
        pace.check("wss://last.example", 0.0, ["192.0.2.8"])


async def test_what_only_a_record_named_is_dialled_where_its_witnesses_are_or_in_public() -> None:
    urls = ["ws://10.0.0.1:9", "no address", "ws://169.254.169.254:80", "ws://127.0.0.1:9", "ws://1.1.1.1:9"]

    assert await on_hearsay(urls, ["127.0.0.1"]) == ["ws://127.0.0.1:9", "ws://1.1.1.1:9"]
    assert await on_hearsay(urls, ["8.8.8.8"]) == ["ws://1.1.1.1:9"]
    assert await on_hearsay(urls, []) == []


def test_an_address_that_was_mute_is_remembered_for_its_url_and_for_a_while() -> None:
    mute = MuteAddresses()
    mute.note("wss://a.example", "192.0.2.1", 10.0)

    assert mute.of("wss://a.example", 10.0 + MUTE_ADDRESS_S - 1) == {"192.0.2.1"}
    assert mute.of("wss://b.example", 11.0) == set()
    assert mute.of("wss://a.example", 10.0 + MUTE_ADDRESS_S) == set()


def test_mute_addresses_are_bounded_the_oldest_goes_first() -> None:
    mute = MuteAddresses()
    for number in range(MUTE_ADDRESSES_MAX + 1):
        mute.note(f"wss://{number}.example", "192.0.2.1", float(number))

    assert mute.of("wss://0.example", 1.0) == set()
    assert mute.of("wss://1.example", 1.0) == {"192.0.2.1"}
