"""The section of project-v1.json about groups: a group's life, what does not follow, and encodings that are refused.

Records of states hold HPKE stanzas, which are random; a hash of the state's name stands in for that of its record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from tests.vectors.golden import CREATED, EXPIRES, KEM_1, KEM_2, KEY_A, KEY_B, NETWORK, PROTOCOL
from yzdht.crypto.groups import (
    NewKey,
    Recorded,
    add,
    admins_tag,
    change_kem,
    create,
    group_id_of,
    group_kem,
    left_tag,
    past_row,
    promote,
    remove,
    remove_admin,
    rotate,
    state_tag,
    without_ended,
)
from yzdht.crypto.naming import mutable_target
from yzdht.crypto.primitives import PrivateKey, sha256
from yzdht.crypto.sealing import RecordDraft, seal_box
from yzdht.crypto.signing import RECORD_LABEL, KeySigner
from yzdht.ids import EpochCommit, EpochSecret, NameSecret, RecordHash, RecordRoot
from yzdht.wire.group_state import (
    EPOCH_FIRST,
    EPOCH_MAX,
    GroupState,
    Member,
    Role,
    encode_group_state,
)
from yzdht.wire.record import Readers, encode_fixed
from yzdht.wire.slot import Kind


SUCCESSOR = PrivateKey.from_scalar(sha256(b"the group's second key"))
CARLA = PrivateKey.from_scalar(sha256(b"carla"))
CARLAS_KEM = PrivateKey.from_scalar(sha256(b"carla's kem key"))
NAMES = NameSecret(bytes.fromhex(PROTOCOL["names"]["name_secret"]))
A = Member(KEY_A.public_key, KEM_1.public_key, Role.ADMIN)
B = Member(KEY_B.public_key, KEM_2.public_key)
C = Member(CARLA.public_key, CARLAS_KEM.public_key)

STANZA = bytes.fromhex(
    "04c3540a1485a552957443e4bf93e4873c855daa234f72c92d635dc0bf7c0f692788a6823916"
    "46baa1215b2363f631e43b49b3105cc611e40740ea711f9ff08ca0992895a29050fe990f28f9"
    "2c96eba18f67e562994b5c44ebd675fd0ac7961ad600f4fd7937ad7aa88f66ff07d04bb0d1"
)
"""The content key of the golden record for recipients, for KEM key 1 in `state_record`; HPKE is random, so it is kept."""


def _secret(name: str) -> EpochSecret:
    return EpochSecret(sha256(f"es of {name}".encode()))


def _stood(name: str, state: GroupState) -> Recorded:
    created = created_of(state.epoch)
    return Recorded(without_ended(state, created), RecordHash(sha256(f"record of {name}".encode())), created)


def created_of(epoch: int) -> int:
    """When the record of a state was made: hour by hour, but that the fourth comes more than a day after the third."""
    return CREATED + 3_600 * (epoch - 1) + (86_400 if epoch > 3 else 0)


def life() -> dict[str, Recorded]:
    """Name to state, each following the one before; then the first state under the new key."""
    new = NewKey(SUCCESSOR.public_key, _secret("moved"), _secret("successor"))
    created = _stood("created", create([A], NAMES, _secret("created"), NETWORK, has_history=True))
    joined = _stood("joined", add(created, B, _secret("joined"), NETWORK, history=()))
    rotated = _stood("rotated", rotate(joined, _secret("rotated"), NETWORK))
    promoted = _stood("promoted", promote(rotated, B.public_key, _secret("promoted"), NETWORK))
    strict = _stood("joined without history", add(promoted, C, _secret("strict"), NETWORK))
    kem = KEM_1.public_key
    changed = _stood("kem changed", change_kem(strict, C.public_key, kem, _secret("changed"), NETWORK))
    granted = _stood("removed", remove(changed, C.public_key, _secret("removed"), NETWORK))
    past = [past_row(at) for at in (created, joined, changed)]
    again = _stood("history granted", add(granted, C, _secret("again"), NETWORK, history=past))
    succession = remove_admin(again, A.public_key, new, NETWORK)
    moved, successor = _stood("moved", succession.last), _stood("successor", succession.first)
    names = ("created", "joined", "rotated", "promoted", "joined without history", "kem changed", "removed")
    states = (created, joined, rotated, promoted, strict, changed, granted)
    later = {"history granted": again, "moved": moved, "successor": successor}
    return dict(zip(names, states, strict=True)) | later


def _shown(state: GroupState) -> dict[str, Any]:
    return {
        "epoch": state.epoch,
        "prev_state_hash": state.prev_hash.hex(),
        "epoch_commit": state.epoch_commit.hex(),
        "es": state.epoch_secret.hex(),
        "name_secret": state.name_secret.hex(),
        "history": int(state.has_history),
        "members": [[m.public_key.hex(), m.kem.hex(), int(m.role)] for m in state.members],
        "past": [[row.epoch, row.state_hash.hex(), row.record_root.hex()] for row in state.past],
        "recent": [[row.secret.hex(), row.created] for row in state.recent],
        "next": state.next_key.hex() if state.next_key else None,
    }


def state_record(at: Recorded) -> bytes:
    """A signed record that holds the state, for one member."""
    golden = PROTOCOL["records"]["recipients"]
    cek, salt = bytes.fromhex(golden["cek"]), bytes.fromhex(golden["salt24"])
    tag = state_tag(group_id_of(KEY_A.public_key, NETWORK), NETWORK)
    fixed = encode_fixed(
        RecordDraft(Kind.MUTABLE, CREATED, EXPIRES, 1, tag), Readers.STANZAS, KEY_A.public_key
    )
    unsigned = seal_box(cek, salt, fixed, b"\x01\x02\x00\x71" + STANZA, encode_group_state(at.state))
    return unsigned + KeySigner(KEY_A, deterministic=True).sign(RECORD_LABEL, NETWORK, unsigned)


def _wrong_followers(states: dict[str, Recorded]) -> list[dict[str, Any]]:
    """What a member that knows a state refuses, and with which error."""
    other = RecordHash(b"o" * 32)
    rotated, promoted = states["rotated"], states["promoted"]
    state, (newest, *older) = promoted.state, promoted.state.past
    reused = replace(state, epoch_secret=rotated.state.epoch_secret, epoch_commit=rotated.state.epoch_commit)
    forked = (replace(older[0], state_hash=other), *older[1:])
    wrong = replace(state.recent[0], secret=_secret("x"))
    early = replace(state.recent[0], created=state.recent[0].created - 1)
    lied = (replace(newest, record_root=RecordRoot(b"l" * 32)), *older)
    cases: list[tuple[str, str, GroupState, str]] = [
        ("its own epoch", "rotated", replace(rotated.state, epoch_secret=_secret("x")), "GroupForked"),
        ("an earlier epoch", "rotated", states["joined"].state, "StaleGroupState"),
        ("a later epoch", "created", rotated.state, "GroupStateRefused"),
        (
            "another state before it",
            "joined without history",
            replace(states["kem changed"].state, prev_hash=other, past=(), recent=()),
            "GroupForked",
        ),
        (
            "another commitment",
            "rotated",
            replace(state, epoch_commit=EpochCommit(other)),
            "GroupStateRefused",
        ),
        ("the same secret", "rotated", reused, "GroupStateRefused"),
        (
            "another secret of names",
            "rotated",
            replace(state, name_secret=NameSecret(other)),
            "GroupStateRefused",
        ),
        ("less of the past", "rotated", replace(state, past=(newest,)), "GroupStateRefused"),
        (
            "nothing that opens the messages before it",
            "rotated",
            replace(state, recent=()),
            "GroupStateRefused",
        ),
        ("another secret of the past", "rotated", replace(state, recent=(wrong,)), "GroupStateRefused"),
        ("another time of the past", "rotated", replace(state, recent=(early,)), "GroupStateRefused"),
        ("another past", "rotated", replace(state, past=(newest, *forked)), "GroupForked"),
        ("another key of the past", "rotated", replace(state, past=lied), "GroupStateRefused"),
        (
            "anything under the old key",
            "moved",
            rotate(
                replace(states["moved"], state=replace(states["moved"].state, next_key=None)),
                _secret("x"),
                NETWORK,
            ),
            "GroupMoved",
        ),
    ]
    return [
        {
            "name": name,
            "after": after,
            "encoded": encode_group_state(shown).hex(),
            "state_hash": sha256(name.encode()).hex(),
            "created": created_of(shown.epoch),
            "error": error,
        }
        for name, after, shown, error in cases
    ]


def _refused(state: GroupState) -> list[dict[str, str]]:
    """Encodings that are wrong in one thing each; `state` has history, two members and a past."""
    raw = encode_group_state(state)
    rows: list[list[Any]] = [[m.public_key, m.kem, int(m.role)] for m in state.members]
    a, b = rows
    past: list[list[Any]] = [[row.epoch, row.state_hash, row.record_root] for row in state.past]
    fields: list[Any] = [state.epoch, state.prev_hash, state.epoch_commit, state.epoch_secret]
    recent: list[list[Any]] = [[row.secret, row.created] for row in state.recent]
    fields += [state.name_secret, int(state.has_history), [a, b], past, recent, None]

    def packed(place: int, value: object) -> bytes:
        return msgspec.msgpack.encode([*fields[:place], value, *fields[place + 1 :]])

    cases = {
        "a field too few": msgspec.msgpack.encode(fields[:9]),
        "a field too many": msgspec.msgpack.encode([*fields, None]),
        "a tail": raw + b"\xc0",
        "cut short": raw[:-1],
        "not in shortest form": raw.replace(bytes((0x9A, state.epoch)), bytes((0x9A, 0xCC, state.epoch)), 1),
        "epoch 0": packed(0, 0),
        "epoch 2^32": packed(0, 2**32),
        "epoch 1 with a state before it": packed(0, 1),
        "no state before it": packed(1, bytes(32)),
        "a hash of 31 bytes": packed(1, state.prev_hash[:31]),
        "a secret of 33 bytes": packed(3, state.epoch_secret + b"\0"),
        "history 2": packed(5, 2),
        "history true": packed(5, True),  # noqa: FBT003 - the case
        "no members": packed(6, []),
        "members out of order": packed(6, [b, a]),
        "a member twice": packed(6, [a, a]),
        "no admin": packed(6, [[*a[:2], 0], [*b[:2], 0]]),
        "role 2": packed(6, [[*a[:2], 1], [*b[:2], 2]]),
        "a member's key that is no point": packed(6, [[b"\x04" + a[0][1:], *a[1:]]]),
        "a KEM key of 32 bytes": packed(6, [[a[0], a[1][:32], 1]]),
        "256 members": packed(6, [[b"\x02" + n.to_bytes(32), a[1], 1] for n in range(256)]),
        "history without a past": msgspec.msgpack.encode([*fields[:7], [], [], None]),
        "a past in the other order": packed(7, past[::-1]),
        "a past that begins earlier": packed(7, past[1:]),
        "a past with another state before it": packed(7, [[past[0][0], past[1][1], past[0][2]], *past[1:]]),
        "a past with an epoch 0": packed(7, [*past, [0, *past[1][1:]]]),
        "65 epochs of the past": msgspec.msgpack.encode(
            [100, *fields[1:7], [[n, *past[0][1:]] for n in range(99, 34, -1)], [], None]
        ),
        "more of the recent than of the past": packed(8, recent * 4),
        "a recent secret of 31 bytes": packed(8, [[recent[0][0][:31], recent[0][1]]]),
        "a recent row of three fields": packed(8, [[*recent[0], 0]]),
        "a recent time of 2^32": packed(8, [[recent[0][0], 2**32]]),
        "a recent time of -1": packed(8, [[recent[0][0], -1]]),
        "a recent that is nil": packed(8, None),
        "a state of before there was a recent": msgspec.msgpack.encode([*fields[:8], None]),
        "a next key of 32 bytes": packed(9, SUCCESSOR.public_key[:32]),
        "a next key that is a text": packed(9, "k" * 33),
        "a map": b"\x80",
    }
    return [{"name": name, "encoded": encoded.hex()} for name, encoded in cases.items()]


def group_states_section() -> dict[str, Any]:
    """States of A's group of the golden values, their derivations, and what is refused."""
    states = life()
    group_id = group_id_of(KEY_A.public_key, NETWORK)
    tag = state_tag(group_id, NETWORK)
    return {
        "comment": "section 10; the group key is A's, as in the protocol's group record. Each state follows the one before"
        " it, but `successor`, which is the first under the key that `moved` names. A state's hash stands in for that of"
        " its record; `record` is a real one of `created`, for KEM key 1. `wrong_followers` are shown to a member that knows the state `after` as the very next one.",
        "group_key": KEY_A.public_key.hex(),
        "group_scalar": KEY_A.scalar().hex(),
        "kem": group_kem(KEY_A).public_key.hex(),
        "group_id16": group_id.hex(),
        "state_tag": tag.hex(),
        "state_target": mutable_target(NETWORK, KEY_A.public_key, tag).hex(),
        "left_tags": [
            {"epoch": epoch, "tag": left_tag(group_id, epoch, NETWORK).hex()}
            for epoch in (EPOCH_FIRST, 4, EPOCH_MAX)
        ],
        "admins_tag": admins_tag(group_id, NETWORK).hex(),
        "states": [
            {
                "name": name,
                "state": _shown(at.state),
                "encoded": encode_group_state(at.state).hex(),
                "state_hash": at.hash.hex(),
                "created": at.created,
                "rk": past_row(at).record_root.hex(),
            }
            for name, at in states.items()
        ],
        "record": state_record(states["created"]).hex(),
        "wrong_followers": _wrong_followers(states),
        "refused": _refused(states["promoted"].state),
    }
