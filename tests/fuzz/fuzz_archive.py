"""A backup that is restored: its tar and its manifest, as they came and with sums of headers that are right."""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from yzdht.cli.archive import Archive
from yzdht.cli.backup import is_saved
from yzdht.errors import StoreError


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ("yzdht.cli.tar_members.decode_header",)
BLOCK_BYTES = 512
PATH = Path("backup.tar")


def _tar(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue().rstrip(b"\0") + bytes(2 * BLOCK_BYTES)


def seeds() -> Iterator[bytes]:
    entry = {"name": "home/identity.key", "bytes": 3, "sha256": "0" * 64}
    manifest = {"format": 1, "version": "1", "createdAt": 1, "files": [entry], "home": "there"}
    yield _tar(("backup.json", json.dumps(manifest).encode()), ("home/identity.key", b"key"))
    yield _tar(("backup.json", json.dumps(manifest | {"format": 2}).encode()))
    yield _tar(("backup.json", b"{}"))


def _mended(data: bytes) -> bytes:
    """With right sums in front of each block, where a header may be."""
    blocks = bytearray(data)
    for begin in range(0, len(blocks) - BLOCK_BYTES + 1, BLOCK_BYTES):
        block = blocks[begin : begin + BLOCK_BYTES]
        if not block[148:154].isdigit():
            continue  # of content rather than a header
        block[148:156] = b" " * 8
        blocks[begin + 148 : begin + 156] = b"%06o\0 " % sum(block)
    return bytes(blocks)


def one(data: bytes) -> None:
    for raw in (data, _mended(data)):
        with suppress(StoreError):
            Archive(PATH, io.BytesIO(raw), is_saved).unpack({})


if __name__ == "__main__":
    run(one, seeds())
