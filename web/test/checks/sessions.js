/** Sections 3, 4 and 13: handshakes, the record layer and keyfiles. */

import { Initiator, Responder } from "../../crypto/handshake.js";
import { decodeContent, openContainer, openKeyfile } from "../../crypto/keyfile.js";
import { PrivateKey } from "../../crypto/primitives.js";
import { RecordLayer } from "../../crypto/session.js";
import { KeySigner } from "../../crypto/signing.js";
import {
  DecryptionFailed,
  HandshakeFailed,
  UnsupportedKdf,
  UsageError,
  WireError,
  WrongNodeId,
  WrongPassphrase,
} from "../../errors.js";
import { concat } from "../../wire/codec.js";
import { RecordType, decodeInner } from "../../wire/frame.js";
import { bytesOf, flipped, hex, refuses, same } from "../expect.js";
import { identityA, keyOf } from "../fixtures.js";

/** @typedef {import("../fixtures.js").Vectors} Vectors */
/** @typedef {import("../../crypto/handshake.js").Endpoint} Endpoint */

/**
 * A signer that returns a signature of the vectors.
 *
 * @param {Uint8Array} publicKey @param {Uint8Array} signature
 */
const replaying = (publicKey, signature) => ({ publicKey, sign: async () => signature });

/**
 * Both ends of a golden handshake, with real keys.
 *
 * @param {Vectors} v @param {{caps: number[], binding?: string, psk?: string}} terms
 * @returns {Promise<{a: Endpoint, b: Endpoint}>}
 */
async function ends(v, { caps, binding = "", psk = "" }) {
  const { network } = await identityA(v);
  const shared = { network, binding: hex(binding), psk: hex(psk) };
  const end = async (/** @type {string} */ identity, /** @type {string} */ ephemeral, /** @type {number} */ capsOf) => ({
    ...shared,
    caps: capsOf,
    signer: new KeySigner(await keyOf(v, identity, "ECDSA")),
    ephemeral: await keyOf(v, ephemeral, "ECDH"),
  });
  return { a: await end("sk_A", "ephemeral_I", caps[0]), b: await end("sk_B", "ephemeral_R", caps[1]) };
}

/** @param {any} established @param {any} given */
function sameSecrets(established, given) {
  same(established.secretInitiator, given.secret_initiator, "secret of the initiator");
  same(established.secretResponder, given.secret_responder, "secret of the responder");
  same(established.exporter, given.exporter, "exporter");
}

/**
 * Each end reads the golden messages of the other; then both messages are made again with the golden signatures.
 *
 * @param {Vectors} v @param {any} given @param {{caps: number[], binding?: string, psk?: string}} terms
 */
async function goldenHandshake(v, given, terms) {
  const { a, b } = await ends(v, terms);
  const [hello, welcome, proof] = [hex(given.hello), hex(given.welcome), hex(given.proof)];
  const reader = new Initiator(a);
  same(await reader.hello(), given.hello, "Hello");
  const { established: seenByA } = await reader.readWelcome(welcome);
  same([seenByA.peerPublicKey, seenByA.peerCaps], [v.protocol.keys.pk33_B, terms.caps[1]], "responder");

  const responder = new Responder({ ...b, signer: replaying(b.signer.publicKey, seenByA.peerSignature) });
  same(await responder.readHello(hello), given.welcome, "Welcome");
  const seenByB = await responder.readProof(proof);
  same([seenByB.peerPublicKey, seenByB.peerCaps], [v.protocol.keys.pk33_A, terms.caps[0]], "initiator");
  same(seenByB.peerNodeId, v.protocol.identity.node_id, "node id of the initiator");
  sameSecrets(seenByB, given);

  const writer = new Initiator({ ...a, signer: replaying(a.signer.publicKey, seenByB.peerSignature) });
  await writer.hello();
  const made = await writer.readWelcome(welcome);
  same(made.proof, given.proof, "Proof");
  sameSecrets(made.established, given);
}

/** @param {Vectors} v */
async function handshake(v) {
  const given = v.protocol.handshake;
  await goldenHandshake(v, given, { caps: [given.caps_initiator, given.caps_responder] });
}

/** @param {Vectors} v */
async function boundHandshake(v) {
  const given = v.protocol.handshake_bound;
  await goldenHandshake(v, given, { caps: [1, 1], binding: given.binding });
}

/** @param {Vectors} v */
async function privateHandshake(v) {
  const given = v.session.handshake_psk;
  await goldenHandshake(v, given, { caps: [given.caps, given.caps], psk: given.psk });
}

