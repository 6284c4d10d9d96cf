/**
 * Pubsub on the wire: envelopes, the plaintext in them, what goes over a session unasked (PROTOCOL.md section 11).
 *
 * Owns the layout only: keys and signatures are crypto/topics.js's. Refuses every mode, suite, length and padding that
 * section 11 does not name; keys are checked to look compressed, not to be on the curve.
 */

import { UsageError, WireError } from "../errors.js";
import {
  BODY_EXTRA_BYTES_MAX,
  ENVELOPES_PER_ANSWER_MAX,
  HOLES_MAX,
  PUBSUB_DATA_BYTES_MAX,
  PUBSUB_ENVELOPE_BYTES_MAX,
  SUMMARY_ROWS_MAX,
  TOPICS_PER_ANNOUNCEMENT_MAX,
} from "../limits.js";
import { Reader, concat, u32, u8 } from "./codec.js";
import { decodeBody, encodeBody } from "./rpc.js";

/** @typedef {import("./rpc.js").Value} Value */

export const Mode = Object.freeze({ GROUP: 0, PUBLIC: 1 });

export const TOPIC_BYTES = 16;
export const KID_BYTES = 8;
export const SEND_SESSION_BYTES = 8;
/** One less than 32 bits hold: a summary names the index after the last. */
export const INDEX_MAX = 2 ** 32 - 2;

const VERSION = 0xfa;
const SUITE = 0x01;
const HEADER_BYTES = 73;
const PUBLIC_KEY_BYTES = 33;
const SIGNATURE_BYTES = 64;
const GCM_TAG_BYTES = 16;
const BLOCK_BYTES = 64;
const LENGTH_BYTES = 4;
const HEAD_BYTES = 5;
const U32_MAX = 2 ** 32 - 1;

// Envelopes

/**
 * @typedef {object} EnvelopeHeader
 * @property {number} mode
 * @property {Uint8Array} topic 16 bytes.
 * @property {Uint8Array} kid 8 bytes, zero when public.
 * @property {Uint8Array} sender 33 bytes.
 * @property {Uint8Array} session 8 bytes.
 * @property {number} index 0 to INDEX_MAX.
 */

/**
 * @typedef {EnvelopeHeader & {header: Uint8Array, content: Uint8Array, unsigned: Uint8Array, signature: Uint8Array}} Envelope
 */

/**
 * @param {EnvelopeHeader} fields
 * @returns {Uint8Array} 73 bytes, the aad of the content.
 * @throws {UsageError} The session is used up.
 */
export function encodeEnvelopeHeader({ mode, topic, kid, sender, session, index }) {
  if (index > INDEX_MAX) throw new UsageError("a session has no more indexes", { hint: "begin another one" });
  return concat(Uint8Array.of(VERSION, mode, SUITE, 0), topic, kid, sender, session, u32(index));
}

/**
 * @param {Uint8Array} envelope
 * @returns {Envelope}
 * @throws {WireError}
 */
export function decodeEnvelope(envelope) {
  if (envelope.length > PUBSUB_ENVELOPE_BYTES_MAX) throw new WireError("an envelope is at most 65,536 bytes");
  const reader = new Reader(envelope);
  const [version, mode, suite, reserved] = reader.take(4);
  if (version !== VERSION || mode > Mode.PUBLIC || suite !== SUITE || reserved !== 0) {
    throw new WireError("not an envelope of a known form");
  }
  const sizes = [TOPIC_BYTES, KID_BYTES, PUBLIC_KEY_BYTES, SEND_SESSION_BYTES];
  const [topic, kid, sender, session] = sizes.map((size) => reader.take(size));
  const index = reader.u32();
  const content = reader.take(reader.remaining - SIGNATURE_BYTES);
  const unsigned = envelope.subarray(0, reader.offset);
  if (sender[0] !== 2 && sender[0] !== 3) throw new WireError("an envelope's sender is not a compressed point");
  if (index > INDEX_MAX) throw new WireError("an envelope has an index that no summary can go beyond");
  if (mode === Mode.PUBLIC && kid.some((byte) => byte !== 0)) throw new WireError("a public envelope names no key");
  const padded = content.length - (mode === Mode.GROUP ? GCM_TAG_BYTES : 0);
  if (padded <= 0 || padded % BLOCK_BYTES) throw new WireError("an envelope's body has a length that no padding gives");
  const header = envelope.subarray(0, HEADER_BYTES);
  return { mode, topic, kid, sender, session, index, header, content, unsigned, signature: reader.rest() };
}

// What they carry

/**
 * @typedef {{created: number, type: number, data: Uint8Array}} Message `created` in unix seconds, `type` the application's.
 */

/** @param {number} size */
const paddedLength = (size) => Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;

/**
 * The plaintext of an envelope, padded to a multiple of 64 bytes.
 *
 * @param {Message} message @returns {Uint8Array}
 * @throws {UsageError} The data is too long, or a number is out of range.
 */
