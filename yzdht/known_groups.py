"""Groups as one home knows them: states found, checked, followed and kept; what members wrote, opened (PROTOCOL.md section 10).

Owns which state of a group counts for this home. Refuses states that do not follow from what is known, and says where a
group forked. Changing a group is groups.py's. Reaches the network through `Access`, the disk through `GroupShelf`; reads no
clock.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.group_chain import (
    check_left,
    check_newer,
    check_successor,
    open_group_key,
    open_state,
)
from yzdht.crypto.group_records import Keyring
from yzdht.crypto.groups import admins_tag, group_id_of, left_tag, state_tag
from yzdht.crypto.kept_group import Fork, KeptGroup, first_kept, merged, open_kept, seal_kept
from yzdht.crypto.naming import mutable_target
from yzdht.crypto.sealing import OpeningKeys, open_record
from yzdht.errors import (
    CryptoError,
    DecryptionFailed,
    GroupForked,
    GroupStateRefused,
    LookupFailed,
    NoNode,
    NoSuchGroup,
    NotAReader,
    NotFound,
    StaleGroupState,
    StaleRecord,
    UnknownEpoch,
    WireError,
)
from yzdht.limits import (
    GROUP_LEFT_READ_MAX,
    GROUP_LOOK_AGAIN_S,
    GROUP_LOOK_S,
    GROUP_SUCCESSIONS_MAX,
    GROUPS_KEPT_MAX,
    REPLAY_KEPT_S,
)
from yzdht.slots import Slot
from yzdht.wire.record import SALT_BYTES, decode_record, order_key


if TYPE_CHECKING:
    from yzdht.access import Access
    from yzdht.crypto.group_records import KnownEpoch
    from yzdht.crypto.groups import Recorded
    from yzdht.crypto.primitives import PrivateKey
    from yzdht.crypto.topics import MessageEpoch
    from yzdht.ids import NetworkId, PublicKey
    from yzdht.people import People
    from yzdht.ports import GroupShelf, Rng
    from yzdht.slots import SlotReader
    from yzdht.wire.record import Record


class Means(NamedTuple):
    """What groups are found and kept with.

    Attributes:
        access: The way to the replicas.
        slots: Reads through it.
        shelf: What this home keeps.
        rng: For salts and secrets.

    """

    access: Access
    slots: SlotReader
    shelf: GroupShelf
    rng: Rng


class KnownGroups:
    """The groups of one home in one network.

    Args:
        people: Whose home it is.
        network: NET.
        means: What they are found and kept with.

    """

    def __init__(self, people: People, network: NetworkId, means: Means) -> None:
        self._people = people
        self._network = network
        self._access, self._slots, self._shelf, self._rng = means
        self._looked: dict[PublicKey, float] = {}  # monotonic seconds, by the group's key
        self._looked_again: dict[PublicKey, float] = {}  # the same, for epochs that were not known
        self._unread: set[PublicKey] = set()  # keys of groups of which nodes did not show everything
        self._rings: dict[str, tuple[tuple[KnownEpoch, ...], Keyring]] = {}
        self._last_opened: dict[str, tuple[bytes, bytes, KeptGroup]] = {}  # with what, from what

    # What is kept

    def names(self) -> list[str]:
        """All groups, by the names that this home gives them."""
        return self._shelf.names(self._network)

    def kept(self, name: str) -> KeptGroup:
        """A group as this home knows it; asks nobody.

        Raises:
            NoSuchGroup: There is none of this name.
            DecryptionFailed: What is kept is damaged, or of another identity.

        """
        sealed = self._shelf.get(self._network, name)
        if sealed is None:
            self._last_opened.pop(name, None)
            raise NoSuchGroup(f"this home knows no group called {name[:80]!r}")
        key = self._people.identity.self_key
        last = self._last_opened.get(name)
        if last is not None and last[:2] == (key, sealed):  # another process of this home has not changed it
            return last[2]
        try:
            kept = self._opened(sealed)
        except DecryptionFailed as error:
            error.hint = "what this home keeps of it is damaged, or another identity's; to forget it: yz group leave --force NAME"
            raise
        if name not in self._last_opened and len(self._last_opened) >= GROUPS_KEPT_MAX:
            del self._last_opened[next(iter(self._last_opened))]
        self._last_opened[name] = key, sealed, kept
        return kept

    def add(self, name: str, kept: KeptGroup) -> None:
        """Keep a new group under a name; it is durable when this returns.

        Raises:
            UsageError: The name is none or taken, or there are too many groups.

        """
        self._shelf.add(self._network, name, self._sealed(kept.lasting(self._wall())))
        self._looked[kept.group_key] = self._access.now().mono

    def keep(self, name: str, mine: KeptGroup) -> KeptGroup:
        """Keep what is known of a group now, beside what another process of this home has kept meanwhile.

        Nothing is kept of a group that was forgotten meanwhile, even if another one has its name by now.
        """
        result = mine = mine.lasting(self._wall())

        def make(stored: bytes) -> bytes:
            nonlocal result
            there = self._opened(stored)
            if there.state.name_secret != mine.state.name_secret:
                return stored
            result = merged(there, mine).lasting(self._wall())
            return self._sealed(result)

        self._shelf.change(self._network, name, make)
        return result

    def forget(self, name: str) -> None:
        """Forget a group and everything that it takes to read it."""
        self._shelf.remove(self._network, name)
        self._rings.pop(name, None)

    def listed(self) -> frozenset[PublicKey]:
        """Which KEM keys of this identity the newest states of its groups list: they must be kept."""
        oneself = self._people.identity.public_key
        found = (kept.state.member(oneself) for kept in self._readable().values())
        return frozenset(member.kem for member in found if member is not None)

    def message_epochs(self, name: str) -> tuple[MessageEpoch, ...]:
        """In which epochs a group's messages are opened, the newest first; asks nobody.

        Messages are sealed in the first, which was seen at `seen`: what a member that it does not list has sent counts only if
        it came before (PROTOCOL.md section 10).

        Raises:
            As `kept`.

        """
        return self.kept(name).lasting(self._wall()).messages[::-1]

    def member_keys(self, name: str) -> frozenset[PublicKey]:
        """Who is a member in the newest state that is known; asks nobody, and raises as `kept`."""
        return frozenset(member.public_key for member in self.kept(name).state.members)

    def _wall(self) -> int:
        return int(self._access.now().wall)

    def _readable(self) -> dict[str, KeptGroup]:
        """All groups but those that are damaged, or of an identity that this home had before."""
        found = {}
        for name in self.names():
            try:
                found[name] = self.kept(name)
            except DecryptionFailed:
                self._access.count("groups_unreadable")
        return found

    def _opened(self, sealed: bytes) -> KeptGroup:
        return open_kept(sealed, self._people.identity.self_key, self._network)

    def _sealed(self, kept: KeptGroup) -> bytes:
        salt = self._rng.token(SALT_BYTES)
        return seal_kept(kept, self._people.identity.self_key, self._network, salt)

    # What members wrote

    async def current(self, name: str, after_s: float = GROUP_LOOK_S) -> KeptGroup:
        """A group in its newest state, which is looked for at the first use in a process and hourly.

        Args:
            name: What this home calls it.
            after_s: Seconds after which it is looked for again; a minute where nodes could not show it.

        Raises:
            NoSuchGroup: There is none of this name.
            NoNode: No node could be reached.

        """
        kept = self.kept(name)
        if kept.group_key in self._unread:
            after_s = min(after_s, GROUP_LOOK_AGAIN_S)
        return await self.look(name) if self._is_due(self._looked, kept, after_s) else kept

    async def open(self, name: str, record: Record) -> bytes:
        """The value of a group record that is verified.

        Raises:
            UnknownEpoch: It is sealed in an epoch that is not this member's.
            DecryptionFailed: It is damaged.
            WireError: It is no group's.
            NoSuchGroup, NoNode: As of `current`.

        """
        kept = await self.current(name)
        try:
            return self._ring(name, kept).open(record)
        except UnknownEpoch:
            newer = await self.look_again(name)
            if newer is None:
                raise
        try:
            return self._ring(name, newer).open(record)
        except UnknownEpoch as error:
            if newer.is_removed:
                error.hint = "you were removed from the group: ask an admin to add you again"
            raise

    async def look_again(self, name: str, after_s: float = GROUP_LOOK_AGAIN_S) -> KeptGroup | None:
        """A group in its newest state, looked for because something does not fit the known one.

        Args:
            name: What this home calls it.
            after_s: None if that was done less than so many seconds ago.

        Raises:
            As `look`.

        """
        kept = self.kept(name)
        if not self._is_due(self._looked_again, kept, after_s):
            return None
        self._looked_again[kept.group_key] = self._access.now().mono
        return await self.look(name)

    async def open_any(self, record: Record) -> bytes:
        """The value of a group record, whichever group's it is.

        Raises:
            NotAReader: It is sealed for none of this home's groups.
            DecryptionFailed: It is damaged.

        """
        groups = self._readable()
        for name, kept in groups.items():  # no node is asked while an epoch that is known fits
            with suppress(UnknownEpoch):
                return self._ring(name, kept).open(record)
        for name in groups:
            with suppress(UnknownEpoch):
                return await self.open(name, record)
        raise NotAReader("the record is sealed for a group that this home does not know")

    def is_unread(self, name: str) -> bool:
        """True if nodes could not show everything when the group was looked for last; raises as `kept`."""
        return self.kept(name).group_key in self._unread

    def _ring(self, name: str, kept: KeptGroup) -> Keyring:
        known = self._rings.get(name)
        if known is None or known[0] != kept.epochs:
            known = self._rings[name] = (kept.epochs, Keyring(kept.epochs))
        return known[1]

    def _is_due(self, looked: dict[PublicKey, float], kept: KeptGroup, after_s: float) -> bool:
        last = looked.get(kept.group_key)
        return last is None or self._access.now().mono - last >= after_s

    # States

    async def adopt(self, name: str, group_key: PublicKey) -> KeptGroup:
        """Take up a group whose member this identity is, by its key, under a name; or look at it if that is done.

        Raises:
            NoSuchGroup: No state of it can be found.
            NotAReader: This identity is no member, or not yet.
            GroupStateRefused, DecryptionFailed, WireError: What was found is not a group's state.
            UsageError: The name is none or taken, or there are too many groups.
            LookupFailed, CryptoError: As of `SlotReader.read`.

        """
        if self._shelf.get(self._network, name) is not None and self._is_of(self.kept(name), group_key):
            kept = await self.look(name)
            if kept.is_removed:
                raise NotAReader("you were removed from this group", hint="ask an admin to add you again")
            return kept
        self._shelf.check_new(self._network, name)
        seen = await self._slots.read(self.state_slot(group_key))
        if seen is None or seen.record.is_tombstone:
            raise NoSuchGroup("no state of this group is stored", hint="check the key, or ask an admin")
        try:
            at = await self._open(seen.record, group_key)
        except NotAReader as error:
            error.hint = "you are not in this group, or not yet: ask an admin to add you"
            raise
        self.add(name, first_kept(group_key, seen.record, at.state, self._network, self._wall()))
        return await self.look(name)

    def _is_of(self, kept: KeptGroup, group_key: PublicKey) -> bool:
        """True if this is a group's key, or was before another took its place."""
        ids = {kept.group_id(self._network), *(known.group_id for known in kept.epochs)}
        return group_id_of(group_key, self._network) in ids

    async def look(self, name: str) -> KeptGroup:
        """Look for a newer state, under the group's key and under those that follow it.

        What nodes cannot show changes nothing: the state that is known goes on working, even expired, and is looked for
        again in a minute.

        Raises:
            NoSuchGroup: There is none of this name.
            NoNode: No node could be reached.

        """
        before = kept = self.kept(name)
        kept = await self._caught_up(await self._renewed(kept))
        for _ in range(GROUP_SUCCESSIONS_MAX):
            successor = await self._successor(kept)
            if successor is None:
                break
            kept = await self._caught_up(await self._renewed(successor))
        kept = await self._with_private_key(kept)
        if kept.state.next_key is not None:
            self._unread.add(kept.group_key)  # the next key's state is still to be found
        self._looked[kept.group_key] = self._access.now().mono
        is_over = kept.lasting(self._wall()).messages != kept.messages  # secrets that are to be forgotten
        return kept if kept is before and not is_over else self.keep(name, kept)

    def state_slot(self, group_key: PublicKey) -> Slot:
        """Where a group's state lies."""
        tag = state_tag(group_id_of(group_key, self._network), self._network)
        return Slot(group_key, tag, mutable_target(self._network, group_key, tag))

    def admins_slot(self, group_key: PublicKey) -> Slot:
        """Where admins share a group's private key."""
        tag = admins_tag(group_id_of(group_key, self._network), self._network)
        return Slot(group_key, tag, mutable_target(self._network, group_key, tag))

    def left_slot(self, group_key: PublicKey, epoch: int) -> Slot:
        """Where the state of an epoch is left for members who have not seen it."""
        tag = left_tag(group_id_of(group_key, self._network), epoch, self._network)
        return Slot(group_key, tag, mutable_target(self._network, group_key, tag))

    async def _caught_up(self, kept: KeptGroup) -> KeptGroup:
        """The same group, with epochs that this member never saw and the newest state hands over to nobody."""
        for _ in range(GROUP_LEFT_READ_MAX):
            epoch = kept.missed(self._network)
            if epoch is None or self._wall() >= kept.record.created + REPLAY_KEPT_S:
                break  # nothing is left for longer
            left = await self._shown(self.left_slot(kept.group_key, epoch), None)
            after = None if left is None else await self._with_left(kept, left, epoch)
            if after is None:
                break
            kept = after
        return kept

    async def _with_left(self, kept: KeptGroup, left: Record, epoch: int) -> KeptGroup | None:
        """The same group, able to read what was written and said in a state that was left; None if that is not for this member.

        Who signed the record that it lies in could have signed its own.
        """
        try:
            record = decode_record(open_record(left, OpeningKeys(None, ())))
            at = await self._open(record, kept.group_key)
            check_left(kept.at, at, epoch)
            Keyring(kept.epochs).check(kept.group_id(self._network), at)
        except (CryptoError, WireError, NotFound):
            self._access.count("group_states_refused")
            return None
        return kept.with_epochs_of(record, at.state, self._network, self._wall())

    async def _renewed(self, kept: KeptGroup) -> KeptGroup:
        """The same group in the newest state under its present key."""
        self._unread.discard(kept.group_key)
        if kept.state.next_key is not None:
            return kept  # nothing follows; who was an admin can still write there
        record = await self._shown(self.state_slot(kept.group_key), kept)
        if record is None or record.is_tombstone or record.hash == kept.record.hash:
            return kept
        try:
            at = await self._open(record, kept.group_key)
            return self._after(kept, record, at)
        except StaleGroupState:
            self._access.count("group_states_hidden")
            self._access.start(self._republish(self.state_slot(kept.group_key), kept.record))
            return kept
        except NotAReader:
            is_newer = order_key(record) > order_key(kept.record)
            return replace(kept, is_removed=True) if is_newer and not kept.is_removed else kept
        except (CryptoError, WireError, NotFound):
            self._access.count("group_states_refused")
            return kept

    async def _shown(self, slot: Slot, kept: KeptGroup | None) -> Record | None:
        """What nodes have in a slot of the group; what they lost of the state is given back to them."""
        try:
            seen = await self._slots.read(slot)
        except NoNode:
            raise
        except StaleRecord as error:
            self._access.count("group_states_hidden")
            self._unread.add(slot.publisher)
            if kept is not None and error.seen_seq == kept.record.seq:
                self._access.start(self._republish(slot, kept.record))
            return None
        except (LookupFailed, CryptoError, WireError):
            self._access.count("group_states_unread")
            self._unread.add(slot.publisher)
            return None
        return None if seen is None else seen.record

    async def _republish(self, slot: Slot, record: Record) -> None:
        try:
            await self._access.write(slot.target, record.raw, None, 0)
        except NoNode:
            self._access.count("group_states_unread")

    async def _open(self, record: Record, group_key: PublicKey) -> Recorded:
        """Beside the loop: a state of 255 members costs a reader with 16 keys a third of a second."""
        kem, identity = self._kem(), self._people.identity
        try:
            return await self._access.compute(lambda: open_state(record, group_key, kem, self._network))
        except NotAReader:
            if not await self._people.has_more_keys(identity):
                raise
        more = self._kem()
        return await self._access.compute(lambda: open_state(record, group_key, more, self._network))

    def _kem(self) -> tuple[PrivateKey, ...]:
        return tuple(kem.key for kem in self._people.identity.kem)

    def _after(self, kept: KeptGroup, record: Record, at: Recorded) -> KeptGroup:
        """What a state that was shown makes of what is known.

        Raises:
            GroupStateRefused: It cannot follow.

        """
        try:
            Keyring(kept.epochs).check(kept.group_id(self._network), at)
            check_newer(kept.at, at, self._network)
        except GroupForked as fork:
            return self._forked(kept, record, at, Fork(fork.epoch, fork.known, fork.other))
        except StaleGroupState as stale:
            if order_key(record) <= order_key(kept.record):
                raise  # nodes have not got the newest
            # With a higher seq: an admin who had not seen the known one wrote it.
            known = _hash_of(kept, stale.epoch, self._network)
            return self._forked(kept, record, at, Fork(stale.epoch, known, record.hash))
        return kept.with_state(record, at.state, self._network, self._wall())

    def _forked(self, kept: KeptGroup, record: Record, at: Recorded, fork: Fork) -> KeptGroup:
        """Both branches are read; the one that wins by section 8 counts, unless it is of an earlier epoch."""
        if at.state.name_secret != kept.state.name_secret:
            raise GroupStateRefused("the group's state changes the secret of its names")
        self._access.count("group_forks")
        kept = kept.with_fork(fork)
        wins = order_key(record) > order_key(kept.record) and at.state.epoch >= kept.state.epoch
        if wins:
            return kept.with_state(record, at.state, self._network, self._wall())
        return kept.with_epochs_of(record, at.state, self._network, self._wall())

    async def _successor(self, kept: KeptGroup) -> KeptGroup | None:
        """The group under the key that its last state names; None if there is none, or it cannot be read yet."""
        key = kept.state.next_key
        if key is None:
            return None
        record = await self._shown(self.state_slot(key), None)
        if record is None or record.is_tombstone:
            return None
        try:
            at = await self._open(record, key)
            check_successor(kept.state, key, at.state, self._network)
        except (CryptoError, WireError, NotFound):
            self._access.count("group_states_refused")
            return None
        return kept.moved(key, record, at.state, self._network, self._wall())

    async def _with_private_key(self, kept: KeptGroup) -> KeptGroup:
        """The same group, with its private key if this member is an admin and has not got it yet."""
        if kept.private_key is not None or not kept.is_admin(self._people.identity.public_key):
            return kept
        record = await self._shown(self.admins_slot(kept.group_key), None)
        if record is None:
            return kept
        kem = self._kem()
        try:
            key = await self._access.compute(
                lambda: open_group_key(record, kept.group_key, kem, self._network)
            )
        except (CryptoError, WireError, NotFound):
            self._access.count("group_keys_unread")
            return kept
        return replace(kept, private_key=key)


def _hash_of(kept: KeptGroup, epoch: int, network: NetworkId) -> bytes:
    group_id = kept.group_id(network)
    found = (known.state_hash for known in kept.epochs if (known.group_id, known.epoch) == (group_id, epoch))
    return next(found, kept.record.hash)
