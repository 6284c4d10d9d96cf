"""How much of a store and of a get is encryption: of the CPU of all nodes, and of the time until the caller is answered.

Twelve nodes, a process each. Every operation has a record of 1 KiB of its own, sealed for its owner, and reads it once, through
another node than it was stored through, so that no cache knows it; sessions are open. Encryption is what seals and opens
values and session records and blinds names, key derivation included; signing and verifying is shown apart. CPU is that of
all processes until 0.3 s after the last operation, what goes on in the background included, and what idle nodes use meanwhile.

On the way to the caller lie the node that was asked and, beside others at work at the same time, the busiest other node:
what these two spend on encryption is shown beside the latency of each operation, medians. Where nodes share few cores the
encryption of the others at work holds the caller up too, which is left out: it does not on machines of their own.

    python bench/sealing_share.py [--nodes N] [--rounds N] [--count N] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.kit.aims import Aim, show_aims
from bench.kit.contenders import SYNCED, UNSYNCED
from bench.kit.crypto_clock import CLOCK, ENCRYPTION, SIGNATURES
from bench.kit.hosts import Ground, Network, start_all
from yzdht import Identity
from yzdht.cli.children import Children


if TYPE_CHECKING:
    from bench.kit.contenders import Contender


CPU_SHARE_MAX = 0.20
LATENCY_SHARE_MAX = 0.05
CONTENDERS = (SYNCED, UNSYNCED)
_AFTERWARDS_S = 0.3
_READ_OFFSET = 5
_VERBS = ("put", "get")


@dataclass(slots=True)
class Row:
    """What one kind of operation came to, a figure for each round, or for each operation.

    Attributes:
        cpu_ms: CPU of all nodes per operation.
        encryption_ms: Of that, encryption.
        signatures_ms: Signing and verifying.
        took_ms: Until the caller was answered.
        path_ms: Of that, encryption at the node asked and at the busiest other one.

    """

    cpu_ms: list[float] = field(default_factory=list)
    encryption_ms: list[float] = field(default_factory=list)
    signatures_ms: list[float] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    path_ms: list[float] = field(default_factory=list)

    @property
    def cpu_share(self) -> float:
        return statistics.median(e / c for e, c in zip(self.encryption_ms, self.cpu_ms, strict=True))

    @property
    def signatures_share(self) -> float:
        return statistics.median(s / c for s, c in zip(self.signatures_ms, self.cpu_ms, strict=True))

    @property
    def latency_share(self) -> float:
        return statistics.median(p / t for p, t in zip(self.path_ms, self.took_ms, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=120, help="puts a round, and as many gets")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    shown = {}
    for contender in CONTENDERS:
        rows = measure(contender, given.nodes, given.rounds, given.count)
        shown[contender.name] = {verb: asdict(row) for verb, row in rows.items()}
        if not given.json:
            report(contender, rows, given.nodes)
    if given.json:
        print(json.dumps(shown))


def measure(contender: Contender, nodes: int, rounds: int, count: int) -> dict[str, Row]:
    """Puts and gets in rounds; the first only opens sessions."""
    rows = {verb: Row() for verb in _VERBS}
    with tempfile.TemporaryDirectory() as folder, Children() as children:
        network = Network.fork(contender, nodes, Ground(children, Identity.generate(), Path(folder)))
        start_all([network], nodes)
        for number in range(-1, rounds):
            for verb in _VERBS:
                row = rows[verb] if number >= 0 else Row()
                _measure_cpu(network, verb, [f"{number}/{n}" for n in range(count)], row)
                _measure_latency(network, verb, [f"{number}/one/{n}" for n in range(count)], row)
    return rows


def _total(crypto: list[dict[str, float]], kind: str) -> float:
    return sum(one[kind] for one in crypto)


def _offset(verb: str) -> int:
    return _READ_OFFSET if verb == "get" else 0


def _measure_cpu(network: Network, verb: str, keys: list[str], row: Row) -> None:
    before, before_s = network.crypto_s(), network.cpu_s()
    done = network.operate(verb, keys, offset=_offset(verb))
    time.sleep(_AFTERWARDS_S)
    used_s, after = network.cpu_s() - before_s, network.crypto_s()
    assert not done.failed
    used_s -= _total(after, CLOCK) - _total(before, CLOCK)
    row.cpu_ms.append(used_s / len(keys) * 1e3)
    for kind, kept in ((ENCRYPTION, row.encryption_ms), (SIGNATURES, row.signatures_ms)):
        kept.append((_total(after, kind) - _total(before, kind)) / len(keys) * 1e3)


def _measure_latency(network: Network, verb: str, keys: list[str], row: Row) -> None:
    for key in keys:
        asked = network.next_host(_offset(verb))
        before = network.crypto_s()
        [took_s], _ = network.operate(verb, [key], offset=_offset(verb))
        spent_s = [
            after[ENCRYPTION] - b[ENCRYPTION] for after, b in zip(network.crypto_s(), before, strict=True)
        ]
        own_s = spent_s.pop(asked)
        row.took_ms.append(took_s * 1e3)
        row.path_ms.append((own_s + max(spent_s)) * 1e3)


def report(contender: Contender, rows: dict[str, Row], nodes: int) -> None:
    """Print the table beside the aims."""
    print(f"\n{contender.name}: {nodes} nodes, a process each, 1 KiB for oneself, medians")
    print(
        f"{'':6}{'cpu ms':>9}{'encryption':>12}{'signatures':>12}{'took ms':>9}{'encryption on its way':>23}"
    )
    for verb, row in rows.items():
        print(
            f"{verb:6}{statistics.median(row.cpu_ms):9.2f}{statistics.median(row.encryption_ms):9.2f} ms"
            f"{statistics.median(row.signatures_ms):9.2f} ms{statistics.median(row.took_ms):9.2f}"
            f"{statistics.median(row.path_ms):20.2f} ms"
        )
    show_aims(
        aim
        for verb, row in rows.items()
        for aim in (
            Aim(
                f"{verb}: encryption, of the CPU of all nodes", row.cpu_share * 100, CPU_SHARE_MAX * 100, "%"
            ),
            Aim(f"{verb}: encryption, of the latency", row.latency_share * 100, LATENCY_SHARE_MAX * 100, "%"),
        )
    )
    signed = ", ".join(f"{row.signatures_share:.1%} of a {verb}" for verb, row in rows.items())
    print(f"  signing and verifying, of the CPU: {signed}")


if __name__ == "__main__":
    main()
