"""REDEEM at a node: what the desk answers and at what price, and what a joiner believes; whole nodes are in test_belonging.py."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.crypto.invites import END, INVITE_ID, ISSUER, SECRET, START
from tests.sessions.kit import CLIENT, Party, Time, until
from tests.vectors.golden import KEM_1
from yzdht import Identity
from yzdht.background import Background
from yzdht.config import Bootstrap
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.invite import Bearer, Named, Terms, issue, issue_membership
from yzdht.crypto.invite_ledger import MemoryLedger, row_of
from yzdht.crypto.invite_outcome import Outcome
from yzdht.crypto.naming import network_id
from yzdht.errors import (
    InviteUsedUp,
    NotAdmitted,
    NotTheIssuer,
    StoreError,
    WrongInviteSecret,
    WrongPassphrase,
    YzError,
)
from yzdht.ids import TokenId
from yzdht.limits import MEMBERSHIP_LIFE_S, REDEEMS_BURST_PER_PEER
from yzdht.redeeming import GUEST_CAPS, Applicant, Desk, Joiner, NetworkRegistrar, Way
from yzdht.rpc.engine import Answer
from yzdht.sessions.membership import ClosedNetwork
from yzdht.store.entropy import SystemRng
from yzdht.telemetry import Telemetry
from yzdht.transport.websocket import WebSocketTransport
from yzdht.wire.invite_link import InviteLink
from yzdht.wire.rpc import Method, Redeem, RedeemAnswer, Refusal, Status
from yzdht.wire.token import Redemption, TokenType, decode_token, encode_redemption, encode_token


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from yzdht.ids import PublicKey
    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body
    from yzdht.wire.token import Token


NET = network_id("main")
KEM = KEM_1.public_key


def _guard(task: asyncio.Task[None]) -> None:
    assert task.cancelled() or task.exception() is None


class Office:
    """An issuer's node, as far as its desk goes, and one peer that asks it."""

    def __init__(self, clock: Time) -> None:
        self.clock = clock
        self.issuer = Identity.generate()
        self.ledger = MemoryLedger()
        self.telemetry = Telemetry()
        self.registrar = NetworkRegistrar(self.issuer.signer, NET, self.ledger, clock)
        self.background = Background(_guard)
        self.desk = Desk([self.registrar], self.background, clock, self.telemetry)
        self.closed = ClosedNetwork(NET, self.issuer.public_key)
        self.node = Party(clock, identity=self.issuer, closed=self.closed)
        self.node.on_asked = self._serve
        self.peer = Party(clock, caps=CLIENT)

    def _serve(self, connection: Connection, number: int, _method: Method, body: Body) -> None:
        assert isinstance(body, Redeem)
        self.desk.serve(connection, number, body)

    def token(self, uses: int = 1, named: bytes | None = None) -> Token:
        now = int(self.clock.now().wall)
        terms = Terms(TokenType.NETWORK, now, now + 3_600, uses)
        invitee = Bearer(SECRET) if named is None else Named(named)  # type: ignore[arg-type] # a node id
        token = issue(self.issuer.signer, NET, terms, INVITE_ID, invitee)
        self.ledger.add(row_of(token, now))
        return token


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def office(clock: Time) -> AsyncIterator[Office]:
    office = Office(clock)
    await office.node.listen()
    yield office
    await office.node.sessions.close()
    await office.peer.sessions.close()


async def test_a_registrar_admits_once_for_each_use_and_again_for_the_same(office: Office) -> None:
    token, joiner, other = office.token(), Identity.generate(), Identity.generate()
    redemption = Redemption(token, SECRET, KEM)

    first = await office.registrar.redeem(redemption, joiner.public_key)
    again = await office.registrar.redeem(redemption, joiner.public_key)
    late = await office.registrar.redeem(redemption, other.public_key)
    wrong = await office.registrar.redeem(replace(redemption, secret=bytes(16)), joiner.public_key)

    assert [first.outcome, again.outcome, late.outcome, wrong.outcome] == [
        Outcome.ADMITTED,
        Outcome.ADMITTED,
        Outcome.USED_UP,
        Outcome.WRONG_SECRET,
    ]
    membership = decode_token(first.membership)
    assert membership.subject == joiner.node_id
    assert membership.not_after - membership.not_before == MEMBERSHIP_LIFE_S
    assert membership.id == decode_token(again.membership).id
    assert {s.row.token_id for s in office.ledger.standings()} == {token.id, membership.id}
    assert late.membership == wrong.membership == b""


