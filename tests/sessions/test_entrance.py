"""The door of a closed network, between parties over memory links: who gets in, what guests are answered, who has to go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import CLIENT, Party, Time, Village, session_with, turns, until
from yzdht.crypto.invite import Bearer, Terms, issue, issue_membership
from yzdht.crypto.naming import network_id
from yzdht.errors import DialFailed
from yzdht.ids import Target, TokenId
from yzdht.limits import CLOCK_SKEW_S, GUEST_S_MAX, GUESTS_PER_INVITE_MAX
from yzdht.rpc.engine import GOODBYE, NO_MEMBER, NOT_INVITED, Answer, Down, Failed, FailReason, Up
from yzdht.sessions.membership import ClosedNetwork
from yzdht.sessions.world import Papers
from yzdht.store.keyfile import Identity
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Empty, FindNode, Get, Method, Status
from yzdht.wire.token import TokenType, encode_token


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


NET = network_id("main")
INVITE_ID = TokenId(b"token of 16 byte")
LIFE_S = 3_600


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def village(clock: Time) -> AsyncIterator[Village]:
    village = Village(clock)
    yield village
    await village.close()


class Club:
    """A closed network among parties of a village."""

    def __init__(self, village: Village) -> None:
        self.village = village
        self.issuer = Identity.generate()
        self.begin = int(village.clock.now().wall)
        self.end = self.begin + LIFE_S

    def closed(self) -> ClosedNetwork:
        return ClosedNetwork(NET, self.issuer.public_key)

    def membership(self, identity: Identity) -> bytes:
        times = (self.begin, self.end)
        return encode_token(issue_membership(self.issuer.signer, NET, INVITE_ID, identity.node_id, times))

    def invite(self) -> bytes:
        terms = Terms(TokenType.NETWORK, self.begin, self.end, 5)
        return encode_token(issue(self.issuer.signer, NET, terms, INVITE_ID, Bearer(bytes(16))))

    async def member(self, name: str) -> tuple[Party, ClosedNetwork]:
        identity, closed = Identity.generate(), self.closed()
        papers = Papers(membership=self.membership(identity))
        return await self.village.party(name, identity=identity, papers=papers, closed=closed), closed

    async def guest(self, name: str, **options: object) -> Party:
        return await self.village.party(
            name, papers=Papers(invite=self.invite()), closed=self.closed(), **options
        )


@pytest.fixture
async def club(village: Village) -> Club:
    return Club(village)


async def test_members_and_the_issuer_serve_each_other(club: Club) -> None:
    (one, _), (other, _) = await club.member("one"), await club.member("other")
    issuer = await club.village.party("issuer", identity=club.issuer, closed=club.closed())

    for asker, asked in ((one, other), (one, issuer), (issuer, other)):
        assert isinstance(await asker.answer_to(asker.ask(asked.contact)), Answer)
    assert one.ups() == other.ups() == issuer.ups() == 2


async def test_a_stranger_is_parted_with_before_anything_is_answered(club: Club) -> None:
    member, _ = await club.member("member")
    stranger = await club.village.party("stranger")

    outcome = await stranger.answer_to(stranger.ask(member.contact))

    assert outcome == Failed(FailReason.UNINVITED)
    assert member.requests == []
    assert member.links == []
    assert member.counters.get("sessions_refused", "NotInvited") == 1
    assert member.counters.get("handshakes_abandoned") == 0
    await until(lambda: len(member.sessions) == 0)
    assert [change for _, change in stranger.links] == [Up(member.url), Down(GOODBYE)]
    assert member.sessions.clients == member.sessions.nodes == member.sessions.half_open == 0

    again = await stranger.answer_to(stranger.ask(member.contact))
    assert again == Failed(FailReason.UNINVITED), "it is left alone for a while"


async def test_a_stranger_that_is_dialled_is_not_called(club: Club) -> None:
    member, _ = await club.member("member")
    stranger = await club.village.party("stranger")

    with pytest.raises(DialFailed, match=NO_MEMBER):
        await member.sessions.dial(stranger.url)
    assert isinstance(await member.answer_to(member.ask(stranger.contact)), Failed)

    assert member.links == []
    assert stranger.requests == []


async def test_a_guest_is_in_no_table_and_is_answered_what_redeeming_takes(club: Club) -> None:
    member, closed = await club.member("member")
    guest = await club.guest("guest")

    assert isinstance(await guest.answer_to(guest.ask(member.contact)), Answer)
    [readable, *_] = closed.judge(guest.identity.public_key, club.invite(), club.begin).rights.readable  # type: ignore[union-attr] # it is a guest
    answers = [
        await guest.answer_to(guest.ask(member.contact, Method.GET, Get(readable))),
        await guest.answer_to(guest.ask(member.contact, Method.GET, Get(Target(bytes(32))))),
        await guest.answer_to(guest.ask(member.contact, Method.FIND_NODE, FindNode(Target(bytes(32))))),
    ]

    assert [a.status for a in answers if isinstance(a, Answer)] == [Status.OK, Status.REFUSED, Status.REFUSED]
    assert [method for _, _, method, _ in member.requests] == [Method.PING, Method.GET]
    assert member.links == [], "no engine hears of it"
    assert session_with(member.sessions, guest.node_id) is None
    [(connection, _)] = member.sessions.open_connections()
    assert connection.peer is not None
    assert connection.peer.caps & Caps.CLIENT
    assert not connection.peer.caps & (Caps.ROUTING | Caps.STORAGE)


async def test_a_guest_cannot_be_dialled_and_serves_no_guest(club: Club) -> None:
    member, _ = await club.member("member")
    guest, other = await club.guest("guest"), await club.guest("other")

    for dialler in (member, other):
        with pytest.raises(DialFailed, match=NO_MEMBER):
            await dialler.sessions.dial(guest.url)


async def test_a_guest_s_time_is_short_and_does_not_begin_anew(club: Club, clock: Time) -> None:
    member, _ = await club.member("member")
    guest = await club.guest("guest", caps=CLIENT)
    connection = await guest.sessions.dial(member.url)
    assert connection.session is not None

    def ask() -> None:
        guest.last_call += 1
        connection.call(guest.last_call, Method.PING, Empty(), 5.0)

    for _ in range(int(GUEST_S_MAX / 10) - 1):
        await clock.advance(10)
        ask()
        member.sessions.look_again()
        await turns(5)
        assert len(member.sessions) == 1
    await clock.advance(12)

    await until(lambda: len(member.sessions) == len(guest.sessions) == 0)
    await guest.sessions.dial(member.url)
    await until(lambda: len(member.sessions) == 1)


async def test_guests_of_one_invite_are_few(club: Club) -> None:
    member, _ = await club.member("member")
    guests = [await club.guest(f"guest {number}") for number in range(GUESTS_PER_INVITE_MAX + 1)]
    for guest in guests:
        await guest.sessions.dial(member.url)

    await until(lambda: len(member.sessions) == GUESTS_PER_INVITE_MAX)
    assert member.counters.get("links_refused", "guests") == 1


async def test_a_revoked_member_is_parted_with_at_once_and_stays_out(club: Club) -> None:
    (member, closed), (other, _) = await club.member("member"), await club.member("other")
    assert isinstance(await other.answer_to(other.ask(member.contact)), Answer)
    token_id = TokenId(other.sessions._world.papers.membership[96:112])  # type: ignore[index] # it has one

    member.sessions.look_again()
    await turns(5)
    assert len(member.sessions) == 1, "nothing has changed"
    closed.revoked = frozenset({token_id})
    member.sessions.look_again()
    await until(lambda: len(member.sessions) == len(other.sessions) == 0)

    assert member.links[-1] == (other.node_id, Down(GOODBYE))
    with pytest.raises(DialFailed, match=NO_MEMBER):
        await member.sessions.dial(other.url)
    outcome = await other.answer_to(other.ask(member.contact))
    assert outcome == Failed(FailReason.UNINVITED)


async def test_a_membership_ends_with_its_session(club: Club, clock: Time) -> None:
    (member, _), (other, _) = await club.member("member"), await club.member("other")
    assert isinstance(await other.answer_to(other.ask(member.contact)), Answer)

    await clock.advance(LIFE_S - 10, steps=200)
    assert isinstance(await other.answer_to(other.ask(member.contact)), Answer), (
        "the skew of clocks is allowed for"
    )
    await clock.advance(CLOCK_SKEW_S + 15, steps=40)

    await until(lambda: len(member.sessions) == 0)
    with pytest.raises(DialFailed):
        await member.sessions.dial(other.url)


async def test_an_open_network_looks_at_nothing_that_is_shown(club: Club) -> None:
    open_node = await club.village.party("open")
    for papers in (Papers(membership=bytes(176)), Papers(invite=club.invite())):
        visitor = await club.village.party(f"visitor {id(papers)}", papers=papers)
        assert isinstance(await visitor.answer_to(visitor.ask(open_node.contact)), Answer)
    assert open_node.ups() == 2
    open_node.sessions.look_again()
    await turns(3)
    assert len(open_node.sessions) == 2


def test_both_ends_say_the_same_in_words_for_people() -> None:
    assert "invite" in NOT_INVITED
    assert "member" in NO_MEMBER
