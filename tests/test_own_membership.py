"""What a node is to a closed network, from what it was told and from what is in its folder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.crypto.invites import END, INVITE_ID, ISSUER, START
from tests.vectors.golden import KEM_1
from yzdht import Identity
from yzdht.config import NodeConfig
from yzdht.crypto.invite import Bearer, Terms, issue, issue_membership
from yzdht.crypto.naming import network_id
from yzdht.crypto.signing import KeySigner
from yzdht.ids import TokenId
from yzdht.limits import CLOCK_SKEW_S
from yzdht.own_membership import OwnMembership
from yzdht.store import memberships
from yzdht.wire.invite_link import InviteLink
from yzdht.wire.token import TokenType, encode_token


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.ids import PublicKey
    from yzdht.ports import Signer
    from yzdht.wire.token import Token


NET = network_id("main")
OWN = Identity.generate()
KEY = ISSUER.public_key
OTHER: Signer = KeySigner(KEM_1, deterministic=True)


def config(issuer: PublicKey | None = None, link: InviteLink | None = None) -> NodeConfig:
    return NodeConfig(invite_only=issuer, join=link, bootstrap=("ws://127.0.0.1:1",))


def membership(signer: Signer = ISSUER, end: int = END) -> Token:
    return issue_membership(signer, NET, INVITE_ID, OWN.node_id, (START, end))


def test_an_open_network_asks_for_nothing(tmp_path: Path) -> None:
    own = OwnMembership(OWN, config(), tmp_path)

    assert own.closed is None
    assert own.lack(START) is None
    assert own.papers.membership is None
    assert not own.is_issuer


def test_whose_network_it_is_comes_from_the_flag_or_the_link_or_the_folder(tmp_path: Path) -> None:
    token = issue(OTHER, NET, Terms(TokenType.NETWORK, START, END), INVITE_ID, Bearer(bytes(16)))
    link = InviteLink(token, bytes(16))
    memberships.keep(tmp_path, NET, membership())

    issuers = [
        own.closed.issuer
        for of in (config(OTHER.public_key), config(link=link), config())
        if (own := OwnMembership(OWN, of, tmp_path)).closed is not None
    ]

    assert issuers == [OTHER.public_key, OTHER.public_key, KEY]


def test_the_issuer_needs_no_membership() -> None:
    own = OwnMembership(OWN, config(OWN.public_key), None)

    assert own.is_issuer
    assert own.lack(START) is None


def test_one_that_has_none_or_another_s_says_what_to_do(tmp_path: Path) -> None:
    memberships.keep(tmp_path, NET, membership(OTHER))
    own = OwnMembership(OWN, config(KEY), tmp_path)

    assert own.papers.membership is None
    lack = own.lack(START)
    assert lack is not None
    assert "--join" in lack.hint
    assert own.news(START) == lack
    assert own.news(START) is None, "it is told once"


def test_a_membership_is_kept_and_shown_and_ends(tmp_path: Path) -> None:
    own = OwnMembership(OWN, config(KEY), tmp_path)
    own.accept(membership())
    assert own.papers.membership == encode_token(membership())
    assert own.lack(START) is None
    assert own.news(START) is None

    again = OwnMembership(OWN, config(KEY), tmp_path)
    assert again.papers == own.papers
    assert again.news(END + CLOCK_SKEW_S + 1) is not None
    assert again.news(START) is None
    assert again.news(END + CLOCK_SKEW_S + 1) is not None, "the clock was set"


@pytest.mark.parametrize("revoked", [True, False])
def test_a_revoked_membership_is_a_lack(tmp_path: Path, *, revoked: bool) -> None:
    own = OwnMembership(OWN, config(KEY), tmp_path)
    own.accept(membership())
    assert own.closed is not None
    own.closed.revoked = frozenset({membership().id if revoked else TokenId(bytes(16))})

    assert (own.lack(START) is not None) is revoked


def test_a_membership_of_another_identity_is_a_lack(tmp_path: Path) -> None:
    memberships.keep(tmp_path, NET, replace(membership(), subject=bytes(32)))

    assert OwnMembership(OWN, config(KEY), tmp_path).lack(START) is not None