/** @param {Vectors} v */
async function closedHandshake(v) {
  const given = v.session.handshake_token;
  const { a, b } = await ends(v, { caps: [given.caps, given.caps] });
  const [tokenA, tokenB] = [hex(given.token_initiator), hex(given.token_responder)];
  const dials = new Initiator({ ...a, token: tokenA });
  same(await dials.hello(), given.hello, "Hello");
  const { established } = await dials.readWelcome(hex(given.welcome));
  same(established.shown, given.token_responder, "what the responder shows");
  const answers = new Responder({ ...b, token: tokenB, signer: replaying(b.signer.publicKey, established.peerSignature) });
  same(await answers.readHello(hex(given.hello)), given.welcome, "Welcome");
  same((await answers.readProof(hex(given.proof))).shown, given.token_initiator, "what the initiator shows");
  const short = new Responder({ ...b, token: tokenB.subarray(1) });
  await refuses(UsageError, () => short.readHello(hex(given.hello)), "175 bytes");
  const open = await freshEnds(v);
  const [initiator, responder] = [new Initiator(open.a), new Responder(open.b)];
  const made = await initiator.readWelcome(await responder.readHello(await initiator.hello()));
  same([made.established.shown, (await responder.readProof(made.proof)).shown], [undefined, undefined], "nothing shown");
}

/** @param {Vectors} v @returns {Promise<{a: Endpoint, b: Endpoint}>} With fresh ephemerals. */
async function freshEnds(v) {
  const { a, b } = await ends(v, { caps: [1, 1] });
  return { a: { ...a, ephemeral: undefined }, b: { ...b, ephemeral: undefined } };
}

/** @param {Vectors} v */
async function liveHandshake(v) {
  const { a, b } = await freshEnds(v);
  const [initiator, responder] = [new Initiator(a), new Responder(b)];
  const padding = { type: 0x7f, body: new Uint8Array(217) };
  const welcome = await responder.readHello(await initiator.hello([padding]));
  same(welcome.length, 157, "bytes of Welcome");
  const { proof, established } = await initiator.readWelcome(welcome);
  same(proof.length, 120, "bytes of Proof");
  const other = await responder.readProof(proof);
  same(other.exporter, established.exporter, "exporter");
  await refuses(UsageError, () => responder.readProof(proof), "a second proof");
  await refuses(UsageError, () => initiator.readWelcome(welcome), "a second welcome");
}

/** @param {Vectors} v */
async function handshakesRefused(v) {
  const { a, b } = await ends(v, { caps: [49, 113] });
  const [hello, welcome, proof] = ["hello", "welcome", "proof"].map((name) => hex(v.protocol.handshake[name]));
  const readWelcome = async (/** @type {Partial<Endpoint>} */ changed, /** @type {Uint8Array} */ message) => {
    const initiator = new Initiator({ ...a, ...changed });
    await initiator.hello();
    return initiator.readWelcome(message);
  };
  for (let at = 0; at < welcome.length; at += 1) {
    await refuses(HandshakeFailed, () => readWelcome({}, flipped(welcome, at, 1 << at % 8)), `Welcome, byte ${at}`);
  }
  for (const bad of [welcome.subarray(0, 156), concat(welcome, new Uint8Array(1)), new Uint8Array(4_096)]) {
    await refuses(HandshakeFailed, () => readWelcome({}, bad), "Welcome");
  }
  await refuses(HandshakeFailed, () => readWelcome({ network: flipped(a.network, 0) }, welcome), "another network");
  await refuses(HandshakeFailed, () => readWelcome({ psk: new Uint8Array(32) }, welcome), "a private network");
  await refuses(HandshakeFailed, () => readWelcome({ binding: new Uint8Array(32) }, welcome), "another channel");
  await refuses(WrongNodeId, () => readWelcome({ expectedNodeId: new Uint8Array(32) }, welcome), "another node");
  await refuses(HandshakeFailed, () => readWelcome({ signer: b.signer }, welcome), "oneself");
  const signature = (await readWelcome({}, welcome)).established.peerSignature;
  for (let at = 0; at < proof.length; at += 1) {
    // Proof is bound to Welcome's signature: the responder must have sent the golden one.
    const responder = new Responder({ ...b, signer: replaying(b.signer.publicKey, signature) });
    await responder.readHello(hello);
    await refuses(HandshakeFailed, () => responder.readProof(flipped(proof, at, 1 << at % 8)), `Proof, byte ${at}`);
  }
}

