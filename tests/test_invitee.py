"""An invite redeemed by whoever holds its link: what is believed, what is kept from others, how long it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.inviting import Host, link_of
from tests.test_records import NET, refusal_of
from yzdht.access import Reading
from yzdht.crypto.invite import issue_membership
from yzdht.crypto.invite_outcome import Outcome
from yzdht.errors import (
    InviteForAnother,
    InviteForged,
    InviteRefused,
    InviteUnanswered,
    InviteUsedUp,
    KeysUnknown,
    NoNode,
    NotAdmitted,
    NotAReader,
    UsageError,
    WireError,
    WrongInviteScope,
)
from yzdht.identity_record import About, sign_identity_record
from yzdht.ids import TokenId
from yzdht.invitee import Invitee, Waiting
from yzdht.letters import answer_slot
from yzdht.limits import DAY_S
from yzdht.wire.address import NodeType, address_of
from yzdht.wire.frame import Caps
from yzdht.wire.invite_link import decode_invite_link, encode_invite_link
from yzdht.wire.rpc import RedeemAnswer
from yzdht.wire.slot import Kind
from yzdht.wire.token import Token, TokenType, encode_token


if TYPE_CHECKING:
    from yzdht.ids import PublicKey
    from yzdht.wire.token import Redemption


pytest_plugins = ["tests.hosts"]


class Liar:
    """Answers whatever it is told to."""

    def __init__(self, *answers: RedeemAnswer) -> None:
        self.answers = list(answers)
        self.asked: list[Redemption] = []

    async def redeem(self, redemption: Redemption, joiner: PublicKey) -> RedeemAnswer:
        self.asked.append(redemption)
        return self.answers.pop(0)


# What is believed


@pytest.mark.parametrize(
    ("membership", "error"),
    [
        (b"", WireError),
        (bytes(176), WireError),
        ("an invite", WireError),
        ("another issuer's", WrongInviteScope),
        ("another member's", InviteForAnother),
        ("forged", InviteForged),
    ],
)
async def test_a_membership_that_is_none_is_not_taken(
    anna: Host, ben: Host, membership: bytes | str, error: type[Exception]
) -> None:
    link = await link_of(anna, None)
    token = decode_invite_link(link).token
    times = (int(anna.town.wall), int(anna.town.wall) + DAY_S)

    def given(by: Host, to: Host) -> Token:
        return issue_membership(by.identity.signer, NET, token.id, to.identity.node_id, times)

    good = given(anna, ben)
    shown = {
        "an invite": encode_token(token),
        "another issuer's": encode_token(given(ben, ben)),
        "another member's": encode_token(given(anna, anna)),
        "forged": encode_token(good)[:-1] + bytes((encode_token(good)[-1] ^ 1,)),
    }
    raw = membership if isinstance(membership, bytes) else shown[membership]
    anna.town.online[anna.key] = Liar(RedeemAnswer(0, raw))

    with pytest.raises(error):
        await ben.join(link)


async def test_who_is_told_to_be_in_and_is_not_finds_out(anna: Host, ben: Host) -> None:
    anna.town.online[anna.groups.group_key("family")] = Liar(RedeemAnswer(0))

    await refusal_of(ben.join(await link_of(anna)), NotAReader)


async def test_a_state_that_is_seen_late_is_waited_for(anna: Host, ben: Host) -> None:
    link = decode_invite_link(await link_of(anna))
    liar = Liar(RedeemAnswer(0))
    anna.town.online[link.token.issuer] = liar

    async def then() -> None:
        await anna.invites.registrar.redeem(liar.asked[0], ben.key)

    await ben.join(encode_invite_link(link.token, link.secret), "family", then)

    assert ben.groups.names() == ["family"]


async def test_a_refusal_of_the_issuer_itself_ends_it(anna: Host, ben: Host) -> None:
    anna.town.online[anna.groups.group_key("family")] = Liar(RedeemAnswer(9), RedeemAnswer(200))
    link = await link_of(anna)

    await refusal_of(ben.join(link), InviteUsedUp)
    await refusal_of(ben.join(link), InviteRefused)
    assert [r for r in anna.town.values() if r.kind is Kind.MULTI] == []


async def test_an_issuer_that_could_not_act_is_left_a_record(anna: Host, ben: Host) -> None:
    anna.town.online[anna.groups.group_key("family")] = Liar(RedeemAnswer(Outcome.LATER))

    await ben.join(await link_of(anna), "family", anna.invites.serve_once)

    assert ben.groups.names() == ["family"]


async def test_a_refusal_that_was_seen_is_not_taken_for_an_answer_of_now(
    anna: Host, ben: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused because the group was full; then there is room."""
    link = await link_of(anna)
    await refusal_of(ben.join(link), InviteUnanswered)
    with monkeypatch.context() as full:
        full.setattr("yzdht.crypto.groups.GROUP_MEMBERS_MAX", 1)
        await anna.invites.serve_once()
    await refusal_of(ben.join(link), NotAdmitted)  # what was answered while ben was away

    await ben.join(link, "family", anna.invites.serve_once)

    assert ben.groups.names() == ["family"]


