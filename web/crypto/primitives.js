/**
 * The only user of WebCrypto: P-256, AES-256-GCM, HKDF, HPKE and PBKDF2; the twin of yzdht/crypto/primitives.py.
 *
 * Suite 0x01 of PROTOCOL.md section 1. Refuses every public key that is not a compressed point and every signature
 * that is not low-S. WebCrypto imports no compressed points, so they are decompressed here, over public data only.
 */

import { DecryptionFailed, InvalidKey, InvalidSignature } from "../errors.js";
import { concat, encodeUtf8, fromHex, toHex, u16, u8 } from "../wire/codec.js";

// Node 18 has WebCrypto only as a module; everything newer has it as a global.
const webcrypto = globalThis.crypto ?? (await import("node:crypto")).webcrypto;
if (!webcrypto.subtle) throw new Error("WebCrypto needs a secure context: open this page over https or on localhost");
const { subtle } = webcrypto;

export const PUBLIC_KEY_BYTES = 33;
export const SIGNATURE_BYTES = 64;
export const KEY_BYTES = 32;
export const IV_BYTES = 12;
export const TAG_BYTES = 16;
export const ENC_BYTES = 65;

const P256_FIELD = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const P256_B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const ECDSA = { name: "ECDSA", namedCurve: "P-256" };
const ECDH = { name: "ECDH", namedCurve: "P-256" };
const ECDSA_SHA256 = { name: "ECDSA", hash: "SHA-256" };
const HMAC_SHA256 = { name: "HMAC", hash: "SHA-256" };
const NOTHING = new Uint8Array(0);
// SEQUENCE { 0, { id-ecPublicKey, prime256v1 }, OCTET STRING { SEQUENCE { 1, OCTET STRING of the scalar … } } }
const PKCS8_BEFORE_SCALAR = fromHex("304102010030" + "1306072a8648ce3d020106082a8648ce3d030107" + "0427302502010104" + "20");

/** @typedef {"ECDSA" | "ECDH"} KeyUse One key signs or agrees, never both (PROTOCOL.md section 2). */

/** @param {Uint8Array} bytes @returns {bigint} */
const toInteger = (bytes) => BigInt("0x" + (toHex(bytes) || "0"));
/** @param {bigint} value @returns {Uint8Array} 32 bytes. */
const toBytes32 = (value) => fromHex(value.toString(16).padStart(64, "0"));

/** @param {number} size @returns {Uint8Array} Random bytes of the browser. */
export function randomBytes(size) {
  return webcrypto.getRandomValues(new Uint8Array(size));
}

/** @param {...Uint8Array} parts @returns {Promise<Uint8Array>} SHA-256 of their concatenation, 32 bytes. */
export async function sha256(...parts) {
  return new Uint8Array(await subtle.digest("SHA-256", concat(...parts)));
}

/**
 * @param {Uint8Array} key @param {Uint8Array} message
 * @returns {Promise<Uint8Array>} HMAC-SHA256, 32 bytes.
 */
export async function hmac(key, message) {
  // WebCrypto refuses an empty key; HMAC pads it with zeros, so one zero byte is the same key.
  const raw = key.length ? key : new Uint8Array(1);
  const imported = await subtle.importKey("raw", raw, HMAC_SHA256, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", imported, message));
}

/**
 * @param {Uint8Array} a @param {Uint8Array} b
 * @returns {boolean} Compared in time that depends on the length only.
 */
export function isEqual(a, b) {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i += 1) difference |= a[i] ^ b[i];
  return difference === 0;
}

/**
 * HKDF-SHA256 (RFC 5869).
 *
 * @param {Uint8Array} ikm @param {Uint8Array} salt @param {Uint8Array} info
 * @param {number} length Bytes.
 * @returns {Promise<Uint8Array>}
 */
export async function hkdf(ikm, salt, info, length) {
  const key = await subtle.importKey("raw", ikm, "HKDF", false, ["deriveBits"]);
  const parameters = { name: "HKDF", hash: "SHA-256", salt, info };
  return new Uint8Array(await subtle.deriveBits(parameters, key, 8 * length));
}

/**
 * PBKDF2-HMAC-SHA256 (RFC 8018), 32 bytes; the caller has checked the iterations.
 *
 * @param {Uint8Array} passphrase @param {Uint8Array} salt @param {number} iterations
 * @returns {Promise<Uint8Array>}
 */