/** What only an end that breaks the rules can send. @param {Vectors} v */
async function claimsRefused(v) {
  const { a, b } = await freshEnds(v);
  const meet = async (/** @type {Partial<Endpoint>} */ changed) => {
    const [end, responder] = [{ ...a }, new Responder(b)];
    const initiator = new Initiator(end);
    const welcome = await responder.readHello(await initiator.hello());
    Object.assign(end, changed); // past the test of one's own caps
    return responder.readProof((await initiator.readWelcome(welcome)).proof);
  };
  same((await meet({ caps: 0x8e01e03f })).peerCaps, 0x31, "ignored bits are cleared");
  const unset = await refuses(HandshakeFailed, () => meet({ caps: 0x30 }), "capability bit 0 unset");
  same(unset.message, "the other end does not set capability bit 0", "why");
  /** @type {import("../../crypto/signing.js").Signer["sign"]} */
  const sign = async (...of) => concat(await a.signer.sign(...of), new Uint8Array(1));
  const longer = { publicKey: a.signer.publicKey, sign };
  await refuses(HandshakeFailed, () => meet({ signer: longer }), "a byte after the signature");
  const initiator = new Initiator(a);
  const hello = await initiator.hello();
  const echoed = concat(hex("020101"), hello.subarray(4, 37), new Uint8Array(2 + 118));
  const echo = await refuses(HandshakeFailed, () => initiator.readWelcome(echoed), "our own key");
  same(echo.message, "the other end sent our own ephemeral key back", "why");
}

/** @param {Vectors} v */
async function hellosRefused(v) {
  const { b } = await ends(v, { caps: [1, 1] });
  const hello = hex(v.protocol.handshake.hello);
  const own = concat(hello.subarray(0, 4), /** @type {PrivateKey} */ (b.ephemeral).publicKey, hello.subarray(37));
  const bad = {
    "no offer": flipped(hello, 1),
    "nine offers": concat(Uint8Array.of(1, 9), new Uint8Array(18).fill(1), hello.subarray(4)),
    "version 2": flipped(hello, 2, 3),
    "suite 2": flipped(hello, 3, 3),
    "an uncompressed key": flipped(hello, 4, 4 | 3),
    "our own key": own,
    "a trailing byte": concat(hello, new Uint8Array(1)),
    "a byte too few": hello.subarray(0, 38),
    "a torn extension": concat(hello.subarray(0, 37), Uint8Array.of(0, 2, 0x7f, 0)),
    "a proof": flipped(hello, 0, 2),
    "too long": concat(hello.subarray(0, 37), Uint8Array.of(0x0f, 0xd9, 0x7f, 0x0f, 0xd6), new Uint8Array(4_054)),
  };
  for (const [what, message] of Object.entries(bad)) {
    await refuses(HandshakeFailed, () => new Responder(b).readHello(message), what);
  }
  await new Responder(b).readHello(concat(Uint8Array.of(1, 2, 9, 9), hello.subarray(2))); // an unknown offer comes first
  await refuses(UsageError, () => new Initiator({ ...b, caps: 0x30 }).hello(), "capability bit 0 unset");
}

/** @param {Vectors} v */
function secretsOf({ protocol: { handshake: given } }) {
  return [hex(given.secret_initiator), hex(given.secret_responder)];
}

/** @param {Vectors} v */
async function recordLayer(v) {
  const [mine, theirs] = secretsOf(v);
  const [sender, receiver] = [new RecordLayer(mine, theirs), new RecordLayer(theirs, mine)];
  const { REQUEST, RESPONSE, KEY_UPDATE } = RecordType;
  const ping = await sender.seal(REQUEST, bytesOf("ping"));
  const pong = await sender.seal(REQUEST, bytesOf("pong"), { pad: 11 });
  const update = await sender.updateKey();
  const last = await sender.seal(RESPONSE, bytesOf("x".repeat(100)));
  same([ping, pong, last], v.protocol.record_layer.records, "records");
  const opened = await Promise.all([ping, pong, update, last].map((record) => receiver.open(record)));
  same(opened.map(({ type }) => type), [REQUEST, REQUEST, KEY_UPDATE, RESPONSE], "types");
  same(opened.map(({ data }) => data.length), [4, 4, 0, 100], "lengths");
  const reply = await receiver.seal(RESPONSE, bytesOf("yes"), { more: true });
  same(await sender.open(reply), { type: RESPONSE, data: bytesOf("yes"), more: true }, "the other direction");
}

