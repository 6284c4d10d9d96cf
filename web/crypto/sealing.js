/**
 * Padding, the committed box, and who may open a record (PROTOCOL.md section 8).
 *
 * Opening: verify the signature → recompute the keys → compare the commitment in constant time → decrypt → unpad.
 * AES-GCM alone opens one ciphertext under two keys; the commitment is what makes a box open under one key only.
 */

import { DecryptionFailed, NotAReader, NotFound, UnknownEpoch, UsageError, ValueTooLarge } from "../errors.js";
import { VALUE_BYTES_MAX } from "../limits.js";
import { concat, lp, u32, u8 } from "../wire/codec.js";
import {
  Kind,
  Readers,
  StanzaType,
  encodeFixed,
  encodeImmutableFixed,
  encodeStanzas,
  encodeUnsigned,
  paddedLength,
} from "../wire/record.js";
import { kdf } from "./naming.js";
import { Aead, IV_BYTES, KEY_BYTES, hmac, isEqual, randomBytes, sha256 } from "./primitives.js";
import { verifyMessage } from "./signing.js";

/** @typedef {import("../wire/record.js").DecodedRecord} DecodedRecord */
/** @typedef {import("../wire/record.js").Slot} Slot */
/** @typedef {import("../wire/record.js").Stanza} Stanza */

export const SALT_BYTES = 24;
const COMMIT_BYTES = 32;
const LENGTH_BYTES = 4;
const NOTHING = new Uint8Array(0);
const ZERO_IV = new Uint8Array(IV_BYTES);

// Padding

/** u32 |pt| ‖ pt ‖ zeros up to P(|pt| + 4). @param {Uint8Array} plaintext @returns {Uint8Array} */
export function pad(plaintext) {
  const padded = new Uint8Array(paddedLength(plaintext.length + LENGTH_BYTES));
  padded.set(u32(plaintext.length));
  padded.set(plaintext, LENGTH_BYTES);
  return padded;
}

/**
 * @param {Uint8Array} padded
 * @returns {Uint8Array} The plaintext.
 * @throws {DecryptionFailed} A length other than P(|pt| + 4), or a padding byte that is not zero.
 */
export function unpad(padded) {
  const refusal = new DecryptionFailed("the padding was refused");
  if (padded.length < LENGTH_BYTES) throw refusal;
  const length = new DataView(padded.buffer, padded.byteOffset).getUint32(0);
  if (length > padded.length - LENGTH_BYTES || paddedLength(length + LENGTH_BYTES) !== padded.length) throw refusal;
  if (padded.subarray(LENGTH_BYTES + length).some((byte) => byte !== 0)) throw refusal;
  return padded.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
}

// The box

/**
 * @typedef {object} Position Where a chunk stands in its object.
 * @property {number} index u32; 0x80000000 + n for index chunks.
 * @property {boolean} isLast
 */

/**
 * @typedef {object} BoxInput
 * @property {Uint8Array} key K, 32 bytes.
 * @property {Uint8Array} salt 24 bytes, fresh for every sealing.
 * @property {Uint8Array} hdr0 F ‖ (H without its last 56 bytes).
 * @property {Position} [position] Chunks of large objects only.
 */

/** key ‖ iv ‖ commit. @param {BoxInput} input */
async function boxKeys({ key, salt, hdr0, position }) {
  const tail = position ? concat(u32(position.index), u8(Number(position.isLast))) : NOTHING;
  const material = await kdf(key, salt, "yz1 box", await sha256(hdr0, tail), KEY_BYTES + IV_BYTES + COMMIT_BYTES);
  return {
    aead: await Aead.fromRaw(material.subarray(0, KEY_BYTES)),
    iv: material.subarray(KEY_BYTES, KEY_BYTES + IV_BYTES),
    commit: material.subarray(KEY_BYTES + IV_BYTES),
  };
}

/**
 * @param {BoxInput} input @param {Uint8Array} plaintext At most 61,436 bytes.
 * @returns {Promise<{commit: Uint8Array, payload: Uint8Array}>}
 * @throws {ValueTooLarge}
 */
export async function sealBox(input, plaintext) {
  if (plaintext.length > VALUE_BYTES_MAX) throw new ValueTooLarge(`the value is ${plaintext.length} bytes`);
  if (input.salt.length !== SALT_BYTES) throw new UsageError("a salt is 24 bytes");
  const { aead, iv, commit } = await boxKeys(input);
  return { commit, payload: await aead.seal(iv, pad(plaintext), input.hdr0) };
}

/**
 * @param {BoxInput} input @param {Uint8Array} commit 32 bytes. @param {Uint8Array} payload
 * @returns {Promise<Uint8Array>} The plaintext.
 * @throws {DecryptionFailed} Another key, header, position, or damaged bytes.
 */
export async function openBox(input, commit, payload) {
  const keys = await boxKeys(input);
  if (!isEqual(keys.commit, commit)) throw new DecryptionFailed("the commitment was refused");
  return unpad(await keys.aead.open(keys.iv, payload, input.hdr0));
}