async def test_a_revoked_membership_is_not_given_again(office: Office) -> None:
    joiner = Identity.generate()
    redemption = Redemption(office.token(), SECRET, KEM)
    given = await office.registrar.redeem(redemption, joiner.public_key)
    office.ledger.revoke(decode_token(given.membership).id, office.clock.now().wall)

    answer = await office.registrar.redeem(redemption, joiner.public_key)

    assert answer == RedeemAnswer(Outcome.REVOKED)


async def test_another_key_s_invites_are_not_redeemed_here(office: Office) -> None:
    token = issue(ISSUER, NET, Terms(TokenType.NETWORK, START, END), INVITE_ID, Bearer(SECRET))

    with pytest.raises(NotTheIssuer):
        await office.registrar.redeem(Redemption(token, SECRET, KEM), KEM)


async def asked(office: Office, redemption: bytes) -> Answer:
    peer = office.peer
    answer = await peer.answer_to(peer.ask(office.node.contact, Method.REDEEM, Redeem(redemption)))
    assert isinstance(answer, Answer)
    return answer


async def test_the_desk_answers_what_the_registrar_says(office: Office) -> None:
    token = office.token(uses=3)
    office.peer.sessions._world.papers.invite = encode_token(token)
    raw = encode_redemption(Redemption(token, SECRET, KEM))

    admitted = await asked(office, raw)
    garbage = await asked(office, bytes(len(raw)))
    foreign = issue(ISSUER, NET, Terms(TokenType.NETWORK, START, END), INVITE_ID, Bearer(SECRET))
    not_ours = await asked(office, encode_redemption(Redemption(foreign, SECRET, KEM)))

    assert isinstance(admitted.body, RedeemAnswer)
    assert admitted.body.outcome == Outcome.ADMITTED
    assert [garbage.status, not_ours.status] == [Status.BAD_REQUEST, Status.NOT_FOUND]
    assert office.telemetry.labels("rpc_served") == {
        "redeem/ok": 1,
        "redeem/bad_request": 1,
        "redeem/not_found": 1,
    }


@pytest.mark.parametrize("error", [StoreError("the disk is full"), WrongPassphrase("the home does not open")])
async def test_a_home_that_cannot_be_used_is_busy(office: Office, error: YzError) -> None:
    class Broken:
        async def redeem(self, redemption: Redemption, joiner: PublicKey) -> RedeemAnswer:
            raise error

    office.desk._registrars.insert(0, Broken())
    token = office.token()
    office.peer.sessions._world.papers.invite = encode_token(token)

    answer = await asked(office, encode_redemption(Redemption(token, SECRET, KEM)))

    assert answer.status is Status.BUSY


async def test_redeeming_has_a_price(office: Office) -> None:
    token = office.token(uses=3)
    office.peer.sessions._world.papers.invite = encode_token(token)
    raw = encode_redemption(Redemption(token, bytes(16), KEM))

    answers = [await asked(office, raw) for _ in range(int(REDEEMS_BURST_PER_PEER) + 1)]

    assert [answer.status for answer in answers] == [Status.OK] * int(REDEEMS_BURST_PER_PEER) + [
        Status.RATE_LIMITED
    ]
    assert isinstance(answers[-1].body, Refusal)
    assert answers[-1].body.number > 0
    assert office.telemetry.get("rate_limited", "redemptions") == 1
    await office.clock.advance(4)
    assert (await asked(office, raw)).status is Status.OK


# The joiner


def joiner_of(office: Office, link: InviteLink, identity: Identity | None = None) -> Joiner:
    identity = identity or Identity.generate()
    applicant = Applicant(Credentials(identity.signer, NET, GUEST_CAPS), identity.kem[0].key.public_key, link)
    way = Way([Bootstrap(office.node.url, None)], [WebSocketTransport()], office.clock, SystemRng())
    return Joiner(applicant, way, lambda _event: None)


async def test_a_joiner_is_a_member_by_one_try(office: Office) -> None:
    identity = Identity.generate()

    membership = await joiner_of(office, InviteLink(office.token(), SECRET), identity).try_once()

    assert membership is not None
    assert membership.subject == identity.node_id
    await until(lambda: len(office.node.sessions) == 0)