/** @param {Vectors} v */
async function concurrentRecords(v) {
  const [mine, theirs] = secretsOf(v);
  const [sender, receiver] = [new RecordLayer(mine, theirs), new RecordLayer(theirs, mine)];
  const calls = Array.from({ length: 40 }, (_, i) => (i % 10 === 9 ? sender.updateKey() : sender.seal(0x10, Uint8Array.of(i))));
  const records = await Promise.all(calls);
  same(new Set(records.map((record) => record.join())).size, 40, "distinct records");
  const opened = await Promise.all(records.map((record) => receiver.open(record)));
  same(opened.filter(({ type }) => type === 0x10).map(({ data }) => data[0]).length, 36, "opened in order");
}

/** @param {Vectors} v */
async function recordsRefused(v) {
  const [mine, theirs] = secretsOf(v);
  const golden = v.protocol.record_layer.records.map(hex);
  const receiver = () => new RecordLayer(theirs, mine);
  for (let at = 0; at < golden[0].length; at += 1) {
    await refuses(DecryptionFailed, () => receiver().open(flipped(golden[0], at, 1 << at % 8)), `byte ${at}`);
  }
  for (const bad of [golden[1], golden[0].subarray(1), concat(golden[0], new Uint8Array(1)), new Uint8Array(15)]) {
    await refuses(DecryptionFailed, () => receiver().open(bad), "out of order, or another length");
  }
  const one = receiver();
  await one.open(golden[0]);
  await refuses(DecryptionFailed, () => one.open(golden[0]), "a repeated record");
  await refuses(DecryptionFailed, () => one.open(golden[1]), "anything after a refusal");
  const other = receiver();
  await refuses(WireError, () => other.open(new Uint8Array(16_118)), "a record too long");
  await refuses(DecryptionFailed, () => other.open(golden[0]), "the right record after a refusal");
}

/** @param {Vectors} v */
async function keyLimits(v) {
  const [mine, theirs] = secretsOf(v);
  const sender = new RecordLayer(mine, theirs, { records: 2, bytes: 1_000 });
  const generous = new RecordLayer(mine, theirs);
  const strict = new RecordLayer(theirs, mine, { records: 2, bytes: 1_000 });
  for (let i = 0; i < 2; i += 1) await sender.seal(0x10, bytesOf("a"));
  await refuses(UsageError, () => sender.seal(0x10, bytesOf("a")), "a used up key");
  await sender.updateKey();
  await sender.seal(0x10, bytesOf("a"));
  for (let i = 0; i < 2; i += 1) await strict.open(await generous.seal(0x10, bytesOf("a")));
  const late = await generous.seal(0x10, bytesOf("a"));
  await refuses(WireError, () => strict.open(late), "the other end's used up key");
}

async function framesRefused() {
  const bad = ["", "00", "0000", "08", "610d", "1f00", "81", "8700", "93", "96", "6101", "6103", "6104", "02", "6102", "61000202"];
  for (const text of bad) await refuses(WireError, () => decodeInner(hex(text)), `inner ${text}`);
  await refuses(WireError, () => decodeInner(concat(new Uint8Array(65), Uint8Array.of(5))), "a long ping");
  const over = (/** @type {number} */ size, /** @type {number} */ type) => concat(new Uint8Array(size), Uint8Array.of(type));
  await refuses(WireError, () => decodeInner(over(16_001, 0x10)), "too many bytes");
  await refuses(WireError, () => decodeInner(concat(over(16_000, 0x10), new Uint8Array(1))), "too much padding");
  same(decodeInner(over(16_100, 0x13)).data.length, 16_100, "relay data");
  const layer = new RecordLayer(new Uint8Array(32), new Uint8Array(32));
  for (const [type, data, options] of /** @type {[number, string, object][]} */ ([
    [0x03, "", {}],
    [0x04, "61", {}],
    [0x08, "", {}],
    [0x13, "61", { more: true }],
    [0x10, "", { pad: 16_001 }],
  ])) {
    await refuses(UsageError, () => layer.seal(type, hex(data), options), `type ${type}`);
  }
}

