/** Sections 1, 2 and 7: hashes, keys, names, tags and targets; signatures refused. */

import * as naming from "../../crypto/naming.js";
import { PrivateKey, coordinates, hmac, verify } from "../../crypto/primitives.js";
import { verifyMessage } from "../../crypto/signing.js";
import { InvalidKey, InvalidSignature, UsageError, WireError } from "../../errors.js";
import { Reader, concat, decodeUtf8, u16 } from "../../wire/codec.js";
import { decodeRecord } from "../../wire/record.js";
import { bytesOf, flipped, hex, refuses, same } from "../expect.js";
import { identityA, keyOf } from "../fixtures.js";

/** @typedef {import("../fixtures.js").Vectors} Vectors */

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const FIELD = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";

/** @param {Vectors} v */
async function conventions({ protocol: { conventions: given } }) {
  const network = await naming.networkId(given.network);
  same(network, given.NET, "NET");
  same(await naming.dh("yz1 test", network, bytesOf("abc")), given["dh('yz1 test', 'abc')"], "dh");
  const derived = await naming.kdf(new Uint8Array(32), bytesOf("s"), "yz1 test", bytesOf("c"), 48);
  same(derived, given["kdf(ikm=0^32, salt='s', 'yz1 test', ctx='c', 48)"], "kdf");
}

/** @param {Vectors} v */
async function keys(v) {
  const { keys: given, identity } = v.protocol;
  for (const [secret, shown, use] of [
    ["sk_A", "pk33_A", "ECDSA"],
    ["sk_B", "pk33_B", "ECDSA"],
    ["kem_1", "pk33_kem_1", "ECDH"],
    ["kem_2", "pk33_kem_2", "ECDH"],
  ]) {
    same((await keyOf(v, secret, /** @type {any} */ (use))).publicKey, given[shown], shown);
  }
  const nodeId = await naming.nodeIdOf(hex(given.pk33_A));
  same(nodeId, identity.node_id, "node id");
  same(naming.fingerprint(nodeId), "PY2B-ZQHV-T38E-B3NE", "fingerprint");
  same(await naming.selfKey(hex(identity.S), nodeId), identity.K_self, "K_self");
  same(await naming.nameKey(hex(identity.S), nodeId), identity.K_name, "K_name");
}

/** @param {Vectors} v */
async function exchange(v) {
  const [one, two] = [await keyOf(v, "kem_1", "ECDH"), await keyOf(v, "kem_2", "ECDH")];
  same(await one.exchange(two.publicKey), await two.exchange(one.publicKey), "ECDH");
  same((await PrivateKey.generate("ECDH")).publicKey.length, 33, "generated key");
}

/** @param {Vectors} v */
async function tags(v) {
  const { names: given, identity } = v.protocol;
  const { network } = await identityA(v);
  const name = given.name_utf8;
  same(await naming.ownTag(hex(identity.K_name), network, name), given.tag_own, "own tag");
  same(await naming.ownTag(hex(identity.K_name), network, name.normalize("NFD")), given.tag_own, "NFD name");
  same(await naming.publicTag(network, name), given.tag_public, "public tag");
  same(await naming.groupTag(hex(given.name_secret), network, name), given.tag_group, "group tag");
}

/** @param {Vectors} v */
async function targets(v) {
  const { names: given, keys: { pk33_A: publisher }, records } = v.protocol;
  const { network } = await identityA(v);
  const [own, open] = [hex(given.tag_own), hex(given.tag_public)];
  same(await naming.mutableTarget(network, hex(publisher), own), given.target_mutable_own, "mutable, own");
  same(await naming.mutableTarget(network, hex(publisher), open), given.target_mutable_public, "mutable, public");
  same(await naming.multiTarget(network, open), given.target_multi_public, "multi");
  const immutable = hex(records.immutable_self.record);
  same(await naming.immutableTarget(network, immutable), given.target_immutable, "immutable");
}

/** @param {Vectors} v */
async function namesRefused(v) {
  const { network } = await identityA(v);
  for (const name of ["", "a\0b", "lone \ud800", "lone \udc00 low", "x".repeat(1025), "\u00fc".repeat(513)]) {
    await refuses(UsageError, () => naming.publicTag(network, name), JSON.stringify(name.slice(0, 12)));
  }
  await naming.publicTag(network, "x".repeat(1024));
  await refuses(UsageError, () => naming.networkId("n".repeat(65)), "network name");
}

