"""A running node as JSON for programs: `/status.json` and `/peers.json`, from what the node shows of itself."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from yzdht.errors import StoreError
from yzdht.limits import HTTP_PEERS_MAX, TRAFFIC_RATE_S
from yzdht.metrics import rate_limited, rejected_input
from yzdht.version import VERSION
from yzdht.wire.frame import Caps
from yzdht.wire.text import encode_node_id


if TYPE_CHECKING:
    from collections.abc import Mapping

    from yzdht.http.readiness import Readiness
    from yzdht.node import Node
    from yzdht.reach_watch import AddressView
    from yzdht.reachability import Reach, Version
    from yzdht.sessions.connection import Connection


Json = dict[str, object]

_MS = 1_000
_SAMPLE_EVERY_S = 1.0


def url_of(scheme: str, host: str, port: int) -> str:
    """An address as people write it; IPv6 in brackets."""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class TrafficRate:
    """Bytes per second, over the last TRAFFIC_RATE_S or since it was last asked, whichever is shorter.

    Sampled only when somebody looks: a node that nobody watches keeps no time for this.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque()

    def at(self, mono: float, taken: int, given: int) -> tuple[float, float]:
        """The rates now, in and out, in bytes per second.

        Args:
            mono: Monotonic seconds.
            taken: Bytes that arrived so far.
            given: Bytes that were sent so far.

        """
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= mono - TRAFFIC_RATE_S:
            samples.popleft()
        if not samples or mono - samples[-1][0] >= _SAMPLE_EVERY_S:
            samples.append((mono, taken, given))
        since, taken_then, given_then = samples[0]
        span_s = mono - since
        if span_s < _SAMPLE_EVERY_S:
            return 0.0, 0.0
        return (taken - taken_then) / span_s, (given - given_then) / span_s


