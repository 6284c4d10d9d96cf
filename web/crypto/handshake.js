/**
 * The session handshake, SIGMA-I with the MAC under the signature (PROTOCOL.md section 3): Hello, Welcome, Proof.
 *
 * Ready, the first protected record, is the record layer's. Whatever fails here ends the channel with no detail on the
 * wire; the errors are for this end's eyes only.
 */

import { CryptoError, HandshakeFailed, UsageError, WireError, WrongNodeId } from "../errors.js";
import { HANDSHAKE_MESSAGE_BYTES_MAX, HELLO_BYTES_MAX, OFFERS_MAX } from "../limits.js";
import { Reader, concat, lp, u16, u32, u8 } from "../wire/codec.js";
import { CAPS_IN_USE } from "../wire/frame.js";
import { TOKEN_BYTES } from "../wire/token.js";
import { kdf, nodeIdOf } from "./naming.js";
import { Aead, IV_BYTES, PUBLIC_KEY_BYTES, PrivateKey, SIGNATURE_BYTES, hmac, isEqual, sha256 } from "./primitives.js";
import { verifyMessage } from "./signing.js";

const MESSAGE = Object.freeze({ HELLO: 0x01, WELCOME: 0x02, PROOF: 0x03 });
const OFFER = Object.freeze({ version: 0x01, suite: 0x01 });
const CAPS_ALWAYS = 1;
const TOKEN = 0x20; // the type of the extension in which p2 and p3 show one
const LABEL = Object.freeze({ INITIATOR: "yz1 hs init", RESPONDER: "yz1 hs resp" });
const ZERO_IV = new Uint8Array(IV_BYTES);
const NOTHING = new Uint8Array(0);

/** @typedef {{type: number, body: Uint8Array}} Extension */

/**
 * @typedef {object} Endpoint What one end brings to a handshake.
 * @property {Uint8Array} network NET, 8 bytes.
 * @property {import("./signing.js").Signer} signer The identity of this end.
 * @property {number} caps u32, bit 0 set.
 * @property {Uint8Array} [token] What this end shows, 176 bytes of section 12.
 * @property {Uint8Array} [binding] Empty, or 32 bytes over WebRTC.
 * @property {Uint8Array} [psk] 32 bytes in private networks.
 * @property {PrivateKey} [ephemeral] An ECDH key; given only by vectors.
 * @property {Uint8Array} [expectedNodeId] The dialled id, where one is known.
 */

/**
 * @typedef {object} Established
 * @property {Uint8Array} peerPublicKey 33 bytes.
 * @property {Uint8Array} peerNodeId 32 bytes.
 * @property {number} peerCaps u32; bits that section 3.7 ignores are cleared.
 * @property {Uint8Array} [shown] The token that the other end showed, not looked at.
 * @property {Uint8Array} peerSignature 64 bytes; for vectors.
 * @property {Uint8Array} secretInitiator 32 bytes, for what the initiator sends.
 * @property {Uint8Array} secretResponder 32 bytes.
 * @property {Uint8Array} exporter 32 bytes; the first 16 are the session id.
 */

/** @param {Extension[]} extensions @returns {Uint8Array} ext_len u16 ‖ ext. */
function encodeExtensions(extensions) {
  const ext = concat(...extensions.map(({ type, body }) => concat(u8(type), u16(body.length), body)));
  return concat(u16(ext.length), ext);
}

/** @param {Reader} reader At ext_len. @returns {Extension[]} */
function readExtensions(reader) {
  const inner = new Reader(reader.take(reader.u16()));
  const extensions = [];
  while (inner.remaining) extensions.push({ type: inner.u8(), body: inner.take(inner.u16()) });
  return extensions;
}

/**
 * @param {Uint8Array} message @param {number} type @param {number} bytesMax
 * @returns {Reader} After the type.
 */
function readMessage(message, type, bytesMax) {
  if (message.length > bytesMax) throw new WireError("a handshake message is too long");
  const reader = new Reader(message);
  if (reader.u8() !== type) throw new WireError("not the handshake message that comes next");
  return reader;
}

/**
 * @param {Uint8Array} message
 * @returns {{offers: {version: number, suite: number}[], ephemeral: Uint8Array, extensions: Extension[]}}
 * @throws {WireError}
 */
export function decodeHello(message) {
  const reader = readMessage(message, MESSAGE.HELLO, HELLO_BYTES_MAX);
  const count = reader.u8();
  if (count < 1 || count > OFFERS_MAX) throw new WireError("a hello makes 1 to 8 offers");
  const offers = Array.from({ length: count }, () => ({ version: reader.u8(), suite: reader.u8() }));
  const hello = { offers, ephemeral: reader.take(PUBLIC_KEY_BYTES), extensions: readExtensions(reader) };
  reader.end();
  return hello;
}

/**
 * @param {Uint8Array} message
 * @returns {{clear: Uint8Array, ephemeral: Uint8Array, sealed: Uint8Array}} `clear` is c2.
 */
