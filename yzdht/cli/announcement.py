"""What `yz-node` tells on stdout once it runs: who it is, where, how others join and how to use it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from yzdht.cli.settings import DEFAULT_NODE
from yzdht.crypto.naming import fingerprint
from yzdht.wire.text import decode_node_id


if TYPE_CHECKING:
    from collections.abc import Mapping


NO_ADDRESS = "this node has no address to advertise: others can neither be told of it nor join through it"
NO_ADDRESS_HINT = "name one with --public-address ws://HOST:PORT, or use --allow-private on a private network"

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 - compared, not bound
"""Where a node listens that listens everywhere, as seen from its own machine."""


class Place(NamedTuple):
    """Where a node runs, beside its JSON view.

    Attributes:
        host: What it listens on.
        port: Its real port.
        network: Name of its network.
        network_key: Path of its network's key file; None for an open network.
        data: Its data folder.

    """

    host: str
    port: int
    network: str
    network_key: str | None
    data: str


def announcement(view: Mapping[str, object], place: Place) -> list[str]:
    """The lines for people.

    Args:
        view: `Node.json_view()`, and `http`: the status page.
        place: Where it runs.

    """
    node_id = str(view["nodeId"])
    urls = _urls(view)
    local = local_url(place)
    options = _network_options(place)
    nodes = [] if local == DEFAULT_NODE else ["--node", local]
    return [
        f"node         {fingerprint(decode_node_id(node_id))}",
        f"node id      {node_id}",
        *(f"address      {url}" for url in urls or ["none"]),
        f"data         {place.data}",
        f"network      {place.network}",
        *([f"status page  {view['http']}"] if view.get("http") else []),
        "",
        "others join with",
        f"  {shlex.join(['yz-node', '--bootstrap', f'{(urls or [local])[0]}#{node_id}', *options])}",
        "store and read through it with",
        f"  {shlex.join(['yz', *nodes, *options, 'put', 'NAME', 'FILE'])}",
        f"  {shlex.join(['yz', *nodes, *options, 'get', 'NAME'])}",
    ]


def _urls(view: Mapping[str, object]) -> list[str]:
    addresses = view["addresses"]
    assert isinstance(addresses, list)
    return [address["url"] for address in addresses]


def local_url(place: Place) -> str:
    """How this machine reaches the node."""
    host = WILDCARDS.get(place.host, place.host)
    return f"ws://{f'[{host}]' if ':' in host else host}:{place.port}"


def _network_options(place: Place) -> list[str]:
    name = [] if place.network == "main" else ["--network", place.network]
    key = [] if place.network_key is None else ["--network-key", place.network_key]
    return name + key
