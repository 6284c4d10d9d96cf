"""Redemptions judged and answered: by whom, how often, and what is made good after a crash."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.inviting import HOUR, Host, link_of
from tests.test_records import NET, WALL, refusal_of, refused
from yzdht.crypto.groups import admins_tag, group_id_of, state_tag
from yzdht.crypto.invite import Office, check_membership
from yzdht.crypto.invite_outcome import Outcome
from yzdht.crypto.primitives import PrivateKey
from yzdht.errors import InviteRevoked, InviteUnanswered, InviteUsedUp, NoNode, NotAMember, NotTheIssuer
from yzdht.ids import TokenId
from yzdht.invites import Offer
from yzdht.letters import answer_slot, letter_to, read, redemption_slot, send
from yzdht.limits import KEM_KEY_LIFE_S, MEMBERSHIP_LIFE_S, PERSON_IDENTITY_RENEW_S, RECORD_LIFE_S_MAX
from yzdht.registrar import Issuer, group_identity
from yzdht.wire.address import decode_identity_payload
from yzdht.wire.group_state import Role
from yzdht.wire.invite_link import decode_invite_link
from yzdht.wire.record import Readers, decode_record
from yzdht.wire.rpc import RedeemAnswer, Status, decode_body
from yzdht.wire.slot import Kind
from yzdht.wire.token import NO_SECRET, Redemption, TokenType, encode_redemption


if TYPE_CHECKING:
    from yzdht.wire.record import Record


pytest_plugins = ["tests.hosts"]


async def redemption(
    anna: Host, joiner: Host, group: str | None = "family", offer: Offer | None = None
) -> Redemption:
    link = decode_invite_link(await link_of(anna, group, offer))
    return Redemption(link.token, link.secret or NO_SECRET, joiner.kem)


async def outcome(anna: Host, asked: Redemption, joiner: Host) -> Outcome:
    return Outcome((await anna.invites.registrar.redeem(asked, joiner.key)).outcome)


async def leave(joiner: Host, asked: Redemption, *, kem: bytes | None = None) -> Record:
    """Leave a redemption as a record, for the issuer's KEM key."""
    people, place = joiner.invites._people, joiner.invites._place
    if kem is None:
        [issuer] = await people.seal_to([asked.token.issuer])
        kem = issuer.kem
    slot = redemption_slot(NET, asked.token.id, joiner.key)
    readers = letter_to(kem, place.rng)  # type: ignore[arg-type] # 33 bytes
    return await send(place, joiner.identity.signer, slot, encode_redemption(asked), readers)


def answers(anna: Host) -> list[Record]:
    """What issuers wrote for joiners."""
    groups = {anna.groups.group_key(name) for name in anna.groups.names()}
    tags = {tag_of(group_id_of(key, NET), NET) for key in groups for tag_of in (state_tag, admins_tag)}
    written = [r for r in anna.town.values() if r.kind is Kind.MUTABLE and r.readers is Readers.STANZAS]
    return [r for r in written if r.tag not in tags]


async def second_admin(anna: Host) -> Host:
    """Another admin of anna's group."""
    carla = Host(anna.town)
    await carla.records.people.publish()
    await anna.groups.add("family", carla.member(Role.ADMIN))
    await carla.groups.adopt("family", anna.groups.group_key("family"))
    return carla


# Whose invites


async def test_another_s_invites_are_not_redeemed_here(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben)

    await refusal_of(ben.invites.registrar.redeem(asked, anna.key), NotTheIssuer)


async def test_who_is_revoked_is_let_into_no_group(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben)
    await ben.records.moves.revoke()

    assert await outcome(anna, asked, ben) is Outcome.NOT_ADMITTED
    assert set(await anna.members()) == {anna.key}


async def test_who_is_no_admin_any_more_does_not_redeem(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben)
    carla = await second_admin(anna)
    await carla.groups.remove("family", anna.key)
    with suppress(NotAMember):
        await anna.groups.info("family")

    await refusal_of(anna.invites.registrar.redeem(asked, ben.key), NotTheIssuer)
    await leave(ben, asked)
    assert await anna.invites.serve_once() == []


