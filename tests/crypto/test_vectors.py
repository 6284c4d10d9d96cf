"""Every golden value of sections 1, 2, 7 and 8, and what sections 10 to 12 build from the same parts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.vectors.golden import (
    CREATED,
    EXPIRES,
    KEM_1,
    KEM_2,
    KEY_A,
    KEY_B,
    NETWORK,
    PROTOCOL,
    SELF_KEY_A,
    load,
    record,
)
from yzdht.crypto.group_chain import check_commit, check_follows, check_successor, open_state
from yzdht.crypto.group_records import Keyring, KnownEpoch, record_key, record_kid, seal_group_record
from yzdht.crypto.groups import Recorded, admins_tag, group_id_of, left_tag, record_root, state_tag
from yzdht.crypto.invite import (
    Bearer,
    Office,
    Terms,
    accept_link,
    check_membership,
    issue,
    judge,
    membership_id,
    verify_token,
)
from yzdht.crypto.invite_ledger import MemoryLedger, row_of
from yzdht.crypto.moving import Revoked, decode_move, read_move
from yzdht.crypto.naming import (
    dh,
    group_tag,
    immutable_target,
    kdf,
    multi_target,
    mutable_target,
    name_key,
    node_id_of,
    own_tag,
    public_tag,
    redeem_tag,
    self_key,
)
from yzdht.crypto.primitives import Aead, hmac_sha256, sha256
from yzdht.crypto.sealing import (
    Author,
    OpeningKeys,
    Public,
    RecordDraft,
    Self,
    open_box,
    open_chunk,
    open_record,
    seal_box,
    seal_chunk,
    seal_immutable,
    seal_record,
)
from yzdht.crypto.signing import RECORD_LABEL, KeySigner, RecordChecks, target_of, verify_message
from yzdht.errors import BadInviteLink, CryptoError, WireError
from yzdht.ids import EpochSecret, RecordHash, Signature, Tag, Target
from yzdht.wire.codec import lp
from yzdht.wire.group_state import decode_group_state, encode_group_state
from yzdht.wire.invite_link import decode_invite_link
from yzdht.wire.record import (
    IDENTITY_TAG,
    decode_record,
    encode_unsigned,
    padded_length,
)
from yzdht.wire.revocation import decode_revoked
from yzdht.wire.slot import Kind
from yzdht.wire.token import TokenType, decode_token, encode_redemption, encode_token


KEYS = PROTOCOL["keys"]
NAMES = PROTOCOL["names"]
IDENTITY = PROTOCOL["identity"]
RECORDS = PROTOCOL["records"]
PUBSUB = PROTOCOL["pubsub"]
GROUP = RECORDS["group"]
NAME = NAMES["name_utf8"]
VALUE = bytes.fromhex(RECORDS["plaintext"])
AUTHOR = Author(KeySigner(KEY_A, deterministic=True), SELF_KEY_A, NETWORK)
SIGNED = ("public", "self", "recipients", "group", "identity_kind")


def hexed(section: dict[str, Any], key: str) -> bytes:
    return bytes.fromhex(section[key])


def tag(key: str) -> Tag:
    return Tag(hexed(NAMES, key))


def draft(name: str, kind: Kind, slot_tag: Tag) -> RecordDraft:
    return RecordDraft(kind, CREATED, EXPIRES, RECORDS[name]["seq"], slot_tag)


def signature_of(raw: bytes) -> Signature:
    return AUTHOR.signer.sign(RECORD_LABEL, NETWORK, raw)


# Sections 1 and 2


def test_conventions() -> None:
    conventions = PROTOCOL["conventions"]

    assert hexed(conventions, "NET") == NETWORK
    assert dh("yz1 test", NETWORK, b"abc") == hexed(conventions, "dh('yz1 test', 'abc')")
    derived = kdf(bytes(32), b"s", "yz1 test", b"c", 48)
    assert derived == hexed(conventions, "kdf(ikm=0^32, salt='s', 'yz1 test', ctx='c', 48)")


def test_public_keys() -> None:
    assert KEY_A.public_key == hexed(KEYS, "pk33_A")
    assert KEY_B.public_key == hexed(KEYS, "pk33_B")
    assert KEM_1.public_key == hexed(KEYS, "pk33_kem_1")
    assert KEM_2.public_key == hexed(KEYS, "pk33_kem_2")


def test_identity() -> None:
    node_id = node_id_of(KEY_A.public_key)

    assert node_id == hexed(IDENTITY, "node_id")
    assert self_key(hexed(IDENTITY, "S"), node_id) == hexed(IDENTITY, "K_self")
    assert name_key(hexed(IDENTITY, "S"), node_id) == hexed(IDENTITY, "K_name")


# Section 7


def test_tags() -> None:
    assert own_tag(hexed(IDENTITY, "K_name"), NETWORK, NAME) == tag("tag_own")
    assert public_tag(NETWORK, NAME) == tag("tag_public")
    assert group_tag(hexed(NAMES, "name_secret"), NETWORK, NAME) == tag("tag_group")


def test_targets() -> None:
    assert mutable_target(NETWORK, KEY_A.public_key, tag("tag_own")) == hexed(NAMES, "target_mutable_own")
    public = mutable_target(NETWORK, KEY_A.public_key, tag("tag_public"))
    assert public == hexed(NAMES, "target_mutable_public")
    assert multi_target(NETWORK, tag("tag_public")) == hexed(NAMES, "target_multi_public")
    assert immutable_target(NETWORK, record("immutable_self")) == hexed(NAMES, "target_immutable")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("self", "target_mutable_own"),
        ("public", "target_mutable_public"),
        ("recipients", "target_mutable_public"),
        ("immutable_self", "target_immutable"),
    ],
)
def test_targets_of_records(name: str, key: str) -> None:
    assert target_of(decode_record(record(name)), NETWORK) == hexed(NAMES, key)


def test_target_of_the_identity_record_is_the_node_id() -> None:
    assert target_of(decode_record(record("identity_kind")), NETWORK) == hexed(IDENTITY, "node_id")


# Section 8


def test_padding() -> None:
    assert [[size, padded_length(size)] for size, _ in PROTOCOL["padding"]["P"]] == PROTOCOL["padding"]["P"]


@pytest.mark.parametrize("name", SIGNED)
def test_signed_records_verify(name: str) -> None:
    parsed = decode_record(record(name))

    RecordChecks(NETWORK).verify(record(name), target_of(parsed, NETWORK))

    assert (parsed.created, parsed.expires, parsed.publisher) == (CREATED, EXPIRES, KEY_A.public_key)
    assert parsed.seq == RECORDS[name]["seq"]
    assert signature_of(parsed.signed) == parsed.signature


def test_public_record() -> None:
    raw = seal_record(draft("public", Kind.MUTABLE, tag("tag_public")), VALUE, Public(), AUTHOR, b"")

    assert raw == record("public")
    assert open_record(decode_record(raw), OpeningKeys(None)) == VALUE


def test_self_record() -> None:
    salt = hexed(RECORDS["self"], "salt24")
    raw = seal_record(draft("self", Kind.MUTABLE, tag("tag_own")), VALUE, Self(), AUTHOR, salt)

    assert raw == record("self")
    assert open_record(decode_record(raw), OpeningKeys(SELF_KEY_A)) == VALUE


@pytest.mark.parametrize("kem", [KEM_1, KEM_2])
def test_each_recipient_opens(kem: Any) -> None:
    assert open_record(decode_record(record("recipients")), OpeningKeys(None, (kem,))) == VALUE


def test_recipients_record_is_the_box_under_its_cek() -> None:
    parsed = decode_record(record("recipients"))
    vector = RECORDS["recipients"]

    assert parsed.salt == hexed(vector, "salt24")
    assert open_box(parsed, hexed(vector, "cek")) == VALUE
    prefix = parsed.header[:-56]
    rebuilt = seal_box(hexed(vector, "cek"), parsed.salt, parsed.fixed, prefix, VALUE)
    assert rebuilt == parsed.signed


def test_group_record() -> None:
    root = record_root(EpochSecret(hexed(GROUP, "es")))
    group_id = group_id_of(KEY_A.public_key, NETWORK)  # the golden group's key is A's
    known = KnownEpoch(group_id, GROUP["epoch"], RecordHash(hexed(PUBSUB, "state_hash")), root)
    salt = hexed(GROUP, "salt24")

    assert group_id == hexed(GROUP, "group_id16")
    assert root == hexed(GROUP, "rk")
    assert record_key(known) == hexed(GROUP, "K")
    assert record_kid(root, salt) == hexed(GROUP, "kid8")
    raw = seal_group_record(draft("group", Kind.MULTI, tag("tag_group")), VALUE, known, AUTHOR, salt)
    assert raw == record("group")
    assert Keyring([known]).open(decode_record(raw)) == VALUE


def test_identity_record() -> None:
    payload = hexed(RECORDS["identity_kind"], "payload")
    raw = seal_record(draft("identity_kind", Kind.IDENTITY, IDENTITY_TAG), payload, Public(), AUTHOR, b"")

    assert raw == record("identity_kind")


def test_immutable_self_record() -> None:
    raw = seal_immutable(VALUE, Self(), AUTHOR, hexed(RECORDS["immutable_self"], "salt24"))

    assert raw == record("immutable_self")
    assert open_record(decode_record(raw), OpeningKeys(SELF_KEY_A)) == VALUE


def test_chunk() -> None:
    vector = RECORDS["chunk"]
    key, data = hexed(vector, "object_key32"), hexed(vector, "data")
    raw = seal_chunk(data, key, vector["i"], hexed(vector, "salt24"), is_last=bool(vector["last"]))

    assert raw == record("chunk")
    assert open_chunk(decode_record(raw), key, 3, is_last=True) == data


def test_tombstone() -> None:
    vector = load("project-v1.json")["tombstone"]
    parsed = decode_record(hexed(vector, "record"))

    assert parsed.is_tombstone
    assert parsed.payload == b""
    assert parsed.hash == hexed(vector, "hash")
    RecordChecks(NETWORK).verify(parsed.raw, target_of(parsed, NETWORK))
    assert target_of(parsed, NETWORK) == hexed(NAMES, "target_mutable_public")
    unsigned = encode_unsigned(parsed.fixed, b"", b"")
    assert unsigned + signature_of(unsigned) == parsed.raw


# Section 10

GROUP_STATES = load("project-v1.json")["group_states"]
STATES = {given["name"]: given for given in GROUP_STATES["states"]}


def stood(given: dict[str, Any]) -> Recorded:
    state = decode_group_state(hexed(given, "encoded"))
    return Recorded(state, RecordHash(hexed(given, "state_hash")), given["created"])


def test_group_tags_and_targets() -> None:
    key = KEY_A.public_key
    group_id = group_id_of(key, NETWORK)

    assert (key, group_id) == (hexed(GROUP_STATES, "group_key"), hexed(GROUP_STATES, "group_id16"))
    assert state_tag(group_id, NETWORK) == hexed(GROUP_STATES, "state_tag")
    assert admins_tag(group_id, NETWORK) == hexed(GROUP_STATES, "admins_tag")
    for left in GROUP_STATES["left_tags"]:
        assert left_tag(group_id, left["epoch"], NETWORK) == hexed(left, "tag")
    target = mutable_target(NETWORK, key, state_tag(group_id, NETWORK))
    assert target == hexed(GROUP_STATES, "state_target")


@pytest.mark.parametrize("given", GROUP_STATES["states"], ids=lambda given: given["name"])
def test_group_states(given: dict[str, Any]) -> None:
    state, shown = stood(given).state, given["state"]

    assert encode_group_state(state) == hexed(given, "encoded")
    assert (state.epoch, state.has_history) == (shown["epoch"], bool(shown["history"]))
    assert (state.epoch_secret, state.name_secret) == (hexed(shown, "es"), hexed(shown, "name_secret"))
    assert state.prev_hash == hexed(shown, "prev_state_hash")
    assert state.epoch_commit == hexed(shown, "epoch_commit")
    assert [[m.public_key.hex(), m.kem.hex(), m.role.value] for m in state.members] == shown["members"]
    assert [[r.epoch, r.state_hash.hex(), r.record_root.hex()] for r in state.past] == shown["past"]
    assert [[r.secret.hex(), r.created] for r in state.recent] == shown["recent"]
    assert (state.next_key.hex() if state.next_key else None) == shown["next"]
    assert record_root(state.epoch_secret) == hexed(given, "rk")
    check_commit(state, NETWORK)


def test_each_group_state_follows_the_one_before_and_the_last_its_key() -> None:
    *one_group, successor = map(stood, GROUP_STATES["states"])
    for one, other in pairwise(one_group):
        check_follows(one, other, NETWORK)
    moved = one_group[-1].state
    assert moved.next_key is not None
    check_successor(moved, moved.next_key, successor.state, NETWORK)


def test_a_group_states_record_opens_for_its_member() -> None:
    parsed = decode_record(hexed(GROUP_STATES, "record"))

    target = Target(hexed(GROUP_STATES, "state_target"))
    RecordChecks(NETWORK).verify(parsed.raw, target)
    opened = open_state(parsed, KEY_A.public_key, (KEM_1,), NETWORK)
    assert opened == Recorded(stood(STATES["created"]).state, parsed.hash, parsed.created)


@pytest.mark.parametrize("given", GROUP_STATES["wrong_followers"], ids=lambda given: given["name"])
def test_group_states_that_do_not_follow(given: dict[str, Any]) -> None:
    with pytest.raises(CryptoError) as refused:
        check_follows(stood(STATES[given["after"]]), stood(given), NETWORK)
    assert type(refused.value).__name__ == given["error"]


@pytest.mark.parametrize("given", GROUP_STATES["refused"], ids=lambda given: given["name"])
def test_group_states_that_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode_group_state(hexed(given, "encoded"))


# Section 11, by its parts alone; tests/crypto/test_topics.py has the whole


def test_topics() -> None:
    topic = hmac_sha256(hexed(NAMES, "name_secret"), lp("yz1 topic") + NETWORK + b"chat")[:16]

    assert topic == hexed(PUBSUB, "topic16")
    assert dh("yz1 pubtopic", NETWORK, b"news")[:16] == hexed(PUBSUB, "public_topic16")


def test_state_hash_is_a_plain_hash() -> None:
    assert sha256(b"state") == hexed(PUBSUB, "state_hash")  # stands in for a group state's record


def test_group_envelope_opens() -> None:
    envelope, es = hexed(PUBSUB, "envelope"), hexed(GROUP, "es")
    session, topic = hexed(PUBSUB, "session8"), hexed(PUBSUB, "topic16")
    context = sha256(KEY_A.public_key + session + topic + hexed(PUBSUB, "state_hash"))
    root = kdf(es, hexed(GROUP, "group_id16"), "yz1 sender", context, 32)
    message_key = hmac_sha256(root, (258).to_bytes(4))

    assert hmac_sha256(kdf(es, b"", "yz1 pkid", b"", 32), session)[:8] == hexed(PUBSUB, "kid8")
    assert message_key == hexed(PUBSUB, "message_key")
    assert sha256(envelope[:-64])[:20] == hexed(PUBSUB, "message_id")
    verify_message(KEY_A.public_key, "yz1 pub", NETWORK, envelope[:-64], envelope[-64:])
    padded = Aead(message_key).open(bytes(12), envelope[73:-64], envelope[:73])
    plaintext = CREATED.to_bytes(4) + b"\0" + b"hello"
    assert padded == (len(plaintext).to_bytes(4) + plaintext).ljust(64, b"\0")


def test_public_envelope_verifies() -> None:
    envelope = hexed(PUBSUB, "public_envelope")

    verify_message(KEY_A.public_key, "yz1 pub", NETWORK, envelope[:-64], envelope[-64:])
    assert KeySigner(KEY_A, deterministic=True).sign("yz1 pub", NETWORK, envelope[:-64]) == envelope[-64:]


# Sections 12 and 13

INVITE = load("project-v1.json")["invite"]
SECRET = hexed(PROTOCOL["invite"], "secret16")
NODE_ID_B = node_id_of(KEY_B.public_key)


def test_invite_token_verifies() -> None:
    token = decode_token(hexed(PROTOCOL["invite"], "token"))
    terms = Terms(TokenType.GROUP, CREATED, EXPIRES, 5, hexed(GROUP, "group_id16"))

    verify_token(token, NETWORK)
    assert issue(AUTHOR.signer, NETWORK, terms, token.id, Bearer(SECRET)) == token


@pytest.mark.parametrize(("name", "secret"), [("golden", SECRET), ("named", None), ("network", SECRET)])
def test_invites_are_read_from_their_links_and_redeemed(name: str, secret: bytes | None) -> None:
    vector = INVITE[name]
    link = decode_invite_link(vector["link"])

    assert (encode_token(link.token), link.secret) == (hexed(vector, "token"), secret)
    redemption = accept_link(link, NETWORK, KEY_B.public_key, KEM_2.public_key, CREATED)
    assert encode_redemption(redemption) == hexed(vector, "redemption")
    office = Office(NETWORK, KEY_A.public_key, link.token.type, link.token.scope)
    ledger = MemoryLedger([row_of(link.token, CREATED)])
    assert not judge(redemption, KEY_B.public_key, office, ledger, CREATED).is_again


def test_a_page_takes_the_same_link() -> None:
    assert decode_invite_link(INVITE["golden"]["page_link"]) == decode_invite_link(INVITE["golden"]["link"])
    token = decode_token(hexed(PROTOCOL["invite"], "token"))
    assert redeem_tag(NETWORK, token.id) == hexed(INVITE["golden"], "redeem_tag")


@pytest.mark.parametrize("text", INVITE["links_refused"].values(), ids=INVITE["links_refused"].keys())
def test_links_that_must_be_refused_are(text: str) -> None:
    with pytest.raises(BadInviteLink):
        decode_invite_link(text)


def test_a_membership_is_the_members() -> None:
    token = decode_token(hexed(INVITE["membership"], "token"))
    office = Office(NETWORK, KEY_A.public_key, TokenType.NETWORK)
    invite_id = decode_token(hexed(INVITE["network"], "token")).id

    check_membership(token, office, NODE_ID_B, (), CREATED)
    assert token.id == membership_id(NETWORK, invite_id, NODE_ID_B) == hexed(INVITE["membership"], "id")


def test_a_list_of_revocations() -> None:
    vector = load("project-v1.json")["revoked"]
    record = decode_record(hexed(vector, "record"))

    RecordChecks(NETWORK).verify(record.raw, Target(hexed(vector, "target")))
    assert record.payload == hexed(vector, "payload")
    assert decode_revoked(record.payload) == set(map(bytes.fromhex, vector["ids"]))


def test_a_move_and_a_revocation() -> None:
    vector = load("project-v1.json")["move"]
    moved, revoked = (decode_record(hexed(vector, name)) for name in ("moved", "revoked"))

    for each in (moved, revoked):
        RecordChecks(NETWORK).verify(each.raw, target_of(each, NETWORK))
    assert moved.payload == hexed(vector, "payload")
    assert read_move(moved, NETWORK) == decode_move(moved.payload)
    assert read_move(revoked, NETWORK) == Revoked()
    assert (moved.seq, revoked.seq) == (vector["seq"], 2**64 - 1)
