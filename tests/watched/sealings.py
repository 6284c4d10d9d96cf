"""Sees every AES-GCM sealing of a process, and reports a nonce that served twice under one key for different things.

Stands in for the one cipher class that yzdht.crypto.primitives takes from the library. What HPKE seals under a key of
its own making is inside the library and not seen.

A pair of key and nonce is remembered by a hash of 16 bytes, and what was sealed under it by one of 8. Session records
count their nonces up from an iv, and there are millions: of those only the first of each cipher are remembered, which shows
two ciphers of one key; the rest is proven by counting, as iv ^ n differs for every n. Whatever leaves the count is
looked at again.

Faults and counts are in files of a folder at once, so that a process that is killed has reported.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import traceback
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from types import ModuleType


FOLDER_VARIABLE = "WATCHED_SEALINGS"
REMEMBERED_OF_A_CIPHER = 16
"""First sealings of each cipher that are remembered while it counts up."""
PAIRS_MAX = 1_000_000
"""Of a process, about 170 MB. One more is still compared with these, and counted as not remembered."""
FRAMES_SHOWN = 6
_COUNTS = struct.Struct("<QQQ")


class Ledger:
    """What one process has sealed.

    Args:
        folder: Where it reports.
        pairs_max: Pairs to remember.

    Attributes:
        is_paused: True while nothing is watched: keys and salts of a vector or of the simulator.

    """

    def __init__(self, folder: Path, pairs_max: int = PAIRS_MAX) -> None:
        self.is_paused = False
        self._folder = folder
        self._pairs_max = pairs_max
        self._pairs: dict[int, int] = {}
        self._lock = Lock()
        self._begin()

    def _begin(self) -> None:
        """Start to count, in this process or in one that was forked and still knows what its parent sealed."""
        self._lock = Lock()
        self._sealed = self._counted_up = self._forgotten = 0
        self._report = self._folder / f"{os.getpid()}-{os.urandom(4).hex()}"
        self._counts: mmap.mmap | None = None

    def watch(self, primitives: ModuleType) -> None:
        """Stand in for the cipher of yzdht.crypto.primitives, for the rest of this process and its forks."""
        ledger, library = self, primitives.AESGCM

        class WatchedCipher(_Cipher):
            """One key: the library's cipher, and what is known of its nonces."""

            __slots__ = ()

            def __init__(self, key: bytes) -> None:
                self.inner = library(key)
                self.decrypt = self.inner.decrypt
                self.key_hash = blake2b(key, digest_size=16).digest()
                self.first = self.count = 0

            def encrypt(self, nonce: bytes, data: bytes, aad: bytes) -> bytes:
                if not ledger.is_paused:
                    ledger.note(self, nonce, data, aad)
                sealed: bytes = self.inner.encrypt(nonce, data, aad)
                return sealed

        primitives.AESGCM = WatchedCipher  # type: ignore[attr-defined] # the library's class in every process but these
        os.register_at_fork(after_in_child=self._begin)

    def note(self, cipher: _Cipher, nonce: bytes, data: bytes, aad: bytes) -> None:
        """Remember one sealing, and report it if its nonce served before."""
        number = int.from_bytes(nonce)
        with self._lock:
            self._sealed += 1
            if not cipher.count:
                cipher.first = number
            place = number ^ cipher.first
            is_next = place == cipher.count
            cipher.count += is_next
            if not REMEMBERED_OF_A_CIPHER <= place < cipher.count:
                self._compare(cipher.key_hash + nonce, data, aad)
            elif is_next:
                self._counted_up += 1
            else:
                self._fault("a counted nonce served again")
            self._write_counts()

    def _compare(self, pair: bytes, data: bytes, aad: bytes) -> None:
        key = int.from_bytes(blake2b(pair, digest_size=16).digest())
        hashed = blake2b(len(aad).to_bytes(8) + aad, digest_size=8)
        hashed.update(data)
        what = int.from_bytes(hashed.digest())
        known = self._pairs.get(key)
        if known is None and len(self._pairs) < self._pairs_max:
            self._pairs[key] = what
        elif known is None:
            self._forgotten += 1
        elif known != what:
            self._fault("a nonce served twice under one key for different things")

    def _write_counts(self) -> None:
        if self._counts is None:
            path = self._report.with_suffix(".counts")
            path.write_bytes(bytes(_COUNTS.size))
            with path.open("r+b") as file:
                self._counts = mmap.mmap(file.fileno(), _COUNTS.size)
        _COUNTS.pack_into(self._counts, 0, self._sealed, self._counted_up, self._forgotten)

    def _fault(self, what: str) -> None:
        """Say what happened and where; neither key nor plaintext."""
        frames = traceback.extract_stack()[-4 - FRAMES_SHOWN : -4]
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
        test = os.environ.get("PYTEST_CURRENT_TEST", "")
        with self._report.with_suffix(".faults").open("a") as file:
            file.write(f"{what}: {Path(sys.argv[0]).name} {test} at {where}\n")


class _Cipher:
    """What is known of one key."""

    __slots__ = ("count", "decrypt", "first", "inner", "key_hash")

    inner: Any
    decrypt: Any
    key_hash: bytes
    first: int
    count: int


@dataclass(slots=True)
class Report:
    """What all processes of a run came to.

    Attributes:
        processes: That sealed anything.
        sealed: Sealings seen.
        counted_up: Of these, proven by counting.
        forgotten: Compared, but not remembered: there were too many.
        faults: A line each.

    """

    processes: int = 0
    sealed: int = 0
    counted_up: int = 0
    forgotten: int = 0
    faults: list[str] = field(default_factory=list)


def report_of(folder: Path) -> Report:
    """Read what all processes have reported so far."""
    report = Report()
    for path in sorted(folder.glob("*.counts")):
        sealed, counted_up, forgotten = _COUNTS.unpack(path.read_bytes())
        report.processes += 1
        report.sealed += sealed
        report.counted_up += counted_up
        report.forgotten += forgotten
    for path in sorted(folder.glob("*.faults")):
        report.faults += path.read_text().splitlines()
    return report
