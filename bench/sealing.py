"""CPU of sealing and opening a value of 1 KiB, in microseconds: for oneself, for named people, for a group.

All kinds take turns within a round, and the median of the rounds is shown beside that of a record for oneself: ratios mean
something, single microseconds do not. Every record is opened once, so that nothing is found in a cache; verifying and
signing are shown apart, since every record costs them. A state of a group is sealed for all of its members.

    python bench/sealing.py [--rounds N] [--count N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.group_records import Keyring, KnownEpoch, seal_group_record
from yzdht.crypto.groups import create, record_root
from yzdht.crypto.naming import network_id
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.sealing import (
    Author,
    Named,
    OpeningKeys,
    Public,
    RecordDraft,
    Self,
    open_record,
    seal_record,
)
from yzdht.crypto.signing import RecordChecks, target_of
from yzdht.ids import EpochSecret, GroupId, NameSecret, RecordHash, Tag
from yzdht.store.keyfile import Identity
from yzdht.wire.group_state import Member, Role, encode_group_state
from yzdht.wire.record import decode_record
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.crypto.sealing import SealedFor
    from yzdht.wire.record import Record


VALUE = os.urandom(1_024)
NETWORK = network_id("main")
READERS = (1, 8, 32)
MEMBERS = (50, 255)
WALL = 1_800_000_000


class Case(NamedTuple):
    """One kind of record.

    Attributes:
        name: For the table.
        seal: Makes a record that was never made before.
        open: Opens one.
        cost: Records of it that take as long as one for oneself, about; fewer are made of what is dear.

    """

    name: str
    seal: Callable[[], Record]
    open: Callable[[Record], bytes]
    cost: int = 1


def draft(kind: Kind = Kind.MUTABLE) -> RecordDraft:
    return RecordDraft(kind, WALL, WALL + 86_400, int.from_bytes(os.urandom(6)), Tag(os.urandom(32)))


def cases() -> list[Case]:
    anna = Identity.generate()
    author = Author(anna.signer, anna.self_key, NETWORK)
    own = OpeningKeys(anna.self_key, (), anna.public_key)

    def sealed(readers: SealedFor, value: bytes = VALUE) -> Record:
        if isinstance(readers, Named):
            readers = Named(readers.kem, os.urandom(32), readers.has_self)
        return decode_record(seal_record(draft(), value, readers, author, os.urandom(24)))

    found = [
        Case("public", lambda: sealed(Public()), lambda record: open_record(record, own)),
        Case("for oneself", lambda: sealed(Self()), lambda record: open_record(record, own)),
    ]
    people = [PrivateKey.generate() for _ in range(max(MEMBERS))]
    for count in READERS:
        named = Named(tuple(person.public_key for person in people[:count]), b"")
        # Stanzas lie in no order: on average a reader opens half of them before its own.
        reader = OpeningKeys(None, (people[0],))
        found.append(
            Case(
                f"for {count} people",
                lambda named=named: sealed(named),  # type: ignore[misc] # bound to this turn
                lambda record, reader=reader: open_record(record, reader),  # type: ignore[misc] # as above
                count,
            )
        )
    known = KnownEpoch(GroupId(bytes(16)), 1, RecordHash(bytes(32)), record_root(EpochSecret(os.urandom(32))))
    keyring = Keyring([known])
    found.append(
        Case(
            "for a group",
            lambda: decode_record(seal_group_record(draft(Kind.MULTI), VALUE, known, author, os.urandom(24))),
            keyring.open,
        )
    )
    found += [_state_of(count, people, sealed) for count in MEMBERS]
    return found


def _state_of(count: int, people: list[PrivateKey], sealed: Callable[[SealedFor, bytes], Record]) -> Case:
    members = [
        Member(PrivateKey.generate().public_key, person.public_key, Role.ADMIN if not number else Role.MEMBER)
        for number, person in enumerate(people[:count])
    ]
    secrets = NameSecret(os.urandom(32)), EpochSecret(os.urandom(32))
    state = encode_group_state(create(members, *secrets, NETWORK))
    named = Named(tuple(member.kem for member in members), b"", has_self=False)
    reader = OpeningKeys(None, (people[0],))
    return Case(
        f"a state of {count} members",
        lambda: sealed(named, state),
        lambda record: open_record(record, reader),
        count,
    )


def cpu_us(work: Callable[[], object], count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - began) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--count", type=int, default=200, help="records a round of what costs as little as one's own"
    )
    options = parser.parse_args()
    took: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(options.rounds):
        for case in cases():
            count = max(1, options.count // case.cost)
            made: list[Record] = []
            seal_us = cpu_us(lambda: made.append(case.seal()), count)  # noqa: B023 - used within this turn
            checks, records = RecordChecks(NETWORK), iter(made)
            verify_us = cpu_us(lambda: _verify(checks, next(records)), count)  # noqa: B023 - as above
            again = iter(made)
            open_us = cpu_us(lambda: case.open(next(again)), count)  # noqa: B023 - as above
            took.setdefault(case.name, []).append((seal_us, verify_us, open_us))
    _report(took)


def _verify(checks: RecordChecks, record: Record) -> None:
    checks.verify_record(record, target_of(record, NETWORK))


def _report(took: dict[str, list[tuple[float, float, float]]]) -> None:
    medians = {
        name: [statistics.median(column) for column in zip(*rounds, strict=True)]
        for name, rounds in took.items()
    }
    own = medians["for oneself"]
    print("us of CPU for each record of 1 KiB, and beside a record for oneself")
    print(f"{'':24}{'seal, sign':>12}{'':8}{'verify':>12}{'':8}{'open':>12}{'':8}")
    for name, columns in medians.items():
        parts = [f"{us:12.1f}{us / one:7.2f}x" for us, one in zip(columns, own, strict=True)]
        print(f"{name:24}{''.join(parts)}")


if __name__ == "__main__":
    main()