class Views:
    """What a node shows of itself.

    Args:
        node: It was started.
        http: Where these views are, as a URL.

    """

    def __init__(self, node: Node, http: str) -> None:
        self._node = node
        self._http = http
        self._rate = TrafficRate()
        self._traffic(node.now().mono)

    def status(self, ready: Readiness) -> Json:
        """The whole state but for single peers.

        Args:
            ready: The last check.

        """
        node, now = self._node, self._node.now()
        started = node.started or now
        return {
            "nodeId": encode_node_id(node.node_id),
            "version": VERSION,
            "network": node.config.network,
            "type": node.json_view()["nodeType"],
            "state": state_of(node, ready),
            "startedAt": int(started.wall),
            "uptimeS": int(now.mono - started.mono),
            "pid": os.getpid(),
            "data": None if node.config.data is None else str(node.config.data),
            "listen": [url_of(e.protocol, e.host, e.port) for e in node.listener.endpoints],
            "addresses": [self._address(view) for view in node.reach.views()],
            "reachable": node.reach.judge.node.value,
            "reachableOver": _by_version(node.reach.judge.over),
            "seenAt": list(node.reach.judge.seen),
            "router": self._router(),
            "certificate": self._certificate(),
            "lan": self._lan(),
            "http": self._http,
            "bootstrap": {"tried": node.bootstrap_tried, "joined": node.bootstrap_joined},
            "table": self._table(),
            "sessions": {
                "nodes": node.sessions.nodes,
                "clients": node.sessions.clients,
                "halfOpen": node.sessions.half_open,
                "max": node.config.capacity.sessions_max,
            },
            "records": self._records(),
            "topics": self._topics(),
            "traffic": self._traffic(now.mono),
            "ready": ready.as_dict(),
            "limits": {"refused": rate_limited(node.telemetry)},
            "rejected": rejected_input(node.telemetry, node.sessions.garbled()),
            "errors": [
                {"at": int(e.at), "what": e.what, "hint": e.hint, "times": e.times}
                for e in node.telemetry.errors()
            ],
            "counters": node.telemetry.as_dict(),
        }

    def peers(self, limit: int = HTTP_PEERS_MAX) -> Json:
        """Who is connected, the newest session first.

        Args:
            limit: How many at most.

        """
        now = self._node.now()
        opened = self._node.sessions.open_connections()[::-1][:limit]
        return {
            "nodeId": encode_node_id(self._node.node_id),
            "peers": [self._peer(connection, now.mono - since) for connection, since in opened],
        }

    @staticmethod
    def _address(view: AddressView) -> Json:
        return {
            "url": view.url,
            "reachable": view.reach.value,
            "reachableOver": _by_version(view.over),
            "advertised": view.is_advertised,
            "why": view.why,
            "hint": view.hint,
        }

    def _certificate(self) -> Json | None:
        tls, now = self._node.tls, self._node.now()
        if tls is None or tls.not_after is None:
            return None
        trouble = tls.look(now.wall)
        return {
            "until": int(tls.not_after),
            "trouble": "" if trouble is None else str(trouble),
            "slow": tls.slow_key,
        }

    def _router(self) -> Json:
        router = self._node.reach.router
        mapping = None if router is None else router.mapping
        return {
            "port": None if mapping is None else mapping.port,
            "protocol": "" if mapping is None else mapping.protocol,
            "trouble": "" if router is None else router.trouble,
        }

    def _lan(self) -> Json | None:
        lan = self._node.lan
        return None if lan is None else {"found": lan.found, "met": lan.met, "trouble": lan.trouble}

    def _table(self) -> Json:
        table = self._node.engine.table
        return {
            "nodes": len(table),
            "mode": "small" if table.is_small else "large",
            "buckets": [
                {"index": index, "nodes": nodes, "waiting": waiting}
                for index, nodes, waiting in table.bucket_sizes()
            ],
        }

    def _records(self) -> Json:
        bytes_max = self._node.config.capacity.storage_bytes_max
        try:
            totals = self._node.store_of_records.totals()
        except StoreError:  # the disk cannot be read: unknown, not none
            return {"count": None, "bytes": None, "bytesMax": bytes_max}
        return {"count": totals.records, "bytes": totals.bytes, "bytesMax": bytes_max}

    def _topics(self) -> Json:
        try:
            figures = self._node.topics.figures()
        except StoreError:
            return {"hosted": None, "messages": None, "bytes": None, "subscriptions": None}
        return {
            "hosted": figures.hosted,
            "messages": figures.messages,
            "bytes": figures.bytes,
            "subscriptions": figures.of_hosted + figures.of_clients + figures.own,
        }

    def _carried(self) -> dict[str, dict[str, int]]:
        roads: dict[str, dict[str, int]] = {"in": {}, "out": {}}
        for (direction, road), size in sorted(self._node.sessions.traffic().items()):
            roads[direction][road] = size
        return roads

    def _traffic(self, mono: float) -> Json:
        roads = self._carried()
        in_per_s, out_per_s = self._rate.at(mono, sum(roads["in"].values()), sum(roads["out"].values()))
        return {**roads, "inPerS": round(in_per_s, 1), "outPerS": round(out_per_s, 1)}

    def _peer(self, connection: Connection, age_s: float) -> Json:
        peer, session = connection.peer, connection.session
        assert peer is not None
        assert session is not None
        rtt_s = session.rtt.smoothed_s
        is_client = bool(peer.caps & Caps.CLIENT)
        return {
            "nodeId": encode_node_id(peer.node_id),
            "host": peer.host,
            "proxy": connection.link.remote.proxy or None,
            "url": connection.url,
            "road": connection.road,
            "dialled": connection.is_initiator,
            "rttMs": None if rtt_s is None else round(rtt_s * _MS, 2),
            "sinceS": int(age_s),
            "isClient": is_client,
            "isInTable": not is_client and self._node.engine.table.get(peer.node_id) is not None,
            "bytesIn": connection.bytes_in,
            "bytesOut": connection.bytes_out,
        }


def state_of(node: Node, ready: Readiness) -> str:
    """One word: `joining`, `ready`, `alone`, `unready` (it had joined), `failing` (its disk) or `leaving`."""
    if node.is_leaving:
        return "leaving"
    if node.disk_trouble is not None:
        return "failing"
    if ready.is_alone:
        return "alone"
    if ready.is_ready:
        return "ready"
    return "unready" if node.is_joined else "joining"


def _by_version(over: Mapping[Version, Reach]) -> Json:
    return {f"ipv{version}": reach.value for version, reach in over.items()}
