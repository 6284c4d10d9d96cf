"""The person of a node: whose calls a node's are, and whose invites it redeems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import CLIENT, Party, Time
from yzdht import Identity, Node, UsageError
from yzdht.crypto.invite import accept_link
from yzdht.crypto.invite_outcome import Outcome
from yzdht.crypto.naming import network_id
from yzdht.invites import Offer
from yzdht.rpc.engine import Answer
from yzdht.wire.address import Contact
from yzdht.wire.invite_link import decode_invite_link
from yzdht.wire.rpc import Method, Redeem, RedeemAnswer, Status
from yzdht.wire.token import decode_token, encode_redemption


if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.net

HOST = "127.0.0.1"
NET = network_id("main")


@pytest.fixture
async def clock() -> Time:
    return Time()


async def redeemed(clock: Time, node: Node, link: str) -> Answer:
    joiner = Party(clock, caps=CLIENT)
    own = joiner.identity
    kem = own.kem[0].key.public_key
    redemption = accept_link(decode_invite_link(link), NET, own.public_key, kem, clock.now().wall)
    url = f"ws://{HOST}:{node.port}"
    contact = Contact(node.node_id, node.identity.public_key, (url,), CLIENT)
    answer = await joiner.answer_to(joiner.ask(contact, Method.REDEEM, Redeem(encode_redemption(redemption))))
    await joiner.sessions.close()
    assert isinstance(answer, Answer)
    return answer


async def test_a_node_redeems_the_invites_of_its_person(clock: Time, tmp_path: Path) -> None:
    person = Identity.generate()
    async with Node(0, host=HOST, clock=clock, identity=person, home=tmp_path / "home") as node:
        link = (await node.invites.invite_network(Offer())).link
        first, again = await redeemed(clock, node, link), await redeemed(clock, node, link)

    assert isinstance(first.body, RedeemAnswer)
    assert first.body.outcome == Outcome.ADMITTED
    assert decode_token(first.body.membership).issuer == person.public_key
    assert isinstance(again.body, RedeemAnswer)
    assert again.body.outcome == Outcome.USED_UP, "by another"


async def test_a_node_without_a_person_redeems_nothing_and_has_no_invites(
    clock: Time, tmp_path: Path
) -> None:
    async with Node(0, host=HOST, clock=clock, identity=Identity.generate()) as issuer:
        link = (await issuer.invites.invite_network(Offer())).link
        async with Node(0, host=HOST, clock=clock, data=tmp_path / "data") as node:
            assert (await redeemed(clock, node, link)).status is Status.NOT_FOUND
            with pytest.raises(UsageError, match="no person"):
                _ = node.invites


async def test_a_home_is_opened_at_its_first_use_and_closed_with_the_node(
    clock: Time, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    async with Node(0, host=HOST, clock=clock, home=home) as node:
        assert not home.exists()
        assert node.records is node.records
        assert node.invites is node.invites
        assert (home / "marks.sqlite").exists()
    with pytest.raises(UsageError):
        _ = node.records
