"""What programs see of a node."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.http.kit import a_node, url_of
from tests.sessions.kit import until
from yzdht import Client, Identity
from yzdht.errors import StoreError
from yzdht.http.readiness import Readiness
from yzdht.http.views import TrafficRate, Views, state_of, url_of as address
from yzdht.limits import TRAFFIC_RATE_S
from yzdht.version import VERSION


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht import Node
    from yzdht.store.policy import Totals


READY = Readiness(is_ready=True, is_alone=False, through=1, reason="it works", checked_at=1_000.5)
NOT_READY = Readiness(is_ready=False, is_alone=False, through=0, reason="nobody", checked_at=1_000.5)
ALONE = Readiness(is_ready=True, is_alone=True, through=0, reason="alone", checked_at=1_000.5)


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert address("http", "::1", 80) == "http://[::1]:80"
    assert address("ws", "192.0.2.1", 80) == "ws://192.0.2.1:80"


def test_rates_are_those_of_the_last_minute_or_since_somebody_looked() -> None:
    rate = TrafficRate()

    assert rate.at(100.0, 1_000, 0) == (0.0, 0.0)
    assert rate.at(100.5, 1_500, 0) == (0.0, 0.0)
    assert rate.at(110.0, 2_000, 50) == (100.0, 5.0)
    assert rate.at(110.0 + TRAFFIC_RATE_S, 2_000, 50) == (0.0, 0.0)
    rates = [rate.at(200.0 + second, 2_000 + 10 * second, 50) for second in range(200)]
    assert rates[-1] == (10.0, 0.0)
    assert len(rate._samples) <= TRAFFIC_RATE_S + 2


@pytest.mark.net
async def test_the_state_is_one_word() -> None:
    async with a_node() as node:
        assert [state_of(node, ready) for ready in (READY, NOT_READY, ALONE)] == ["ready", "joining", "alone"]
        async with node._stopping:
            assert state_of(node, READY) == "leaving"
        async with a_node(url_of(node)) as other:
            await until(lambda: other.is_joined)
            assert [state_of(other, ready) for ready in (READY, NOT_READY)] == ["ready", "unready"]


@pytest.mark.net
async def test_status_tells_everything_but_single_peers(tmp_path: Path) -> None:
    async with a_node() as first, a_node(url_of(first), data=tmp_path / "data", network="main") as node:
        node.telemetry.error("the disk is full", 1_234.5, "make room")
        node.telemetry.add("links_refused", "handshake_rate", 7)
        status = Views(node, "http://127.0.0.1:1").status(READY)
        await until(lambda: node.store_of_records.totals().records)
        records = Views(node, "").status(READY)["records"]

    assert status["nodeId"] == node.node_id.hex()
    assert (status["version"], status["pid"]) == (VERSION, os.getpid())
    assert (status["network"], status["type"], status["state"]) == ("main", "community", "ready")
    assert status["listen"] == [f"tcp://127.0.0.1:{node.port}"]
    assert status["addresses"] == [
        {
            "url": f"{protocol}://127.0.0.1:{node.port}",
            "reachable": "unknown",
            "reachableOver": {},
            "advertised": True,
            "why": "",
            "hint": "",
        }
        for protocol in ("tcp", "ws")
    ]
    assert (status["reachable"], status["seenAt"]) == ("unknown", [])
    assert status["reachableOver"] == {"ipv4": "unknown", "ipv6": "unknown"}
    assert status["bootstrap"] == {"tried": 1, "joined": 1}
    table, sessions, traffic = status["table"], status["sessions"], status["traffic"]
    assert isinstance(table, dict)
    assert isinstance(sessions, dict)
    assert isinstance(traffic, dict)
    assert isinstance(records, dict)
    assert (table["nodes"], table["mode"]) == (1, "small")
    assert [set(bucket) for bucket in table["buckets"]] == [{"index", "nodes", "waiting"}]
    assert sessions == {"nodes": 1, "clients": 0, "halfOpen": 0, "max": 200}
    assert set(traffic) == {"in", "out", "inPerS", "outPerS"}
    assert traffic["in"]["ws"] > 0
    assert records["count"] >= 1
    assert 0 < records["bytes"] < records["bytesMax"]
    assert status["ready"] == READY.as_dict()
    assert status["limits"] == {"refused": {"handshake_rate": 7}}
    assert status["errors"] == [{"at": 1_234, "what": "the disk is full", "hint": "make room", "times": 1}]
    counters = status["counters"]
    assert isinstance(counters, dict)
    assert counters["links_refused:handshake_rate"] == 7


@pytest.mark.net
async def test_a_disk_that_cannot_be_read_leaves_a_gap() -> None:
    async with a_node() as node:

        def fail() -> Totals:
            raise StoreError("the disk is gone")

        totals, node.store_of_records.totals = node.store_of_records.totals, fail  # type: ignore[method-assign] # a broken disk
        try:
            records, topics = (Views(node, "").status(ALONE)[name] for name in ("records", "topics"))
        finally:
            node.store_of_records.totals = totals  # type: ignore[method-assign] # mended
        assert isinstance(records, dict)
        assert (records["count"], records["bytes"]) == (None, None)
        assert topics == {"hosted": 0, "messages": 0, "bytes": 0, "subscriptions": 0}


def peers_of(node: Node, *limit: int) -> list[dict[str, object]]:
    peers = Views(node, "").peers(*limit)["peers"]
    assert isinstance(peers, list)
    return peers


@pytest.mark.net
async def test_peers_are_shown_newest_first_and_bounded() -> None:
    person = Identity.generate()
    async with (
        a_node() as node,
        a_node(url_of(node)) as other,
        Client([url_of(node)], identity=person) as client,
    ):
        await client.get("nothing", default=None)
        await until(lambda: node.sessions.clients)
        [newest, older] = peers_of(node)
        [theirs] = peers_of(other)
        assert peers_of(node, 1) == [newest]
        assert peers_of(node, 0) == []

    assert newest["isClient"] is True
    assert newest["isInTable"] is False
    assert (older["nodeId"], older["isClient"], older["isInTable"]) == (other.node_id.hex(), False, True)
    assert (older["host"], older["road"], older["dialled"], older["url"]) == ("127.0.0.1", "ws", False, None)
    assert (theirs["dialled"], theirs["url"]) == (True, f"ws://127.0.0.1:{node.port}")
    assert isinstance(theirs["rttMs"], float)
    assert theirs["bytesIn"]
    assert set(newest) == {
        "nodeId", "host", "proxy", "url", "road", "dialled", "rttMs", "sinceS", "isClient", "isInTable", "bytesIn", "bytesOut",
    }  # fmt: skip