export function encodeMessage({ created, type, data }) {
  if (data.length > PUBSUB_DATA_BYTES_MAX) {
    throw new UsageError(`a message is at most ${PUBSUB_DATA_BYTES_MAX} bytes, this one is ${data.length}`);
  }
  if (!isBetween(created, U32_MAX) || !isBetween(type, 255)) {
    throw new UsageError("created is 32-bit seconds, a message's type is 0 to 255");
  }
  const plaintext = concat(u32(created), u8(type), data);
  const used = LENGTH_BYTES + plaintext.length;
  return concat(u32(plaintext.length), plaintext, new Uint8Array(paddedLength(used) - used));
}

/**
 * @param {Uint8Array} padded @returns {Message}
 * @throws {WireError} The length is not the padding's for this message, or a padding byte is not zero.
 */
export function decodeMessage(padded) {
  const reader = new Reader(padded);
  const plaintext = new Reader(reader.take(reader.u32()));
  const isExact = padded.length === paddedLength(reader.offset) && plaintext.remaining >= HEAD_BYTES;
  if (!isExact || reader.rest().some((byte) => byte !== 0)) throw new WireError("the padding of a message was refused");
  return { created: plaintext.u32(), type: plaintext.u8(), data: plaintext.rest() };
}

// Unasked: record type 0x12

/**
 * @typedef {object} SummaryRow What is held of one sender's session of a topic.
 * @property {Uint8Array} sender 33 bytes.
 * @property {Uint8Array} session 8 bytes.
 * @property {number} first Everything below is over, or not told of.
 * @property {number} next One above the highest index held.
 * @property {number[]} holes At most HOLES_MAX.
 */

/** @typedef {{topic: Uint8Array, rows: SummaryRow[]}} Change */
/** @typedef {{kind: 0, envelopes: Uint8Array[]} | {kind: 1, changes: Change[]}} Push Envelopes are not parsed yet. */

export const PushKind = Object.freeze({ DELIVERY: 0, ANNOUNCEMENT: 1 });

/** @param {Uint8Array[]} envelopes One or more. @returns {Uint8Array} `[0, envelope…]` */
export function encodeDelivery(envelopes) {
  return encodeBody([PushKind.DELIVERY, ...envelopes]);
}

/** @param {Change[]} changes One or more. @returns {Uint8Array} `[1, topic16, rows…]` */
export function encodeAnnouncement(changes) {
  return encodeBody([PushKind.ANNOUNCEMENT, ...changes.flatMap(({ topic, rows }) => [topic, rows.map(fromRow)])]);
}

/** @param {SummaryRow} row @returns {Value[]} */
const fromRow = ({ sender, session, first, next, holes }) => [sender, session, first, next, holes];

/**
 * @param {Uint8Array} data The body of a record of type 0x12.
 * @returns {Push}
 * @throws {WireError} It is neither of both forms.
 */
export function decodePush(data) {
  const [kind, ...rest] = decodeBody(data);
  if (kind === PushKind.DELIVERY) return { kind, envelopes: envelopesOf(rest) };
  if (kind !== PushKind.ANNOUNCEMENT) throw new WireError("not a pubsub body");
  const changes = changesOf(rest);
  if (data.length > encodeAnnouncement(changes).length + BODY_EXTRA_BYTES_MAX) {
    throw new WireError("the body carries more than any newer version would add");
  }
  return { kind, changes };
}

/** @param {Value[]} items @returns {Uint8Array[]} */
function envelopesOf(items) {
  const envelopes = items.filter((item) => item instanceof Uint8Array);
  if (!items.length || envelopes.length !== items.length || items.length > ENVELOPES_PER_ANSWER_MAX) {
    throw new WireError("not a delivery");
  }
  return envelopes;
}

/** @param {Value[]} items @returns {Change[]} */
function changesOf(items) {
  if (!items.length || items.length % 2 || items.length > 2 * TOPICS_PER_ANNOUNCEMENT_MAX) {
    throw new WireError("not an announcement");
  }
  return Array.from({ length: items.length / 2 }, (_, i) => changeOf(items[2 * i], items[2 * i + 1]));
}

/** @param {Value} topic @param {Value} rows @returns {Change} */
function changeOf(topic, rows) {
  if (!isBytes(topic, TOPIC_BYTES) || !Array.isArray(rows) || rows.length > SUMMARY_ROWS_MAX) {
    throw new WireError("not an announcement");
  }
  return { topic: /** @type {Uint8Array} */ (topic), rows: rows.map(toRow) };
}

/** @param {Value} row @returns {SummaryRow} Fields of newer versions are left out. */
function toRow(row) {
  if (!Array.isArray(row)) throw new WireError("not a row of a summary");
  const [sender, session, first, next, holes = []] = /** @type {any[]} */ (row);
  const isRow = isBytes(sender, PUBLIC_KEY_BYTES) && isBytes(session, SEND_SESSION_BYTES);
  const isCounted = [first, next].every(isIndex) && Array.isArray(holes) && holes.every(isIndex);
  if (!isRow || !isCounted || holes.length > HOLES_MAX) throw new WireError("not a row of a summary");
  return { sender, session, first, next, holes };
}

/** @param {unknown} value @param {number} most */
const isBetween = (value, most) => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= most;

/** @param {unknown} value */
const isIndex = (value) => isBetween(value, U32_MAX);

/** @param {unknown} value @param {number} size */
const isBytes = (value, size) => value instanceof Uint8Array && value.length === size;
