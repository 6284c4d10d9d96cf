"""Homes that share groups, over replicas that a test holds in its hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.test_records import NET, WALL, Board, Person, Replicas, refused
from yzdht.access import Reading, Writing
from yzdht.records import Keeps, Records
from yzdht.store.entropy import SystemRng
from yzdht.store.groups import SqliteGroups
from yzdht.store.home import Home
from yzdht.store.keyfile import Identity
from yzdht.wire.record import Record, decode_record
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.ids import PublicKey, Target


class Holders(Board):
    """Replicas that forget what has expired, and keep an entry of each publisher."""

    def _honest(self, target: Target) -> Reading:
        reading = super()._honest(target)
        return Reading(tuple(raw for raw in reading.records if self._lives(raw)), 4, 4)

    def _judge(self, target: Target, record: Record, cas: int | None) -> Writing:
        is_timed = record.kind is not Kind.IMMUTABLE
        if is_timed and (record.created > self.wall + 600 or record.expires <= self.wall):
            return refused(Status.BAD_LIFETIME, int(self.wall))
        if record.kind is Kind.MULTI:
            stored = self.entries.get(target, {}).get(record.publisher)
        else:
            stored = self.held.get(target)
        if stored is not None and not self._lives(stored):
            self.held.pop(target, None)
            self.entries.get(target, {}).pop(record.publisher, None)
        return super()._judge(target, record, cas)

    def _lives(self, raw: bytes) -> bool:
        record = decode_record(raw)
        return record.kind is Kind.IMMUTABLE or record.expires > self.wall


class Member(Person):
    """One identity with one home, whose keys and groups lie in files if a folder is given."""

    def __init__(self, holders: Replicas, folder: Path | None = None) -> None:
        if folder is None:
            super().__init__(holders)
            return
        if not (folder / "identity.key").exists():
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
            Identity.generate(wall_now=WALL).save(folder / "identity.key")
        self.home = Home.open(folder)
        super().__init__(holders, self.home.identity)
        self.keeps = self.home.keeps
        self.records = Records(self.identity, NET, holders, self.keeps, SystemRng())

    @property
    def key(self) -> PublicKey:
        """Its identity key."""
        return self.identity.public_key

    def restarted(self, holders: Replicas) -> Records:
        """Records of another process of the same home."""
        return Records(self.records.identity, NET, holders, self.keeps, SystemRng())


__all__ = ["Holders", "Keeps", "Member", "SqliteGroups"]
