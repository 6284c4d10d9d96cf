"""Values of groups: one name, an entry of each member who wrote it, the largest counts (PROTOCOL.md sections 7 and 10).

Owns which entry is the value. Entries of those who are no members in the newest state do not count, whatever they are
sealed in: who was removed still knows the names and the old epochs. Whoever is no member yet, as far as this home knows,
may have joined since: then a newer state is looked for first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.crypto.naming import group_tag, multi_target
from yzdht.errors import NotFound, PublisherRevoked, StaleRecord
from yzdht.slots import Slot, publisher_of
from yzdht.wire.record import order_key
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from yzdht.crypto.kept_group import KeptGroup
    from yzdht.ids import NetworkId, PublicKey
    from yzdht.known_groups import KnownGroups
    from yzdht.moves import Moves
    from yzdht.slots import Seen, SlotReader


class GroupValues:
    """The values of one home's groups in one network.

    Args:
        groups: That home's.
        network: NET.
        slots: Reads.
        moves: Who is revoked.

    """

    def __init__(self, groups: KnownGroups, network: NetworkId, slots: SlotReader, moves: Moves) -> None:
        self._groups = groups
        self._network = network
        self._slots = slots
        self._moves = moves

    async def newest(self, group: str, name: str, paths: int = 1, by: PublicKey | None = None) -> Seen:
        """The value under a name of a group, sealed.

        Args:
            group: What this home calls it.
            name: 1 to 1,024 bytes of UTF-8.
            paths: Disjoint paths of the read, 1 to READ_PATHS_MAX.
            by: Of this member; None for whoever wrote last.

        Raises:
            NotFound: Nothing is stored, or it was deleted.
            StaleRecord: The nodes showed an older value than this home has seen.
            PublisherRevoked: `by` is revoked.
            NoSuchGroup: This home knows no such group.
            As `SlotReader.read`.

        """
        kept = await self._groups.current(group)
        slot = self.slot(kept, kept.group_key, name)
        shown = await self._slots.entries_shown(slot.tag, slot.target, paths)
        if any(kept.state.member(publisher) is None for publisher in shown):
            kept = await self._groups.look_again(group) or kept  # who joined lately may have written
        members = {m.public_key for m in kept.state.members if by in (None, m.public_key)}
        # Of strangers nothing is remembered: they cost nothing, and could be ever new ones.
        counted = {publisher: records for publisher, records in shown.items() if publisher in members}
        entries = self._slots.newest_entries(slot.tag, slot.target, counted)
        revoked = await self._revoked(entries, paths)
        if by in revoked:
            raise PublisherRevoked("this member's identity is revoked")
        entries = [seen for seen in entries if publisher_of(seen.record) not in revoked]
        self._check_hidden(kept, name, entries, members - revoked)
        if not entries or entries[0].record.is_tombstone:
            raise NotFound(f"nothing is stored under {name!r} in this group")
        return entries[0]

    def slot(self, kept: KeptGroup, member: PublicKey, name: str) -> Slot:
        """Where a member writes its entry."""
        tag = group_tag(kept.state.name_secret, self._network, name)
        return Slot(member, tag, multi_target(self._network, tag), Kind.MULTI)

    def seen_seq(self, kept: KeptGroup, name: str) -> int:
        """The largest seq of the members' entries that this home has seen or written; 0 for none."""
        slots = (self.slot(kept, member.public_key, name) for member in kept.state.members)
        return max((mark.seq for slot in slots if (mark := self._slots.mark(slot)) is not None), default=0)

    async def _revoked(self, entries: list[Seen], paths: int) -> set[PublicKey]:
        """Which of those who wrote are revoked: what is signed by them counts for nothing.

        Raises:
            ReadQuorumFailed, StaleRecord, CryptoError, WireError: It is not known of who wrote last.

        """
        writers = [publisher_of(seen.record) for seen in entries]
        looked = await self._moves.read([], writers, paths)
        revoked = set()
        for writer in writers:
            try:
                self._moves.check_publisher(writer, looked.faults)
                break  # nobody counts who wrote earlier
            except PublisherRevoked:
                revoked.add(writer)
        return revoked

    def _check_hidden(self, kept: KeptGroup, name: str, shown: list[Seen], members: set[PublicKey]) -> None:
        """Refuse to take an older member's entry for the value while a newer one, or its deletion, is held back."""
        best = max((order_key(seen.record)[:2] for seen in shown), default=(0, 0))
        for member in members:
            mark = self._slots.mark(self.slot(kept, member, name))
            if mark is None or (mark.seq, mark.expires) <= best or not self._slots.lives(mark):
                continue
            if shown or not mark.is_tombstone:
                raise StaleRecord(best[0], mark.seq)