export function decodeWelcome(message) {
  const reader = readMessage(message, MESSAGE.WELCOME, HANDSHAKE_MESSAGE_BYTES_MAX);
  const [version, suite] = [reader.u8(), reader.u8()];
  if (version !== OFFER.version || suite !== OFFER.suite) throw new WireError("the welcome takes what was not offered");
  const ephemeral = reader.take(PUBLIC_KEY_BYTES);
  readExtensions(reader);
  return { clear: message.subarray(0, reader.offset), ephemeral, sealed: reader.rest() };
}

/** @param {Endpoint} end @returns {Promise<PrivateKey>} */
async function ephemeralOf(end) {
  if (!(end.caps & CAPS_ALWAYS) || end.caps & ~CAPS_IN_USE) {
    throw new UsageError("capability bit 0 is always set, bits 1 to 3 and 13 to 31 never");
  }
  return end.ephemeral ?? PrivateKey.generate("ECDH");
}

/**
 * th1 and the handshake keys.
 *
 * @param {Endpoint} end @param {Uint8Array} agreed @param {Uint8Array} hello @param {Uint8Array} clear
 */
async function handshakeKeys(end, agreed, hello, clear) {
  const prologue = concat(lp("yz1 handshake"), end.network, lp(end.binding ?? NOTHING));
  const th1 = await sha256(prologue, u16(hello.length), hello, u16(clear.length), clear);
  const raw = await kdf(concat(agreed, end.psk ?? NOTHING), th1, "yz1 hs", NOTHING, 160);
  const [kR, kI, macR, macI, master] = [0, 32, 64, 96, 128].map((start) => raw.subarray(start, start + 32));
  return { th1, aeadR: await Aead.fromRaw(kR), aeadI: await Aead.fromRaw(kI), macR, macI, master };
}

/** @param {Endpoint} end @returns {Uint8Array} p2 or p3. */
function encodeIdentity(end) {
  if (end.token && end.token.length !== TOKEN_BYTES) throw new UsageError("a token has 176 bytes");
  const extensions = end.token ? [{ type: TOKEN, body: end.token }] : [];
  return concat(end.signer.publicKey, u32(end.caps), encodeExtensions(extensions));
}

/** @param {Reader} reader At ext_len of p2 or p3. @returns {Uint8Array | undefined} */
function readToken(reader) {
  const shown = readExtensions(reader).filter(({ type }) => type === TOKEN);
  if (shown.length > 1) throw new WireError("a token was shown twice");
  if (shown.length && shown[0].body.length > TOKEN_BYTES) throw new WireError("what was shown is longer than a token");
  return shown[0]?.body;
}

/**
 * Sign this end's identity, p ‖ σ. @param {Endpoint} end @param {string} label
 * @param {Uint8Array} transcript th1 or th3. @param {Uint8Array} macKey
 */
async function proveIdentity(end, label, transcript, macKey) {
  const identity = encodeIdentity(end);
  const bound = await sha256(transcript, identity);
  const signature = await end.signer.sign(label, end.network, concat(bound, await hmac(macKey, bound)));
  return { plaintext: concat(identity, signature), next: await sha256(bound, signature) };
}

/**
 * Check the other end's p ‖ σ. @param {Endpoint} end @param {string} label @param {Uint8Array} transcript
 * @param {Uint8Array} macKey @param {Uint8Array} plaintext
 */
async function checkIdentity(end, label, transcript, macKey, plaintext) {
  const reader = new Reader(plaintext);
  const [publicKey, caps, shown] = [reader.take(PUBLIC_KEY_BYTES), reader.u32(), readToken(reader)];
  const identity = plaintext.subarray(0, reader.offset);
  const signature = reader.take(SIGNATURE_BYTES);
  reader.end();
  const bound = await sha256(transcript, identity);
  await verifyMessage(publicKey, label, end.network, concat(bound, await hmac(macKey, bound)), signature);
  if (isEqual(publicKey, end.signer.publicKey)) throw new HandshakeFailed("the other end is this identity itself");
  if (!(caps & CAPS_ALWAYS)) throw new HandshakeFailed("the other end does not set capability bit 0");
  const nodeId = await nodeIdOf(publicKey);
  if (end.expectedNodeId && !isEqual(nodeId, end.expectedNodeId)) {
    throw new WrongNodeId("another node answered than the one dialled");
  }
  const peer = { peerPublicKey: publicKey, peerNodeId: nodeId, peerCaps: caps & CAPS_IN_USE, shown };
  return { peer: { ...peer, peerSignature: signature }, next: await sha256(bound, signature) };
}

/** @param {Uint8Array} master @param {Uint8Array} th5 */
async function sessionSecrets(master, th5) {
  const raw = await kdf(master, th5, "yz1 app", NOTHING, 128);
  return { secretInitiator: raw.slice(0, 32), secretResponder: raw.slice(32, 64), exporter: raw.slice(64, 96) };
}

/**
 * Whatever the other end did wrong is one error, so that nothing can tell the cases apart.
 *
 * @template T
 * @param {() => Promise<T>} step
 * @returns {Promise<T>}
 */
