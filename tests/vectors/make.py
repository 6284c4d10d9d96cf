"""Write project-v1.json: golden values that this project makes, to be reproduced by every implementation.

Run it as `python -m tests.vectors.make` after a change of the protocol page. A section is a function without
arguments that returns JSON values, bytes in hexadecimal; add it to SECTIONS. Signatures are deterministic.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.vectors.golden import CREATED, EXPIRES, FOLDER, KEY_A, NETWORK, PROTOCOL, SELF_KEY_A
from tests.vectors.group_states import group_states_section
from tests.vectors.make_invite import invite_section, move_section, revoked_section
from tests.vectors.make_pubsub import pubsub_section
from yzdht.crypto.sealing import Author, RecordDraft, tombstone
from yzdht.crypto.signing import KeySigner
from yzdht.ids import Tag
from yzdht.wire.record import record_hash
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable

FILE = FOLDER / "project-v1.json"


def tombstone_section() -> dict[str, Any]:
    """One tombstone of A, for the public name of the protocol's vectors."""
    tag = Tag(bytes.fromhex(PROTOCOL["names"]["tag_public"]))
    author = Author(KeySigner(KEY_A, deterministic=True), SELF_KEY_A, NETWORK)
    raw = tombstone(RecordDraft(Kind.MUTABLE, CREATED, EXPIRES, 11, tag), author)
    return {
        "comment": "section 8; a tombstone of A at target_mutable_public, times as the protocol's records",
        "seq": 11,
        "record": raw.hex(),
        "hash": record_hash(raw).hex(),
    }


SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "tombstone": tombstone_section,
    "invite": invite_section,
    "revoked": revoked_section,
    "move": move_section,
    "group_states": group_states_section,
    "pubsub": pubsub_section,
}


def build() -> dict[str, Any]:
    """Return everything the file holds."""
    about = (
        "Golden values made by this project: hexadecimal, deterministic signatures, keys of protocol-v1.json."
    )
    return {"about": about} | {name: make() for name, make in SECTIONS.items()}


if __name__ == "__main__":
    FILE.write_text(json.dumps(build(), indent=1) + "\n")
