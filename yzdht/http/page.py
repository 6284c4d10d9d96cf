"""The page at `/`, for people: what the node does, whether all is well, and what to do where it is not.

No script, nothing loaded from anywhere: the browser renews it, and its policy lets nothing run or load but the one
style sheet it carries. Whatever a peer or an operator named is escaped.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from yzdht.crypto.naming import fingerprint
from yzdht.wire.text import decode_node_id


if TYPE_CHECKING:
    from yzdht.http.views import Json


RENEW_S = 10

_STYLE = files("yzdht.http").joinpath("templates", "page.css").read_text("utf-8")
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1_024
_ROUND_FROM = 100
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

_STATES = {
    "ready": ("good", "Ready"),
    "alone": ("good", "Alone"),
    "joining": ("wait", "Joining"),
    "leaving": ("wait", "Leaving"),
}


def show_bytes(size: float | None) -> str:
    """A size for people: `1.5 MiB`."""
    if size is None:
        return "unknown"
    step = 0
    while size >= _STEP and step < len(_UNITS) - 1:
        size, step = size / _STEP, step + 1
    return f"{size:.0f} {_UNITS[step]}" if not step or size >= _ROUND_FROM else f"{size:.1f} {_UNITS[step]}"


def show_span(seconds: float) -> str:
    """A time for people, in its two largest units: `2 h 5 min`."""
    left = int(max(0, seconds))
    parts: list[str] = []
    for size, unit in _SPANS:
        if left >= size and len(parts) < 2:  # noqa: PLR2004 - as said above
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts) or "0 s"


def show_ms(ms: float | None) -> str:
    """A round trip for people."""
    if ms is None:
        return "unknown"
    return f"{ms:.1f} ms" if ms < _ROUND_FROM else f"{ms:.0f} ms"


def show_words(label: str) -> str:
    """A counter's label for people."""
    return label.replace("_", " ")


def render(status: Json, peers: Json, wall: float) -> str:
    """The page.

    Args:
        status: As `Views.status` made it.
        peers: As `Views.peers` made it, cut to what a page can show.
        wall: Unix seconds now.

    """
    kind, state = _STATES[str(status["state"])]
    ready = status["ready"]
    assert isinstance(ready, dict)
    if not ready["ready"] and status["state"] == "joining" and ready["checkedAt"]:
        kind, state = "bad", "Not ready"
    return _PAGE.render(
        status=status,
        peers=peers["peers"],
        wall=wall,
        kind=kind,
        state=state,
        fingerprint=fingerprint(decode_node_id(str(status["nodeId"]))),
        renew_s=RENEW_S,
        style=Markup(_STYLE),  # noqa: S704 - a file of this package
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("yzdht.http"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": show_bytes, "span": show_span, "ms": show_ms, "words": show_words}
    return environment


_PAGE = _environment().get_template("page.html")
