"""Invites issued by one home and redeemed by others: the ways in, and everything that must not be one."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.inviting import HOUR, Host, Town, link_of
from tests.test_records import NET, WALL, refusal_of
from yzdht.crypto.identity import IdentityKeys
from yzdht.crypto.invite import Office, check_membership
from yzdht.crypto.invite_ledger import MemoryLedger
from yzdht.crypto.naming import mutable_target, node_id_of, revoked_tag
from yzdht.crypto.sealing import Public
from yzdht.errors import (
    GroupChangeRefused,
    InviteExpired,
    InviteForAnother,
    InviteForged,
    InviteRevoked,
    InviteUnanswered,
    InviteUsedUp,
    LedgerFull,
    NoNode,
    NoSuchInvite,
    NotFound,
    UnknownEpoch,
    UsageError,
)
from yzdht.identity_record import About, sign_identity_record
from yzdht.ids import Target
from yzdht.invites import Offer, find_invite, publish_revocations
from yzdht.letters import send
from yzdht.limits import DAY_S, INVITE_KEPT_AFTER_S, INVITE_LIFE_S_MAX, MEMBERSHIP_LIFE_S, RECORD_LIFE_S_MAX
from yzdht.readers import Group
from yzdht.slots import Slot
from yzdht.store.keyfile import Identity
from yzdht.store.ledger import SqliteLedger
from yzdht.store.marks import MemoryMarks
from yzdht.wire.address import NodeType
from yzdht.wire.frame import Caps
from yzdht.wire.group_state import Role
from yzdht.wire.invite_link import decode_invite_link, encode_invite_link
from yzdht.wire.record import decode_record, seq_at
from yzdht.wire.revocation import decode_revoked
from yzdht.wire.token import TokenType


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from yzdht.ids import PublicKey, TokenId
    from yzdht.invitee import Joined
    from yzdht.wire.token import Token

    Join = Callable[..., Awaitable[Joined]]


pytest_plugins = ["tests.hosts"]


@pytest.fixture(params=["by session", "by record"])
def join(request: pytest.FixtureRequest, anna: Host) -> Join:
    """Join while the issuer can be reached, or while it looks for records now and then."""
    if request.param == "by session":
        anna.goes_online()

    async def joins(host: Host, link: str, name: str = "family") -> Joined:
        return await host.join(link, name, anna.invites.serve_once)

    return joins


async def members(anna: Host) -> set[PublicKey]:
    return set(await anna.members())


# Ways in


async def test_somebody_joins_a_group_by_its_link(anna: Host, ben: Host, join: Join) -> None:
    link = await link_of(anna)

    joined = await join(ben, link, "the others")

    group = anna.groups.group_key("family")
    assert (joined.token.issuer, joined.membership) == (group, None)
    assert ben.groups.group_key("the others") == group
    assert (await anna.members())[ben.key] == ben.member()
    assert await anna.uses() == [1]


async def test_somebody_joins_a_closed_network(anna: Host, ben: Host, join: Join) -> None:
    joined = await join(ben, await link_of(anna, None))

    membership = joined.membership
    assert membership is not None
    office = Office(NET, anna.key, TokenType.NETWORK)
    check_membership(membership, office, ben.identity.node_id, (), anna.town.wall)
    assert membership.not_after == membership.not_before + MEMBERSHIP_LIFE_S
    assert anna.ledger.standing(membership.id) is not None


async def test_an_invite_for_one_person_admits_nobody_else(anna: Host, ben: Host, join: Join) -> None:
    link = await link_of(anna, offer=Offer(invitee=ben.key))

    assert decode_invite_link(link).secret is None
    await refusal_of(join(Host(anna.town), link), InviteForAnother)
    await join(ben, link)

    assert await members(anna) == {anna.key, ben.key}


async def test_an_admin_is_invited_as_one(anna: Host, ben: Host, join: Join) -> None:
    await join(ben, await link_of(anna, offer=Offer(is_admin=True)))

    assert (await anna.members())[ben.key] == ben.member(Role.ADMIN)
    assert ben.groups.key_of("family").public_key == anna.groups.group_key("family")


@pytest.mark.parametrize("has_history", [False, True])
async def test_the_past_is_read_only_if_the_issuer_said_so(
    anna: Host, ben: Host, join: Join, *, has_history: bool
) -> None:
    link = await link_of(anna, offer=Offer(has_history=has_history))
    await anna.records.store("plan", b"at nine", Group("family"))

    await join(ben, link)

    reading = ben.records.get_from_group("family", "plan")
    if has_history:
        assert (await reading).data == b"at nine"
    else:
        await refusal_of(reading, UnknownEpoch)


async def test_an_issuer_that_is_away_answers_when_it_is_back(anna: Host, ben: Host) -> None:
    link = await link_of(anna)

    error = await refusal_of(ben.join(link), InviteUnanswered)
    assert "again later" in error.hint
    served = await anna.restarted().serve_once()
    await ben.join(link)

    assert [(each.joiner, int(each.outcome)) for each in served] == [(ben.key, 0)]
    assert ben.key in await members(anna)
    assert await anna.uses() == [1]


async def test_joining_again_does_no_harm(anna: Host, ben: Host, join: Join) -> None:
    link, to_network = await link_of(anna), await link_of(anna, None)

    first = await join(ben, to_network)
    await join(ben, link)
    anna.town.wall += HOUR
    again = await join(ben, to_network)
    await join(ben, link)

    assert first.membership is not None
    assert again.membership is not None
    assert first.membership.id == again.membership.id
    assert await anna.uses() == [1, 1]


# No ways in


async def test_who_comes_too_late_is_refused_before_anybody_is_asked(
    anna: Host, ben: Host, join: Join
) -> None:
    link = await link_of(anna, offer=Offer(life_s=HOUR))
    anna.town.wall += HOUR + 601
    anna.town.reads.clear()

    await refusal_of(join(ben, link), InviteExpired)

    assert anna.town.reads == []
    assert await anna.uses() == [0]


async def test_a_revoked_invite_admits_nobody(anna: Host, ben: Host, join: Join) -> None:
    link = await link_of(anna)
    await anna.invites.revoke(link)

    await refusal_of(join(ben, link), InviteRevoked)

    assert await members(anna) == {anna.key}


async def test_an_invite_that_is_used_up_admits_nobody_more(anna: Host, ben: Host, join: Join) -> None:
    link = await link_of(anna)
    await join(ben, link)

    await refusal_of(join(Host(anna.town), link), InviteUsedUp)

    assert await members(anna) == {anna.key, ben.key}


async def test_of_two_at_once_one_gets_the_last_use(anna: Host) -> None:
    anna.goes_online()
    link = await link_of(anna)
    hosts = [Host(anna.town) for _ in range(4)]

    done = await asyncio.gather(*(host.join(link) for host in hosts), return_exceptions=True)

    assert sorted(isinstance(each, InviteUsedUp) for each in done) == [False, True, True, True]
    assert len(await members(anna)) == 2


async def test_two_processes_of_one_home_admit_as_many_as_the_invite_is_for(
    town: Town, tmp_path: Path
) -> None:
    with (
        closing(SqliteLedger(tmp_path / "invites.sqlite")) as ledger,
        closing(SqliteLedger(tmp_path / "invites.sqlite")) as other,
    ):
        anna = Host(town, ledger)
        await anna.founds()
        link = await link_of(anna, offer=Offer(uses_max=2))
        hosts = [Host(town) for _ in range(4)]
        for host in hosts:
            await refusal_of(host.join(link), InviteUnanswered)
        first = anna.invites
        anna.ledger = other

        await asyncio.gather(first.serve_once(), anna.restarted().serve_once())

        assert len(await members(anna)) == 3
        assert await anna.uses() == [2]


@pytest.mark.parametrize("change", ["uses", "scope", "role", "issuer"])
async def test_a_link_that_was_changed_is_refused_by_its_joiner(anna: Host, ben: Host, change: str) -> None:
    link = decode_invite_link(await link_of(anna, offer=Offer(uses_max=2)))
    changes: dict[str, Token] = {
        "uses": replace(link.token, uses_max=9),
        "scope": replace(link.token, scope=b"another group's "),
        "role": replace(link.token, role=1),
        "issuer": replace(link.token, issuer=ben.key),
    }

    before = anna.town.values()

    await refusal_of(ben.join(encode_invite_link(changes[change], link.secret)), InviteForged)

    assert anna.town.values() == before


async def test_an_invite_of_another_network_is_refused(anna: Host, ben: Host) -> None:
    link = decode_invite_link(await link_of(anna, None))
    forged = encode_invite_link(replace(link.token, id=link.token.id[::-1]), link.secret)  # type: ignore[arg-type] # as long

    await refusal_of(ben.join(forged), InviteForged)


# Removing, revoking, forgetting


async def test_removing_a_member_takes_the_links_back_that_it_knows(anna: Host, ben: Host) -> None:
    anna.goes_online()
    await anna.founds("work")
    anna.goes_online()
    links = [await link_of(anna, offer=Offer(uses_max=9)) for _ in range(2)]
    elsewhere = await link_of(anna, "work", Offer(uses_max=9))
    for link, name in ((links[0], "family"), (elsewhere, "work")):
        await ben.join(link, name)

    await anna.groups.remove("family", ben.key)

    revoked = [s.row.token_id for s in anna.invites.standings() if s.row.revoked_at is not None]
    assert revoked == [decode_invite_link(links[0]).token.id]
    await refusal_of(Host(anna.town).join(links[0]), InviteRevoked)
    await Host(anna.town).join(links[1])
    await Host(anna.town).join(elsewhere, "work")


def listed(anna: Host) -> set[TokenId] | None:
    """What the list of revocations says, as nodes have it."""
    raw = anna.town.held.get(mutable_target(NET, anna.key, revoked_tag(NET)))
    return None if raw is None else set(decode_revoked(decode_record(raw).payload))


async def test_a_membership_that_is_revoked_stands_in_the_list(anna: Host, ben: Host) -> None:
    anna.goes_online()
    joined = await ben.join(await link_of(anna, None))
    assert joined.membership is not None
    await anna.invites.serve_once()
    assert listed(anna) is None

    await anna.invites.revoke(joined.membership.id.hex()[:6])

    assert listed(anna) == {joined.membership.id}


async def test_a_list_that_could_not_be_written_is_written_later_and_renewed_half_way(
    anna: Host, ben: Host
) -> None:
    anna.goes_online()
    joined = await ben.join(await link_of(anna, None))
    assert joined.membership is not None
    anna.town.is_reachable = False
    await refusal_of(anna.invites.revoke(joined.membership.id.hex()), NoNode)
    anna.town.is_reachable = True
    assert listed(anna) is None

    await anna.invites.serve_once()
    assert listed(anna) == {joined.membership.id}
    count = len(anna.town.writes)
    await anna.invites.serve_once()
    assert len(anna.town.writes) == count
    anna.town.wall += RECORD_LIFE_S_MAX / 2 + 1
    await anna.invites.serve_once()

    assert len(anna.town.values()) > 1
    raw = anna.town.held[mutable_target(NET, anna.key, revoked_tag(NET))]
    assert decode_record(raw).created == int(anna.town.wall)


async def test_what_a_ledger_that_was_lost_had_revoked_stays_revoked_until_it_is_over(
    anna: Host, ben: Host
) -> None:
    anna.goes_online()
    carla = Host(anna.town)
    ids = []
    for host in (ben, carla):
        joined = await host.join(await link_of(anna, None))
        assert joined.membership is not None
        ids.append(joined.membership.id)
    await anna.invites.revoke(ids[0].hex())
    lost = anna.ledger
    anna.ledger = MemoryLedger(s.row for s in lost.standings() if s.row.token_id != ids[0])

    await anna.restarted().revoke(ids[1].hex())
    assert listed(anna) == set(ids)

    anna.ledger = lost
    anna.town.wall += MEMBERSHIP_LIFE_S + 601
    anna.restarted()
    await anna.invites.publish_revocations()
    assert listed(anna) == set()


@pytest.mark.parametrize("is_node", [True, False])
async def test_a_list_lives_on_without_the_ledger_that_made_it(
    anna: Host, ben: Host, *, is_node: bool
) -> None:
    anna.goes_online()
    joined = await ben.join(await link_of(anna, None))
    assert joined.membership is not None
    await anna.invites.revoke(joined.membership.id.hex())
    anna.ledger, anna.marks = MemoryLedger(), MemoryMarks()
    anna.restarted()
    anna.town.wall += RECORD_LIFE_S_MAX / 2 + 1
    if not is_node:  # a home closes a network if it invites to one
        await link_of(anna, None)

    await publish_revocations(anna.invites._place, anna.identity.signer, anna.ledger, is_closer=is_node)

    raw = anna.town.held[mutable_target(NET, anna.key, revoked_tag(NET))]
    assert decode_record(raw).created == int(anna.town.wall)
    assert listed(anna) == {joined.membership.id}


async def test_a_group_whose_keys_another_admin_replaced_holds_up_no_other(anna: Host, ben: Host) -> None:
    await anna.founds("work")
    links = [await link_of(anna, name) for name in ("family", "work")]
    key = anna.groups.key_of("family")
    theirs = IdentityKeys(key, Identity.generate(wall_now=WALL).kem, bytes(32))
    about = About(NodeType.CLIENT, (), Caps.ALWAYS | Caps.CLIENT, RECORD_LIFE_S_MAX)
    lie = sign_identity_record(theirs, NET, about, WALL, seq_at(WALL + 60)).record
    anna.town.held[Target(node_id_of(key.public_key))] = lie.raw
    anna.marks = MemoryMarks()
    anna.restarted()

    async def serve() -> None:
        await anna.invites.serve_once()

    joined = await ben.join(links[1], "work", serve)

    assert joined.name == "work"
    assert anna.town.counted["issuers_unpublished"]


async def test_whoever_shut_nobody_out_writes_no_list(anna: Host) -> None:
    await publish_revocations(anna.invites._place, anna.identity.signer, anna.ledger, is_closer=True)
    assert listed(anna) is None


async def test_a_list_of_revocations_that_does_not_parse_is_replaced(anna: Host, ben: Host) -> None:
    anna.goes_online()
    joined = await ben.join(await link_of(anna, None))
    assert joined.membership is not None
    tag = revoked_tag(NET)
    slot = Slot(anna.key, tag, mutable_target(NET, anna.key, tag))
    await send(anna.invites._place, anna.identity.signer, slot, b"nonsense", Public())

    await anna.invites.revoke(joined.membership.id.hex())

    assert listed(anna) == {joined.membership.id}


async def test_a_membership_that_was_revoked_is_not_given_again(anna: Host, ben: Host) -> None:
    anna.goes_online()
    link = await link_of(anna, None)
    joined = await ben.join(link)
    assert joined.membership is not None
    await anna.invites.revoke(joined.membership.id.hex())

    await refusal_of(ben.join(link), InviteRevoked)


async def test_whoever_is_shut_out_does_not_come_back_as_another_by_the_same_link(
    anna: Host, ben: Host
) -> None:
    anna.goes_online()
    link, elsewhere = await link_of(anna, None, Offer(uses_max=9)), await link_of(anna, None)
    await ben.join(await link_of(anna))
    joined = await ben.join(link)
    assert joined.membership is not None

    await anna.invites.revoke(joined.membership.id.hex())

    await refusal_of(Host(anna.town).join(link), InviteRevoked)
    await Host(anna.town).join(elsewhere)
    revoked = {s.row.token_id for s in anna.ledger.standings() if s.row.revoked_at is not None}
    assert revoked == {joined.membership.id, decode_invite_link(link).token.id}, "not that to the group"


async def test_a_full_ledger_forgets_what_ended_long_ago(anna: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.crypto.invite_ledger.INVITES_MAX", 2)
    for _ in range(2):
        await link_of(anna, offer=Offer(life_s=HOUR))
    await refusal_of(link_of(anna), LedgerFull)
    anna.town.wall += HOUR + INVITE_KEPT_AFTER_S + 601

    await link_of(anna)

    assert len(anna.invites.standings()) == 1


# Issuing


async def test_whoever_is_invited_while_the_issuer_is_away_finds_its_keys(anna: Host) -> None:
    await link_of(anna)
    await link_of(anna, None)

    group = anna.groups.group_key("family")
    assert {record.publisher for record in anna.town.identities()} == {anna.key, group}
    assert Target(node_id_of(group)) in anna.town.held


async def test_nothing_is_handed_out_before_keys_are_published_and_the_ledger_has_it(anna: Host) -> None:
    anna.town.is_reachable = False

    await refusal_of(link_of(anna), NoNode)

    assert anna.invites.standings() == []


@pytest.mark.parametrize(
    "offer",
    [
        Offer(uses_max=0),
        Offer(uses_max=65_536),
        Offer(life_s=0),
        Offer(life_s=INVITE_LIFE_S_MAX + 1),
        Offer(base="ftp://x"),
    ],
)
async def test_an_offer_that_cannot_be_made_leaves_nothing_behind(anna: Host, offer: Offer) -> None:
    await refusal_of(link_of(anna, offer=offer), UsageError)
    await refusal_of(link_of(anna, None, offer), UsageError)

    assert anna.invites.standings() == []


@pytest.mark.parametrize("offer", [Offer(is_admin=True), Offer(has_history=True), Offer(uses_max=2)])
async def test_what_does_not_go_together_is_refused(anna: Host, ben: Host, offer: Offer) -> None:
    await refusal_of(link_of(anna, None, replace(offer, invitee=ben.key)), UsageError)


async def test_only_admins_invite_to_a_group(anna: Host, ben: Host) -> None:
    anna.goes_online()
    await ben.join(await link_of(anna))

    await refusal_of(link_of(ben), GroupChangeRefused)
    await refusal_of(link_of(ben, "nothing"), NotFound)


async def test_a_link_says_no_more_than_it_has_to(anna: Host) -> None:
    link = await link_of(anna, offer=Offer(base="https://example.org/join", has_history=True))

    assert link.startswith("https://example.org/join#t=")
    token = decode_invite_link(link).token
    assert (token.not_before, token.not_after) == (int(WALL), int(WALL) + 7 * DAY_S)
    assert token.issuer == anna.groups.group_key("family")


# Naming an invite


async def test_an_invite_is_named_by_its_link_or_the_first_digits_of_its_id(anna: Host) -> None:
    link = await link_of(anna)
    standings = anna.invites.standings()
    token = decode_invite_link(link).token

    for text in (link, link[link.index("#") :], token.id.hex(), token.id.hex()[:4].upper()):
        assert find_invite(standings, text).row.token_id == token.id
    for text in ("", "abc", "xyzw", token.id.hex()[:4] + " "):
        if len(text.strip()) != 4 or text == "xyzw":
            with pytest.raises(UsageError):
                find_invite(standings, text)
    with pytest.raises(NoSuchInvite):
        find_invite([], token.id.hex())
    with pytest.raises(UsageError, match="2 invites"):
        find_invite(standings * 2, token.id.hex())
