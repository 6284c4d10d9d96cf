"""What Prometheus reads of real nodes that met over loopback; promtool judges the text."""

from __future__ import annotations

import asyncio
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.sessions.kit import until
from yzdht import Client, Identity, Node
from yzdht.errors import StoreError
from yzdht.metrics import NodeMetrics, NodeView, rate_limited, rejected_input
from yzdht.telemetry import Telemetry


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.ports import StoreTotals
    from yzdht.topic_pump import TopicFigures


HOST = "127.0.0.1"


def lint(text: bytes) -> str:
    """What promtool has to say; nothing if the exposition is clean."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode()


def samples(metrics: NodeMetrics) -> dict[str, float]:
    """Samples as Prometheus names them, `name{label="value"}`."""
    text = generate_latest(metrics.registry).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


async def test_two_nodes_that_met_and_stored_show_it_and_promtool_finds_it_clean(tmp_path: Path) -> None:
    person = Identity.generate()
    near = Node(
        0, host=HOST, data=tmp_path / "near", allow_private=True, identity=person, home=tmp_path / "home"
    )
    async with near:
        bootstrap = [f"ws://{HOST}:{near.port}"]
        async with Node(0, host=HOST, bootstrap=bootstrap, allow_private=True):
            await near.store("note", b"hello")
            assert (await near.get("note")).data == b"hello"
            metrics = NodeMetrics(near)
            shown, text = samples(metrics), generate_latest(metrics.registry)

    assert lint(text) == ""
    assert shown['yz_sessions{kind="node"}'] == 1
    assert shown['yz_sessions{kind="client"}'] == shown['yz_sessions{kind="half_open"}'] == 0
    assert sum(value for name, value in shown.items() if name.startswith("yz_table_nodes{")) == 1
    assert shown["yz_joined"] == 1
    states = [value for name, value in shown.items() if name.startswith("yz_reachability{")]
    assert sorted(states)[-2:] == [0, 1], "one of them; the other node has dialled back by now, or has not"
    for direction in ("in", "out"):
        assert shown[f'yz_traffic_bytes_total{{direction="{direction}",road="ws"}}'] > 1_000
    assert shown['yz_rpc_sent_total{method="store",outcome="ok"}'] >= 1
    assert shown['yz_rpc_served_total{method="find_value",status="ok"}'] >= 1
    assert shown['yz_operation_seconds_count{kind="write"}'] >= 1
    assert shown['yz_operation_seconds_count{kind="read"}'] >= 1
    assert shown['yz_operation_hops_bucket{kind="lookup",le="+Inf"}'] >= 1
    assert shown["yz_stored_records"] >= 2
    assert shown["yz_stored_bytes"] > 0
    assert shown["yz_commit_seconds_count"] >= 1
    assert shown['yz_record_verifications_total{result="checked"}'] >= 1
    assert shown['yz_events_total{detail="",event="sessions_opened"}'] == 1
    assert shown["process_resident_memory_bytes"] > 0
    assert any(name.startswith("yz_build_info{") for name in shown)


async def test_what_was_carried_by_sessions_that_ended_stays_counted() -> None:
    async with Node(0, host=HOST) as near:
        async with Node(0, host=HOST, bootstrap=[f"ws://{HOST}:{near.port}"]):
            before = near.sessions.traffic()
        await until(lambda: not len(near.sessions))
        after = near.sessions.traffic()

    assert before["in", "ws"] > 0
    assert all(after[way] >= size for way, size in before.items())


async def test_every_node_of_a_process_has_a_registry_of_its_own() -> None:
    async with Node(0, host=HOST) as one, Node(0, host=HOST) as other:
        one.telemetry.add("links_refused", "sessions", 7)

        assert samples(NodeMetrics(one))['yz_rate_limited_total{kind="sessions"}'] == 7
        assert 'yz_rate_limited_total{kind="sessions"}' not in samples(NodeMetrics(other))


async def test_every_counter_is_shown_once_whatever_its_name() -> None:
    async with Node(0, host=HOST) as node:
        node.telemetry.add("something_new", "wrong path", 3)
        node.telemetry.observe("loop_lag_seconds", 0.002)
        node.telemetry.add("refused", "seq_too_low")
        metrics = NodeMetrics(node)
        shown, text = samples(metrics), generate_latest(metrics.registry)

    assert shown['yz_events_total{detail="wrong_path",event="something_new"}'] == 3
    assert shown['yz_loop_lag_seconds_bucket{le="0.0025"}'] == 1
    assert shown['yz_loop_lag_seconds_bucket{le="0.001"}'] == 0
    assert not any("seq_too_low" in name for name in shown), "honest nodes get that too"
    assert lint(text) == ""


async def test_a_task_is_shown_as_long_as_it_lives() -> None:
    async with Node(0, host=HOST) as node:
        metrics, gate = NodeMetrics(node), asyncio.Event()
        before = samples(metrics)["yz_tasks"]
        waiting = asyncio.create_task(gate.wait())
        assert samples(metrics)["yz_tasks"] == before + 1
        gate.set()
        await waiting
        assert samples(metrics)["yz_tasks"] == before


async def test_topics_show_what_was_published_heard_missed_and_is_kept() -> None:
    async with Node(0, host=HOST, allow_private=True) as near:
        bootstrap = [f"tcp://{HOST}:{near.port}"]
        async with (
            Node(0, host=HOST, bootstrap=bootstrap, allow_private=True) as far,
            Client.connect(*bootstrap) as client,
            near.subscribe("news") as heard,
            client.subscribe("news") as relayed,
        ):
            await far.publish("news", b"one")
            await client.publish("news", b"two")
            for messages in (heard, relayed):
                for _ in range(2):
                    await anext(messages)
            near.topics.count("topic_gaps", "found")
            near.topics.count("topic_lost", "no_room", 3)
            near.topics.count("topic_refused", "too_old")
            metrics = NodeMetrics(near)
            shown, text = samples(metrics), generate_latest(metrics.registry)

    assert lint(text) == ""
    assert shown["yz_hosted_topics"] == 1
    assert shown["yz_hosted_messages"] == 2
    assert shown["yz_hosted_bytes"] > 2 * 64
    assert shown['yz_topic_subscriptions{of="user"}'] == shown['yz_topic_subscriptions{of="clients"}'] == 1
    assert shown['yz_topic_subscriptions{of="hosted"}'] >= 1
    assert shown['yz_topic_publishes_total{outcome="accepted"}'] == 1
    assert shown["yz_topic_publish_seconds_count"] == 1
    assert sum(shown[f'yz_topic_received_total{{how="{how}"}}'] for how in ("pushed", "pulled")) == 4
    assert shown['yz_topic_deliveries_total{to="user"}'] == 2
    assert shown['yz_topic_gaps_total{event="found"}'] == 1
    assert shown['yz_topic_gaps_total{event="filled"}'] == 0
    assert shown['yz_topic_gaps_total{event="lost"}'] == 0
    assert shown['yz_topic_lost_messages_total{reason="no_room"}'] == 3
    assert shown['yz_topic_lost_messages_total{reason="nobody_has_it"}'] == 0
    assert shown['yz_topic_refused_messages_total{reason="too_old"}'] == 1
    assert shown['yz_topic_refused_messages_total{reason="unreadable"}'] == 0
    assert shown['yz_rpc_served_total{method="publish",status="ok"}'] >= 1
    assert not any(
        "topic_accepted" in name or "topic_told" in name or 'topic_lost"' in name or 'topic_refused"' in name
        for name in shown
    )


async def test_a_delivery_is_what_somebody_took_or_was_sent_and_how_long_it_was_here_is_shown() -> None:
    async with Node(0, host=HOST, allow_private=True) as near:
        bootstrap = [f"tcp://{HOST}:{near.port}"]
        async with (
            Client.connect(*bootstrap) as client,
            Client.connect(*bootstrap) as other,
            client.subscribe("news") as first,
            other.subscribe("news") as second,
            near.subscribe("news"),
        ):
            for _ in range(3):
                await client.publish("news", b"x")
                for messages in (first, second):
                    await anext(messages)
            shown = samples(NodeMetrics(near))

    assert shown['yz_topic_deliveries_total{to="clients"}'] == 6
    assert shown['yz_topic_deliveries_total{to="hosted"}'] == 3, "what listens for all of them is one"
    assert shown['yz_topic_deliveries_total{to="user"}'] == 0, "it has taken none yet"
    assert shown['yz_topic_fan_out_bucket{le="2.0",of="clients"}'] == 3
    assert shown['yz_topic_fan_out_bucket{le="1.0",of="clients"}'] == 0
    assert shown["yz_topic_push_seconds_count"] == 6, "as a host, and for clients"


class _Unreadable:
    def totals(self) -> StoreTotals:
        raise StoreError("the disk is gone")

    def figures(self) -> TopicFigures:
        raise StoreError("the disk is gone")


async def test_a_store_that_cannot_be_read_leaves_a_gap_and_not_a_zero() -> None:
    async with Node(0, host=HOST) as node:
        view = SimpleNamespace(
            telemetry=node.telemetry,
            engine=node.engine,
            sessions=node.sessions,
            reach=node.reach,
            tls=node.tls,
            store_of_records=_Unreadable(),
            checks=node.checks,
            topics=_Unreadable(),
        )
        shown = samples(NodeMetrics(cast("NodeView", view)))

    assert "yz_stored_records" not in shown
    assert "yz_hosted_topics" not in shown
    assert "yz_sessions" in {name.partition("{")[0] for name in shown}


def test_who_took_too_much_and_who_sent_nonsense_are_told_apart() -> None:
    telemetry = Telemetry()
    telemetry.add("links_refused", "handshake_rate", 2)
    telemetry.add("links_refused", "crowded out")
    telemetry.add("links_refused", "not a WebSocket request", 3)
    telemetry.add("refused", "rate_limited", 4)
    telemetry.add("refused", "bad_signature", 5)
    telemetry.add("refused", "cas_mismatch")
    telemetry.add("rate_limited", "handshake_rate")
    telemetry.add("sessions_refused", "InvalidHello", 6)
    telemetry.add("garbage_answers", amount=7)

    assert rate_limited(telemetry) == {"crowded_out": 1, "handshake_rate": 3, "rate_limited": 4}
    assert rejected_input(telemetry, 8) == {
        "garbage_answers": 7,
        "garbled_bodies": 8,
        "link_not_a_websocket_request": 3,
        "request_bad_signature": 5,
        "session_invalid_hello": 6,
    }
    assert rejected_input(Telemetry(), 0) == rate_limited(Telemetry()) == {}
