"""What a node counts and measures, as Prometheus reads it.

One registry per node, so that many nodes live in one process. Nothing is kept here: families are built at the scrape,
from telemetry and from live views of the node. Every name begins with `yz_` and says its unit, but for those of the
process; labels come from closed sets.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from yzdht.errors import StoreError
from yzdht.pubsub.events import LossReason, RefusalReason
from yzdht.reachability import Reach
from yzdht.version import VERSION


if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from yzdht.certificates import TlsMeans
    from yzdht.crypto.signing import RecordChecks
    from yzdht.kad.engine import KadEngine
    from yzdht.ports import RecordStore
    from yzdht.reach_watch import ReachWatch
    from yzdht.sessions import Sessions
    from yzdht.telemetry import Counters, Telemetry
    from yzdht.topic_pump import TopicFigures, TopicPump


LIMITS = {
    "links_refused": frozenset(
        {
            "sessions",
            "half_open",
            "half_open_prefix",
            "handshake_rate",
            "client_sessions",
            "guests",
            "crowded out",
        }
    ),
    "refused": frozenset({"rate_limited", "over_quota", "busy"}),
}
"""Which refusals say that somebody took too much, by counter; all other labels of these counters are of bad input."""

_BAD_REQUESTS = frozenset(
    {"bad_request", "unknown_method", "too_large", "record_too_big", "bad_signature", "bad_lifetime"}
)
"""Statuses that blame the request itself; others, such as a sequence number too low, honest nodes get as well."""

_BAD_INPUT = ("garbage_answers", "rejected_records", "bad_contacts")

_SHOWN_ELSEWHERE = frozenset(
    {
        *LIMITS,
        *_BAD_INPUT,
        "rate_limited",
        "sessions_refused",
        "rpc_served",
        "rpc_sent",
        "topic_accepted",
        "topic_not_accepted",
        "topic_gaps",
        "topic_told",
        "topic_lost",
        "topic_refused",
    }
)

_HISTOGRAMS = {
    "operation_seconds": ("kind", "Time until the result of a read, a write or a lookup stood."),
    "operation_asked": ("kind", "Nodes that a read, a write or a lookup asked."),
    "operation_hops": ("kind", "Answers, one after another, that led to the nearest node."),
    "loop_lag_seconds": ("", "How late the event loop came to what was due."),
    "commit_seconds": ("", "Time of one transaction of the record store, the disk included."),
    "commit_writes": ("", "Writes decided in one transaction of the record store."),
    "topic_publish_seconds": (
        "",
        "Time until a majority of the hosts had a message on disk, or it was given up.",
    ),
    "topic_fan_out": ("of", "Subscribers to whom a new message was sent, of topics hosted or of clients."),
    "topic_push_seconds": ("", "Time from when a message was read until it was sent to its subscribers."),
}

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class NodeView(Protocol):
    """What is shown of a node that listens."""

    @property
    def telemetry(self) -> Telemetry:
        """What it counted and measured."""
        ...

    @property
    def engine(self) -> KadEngine:
        """Whom it knows."""
        ...

    @property
    def sessions(self) -> Sessions:
        """Who is connected."""
        ...

    @property
    def reach(self) -> ReachWatch:
        """Whether others reach it."""
        ...

    @property
    def tls(self) -> TlsMeans | None:
        """Its certificate."""
        ...

    @property
    def store_of_records(self) -> RecordStore:
        """What it keeps."""
        ...

    @property
    def topics(self) -> TopicPump:
        """What it does with topics."""
        ...

    @property
    def checks(self) -> RecordChecks:
        """What it verified."""
        ...


class NodeMetrics(Collector):
    """The metrics of one node, and of the process it runs in.

    Args:
        node: It listens already when its metrics are first read.

    Attributes:
        registry: For `prometheus_client.exposition.generate_latest`.

    """

    def __init__(self, node: NodeView) -> None:
        self._node = node
        self._build = {"version": VERSION}
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """Every family, in a fixed order; on the node's event loop."""
        yield InfoMetricFamily("yz_build", "Which yzdht this is.", value=self._build)
        yield from self._network()
        yield from self._work()
        yield from self._stored()
        yield from self._topics()
        yield from self._refusals()
        yield self._events()
        yield from self._histograms()
        tasks = len(asyncio.all_tasks())
        yield GaugeMetricFamily(
            "yz_tasks", "Tasks of the event loop, the one that counts them included.", tasks
        )

    def _network(self) -> Iterator[Metric]:
        node = self._node
        sessions = GaugeMetricFamily(
            "yz_sessions", "Sessions by kind; half_open ones prove who they are.", labels=["kind"]
        )
        for kind, count in session_counts(node.sessions).items():
            sessions.add_metric([kind], count)
        yield sessions
        in_table = GaugeMetricFamily(
            "yz_table_nodes", "Nodes in the routing table by bucket.", labels=["bucket"]
        )
        waiting = GaugeMetricFamily(
            "yz_table_waiting", "Nodes that wait for a place by bucket.", labels=["bucket"]
        )
        for index, nodes, in_line in node.engine.table.bucket_sizes():
            in_table.add_metric([str(index)], nodes)
            waiting.add_metric([str(index)], in_line)
        yield in_table
        yield waiting
        yield GaugeMetricFamily("yz_joined", "1 once lookups named nobody new.", value=node.engine.is_joined)
        reachability = GaugeMetricFamily(
            "yz_reachability", "1 for whether others reach the node, as it knows by now.", labels=["state"]
        )
        for state in Reach:
            reachability.add_metric([state.value], state is node.reach.judge.node)
        yield reachability
        if node.tls is not None and node.tls.not_after is not None:
            yield GaugeMetricFamily(
                "yz_certificate_end_timestamp_seconds",
                "When the own certificate ends, Unix.",
                value=node.tls.not_after,
            )
        traffic = CounterMetricFamily(
            "yz_traffic_bytes", "Bytes on links by direction and road.", labels=["direction", "road"]
        )
        for labels, size in sorted(node.sessions.traffic().items()):
            traffic.add_metric(labels, size)
        yield traffic

    def _work(self) -> Iterator[Metric]:
        yield self._requests("rpc_served", "Requests of peers by method and status.", "status")
        yield self._requests("rpc_sent", "Requests to peers by method and what came of them.", "outcome")
        checks = self._node.checks
        verified = CounterMetricFamily(
            "yz_record_verifications",
            "Signatures of records that were good: checked, or known from before.",
            labels=["result"],
        )
        verified.add_metric(["checked"], checks.verified)
        verified.add_metric(["cached"], checks.cache_hits)
        yield verified

    def _requests(self, name: str, text: str, second: str) -> Metric:
        family = CounterMetricFamily(f"yz_{name}", text, labels=["method", second])
        for label, count in self._node.telemetry.labels(name).items():
            family.add_metric(label.split("/"), count)
        return family

    def _stored(self) -> Iterator[Metric]:
        """Nothing while the disk cannot be read: a gap, not a zero."""
        try:
            totals = self._node.store_of_records.totals()
        except StoreError:
            return
        yield GaugeMetricFamily("yz_stored_records", "Records kept for the network.", value=totals.records)
        yield GaugeMetricFamily("yz_stored_bytes", "Bytes of these records.", value=totals.bytes)

    def _topics(self) -> Iterator[Metric]:
        telemetry = self._node.telemetry
        published = CounterMetricFamily(
            "yz_topic_publishes",
            "Messages of its user and its clients by what came of them.",
            labels=["outcome"],
        )
        published.add_metric(["accepted"], telemetry.get("topic_accepted"))
        published.add_metric(["not_accepted"], telemetry.get("topic_not_accepted"))
        yield published
        delivered = CounterMetricFamily(
            "yz_topic_deliveries",
            "Messages that its user took, and that were sent to subscribers, once for each of these.",
            labels=["to"],
        )
        delivered.add_metric(["user"], telemetry.get("topic_told"))
        sent = {label: h.sum for name, label, h in telemetry.histograms() if name == "topic_fan_out"}
        for of in ("hosted", "clients"):
            delivered.add_metric([of], sent.get(of, 0))
        yield delivered
        gaps = CounterMetricFamily(
            "yz_topic_gaps",
            "Gaps in what its user hears: found, then filled, or lost if not all of one came.",
            labels=["event"],
        )
        for event in ("found", "filled", "lost"):
            gaps.add_metric([event], telemetry.get("topic_gaps", event))
        yield gaps
        lost = CounterMetricFamily(
            "yz_topic_lost_messages", "Messages that its user is told are lost, by why.", labels=["reason"]
        )
        for label in (reason.name.lower() for reason in LossReason):
            lost.add_metric([label], telemetry.get("topic_lost", label))
        yield lost
        refused = CounterMetricFamily(
            "yz_topic_refused_messages", "Messages that came and its user is not told.", labels=["reason"]
        )
        for label in (reason.name.lower() for reason in RefusalReason):
            refused.add_metric([label], telemetry.get("topic_refused", label))
        yield refused
        with suppress(StoreError):  # a gap, not a zero
            yield from self._topics_held(self._node.topics.figures())

    @staticmethod
    def _topics_held(figures: TopicFigures) -> Iterator[Metric]:
        heard = CounterMetricFamily(
            "yz_topic_received", "What came of topics that this node listens to.", labels=["how"]
        )
        for how in ("pushed", "pulled", "duplicates", "forged"):
            heard.add_metric([how], getattr(figures.heard, how))
        yield heard
        subscriptions = GaugeMetricFamily(
            "yz_topic_subscriptions", "Subscriptions by whom they serve.", labels=["of"]
        )
        subscriptions.add_metric(["hosted"], figures.of_hosted)
        subscriptions.add_metric(["clients"], figures.of_clients)
        subscriptions.add_metric(["user"], figures.own)
        yield subscriptions
        yield GaugeMetricFamily("yz_hosted_topics", "Topics hosted for the network.", figures.hosted)
        yield GaugeMetricFamily("yz_hosted_messages", "Messages in their histories.", figures.messages)
        yield GaugeMetricFamily("yz_hosted_bytes", "Bytes of these messages.", figures.bytes)

    def _refusals(self) -> Iterator[Metric]:
        telemetry = self._node.telemetry
        rejected = CounterMetricFamily(
            "yz_rejected_input", "Input of others that was wrong by reason.", labels=["reason"]
        )
        for reason, count in rejected_input(telemetry, self._node.sessions.garbled()).items():
            rejected.add_metric([reason], count)
        yield rejected
        limited = CounterMetricFamily(
            "yz_rate_limited", "Links and requests refused for being too many by kind.", labels=["kind"]
        )
        for kind, count in rate_limited(telemetry).items():
            limited.add_metric([kind], count)
        yield limited

    def _events(self) -> Metric:
        """Whatever else is counted, so that a new counter needs no line here."""
        family = CounterMetricFamily("yz_events", "What else was counted.", labels=["event", "detail"])
        telemetry = self._node.telemetry
        for name in telemetry.names():
            if name not in _SHOWN_ELSEWHERE:
                for label, count in telemetry.labels(name).items():
                    family.add_metric([name, _word(label)], count)
        return family

    def _histograms(self) -> Iterator[Metric]:
        families = {
            name: HistogramMetricFamily(f"yz_{name}", text, labels=[label] if label else [])
            for name, (label, text) in _HISTOGRAMS.items()
        }
        for name, label, histogram in self._node.telemetry.histograms():
            steps = [*map(str, map(float, histogram.bounds)), "+Inf"]
            buckets = list(zip(steps, map(float, histogram.cumulative()), strict=True))
            families[name].add_metric([label] if _HISTOGRAMS[name][0] else [], buckets, histogram.sum)
        yield from families.values()


