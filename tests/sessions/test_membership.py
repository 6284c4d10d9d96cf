"""Who is of a closed network: what is shown against what it comes to, as a table; and what a guest is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.crypto.invites import END, INVITE_ID, ISSUER, JOINER, JOINER_ID, OTHER_ID, SECRET, START
from tests.sessions.proved import connection
from tests.vectors.golden import KEM_1, KEM_2, KEY_B, NETWORK
from yzdht.crypto.invite import Bearer, Named, Terms, issue, issue_membership
from yzdht.crypto.naming import (
    admit_tag,
    multi_target,
    mutable_target,
    network_id,
    node_id_of,
    redeem_tag,
    revoked_tag,
)
from yzdht.crypto.sealing import Author, Public, seal_record
from yzdht.crypto.signing import KeySigner
from yzdht.ids import Tag, Target, TokenId
from yzdht.limits import (
    CLOCK_SKEW_S,
    GUEST_RECORD_BYTES_MAX,
    GUEST_S_MAX,
    GUEST_SPARE_AFTER_S,
    GUESTS_MAX,
    GUESTS_PER_INVITE_MAX,
)
from yzdht.sessions.admission import Refusal
from yzdht.sessions.membership import STRANGER, ClosedNetwork, Guests, Pass, Rights, Standing
from yzdht.wire.record import RecordDraft
from yzdht.wire.rpc import Empty, FindNode, FindValue, Get, Method, Put, Redeem, Store
from yzdht.wire.slot import Kind
from yzdht.wire.token import REDEMPTION_BYTES, Token, TokenType, encode_token


if TYPE_CHECKING:
    from yzdht.crypto.primitives import PrivateKey
    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body


NOW = START + 7_200.0
MEMBER, GUEST = Standing.MEMBER, Standing.GUEST
NOBODY = Standing.STRANGER
ANOTHER_ISSUER = KeySigner(KEM_1, deterministic=True)
TERMS = Terms(TokenType.NETWORK, START, END, 5)


def membership(end: int = END, begin: int = START) -> Token:
    return issue_membership(ISSUER, NETWORK, INVITE_ID, JOINER_ID, (begin, end))


def bearer(terms: Terms = TERMS) -> Token:
    return issue(ISSUER, NETWORK, terms, INVITE_ID, Bearer(SECRET))


def named() -> Token:
    return issue(ISSUER, NETWORK, replace(TERMS, uses_max=1), INVITE_ID, Named(JOINER_ID))


def forged(token: bytes) -> bytes:
    return token[:-1] + bytes((token[-1] ^ 1,))


def closed() -> ClosedNetwork:
    return ClosedNetwork(NETWORK, ISSUER.public_key)


SHOWN = {
    "nothing": (None, NOBODY),
    "no bytes": (b"", NOBODY),
    "too few bytes": (encode_token(membership())[:-1], NOBODY),
    "a membership": (encode_token(membership()), MEMBER),
    "a membership of another issuer": (
        encode_token(issue_membership(ANOTHER_ISSUER, NETWORK, INVITE_ID, JOINER_ID, (START, END))),
        NOBODY,
    ),
    "somebody else's membership": (
        encode_token(issue_membership(ISSUER, NETWORK, INVITE_ID, OTHER_ID, (START, END))),
        NOBODY,
    ),
    "a membership of another network": (
        encode_token(issue_membership(ISSUER, network_id("other"), INVITE_ID, JOINER_ID, (START, END))),
        NOBODY,
    ),
    "a membership whose signature was changed": (forged(encode_token(membership())), NOBODY),
    "a membership that has ended": (encode_token(membership(int(NOW) - CLOCK_SKEW_S - 1)), NOBODY),
    "a membership that ended a moment ago": (encode_token(membership(int(NOW) - 1)), MEMBER),
    "a membership that has not begun": (
        encode_token(membership(END, int(NOW) + CLOCK_SKEW_S + 2)),
        NOBODY,
    ),
    "an invite": (encode_token(bearer()), GUEST),
    "an invite for the peer": (encode_token(named()), GUEST),
    "an invite for somebody else": (
        encode_token(issue(ISSUER, NETWORK, replace(TERMS, uses_max=1), INVITE_ID, Named(OTHER_ID))),
        NOBODY,
    ),
    "an invite of another issuer": (
        encode_token(issue(ANOTHER_ISSUER, NETWORK, TERMS, INVITE_ID, Bearer(SECRET))),
        NOBODY,
    ),
    "an invite to a group of the issuer": (
        encode_token(issue(ISSUER, NETWORK, replace(TERMS, type=TokenType.GROUP), INVITE_ID, Bearer(SECRET))),
        NOBODY,
    ),
    "an invite that has expired": (
        encode_token(bearer(replace(TERMS, not_after=int(NOW) - CLOCK_SKEW_S - 1))),
        NOBODY,
    ),
    "an invite that has not begun": (
        encode_token(bearer(replace(TERMS, not_before=int(NOW) + CLOCK_SKEW_S + 2))),
        NOBODY,
    ),
    "an invite that was changed": (
        encode_token(replace(bearer(), not_after=END + 1)),
        NOBODY,
    ),
    "a bearer token without a use": (encode_token(replace(bearer(), uses_max=0)), NOBODY),
}


@pytest.mark.parametrize(("shown", "standing"), SHOWN.values(), ids=SHOWN)
def test_what_is_shown_makes_the_standing(shown: bytes | None, standing: Standing) -> None:
    assert closed().judge(JOINER, shown, NOW).standing is standing


def test_the_issuer_is_a_member_whatever_it_shows() -> None:
    for shown in (None, b"", encode_token(bearer())):
        assert closed().judge(ISSUER.public_key, shown, NOW) == Pass(MEMBER)


def test_what_is_revoked_counts_no_more() -> None:
    network = closed()
    network.revoked = frozenset({membership().id})
    assert network.judge(JOINER, encode_token(membership()), NOW) == STRANGER
    assert network.judge(JOINER, encode_token(bearer()), NOW).standing is GUEST, "another may redeem it"

    network.revoked = frozenset({INVITE_ID})
    assert network.judge(JOINER, encode_token(bearer()), NOW) == STRANGER


def test_a_pass_ends_with_what_was_shown_and_a_guest_s_in_minutes() -> None:
    assert closed().judge(JOINER, encode_token(membership()), NOW).ends_at == END + CLOCK_SKEW_S
    assert closed().judge(JOINER, encode_token(bearer()), NOW).ends_at == NOW + GUEST_S_MAX
    soon = bearer(replace(TERMS, not_after=int(NOW)))
    assert (
        closed().judge(JOINER, encode_token(soon), NOW + CLOCK_SKEW_S - 9).ends_at == int(NOW) + CLOCK_SKEW_S
    )


@given(st.binary(max_size=176))
def test_arbitrary_bytes_are_nobody_s(shown: bytes) -> None:
    genuine = encode_token(membership())
    assert closed().judge(JOINER, shown, NOW) == STRANGER
    assert closed().judge(JOINER, shown + genuine[len(shown) :], NOW).standing is (
        MEMBER if genuine.startswith(shown) else NOBODY
    )


# Guests


def rights() -> Rights:
    found = closed().judge(JOINER, encode_token(bearer()), NOW).rights
    assert found is not None
    return found


ENTRY_TAG = redeem_tag(NETWORK, INVITE_ID)
ENTRY = multi_target(NETWORK, ENTRY_TAG)


def entry(
    key: PrivateKey = KEY_B, tag: Tag = ENTRY_TAG, kind: Kind = Kind.MULTI, payload: bytes = b"redemption"
) -> bytes:
    signer = KeySigner(key, deterministic=True)
    draft = RecordDraft(kind, START, END, 1, tag)
    return seal_record(draft, payload, Public(), Author(signer, bytes(32), NETWORK), bytes(32))


def slot_of(tag: Tag) -> Target:
    return mutable_target(NETWORK, ISSUER.public_key, tag)


ANSWER = slot_of(admit_tag(NETWORK, INVITE_ID, JOINER_ID))
ASKED = {
    "ping": (Method.PING, Empty(), True),
    "whoami": (Method.WHOAMI, Empty(), True),
    "redeem": (Method.REDEEM, Redeem(bytes(REDEMPTION_BYTES)), True),
    "the issuer's identity record": (Method.GET, Get(Target(node_id_of(ISSUER.public_key))), True),
    "the revocations": (Method.GET, Get(slot_of(revoked_tag(NETWORK))), True),
    "the answer to it": (Method.GET, Get(ANSWER), True),
    "the answer to another guest": (Method.GET, Get(slot_of(admit_tag(NETWORK, INVITE_ID, OTHER_ID))), False),
    "the answer to another invite": (
        Method.GET,
        Get(slot_of(admit_tag(NETWORK, TokenId(bytes(16)), JOINER_ID))),
        False,
    ),
    "the redemptions of others": (Method.GET, Get(ENTRY), False),
    "the guest's own identity record": (Method.GET, Get(Target(JOINER_ID)), False),
    "anything else": (Method.GET, Get(Target(bytes(32))), False),
    "its own redemption": (Method.PUT, Put(ENTRY, entry()), True),
    "its redemption elsewhere": (Method.PUT, Put(ANSWER, entry()), False),
    "somebody else's redemption": (Method.PUT, Put(ENTRY, entry(KEM_2)), False),
    "an entry under another tag": (Method.PUT, Put(ENTRY, entry(tag=Tag(bytes(32)))), False),
    "a mutable record there": (Method.PUT, Put(ENTRY, entry(kind=Kind.MUTABLE)), False),
    "an entry that is too long": (
        Method.PUT,
        Put(ENTRY, entry(payload=bytes(GUEST_RECORD_BYTES_MAX))),
        False,
    ),
    "no record": (Method.PUT, Put(ENTRY, b"no record"), False),
    "who is near": (Method.FIND_NODE, FindNode(ENTRY), False),
    "what a node holds": (Method.FIND_VALUE, FindValue(ANSWER), False),
    "to store at one node": (Method.STORE, Store(ENTRY, entry()), False),
}


@pytest.mark.parametrize(("method", "body", "is_answered"), ASKED.values(), ids=ASKED)
def test_a_guest_is_answered_what_redeeming_takes(method: Method, body: Body, *, is_answered: bool) -> None:
    assert rights().cover(method, body) is is_answered


def test_no_other_method_is_a_guest_s() -> None:
    asked = {method for method, _, is_answered in ASKED.values() if is_answered}

    assert {method for method in Method if rights().cover(method, Empty())} == asked - {
        Method.GET,
        Method.PUT,
    }


def guest(number: int, opened_at: float = 0.0) -> Connection:
    made = connection("somewhere", number)
    made.opened_at = opened_at
    return made


async def test_guests_of_one_invite_are_few_and_the_oldest_makes_place_in_time() -> None:
    guests = Guests()
    first = guest(0)
    assert guests.enter(first, INVITE_ID, 0.0) is None
    for number in range(1, GUESTS_PER_INVITE_MAX):
        assert guests.enter(guest(number, 1.0), INVITE_ID, 1.0) is None

    assert guests.enter(guest(99, 2.0), INVITE_ID, 2.0) == Refusal("links_refused", "guests")
    assert guests.enter(guest(99, 2.0), TokenId(bytes(16)), 2.0) is None, "of another invite"
    assert guests.enter(guest(100), INVITE_ID, GUEST_SPARE_AFTER_S) is first
    assert len(guests) == GUESTS_PER_INVITE_MAX + 1
    assert isinstance(guests.enter(guest(101), INVITE_ID, GUEST_SPARE_AFTER_S), Refusal)
    guests.leave(first)
    assert len(guests) == GUESTS_PER_INVITE_MAX + 1, "it has left already"


async def test_guests_of_many_invites_are_few_in_all() -> None:
    guests = Guests()
    everybody = [guest(number) for number in range(GUESTS_MAX)]
    for number, each in enumerate(everybody):
        assert guests.enter(each, TokenId(number.to_bytes(16)), 0.0) is None

    assert isinstance(guests.enter(guest(99), TokenId(bytes(b"z" * 16)), 1.0), Refusal)
    assert guests.enter(guest(99), TokenId((3).to_bytes(16)), 1_000.0) is everybody[3]
    guests.leave(everybody[5])
    assert guests.enter(guest(100), TokenId(bytes(b"z" * 16)), 1_000.0) is None


async def test_whoever_holds_some_links_does_not_shut_out_the_guests_of_another() -> None:
    guests = Guests()
    first = guest(0)
    guests.enter(first, TokenId(b"a" * 16), 0.0)
    hoard = [guest(number) for number in range(1, GUESTS_MAX)]
    for number, each in enumerate(hoard):
        assert guests.enter(each, TokenId((number // GUESTS_PER_INVITE_MAX).to_bytes(16)), 0.0) is None

    assert guests.enter(guest(99), TokenId(b"z" * 16), GUEST_SPARE_AFTER_S) is hoard[0]
    assert len(guests) == GUESTS_MAX
