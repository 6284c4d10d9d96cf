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
from yzdht.http.units import show_bytes, show_ms, show_span
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

_STATES = {
    "ready": ("good", "Ready"),
    "alone": ("good", "Alone"),
    "joining": ("wait", "Joining"),
    "unready": ("bad", "Not ready"),
    "failing": ("bad", "Its disk fails"),
    "leaving": ("wait", "Leaving"),
}


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
