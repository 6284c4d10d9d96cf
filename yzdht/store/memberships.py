"""Memberships of closed networks, as their issuers signed them: one file for each network, in a home or a data folder.

Nothing here is a secret: a membership is signed over its holder's id and shown to everybody. The file is its owner's all
the same, mode 0600: who could change it could shut this user out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from yzdht.errors import StoreError, WireError
from yzdht.store.files import make_folder, read_own_file, replace_file
from yzdht.wire.token import TOKEN_BYTES, decode_token, encode_token


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.ids import NetworkId
    from yzdht.wire.token import Token


_NAME = re.compile(r"membership-[0-9a-f]{16}")


def keep(folder: Path, network: NetworkId, token: Token) -> None:
    """Keep a membership in place of the one before; durable when this returns.

    Args:
        folder: A home or a data folder; made if it is not there.
        network: NET.
        token: The membership, checked by whoever calls.

    Raises:
        StoreError: It cannot be written; what was there stays.

    """
    make_folder(folder)
    replace_file(_path(folder, network), encode_token(token))


def read(folder: Path, network: NetworkId) -> Token | None:
    """The membership of a network; None if there is none. Neither its signature nor its times are checked.

    Raises:
        UnsafeFile: Others can change it.
        StoreError: It cannot be read, or is damaged.

    """
    path = _path(folder, network)
    raw = read_own_file(path, TOKEN_BYTES)
    if raw is None:
        return None
    try:
        return decode_token(raw)
    except WireError:
        raise StoreError(
            f"{path} holds no membership",
            hint="restore it from a copy, or remove it and join again with an invite",
        ) from None


def is_membership(name: str) -> bool:
    """True for the name of such a file."""
    return _NAME.fullmatch(name) is not None


def _path(folder: Path, network: NetworkId) -> Path:
    return folder / f"membership-{network.hex()}"
