"""The golden values, for tests and for the script that makes our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from yzdht.crypto.naming import network_id
from yzdht.crypto.primitives import PrivateKey
from yzdht.ids import PublicKey


FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    """Return one file of golden values."""
    values: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return values


PROTOCOL = load("protocol-v1.json")
NETWORK = network_id(PROTOCOL["conventions"]["network"])
KEY_A = PrivateKey.from_scalar(bytes.fromhex(PROTOCOL["keys"]["sk_A"]))
KEY_B = PrivateKey.from_scalar(bytes.fromhex(PROTOCOL["keys"]["sk_B"]))
KEM_1 = PrivateKey.from_scalar(bytes.fromhex(PROTOCOL["keys"]["kem_1"]))
KEM_2 = PrivateKey.from_scalar(bytes.fromhex(PROTOCOL["keys"]["kem_2"]))
SELF_KEY_A = bytes.fromhex(PROTOCOL["identity"]["K_self"])
OFF_CURVE = PublicKey(b"\x02" + b"\xff" * 32)  # looks compressed, and is no point
CREATED = 1_700_000_000
EXPIRES = 1_700_172_800


def record(name: str) -> bytes:
    """Return the bytes of one of the golden records."""
    return bytes.fromhex(PROTOCOL["records"][name]["record"])
