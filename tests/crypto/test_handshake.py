from __future__ import annotations

import copy
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from yzdht.crypto.handshake import Credentials, Established, Initiator, Offer, Responder
from yzdht.crypto.naming import kdf, network_id, node_id_of
from yzdht.crypto.primitives import Aead, PrivateKey, hmac_sha256
from yzdht.crypto.session import RecordLayer
from yzdht.crypto.signing import KeySigner, sign_message
from yzdht.errors import HandshakeFailed, UsageError, WrongNodeId
from yzdht.limits import HANDSHAKE_MESSAGE_BYTES_MAX, HELLO_BYTES_MAX
from yzdht.wire.codec import lp
from yzdht.wire.frame import RecordType


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NetworkId, NodeId


VECTORS_DIR = Path(__file__).parent.parent / "vectors"
VECTORS = json.loads((VECTORS_DIR / "protocol-v1.json").read_text())
OWN_VECTORS = json.loads((VECTORS_DIR / "project-session.json").read_text())
KEYS = {
    name: PrivateKey.from_scalar(bytes.fromhex(VECTORS["keys"][name]))
    for name in ("sk_A", "sk_B", "ephemeral_I", "ephemeral_R")
}
A, B, E_I, E_R = KEYS.values()
MAIN = network_id("main")
PSK = bytes(range(32))


def credentials(
    key: PrivateKey,
    caps: int = 1,
    *,
    network: NetworkId = MAIN,
    psk: bytes | None = None,
    binding: bytes = b"",
) -> Credentials:
    return Credentials(KeySigner(key, deterministic=True), network, caps, psk, binding)


def initiator(who: Credentials | None = None, expected: NodeId | None = None) -> Initiator:
    """Always the same Hello; the keys of a run are new with each responder."""
    return Initiator(who or credentials(A), expected, E_I)


def responder(who: Credentials | None = None, ephemeral: PrivateKey | None = None) -> Responder:
    return Responder(who or credentials(B), ephemeral)


def run(one: Initiator, other: Responder) -> tuple[Established, Established]:
    proof = one.receive_welcome(other.receive_hello(one.hello()))
    at_responder = other.receive_proof(proof)
    assert one.established is not None
    return one.established, at_responder


def fresh_run(one: Credentials | None = None, other: Credentials | None = None) -> tuple[bytes, bytes, bytes]:
    """Hello, Welcome and Proof of a run with other ephemerals."""
    dialler, dialled = Initiator(one or credentials(A)), Responder(other or credentials(B))
    hello = dialler.hello()
    welcome = dialled.receive_hello(hello)
    return hello, welcome, dialler.receive_welcome(welcome)


def awaiting_proof() -> tuple[Responder, bytes]:
    """A responder that has sent Welcome, and the Proof that it would take."""
    one, other = initiator(), responder()
    return other, one.receive_welcome(other.receive_hello(one.hello()))


def dialled() -> Initiator:
    one = initiator()
    one.hello()
    return one


def refused(step: Callable[[bytes], object], message: bytes) -> None:
    with pytest.raises(HandshakeFailed) as caught:
        step(message)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


class Written:
    """Section 3 once more, written out straight: lets a test put anything into what is signed and sealed."""

    def __init__(self, hello: bytes, opening: bytes, ephemeral: PrivateKey, peer_ephemeral: bytes) -> None:
        prologue = lp("yz1 handshake") + MAIN + lp(b"")
        parts = (len(hello).to_bytes(2), hello, len(opening).to_bytes(2), opening)
        self.th1 = sha256(prologue + b"".join(parts)).digest()
        raw = kdf(ephemeral.exchange(peer_ephemeral), self.th1, "yz1 hs", b"", 160)
        self.k_r, self.k_i, self.m_r, self.m_i, _ = (raw[at : at + 32] for at in range(0, 160, 32))

    def welcome(self, key: PrivateKey, p2: bytes, label: str = "yz1 hs resp", tail: bytes = b"") -> bytes:
        th2 = sha256(self.th1 + p2).digest()
        signature = sign_message(key, label, MAIN, th2 + hmac_sha256(self.m_r, th2), deterministic=True)
        return Aead(self.k_r).seal(bytes(12), p2 + signature + tail, self.th1)

    def proof(self, key: PrivateKey, p3: bytes, th3: bytes, label: str = "yz1 hs init") -> bytes:
        th4 = sha256(th3 + p3).digest()
        signature = sign_message(key, label, MAIN, th4 + hmac_sha256(self.m_i, th4), deterministic=True)
        return b"\x03" + Aead(self.k_i).seal(bytes(12), p3 + signature, th3)


