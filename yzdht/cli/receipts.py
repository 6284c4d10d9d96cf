"""A write as people and programs see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from yzdht.wire.text import encode_public_key


if TYPE_CHECKING:
    from yzdht.slot_writer import Receipt


def receipt_view(receipt: Receipt) -> dict[str, object]:
    """A receipt as an object."""
    return {
        "seq": receipt.seq,
        "publisher": encode_public_key(receipt.publisher),
        "expires": receipt.expires,
        "link": receipt.link,
        "accepted": receipt.accepted,
        "asked": receipt.asked,
        "needed": receipt.needed,
    }


def instant(unix_s: int) -> str:
    """Unix seconds as people read them, in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def by_nodes(receipt: Receipt) -> str:
    """How many nodes hold it, of those that were asked."""
    return f"by {receipt.accepted} of {receipt.asked} node{'' if receipt.asked == 1 else 's'}"
