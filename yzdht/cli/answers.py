"""What a node says of itself over HTTP, as the commands read it: typed, bounded, later additions left aside.

The node could be another program on its port, or a newer one: what is missing has a default, what has another type is
refused. Text in it is a stranger's until it was escaped.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from yzdht.errors import NoNode
from yzdht.limits import (
    ADDRESSES_MAX,
    ERRORS_REMEMBERED_MAX,
    HTTP_PEERS_MAX,
    URL_BYTES_MAX,
)


_T = TypeVar("_T")

Text = Annotated[str, Meta(max_length=1_024)]
Url = Annotated[str, Meta(max_length=URL_BYTES_MAX)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
NodeIdText = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
UnixS = Annotated[int, Meta(ge=0, le=2**40)]
Rate = Annotated[float, Meta(ge=0)]
Roads = Annotated[dict[Text, Count], Meta(max_length=16)]


class RunView(Struct, frozen=True, rename="camel"):
    """`run.json` of a data folder: which process holds it, and where it is."""

    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    port: Annotated[int, Meta(ge=0, le=65_535)]
    host: Text
    node_id: NodeIdText
    version: Text
    started_at: UnixS
    http: Url | None = None


class RefusalView(Struct, frozen=True, rename="camel"):
    """Why a page was not shown."""

    error: Text
    hint: Text = ""


class ReadyView(Struct, frozen=True, rename="camel"):
    """`/readyz`."""

    ready: bool
    alone: bool
    reason: Text
    through_peers: Count = 0
    checked_at: UnixS = 0
    hint: Text = ""


Over = Annotated[dict[Text, Text], Meta(max_length=8)]
"""Whether others reach something over each version of IP, by `ipv4` and `ipv6`."""


class AddressView(Struct, frozen=True, rename="camel"):
    """An address of the node."""

    url: Url
    reachable: Text = "unknown"
    reachable_over: Over = msgspec.field(default_factory=dict)
    advertised: bool = True
    why: Text = ""
    hint: Text = ""


class RouterView(Struct, frozen=True, rename="camel"):
    """What the router was asked for: the port that it forwards, by which protocol, or why it forwards none."""

    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    protocol: Text = ""
    trouble: Text = ""


class CertificateView(Struct, frozen=True, rename="camel"):
    """When its own certificate ends, Unix seconds, why nobody believes it now, and what is slow about its key."""

    until: int = 0
    trouble: Text = ""
    slow: Text = ""


class LanView(Struct, frozen=True, rename="camel"):
    """Other nodes of its network on the local network: how many are announced, how many answered."""

    found: Count = 0
    met: Count = 0
    trouble: Text = ""


class BootstrapView(Struct, frozen=True, rename="camel"):
    """How many addresses to join through were tried, and how many answered."""

    tried: Count = 0
    joined: Count = 0


class TableView(Struct, frozen=True, rename="camel"):
    """The routing table."""

    nodes: Count = 0
    mode: Text = ""


class SessionsView(Struct, frozen=True, rename="camel"):
    """Who is connected, in numbers."""

    nodes: Count = 0
    clients: Count = 0
    half_open: Count = 0
    max: Count = 0


class RecordsView(Struct, frozen=True, rename="camel"):
    """What it keeps; None while its disk cannot be read."""

    count: Count | None = None
    bytes: Count | None = None
    bytes_max: Count = 0


class TopicsView(Struct, frozen=True, rename="camel"):
    """What it does with topics; None while its disk cannot be read."""

    hosted: Count | None = None
    messages: Count | None = None
    bytes: Count | None = None
    subscriptions: Count | None = None


class TrafficView(Struct, frozen=True, rename="camel"):
    """Bytes by road, and bytes per second of late."""

    in_: Roads = msgspec.field(default_factory=dict, name="in")
    out: Roads = msgspec.field(default_factory=dict)
    in_per_s: Rate = msgspec.field(default=0.0, name="inPerS")
    out_per_s: Rate = msgspec.field(default=0.0, name="outPerS")


class LimitsView(Struct, frozen=True, rename="camel"):
    """What was refused because somebody took too much."""

    refused: Annotated[dict[Text, Count], Meta(max_length=64)] = msgspec.field(default_factory=dict)


class ErrorView(Struct, frozen=True, rename="camel"):
    """Something an operator should see."""

    at: UnixS
    what: Text
    hint: Text = ""
    times: Count = 1


class StatusView(Struct, frozen=True, rename="camel"):
    """`/status.json`."""

    node_id: NodeIdText
    version: Text
    network: Text
    state: Text
    ready: ReadyView
    started_at: UnixS
    pid: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    type: Text = ""
    uptime_s: Count = msgspec.field(default=0, name="uptimeS")
    data: Annotated[str, Meta(max_length=4_096)] | None = None
    listen: Annotated[tuple[Url, ...], Meta(max_length=64)] = ()
    addresses: Annotated[tuple[AddressView, ...], Meta(max_length=ADDRESSES_MAX)] = ()
    reachable: Text = "unknown"
    reachable_over: Over = msgspec.field(default_factory=dict)
    router: RouterView = RouterView()
    certificate: CertificateView | None = None
    lan: LanView | None = None
    http: Url | None = None
    bootstrap: BootstrapView = BootstrapView()
    table: TableView = TableView()
    sessions: SessionsView = SessionsView()
    records: RecordsView = RecordsView()
    topics: TopicsView = TopicsView()
    traffic: TrafficView = msgspec.field(default_factory=TrafficView)
    limits: LimitsView = msgspec.field(default_factory=LimitsView)
    errors: Annotated[tuple[ErrorView, ...], Meta(max_length=ERRORS_REMEMBERED_MAX)] = ()


class PeerView(Struct, frozen=True, rename="camel"):
    """One session."""

    node_id: NodeIdText
    host: Text
    road: Text
    dialled: bool
    url: Url | None = None
    rtt_ms: Rate | None = None
    since_s: Count = msgspec.field(default=0, name="sinceS")
    is_client: bool = False
    is_in_table: bool = False
    bytes_in: Count = 0
    bytes_out: Count = 0


class PeersView(Struct, frozen=True, rename="camel"):
    """`/peers.json`; `node_id` is empty where a node does not say whose peers they are."""

    peers: Annotated[tuple[PeerView, ...], Meta(max_length=HTTP_PEERS_MAX)]
    node_id: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""


def decode_answer(raw: bytes, shape: type[_T], where: str) -> _T:
    """Read one JSON answer.

    Args:
        raw: What was answered; its length is bounded already.
        shape: What it must be.
        where: Named in the error.

    Raises:
        NoNode: It is something else.

    """
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the last for brackets without end
        raise NoNode(
            f"{where} does not answer as a node of this version does",
            hint="check that a node's status page is there, and that yz and the node are of one version",
        ) from None
