"""Closed networks of real nodes over loopback: joining by link, strangers, revocation, restarts."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from tests.closed import HOST, NET, Club, url_of
from tests.sessions.kit import Party, Time, turns, until
from yzdht import Client, ConfigError, Identity, Node, NoNode, WriteQuorumFailed
from yzdht.crypto.invite import Named, Terms, accept_link, issue
from yzdht.errors import InviteUsedUp, StoreError, WrongInviteSecret
from yzdht.ids import Target, TokenId
from yzdht.limits import (
    CLOCK_SKEW_S,
    REDEEM_PAUSE_S_MAX,
    REDEEM_PAUSE_S_MIN,
    REVOCATIONS_READ_EVERY_S,
    REVOCATIONS_RETRY_S,
)
from yzdht.redeeming import Joiner
from yzdht.rpc.engine import Failed, FailReason
from yzdht.store import memberships
from yzdht.store.folder import DataFolder
from yzdht.wire.invite_link import decode_invite_link, encode_invite_link
from yzdht.wire.rpc import Empty, Method
from yzdht.wire.token import TokenType, decode_token, encode_redemption


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from yzdht.slots import Seen, Slot
    from yzdht.wire.token import Token


pytestmark = pytest.mark.net


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def club(clock: Time, tmp_path: Path) -> AsyncIterator[Club]:
    """A closed network: its issuer's node runs."""
    async with AsyncExitStack() as stack:
        club = Club(clock, tmp_path, stack)
        await club.found()
        yield club


@pytest.fixture
async def stranger(clock: Time) -> AsyncIterator[Party]:
    """A node of an open network of the same name."""
    party = Party(clock)
    await party.listen()
    yield party
    await party.sessions.close()


def known_to(node: Node) -> set[bytes]:
    """Whom it has in its table."""
    return {entry.node_id for entry in node.engine.table.closest(Target(node.node_id), 99)}


async def test_five_nodes_join_by_one_link_and_serve_each_other(club: Club, stranger: Party) -> None:
    link = club.invite(uses=4)
    nodes = [club.issuer, *[await club.join(f"member {number}", link) for number in range(4)]]
    everybody = {node.node_id for node in nodes}

    await until(lambda: all(known_to(node) == everybody - {node.node_id} for node in nodes))
    target = Target(nodes[3].node_id)
    read = await nodes[2]._pump.get(target)
    assert [record.publisher for record in read.records] == [nodes[3].identity.public_key]

    for node in nodes:
        outcome = await stranger.answer_to(stranger.ask(club.contact(node), Method.WHOAMI))
        assert outcome == Failed(FailReason.UNINVITED)
    assert all(known_to(node) == everybody - {node.node_id} for node in nodes)


async def test_a_member_is_one_after_a_restart_too_without_its_link(club: Club) -> None:
    first = await club.join("member", club.invite())
    token = memberships.read(club.folder / "member", NET)
    assert token is not None
    assert token.subject == first.node_id
    await first.stop()

    again = await club.start("member", invite_only=None)

    assert again.node_id == first.node_id
    assert again.bootstrap_joined == 1
    await until(lambda: known_to(again) == {club.issuer.node_id})
    stranger = Party(club.clock)
    outcome = await stranger.answer_to(stranger.ask(club.contact(again)))
    assert outcome == Failed(FailReason.UNINVITED), "it stays closed, whatever it is started with"
    await stranger.sessions.close()


async def test_a_node_without_a_membership_is_alone_and_says_what_to_do(club: Club) -> None:
    alone = await club.start("alone")

    await until(lambda: not len(alone.sessions) and not known_to(alone))
    assert known_to(club.issuer) == set()
    [error] = alone.telemetry.errors()
    assert "no member" in error.what
    assert "--join" in error.hint


@pytest.mark.parametrize("with_secret", [True, False])
async def test_an_invite_that_its_issuer_refuses_is_an_error_at_the_start(
    club: Club, *, with_secret: bool
) -> None:
    link = club.invite()
    if not with_secret:
        other = encode_invite_link(decode_invite_link(club.invite()).token, decode_invite_link(link).secret)
        with pytest.raises(WrongInviteSecret):
            await club.join("late", other)
        return
    await club.join("first", link)
    with pytest.raises(InviteUsedUp):
        await club.join("late", link)
    assert memberships.read(club.folder / "late", NET) is None


