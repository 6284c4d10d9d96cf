"""What a node or a person signs of itself."""

from __future__ import annotations

from yzdht.crypto.naming import network_id
from yzdht.crypto.signing import RecordChecks
from yzdht.identity_record import About, sign_identity_record
from yzdht.ids import Target
from yzdht.limits import NODE_IDENTITY_LIFE_S
from yzdht.store.keyfile import Identity
from yzdht.wire.address import NodeType, address_of, decode_identity_payload
from yzdht.wire.frame import Caps
from yzdht.wire.slot import Kind


NETWORK = network_id("main")
PERSON = Identity.generate(wall_now=1_700_000_000.0)
ABOUT = About(NodeType.COMMUNITY, (address_of("ws://192.0.2.1:1"),), Caps.ALWAYS, NODE_IDENTITY_LIFE_S)


def test_it_verifies_under_the_node_id_and_says_what_it_was_told() -> None:
    payload, record = sign_identity_record(PERSON, NETWORK, ABOUT, 1_700_000_000.5)
    RecordChecks(NETWORK).verify_record(record, Target(PERSON.node_id))

    assert record.kind is Kind.IDENTITY
    assert (record.created, record.expires) == (1_700_000_000, 1_700_000_000 + NODE_IDENTITY_LIFE_S)
    assert decode_identity_payload(record.payload) == payload
    assert [k.public_key for k in payload.kem] == [PERSON.kem[0].key.public_key]
    assert payload.addresses == ABOUT.addresses


def test_its_seq_is_the_time_in_milliseconds_or_whatever_is_needed_to_win() -> None:
    assert sign_identity_record(PERSON, NETWORK, ABOUT, 1_700_000_000.5).record.seq == 1_700_000_000_500
    assert (
        sign_identity_record(PERSON, NETWORK, ABOUT, 1.0, 1_800_000_000_001).record.seq == 1_800_000_000_001
    )