async def test_who_does_not_know_yet_that_they_are_no_admin_any_more_admits_nobody(
    anna: Host, ben: Host
) -> None:
    asked = await redemption(anna, ben)
    carla = await second_admin(anna)
    await carla.groups.remove("family", anna.key)

    assert await outcome(anna, asked, ben) is Outcome.NOT_ADMITTED
    assert set(await carla.members()) == {carla.key}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("type", Outcome.WRONG_SCOPE),
        ("scope", Outcome.WRONG_SCOPE),
        ("uses", Outcome.FORGED),
        ("role", Outcome.FORGED),
        ("secret", Outcome.WRONG_SECRET),
        ("kem off the curve", Outcome.BAD_KEY),
        ("kem is the identity", Outcome.BAD_KEY),
    ],
)
async def test_what_was_changed_is_refused_and_not_counted(
    anna: Host, ben: Host, change: str, expected: Outcome
) -> None:
    asked = await redemption(anna, ben, offer=Offer(uses_max=3))
    await anna.founds("work")
    other = await redemption(anna, ben, "work")
    token = asked.token
    changed = {
        "type": replace(asked, token=replace(token, type=TokenType.MAILBOX)),
        "scope": replace(asked, token=replace(token, scope=other.token.scope)),
        "uses": replace(asked, token=replace(token, uses_max=4)),
        "role": replace(asked, token=replace(token, role=1)),
        "secret": replace(asked, secret=other.secret),
        "kem off the curve": replace(asked, kem=b"\x02" + b"\xff" * 32),  # type: ignore[arg-type] # as long
        "kem is the identity": replace(asked, kem=ben.key),
    }

    assert await outcome(anna, changed[change], ben) is expected
    assert await anna.uses() == [0, 0]


async def test_a_clock_that_is_behind_does_not_help_a_joiner(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben, offer=Offer(life_s=HOUR))
    anna.town.wall += HOUR + 601

    assert await outcome(anna, asked, ben) is Outcome.EXPIRED


async def test_an_invite_for_one_person_is_of_no_use_to_another(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben, offer=Offer(invitee=ben.key))

    assert await outcome(anna, asked, Host(anna.town)) is Outcome.FOR_ANOTHER
    assert await outcome(anna, asked, ben) is Outcome.ADMITTED


async def test_a_ledger_that_does_not_know_a_token_admits_nobody(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben)
    stranger = Host(anna.town)
    anna.ledger = stranger.ledger
    anna.restarted()

    assert await outcome(anna, asked, ben) is Outcome.UNKNOWN


# Crashes, and what is made good


async def test_a_crash_between_entry_and_answer_costs_no_use(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben)
    anna.way.unanswered += 2 * [anna.state_target()]

    assert await outcome(anna, asked, ben) is Outcome.LATER
    anna.restarted()
    assert await outcome(anna, asked, Host(anna.town)) is Outcome.USED_UP
    assert await outcome(anna, asked, ben) is Outcome.ADMITTED
    assert await anna.uses() == [1]


async def test_an_answer_that_was_lost_is_given_again(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben)

    for _ in range(3):
        assert await outcome(anna, asked, ben) is Outcome.ADMITTED
    assert await anna.uses() == [1]


