"""Write project-session.json: handshakes with a network key and with tokens shown, and keyfiles of a fixed identity.

    python -m tests.vectors.make_session

Everything is derived from the keys of protocol-v1.json, so the output never changes; a test compares it.
"""

from __future__ import annotations

import json
from pathlib import Path

from yzdht.crypto.handshake import Credentials, Initiator, Responder
from yzdht.crypto.identity import IdentityKeys, KemKey
from yzdht.crypto.keyfile import encode_identity, seal_keyfile
from yzdht.crypto.naming import network_id
from yzdht.crypto.passphrase import NO_KDF, PBKDF2_DEFAULT
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.signing import KeySigner


HERE = Path(__file__).parent
PSK = bytes(range(32))
SALT = bytes(range(16, 32))
PASSPHRASE = "7h3k-m2qd-0xwv-9a4c"


def _keys() -> dict[str, PrivateKey]:
    given = json.loads((HERE / "protocol-v1.json").read_text())["keys"]
    names = ("sk_A", "sk_B", "kem_1", "kem_2", "ephemeral_I", "ephemeral_R")
    return {name: PrivateKey.from_scalar(bytes.fromhex(given[name])) for name in names}


def _private_handshake(keys: dict[str, PrivateKey]) -> dict[str, object]:
    def credentials(name: str) -> Credentials:
        return Credentials(KeySigner(keys[name], deterministic=True), network_id("main"), 0x31, PSK)

    return {
        "comment": "section 3, private network; A initiates to B, the ephemerals of protocol-v1.json",
        "psk": PSK.hex(),
        "caps": 0x31,
        **_handshake(keys, credentials("sk_A"), credentials("sk_B")),
    }


def _closed_handshake(keys: dict[str, PrivateKey]) -> dict[str, object]:
    """Each end shows 176 bytes in extension 0x20; a handshake does not look at them."""
    tokens = {"sk_A": bytes(range(176)), "sk_B": bytes(range(175, -1, -1))}

    def credentials(name: str) -> Credentials:
        signer = KeySigner(keys[name], deterministic=True)
        return Credentials(signer, network_id("main"), 0x31, token=tokens[name])

    return {
        "comment": "section 3, closed network: each end shows a token; else as handshake of protocol-v1.json",
        "caps": 0x31,
        "token_initiator": tokens["sk_A"].hex(),
        "token_responder": tokens["sk_B"].hex(),
        **_handshake(keys, credentials("sk_A"), credentials("sk_B")),
    }


def _handshake(keys: dict[str, PrivateKey], one: Credentials, other: Credentials) -> dict[str, object]:
    initiator = Initiator(one, ephemeral=keys["ephemeral_I"])
    responder = Responder(other, ephemeral=keys["ephemeral_R"])
    hello = initiator.hello()
    welcome = responder.receive_hello(hello)
    proof = initiator.receive_welcome(welcome)
    established = responder.receive_proof(proof)
    return {
        "hello": hello.hex(),
        "welcome": welcome.hex(),
        "proof": proof.hex(),
        "secret_initiator": established.secret_in.hex(),
        "secret_responder": established.secret_out.hex(),
        "exporter": established.exporter.hex(),
    }


def _keyfile(keys: dict[str, PrivateKey]) -> dict[str, object]:
    storage_secret = json.loads((HERE / "protocol-v1.json").read_text())["identity"]["S"]
    kem = (KemKey(keys["kem_2"], 1_769_817_600), KemKey(keys["kem_1"], 1_767_225_600))
    content = encode_identity(IdentityKeys(keys["sk_A"], kem, bytes.fromhex(storage_secret)))
    return {
        "comment": "section 13; identity A with kem_2 and kem_1, kdf 0 and kdf 2 (600,000 iterations)",
        "kem_not_after": [one.not_after for one in kem],
        "salt": SALT.hex(),
        "passphrase": PASSPHRASE,
        "content": content.hex(),
        "kdf_0": seal_keyfile(content, "", NO_KDF, SALT).hex(),
        "kdf_2": seal_keyfile(content, PASSPHRASE, PBKDF2_DEFAULT, SALT).hex(),
    }


def render() -> str:
    """The file's whole text."""
    keys = _keys()
    cases = {
        "handshake_psk": _private_handshake(keys),
        "handshake_token": _closed_handshake(keys),
        "keyfile_identity": _keyfile(keys),
    }
    return json.dumps(cases, indent=1) + "\n"


if __name__ == "__main__":
    (HERE / "project-session.json").write_text(render())