def written_welcome(  # what B answers to the Hello of `initiator()`
    key: PrivateKey = B,
    p2: bytes | None = None,
    *,
    ext: bytes = b"\0\0",
    offer: bytes = b"\1\1",
    label: str = "yz1 hs resp",
    tail: bytes = b"",
    ephemeral: PrivateKey | None = None,
) -> bytes:
    ephemeral = ephemeral or PrivateKey.generate()
    opening = b"\2" + offer + ephemeral.public_key + ext
    written = Written(initiator().hello(), opening, ephemeral, E_I.public_key)
    return opening + written.welcome(key, p2 or claim(key), label, tail)


def written_proof(welcome: bytes, key: PrivateKey, p3: bytes, label: str = "yz1 hs init") -> bytes:
    """What A answers to a Welcome that answers the Hello of `initiator()`."""
    written = Written(initiator().hello(), welcome[:38], E_I, welcome[3:36])
    plain = Aead(written.k_r).open(bytes(12), welcome[38:], written.th1)
    th2 = sha256(written.th1 + plain[:-64]).digest()
    return written.proof(key, p3, sha256(th2 + plain[-64:]).digest(), label)


def proved(
    key: PrivateKey = A, p3: bytes | None = None, label: str = "yz1 hs init"
) -> tuple[Callable[[bytes], Established], bytes]:
    """Where a responder that has sent Welcome takes Proof, and the one that is written for it."""
    other = responder()
    welcome = other.receive_hello(initiator().hello())
    return other.receive_proof, written_proof(welcome, key, p3 or claim(key), label)


def claim(key: PrivateKey, caps: int = 1, ext: bytes = b"\0\0") -> bytes:
    return key.public_key + caps.to_bytes(4) + ext


def ext(*tlvs: tuple[int, bytes]) -> bytes:
    block = b"".join(bytes((kind,)) + len(body).to_bytes(2) + body for kind, body in tlvs)
    return len(block).to_bytes(2) + block