async def test_an_answer_that_somebody_else_wrote_is_not_read(anna: Host, ben: Host) -> None:
    link = decode_invite_link(await link_of(anna))
    slot = answer_slot(NET, link.token.issuer, link.token.id, ben.key)
    anna.town.shown[slot.target] = [Reading((b"\xf9 no record",), 4, 4)]

    await refusal_of(ben.join(encode_invite_link(link.token, link.secret)), InviteUnanswered)

    assert anna.town.counted["rejected_records"] > 0


# What others learn


async def test_the_secret_is_shown_to_the_issuer_alone(anna: Host, ben: Host) -> None:
    link = decode_invite_link(await link_of(anna))
    eve = Liar()
    anna.town.online[ben.key] = anna.town.online[anna.key] = eve
    assert link.secret is not None

    await refusal_of(ben.join(encode_invite_link(link.token, link.secret)), InviteUnanswered)

    assert eve.asked == []
    assert all(link.secret not in record.raw for record in anna.town.values())
    [left] = [record for record in anna.town.values() if record.kind is Kind.MULTI]
    assert left.hdr0[85] == 1, "one stanza"


async def test_where_the_issuer_says_it_is_is_asked(anna: Host, ben: Host) -> None:
    link = await link_of(anna, None)
    url = "ws://192.0.2.7:8083"
    anna.town.wall += 1
    about = About(NodeType.COMMUNITY, (address_of(url),), Caps.ALWAYS, DAY_S)
    record = sign_identity_record(anna.identity, NET, about, anna.town.wall).record
    anna.town.held[anna.identity.node_id] = record.raw  # type: ignore[index] # it lies there

    await refusal_of(ben.join(link), InviteUnanswered)

    assert ben.way.urls == [url]


async def test_a_guest_of_a_network_publishes_nothing_of_itself(anna: Host, ben: Host) -> None:
    anna.goes_online()

    await ben.join(await link_of(anna, None))

    assert ben.key not in {record.publisher for _, record, _ in anna.town.writes}


# Waiting, and what cannot be joined


async def test_it_waits_so_long_and_looks_so_often(anna: Host, ben: Host) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        anna.town.wall += seconds

    link = decode_invite_link(await link_of(anna))
    await refusal_of(ben.invites.join(link, "family", Waiting(7.0, 3.0, pause)), InviteUnanswered)
    assert pauses == [3.0, 3.0, 1.0]

    pauses.clear()
    await refusal_of(ben.invites.join(link, "family", Waiting(0.0, 3.0, pause)), InviteUnanswered)
    assert pauses == []


async def test_without_the_issuer_s_keys_nothing_can_be_left(anna: Host, ben: Host) -> None:
    link = await link_of(anna)
    anna.town.held.clear()

    error = await refusal_of(ben.join(link), KeysUnknown)

    assert "yz invite serve" in error.hint


async def test_without_a_node_it_says_so(anna: Host, ben: Host) -> None:
    link = await link_of(anna)
    anna.town.is_reachable = False

    await refusal_of(ben.join(link), NoNode)


@pytest.mark.parametrize("kind", [TokenType.MAILBOX, TokenType.DEVICE])
async def test_other_invites_are_for_later_versions(anna: Host, ben: Host, kind: TokenType) -> None:
    link = decode_invite_link(await link_of(anna))
    token = Token(kind, *[getattr(link.token, name) for name in list(Token.__dataclass_fields__)[1:]])

    error = await refusal_of(ben.join(encode_invite_link(token, link.secret)), UsageError)

    assert "upgrade" in error.hint


async def test_a_group_is_not_joined_where_there_are_none(anna: Host, ben: Host) -> None:
    link = decode_invite_link(await link_of(anna))

    async def pause(_: float) -> None:
        raise AssertionError("nothing to wait for")

    invitee = Invitee(ben.invites._people, ben.invites._place, None)
    await refusal_of(invitee.join(link, "family", Waiting(9.0, 3.0, pause)), UsageError)
    assert isinstance(link.token.id, bytes)
    assert TokenId(link.token.id) == link.token.id
