"""What a node has to do with its router and with others on its local network, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.cli.findings import ok, warning
from yzdht.cli.units import show_count


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.cli.answers import StatusView
    from yzdht.cli.findings import Finding


_PROTOCOLS = {"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP"}
_LAN_HINT = "connect this machine to a network with IPv4, or start the node without --lan"
_HINT = "forward the port on the router by hand, or switch UPnP, NAT-PMP or PCP on there"


def router_line(view: StatusView) -> str:
    """What the router was asked for; empty if nothing that matters."""
    router = view.router
    if router.port is not None:
        protocol = _PROTOCOLS.get(router.protocol, router.protocol)
        return f"forwards its port {router.port} to this node ({protocol})"
    return "" if view.reachable == "reachable" else router.trouble


def check_router(view: StatusView) -> Iterator[Finding]:
    """Whether it does what it was asked for."""
    line = router_line(view)
    if line:
        yield ok("router", line) if view.router.port is not None else warning("router", line, _HINT)


def lan_line(view: StatusView) -> str:
    """What came of looking for others on the local network; empty if it does not look."""
    lan = view.lan
    if lan is None:
        return ""
    if lan.trouble:
        return lan.trouble
    return f"announced there, found {show_count(lan.found, 'other node')} of this network, met {lan.met}"


def check_lan(view: StatusView) -> Iterator[Finding]:
    """Whether it can look, if it was told to."""
    if view.lan is not None:
        line = lan_line(view)
        yield warning("local net", line, _LAN_HINT) if view.lan.trouble else ok("local net", line)