def session_counts(sessions: Sessions) -> dict[str, int]:
    """Sessions by kind: `node`, `client` and `half_open`."""
    return {"node": sessions.nodes, "client": sessions.clients, "half_open": sessions.half_open}


def rate_limited(counters: Counters) -> dict[str, int]:
    """How often somebody was refused for taking too much, by kind, sorted."""
    found = dict(counters.labels("rate_limited"))
    for name, kinds in LIMITS.items():
        for label, count in counters.labels(name).items():
            if label in kinds:
                kind = _word(label)
                found[kind] = found.get(kind, 0) + count
    return dict(sorted(found.items()))


def rejected_input(counters: Counters, garbled: int) -> dict[str, int]:
    """How often input of others was wrong, by reason, sorted.

    Args:
        counters: The node's.
        garbled: As `Sessions.garbled` tells.

    """
    found = {name: count for name in _BAD_INPUT if (count := counters.get(name))}
    if garbled:
        found["garbled_bodies"] = garbled
    for label, count in counters.labels("sessions_refused").items():
        found[f"session_{_CAPITAL.sub('_', label).lower()}"] = count
    for label, count in counters.labels("links_refused").items():
        if label not in LIMITS["links_refused"]:
            found[f"link_{_word(label)}"] = count
    for label, count in counters.labels("refused").items():
        if label in _BAD_REQUESTS:
            found[f"request_{_word(label)}"] = count
    return dict(sorted(found.items()))


def _word(label: str) -> str:
    """A label in the style of all others: lower case, no spaces."""
    return label.lower().replace(" ", "_")