async def test_a_node_waits_for_its_issuer_with_growing_pauses(club: Club, clock: Time) -> None:
    link = club.invite()
    port = club.issuer.port
    await club.issuer.stop()
    told: list[dict[str, object]] = []
    url = f"ws://{HOST}:{port}"

    waiting = await club.start("waiting", join=link, invite_only=None, bootstrap=[url], on_event=told.append)
    for _ in range(3):
        await clock.advance(REDEEM_PAUSE_S_MAX)
        await turns(20)
    [error] = waiting.telemetry.errors()
    assert error.what.startswith("the invite is not redeemed yet")

    club.issuer = await club._stack.enter_async_context(
        Node(
            port,
            host=HOST,
            allow_private=True,
            clock=clock,
            data=club.folder / "issuer",
            invite_only=club.key,
        )
    )

    async def is_member() -> bool:
        await clock.advance(REDEEM_PAUSE_S_MAX)
        return any(event["event"] == "invite" and event["redeemed"] for event in told)

    while not await is_member():
        await turns(20)
    await until(lambda: known_to(waiting) == {club.issuer.node_id})
    pauses = [
        cast("float", event["retryInS"])
        for event in told
        if "retryInS" in event and event["event"] == "invite"
    ]
    assert pauses == sorted(pauses)
    assert pauses[0] == REDEEM_PAUSE_S_MIN


async def test_a_revoked_member_is_out_everywhere_and_stays_out_after_a_restart(
    club: Club,
) -> None:
    honest, bad = await club.member("honest"), await club.member("bad")
    await until(lambda: known_to(honest) == {club.issuer.node_id, bad.node_id})

    await club.revoke(club.membership_of("bad"))
    for node in (honest, club.issuer):
        assert node._belonging._revocations is not None
        await node._belonging._revocations.refresh()
        node.sessions.look_again()
    await until(lambda: not known_to(bad))
    await until(lambda: known_to(honest) == {club.issuer.node_id})

    await honest.stop()
    restarted = await club.start("honest", bootstrap=[])
    assert restarted._belonging.membership.closed is not None
    assert restarted._belonging.membership.closed.revoked == {club.membership_of("bad")}
    stranger = await bad.ask(club.contact(restarted), Method.PING, Empty(), 5.0)
    assert isinstance(stranger, Failed)


async def test_revocations_are_read_hourly(club: Club, clock: Time) -> None:
    member = await club.member("member")
    closed = member._belonging.membership.closed
    assert closed is not None
    await until(lambda: member.is_joined)
    await club.revoke(TokenId(bytes(16)))

    for _ in range(40):
        await clock.advance(REVOCATIONS_READ_EVERY_S / 20)
        await turns(30)
        if closed.revoked:
            break
    await until(lambda: closed.revoked == {bytes(16)})


async def test_what_is_revoked_in_the_ledger_of_the_issuer_s_node_is_published_by_it(
    club: Club, clock: Time
) -> None:
    member = await club.join("member", club.invite())
    await until(lambda: member.is_joined and club.issuer.is_joined)
    token_id = club.membership_of("member")
    ledger = club.issuer._belonging._ledger
    assert ledger is not None
    ledger.revoke(token_id, clock.now().wall)  # as `yz invite revoke --data` does

    await clock.advance(2 * REVOCATIONS_RETRY_S, steps=8)
    await until(lambda: not known_to(club.issuer))


async def test_a_membership_that_cannot_be_kept_counts_in_this_run_and_is_no_bug(
    club: Club, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_of_it: object) -> None:
        raise StoreError("the disk is full")

    link = club.invite()
    told: list[dict[str, object]] = []
    real = Joiner.try_once
    tries: list[Joiner] = []

    async def second(joiner: Joiner) -> Token | None:
        tries.append(joiner)
        return await real(joiner) if len(tries) > 1 else None

    monkeypatch.setattr(Joiner, "try_once", second)
    monkeypatch.setattr(memberships, "keep", refuse)
    waiting = await club.start("waiting", join=link, invite_only=None, on_event=told.append)
    await clock.advance(2 * REDEEM_PAUSE_S_MIN)

    await until(lambda: known_to(waiting) == {club.issuer.node_id})
    assert any("membership cannot be kept" in error.what for error in waiting.telemetry.errors())
    assert waiting.counters.get("task_failures") == 0


