"""What a node has to do with its router, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.cli.findings import ok, warning


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.cli.answers import StatusView
    from yzdht.cli.findings import Finding


_PROTOCOLS = {"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP"}
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
