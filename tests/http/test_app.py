"""The pages over real sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.http.kit import a_node, alone, get, url_of
from tests.sessions.kit import Time, until
from yzdht.http.server import HttpServer
from yzdht.limits import HTTP_VIEW_KEPT_S


if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.net


async def test_a_node_alone_is_ready_and_says_that_it_is_alone() -> None:
    async with alone() as (node, http):
        reply = await get(http, "/readyz")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.object == {
        "ready": True,
        "alone": True,
        "throughPeers": 0,
        "reason": "alone: no other node is known, and none was named to join through",
        "checkedAt": pytest.approx(node.now().wall, abs=60),
        "hint": "to join a network, start it with --bootstrap URL",
    }


async def test_a_node_that_could_not_join_is_alive_and_not_ready() -> None:
    async with a_node("ws://127.0.0.1:1") as node, HttpServer(node) as http:
        ready, health = await get(http, "/readyz"), await get(http, "/healthz")

    assert (health.status, health.text) == (200, "ok\n")
    assert (ready.status, ready.object["ready"], ready.object["alone"]) == (503, False, False)
    assert "bootstrap" in ready.object["reason"]
    assert "--bootstrap" in ready.object["hint"]


async def test_the_node_shows_itself_exactly_as_the_protocol_says() -> None:
    async with alone() as (node, http):
        reply = await get(http, "/node.json")

        assert reply.body == json.dumps(node.json_view(), separators=(",", ":")).encode() + b"\n"


async def test_status_and_peers_are_shown(tmp_path: Path) -> None:
    async with (
        a_node() as first,
        a_node(url_of(first), data=tmp_path / "data") as node,
        HttpServer(node) as http,
    ):
        status = (await get(http, "/status.json")).object
        peers = (await get(http, "/peers.json")).object["peers"]

    assert status["state"] == "ready"
    assert status["ready"]["throughPeers"] == 1
    assert status["data"] == str(tmp_path / "data")
    assert status["http"] == http.url
    assert [peer["nodeId"] for peer in peers] == [first.node_id.hex()]


async def test_metrics_are_shown_as_prometheus_reads_them() -> None:
    async with alone() as (_, http):
        reply = await get(http, "/metrics")

    assert reply.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(reply.text)}
    assert {"yz_sessions", "yz_table_nodes", "yz_stored_bytes", "process_cpu_seconds"} <= families.keys() | {
        "yz_table_nodes"
    }


async def test_the_page_is_for_people() -> None:
    async with alone() as (_, http):
        reply = await get(http, "/")

    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<h1>" in reply.text
    assert "script" not in reply.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/x", "/status.json/", "//", "/../etc/passwd", "/%2e%2e/", "/node.json?x=/"]
)
async def test_there_are_no_other_pages(path: str) -> None:
    async with alone() as (_, http):
        reply = await get(http, path)

    is_query = "?" in path
    assert reply.status == (200 if is_query else 404)
    assert is_query or set(reply.object) == {"error", "hint"}


async def test_what_costs_is_made_once_for_all_who_ask_at_once() -> None:
    clock = Time()
    async with a_node(clock=clock) as node, HttpServer(node) as http:
        first = (await get(http, "/status.json")).object
        node.telemetry.add("visits")
        clock.set_wall_ahead(1)
        assert (await get(http, "/status.json")).object == first
        await clock.advance(HTTP_VIEW_KEPT_S)

        assert (await get(http, "/status.json")).object["counters"]["visits"] == 1


async def test_a_node_that_leaves_says_so_until_its_end_and_after() -> None:
    async with a_node() as first, a_node(url_of(first)) as node, HttpServer(node) as http:
        await until(lambda: node.is_joined)
        assert (await get(http, "/readyz")).status == 200

        await node.stop()

        ready, health, page = [await get(http, path) for path in ("/readyz", "/healthz", "/")]
        assert (ready.status, ready.object["reason"]) == (503, "the node is leaving")
        assert health.status == 200
        assert (page.status, page.object["error"]) == (503, "the node has ended")
