"""What runs a target: atheris where it exists, elsewhere a plain mutator of the seeds.

Importing this module makes atheris instrument every module of yzdht that is imported after it, so targets import it
first. An input that raises anything but what the target expects ends the process with a code other than 0 and is written
beside it (`crash-…`); run the target with that file as its argument to see it again.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING


try:
    import atheris
except ImportError:  # no wheel for this Python
    atheris = None
else:
    atheris.instrument_imports(include=["yzdht"]).__enter__()


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random  # noqa: TID251 - for annotations


BYTES_MAX = 4_096
_PLAIN_RUNS = 10_000


def run(one: Callable[[bytes], None], seeds: Iterable[bytes], words: Sequence[str] | None = None) -> None:
    """Run one target; with atheris this does not return.

    Args:
        one: Takes one input; what it raises is a find.
        seeds: Real encodings.
        words: Options of libFuzzer, such as -runs=1000, and files to run alone; the command line's when None.

    """
    words = sys.argv[1:] if words is None else words
    files = [word for word in words if not word.startswith("-")]
    if atheris is None:
        _run_plain(one, [Path(f).read_bytes() for f in files] or list(seeds), words)
        return
    corpus = [] if files else [_corpus(seeds)]
    atheris.Setup([sys.argv[0], f"-max_len={BYTES_MAX}", "-timeout=60", *words, *corpus], one)
    atheris.Fuzz()


def _corpus(seeds: Iterable[bytes]) -> str:
    folder = Path(tempfile.mkdtemp(prefix="yz-fuzz-"))
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    return str(folder)


def _run_plain(one: Callable[[bytes], None], seeds: Sequence[bytes], words: Sequence[str]) -> None:
    from random import Random  # noqa: PLC0415, TID251 - not needed with atheris; one seed, the same inputs every time

    runs = next((int(w.removeprefix("-runs=")) for w in words if w.startswith("-runs=")), _PLAIN_RUNS)
    rng = Random(1)
    for seed in seeds:
        one(seed)
    for _ in range(runs):
        data = _mutated(rng, seeds)
        try:
            one(data)
        except BaseException:
            Path(f"crash-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            raise


def _mutated(rng: Random, seeds: Sequence[bytes]) -> bytes:
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(data))
        match rng.randint(0, 4):
            case 0:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 1:
                del data[at : at + rng.randint(1, 16)]
            case 2:
                data[at : at + 1] = bytes((rng.randint(0, 255),))
            case 3:
                del data[at:]
            case _:
                other = rng.choice(seeds)
                data[at:] = other[rng.randint(0, len(other)) :]
    return bytes(data[:BYTES_MAX])


class Pieces:
    """Cuts one input into the pieces that a target needs: numbers, and byte strings of a length that precedes them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at >= len(self._data)

    def byte(self) -> int:
        """The next byte; 0 behind the end."""
        return int.from_bytes(self.take(1))

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def short(self) -> bytes:
        """Up to 65,535 bytes: their length in two bytes, then they."""
        return self.take(int.from_bytes(self.take(2)))

    def rest(self) -> bytes:
        return self.take(len(self._data))


def joined(*pieces: bytes) -> bytes:
    """What `Pieces.short` takes apart."""
    return b"".join(len(piece).to_bytes(2) + piece for piece in pieces)