async function advance(step) {
  try {
    return await step();
  } catch (error) {
    if (error instanceof HandshakeFailed) throw error;
    if (error instanceof WireError || error instanceof CryptoError) {
      throw new HandshakeFailed("the other end did not prove who it is");
    }
    throw error;
  }
}

/** The end that dials: `hello()`, then `readWelcome`. Serves once. */
export class Initiator {
  #end;
  /** @type {PrivateKey | undefined} */
  #ephemeral;
  #hello = NOTHING;

  /** @param {Endpoint} end */
  constructor(end) {
    this.#end = end;
  }

  /** @param {Extension[]} [extensions] Of the Hello itself. @returns {Promise<Uint8Array>} M1. */
  async hello(extensions = []) {
    this.#ephemeral = await ephemeralOf(this.#end);
    const offers = [u8(1), u8(OFFER.version), u8(OFFER.suite)];
    this.#hello = concat(u8(MESSAGE.HELLO), ...offers, this.#ephemeral.publicKey, encodeExtensions(extensions));
    if (this.#hello.length > HELLO_BYTES_MAX) throw new UsageError("a hello is at most 4,095 bytes");
    return this.#hello;
  }

  /**
   * @param {Uint8Array} welcome M2.
   * @returns {Promise<{proof: Uint8Array, established: Established}>} M3, to be sent, and the session.
   * @throws {HandshakeFailed} Close the channel and say nothing.
   */
  readWelcome(welcome) {
    return advance(() => this.#readWelcome(welcome));
  }

  /** @param {Uint8Array} welcome */
  async #readWelcome(welcome) {
    const own = this.#ephemeral;
    if (!own) throw new UsageError("a hello comes first, and each serves once");
    this.#ephemeral = undefined;
    const { clear, ephemeral, sealed } = decodeWelcome(welcome);
    if (isEqual(ephemeral, own.publicKey)) throw new HandshakeFailed("the other end sent our own ephemeral key back");
    const keys = await handshakeKeys(this.#end, await own.exchange(ephemeral), this.#hello, clear);
    const opened = await keys.aeadR.open(ZERO_IV, sealed, keys.th1);
    const { peer, next: th3 } = await checkIdentity(this.#end, LABEL.RESPONDER, keys.th1, keys.macR, opened);
    const { plaintext, next: th5 } = await proveIdentity(this.#end, LABEL.INITIATOR, th3, keys.macI);
    const proof = concat(u8(MESSAGE.PROOF), await keys.aeadI.seal(ZERO_IV, plaintext, th3));
    return { proof, established: { ...peer, ...(await sessionSecrets(keys.master, th5)) } };
  }
}

/** The end that is dialled: `readHello`, then `readProof`. Serves once. */
export class Responder {
  #end;
  /** @type {{keys: Awaited<ReturnType<typeof handshakeKeys>>, th3: Uint8Array} | undefined} */
  #waiting;

  /** @param {Endpoint} end */
  constructor(end) {
    this.#end = end;
  }

  /**
   * @param {Uint8Array} hello M1.
   * @returns {Promise<Uint8Array>} M2.
   * @throws {HandshakeFailed} Close the channel and say nothing.
   */
  readHello(hello) {
    return advance(() => this.#readHello(hello));
  }

  /** @param {Uint8Array} hello */
  async #readHello(hello) {
    const { offers, ephemeral } = decodeHello(hello);
    if (!offers.some(({ version, suite }) => version === OFFER.version && suite === OFFER.suite)) {
      throw new HandshakeFailed("the hello offers nothing that this version knows");
    }
    const own = await ephemeralOf(this.#end);
    if (isEqual(ephemeral, own.publicKey)) throw new HandshakeFailed("the other end sent our own ephemeral key");
    const head = Uint8Array.of(MESSAGE.WELCOME, OFFER.version, OFFER.suite);
    const clear = concat(head, own.publicKey, encodeExtensions([]));
    const keys = await handshakeKeys(this.#end, await own.exchange(ephemeral), hello, clear);
    const { plaintext, next } = await proveIdentity(this.#end, LABEL.RESPONDER, keys.th1, keys.macR);
    this.#waiting = { keys, th3: next };
    return concat(clear, await keys.aeadR.seal(ZERO_IV, plaintext, keys.th1));
  }

  /**
   * @param {Uint8Array} proof M3.
   * @returns {Promise<Established>}
   * @throws {HandshakeFailed} Close the channel and say nothing.
   */
  readProof(proof) {
    return advance(() => this.#readProof(proof));
  }

  /** @param {Uint8Array} proof */
  async #readProof(proof) {
    if (!this.#waiting) throw new UsageError("a hello comes first, and each serves once");
    const { keys, th3 } = this.#waiting;
    this.#waiting = undefined;
    const sealed = readMessage(proof, MESSAGE.PROOF, HANDSHAKE_MESSAGE_BYTES_MAX).rest();
    const opened = await keys.aeadI.open(ZERO_IV, sealed, th3);
    const { peer, next: th5 } = await checkIdentity(this.#end, LABEL.INITIATOR, th3, keys.macI, opened);
    return { ...peer, ...(await sessionSecrets(keys.master, th5)) };
  }
}