// Building a record; what is returned lacks only the signature ("yz1 rec") of its publisher

/**
 * @typedef {object} Seal
 * @property {Uint8Array} key K of the readers, 32 bytes.
 * @property {Uint8Array} [prefix] H before salt24: stanzas, or kid8.
 * @property {Uint8Array} [salt] 24 bytes; random unless a vector gives it.
 * @property {Position} [position] Chunks of large objects only.
 */

/**
 * @param {Uint8Array} fixed @param {Seal} seal @param {Uint8Array} plaintext
 * @returns {Promise<Uint8Array>}
 */
async function sealUnder(fixed, { key, prefix = NOTHING, salt = randomBytes(SALT_BYTES), position }, plaintext) {
  const { commit, payload } = await sealBox({ key, salt, hdr0: concat(fixed, prefix), position }, plaintext);
  return encodeUnsigned(fixed, concat(prefix, salt, commit), payload);
}

/** @param {Slot} slot Its readers are public. @param {Uint8Array} payload @returns {Uint8Array} */
export function buildPublic(slot, payload) {
  return encodeUnsigned(encodeFixed({ ...slot, readers: Readers.PUBLIC }), NOTHING, payload);
}

/**
 * @param {Slot} slot @param {Seal} seal Key: K_self. @param {Uint8Array} plaintext
 * @returns {Promise<Uint8Array>}
 */
export function sealSelf(slot, seal, plaintext) {
  return sealUnder(encodeFixed({ ...slot, readers: Readers.SELF }), seal, plaintext);
}

/**
 * @param {Slot} slot @param {Seal & {stanzas: Stanza[]}} seal Key: CEK, already wrapped in the stanzas.
 * @param {Uint8Array} plaintext
 * @returns {Promise<Uint8Array>}
 */
export function sealStanzas(slot, seal, plaintext) {
  const prefix = encodeStanzas(seal.stanzas);
  return sealUnder(encodeFixed({ ...slot, readers: Readers.STANZAS }), { ...seal, prefix }, plaintext);
}

/**
 * @param {Slot} slot @param {GroupEpoch} group @param {Uint8Array} plaintext @param {Uint8Array} [salt]
 * @returns {Promise<Uint8Array>}
 */
export async function sealGroup(slot, group, plaintext, salt = randomBytes(SALT_BYTES)) {
  const [key, prefix] = [await groupRecordKey(group), await groupRecordKid(group.recordRoot, salt)];
  return sealUnder(encodeFixed({ ...slot, readers: Readers.GROUP }), { key, prefix, salt }, plaintext);
}

/**
 * An immutable record under K_self, or a chunk under its object's key.
 *
 * @param {Seal} seal @param {Uint8Array} plaintext
 * @returns {Promise<Uint8Array>} The whole record: its address is its proof.
 */
export function sealImmutable(seal, plaintext) {
  return sealUnder(encodeImmutableFixed(Readers.SELF), seal, plaintext);
}

// Keys of groups

/**
 * @typedef {object} GroupEpoch
 * @property {Uint8Array} groupId 16 bytes.
 * @property {number} epoch u32.
 * @property {Uint8Array} recordRoot rk, 32 bytes.
 */

/** rk of an epoch secret (section 10). @param {Uint8Array} epochSecret 32 bytes. */
export function recordRoot(epochSecret) {
  return kdf(epochSecret, NOTHING, "yz1 rkroot", NOTHING, KEY_BYTES);
}

/** K of group records. @param {GroupEpoch} group */
export function groupRecordKey(group) {
  return kdf(group.recordRoot, group.groupId, "yz1 group record", u32(group.epoch), KEY_BYTES);
}

/** kid8 of one record. @param {Uint8Array} root rk. @param {Uint8Array} salt */
export async function groupRecordKid(root, salt) {
  const key = await kdf(root, NOTHING, "yz1 kid", NOTHING, KEY_BYTES);
  return (await hmac(key, salt)).subarray(0, 8);
}

// Opening

/** SHA of the record without signature, 32 bytes. @param {DecodedRecord} record */
export function recordHash(record) {
  return sha256(record.unsigned);
}

/**
 * Check the publisher's signature; immutable records have none, their address is their proof.
 *
 * @param {Uint8Array} network @param {DecodedRecord} record
 * @throws {InvalidSignature | InvalidKey}
 */
export async function verifyRecord(network, record) {
  if (record.kind === Kind.IMMUTABLE) return;
  await verifyMessage(record.publisher, "yz1 rec", network, record.unsigned, record.signature);
}

/** @param {DecodedRecord} record @param {number} readers */
function demandReaders(record, readers) {
  if (record.readers !== readers) throw new NotAReader("the record is sealed for other readers");
}

/** @param {DecodedRecord} record @param {Uint8Array} key @param {Position} [position] */
function openSealed({ fixed, header, payload }, key, position) {
  const hdr0 = concat(fixed, header.raw.subarray(0, header.raw.length - SALT_BYTES - COMMIT_BYTES));
  return openBox({ key, salt: header.salt, hdr0, position }, header.commit, payload);
}