/** @param {Vectors} v */
async function keyfiles(v) {
  const given = v.session.keyfile_identity;
  for (const name of ["kdf_0", "kdf_2"]) {
    same(await openContainer(hex(given[name]), given.passphrase), given.content, name);
  }
  const { identity, kemKeys, storageSecret } = await openKeyfile(hex(given.kdf_0));
  same((await PrivateKey.fromPkcs8(identity, "ECDSA")).publicKey, v.protocol.keys.pk33_A, "sk_id");
  same(storageSecret, v.protocol.identity.S, "S");
  same(kemKeys.map(({ notAfter }) => notAfter), given.kem_not_after, "notAfter");
  const shown = await Promise.all(kemKeys.map(({ pkcs8 }) => PrivateKey.fromPkcs8(pkcs8, "ECDH")));
  same(shown.map((key) => key.publicKey), [v.protocol.keys.pk33_kem_2, v.protocol.keys.pk33_kem_1], "KEM keys");
}

/** @param {Vectors} v */
async function keyfilesRefused(v) {
  const { kdf_0, kdf_2, passphrase } = v.session.keyfile_identity;
  const [plain, locked] = [hex(kdf_0), hex(kdf_2)];
  const argon = await refuses(UnsupportedKdf, () => openContainer(hex(v.protocol.keyfile.file), "correct horse"), "kdf 1");
  same(/** @type {any} */ (argon).hint.includes("yz id export"), true, "the hint says what to run");
  await refuses(WrongPassphrase, () => openContainer(locked, `${passphrase}x`), "another passphrase");
  await refuses(WrongPassphrase, () => openContainer(flipped(locked, -1), passphrase), "a damaged file");
  await refuses(UsageError, () => openContainer(locked, ""), "no passphrase");
  for (let at = 0; at < plain.length; at += 3) {
    // Byte 4 is the kdf: with another one the parameters are out of bounds.
    await refuses([WireError, DecryptionFailed], () => openContainer(flipped(plain, at, 1 << at % 8)), `byte ${at}`);
  }
  await refuses(DecryptionFailed, () => openContainer(concat(plain, new Uint8Array(1))), "a trailing byte");
  for (const end of [0, 3, 4, 26, 27, 58]) await refuses(WireError, () => openContainer(plain.subarray(0, end)), `${end} bytes`);
  const cheap = locked.slice();
  cheap.set([0, 9, 39, 191], 5); // 599,999 iterations
  await refuses(WireError, () => openContainer(cheap, passphrase), "too few iterations");
}

/** @param {Vectors} v */
async function contentRefused(v) {
  const content = hex(v.session.keyfile_identity.content);
  const identity = content.subarray(0, 141);
  const secret = content.subarray(-35);
  const bad = {
    "cut short": content.subarray(0, -1),
    "a trailing byte": concat(content, new Uint8Array(1)),
    "no identity": content.subarray(141),
    "two identities": concat(identity, content),
    "two secrets": concat(content, secret),
    descending: concat(secret, identity),
    "an unknown type": concat(content, Uint8Array.of(4, 0, 0)),
    "a short secret": concat(identity, Uint8Array.of(3, 0, 1, 7)),
    nothing: new Uint8Array(0),
  };
  for (const [what, tlv] of Object.entries(bad)) await refuses(WireError, () => decodeContent(tlv), what);
  same(decodeContent(concat(identity, secret)).kemKeys.length, 0, "without KEM keys");
}

/** @type {import("../checks.js").Check[]} */
export const CHECKS = [
  { name: "the handshake reproduces at both ends", sections: ["protocol/handshake"], run: handshake },
  { name: "the bound handshake reproduces", sections: ["protocol/handshake_bound"], run: boundHandshake },
  { name: "the private network's handshake reproduces", sections: ["session/handshake_psk"], run: privateHandshake },
  { name: "what each end of a closed network shows", sections: ["session/handshake_token"], run: closedHandshake },
  { name: "a live handshake gives both ends the same, once", run: liveHandshake },
  { name: "a changed Welcome or Proof ends the handshake", run: handshakesRefused },
  { name: "a claim out of form ends the handshake", run: claimsRefused },
  { name: "a malformed Hello ends the handshake", run: hellosRefused },
  { name: "session records reproduce across a key update", sections: ["protocol/record_layer"], run: recordLayer },
  { name: "calls made at once keep their order and nonces", run: concurrentRecords },
  { name: "session records changed, repeated or moved are refused", run: recordsRefused },
  { name: "a used up key is refused at both ends", run: keyLimits },
  { name: "inner frames that section 4 does not name are refused", run: framesRefused },
  { name: "keyfiles open", sections: ["session/keyfile_identity"], run: keyfiles },
  { name: "keyfiles are refused, Argon2 with a hint", sections: ["protocol/keyfile"], run: keyfilesRefused },
  { name: "contents of keyfiles out of form are refused", run: contentRefused },
];
