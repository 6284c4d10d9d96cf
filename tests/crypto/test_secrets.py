"""No repr shows a key: what is logged, raised or printed by a debugger is read by others."""

from __future__ import annotations

import importlib
import pkgutil
from base64 import b64encode, urlsafe_b64encode
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

import yzdht
from tests.vectors.golden import PROTOCOL
from yzdht.config import NodeConfig
from yzdht.crypto.group_records import Keyring, KnownEpoch
from yzdht.crypto.groups import NewKey, Recorded, Succession
from yzdht.crypto.handshake import Credentials, Established, Initiator, _Keys, _Pending
from yzdht.crypto.identity import IdentityKeys, KemKey
from yzdht.crypto.invite import Bearer
from yzdht.crypto.kept_group import KeptGroup
from yzdht.crypto.keyfile import _BoxKey
from yzdht.crypto.naming import network_id
from yzdht.crypto.passphrase import PBKDF2_DEFAULT
from yzdht.crypto.primitives import Aead, PrivateKey
from yzdht.crypto.sealing import Author, OpeningKeys
from yzdht.crypto.session import RecordLayer
from yzdht.crypto.signing import KeySigner
from yzdht.crypto.stanzas import Locked, Named
from yzdht.crypto.topics import MessageEpoch, MessageKeys
from yzdht.ids import (
    EpochCommit,
    EpochSecret,
    GroupId,
    NameSecret,
    NodeId,
    RecordHash,
    RecordRoot,
    SessionId,
)
from yzdht.invites import Issued
from yzdht.readers import Passphrase
from yzdht.store.groups import SqliteGroups
from yzdht.store.home import Home
from yzdht.store.keyfile import Identity, _Kept
from yzdht.store.marks import MemoryMarks
from yzdht.wire.frame import Caps
from yzdht.wire.group_state import GroupState, Member, PastEpoch, RecentEpoch
from yzdht.wire.invite_link import InviteLink, encode_invite_link
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import Redeem
from yzdht.wire.token import Redemption, decode_token, encode_redemption


SECRETS = tuple(bytes([65 + number]) * 32 for number in range(5))  # as text: AAAA…, BBBB…
SCALAR = SECRETS[0]
KEY = PrivateKey.from_scalar(SCALAR)
PHRASE = "correct horse battery staple"
NETWORK = network_id("main")
KEYS = IdentityKeys(KEY, (KemKey(KEY, 1),), SECRETS[1])
TOKEN = decode_token(bytes.fromhex(PROTOCOL["invite"]["token"]))
PERSON = Identity(KEY, (KemKey(KEY, 1),), SECRETS[1])
HASH = RecordHash(bytes(32))
STATE = GroupState(
    epoch=2,
    prev_hash=HASH,
    epoch_commit=EpochCommit(bytes(32)),
    epoch_secret=EpochSecret(SECRETS[0]),
    name_secret=NameSecret(SECRETS[1]),
    has_history=True,
    members=(Member(KEY.public_key, KEY.public_key),),
    past=(PastEpoch(1, HASH, RecordRoot(SECRETS[2])),),
    recent=(RecentEpoch(EpochSecret(SECRETS[3]), 1),),
)
KNOWN = KnownEpoch(GroupId(bytes(16)), 1, HASH, RecordRoot(SECRETS[2]))
MESSAGES = MessageEpoch(GroupId(bytes(16)), 1, HASH, EpochSecret(SECRETS[2]))

RECORD = decode_record(bytes.fromhex(PROTOCOL["records"]["group"]["record"]))

EXAMPLES = (
    Aead(SECRETS[0]),
    Bearer(SECRETS[0][:16]),
    InviteLink(TOKEN, SECRETS[0][:16]),
    Issued(encode_invite_link(replace(TOKEN, is_bearer=True), SECRETS[0][:16]), TOKEN),
    Redeem(encode_redemption(Redemption(replace(TOKEN, is_bearer=True), SECRETS[0][:16], KEY.public_key))),
    Redemption(TOKEN, SECRETS[0][:16], KEY.public_key),
    Author(KeySigner(KEY), SECRETS[0], NETWORK),
    Credentials(KeySigner(KEY), NETWORK, Caps.ALWAYS, psk=SECRETS[0]),
    Established(
        KEY.public_key, NodeId(bytes(32)), 1, SECRETS[0], SECRETS[1], SessionId(bytes(16)), SECRETS[2]
    ),
    Home(PERSON, MemoryMarks(), SqliteGroups(None)),
    PERSON,
    Initiator(Credentials(KeySigner(KEY), NETWORK, Caps.ALWAYS, psk=SECRETS[0]), ephemeral=KEY),
    KEY,
    KEYS,
    KeptGroup(KEY.public_key, RECORD, STATE, (KNOWN,), KEY),
    Keyring([KNOWN]),
    KNOWN,
    MESSAGES,
    MessageKeys([MESSAGES]),
    NewKey(KEY.public_key, EpochSecret(SECRETS[0]), EpochSecret(SECRETS[1])),
    Recorded(STATE, HASH, 0),
    STATE,
    STATE.past[0],
    STATE.recent[0],
    Succession(STATE, STATE),
    KeySigner(KEY),
    KemKey(KEY, 1),
    NodeConfig(network_key=SECRETS[0], passphrase=PHRASE),
    OpeningKeys(SECRETS[0], (KEY,), KEY.public_key, SECRETS[1]),
    Named((KEY.public_key,), SECRETS[0]),
    Locked(SECRETS[0], PBKDF2_DEFAULT, bytes(16), SECRETS[1]),
    Passphrase(PHRASE),
    RecordLayer(SECRETS[0], SECRETS[1], 0.0),
    _Kept(Path("key"), PHRASE),
    _BoxKey(Aead(SECRETS[0]), SECRETS[1][:12], SECRETS[2]),
    _Keys(*SECRETS),
    _Pending(*SECRETS[:4]),
)

SOUNDS_SECRET = (
    "secret",
    "psk",
    "self_key",
    "name_key",
    "network_key",
    "passphrase",
    "exporter",
    "master",
    "mac_",
    "record_root",
    "cek",
)


def spellings(secret: bytes) -> set[str]:
    """How a key may be written; half of it is too much already."""
    half = secret[:16]
    return {
        repr(half)[2:-1],
        half.hex(),
        half.hex().upper(),
        b64encode(half).decode().rstrip("=")[:-2],
        urlsafe_b64encode(half).decode().rstrip("=")[:-2],
        str(int.from_bytes(secret)),
        str(list(half))[1:-1],
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_no_repr_shows_a_key(example: object) -> None:
    for shown in (repr(example), str(example), f"{example}", repr([example])):
        assert PHRASE not in shown
        assert [secret for secret in SECRETS for text in spellings(secret) if text in shown] == []


def field_names(kind: type) -> list[str]:
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return list(getattr(kind, "_fields", ()))


def test_whatever_has_a_field_that_sounds_secret_is_among_the_examples() -> None:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(yzdht.__path__, "yzdht.")
        if not found.name.startswith(
            "yzdht.cli"
        )  # paths and what is shown to people; tests/cli has its secrets
    ]
    kinds = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__.startswith("yzdht.")
    }
    sounding = {
        kind for kind in kinds for name in field_names(kind) if any(word in name for word in SOUNDS_SECRET)
    }

    assert sounding - {type(example) for example in EXAMPLES} == set()
