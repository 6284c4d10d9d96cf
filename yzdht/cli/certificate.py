"""What a node says of its own certificate, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.cli.findings import ok, problem, warning
from yzdht.http.units import show_span
from yzdht.limits import CERTIFICATE_ENDS_SOON_S


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.cli.answers import StatusView
    from yzdht.cli.findings import Finding


_RENEW = "renew it, then send the node SIGHUP"
_FASTER = "have it signed for a key on P-256, then send the node SIGHUP"
_HINT = (
    "nobody dials wss:// here meanwhile: renew it, or check this machine's clock, then send the node SIGHUP"
)


def certificate_line(view: StatusView, now: float) -> str:
    """When it ends, or what is wrong with it; empty where there is none.

    Args:
        view: What the node says.
        now: Unix seconds.

    """
    certificate = view.certificate
    if certificate is None:
        return ""
    slow = f"; {certificate.slow}" if certificate.slow else ""
    return (certificate.trouble or f"ends in {show_span(max(0.0, certificate.until - now))}") + slow


def check_certificate(view: StatusView | None, now: float) -> Iterator[Finding]:
    """Whether it is valid, and for how long; None for a node that said nothing, else as above."""
    if view is None or view.certificate is None:
        return
    certificate, line = view.certificate, certificate_line(view, now)
    if certificate.trouble:
        yield problem("certificate", line, _HINT)
    elif certificate.until - now < CERTIFICATE_ENDS_SOON_S:
        yield warning("certificate", line, _RENEW)
    elif certificate.slow:
        yield warning("certificate", line, _FASTER)
    else:
        yield ok("certificate", line)
