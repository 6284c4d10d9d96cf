"""Groups changed by their admins: made, joined, rotated, taken to another key (PROTOCOL.md section 10).

Every change is one new epoch, written by compare-and-swap on the state that it follows: of two admins who change a group at
once one goes first, and the other's change is made anew on top. Nothing that is needed to go on is kept here alone: after a
crash the next look finds in the network what was written.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from yzdht.crypto.group_records import Keyring
from yzdht.crypto.groups import (
    NewKey,
    add,
    create,
    promote,
    remove,
    remove_admin,
    renew,
    without_ended,
)
from yzdht.crypto.kept_group import Fork, KeptGroup, first_kept
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.sealing import Author, Named, Public, RecordDraft, seal_record
from yzdht.crypto.signing import KeySigner
from yzdht.crypto.stanzas import CEK_BYTES
from yzdht.errors import (
    AdminKnowsKey,
    CasMismatch,
    Conflict,
    DecryptionFailed,
    GroupChangeRefused,
    GroupMoved,
    LastAdmin,
    NotAMember,
    NotAnAdmin,
    StaleRecord,
    YzError,
)
from yzdht.ids import SECRET_BYTES, EpochSecret, NameSecret
from yzdht.limits import (
    GROUP_CHANGE_TRIES_MAX,
    GROUP_EPOCH_S,
    GROUP_LOOK_S,
    RECORD_LIFE_S_MAX,
    REPLAY_KEPT_S,
)
from yzdht.people import Standings
from yzdht.slot_writer import Intent, SlotWriter
from yzdht.wire.group_state import GroupState, Member, Role, encode_group_state
from yzdht.wire.record import SALT_BYTES, Record, decode_record


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from yzdht.crypto.group_records import KnownEpoch
    from yzdht.crypto.sealing import SealedFor
    from yzdht.ids import GroupId, NetworkId, PublicKey
    from yzdht.known_groups import KnownGroups, Means
    from yzdht.people import People
    from yzdht.slots import Slot


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group, as its members see it.

    Attributes:
        name: What this home calls it; nobody else knows that.
        group_key: Its public key, 33 bytes; another one after an admin was removed.
        group_id: Follows from that key, 16 bytes.
        epoch: Number of the newest state, 1 for the first.
        members: Identity key, KEM key and role of each, in the order of their keys.
        created: When that state was written, unix seconds.
        expires: Until when nodes keep it; the group goes on working, and an admin should write a new one.
        is_admin: True if this identity can change the group.
        is_removed: True if a newer state is not for this identity: what is written from then on it cannot read.
        has_history: True if who is added reads what was written before.
        forks: Epochs of which two states were seen, the last 8; admins have written without seeing each other.

    """

    name: str
    group_key: PublicKey
    group_id: GroupId
    epoch: int
    members: tuple[Member, ...]
    created: int
    expires: int
    is_admin: bool
    is_removed: bool
    has_history: bool
    forks: tuple[Fork, ...]


