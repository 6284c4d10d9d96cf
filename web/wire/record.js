/**
 * The layout of records, strictly (PROTOCOL.md section 8): bytes ⇄ fields. Signatures and sealing are crypto/'s.
 *
 * Refuses unknown versions, kinds, suites and readers, reserved bits, header lengths that its readers cannot have,
 * stanzas of a wrong length, sealed payloads of a length that no padding makes, and trailing bytes in a header.
 */

import { WireError } from "../errors.js";
import { HEADER_BYTES_MAX, RECORD_BYTES_MAX, VALUE_BYTES_MAX } from "../limits.js";
import { Reader, concat, u16, u32, u64, u8 } from "./codec.js";

export const VERSION = 0xf9;
export const SUITE = 0x01;
export const Kind = Object.freeze({ IMMUTABLE: 0, MUTABLE: 1, MULTI: 2, IDENTITY: 3 });
export const Readers = Object.freeze({ PUBLIC: 0, SELF: 1, STANZAS: 2, GROUP: 3 });
export const StanzaType = Object.freeze({ SELF: 0x01, HPKE: 0x02, PASSPHRASE: 0x04 });

const TOMBSTONE = 0x08;
const IMMUTABLE_FIXED_BYTES = 4;
const SIGNATURE_BYTES = 64;
const SALT_BYTES = 24;
const KID_BYTES = 8;
/** salt24 ‖ commit32, the end of every header that is not empty. */
export const SEAL_BYTES = 56;
const GCM_TAG_BYTES = 16;
const LENGTH_BYTES = 4;
const STANZA_BYTES = new Map([
  [StanzaType.SELF, 48],
  [StanzaType.HPKE, 113],
  [StanzaType.PASSPHRASE, 71],
]);

/**
 * @typedef {object} Stanza
 * @property {number} type One of StanzaType.
 * @property {Uint8Array} body
 */

/**
 * @typedef {object} RecordHeader The H of section 8, parsed.
 * @property {Uint8Array} raw
 * @property {Stanza[]} stanzas Empty unless readers is STANZAS.
 * @property {Uint8Array} kid 8 bytes, empty unless readers is GROUP.
 * @property {Uint8Array} salt 24 bytes, empty when public.
 * @property {Uint8Array} commit 32 bytes, empty when public.
 */

/**
 * @typedef {object} Slot The fields of F that a writer chooses.
 * @property {number} kind 1 to 3.
 * @property {boolean} [isTombstone]
 * @property {number} readers
 * @property {number} created Unix seconds.
 * @property {number} expires Unix seconds.
 * @property {bigint} seq
 * @property {Uint8Array} publisher 33 bytes.
 * @property {Uint8Array} tag 32 bytes.
 */

/**
 * @typedef {object} DecodedRecord
 * @property {number} kind
 * @property {boolean} isTombstone
 * @property {number} suite
 * @property {number} readers
 * @property {number} created Unix seconds; 0 for immutables.
 * @property {number} expires Unix seconds; 0 for immutables.
 * @property {bigint} seq 0 for immutables.
 * @property {Uint8Array} publisher 33 bytes; empty for immutables.
 * @property {Uint8Array} tag 32 bytes; empty for immutables.
 * @property {Uint8Array} fixed F: 85 bytes, 4 of immutables.
 * @property {RecordHeader} header
 * @property {Uint8Array} payload
 * @property {Uint8Array} unsigned Everything before the signature; its SHA-256 is the record's hash.
 * @property {Uint8Array} signature 64 bytes; empty for immutables.
 */

/**
 * P(n): 256 for n ≤ 256, else Padmé.
 *
 * @param {number} size
 * @returns {number}
 */
export function paddedLength(size) {
  if (size <= 256) return 256;
  const e = 31 - Math.clz32(size); // ⌊log₂ n⌋, exact, unlike Math.log2
  const step = 2 ** (e - (31 - Math.clz32(e) + 1));
  return Math.ceil(size / step) * step;
}

/** F of a record that is not immutable. @param {Slot} slot @returns {Uint8Array} 85 bytes. */
export function encodeFixed(slot) {
  const kind = slot.kind | (slot.isTombstone ? TOMBSTONE : 0);
  return concat(
    Uint8Array.of(VERSION, kind, SUITE, slot.readers),
    u32(slot.created),
    u32(slot.expires),
    u64(slot.seq),
    slot.publisher,
    slot.tag,
  );
}

/** F of an immutable record. @param {number} readers @returns {Uint8Array} 4 bytes. */
export function encodeImmutableFixed(readers) {
  return Uint8Array.of(VERSION, Kind.IMMUTABLE, SUITE, readers);
}

/**
 * Everything before the signature.
 *
 * @param {Uint8Array} fixed @param {Uint8Array} header @param {Uint8Array} payload
 */
export function encodeUnsigned(fixed, header, payload) {
  return concat(fixed, u16(header.length), header, payload);
}