/**
 * @param {Uint8Array} network @param {DecodedRecord} record
 * @returns {Promise<Uint8Array>} The payload; public records are never padded.
 * @throws {NotFound} It is a tombstone.
 */
export async function openPublic(network, record) {
  await verifyRecord(network, record);
  demandReaders(record, Readers.PUBLIC);
  if (record.isTombstone) throw new NotFound("the record was deleted");
  return record.payload;
}

/**
 * @param {Uint8Array} network @param {DecodedRecord} record @param {Uint8Array} ownKey K_self, 32 bytes.
 * @returns {Promise<Uint8Array>}
 */
export async function openSelf(network, record, ownKey) {
  await verifyRecord(network, record);
  demandReaders(record, Readers.SELF);
  return openSealed(record, ownKey);
}

/**
 * Open one chunk of a large object.
 *
 * @param {DecodedRecord} record @param {Uint8Array} objectKey 32 bytes. @param {Position} position
 * @returns {Promise<Uint8Array>}
 */
export async function openChunk(record, objectKey, position) {
  if (record.kind !== Kind.IMMUTABLE) throw new DecryptionFailed("a chunk is an immutable record");
  demandReaders(record, Readers.SELF);
  return openSealed(record, objectKey, position);
}

/**
 * @param {Uint8Array} network @param {DecodedRecord} record @param {GroupEpoch[]} epochs Those whose rk is held.
 * @returns {Promise<Uint8Array>}
 * @throws {UnknownEpoch} None has this kid.
 */
export async function openGroup(network, record, epochs) {
  await verifyRecord(network, record);
  demandReaders(record, Readers.GROUP);
  for (const group of epochs) {
    const kid = await groupRecordKid(group.recordRoot, record.header.salt);
    if (isEqual(kid, record.header.kid)) return openSealed(record, await groupRecordKey(group));
  }
  throw new UnknownEpoch("the record is sealed in an epoch of the group that is not known");
}

/**
 * @param {Uint8Array} network @param {DecodedRecord} record
 * @param {{kemKeys?: import("./primitives.js").PrivateKey[], selfKey?: Uint8Array}} keys ECDH keys, and K_self.
 * @returns {Promise<Uint8Array>}
 * @throws {NotAReader} No stanza opens with them.
 */
export async function openRecipients(network, record, { kemKeys = [], selfKey }) {
  await verifyRecord(network, record);
  demandReaders(record, Readers.STANZAS);
  const fixedHash = await sha256(record.fixed);
  for (const stanza of record.header.stanzas) {
    const cek = await tryStanza(stanza, { kemKeys, selfKey, fixedHash, salt: record.header.salt });
    if (cek) return openSealed(record, cek);
  }
  throw new NotAReader("no stanza of the record opens with the keys held");
}

/**
 * @param {Stanza} stanza
 * @param {{kemKeys: import("./primitives.js").PrivateKey[], selfKey?: Uint8Array, fixedHash: Uint8Array, salt: Uint8Array}} context
 * @returns {Promise<Uint8Array | null>} CEK, or null when it is not for these keys.
 */
async function tryStanza({ type, body }, { kemKeys, selfKey, fixedHash, salt }) {
  if (type === StanzaType.SELF && selfKey) {
    const cipher = await selfStanzaCipher(selfKey, salt, fixedHash);
    return orNull(() => cipher.open(ZERO_IV, body));
  }
  if (type !== StanzaType.HPKE) return null;
  const info = concat(lp("yz1 wrap hpke"), fixedHash, salt);
  for (const key of kemKeys) {
    const cek = await orNull(() => key.hpkeOpen(body, info));
    if (cek) return cek;
  }
  return null;
}

/** @param {Uint8Array} ownKey K_self. @param {Uint8Array} salt @param {Uint8Array} fixedHash SHA(F). */
async function selfStanzaCipher(ownKey, salt, fixedHash) {
  return Aead.fromRaw(await kdf(ownKey, salt, "yz1 wrap self", fixedHash, KEY_BYTES));
}

/**
 * Body of the stanza by which the publisher reads its own record.
 *
 * @param {Uint8Array} cek 32 bytes. @param {{selfKey: Uint8Array, slot: Slot, salt: Uint8Array}} context
 * @returns {Promise<Uint8Array>} 48 bytes.
 */
export async function wrapForSelf(cek, { selfKey, slot, salt }) {
  const fixedHash = await sha256(encodeFixed({ ...slot, readers: Readers.STANZAS }));
  return (await selfStanzaCipher(selfKey, salt, fixedHash)).seal(ZERO_IV, cek);
}

/**
 * Trial opening: a refusal is an answer here.
 *
 * @param {() => Promise<Uint8Array>} open
 * @returns {Promise<Uint8Array | null>}
 */
async function orNull(open) {
  try {
    return await open();
  } catch (error) {
    if (error instanceof DecryptionFailed) return null;
    throw error;
  }
}
