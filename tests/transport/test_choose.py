"""Which of a peer's addresses are dialled, in which order: a table."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.ids import NodeId
from yzdht.limits import (
    ADDRESS_FAILED_S,
    ADDRESS_STAGGER_S,
    ADDRESSES_MAX,
    CONTACT_URLS_MAX,
    CONTACTS_HEARD_MAX,
)
from yzdht.transport.choose import History, Means, Past, choose
from yzdht.wire.address import ClientType, may_dial, parse_url


EVERY = frozenset({"tcp", "ws", "wss", "udp", "webrtc-direct"})
PYTHON = Means(ClientType.PYTHON, EVERY)
NODEJS = Means(ClientType.NODEJS, frozenset({"ws", "wss"}))
PAGE = Means(ClientType.BROWSER, EVERY)
V4_ONLY = Means(ClientType.PYTHON, EVERY, has_ipv6=False)
V6_ONLY = Means(ClientType.PYTHON, EVERY, has_ipv4=False)
OLD = Means(ClientType.PYTHON, frozenset({"ws", "wss"}))
NOW = 10_000.0

TCP4, TCP6 = "tcp://8.8.4.4:8083", "tcp://[2001:4860:4860::8844]:8083"
WS4, WS6 = "ws://8.8.4.4:8083", "ws://[2001:4860:4860::8844]:8083"
WSS = "wss://node1.yz.example:443"
LAN, LAN6, HERE = "tcp://192.168.1.7:8083", "tcp://[fd00:1::7]:8083", "tcp://127.0.0.1:8083"
OTHER4 = "tcp://1.1.1.1:8083"
NO_PAST = Past()


def failed(*urls: str, ago_s: float = 1.0) -> Past:
    """The first of them failed last."""
    return Past(None, {url: NOW - ago_s * (1 + n) for n, url in enumerate(urls)})


@pytest.mark.parametrize(
    ("means", "urls", "past", "order"),
    [
        pytest.param(PYTHON, [WSS, WS4, TCP4], NO_PAST, [TCP4, WS4, WSS], id="python: tcp, ws, wss"),
        pytest.param(NODEJS, [WSS, WS4, TCP4], NO_PAST, [WS4, WSS], id="without tcp: ws, wss"),
        pytest.param(OLD, [TCP4], NO_PAST, [], id="what it cannot speak is left out"),
        pytest.param(PAGE, [TCP4, WS4, WSS], NO_PAST, [WSS], id="a page: wss alone"),
        pytest.param(PAGE, [TCP4, WS4], NO_PAST, [], id="a page reaches no node without TLS"),
        pytest.param(PYTHON, ["quic://8.8.4.4:1", "ws://", "", WS4], NO_PAST, [WS4], id="what does not parse"),
        pytest.param(PYTHON, [WS4, WS4], NO_PAST, [WS4], id="each once"),
        pytest.param(PYTHON, [], NO_PAST, [], id="no address"),
        # Families in turn
        pytest.param(PYTHON, [TCP4, TCP6], NO_PAST, [TCP6, TCP4], id="IPv6 first"),
        pytest.param(PYTHON, [TCP4, TCP6, WS4, WS6], NO_PAST, [TCP6, TCP4, WS6, WS4], id="families in turn"),
        pytest.param(PYTHON, [TCP4, OTHER4, WS6], NO_PAST, [TCP4, WS6, OTHER4], id="the other one second"),
        pytest.param(PYTHON, [TCP4, WS4, WSS], NO_PAST, [TCP4, WS4, WSS], id="a name is of either family"),
        pytest.param(V4_ONLY, [TCP6, WS4], NO_PAST, [WS4, TCP6], id="IPv4 alone: IPv6 last"),
        pytest.param(V6_ONLY, [TCP4, WS6], NO_PAST, [WS6, TCP4], id="IPv6 alone: IPv4 last"),
        pytest.param(V4_ONLY, ["tcp://[::1]:1", HERE], NO_PAST, ["tcp://[::1]:1", HERE], id="loopback is always there"),
        # Near before far
        pytest.param(PYTHON, [TCP4, LAN, HERE], NO_PAST, [HERE, LAN, TCP4], id="near before far"),
        pytest.param(PYTHON, [TCP6, LAN, LAN6], NO_PAST, [LAN6, LAN, TCP6], id="a network of one's own"),
        # What became of earlier dials
        pytest.param(PYTHON, [TCP4, TCP6, WSS], Past(WSS), [WSS, TCP6, TCP4], id="what worked goes first"),
        pytest.param(PYTHON, [TCP6, WS4, TCP4], Past(WS4), [TCP4, WS4, TCP6], id="cheaper at the place that worked"),
        pytest.param(PYTHON, [TCP6, TCP4, WS4], Past(TCP4), [TCP4, TCP6, WS4], id="dearer there has no advantage"),
        pytest.param(PYTHON, [TCP4, WS4], Past(WS4, {TCP4: NOW}), [WS4, TCP4], id="unless that has failed"),
        pytest.param(PYTHON, [TCP4], Past("ws://1.1.1.1:1"), [TCP4], id="what is published no more"),
        pytest.param(PYTHON, [TCP4, WS4, WSS], failed(TCP4), [WS4, WSS, TCP4], id="what failed lately goes last"),
        pytest.param(PYTHON, [TCP4, WS4, WSS], failed(TCP4, WS4), [WSS, WS4, TCP4], id="the latest very last"),
        pytest.param(PYTHON, [TCP4, WS4], failed(TCP4, ago_s=ADDRESS_FAILED_S), [TCP4, WS4], id="failed long ago"),
        pytest.param(PYTHON, [TCP4, WS4], failed(TCP4, WS4), [WS4, TCP4], id="all failed: all are tried"),
    ],
)  # fmt: skip
def test_the_order(means: Means, urls: list[str], past: Past, order: list[str]) -> None:
    starts = choose(means, urls, past, NOW)

    assert [start.url for start in starts] == order
    assert [start.delay_s for start in starts] == [n * ADDRESS_STAGGER_S for n in range(len(order))]


def test_a_peer_with_a_session_is_not_dialled() -> None:
    assert choose(PYTHON, [TCP4], NO_PAST, NOW, has_session=True) == ()


def test_what_the_scope_rule_forbids_is_left_out() -> None:
    def is_allowed(url: str) -> bool:
        return may_dial(parse_url(url).host, "8.8.8.8", is_private_allowed=False)

    [only] = choose(PYTHON, [HERE, LAN, TCP4], NO_PAST, NOW, may_dial=is_allowed)

    assert only.url == TCP4


def test_an_address_of_a_transport_of_this_process_is_dialled_as_it_is() -> None:
    means = Means(ClientType.PYTHON, frozenset({"memory", "ws"}))

    assert [s.url for s in choose(means, ["memory://a b", WS4], NO_PAST, NOW)] == [WS4, "memory://a b"]


def test_no_peer_is_dialled_at_more_addresses_than_a_contact_has() -> None:
    urls = [f"tcp://8.8.4.{n}:1" for n in range(1, 17)]

    assert len(choose(PYTHON, urls, NO_PAST, NOW)) == CONTACT_URLS_MAX


addresses = st.sampled_from([TCP4, TCP6, WS4, WS6, WSS, LAN, LAN6, HERE, OTHER4, "ws://", "tcp://x", "no"])
means_of = st.builds(
    Means,
    st.sampled_from(ClientType),
    st.frozensets(st.sampled_from(sorted(EVERY))),
    st.booleans(),
    st.booleans(),
)


@given(
    means_of,
    st.lists(addresses, max_size=16),
    st.builds(Past, st.none() | addresses, st.dictionaries(addresses, st.floats(0, NOW))),
)
def test_only_what_was_named_is_dialled_once_each_and_families_alternate(
    means: Means, urls: list[str], past: Past
) -> None:
    chosen = [start.url for start in choose(means, urls, past, NOW)]

    assert len(chosen) == len(set(chosen)) <= CONTACT_URLS_MAX
    assert set(chosen) <= set(urls)
    assert {parse_url(url).protocol for url in chosen} <= means.protocols
    usable = [start.url for start in choose(means, urls, NO_PAST, NOW)]
    assert (usable == []) is (chosen == []), "the past says when, not whether"


# History


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


def test_history_keeps_what_worked_last_and_what_has_not_since() -> None:
    history = History()

    history.failed(node(1), TCP4, 1.0)
    history.worked(node(1), WS4)
    assert history.of(node(1)) == Past(WS4, {TCP4: 1.0})
    history.worked(node(1), TCP4)
    assert history.of(node(1)) == Past(TCP4, {})
    history.failed(node(1), TCP4, 2.0)
    assert history.of(node(1)) == Past(None, {TCP4: 2.0})
    assert history.of(node(2)) == NO_PAST


def test_what_was_remembered_elsewhere_counts_until_this_knows_better() -> None:
    history = History()

    assert history.of(node(1), WS4) == Past(WS4)
    history.failed(node(1), TCP4, 1.0)
    assert history.of(node(1), WS4) == Past(WS4, {TCP4: 1.0})
    assert history.of(node(1), TCP4) == Past(None, {TCP4: 1.0})
    history.worked(node(1), WSS)
    assert history.of(node(1), WS4).worked == WSS


def test_history_is_bounded() -> None:
    history = History()
    for number in range(CONTACTS_HEARD_MAX + 1):
        history.worked(node(number), TCP4)
    for number in range(ADDRESSES_MAX + 1):
        history.failed(node(7), f"tcp://8.8.4.4:{number + 1}", float(number))

    assert history.of(node(0)) == NO_PAST
    assert history.of(node(1)) == Past(TCP4)
    assert list(history.of(node(7)).failed.values()) == [float(n) for n in range(1, ADDRESSES_MAX + 1)]