/** n ‖ n × (type ‖ len ‖ body). @param {Stanza[]} stanzas @returns {Uint8Array} */
export function encodeStanzas(stanzas) {
  return concat(u8(stanzas.length), ...stanzas.map(({ type, body }) => concat(u8(type), u16(body.length), body)));
}

/**
 * @param {Uint8Array} record
 * @returns {DecodedRecord}
 * @throws {WireError} It is not laid out as section 8 says.
 */
export function decodeRecord(record) {
  if (record.length > RECORD_BYTES_MAX) throw new WireError("a record is too long");
  const reader = new Reader(record);
  if (reader.u8() !== VERSION) throw new WireError("not a record of this version");
  const flags = reader.u8();
  const [suite, readers] = reader.take(2);
  const kind = flags & 0x07;
  const isTombstone = (flags & TOMBSTONE) !== 0;
  if (flags & 0xf0 || kind > Kind.IDENTITY) throw new WireError("a record has an unknown kind");
  if (suite !== SUITE) throw new WireError("a record has an unknown suite");
  if (readers > Readers.GROUP) throw new WireError("a record has unknown readers");
  const slot = kind === Kind.IMMUTABLE ? noSlot() : readSlot(reader);
  const fixed = record.subarray(0, reader.offset);
  const headerBytes = reader.u16();
  if (headerBytes > HEADER_BYTES_MAX) throw new WireError("a record's header is too long");
  const header = decodeHeader(readers, reader.take(headerBytes));
  const signatureBytes = kind === Kind.IMMUTABLE ? 0 : SIGNATURE_BYTES;
  const payload = reader.take(reader.remaining - signatureBytes);
  const unsigned = record.subarray(0, reader.offset);
  const decoded = { kind, isTombstone, suite, readers, ...slot, fixed, header, payload, unsigned };
  checkCombination(decoded);
  return { ...decoded, signature: reader.rest() };
}

function noSlot() {
  const empty = new Uint8Array(0);
  return { created: 0, expires: 0, seq: 0n, publisher: empty, tag: empty };
}

/** @param {Reader} reader */
function readSlot(reader) {
  const [created, expires, seq] = [reader.u32(), reader.u32(), reader.u64()];
  const [publisher, tag] = [reader.take(33), reader.take(32)];
  if (publisher[0] !== 2 && publisher[0] !== 3) throw new WireError("a record's publisher is not a compressed point");
  return { created, expires, seq, publisher, tag };
}

/** @param {Omit<DecodedRecord, "signature">} record */
function checkCombination({ kind, isTombstone, readers, tag, payload }) {
  if (isTombstone) {
    const isDeletable = kind === Kind.MUTABLE || kind === Kind.MULTI;
    if (!isDeletable || readers !== Readers.PUBLIC || payload.length) throw new WireError("a tombstone is malformed");
  }
  if (kind === Kind.IDENTITY && (readers !== Readers.PUBLIC || tag.some((byte) => byte !== 0))) {
    throw new WireError("an identity record is public and has no tag");
  }
  if (readers === Readers.PUBLIC) {
    if (payload.length > VALUE_BYTES_MAX) throw new WireError("a value is at most 61,436 bytes");
    return;
  }
  const padded = payload.length - GCM_TAG_BYTES;
  if (padded > VALUE_BYTES_MAX + LENGTH_BYTES) throw new WireError("a value is at most 61,436 bytes");
  if (padded <= 0 || paddedLength(padded) !== padded) throw new WireError("a sealed payload has an impossible length");
}

/**
 * @param {number} readers @param {Uint8Array} raw
 * @returns {RecordHeader}
 */
function decodeHeader(readers, raw) {
  const reader = new Reader(raw);
  const empty = new Uint8Array(0);
  const header = { raw, stanzas: /** @type {Stanza[]} */ ([]), kid: empty, salt: empty, commit: empty };
  if (readers === Readers.STANZAS) header.stanzas = readStanzas(reader);
  if (readers === Readers.GROUP) header.kid = reader.take(KID_BYTES);
  if (readers !== Readers.PUBLIC) {
    header.salt = reader.take(SALT_BYTES);
    header.commit = reader.take(SEAL_BYTES - SALT_BYTES);
  }
  reader.end();
  return header;
}

/** @param {Reader} reader @returns {Stanza[]} */
function readStanzas(reader) {
  const count = reader.u8();
  if (count === 0) throw new WireError("a record for recipients names none");
  const stanzas = [];
  for (let i = 0; i < count; i += 1) {
    const type = reader.u8();
    const body = reader.take(reader.u16());
    if (STANZA_BYTES.get(type) !== body.length) throw new WireError("a stanza has an unknown type or length");
    if (type === StanzaType.PASSPHRASE && count > 1) throw new WireError("a passphrase stanza stands alone");
    stanzas.push({ type, body });
  }
  return stanzas;
}