async def test_revocations_that_could_not_be_read_are_read_soon(
    club: Club, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await club.member("member")
    revocations = member._belonging._revocations
    assert revocations is not None
    await until(lambda: revocations.is_fresh)
    read, tries = revocations._reader.read, []

    async def fail(slot: Slot) -> Seen | None:
        tries.append(slot)
        if len(tries) < 3:
            raise NoNode("nobody answers")
        return await read(slot)

    monkeypatch.setattr(revocations._reader, "read", fail)
    await clock.advance(REVOCATIONS_READ_EVERY_S + 1)
    await until(lambda: len(tries) == 1)
    for count, pause_s in ((2, REVOCATIONS_RETRY_S), (3, 2 * REVOCATIONS_RETRY_S)):
        assert not revocations.is_fresh
        await clock.advance(pause_s - 2)
        await turns(30)
        assert len(tries) == count - 1
        await clock.advance(3)
        await until(lambda count=count: len(tries) == count)  # type: ignore[misc] # it is called in this turn
    await until(lambda: revocations.is_fresh)


async def test_a_membership_that_ends_is_not_renewed_and_the_node_says_so(club: Club, clock: Time) -> None:
    member = await club.member("member", life_s=3_600)
    await until(lambda: known_to(member) == {club.issuer.node_id})
    assert member.telemetry.errors() == []

    await clock.advance(3_600 + CLOCK_SKEW_S + 30, steps=300)
    await until(lambda: not known_to(club.issuer))
    member._belonging.look()

    assert any("does not count any more" in error.what for error in member.telemetry.errors())


async def test_a_bearer_s_secret_is_shown_to_its_issuer_alone(club: Club) -> None:
    member = await club.member("member")
    link = club.invite()

    waiting = await club.start("waiting", join=link, invite_only=None, bootstrap=[url_of(member)])

    assert not any(name.startswith("redeem") for name in member.counters.labels("rpc_served"))
    [error] = waiting.telemetry.errors()
    assert "is not the issuer" in error.what


async def test_an_invite_that_names_its_node_is_asked_of_anybody_and_answered_by_its_issuer(
    club: Club, tmp_path: Path
) -> None:
    member = await club.member("member")
    with DataFolder.open(tmp_path / "named") as folder:
        identity = Identity.load_or_create(folder.key_path)
    link = club.invite(invitee=Named(identity.node_id))

    node = await club.start(
        "named", join=link, invite_only=None, bootstrap=[url_of(member), url_of(club.issuer)]
    )

    assert node._belonging.membership.lack(club.clock.now().wall) is None
    assert member.counters.get("rpc_served", "redeem/not_found") == 1


def test_what_cannot_work_together_is_refused(tmp_path: Path) -> None:
    issuer, other = Identity.generate(), Identity.generate()
    terms = Terms(TokenType.NETWORK, 0, 2**32 - 1)
    token = issue(issuer.signer, NET, terms, TokenId(bytes(16)), Named(other.node_id))
    link = encode_invite_link(token, None)
    group = issue(
        issuer.signer, NET, replace(terms, type=TokenType.GROUP), TokenId(bytes(16)), Named(other.node_id)
    )
    url = "ws://127.0.0.1:1"

    with pytest.raises(ConfigError, match="two keys"):
        Node(0, data=tmp_path, join=link, invite_only=other.public_key, bootstrap=[url])
    with pytest.raises(ConfigError, match="at a node of its network"):
        Node(0, data=tmp_path, join=link)
    with pytest.raises(ConfigError, match="to a group"):
        Node(0, data=tmp_path, join=encode_invite_link(group, None), bootstrap=[url])
    with pytest.raises(ConfigError):
        Node(0, data=tmp_path, join="no link", bootstrap=[url])
    with pytest.raises(ConfigError):
        Node(0, data=tmp_path, invite_only="A" * 44)
    assert Node(0, data=tmp_path, join=link, bootstrap=[url]).config.join is not None


# Clients


async def test_a_person_joins_as_a_guest_and_is_a_member_with_the_home(club: Club, tmp_path: Path) -> None:
    home, link = tmp_path / "home", club.invite()
    with pytest.raises(NoNode) as caught:
        async with Client.connect(url_of(club.issuer), home=home) as dht:
            await dht.store("name", b"value")
    assert "yz join" in caught.value.hint

    async with Client.connect(url_of(club.issuer), home=home, invite=link) as guest:
        with pytest.raises((NoNode, WriteQuorumFailed)):
            await guest.store("name", b"value")
        assert club.issuer.sessions.clients == 1
        identity = guest.identity
        redemption = accept_link(
            decode_invite_link(link),
            NET,
            identity.public_key,
            identity.kem[0].key.public_key,
            club.clock.now().wall,
        )
        assert guest._nodes is not None
        answer = await guest._nodes.redeem(club.key, encode_redemption(redemption), [])
    assert answer is not None
    assert answer.outcome == 0
    memberships.keep(home, NET, decode_token(answer.membership))

    async with Client.connect(url_of(club.issuer), home=home) as dht:
        await dht.store("name", b"value")
        assert (await dht.get("name")).data == b"value"


async def test_a_member_s_client_talks_to_no_open_node(club: Club, tmp_path: Path) -> None:
    member = await club.member("member")
    home = tmp_path / "home"
    memberships.keep(home, NET, club.membership_for(Identity.load_or_create(home / "identity.key")))
    async with Node(0, host=HOST, allow_private=True, clock=club.clock) as open_node:
        with pytest.raises(NoNode) as caught:
            async with Client.connect(url_of(open_node), home=home):
                pass
    assert "closed network" in caught.value.hint
    async with Client.connect(url_of(member), home=home) as dht:
        assert [pinged.error for pinged in await dht.ping()] == [""]


async def test_a_membership_of_another_identity_is_not_shown(club: Club, tmp_path: Path) -> None:
    home = tmp_path / "home"
    memberships.keep(home, NET, club.membership_for(Identity.generate()))
    async with Node(0, host=HOST, allow_private=True, clock=club.clock) as open_node:
        dht = Client.connect(url_of(open_node), home=home)
        async with dht:
            assert [pinged.error for pinged in await dht.ping()] == [""]
