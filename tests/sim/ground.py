"""Ids that an attacker ground: 500 nearer to one target than any node of an honest thousand.

An id is a hash of a public key, so whoever wants one near a point tries keys until some fall there: of N honest nodes
the nearest is about 1/N of the space away, so N tries buy one id nearer than it. The numbers in ground.txt name keys
as `tests.sim.authors.key` has them, found once by running this module:

    python -m tests.sim.ground > tests/sim/ground.txt
    python -m tests.sim.ground spaced > tests/sim/spaced.txt

Ids so dense are no chance. Spaced ids are fewer, and nowhere denser than what a node takes for chance.
"""

from __future__ import annotations

import sys
from functools import cache
from hashlib import sha256
from itertools import count, islice
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.sim.authors import Pen


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.ids import Target


HONEST = 1_000
"""Nodes with the numbers 0 to 999 are honest."""

WANTED = 500
AUTHOR = 100_005
"""Who wrote what is attacked: the nearest honest node is 1.2 thousandths of the space away, about what is usual."""

NAME = "attacked"
_FIRST = 10_000_000
_BESIDE_FIRST = 300_000
_BLOCK = 10_000
_FILE = Path(__file__).with_name("ground.txt")
_SPACED_FILE = Path(__file__).with_name("spaced.txt")
_SPACED_TRIED = 400_000
_ALIKE_MAX = 4
"""Spaced ids within a thousandth of the space of each other: one fewer than make a crowd."""


def attacked() -> Target:
    """The target that the ids surround."""
    return Pen(AUTHOR).mutable(NAME, 1).target


def numbers() -> list[int]:
    """Key numbers of the ground ids, nearest first."""
    return [int(line) for line in _FILE.read_text().split()]


def spaced() -> list[int]:
    """Key numbers of ids around the target that look no denser than chance, nearest first."""
    return [int(line) for line in _SPACED_FILE.read_text().split()]


def nearest_honest() -> int:
    """Distance of the nearest honest node to the target."""
    point = int.from_bytes(attacked())
    return min(point_of(number) ^ point for number in range(HONEST))


@cache
def neighbours(wanted: int) -> list[int]:
    """Authors whose records called "other" belong beside the target: about eight honest nodes are as near to it."""
    point = int.from_bytes(attacked())
    found = (
        number
        for number in count(_BESIDE_FIRST)
        if int.from_bytes(Pen(number).mutable("other", 1).target) ^ point < 2**256 * 2 // HONEST
    )
    return list(islice(found, wanted))


def point_of(number: int) -> int:
    """The id of a numbered key, without the checks of the package: this is run a million times."""
    scalar = int.from_bytes(sha256(b"sim key %d" % number).digest())
    public = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    raw = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return int.from_bytes(sha256(raw[1:]).digest())


def _search(job: tuple[int, int, int]) -> list[tuple[int, int]]:
    first, point, edge = job
    found = ((point_of(number) ^ point, number) for number in range(first, first + _BLOCK))
    return [(distance, number) for distance, number in found if distance < edge]


def grind() -> list[int]:
    """Numbers of WANTED keys nearer than the nearest honest node, nearest first; takes ten seconds of two cores."""
    point, edge = int.from_bytes(attacked()), nearest_honest()
    found: list[tuple[int, int]] = []
    with Pool(2) as pool:
        for some in pool.imap(_search, _jobs(point, edge)):
            found.extend(some)
            if len(found) >= WANTED:
                break
    return [number for _, number in sorted(found[:WANTED])]


def space() -> list[int]:
    """Numbers of keys within 16 thousandths of the space, nowhere more than _ALIKE_MAX together; takes half a minute."""
    point, dense = int.from_bytes(attacked()), 2**256 // HONEST
    taken: dict[int, int] = {}
    with Pool(2) as pool:
        blocks = range(_FIRST, _FIRST + _SPACED_TRIED, _BLOCK)
        for some in pool.imap(_search, ((first, point, 16 * dense) for first in blocks)):
            for distance, number in some:
                middles = (0, distance, *taken)
                if all(sum(d ^ m < dense for d in (distance, *taken)) <= _ALIKE_MAX for m in middles):
                    taken[distance] = number
    return [number for _, number in sorted(taken.items())]


def _jobs(point: int, edge: int) -> Iterator[tuple[int, int, int]]:
    for block in range(1_000):
        yield _FIRST + block * _BLOCK, point, edge


if __name__ == "__main__":
    chosen = space() if "spaced" in sys.argv else grind()
    sys.stdout.write("".join(f"{number}\n" for number in chosen))