export async function pbkdf2(passphrase, salt, iterations) {
  const key = await subtle.importKey("raw", passphrase, "PBKDF2", false, ["deriveBits"]);
  const parameters = { name: "PBKDF2", hash: "SHA-256", salt, iterations };
  return new Uint8Array(await subtle.deriveBits(parameters, key, 8 * KEY_BYTES));
}

/** AES-256-GCM under one key of 32 bytes; the caller owns the uniqueness of nonces. */
export class Aead {
  #key;

  /** @param {CryptoKey} key */
  constructor(key) {
    this.#key = key;
  }

  /** @param {Uint8Array} raw 32 bytes. @returns {Promise<Aead>} */
  static async fromRaw(raw) {
    if (raw.length !== KEY_BYTES) throw new RangeError("an AES-256 key is 32 bytes");
    return new Aead(await subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]));
  }

  /**
   * @param {Uint8Array} iv 12 bytes. @param {Uint8Array} plaintext @param {Uint8Array} [aad]
   * @returns {Promise<Uint8Array>} ciphertext‖tag
   */
  async seal(iv, plaintext, aad = NOTHING) {
    return new Uint8Array(await subtle.encrypt({ name: "AES-GCM", iv, additionalData: aad }, this.#key, plaintext));
  }

  /**
   * @param {Uint8Array} iv 12 bytes. @param {Uint8Array} ciphertext With its tag. @param {Uint8Array} [aad]
   * @returns {Promise<Uint8Array>} The plaintext.
   * @throws {DecryptionFailed} The ciphertext is not from this key, iv and aad.
   */
  async open(iv, ciphertext, aad = NOTHING) {
    if (ciphertext.length < TAG_BYTES) throw new DecryptionFailed("the ciphertext is too short");
    const parameters = { name: "AES-GCM", iv, additionalData: aad };
    return refuseAs(new DecryptionFailed("the ciphertext was refused"), async () =>
      new Uint8Array(await subtle.decrypt(parameters, this.#key, ciphertext)),
    );
  }
}

/**
 * Turn a refusal of WebCrypto (a DOMException) into `refusal`; every other error is a bug and passes.
 *
 * @template T
 * @param {Error} refusal @param {() => Promise<T>} run
 * @returns {Promise<T>}
 */
async function refuseAs(refusal, run) {
  try {
    return await run();
  } catch (error) {
    if (error instanceof DOMException) throw refusal;
    throw error;
  }
}

/** @param {bigint} base @param {bigint} exponent @returns {bigint} base^exponent modulo the field prime. */
function fieldPower(base, exponent) {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % P256_FIELD;
    if (bit === "1") result = (result * base) % P256_FIELD;
  }
  return result;
}

/**
 * X ‖ Y of a compressed point, 64 bytes. y = ±√(x³ − 3x + b); the prime is 3 modulo 4, so the root is one power.
 *
 * @param {Uint8Array} publicKey
 * @returns {Uint8Array}
 * @throws {InvalidKey} It is not a compressed P-256 point.
 */
export function coordinates(publicKey) {
  if (publicKey.length !== PUBLIC_KEY_BYTES || (publicKey[0] !== 2 && publicKey[0] !== 3)) {
    throw new InvalidKey("a public key is a compressed P-256 point of 33 bytes");
  }
  const x = toInteger(publicKey.subarray(1));
  if (x >= P256_FIELD) throw new InvalidKey("a public key is not on the curve");
  const square = (((x * x * x - 3n * x + P256_B) % P256_FIELD) + P256_FIELD) % P256_FIELD; // % keeps the sign
  const root = fieldPower(square, (P256_FIELD + 1n) / 4n);
  if ((root * root) % P256_FIELD !== square) throw new InvalidKey("a public key is not on the curve");
  const y = Number(root & 1n) === (publicKey[0] & 1) ? root : P256_FIELD - root;
  return concat(publicKey.subarray(1), toBytes32(y));
}

/** @param {Uint8Array} point X ‖ Y. @returns {Uint8Array} The compressed point. */
function compress(point) {
  return concat(u8(2 + (point[63] & 1)), point.subarray(0, 32));
}

/** @param {string} text base64url without padding. @returns {Uint8Array} */
function fromBase64Url(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (symbol) => symbol.charCodeAt(0));
}

/**
 * @param {Uint8Array} publicKey @param {KeyUse} use
 * @returns {Promise<CryptoKey>}
 * @throws {InvalidKey} It is not a compressed P-256 point.
 */
async function importPublic(publicKey, use) {
  const raw = concat(u8(4), coordinates(publicKey));
  return refuseAs(new InvalidKey("a public key is not on the curve"), () =>
    use === "ECDSA"
      ? subtle.importKey("raw", raw, ECDSA, true, ["verify"])
      : subtle.importKey("raw", raw, ECDH, true, []),
  );
}

/** One P-256 private key, not extractable, for ECDSA or for ECDH and HPKE. */
export class PrivateKey {
  #key;
  #use;

  /** @param {CryptoKey} key @param {Uint8Array} publicKey 33 bytes. @param {KeyUse} use */
  constructor(key, publicKey, use) {
    this.#key = key;
    this.#use = use;
    /** @type {Uint8Array} */
    this.publicKey = publicKey;
  }

  /** @param {KeyUse} use @returns {Promise<PrivateKey>} A new key from the browser's randomness. */
  static async generate(use) {
    const pair = /** @type {CryptoKeyPair} */ (
      await (use === "ECDSA"
        ? subtle.generateKey(ECDSA, false, ["sign", "verify"])
        : subtle.generateKey(ECDH, false, ["deriveBits"]))
    );
    const point = new Uint8Array(await subtle.exportKey("raw", pair.publicKey));
    return new PrivateKey(pair.privateKey, compress(point.subarray(1)), use);
  }

  /**
   * @param {Uint8Array} scalar 32 bytes; for vectors and tests. @param {KeyUse} use
   * @returns {Promise<PrivateKey>}
   */
  static async fromScalar(scalar, use) {
    return PrivateKey.fromPkcs8(concat(PKCS8_BEFORE_SCALAR, scalar), use);
  }

  /**
   * @param {Uint8Array} seed At least 48 bytes that were derived. @param {KeyUse} use
   * @returns {Promise<PrivateKey>}
   */
  static async fromSeed(seed, use) {
    return PrivateKey.fromScalar(toBytes32(1n + (toInteger(seed) % (P256_ORDER - 1n))), use);
  }

  /**
   * Load a DER PKCS8 key.
   *
   * @param {Uint8Array} der @param {KeyUse} use
   * @returns {Promise<PrivateKey>}
   * @throws {InvalidKey} It is not an unencrypted P-256 key.
   */
  static async fromPkcs8(der, use) {
    const [algorithm, usages] = use === "ECDSA" ? [ECDSA, ["sign"]] : [ECDH, ["deriveBits"]];
    return refuseAs(new InvalidKey("a private key is damaged, or not a P-256 key"), async () => {
      // The public part can be read only from an extractable key; what is kept is a second import that is not.
      const readable = await subtle.importKey("pkcs8", der, algorithm, true, /** @type {KeyUsage[]} */ (usages));
      const { x, y } = await subtle.exportKey("jwk", readable);
      const key = await subtle.importKey("pkcs8", der, algorithm, false, /** @type {KeyUsage[]} */ (usages));
      const point = concat(fromBase64Url(String(x)), fromBase64Url(String(y)));
      return new PrivateKey(key, compress(point), use);
    });
  }

  /** @param {Uint8Array} message @returns {Promise<Uint8Array>} ECDSA-SHA256 in IEEE P1363 form, low-S. */
  async sign(message) {
    this.#demand("ECDSA");
    const signature = new Uint8Array(await subtle.sign(ECDSA_SHA256, this.#key, message));
    const s = toInteger(signature.subarray(32));
    return s <= P256_ORDER / 2n ? signature : concat(signature.subarray(0, 32), toBytes32(P256_ORDER - s));
  }

  /**
   * @param {Uint8Array} publicKey
   * @returns {Promise<Uint8Array>} ECDH: the x-coordinate, 32 bytes.
   * @throws {InvalidKey} `publicKey` is not a compressed P-256 point.
   */
  async exchange(publicKey) {
    this.#demand("ECDH");
    return this.#agree(await importPublic(publicKey, "ECDH"));
  }

  /**
   * Open enc65 ‖ ciphertext (RFC 9180 base mode, DHKEM P-256, HKDF-SHA256, AES-256-GCM, empty aad).
   *
   * @param {Uint8Array} sealed @param {Uint8Array} info
   * @returns {Promise<Uint8Array>}
   * @throws {DecryptionFailed} It was not sealed to this key with this info.
   */
  async hpkeOpen(sealed, info) {
    this.#demand("ECDH");
    const refusal = new DecryptionFailed("the key was not wrapped for this reader");
    if (sealed.length < ENC_BYTES + TAG_BYTES || sealed[0] !== 4) throw refusal;
    const enc = sealed.subarray(0, ENC_BYTES);
    const agreed = await refuseAs(refusal, async () => this.#agree(await subtle.importKey("raw", enc, ECDH, true, [])));
    const recipient = concat(u8(4), coordinates(this.publicKey));
    const { key, iv } = await hpkeKeys(agreed, concat(enc, recipient), info);
    return (await Aead.fromRaw(key)).open(iv, sealed.subarray(ENC_BYTES));
  }

  /** @param {CryptoKey} peer @returns {Promise<Uint8Array>} */
  async #agree(peer) {
    return new Uint8Array(await subtle.deriveBits({ name: "ECDH", public: peer }, this.#key, 256));
  }

  /** @param {KeyUse} use */
  #demand(use) {
    if (this.#use !== use) throw new TypeError(`this key is for ${this.#use}`);
  }
}

/**
 * Check an ECDSA-SHA256 signature in IEEE P1363 form.
 *
 * @param {Uint8Array} publicKey @param {Uint8Array} message @param {Uint8Array} signature
 * @throws {InvalidKey} `publicKey` is not a compressed P-256 point.
 * @throws {InvalidSignature} Wrong length, out of range, high-S, or it does not verify.
 */
export async function verify(publicKey, message, signature) {
  const refusal = new InvalidSignature("the signature was refused");
  if (signature.length !== SIGNATURE_BYTES) throw refusal;
  const [r, s] = [toInteger(signature.subarray(0, 32)), toInteger(signature.subarray(32))];
  if (r === 0n || r >= P256_ORDER || s === 0n || s > P256_ORDER / 2n) throw refusal;
  const key = await importPublic(publicKey, "ECDSA");
  if (!(await subtle.verify(ECDSA_SHA256, key, signature, message))) throw refusal;
}

const HPKE_VERSION = encodeUtf8("HPKE-v1");
const KEM_SUITE = concat(encodeUtf8("KEM"), u16(0x0010));
const HPKE_SUITE = concat(encodeUtf8("HPKE"), u16(0x0010), u16(0x0001), u16(0x0002));

/**
 * LabeledExtract of RFC 9180.
 *
 * @param {Uint8Array} suite @param {Uint8Array} salt @param {string} label @param {Uint8Array} ikm
 */
function labelledExtract(suite, salt, label, ikm) {
  return hmac(salt, concat(HPKE_VERSION, suite, encodeUtf8(label), ikm));
}

/**
 * LabeledExpand of RFC 9180, at most 32 bytes: one block.
 *
 * @param {Uint8Array} suite @param {Uint8Array} prk @param {string} label @param {Uint8Array} info
 * @param {number} length
 */
async function labelledExpand(suite, prk, label, info, length) {
  const block = concat(u16(length), HPKE_VERSION, suite, encodeUtf8(label), info, u8(1));
  return (await hmac(prk, block)).subarray(0, length);
}

/**
 * The key schedule of RFC 9180, base mode.
 *
 * @param {Uint8Array} agreed @param {Uint8Array} kemContext @param {Uint8Array} info
 */
async function hpkeKeys(agreed, kemContext, info) {
  const prk = await labelledExtract(KEM_SUITE, NOTHING, "eae_prk", agreed);
  const shared = await labelledExpand(KEM_SUITE, prk, "shared_secret", kemContext, 32);
  const pskIdHash = await labelledExtract(HPKE_SUITE, NOTHING, "psk_id_hash", NOTHING);
  const infoHash = await labelledExtract(HPKE_SUITE, NOTHING, "info_hash", info);
  const context = concat(u8(0), pskIdHash, infoHash);
  const secret = await labelledExtract(HPKE_SUITE, shared, "secret", NOTHING);
  const key = await labelledExpand(HPKE_SUITE, secret, "key", context, KEY_BYTES);
  return { key, iv: await labelledExpand(HPKE_SUITE, secret, "base_nonce", context, IV_BYTES) };
}