async def test_a_group_that_is_full_admits_nobody_and_says_so(
    anna: Host, ben: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await redemption(anna, ben)
    monkeypatch.setattr("yzdht.crypto.groups.GROUP_MEMBERS_MAX", 1)

    assert await outcome(anna, asked, ben) is Outcome.NOT_ADMITTED


async def test_a_membership_that_does_not_fit_into_the_ledger_is_not_given(
    anna: Host, ben: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in no ledger could not be revoked."""
    asked = await redemption(anna, ben, None)
    monkeypatch.setattr("yzdht.crypto.invite_ledger.INVITES_MAX", 1)

    answer = await anna.invites.registrar.redeem(asked, ben.key)

    assert answer == RedeemAnswer(Outcome.NOT_ADMITTED)


def test_a_member_can_be_admitted_without_a_link_and_revoked(anna: Host, ben: Host) -> None:
    issuer = Issuer(anna.identity.signer, NET, anna.ledger)

    first, again = (issuer.admit(TokenId(each * 16), ben.identity.node_id, WALL) for each in (b"a", b"b"))

    for given in (first, again):
        office = Office(NET, anna.key, TokenType.NETWORK)
        check_membership(given, office, ben.identity.node_id, (), WALL + MEMBERSHIP_LIFE_S)
        anna.ledger.revoke(given.id, WALL)
    with pytest.raises(InviteRevoked):
        issuer.admit(TokenId(b"a" * 16), ben.identity.node_id, WALL)


async def test_a_record_that_could_not_be_acted_on_is_looked_at_again(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben)
    await leave(ben, asked)
    anna.way.unanswered += 2 * [anna.state_target()]

    first = await anna.invites.serve_once()
    second = await anna.invites.serve_once()

    assert [each.outcome for each in (*first, *second)] == [Outcome.LATER, Outcome.ADMITTED]
    assert len(answers(anna)) == 1


async def test_an_answer_that_could_not_be_written_is_written_in_the_next_round(
    anna: Host, ben: Host
) -> None:
    asked = await redemption(anna, ben)
    await leave(ben, asked)
    anna.town.verdicts += 2 * [refused(Status.OVER_QUOTA)]  # the state that is left behind, and the next one

    first = await anna.invites.serve_once()
    second = await anna.restarted().serve_once()

    assert [each.outcome for each in (*first, *second)] == [Outcome.LATER, Outcome.ADMITTED]
    assert await anna.uses() == [1]


async def test_without_any_node_a_round_ends(anna: Host, ben: Host) -> None:
    await leave(ben, await redemption(anna, ben))
    anna.town.is_reachable = False

    await refusal_of(anna.invites.serve_once(), NoNode)


# Answers by record


async def test_an_answer_is_for_its_joiner_alone(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben, None)
    await leave(ben, asked)
    await anna.invites.serve_once()

    [record] = answers(anna)
    slot = answer_slot(NET, anna.key, asked.token.id, ben.key)
    assert (record.publisher, record.tag) == (anna.key, slot.tag)
    assert record.hdr0[85] == 1, "one stanza"
    answer = decode_body(read(record, tuple(k.key for k in ben.identity.kem)), RedeemAnswer)
    assert answer.outcome == Outcome.ADMITTED
    assert record.expires - record.created == RECORD_LIFE_S_MAX


async def test_each_redemption_is_answered_once(anna: Host, ben: Host) -> None:
    asked = await redemption(anna, ben)
    await leave(ben, asked)
    anna.town.wall += 1
    await anna.invites.serve_once()

    assert await anna.invites.serve_once() == []
    assert await anna.restarted().serve_once() == []
    anna.town.wall += 1
    await leave(ben, asked)
    assert [each.outcome for each in await anna.invites.serve_once()] == [Outcome.ADMITTED]
    assert len(answers(anna)) == 2


@pytest.mark.parametrize("what", ["another secret", "another token", "not for the issuer", "no redemption"])
async def test_strangers_cannot_make_an_issuer_write(anna: Host, ben: Host, what: str) -> None:
    asked = await redemption(anna, ben)
    other = await redemption(anna, ben)
    writes = len(anna.town.writes)
    match what:
        case "another secret":
            await leave(ben, replace(asked, secret=b"x" * 16))
        case "another token":
            people, place = ben.invites._people, ben.invites._place
            [issuer] = await people.seal_to([asked.token.issuer])
            slot = redemption_slot(NET, asked.token.id, ben.key)
            readers = letter_to(issuer.kem, place.rng)
            await send(place, ben.identity.signer, slot, encode_redemption(other), readers)
        case "not for the issuer":
            await leave(ben, asked, kem=ben.kem)
        case _:
            people, place = ben.invites._people, ben.invites._place
            [issuer] = await people.seal_to([asked.token.issuer])
            slot = redemption_slot(NET, asked.token.id, ben.key)
            await send(place, ben.identity.signer, slot, b"hello", letter_to(issuer.kem, place.rng))

    await anna.invites.serve_once()

    assert len(anna.town.writes) == writes + 1, "the stranger's own"
    assert await anna.uses() == [0, 0]


async def test_a_redemption_that_was_copied_opens_for_nobody(anna: Host, ben: Host) -> None:
    """What is sealed is bound to its publisher: who copies it to a record of their own does not join in ben's place."""
    asked = await redemption(anna, ben)
    record = await leave(ben, asked)
    mallory = Host(anna.town)
    mine = await leave(mallory, asked, kem=mallory.kem)
    body = mine.raw[:85] + record.raw[85:-64]
    forged = body + mallory.identity.signer.sign("yz1 rec", NET, body)
    slot = redemption_slot(NET, asked.token.id, ben.key)
    anna.town.entries[slot.target][mallory.key] = forged

    served = await anna.invites.serve_once()

    assert [each.joiner for each in served] == [ben.key]
    assert decode_record(forged).publisher == mallory.key


async def test_open_invites_beyond_one_round_take_turns(anna: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.registrar.REDEEM_SLOTS_PER_ROUND_MAX", 2)
    joiners = [Host(anna.town) for _ in range(5)]
    for joiner in joiners:
        await leave(joiner, await redemption(anna, joiner))

    rounds = [len(await anna.invites.serve_once()) for _ in range(4)]

    assert rounds == [2, 2, 1, 0]


async def test_nodes_that_hide_one_slot_do_not_keep_the_others_from_being_served(
    anna: Host, ben: Host
) -> None:
    hidden, shown = await redemption(anna, ben), await redemption(anna, ben)
    await leave(ben, hidden)
    await leave(ben, shown)
    anna.town.shown[redemption_slot(NET, hidden.token.id, ben.key).target] = []
    anna.town.shown[redemption_slot(NET, hidden.token.id, ben.key).target] = [
        replace(anna.town._honest(redemption_slot(NET, shown.token.id, ben.key).target), answered=0)
    ]

    served = await anna.invites.serve_once()

    assert [each.token_id for each in served] == [shown.token.id]


# A group as an identity


async def test_a_group_s_keys_are_published_and_renewed(anna: Host) -> None:
    await link_of(anna, offer=Offer(life_s=30 * 86_400))
    group = anna.groups.group_key("family")
    first = [r for r in anna.town.identities() if r.publisher == group]
    await anna.invites.serve_once()
    assert len(first) == len([r for r in anna.town.identities() if r.publisher == group]) == 1

    anna.town.wall += PERSON_IDENTITY_RENEW_S + 1
    await anna.invites.serve_once()

    records = [r for r in anna.town.identities() if r.publisher == group]
    payloads = [decode_identity_payload(record.payload) for record in records]
    assert [payload.addresses for payload in payloads] == [(), ()]
    assert payloads[0].kem[0].public_key == payloads[1].kem[0].public_key
    assert payloads[1].kem[0].not_after == int(anna.town.wall) + KEM_KEY_LIFE_S


async def test_another_admin_answers_what_was_sealed_to_the_group(anna: Host, ben: Host) -> None:
    """The KEM key follows from the group's: what one admin published another one opens."""
    carla = await second_admin(anna)
    anna.town.wall += 1
    asked = await redemption(carla, ben)

    assert group_identity(carla.groups.key_of("family"), 0).kem[0].key.public_key == (
        group_identity(anna.groups.key_of("family"), 9).kem[0].key.public_key
    )
    await leave(ben, asked)
    assert await anna.invites.serve_once() == [], "it is carla's ledger that counts"
    assert len(await carla.invites.serve_once()) == 1


def test_a_group_s_key_is_not_shown() -> None:
    key = PrivateKey.generate()

    assert key.scalar().hex() not in repr(group_identity(key, 0.0))


async def test_a_refusal_by_record_reaches_the_joiner(anna: Host, ben: Host) -> None:
    link = await link_of(anna)
    other = Host(anna.town)
    for host in (ben, other):
        await refusal_of(host.join(link), InviteUnanswered)

    await anna.invites.serve_once()

    results = [await refusal_or_none(host, link) for host in (ben, other)]
    assert sorted(map(str, results)) == ["None", "used up"]


async def refusal_or_none(host: Host, link: str) -> str | None:
    try:
        await host.join(link)
    except (InviteUsedUp, InviteUnanswered) as error:
        return "used up" if isinstance(error, InviteUsedUp) else "unanswered"
    return None