/** @param {Vectors} v */
async function keysRefused(v) {
  const good = hex(v.protocol.keys.pk33_A);
  const offCurve = concat(Uint8Array.of(2), new Uint8Array(31), Uint8Array.of(1)); // x = 1 has no y
  const uncompressed = concat(Uint8Array.of(4), coordinates(good));
  const overField = concat(Uint8Array.of(2), hex(FIELD));
  const bad = [offCurve, uncompressed, overField, flipped(good, 0, 6), good.subarray(1), concat(good, new Uint8Array(1))];
  for (const key of bad) await refuses(InvalidKey, () => naming.nodeIdOf(key), "public key");
  const other = flipped(good, 0); // the same X, the other Y
  same(coordinates(other).subarray(0, 32), good.subarray(1), "X of the mirrored point");
  await refuses(InvalidKey, () => PrivateKey.fromPkcs8(new Uint8Array(40), "ECDSA"), "PKCS8");
}

/** @param {Vectors} v */
async function signatures(v) {
  const { network, signer } = await identityA(v);
  for (let i = 0; i < 16; i += 1) {
    // About half of them come high-S from the library.
    const [message, label] = [Uint8Array.of(i), "yz1 rec"];
    const signature = await signer.sign(label, network, message);
    await verifyMessage(signer.publicKey, label, network, message, signature);
    const late = () => verifyMessage(signer.publicKey, "yz1 pub", network, message, signature);
    await refuses(InvalidSignature, late, "another label");
  }
}

/** @param {Vectors} v */
async function signaturesRefused(v) {
  const { network, publicKey } = await identityA(v);
  const { unsigned, signature } = decodeRecord(hex(v.protocol.records.public.record));
  const message = concat(Uint8Array.of(7), bytesOf("yz1 rec"), network, unsigned);
  await verify(publicKey, message, signature);
  const high = (ORDER - BigInt(`0x${Array.from(signature.subarray(32), (b) => b.toString(16).padStart(2, "0")).join("")}`))
    .toString(16)
    .padStart(64, "0");
  const [r, s] = [signature.subarray(0, 32), signature.subarray(32)];
  const order = hex(ORDER.toString(16));
  const zero = new Uint8Array(32);
  const bad = { high: concat(r, hex(high)), "r 0": concat(zero, s), "s 0": concat(r, zero), "r n": concat(order, s) };
  for (const [what, one] of Object.entries(bad)) await refuses(InvalidSignature, () => verify(publicKey, message, one), what);
  for (let at = 0; at < 64; at += 1) {
    await refuses(InvalidSignature, () => verify(publicKey, message, flipped(signature, at)), `byte ${at}`);
  }
  for (const size of [0, 63]) await refuses(InvalidSignature, () => verify(publicKey, message, signature.subarray(0, size)));
  await refuses(InvalidSignature, () => verify(publicKey, message, concat(signature, new Uint8Array(1))), "65 bytes");
  await refuses(InvalidSignature, () => verify(publicKey, flipped(message, -1), signature), "message");
  await refuses(InvalidSignature, () => verify(hex(v.protocol.keys.pk33_B), message, signature), "another key");
}

async function reader() {
  const fields = new Reader(hex("01000200000003ffffffffffffffff00"));
  same([fields.u8(), fields.u16(), fields.u32()], [1, 2, 3]);
  same(fields.u64(), 2n ** 64n - 1n);
  await refuses(WireError, () => fields.end(), "trailing byte");
  await refuses(WireError, () => fields.take(2), "shortage");
  same(decodeUtf8(hex("efbbbf61")), "\ufeffa", "byte order mark");
  await refuses(WireError, () => decodeUtf8(hex("c3")), "broken UTF-8");
  await refuses(RangeError, () => u16(65_536), "two bytes");
  same((await hmac(new Uint8Array(0), new Uint8Array(0))).subarray(0, 4), "b613679a", "HMAC under an empty key");
}

/** @type {import("../checks.js").Check[]} */
export const CHECKS = [
  { name: "conventions reproduce", sections: ["protocol/conventions"], run: conventions },
  { name: "keys, node id and storage keys reproduce", sections: ["protocol/keys", "protocol/identity"], run: keys },
  { name: "ECDH gives both ends the same", run: exchange },
  { name: "tags reproduce, whatever the form of the name", sections: ["protocol/names"], run: tags },
  { name: "targets reproduce", run: targets },
  { name: "names out of bounds are refused", run: namesRefused },
  { name: "keys that are not compressed points are refused", run: keysRefused },
  { name: "own signatures are low-S and bound to their label", run: signatures },
  { name: "high-S, out of range and flipped signatures are refused", run: signaturesRefused },
  { name: "the reader refuses shortage and trailing bytes", run: reader },
];