def hello_of(offers: bytes, ext_block: bytes = b"\0\0") -> bytes:
    return bytes((1, len(offers) // 2)) + offers + E_I.public_key + ext_block


MALFORMED_EXT = [
    b"\0\1\x7f",  # a type without a length
    b"\0\2\x7f\0",
    b"\0\4\x7f\0\2a",  # a body longer than its block
    b"\0\5\x7f\0\0\x10\0",  # a whole one and the start of another
]


# Vectors


# Golden: handshake_token has the same ephemerals and so the same keys, under which it seals tokens beside the claims.
PLAIN = pytest.param("handshake", marks=pytest.mark.own_salts)


@pytest.mark.parametrize("name", [PLAIN, "handshake_bound", "handshake_psk"])
def test_handshake_vectors_reproduce(name: str) -> None:
    case = (VECTORS | OWN_VECTORS)[name]
    binding = bytes.fromhex(case.get("binding", ""))
    psk = bytes.fromhex(case["psk"]) if "psk" in case else None
    caps = case.get("caps", 1)
    one = initiator(credentials(A, case.get("caps_initiator", caps), psk=psk, binding=binding))
    other = responder(credentials(B, case.get("caps_responder", caps), psk=psk, binding=binding), E_R)

    hello = one.hello()
    welcome = other.receive_hello(hello)
    proof = one.receive_welcome(welcome)
    at_responder = other.receive_proof(proof)

    assert (hello.hex(), welcome.hex(), proof.hex()) == (case["hello"], case["welcome"], case["proof"])
    assert at_responder.secret_in.hex() == case["secret_initiator"]
    assert at_responder.secret_out.hex() == case["secret_responder"]
    assert at_responder.exporter.hex() == case["exporter"]


def test_the_test_writes_the_same_bytes() -> None:
    ephemeral = PrivateKey.generate()
    one, other = initiator(), responder(ephemeral=ephemeral)
    welcome = other.receive_hello(one.hello())

    assert written_welcome(ephemeral=ephemeral) == welcome
    assert written_proof(welcome, A, claim(A)) == one.receive_welcome(welcome)


# A run that succeeds


def test_both_ends_agree() -> None:
    one, other = Initiator(credentials(A, 0x31)), Responder(credentials(B, 0x71))
    at_initiator, at_responder = run(one, other)

    assert at_initiator.secret_out == at_responder.secret_in
    assert at_initiator.secret_in == at_responder.secret_out
    assert at_initiator.exporter == at_responder.exporter
    assert at_initiator.session_id == at_responder.session_id == at_initiator.exporter[:16]
    assert (at_initiator.peer_key, at_responder.peer_key) == (B.public_key, A.public_key)
    assert (at_initiator.peer_id, at_responder.peer_id) == (
        node_id_of(B.public_key),
        node_id_of(A.public_key),
    )
    assert (at_initiator.peer_caps, at_responder.peer_caps) == (0x71, 0x31)


def test_every_run_has_other_secrets() -> None:
    runs = [run(Initiator(credentials(A)), Responder(credentials(B)))[0] for _ in range(2)]

    assert len({secret for end in runs for secret in (end.secret_in, end.secret_out)}) == 4
    assert runs[0].session_id != runs[1].session_id


def test_messages_have_the_sizes_of_section_3() -> None:
    assert [len(message) for message in fresh_run()] == [39, 157, 120]


def test_records_pass_over_an_established_session() -> None:
    at_initiator, at_responder = run(initiator(), responder())
    one = RecordLayer(at_initiator.secret_out, at_initiator.secret_in, 0.0)
    other = RecordLayer(at_responder.secret_out, at_responder.secret_in, 0.0)

    assert one.open(other.seal(RecordType.READY, b"")) == (RecordType.READY, b"", False)
    assert other.open(one.seal(RecordType.REQUEST, b"q")) == (RecordType.REQUEST, b"q", False)


def test_dialled_id_is_accepted() -> None:
    at_initiator, _ = run(initiator(expected=node_id_of(B.public_key)), responder())

    assert at_initiator.peer_id == node_id_of(B.public_key)


def test_private_network_agrees_with_its_key() -> None:
    run(initiator(credentials(A, psk=PSK)), responder(credentials(B, psk=PSK)))


def test_repr_shows_no_secret() -> None:
    at_initiator, _ = run(initiator(credentials(A, psk=PSK)), responder(credentials(B, psk=PSK)))

    shown = repr(at_initiator) + repr(credentials(A, psk=PSK))

    for secret in (at_initiator.secret_in, at_initiator.secret_out, at_initiator.exporter, PSK):
        assert repr(secret)[2:-1] not in shown


# Whom to trust


def test_another_node_than_the_one_dialled_is_refused() -> None:
    one, other = initiator(expected=node_id_of(E_R.public_key)), responder()
    welcome = other.receive_hello(one.hello())

    with pytest.raises(WrongNodeId):
        one.receive_welcome(welcome)

    assert one.established is None


def test_own_identity_at_the_other_end_is_refused_by_the_initiator() -> None:
    one, other = initiator(), responder(credentials(A))

    refused(one.receive_welcome, other.receive_hello(one.hello()))


def test_own_identity_at_the_other_end_is_refused_by_the_responder() -> None:
    refused(*proved(B))


def test_reflected_hello_is_refused() -> None:
    refused(dialled().receive_welcome, initiator().hello())


def test_reflected_ephemeral_is_refused_by_the_responder() -> None:
    refused(Responder(credentials(B), E_I).receive_hello, initiator().hello())


def test_reflected_ephemeral_is_refused_by_the_initiator() -> None:
    opening = b"\2\1\1" + E_I.public_key + b"\0\0"
    written = Written(initiator().hello(), opening, E_I, E_I.public_key)

    refused(dialled().receive_welcome, opening + written.welcome(B, claim(B)))


@pytest.mark.parametrize(
    "other",
    [
        credentials(B, network=network_id("other")),
        credentials(B, psk=PSK),
        credentials(B, binding=bytes(32)),
    ],
)
def test_other_network_key_or_binding_is_refused(other: Credentials) -> None:
    one, answering = initiator(), responder(other)
    refused(one.receive_welcome, answering.receive_hello(one.hello()))

    one, answering = initiator(replace(other, signer=KeySigner(A))), responder()
    refused(one.receive_welcome, answering.receive_hello(one.hello()))


def test_wrong_network_key_is_refused() -> None:
    one, other = initiator(credentials(A, psk=PSK)), responder(credentials(B, psk=PSK[::-1]))

    refused(one.receive_welcome, other.receive_hello(one.hello()))


def test_capability_bit_0_unset_is_refused_by_both() -> None:
    refused(dialled().receive_welcome, written_welcome(p2=claim(B, 0x30)))
    refused(*proved(p3=claim(A, 0x30)))


def test_ignored_capability_bits_are_cleared() -> None:
    receive, proof = proved(p3=claim(A, 0xFFFFFFFF))

    assert receive(proof).peer_caps == 0x1FF1


def test_signature_of_the_other_role_is_refused() -> None:
    refused(dialled().receive_welcome, written_welcome(label="yz1 hs init"))
    refused(*proved(label="yz1 hs resp"))


def test_claim_signed_by_another_key_is_refused() -> None:
    refused(dialled().receive_welcome, written_welcome(E_R, claim(B)))
    refused(*proved(E_I, claim(A)))


@pytest.mark.parametrize("key", [bytes(33), b"\2" + b"\xff" * 32, b"\4" + A.public_key[1:]])
def test_bad_public_keys_are_refused_everywhere(key: bytes) -> None:
    rest = (1).to_bytes(4) + b"\0\0"

    refused(responder().receive_hello, b"\1\1\1\1" + key + b"\0\0")
    refused(dialled().receive_welcome, b"\2\1\1" + key + b"\0\0" + bytes(119))
    refused(dialled().receive_welcome, written_welcome(p2=key + rest))
    refused(*proved(p3=key + rest))


# Tampering


def test_every_flipped_bit_of_welcome_is_refused() -> None:
    welcome = responder().receive_hello(initiator().hello())

    for bit in range(8 * len(welcome)):
        refused(dialled().receive_welcome, flip(welcome, bit))
    dialled().receive_welcome(welcome)


def test_every_flipped_bit_of_proof_is_refused() -> None:
    other, proof = awaiting_proof()

    for bit in range(8 * len(proof)):
        refused(copy.copy(other).receive_proof, flip(proof, bit))
    other.receive_proof(proof)


def test_every_flipped_bit_of_hello_fails_the_handshake() -> None:
    hello = initiator().hello()

    for bit in range(8 * len(hello)):
        one, other = dialled(), responder()
        with pytest.raises(HandshakeFailed):
            one.receive_welcome(other.receive_hello(flip(hello, bit)))
        assert one.established is None


def flip(message: bytes, bit: int) -> bytes:
    flipped = bytearray(message)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def test_welcome_and_proof_of_another_run_are_refused() -> None:
    _, welcome, proof = fresh_run()

    refused(dialled().receive_welcome, welcome)
    refused(awaiting_proof()[0].receive_proof, proof)


def test_spliced_welcome_is_refused() -> None:
    genuine = responder().receive_hello(initiator().hello())
    _, foreign, _ = fresh_run()

    refused(dialled().receive_welcome, genuine[:38] + foreign[38:])
    refused(dialled().receive_welcome, foreign[:38] + genuine[38:])


def test_proof_does_not_pass_for_a_welcome_nor_welcome_for_a_proof() -> None:
    other, proof = awaiting_proof()
    welcome = responder().receive_hello(initiator().hello())

    refused(dialled().receive_welcome, proof)
    refused(other.receive_proof, welcome)
    refused(responder().receive_hello, welcome)


def test_welcome_for_another_initiator_does_not_serve_a_third() -> None:
    """A man in the middle who dials B as himself cannot pass B's Welcome on to A."""
    middle = Initiator(credentials(E_R))
    welcome = responder().receive_hello(middle.hello())

    refused(dialled().receive_welcome, welcome)


def test_stripped_offers_are_detected() -> None:
    offers: list[Offer] = [(1, 0x11), (1, 1)]
    one = Initiator(credentials(A), None, E_I, offers)
    hello = one.hello()
    assert hello == hello_of(b"\1\x11\1\1")

    refused(one.receive_welcome, responder().receive_hello(hello_of(b"\1\1")))

    unharmed = Initiator(credentials(A), None, E_I, offers)
    run(unharmed, responder())


def test_first_known_offer_is_taken() -> None:
    assert responder().receive_hello(hello_of(b"\2\1\1\x11\1\1\1\1\3\3"))[1:3] == b"\1\1"


def test_no_known_offer_is_refused() -> None:
    refused(responder().receive_hello, hello_of(b"\1\2\2\1"))


def test_welcome_may_choose_only_what_was_offered_and_is_known() -> None:
    refused(dialled().receive_welcome, written_welcome(offer=b"\1\x11"))

    one = Initiator(credentials(A), None, E_I, [(1, 0x11), (1, 1)])
    hello = one.hello()
    opening = b"\2\1\x11" + E_R.public_key + b"\0\0"
    written = Written(hello, opening, E_R, E_I.public_key)
    refused(one.receive_welcome, opening + written.welcome(B, claim(B)))

    grease_only = Initiator(credentials(A), None, E_I, [(9, 9)])
    hello = grease_only.hello()
    opening = b"\2\1\1" + E_R.public_key + b"\0\0"
    written = Written(hello, opening, E_R, E_I.public_key)
    refused(grease_only.receive_welcome, opening + written.welcome(B, claim(B)))


# Sizes, tails, extensions


@pytest.mark.parametrize("count", [0, 9, 255])
def test_hello_has_one_to_eight_offers(count: int) -> None:
    hello = b"\1" + bytes((count,)) + b"\1\1" * count + E_I.public_key + b"\0\0"

    refused(responder().receive_hello, hello)


def test_eight_offers_are_accepted() -> None:
    responder().receive_hello(hello_of(b"\5\5" * 7 + b"\1\1"))


def test_truncated_messages_are_refused_at_every_length() -> None:
    hello = initiator().hello()
    welcome = responder().receive_hello(hello)
    other, proof = awaiting_proof()

    for size in range(len(hello)):
        refused(responder().receive_hello, hello[:size])
    for size in range(len(welcome)):
        refused(dialled().receive_welcome, welcome[:size])
    for size in range(len(proof)):
        refused(copy.copy(other).receive_proof, proof[:size])


def test_trailing_bytes_are_refused() -> None:
    hello = initiator().hello()
    other, proof = awaiting_proof()

    refused(responder().receive_hello, hello + b"\0")
    refused(dialled().receive_welcome, responder().receive_hello(hello) + b"\0")
    refused(other.receive_proof, proof + b"\0")
    refused(dialled().receive_welcome, written_welcome(tail=b"\0"))


def test_hello_is_at_most_4095_bytes() -> None:
    room = HELLO_BYTES_MAX - 39 - 3
    largest = hello_of(b"\1\1", ext((0x7F, bytes(room))))

    assert len(largest) == HELLO_BYTES_MAX
    responder().receive_hello(largest)
    refused(responder().receive_hello, hello_of(b"\1\1", ext((0x7F, bytes(room + 1)))))


def test_welcome_and_proof_are_at_most_4095_bytes() -> None:
    room = HANDSHAKE_MESSAGE_BYTES_MAX - 157 - 3
    largest = written_welcome(p2=claim(B, 1, ext((0x7F, bytes(room)))))
    assert len(largest) == HANDSHAKE_MESSAGE_BYTES_MAX
    dialled().receive_welcome(largest)
    refused(dialled().receive_welcome, written_welcome(p2=claim(B, 1, ext((0x7F, bytes(room + 1))))))

    room = HANDSHAKE_MESSAGE_BYTES_MAX - 120 - 3
    receive, largest = proved(p3=claim(A, 1, ext((0x7F, bytes(room)))))
    assert len(largest) == HANDSHAKE_MESSAGE_BYTES_MAX
    receive(largest)
    refused(*proved(p3=claim(A, 1, ext((0x7F, bytes(room + 1))))))


def test_unknown_extensions_are_ignored_everywhere() -> None:
    block = ext((0xEE, b"what is this"), (0x7F, bytes(5)), (0x20, b""), (0xEE, b"again"))

    responder().receive_hello(hello_of(b"\1\1", block))
    dialled().receive_welcome(written_welcome(ext=block))
    dialled().receive_welcome(written_welcome(p2=claim(B, 1, block)))
    receive, proof = proved(p3=claim(A, 1, block))
    receive(proof)


@pytest.mark.parametrize("block", MALFORMED_EXT)
def test_malformed_extensions_are_refused_everywhere(block: bytes) -> None:
    refused(responder().receive_hello, hello_of(b"\1\1", block))
    refused(dialled().receive_welcome, written_welcome(ext=block))
    refused(dialled().receive_welcome, written_welcome(p2=claim(B, 1, block)))
    refused(*proved(p3=claim(A, 1, block)))


# One attempt per machine


TOKEN = bytes(range(176))


def test_each_end_learns_what_the_other_shows_sealed_and_no_more() -> None:
    at_one, at_other = run(initiator(), responder())
    assert (at_one.shown, at_other.shown) == (None, None)

    shows = replace(credentials(A), token=TOKEN), replace(credentials(B), token=TOKEN[::-1])
    at_one, at_other = run(initiator(shows[0]), responder(shows[1]))
    assert (at_one.shown, at_other.shown) == (TOKEN[::-1], TOKEN)
    assert (at_one.secret_out, at_one.exporter) == (at_other.secret_in, at_other.exporter)

    messages = fresh_run(*shows)
    assert [len(message) for message in messages] == [39, 157 + 179, 120 + 179]
    assert all(half not in message for message in messages for half in (TOKEN[:88], TOKEN[88:]))


def test_the_handshakes_of_a_closed_network_reproduce() -> None:
    given = OWN_VECTORS["handshake_token"]
    one = replace(credentials(A, given["caps"]), token=bytes.fromhex(given["token_initiator"]))
    other = replace(credentials(B, given["caps"]), token=bytes.fromhex(given["token_responder"]))
    dials, answers = initiator(one), responder(other, E_R)
    welcome = answers.receive_hello(dials.hello())

    assert welcome.hex() == given["welcome"]
    assert dials.receive_welcome(welcome).hex() == given["proof"]


@pytest.mark.parametrize("shown", [b"", b"short", TOKEN])
def test_what_is_shown_is_not_looked_at(shown: bytes) -> None:
    block = ext((0xEE, b"what is this"), (0x20, shown))
    one = dialled()
    one.receive_welcome(written_welcome(p2=claim(B, 1, block)))

    assert one.established is not None
    assert one.established.shown == shown
    receive, proof = proved(p3=claim(A, 1, block))
    assert receive(proof).shown == shown


@pytest.mark.parametrize(
    "block", [ext((0x20, TOKEN + b"\0")), ext((0x20, TOKEN), (0x20, TOKEN)), ext((0x20, b""), (0x20, b""))]
)
def test_a_token_is_shown_once_and_is_no_longer_than_one(block: bytes) -> None:
    refused(dialled().receive_welcome, written_welcome(p2=claim(B, 1, block)))
    refused(*proved(p3=claim(A, 1, block)))


def test_a_failed_initiator_takes_nothing_more() -> None:
    welcome = responder().receive_hello(initiator().hello())
    one = dialled()
    refused(one.receive_welcome, b"")

    refused(one.receive_welcome, welcome)
    with pytest.raises(HandshakeFailed):
        one.hello()
    assert one.established is None


def test_a_failed_responder_takes_nothing_more() -> None:
    other, proof = awaiting_proof()
    refused(other.receive_proof, b"")

    refused(other.receive_proof, proof)
    refused(other.receive_hello, initiator().hello())


def test_steps_out_of_order_end_the_machine() -> None:
    refused(responder().receive_proof, awaiting_proof()[1])
    refused(initiator().receive_welcome, written_welcome())

    one = dialled()
    with pytest.raises(HandshakeFailed):
        one.hello()
    refused(one.receive_welcome, written_welcome())


def test_a_completed_machine_takes_no_replay() -> None:
    one, other = initiator(), responder()
    hello = one.hello()
    welcome = other.receive_hello(hello)
    proof = one.receive_welcome(welcome)
    other.receive_proof(proof)

    refused(one.receive_welcome, welcome)
    refused(other.receive_proof, proof)
    refused(other.receive_hello, hello)


def test_keys_are_dropped_when_a_machine_ends() -> None:
    one, other = initiator(), responder()
    proof = one.receive_welcome(other.receive_hello(one.hello()))
    assert other._ephemeral is None
    other.receive_proof(proof)
    failed = dialled()
    refused(failed.receive_welcome, b"")

    for end in (one, other, failed):
        assert end._ephemeral is None
        assert end._pending is None


@pytest.mark.parametrize(
    "change",
    [
        {"caps": 0},
        {"caps": 0x30},
        {"caps": 0x3},
        {"caps": 0x2001},
        {"caps": 1 << 32 | 1},
        {"psk": b"short"},
        {"binding": b"short"},
        {"token": bytes(175)},
        {"network": b"main"},
    ],
)
def test_impossible_credentials_are_a_usage_error(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(credentials(A), **change)  # type: ignore[arg-type]  # one field at a time, of its own type


# Hostile input


@given(st.binary(max_size=200))
def test_arbitrary_hellos_are_answered_or_refused(message: bytes) -> None:
    for hello in (message, b"\1\1\1\1" + message, b"\1\1\1\1" + E_I.public_key + message):
        try:
            assert len(responder().receive_hello(hello)) == 157
        except HandshakeFailed:
            continue


@given(st.binary(max_size=200))
def test_arbitrary_welcomes_and_proofs_are_refused(message: bytes) -> None:
    refused(dialled().receive_welcome, message)
    refused(dialled().receive_welcome, b"\2\1\1" + E_R.public_key + b"\0\0" + message)
    other, _ = awaiting_proof()
    refused(other.receive_proof, b"\3" + message)


OFFERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8)
TLVS = st.lists(
    st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=5, unique_by=lambda tlv: tlv[0]
)


@given(OFFERS, TLVS)
def test_well_formed_hellos_are_answered_if_an_offer_is_known(
    offers: list[Offer], tlvs: list[tuple[int, bytes]]
) -> None:
    hello = hello_of(b"".join(bytes(offer) for offer in offers), ext(*tlvs))

    if (1, 1) in offers:
        assert responder().receive_hello(hello)[:3] == b"\2\1\1"
    else:
        refused(responder().receive_hello, hello)


@settings(max_examples=50)
@given(TLVS, TLVS, st.integers(0, 2**31))
def test_well_formed_welcomes_and_proofs_are_accepted(
    clear: list[tuple[int, bytes]], sealed: list[tuple[int, bytes]], caps: int
) -> None:
    p2, p3 = claim(B, caps | 1, ext(*sealed)), claim(A, caps | 1, ext(*sealed))

    one = dialled()
    one.receive_welcome(written_welcome(p2=p2, ext=ext(*clear)))

    assert one.established is not None
    assert one.established.peer_caps == (caps | 1) & 0x1FF1
    receive, proof = proved(p3=p3)
    assert receive(proof).peer_key == A.public_key


@settings(max_examples=50)
@given(st.binary(max_size=150))
def test_arbitrary_claims_under_the_right_key_are_refused(plaintext: bytes) -> None:
    """A peer that completes ECDH may still seal anything."""
    ephemeral = PrivateKey.generate()
    opening = b"\2\1\1" + ephemeral.public_key + b"\0\0"
    written = Written(initiator().hello(), opening, ephemeral, E_I.public_key)

    refused(dialled().receive_welcome, opening + Aead(written.k_r).seal(bytes(12), plaintext, written.th1))
