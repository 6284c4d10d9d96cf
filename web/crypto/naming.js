/**
 * What follows from names and keys: NET, node ids, fingerprints, tags and targets (PROTOCOL.md sections 1, 2 and 7).
 *
 * Owns the labelled hash and kdf that every other derivation uses. Refuses names that are not 1 to 1,024 bytes of
 * UTF-8 (network names 1 to 64) without U+0000 and lone surrogates; it normalises to NFC itself.
 */

import { UsageError } from "../errors.js";
import { NAME_BYTES_MAX, NETWORK_NAME_BYTES_MAX } from "../limits.js";
import { concat, encodeUtf8, lp } from "../wire/codec.js";
import { KEY_BYTES, coordinates, hkdf, hmac, sha256 } from "./primitives.js";

const NETWORK_ID_BYTES = 8;
const FINGERPRINT_SYMBOLS = 16;
const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/**
 * SHA(lp(label) ‖ NET ‖ parts), 32 bytes; parts have a fixed length except the last (section 1).
 *
 * @param {string} label @param {Uint8Array} network NET, 8 bytes. @param {...Uint8Array} parts
 */
export function dh(label, network, ...parts) {
  return sha256(lp(label), network, ...parts);
}

/**
 * HKDF-SHA256(ikm, salt, info = lp(label) ‖ ctx), `length` bytes (section 1).
 *
 * @param {Uint8Array} ikm @param {Uint8Array} salt @param {string} label @param {Uint8Array} ctx @param {number} length
 */
export function kdf(ikm, salt, label, ctx, length) {
  return hkdf(ikm, salt, concat(lp(label), ctx), length);
}

/** @param {string} text @param {string} what @param {number} bytesMax @returns {Uint8Array} UTF-8 in NFC. */
function normalised(text, what, bytesMax) {
  if (text.includes("\0")) throw new UsageError(`a ${what} cannot hold U+0000`);
  if (/\p{Surrogate}/u.test(text)) throw new UsageError(`a ${what} must be valid Unicode`);
  const raw = encodeUtf8(text.normalize("NFC"));
  if (raw.length < 1 || raw.length > bytesMax) {
    throw new UsageError(`a ${what} is 1 to ${bytesMax} bytes of UTF-8, this one is ${raw.length}`);
  }
  return raw;
}

/**
 * NET, the 8 bytes that enter every hash and signature of a network (section 1).
 *
 * @param {string} name Normalised to NFC here.
 * @returns {Promise<Uint8Array>}
 * @throws {UsageError} It is not 1 to 64 bytes of UTF-8, or holds U+0000 or a lone surrogate.
 */
export async function networkId(name) {
  const raw = normalised(name, "network name", NETWORK_NAME_BYTES_MAX);
  return (await sha256(encodeUtf8("yz-net:"), raw)).subarray(0, NETWORK_ID_BYTES);
}

/**
 * SHA(X ‖ Y) of an identity key, 32 bytes (section 2).
 *
 * @param {Uint8Array} publicKey
 * @returns {Promise<Uint8Array>}
 * @throws {InvalidKey} It is not a compressed P-256 point.
 */
export async function nodeIdOf(publicKey) {
  return sha256(coordinates(publicKey));
}

/**
 * K_self, 32 bytes: seals what only its publisher reads (section 2).
 *
 * @param {Uint8Array} storageSecret @param {Uint8Array} nodeId
 */
export function selfKey(storageSecret, nodeId) {
  return hkdf(storageSecret, nodeId, encodeUtf8("yz-network-encryption-v1"), KEY_BYTES);
}

/**
 * K_name, 32 bytes: blinds the names of one's own records (section 2).
 *
 * @param {Uint8Array} storageSecret @param {Uint8Array} nodeId
 */
export function nameKey(storageSecret, nodeId) {
  return hkdf(storageSecret, nodeId, encodeUtf8("yz-network-naming-v1"), KEY_BYTES);
}

/**
 * First 80 bits of a node id for people: `XXXX-XXXX-XXXX-XXXX`, upper-case Crockford base32 (section 2).
 *
 * @param {Uint8Array} nodeId
 * @returns {string}
 */
export function fingerprint(nodeId) {
  const bits = Array.from(nodeId.subarray(0, 10), (byte) => byte.toString(2).padStart(8, "0")).join("");
  const symbols = Array.from({ length: FINGERPRINT_SYMBOLS }, (_, i) => CROCKFORD[parseInt(bits.slice(5 * i, 5 * i + 5), 2)]);
  return [0, 4, 8, 12].map((start) => symbols.slice(start, start + 4).join("")).join("-");
}

/**
 * A record or topic name in NFC as UTF-8, ready to be hashed.
 *
 * @param {string} name
 * @returns {Uint8Array}
 * @throws {UsageError} It is not 1 to 1,024 bytes of UTF-8, or holds U+0000 or a lone surrogate.
 */
export function normaliseName(name) {
  return normalised(name, "name", NAME_BYTES_MAX);
}

/** @param {Uint8Array} key @param {Uint8Array} network @param {string} name */
function blindedTag(key, network, name) {
  return hmac(key, concat(lp("yz1 name"), network, normaliseName(name)));
}

/**
 * Tag of a name that only its owner can compute, under K_name (section 7).
 *
 * @param {Uint8Array} ownNameKey @param {Uint8Array} network @param {string} name
 */
export async function ownTag(ownNameKey, network, name) {
  return blindedTag(ownNameKey, network, name);
}

/**
 * Tag of a name that only the members of a group can compute (section 7).
 *
 * @param {Uint8Array} nameSecret @param {Uint8Array} network @param {string} name
 */
export async function groupTag(nameSecret, network, name) {
  return blindedTag(nameSecret, network, name);
}

/**
 * Tag of a name that everybody who knows it can compute (section 7).
 *
 * @param {Uint8Array} network @param {string} name
 */
export async function publicTag(network, name) {
  return dh("yz1 pubname", network, normaliseName(name));
}

/**
 * Target of the one slot of (publisher, tag) (section 7).
 *
 * @param {Uint8Array} network @param {Uint8Array} publisher @param {Uint8Array} tag
 */
export function mutableTarget(network, publisher, tag) {
  return dh("yz1 mut", network, publisher, tag);
}

/**
 * Target of the entries that several publishers hold under one tag (section 7).
 *
 * @param {Uint8Array} network @param {Uint8Array} tag
 */
export function multiTarget(network, tag) {
  return dh("yz1 multi", network, tag);
}

/**
 * Target of an immutable record: the hash of its bytes (section 7).
 *
 * @param {Uint8Array} network @param {Uint8Array} record
 */
export function immutableTarget(network, record) {
  return dh("yz1 imm", network, record);
}