async def test_a_link_that_cannot_be_good_is_refused_before_anybody_is_asked(office: Office) -> None:
    with pytest.raises(WrongInviteSecret):
        await joiner_of(office, InviteLink(office.token(), bytes(16))).try_once()
    assert office.node.requests == []


async def test_a_refusal_is_raised_as_the_issuer_s(office: Office) -> None:
    token = office.token()
    await office.registrar.redeem(Redemption(token, SECRET, KEM), Identity.generate().public_key)

    with pytest.raises(InviteUsedUp):
        await joiner_of(office, InviteLink(token, SECRET)).try_once()


def answering(body: RedeemAnswer) -> Callable[[Connection, int, Method, Body], None]:
    return lambda connection, number, _method, _body: connection.reply(number, Status.OK, body)


async def test_an_issuer_s_nonsense_is_no_membership(office: Office) -> None:
    token, identity = office.token(), Identity.generate()
    now = int(office.clock.now().wall)
    somebody = issue_membership(
        office.issuer.signer, NET, TokenId(bytes(16)), Identity.generate().node_id, (now, now + 60)
    )
    joiner = joiner_of(office, InviteLink(token, SECRET), identity)

    office.node.on_asked = answering(RedeemAnswer(0, bytes(176)))
    assert await joiner.try_once() is None
    assert joiner.trouble
    office.node.on_asked = answering(RedeemAnswer(0, encode_token(token)))
    assert await joiner.try_once() is None
    office.node.on_asked = answering(RedeemAnswer(0, encode_token(somebody)))
    with pytest.raises(Exception, match="another identity"):
        await joiner.try_once()


async def test_a_secret_is_not_handed_to_who_is_not_the_issuer(office: Office, clock: Time) -> None:
    identity = Identity.generate()
    now = int(clock.now().wall)
    token = office.token()
    membership = issue_membership(
        office.issuer.signer, NET, TokenId(bytes(16)), identity.node_id, (now, now + 60)
    )
    member = Party(clock, identity=identity, closed=office.closed)
    member.sessions._world.papers.membership = encode_token(membership)
    await member.listen()
    office.node.url = member.url

    joiner = joiner_of(office, InviteLink(token, SECRET))
    assert await joiner.try_once() is None

    assert "is not the issuer" in joiner.trouble
    assert member.requests == []
    await member.sessions.close()


@pytest.mark.parametrize(
    "lie",
    [RedeemAnswer(Outcome.REVOKED), RedeemAnswer(Outcome.BAD_KEY), RedeemAnswer(200), RedeemAnswer(0, b"")],
)
async def test_whoever_is_not_the_issuer_refuses_nothing(
    office: Office, clock: Time, lie: RedeemAnswer
) -> None:
    identity, joining = Identity.generate(), Identity.generate()
    now = int(clock.now().wall)
    token = office.token(named=joining.node_id)
    membership = issue_membership(
        office.issuer.signer, NET, TokenId(bytes(16)), identity.node_id, (now, now + 60)
    )
    member = Party(clock, identity=identity, closed=office.closed)
    member.sessions._world.papers.membership = encode_token(membership)
    await member.listen()
    asked = []

    def lies(connection: Connection, number: int, _method: Method, _body: Body) -> None:
        asked.append(number)
        answer = lie if lie.outcome else RedeemAnswer(0, encode_token(membership))  # its own
        connection.reply(number, Status.OK, answer)

    member.on_asked = lies
    joiner = joiner_of(office, InviteLink(token, None), joining)
    joiner._way.bootstraps.insert(0, Bootstrap(member.url, None))  # type: ignore[attr-defined] # it is a list

    given = await joiner.try_once()

    assert asked
    assert given is not None
    assert given.subject == joining.node_id
    await member.sessions.close()


async def test_an_issuer_that_refuses_a_key_refuses(office: Office) -> None:
    token = office.token()
    office.node.on_asked = answering(RedeemAnswer(Outcome.BAD_KEY))

    with pytest.raises(NotAdmitted):
        await joiner_of(office, InviteLink(token, SECRET)).try_once()


async def test_nobody_there_is_no_refusal(office: Office) -> None:
    await office.node.sessions.close()
    joiner = joiner_of(office, InviteLink(office.token(), SECRET))

    assert await joiner.try_once() is None
    assert joiner.trouble
    trying = asyncio.create_task(joiner.keep_trying())
    await asyncio.sleep(0)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