class Groups:
    """The groups of one identity in one network.

    Args:
        known: What this home knows of them.
        people: The identity, and the keys of others.
        network: NET.
        means: What they are found and kept with.

    Attributes:
        on_removed: Told the id of a group and who is to be removed: invites that they redeemed have to be revoked.

    """

    def __init__(self, known: KnownGroups, people: People, network: NetworkId, means: Means) -> None:
        self.on_removed: Callable[[GroupId, PublicKey], None] = lambda _group, _member: None
        self._known = known
        self._people = people
        self._network = network
        self._access, self._slots, self._shelf, self._rng = means
        self._kept_up: dict[PublicKey, float] = {}  # monotonic seconds, by the group's key

    # What is known

    def names(self) -> list[str]:
        """All groups, by the names that this home gives them."""
        return self._known.names()

    async def info(self, name: str) -> GroupInfo:
        """A group in its newest state.

        Args:
            name: What this home calls it, in any case of its letters.

        Raises:
            NoSuchGroup: There is none of this name.
            NoNode: No node could be reached.

        """
        kept = await self._known.look(name)
        self.keep_up(name)
        return self._info(name, kept)

    def known_info(self, name: str) -> GroupInfo:
        """A group as this home knows it; asks nobody. Raises NoSuchGroup."""
        return self._info(name, self._known.kept(name))

    def group_key(self, name: str) -> PublicKey:
        """The public key of a group. Raises NoSuchGroup."""
        return self._known.kept(name).group_key

    def key_of(self, name: str) -> PrivateKey:
        """The private key of a group, with which its admins sign.

        Raises:
            NoSuchGroup: There is none of this name.
            NotAnAdmin: This identity is no admin.

        """
        kept = self._known.kept(name)
        self._check_admin(kept)
        assert kept.private_key is not None
        return kept.private_key

    def _info(self, name: str, kept: KeptGroup) -> GroupInfo:
        state = kept.state
        return GroupInfo(
            name=name,
            group_key=kept.group_key,
            group_id=kept.group_id(self._network),
            epoch=state.epoch,
            members=state.members,
            created=kept.record.created,
            expires=kept.record.expires,
            is_admin=kept.private_key is not None and kept.is_admin(self._people.identity.public_key),
            is_removed=kept.is_removed,
            has_history=state.has_history,
            forks=kept.forks,
        )

    # Membership of this identity

    async def create(self, name: str, *, history: bool = False) -> GroupInfo:
        """Make a group with oneself as its admin.

        Args:
            name: For this home alone: 1 to 64 bytes of printable text.
            history: Whether those who are added later may read what is written before.

        Raises:
            UsageError: The name is none or taken, or there are too many groups.
            WriteQuorumFailed: Too few replicas stored it.
            KemKeyMissing: Another device of this identity published a KEM key that this one has not.
            NoNode: No node could be reached.

        """
        self._shelf.check_new(self._network, name)
        await self._people.check_own()
        await self._people.publish()  # others find the KEM key there that the group lists
        identity = self._people.identity
        founder = Member(identity.public_key, identity.kem[0].key.public_key, Role.ADMIN)
        key = PrivateKey.generate()
        name_secret = NameSecret(self._rng.token(SECRET_BYTES))
        state = create([founder], name_secret, self._secret(), self._network, has_history=history)
        await self._share(key, state, 0)
        record = await self._write(key, state, 0)
        kept = first_kept(key.public_key, record, state, self._network, self._wall())
        kept = replace(kept, private_key=key)
        self._known.add(name, kept)
        return self._info(name, kept)

    async def adopt(self, name: str, group_key: PublicKey) -> GroupInfo:
        """Take up a group whose member this identity is already, by its key; raises as `KnownGroups.adopt`."""
        return self._info(name, await self._known.adopt(name, group_key))

    def leave(self, name: str, *, is_forced: bool = False) -> None:
        """Forget a group and everything that it takes to read it; its admins have to remove this member themselves.

        Raises:
            NoSuchGroup: There is none of this name.
            LastAdmin: Nobody could change it any more; not if `is_forced`.
            DecryptionFailed: What is kept is damaged, or of another identity; not if `is_forced`.

        """
        try:
            kept = self._known.kept(name)
        except DecryptionFailed:
            if not is_forced:
                raise
            return self._known.forget(name)
        oneself = self._people.identity.public_key
        is_needed = kept.is_admin(oneself) and len(kept.state.admins) == 1 and len(kept.state.members) > 1
        if is_needed and not kept.is_removed and not is_forced:
            raise LastAdmin(
                "you are the group's only admin", hint="promote somebody first, or leave by force"
            )
        return self._known.forget(name)

    # Changes by admins

    async def add(self, name: str, member: Member | PublicKey, *, history: bool | None = None) -> GroupInfo:
        """Take somebody in; they read what is written from now on.

        Args:
            name: The group.
            member: Their public key, or that with a KEM key and a role.
            history: Whether they may read what was written before, and so may then every member; None as the group has it.

        Raises:
            AlreadyAMember: They are one.
            GroupFull: There are 255.
            KeysUnknown, KeyTooOld: No KEM key of theirs is published, or it ended too long ago.
            PersonMoved, PublisherRevoked: They have another key now, or none.
            NotAnAdmin, NotAMember: This identity is no admin, or was removed.
            IdentityMoved, IdentityRevoked: It has ended.
            Conflict: Other admins were faster each time.
            WriteQuorumFailed: Too few replicas stored it.
            NoSuchGroup, NoNode: As of `info`.

        """
        joiner = member if isinstance(member, Member) else await self._with_kem(member)
        await self._people.check_ends([joiner.public_key])

        def added(kept: KeptGroup) -> GroupState:
            has_history = kept.state.has_history if history is None else history
            group_id = kept.group_id(self._network)
            past = Keyring(kept.epochs).past(group_id, kept.state.epoch) if has_history else None
            return add(kept.at, joiner, self._secret(), self._network, history=past)

        return await self._change(name, added)

    async def remove(self, name: str, member: PublicKey) -> GroupInfo:
        """Take somebody out; they read nothing that is written from now on. An admin takes the group's key along.

        Raises:
            NotAMember: There is nobody with this key.
            LastAdmin: It is the only admin.
            GroupChangeRefused: It is oneself: whoever makes the new key knows it.
            As `add`.

        """
        kept = await self._for_change(name)
        self._check_other(kept, member)
        # First of all, so that no retry misses it: links that are taken back too early do no harm.
        self.on_removed(kept.group_id(self._network), member)
        if not kept.is_admin(member):
            with suppress(AdminKnowsKey):  # another admin has promoted them meanwhile
                return await self._change(name, lambda k: remove(k.at, member, self._secret(), self._network))
        return await self._succeed(name, member)

    async def promote(self, name: str, member: PublicKey) -> GroupInfo:
        """Make a member an admin, who gets the group's private key.

        Raises:
            GroupChangeRefused: It is one already.
            NotAMember: There is nobody with this key.
            As `add`.

        """
        return await self._change(name, lambda k: promote(k.at, member, self._secret(), self._network))

    async def rotate(self, name: str) -> GroupInfo:
        """Begin a new epoch, with the KEM keys that members have published by now.

        Who is revoked is taken out first: nothing may be sealed to them. Raises as `add`.
        """
        kems, revoked = await self._news(await self._for_change(name))
        await self._remove_all(name, revoked)
        return await self._change(name, lambda kept: self._renewed(kept, kems))

    def _renewed(self, kept: KeptGroup, kems: dict[PublicKey, PublicKey]) -> GroupState:
        return renew(kept.at, kems, self._secret(), self._network)

    # Duties of admins

    def keep_up(self, name: str) -> None:
        """Do what admins owe a group beside the present call, once an hour: nobody waits for it.

        That is a new epoch after seven days, and when a member has published another KEM key; members taken out whose
        identity is revoked; and what another admin was stopped at.
        """
        kept, now = self._known.kept(name), self._access.now()
        last = self._kept_up.get(kept.group_key)
        is_admin = kept.private_key is not None and kept.is_admin(self._people.identity.public_key)
        if is_admin and (last is None or now.mono - last >= GROUP_LOOK_S):
            self._kept_up[kept.group_key] = now.mono
            self._access.start(self._keep_up(name))

    async def _keep_up(self, name: str) -> None:
        try:
            kept = await self._for_change(name)  # another admin may have done it all
            kems, revoked = await self._news(kept)
            await self._remove_all(name, revoked)
            age_s = self._access.now().wall - self._known.kept(name).record.created
            if kems or age_s >= GROUP_EPOCH_S:
                await self._change(name, lambda kept: self._renewed(kept, kems))
            await self._share_if_outdated(name)
        except YzError:  # tried again in an hour; who changes the group by hand is told
            self._access.count("group_upkeep_failed")

    async def _remove_all(self, name: str, members: Iterable[PublicKey]) -> None:
        for member in members:
            with suppress(NotAMember):  # another admin was faster
                await self.remove(name, member)

    async def _news(self, kept: KeptGroup) -> Standings:
        """Other KEM keys of members than those that are listed, and who of them is revoked."""
        identity = self._people.identity
        listed = {member.public_key: member.kem for member in kept.state.members}
        others = [member for member in listed if member != identity.public_key]
        published, revoked = await self._people.standings(others)
        if identity.kem:
            published[identity.public_key] = identity.kem[0].key.public_key
        newer = {member: kem for member, kem in published.items() if listed.get(member) not in (None, kem)}
        return Standings(newer, revoked)

    async def _with_kem(self, person: PublicKey) -> Member:
        [found] = await self._people.seal_to([person])
        return Member(person, found.kem)

    # Writing

    def _check_other(self, kept: KeptGroup, member: PublicKey) -> None:
        if member != self._people.identity.public_key:
            return
        if len(kept.state.admins) == 1:
            raise LastAdmin("you are the group's only admin")
        raise GroupChangeRefused(
            "nobody takes themselves out: who makes the group's new key knows it",
            hint="have another admin remove you; to forget the group here: yz group leave NAME",
        )

    async def _for_change(self, name: str) -> KeptGroup:
        kept = await self._known.look(name)
        self._check_admin(kept)
        await self._people.check_own()
        return kept

    def _check_admin(self, kept: KeptGroup) -> None:
        if kept.is_removed:
            raise NotAMember("you are no member of this group any more", hint="ask an admin to add you again")
        if kept.state.next_key is not None:
            raise GroupMoved(kept.state.next_key)
        if not kept.is_admin(self._people.identity.public_key):
            raise NotAnAdmin("only admins change a group, and you are none")
        if kept.private_key is None:
            raise NotAnAdmin(
                "the group's private key has not been found yet", hint="try again when more nodes are up"
            )

    async def _change(self, name: str, make: Callable[[KeptGroup], GroupState]) -> GroupInfo:
        """Write the state that `make` makes of the newest one."""

        async def write(kept: KeptGroup, key: PrivateKey, if_seq: int) -> KeptGroup:
            state = without_ended(make(kept), self._wall())
            if not state.past:
                await self._leave(key, kept)
            record = await self._write(key, state, if_seq)
            after = self._known.keep(name, kept.with_state(record, state, self._network, self._wall()))
            if _kems_of_admins(state) != _kems_of_admins(kept.state) or self._is_share_due(kept):
                await self._share_newest(name)
            return after

        return self._info(name, await self._on_top(name, write))

    async def _succeed(self, name: str, member: PublicKey) -> GroupInfo:
        """Take the group to a new key, which `member` does not get."""

        async def write(kept: KeptGroup, key: PrivateKey, if_seq: int) -> KeptGroup:
            next_key = PrivateKey.generate()
            new = NewKey(next_key.public_key, self._secret(), self._secret())
            both = remove_admin(kept.at, member, new, self._network)
            await self._share(next_key, both.first, 0)  # whoever is led to the new key finds everything there
            first = await self._write(next_key, both.first, 0)
            state = without_ended(both.last, self._wall())
            last = await self._write(key, state, if_seq)
            after = kept.with_state(last, state, self._network, self._wall())
            after = after.moved(next_key.public_key, first, both.first, self._network, self._wall())
            return self._known.keep(name, replace(after, private_key=next_key))

        return self._info(name, await self._on_top(name, write))

    async def _on_top(
        self, name: str, write: Callable[[KeptGroup, PrivateKey, int], Awaitable[KeptGroup]]
    ) -> KeptGroup:
        """Write on top of the newest state, again while other admins are faster."""
        for _ in range(GROUP_CHANGE_TRIES_MAX):
            kept = await self._for_change(name)
            assert kept.private_key is not None
            if_seq = await self._stored_seq(kept)
            if if_seq is None:
                continue  # what somebody else wrote is looked at first
            with suppress(CasMismatch):
                return await write(kept, kept.private_key, if_seq)
        raise Conflict("other admins changed the group at the same time, each time")

    async def _stored_seq(self, kept: KeptGroup) -> int | None:
        """The seq that is stored now, 0 for nothing; None if that is a state which this home has not looked at.

        Raises:
            As `SlotReader.read`: a change is made on top of what is there, and of nothing else.

        """
        seen = await self._slots.read(self._known.state_slot(kept.group_key))
        if seen is None:
            return 0
        known = {kept.record.hash, *(epoch.state_hash for epoch in kept.epochs)}
        return seen.record.seq if seen.record.hash in known else None

    async def _write(self, key: PrivateKey, state: GroupState, if_seq: int) -> Record:
        """Write a state for its members; returns the record that a quorum holds."""
        kem = tuple(member.kem for member in state.members)
        slot = self._known.state_slot(key.public_key)
        return await self._write_sealed(key, slot, encode_group_state(state), kem, if_seq)

    async def _leave(self, key: PrivateKey, kept: KeptGroup) -> None:
        """Leave the state that is known for members who have not seen it, since the next one hands nothing over.

        Without it they lose messages of a day at most; the change is made all the same.
        """
        slot = self._known.left_slot(kept.group_key, kept.state.epoch)
        writer = SlotWriter(self._access, self._slots, _OfGroup(key, self._network, self._rng.token))
        try:
            await writer.write_record(Intent(slot, kept.record.raw, Public(), REPLAY_KEPT_S, None))
        except YzError:
            self._access.count("group_states_not_left")

    async def _share(self, key: PrivateKey, state: GroupState, if_seq: int) -> None:
        """Write the group's private key for its admins."""
        kem = tuple(admin.kem for admin in state.admins)
        slot = self._known.admins_slot(key.public_key)
        await self._write_sealed(key, slot, key.to_pkcs8(), kem, if_seq)

    async def _share_newest(self, name: str) -> None:
        """Share the private key with the admins of the newest state, whoever wrote that.

        What is stored is looked at before the state: an admin who was promoted meanwhile is then either in that state, or
        has been given the key by a later write, which the condition notices.
        """
        for _ in range(GROUP_CHANGE_TRIES_MAX):
            key = self._known.kept(name).group_key
            if_seq = await self._shared_seq(key)
            kept = await self._for_change(name)
            assert kept.private_key is not None
            if kept.group_key != key:
                return None  # whoever made that key has shared it
            try:
                return await self._share(kept.private_key, kept.state, if_seq)
            except CasMismatch:
                continue
        raise Conflict("other admins shared the group's key at the same time, each time")

    async def _share_if_outdated(self, name: str) -> None:
        """Share the private key if whoever wrote the newest state was stopped before that."""
        kept = self._known.kept(name)
        if await self._shared_seq(kept.group_key) < kept.record.seq:
            await self._share_newest(name)

    async def _shared_seq(self, group_key: PublicKey) -> int:
        """The seq of the record that shares a group's private key, as nodes show it now; 0 for none."""
        try:
            seen = await self._slots.read(self._known.admins_slot(group_key))
        except StaleRecord as error:  # nodes lost it: it is written again
            return error.seq
        return 0 if seen is None else seen.record.seq

    def _is_share_due(self, kept: KeptGroup) -> bool:
        """True once a week: the record that shares the key expires as any other."""
        mark = self._slots.mark(self._known.admins_slot(kept.group_key))
        left_s = 0.0 if mark is None else mark.expires - self._access.now().wall
        return left_s < RECORD_LIFE_S_MAX - GROUP_EPOCH_S

    async def _write_sealed(
        self, key: PrivateKey, slot: Slot, value: bytes, kem: tuple[PublicKey, ...], if_seq: int
    ) -> Record:
        readers = Named(kem, b"", has_self=False)
        writer = SlotWriter(self._access, self._slots, _OfGroup(key, self._network, self._rng.token))
        done = await writer.write_record(Intent(slot, value, readers, RECORD_LIFE_S_MAX, if_seq))
        return done.record

    def _wall(self) -> int:
        return int(self._access.now().wall)

    def _secret(self) -> EpochSecret:
        return EpochSecret(self._rng.token(SECRET_BYTES))


class _OfGroup:
    """Seals and signs as a group."""

    def __init__(self, key: PrivateKey, network: NetworkId, token: Callable[[int], bytes]) -> None:
        self._author = Author(KeySigner(key), b"", network)
        self._token = token

    def seal(self, draft: RecordDraft, value: bytes | None, sealed_for: SealedFor | KnownEpoch) -> Record:
        """Build a signed record; content key and salt are made for it."""
        assert value is not None
        assert isinstance(sealed_for, Named | Public)
        readers = sealed_for
        if isinstance(readers, Named):
            readers = replace(readers, cek=self._token(CEK_BYTES))
        return decode_record(seal_record(draft, value, readers, self._author, self._token(SALT_BYTES)))


def _kems_of_admins(state: GroupState) -> tuple[PublicKey, ...]:
    return tuple(admin.kem for admin in state.admins)
